//! `oauth2` and `oidc` against an authority that checks what it gets and a service that takes only its tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cpd_connector_api::clock::Clock;
use cpd_connector_api::secret::Secret;
use cpd_connector_api::{Connector, Outcome, Problem, Request, Value, json};
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::http::{Http, HttpClient, HttpConfig};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::authority::{Authority, Proof, Rules, SECRET};
use crate::server::{Reply, Server};
use crate::support::*;

const RSA: &str = include_str!("keys/rsa.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa-pkcs1.pem");
const P256: &str = include_str!("keys/p256.pem");
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn connector(authority: &Authority) -> Http {
    connector_with(authority, HttpConfig::default())
}

fn connector_with(authority: &Authority, config: HttpConfig) -> Http {
    let clock: Arc<dyn Clock> = authority.clock.clone();
    Http::new(HttpClient::new(config, clock).expect("a client"), secrets())
}

/// A call of the guarded service as `method`, with a policy.
fn ask(authority: &Authority, method: &str, policy: Value) -> Request {
    let endpoint = json!({"uri": authority.server.url("/service"), "authentication": policy});
    request_without_deadline(json!({"method": method, "endpoint": endpoint}))
}

/// The clock of these tests is not the machine's.
fn request_without_deadline(input: Value) -> Request {
    Request { deadline: None, ..request("http.request", "k", input) }
}

async fn get(http: &Http, authority: &Authority, more: Value) -> Outcome {
    http.call(ask(authority, "GET", json!({"oauth2": authority.policy(&more)}))).await
}

/// Kind, status and detail of the problem of an outcome.
#[track_caller]
fn failed(outcome: &Outcome) -> (&'static str, String, u16, String) {
    let (name, problem) = trouble(outcome);
    let kind = problem.kind.rsplit('/').next().unwrap_or("").to_owned();
    (name, kind, problem.status, detail(problem).to_owned())
}

fn rsa_public() -> Proof {
    let der = PrivatePkcs8KeyDer::from_pem_slice(RSA.as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    Proof::Rsa(key.public_key().as_ref().to_vec())
}

fn p256_public() -> Proof {
    let der = PrivatePkcs8KeyDer::from_pem_slice(P256.as_bytes()).unwrap();
    let der = der.secret_pkcs8_der();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new()).unwrap();
    Proof::P256(key.public_key().as_ref().to_vec())
}

#[tokio::test]
async fn every_way_for_a_client_to_say_who_it_is_convinces_an_authority_that_checks() {
    let clients = BTreeMap::from([
        ("basic:é", Proof::Basic(SECRET)),
        ("post", Proof::Post(SECRET)),
        ("hmac", Proof::Hmac(SECRET)),
        ("rsa", rsa_public()),
        ("p256", p256_public()),
        ("public", Proof::Nothing),
    ]);
    let authority = Authority::start(Rules { clients, ..Rules::default() }).await;
    let http = connector(&authority);
    for encoding in ["application/x-www-form-urlencoded", "application/json"] {
        for client in [
            json!({"id": "basic:é", "secret": SECRET, "authentication": "client_secret_basic"}),
            json!({"id": "post", "secret": SECRET}),
            json!({"id": "post", "secret": SECRET, "authentication": "client_secret_post"}),
            json!({"id": "hmac", "secret": SECRET, "authentication": "client_secret_jwt"}),
            json!({"id": "rsa", "assertion": RSA, "authentication": "private_key_jwt"}),
            json!({"id": "rsa", "assertion": RSA_PKCS1, "authentication": "private_key_jwt"}),
            json!({"id": "p256", "secret": P256, "authentication": "private_key_jwt"}),
            json!({"id": "public", "authentication": "none"}),
        ] {
            let before = authority.given();
            let more = json!({"client": client, "request": {"encoding": encoding}});
            let answer = output(get(&http, &authority, more).await);
            assert_eq!(text(&answer, &["headers", "authorization"]), "Bearer [redacted]");
            assert_eq!(authority.given(), before + 1, "{client}");
        }
    }
    // The authority does check: the right secret by the wrong way, and the wrong key, are refused.
    for client in [
        json!({"id": "basic:é", "secret": SECRET}),
        json!({"id": "post", "secret": "other"}),
        json!({"id": "hmac", "secret": "other", "authentication": "client_secret_jwt"}),
        json!({"id": "rsa", "assertion": P256, "authentication": "private_key_jwt"}),
        json!({"id": "post", "authentication": "none"}),
    ] {
        let outcome = get(&http, &authority, json!({"client": client})).await;
        let (name, kind, status, said) = failed(&outcome);
        assert_eq!((name, kind.as_str(), status), ("refused", "authentication", 401), "{client}: {said}");
        assert!(said.contains("answered 401: invalid_client: as the test wants it"), "{said}");
    }
}

#[tokio::test]
async fn an_assertion_that_somebody_has_signed_is_sent_as_it_is() {
    let clients = BTreeMap::from([("me", Proof::Nothing)]);
    let authority = Authority::start(Rules { clients, ..Rules::default() }).await;
    let client = json!({"id": "me", "assertion": "aaa.bbb.ccc", "authentication": "private_key_jwt"});
    let outcome = get(&connector(&authority), &authority, json!({"client": client})).await;
    assert_eq!(failed(&outcome).0, "refused", "nobody is registered with it");
    assert_eq!(authority.last()["client_assertion"], ["aaa.bbb.ccc"]);
    assert_eq!(authority.last()["client_id"], ["me"]);
}

#[tokio::test]
async fn every_grant_is_asked_for_with_its_members() {
    let authority = Authority::start(Rules::default()).await;
    let http = connector(&authority);
    let access = "urn:ietf:params:oauth:token-type:access_token";
    for (encoding, audience) in [("application/x-www-form-urlencoded", "api"), ("application/json", "api")] {
        let policies = [
            (json!({}), vec![("grant_type", "client_credentials")]),
            (
                json!({"grant": "password", "username": "bob", "password": "hunter2 &x"}),
                vec![("username", "bob"), ("password", "hunter2 &x")],
            ),
            (
                json!({"grant": "refresh_token", "subject": {"token": "first-refresh", "type": "refresh_token"}}),
                vec![("refresh_token", "first-refresh")],
            ),
            (
                json!({
                    "grant": EXCHANGE, "subject": {"token": "subject-token", "type": access},
                    "actor": {"token": "actor-token", "type": access},
                }),
                vec![
                    ("subject_token", "subject-token"),
                    ("subject_token_type", access),
                    ("actor_token", "actor-token"),
                    ("actor_token_type", access),
                ],
            ),
        ];
        for (policy, expected) in policies {
            let mut more = policy.as_object().unwrap().clone();
            more.insert("scopes".into(), json!(["read", "write"]));
            more.insert("audiences".into(), json!([audience, "https://b.example"]));
            more.insert("request".into(), json!({"encoding": encoding}));
            output(get(&http, &authority, Value::from(more)).await);
            let asked = authority.last();
            for (name, value) in expected {
                assert_eq!(asked[name], [value], "{name}");
            }
            assert_eq!(asked["scope"], ["read write"]);
            assert_eq!(asked["audience"], [audience, "https://b.example"]);
        }
    }
}

#[tokio::test]
async fn a_token_serves_many_calls_and_those_at_once_wait_for_one_request() {
    let authority = Authority::start(Rules::default()).await;
    let http = Arc::new(connector(&authority));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (http, ask) = (Arc::clone(&http), ask(&authority, "GET", json!({"oauth2": authority.policy(&json!({}))})));
        calls.spawn(async move { output(http.call(ask).await) });
    }
    assert_eq!(calls.join_all().await.len(), 16);
    assert_eq!((authority.given(), authority.server.count("/service")), (1, 16));
    output(get(&http, &authority, json!({"scopes": ["more"]})).await);
    assert_eq!(authority.given(), 2, "another policy has another token");
}

#[tokio::test]
async fn a_token_that_runs_out_is_renewed_by_its_refresh_token_and_else_from_the_beginning() {
    let authority = Authority::start(Rules { lifetime: Some(100), refresh: true, ..Rules::default() }).await;
    let http = connector(&authority);
    output(get(&http, &authority, json!({})).await);
    authority.clock.advance(Duration::from_secs(70));
    output(get(&http, &authority, json!({})).await);
    assert_eq!(authority.given(), 1, "it is good for thirty seconds still");
    for number in 2..4 {
        authority.clock.advance(Duration::from_secs(81));
        output(get(&http, &authority, json!({})).await);
        assert_eq!(authority.given(), number);
        assert_eq!(authority.last()["refresh_token"], [format!("refresh-token-{}", number - 1)]);
    }
    authority.revoke(true);
    authority.clock.advance(Duration::from_secs(81));
    output(get(&http, &authority, json!({})).await);
    assert_eq!(authority.last()["grant_type"], ["client_credentials"]);
    assert_eq!(authority.server.count("/realms/a/oauth2/token"), 5, "one of them a refresh that was not taken");
    let refused = authority.server.count("/service");
    assert_eq!(refused, 5, "no call was turned away");
}

#[tokio::test]
async fn a_service_that_refuses_a_token_is_asked_once_more_with_a_fresh_one() {
    let authority = Authority::start(Rules::default()).await;
    let http = connector(&authority);
    output(get(&http, &authority, json!({})).await);
    authority.revoke(false);
    let post = ask(&authority, "POST", json!({"oauth2": authority.policy(&json!({}))}));
    output(http.call(post).await);
    assert_eq!((authority.given(), authority.server.count("/service")), (2, 3));
    let keys: Vec<_> =
        authority.server.asked().iter().filter_map(|a| a.header("idempotency-key").map(str::to_owned)).collect();
    assert_eq!(keys, ["k", "k"], "both times with the call's own key");
    // A service that takes no token of this authority at all: its 401 is what the call ends with.
    let stranger = Authority::start(Rules::default()).await;
    let endpoint =
        json!({"uri": stranger.server.url("/service"), "authentication": {"oauth2": authority.policy(&json!({}))}});
    let outcome = http.call(request_without_deadline(json!({"method": "POST", "endpoint": endpoint}))).await;
    let (name, kind, status, said) = failed(&outcome);
    assert_eq!((name, kind.as_str(), status), ("refused", "communication", 401), "{said}");
    assert_eq!(stranger.server.count("/service"), 2);
    assert!(!format!("{outcome:?}").contains("opaque-token"), "{outcome:?}");
}

#[tokio::test]
async fn an_authority_in_trouble_is_a_problem_of_authentication_and_nothing_reaches_the_service() {
    let authority = Authority::start(Rules::default()).await;
    let http = connector(&authority);
    let impatient = connector_with(&authority, HttpConfig { timeout_ms: 300, ..HttpConfig::default() });
    let error = |status, error: &str| Reply::json(status, &json!({"error": error, "error_description": SECRET}));
    for (reply, expected, said) in [
        (error(400, "invalid_grant"), ("refused", "authentication", 401), "answered 400: invalid_grant: [redacted]"),
        (error(400, "invalid_scope"), ("refused", "authorization", 403), "invalid_scope"),
        (error(403, "whatever"), ("refused", "authorization", 403), "answered 403"),
        (error(503, "busy").with("retry-after", "7"), ("failed", "authentication", 401), "answered 503: busy"),
        (error(429, "slow_down"), ("failed", "authentication", 401), "answered 429"),
        (Reply::redirect(302, "/elsewhere"), ("refused", "authentication", 401), "answered 302"),
        (Reply::never(), ("failed", "authentication", 401), "was sent and not answered in time"),
        (
            Reply::new(200, "text/html", "<html>access_token=opaque-in-html</html>"),
            ("refused", "authentication", 401),
            "answered 200 with text/html that is no JSON object",
        ),
        (
            Reply::new(200, "application/json", "{\"access_token\": \"half-a-tok"),
            ("refused", "authentication", 401),
            "that is no JSON object",
        ),
        (Reply::json(200, &json!({"ok": true})), ("refused", "authentication", 401), "without an access_token"),
        (
            Reply::json(200, &json!({"access_token": "mac-token", "token_type": "mac"})),
            ("refused", "authentication", 401),
            "token of type \"mac\", expected Bearer",
        ),
        (
            Reply::json(200, &json!({"access_token": "line\nbreak"})),
            ("refused", "configuration", 400),
            "cannot stand in an HTTP header",
        ),
        (
            Reply::new(200, "application/json", vec![b'x'; 1 << 20]).chunked(9),
            ("refused", "authentication", 401),
            "8388608",
        ),
    ] {
        authority.change(|rules| rules.instead = Some(reply.clone()));
        let policy = json!({"oauth2": authority.policy(&json!({}))});
        let http = if said.contains("in time") { &impatient } else { &http };
        let outcome = http.call(ask(&authority, "POST", policy)).await;
        let (name, kind, status, found) = failed(&outcome);
        assert_eq!((name, kind.as_str(), status), expected, "{found}");
        assert!(found.contains(said), "expected {said}, found {found}");
        let shown = format!("{outcome:?}");
        for secret in ["s3cret", "in-html", "half-a", "mac-token"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        if let Outcome::Failed { not_before: Some(wait), .. } = outcome {
            assert_eq!(wait, Duration::from_secs(7));
        }
    }
    assert_eq!(authority.server.count("/service"), 0);
    authority.change(|rules| rules.instead = None);
    output(get(&http, &authority, json!({})).await);
}

#[tokio::test]
async fn an_authority_that_is_not_there_or_not_allowed_is_told_apart() {
    let authority = Authority::start(Rules::default()).await;
    let nowhere = json!({"authority": "http://no-such-host.invalid/a"});
    let (name, kind, status, said) = failed(&get(&connector(&authority), &authority, nowhere).await);
    assert_eq!((name, kind.as_str(), status), ("failed", "authentication", 401), "{said}");
    assert!(
        said.contains("obtain a token: POST http://no-such-host.invalid/a/oauth2/token could not connect"),
        "{said}"
    );
    let elsewhere = json!({"authority": "http://93.184.216.34/a"});
    let clock: Arc<dyn Clock> = authority.clock.clone();
    let client = HttpClient::guarded(HttpConfig::default(), only(&["127.0.0.1"]), clock).expect("a client");
    let (name, kind, status, said) = failed(&get(&Http::new(client, secrets()), &authority, elsewhere).await);
    assert_eq!((name, kind.as_str(), status), ("refused", "authorization", 403), "{said}");
    assert_eq!(authority.server.asked().len(), 0);
}

#[tokio::test]
async fn a_call_that_is_cancelled_while_it_waits_for_a_token_did_not_happen() {
    let authority = Authority::start(Rules { instead: Some(Reply::never()), ..Rules::default() }).await;
    let http = connector(&authority);
    let request = ask(&authority, "POST", json!({"oauth2": authority.policy(&json!({}))}));
    let outcome = cancelled_when(&http, request, || !authority.server.asked().is_empty()).await;
    let (name, kind, _, said) = failed(&outcome);
    assert_eq!((name, kind.as_str()), ("failed", "timeout"), "not unknown, although it is a POST: {said}");
    assert_eq!(authority.server.count("/service"), 0);

    // Nor did one that the service has turned away, while it waits for a fresh token.
    authority.change(|rules| rules.instead = None);
    output(get(&http, &authority, json!({})).await);
    authority.revoke(true);
    authority.change(|rules| rules.instead = Some(Reply::never()));
    let asked = authority.server.asked().len();
    let request = ask(&authority, "POST", json!({"oauth2": authority.policy(&json!({}))}));
    let outcome = cancelled_when(&http, request, || authority.server.asked().len() == asked + 2).await;
    assert_eq!(failed(&outcome).0, "failed", "{outcome:?}");

    // But one that the service is at work on may have.
    let silent = Server::start(|_| Reply::never()).await;
    let endpoint = json!({"uri": silent.url("/"), "authentication": {"bearer": {"token": TOKEN}}});
    let request = request_without_deadline(json!({"method": "POST", "endpoint": endpoint}));
    let outcome = cancelled_when(&http, request, || !silent.asked().is_empty()).await;
    assert_eq!(failed(&outcome).0, "unknown", "{outcome:?}");
}

/// The end of a call that is cancelled as soon as something is so.
async fn cancelled_when(http: &Http, request: Request, so: impl Fn() -> bool) -> Outcome {
    let cancel = request.cancel.clone();
    let call = http.call(request);
    tokio::pin!(call);
    let waited = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { outcome = &mut call => panic!("ended: {outcome:?}"), () = waited => cancel.cancel() }
    call.await
}

#[tokio::test]
async fn tokens_and_secrets_vanish_from_whatever_echoes_them() {
    let authority = Authority::start(Rules { refresh: true, ..Rules::default() }).await;
    let http = connector(&authority);
    for mode in ["content", "raw", "response"] {
        let endpoint = json!({
            "uri": authority.server.url("/service"), "authentication": {"oauth2": authority.policy(&json!({}))},
        });
        // The secret travels in a header as well, so that the service echoes it, too.
        let headers = json!({"x-echo": "cl!ent s3cret/+&=", "x-encoded": "cl%21ent%20s3cret%2F%2B%26%3D%C3%A9"});
        let input = json!({"method": "GET", "endpoint": endpoint, "output": mode, "headers": headers});
        let outcome = http.call(request_without_deadline(input)).await;
        let Outcome::Succeeded(success) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(success.evidence, None);
        let shown = match mode {
            "raw" => String::from_utf8(STANDARD.decode(success.output.as_str().unwrap()).unwrap()).unwrap(),
            _ => success.output.to_json(),
        };
        assert!(shown.contains("Bearer [redacted]"), "{mode}: {shown}");
        assert!(shown.contains("\"x-encoded\":\"[redacted]\""), "{mode}: {shown}");
        assert!(!shown.contains("opaque-token") && !shown.contains("refresh-token"), "{mode}: {shown}");
    }
}

#[tokio::test]
async fn a_policy_in_a_secret_is_read_at_each_call_and_a_missing_one_is_forbidden() {
    let authority = Authority::start(Rules::default()).await;
    let policy = authority.policy(&json!({})).to_json();
    let store = Arc::new(BTreeMap::from([
        ("policy".to_owned(), Secret::new(&policy)),
        ("wrong".to_owned(), Secret::new("{\"authority\": \"s3cret-nonsense\"}")),
    ]));
    let clock: Arc<dyn Clock> = authority.clock.clone();
    let http = Http::new(HttpClient::new(HttpConfig::default(), clock).unwrap(), store);
    output(http.call(ask(&authority, "GET", json!({"oauth2": {"use": "policy"}}))).await);
    for (name, expected, said) in [
        ("wrong", ("refused", "configuration", 400), "`secret wrong.authority`: found no absolute address"),
        ("gone", ("refused", "authorization", 403), "found no secret of the name \"gone\""),
    ] {
        let outcome = http.call(ask(&authority, "GET", json!({"oauth2": {"use": name}}))).await;
        let (found, kind, status, words) = failed(&outcome);
        assert_eq!((found, kind.as_str(), status), expected, "{words}");
        assert!(words.contains(said) && !words.contains("nonsense"), "{words}");
    }
}

fn oidc(authority: &Authority, more: Value) -> Value {
    json!({"oidc": authority.policy(&more)})
}

#[tokio::test]
async fn oidc_finds_its_endpoints_by_discovery_and_once() {
    let authority = Authority::start(Rules::default()).await;
    let http = connector(&authority);
    output(http.call(ask(&authority, "GET", oidc(&authority, json!({})))).await);
    let document = authority.server.url("/realms/a/.well-known/openid-configuration");
    output(http.call(ask(&authority, "GET", oidc(&authority, json!({"authority": document})))).await);
    assert_eq!(authority.server.count("/realms/a/.well-known/openid-configuration"), 1);
    assert_eq!((authority.server.count("/token"), authority.given()), (2, 2));
    authority.clock.advance(Duration::from_secs(3601));
    output(http.call(ask(&authority, "GET", oidc(&authority, json!({})))).await);
    assert_eq!(authority.server.count("/realms/a/.well-known/openid-configuration"), 2, "read again after an hour");
}

#[tokio::test]
async fn an_issuer_that_is_not_expected_is_refused() {
    let authority = Authority::start(Rules { issuer: Some("https://evil.example".into()), ..Rules::default() }).await;
    let http = connector(&authority);
    let outcome = http.call(ask(&authority, "GET", oidc(&authority, json!({})))).await;
    let (name, kind, _, said) = failed(&outcome);
    assert_eq!((name, kind.as_str()), ("refused", "authentication"), "{said}");
    assert!(said.contains("found \"https://evil.example\"") && said.contains("put it into `issuers`"), "{said}");
    assert_eq!(authority.given(), 0, "no credentials went to such an authority");

    // Discovery says the same, and now it is expected; so does introspection of the opaque token.
    let known = json!({"issuers": ["https://evil.example/"]});
    let outcome = http.call(ask(&authority, "GET", oidc(&authority, known))).await;
    assert!(failed(&outcome).3.contains("the token's issuer: found \"https://evil.example\""), "{outcome:?}");
    let known = json!({"issuers": ["https://evil.example"]});
    output(http.call(ask(&authority, "GET", oidc(&authority, known))).await);
    assert_eq!(authority.server.count("/introspect"), 2);

    // A JWT says it itself.
    authority.change(|rules| rules.jwt_issuer = Some("https://other.example".into()));
    let expects = |issuer: &str| json!({"issuers": [issuer]});
    let (name, kind, _, said) = failed(&get(&http, &authority, expects("https://id.example")).await);
    assert_eq!((name, kind.as_str()), ("refused", "authentication"));
    assert!(said.contains("found \"https://other.example\", expected one of `issuers`: https://id.example"), "{said}");
    output(get(&http, &authority, expects("https://other.example")).await);
    authority.change(|rules| (rules.jwt_issuer, rules.issuer) = (None, None));
    let (_, _, _, said) = failed(&get(&http, &authority, expects("https://another.example")).await);
    assert!(said.contains("found nobody who says so"), "{said}");
}

#[tokio::test]
async fn headers_of_the_callers_own_get_a_token_and_a_refused_one_is_forgotten() {
    let authority = Authority::start(Rules::default()).await;
    let clock: Arc<dyn Clock> = authority.clock.clone();
    let authenticator = Authenticator::new(HttpClient::new(HttpConfig::default(), clock).unwrap(), secrets());
    let read = |value: Value| cpd_connectors::authentication::Policy::read(&value).unwrap();
    let policy = read(json!({"oauth2": authority.policy(&json!({}))}));
    let asked = ask(&authority, "GET", json!({"bearer": {"token": TOKEN}}));
    let mut redactor = cpd_connector_api::secret::Redactor::default();
    let mut headers = reqwest::header::HeaderMap::new();
    for (expected, refused) in
        [("Bearer opaque-token-1", false), ("Bearer opaque-token-1", true), ("Bearer opaque-token-2", true)]
    {
        authenticator.apply(&policy, &mut headers, &asked, &mut redactor).await.unwrap();
        assert_eq!(headers["authorization"], expected);
        assert!(headers["authorization"].is_sensitive());
        if refused {
            authenticator.forget(&policy, &headers);
        }
    }
    assert_eq!(redactor.text("opaque-token-2").as_deref(), Some("[redacted]"));
    let digest = read(json!({"digest": {"username": "u", "password": "p"}}));
    let refused = authenticator.apply(&digest, &mut headers, &asked, &mut redactor).await.unwrap_err();
    let problem: &Problem = refused.problem();
    assert!(detail(problem).contains("expected another scheme"), "{problem}");
}
