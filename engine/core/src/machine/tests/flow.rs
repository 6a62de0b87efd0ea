//! `switch`, `then`, jumps.

use super::*;

const CASES: &str = "do:
  - route:
      switch:
        - other: { then: low }
        - high: { when: .n > 10, then: high }
        - higher: { when: .n > 100, then: end }
  - never: { set: { at: never } }
  - high: { set: { at: high }, then: end }
  - low: { set: { at: low } }
";

#[test]
fn the_first_case_that_holds_is_taken_and_the_default_comes_last() {
    assert_eq!(Sim::start_with(CASES, json!({ "n": 11 })).output(), json!({ "at": "high" }));
    assert_eq!(Sim::start_with(CASES, json!({ "n": 101 })).output(), json!({ "at": "high" }));
    assert_eq!(Sim::start_with(CASES, json!({ "n": 1 })).output(), json!({ "at": "low" }));
}

#[test]
fn without_a_case_that_holds_the_next_task_comes() {
    let sim = Sim::start("do:\n  - a: { switch: [ { c: { when: .x, then: end } } ] }\n  - b: { set: { at: b } }\n");
    assert_eq!(sim.output(), json!({ "at": "b" }));
    assert!(sim.events().any(|e| matches!(e, Event::CaseTaken { case: None, .. })));
}

#[test]
fn a_switch_hands_its_transformed_input_on() {
    let sim = Sim::start_with(
        "do:\n  - a: { input: { from: .x }, switch: [ { c: { then: b } } ] }\n  - b: { set: { got: '${ . }' } }\n",
        json!({ "x": 5 }),
    );
    assert_eq!(sim.output(), json!({ "got": 5 }));
}

#[test]
fn exit_leaves_only_its_own_list() {
    let sim = Sim::start(
        "do:
  - outer:
      do:
        - a: { set: { at: a }, then: exit }
        - b: { set: { at: b } }
  - after: { set: { from: '${ .at }' } }
",
    );
    assert_eq!(sim.output(), json!({ "from": "a" }));
}

#[test]
fn exit_of_the_top_list_ends_the_run() {
    let sim = Sim::start(
        "output: { as: '{ out: . }' }\ndo:\n  - a: { set: { n: 1 }, then: exit }\n  - b: { set: { n: 2 } }\n",
    );
    assert_eq!(sim.output(), json!({ "out": { "n": 1 } }));
}

#[test]
fn end_ends_the_run_from_any_depth_and_the_workflow_still_transforms() {
    let sim = Sim::start(
        "output: { as: '{ out: . }' }
do:
  - outer:
      do:
        - t:
            try:
              - l:
                  for: { in: '[1, 2]' }
                  do:
                    - a: { set: { n: '${ $item }' }, then: end }
            catch: {}
      output: { as: '\"not reached\"' }
  - b: { set: { n: 9 } }
",
    );
    assert_eq!(sim.output(), json!({ "out": { "n": 1 } }));
}

#[test]
fn a_composite_s_own_then_holds_after_its_list() {
    let sim = Sim::start(
        "do:
  - a: { do: [ { x: { set: { n: 1 } } } ], then: c }
  - b: { set: { n: 2 }, then: end }
  - c: { set: { n: '${ .n + 10 }' } }
",
    );
    assert_eq!(sim.output(), json!({ "n": 11 }));
}

const POLL: &str = "do:
  - poll: { call: test.put, with: { n: '${ .n }' } }
  - more: { switch: [ { again: { when: .n < 3, then: poll } } ] }
";

#[test]
fn a_jump_back_runs_the_tasks_again_each_time_with_another_key() {
    let mut sim = Sim::start_with(POLL, json!({ "n": 0 }));
    sim.serve(|asked| ok(json!({ "n": asked.args.get("n").and_then(Value::as_i64).unwrap() + 1 })));
    assert_eq!(sim.output(), json!({ "n": 3 }));
    let mut keys: Vec<&str> = sim.history.iter().map(|a| &*a.key).collect();
    assert_eq!(keys.len(), 3);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3, "an effect of another round is another effect");
}

#[test]
fn a_run_that_jumps_for_ever_yields_and_can_be_cancelled() {
    let mut sim = Sim::start("do:\n  - a: { set: { n: 1 }, then: a }\n");
    for _ in 0..3 {
        assert!(sim.run.has_more());
        assert_eq!(sim.entries.last().expect("an entry").1.len(), super::super::turn::EVENTS_MAX);
        assert!(sim.run.wake_sources().contains(&WakeSource::Agenda));
        sim.input(Input::Continue).expect("it goes on");
    }
    sim.cancel().expect("it is open");
    assert!(!sim.run.has_more());
    sim.check();
}

#[test]
fn continue_without_anything_to_do_is_an_empty_turn() {
    let mut sim = Sim::start(POLL);
    let entries = sim.entries.len();
    sim.input(Input::Continue).expect("it means nothing");
    assert_eq!(sim.entries.len(), entries);
}
