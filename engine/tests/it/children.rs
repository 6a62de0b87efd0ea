//! Runs that run other workflows.

use std::sync::Arc;

use cpd_core::json;
use cpd_engine::{Engine, RunEnd};

use crate::support::{World, cut_at, ends, open, output, register, until};

const CHILD: &str = "do:
  - put: { call: test.put, with: { n: '${ .n }' } }
  - gate: { if: .input.n > 10, call: test.gate, with: {} }
  - fail: { if: .input.n < 0, raise: { error: { type: 'https://t.example/negative', status: 422, title: negative } } }
output: { as: '{ got: $workflow.input.n }' }";
const PARENT: &str = "do:
  - before: { set: { n: '${ .n }' } }
  - sub: { run: { workflow: { namespace: t, name: child, version: latest, input: { n: '${ .n }' } } } }
  - after: { set: { child: '${ . }' } }";

async fn both(engine: &Engine) {
    register(engine, "child", CHILD).await;
    register(engine, "parent", PARENT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_gets_the_output_of_the_run_that_it_runs() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    both(&engine).await;
    let run = engine.start("parent").input(json!({ "n": 5 })).go().await.unwrap();
    assert_eq!(output(&run).await, json!({ "child": { "got": 5 } }));
    engine.stop().await.unwrap();

    // From every crash point: the same end, one child, and effects with the same keys.
    let keys = world.by_key();
    for end in ends(dir.path()) {
        let cut = cut_at(dir.path(), end);
        let again = Arc::new(World::default());
        let engine = open(cut.path(), &again).await;
        if engine.run(run.id()).state().await.is_ok() {
            assert_eq!(output(&engine.run(run.id())).await, json!({ "child": { "got": 5 } }), "cut at {end}");
            assert_eq!(engine.runs(10).unwrap().len(), 2, "cut at {end}");
            assert!(again.by_key().keys().all(|k| keys.contains_key(k)), "cut at {end}");
        }
        engine.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_child_is_an_error_of_the_task() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    both(&engine).await;
    let run = engine.start("parent").input(json!({ "n": -1 })).go().await.unwrap();
    let RunEnd::Faulted { problem } = run.result().await.unwrap() else { panic!("it ended well") };
    assert_eq!((&*problem.kind, problem.status), ("https://t.example/negative", 422));
    assert_eq!(problem.instance.as_deref(), Some("/do/1/sub"));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_the_parent_cancels_the_child_and_stopping_the_engine_does_not() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    both(&engine).await;
    let parent = engine.start("parent").input(json!({ "n": 50 })).go().await.unwrap();
    world.until_called("test.gate", 1).await;
    engine.stop().await.unwrap();

    let engine = open(dir.path(), &world).await;
    world.until_called("test.gate", 2).await;
    let rows = engine.runs(10).unwrap();
    assert!(rows.iter().all(|(_, row)| row.phase.is_open()), "{rows:?}");
    let child = rows.iter().find(|(id, _)| *id != parent.id()).expect("a child").0;
    engine.run(parent.id()).cancel("me", "enough").await.unwrap();
    let child = engine.run(child);
    until(&child, |run| !run.is_open()).await;
    assert!(matches!(child.result().await.unwrap(), RunEnd::Cancelled { .. }));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_does_not_wait_goes_on_with_its_input() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "child", CHILD).await;
    let body = "do:
  - sub:
      input: { from: '{ mine: .n }' }
      run: { await: false, workflow: { namespace: t, name: child, version: '1.0.0', input: { n: 50 } } }";
    register(&engine, "parent", body).await;
    let run = engine.start("parent").input(json!({ "n": 1 })).go().await.unwrap();
    assert_eq!(output(&run).await, json!({ "mine": 1 }));
    world.until_called("test.gate", 1).await;
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_that_is_not_there_is_refused_when_its_caller_is_registered() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "child", CHILD).await;
    for (name, version, said) in
        [("chidl", "latest", "did you mean `t/child`?"), ("child", "9.0.0", "the newest is `1.0.0`")]
    {
        let body =
            format!("do:\n  - sub: {{ run: {{ workflow: {{ namespace: t, name: {name}, version: {version} }} }} }}");
        let error = engine.register(&crate::support::workflow("p", "1.0.0", &body), "p.yaml").await.unwrap_err();
        assert!(format!("{error:?}").contains(said), "{error:?}");
    }
    engine.stop().await.unwrap();
}
