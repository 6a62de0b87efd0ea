//! Start keys are not kept in memory for ever.

use std::sync::Arc;

use super::support::{World, open, output, register};
use crate::keys::CELLS_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_memory_are_bounded_and_an_old_key_still_finds_its_finished_run() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { set: { n: 1 } }").await;
    let key = |n: usize| format!("order-{n}");
    let total = 3 * CELLS_MAX;
    let mut runs = Vec::new();
    for batch in (0..total).collect::<Vec<_>>().chunks(512) {
        let starts = batch.iter().map(|n| {
            let (engine, key) = (engine.clone(), key(*n));
            tokio::spawn(async move { engine.start("w").key(key).go().await.expect("a start").id() })
        });
        for start in starts.collect::<Vec<_>>() {
            runs.push(start.await.unwrap());
        }
        while engine.inner.keys.is_pruning() {
            tokio::task::yield_now().await;
        }
        let kept = engine.inner.keys.len();
        assert!(kept <= CELLS_MAX + 512, "{kept} of {} are kept", runs.len());
    }
    output(&engine.run(runs[0])).await;

    let again = engine.start("w").key(key(0)).go().await.unwrap();
    assert_eq!((again.id(), again.existed()), (runs[0], true));
    engine.stop().await.unwrap();
    let engine = open(dir.path(), &world).await;
    for n in [0, CELLS_MAX, total - 1] {
        let again = engine.start("w").key(key(n)).go().await.unwrap();
        assert_eq!((again.id(), again.existed()), (runs[n], true));
    }
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_is_forgotten_before_the_index_knows_it() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { set: { n: 1 } }").await;
    let (shared, keys) = (&engine.inner.shared, &engine.inner.keys);
    for round in 0..200 {
        let key = format!("order-{round}");
        let run = engine.start("w").key(&key).go().await.unwrap();
        keys.prune(&shared.indexer, &*shared.index().unwrap());
        assert_eq!(engine.start("w").key(&key).go().await.unwrap().id(), run.id());
    }
    // The release of the last start may still be on its way to the index.
    assert!(keys.len() <= 2, "{} are kept", keys.len());
    engine.stop().await.unwrap();
}
