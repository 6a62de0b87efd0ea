//! Views, bundles, replay.

use std::sync::Arc;

use cpd_core::json;
use cpd_engine::replay::{decisions, replay};
use cpd_engine::view::View;
use cpd_engine::{History, RowPhase};

use crate::support::{World, open, output, register};

const BODY: &str = "do:
  - a: { call: test.put, with: { n: 1 }, export: { as: '$context + { a: . }' } }
  - b: { set: { marker: here, got: '${ $context.a.attempt }' } }
  - c: { call: test.put, with: { n: '${ .got }' } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_sees_the_runs_of_an_engine_that_owns_the_directory() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", BODY).await;
    let one = engine.start("w").go().await.unwrap();
    output(&one).await;
    let mut view = View::open(dir.path()).unwrap();
    assert_eq!(view.row(one.id()).map(|r| r.phase), Some(RowPhase::Completed));
    let two = engine.start("w").go().await.unwrap();
    output(&two).await;
    assert!(view.row(two.id()).is_none());
    view.refresh().unwrap();
    assert_eq!(view.runs().count(), 2);
    assert_eq!(view.find(&one.id().to_string()).ok(), Some(one.id()));
    let folded = view.history(two.id()).unwrap().fold().unwrap();
    assert_eq!(format!("{:?}", folded.phase), format!("{:?}", two.state().await.unwrap().phase));
    engine.stop().await.unwrap();
}

/// The bundle of a run that is over.
async fn bundle() -> String {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", BODY).await;
    register(&engine, "other", "do:\n  - x: { set: { n: 1 } }").await;
    let run = engine.start("w").go().await.unwrap();
    output(&run).await;
    engine.stop().await.unwrap();
    View::open(dir.path()).unwrap().history(run.id()).unwrap().to_bundle()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_replays_elsewhere_without_the_directory() {
    let text = bundle().await;
    let history = History::from_bundle(&text).unwrap();
    assert_eq!(history.registrations.len(), 1, "only what the run needs");
    let replayed = replay(&history, None, |_| {}).unwrap();
    assert!(replayed.divergence.is_none(), "{:?}", replayed.divergence);
    assert_eq!(replayed.chain, Ok(()));
    assert_eq!(replayed.run.phase.name(), "completed");
    assert_eq!(history.to_bundle(), text);
    let all = replayed.events;
    for until in 1..=all {
        let part = decisions(&history, Some(until), |_| {}).unwrap();
        assert!(part.divergence.is_none(), "until {until}: {:?}", part.divergence);
        assert_eq!(part.events, until);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tampered_record_breaks_the_chain_and_diverges_at_its_number() {
    let mut history = History::from_bundle(&bundle().await).unwrap();
    let mut tampered = None;
    for entry in &mut history.entries {
        for (place, record) in entry.records.iter_mut().enumerate() {
            // The result of `set`, where the definition says `here`.
            if let Some(at) = record.payload.windows(4).position(|w| w == b"here") {
                record.payload[at..at + 4].copy_from_slice(b"hare");
                tampered = tampered.or(Some(entry.seq + place as u64));
            }
        }
    }
    // The definition itself stands in the registrations, not in the entries.
    let seq = tampered.expect("a record with the marker");
    let replayed = replay(&history, None, |_| {}).unwrap();
    assert!(replayed.chain.is_err());
    let diverged = replayed.divergence.expect("a divergence");
    assert_eq!(diverged.seq, seq, "{diverged:?}");
    assert_eq!(diverged.divergence.task.as_deref(), Some("/do/1/b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_doubled_entry_is_found() {
    let text = bundle().await;
    let mut missing = History::from_bundle(&text).unwrap();
    let gone = missing.entries.remove(1);
    let replayed = replay(&missing, None, |_| {}).unwrap();
    assert!(replayed.chain.is_err());
    assert_eq!(replayed.divergence.expect("a divergence").seq, missing.entries[1].seq);
    let mut doubled = History::from_bundle(&text).unwrap();
    doubled.entries.insert(1, gone);
    let replayed = replay(&doubled, None, |_| {}).unwrap();
    assert!(replayed.chain.is_err() && replayed.divergence.is_some());
}

#[test]
fn what_is_not_a_bundle_is_refused() {
    for text in ["", "{}", "[]", "{\"cpdBundle\":2,\"run\":\"x\",\"registrations\":[],\"entries\":[]}"] {
        assert!(History::from_bundle(text).is_err(), "{text}");
    }
}

/// An output that was one with a member of the context in memory was written as "the output", and the replay, which has
/// two equal values there, called that a divergence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_exact_whatever_values_were_shared_in_memory() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let body = "do:
  - a: { set: { big: { x: 1 } }, export: { as: '{ big: .big }' } }
  - b: { set: '${ $context.big }', export: { as: '$context + { k: $context.big, l: . }' } }
  - c: { set: { z: '${ $context.big }' }, export: { as: '{ m: .z, n: $context.big, o: 1 }' } }
  - d: { set: '${ $context.m }', export: { as: '$context.n' } }";
    register(&engine, "w", body).await;
    let run = engine.start("w").go().await.unwrap();
    assert_eq!(output(&run).await, json!({ "x": 1 }));
    engine.stop().await.unwrap();
    let view = View::open(dir.path()).unwrap();
    let replayed = replay(&view.history(run.id()).unwrap(), None, |_| {}).unwrap();
    assert!(replayed.divergence.is_none(), "{:?}", replayed.divergence);
    assert_eq!(replayed.run.context, json!({ "x": 1 }));
}
