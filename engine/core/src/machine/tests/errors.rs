//! `try`, `catch`, `retry`, `raise`.

use super::*;

/// The delays before each retry, and the sim after the last failure.
fn delays(retry: &str, failures: usize) -> (Vec<Duration>, Sim) {
    let mut sim = Sim::start(&format!(
        "do:\n  - t:\n      try: [ {{ a: {{ call: test.read, with: {{}} }} }} ]\n      catch: {{ retry: {retry} }}\n"
    ));
    let mut delays = Vec::new();
    for _ in 0..failures {
        sim.answer("a", failed(503));
        if !sim.run.is_open() {
            break;
        }
        delays.push(sim.next_timer());
    }
    (delays, sim)
}

#[test]
fn delays_grow_as_the_definition_says_to_the_millisecond() {
    let (found, _) = delays("{ delay: PT1S, backoff: { constant: {} }, limit: { attempt: { count: 9 } } }", 4);
    assert_eq!(found, [secs(1); 4]);
    let (found, _) = delays("{ delay: PT0.3S, backoff: { linear: {} }, limit: { attempt: { count: 9 } } }", 4);
    assert_eq!(found, [ms(300), ms(600), ms(900), ms(1200)]);
    let exponential =
        "{ delay: PT0.1S, backoff: { exponential: { factor: 3, maxDelay: PT1S } }, limit: { attempt: { count: 9 } } }";
    let (found, _) = delays(exponential, 4);
    assert_eq!(found, [ms(100), ms(300), ms(900), secs(1)]);
}

#[test]
fn the_count_limits_retries_and_then_the_error_goes_on_as_it_was() {
    let (found, sim) = delays("{ delay: PT1S, limit: { attempt: { count: 2 } } }", 9);
    assert_eq!(found.len(), 2);
    assert_eq!(sim.history.len(), 3);
    let problem = sim.problem();
    assert_eq!((problem.status, problem.instance.as_deref()), (503, Some("/do/0/t/try/0/a")));
    let attempts: Vec<u32> = sim
        .events()
        .filter_map(|e| match e {
            Event::TryRetried { attempt, .. } => Some(*attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts, [2, 3]);
}

#[test]
fn the_total_duration_allows_no_retry_that_would_begin_after_it() {
    let (found, sim) = delays("{ delay: PT2S, limit: { duration: PT5S } }", 9);
    assert_eq!(found, [secs(2), secs(2)]);
    assert_eq!(sim.problem().status, 503);
}

#[test]
fn retries_of_a_task_use_the_same_key() {
    let (_, sim) = delays("{ delay: PT1S, limit: { attempt: { count: 3 } } }", 9);
    assert_eq!(sim.history.len(), 4);
    assert!(sim.history.iter().all(|a| a.key == sim.history[0].key));
}

#[test]
fn jitter_lies_within_its_bounds_differs_between_attempts_and_is_the_same_in_replay() {
    let (found, sim) =
        delays("{ delay: PT1S, jitter: { from: PT0.1S, to: PT0.6S }, limit: { attempt: { count: 20 } } }", 20);
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|d| *d >= ms(1100) && *d <= ms(1600)), "{found:?}");
    assert!(found.windows(2).all(|w| w[0] != w[1]), "{found:?}");
    sim.check();
}

#[test]
fn a_retry_waits_at_least_as_long_as_the_other_side_asked_for() {
    let mut sim = Sim::start(
        "do:\n  - t:\n      try: [ { a: { call: test.read, with: {} } } ]\n      catch: { retry: { delay: PT1S, limit: { attempt: { count: 3 } } } }\n",
    );
    let not_before = Some(sim.now.plus(secs(30)));
    sim.answer("a", CallOutcome::Failed { problem: communication(429), not_before });
    assert_eq!(sim.next_timer(), secs(30));
    let not_before = Some(sim.now.plus(ms(1)));
    sim.answer("a", CallOutcome::Failed { problem: communication(429), not_before });
    assert_eq!(sim.next_timer(), secs(1));
    sim.answer("a", ok(json!(1)));
    assert_eq!(sim.output(), json!(1));
}

#[test]
fn each_attempt_begins_with_the_input_of_the_try() {
    let mut sim = Sim::start_with(
        "do:
  - t:
      try:
        - a: { set: { n: '${ .n + 1 }' } }
        - b: { call: test.read, with: { n: '${ .n }' } }
      catch: { retry: { limit: { attempt: { count: 1 } } } }
",
        json!({ "n": 0 }),
    );
    sim.answer("b", failed(500));
    sim.next_timer();
    assert_eq!(sim.asked[0].args, json!({ "n": 1 }));
}

#[test]
fn after_the_last_retry_catch_do_runs() {
    let mut sim = Sim::start(
        "do:
  - t:
      try: [ { a: { call: test.read, with: {} } } ]
      catch:
        as: e
        retry: { delay: PT1S, limit: { attempt: { count: 1 } } }
        do: [ { h: { set: { status: '${ $e.status }', at: '${ $e.instance }' } } } ]
  - after: { set: { got: '${ . }' } }
",
    );
    sim.answer("a", failed(500));
    assert_eq!(sim.count("TaskReturned"), 0);
    sim.next_timer();
    sim.answer("a", failed(502));
    assert_eq!(sim.output(), json!({ "got": { "status": 502, "at": "/do/0/t/try/0/a" } }));
}

#[test]
fn an_empty_catch_swallows_and_the_input_goes_on() {
    let mut sim = Sim::start_with(
        "do:\n  - t: { try: [ { a: { call: test.read, with: {} } } ], catch: {} }\n",
        json!({ "kept": true }),
    );
    sim.answer("a", failed(500));
    assert_eq!(sim.output(), json!({ "kept": true }));
    assert!(sim.events().any(|e| matches!(e, Event::ErrorCaught { handling: Handling::Swallow, .. })));
}

fn caught(catch: &str, status: u16) -> bool {
    let mut sim = Sim::start_with(
        &format!(
            "do:\n  - t:\n      try: [ {{ a: {{ call: test.read, with: {{}} }} }} ]\n      catch:\n        {catch}\n        do: [ {{ h: {{ set: {{ caught: true }} }} }} ]\n"
        ),
        json!({ "tolerant": true }),
    );
    sim.answer("a", failed(status));
    sim.check();
    match &sim.run.phase {
        Phase::Completed { .. } => true,
        Phase::Faulted { problem } if problem.status == status => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters_let_other_errors_pass() {
    assert!(caught("errors: { with: { status: 503 } }", 503));
    assert!(!caught("errors: { with: { status: 503 } }", 500));
    let kind = |name: &str| {
        format!("errors: {{ with: {{ type: 'https://serverlessworkflow.io/spec/1.0.0/errors/{name}' }} }}")
    };
    assert!(caught(&kind("communication"), 500));
    assert!(!caught(&kind("timeout"), 500));
    assert!(caught("errors: { with: { instance: /do/0/t/try/0/a } }", 500));
    assert!(!caught("errors: { with: { instance: /do/0/t } }", 500));
    assert!(caught("errors: { with: { title: Communication error } }", 500));
    assert!(!caught("errors: { with: { detail: something else } }", 500));
    assert!(caught("when: $error.status >= 500", 500));
    assert!(!caught("when: $error.status >= 500", 404));
    assert!(!caught("exceptWhen: $error.status == 404", 404));
    assert!(caught("exceptWhen: $error.status == 404", 500));
    assert!(caught("when: .tolerant", 500), "the filter sees the input of the try");
}

#[test]
fn a_filter_that_fails_is_the_error() {
    let mut sim = Sim::start(
        "do:\n  - t: { try: [ { a: { call: test.read, with: {} } } ], catch: { when: '$error.status | keys' } }\n",
    );
    sim.answer("a", failed(500));
    assert!(sim.problem().kind.ends_with("/expression"));
    assert_eq!(sim.problem().instance.as_deref(), Some("/do/0/t"));
}

#[test]
fn retry_when_and_except_when_choose_what_is_retried() {
    for (filter, status, retried) in [
        ("when: $error.status == 503", 503, true),
        ("when: $error.status == 503", 500, false),
        ("exceptWhen: $error.status == 503", 503, false),
        ("exceptWhen: $error.status == 503", 500, true),
    ] {
        let mut sim = Sim::start(&format!(
            "do:\n  - t: {{ try: [ {{ a: {{ call: test.read, with: {{}} }} }} ], catch: {{ retry: {{ {filter}, delay: PT1S, limit: {{ attempt: {{ count: 1 }} }} }} }} }}\n"
        ));
        sim.answer("a", failed(status));
        assert_eq!(sim.run.is_open(), retried, "{filter} {status}");
    }
}

#[test]
fn an_error_in_catch_do_is_not_caught_by_its_own_try_but_by_the_one_around() {
    let sim = Sim::start(
        "do:
  - outer:
      try:
        - inner:
            try: [ { a: { raise: { error: { type: 'urn:a', status: 400, title: A } } } } ]
            catch: { do: [ { b: { raise: { error: { type: 'urn:b', status: 409, title: B } } } } ] }
      catch: { as: e, do: [ { c: { set: { kind: '${ $e.type }' } } } ] }
",
    );
    assert_eq!(sim.output(), json!({ "kind": "urn:b" }));
}

#[test]
fn a_caught_error_is_raised_again_as_it_was() {
    let mut sim = Sim::start(
        "do:
  - t:
      try: [ { a: { call: test.read, with: {} } } ]
      catch: { as: e, do: [ { again: { raise: { error: '${ $e }' } } } ] }
",
    );
    let problem = communication(502).with_data(json!({ "body": "no" }));
    sim.answer("a", CallOutcome::Refused(problem.clone()));
    assert_eq!(sim.problem(), Problem { instance: Some("/do/0/t/try/0/a".into()), ..problem });
}

#[test]
fn a_raised_error_has_what_it_was_given_and_its_task() {
    let sim = Sim::start_with(
        "do:\n  - a: { raise: { error: { type: 'https://x.example/errors/limit', status: 422, title: Too much, detail: '${ \"n is \\(.n)\" }' } } }\n",
        json!({ "n": 5 }),
    );
    let problem = sim.problem();
    assert_eq!((problem.status, &*problem.title, problem.detail.as_deref()), (422, "Too much", Some("n is 5")));
    assert_eq!(problem.instance.as_deref(), Some("/do/0/a"));
}

#[test]
fn a_caught_fault_of_a_branch_ends_its_siblings() {
    let mut sim = Sim::start(
        "do:
  - t:
      try:
        - f:
            fork:
              branches:
                - a: { call: test.put, with: {} }
                - b: { call: test.put, with: {} }
                - c: { wait: PT1H }
      catch: { do: [ { h: { set: { done: true } } } ] }
",
    );
    sim.answer("b", failed(500));
    assert_eq!(sim.output(), json!({ "done": true }));
    assert!(sim.asked.is_empty());
    assert_eq!(sim.commands.iter().filter(|c| matches!(c, Command::CancelCall { .. })).count(), 1);
}

#[test]
fn variables_of_loops_are_seen_in_catch_do() {
    let mut sim = Sim::start(
        "do:
  - l:
      for: { each: x, in: '[5]' }
      do:
        - t:
            try: [ { a: { call: test.read, with: {} } } ]
            catch: { as: e, do: [ { h: { set: { x: '${ $x }', s: '${ $e.status }' } } } ] }
",
    );
    sim.answer("a", failed(500));
    assert_eq!(sim.output(), json!({ "x": 5, "s": 500 }));
}

#[test]
fn catch_then_says_where_to_go_after_an_error_and_only_then() {
    let body = |fails: bool| {
        format!(
            "do:
  - guarded:
      try: [ {{ t: {{ if: '{fails}', raise: {{ error: {{ type: 'https://t.example/e', status: 400 }} }} }} }} ]
      catch: {{ do: [ {{ c: {{ set: {{ caught: true }} }} }} ], then: end }}
      then: after
  - never: {{ set: {{ never: true }} }}
  - after: {{ set: '${{ . + {{ after: true }} }}' }}
"
        )
    };
    assert_eq!(Sim::start(&body(true)).output(), json!({ "caught": true }));
    assert_eq!(Sim::start(&body(false)).output(), json!({ "after": true }));
    let swallowed = Sim::start(
        "do:
  - guarded:
      try: [ { t: { raise: { error: { type: 'https://t.example/e', status: 400 } } } } ]
      catch: { retry: { limit: { attempt: { count: 0 } } }, then: last }
  - never: { set: { never: true } }
  - last: { set: { last: true } }
",
    );
    assert_eq!(swallowed.output(), json!({ "last": true }), "exhausted retries do not raise where `then` is there");
}

#[test]
fn a_retry_may_compute_its_delay() {
    let mut sim = Sim::start_with(
        "do:
  - guarded:
      try: [ { t: { call: test.put, with: {} } } ]
      catch:
        retry: { delay: '${ .wait }', backoff: { linear: {} }, limit: { attempt: { count: 2 }, duration: '${ .most }' } }
",
        json!({ "wait": "PT2S", "most": { "seconds": 30 } }),
    );
    sim.answer("t", failed(503));
    assert_eq!(sim.next_timer(), secs(2));
    sim.answer("t", failed(503));
    assert_eq!(sim.next_timer(), secs(4));
    sim.answer("t", ok(json!(1)));
    assert_eq!(sim.output(), json!(1));
    let mut wrong = Sim::start_with(
        "do:
  - guarded:
      try: [ { t: { call: test.put, with: {} } } ]
      catch: { retry: { delay: '${ .wait }', limit: { attempt: { count: 2 } } } }
",
        json!({ "wait": "soon" }),
    );
    wrong.answer("t", failed(503));
    assert!(wrong.detail().contains("retry.delay"), "{}", wrong.detail());
}
