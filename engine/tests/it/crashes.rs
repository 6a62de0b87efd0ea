//! What a crash leaves, and what the next process makes of it. A crash is a copy of the journal at that moment.

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::{Outcome, Problem, Reconciled, Standard};
use cpd_core::json;
use cpd_core::machine::{CallPhase, Resolution};
use cpd_engine::{Engine, RunEnd, RunHandle, SimClock};
use cpd_journal::index::{Batch, Driver, Space, open_or_rebuild};
use tempfile::TempDir;

use crate::support::{World, builder, crashed, open, output, register, until};

/// A run of one call of `operation`, crashed while the call is in flight; the engine of the next process.
async fn crashed_while_calling(operation: &str, world: &Arc<World>) -> (TempDir, Engine, RunHandle) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), world).await;
    register(&engine, "w", &format!("do:\n  - a: {{ call: {operation}, with: {{}} }}")).await;
    let run = engine.start("w").go().await.unwrap();
    world.until_called(operation, 1).await;
    let copy = crashed(dir.path());
    engine.stop().await.unwrap();
    let next = open(copy.path(), world).await;
    let run = next.run(run.id());
    (copy, next, run)
}

fn is_parked(run: &cpd_core::machine::Run) -> bool {
    run.calls().any(|(_, c)| matches!(c.phase, CallPhase::Parked(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_at_most_once_call_in_flight_waits_for_an_operator_after_a_crash() {
    let resolutions = [
        Resolution::Succeeded(json!({ "known": true })),
        Resolution::Retry,
        Resolution::Failed(Problem::standard(Standard::Runtime, "it did not happen")),
    ];
    for resolution in resolutions {
        let world = Arc::new(World::default());
        let (dir, engine, run) = crashed_while_calling("test.once", &world).await;
        until(&run, is_parked).await;
        engine.stop().await.unwrap();
        let engine = open(dir.path(), &world).await;
        let run = engine.run(run.id());
        assert!(is_parked(&run.state().await.unwrap()), "it still waits in the third process");
        assert_eq!(world.keys_of("test.once").len(), 1, "nobody called it again");
        world.gate.open();
        assert!(run.resolve(Some("b"), resolution.clone(), "me").await.is_err());
        run.resolve(Some("a"), resolution.clone(), "me").await.unwrap();
        let end = run.result().await.unwrap();
        match resolution {
            Resolution::Succeeded(value) => assert_eq!(end, RunEnd::Completed { output: value }),
            Resolution::Retry => {
                assert_eq!(end, RunEnd::Completed { output: json!({ "attempt": 2 }) });
                let keys = world.keys_of("test.once");
                assert!(keys.len() == 2 && keys[0] == keys[1]);
            }
            Resolution::Failed(_) => assert!(matches!(end, RunEnd::Faulted { .. })),
        }
        engine.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotent_call_in_flight_is_made_again_with_its_key_after_a_crash() {
    let world = Arc::new(World::default());
    let (_dir, engine, run) = crashed_while_calling("test.gate", &world).await;
    world.gate.open();
    assert_eq!(output(&run).await, json!({ "attempt": 2 }));
    let keys = world.keys_of("test.gate");
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_can_be_asked_about_is_asked_about_after_a_crash() {
    let world = Arc::new(World::default());
    *world.reconciled.lock() = Some(Reconciled::Happened(Outcome::succeeded(json!("it happened"))));
    let (_dir, engine, run) = crashed_while_calling("asked.put", &world).await;
    assert_eq!(output(&run).await, json!("it happened"));
    assert_eq!(world.keys_of("asked.put").len(), 1);
    assert_eq!(world.keys_of("asked.put"), world.keys_of("asked.reconcile"));
    engine.stop().await.unwrap();

    let world = Arc::new(World::default());
    *world.reconciled.lock() = Some(Reconciled::NotHappened);
    let (_dir, engine, run) = crashed_while_calling("asked.put", &world).await;
    world.gate.open();
    assert_eq!(output(&run).await, json!({ "attempt": 2 }));
    engine.stop().await.unwrap();

    let world = Arc::new(World::default());
    let (_dir, engine, run) = crashed_while_calling("asked.put", &world).await;
    until(&run, is_parked).await;
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_in_flight_at_a_stop_are_finished_by_the_next_process() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { call: test.gate, with: {} }\n  - b: { call: test.put, with: {} }").await;
    let mut runs = Vec::new();
    for _ in 0..50 {
        runs.push(engine.start("w").go().await.unwrap().id());
    }
    world.until_called("test.gate", 50).await;
    engine.stop().await.unwrap();
    world.gate.open();
    let engine = open(dir.path(), &world).await;
    assert_eq!(engine.recovered().open_runs, 50);
    for id in runs {
        output(&engine.run(id)).await;
    }
    assert_eq!(world.by_key().len(), 100, "two effects a run, however often they were called");
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_set_by_one_process_fires_in_the_next_at_its_time() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let begin = cpd_core::time::Timestamp(1_795_392_000_000_000);
    let engine = builder(dir.path(), &world).clock(SimClock::new(begin)).open().await.unwrap();
    register(&engine, "w", "do:\n  - a: { wait: PT1H }\n  - b: { set: { at: '${ now }' } }").await;
    let run = engine.start("w").go().await.unwrap();
    engine.stop().await.unwrap();
    let early = SimClock::new(begin.plus(Duration::from_secs(3599)));
    let engine = builder(dir.path(), &world).clock(early).open().await.unwrap();
    assert!(engine.run(run.id()).state().await.unwrap().is_open());
    engine.stop().await.unwrap();
    let late = begin.plus(Duration::from_secs(7200));
    let engine = builder(dir.path(), &world).clock(SimClock::new(late)).open().await.unwrap();
    assert_eq!(output(&engine.run(run.id())).await, json!({ "at": late.as_secs_f64() }));
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_lost_or_broken_is_rebuilt_and_nothing_is_lost() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { call: test.gate, with: {} }").await;
    register(&engine, "done", "do:\n  - a: { set: { n: 1 } }").await;
    let done = engine.start("done").key("k").go().await.unwrap();
    output(&done).await;
    let waiting = engine.start("w").go().await.unwrap();
    world.until_called("test.gate", 1).await;
    engine.stop().await.unwrap();
    let index = dir.path().join("index");
    let gone = || std::fs::remove_dir_all(&index).or_else(|_| std::fs::remove_file(&index)).unwrap();
    let breaks: [(&dyn Fn(), bool); 6] = [
        (&gone, false),
        (&|| overwrite(&index), true),
        (&|| (gone(), std::fs::write(&index, "a file").unwrap()).1, true),
        (&|| (gone(), std::os::unix::fs::symlink("index", &index).unwrap()).1, true),
        (&|| change(dir.path(), Space(4), b"format", &[9, 0, 0, 0]), true),
        (&|| change(dir.path(), Space(2), &waiting.id().0[..15], &[]), true),
    ];
    for (n, (break_it, announced)) in breaks.into_iter().enumerate() {
        break_it();
        let engine = open(dir.path(), &world).await;
        let rebuilt = &engine.recovered().index_rebuilt;
        assert_eq!(rebuilt.is_some(), announced, "{n}: {rebuilt:?}");
        assert_eq!(engine.runs(10).unwrap().len(), 2);
        assert_eq!(output(&engine.run(done.id())).await, json!({ "n": 1 }));
        assert_eq!(engine.start("done").key("k").go().await.unwrap().id(), done.id());
        assert!(engine.run(waiting.id()).state().await.unwrap().is_open());
        engine.stop().await.unwrap();
    }
    world.gate.open();
    let engine = open(dir.path(), &world).await;
    output(&engine.run(waiting.id())).await;
    engine.stop().await.unwrap();
}

/// What the directory of a journal holds.
fn files(dir: &std::path::Path) -> std::collections::BTreeMap<std::ffi::OsString, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries.map(|e| (e.file_name(), std::fs::read(e.path()).unwrap())).collect()
}

/// An older copy of the journal was opened beside the newer index, and "nothing is lost" was said of the records between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_knows_more_than_its_journal_is_the_witness_of_a_loss() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { set: { n: 1 } }").await;
    output(&engine.start("w").go().await.unwrap()).await;
    engine.stop().await.unwrap();
    let journal = dir.path().join("journal");
    let older = files(&journal);
    let engine = open(dir.path(), &world).await;
    output(&engine.start("w").go().await.unwrap()).await;
    engine.stop().await.unwrap();
    for (name, bytes) in &older {
        std::fs::write(journal.join(name), bytes).unwrap();
    }
    for _ in 0..2 {
        let refused = builder(dir.path(), &world).open().await.map(drop);
        let Err(cpd_engine::Error::RecordsMissing { next, applied, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((next.0, applied.0), (6, 9), "one registration, then four records a run");
        assert_eq!(files(&journal), older, "what refuses changes nothing");
    }
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let engine = open(dir.path(), &world).await;
    assert_eq!(engine.runs(10).unwrap().len(), 1);
    engine.stop().await.unwrap();
}

/// A journal beside the index of another one lost its start keys: a second start with a key that was known began a second run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_another_journal_is_made_again() {
    let (dir, other, world) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let mut known = Vec::new();
    for dir in [&other, &dir] {
        let engine = open(dir.path(), &world).await;
        register(&engine, "w", "do:\n  - a: { set: { n: 1 } }").await;
        known.clear();
        for key in ["first", "second"] {
            let run = engine.start("w").key(key).go().await.unwrap();
            output(&run).await;
            known.push(run.id());
        }
        engine.stop().await.unwrap();
    }
    let index = dir.path().join("index");
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::rename(other.path().join("index"), &index).unwrap();
    let engine = open(dir.path(), &world).await;
    let why = engine.recovered().index_rebuilt.clone();
    assert!(why.as_deref().is_some_and(|why| why.contains("another journal")), "{why:?}");
    for (key, id) in ["first", "second"].into_iter().zip(known) {
        assert_eq!(engine.start("w").key(key).go().await.unwrap().id(), id);
    }
    engine.stop().await.unwrap();
}

/// A start read the row of every run, one by one, however many were open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_needs_nothing_of_an_index_but_the_rows_of_open_runs() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let begin = cpd_core::time::Timestamp(1_795_392_000_000_000);
    let engine = builder(dir.path(), &world).clock(SimClock::new(begin)).open().await.unwrap();
    register(&engine, "w", "do:\n  - a: { wait: PT1H }").await;
    register(&engine, "two", "do:\n  - a: { call: test.gate, with: {} }").await;
    let waiting = engine.start("w").go().await.unwrap().id();
    let paused = engine.start("w").go().await.unwrap().id();
    engine.run(paused).pause("me", "a while").await.unwrap();
    let busy = engine.start("two").go().await.unwrap().id();
    world.until_called("test.gate", 1).await;
    engine.stop().await.unwrap();
    for id in [waiting, paused, busy] {
        change(dir.path(), Space(1), &id.0, b"not a row");
    }
    world.gate.open();
    let late = SimClock::new(begin.plus(Duration::from_secs(7200)));
    let engine = builder(dir.path(), &world).clock(late).open().await.unwrap();
    let recovered = engine.recovered();
    assert_eq!((recovered.open_runs, recovered.resumed_runs, recovered.caught_up), (3, 1, 0));
    for id in [waiting, busy] {
        output(&engine.run(id)).await;
    }
    assert_eq!(engine.run(paused).state().await.unwrap().phase, cpd_core::machine::Phase::Paused);
    engine.stop().await.unwrap();
}

/// A value nested 129 levels deep was recorded and could not be read again: the next process had lost the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_nesting_was_recorded_is_read_again() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    let body = "do:
  - deep:
      try:
        - a: { set: { b: { c: { d: { all: '${ $context }' } } } }, export: { as: '$context + { last: . }' }, then: a }
      catch:
        do: [ { raise: { raise: { error: { type: 'urn:x', status: 500, title: X, detail: too deep } } } } ]
      then: exit";
    register(&engine, "w", body).await;
    let outer = "do:
  - a: { call: test.gate, with: {} }
  - nest: { for: { each: n, in: '[range(40)]' }, do: [ { a: { set: { b: { c: { d: '${ $context }' } } }, export: { as: '{ last: . }' } } } ] }";
    register(&engine, "grow", &outer.replace("range(40)", "range(31)")).await;
    world.gate.open();
    for name in ["w", "grow"] {
        let run = engine.start(name).go().await.unwrap();
        let end = tokio::time::timeout(crate::support::LONG, run.result()).await.unwrap().unwrap();
        let view = cpd_engine::view::View::open(dir.path()).unwrap();
        let history = view.history(run.id()).unwrap();
        let replayed = cpd_engine::replay::replay(&history, None, |_| {}).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert!(replayed.divergence.is_none(), "{:?}", replayed.divergence);
        assert_eq!(replayed.run.phase.name(), end.status());
    }
    engine.stop().await.unwrap();
}

/// Changes a row of an index that nobody has open.
fn change(data: &std::path::Path, space: Space, key: &[u8], value: &[u8]) {
    let index = open_or_rebuild(Driver::Fjall, &data.join("index/fjall")).expect("an index").index;
    let mut batch = Batch::new();
    batch.put(space, key, value);
    index.write(batch).expect("a write");
}

/// Writes nonsense over every file below.
fn overwrite(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            overwrite(&path);
        } else {
            let len = std::fs::metadata(&path).expect("a file").len();
            std::fs::write(&path, vec![0xa5; usize::try_from(len).expect("a small file")]).expect("a write");
        }
    }
}
