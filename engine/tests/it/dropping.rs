//! An engine that is dropped without being stopped.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cpd_connector_api::{Class, Outcome, Request};
use cpd_core::json;
use cpd_core::machine::RunId;
use cpd_engine::operation::{Operations, spec};
use cpd_engine::view::View;
use cpd_engine::{Builder, Engine};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::{LONG, output, register};

/// The world outside, which sees engines of several generations.
#[derive(Default)]
struct Outside {
    /// The generation that was opened last.
    latest: AtomicU64,
    /// Calls of earlier generations that were seen at work after that.
    late: AtomicUsize,
    calls: AtomicUsize,
    called: Notify,
    alive: Mutex<Vec<u64>>,
}

impl Outside {
    fn at_work(&self, generation: u64) {
        if generation < self.latest.load(Ordering::SeqCst) {
            self.late.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A call at work.
struct AtWork(Arc<Outside>, u64);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work(self.1);
        let mut alive = self.0.alive.lock();
        let place = alive.iter().position(|g| *g == self.1).expect("it was put there");
        alive.swap_remove(place);
    }
}

fn builder(data: &Path, outside: &Arc<Outside>, generation: u64) -> Builder {
    let outside = outside.clone();
    let work = move |_: Request| {
        let outside = outside.clone();
        outside.alive.lock().push(generation);
        let at_work = AtWork(outside.clone(), generation);
        async move {
            for _ in 0..3 {
                outside.at_work(generation);
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            outside.calls.fetch_add(1, Ordering::SeqCst);
            outside.called.notify_waiters();
            drop(at_work);
            Outcome::succeeded(json!(true))
        }
    };
    let operations =
        Operations::new("slow").operation(spec("slow.work", Class::Idempotent, "Works for a moment."), work);
    Engine::builder(data).connector(operations).shards(2)
}

async fn until_called(outside: &Outside, times: usize) {
    let calls = async {
        loop {
            let next = outside.called.notified();
            tokio::pin!(next);
            next.as_mut().enable();
            if outside.calls.load(Ordering::SeqCst) >= times {
                return;
            }
            next.await;
        }
    };
    tokio::time::timeout(LONG, calls).await.expect("calls in time");
}

/// The directory was free as soon as the last handle was dropped, while shards, calls and the writer of the old engine went
/// on beside the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_dropped_under_load_can_be_opened_again_at_once_and_never_acts_beside_the_next_one() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), Arc::new(Outside::default()));
    let mut started: Vec<RunId> = Vec::new();
    for generation in 1..=30 {
        let engine = builder(dir.path(), &outside, generation).open().await.expect("an engine at once");
        outside.latest.store(generation, Ordering::SeqCst);
        assert!(outside.alive.lock().iter().all(|g| *g == generation), "calls of the last engine are gone");
        if generation == 1 {
            register(&engine, "w", "do:\n  - a: { call: slow.work, with: {} }").await;
            register(&engine, "two", "do:\n  - a: { call: slow.work, with: {} }\n  - b: { call: slow.work, with: {} }")
                .await;
        }
        let before = outside.calls.load(Ordering::SeqCst);
        let mut starts = JoinSet::new();
        for n in 0..40 {
            let engine = engine.clone();
            let name = if n % 2 == 0 { "w" } else { "two" };
            starts.spawn(async move {
                let run = engine.start(name).key(format!("{generation}/{n}")).go().await.expect("a start");
                run.id()
            });
        }
        for _ in 0..20 {
            started.push(starts.join_next().await.unwrap().unwrap());
        }
        until_called(&outside, before + usize::try_from(generation).unwrap() % 20).await;
        // Some of the starts are still under way; whoever asked for them is gone.
        drop(engine);
        starts.shutdown().await;
    }
    let engine = builder(dir.path(), &outside, 100).open().await.unwrap();
    outside.latest.store(100, Ordering::SeqCst);
    for id in &started {
        output(&engine.run(*id)).await;
    }
    engine.stop().await.unwrap();
    assert_eq!(outside.late.load(Ordering::SeqCst), 0, "no engine acts once the next one is open");
    let view = View::open(dir.path()).unwrap();
    for (id, _) in view.runs() {
        view.history(id).unwrap().check_chain().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_to_a_run_keeps_its_engine() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), Arc::new(Outside::default()));
    let engine = builder(dir.path(), &outside, 1).open().await.unwrap();
    register(&engine, "w", "do:\n  - a: { call: slow.work, with: {} }").await;
    let run = engine.start("w").go().await.unwrap();
    drop(engine);
    output(&run).await;
}

#[test]
fn an_engine_that_outlives_its_runtime_lets_go_of_the_directory() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), Arc::new(Outside::default()));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for generation in 1..=3 {
        let first = runtime();
        let engine = first.block_on(async {
            let engine = builder(dir.path(), &outside, generation).open().await.expect("an engine");
            register(&engine, "w", "do:\n  - a: { call: slow.work, with: {} }").await;
            engine.start("w").go().await.unwrap();
            engine
        });
        drop(first);
        drop(engine);
        assert!(outside.alive.lock().is_empty());
    }
}
