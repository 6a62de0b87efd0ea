//! The reference job through the library: runs of three sequential durable steps, each an in-process operation that
//! records a JSON result of 200 random bytes, in a closed loop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cpd_connector_api::{Class, Outcome, Value, json};
use cpd_engine::Engine;
use cpd_engine::operation::{Operations, spec};

use crate::meter::{Report, cpu_seconds, dir_bytes, fresh_dir, quantile, rss_mib, sync_ms};

/// The workflow.
pub const WORKFLOW: &str = include_str!("reference-job.yaml");

/// The operation `bench.step`: a result of 200 bytes that no compression makes smaller.
pub fn operations() -> Operations {
    let drawn = AtomicU64::new(1);
    let step = spec("bench.step", Class::Idempotent, "Records 200 random bytes.");
    Operations::new("bench").operation(step, move |_request| {
        let text = random_text(drawn.fetch_add(1, Ordering::Relaxed));
        async move { Outcome::succeeded(json!({ "result": text })) }
    })
}

/// 187 letters and digits, so that `{"result":"…"}` has 200 bytes. SplitMix64.
fn random_text(seed: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::with_capacity(187);
    while text.len() < 187 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        for i in 0..10 {
            if text.len() < 187 {
                text.push(char::from(LETTERS[(z >> (i * 6)) as usize & 63]));
            }
        }
    }
    text
}

/// Opens an engine with the workflow registered.
pub async fn engine(dir: &Path) -> Engine {
    let engine = Engine::builder(dir).connector(operations()).open().await.expect("an engine");
    engine.register(WORKFLOW, "reference-job.yaml").await.expect("the reference job registers");
    engine
}

/// A runtime with a thread for each core.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Measures the job with 1, 16 and 128 runs in flight.
pub fn job(report: &mut Report) {
    report.part("Reference job: 3 durable steps of 200 random bytes, closed loop, every step synced");
    let sync = sync_ms();
    report.line("four syncs of this disk", &[("p50", 4.0 * sync, "ms")]);
    for (in_flight, runs) in [(1usize, 4_000u64), (16, 60_000), (128, 160_000)] {
        let dir = fresh_dir();
        let runtime = runtime();
        runtime.block_on(async {
            let engine = engine(dir.path()).await;
            let cpu = cpu_seconds();
            let begin = Instant::now();
            let times = drive(&engine, in_flight, runs).await;
            let elapsed = begin.elapsed().as_secs_f64();
            let cpu = cpu_seconds() - cpu;
            let rss = rss_mib();
            engine.stop().await.expect("a stop");
            let bytes = journal_bytes(dir.path());
            report.line(
                &format!("{in_flight} in flight"),
                &[
                    ("runs/s", runs as f64 / elapsed, ""),
                    ("p50", quantile(&times, 0.5), "ms"),
                    ("p99", quantile(&times, 0.99), "ms"),
                    ("CPU", cpu / runs as f64 * 1e6, "µs/run"),
                    ("journal", bytes / runs as f64, "B/run"),
                    ("all files", dir_bytes(dir.path()) as f64 / runs as f64, "B/run"),
                    ("RSS", rss, "MiB"),
                ],
            );
        });
    }
}

/// Starts runs and waits for their ends, so many at a time.
async fn drive(engine: &Engine, in_flight: usize, runs: u64) -> Vec<Duration> {
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (engine, next) = (engine.clone(), next.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < runs {
                    let begin = Instant::now();
                    let run = engine.start("bench/reference-job").input(Value::object()).go().await.expect("a start");
                    let end = run.result().await.expect("an end");
                    assert_eq!(end.status(), "completed");
                    times.push(begin.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a task"));
    }
    times.sort();
    times
}

/// Bytes of frames in the journal, without what is filled in ahead.
fn journal_bytes(data: &Path) -> f64 {
    cpd_journal::verify(data.join("journal")).map_or(f64::NAN, |r| r.bytes as f64)
}
