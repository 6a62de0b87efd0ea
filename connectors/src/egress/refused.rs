//! Why something may not be reached, and what to do about it.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use cpd_connector_api::{Map, Problem, Standard, Value};

use super::address::Kind;

/// A host that may not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The host as it was written.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Why.
    pub why: Why,
}

/// Why a host may not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is no host.
    NoHost,
    /// `deny` names it, or the address that it leads to.
    Denied {
        /// The rule.
        rule: String,
        /// The address, if the rule is about that.
        address: Option<IpAddr>,
    },
    /// Its name is that of a metadata service.
    MetadataName,
    /// It is, or leads to, an address that has to be allowed.
    Special {
        /// The address.
        address: IpAddr,
        /// Its kind.
        kind: Kind,
    },
    /// Only what `allow` names may be reached.
    Unlisted {
        /// The address, if it was looked up.
        address: Option<IpAddr>,
        /// What `allow` names.
        allow: Vec<String>,
    },
    /// The name is for a proxy to look up, and nobody here knows where it leads.
    Unresolved,
}

impl Why {
    fn name(&self) -> &'static str {
        match self {
            Why::NoHost => "no-host",
            Why::Denied { .. } => "denied",
            Why::MetadataName => "metadata",
            Why::Special { kind: Kind::Metadata, .. } => "metadata",
            Why::Special { kind: Kind::LinkLocal, .. } => "link-local",
            Why::Special { kind: Kind::Loopback, .. } => "loopback",
            Why::Special { kind: Kind::Private, .. } => "private",
            Why::Special { .. } => "special",
            Why::Unlisted { .. } => "unlisted",
            Why::Unresolved => "unresolved",
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match self {
            Why::Denied { address, .. } | Why::Unlisted { address, .. } => *address,
            Why::Special { address, .. } => Some(*address),
            Why::NoHost | Why::MetadataName | Why::Unresolved => None,
        }
    }
}

impl Refused {
    /// The problem of it: `authorization`, 403.
    pub fn problem(&self) -> Problem {
        let mut data = Map::new();
        data.insert("host".into(), Value::from(self.host.as_str()));
        data.insert("port".into(), Value::from(i64::from(self.port)));
        data.insert("egress".into(), Value::from(self.why.name()));
        if let Some(address) = self.why.address() {
            data.insert("address".into(), Value::from(address.to_string()));
        }
        Problem::standard(Standard::Authorization, self.to_string()).with_data(Value::from(data))
    }

    /// The refusal below an error of a library, if it is the reason.
    pub fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refused> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref() {
                return Some(refused);
            }
            next = error.source();
        }
        None
    }

    /// The host with the port, as a rule has them.
    fn place(&self) -> String {
        let host = self.host.trim_end_matches('.');
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        let leads = |address: &IpAddr| {
            if self.host.trim_matches(['[', ']']) == address.to_string() {
                format!("found {place}")
            } else {
                format!("found {place}, which is {address}")
            }
        };
        match &self.why {
            Why::NoHost => write!(f, "found {:?}, which is no host", self.host),
            Why::Denied { rule, address: None } => {
                write!(f, "found {place}, which `deny` of [egress] names ({rule:?})")
            }
            Why::Denied { rule, address: Some(address) } => {
                write!(f, "{}: `deny` of [egress] names it ({rule:?})", leads(address))
            }
            Why::MetadataName => write!(
                f,
                "found {place}, {}, expected another host; `allow` of [egress] in cpd.toml would have to name it, and the address",
                Kind::Metadata
            ),
            Why::Special { address, kind: kind @ (Kind::LinkLocal | Kind::Metadata) } => write!(
                f,
                "{}: {kind}, expected another; `allow` of [egress] in cpd.toml would have to name the address itself",
                leads(address)
            ),
            Why::Special { address, kind } => write!(
                f,
                "{}: {kind}, expected a public one; if this is meant, add {place:?} to `allow` of [egress] in cpd.toml, or to \
                 CPD_EGRESS_ALLOW",
                leads(address)
            ),
            Why::Unlisted { address, allow } => {
                let found = address.as_ref().map_or_else(|| format!("found {place}"), leads);
                let list = if allow.is_empty() { "none".to_owned() } else { allow.join(", ") };
                write!(f, "{found}, expected one of those allowed: {list} (`allow` of [egress] in cpd.toml)")
            }
            Why::Unresolved => write!(
                f,
                "found {place}, a name that leads nowhere from here and is for the proxy to look up, expected one that is known; if \
                 this is meant, add {place:?} to `allow` of [egress] in cpd.toml, or to CPD_EGRESS_ALLOW"
            ),
        }
    }
}

impl Error for Refused {}
