//! Tokens from an authority: RFC 6749 with its extensions for exchange (8693), assertions (7523) and introspection (7662).
//!
//! [`Authority::grant`] asks for a token as the policy says; with a refresh token it tries that first, and goes on to the grant
//! itself if the authority does not take it. Requests to the token endpoint belong to no run: they carry no idempotency
//! key, follow no redirect, and may be repeated, because all that a lost answer costs is a token that nobody uses.
//!
//! What goes wrong here is an `authentication` problem (401), or an `authorization` one (403) if the authority knows the
//! client and says that it may not: the status is in `data.statusCode`. Trouble on the way, 429 and 5xx may be retried.
//!
//! `issuers` is held against the `iss` of the token if it is a JWT, else against what the introspection endpoint says about
//! it; a token whose issuer nobody tells is refused.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cpd_connector_api::secret::{Redactor, Secret};
use cpd_connector_api::{Class, Map, Problem, Standard, Value, json};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};

use super::assertion::{Key, claims, sign};
use super::cache;
use super::discovery::{Discoveries, Provider};
use super::settings::{ClientAuthentication, Encoding, Endpoints, Grant, Oauth, TOKEN_EXCHANGE};
use super::teach;
use crate::http::client::shown;
use crate::http::content::{Form, excerpt};
use crate::http::verdict::retry_after;
use crate::http::{Answer, Call, HttpClient, Trouble, client};

/// A token whose authority does not say how long it is good is asked for anew after this.
const LIFETIME_UNSAID: Duration = Duration::from_secs(300);

/// How long a token may be good; what an authority says beyond it is cut to it.
const LIFETIME_MOST: Duration = Duration::from_secs(24 * 60 * 60);

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Refusals that mean "you may not", not "who are you?".
const FORBIDDEN: [&str; 4] = ["access_denied", "invalid_scope", "invalid_target", "unauthorized_client"];

/// An authority, as one policy talks to it.
pub(super) struct Authority<'a> {
    pub http: &'a HttpClient,
    pub discoveries: &'a Discoveries,
    pub oauth: &'a Oauth,
}

/// Members of a request to the authority, in order.
type Members = Vec<(&'static str, Vec<String>)>;

impl Authority<'_> {
    /// A token, by the refresh token if there is one and it is taken, else by the policy's grant.
    pub async fn grant(&self, refresh: Option<Secret>) -> Result<cache::Grant, Trouble> {
        let mut redactor = Redactor::default();
        self.oauth.secrets().iter().chain(&refresh).for_each(|secret| teach(&mut redactor, secret));
        let granted = self.granted(refresh, &mut redactor).await;
        granted.map_err(|trouble| trouble.map(|problem| redactor.problem(problem)))
    }

    async fn granted(&self, refresh: Option<Secret>, redactor: &mut Redactor) -> Result<cache::Grant, Trouble> {
        let provider = match &self.oauth.endpoints {
            Endpoints::Given { token, introspection } => {
                Provider { token: token.clone(), introspection: Some(introspection.clone()) }
            }
            Endpoints::Discovered { document } => self.discoveries.find(self.http, self.oauth, document).await?,
        };
        if let Some(refresh) = refresh {
            match self.token(&provider, renewal(&refresh), Some(&refresh), redactor).await {
                Err(Trouble::Refused(problem)) => {
                    tracing::debug!(%problem, "the refresh token is not taken any more; a token is asked for anew");
                }
                other => return other,
            }
        }
        let kept = match &self.oauth.grant {
            Grant::RefreshToken(token) => Some(token),
            Grant::ClientCredentials | Grant::Password { .. } | Grant::TokenExchange { .. } => None,
        };
        self.token(&provider, self.members(), kept, redactor).await
    }

    /// What the policy's grant asks with.
    fn members(&self) -> Members {
        let one = |name, value: &str| (name, vec![value.to_owned()]);
        let mut members = match &self.oauth.grant {
            Grant::ClientCredentials => vec![one("grant_type", "client_credentials")],
            Grant::Password { username, password } => {
                vec![one("grant_type", "password"), one("username", username), one("password", password.expose())]
            }
            Grant::RefreshToken(token) => renewal(token),
            Grant::TokenExchange { subject, actor } => {
                let mut members = vec![
                    one("grant_type", TOKEN_EXCHANGE),
                    one("subject_token", subject.token.expose()),
                    one("subject_token_type", &subject.kind),
                ];
                if let Some(actor) = actor {
                    members.push(one("actor_token", actor.token.expose()));
                    members.push(one("actor_token_type", &actor.kind));
                }
                members
            }
        };
        if !self.oauth.scopes.is_empty() {
            members.push(one("scope", &self.oauth.scopes.join(" ")));
        }
        if !self.oauth.audiences.is_empty() {
            members.push(("audience", self.oauth.audiences.clone()));
        }
        members
    }

    /// One request for a token; `kept` stays the refresh token if the answer brings no other.
    async fn token(
        &self,
        provider: &Provider,
        members: Members,
        kept: Option<&Secret>,
        redactor: &mut Redactor,
    ) -> Result<cache::Grant, Trouble> {
        let asked = self.http.clock().now();
        let endpoint = &provider.token;
        let answer = self.ask(endpoint, members, redactor).await?;
        let said = json_of(endpoint, &answer)?;
        let missing = |what: &str| refused(endpoint, &answer, Standard::Authentication, what);
        let access = match said.get("access_token").and_then(Value::as_str) {
            Some(token) if !token.is_empty() => Secret::new(token),
            _ => return Err(missing("answered without an access_token")),
        };
        teach(redactor, &access);
        let refresh = said.get("refresh_token").and_then(Value::as_str).filter(|t| !t.is_empty()).map(Secret::new);
        if let Some(refresh) = &refresh {
            teach(redactor, refresh);
        }
        let kind = said.get("token_type").and_then(Value::as_str).unwrap_or("Bearer");
        // "N_A" is what an exchange says of a token that is none of OAuth's own.
        if !["bearer", "n_a"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            return Err(missing(&format!(
                "answered with a token of type {:?}, expected Bearer",
                excerpt(kind.as_bytes())
            )));
        }
        client::sensitive(access.expose()).map_err(Trouble::Refused)?;
        let jwt = claims(access.expose());
        self.issued(provider, &access, jwt.as_ref(), redactor).await?;
        let seconds = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        let lifetime = match said.get("expires_in").and_then(seconds) {
            Some(seconds) => Some(seconds),
            None => jwt.as_ref().and_then(|c| c.get("exp")?.as_f64()).map(|at| at - asked.as_micros() as f64 / 1e6),
        };
        let lifetime = lifetime.map_or(LIFETIME_UNSAID, |seconds| {
            Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LIFETIME_MOST).min(LIFETIME_MOST)
        });
        Ok(cache::Grant { access, refresh: refresh.or_else(|| kept.cloned()), asked, lifetime })
    }

    /// Holds `issuers` against whoever issued the token.
    async fn issued(
        &self,
        provider: &Provider,
        access: &Secret,
        jwt: Option<&Value>,
        redactor: &mut Redactor,
    ) -> Result<(), Trouble> {
        if self.oauth.issuers.is_empty() {
            return Ok(());
        }
        let issuer = |value: &Value| value.get("iss").and_then(Value::as_str).map(str::to_owned);
        let found = match (jwt.and_then(issuer), &provider.introspection) {
            (Some(issuer), _) => Some(issuer),
            (None, Some(endpoint)) => {
                let members = vec![("token", vec![access.expose().to_owned()])];
                let answer = self.ask(endpoint, members, redactor).await?;
                issuer(&json_of(endpoint, &answer)?)
            }
            (None, None) => None,
        };
        if found.as_ref().is_some_and(|issuer| self.oauth.issuers.contains(issuer)) {
            return Ok(());
        }
        let found = found.map_or_else(|| "nobody who says so".to_owned(), |issuer| format!("{issuer:?}"));
        let expected = self.oauth.issuers.join(", ");
        let what = format!("the token's issuer: found {found}, expected one of `issuers`: {expected}");
        Err(Trouble::Refused(Problem::standard(Standard::Authentication, what)))
    }

    /// One request to an endpoint of the authority, in the name of the client.
    async fn ask(&self, endpoint: &Url, mut members: Members, redactor: &mut Redactor) -> Result<Answer, Trouble> {
        let mut call = Call::new(Method::POST, endpoint.clone(), Class::Safe);
        self.introduce(endpoint, &mut members, &mut call.headers, redactor).map_err(Trouble::Refused)?;
        call.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (kind, body) = match self.oauth.encoding {
            Encoding::Form => {
                let mut form = Form::default();
                members.iter().for_each(|(name, values)| values.iter().for_each(|v| form.push(name, v)));
                ("application/x-www-form-urlencoded", form.text)
            }
            Encoding::Json => {
                let value = |values: Vec<String>| match <[String; 1]>::try_from(values) {
                    Ok([one]) => Value::from(one),
                    Err(several) => several.into_iter().map(Value::from).collect(),
                };
                let object: Map = members.into_iter().map(|(name, values)| (name.into(), value(values))).collect();
                ("application/json", Value::from(object).to_json())
            }
        };
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        call.body = Some(Bytes::from(body));
        let answer = self.http.fetch(call, None).await.map_err(|t| t.map(|p| unobtained(endpoint, p)))?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(declined(endpoint, &answer)) }
    }

    /// Adds what says who the client is.
    fn introduce(
        &self,
        endpoint: &Url,
        members: &mut Members,
        headers: &mut HeaderMap,
        redactor: &mut Redactor,
    ) -> Result<(), Problem> {
        let id = &self.oauth.client.id;
        let mut add = |name: &'static str, value: &str| members.push((name, vec![value.to_owned()]));
        let key = match &self.oauth.client.authentication {
            ClientAuthentication::None => {
                if !id.is_empty() {
                    add("client_id", id);
                }
                return Ok(());
            }
            ClientAuthentication::SecretBasic(secret) => {
                // RFC 6749, section 2.3.1: both are encoded as in a form before they are put together.
                let mut pair = String::new();
                form_encoded(id, &mut pair);
                pair.push(':');
                form_encoded(secret.expose(), &mut pair);
                let pair = Secret::new(BASE64.encode(pair));
                redactor.add(pair.clone());
                headers.insert(AUTHORIZATION, client::sensitive(&format!("Basic {}", pair.expose()))?);
                return Ok(());
            }
            ClientAuthentication::SecretPost(secret) => {
                add("client_id", id);
                add("client_secret", secret.expose());
                return Ok(());
            }
            ClientAuthentication::Assertion(signed) => {
                add("client_id", id);
                add("client_assertion_type", ASSERTION_TYPE);
                add("client_assertion", signed.expose());
                return Ok(());
            }
            ClientAuthentication::SecretJwt(secret) => Key::secret(secret),
            ClientAuthentication::PrivateKeyJwt(pem) => Key::pem(pem)?,
        };
        let signed = sign(&key, id, endpoint.as_str(), self.http.clock().now())?;
        redactor.add(signed.clone());
        add("client_id", id);
        add("client_assertion_type", ASSERTION_TYPE);
        add("client_assertion", signed.expose());
        Ok(())
    }
}

/// The object that an authority answered. What else it may be is not shown: there may be half a token in it.
fn json_of(endpoint: &Url, answer: &Answer) -> Result<Value, Trouble> {
    Value::from_json(&answer.body).ok().filter(|v| v.as_object().is_some()).ok_or_else(|| {
        let kind = answer.header(CONTENT_TYPE).map_or_else(|| "no content type".to_owned(), |t| excerpt(t.as_bytes()));
        let what = format!("answered {} with {kind} that is no JSON object", answer.status);
        refused(endpoint, answer, Standard::Authentication, &what)
    })
}

fn renewal(token: &Secret) -> Members {
    vec![("grant_type", vec!["refresh_token".into()]), ("refresh_token", vec![token.expose().to_owned()])]
}

/// The encoding of forms: as in addresses, but a blank is a plus.
fn form_encoded(text: &str, out: &mut String) {
    for (at, piece) in text.split(' ').enumerate() {
        if at > 0 {
            out.push('+');
        }
        crate::http::content::percent(piece, out);
    }
}

/// A problem on the way to the authority, as one of authentication. A host that may not be called stays what it is.
pub(super) fn unobtained(endpoint: &Url, problem: Problem) -> Problem {
    if problem.kind.ends_with("/authorization") {
        return problem;
    }
    let why = problem.detail.as_deref().unwrap_or("");
    let data = json!({"endpoint": shown(endpoint), "statusCode": i64::from(problem.status)});
    Problem::standard(Standard::Authentication, format!("obtain a token: {why}")).with_data(data)
}

/// An authority's answer that is of no use.
pub(super) fn refused(endpoint: &Url, answer: &Answer, kind: Standard, what: &str) -> Trouble {
    let detail = format!("obtain a token: {} {what}", shown(endpoint));
    let data = json!({"endpoint": shown(endpoint), "statusCode": i64::from(answer.status)});
    Trouble::Refused(Problem::standard(kind, detail).with_data(data))
}

/// An authority's answer that is not 2xx.
pub(super) fn declined(endpoint: &Url, answer: &Answer) -> Trouble {
    let said = Value::from_json(&answer.body).unwrap_or_default();
    let text = |name: &str| said.get(name).and_then(Value::as_str).map(|t| excerpt(t.as_bytes()));
    let error = text("error");
    let why = match (&error, text("error_description")) {
        (Some(error), Some(description)) => format!("{error}: {description}"),
        (Some(error), None) => error.clone(),
        (None, _) => excerpt(&answer.body),
    };
    let forbidden = answer.status == 403 || error.as_ref().is_some_and(|e| FORBIDDEN.contains(&e.as_str()));
    let kind = if forbidden { Standard::Authorization } else { Standard::Authentication };
    let mut what = format!("answered {}", answer.status);
    if !why.is_empty() {
        what.push_str(&format!(": {why}"));
    }
    let trouble = refused(endpoint, answer, kind, &what);
    if !matches!(answer.status, 408 | 421 | 425 | 429 | 500..) {
        return trouble;
    }
    let not_before = answer.header(RETRY_AFTER).and_then(|v| retry_after(v, answer.received));
    Trouble::Failed { problem: trouble.into_problem(), not_before }
}
