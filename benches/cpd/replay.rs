//! Turns without a disk, replay, and a run of 100,000 steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cpd_connector_api::{Value, json};
use cpd_core::expression::Limits;
use cpd_core::machine::turn::{CallOutcome, Env, Input, Start, start};
use cpd_core::machine::{Command, RunId};
use cpd_core::time::Timestamp;
use cpd_engine::view::View;
use cpd_engine::{replay as replaying, stopwatch};

use crate::job::{self, engine, runtime};
use crate::meter::{Report, cpu_seconds, fresh_dir};

/// Turns of the machine alone: no journal, no connector.
pub fn turns(report: &mut Report) {
    report.part("Turns of the machine alone (one thread)");
    let dir = fresh_dir();
    let plan = runtime().block_on(async {
        let engine = engine(dir.path()).await;
        let plan = engine.registry().workflow("bench/reference-job").expect("the workflow");
        engine.stop().await.expect("a stop");
        plan
    });
    let (limits, runtime) = (Limits::default(), json!({}));
    let env = Env { at: Timestamp(0), limits: &limits, runtime: &runtime, stopwatch };
    let output = json!({ "result": "x".repeat(187) });
    let (mut events, mut runs) = (0u64, 0u32);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        let asked = Start { input: Value::object(), key: None, actor: Arc::from("bench") };
        let (mut run, mut turn) = start(RunId([0; 16]), plan.clone(), asked, &env);
        events += turn.events.len() as u64;
        while let Some(Command::Call { act, attempt }) = turn.commands.first().cloned() {
            let outcome = CallOutcome::Succeeded { output: output.clone(), evidence: None };
            turn = run.turn(Input::Outcome { act, attempt, outcome }, &env).expect("an outcome");
            events += turn.events.len() as u64;
        }
        assert!(!run.is_open());
        runs += 1;
    }
    let seconds = begin.elapsed().as_secs_f64();
    report.line(
        "reference job",
        &[("events/s", events as f64 / seconds, ""), ("per run", seconds / f64::from(runs) * 1e6, "µs")],
    );
}

/// Replay: every decision made again and compared, the chain of digests checked.
pub fn replay(report: &mut Report) {
    report.part("Replay of reference jobs (every decision made again and compared; all cores)");
    let dir = fresh_dir();
    runtime().block_on(async {
        let engine = engine(dir.path()).await;
        let tasks: Vec<_> = (0..20_000)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let run = engine.start("bench/reference-job").go().await.expect("a start");
                    run.result().await.expect("an end");
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task");
        }
        engine.stop().await.expect("a stop");
    });
    let view = View::open(dir.path()).expect("a view");
    let histories: Vec<_> = view.runs().map(|(id, _)| view.history(id).expect("a history")).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (name, chained) in [("decisions compared", false), ("and digests checked", true)] {
        let begin = Instant::now();
        let events: u64 = std::thread::scope(|scope| {
            let parts = histories.chunks(histories.len().div_ceil(cores));
            let threads: Vec<_> = parts
                .map(|part| {
                    scope.spawn(move || {
                        let one = |h: &cpd_engine::History| {
                            let replayed = if chained {
                                replaying::replay(h, None, |_| {})
                            } else {
                                replaying::decisions(h, None, |_| {})
                            };
                            let replayed = replayed.expect("a replay");
                            assert!(replayed.divergence.is_none() && replayed.chain.is_ok());
                            replayed.events
                        };
                        part.iter().map(one).sum::<u64>()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("a thread")).sum()
        });
        report.line(name, &[("events/s", events as f64 / begin.elapsed().as_secs_f64(), "")]);
    }
}

/// A run of many steps: the cost of a step must not grow, and coming back must not take long.
pub fn long(report: &mut Report) {
    report.part("One run of many steps");
    for steps in [10_000i64, 100_000] {
        let dir = fresh_dir();
        let (ran, id) = runtime().block_on(async {
            let engine = engine(dir.path()).await;
            engine.register(include_str!("long.yaml"), "long.yaml").await.expect("the workflow registers");
            let begin = Instant::now();
            let run = engine.start("bench/long").input(json!({ "count": steps })).go().await.expect("a start");
            let waits = |run: &cpd_core::machine::Run| run.next_wake().is_some();
            while !waits(&run.state().await.expect("a state")) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let ran = begin.elapsed();
            engine.stop().await.expect("a stop");
            (ran, run.id())
        });
        let resumed = runtime().block_on(async {
            let engine =
                cpd_engine::Engine::builder(dir.path()).connector(job::operations()).open().await.expect("an engine");
            let begin = Instant::now();
            let state = engine.run(id).state().await.expect("a state");
            let resumed = begin.elapsed();
            assert!(state.is_open());
            engine.stop().await.expect("a stop");
            resumed
        });
        report.line(
            &format!("{steps} steps"),
            &[
                ("per step", ran.as_secs_f64() / steps as f64 * 1e6, "µs"),
                ("state again after a start", resumed.as_secs_f64() * 1e3, "ms"),
            ],
        );
    }
}

/// Tasks that wait for nothing: `set` and `switch` in turns within a loop, with all that a run costs.
pub fn pure(report: &mut Report) {
    report.part("Pure tasks: `set` and `switch` in a loop, from the start to the durable end");
    for rounds in [10_000i64, 50_000] {
        let dir = fresh_dir();
        runtime().block_on(async {
            let engine = engine(dir.path()).await;
            engine.register(include_str!("pure.yaml"), "pure.yaml").await.expect("the workflow registers");
            let (begin, cpu) = (Instant::now(), cpu_seconds());
            let run = engine.start("bench/pure").input(json!({ "count": rounds })).go().await.expect("a start");
            let end = run.result().await.expect("an end");
            let (ran, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu);
            assert_eq!(end.status(), "completed");
            engine.stop().await.expect("a stop");
            let tasks = 2.0 * rounds as f64;
            report.line(
                &format!("{} tasks", 2 * rounds),
                &[("CPU per task", cpu / tasks * 1e6, "µs"), ("time per task", ran / tasks * 1e6, "µs")],
            );
        });
    }
}
