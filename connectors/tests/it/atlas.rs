//! Atlas: train once per key whatever happens on the way, promote, take back, read.

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::clock::{Clock, SystemClock};
use cpd_connector_api::{Connector, Outcome, Reconciled, Value, json};
use cpd_connectors::atlas::Atlas;
use cpd_connectors::http::HttpConfig;
use cpd_connectors::sandbox::faults::{Fault, Kind};
use cpd_connectors::sandbox::{Config, Sandbox, serve};

use crate::support::*;

async fn call(atlas: &Atlas, operation: &str, key: &str, input: Value) -> Outcome {
    atlas.call(request(operation, key, input)).await
}

fn count(sandbox: &Sandbox, kind: &str) -> usize {
    sandbox.effects().iter().filter(|e| e.kind == kind).count()
}

#[tokio::test]
async fn a_retraining_registers_one_version_however_often_it_is_called() {
    let sandbox = sandbox().await;
    let atlas = atlas(&sandbox, client(HttpConfig::default()));
    let input = json!({"model": "card-fraud", "reason": "drift", "parameters": {"depth": 6}, "alias": "challenger"});
    let first = output(call(&atlas, "atlas.retrain", "r-1/retrain", input.clone()).await);
    assert_eq!(text(&first, &["version"]), "2");
    assert_eq!(text(&first, &["jobId"]), "sandbox-job-1");
    assert_eq!(text(&first, &["status"]), "succeeded");
    assert!(first.get("metrics").and_then(|m| m.get("auc")).and_then(Value::as_f64).is_some());
    let again = output(call(&atlas, "atlas.retrain", "r-1/retrain", input).await);
    assert_eq!(again, first);
    assert_eq!([count(&sandbox, "training"), count(&sandbox, "version"), count(&sandbox, "alias")], [1, 1, 1]);
    // The version can be found again by what made it.
    let tag = json!({"model": "card-fraud", "tag": {"key": "cpd.idempotency_key", "value": "r-1/retrain"}});
    let found = output(call(&atlas, "atlas.versions", "k", tag).await);
    let versions = found.get("versions").and_then(Value::as_array).unwrap().to_vec();
    assert_eq!(versions.len(), 1);
    assert_eq!(text(&versions[0], &["tags", "cpd.run_id"]), "r-1");
    let other = output(call(&atlas, "atlas.retrain", "r-2/retrain", json!({"model": "card-fraud"})).await);
    assert_eq!(text(&other, &["version"]), "3");
}

#[tokio::test]
async fn a_reply_that_is_lost_at_any_step_leads_to_no_second_effect() {
    for (step, fault) in [
        ("/training/jobs", Fault::new(Kind::LoseReply).on("POST")),
        ("/training/jobs/", Fault::new(Kind::LoseReply).on("GET")),
        ("/api/2.0/mlflow/model-versions/create", Fault::new(Kind::LoseReply)),
        ("/api/2.0/mlflow/model-versions/create", Fault::new(Kind::ResetMidBody)),
        ("/api/2.0/mlflow/registered-models/alias", Fault::new(Kind::LoseReply).on("POST")),
    ] {
        // The job takes three looks, so that it is asked for.
        let config =
            Config { training: Duration::from_secs(3), clock: Arc::new(TickClock::default()), ..Config::default() };
        let sandbox = serve(config).await.unwrap();
        let atlas = atlas(&sandbox, client(HttpConfig::default()));
        sandbox.inject(fault.at(step).times(1));
        let input = json!({"model": "card-fraud", "alias": "challenger"});
        let mut outcome = call(&atlas, "atlas.retrain", "key", input.clone()).await;
        let mut attempts = 1;
        while matches!(outcome, Outcome::Failed { .. }) && attempts < 5 {
            outcome = call(&atlas, "atlas.retrain", "key", input.clone()).await;
            attempts += 1;
        }
        assert_eq!(text(&output(outcome), &["version"]), "2", "{step}");
        assert_eq!(
            [count(&sandbox, "training"), count(&sandbox, "version"), count(&sandbox, "alias")],
            [1, 1, 1],
            "{step}"
        );
    }
}

#[tokio::test]
async fn a_retraining_goes_on_where_a_killed_platform_and_process_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config { state: Some(dir.path().join("atlas.json")), ..quick() };
    let first = serve(config()).await.unwrap();
    first.inject(Fault::new(Kind::LoseReply).at("/api/2.0/mlflow/model-versions/create"));
    let outcome =
        call(&atlas(&first, client(HttpConfig::default())), "atlas.retrain", "key", json!({"model": "card-fraud"}))
            .await;
    assert_eq!(trouble(&outcome).0, "failed");
    first.shutdown().await;
    let second = serve(config()).await.unwrap();
    let outcome =
        call(&atlas(&second, client(HttpConfig::default())), "atlas.retrain", "key", json!({"model": "card-fraud"}))
            .await;
    assert_eq!(text(&output(outcome), &["version"]), "2");
    assert_eq!([count(&second, "training"), count(&second, "version")], [1, 1]);
}

#[tokio::test]
async fn a_service_that_registers_by_itself_is_not_repeated() {
    let sandbox = serve(Config { registers: true, ..quick() }).await.unwrap();
    let atlas = atlas(&sandbox, client(HttpConfig::default()));
    let done = output(call(&atlas, "atlas.retrain", "key", json!({"model": "card-fraud"})).await);
    assert_eq!(text(&done, &["version"]), "2");
    assert_eq!(output(call(&atlas, "atlas.retrain", "key", json!({"model": "card-fraud"})).await), done);
    assert_eq!([count(&sandbox, "training"), count(&sandbox, "version")], [1, 0]);
}

#[tokio::test]
async fn a_training_that_fails_is_refused_and_stays_so() {
    let sandbox = sandbox().await;
    let atlas = atlas(&sandbox, client(HttpConfig::default()));
    let input = json!({"model": "card-fraud", "parameters": {"sandboxFail": true}});
    for _ in 0..2 {
        let outcome = call(&atlas, "atlas.retrain", "key", input.clone()).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused");
        assert!(detail(problem).contains("sandbox-job-1 failed: the sandbox was told to fail"), "{problem}");
    }
    assert_eq!([count(&sandbox, "training"), count(&sandbox, "version")], [1, 0]);
    let found = atlas.reconcile(request("atlas.retrain", "key", input)).await;
    assert!(matches!(found, Reconciled::Happened(Outcome::Refused(_))), "{found:?}");
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_not_the_job() {
    let sandbox = serve(Config { training: Duration::from_secs(3_600), ..Config::default() }).await.unwrap();
    let atlas = atlas(&sandbox, client(HttpConfig::default()));
    let mut late = request("atlas.retrain", "key", json!({"model": "card-fraud"}));
    late.deadline = Some(SystemClock.now().plus(Duration::from_millis(400)));
    let outcome = atlas.call(late.clone()).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("unknown", 408), "{problem}");
    assert!(detail(problem).contains("training job sandbox-job-1 was running; it goes on"), "{problem}");
    late.deadline = Some(SystemClock.now().plus(Duration::from_secs(60)));
    assert_eq!(atlas.reconcile(late).await, Reconciled::NotHappened);
    let job = output(call(&atlas, "atlas.job", "k", json!({"jobId": "sandbox-job-1"})).await);
    assert_eq!(text(&job, &["status"]), "running");
    // Taken back: the job is stopped, and a repeat of the retraining says so.
    let taken =
        output(call(&atlas, "atlas.discard", "undo", json!({"model": "card-fraud", "jobId": "sandbox-job-1"})).await);
    assert_eq!(text(&taken, &["jobStatus"]), "cancelled");
    let outcome = call(&atlas, "atlas.retrain", "key", json!({"model": "card-fraud"})).await;
    assert_eq!(trouble(&outcome).0, "refused");
    assert!(detail(trouble(&outcome).1).contains("was cancelled"));
}

#[tokio::test]
async fn with_a_callback_the_job_is_only_started() {
    let sandbox = serve(Config { training: Duration::from_secs(3_600), ..Config::default() }).await.unwrap();
    let atlas = atlas(&sandbox, client(HttpConfig::default()));
    let started =
        output(call(&atlas, "atlas.retrain", "key", json!({"model": "card-fraud", "completion": "callback"})).await);
    assert_eq!(text(&started, &["status"]), "running");
    assert_eq!(text(&started, &["jobId"]), "sandbox-job-1");
    assert_eq!(started.get("version"), Some(&Value::Null));
}

#[tokio::test]
async fn a_promotion_tells_what_was_there_before_even_when_it_is_repeated() {
    let sandbox = sandbox().await;
    let atlas = atlas(&sandbox, client(HttpConfig::default()));
    output(call(&atlas, "atlas.retrain", "t", json!({"model": "card-fraud"})).await);
    sandbox.inject(Fault::new(Kind::LoseReply).at("/api/2.0/mlflow/registered-models/alias").times(1));
    let input = json!({"model": "card-fraud", "version": 2});
    assert_eq!(trouble(&call(&atlas, "atlas.promote", "p", input.clone()).await).0, "failed");
    let done = output(call(&atlas, "atlas.promote", "p", input).await);
    let expected =
        json!({"model": "card-fraud", "version": "2", "alias": "champion", "previousVersion": "1", "changed": true});
    assert_eq!(done, expected);
    assert_eq!(count(&sandbox, "alias"), 1);
    // A serving version is not discarded by accident.
    let outcome = call(&atlas, "atlas.discard", "d", json!({"model": "card-fraud", "version": "2"})).await;
    assert_eq!(trouble(&outcome).1.status, 409, "{outcome:?}");
    let back = output(call(&atlas, "atlas.promote", "undo", json!({"model": "card-fraud", "version": "1"})).await);
    assert_eq!(text(&back, &["previousVersion"]), "2");
    let gone = output(call(&atlas, "atlas.discard", "d", json!({"model": "card-fraud", "version": "2"})).await);
    assert_eq!(gone.get("discarded"), Some(&Value::Bool(true)));
    let gone = output(call(&atlas, "atlas.discard", "d", json!({"model": "card-fraud", "version": "2"})).await);
    assert_eq!(gone.get("discarded"), Some(&Value::Bool(false)));
}

#[tokio::test]
async fn reads_tell_what_the_registry_knows_and_what_it_does_not() {
    let sandbox = sandbox().await;
    let atlas = atlas(&sandbox, client(HttpConfig::default()));
    let model = output(call(&atlas, "atlas.model", "k", json!({"model": "card-fraud"})).await);
    assert_eq!(text(&model, &["aliases", "champion"]), "1");
    let tagged = json!({"model": "card-fraud", "version": 1, "tags": {"approved_by": "alice", "score": 3}});
    output(call(&atlas, "atlas.tag", "k", tagged).await);
    let versions = output(call(&atlas, "atlas.versions", "k", json!({"model": "card-fraud"})).await);
    let first = versions.get("versions").and_then(Value::as_array).unwrap()[0].clone();
    assert_eq!((text(&first, &["tags", "approved_by"]), text(&first, &["tags", "score"])), ("alice", "3"));
    let metrics = output(call(&atlas, "atlas.metrics", "k", json!({"model": "card-fraud"})).await);
    assert_eq!(metrics.get("metrics").and_then(|m| m.get("auc")).and_then(Value::as_f64), Some(0.93));
    for (operation, input, said) in [
        ("atlas.model", json!({"model": "nope"}), "model \"nope\" does not exist"),
        ("atlas.metrics", json!({"model": "card-fraud", "alias": "nobody"}), "alias \"nobody\""),
        ("atlas.metrics", json!({}), "neither `model` nor `runId`"),
        ("atlas.job", json!({"jobId": "no/such"}), "training job \"no/such\" does not exist"),
        ("atlas.promote", json!({"model": "card-fraud", "version": 9}), "version 9"),
        ("atlas.promote", json!({"model": "card-fraud", "version": 1, "alias": "latest"}), "reserved names"),
        ("atlas.tag", json!({"model": "card-fraud", "tags": {"cpd.run_id": "x"}}), "the engine's own"),
        ("atlas.model", json!({"model": "x' or name != '"}), "without slashes, colons, quotes"),
        ("atlas.retrain", json!({"modle": "x"}), "\"model\" is missing"),
        ("atlas.retrain", json!({"model": "card-frad"}), "has to be registered before"),
        ("atlas.discard", json!({"model": "card-fraud"}), "neither `version` nor `jobId`"),
    ] {
        let outcome = call(&atlas, operation, "k", input).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused", "{operation}: {problem}");
        assert!(detail(problem).contains(said), "{operation}: {problem}");
    }
}

#[tokio::test]
async fn a_missing_secret_is_refused_by_name() {
    let sandbox = sandbox().await;
    let mut config = atlas_config(&sandbox.url());
    config.mlflow.token_secret = Some("other".into());
    let atlas = Atlas::mlflow(&config, client(HttpConfig::default()), secrets()).unwrap();
    let outcome = call(&atlas, "atlas.model", "k", json!({"model": "card-fraud"})).await;
    assert!(detail(trouble(&outcome).1).contains("found no secret \"other\""), "{outcome:?}");
}
