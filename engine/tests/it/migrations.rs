//! Runs that are moved to another version of their workflow, and versions that are replaced.

use std::sync::Arc;

use cpd_core::json;
use cpd_engine::view::View;
use cpd_engine::{Engine, Error, replay};

use crate::support::{World, builder, crashed, open, output, until, workflow};

const FIRST: &str = "do:
  - put: { call: test.put, with: { n: 1 } }
  - gate: { call: test.gate, with: {} }
  - last: { set: { version: 1 } }";

async fn version(engine: &Engine, version: &str, body: &str) {
    engine.register(&workflow("w", version, body), "w.yaml").await.unwrap_or_else(|e| panic!("{e:?}"));
}

/// An engine with a run of version 1.0.0 that waits at its gate.
async fn waiting(data: &std::path::Path, world: &Arc<World>) -> (Engine, cpd_engine::RunHandle) {
    let engine = open(data, world).await;
    version(&engine, "1.0.0", FIRST).await;
    let run = engine.start("w").go().await.unwrap();
    world.until_called("test.gate", 1).await;
    (engine, run)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_run_moves_and_goes_on_as_the_new_version_says() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let (engine, run) = waiting(dir.path(), &world).await;
    version(&engine, "1.1.0", &FIRST.replace("version: 1", "version: 2")).await;
    let moved = engine.migrate(run.id(), "1.1.0", "me").await.unwrap();
    assert_eq!(&*moved.version, "1.1.0");
    assert!(matches!(engine.migrate(run.id(), "1.1.0", "me").await, Err(Error::NoMigration { .. })), "it is there");
    world.gate.open();
    assert_eq!(output(&run).await, json!({ "version": 2 }));
    engine.stop().await.unwrap();
    let view = View::open(dir.path()).unwrap();
    assert_eq!(view.row(run.id()).unwrap().version, "1.1.0");
    let history = view.history(run.id()).unwrap();
    let replayed = replay::replay(&history, None, |_| {}).unwrap();
    assert!(replayed.divergence.is_none(), "{:?}", replayed.divergence);
    assert_eq!(&*replayed.run.plan.version, "1.1.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_moved_stays_moved_over_a_crash() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let (engine, run) = waiting(dir.path(), &world).await;
    version(&engine, "1.1.0", &FIRST.replace("version: 1", "version: 2")).await;
    engine.migrate(run.id(), "1.1.0", "me").await.unwrap();
    let left = crashed(dir.path());
    engine.stop().await.unwrap();
    world.gate.open();
    let engine = open(left.path(), &world).await;
    assert_eq!(output(&engine.run(run.id())).await, json!({ "version": 2 }));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_history_leads_elsewhere_stays_where_it_is() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let (engine, run) = waiting(dir.path(), &world).await;
    version(&engine, "2.0.0", &FIRST.replace("n: 1", "n: 2")).await;
    version(&engine, "3.0.0", &FIRST.replace("- gate:", "- other: { set: { x: 1 } }\n  - gate:")).await;
    version(&engine, "4.0.0", &FIRST.replace("- gate:", "- door:")).await;
    version(&engine, "5.0.0", &FIRST.replace("test.gate", "test.once")).await;
    for (version, why) in [
        ("2.0.0", "event 3 recorded TaskStarted, expected TaskStarted at task /do/0/put"),
        ("3.0.0", "does not replay there: event 5"),
        ("4.0.0", "it is at task /do/1/gate, which would be /do/1/door"),
        ("5.0.0", "it calls test.gate 1.0.0 at task /do/1/gate, which would be test.once 1.0.0"),
    ] {
        let error = engine.migrate(run.id(), version, "me").await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(engine.migratable(run.id(), version).is_err());
    }
    assert!(matches!(engine.migrate(run.id(), "9.0.0", "me").await, Err(Error::NotRegistered { .. })));
    world.gate.open();
    assert_eq!(output(&run).await, json!({ "version": 1 }));
    let ended = engine.migrate(run.id(), "5.0.0", "me").await.unwrap_err();
    assert!(ended.to_string().contains("completed already"), "{ended}");
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listening_run_listens_as_the_new_version_says() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let listen = |kind: &str| format!("do:\n  - l: {{ listen: {{ to: {{ one: {{ with: {{ type: {kind} }} }} }} }} }}");
    version(&engine, "1.0.0", &listen("old")).await;
    version(&engine, "1.1.0", &listen("new")).await;
    let run = engine.start("w:1.0.0").go().await.unwrap();
    until(&run, |run| run.acts.len() == 2).await;
    engine.migrate(run.id(), "1.1.0", "me").await.unwrap();
    assert!(engine.publish(json!({ "type": "old" })).await.unwrap().runs.is_empty());
    assert_eq!(engine.publish(json!({ "type": "new", "data": 7 })).await.unwrap().runs, [run.id()]);
    assert_eq!(output(&run).await, json!([7]));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_replaced_only_where_that_is_allowed_and_old_runs_keep_theirs() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let (engine, old) = waiting(dir.path(), &world).await;
    let other = workflow("w", "1.0.0", &FIRST.replace("version: 1", "version: 2"));
    assert!(matches!(engine.register(&other, "w.yaml").await, Err(Error::VersionTaken { .. })));
    assert!(matches!(engine.register_anew(&other, "w.yaml").await, Err(Error::NotDevelopment)));
    engine.stop().await.unwrap();

    let engine = builder(dir.path(), &world).development(true).open().await.unwrap();
    assert!(!engine.register_anew(&other, "w.yaml").await.unwrap().unchanged);
    assert!(engine.register_anew(&other, "w.yaml").await.unwrap().unchanged);
    world.gate.open();
    assert_eq!(output(&engine.run(old.id())).await, json!({ "version": 1 }));
    assert_eq!(output(&engine.start("w").go().await.unwrap()).await, json!({ "version": 2 }));
    engine.stop().await.unwrap();
}
