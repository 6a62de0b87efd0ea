//! Operations that misbehave.

use std::sync::Arc;

use cpd_core::json;
use cpd_core::machine::CallPhase;
use cpd_engine::RunEnd;

use crate::support::{World, open, output, register, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_an_idempotent_operation_is_an_unknown_outcome_and_it_is_called_again() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { call: test.panics, with: {} }").await;
    let run = engine.start("w").go().await.unwrap();
    assert_eq!(output(&run).await, json!({ "attempt": 2 }));
    let keys = world.keys_of("test.panics");
    assert!(keys.len() == 2 && keys[0] == keys[1]);
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_an_at_most_once_operation_waits_for_an_operator_with_the_panic_s_text() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { call: test.breaks, with: {} }").await;
    let run = engine.start("w").go().await.unwrap();
    until(&run, |run| {
        run.calls().any(|(_, c)| match &c.phase {
            CallPhase::Parked(p) => p.detail.as_deref().is_some_and(|d| d.contains("broken for good")),
            _ => false,
        })
    })
    .await;
    // The engine lives on.
    register(&engine, "ok", "do:\n  - a: { call: test.put, with: {} }").await;
    output(&engine.start("ok").go().await.unwrap()).await;
    engine.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_never_returns_is_ended_by_the_timeout_of_its_task() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = open(dir.path(), &world).await;
    register(&engine, "w", "do:\n  - a: { call: test.never, with: {}, timeout: { after: { milliseconds: 20 } } }")
        .await;
    let run = engine.start("w").go().await.unwrap();
    let end = tokio::time::timeout(crate::support::LONG, run.result()).await.unwrap().unwrap();
    let RunEnd::Faulted { problem } = end else { panic!("{end:?}") };
    assert_eq!(problem.status, 408);
    assert_eq!(world.keys_of("test.never").len(), 1);
    engine.stop().await.unwrap();
}
