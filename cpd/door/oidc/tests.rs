//! Tokens of a provider that is real but for its size: it has keys, serves its documents over HTTP, and signs. And what an
//! attacker makes of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use ring::{hmac, signature::RsaPublicKeyComponents};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::*;
use crate::door::config::Signature;
use crate::door::{Role, Scope};

/// A key pair that signs.
enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    fn rsa() -> Self {
        let pem = include_bytes!("../../../connectors/tests/it/keys/rsa.pem");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
        Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap()))
    }

    fn p256() -> Self {
        Pair::P256(ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING))
    }

    fn p384() -> Self {
        Pair::P384(ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING))
    }

    fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Pair::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = match algorithm {
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut made = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, text, &mut made).unwrap();
                made
            }
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, text).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let point = |pair: &EcdsaKeyPair, curve: &str| {
            let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            json!({ "kty": "EC", "crv": curve, "kid": kid, "use": "sig", "x": BASE64.encode(x), "y": BASE64.encode(y) })
        };
        match self {
            Pair::Rsa(pair) => {
                let RsaPublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                // With a sign in front, as some providers write it.
                let n = [&[0], &*n].concat();
                json!({ "kty": "RSA", "kid": kid, "use": "sig", "n": BASE64.encode(n), "e": BASE64.encode(e) })
            }
            Pair::P256(pair) => point(pair, "P-256"),
            Pair::P384(pair) => point(pair, "P-384"),
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": BASE64.encode(pair.public_key()) })
            }
        }
    }
}

fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()
}

/// What a provider serves.
#[derive(Default)]
struct Served {
    issuer: Mutex<String>,
    jwks_uri: Mutex<String>,
    keys: Mutex<Vec<Value>>,
    /// How often its keys were asked for.
    asked: AtomicUsize,
    /// How often it was asked for anything while it was down.
    missed: AtomicUsize,
    down: AtomicBool,
    padding: AtomicUsize,
}

/// A provider on loopback.
struct Idp {
    served: Arc<Served>,
    issuer: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Idp {
    async fn new(keys: Vec<Value>) -> Self {
        let served = Arc::new(Served { keys: Mutex::new(keys), ..Served::default() });
        let router = Router::new()
            .route("/realms/main/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(jwks))
            .with_state(served.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let issuer = format!("{origin}/realms/main");
        *served.issuer.lock() = issuer.clone();
        *served.jwks_uri.lock() = format!("{origin}/keys");
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { served, issuer, server }
    }

    fn config(&self) -> config::Oidc {
        let toml = format!(
            "issuer = {:?}\naudiences = [\"cpd\"]\nleeway_s = 30\nkeys_age_s_max = 600\nkeys_pause_s = 60\n\
             [[grants]]\nclaim = \"/realm_access/roles\"\nvalue = \"ops\"\nrole = \"operator\"\nnamespaces = [\"fraud\"]",
            self.issuer
        );
        toml::from_str(&toml).unwrap()
    }

    fn providers(&self) -> Providers {
        Providers::new(&[self.config()]).unwrap()
    }

    /// Claims that are good.
    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer, "aud": ["account", "cpd"], "sub": "alice", "iat": now(), "nbf": now(), "exp": now() + 300,
            "realm_access": { "roles": ["default", "ops"] }, "groups": ["fraud-owners", "al\u{202e}l"],
        })
    }

    fn claims_with(&self, changes: &[(&str, Value)]) -> Value {
        let mut claims = self.claims();
        for (claim, value) in changes {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(*claim)),
                value => claims[*claim] = value.clone(),
            }
        }
        claims
    }

    fn asked(&self) -> usize {
        self.served.asked.load(Ordering::SeqCst)
    }
}

async fn discovery(State(served): State<Arc<Served>>) -> Result<Json<Value>, StatusCode> {
    if served.down.load(Ordering::SeqCst) {
        served.missed.fetch_add(1, Ordering::SeqCst);
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(json!({ "issuer": *served.issuer.lock(), "jwks_uri": *served.jwks_uri.lock() })))
}

async fn jwks(State(served): State<Arc<Served>>) -> Result<Json<Value>, StatusCode> {
    served.asked.fetch_add(1, Ordering::SeqCst);
    if served.down.load(Ordering::SeqCst) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    let padding = "x".repeat(served.padding.load(Ordering::SeqCst));
    Ok(Json(json!({ "keys": *served.keys.lock(), "padding": padding })))
}

#[expect(clippy::disallowed_methods, reason = "the decoder of tokens goes by the machine's clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn text(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

/// A token as a provider makes it.
fn signed(pair: &Pair, algorithm: &str, kid: Option<&str>, claims: &Value) -> String {
    let mut header = json!({ "alg": algorithm, "typ": "JWT" });
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    with_header(pair, algorithm, &header, claims)
}

fn with_header(pair: &Pair, algorithm: &str, header: &Value, claims: &Value) -> String {
    let text = text(header, claims);
    let signature = pair.sign(algorithm, text.as_bytes());
    format!("{text}.{}", BASE64.encode(signature))
}

async fn refused(providers: &Providers, token: &str) -> (u16, String) {
    let refusal = providers.recognise(token).await.expect_err("it must not be let in");
    (refusal.status().as_u16(), refusal.reason().to_string())
}

#[tokio::test]
async fn tokens_of_every_kind_of_key_are_taken_and_claims_become_roles() {
    let pairs = [
        ("RS256", Pair::rsa()),
        ("PS256", Pair::rsa()),
        ("ES256", Pair::p256()),
        ("ES384", Pair::p384()),
        ("EdDSA", Pair::ed25519()),
    ];
    let idp = Idp::new(pairs.iter().map(|(alg, pair)| pair.jwk(&format!("k-{alg}"))).collect()).await;
    let providers = idp.providers();
    for (algorithm, pair) in &pairs {
        let token = signed(pair, algorithm, Some(&format!("k-{algorithm}")), &idp.claims());
        let principal = providers.recognise(&token).await.unwrap_or_else(|e| panic!("{algorithm}: {e:?}"));
        assert_eq!((&*principal.name, principal.role), ("oidc:alice", Role::Operator));
        assert_eq!(principal.scope, Scope::Namespaces(["fraud".into()].into()));
        assert_eq!(principal.groups, ["fraud-owners".into()]);
        assert_eq!(principal.via, Via::Oidc(idp.issuer.as_str().into()));
        // Every single byte of it counts. The last character of a part may hold bits that mean nothing, and must be zero.
        for at in (0..token.len()).step_by(13) {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(providers.recognise(&changed).await.is_err(), "{algorithm} at {at}");
        }
    }
    assert_eq!(idp.asked(), 1, "keys are kept");
    let plain = idp.claims_with(&[("aud", "cpd".into()), ("nbf", Value::Null), ("iat", Value::Null)]);
    assert!(providers.recognise(&signed(&pairs[2].1, "ES256", Some("k-ES256"), &plain)).await.is_ok());
}

#[tokio::test]
async fn claims_that_are_not_for_us_or_not_for_now_let_nobody_in() {
    let pair = Pair::p256();
    let idp = Idp::new(vec![pair.jwk("k")]).await;
    let providers = idp.providers();
    for (changes, why) in [
        (&[("exp", json!(now() - 31))][..], "expired"),
        (&[("exp", Value::Null)], "without `exp`"),
        (&[("exp", json!("soon"))], "without `exp`"),
        (&[("exp", json!(-5))], "without `exp`"),
        (&[("nbf", json!(now() + 60))], "not good yet"),
        (&[("nbf", json!("later"))], "no time"),
        (&[("aud", json!("other"))], "another audience"),
        (&[("aud", json!(["cpd-staging", "CPD", "cpd "]))], "another audience"),
        (&[("aud", json!([]))], "another audience"),
        (&[("aud", Value::Null)], "without"),
        (&[("aud", json!({ "cpd": true }))], "without"),
        (&[("iss", json!("https://evil.example"))], "not configured"),
        (&[("iss", json!(format!("{}/", idp.issuer)))], "not configured"),
        (&[("iss", json!([idp.issuer, "https://evil.example"]))], "`iss` cannot be read"),
        (&[("iss", Value::Null)], "`iss` cannot be read"),
    ] {
        let token = signed(&pair, "ES256", Some("k"), &idp.claims_with(changes));
        let (status, reason) = refused(&providers, &token).await;
        assert!(status == 401 && reason.contains(why), "{changes:?}: {status} {reason}");
    }
    for (changes, why) in [
        (&[("realm_access", json!({ "roles": ["default"] }))][..], "give no role"),
        (&[("sub", Value::Null)], "without the claim sub"),
        (&[("sub", json!("al\u{202e}ice"))], "without the claim sub"),
    ] {
        let token = signed(&pair, "ES256", Some("k"), &idp.claims_with(changes));
        let (status, reason) = refused(&providers, &token).await;
        assert!(status == 403 && reason.contains(why), "{changes:?}: {status} {reason}");
    }
    let late = idp.claims_with(&[("exp", json!(now() - 5)), ("nbf", json!(now() + 5))]);
    assert!(providers.recognise(&signed(&pair, "ES256", Some("k"), &late)).await.is_ok(), "clocks differ a little");
}

#[tokio::test]
async fn a_token_without_a_signature_of_the_provider_lets_nobody_in() {
    let (pair, rsa, stranger) = (Pair::p256(), Pair::rsa(), Pair::p256());
    let idp = Idp::new(vec![pair.jwk("k"), rsa.jwk("r")]).await;
    let providers = idp.providers();
    let claims = idp.claims();
    let good = signed(&pair, "ES256", Some("k"), &claims);
    providers.recognise(&good).await.unwrap();
    let (head, signature) = good.rsplit_once('.').unwrap();
    let mut attacks = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let text = text(&json!({ "alg": none, "kid": "k" }), &claims);
        attacks
            .extend([(format!("{text}."), "alg none"), (format!("{text}.{signature}"), "alg none with a signature")]);
    }
    // HMAC with what is public: the modulus, the key as JSON, the key as PEM would be.
    let RsaPublicKeyComponents::<Vec<u8>> { n, e } = match &rsa {
        Pair::Rsa(pair) => pair.public().into(),
        _ => unreachable!(),
    };
    for secret in [n.clone(), e, rsa.jwk("r").to_string().into_bytes(), b"-----BEGIN PUBLIC KEY-----".to_vec(), vec![]]
    {
        for (name, algorithm) in
            [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
        {
            let text = text(&json!({ "alg": name, "kid": "r" }), &claims);
            let tag = hmac::sign(&hmac::Key::new(algorithm, &secret), text.as_bytes());
            attacks.push((format!("{text}.{}", BASE64.encode(tag)), "HMAC with a public key"));
        }
    }
    // Key confusion: the right key under another algorithm, another key under the right name.
    attacks.push((signed(&pair, "RS256", Some("k"), &claims), "an EC key as RSA"));
    attacks.push((signed(&pair, "ES384", Some("k"), &claims), "P-256 as P-384"));
    attacks.push((signed(&pair, "EdDSA", Some("k"), &claims), "P-256 as Ed25519"));
    attacks.push((signed(&rsa, "ES256", Some("r"), &claims), "an RSA key as EC"));
    attacks.push((signed(&rsa, "RS384", Some("r"), &claims), "an algorithm that is not allowed"));
    attacks.push((signed(&stranger, "ES256", Some("k"), &claims), "another key under that name"));
    attacks.push((signed(&stranger, "ES256", None, &claims), "another key without a name"));
    // Keys that the token brings itself.
    for (member, value) in [
        ("jwk", stranger.jwk("k")),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "k" });
        header[member] = value;
        attacks.push((with_header(&stranger, "ES256", &header, &claims), "a key of its own"));
    }
    for (member, value) in [("crit", json!(["b64"])), ("crit", json!(["exp"])), ("typ", json!("logout+jwt"))] {
        let mut header = json!({ "alg": "ES256", "kid": "k" });
        header[member] = value;
        attacks.push((with_header(&pair, "ES256", &header, &claims), "a header that asks for more"));
    }
    // ECDSA in the form of certificates, zeros (CVE-2022-21449), nothing, too much.
    let zeros = BASE64.encode([0; 64]);
    for other in [&*zeros, "", "AA", &format!("{signature}AAAA"), &format!("{signature}=")] {
        attacks.push((format!("{head}.{other}"), "no signature of ES256"));
    }
    attacks.push((format!("{good}.{signature}"), "four parts"));
    attacks.push((head.to_owned(), "two parts"));
    attacks.push(("..".to_owned(), "three times nothing"));
    attacks.push((good.replace('.', "..").chars().take(good.len()).collect(), "empty parts"));
    // Claims twice: whoever reads the first must not differ from whoever reads the last.
    let raw = claims.to_string();
    let doubled = format!("{},\"exp\":{}}}", &raw[..raw.len() - 1], now() + 999);
    let twice = format!("{}.{}", BASE64.encode(r#"{"alg":"ES256","kid":"k"}"#), BASE64.encode(doubled));
    let signature = pair.sign("ES256", twice.as_bytes());
    attacks.push((format!("{twice}.{}", BASE64.encode(signature)), "a claim twice"));
    for (token, attack) in &attacks {
        let refusal = providers.recognise(token).await.err().unwrap_or_else(|| panic!("{attack}: {token}"));
        assert_eq!(refusal.status(), 401, "{attack}: {refusal:?}");
        assert!(refusal.is_guess());
    }
    assert!(attacks.len() > 40);
    assert!(idp.asked() <= 2, "asked {} times", idp.asked());
    providers.recognise(&good).await.unwrap();
}

#[tokio::test]
async fn huge_and_deep_tokens_cost_nothing() {
    let pair = Pair::p256();
    let idp = Idp::new(vec![pair.jwk("k")]).await;
    let providers = idp.providers();
    let large = idp.claims_with(&[("groups", json!(vec!["x".repeat(100); 100]))]);
    assert!(providers.recognise(&signed(&pair, "ES256", Some("k"), &large)).await.is_ok(), "many groups are usual");
    let huge = idp.claims_with(&[("groups", json!(vec!["x".repeat(100); 200]))]);
    let (status, reason) = refused(&providers, &signed(&pair, "ES256", Some("k"), &huge)).await;
    assert!(status == 401 && reason.contains("bytes"), "{reason}");
    let deep = format!("{{\"iss\":{:?},\"x\":{}{}}}", idp.issuer, "[".repeat(4_000), "]".repeat(4_000));
    let text = format!("{}.{}", BASE64.encode(r#"{"alg":"ES256","kid":"k"}"#), BASE64.encode(deep));
    let token = format!("{text}.{}", BASE64.encode(pair.sign("ES256", text.as_bytes())));
    assert_eq!(refused(&providers, &token).await.0, 401);
    let long = "a".repeat(10 << 20);
    assert_eq!(refused(&providers, &format!("{long}.{long}.{long}")).await.0, 401);
}

#[tokio::test]
async fn keys_rotate_and_strangers_cannot_have_the_provider_asked() {
    let (old, new) = (Pair::p256(), Pair::p256());
    let idp = Idp::new(vec![old.jwk("old")]).await;
    // As in a minute and ten of them, but the provider is really asked.
    let config = config::Oidc { keys_pause_s: 1, keys_age_s_max: 2, ..idp.config() };
    let providers = Providers::new(&[config]).unwrap();
    let by_old = signed(&old, "ES256", Some("old"), &idp.claims());
    let by_new = signed(&new, "ES256", Some("new"), &idp.claims());
    providers.recognise(&by_old).await.unwrap();
    assert_eq!(idp.asked(), 1);
    for n in 0..500 {
        let token = signed(&new, "ES256", Some(&format!("guess-{n}")), &idp.claims());
        assert!(refused(&providers, &token).await.1.contains("not known"));
    }
    assert!(idp.asked() <= 2, "500 unknown keys, asked {} times", idp.asked());

    *idp.served.keys.lock() = vec![new.jwk("new"), old.jwk("old")];
    until(async || providers.recognise(&by_new).await.is_ok()).await;
    providers.recognise(&by_old).await.expect("both are good while both are there");
    // The old one is withdrawn: it is good no longer than keys are kept.
    *idp.served.keys.lock() = vec![new.jwk("new")];
    until(async || providers.recognise(&by_old).await.is_err()).await;
    providers.recognise(&by_new).await.unwrap();
    // A name that now means another key.
    *idp.served.keys.lock() = vec![old.jwk("new")];
    until(async || providers.recognise(&by_new).await.is_err()).await;
}

/// Waits until something is so, asking again and again: what makes it so is the time that keys are kept.
async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it becomes so");
}

#[tokio::test]
async fn a_provider_that_is_down_locks_out_nobody_whose_key_is_known() {
    let pair = Pair::p256();
    let idp = Idp::new(vec![pair.jwk("k")]).await;
    let config = config::Oidc { keys_pause_s: 1, keys_age_s_max: 1, ..idp.config() };
    let providers = Providers::new(&[config]).unwrap();
    let token = signed(&pair, "ES256", Some("k"), &idp.claims());
    idp.served.down.store(true, Ordering::SeqCst);
    let refusal = providers.recognise(&token).await.unwrap_err();
    assert_eq!(refusal.status(), 503, "nobody can tell: {refusal:?}");
    assert!(refusal.headers().contains_key("retry-after") && !refusal.is_guess());
    assert!(refusal.reason().contains("502") && !refusal.detail().contains("502"), "{refusal:?}");
    idp.served.down.store(false, Ordering::SeqCst);
    until(async || providers.recognise(&token).await.is_ok()).await;
    idp.served.down.store(true, Ordering::SeqCst);
    let missed = || idp.served.missed.load(Ordering::SeqCst);
    let before = missed();
    until(async || {
        providers.recognise(&token).await.expect("its key is known");
        missed() > before
    })
    .await;
    providers.recognise(&token).await.expect("its key is known, though it is old");
    assert_eq!(refused(&providers, &signed(&Pair::p256(), "ES256", Some("x"), &idp.claims())).await.0, 401);
}

#[tokio::test]
async fn documents_of_a_provider_that_cannot_be_meant_are_not_taken() {
    let pair = Pair::p256();
    let idp = Idp::new(vec![pair.jwk("k")]).await;
    let token = signed(&pair, "ES256", Some("k"), &idp.claims());
    let (issuer, uri) = (idp.served.issuer.lock().clone(), idp.served.jwks_uri.lock().clone());
    let reason = async || refused(&idp.providers(), &token).await;
    *idp.served.issuer.lock() = "https://evil.example".into();
    assert!(reason().await.1.contains("to the letter"));
    *idp.served.issuer.lock() = issuer;
    for other in ["http://10.0.0.1/keys", "file:///etc/passwd", "ftp://127.0.0.1/", "keys"] {
        *idp.served.jwks_uri.lock() = other.into();
        let (status, reason) = reason().await;
        assert!(status == 503 && reason.contains("jwks_uri") && reason.contains("https"), "{other}: {reason}");
    }
    *idp.served.jwks_uri.lock() = uri;
    idp.served.padding.store(1 << 20, Ordering::SeqCst);
    assert!(reason().await.1.contains("more than"));
    idp.served.padding.store(0, Ordering::SeqCst);
    let private = json!({ "kty": "oct", "kid": "k", "k": BASE64.encode(b"secret") });
    let encryption = {
        let mut jwk = pair.jwk("k");
        jwk["use"] = "enc".into();
        jwk
    };
    for useless in [json!([]), json!([private]), json!([encryption]), json!([1, null, {}])] {
        *idp.served.keys.lock() = useless.as_array().unwrap().clone();
        let (status, reason) = reason().await;
        assert!(status == 503 && reason.contains("none of which"), "{useless}: {reason}");
    }
    // A strange key beside a good one does no harm; one that is for another algorithm is not used for this.
    *idp.served.keys.lock() = vec![json!({ "kty": "new", "kid": "k" }), pair.jwk("k")];
    assert!(idp.providers().recognise(&token).await.is_ok());
    let other = {
        let mut jwk = pair.jwk("k");
        jwk["alg"] = "ES384".into();
        jwk
    };
    *idp.served.keys.lock() = vec![other];
    assert_eq!(reason().await.0, 401);
}

#[tokio::test]
async fn a_token_without_a_key_id_is_checked_by_the_only_key_that_suits() {
    let (pair, rsa) = (Pair::p256(), Pair::rsa());
    let idp = Idp::new(vec![pair.jwk("a"), rsa.jwk("b")]).await;
    let token = signed(&pair, "ES256", None, &idp.claims());
    assert!(idp.providers().recognise(&token).await.is_ok());
    idp.served.keys.lock().push(Pair::p256().jwk("c"));
    assert_eq!(refused(&idp.providers(), &token).await.0, 401, "which one is meant?");
}

#[test]
fn what_cannot_be_meant_in_the_configuration_is_said() {
    let good = |issuer: &str| -> config::Oidc {
        let toml =
            format!("issuer = {issuer:?}\naudiences = [\"cpd\"]\n[[grants]]\nrole = \"viewer\"\nnamespaces = [\"*\"]");
        toml::from_str(&toml).unwrap()
    };
    let base = good("https://id.example");
    assert!(Providers::new(std::slice::from_ref(&base)).is_ok());
    let said = |config: config::Oidc| Providers::new(&[config]).err().expect("an error").to_string();
    for (config, what) in [
        (good("http://id.example"), "expected https"),
        (good("id.example"), "https://"),
        (config::Oidc { jwks_url: Some("http://10.0.0.1/".into()), ..base.clone() }, "jwks_url"),
        (config::Oidc { audiences: vec![], ..base.clone() }, "audiences"),
        (config::Oidc { algorithms: vec![], ..base.clone() }, "algorithms"),
        (config::Oidc { grants: vec![], ..base.clone() }, "grants"),
        (config::Oidc { label: "token".into(), ..base.clone() }, "label"),
        (config::Oidc { label: "a:b".into(), ..base.clone() }, "label"),
        (config::Oidc { leeway_s: 10_000, ..base.clone() }, "leeway_s"),
        (config::Oidc { keys_pause_s: 0, ..base.clone() }, "keys_pause_s"),
        (config::Oidc { ca_file: Some("/nowhere".into()), ..base.clone() }, "/nowhere"),
    ] {
        let error = said(config);
        assert!(error.contains(what), "{what}: {error}");
    }
    let two = [base.clone(), config::Oidc { label: "other".into(), ..base.clone() }];
    assert!(Providers::new(&two).err().unwrap().to_string().contains("two of this issuer"));
    let two = [base, good("https://other.example")];
    assert!(Providers::new(&two).err().unwrap().to_string().contains("twice"));
    for algorithm in ["HS256", "none", "rs256"] {
        let toml = format!("algorithms = [{algorithm:?}]");
        #[derive(Debug, Deserialize)]
        struct Of {
            #[expect(dead_code, reason = "it is not read")]
            algorithms: Vec<Signature>,
        }
        let error = toml::from_str::<Of>(&toml).unwrap_err().to_string();
        assert!(error.contains(algorithm) && error.contains("RS256"), "{error}");
    }
}

#[tokio::test]
async fn the_door_takes_them_beside_its_own_tokens_and_records_why_not() {
    let pair = Pair::p256();
    let idp = Idp::new(vec![pair.jwk("k")]).await;
    let dir = tempfile::tempdir().unwrap();
    let engine = cpd_engine::Engine::builder(dir.path()).shards(1).open().await.unwrap();
    let auth = config::Auth { oidc: vec![idp.config()], ..config::Auth::default() };
    let door = crate::door::Door::new(&auth, &engine, &[]).unwrap();
    let peer = "192.0.2.7".parse().unwrap();
    let enter = async |token: &str| {
        let value = http::HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        let headers = http::HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
        door.recognise(&headers, peer, None).await
    };
    let principal = enter(&signed(&pair, "ES256", Some("k"), &idp.claims())).await.unwrap();
    assert_eq!(&*principal.name, "oidc:alice");
    let expired = idp.claims_with(&[("exp", json!(now() - 100))]);
    let refusal = enter(&signed(&pair, "ES256", Some("k"), &expired)).await.unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.title()), (401, "The credential is not accepted"));
    assert!(!refusal.to_string().contains("expired"), "{refusal}");
    engine.stop().await.unwrap();
    let audited = cpd_engine::view::View::open(dir.path()).unwrap().audit(None, 10).unwrap();
    let [cpd_engine::control::Audited { what: cpd_engine::control::What::Administered(act), .. }] = &audited[..] else {
        panic!("{audited:?}")
    };
    assert_eq!((&*act.by.from, &*act.action), ("192.0.2.7", "enter"));
    assert!(act.why.contains("expired") && act.why.contains(&idp.issuer), "{act:?}");
}
