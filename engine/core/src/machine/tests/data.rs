//! Data flow: `if`, `input.from`, `output.as`, `export.as`.

use super::*;

#[test]
fn a_task_gets_the_output_of_the_one_before_it() {
    let sim = Sim::start_with(
        "do:
  - a: { set: { n: '${ .n + 1 }' } }
  - b: { set: { n: '${ .n * 10 }', was: '${ $input.n }' } }
",
        json!({ "n": 1 }),
    );
    assert_eq!(sim.output(), json!({ "n": 20, "was": 2 }));
}

#[test]
fn a_skipped_task_hands_its_raw_input_on_and_neither_transforms_nor_exports() {
    let sim = Sim::start_with(
        "do:
  - a: { if: .no, input: { from: '{ x: 9 }' }, set: { y: 1 }, output: { as: '{ z: 1 }' }, export: { as: '{ left: true }' }, then: end }
  - b: { set: { got: '${ . }', context: '${ $context }' } }
",
        json!({ "no": false }),
    );
    assert_eq!(sim.output(), json!({ "got": { "no": false }, "context": {} }));
    assert_eq!(sim.count("TaskSkipped"), 1);
}

#[test]
fn input_from_is_what_the_task_sees_and_if_sees_the_raw_input() {
    let sim = Sim::start_with(
        "do:
  - a:
      if: .list != null
      input: { from: .list }
      set: { seen: '${ . }', same: '${ $input }' }
",
        json!({ "list": [1, 2] }),
    );
    assert_eq!(sim.output(), json!({ "seen": [1, 2], "same": [1, 2] }));
}

#[test]
fn output_as_sees_the_raw_output_and_the_transformed_input() {
    let mut sim = Sim::start_with(
        "do:
  - a:
      input: { from: '{ base: .n }' }
      call: test.read
      with: { n: '${ .base }' }
      output: { as: '{ sum: (.got + $input.base), raw: $output.got }' }
",
        json!({ "n": 4 }),
    );
    assert_eq!(sim.asked[0].args, json!({ "n": 4 }));
    sim.answer("a", ok(json!({ "got": 3 })));
    assert_eq!(sim.output(), json!({ "sum": 7, "raw": 3 }));
}

#[test]
fn the_workflow_transforms_its_own_input_and_output() {
    let sim = Sim::start_with(
        "input: { from: .wrapped }
output: { as: '{ result: ., from: $input }' }
do:
  - a: { set: { doubled: '${ .n * 2 }', started: '${ $workflow.input.wrapped.n }' } }
",
        json!({ "wrapped": { "n": 2 } }),
    );
    assert_eq!(sim.output(), json!({ "result": { "doubled": 4, "started": 2 }, "from": { "n": 2 } }));
}

#[test]
fn an_export_that_adds_is_recorded_as_what_it_adds() {
    let sim = Sim::start(
        "do:
  - a: { set: { big: [1, 2, 3] }, export: { as: '$context + { a: . }' } }
  - b: { set: { n: 2 }, export: { as: '$context + { b: .n }' } }
  - c: { set: { n: 3 }, export: { as: '$context + { a: .n }' } }
  - d: { set: { all: '${ $context }' } }
",
    );
    assert_eq!(sim.output(), json!({ "all": { "a": 3, "b": 2 } }));
    let exports: Vec<Export> = sim
        .events()
        .filter_map(|e| match e {
            Event::TaskCompleted { export, .. } => export.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(
        exports,
        [
            Export::Merge(vec![("a".into(), Piece::Output)]),
            Export::Merge(vec![("b".into(), Piece::Value(Value::from(2u32)))]),
            Export::Merge(vec![("a".into(), Piece::Value(Value::from(3u32)))]),
        ]
    );
}

#[test]
fn an_export_that_drops_a_member_replaces_the_context() {
    let sim = Sim::start(
        "do:
  - a: { set: { n: 1 }, export: { as: '{ a: 1, b: 2 }' } }
  - b: { set: { n: 2 }, export: { as: '{ b: 3 }' } }
  - c: { set: { all: '${ $context }' } }
",
    );
    assert_eq!(sim.output(), json!({ "all": { "b": 3 } }));
    assert!(sim.events().any(|e| matches!(e, Event::TaskCompleted { export: Some(Export::Replace(_)), .. })));
}

#[test]
fn an_export_sees_the_transformed_output_and_may_be_any_value() {
    let sim = Sim::start(
        "do:
  - a: { set: { n: 1 }, output: { as: .n }, export: { as: . } }
  - b: { set: { context: '${ $context }', input: '${ . }' } }
",
    );
    assert_eq!(sim.output(), json!({ "context": 1, "input": 1 }));
}

#[test]
fn an_expression_that_fails_faults_the_run_with_its_task_and_line() {
    let sim = Sim::start("do:\n  - a: { set: { n: '${ .x | keys }' } }\n");
    let problem = sim.problem();
    assert_eq!(problem.status, 400);
    assert!(problem.kind.ends_with("/expression"), "{problem}");
    assert_eq!(problem.instance.as_deref(), Some("/do/0/a"));
    let detail = problem.detail.expect("a detail");
    assert!(detail.contains("task a") && detail.contains("line 3"), "{detail}");
}

#[test]
fn every_place_of_an_expression_can_fail_without_a_panic() {
    for task in [
        "{ if: '.x | keys', set: { n: 1 } }",
        "{ input: { from: '.x | keys' }, set: { n: 1 } }",
        "{ set: { n: 1 }, output: { as: '.n | keys' } }",
        "{ set: { n: 1 }, export: { as: '.n | keys' } }",
        "{ switch: [ { c: { when: '.x | keys', then: end } } ] }",
        "{ for: { in: '.x | keys' }, do: [ { b: { set: { n: 1 } } } ] }",
        "{ for: { in: '5' }, do: [ { b: { set: { n: 1 } } } ] }",
        "{ for: { in: '[1]' }, while: '.x | keys', do: [ { b: { set: { n: 1 } } } ] }",
        "{ wait: '${ .x | keys }' }",
        "{ wait: '${ \"soon\" }' }",
        "{ raise: { error: '${ .x }' } }",
        "{ call: test.read, with: { n: '${ .x | keys }' } }",
        "{ emit: { event: { with: { type: '${ .x | keys }' } } } }",
    ] {
        let sim = Sim::start(&format!("do:\n  - a: {task}\n"));
        assert!(sim.problem().kind.ends_with("/expression"), "{task}: {}", sim.problem());
    }
    let sim = Sim::start("output: { as: '.n | keys' }\ndo:\n  - a: { set: { n: 1 } }\n");
    assert!(sim.problem().kind.ends_with("/expression"));
    let sim = Sim::start("input: { from: '.n | keys' }\ndo:\n  - a: { set: { n: 1 } }\n");
    assert!(sim.problem().kind.ends_with("/expression"));
}

#[test]
fn now_is_the_time_of_the_entry() {
    let sim = Sim::start("do:\n  - a: { set: { at: '${ now }' } }\n");
    assert_eq!(sim.output().get("at").and_then(Value::as_f64), Some(BEGIN.as_secs_f64()));
}

#[test]
fn an_emitted_event_is_completed_with_its_attributes() {
    let mut sim =
        Sim::start("do:\n  - a: { emit: { event: { with: { type: t.x.v1, data: { n: '${ 1 + 1 }' } } } } }\n");
    let event = sim.hear().output();
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert_eq!(text("specversion"), "1.0");
    assert_eq!(text("type"), "t.x.v1");
    assert_eq!(text("source"), "/cpd/t/w");
    assert_eq!(text("time"), BEGIN.to_string());
    assert_eq!(text("id"), format!("{}-1", sim.run.id));
    assert_eq!(event.get("data"), Some(&json!({ "n": 2 })));
}

#[test]
fn data_that_do_not_fit_a_schema_are_a_validation_error_of_the_task() {
    let body = "do:
  - a:
      input: { schema: { document: { type: object, required: [n], properties: { n: { type: integer } } } } }
      set: { out: '${ .n }' }
      output: { schema: { format: json, document: { properties: { out: { maximum: 5 } } } } }
      export: { as: '{ kept: .out }', schema: { document: { properties: { kept: { minimum: 0 } } } } }
";
    assert_eq!(Sim::start_with(body, json!({ "n": 3 })).output(), json!({ "out": 3 }));
    for (input, what) in [(json!({ "n": "x" }), "input"), (json!({ "n": 9 }), "output"), (json!({ "n": -1 }), "export")]
    {
        let sim = Sim::start_with(body, input);
        let problem = sim.problem();
        assert!(problem.kind.ends_with("/validation") && problem.status == 400, "{problem}");
        assert!(
            problem.detail.as_deref().is_some_and(|d| d.starts_with(&format!("the {what} of task a"))),
            "{problem}"
        );
        assert_eq!(problem.instance.as_deref(), Some("/do/0/a"));
    }
}

#[test]
fn the_schemas_of_the_workflow_hold_its_input_and_output() {
    let whole = |body: &str| {
        format!(
            "input: {{ schema: {{ document: {{ required: [n] }} }} }}\noutput: {{ schema: {{ document: {{ required: [m] }} }} }}\n{body}"
        )
    };
    let good = whole("do:\n  - a: { set: { m: 1 } }\n");
    assert_eq!(Sim::start_with(&good, json!({ "n": 1 })).output(), json!({ "m": 1 }));
    assert!(Sim::start(&good).problem().detail.as_deref().is_some_and(|d| d.starts_with("the input of workflow")));
    let bad = whole("do:\n  - a: { set: { x: 1 } }\n");
    let sim = Sim::start_with(&bad, json!({ "n": 1 }));
    assert!(sim.problem().detail.as_deref().is_some_and(|d| d.starts_with("the output of workflow")));
}

#[test]
fn a_literal_list_of_a_loop_may_hold_expressions() {
    let sim = Sim::start_with(
        "do:
  - l:
      for: { each: x, in: [ { n: 1, t: 'a\\(b' }, { n: '${ .n }' }, '${ empty }', plain ] }
      do: [ { s: { set: { seen: '${ (.seen // []) + [$x] }' } } } ]
",
        json!({ "n": 2 }),
    );
    assert_eq!(sim.output(), json!({ "seen": [{ "n": 1, "t": "a\\(b" }, { "n": 2 }, null, "plain"] }));
}

#[test]
fn in_mode_loose_a_text_that_is_an_expression_is_one() {
    let body = |mode: &str| {
        format!(
            "evaluate: {{ mode: {mode} }}\ndo:\n  - s: {{ set: {{ a: .n, b: '${{ .n + 1 }}', c: hello world, d: '.n | keys', e: plain }} }}\n"
        )
    };
    let input = || json!({ "n": 1 });
    let loose = Sim::start_with(&body("loose"), input());
    assert_eq!(loose.output(), json!({ "a": 1, "b": 2, "c": "hello world", "d": ".n | keys", "e": "plain" }));
    let strict = Sim::start_with(&body("strict"), input());
    assert_eq!(strict.output(), json!({ "a": ".n", "b": 2, "c": "hello world", "d": ".n | keys", "e": "plain" }));
}
