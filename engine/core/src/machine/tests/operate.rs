//! Pause, resume and cancel, in every status.

use super::*;

/// A run in each status in which one can rest, by name.
fn resting() -> Vec<(&'static str, Sim)> {
    let a_call = "do:\n  - a: { call: test.OP, with: {} }\n  - b: { set: { done: true } }\n";
    let of = |operation: &str| Sim::start(&a_call.replace("test.OP", operation));
    let retried = "do:\n  - t: { try: [ { a: { call: test.put, with: {} } } ], catch: { retry: { delay: PT1M, limit: { attempt: { count: 3, duration: PT1H } } } } }\n";
    let mut all = vec![
        ("calling", of("test.put")),
        ("waiting", Sim::start("do:\n  - w: { wait: PT1H }\n")),
        ("yielded", Sim::start("do:\n  - a: { set: { n: 1 }, then: a }\n")),
        ("trying", Sim::start(retried)),
    ];
    let mut sim = of("test.put");
    sim.answer("a", unknown());
    all.push(("backing off", sim));
    let mut sim = of("test.asked");
    sim.answer("a", unknown());
    all.push(("reconciling", sim));
    let mut sim = of("test.once");
    sim.answer("a", unknown());
    all.push(("waiting for an operator", sim));
    let mut sim = Sim::start(retried);
    sim.answer("a", failed(500));
    all.push(("delayed", sim));
    all
}

fn wrong_phase(result: Result<(), Rejected>) {
    assert!(matches!(result, Err(Rejected::WrongPhase { .. })), "{result:?}");
}

#[test]
fn cancel_ends_a_run_in_every_status_running_or_paused() {
    for paused in [false, true] {
        for (status, mut sim) in resting() {
            if paused {
                sim.pause().expect("it runs");
            }
            let calls = sim.asked.len();
            let before = sim.commands.len();
            sim.cancel().unwrap_or_else(|e| panic!("{status}: {e}"));
            assert_eq!(sim.run.phase, Phase::Cancelled { reason: "enough".into() }, "{status}");
            assert_eq!(sim.commands.len() - before, calls, "{status}: every call in flight is told");
            assert!(sim.run.acts.is_empty() && sim.asked.is_empty());
            sim.check();
        }
    }
}

#[test]
fn a_paused_run_fires_no_timer_and_goes_on_when_it_is_resumed() {
    for (status, mut sim) in resting() {
        sim.pause().unwrap_or_else(|e| panic!("{status}: {e}"));
        wrong_phase(sim.pause());
        assert_eq!(sim.run.wake_sources(), [WakeSource::Resume], "{status}");
        assert_eq!(sim.run.next_wake(), None, "{status}");
        sim.now = sim.now.plus(secs(7200));
        assert!(matches!(sim.input(Input::Tick), Err(Rejected::NothingDue { .. })), "{status}");
        assert!(!sim.run.has_more(), "{status}");
        sim.resume().unwrap_or_else(|e| panic!("{status}: {e}"));
        wrong_phase(sim.resume());
        sim.check();
    }
}

#[test]
fn an_outcome_that_comes_while_paused_is_recorded_and_nothing_new_begins() {
    let mut sim = Sim::start("do:\n  - a: { call: test.put, with: {} }\n  - b: { call: test.put, with: {} }\n");
    sim.pause().expect("it runs");
    sim.answer("a", ok(json!(1)));
    assert_eq!(sim.history.len(), 1);
    assert_eq!(sim.count("TaskSucceeded"), 1);
    sim.check();
    sim.resume().expect("it is paused");
    assert_eq!(sim.in_flight(), ["b"]);
    sim.answer("b", ok(json!(2)));
    assert_eq!(sim.output(), json!(2));
}

#[test]
fn every_outcome_may_come_while_paused() {
    for outcome in [failed(500), CallOutcome::Refused(communication(404)), unknown()] {
        let mut sim = Sim::start("do:\n  - a: { call: test.once, with: {} }\n");
        sim.pause().expect("it runs");
        sim.answer("a", outcome.clone());
        assert_eq!(sim.run.phase, Phase::Paused);
        sim.resume().expect("it is paused");
        match outcome {
            CallOutcome::Unknown(_) => assert_eq!(sim.count("TaskParked"), 1),
            _ => drop(sim.problem()),
        }
        sim.check();
    }
}

#[test]
fn a_crash_while_paused_is_noted_and_settled_at_the_resumption() {
    let mut sim = Sim::start("do:\n  - a: { call: test.put, with: {} }\n");
    sim.pause().expect("it runs");
    sim.crash();
    assert_eq!(sim.history.len(), 1);
    sim.resume().expect("it is paused");
    assert_eq!(sim.history.len(), 2);
    sim.answer("a", ok(json!(1)));
    assert_eq!(sim.output(), json!(1));
}

#[test]
fn an_effect_can_be_resolved_while_paused() {
    let mut sim = Sim::start("do:\n  - a: { call: test.once, with: {} }\n");
    sim.answer("a", unknown());
    sim.pause().expect("it runs");
    sim.resolve(None, Resolution::Succeeded(json!(1))).expect("it waits");
    assert_eq!(sim.run.phase, Phase::Paused);
    sim.resume().expect("it is paused");
    assert_eq!(sim.output(), json!(1));
}

#[test]
fn what_was_due_while_paused_happens_at_the_resumption() {
    let mut sim = Sim::start("do:\n  - w: { wait: PT1M }\n");
    sim.pause().expect("it runs");
    sim.now = sim.now.plus(secs(3600));
    sim.resume().expect("it is paused");
    assert_eq!(sim.next_timer(), secs(0));
    sim.output();
}

#[test]
fn an_ended_run_takes_nothing() {
    let completed = Sim::start("do:\n  - a: { set: { n: 1 } }\n");
    let faulted = Sim::start("do:\n  - a: { raise: { error: { type: 'urn:x', status: 400, title: X } } }\n");
    let mut cancelled = Sim::start("do:\n  - w: { wait: PT1H }\n");
    cancelled.cancel().expect("it is open");
    for mut sim in [completed, faulted, cancelled] {
        let phase = sim.run.phase.name();
        for result in [sim.cancel(), sim.pause(), sim.resume(), sim.resolve(None, Resolution::Retry)] {
            assert!(matches!(result, Err(Rejected::Ended { phase: p, .. }) if p == phase), "{result:?}");
        }
        let entries = sim.entries.len();
        assert!(matches!(sim.input(Input::Tick), Err(Rejected::NothingDue { .. })));
        sim.input(Input::Continue).expect("it means nothing");
        let outcome = Input::Outcome { act: ActId(1), attempt: 1, outcome: ok(json!(1)) };
        assert!(matches!(sim.input(outcome), Err(Rejected::Stale { .. })));
        assert!(matches!(sim.input(Input::Interrupted { act: ActId(1), attempt: 1 }), Err(Rejected::Stale { .. })));
        assert_eq!(sim.entries.len(), entries);
        sim.check();
    }
}
