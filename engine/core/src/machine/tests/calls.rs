//! Effects: every outcome of every class, reconciliation, operators, late outcomes.

use super::*;

fn call(operation: &str, more: &str) -> Sim {
    Sim::start(&format!("do:\n  - a: {{ call: {operation}, with: {{ n: 1 }}{more} }}\n"))
}

const CLASSES: [&str; 4] = ["test.read", "test.put", "test.once", "test.asked"];

#[test]
fn succeeded_refused_and_failed_mean_the_same_for_every_class() {
    for class in CLASSES {
        let mut sim = call(class, "");
        sim.answer("a", CallOutcome::Succeeded { output: json!({ "id": 1 }), evidence: Some(json!("seen")) });
        assert_eq!(sim.output(), json!({ "id": 1 }));
        for outcome in [CallOutcome::Refused(communication(404)), failed(404)] {
            let mut sim = call(class, "");
            sim.answer("a", outcome);
            assert_eq!((sim.problem().status, sim.problem().instance.as_deref()), (404, Some("/do/0/a")));
            assert_eq!(sim.history.len(), 1, "only a `retry` retries");
        }
    }
}

#[test]
fn a_safe_or_idempotent_call_with_an_unknown_outcome_is_made_again_with_the_same_key() {
    for class in ["test.read", "test.put"] {
        let mut sim = call(class, "");
        sim.answer("a", unknown());
        assert!(sim.in_flight().is_empty());
        let pause = sim.next_timer();
        assert!(pause >= ms(200) && pause <= ms(300), "{pause:?}");
        assert_eq!((sim.asked[0].attempt, &sim.asked[0].key), (2, &sim.history[0].key));
        sim.answer("a", ok(json!(1)));
        assert_eq!(sim.output(), json!(1));
    }
}

#[test]
fn unknown_too_often_is_an_error_but_crashes_do_not_count() {
    let mut sim = call("test.put", "");
    for _ in 0..20 {
        sim.crash();
        assert_eq!(sim.in_flight(), ["a"], "a crash is no reason to wait");
    }
    let mut last = Duration::ZERO;
    for _ in 0..5 {
        sim.answer("a", unknown());
        let pause = sim.next_timer();
        assert!(pause > last, "pauses grow: {last:?}, then {pause:?}");
        last = pause;
    }
    sim.answer("a", unknown());
    assert_eq!(sim.problem().status, 500);
    assert_eq!(sim.count("TaskUnknown"), 26);
}

#[test]
fn an_at_most_once_call_with_an_unknown_outcome_waits_for_an_operator() {
    for crash in [false, true] {
        let mut sim = call("test.once", "");
        if crash {
            sim.crash();
        } else {
            sim.answer("a", unknown());
        }
        assert!(sim.in_flight().is_empty());
        assert!(matches!(&sim.run.wake_sources()[..], [WakeSource::Operator { task, .. }] if &**task == "/do/0/a"));
        sim.advance(secs(1_000_000));
        assert_eq!(sim.history.len(), 1, "nobody calls it again");
        sim.resolve(None, Resolution::Succeeded(json!({ "id": 7 }))).expect("it waits");
        assert_eq!(sim.output(), json!({ "id": 7 }));
    }
}

#[test]
fn an_operator_may_have_it_called_again_or_say_that_it_failed() {
    let mut sim = call("test.once", "");
    sim.answer("a", unknown());
    sim.resolve(Some("a"), Resolution::Retry).expect("it waits, and can be named");
    assert_eq!((sim.asked[0].attempt, &sim.asked[0].key), (2, &sim.history[0].key));
    sim.answer("a", unknown());
    sim.resolve(Some("/do/0/a"), Resolution::Failed(communication(410))).expect("it waits again");
    assert_eq!(sim.problem().status, 410);
}

#[test]
fn resolving_what_does_not_wait_is_refused() {
    let mut sim = Sim::start(
        "do:\n  - f: { fork: { branches: [ { a: { call: test.once, with: {} } }, { b: { call: test.once, with: {} } } ] } }\n",
    );
    let refused = |r: Result<(), Rejected>| match r {
        Err(Rejected::NothingToResolve { others, .. }) => others,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(sim.resolve(None, Resolution::Retry)), "");
    sim.answer("a", unknown()).answer("b", unknown());
    let others = refused(sim.resolve(None, Resolution::Retry));
    assert!(
        others.contains("branches/0/a") && others.contains("branches/1/b"),
        "two wait, so it must be said which: {others}"
    );
    assert!(refused(sim.resolve(Some("c"), Resolution::Retry)).contains("branches/0/a"));
    sim.resolve(Some("b"), Resolution::Succeeded(json!(2))).expect("b waits");
    sim.resolve(None, Resolution::Succeeded(json!(1))).expect("only a waits");
    assert_eq!(sim.output(), json!([1, 2]));
}

#[test]
fn on_unknown_may_be_retry_or_fault() {
    let with = |choice: &str| call("test.once", &format!(", metadata: {{ cpd: {{ onUnknown: {choice} }} }}"));
    let mut sim = with("retry");
    sim.answer("a", unknown());
    sim.next_timer();
    sim.crash();
    sim.answer("a", ok(json!(3)));
    assert_eq!(sim.output(), json!(3));
    assert!(sim.history.iter().all(|a| a.key == sim.history[0].key));

    let mut sim = with("fault");
    sim.answer("a", unknown());
    assert_eq!(sim.problem().instance.as_deref(), Some("/do/0/a"));
    let mut sim = with("fault");
    sim.crash();
    assert_eq!(sim.problem().status, 500);
}

#[test]
fn reconciling_asks_what_became_of_the_call() {
    for crash in [false, true] {
        let unclear = || {
            let mut sim = call("test.asked", "");
            if crash {
                sim.crash();
            } else {
                sim.answer("a", unknown());
            }
            assert!(sim.asked[0].reconcile && sim.asked[0].attempt == 1 && sim.asked[0].key == sim.history[0].key);
            sim
        };
        let mut sim = unclear();
        sim.answer("a", ok(json!("it had happened")));
        assert_eq!(sim.output(), json!("it had happened"));

        let mut sim = unclear();
        sim.answer("a", CallOutcome::Refused(communication(409)));
        assert_eq!(sim.problem().status, 409);

        let mut sim = unclear();
        sim.not_happened("a");
        assert!(!sim.asked[0].reconcile && sim.asked[0].attempt == 2);
        sim.answer("a", ok(json!(2)));
        assert_eq!(sim.output(), json!(2));

        let mut sim = unclear();
        sim.answer("a", unknown());
        assert!(matches!(&sim.run.wake_sources()[..], [WakeSource::Operator { .. }]), "it cannot tell: ask a person");
        sim.check();
    }
}

#[test]
fn a_crash_while_reconciling_asks_again() {
    let mut sim = call("test.asked", "");
    sim.answer("a", unknown());
    sim.crash().crash();
    assert!(sim.asked[0].reconcile);
    assert_eq!(sim.count("TaskQuestioned"), 3);
    sim.answer("a", ok(json!(1)));
    assert_eq!(sim.output(), json!(1));
}

#[test]
fn stale_and_duplicate_outcomes_are_refused() {
    let mut sim = call("test.put", "");
    let act = sim.asked[0].act;
    let outcome = |attempt| Input::Outcome { act, attempt, outcome: ok(json!(1)) };
    for wrong in [
        outcome(2),
        outcome(0),
        Input::Outcome { act: ActId(99), attempt: 1, outcome: ok(json!(1)) },
        Input::Outcome { act: ActId(0), attempt: 1, outcome: ok(json!(1)) },
        Input::Reconciled { act, attempt: 1, outcome: None },
        Input::Interrupted { act, attempt: 2 },
    ] {
        assert!(matches!(sim.input(wrong), Err(Rejected::Stale { .. })));
    }
    sim.answer("a", unknown());
    assert!(matches!(sim.input(outcome(1)), Err(Rejected::Stale { .. })), "the attempt is over");
    sim.next_timer();
    assert!(matches!(sim.input(outcome(1)), Err(Rejected::Stale { .. })));
    sim.input(outcome(2)).expect("this one is waited for");
    assert!(matches!(sim.input(outcome(2)), Err(Rejected::Stale { .. })));
    assert_eq!(sim.output(), json!(1));
}

#[test]
fn a_late_outcome_of_each_kind_is_kept_and_changes_nothing() {
    for (outcome, name) in [
        (ok(json!(1)), "succeeded"),
        (CallOutcome::Refused(communication(404)), "refused"),
        (failed(500), "failed"),
        (unknown(), "unknown"),
    ] {
        let mut sim = call("test.once", "");
        let act = sim.asked[0].act;
        sim.cancel().expect("it is open");
        sim.input(Input::Outcome { act, attempt: 1, outcome }).expect("it is kept");
        assert!(matches!(sim.events().last(), Some(Event::LateOutcome { outcome, .. }) if &**outcome == name));
        assert_eq!(sim.run.phase.name(), "cancelled");
        sim.check();
    }
}

#[test]
fn a_key_of_the_definition_is_used() {
    let mut sim = Sim::start_with(
        "do:\n  - a: { call: test.put, with: {}, metadata: { cpd: { idempotencyKey: '${ .order }' } } }\n",
        json!({ "order": "o-17" }),
    );
    assert_eq!(sim.asked[0].key, "o-17");
    sim.crash();
    assert_eq!(sim.asked[0].key, "o-17");
    let sim = Sim::start_with(
        "do:\n  - a: { call: test.put, with: {}, metadata: { cpd: { idempotencyKey: '${ .order }' } } }\n",
        json!({ "order": 17 }),
    );
    assert_eq!(sim.asked[0].key, "17");
}

#[test]
fn keys_differ_between_runs_and_tasks() {
    let body = "do:\n  - f: { fork: { branches: [ { a: { call: test.put, with: {} } }, { b: { call: test.put, with: {} } } ] } }\n";
    let plan = plan(body);
    let one = Sim::start_plan(plan.clone(), json!({}), RunId([1; 16]));
    let two = Sim::start_plan(plan, json!({}), RunId([2; 16]));
    let mut keys: Vec<&str> = one.history.iter().chain(&two.history).map(|a| &*a.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4);
}

#[test]
fn rounds_of_nested_lists_have_keys_of_their_own() {
    // Both lists jump back: (outer, inner) is (0, 0), (0, 1), (1, 0), (1, 1).
    let mut sim = Sim::start(
        "do:
  - outer:
      do:
        - a: { call: test.put, with: {} }
        - again: { if: .inner, set: '${ . }', then: a }
  - more: { if: .outer, set: '${ . }', then: outer }
",
    );
    let mut answers = [(true, false), (false, true), (true, false), (false, false)].into_iter();
    sim.serve(|_| {
        let (inner, outer) = answers.next().expect("four calls");
        ok(json!({ "inner": inner, "outer": outer }))
    });
    sim.output();
    let mut keys: Vec<&str> = sim.history.iter().map(|a| &*a.key).collect();
    assert_eq!(keys.len(), 4);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4, "four effects need four keys");
}

#[test]
fn what_cannot_be_reconciled_goes_by_on_unknown() {
    let with = |choice: &str| {
        let mut sim = call("test.asked", &format!(", metadata: {{ cpd: {{ onUnknown: {choice} }} }}"));
        sim.answer("a", unknown()).answer("a", unknown());
        sim
    };
    assert_eq!(with("fault").problem().instance.as_deref(), Some("/do/0/a"));
    let mut sim = with("retry");
    sim.next_timer();
    assert_eq!((sim.asked[0].reconcile, sim.asked[0].attempt), (false, 2));
    sim.answer("a", ok(json!(1)));
    assert_eq!(sim.output(), json!(1));
}
