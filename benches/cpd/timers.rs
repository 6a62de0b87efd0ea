//! Durable timers: how late they are.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use cpd_connector_api::json;
use cpd_core::machine::{Event, Run};
use cpd_core::time::Timestamp;
use cpd_engine::{Clock, Engine, Observer, SystemClock};

use crate::job::runtime;
use crate::meter::{Report, fresh_dir, quantile};

#[derive(Default)]
struct Lateness {
    due: Mutex<Vec<Duration>>,
    clock: SystemClock,
}

impl Observer for Lateness {
    fn observe(&self, run: &Run, _at: Timestamp, _seq: u64, events: &[Event]) {
        // When the firing is durable, against when the wait was to be over.
        if events.iter().any(|e| matches!(e, Event::TimerFired { .. })) {
            let span = run.input.get("milliseconds").and_then(cpd_connector_api::Value::as_i64).unwrap_or(0);
            let due = run.started_at.plus(Duration::from_millis(span.unsigned_abs()));
            self.due.lock().expect("no panic before").push(self.clock.now().since(due));
        }
    }
}

/// 1,000 and 10,000 timers of 1 to 5 s.
pub fn timers(report: &mut Report) {
    report.part("Timers of 1 to 5 s: lateness until the firing is durable");
    for count in [1_000i64, 10_000] {
        let dir = fresh_dir();
        let seen = Arc::new(Lateness::default());
        runtime().block_on(async {
            let engine = Engine::builder(dir.path()).observer(seen.clone()).open().await.expect("an engine");
            engine.register(include_str!("timer.yaml"), "timer.yaml").await.expect("the workflow registers");
            let mut runs = Vec::new();
            for i in 0..count {
                // Spread over the four seconds, in no order.
                let span = 1_000 + (i * 7_919) % 4_000;
                let started = engine.clone();
                runs.push(tokio::spawn(async move {
                    let run = started
                        .start("bench/timer")
                        .input(json!({ "milliseconds": span }))
                        .go()
                        .await
                        .expect("a start");
                    run.result().await.expect("an end")
                }));
            }
            for run in runs {
                assert_eq!(run.await.expect("a task").status(), "completed");
            }
            engine.stop().await.expect("a stop");
        });
        let mut late = seen.due.lock().expect("no panic before").clone();
        late.sort();
        let figures = [
            ("p50", quantile(&late, 0.5), "ms"),
            ("p99", quantile(&late, 0.99), "ms"),
            ("max", quantile(&late, 1.0), "ms"),
        ];
        report.line(&format!("{count} timers"), &figures);
    }
}
