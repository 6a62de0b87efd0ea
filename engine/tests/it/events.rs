//! Events between runs, and from outside to a run.

use std::sync::Arc;

use cpd_core::json;
use cpd_core::machine::{Run, WakeSource};
use cpd_engine::Error;
use cpd_engine::view::View;

use crate::support::{World, builder, cut_at, ends, open, output, register, until};

const EAR: &str = "do:
  - ear:
      listen:
        to:
          one:
            with: { type: t.said.v1 }
            correlate: { who: { from: .data.who, expect: '${ .who }' } }
  - after: { call: test.put, with: { heard: '${ .[0] }' } }";
const MOUTH: &str = "do:
  - say: { emit: { event: { with: { type: t.said.v1, data: { who: '${ .who }', n: 1 } } } } }
  - after: { set: { said: '${ .id }' } }";

fn listens(run: &Run) -> bool {
    run.wake_sources().iter().any(|s| matches!(s, WakeSource::Event { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emitted_event_reaches_the_run_that_it_is_meant_for_and_no_other() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "ear", EAR).await;
    register(&engine, "mouth", MOUTH).await;
    let ears = [
        engine.start("ear").input(json!({ "who": "a" })).go().await.unwrap(),
        engine.start("ear").input(json!({ "who": "b" })).go().await.unwrap(),
    ];
    let said = output(&engine.start("mouth").input(json!({ "who": "b" })).go().await.unwrap()).await;
    assert!(said.get("said").is_some());
    let heard = output(&ears[1]).await;
    assert_eq!(heard.get("input"), Some(&json!({ "heard": { "who": "b", "n": 1 } })));
    assert!(listens(&ears[0].state().await.unwrap()));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_wakes_a_run_that_sleeps_also_in_the_next_process() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "ear", EAR).await;
    let run = engine.start("ear").input(json!({ "who": "a" })).go().await.unwrap();
    until(&run, listens).await;
    let refused = run.signal("t.other.v1", json!({})).await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(_)), "{refused}");
    engine.stop().await.unwrap();

    // A process that drives nothing takes the event down; the one after it goes on.
    let operator = builder(dir.path(), &world).dispatching(false).open().await.unwrap();
    operator.run(run.id()).signal("t.said.v1", json!({ "who": "a" })).await.unwrap();
    operator.stop().await.unwrap();
    let engine = open(dir.path(), &world).await;
    let heard = output(&engine.run(run.id())).await;
    assert_eq!(heard.get("input"), Some(&json!({ "heard": { "who": "a" } })));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_on_its_way_when_the_process_dies_arrives_once() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "ear", EAR).await;
    register(&engine, "mouth", MOUTH).await;
    let ear = engine.start("ear").input(json!({ "who": "a" })).go().await.unwrap();
    until(&ear, listens).await;
    let mouth = engine.start("mouth").input(json!({ "who": "a" })).go().await.unwrap();
    output(&mouth).await;
    output(&ear).await;
    engine.stop().await.unwrap();
    // Every entry's end is a crash: before the event was emitted, between that and its arrival, after it.
    let mut between = 0;
    for end in ends(dir.path()) {
        let cut = cut_at(dir.path(), end);
        let received = |view: &View| match view.history(ear.id()) {
            Ok(history) => history.log().unwrap().iter().filter(|l| l.event.name() == "EventReceived").count(),
            Err(_) => 0,
        };
        let view = View::open(cut.path()).unwrap();
        between += usize::from(view.history(mouth.id()).is_ok() && received(&view) == 0);
        drop(view);
        let engine = open(cut.path(), &Arc::default()).await;
        let began = engine.run(mouth.id()).state().await.is_ok();
        if began {
            assert!(output(&engine.run(mouth.id())).await.get("said").is_some(), "cut at {end}");
            let heard = output(&engine.run(ear.id())).await;
            assert_eq!(heard.get("input"), Some(&json!({ "heard": { "who": "a", "n": 1 } })), "cut at {end}");
        }
        engine.stop().await.unwrap();
        if began {
            assert_eq!(received(&View::open(cut.path()).unwrap()), 1, "cut at {end}");
        }
    }
    assert!(between >= 1, "no crash was between emission and arrival");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_the_same_event_twice_changes_nothing() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "ear", "do:\n  - ear: { listen: { to: { any: [ { with: { type: a } } ], until: .last } } }")
        .await;
    let run = engine.start("ear").go().await.unwrap();
    for _ in 0..2 {
        let event = json!({ "type": "a", "source": "/s", "id": "1", "data": { "n": 1 } });
        assert_eq!(engine.publish(event).await.unwrap().runs, [run.id()]);
    }
    engine.publish(json!({ "type": "a", "data": { "last": true } })).await.unwrap();
    assert_eq!(output(&run).await, json!([{ "n": 1 }, { "last": true }]));
    assert!(engine.publish(json!({ "type": "a" })).await.unwrap().runs.is_empty());
    assert!(matches!(engine.publish(json!({ "data": 1 })).await, Err(Error::NoEvent { .. })));
    engine.stop().await.unwrap();
}
