//! The conformance suite, run on every connector.

use std::time::Duration;

use cpd_connector_api::conformance::{Kit, Sample, run};
use cpd_connector_api::{BoxFuture, Connector, Value, json};
use cpd_connectors::drift::generate::{DEMO_SEED, SHIFT_DEMO, generate};
use cpd_connectors::drift::{DriftConfig, DriftConnector};
use cpd_connectors::http::HttpConfig;
use cpd_connectors::openapi::OpenApi;
use cpd_connectors::sandbox::faults::{Fault, Kind};
use cpd_connectors::sandbox::{Config, Handle, Sandbox, serve};

use crate::authority::{Authority, Rules};
use crate::support::*;

async fn conforms(connector: &dyn Connector, sandbox: &Sandbox, samples: Vec<Sample>) {
    let (probe, silent) = (sandbox.handle(), sandbox.handle());
    let silence = move |on: bool| -> BoxFuture<'static, ()> {
        let silent: Handle = silent.clone();
        Box::pin(async move { if on { silent.inject(Fault::new(Kind::Never)) } else { silent.heal() } })
    };
    let report = run(Kit {
        connector,
        samples,
        probe: &|key| probe.effects_of(key),
        silence: &silence,
        secrets: vec![TOKEN.into()],
        patience: Duration::from_secs(10),
    })
    .await;
    assert!(report.breaches.is_empty(), "{report}");
    assert!(report.checks > 30, "{report}");
}

#[tokio::test]
async fn http_conforms() {
    let sandbox = sandbox().await;
    let endpoint =
        json!({"uri": format!("{}/sandbox/echo", sandbox.url()), "authentication": {"bearer": {"token": TOKEN}}});
    let write = json!({"method": "POST", "endpoint": endpoint, "body": {"a": 1}});
    let samples = vec![Sample::new("http.request", write).with_effects(1)];
    conforms(&http(), &sandbox, samples).await;
}

#[tokio::test]
async fn http_conforms_with_each_scheme_that_needs_a_conversation() {
    let (sandbox, authority) = (sandbox().await, Authority::start(Rules::default()).await);
    let write = |policy: Value| {
        let endpoint = json!({"uri": format!("{}/sandbox/echo", sandbox.url()), "authentication": policy});
        Sample::new("http.request", json!({"method": "POST", "endpoint": endpoint})).with_effects(1)
    };
    let samples = vec![
        write(json!({"bearer": {"use": "token"}})),
        // The sandbox asks for nothing, so the first request, without an answer to any challenge, is the effect.
        write(json!({"digest": {"username": "u", "password": TOKEN}})),
        write(json!({"oauth2": authority.policy(&json!({}))})),
        write(json!({"oidc": authority.policy(&json!({"scopes": ["write"]}))})),
    ];
    conforms(&http(), &sandbox, samples).await;
    assert_eq!(authority.given(), 2, "a token each, whatever number of calls");
}

#[tokio::test]
async fn openapi_conforms() {
    let sandbox = sandbox().await;
    let document = format!(
        "openapi: 3.1.0\nservers: [ {{ url: '{}' }} ]\npaths:\n  /sandbox/echo:\n    \
         post: {{ operationId: echo, requestBody: {{ content: {{ application/json: {{}} }} }} }}\n",
        sandbox.url()
    );
    let with = json!({
        "document": {"endpoint": "echo.yaml"}, "operationId": "echo", "parameters": {"a": 1},
        "authentication": {"bearer": {"token": TOKEN}},
    });
    let sample = Sample::new("openapi.call", with).with_effects(1).with_resources(pinned("echo.yaml", &document));
    let connector = OpenApi::new(authenticator(HttpConfig::default()));
    conforms(&connector, &sandbox, vec![sample]).await;
}

#[tokio::test]
async fn atlas_conforms() {
    let models = vec!["card-fraud".into(), "churn".into()];
    let sandbox = serve(Config { models, ..quick() }).await.unwrap();
    let atlas = atlas(&sandbox, client(HttpConfig::default()));
    // A job for the samples that read and undo.
    output(atlas.call(request("atlas.retrain", "before", json!({"model": "churn"}))).await);
    let samples = vec![
        // One training, one version.
        Sample::new("atlas.retrain", json!({"model": "card-fraud", "reason": "drift"})).with_effects(2),
        // One note, one alias.
        Sample::new("atlas.promote", json!({"model": "card-fraud", "version": 1, "alias": "shadow"})).with_effects(2),
        Sample::new("atlas.tag", json!({"model": "card-fraud", "version": 1, "tags": {"reviewed": true}}))
            .with_effects(1),
        Sample::new("atlas.model", json!({"model": "card-fraud"})),
        Sample::new("atlas.versions", json!({"model": "card-fraud", "limit": 5})),
        Sample::new("atlas.metrics", json!({"model": "card-fraud"})),
        Sample::new("atlas.job", json!({"jobId": "sandbox-job-1"})),
        Sample::new("atlas.discard", json!({"model": "churn", "version": 2})).with_effects(1),
    ];
    conforms(&atlas, &sandbox, samples).await;
}

#[tokio::test]
async fn the_agent_conforms_with_a_model() {
    let sandbox = sandbox().await;
    let agent = agent(&sandbox, client(HttpConfig::default()));
    // A repeat is answered, and counted, again: that is what idempotent means here, see the module. So nothing is
    // counted but what the summariser does, and the model is held to everything else.
    let model = Sample::new("agent.run", json!({"agent": "writer", "prompt": "hello"}));
    let report = run(Kit {
        connector: &agent,
        samples: vec![model],
        probe: &|_| 0,
        silence: &{
            let silent = sandbox.handle();
            move |on: bool| -> BoxFuture<'static, ()> {
                let silent = silent.clone();
                Box::pin(async move { if on { silent.inject(Fault::new(Kind::Never)) } else { silent.heal() } })
            }
        },
        secrets: vec![TOKEN.into()],
        patience: Duration::from_secs(10),
    })
    .await;
    assert!(report.breaches.is_empty(), "{report}");
}

#[tokio::test]
async fn the_offline_summariser_conforms() {
    let sandbox = sandbox().await;
    let agent = agent(&sandbox, client(HttpConfig::default()));
    let sample = Sample::new("agent.run", json!({"data": {"psi": 0.2}})).local();
    conforms(&agent, &sandbox, vec![sample]).await;
}

#[tokio::test]
async fn drift_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let (reference, current) = generate(DEMO_SEED, 500, SHIFT_DEMO);
    std::fs::write(dir.path().join("reference.csv"), reference).unwrap();
    std::fs::write(dir.path().join("current.csv"), current).unwrap();
    let drift = DriftConnector::new(DriftConfig::new(dir.path()));
    let with = json!({"reference": {"path": "reference.csv"}, "current": {"path": "current.csv"}, "threshold": 0.15});
    conforms(&drift, &sandbox().await, vec![Sample::new("drift.compare", with).local()]).await;
}
