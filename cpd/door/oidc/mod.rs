//! JSON Web Tokens of OpenID Connect providers.
//!
//! 1. The header is read, and refused unless it has an algorithm of the allow-list, no `crit`, and the type of an access token.
//! 2. `iss`, unchecked as yet, chooses the provider; there is none for the rest of the world.
//! 3. The provider's [`keys`] have the key that `kid` names, of a kind that suits the algorithm. Whatever key the token itself
//!    brings or points to (`jwk`, `jku`, `x5c`, `x5u`) is not looked at.
//! 4. The signature, then `iss`, `aud`, `exp` and `nbf` are checked: all but `nbf` must be there.
//! 5. The claims give a name, a role and namespaces ([`super::grant`]).

mod crypto;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cpd_connectors::http::tls::client_config;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, dangerous, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use self::keys::{Keys, NoKey};
use super::config::{self, Wrong};
use super::grant::{self, Grants};
use super::principal::{Principal, Via};
use super::refusal::Refusal;

/// The longest token that is looked at.
pub(super) const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The types that a token may say of itself; others are for other ends, such as `logout+jwt`.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
/// When to come again while a provider does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Labels that other ways to be recognised have.
const TAKEN_LABELS: [&str; 5] = ["token", "certificate", "cli", "local", "engine"];

/// The providers.
pub(super) struct Providers(Vec<Provider>);

struct Provider {
    label: String,
    issuer: Arc<str>,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    name_claim: String,
    groups_claim: String,
    grants: Grants,
    keys: Keys,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

impl Providers {
    pub fn new(configured: &[config::Oidc]) -> Result<Self, Wrong> {
        crypto::install();
        let providers = configured.iter().map(Provider::new).collect::<Result<Vec<_>, _>>()?;
        let (mut issuers, mut labels) = (HashSet::new(), HashSet::new());
        for provider in &providers {
            let place = || format!("[[auth.oidc]] {}", provider.issuer);
            if !issuers.insert(&provider.issuer) {
                return Err(Wrong::at(place(), "found two of this issuer, expected one"));
            }
            if !labels.insert(&provider.label) {
                let what = format!("found the label {:?} twice; give each provider its own `label`", provider.label);
                return Err(Wrong::at(place(), what));
            }
        }
        Ok(Self(providers))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who a token is.
    pub async fn recognise(&self, token: &str) -> Result<Principal, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::invalid(format!("a token of {} bytes", token.len())));
        }
        let header = decode_header(token).map_err(|_| Refusal::invalid("a JWT whose header cannot be read"))?;
        if header.crit.is_some() {
            return Err(Refusal::invalid("a JWT with `crit`, which asks for what is not known here"));
        }
        if header.typ.as_ref().is_some_and(|typ| !TYPES.iter().any(|t| t.eq_ignore_ascii_case(typ))) {
            return Err(Refusal::invalid("a JWT that is no access token"));
        }
        let Issuer { iss } = dangerous::insecure_decode_claims(token)
            .map_err(|_| Refusal::invalid("a JWT whose `iss` cannot be read"))?;
        let provider = self.0.iter().find(|p| *p.issuer == *iss);
        let provider = provider.ok_or_else(|| Refusal::invalid("a JWT of an issuer that is not configured"))?;
        provider.recognise(token, header.alg, header.kid.as_deref()).await
    }
}

impl Provider {
    fn new(configured: &config::Oidc) -> Result<Self, Wrong> {
        let config::Oidc { label, issuer, audiences, jwks_url, ca_file, algorithms, leeway_s, .. } = configured;
        let place = format!("[[auth.oidc]] {issuer}");
        let wrong = |what: String| Wrong::at(&*place, what);
        keys::allowed(issuer, true).map_err(|what| wrong(format!("`issuer`: {what}")))?;
        if let Some(url) = jwks_url {
            keys::allowed(url, true).map_err(|what| wrong(format!("`jwks_url`: {what}")))?;
        }
        let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if label.is_empty() || !label.chars().all(fit) || TAKEN_LABELS.contains(&&**label) {
            let taken = TAKEN_LABELS.join(", ");
            return Err(wrong(format!("`label` {label:?}: expected characters a-z, 0-9 and `-`, and none of {taken}")));
        }
        if audiences.iter().all(String::is_empty) {
            return Err(wrong("`audiences` is empty: expected what stands in `aud` of tokens for this cpd".to_owned()));
        }
        if algorithms.is_empty() {
            return Err(wrong("`algorithms` is empty: expected at least one, such as \"RS256\"".to_owned()));
        }
        if *leeway_s > 600 {
            return Err(wrong(format!("`leeway_s` is {leeway_s}: expected at most 600")));
        }
        if configured.keys_pause_s == 0 || configured.keys_age_s_max < configured.keys_pause_s {
            let what = "`keys_pause_s` must be at least 1, and `keys_age_s_max` no less than that";
            return Err(wrong(what.to_owned()));
        }
        let tls =
            client_config(ca_file.as_deref()).map_err(|e| wrong(format!("`ca_file`: {:#}", anyhow::Error::from(e))))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("cpd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| wrong(format!("make a client: {:#}", anyhow::Error::from(e))))?;
        let (age, pause) = (configured.keys_age_s_max, configured.keys_pause_s);
        let algorithms: Vec<Algorithm> = algorithms.iter().map(|a| a.algorithm()).collect();
        let mut validation = Validation::new(algorithms[0]);
        validation.set_audience(audiences);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.leeway = *leeway_s;
        validation.validate_nbf = true;
        Ok(Self {
            label: label.clone(),
            issuer: issuer.as_str().into(),
            algorithms,
            validation,
            name_claim: configured.name_claim.clone(),
            groups_claim: configured.groups_claim.clone(),
            grants: Grants::new(issuer, &configured.grants)?,
            keys: Keys::new(client, issuer, jwks_url.as_deref(), Duration::from_secs(age), Duration::from_secs(pause)),
        })
    }

    async fn recognise(&self, token: &str, algorithm: Algorithm, kid: Option<&str>) -> Result<Principal, Refusal> {
        let issuer = &self.issuer;
        if !self.algorithms.contains(&algorithm) {
            return Err(Refusal::invalid(format!("a JWT of {issuer} signed by {algorithm:?}, which is not allowed")));
        }
        let key = match self.keys.key(kid, algorithm).await {
            Ok(key) => key,
            Err(NoKey::Unknown) => {
                return Err(Refusal::invalid(format!("a JWT of {issuer} signed by a key that is not known")));
            }
            Err(NoKey::Unavailable(why)) => {
                return Err(Refusal::unavailable(RETRY_AFTER, format!("the keys of {issuer}: {why}")));
            }
        };
        // The decoder wants every algorithm to be of the key's family; the allow-list was asked above.
        let validation = Validation { algorithms: vec![algorithm], ..self.validation.clone() };
        let claims = decode::<Value>(token, &key.decoding, &validation)
            .map_err(|e| Refusal::invalid(format!("a JWT of {issuer} {}", flaw(e.kind()))))?
            .claims;
        let name = grant::name(&claims, &self.name_claim)
            .ok_or_else(|| Refusal::no_role(format!("a JWT of {issuer} without the claim {}", self.name_claim)))?;
        let name: Arc<str> = format!("{}:{name}", self.label).into();
        let (role, scope) = self
            .grants
            .of(&claims)
            .ok_or_else(|| Refusal::no_role(format!("{name} of {issuer} has claims that give no role")))?;
        let groups = grant::groups(&claims, &self.groups_claim);
        Ok(Principal { name, role, scope, groups, via: Via::Oidc(issuer.clone()) })
    }
}

/// What is wrong with a token, in words that none of it is part of.
fn flaw(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "whose signature is wrong",
        ErrorKind::ExpiredSignature => "that has expired",
        ErrorKind::ImmatureSignature => "that is not good yet",
        ErrorKind::InvalidAudience => "for another audience",
        ErrorKind::InvalidIssuer => "that names another issuer",
        ErrorKind::MissingRequiredClaim(_) => "without `exp`, `iss` or `aud`",
        ErrorKind::InvalidClaimFormat(_) => "whose `exp` or `nbf` is no time",
        ErrorKind::InvalidAlgorithm => "whose key is of another kind than its algorithm",
        _ => "that cannot be read",
    }
}
