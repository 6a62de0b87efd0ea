//! One rule of `allow` or `deny`, as text and as a question.
//!
//! | rule | fits |
//! |---|---|
//! | `api.example.com` | that name, and none below it |
//! | `*.example.com` | every name below it, at any depth, and not `example.com` |
//! | `10.1.2.3`, `[fd12::7]` | that address, and every name that leads to it |
//! | `10.0.0.0/8`, `fd12::/16` | every address of the range, and every name that leads into it |
//! | each with `:443`; IPv6 in brackets then | the same, at that port alone |
//!
//! Names are compared in lower case, as punycode, without a dot at the end. A rule for IPv4 addresses fits their IPv6 forms, too.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address::plain;
use super::host::Host;

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Name(String),
    Below(String),
    Range(IpNet),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    what: What,
    port: Option<u16>,
    text: String,
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        let refuse = |what: &str| {
            Err(format!(
                "found {text:?}{what}, expected a name such as \"api.example.com\" or \"*.example.com\", an address, or a range \
                 such as \"10.0.0.0/8\"; with \":443\" for one port"
            ))
        };
        let whole = text.trim();
        let (what, port) = match split(whole) {
            Ok(split) => split,
            Err(what) => return refuse(what),
        };
        let rule = |what| Ok(Self { what, port, text: whole.to_owned() });
        if let Ok(address) = what.parse::<IpAddr>() {
            return rule(What::Range(plain(address).into()));
        }
        if what.contains('/') {
            return match what.parse::<IpNet>() {
                Ok(range) if range.trunc() != range => refuse(&format!(" (the range is {})", range.trunc())),
                Ok(range) => rule(What::Range(range)),
                Err(_) => refuse(""),
            };
        }
        let (below, name) = what.strip_prefix("*.").map_or((false, what), |rest| (true, rest));
        match Host::read(name) {
            Ok(Host::Name(name)) if below => rule(What::Below(name)),
            Ok(Host::Name(name)) => rule(What::Name(name)),
            // `*.1` or an address in an odd form.
            Ok(Host::Address(address)) if !below => refuse(&format!(" (that is {address})")),
            Ok(Host::Address(_)) | Err(_) => refuse(""),
        }
    }

    /// The port, if it is for one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is about addresses, not about names.
    pub fn is_range(&self) -> bool {
        matches!(self.what, What::Range(_))
    }

    /// Whether it is about this name.
    pub fn fits_name(&self, name: &str, port: u16) -> bool {
        let fits = match &self.what {
            What::Name(own) => own == name,
            What::Below(own) => name.strip_suffix(own.as_str()).is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
            What::Range(_) => false,
        };
        fits && self.port.is_none_or(|own| own == port)
    }

    /// Whether it is about this address.
    pub fn fits_address(&self, address: IpAddr, port: u16) -> bool {
        let What::Range(range) = &self.what else { return false };
        (range.contains(&address) || range.contains(&plain(address))) && self.port.is_none_or(|own| own == port)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The host or range, without brackets, and the port.
fn split(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let port = |digits: &str| match digits.parse() {
        Ok(port) if port != 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(port)),
        _ => Err(" (the port is none)"),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, after) = rest.split_once(']').ok_or(" (a bracket is missing)")?;
        if !inner.contains(':') {
            return Err(" (brackets are for IPv6)");
        }
        return match after.strip_prefix(':') {
            Some(digits) => Ok((inner, port(digits)?)),
            None if after.is_empty() => Ok((inner, None)),
            None => Err(" (a port begins with a colon)"),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, digits)) => Ok((host, port(digits)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_fits_what_the_table_says_and_nothing_beside_it() {
        let name = |rule: &str, name: &str, port| Rule::read(rule).unwrap().fits_name(name, port);
        assert!(name("api.example.com", "api.example.com", 1));
        assert!(name("API.Example.com.", "api.example.com", 1));
        assert!(!name("api.example.com", "x.api.example.com", 1) && !name("api.example.com", "example.com", 1));
        assert!(name("*.example.com", "a.example.com", 1) && name("*.example.com", "a.b.example.com", 1));
        assert!(!name("*.example.com", "example.com", 1) && !name("*.example.com", "evilexample.com", 1));
        assert!(!name("*.example.com", ".example.com", 1));
        assert!(name("bücher.example", "xn--bcher-kva.example", 1));
        assert!(name("a.example:443", "a.example", 443) && !name("a.example:443", "a.example", 80));
        let address =
            |rule: &str, address: &str, port| Rule::read(rule).unwrap().fits_address(address.parse().unwrap(), port);
        assert!(address("10.0.0.0/8", "10.255.0.1", 1) && !address("10.0.0.0/8", "11.0.0.1", 1));
        assert!(address("10.0.0.0/8", "::ffff:10.0.0.1", 1) && address("10.0.0.0/8", "64:ff9b::10.0.0.1", 1));
        assert!(address("::ffff:10.0.0.1", "10.0.0.1", 1) && address("10.0.0.0/8:22", "10.0.0.1", 22));
        assert!(!address("10.0.0.0/8:22", "10.0.0.1", 23));
        assert!(address("::1", "::1", 1) && address("[::1]:8080", "::1", 8080) && !address("[::1]:8080", "::1", 80));
        assert!(address("fd12::/16", "fd12::7", 1) && address("[fd12::/16]:5", "fd12::7", 5));
        assert!(!address("a.example", "10.0.0.1", 1) && !name("10.0.0.0/8", "a.example", 1));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_was_expected() {
        for (text, word) in [
            ("", "\"\""),
            ("*", "\"*\""),
            ("*.", "\"*.\""),
            ("https://a.example", "https"),
            ("a.example/path", "path"),
            ("a.example:0", "port is none"),
            ("a.example:+80", "port is none"),
            ("a.example:https", "port is none"),
            ("10.0.0.5/8", "10.0.0.0/8"),
            ("10.0.0.0/33", "/33"),
            ("0x7f.1", "127.0.0.1"),
            ("*.10.0.0.1", "*."),
            ("[::1", "bracket"),
            ("[10.0.0.1]:80", "IPv6"),
            ("[::1]80", "colon"),
            ("bob@a.example", "bob"),
            ("a b", "a b"),
        ] {
            let said = Rule::read(text).unwrap_err();
            assert!(said.contains(word) && said.contains("expected a name"), "{text}: {said}");
        }
    }
}
