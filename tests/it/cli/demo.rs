//! `cpd demo`: the first thing that anyone types.

use serde_json::Value;

use super::{Out, Place, eventually};

fn find<'a>(log: &'a [Value], kind: &str, operation: &str) -> Vec<&'a Value> {
    log.iter().filter(|l| l["kind"] == kind && l["operation"] == operation).collect()
}

fn id_after<'a>(out: &'a Out, words: &str) -> &'a str {
    let at = out.stdout.find(words).unwrap_or_else(|| panic!("no {words:?} in {}", out.stdout)) + words.len();
    out.stdout[at..].split_whitespace().next().expect("an id")
}

#[test]
fn the_demo_tells_a_story_that_its_log_bears_out() {
    let place = Place::new();
    let out = place.cpd(&["demo", "--rows", "2000"]).exits(0).prints(&[
        "=== Fraud Drift Management Workflow Summary ===",
        "SIGKILL",
        "the worker starts again over the same data directory",
        "- Policy evaluation → TRIGGERED",
        "- Atlas retraining pipeline successfully initiated",
        "- Intelligence Agent generated human-readable summary",
        "- All actions logged in RUN_LOG for full auditability",
        "NOT TRIGGERED",
        "identical, chain of digests whole",
        "the sandbox counts 1 training for two lives of the worker",
        "What to type next",
    ]);
    assert!(!out.stdout.contains('\u{1b}'), "colours in a pipe: {}", out.stdout);
    let runs = place.cpd(&["runs", "--json"]).exits(0).lines();
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(runs.iter().all(|r| r["status"] == "completed"), "{runs:?}");
    let run = id_after(&out, "cpd log ");
    let log = place.cpd(&["log", run, "--json"]).exits(0).lines();
    let measured = find(&log, "TaskSucceeded", "drift.compare");
    assert_eq!(measured.len(), 1);
    let drift = measured[0]["data"]["output"]["drift"].as_f64().expect("a drift");
    let decision = log.iter().find(|l| l["kind"] == "PolicyDecided").expect("a decision");
    let threshold = decision["data"]["decision"]["parameters"]["max_drift"].as_f64().expect("a threshold");
    assert!(drift > threshold, "{drift} {threshold}");
    assert!(
        out.stdout.contains(&format!("- Drift of {drift:.2} detected (policy threshold = {threshold})")),
        "{}",
        out.stdout
    );
    let trained = find(&log, "TaskSucceeded", "atlas.retrain");
    assert_eq!(trained.len(), 1, "exactly one training has an outcome");
    let version = &trained[0]["data"]["output"]["version"];
    let version = version.as_str().map_or_else(|| version.to_string(), str::to_owned);
    assert!(out.stdout.contains(&format!("new version {version}")), "{}", out.stdout);
    // One intent, and after the crash the same one again: never a second one.
    assert_eq!(find(&log, "TaskStarted", "atlas.retrain").len(), 1);
    let told = find(&log, "TaskSucceeded", "agent.run");
    let text = told[0]["data"]["output"]["text"].as_str().expect("a text");
    for line in text.lines() {
        assert!(out.stdout.contains(line), "{line:?} is not in {}", out.stdout);
    }
    assert!(out.stdout.contains(&format!("({} events, run {run} completed)", log.len())), "{}", out.stdout);
    // The sandbox keeps its own books: one training for one key.
    let books: Value =
        serde_json::from_slice(&std::fs::read(place.data().join("sandbox.json")).expect("a file")).expect("JSON");
    let text = books.to_string();
    assert!(text.contains(&version), "{text}");
    place.cpd(&["replay", run, "--quiet"]).exits(0).prints(&["replay identical"]);
    place.cpd(&["audit", "verify"]).exits(0).prints(&["every checksum, number and chain of digests is right"]);
}

#[test]
fn a_second_demo_in_the_same_directory_adds_two_runs() {
    let place = Place::new();
    for runs in [2, 4] {
        place.cpd(&["demo", "--no-crash", "--rows", "500"]).exits(0).prints(&["one life"]);
        assert_eq!(place.cpd(&["runs", "--json"]).exits(0).lines().len(), runs);
    }
}

/// The worker of a demo that was killed once went on without its sandbox, called it in vain for hours, and kept the data
/// directory for itself, so that no other demo could begin there.
#[test]
fn a_demo_that_is_killed_takes_its_worker_along_and_the_next_one_goes_on_with_its_run() {
    let place = Place::new();
    let demo = place.start(&["demo", "--rows", "500"]);
    let run = eventually("the retraining", || {
        let out = place.cpd(&["log", "last", "--json"]);
        let log = if out.code == Some(0) { out.lines() } else { Vec::new() };
        let begun = !find(&log, "TaskStarted", "atlas.retrain").is_empty();
        begun.then(|| place.cpd(&["runs", "--json"]).exits(0).lines()[0]["runId"].clone())
    });
    demo.kill();
    let lock = std::fs::File::open(place.data().join("cpd.lock")).expect("a lock");
    eventually("the end of the worker", || lock.try_lock().is_ok().then_some(()));
    drop(lock);
    let out = place.cpd(&["demo", "--rows", "500"]).exits(0);
    let id = run.as_str().expect("an id");
    let out = out.prints(&[
        &format!("an earlier demo was ended in the middle of run {id}: it goes on"),
        "- Atlas retraining pipeline successfully initiated",
        "identical, chain of digests whole",
        "the sandbox counts 1 training for",
    ]);
    assert_eq!(id_after(&out, "cpd log "), id);
    let runs = place.cpd(&["runs", "--json"]).exits(0).lines();
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(runs.iter().all(|r| r["status"] == "completed"), "{runs:?}");
}
