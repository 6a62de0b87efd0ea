//! Atlas against a real MLflow server, when `CPD_TEST_MLFLOW_URL` names one (`mlflow server --port …`). The sandbox
//! is written from what this test sees; where they part, this one is right. Without the variable it says that it was
//! skipped.

use std::io::Write as _;

use cpd_connector_api::{Connector, Outcome, Reconciled, Value, json};
use cpd_connectors::atlas::Atlas;
use cpd_connectors::http::HttpConfig;
use cpd_connectors::sandbox::Sandbox;

use crate::support::*;

/// MLflow's own way to put things in, for what the connector does not do.
async fn put(base: &str, path: &str, body: Value) -> Value {
    let input = json!({"method": "POST", "endpoint": format!("{base}/api/2.0/mlflow/{path}"), "body": body});
    output(http().call(request("http.request", "setup", input)).await)
}

/// A model of its own for each run, so that a server can be used again.
async fn model(base: &str) -> (String, String) {
    let run = put(base, "runs/create", json!({"experiment_id": "0"})).await;
    let run_id = text(&run, &["run", "info", "run_id"]).to_owned();
    put(base, "runs/log-metric", json!({"run_id": run_id, "key": "auc", "value": 0.97, "timestamp": 1})).await;
    let name = format!("cpd-test-{run_id}");
    put(base, "registered-models/create", json!({"name": name})).await;
    let source = format!("runs:/{run_id}/model");
    put(base, "model-versions/create", json!({"name": name, "source": source, "run_id": run_id})).await;
    (name, run_id)
}

fn atlas_at(mlflow: &str, sandbox: &Sandbox) -> Atlas {
    let mut config = atlas_config(&sandbox.url());
    config.mlflow.url = mlflow.to_owned();
    Atlas::mlflow(&config, client(HttpConfig::default()), secrets()).unwrap()
}

#[tokio::test]
async fn every_operation_works_against_a_real_server() {
    let Ok(base) = std::env::var("CPD_TEST_MLFLOW_URL") else {
        // Straight to the stream: a captured line would not be seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: CPD_TEST_MLFLOW_URL names no MLflow server to test against");
        return;
    };
    let sandbox = sandbox().await;
    let atlas = atlas_at(&base, &sandbox);
    let (name, run_id) = model(&base).await;
    let call = async |operation: &str, key: &str, input: Value| atlas.call(request(operation, key, input)).await;

    let key = format!("{name}/retrain");
    let retrain = json!({"model": name, "alias": "challenger"});
    let never = atlas.reconcile(request("atlas.retrain", &key, retrain.clone())).await;
    assert_eq!(never, Reconciled::NotHappened);
    let first = output(call("atlas.retrain", &key, retrain.clone()).await);
    assert_eq!(text(&first, &["version"]), "2");
    assert_eq!(output(call("atlas.retrain", &key, retrain.clone()).await), first);
    let found = atlas.reconcile(request("atlas.retrain", &key, retrain)).await;
    assert_eq!(found, Reconciled::Happened(Outcome::succeeded(first)));

    let promoted = output(call("atlas.promote", "p1", json!({"model": name, "version": 1})).await);
    assert_eq!(promoted.get("previousVersion"), Some(&Value::Null));
    let promoted = output(call("atlas.promote", "p2", json!({"model": name, "version": 2})).await);
    assert_eq!(text(&promoted, &["previousVersion"]), "1");
    assert_eq!(output(call("atlas.promote", "p2", json!({"model": name, "version": 2})).await), promoted);

    output(call("atlas.tag", "t", json!({"model": name, "version": 1, "tags": {"approved_by": "alice"}})).await);
    output(call("atlas.tag", "t", json!({"model": name, "tags": {"tier": 1}})).await);
    let known = output(call("atlas.model", "k", json!({"model": name})).await);
    assert_eq!(known.get("aliases"), Some(&json!({"champion": "2", "challenger": "2"})));
    assert_eq!(text(&known, &["tags", "tier"]), "1");
    let versions = output(call("atlas.versions", "k", json!({"model": name})).await);
    let versions = versions.get("versions").and_then(Value::as_array).unwrap().to_vec();
    assert_eq!(versions.iter().map(|v| text(v, &["version"])).collect::<Vec<_>>(), ["2", "1"]);
    assert_eq!(text(&versions[1], &["tags", "approved_by"]), "alice");
    assert_eq!(versions[0].get("aliases").and_then(Value::as_array).map(<[Value]>::len), Some(2));
    let metrics = output(call("atlas.metrics", "k", json!({"model": name, "version": 1})).await);
    assert_eq!(text(&metrics, &["runId"]), run_id);
    assert_eq!(metrics.get("metrics"), Some(&json!({"auc": 0.97})));

    assert_eq!(call("atlas.discard", "d", json!({"model": name, "version": 2})).await.problem().unwrap().status, 409);
    output(call("atlas.promote", "p3", json!({"model": name, "version": 1})).await);
    let gone = json!({"model": name, "version": 2, "force": true});
    for discarded in [true, false] {
        let done = output(call("atlas.discard", "d", gone.clone()).await);
        assert_eq!(done.get("discarded"), Some(&Value::Bool(discarded)));
    }
    for (operation, input) in [
        ("atlas.model", json!({"model": "no-such-model"})),
        ("atlas.promote", json!({"model": name, "version": 99})),
        ("atlas.retrain", json!({"model": "no-such-model"})),
        ("atlas.metrics", json!({"runId": "0123456789abcdef0123456789abcdef"})),
        ("atlas.tag", json!({"model": name, "version": 99, "tags": {"a": "b"}})),
    ] {
        let outcome = call(operation, "missing", input).await;
        let (outcome_name, problem) = trouble(&outcome);
        assert_eq!((outcome_name, problem.status), ("refused", 404), "{operation}: {problem}");
    }
}
