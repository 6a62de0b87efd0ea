//! Where definitions may reach: the rules for every address that a definition, an expression, a document or an answer names.
//!
//! One [`Egress`] serves `http`, `openapi`, `asyncapi`, `grpc`, `mcp`, `a2a`, the token endpoints of OAuth 2, and the loading of
//! documents. Endpoints that the operator has configured are made with [`Egress::open`].
//!
//! 1. [`Egress::admit`] looks at a host as it is written, before anything is looked up or sent: names against the rules, addresses
//!    against everything. Every hop of a redirect comes through here again.
//! 2. A name is looked up by [`Egress::addresses`], which lets only those addresses out that the rules allow. Whoever connects gets
//!    his addresses from there and nowhere else ([`Egress::connect`], or [`Egress::dns`] below the HTTP client), so the address
//!    that is connected to is the one that was checked; a name that answers differently the next time is checked the next time.
//! 3. Through a proxy, the proxy looks names up. They are looked up here first and refused as they would be without it; see
//!    [`proxy`].
//!
//! What a rule can be is in [`rule`], what addresses are special in [`address`]. What decides, in this order:
//!
//! | | name | address |
//! |---|---|---|
//! | `deny` | refused | refused |
//! | `allow` names the address | | allowed, whatever it is |
//! | link-local, metadata services | refused | refused |
//! | `allow` names the name | allowed | allowed |
//! | `reach` | `listed`: refused | `public`: public ones allowed; `any`: allowed; `listed`: refused |
//!
//! Not here: what processes and containers reach that a definition starts (`[connectors.process]`, `allow_stdio`).

pub mod address;
pub mod host;
pub mod proxy;
pub mod refused;
pub mod resolve;
pub mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::address::{Kind, METADATA_NAMES, kind, plain};
use self::host::Host;
pub use self::refused::Refused;
use self::refused::Why;
pub use self::resolve::{Resolver, SystemResolver};
use self::rule::Rule;

/// `[egress]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressConfig {
    /// What may be reached that no list names.
    pub reach: Reach,
    /// What may be reached beyond that: names, addresses, ranges; see [`rule`].
    pub allow: Vec<String>,
    /// What may not, whatever else is said.
    pub deny: Vec<String>,
    /// Whether `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are heeded.
    pub proxy: Proxy,
}

/// What may be reached that no list names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Nothing.
    Listed,
    /// Every public address.
    Public,
    /// Every address but link-local ones and metadata services.
    Any,
    /// As [`Reach::Any`], until whoever runs for others than the one at the terminal makes it [`Reach::Public`].
    #[default]
    Auto,
}

/// Where the way out is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proxy {
    /// As the environment says.
    #[default]
    Environment,
    /// Straight.
    None,
}

/// A rule that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{list}` of [egress]: {what}")]
pub struct ConfigError {
    /// The list that it stands in.
    pub list: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// The rules, and who looks names up. Cheap to clone.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    /// `None` for endpoints that are the operator's own.
    rules: Option<Rules>,
    proxy: Proxy,
    resolver: Arc<dyn Resolver>,
}

#[derive(Debug)]
struct Rules {
    reach: Reach,
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Egress").field(&self.0.rules).finish()
    }
}

/// What is known of a host before it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Whether `allow` names the name.
    vouched: bool,
}

impl Egress {
    /// No rules: for endpoints that the operator has configured.
    pub fn open() -> Self {
        Self::over(None, Proxy::Environment)
    }

    /// The rules of a configuration.
    ///
    /// # Errors
    /// If one of them is none.
    pub fn new(config: &EgressConfig) -> Result<Self, ConfigError> {
        let read = |list, texts: &[String]| {
            let rules = texts.iter().map(|text| Rule::read(text).map_err(|what| ConfigError { list, what }));
            rules.collect::<Result<Vec<_>, _>>()
        };
        let rules =
            Rules { reach: config.reach, allow: read("allow", &config.allow)?, deny: read("deny", &config.deny)? };
        Ok(Self::over(Some(rules), config.proxy))
    }

    fn over(rules: Option<Rules>, proxy: Proxy) -> Self {
        Self(Arc::new(Inner { rules, proxy, resolver: Arc::new(SystemResolver) }))
    }

    /// The same rules with another way of looking names up.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Self {
        let inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            rules: shared.rules.as_ref().map(|r| Rules {
                reach: r.reach,
                allow: r.allow.clone(),
                deny: r.deny.clone(),
            }),
            proxy: shared.proxy,
            resolver: shared.resolver.clone(),
        });
        Self(Arc::new(Inner { resolver, ..inner }))
    }

    /// Whether there are rules at all.
    pub fn is_open(&self) -> bool {
        self.0.rules.is_none()
    }

    /// Looks at a host as it is written, before anything is looked up.
    ///
    /// # Errors
    /// If it may not be reached, wherever its name leads.
    pub fn admit(&self, host: &str, port: u16) -> Result<Admitted, Refused> {
        let refused = |why| Refused { host: host.to_owned(), port, why };
        let Some(rules) = &self.0.rules else {
            // Nobody reads a host in a special way here: what resolvers take, they take.
            let host = Host::read(host).unwrap_or_else(|_| Host::Name(host.to_owned()));
            return Ok(Admitted { host, port, vouched: true });
        };
        let host = Host::read(host).map_err(|_| refused(Why::NoHost))?;
        let mut admitted = Admitted { host, port, vouched: false };
        match &admitted.host {
            Host::Address(address) => rules.address(*address, port, false).map_err(refused)?,
            Host::Name(name) => admitted.vouched = rules.name(name, port).map_err(refused)?,
        }
        Ok(admitted)
    }

    /// A number that is the same for ports between which the rules make no difference.
    pub fn port_class(&self, port: u16) -> u16 {
        if self.ports().contains(&port) { port } else { 0 }
    }

    /// The ports that rules name.
    pub fn ports(&self) -> BTreeSet<u16> {
        let rules = self.0.rules.iter().flat_map(|r| r.allow.iter().chain(&r.deny));
        rules.filter_map(Rule::port).collect()
    }
}

impl Rules {
    /// Whether `allow` vouches for the name.
    fn name(&self, name: &str, port: u16) -> Result<bool, Why> {
        if let Some(rule) = self.deny.iter().find(|r| r.fits_name(name, port)) {
            return Err(Why::Denied { rule: rule.to_string(), address: None });
        }
        let vouched = self.allow.iter().any(|r| r.fits_name(name, port));
        if !vouched && METADATA_NAMES.contains(&name) {
            return Err(Why::MetadataName);
        }
        // A rule for addresses may let it in, once it is known where it leads.
        if !vouched && self.reach == Reach::Listed && !self.allow.iter().any(Rule::is_range) {
            return Err(self.unlisted(None));
        }
        Ok(vouched)
    }

    fn address(&self, address: IpAddr, port: u16, vouched: bool) -> Result<(), Why> {
        if let Some(rule) = self.deny.iter().find(|r| r.fits_address(address, port)) {
            return Err(Why::Denied { rule: rule.to_string(), address: Some(address) });
        }
        if self.allow.iter().any(|r| r.fits_address(address, port)) {
            return Ok(());
        }
        let kind = kind(address);
        match (kind, self.reach) {
            (Kind::LinkLocal | Kind::Metadata, _) => Err(Why::Special { address, kind }),
            _ if vouched => Ok(()),
            (Kind::Public, Reach::Public) | (_, Reach::Any | Reach::Auto) => Ok(()),
            (_, Reach::Public) => Err(Why::Special { address, kind }),
            (_, Reach::Listed) => Err(self.unlisted(Some(address))),
        }
    }

    fn unlisted(&self, address: Option<IpAddr>) -> Why {
        Why::Unlisted { address: address.map(plain), allow: self.allow.iter().map(ToString::to_string).collect() }
    }
}
