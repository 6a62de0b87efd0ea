//! A host as it was written, in the one form in which it is compared.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// A host: a name that has to be looked up, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// In lower case, as punycode, without a dot at the end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Reads a host as the addresses of the web have it, so that `0x7f.1`, `2130706433` and `0177.0.0.1` are the addresses that every
    /// resolver takes them for; IPv6 with or without brackets.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(text: &str) -> Result<Self, NoHost> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Host::Address(address));
        }
        // What ends a host in an address is no part of one; a space or a tab would be dropped without a word.
        if bare.is_empty() || bare.contains(['/', '\\', '?', '#', '@', ':', '%']) || bare.contains(char::is_whitespace)
        {
            return Err(NoHost);
        }
        let url: Url = format!("http://{bare}/").parse().map_err(|_| NoHost)?;
        let host = url.host_str().ok_or(NoHost)?;
        if let Ok(address) = host.parse() {
            return Ok(Host::Address(address));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        if name.is_empty() || name.starts_with('.') || name.contains("..") || name.contains('*') {
            return Err(NoHost);
        }
        Ok(Host::Name(name.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// What was written is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHost;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_the_address() {
        for spelling in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "１２７.0.0.1",
        ] {
            assert_eq!(Host::read(spelling), Ok(Host::Address("127.0.0.1".parse().unwrap())), "{spelling}");
        }
        assert_eq!(Host::read("[::1]"), Host::read("::1"));
        assert_eq!(Host::read("::FFFF:127.0.0.1").unwrap().to_string(), "[::ffff:127.0.0.1]");
    }

    #[test]
    fn names_have_one_form_and_what_is_no_host_is_refused() {
        for (text, name) in
            [("LocalHost.", "localhost"), ("Bücher.example", "xn--bcher-kva.example"), ("a_b.c", "a_b.c")]
        {
            assert_eq!(Host::read(text), Ok(Host::Name(name.into())), "{text}");
        }
        for none in [
            "",
            ".",
            "a..b",
            "bob@h",
            "h:80",
            "h/p",
            "a b",
            "a\tb",
            "h#x",
            "[::1",
            "1.2.3.4.5",
            "999.1.1.1",
            "fe80::1%eth0",
            "h%41",
        ] {
            assert_eq!(Host::read(none), Err(NoHost), "{none:?}");
        }
    }
}
