//! Runs that share the history of another one.

use std::path::Path;
use std::sync::Arc;

use cpd_core::json;
use cpd_core::machine::{Phase, RunId};
use cpd_engine::view::View;
use cpd_engine::{Error, ForkFrom, RunEnd, replay};

use crate::support::{World, cut_at, ends, open, output, register, until};

const STEPS: &str = "do:
  - one: { call: test.put, with: { n: 1, id: '${ $workflow.id }' }, export: { as: '${ $context + { one: .input } }' } }
  - two: { call: test.put, with: { n: '${ .input.n + 1 }' } }
  - check: { if: '.input.n > 2', raise: { error: { type: 'https://t.example/big', status: 400, title: big } } }
output: { as: '{ n: .input.n, one: $context.one }' }";

/// The record of a run replays to the same, here and from its own records alone.
fn replays(data: &Path, run: RunId) {
    let history = View::open(data).unwrap().history(run).unwrap();
    let replayed = replay::replay(&history, None, |_| {}).unwrap();
    assert!(replayed.divergence.is_none(), "{:?}", replayed.divergence);
    assert_eq!(replayed.chain, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_shares_the_history_and_repeats_no_effect_of_it() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", STEPS).await;
    let run = engine.start("w").go().await.unwrap();
    let one = json!({ "n": 1, "id": run.id().to_string() });
    assert_eq!(output(&run).await, json!({ "n": 2, "one": one.clone() }));

    let fork = engine.fork(run.id(), &ForkFrom::Task("two".into()), None, "me").await.unwrap();
    assert_ne!(fork.id(), run.id());
    assert_eq!(output(&fork).await, json!({ "n": 2, "one": one }), "what the origin saw of itself stays");
    let keys = world.keys_of("test.put");
    assert_eq!(keys.len(), 3, "one, two, and two of the fork");
    assert_ne!(keys[1], keys[2], "an effect of the fork has a key of its own");
    engine.stop().await.unwrap();
    replays(dir.path(), run.id());
    replays(dir.path(), fork.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_may_go_on_with_another_input_and_can_be_forked_again() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", STEPS).await;
    let run = engine.start("w").go().await.unwrap();
    output(&run).await;
    let input = Some(json!({ "input": { "n": 0 } }));
    let fork = engine.fork(run.id(), &ForkFrom::Task("/do/1/two".into()), input, "me").await.unwrap();
    assert_eq!(output(&fork).await.get("n"), Some(&json!(1)));
    let again = engine.fork(fork.id(), &ForkFrom::Task("check".into()), None, "me").await.unwrap();
    assert_eq!(output(&again).await.get("n"), Some(&json!(1)));
    engine.stop().await.unwrap();
    for run in [run.id(), fork.id(), again.id()] {
        replays(dir.path(), run);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_goes_on_from_the_task_that_failed() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", &STEPS.replace(".input.n > 2", ".input.n > 1")).await;
    let run = engine.start("w").go().await.unwrap();
    assert!(matches!(run.result().await.unwrap(), RunEnd::Faulted { .. }));
    let again = engine.retry(run.id(), "me").await.unwrap();
    assert!(matches!(again.result().await.unwrap(), RunEnd::Faulted { .. }));
    assert_eq!(world.keys_of("test.put").len(), 2, "nothing before the failed task is done again");
    // Another input lets it through.
    let fork = engine.fork(run.id(), &ForkFrom::Failure, Some(json!({ "input": { "n": 1 } })), "me").await.unwrap();
    output(&fork).await;
    engine.stop().await.unwrap();
    replays(dir.path(), again.id());
    replays(dir.path(), fork.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_under_way_at_the_fork_keeps_its_key() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(
        &engine,
        "w",
        "do:
  - both:
      fork:
        branches:
          - slow: { call: test.gate, with: {} }
          - quick: { call: test.put, with: {} }",
    )
    .await;
    let run = engine.start("w").go().await.unwrap();
    world.until_called("test.gate", 1).await;
    until(&run, |run| run.calls().count() == 1).await;
    let fork = engine.fork(run.id(), &ForkFrom::Seq(run.state().await.unwrap().events), None, "me").await.unwrap();
    world.until_called("test.gate", 2).await;
    world.gate.open();
    output(&run).await;
    output(&fork).await;
    let keys = world.keys_of("test.gate");
    assert_eq!(keys[0], keys[1], "the other side sees one effect");
    assert_eq!(world.keys_of("test.put").len(), 1);
    engine.stop().await.unwrap();
    replays(dir.path(), fork.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_forked_is_refused_and_leaves_nothing() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", STEPS).await;
    let run = engine.start("w").go().await.unwrap();
    output(&run).await;
    let last = run.state().await.unwrap().events;
    for (from, input, why) in [
        (ForkFrom::Seq(0), None, "no event 0"),
        (ForkFrom::Seq(last + 1), None, "to go on from"),
        (ForkFrom::Seq(last), None, "completed already"),
        (ForkFrom::Task("three".into()), None, "no task \"three\""),
        (ForkFrom::Failure, None, "it has not faulted"),
    ] {
        let error = engine.fork(run.id(), &from, input, "me").await.err().expect("no fork");
        assert!(error.to_string().contains(why), "{error}");
    }
    let nobody = engine.fork(RunId([9; 16]), &ForkFrom::Seq(1), None, "me").await;
    assert!(matches!(nobody, Err(Error::NoOpenRun { .. })));
    assert_eq!(engine.runs(10).unwrap().len(), 1);
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_a_history_is_copied_leaves_no_run() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", STEPS).await;
    let run = engine.start("w").key("k").go().await.unwrap();
    output(&run).await;
    let fork = engine.fork(run.id(), &ForkFrom::Task("check".into()), None, "me").await.unwrap();
    output(&fork).await;
    engine.stop().await.unwrap();
    let (mut without, mut with) = (0, 0);
    for end in ends(dir.path()) {
        let cut = cut_at(dir.path(), end);
        let again = Arc::new(World::default());
        let engine = open(cut.path(), &again).await;
        let known = engine.runs(10).unwrap().iter().any(|(id, _)| *id == fork.id());
        if known {
            with += 1;
            assert_eq!(output(&engine.run(fork.id())).await.get("n"), Some(&json!(2)), "cut at {end}");
        } else {
            without += 1;
            let state = engine.run(fork.id()).state().await;
            assert!(state.is_err(), "cut at {end}: {:?}", state.map(|s| s.phase));
        }
        let handle = engine.run(run.id());
        if let Ok(state) = handle.state().await {
            assert!(!matches!(state.phase, Phase::Faulted { .. }));
            let same = engine.start("w").key("k").go().await.unwrap();
            assert_eq!(same.id(), run.id(), "the key stays the origin's");
        }
        engine.stop().await.unwrap();
    }
    assert!(without > 3 && with > 1, "{without} cuts without, {with} with the fork");
}
