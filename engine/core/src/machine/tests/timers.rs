//! `wait` and `timeout`.

use super::*;

#[test]
fn a_wait_hands_its_input_on_at_its_time_and_not_before() {
    let mut sim = Sim::start_with("do:\n  - w: { wait: PT5S }\n", json!({ "n": 1 }));
    assert_eq!(sim.run.next_wake(), Some(BEGIN.plus(secs(5))));
    sim.advance(ms(4999));
    assert!(matches!(sim.input(Input::Tick), Err(Rejected::NothingDue { .. })));
    sim.advance(ms(1));
    assert_eq!(sim.output(), json!({ "n": 1 }));
}

#[test]
fn a_computed_wait_and_a_wait_of_nothing() {
    let mut sim = Sim::start_with("do:\n  - w: { wait: '${ .how }' }\n", json!({ "how": "PT1M" }));
    assert_eq!(sim.next_timer(), secs(60));
    let mut sim = Sim::start("do:\n  - w: { wait: { milliseconds: 0 } }\n");
    assert_eq!(sim.next_timer(), secs(0));
    sim.output();
}

#[test]
fn timers_fire_in_the_order_of_their_times_even_if_all_are_overdue() {
    let mut sim = Sim::start(
        "do:
  - f:
      fork:
        branches:
          - a: { do: [ { x: { wait: PT3S } }, { y: { set: { n: 1 }, export: { as: '$context + { last: \"a\" }' } } } ] }
          - b: { do: [ { x: { wait: PT1S } }, { y: { set: { n: 2 }, export: { as: '$context + { last: \"b\" }' } } } ] }
  - s: { set: { c: '${ $context }' } }
",
    );
    sim.now = sim.now.plus(secs(100));
    sim.input(Input::Tick).expect("two are due");
    sim.input(Input::Tick).expect("one is due");
    assert_eq!(sim.output(), json!({ "c": { "last": "a" } }));
}

#[test]
fn a_task_that_takes_too_long_fails_with_a_timeout_and_its_call_is_told() {
    let mut sim = Sim::start(
        "do:\n  - t: { try: [ { a: { call: test.once, with: {}, timeout: { after: PT10S } } } ], catch: { as: e, do: [ { h: { set: { s: '${ $e.status }', k: '${ $e.type }' } } } ] } }\n",
    );
    let asked = sim.asked[0].clone();
    sim.advance(secs(10));
    let output = sim.output();
    assert_eq!(output.get("s"), Some(&json!(408)));
    assert!(output.get("k").and_then(Value::as_str).is_some_and(|k| k.ends_with("/timeout")));
    assert!(sim.commands.iter().any(|c| matches!(c, Command::CancelCall { act, .. } if *act == asked.act)));
    sim.input(Input::Outcome { act: asked.act, attempt: 1, outcome: ok(json!(1)) }).expect("late, but kept");
    sim.check();
}

#[test]
fn an_outcome_in_time_disarms_the_timeout() {
    let mut sim =
        Sim::start("do:\n  - a: { call: test.read, with: {}, timeout: { after: PT10S } }\n  - w: { wait: PT1M }\n");
    sim.advance(secs(9));
    sim.answer("a", ok(json!(1)));
    sim.advance(secs(60));
    assert_eq!(sim.output(), json!(1));
    assert_eq!(sim.count("DeadlinePassed"), 0);
}

#[test]
fn the_workflow_s_timeout_faults_the_run_whatever_it_does() {
    let mut sim = Sim::start("timeout: { after: PT1M }\ndo:\n  - t: { try: [ { w: { wait: PT1H } } ], catch: {} }\n");
    sim.advance(secs(59));
    assert!(sim.run.is_open());
    sim.advance(secs(1));
    assert_eq!(sim.problem().status, 408);
    assert!(sim.detail().contains("workflow"), "{}", sim.detail());
}

#[test]
fn the_timeout_of_a_try_is_not_its_own_to_catch() {
    let mut sim = Sim::start("do:\n  - t: { timeout: { after: PT1M }, try: [ { w: { wait: PT1H } } ], catch: {} }\n");
    sim.advance(secs(60));
    assert_eq!(sim.problem().status, 408);
}

#[test]
fn the_time_of_an_attempt_is_the_try_s_to_catch_and_each_attempt_has_its_own() {
    let mut sim = Sim::start(
        "do:
  - t:
      try: [ { a: { call: test.put, with: {} } } ]
      catch: { retry: { delay: PT1S, limit: { attempt: { count: 2, duration: PT10S } } } }
",
    );
    assert_eq!(sim.next_timer(), secs(10));
    assert!(sim.in_flight().is_empty());
    assert_eq!(sim.next_timer(), secs(1));
    assert_eq!(sim.in_flight(), ["a"]);
    assert_eq!(sim.next_timer(), secs(10));
    assert_eq!(sim.next_timer(), secs(1));
    sim.answer("a", ok(json!(1)));
    assert_eq!(sim.output(), json!(1));
    assert_eq!(sim.history.len(), 3);
    assert!(sim.history.iter().all(|a| a.key == sim.history[0].key));
}

#[test]
fn attempts_that_all_take_too_long_end_in_a_timeout() {
    let mut sim = Sim::start(
        "do:
  - t:
      try: [ { a: { call: test.put, with: {} } } ]
      catch: { retry: { delay: PT1S, limit: { attempt: { count: 1, duration: PT10S } } } }
",
    );
    sim.advance(secs(100));
    assert_eq!(sim.problem().status, 408);
    assert_eq!(sim.history.len(), 2);
    assert!(sim.detail().contains("10000 ms"), "the second attempt took 10 s: {}", sim.detail());
}

#[test]
fn a_call_knows_the_earliest_deadline_around_it() {
    let sim = Sim::start(
        "timeout: { after: PT1H }
do:
  - t:
      timeout: { after: PT30S }
      try: [ { a: { call: test.put, with: {}, timeout: { after: PT1M } } } ]
      catch: { retry: { limit: { attempt: { count: 1, duration: PT20S } } } }
",
    );
    assert_eq!(sim.run.call(sim.asked[0].act).expect("a call").deadline, Some(BEGIN.plus(secs(20))));
}

#[test]
fn a_time_too_far_to_count_neither_overflows_nor_fires() {
    let mut sim = Sim::start_with("do:\n  - w: { wait: '${ .how }' }\n", json!({ "how": { "days": 1_000_000_000 } }));
    sim.advance(secs(86_400));
    assert!(matches!(sim.run.phase, Phase::Running | Phase::Faulted { .. }));
    sim.check();
}
