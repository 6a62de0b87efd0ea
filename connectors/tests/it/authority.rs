//! A real OAuth 2 and OpenID Connect authority for tests: it checks every request as the specifications say, by means of its
//! own (signatures with ring), gives tokens that run out by a clock, and guards a service that echoes what it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cpd_connector_api::clock::{Clock, ManualClock, SystemClock};
use cpd_connector_api::{Timestamp, Value, json};
use parking_lot::Mutex;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use ring::{hmac, signature};

use crate::server::{Asked, Reply, Server};

/// How a client has to say who it is.
#[derive(Clone, Debug)]
pub enum Proof {
    Basic(&'static str),
    Post(&'static str),
    Hmac(&'static str),
    /// An RSA public key, as PKCS #1 has it.
    Rsa(Vec<u8>),
    /// A point of P-256.
    P256(Vec<u8>),
    Nothing,
}

/// What the authority does, beside checking.
#[derive(Clone, Debug)]
pub struct Rules {
    pub clients: BTreeMap<&'static str, Proof>,
    /// `expires_in`, in seconds.
    pub lifetime: Option<u64>,
    /// Whether answers carry a refresh token.
    pub refresh: bool,
    /// Tokens are JWTs with this issuer.
    pub jwt_issuer: Option<String>,
    /// What the introspection endpoint and the discovery document say.
    pub issuer: Option<String>,
    /// Instead of all that, at the token endpoint.
    pub instead: Option<Reply>,
}

struct State {
    rules: Rules,
    clock: Arc<ManualClock>,
    /// Tokens that are good, and until when.
    good: BTreeMap<String, Timestamp>,
    refreshing: BTreeSet<String>,
    assertions: BTreeSet<String>,
    given: u32,
}

/// The authority, with the service that it guards at `/service`.
pub struct Authority {
    pub server: Server,
    pub clock: Arc<ManualClock>,
    state: Arc<Mutex<State>>,
}

pub const SECRET: &str = "cl!ent s3cret/+&=é";

impl Default for Rules {
    fn default() -> Self {
        Self {
            clients: BTreeMap::from([("me", Proof::Post(SECRET))]),
            lifetime: Some(300),
            refresh: false,
            jwt_issuer: None,
            issuer: None,
            instead: None,
        }
    }
}

impl Authority {
    pub async fn start(rules: Rules) -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let state = State {
            rules,
            clock: Arc::clone(&clock),
            good: BTreeMap::new(),
            refreshing: BTreeSet::new(),
            assertions: BTreeSet::new(),
            given: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let own = Arc::clone(&state);
        let server = Server::start(move |asked| own.lock().answer(asked)).await;
        Self { server, clock, state }
    }

    /// A token request's members and the rest of the policy, for `oauth2`.
    pub fn policy(&self, more: &Value) -> Value {
        let mut members = json!({
            "authority": self.server.url("/realms/a"), "grant": "client_credentials",
            "client": {"id": "me", "secret": SECRET},
        })
        .as_object()
        .expect("an object")
        .clone();
        members.extend(more.as_object().expect("an object").iter().map(|(k, v)| (k.clone(), v.clone())));
        Value::from(members)
    }

    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.state.lock().rules);
    }

    /// No token that was given is good any more; refresh tokens are, unless `all`.
    pub fn revoke(&self, all: bool) {
        let mut state = self.state.lock();
        state.good.clear();
        if all {
            state.refreshing.clear();
        }
    }

    /// How many tokens were given.
    pub fn given(&self) -> u32 {
        self.state.lock().given
    }

    /// The members of the last token request.
    pub fn last(&self) -> BTreeMap<String, Vec<String>> {
        let asked = self.server.asked();
        members(asked.iter().rev().find(|a| a.path.ends_with("/token")).expect("a token request"))
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let base = format!("http://{}", asked.header("host").unwrap_or(""));
        match asked.path.as_str() {
            "/realms/a/oauth2/token" | "/token" => self.rules.instead.clone().unwrap_or_else(|| {
                match self.token(asked, &format!("{base}{}", asked.path)) {
                    Ok(value) => Reply::json(200, &value),
                    Err((status, error)) => {
                        Reply::json(status, &json!({"error": error, "error_description": "as the test wants it"}))
                    }
                }
            }),
            "/realms/a/oauth2/introspect" | "/introspect" => {
                let token = members(asked).remove("token").unwrap_or_default().join("");
                let active = self.good.contains_key(&token) && self.client(asked, "").is_ok();
                Reply::json(200, &json!({"active": active, "iss": self.rules.issuer}))
            }
            "/realms/a/.well-known/openid-configuration" => {
                let issuer = self.rules.issuer.clone().unwrap_or_else(|| format!("{base}/realms/a"));
                let (token, introspect) = (format!("{base}/token"), format!("{base}/introspect"));
                Reply::json(
                    200,
                    &json!({"issuer": issuer, "token_endpoint": token, "introspection_endpoint": introspect}),
                )
            }
            "/service" => {
                let now = self.clock.now();
                let token = asked.header("authorization").and_then(|a| a.strip_prefix("Bearer ")).unwrap_or("");
                if self.good.get(token).is_none_or(|until| now >= *until) {
                    return Reply::json(401, &json!({"error": "invalid_token", "found": token}))
                        .with("www-authenticate", "Bearer error=\"invalid_token\"");
                }
                let headers: cpd_connector_api::Map =
                    asked.headers.iter().map(|(k, v)| (k.as_str().into(), Value::str(v))).collect();
                Reply::json(200, &json!({"method": asked.method, "headers": Value::from(headers)}))
            }
            _ => Reply::json(404, &json!({"error": "not here"})),
        }
    }

    fn token(&mut self, asked: &Asked, endpoint: &str) -> Result<Value, (u16, &'static str)> {
        if asked.method != "POST" || asked.header("idempotency-key").is_some() {
            return Err((400, "invalid_request"));
        }
        self.client(asked, endpoint)?;
        let members = members(asked);
        let one = |name: &str| members.get(name).map(|v| v.join(" ")).unwrap_or_default();
        let granted = match one("grant_type").as_str() {
            "client_credentials" => true,
            "password" => one("username") == "bob" && one("password") == "hunter2 &x",
            "refresh_token" => one("refresh_token") == "first-refresh" || self.refreshing.remove(&one("refresh_token")),
            "urn:ietf:params:oauth:grant-type:token-exchange" => {
                one("subject_token") == "subject-token" && one("subject_token_type").ends_with(":access_token")
            }
            _ => return Err((400, "unsupported_grant_type")),
        };
        if !granted {
            return Err((400, "invalid_grant"));
        }
        self.given += 1;
        let number = self.given;
        let token = match &self.rules.jwt_issuer {
            Some(issuer) => {
                let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_json());
                format!("{}.{}.c2ln", part(json!({"alg": "none"})), part(json!({"iss": issuer, "n": number})))
            }
            None => format!("opaque-token-{number}"),
        };
        let life = Duration::from_secs(self.rules.lifetime.unwrap_or(300));
        self.good.insert(token.clone(), self.clock.now().plus(life));
        let refresh = self.rules.refresh.then(|| format!("refresh-token-{number}"));
        self.refreshing.extend(refresh.clone());
        let lifetime = self.rules.lifetime.map(|l| i64::try_from(l).expect("a short life"));
        Ok(json!({
            "access_token": token, "token_type": "bearer", "expires_in": lifetime, "refresh_token": refresh,
        }))
    }

    /// Checks who asks, by the one way that the client is registered with.
    fn client(&mut self, asked: &Asked, endpoint: &str) -> Result<(), (u16, &'static str)> {
        let (members, invalid) = (members(asked), (401, "invalid_client"));
        let one = |name: &str| members.get(name).map(|v| v.join(" "));
        let basic = asked.header("authorization").and_then(|a| a.strip_prefix("Basic "));
        let basic = basic.and_then(|pair| {
            let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            Some((decoded(id), decoded(secret)))
        });
        let id = basic.as_ref().map(|(id, _)| id.clone()).or_else(|| one("client_id")).unwrap_or_default();
        let proof = self.rules.clients.get(id.as_str()).ok_or(invalid)?.clone();
        let (secret, assertion) = (one("client_secret"), one("client_assertion"));
        let good = match (&proof, basic, secret, assertion) {
            (Proof::Basic(known), Some((_, secret)), None, None) => secret == *known,
            (Proof::Post(known), None, Some(secret), None) => secret == *known,
            (Proof::Nothing, None, None, None) => true,
            (proof @ (Proof::Hmac(_) | Proof::Rsa(_) | Proof::P256(_)), None, None, Some(assertion)) => {
                one("client_assertion_type").as_deref()
                    == Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                    && self.vouched(proof, &id, &assertion, endpoint)
            }
            _ => false,
        };
        if good { Ok(()) } else { Err(invalid) }
    }

    /// Checks a signed assertion: signature, who, for whom, until when, and that it is no old one.
    fn vouched(&mut self, proof: &Proof, id: &str, assertion: &str, endpoint: &str) -> bool {
        let Some((text, signature)) = assertion.rsplit_once('.') else { return false };
        let Some((header, claims)) = text.split_once('.') else { return false };
        let read = |part: &str| Value::from_json(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let (Some(header), Some(claims)) = (read(header), read(claims)) else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        let says =
            |value: &Value, name: &str, expected: &str| value.get(name).and_then(Value::as_str) == Some(expected);
        let verified = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(text.as_bytes(), &signature).is_ok()
        };
        let signed = match proof {
            Proof::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                says(&header, "alg", "HS256") && hmac::verify(&key, text.as_bytes(), &signature).is_ok()
            }
            Proof::Rsa(key) => says(&header, "alg", "RS256") && verified(&RSA_PKCS1_2048_8192_SHA256, key),
            Proof::P256(key) => says(&header, "alg", "ES256") && verified(&ECDSA_P256_SHA256_FIXED, key),
            Proof::Basic(_) | Proof::Post(_) | Proof::Nothing => false,
        };
        let now = self.clock.now().as_micros() / 1_000_000;
        let until = claims.get("exp").and_then(Value::as_i64).unwrap_or(0);
        let fresh = claims.get("jti").and_then(Value::as_str).is_some_and(|jti| self.assertions.insert(jti.to_owned()));
        signed
            && says(&claims, "iss", id)
            && says(&claims, "sub", id)
            && says(&claims, "aud", endpoint)
            && (now + 1..=now + 300).contains(&until)
            && fresh
    }
}

/// The members of a form or of a JSON object, each with its values.
pub fn members(asked: &Asked) -> BTreeMap<String, Vec<String>> {
    let mut members = BTreeMap::<String, Vec<String>>::new();
    match asked.header("content-type") {
        Some("application/json") => {
            let value = Value::from_json(&asked.body).expect("JSON");
            for (name, value) in value.as_object().expect("an object") {
                let values = value.as_array().unwrap_or(std::slice::from_ref(value));
                let values = values.iter().map(|v| v.as_str().expect("texts").to_owned());
                members.insert(name.to_string(), values.collect());
            }
        }
        Some("application/x-www-form-urlencoded") => {
            for pair in asked.text().split('&') {
                let (name, value) = pair.split_once('=').expect("a pair");
                members.entry(decoded(name)).or_default().push(decoded(value));
            }
        }
        other => panic!("a token request of type {other:?}"),
    }
    members
}

/// Undoes the encoding of forms.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}
