//! Who may do what: the one door through which every caller passes, whatever the way (API, page, MCP, command line).
//!
//! A caller is a [`Principal`]: a name, a [`Role`] and the namespaces that it reaches. An action is a [`Permission`] in a
//! namespace. [`Principal::may`] is the only place that decides.
//!
//! ```text
//!   request ─→ Door::recognise ─→ Principal ─→ Door::allow ─→ the thing is done
//!                    │ 401 429 503                  │ 403, and what is administered
//!                    └────────────→ audit ←─────────┘
//! ```
//!
//! - [`token`]: bearer tokens, whose digests are in the journal. `oidc`: JSON Web Tokens of providers. `certificate`: names in
//!   client certificates, which [`tls`] has checked. `throttle`: guessing is slow. `refusal`: what is told.
//!
//! A request with an `Authorization` header is recognised by it, or refused: no other way is tried then. Without one, a client
//! certificate counts; without that, being on this machine, if the configuration says so.

mod certificate;
pub mod config;
mod grant;
mod oidc;
mod principal;
mod refusal;
#[cfg(test)]
mod tests;
mod throttle;
pub mod tls;
pub mod token;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cpd_engine::Engine;
use cpd_engine::control::{Act, Actor, Control};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName};
use parking_lot::RwLock;
use rustls::pki_types::CertificateDer;

use self::certificate::Certificates;
use self::config::{Auth, Wrong};
use self::oidc::Providers;
use self::throttle::{Answer, Throttle};

pub use principal::{Denied, Permission, Principal, Role, Scope, Via};
pub use refusal::Refusal;

/// What a request carries that came through a proxy: then the peer's address says nothing about who asks.
const FORWARDED: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
/// When to come again while the journal takes nothing.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How the principal of this machine is named.
const LOCAL: &str = "local:loopback";

/// The door. One for a daemon, whatever it listens on.
pub struct Door {
    control: Control,
    /// Whether nothing but loopback is listened on.
    loopback: bool,
    rules: RwLock<Arc<Rules>>,
    throttle: Throttle,
}

/// What the configuration says.
struct Rules {
    local: bool,
    providers: Providers,
    certificates: Certificates,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// What it needs.
    pub permission: Permission,
    /// Where; `None` for what belongs to no namespace.
    pub namespace: Option<&'a str>,
    /// What it is called in the audit, such as `token.create`.
    pub action: &'a str,
    /// To what, for the audit.
    pub target: &'a str,
}

impl Door {
    /// The door of a daemon that listens on these addresses.
    ///
    /// # Errors
    /// If the configuration cannot be meant so.
    pub fn new(config: &Auth, engine: &Engine, listening: &[SocketAddr]) -> Result<Self, Wrong> {
        let loopback = listening.iter().all(|address| address.ip().to_canonical().is_loopback());
        let rules = RwLock::new(Arc::new(Rules::new(config, loopback)?));
        Ok(Self { control: engine.control(), loopback, rules, throttle: Throttle::default() })
    }

    /// Takes another configuration. If it is wrong, the one before stays.
    ///
    /// # Errors
    /// If the configuration cannot be meant so.
    pub fn reload(&self, config: &Auth) -> Result<(), Wrong> {
        let rules = Arc::new(Rules::new(config, self.loopback)?);
        *self.rules.write() = rules;
        Ok(())
    }

    /// Who asks. `peer` is the other end of the connection, `certificate` what the client has shown in its handshake.
    ///
    /// A failed attempt is recorded, and answered the later the more of them there were.
    ///
    /// # Errors
    /// If nobody is recognised.
    pub async fn recognise(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<Principal, Refusal> {
        let rules = self.rules.read().clone();
        let mut refusal = match self.recognised(&rules, headers, peer, certificate).await {
            Ok(principal) => return Ok(principal),
            Err(refusal) => refusal,
        };
        let by = Actor { from: address(peer), ..Actor::default() };
        self.note(by, "enter", "", false, refusal.reason()).await.ok();
        if refusal.is_guess()
            && let Answer::TooMany(after) = self.throttle.failed(peer).await
        {
            refusal = refusal.too_many(after);
        }
        Err(refusal)
    }

    /// Whether a principal may do something. What is refused is recorded; so is what is administered, for good and before it
    /// is done: do it only when this returns well.
    ///
    /// # Errors
    /// If it may not, or what it wants must be recorded and cannot be.
    pub async fn allow(&self, principal: &Principal, peer: IpAddr, wish: Wish<'_>) -> Result<(), Refusal> {
        let Wish { permission, namespace, action, target } = wish;
        let by = actor(principal, &address(peer));
        if let Err(denied) = principal.may(permission, namespace) {
            let refusal = Refusal::denied(denied);
            self.note(by, action, target, false, refusal.reason()).await.ok();
            return Err(refusal);
        }
        if permission != Permission::Administer {
            return Ok(());
        }
        self.note(by, action, target, true, "").await.map_err(|error| {
            tracing::error!(error = %error, action, "an administrative action could not be recorded, and was not done");
            Refusal::unavailable(RETRY_AFTER, "the journal takes nothing")
        })
    }

    async fn note(
        &self,
        by: Actor,
        action: &str,
        target: &str,
        allowed: bool,
        why: &str,
    ) -> Result<(), cpd_engine::Error> {
        let act = Act { by, action: action.into(), target: target.into(), allowed, why: why.into() };
        self.control.note(act).await
    }

    async fn recognised(
        &self,
        rules: &Rules,
        headers: &HeaderMap,
        peer: IpAddr,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<Principal, Refusal> {
        if headers.contains_key(AUTHORIZATION) {
            return self.bearer(rules, headers).await;
        }
        if let Some(certificate) = certificate {
            return rules.certificates.recognise(certificate);
        }
        if rules.local && peer.to_canonical().is_loopback() {
            return match elsewhere(headers) {
                None => Ok(Principal::local(LOCAL)),
                Some(why) => Err(Refusal::missing(why)),
            };
        }
        Err(Refusal::missing("no credential"))
    }

    async fn bearer(&self, rules: &Rules, headers: &HeaderMap) -> Result<Principal, Refusal> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (all.next(), all.next()) else {
            return Err(Refusal::invalid("several `Authorization` headers"));
        };
        let value = value.to_str().map_err(|_| Refusal::invalid("an `Authorization` header that is no text"))?;
        let (scheme, credential) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::invalid("a credential that is no bearer token"));
        }
        let credential = credential.trim_matches(' ');
        if credential.starts_with(token::PREFIX) {
            return self.token(credential);
        }
        if credential.bytes().filter(|b| *b == b'.').count() == 2 && !rules.providers.is_empty() {
            return rules.providers.recognise(credential).await;
        }
        Err(Refusal::invalid("a bearer token of no known form"))
    }

    fn token(&self, text: &str) -> Result<Principal, Refusal> {
        let Some(id) = token::id(text) else { return Err(Refusal::invalid("a token with a wrong form or checksum")) };
        let Some(token) = token::recognise(&self.control, text) else {
            let known = self.control.token(id).map_or("which there is not", |t| match (&t.revoked, t.expires_at) {
                (Some(_), _) => "which was revoked, or with a wrong secret",
                (None, Some(end)) if end <= self.control.now() => "which has expired, or with a wrong secret",
                (None, _) => "with a wrong secret",
            });
            return Err(Refusal::invalid(format!("token {id}, {known}")));
        };
        let Some((role, scope)) = token::rights(&token) else {
            return Err(Refusal::no_role(format!("token {id} has the role {:?}, which is not known", token.role)));
        };
        let (name, via) = (format!("token:{}", token.name).into(), Via::Token(token.id.clone()));
        Ok(Principal { name, role, scope, groups: Vec::new(), via })
    }
}

impl Rules {
    fn new(config: &Auth, loopback: bool) -> Result<Self, Wrong> {
        if config.local && !loopback {
            let what = "found `local = true` in a daemon that listens on more than loopback, where it would let anybody in \
                        who reaches a proxy of this machine; make it false, or listen on 127.0.0.1 only";
            return Err(Wrong::at("[auth]", what));
        }
        let providers = Providers::new(&config.oidc)?;
        Ok(Self { local: config.local, providers, certificates: Certificates::new(&config.certificates)? })
    }
}

/// Checks what the form of the configuration does not, without a daemon; `listening` is what one would listen on.
///
/// # Errors
/// If the configuration cannot be meant so.
pub fn check(config: &Auth, listening: &[SocketAddr]) -> Result<(), Wrong> {
    let loopback = listening.iter().all(|address| address.ip().to_canonical().is_loopback());
    Rules::new(config, loopback).map(drop)
}

/// Why a request from this machine may be somebody else's: a proxy has passed it on, or a page in a browser of this machine
/// makes it, by its own name or by one that was made to mean this machine.
fn elsewhere(headers: &HeaderMap) -> Option<&'static str> {
    if FORWARDED.iter().any(|name| headers.contains_key(HeaderName::from_static(name))) {
        return Some("no credential, and passed on by a proxy");
    }
    let here = |host: &str| {
        let name = host.parse::<http::uri::Authority>().ok();
        let name = name.as_ref().map(|authority| authority.host().trim_start_matches('[').trim_end_matches(']'));
        name.is_some_and(|n| {
            n.eq_ignore_ascii_case("localhost") || n.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    };
    let hosts = headers.get_all(HOST).iter();
    if hosts.into_iter().any(|host| !host.to_str().is_ok_and(here)) {
        return Some("no credential, and asked for under another name than that of this machine");
    }
    let origin = |origin: &str| origin.split_once("://").is_some_and(|(_, host)| here(host));
    if headers.get_all(ORIGIN).iter().any(|value| !value.to_str().is_ok_and(origin)) {
        return Some("no credential, and asked for by a page from elsewhere");
    }
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => None,
        Some(_) => Some("no credential, and asked for by a page from elsewhere"),
    }
}

/// The address of a peer as it stands in the audit.
fn address(peer: IpAddr) -> Arc<str> {
    peer.to_canonical().to_string().into()
}

/// A principal as it stands in the audit.
#[must_use]
pub fn actor(principal: &Principal, from: &str) -> Actor {
    let via = match &principal.via {
        Via::Local => "local".to_owned(),
        Via::Token(id) => format!("token {id}"),
        Via::Oidc(issuer) => format!("oidc {issuer}"),
        Via::Certificate(subject) => format!("certificate {subject}"),
    };
    Actor { name: principal.name.clone(), via: via.into(), from: from.into() }
}
