//! `[auth]` and `[tls]` of the configuration.

use std::fmt;
use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer};

use super::principal::Role;

/// `[auth]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether callers on this machine are let in as its owner, without a credential.
    pub local: bool,
    /// `[[auth.oidc]]`: providers whose JSON Web Tokens are taken.
    pub oidc: Vec<Oidc>,
    /// `[[auth.certificates]]`: client certificates that are let in; the first that fits counts.
    pub certificates: Vec<Certificate>,
}

/// `[[auth.oidc]]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// What stands in front of the names of its principals: `label:name`.
    #[serde(default = "label")]
    pub label: String,
    /// The issuer as it stands in `iss`, to the letter; its discovery document is below it.
    pub issuer: String,
    /// One of these must stand in `aud`.
    pub audiences: Vec<String>,
    /// Where the keys are; without it the discovery document says it.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Certificate authorities of the provider, beside those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Algorithms that a signature may have.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<Signature>,
    /// How far the clocks of the provider and this machine may be apart, in seconds.
    #[serde(default = "leeway")]
    pub leeway_s: u64,
    /// How old the keys may become before they are loaded anew, in seconds.
    #[serde(default = "keys_age")]
    pub keys_age_s_max: u64,
    /// How often at most they are loaded because of a key that is not known, or after a failure, in seconds.
    #[serde(default = "keys_pause")]
    pub keys_pause_s: u64,
    /// The claim that names the principal.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// The claim that lists the groups of the principal, for approvals; it need not be there.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    /// What claims give; the first that fits counts.
    pub grants: Vec<Grant>,
}

/// `[[auth.oidc.grants]]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// A claim by its name, or by its JSON pointer if it begins with `/`. Without it the grant fits everybody.
    #[serde(default)]
    pub claim: Option<String>,
    /// What the claim has to be, or to contain if it is a list.
    #[serde(default)]
    pub value: Option<String>,
    /// The role that this gives.
    #[serde(deserialize_with = "role")]
    pub role: Role,
    /// The namespaces that it reaches, or `*`.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Or the claim that names them.
    #[serde(default)]
    pub namespaces_claim: Option<String>,
}

/// `[[auth.certificates]]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// A name in the certificate: `uri:`, `dns:` or `email:` of the subject's alternative names, `cn:`, or the whole `subject:`.
    pub name: String,
    /// The role that this gives.
    #[serde(deserialize_with = "role")]
    pub role: Role,
    /// The namespaces that it reaches, or `*`.
    pub namespaces: Vec<String>,
}

/// `[tls]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and its chain, PEM.
    pub cert_file: PathBuf,
    /// The private key of the certificate, PEM.
    pub key_file: PathBuf,
    /// Whether clients show certificates.
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    /// Certificate authorities of clients, PEM.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Lists of client certificates that were revoked, PEM.
    #[serde(default)]
    pub client_crl_file: Option<PathBuf>,
    /// How long a handshake may take.
    #[serde(default = "handshake")]
    pub handshake_ms_max: u64,
}

/// `client_certificates` of `[tls]`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not asked for.
    #[default]
    None,
    /// Whoever has one may show it.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// An algorithm of a signature that only the owner of a private key can make: no `none`, no HMAC.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are the names of RFC 7518 and RFC 8037")]
pub enum Signature {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Signature {
    /// As the decoder names it.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::RS384 => Algorithm::RS384,
            Self::RS512 => Algorithm::RS512,
            Self::PS256 => Algorithm::PS256,
            Self::PS384 => Algorithm::PS384,
            Self::PS512 => Algorithm::PS512,
            Self::ES256 => Algorithm::ES256,
            Self::ES384 => Algorithm::ES384,
            Self::EdDSA => Algorithm::EdDSA,
        }
    }
}

/// What is wrong with `[auth]`, beyond its form.
#[derive(Debug)]
pub struct Wrong {
    /// Where: `[[auth.oidc]] https://…`.
    pub place: String,
    /// What was found, what was expected, what to do.
    pub what: String,
}

impl Wrong {
    /// Something wrong at a place.
    pub(super) fn at(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "use {}: {}", self.place, self.what)
    }
}

impl std::error::Error for Wrong {}

fn label() -> String {
    "oidc".to_owned()
}

fn algorithms() -> Vec<Signature> {
    vec![Signature::RS256, Signature::PS256, Signature::ES256, Signature::ES384, Signature::EdDSA]
}

fn leeway() -> u64 {
    60
}

fn keys_age() -> u64 {
    3_600
}

fn keys_pause() -> u64 {
    30
}

fn name_claim() -> String {
    "sub".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

fn handshake() -> u64 {
    10_000
}

fn role<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
    let name = String::deserialize(deserializer)?;
    let expected = || Role::ALL.map(Role::name).join(", ");
    Role::named(&name)
        .ok_or_else(|| serde::de::Error::custom(format!("unknown role {name:?}, expected one of {}", expected())))
}
