//! Registering, starting, operating.

use std::sync::Arc;

use cpd_core::json;
use cpd_core::machine::Phase;
use cpd_engine::{Error, RunEnd};

use crate::support::{LONG, World, open, output, register, until, workflow};

const PUT: &str = "do:\n  - a: { call: test.put, with: { n: '${ .n }' } }\n  - b: { call: test.put, with: { n: 2 } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_started_awaited_and_looked_at() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", PUT).await;
    let run = engine.start("w").input(json!({ "n": 1 })).go().await.unwrap();
    assert!(!run.existed());
    assert_eq!(output(&run).await, json!({ "input": { "n": 2 }, "attempt": 1 }));
    assert!(matches!(run.state().await.unwrap().phase, Phase::Completed { .. }));
    assert_eq!(engine.runs(10).unwrap().iter().map(|r| r.0).collect::<Vec<_>>(), [run.id()]);
    assert!(matches!(run.cancel("me", "why").await, Err(Error::Rejected(_))), "it has ended");
    engine.stop().await.unwrap();
    assert!(matches!(engine.start("w").go().await, Err(Error::Stopped | Error::Stopping)));
    let engine = open(dir.path(), &world).await;
    assert_eq!(output(&engine.run(run.id())).await, json!({ "input": { "n": 2 }, "attempt": 1 }));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_paused_resumed_and_cancelled() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { call: test.gate, with: {} }\n  - b: { call: test.put, with: {} }").await;
    let run = engine.start("w").go().await.unwrap();
    world.until_called("test.gate", 1).await;
    run.pause("me", "a moment").await.unwrap();
    assert!(matches!(run.pause("me", "again").await, Err(Error::Rejected(_))));
    world.gate.open();
    until(&run, |run| run.calls().next().is_none()).await;
    assert!(world.keys_of("test.put").is_empty(), "nothing new begins");
    run.resume("me", "on").await.unwrap();
    output(&run).await;
    assert_eq!(world.keys_of("test.put").len(), 1);

    register(&engine, "never", "do:\n  - a: { call: test.never, with: {} }").await;
    let run = engine.start("never").go().await.unwrap();
    let waiting = tokio::spawn({
        let run = run.clone();
        async move { run.result().await }
    });
    world.until_called("test.never", 1).await;
    run.cancel("me", "enough").await.unwrap();
    let end = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(end, RunEnd::Cancelled { reason: "enough".into() });
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_starts_one_run_even_from_fifty_tasks_at_once_and_after_reopening() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", PUT).await;
    for round in 0..20 {
        let key = format!("order-{round}");
        let starts = (0..50).map(|_| {
            let (engine, key) = (engine.clone(), key.clone());
            tokio::spawn(async move {
                let run = engine.start("w").key(&key).input(json!({ "n": 1 })).go().await.expect("a start");
                // Whoever is given the run can use it at once.
                let state = run.state().await.expect("the start is durable when it returns");
                output(&run).await;
                (run.id(), run.existed(), state.id)
            })
        });
        let mut ids = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            ids.push(start.await.unwrap());
        }
        assert!(ids.iter().all(|(id, _, state)| id == state && *id == ids[0].0), "one run");
        assert_eq!(ids.iter().filter(|(_, existed, _)| !existed).count(), 1, "one of them started it");
    }
    assert_eq!(world.calls.lock().len(), 40, "two effects a run");
    let first = engine.start("w").key("order-0").go().await.unwrap();
    engine.stop().await.unwrap();
    for wipe in [false, true] {
        if wipe {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let engine = open(dir.path(), &world).await;
        let again = engine.start("w").key("order-0").go().await.unwrap();
        assert!(again.existed() && again.id() == first.id());
        engine.stop().await.unwrap();
    }
    assert_eq!(world.calls.lock().len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_refused_leaves_its_key_free() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", PUT).await;
    engine.stop().await.unwrap();
    for _ in 0..2 {
        assert!(matches!(engine.start("w").key("k").go().await, Err(Error::Stopped | Error::Stopping)));
    }
    let engine = open(dir.path(), &world).await;
    let run = engine.start("w").key("k").input(json!({ "n": 1 })).go().await.unwrap();
    assert!(!run.existed());
    output(&run).await;
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_keeps_its_content_and_a_run_its_plan() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let one = workflow("w", "1.0.0", "do:\n  - a: { call: test.gate, with: {} }\n  - b: { set: { version: 1 } }");
    engine.register(&one, "w.yaml").await.unwrap();
    engine.register(&one, "w.yaml").await.unwrap();
    let other = one.replace("version: 1 ", "version: 9 ");
    assert!(matches!(engine.register(&other, "w.yaml").await, Err(Error::VersionTaken { .. })));
    let old = engine.start("w").go().await.unwrap();
    world.until_called("test.gate", 1).await;
    engine.register(&workflow("w", "2.0.0", "do:\n  - b: { set: { version: 2 } }"), "w.yaml").await.unwrap();
    assert_eq!(output(&engine.start("w").go().await.unwrap()).await, json!({ "version": 2 }));
    engine.stop().await.unwrap();
    world.gate.open();
    let engine = open(dir.path(), &world).await;
    assert_eq!(output(&engine.run(old.id())).await, json!({ "version": 1 }));
    assert_eq!(output(&engine.start("w:1.0.0").go().await.unwrap()).await, json!({ "version": 1 }));
    assert!(matches!(engine.start("nothing").go().await, Err(Error::NotRegistered { .. })));
    assert!(matches!(engine.register("do: 5", "bad.yaml").await, Err(Error::Invalid { .. })));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_runs_at_once_all_end_with_their_own_output() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(
        &engine,
        "w",
        "do:\n  - a: { call: test.put, with: { n: '${ .n }' } }\n  - b: { set: { got: '${ .input.n }' } }",
    )
    .await;
    let runs: Vec<_> = (0..1_000u32)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let run = engine.start("w").input(json!({ "n": n })).go().await.expect("a start");
                assert_eq!(output(&run).await, json!({ "got": n }));
            })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
    assert_eq!(engine.runs(2_000).unwrap().len(), 1_000);
    assert!(world.by_key().values().all(|n| *n == 1));
    assert_eq!(world.by_key().len(), 1_000);
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_engine_on_the_directory_is_refused_with_the_pid_of_the_first() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let Err(error) = crate::support::builder(dir.path(), &world).open().await else { panic!("two engines") };
    let Error::Locked(source) = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains(&std::process::id().to_string()), "{source}");
    engine.stop().await.unwrap();
    open(dir.path(), &world).await.stop().await.unwrap();
}
