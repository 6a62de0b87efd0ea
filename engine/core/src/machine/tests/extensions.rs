//! `use.extensions`.

use super::*;

/// The `at` of every call, in order.
fn order(sim: &Sim) -> Vec<String> {
    sim.history.iter().map(|a| a.args.get("at").and_then(Value::as_str).unwrap_or("?").to_owned()).collect()
}

const AROUND: &str = "use:
  extensions:
    - outer:
        extend: call
        before: [ { b: { call: test.read, with: { at: 'outer before' } } } ]
        after: [ { a: { call: test.read, with: { at: 'outer after' } } } ]
    - inner:
        extend: all
        when: $task.name != \"plain\"
        before: [ { b: { call: test.read, with: { at: 'inner before' } } } ]
        after:
          - a: { call: test.read, with: { at: 'inner after' } }
          - s: { set: { lost: true } }
";

#[test]
fn the_first_extension_is_the_outermost_and_data_passes_by() {
    let mut sim = Sim::start_with(
        &format!(
            "{AROUND}do:\n  - task: {{ call: test.read, with: {{ at: '${{ .at }}' }}, output: {{ as: .got }} }}\n"
        ),
        json!({ "at": "task" }),
    );
    sim.serve(|asked| ok(json!({ "got": asked.args.get("at").cloned() })));
    assert_eq!(sim.output(), json!("task"));
    assert_eq!(order(&sim), ["outer before", "inner before", "task", "inner after", "outer after"]);
    let mut keys: Vec<_> = sim.history.iter().map(|a| a.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5, "each is an effect of its own");
}

#[test]
fn an_extension_applies_where_its_condition_holds() {
    let mut sim = Sim::start(&format!("{AROUND}do:\n  - plain: {{ call: test.read, with: {{ at: task }} }}\n"));
    sim.serve(|_| ok(json!(1)));
    assert_eq!(sim.output(), json!(1));
    assert_eq!(order(&sim), ["outer before", "task", "outer after"]);
}

#[test]
fn a_task_that_is_skipped_is_skipped_with_its_extensions() {
    let mut sim = Sim::start_with(
        &format!("{AROUND}do:\n  - no: {{ if: 'false', call: test.read, with: {{ at: no }} }}\n"),
        json!({ "kept": 1 }),
    );
    sim.serve(|_| ok(json!(1)));
    assert_eq!(sim.output(), json!({ "kept": 1 }));
    assert_eq!(order(&sim), [""; 0]);
}

#[test]
fn exit_in_before_stands_in_for_the_task_which_still_goes_where_it_goes() {
    let mut sim = Sim::start(
        "use:
  extensions:
    - mock:
        extend: call
        when: $task.with.at == \"mocked\"
        before:
          - early: { set: { lost: true } }
          - intercept: { set: { mocked: '${ $task.reference }' }, then: exit }
          - never: { call: test.read, with: { at: never } }
        after: [ { a: { call: test.read, with: { at: after } } } ]
do:
  - one: { call: test.read, with: { at: mocked }, then: three }
  - two: { set: { two: true } }
  - three: { set: '${ . + { three: true } }' }
",
    );
    sim.serve(|_| ok(json!(1)));
    assert_eq!(sim.output(), json!({ "mocked": "/do/0/one", "three": true }));
    assert_eq!(order(&sim), [""; 0]);
}

#[test]
fn in_an_extension_the_task_is_the_extended_one() {
    let mut sim = Sim::start_with(
        "use:
  extensions:
    - log:
        extend: set
        before: [ { b: { call: test.read, with: { at: '${ $task.reference }', with: '${ $task.definition.set.n }', input: '${ $task.input }' } } } ]
        after: [ { list: { do: [ { a: { call: test.read, with: { at: '${ $task.name }', output: '${ $task.output }', set: '${ $task.set.n }' } } } ] } } ]
do:
  - count: { set: { n: 2 } }
",
        json!({ "x": 1 }),
    );
    sim.serve(|_| ok(json!(null)));
    assert_eq!(sim.output(), json!({ "n": 2 }));
    let args: Vec<&Value> = sim.history.iter().map(|a| &a.args).collect();
    assert_eq!(*args[0], json!({ "at": "/do/0/count", "with": 2, "input": { "x": 1 } }));
    assert_eq!(*args[1], json!({ "at": "count", "output": { "n": 2 }, "set": 2 }));
}

#[test]
fn an_extended_switch_goes_where_its_case_says_and_jumps_back_make_new_effects() {
    let mut sim = Sim::start(
        "use:
  extensions:
    - log: { extend: switch, before: [ { b: { call: test.put, with: { at: before } } } ] }
do:
  - count: { set: { n: '${ (.n // 0) + 1 }' } }
  - more: { switch: [ { again: { when: .n < 3, then: count } }, { done: { then: end } } ] }
  - never: { set: { never: true } }
",
    );
    sim.serve(|_| ok(json!(null)));
    assert_eq!(sim.output(), json!({ "n": 3 }));
    let mut keys: Vec<_> = sim.history.iter().map(|a| a.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[test]
fn an_error_of_the_task_or_of_its_extension_is_raised_where_the_task_stands() {
    for failing in ["before", "task"] {
        let mut sim = Sim::start(
            "use:
  extensions:
    - log:
        extend: call
        before: [ { b: { call: test.read, with: { at: before } } } ]
        after: [ { a: { call: test.read, with: { at: after } } } ]
do:
  - guarded:
      try: [ { t: { call: test.read, with: { at: task } } } ]
      catch: { as: e, do: [ { caught: { set: { status: '${ $e.status }' } } } ] }
",
        );
        sim.serve(|asked| if asked.args.get("at") == Some(&json!(failing)) { failed(503) } else { ok(json!(1)) });
        assert_eq!(sim.output(), json!({ "status": 503 }));
        assert!(!order(&sim).contains(&"after".to_owned()));
    }
}

#[test]
fn branches_and_iterations_are_extended_like_any_task() {
    let mut sim = Sim::start(
        "use:
  extensions:
    - log: { extend: set, after: [ { a: { call: test.read, with: { at: '${ $task.name }' } } } ] }
do:
  - f: { fork: { branches: [ { x: { set: { x: 1 } } }, { y: { set: { y: 1 } } } ] } }
  - l: { for: { in: '[1, 2]' }, do: [ { i: { set: { i: '${ $item }' } } } ] }
",
    );
    sim.serve(|_| ok(json!(null)));
    assert_eq!(sim.output(), json!({ "i": 2 }));
    assert_eq!(order(&sim), ["x", "y", "i", "i"]);
}

#[test]
fn a_crash_in_an_extension_changes_nothing() {
    let mut sim = Sim::start(&format!("{AROUND}do:\n  - task: {{ call: test.read, with: {{ at: task }} }}\n"));
    for _ in 0..5 {
        sim.crash();
        let task = sim.asked[0].task.clone();
        sim.answer(&task, ok(json!({ "n": 1 })));
    }
    assert_eq!(sim.output(), json!({ "n": 1 }));
}
