//! The way through a proxy that the environment names.
//!
//! A proxy looks names up for itself, so the address that is connected to cannot be checked here. What can be is done: the rules for
//! names and for addresses that stand in the address itself hold as ever; a name is looked up here as well and refused if it
//! leads, from here, only to what is refused; a name that leads nowhere from here must be one that `allow` names (networks
//! behind a proxy often know no names of the world). A proxy that answers for itself where it connects to is the operator's
//! second door, and `proxy = "none"` shuts it.
//!
//! A proxy itself is the operator's: its own name is looked up without rules, and for nothing but reaching it.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use parking_lot::Mutex;
use reqwest::Url;

use super::refused::Why;
use super::resolve::Error;
use super::{Egress, Proxy, Reach, Refused};

/// The hosts of proxies that are known.
pub(super) type Hosts = Arc<Mutex<BTreeSet<String>>>;

/// The proxies of the environment.
#[derive(Debug)]
pub struct Proxies {
    matcher: Option<Matcher>,
    hosts: Hosts,
}

impl Proxies {
    /// Those of this process's environment, if they are to be heeded.
    pub fn of(egress: &Egress) -> Self {
        let matcher = (egress.0.proxy == Proxy::Environment).then(Matcher::from_env);
        Self { matcher, hosts: Hosts::default() }
    }

    /// The lookup of the client that goes through them.
    pub fn dns(&self, egress: &Egress, port: u16) -> Arc<dyn reqwest::dns::Resolve> {
        egress.dns_with(port, self.hosts.clone())
    }

    /// Whether a request to that address goes through one.
    pub fn intercepts(&self, url: &Url) -> bool {
        let Some(matcher) = &self.matcher else { return false };
        let Some(proxy) = url.as_str().parse::<Uri>().ok().and_then(|uri| matcher.intercept(&uri)) else {
            return false;
        };
        if let Some(host) = proxy.uri().host() {
            self.hosts.lock().insert(host.to_owned());
        }
        true
    }
}

impl Egress {
    /// Whether a host may be asked a proxy for.
    ///
    /// # Errors
    /// If it may not be reached, or it cannot be known.
    pub async fn admit_through_proxy(&self, host: &str, port: u16) -> Result<(), Refused> {
        let admitted = self.admit(host, port)?;
        let Some(rules) = &self.0.rules else { return Ok(()) };
        match self.addresses(&admitted).await {
            Ok(_) => Ok(()),
            Err(Error::Refused(refused)) => Err(refused),
            Err(Error::Io(_)) if admitted.vouched || matches!(rules.reach, Reach::Any | Reach::Auto) => Ok(()),
            Err(Error::Io(_)) => Err(Refused { host: host.to_owned(), port, why: Why::Unresolved }),
        }
    }
}
