//! A panic in a turn stays with its run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cpd_core::json;
use cpd_core::machine::{CallPhase, Run};
use tempfile::TempDir;

use super::support::{LONG, World, builder, open, output, register, until};
use crate::engine::Engine;
use crate::error::Error;
use crate::observe::Observer;
use crate::view::View;
use cpd_core::machine::Event;
use cpd_core::time::Timestamp;

/// An engine with one shard, in which every turn of a run of `t/bad` panics while the switch is on.
async fn fragile(data: &TempDir, world: &Arc<World>) -> (Engine, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(true));
    let mut builder = builder(data.path(), world).shards(1);
    let on = switch.clone();
    builder.hooks.before_turn = Some(Arc::new(move |run: &Run| {
        assert!(!on.load(Ordering::SeqCst) || &*run.plan.name != "bad", "the machine is\nbroken");
    }));
    let engine = builder.open().await.expect("an engine");
    (engine, switch)
}

const TWO: &str = "do:\n  - a: { call: test.gate, with: {} }\n  - b: { call: test.put, with: {} }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_turn_sets_its_run_aside_records_the_outcome_and_the_others_go_on() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let (engine, switch) = fragile(&dir, &world).await;
    register(&engine, "bad", TWO).await;
    register(&engine, "good", TWO).await;
    switch.store(false, Ordering::SeqCst);
    let bad = engine.start("bad").go().await.unwrap();
    let good = engine.start("good").go().await.unwrap();
    world.until_called("test.gate", 2).await;
    let waiting = tokio::spawn({
        let bad = bad.clone();
        async move { bad.result().await }
    });
    switch.store(true, Ordering::SeqCst);
    world.gate.open();

    output(&good).await;
    let told = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
    let Err(Error::SetAside { run, detail }) = told else { panic!("{told:?}") };
    assert_eq!((run, &*detail), (bad.id(), "the machine is broken"));
    assert!(matches!(bad.result().await, Err(Error::SetAside { .. })), "who asks later is told, too");
    assert_eq!(engine.set_aside().keys().copied().collect::<Vec<_>>(), [bad.id()]);
    until(&bad, |run| run.calls().next().is_none()).await;
    assert_eq!(world.keys_of("test.put").len(), 1, "nothing is decided any more for the run that is set aside");

    let view = View::open(dir.path()).unwrap();
    assert_eq!(view.set_aside(bad.id()), Some("the machine is broken"));
    assert_eq!(view.set_aside(good.id()), None);
    crate::replay::replay(&view.history(bad.id()).unwrap(), None, |_| {}).unwrap().chain.unwrap();

    // A restart tries again: the outcome that the panic met is known, so nothing is called twice.
    engine.stop().await.unwrap();
    let engine = open(dir.path(), &world).await;
    output(&engine.run(bad.id())).await;
    assert_eq!(world.keys_of("test.gate").len(), 2);
    assert_eq!(world.keys_of("test.put").len(), 2);
    assert!(engine.set_aside().is_empty());
    assert_eq!(View::open(dir.path()).unwrap().set_aside(bad.id()), None);
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_at_the_start_of_a_run_is_told_to_who_starts_it_and_leaves_nothing() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let (engine, switch) = fragile(&dir, &world).await;
    register(&engine, "bad", TWO).await;
    register(&engine, "good", "do:\n  - a: { set: { n: 1 } }").await;
    for key in [None, Some("k"), Some("k")] {
        let start = engine.start("bad");
        let start = if let Some(key) = key { start.key(key) } else { start };
        let refused = start.go().await.map(|run| run.id());
        assert!(matches!(refused, Err(Error::SetAside { .. })), "{refused:?}");
    }
    assert!(engine.set_aside().is_empty(), "there is no such run");
    assert!(engine.runs(10).unwrap().is_empty());
    output(&engine.start("good").go().await.unwrap()).await;
    switch.store(false, Ordering::SeqCst);
    world.gate.open();
    output(&engine.start("bad").key("k").go().await.unwrap()).await;
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_set_aside_can_be_cancelled() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let (engine, switch) = fragile(&dir, &world).await;
    register(&engine, "bad", "do:\n  - a: { wait: PT0.01S }\n  - b: { call: test.put, with: {} }").await;
    switch.store(false, Ordering::SeqCst);
    let bad = engine.start("bad").go().await.unwrap();
    switch.store(true, Ordering::SeqCst);
    let told = tokio::time::timeout(LONG, bad.result()).await.unwrap();
    assert!(matches!(told, Err(Error::SetAside { .. })), "the timer's turn panics: {told:?}");
    bad.cancel("me", "it is broken").await.unwrap();
    assert_eq!(bad.result().await.unwrap(), crate::RunEnd::Cancelled { reason: "it is broken".into() });
    assert_eq!(View::open(dir.path()).unwrap().set_aside(bad.id()), None, "it has ended");
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_recovering_a_run_leaves_the_others_to_go_on() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "bad", TWO).await;
    register(&engine, "good", TWO).await;
    let bad = engine.start("bad").go().await.unwrap();
    let good = engine.start("good").go().await.unwrap();
    world.until_called("test.gate", 2).await;
    engine.stop().await.unwrap();
    world.gate.open();
    let (engine, _on) = fragile(&dir, &world).await;
    output(&engine.run(good.id())).await;
    let told = engine.run(bad.id()).result().await;
    assert!(matches!(told, Err(Error::SetAside { .. })), "{told:?}");
    let state = engine.run(bad.id()).state().await.unwrap();
    assert!(state.calls().all(|(_, c)| c.phase == CallPhase::InFlight), "its record is as it was");
    engine.stop().await.unwrap();
    let engine = open(dir.path(), &world).await;
    output(&engine.run(bad.id())).await;
    engine.stop().await.unwrap();
}

struct Breaks(AtomicUsize);

impl Observer for Breaks {
    fn observe(&self, _: &Run, _: Timestamp, _: u64, _: &[Event]) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("the observer is broken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_panics_stops_nothing() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let observer = Arc::new(Breaks(AtomicUsize::new(0)));
    let engine = builder(dir.path(), &world).observer(observer.clone()).open().await.unwrap();
    register(&engine, "good", "do:\n  - a: { call: test.put, with: { n: 1 } }").await;
    assert_eq!(output(&engine.start("good").go().await.unwrap()).await, json!({ "input": { "n": 1 }, "attempt": 1 }));
    assert!(observer.0.load(Ordering::SeqCst) >= 2);
    assert!(engine.set_aside().is_empty());
    engine.stop().await.unwrap();
}
