//! Authentication against services: every scheme of the workflow language, for every connector that speaks HTTP.
//!
//! - [`Policy`] is the value of `authentication`, read and checked; see [`Policy::read`] and [`schema`].
//! - [`Authenticator::send`] makes a call with a policy's credentials: it answers a digest's challenge, obtains OAuth 2 and
//!   OpenID Connect tokens, keeps them until a little before they run out, and tries once more with a fresh one when the
//!   service answers 401. [`Authenticator::apply`] is for what is no plain call (a gRPC stream, a web socket).
//! - Tokens are kept by an [`Authenticator`] and its clones: make one for the process. They live in memory only.
//! - Every secret and token in play is taught to the caller's [`Redactor`], in the forms that they travel in. A user's name
//!   counts as secret if it stands in a secret.
//! - Credentials go to the origin of the call and to no other, whatever redirects say.
//!
//! If the service itself answers 401 or 403, that is the service's answer: a `communication` problem with that status, as the
//! specification says. An `authentication` problem means that no credentials were to be had; an `authorization` problem, that
//! the secret is not there or the authority knows the client and says no.
//!
//! Not here: `authorization_code` (it needs a person), revoking tokens, DPoP, mutual TLS.

mod assertion;
mod cache;
mod challenge;
mod digest;
mod discovery;
mod members;
mod oauth2;
mod policy;
mod schema;
mod settings;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cpd_connector_api::guard::within;
use cpd_connector_api::secret::{Redactor, Secret, Secrets};
use cpd_connector_api::{BoxFuture, Problem, Request, Standard, Value};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use self::cache::Tokens;
use self::challenge::challenges;
use self::digest::{Demand, Part, why_not};
use self::discovery::Discoveries;
use self::oauth2::Authority;
use self::policy::{Login, Scheme};
use self::settings::Oauth;
use crate::http::client::{sensitive, shown};
use crate::http::content::percent;
use crate::http::exchange::Credentials;
use crate::http::{Answer, Call, HttpClient, Trouble};

pub use self::policy::Policy;
pub use self::schema::schema;

/// Challenges that are answered within one call: the first, one after a nonce grew stale, and one to spare.
const CHALLENGES_MAX: u32 = 3;

/// Makes calls with credentials. Cheap to clone; clones share what tokens there are.
#[derive(Clone)]
pub struct Authenticator {
    http: HttpClient,
    secrets: Arc<dyn Secrets>,
    tokens: Tokens,
    discoveries: Discoveries,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("http", &self.http).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// An authenticator without any tokens yet.
    pub fn new(http: HttpClient, secrets: Arc<dyn Secrets>) -> Self {
        Self { http, secrets, tokens: Tokens::default(), discoveries: Discoveries::default() }
    }

    /// The client that it makes calls with.
    pub fn http(&self) -> &HttpClient {
        &self.http
    }

    /// The secrets that it reads policies from.
    pub fn secrets(&self) -> &Arc<dyn Secrets> {
        &self.secrets
    }

    /// The same, tokens included, over another client: for a connector with limits of its own.
    #[must_use]
    pub fn with_http(&self, http: HttpClient) -> Self {
        Self { http, ..self.clone() }
    }

    /// Makes one exchange as the policy says. An answer of any status is `Ok`; see [`Answer::success`].
    ///
    /// # Errors
    /// If there is no answer, or none that may be taken, or no credentials are to be had: nothing was sent then.
    pub async fn send(
        &self,
        policy: Option<&Policy>,
        call: Call,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<Answer, Trouble> {
        let Some(policy) = policy else { return self.http.send(call, request).await };
        let mut session = self.session(policy, redactor).map_err(Trouble::Refused)?;
        self.http.send_as(call, request, Some(&mut session)).await
    }

    /// The same for a call that belongs to no request: no key, and no limits but the client's own.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn fetch(&self, policy: Option<&Policy>, call: Call, redactor: &mut Redactor) -> Result<Answer, Trouble> {
        let Some(policy) = policy else { return self.http.fetch(call, None).await };
        let mut session = self.session(policy, redactor).map_err(Trouble::Refused)?;
        self.http.fetch(call, Some(&mut session)).await
    }

    /// Puts `Authorization` into headers of the caller's own. A token that is refused then: [`forget`](Self::forget) it.
    ///
    /// # Errors
    /// If no credentials are to be had, or the policy is digest, whose answer depends on a challenge and the request.
    pub async fn apply(
        &self,
        policy: &Policy,
        headers: &mut HeaderMap,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<(), Trouble> {
        let mut session = self.session(policy, redactor).map_err(Trouble::Refused)?;
        let obtained = within(request, &**self.http.clock(), session.standing()).await;
        let value = obtained.map_err(|why| Trouble::failed(why.problem("before anything was sent")))??;
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// Forgets the token that these headers carry, because the service did not take it.
    pub fn forget(&self, policy: &Policy, headers: &HeaderMap) {
        let token = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        if let (Some(token), Ok((Scheme::Token(oauth), _))) = (token, policy.resolve(&*self.secrets)) {
            self.tokens.forget(oauth.fingerprint, &Secret::new(token));
        }
    }

    fn session<'a>(&'a self, policy: &Policy, redactor: &'a mut Redactor) -> Result<Session<'a>, Problem> {
        let (scheme, from_secret) = policy.resolve(&*self.secrets)?;
        let state = match scheme {
            Scheme::Basic(login) => {
                login.teach(from_secret, redactor);
                let pair = BASE64.encode(format!("{}:{}", login.username.expose(), login.password.expose()));
                redactor.add(Secret::new(&pair));
                State::Standing(sensitive(&format!("Basic {pair}"))?)
            }
            Scheme::Bearer(token) => {
                teach(redactor, &token);
                State::Standing(sensitive(&format!("Bearer {}", token.expose()))?)
            }
            Scheme::Digest(login) => {
                login.teach(from_secret, redactor);
                State::Digest { login, demand: None, count: 0, challenged: 0 }
            }
            Scheme::Token(oauth) => {
                oauth.secrets().iter().for_each(|secret| teach(redactor, secret));
                State::Token { oauth, used: None, retried: false }
            }
        };
        Ok(Session { authenticator: self, redactor, state })
    }
}

impl Login {
    fn teach(&self, from_secret: bool, redactor: &mut Redactor) {
        teach(redactor, &self.password);
        if from_secret {
            teach(redactor, &self.username);
        }
    }
}

/// Teaches a redactor a secret, in the forms that it may come back in: itself, in an address or form, in JSON.
pub(crate) fn teach(redactor: &mut Redactor, secret: &Secret) {
    let plain = secret.expose();
    redactor.add(secret.clone());
    let mut encoded = String::new();
    percent(plain, &mut encoded);
    redactor.add(Secret::new(encoded.replace("%20", "+")));
    redactor.add(Secret::new(encoded));
    let quoted = Value::str(plain).to_json();
    redactor.add(Secret::new(&quoted[1..quoted.len() - 1]));
}

/// The credentials of one call.
struct Session<'a> {
    authenticator: &'a Authenticator,
    redactor: &'a mut Redactor,
    state: State,
}

enum State {
    /// The same for every request.
    Standing(HeaderValue),
    /// Depends on the server's challenge and on the request.
    Digest { login: Login, demand: Option<Demand>, count: u32, challenged: u32 },
    /// A token that is good for a while.
    Token { oauth: Arc<Oauth>, used: Option<Secret>, retried: bool },
}

impl Session<'_> {
    /// The value of `Authorization` that any request may carry.
    async fn standing(&mut self) -> Result<HeaderValue, Trouble> {
        match &mut self.state {
            State::Standing(value) => Ok(value.clone()),
            State::Token { oauth, used, .. } => {
                let authenticator = self.authenticator;
                let http = &authenticator.http;
                let authority = Authority { http, discoveries: &authenticator.discoveries, oauth };
                let now = || http.clock().now();
                let fetch = |refresh| authority.grant(refresh);
                let token = authenticator.tokens.get(oauth.fingerprint, now, fetch).await?;
                teach(self.redactor, &token);
                let value = sensitive(&format!("Bearer {}", token.expose())).map_err(Trouble::Refused)?;
                *used = Some(token);
                Ok(value)
            }
            State::Digest { .. } => {
                let what =
                    "`authentication.digest`: found a call that is no plain HTTP request, expected another scheme";
                Err(Trouble::Refused(members::wrong(what)))
            }
        }
    }
}

impl Credentials for Session<'_> {
    fn authorization<'a>(&'a mut self, call: &'a Call) -> BoxFuture<'a, Result<Option<HeaderValue>, Trouble>> {
        Box::pin(async move {
            let State::Digest { login, demand, count, .. } = &mut self.state else {
                return self.standing().await.map(Some);
            };
            let Some(demand) = demand else { return Ok(None) };
            *count += 1;
            let target = call
                .url
                .query()
                .map_or_else(|| call.url.path().to_owned(), |query| format!("{}?{query}", call.url.path()));
            let cnonce = assertion::nonce().map_err(Trouble::Refused)?;
            let part = Part {
                method: call.method.as_str(),
                target: &target,
                body: call.body.as_deref().unwrap_or_default(),
                count: *count,
                cnonce: &cnonce,
            };
            let (value, proof) = demand.answer(login, part);
            self.redactor.add(Secret::new(proof));
            sensitive(&value).map(Some).map_err(Trouble::Refused)
        })
    }

    fn another(&mut self, refusal: &Answer) -> Result<bool, Trouble> {
        match &mut self.state {
            State::Standing(_) => Ok(false),
            State::Token { oauth, used, retried } => {
                let Some(used) = used.take() else { return Ok(false) };
                self.authenticator.tokens.forget(oauth.fingerprint, &used);
                Ok(!std::mem::replace(retried, true))
            }
            State::Digest { demand, count, challenged, .. } => {
                let headers = refusal.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
                let found: Vec<_> = headers.flat_map(challenges).collect();
                let Some(next) = Demand::choose(&found) else {
                    if demand.is_some() {
                        return Ok(false);
                    }
                    let what = format!(
                        "{} answered 401 with {}, expected a digest challenge with MD5, SHA-256 or SHA-512-256",
                        shown(&refusal.url),
                        why_not(&found)
                    );
                    return Err(Trouble::Refused(Problem::standard(Standard::Authentication, what)));
                };
                // A fresh nonce for the same credentials is a new try only if the old one was too old.
                let worth = (demand.is_none() || next.stale) && *challenged < CHALLENGES_MAX;
                if worth {
                    (*demand, *count) = (Some(next), 0);
                    *challenged += 1;
                }
                Ok(worth)
            }
        }
    }
}
