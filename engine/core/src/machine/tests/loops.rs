//! `for`.

use super::*;

#[test]
fn each_iteration_gets_the_output_of_the_one_before() {
    let sim = Sim::start_with(
        "do:
  - sum:
      for: { each: x, in: '${ .items }', at: i }
      do:
        - add: { set: { total: '${ (.total // 0) + $x }', trail: '${ (.trail // []) + [$i] }' } }
",
        json!({ "items": [10, 20, 30] }),
    );
    assert_eq!(sim.output(), json!({ "total": 60, "trail": [0, 1, 2] }));
    assert_eq!(sim.count("IterationStarted"), 3);
    assert_eq!(sim.count("LoopEnded"), 1);
}

#[test]
fn a_loop_over_nothing_hands_its_input_on() {
    for items in [json!({ "items": [], "n": 1 }), json!({ "n": 1 })] {
        let sim =
            Sim::start_with("do:\n  - l: { for: { in: .items }, do: [ { a: { set: { n: 2 } } } ] }\n", items.clone());
        assert_eq!(sim.output(), items);
        assert_eq!(sim.count("IterationStarted"), 0);
    }
}

#[test]
fn while_is_asked_before_each_iteration_with_its_item() {
    let sim = Sim::start(
        "do:
  - l:
      for: { in: '[1, 2, 3, 4]' }
      while: '$item < 3 and ((.n // 0) < 100)'
      do:
        - a: { set: { n: '${ $item }', at: '${ $index }' } }
",
    );
    assert_eq!(sim.output(), json!({ "n": 2, "at": 1 }));
}

#[test]
fn inner_loops_see_the_variables_of_outer_ones_and_shadow_them() {
    let sim = Sim::start(
        "do:
  - l:
      for: { each: a, in: '[1, 2]', at: i }
      do:
        - m:
            for: { each: b, in: '[$a * 10, $a * 10 + 1]', at: j }
            do:
              - s: { set: { seen: '${ (.seen // []) + [[$a, $b, $i, $j]] }' } }
        - n:
            for: { each: a, in: '[7]', at: k }
            do:
              - s: { set: { seen: '${ .seen + [[$a, $i]] }' } }
",
    );
    let seen = json!([[1, 10, 0, 0], [1, 11, 0, 1], [7, 0], [2, 20, 1, 0], [2, 21, 1, 1], [7, 1]]);
    assert_eq!(sim.output(), json!({ "seen": seen }));
}

#[test]
fn the_array_is_taken_once() {
    let mut sim = Sim::start_with(
        "do:\n  - l: { for: { in: .items }, do: [ { a: { call: test.read, with: { x: '${ $item }' } } } ] }\n",
        json!({ "items": [1, 2] }),
    );
    sim.serve(|_| ok(json!({ "items": [1, 2, 3, 4, 5] })));
    sim.output();
    assert_eq!(sim.history.len(), 2);
}

#[test]
fn effects_of_different_iterations_have_different_keys() {
    let mut sim = Sim::start(
        "do:
  - l:
      for: { in: '[0, 1]' }
      do:
        - m:
            for: { each: b, in: '[0, 1]', at: j }
            do:
              - call: { call: test.put, with: {} }
              - more: { if: '.again == true', set: { again: false }, then: call }
",
    );
    let mut n = 0;
    sim.serve(|_| {
        n += 1;
        ok(json!({ "again": n % 2 == 1 }))
    });
    sim.output();
    assert_eq!(sim.history.len(), 8, "each of four iterations jumps back once");
    let mut keys: Vec<String> = sim.history.iter().map(|a| a.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 8);
}

#[test]
fn exit_ends_an_iteration_not_the_loop() {
    let sim = Sim::start(
        "do:
  - l:
      for: { in: '[1, 2, 3]' }
      do:
        - a: { set: { n: '${ (.n // 0) + $item }' }, then: exit }
        - b: { set: { n: 1000 } }
",
    );
    assert_eq!(sim.output(), json!({ "n": 6 }));
}

#[test]
fn a_loop_of_many_iterations_yields_and_comes_to_its_end() {
    let mut sim =
        Sim::start("do:\n  - l: { for: { in: '[range(2000)]' }, do: [ { a: { set: { n: '${ $index }' } } } ] }\n");
    assert!(sim.run.has_more());
    sim.settle();
    assert_eq!(sim.output(), json!({ "n": 1999 }));
    assert!(sim.entries.iter().all(|(_, e)| e.len() <= super::super::turn::EVENTS_MAX));
}
