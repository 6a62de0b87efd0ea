//! Where a service is, and whether TLS is spoken there.
//!
//! The language has a host and a port and no word for TLS. So the host may say it: `https://` (or `grpcs://`) is TLS, `http://`
//! (or `grpc://`) is not. Without a scheme this machine's own addresses are plain, and all others are TLS: nothing leaves the
//! machine in the clear because somebody forgot a word.

use std::net::IpAddr;

use cpd_connector_api::{Problem, Standard};
use http::uri::Authority;

/// The address of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken from the first byte.
    pub tls: bool,
}

impl Target {
    /// The address from `service.host` and `service.port`.
    ///
    /// # Errors
    /// A `validation` problem if it is no host.
    pub fn read(host: &str, port: Option<u16>) -> Result<Self, Problem> {
        let refuse = |what: &str| {
            let expected = "expected a name or an IP address such as pets.example.com, or https://pets.example.com (TLS) \
                            or http://pets.example.com (none)";
            Problem::standard(Standard::Validation, format!("`service.host`: found {what}, {expected}"))
        };
        let (scheme, rest) = host.trim().split_once("://").map_or((None, host.trim()), |(s, r)| (Some(s), r));
        let said = match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("https" | "grpcs") => Some(true),
            Some("http" | "grpc") => Some(false),
            Some(_) => return Err(refuse("another scheme")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(refuse("a user or password, which would be logged (there is `service.authentication`)"));
        }
        let (host, own_port) = if rest.parse::<std::net::Ipv6Addr>().is_ok() {
            (rest.to_owned(), None)
        } else {
            let authority: Authority = rest.parse().map_err(|_| refuse(&format!("{rest:?}")))?;
            let bare = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
            // What is left when host and port are taken away must be nothing: `host:` and `host:99999` are no addresses.
            let own_port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
                None => None,
                Some(digits) => Some(digits.parse().map_err(|_| refuse("a port that is none"))?),
            };
            (bare, own_port)
        };
        if host.is_empty() {
            return Err(refuse("nothing"));
        }
        if own_port.is_some() && port.is_some() && own_port != port {
            return Err(refuse("a port that is not that of `service.port`"));
        }
        let tls = said.unwrap_or_else(|| !is_loopback(&host));
        let port = port.or(own_port).unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { host, port, tls })
    }

    /// The host as it stands in addresses: with brackets around IPv6.
    pub fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// `host:port`
    pub fn authority(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    /// `http` or `https`
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The address for problems and logs.
    pub fn shown(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_says_whether_tls_is_spoken_and_silence_means_tls_but_for_this_machine() {
        for (host, port, shown) in [
            ("localhost", Some(5011), "http://localhost:5011"),
            ("LOCALHOST", None, "http://localhost:80"),
            ("127.0.0.1", Some(1), "http://127.0.0.1:1"),
            ("::1", Some(1), "http://[::1]:1"),
            ("[::1]:7", None, "http://[::1]:7"),
            ("pets.example.com", None, "https://pets.example.com:443"),
            ("pets.example.com", Some(80), "https://pets.example.com:80"),
            ("http://pets.example.com/", Some(50051), "http://pets.example.com:50051"),
            ("grpc://pets:50051", Some(50051), "http://pets:50051"),
            ("https://localhost", None, "https://localhost:443"),
            ("GRPCS://10.0.0.1:9", None, "https://10.0.0.1:9"),
        ] {
            assert_eq!(Target::read(host, port).unwrap().shown(), shown, "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in [
            "",
            "https://",
            "unix:///run/x.sock",
            "bob:hunter2@h",
            "h/path",
            "h?q",
            "a b",
            "h:",
            "h:99999",
            "h:x",
            "h:1:2",
            "[::1",
        ] {
            let problem = Target::read(host, None).unwrap_err().to_string();
            assert!(problem.contains("`service.host`: found") && !problem.contains("hunter2"), "{host}: {problem}");
        }
        assert!(Target::read("h:1", Some(2)).unwrap_err().to_string().contains("not that of `service.port`"));
    }
}
