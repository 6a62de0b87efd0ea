//! Data that grow: large documents are stored once, and there are limits that say where they are.

use std::path::Path;
use std::sync::Arc;

use cpd_core::{Value, json};
use cpd_engine::view::View;
use cpd_engine::{DataLimits, Error, History, RunEnd, replay};

use crate::support::{World, builder, crashed, open, output, register};

const PASS: &str = "do:
  - one: { call: test.put, with: { doc: '${ .doc }' }, output: { as: .input } }
  - two: { call: test.put, with: { doc: '${ .doc }' }, output: { as: .input } }
output: { as: '{ length: (.doc | length) }' }";

fn documents(data: &Path) -> usize {
    std::fs::read_dir(data.join("journal/payloads")).map_or(0, Iterator::count)
}

fn bytes_of_journal(data: &Path) -> u64 {
    let reader = cpd_journal::Reader::open(data.join("journal")).unwrap();
    reader.scan(cpd_journal::Lsn(1)).unwrap().map(|e| e.unwrap().bytes()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_document_takes_its_room_once_however_far_it_travels() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", PASS).await;
    let large = json!({ "doc": "x".repeat(500_000) });
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(engine.start("w").input(large.clone()).go().await.unwrap());
    }
    for run in &runs {
        assert_eq!(output(run).await, json!({ "length": 500_000 }));
    }
    let left = crashed(dir.path());
    engine.stop().await.unwrap();
    // The input; and the output of the operation, which is another document around the same text.
    assert_eq!(documents(dir.path()), 2);
    assert!(bytes_of_journal(dir.path()) < 20_000, "{} bytes", bytes_of_journal(dir.path()));

    let view = View::open(dir.path()).unwrap();
    assert!(view.unreadable().unwrap().is_empty());
    let history = view.history(runs[0].id()).unwrap();
    assert!(replay::replay(&history, None, |_| {}).unwrap().divergence.is_none());
    let bundle = History::from_bundle(&history.to_bundle()).unwrap();
    assert!(replay::replay(&bundle, None, |_| {}).unwrap().divergence.is_none(), "a bundle brings its documents");

    // Without the documents the records that name them say so; those that do not are read.
    let view = View::open(left.path()).unwrap();
    let lost = view.unreadable().unwrap();
    assert!(!lost.is_empty() && lost.iter().all(|(_, _, e)| e.to_string().contains("find the payload")), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_large_data_goes_on_after_a_restart() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", &PASS.replace("- two: { call: test.put", "- two: { call: test.gate")).await;
    let run = engine.start("w").input(json!({ "doc": "y".repeat(100_000) })).go().await.unwrap();
    world.until_called("test.gate", 1).await;
    engine.stop().await.unwrap();
    let engine = open(dir.path(), &world).await;
    world.until_called("test.gate", 2).await;
    world.gate.open();
    assert!(matches!(engine.run(run.id()).result().await.unwrap(), RunEnd::Completed { .. } | RunEnd::Faulted { .. }));
    let state = engine.run(run.id()).state().await.unwrap();
    assert_eq!(state.input.get("doc").and_then(Value::as_str).map(str::len), Some(100_000));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_with_its_size_and_the_limit() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let limits = DataLimits { input_bytes: 10_000, output_bytes: 2_000 };
    let engine = builder(dir.path(), &world).data_limits(limits).open().await.unwrap();
    register(&engine, "w", PASS).await;
    let started = engine.start("w").input(json!({ "doc": "x".repeat(10_000) })).go().await;
    let error = started.err().expect("it is too large");
    assert!(matches!(error, Error::TooLarge { limit: 10_000, .. }), "{error}");
    assert!(error.to_string().contains("the input has 10010 bytes, expected at most 10000"), "{error}");
    assert!(engine.runs(10).unwrap().is_empty());

    let run = engine.start("w").input(json!({ "doc": "x".repeat(3_000) })).go().await.unwrap();
    let RunEnd::Faulted { problem } = run.result().await.unwrap() else { panic!("its output is too large") };
    let detail = problem.detail.unwrap();
    assert!(detail.contains("test.put") && detail.contains("expected at most 2000"), "{detail}");
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_over_many_items_takes_room_in_proportion() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let body = "do:\n  - l: { for: { in: '[range(.n)]' }, do: [ { s: { set: { n: '${ $item }' } } } ] }";
    register(&engine, "many", body).await;
    let mut sizes = Vec::new();
    for n in [2_000, 20_000] {
        let before = bytes_of_journal(dir.path());
        let run = engine.start("many").input(json!({ "n": n })).go().await.unwrap();
        assert_eq!(output(&run).await, json!({ "n": n - 1 }));
        sizes.push(bytes_of_journal(dir.path()) - before);
    }
    assert!(sizes[1] < sizes[0] * 11, "{sizes:?}");
    engine.stop().await.unwrap();
}
