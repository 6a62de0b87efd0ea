//! What the tests share: a sandbox, clients with short limits, requests, and a clock that moves when it is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cpd_connector_api::attachment::{Resource, Resources};
use cpd_connector_api::clock::{Clock, SystemClock};
use cpd_connector_api::secret::Secret;
use cpd_connector_api::{CancellationToken, Outcome, Problem, Request, Timestamp, Value};
use cpd_connectors::agent::Agent;
use cpd_connectors::agent::document::AgentDocument;
use cpd_connectors::atlas::Atlas;
use cpd_connectors::atlas::config::{AtlasConfig, MlflowConfig, Poll, TrainingConfig};
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::egress::{Egress, EgressConfig, Reach};
use cpd_connectors::http::{Http, HttpClient, HttpConfig};
use cpd_connectors::sandbox::{Config, Sandbox, serve};

/// The token that the sandbox never checks and nobody may show.
pub const TOKEN: &str = "s3cret-token-value";

/// A clock that is a second later each time it is read: a job of three seconds ends at the third look.
#[derive(Debug, Default)]
pub struct TickClock(AtomicI64);

impl Clock for TickClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1_000_000, Ordering::SeqCst))
    }
}

pub async fn sandbox() -> Sandbox {
    serve(quick()).await.expect("the sandbox comes up on a free port")
}

/// Trainings end at once.
pub fn quick() -> Config {
    Config { training: Duration::ZERO, ..Config::default() }
}

/// A client that gives up after a third of a second.
pub fn impatient() -> HttpClient {
    client(HttpConfig { timeout_ms: 300, ..HttpConfig::default() })
}

pub fn client(config: HttpConfig) -> HttpClient {
    HttpClient::new(config, Arc::new(SystemClock)).expect("a client can be built")
}

pub fn authenticator(config: HttpConfig) -> Authenticator {
    Authenticator::new(client(config), secrets())
}

/// Rules that let nothing be reached but what is listed.
pub fn only(allow: &[&str]) -> Egress {
    let allow = allow.iter().map(ToString::to_string).collect();
    Egress::new(&EgressConfig { reach: Reach::Listed, allow, ..EgressConfig::default() }).expect("the rules are good")
}

/// A client, tokens and secrets under rules.
pub fn guarded(egress: Egress) -> Authenticator {
    let config = HttpConfig { connect_timeout_ms: 5_000, ..HttpConfig::default() };
    let client = HttpClient::guarded(config, egress, Arc::new(SystemClock)).expect("a client can be built");
    Authenticator::new(client, secrets())
}

pub fn http() -> Http {
    Http::new(client(HttpConfig::default()), secrets())
}

pub fn secrets() -> Arc<BTreeMap<String, Secret>> {
    let login = Secret::new(r#"{"username": "somebody", "password": "hunter2x"}"#);
    Arc::new(BTreeMap::from([("token".to_owned(), Secret::new(TOKEN)), ("login".to_owned(), login)]))
}

pub fn atlas_config(url: &str) -> AtlasConfig {
    let token_secret = Some("token".to_owned());
    AtlasConfig {
        mlflow: MlflowConfig { url: url.to_owned(), token_secret: token_secret.clone() },
        training: TrainingConfig {
            url: format!("{url}/training"),
            token_secret,
            callback_url: Some("http://127.0.0.1:1/events".into()),
            poll: Poll { interval_ms: 1, factor: 1.0, interval_ms_max: 1, failures_max: 3 },
        },
    }
}

pub fn atlas(sandbox: &Sandbox, client: HttpClient) -> Atlas {
    Atlas::mlflow(&atlas_config(&sandbox.url()), client, secrets()).expect("the configuration is good")
}

/// An agent `writer` that asks the sandbox's model, with prices and a token.
pub fn writer(sandbox: &Sandbox) -> AgentDocument {
    let value = cpd_connector_api::json!({
        "name": "writer", "version": "2.1.0", "provider": "openai", "model": "gpt-sandbox",
        "endpoint": {"url": format!("{}/v1", sandbox.url()), "tokenSecret": "token"},
        "system": "You write summaries.",
        "parameters": {"temperature": 0.1, "maxTokens": 500, "seed": 7},
        "budget": {"tokens": 5000, "usd": 0.05},
        "prices": {"version": "2026-11", "inputPerMillionUsd": 1.0, "outputPerMillionUsd": 4.0},
    });
    AgentDocument::from_value(&value).expect("the document is good")
}

pub fn agent(sandbox: &Sandbox, client: HttpClient) -> Agent {
    let agents = BTreeMap::from([("writer".to_owned(), Arc::new(writer(sandbox)))]);
    Agent::new(Arc::new(agents), client, secrets())
}

pub fn request(operation: &str, key: &str, input: Value) -> Request {
    Request {
        operation: operation.into(),
        version: "1.0.0".into(),
        run: "r-1".into(),
        workflow: "w".into(),
        task: "/do/0/t".into(),
        attempt: 1,
        key: key.into(),
        deadline: Some(SystemClock.now().plus(Duration::from_secs(60))),
        input,
        resources: Default::default(),
        conditions: Default::default(),
        cancel: CancellationToken::new(),
    }
}

/// One document, as the engine pins it.
pub fn pinned(uri: &str, content: &str) -> Resources {
    let resource = Resource { uri: uri.into(), media_type: None, content: content.as_bytes().into() };
    [Arc::new(resource)].into_iter().collect()
}

/// The output of a success.
#[track_caller]
pub fn output(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Succeeded(success) => success.output,
        other => panic!("expected success, found {other:?}"),
    }
}

/// The name of the outcome, and its problem.
#[track_caller]
pub fn trouble(outcome: &Outcome) -> (&'static str, &Problem) {
    (outcome.name(), outcome.problem().unwrap_or_else(|| panic!("expected trouble, found {outcome:?}")))
}

/// The detail of a problem.
pub fn detail(problem: &Problem) -> &str {
    problem.detail.as_deref().unwrap_or("")
}

/// A text member of a value, by a path of names.
#[track_caller]
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    let found = path.iter().try_fold(value, |v, name| v.get(name));
    found.and_then(Value::as_str).unwrap_or_else(|| panic!("expected a text at {path:?} of {value}"))
}
