//! `fork`.

use super::*;

const BOTH: &str = "do:
  - f:
      fork:
        branches:
          - a: { call: test.put, with: {} }
          - b: { call: test.put, with: {} }
          - c: { set: { n: 3 } }
";

#[test]
fn outputs_stand_in_declared_order_whoever_is_first() {
    for order in [["a", "b"], ["b", "a"]] {
        let mut sim = Sim::start(BOTH);
        assert_eq!(sim.in_flight(), ["a", "b"]);
        for task in order {
            sim.answer(task, ok(Value::str(task)));
        }
        assert_eq!(sim.output(), json!(["a", "b", { "n": 3 }]));
    }
}

#[test]
fn branches_have_keys_of_their_own() {
    let sim = Sim::start(BOTH);
    assert_ne!(sim.asked[0].key, sim.asked[1].key);
}

#[test]
fn a_fault_of_one_branch_cancels_the_others_and_their_late_outcome_is_kept() {
    let mut sim = Sim::start(BOTH);
    let loser = sim.asked[1].clone();
    sim.answer("a", CallOutcome::Refused(communication(404)));
    assert_eq!(sim.problem().status, 404);
    assert_eq!(sim.problem().instance.as_deref(), Some("/do/0/f/fork/branches/0/a"));
    assert!(matches!(sim.commands.last(), Some(Command::CancelCall { act, attempt: 1, .. }) if *act == loser.act));
    let late = Input::Outcome { act: loser.act, attempt: 1, outcome: ok(json!(1)) };
    sim.input(late.clone()).expect("a late outcome is kept");
    assert_eq!(sim.count("LateOutcome"), 1);
    assert_eq!(sim.problem().status, 404);
    assert!(matches!(sim.input(late), Err(Rejected::Stale { .. })), "but only once");
}

const RACE: &str = "do:
  - f:
      fork:
        compete: true
        branches:
          - a: { call: test.put, with: {} }
          - slow: { do: [ { b: { wait: PT1H } }, { c: { call: test.put, with: {} } } ] }
      output: { as: '{ winner: . }' }
  - after: { set: { got: '${ . }' } }
";

#[test]
fn the_first_branch_that_ends_wins_and_the_others_go() {
    let mut sim = Sim::start(RACE);
    sim.answer("a", ok(json!(1)));
    assert_eq!(sim.output(), json!({ "got": { "winner": 1 } }));
    assert_eq!(sim.run.next_wake(), None);

    let mut sim = Sim::start(RACE);
    sim.advance(secs(3600));
    sim.answer("c", ok(json!(2)));
    assert_eq!(sim.output(), json!({ "got": { "winner": 2 } }));
    assert_eq!(sim.in_flight(), Vec::<&str>::new());
}

#[test]
fn a_branch_that_wins_at_once_leaves_the_others_unstarted() {
    let sim = Sim::start(
        "do:
  - f:
      fork:
        compete: true
        branches:
          - a: { set: { n: 1 } }
          - b: { call: test.once, with: {} }
",
    );
    assert_eq!(sim.output(), json!({ "n": 1 }));
    assert!(sim.history.is_empty(), "the loser was never called");
}

#[test]
fn end_inside_a_branch_ends_the_run_and_cancels_calls() {
    let mut sim = Sim::start(
        "do:
  - f:
      fork:
        branches:
          - a: { call: test.put, with: {} }
          - b: { do: [ { w: { wait: PT1S } }, { e: { set: { n: 1 }, then: end } } ] }
  - never: { set: { n: 2 } }
",
    );
    sim.advance(secs(1));
    assert_eq!(sim.output(), json!({ "n": 1 }));
    assert!(matches!(sim.commands.last(), Some(Command::CancelCall { .. })));
}

#[test]
fn exports_of_branches_are_applied_in_the_order_of_their_ends() {
    let mut sim = Sim::start(
        "do:
  - f:
      fork:
        branches:
          - a: { call: test.read, with: {}, export: { as: '$context + { last: \"a\", a: . }' } }
          - b: { call: test.read, with: {}, export: { as: '$context + { last: \"b\", b: . }' } }
  - s: { set: { c: '${ $context }' } }
",
    );
    sim.answer("b", ok(json!(2)));
    sim.answer("a", ok(json!(1)));
    assert_eq!(sim.output(), json!({ "c": { "last": "a", "a": 1, "b": 2 } }));
}

#[test]
fn a_fork_in_a_loop_in_a_fork_keeps_its_iterations_apart() {
    let mut sim = Sim::start(
        "do:
  - f:
      fork:
        branches:
          - l:
              for: { in: '[1, 2]' }
              do:
                - g:
                    fork:
                      branches:
                        - x: { call: test.put, with: { i: '${ $item }' } }
                        - y: { call: test.put, with: { i: '${ $item }' } }
          - z: { call: test.put, with: {} }
",
    );
    sim.serve(|asked| ok(asked.args.get("i").cloned().unwrap_or_default()));
    assert_eq!(sim.output(), json!([[2, 2], null]));
    let mut keys: Vec<String> = sim.history.iter().map(|a| a.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);
}
