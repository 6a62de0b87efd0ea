//! What operators see: metrics against their page, the dashboard and the alerts against the metrics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cpd::observe::{CATALOGUE, Metrics};
use cpd_connector_api::{Class, Outcome, Problem, Standard, json};
use cpd_core::machine::Wait;
use cpd_engine::Engine;
use cpd_engine::operation::{Operations, spec};

const WORKFLOW: &str = r#"
document: { dsl: 1.0.3, namespace: seen, name: job, version: 1.0.0 }
do:
  - tried:
      try:
        - flaky: { call: "shop.pay", with: { amount: 1 } }
      catch:
        retry: { delay: { milliseconds: 1 }, limit: { attempt: { count: 3 } } }
  - nap: { wait: { milliseconds: 5 } }
  - judge:
      call: policy.evaluate
      with: { policy: fraud_max_drift, input: { drift: 0.2 } }
"#;

const LISTENER: &str = r#"
document: { dsl: 1.0.3, namespace: seen, name: listener, version: 1.0.0 }
do:
  - hear: { listen: { to: { one: { with: { type: com.example.go } } } } }
"#;

const FAILING: &str = r#"
document: { dsl: 1.0.3, namespace: seen, name: failing, version: 1.0.0 }
do:
  - stop: { raise: { error: { type: "https://example.com/no", status: 500, title: No } } }
"#;

fn shop() -> Operations {
    let calls = Arc::new(AtomicU32::new(0));
    let pay = spec("shop.pay", Class::Idempotent, "Fails at first.");
    Operations::new("shop").operation(pay, move |_| {
        let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            match first {
                true => Outcome::failed(Problem::standard(Standard::Communication, "not now")),
                false => Outcome::succeeded(json!({ "paid": true })),
            }
        }
    })
}

async fn engine(data: &std::path::Path, metrics: &Metrics) -> Engine {
    let engine = Engine::builder(data).connector(shop()).observer(metrics.observer()).open().await.expect("an engine");
    for source in [LISTENER, FAILING] {
        engine.register(source, "w.yaml").await.expect("a workflow");
    }
    engine
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|l| l.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no sample {sample} in:\n{text}"));
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_count_what_happened() {
    let dir = tempfile::tempdir().expect("a directory");
    let metrics = Metrics::new();
    let engine = engine(dir.path(), &metrics).await;
    let policy = include_str!("../../definitions/policies/fraud_max_drift.yaml");
    engine.register(policy, "policy.yaml").await.expect("a policy");
    engine.register(WORKFLOW, "job.yaml").await.expect("a workflow");
    let end = engine.start("seen/job").go().await.expect("a start").result().await.expect("an end");
    assert_eq!(end.status(), "completed");
    let end = engine.start("seen/failing").go().await.expect("a start").result().await.expect("an end");
    assert_eq!(end.status(), "faulted");
    let waiting = engine.start("seen/listener").go().await.expect("a start");
    let text = metrics.render(&engine).expect("a text");
    assert_eq!(value(&text, "cpd_runs_started_total{workflow=\"seen/job\"}"), 1.0);
    assert_eq!(value(&text, "cpd_runs_ended_total{workflow=\"seen/job\",status=\"completed\"}"), 1.0);
    assert_eq!(value(&text, "cpd_runs_ended_total{workflow=\"seen/failing\",status=\"faulted\"}"), 1.0);
    assert_eq!(value(&text, "cpd_calls_total{operation=\"shop.pay\",outcome=\"failed\"}"), 1.0);
    assert_eq!(value(&text, "cpd_calls_total{operation=\"shop.pay\",outcome=\"succeeded\"}"), 1.0);
    assert_eq!(value(&text, "cpd_call_duration_seconds_count{operation=\"shop.pay\"}"), 2.0);
    assert_eq!(value(&text, "cpd_call_queue_seconds_bucket{le=\"+Inf\",operation=\"shop.pay\"}"), 2.0);
    assert_eq!(value(&text, "cpd_try_retries_total{workflow=\"seen/job\"}"), 1.0);
    assert_eq!(value(&text, "cpd_timer_lateness_seconds_count"), 2.0, "the delay of the retry, and the wait");
    let decided = "cpd_policy_decisions_total{policy=\"fraud_max_drift\",outcome=\"TRIGGERED\"}";
    assert_eq!(value(&text, decided), 1.0);
    assert_eq!(value(&text, "cpd_open_runs{wake=\"event\"}"), 1.0);
    assert_eq!(value(&text, "cpd_open_runs{wake=\"nothing\"}"), 0.0);
    assert_eq!(value(&text, "cpd_journal_poisoned"), 0.0);
    assert!(value(&text, "cpd_journal_sync_seconds_count") >= 3.0);
    let turns = value(&text, "cpd_turns_total");
    assert!(turns >= 6.0, "{turns}");
    assert!(value(&text, "cpd_run_events_total") > turns);
    assert!(value(&text, "cpd_disk_free_bytes") > 0.0);
    assert!(text.ends_with("# EOF\n"));
    waiting.cancel("test", "enough").await.expect("a cancel");
    assert_eq!(engine.status().expect("a status").open.values().sum::<u64>(), 0);
    engine.stop().await.expect("a stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_runs_are_counted_by_what_they_wait_for_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let wait = |engine: &Engine, wait: Wait| engine.status().expect("a status").open[&wait];
    let sleeper = "document: { dsl: 1.0.3, namespace: seen, name: sleeper, version: 1.0.0 }\ndo:\n  - nap: { wait: { hours: 1 } }\n";
    {
        let engine = engine(dir.path(), &Metrics::new()).await;
        engine.register(sleeper, "s.yaml").await.expect("a workflow");
        for _ in 0..3 {
            engine.start("seen/sleeper").go().await.expect("a start");
        }
        let paused = engine.start("seen/listener").go().await.expect("a start");
        engine.start("seen/listener").go().await.expect("a start");
        paused.pause("test", "wait").await.expect("a pause");
        // A start is durable before the run comes to rest.
        tokio::time::timeout(Duration::from_secs(10), async {
            while (wait(&engine, Wait::Timer), wait(&engine, Wait::Event), wait(&engine, Wait::Resume)) != (3, 1, 1) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("they are counted");
        engine.stop().await.expect("a stop");
    }
    let engine = engine(dir.path(), &Metrics::new()).await;
    tokio::time::timeout(Duration::from_secs(10), async {
        while (wait(&engine, Wait::Timer), wait(&engine, Wait::Event), wait(&engine, Wait::Resume)) != (3, 1, 1) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("they are counted as before");
    engine.stop().await.expect("a stop");
}

fn file(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}

/// Every word that looks like a metric of ours.
fn named(text: &str) -> BTreeSet<String> {
    let word = regex::Regex::new(r"\bcpd_[a-z0-9_]+").expect("a pattern");
    word.find_iter(text).map(|m| m.as_str().to_owned()).collect()
}

#[test]
fn the_page_of_metrics_has_every_metric_as_the_code_has_it() {
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in CATALOGUE {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let (title, kind, labels) = (metric.title(), metric.kind.as_str(), labels.join(", "));
        table.push_str(&format!("| `{title}` | {kind} | {labels} | {}. |\n", metric.help));
    }
    let page = file("metrics.md");
    assert!(page.contains(&table), "docs/operations/metrics.md has another table than this:\n{table}");
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for metric in CATALOGUE {
        let name = metric.name;
        assert!(name.starts_with("cpd_") && !name.ends_with("_total"), "{name}: the text adds `_total`");
        assert!(!name.contains("milli") && !name.contains("micro"), "{name}: base units");
        assert!(!metric.help.ends_with('.'), "{name}: the text adds the full stop");
    }
    let names: BTreeSet<_> = CATALOGUE.iter().map(|m| m.name).collect();
    assert_eq!(names.len(), CATALOGUE.len());
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_there_are() {
    let known: BTreeSet<String> = CATALOGUE.iter().flat_map(|m| m.samples()).collect();
    let board: serde_json::Value = serde_json::from_str(&file("grafana.json")).expect("the dashboard is JSON");
    let alerts: serde_json::Value = serde_yaml_ng::from_str(&file("alerts.yml")).expect("the alerts are YAML");
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(target["expr"].as_str().expect("a query").to_owned());
        }
    }
    let on_board = queries.len();
    assert!(on_board >= 20, "{on_board} queries");
    for rule in alerts["groups"].as_array().expect("groups").iter().flat_map(|g| g["rules"].as_array().expect("rules"))
    {
        queries.push(rule["expr"].as_str().expect("a query").to_owned());
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("page" | "ticket")), "{rule}");
        assert!(rule["annotations"]["summary"].is_string(), "{rule}");
    }
    assert!(queries.len() - on_board >= 12, "alerts");
    for query in &queries {
        let strange: Vec<_> = named(query).difference(&known).cloned().collect();
        assert!(strange.is_empty(), "{query}: there is no {strange:?}");
        assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
    }
    let drawn: BTreeSet<String> = queries.iter().flat_map(|q| named(q)).collect();
    for metric in CATALOGUE.iter().filter(|m| {
        !matches!(
            m.name,
            "cpd_build"
                | "cpd_journal_segments"
                | "cpd_journal_full_attempts"
                | "cpd_journal_group_bytes"
                | "cpd_calls_parked"
        )
    }) {
        assert!(metric.samples().iter().any(|s| drawn.contains(s)), "nothing shows {}", metric.name);
    }
}
