//! `listen`: events from outside, filters, correlation, `until`, `foreach`; and `emit`.

use super::*;

fn event(kind: &str, id: &str, data: Value) -> Input {
    Input::Event(json!({ "specversion": "1.0", "type": kind, "id": id, "source": "/test", "data": data }))
}

impl Sim {
    fn give(&mut self, kind: &str, id: &str, data: Value) -> &mut Self {
        self.input(event(kind, id, data)).expect("the run takes the event");
        self
    }
}

const ONE: &str = "do:
  - ear: { listen: { to: { one: { with: { type: com.example.a } } } } }
";

#[test]
fn one_event_ends_the_listen_and_its_data_are_the_output() {
    let mut sim = Sim::start(ONE);
    assert!(
        matches!(&sim.run.wake_sources()[..], [WakeSource::Event { types, .. }] if *types == [Arc::from("com.example.a")])
    );
    sim.give("com.example.a", "1", json!({ "n": 1 }));
    assert_eq!(sim.output(), json!([{ "n": 1 }]));
}

#[test]
fn an_event_that_nothing_listens_to_is_refused() {
    let mut sim = Sim::start(ONE);
    let refused = sim.input(event("com.example.b", "1", json!({}))).unwrap_err();
    assert!(matches!(refused, Rejected::NotListening { .. }), "{refused}");
    let refused = sim.input(Input::Event(json!({ "id": "x" }))).unwrap_err();
    assert!(matches!(refused, Rejected::NoEvent { .. }), "{refused}");
}

#[test]
fn the_same_event_twice_is_taken_once() {
    let mut sim = Sim::start(
        "do:
  - ear: { listen: { to: { any: [ { with: { type: a } } ], until: '.n == 3' } } }
",
    );
    sim.give("a", "1", json!({ "n": 1 })).give("a", "1", json!({ "n": 1 })).give("a", "2", json!({ "n": 3 }));
    assert_eq!(sim.output(), json!([{ "n": 1 }, { "n": 3 }]));
    assert_eq!(sim.count("EventReceived"), 2);
}

#[test]
fn an_event_that_comes_before_its_listen_waits_for_it() {
    let mut sim = Sim::start(
        "do:
  - first: { call: test.read, with: {} }
  - ear: { listen: { to: { one: { with: { type: a } } } } }
",
    );
    sim.give("a", "1", json!({ "n": 1 }));
    sim.answer("first", ok(json!({})));
    assert_eq!(sim.output(), json!([{ "n": 1 }]));
}

#[test]
fn all_waits_for_each_filter_in_any_order() {
    let mut sim = Sim::start(
        "do:
  - ear: { listen: { to: { all: [ { with: { type: a } }, { with: { type: b } } ] } } }
",
    );
    sim.give("b", "1", json!("b")).give("b", "2", json!("again"));
    assert!(sim.run.is_open());
    sim.give("a", "3", json!("a"));
    assert_eq!(sim.output(), json!(["b", "a"]));
}

#[test]
fn until_may_be_an_event_that_is_not_part_of_the_output() {
    let mut sim = Sim::start(
        "do:
  - ear: { listen: { to: { any: [ { with: { type: a } } ], until: { one: { with: { type: stop } } } } } }
",
    );
    sim.give("a", "1", json!(1)).give("a", "2", json!(2)).give("stop", "3", json!("x"));
    assert_eq!(sim.output(), json!([1, 2]));
}

#[test]
fn filters_match_by_literal_pattern_and_expression() {
    let mut sim = Sim::start_with(
        "do:
  - ear:
      listen:
        read: envelope
        to:
          one:
            with: { type: 'com\\.example\\.[ab]', subject: '${ $input.who }', data: '${ .level > 3 }' }
      output: { as: '.[0].id' }
",
        json!({ "who": "x" }),
    );
    let given = |id: &str, subject: &str, level: i64| {
        Input::Event(
            json!({ "type": "com.example.b", "id": id, "source": "/s", "subject": subject, "data": { "level": level } }),
        )
    };
    sim.input(given("1", "y", 9)).unwrap();
    sim.input(given("2", "x", 1)).unwrap();
    assert!(sim.run.is_open());
    sim.input(given("3", "x", 4)).unwrap();
    assert_eq!(sim.output(), json!("3"));
}

#[test]
fn correlation_by_expectation_and_by_the_first_event() {
    let mut sim = Sim::start_with(
        "do:
  - ear:
      listen:
        to:
          all:
            - with: { type: order }
              correlate: { order: { from: .data.order }, shop: { from: .data.shop, expect: '${ .shop }' } }
            - with: { type: paid }
              correlate: { order: { from: .data.order } }
",
        json!({ "shop": 7 }),
    );
    sim.give("order", "1", json!({ "order": "o1", "shop": 8 }));
    sim.give("order", "2", json!({ "order": "o2", "shop": 7 }));
    sim.give("paid", "3", json!({ "order": "o1" }));
    assert!(sim.run.is_open(), "another order's payment");
    sim.give("paid", "4", json!({ "order": "o2" }));
    assert_eq!(sim.output(), json!([{ "order": "o2", "shop": 7 }, { "order": "o2" }]));
}

#[test]
fn foreach_runs_for_each_event_in_order_and_its_outputs_are_gathered() {
    let mut sim = Sim::start(
        "do:
  - ear:
      listen: { to: { any: [ { with: { type: a } } ], until: .last } }
      foreach:
        item: e
        at: i
        do:
          - work: { call: test.read, with: { n: '${ $e.n }', i: '${ $i }' } }
        output: { as: '{ got: .v, e: $e.n }' }
",
    );
    sim.give("a", "1", json!({ "n": 10 })).give("a", "2", json!({ "n": 20, "last": true }));
    assert_eq!(sim.asked.len(), 1, "one event after the other");
    assert_eq!(sim.asked[0].args, json!({ "n": 10, "i": 0 }));
    sim.answer("work", ok(json!({ "v": 1 })));
    assert_eq!(sim.asked[0].args, json!({ "n": 20, "i": 1 }));
    let keys: Vec<String> = sim.history.iter().map(|a| a.key.clone()).collect();
    assert_ne!(keys[0], keys[1], "two events are two effects");
    sim.answer("work", ok(json!({ "v": 2 })));
    assert_eq!(sim.output(), json!([{ "got": 1, "e": 10 }, { "got": 2, "e": 20 }]));
}

#[test]
fn two_listens_at_once_take_the_same_event() {
    let mut sim = Sim::start(
        "do:
  - both:
      fork:
        branches:
          - x: { listen: { to: { one: { with: { type: a } } } } }
          - y: { listen: { to: { one: { with: { type: a } } } } }
",
    );
    sim.give("a", "1", json!(1));
    assert_eq!(sim.output(), json!([[1], [1]]));
}

#[test]
fn a_listen_that_takes_too_long_is_a_timeout() {
    let mut sim = Sim::start(
        "do:
  - ear: { listen: { to: { one: { with: { type: a } } } }, timeout: { after: PT10S } }
",
    );
    sim.now = sim.now.plus(Duration::from_secs(11));
    sim.input(Input::Tick).unwrap();
    assert!(matches!(&sim.run.phase, Phase::Faulted { problem } if problem.status == 408));
}

#[test]
fn too_many_waiting_events_displace_the_oldest_and_the_record_says_so() {
    let mut sim = Sim::start(
        "do:
  - first: { call: test.read, with: {} }
  - ear: { listen: { to: { one: { with: { type: a } } } } }
",
    );
    for n in 0..=crate::machine::listen::INBOX_MAX {
        sim.give("a", &n.to_string(), Value::from(n as i64));
    }
    sim.answer("first", ok(json!({})));
    assert_eq!(sim.output(), json!([1]), "the first one is gone");
}

#[test]
fn an_emitted_event_is_over_when_everybody_has_it() {
    let mut sim = Sim::start(
        "do:
  - say: { emit: { event: { with: { type: a, data: { x: 1 } } } } }
  - after: { set: { type: '${ .type }' } }
",
    );
    let [act] = sim.published[..] else { panic!("published {:?}", sim.published) };
    assert!(matches!(&sim.run.wake_sources()[..], [WakeSource::Publication { .. }]));
    sim.input(Input::Published { act }).unwrap();
    assert_eq!(sim.output(), json!({ "type": "a" }));
    assert!(sim.input(Input::Published { act }).is_err());
}
