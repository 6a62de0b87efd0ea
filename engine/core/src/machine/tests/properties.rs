//! Random workflows under random outcomes at random times.

use proptest::prelude::*;

use super::*;

/// A list of tasks as YAML (JSON is YAML); `name` makes names unique.
fn tasks(depth: u32) -> BoxedStrategy<Vec<Value>> {
    prop::collection::vec(task(depth), 1..4).boxed()
}

fn leaf() -> BoxedStrategy<Value> {
    let operation = prop::sample::select(vec!["test.read", "test.put", "test.once", "test.asked"]);
    let unknown = prop::sample::select(vec!["ask", "retry", "fault"]);
    prop_oneof![
        2 => Just(json!({ "set": { "n": "${ ((.n? // 0) | tonumber? // 0) + 1 }" }, "export": { "as": "$context + { n: .n }" } })),
        1 => Just(json!({ "set": { "n": "${ .n | keys }" } })),
        1 => Just(json!({ "emit": { "event": { "with": { "type": "t.v1" } } } })),
        4 => (operation, unknown, any::<bool>()).prop_map(|(operation, unknown, timeout)| {
            let task = json!({ "call": operation, "with": { "x": "${ . }" }, "metadata": { "cpd": { "onUnknown": unknown } } });
            if timeout { with(task, "timeout", json!({ "after": "PT3S" })) } else { task }
        }),
        1 => (0u32..8).prop_map(|s| json!({ "wait": { "seconds": s } })),
        1 => (400u32..404).prop_map(|s| json!({ "raise": { "error": { "type": "urn:x", "status": s, "title": "X" } } })),
    ]
    .boxed()
}

fn task(depth: u32) -> BoxedStrategy<Value> {
    let plain = leaf();
    let any = if depth == 0 {
        plain
    } else {
        let below = tasks(depth - 1).prop_map(named).boxed();
        let retry = prop_oneof![
            Just(None),
            (0u32..3, any::<bool>(), any::<bool>()).prop_map(|(count, duration, jitter)| {
                let limit =
                    if duration { json!({ "count": count, "duration": "PT4S" }) } else { json!({ "count": count }) };
                let retry = json!({ "delay": "PT1S", "limit": { "attempt": limit } });
                Some(if jitter { with(retry, "jitter", json!({ "from": "PT0S", "to": "PT1S" })) } else { retry })
            })
        ];
        prop_oneof![
            4 => plain,
            1 => below.clone().prop_map(|list| json!({ "do": list })),
            1 => (below.clone(), any::<bool>()).prop_map(|(list, compete)| json!({ "fork": { "compete": compete, "branches": list } })),
            1 => (below.clone(), 0u32..3).prop_map(|(list, n)| json!({
                "for": { "in": format!("[range({n})]") }, "while": "$index < 2", "do": list,
            })),
            2 => (below.clone(), retry, prop::option::of(below), any::<bool>()).prop_map(|(list, retry, handler, filter)| {
                let mut catch = Value::object();
                if filter { catch = with(catch, "when", Value::str("$error.status != 401")); }
                if let Some(retry) = retry { catch = with(catch, "retry", retry); }
                if let Some(handler) = handler { catch = with(catch, "do", handler); }
                json!({ "try": list, "catch": catch })
            }),
        ]
        .boxed()
    };
    let then = prop_oneof![12 => Just(None), 1 => Just(Some("exit")), 1 => Just(Some("end"))];
    let condition = prop_oneof![6 => Just(None), 1 => Just(Some("(.n? // 0) != 1"))];
    let timeout = prop::bool::weighted(0.1);
    (any, then, condition, timeout)
        .prop_map(|(mut task, then, condition, timeout)| {
            if let Some(then) = then {
                task = with(task, "then", Value::str(then));
            }
            if let Some(condition) = condition {
                task = with(task, "if", Value::str(condition));
            }
            if timeout && ["do", "for", "fork", "try"].iter().any(|k| task.get(k).is_some()) {
                task = with(task, "timeout", json!({ "after": "PT6S" }));
            }
            task
        })
        .boxed()
}

fn with(object: Value, key: &str, value: Value) -> Value {
    let mut map = object.as_object().cloned().unwrap_or_default();
    map.insert(Arc::from(key), value);
    Value::from(map)
}

fn named(list: Vec<Value>) -> Value {
    list.into_iter().enumerate().map(|(i, task)| with(Value::object(), &format!("t{i}"), task)).collect()
}

/// A workflow whose definition compiles: tasks behind an unconditional `then` make some that do not.
fn workflow() -> impl Strategy<Value = Arc<Plan>> {
    tasks(3).prop_filter_map("it compiles", |list| {
        let header = json!({ "dsl": "1.0.3", "namespace": "t", "name": "w", "version": "1.0.0" });
        let source = json!({ "document": header, "do": named(list) }).to_json();
        compile(&source, "w.yaml", &World).ok().map(|c| Arc::new(c.plan))
    })
}

/// What the world does next, by a byte and a number.
fn play(sim: &mut Sim, what: u8, n: usize) {
    let act = sim.asked.get(n % sim.asked.len().max(1)).cloned();
    let outcome = match (what / 16) % 5 {
        0 | 1 => ok(json!({ "n": n as u32 })),
        2 => CallOutcome::Refused(communication(401)),
        3 => failed(503),
        _ => unknown(),
    };
    let input = match what % 16 {
        0..=6 => match act {
            Some(Asked { act, attempt, reconcile: true, .. }) => {
                Input::Reconciled { act, attempt, outcome: (!n.is_multiple_of(3)).then_some(outcome) }
            }
            Some(Asked { act, attempt, .. }) => Input::Outcome { act, attempt, outcome },
            None => Input::Continue,
        },
        7 | 8 => Input::Tick,
        9 => Input::Continue,
        10 => Input::Pause { actor: "p".into(), reason: "p".into() },
        11 => Input::Resume { actor: "p".into(), reason: "p".into() },
        12 => Input::Resolve {
            task: None,
            resolution: match n % 3 {
                0 => Resolution::Retry,
                1 => Resolution::Succeeded(json!(n as u32)),
                _ => Resolution::Failed(communication(410)),
            },
            actor: "p".into(),
        },
        13 => match act {
            Some(Asked { act, attempt, .. }) => Input::Interrupted { act, attempt },
            None => Input::Tick,
        },
        // Anything at all, sensible or not.
        14 => Input::Outcome { act: ActId(n as u32 % 32), attempt: n as u32 % 4, outcome },
        _ if n.is_multiple_of(40) => Input::Cancel { actor: "p".into(), reason: "p".into() },
        _ => Input::Reconciled { act: ActId(n as u32 % 32), attempt: n as u32 % 4, outcome: None },
    };
    if sim.input(input.clone()).is_ok()
        && let Input::Outcome { act, attempt, .. }
        | Input::Reconciled { act, attempt, .. }
        | Input::Interrupted { act, attempt } = input
    {
        sim.asked.retain(|a| !(a.act == act && a.attempt == attempt) || sim.history.last() == Some(a));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    /// Whatever the world does, in whatever order and at whatever time: nothing panics; every prefix of the record folds
    /// to the state that was live then; deciding again gives the same record and the same commands; an open run can be
    /// woken (`Sim::record`); a refused input changes nothing (`Sim::input`); an ended run has nothing left.
    #[test]
    fn every_prefix_of_every_record_folds_to_the_live_state(
        plan in workflow(),
        moves in prop::collection::vec((any::<u8>(), any::<u16>(), 0u64..5_000), 0..60),
    ) {
        let mut sim = Sim::start_plan(plan, json!({ "n": 0 }), RunId([3; 16]));
        let mut states = vec![(1, shown(&sim.run))];
        for (what, n, later) in moves {
            sim.now = sim.now.plus(ms(later));
            play(&mut sim, what, usize::from(n));
            if sim.entries.len() > states.last().expect("one").0 {
                states.push((sim.entries.len(), shown(&sim.run)));
            }
            if !sim.run.is_open() {
                prop_assert!(sim.run.acts.is_empty() && sim.run.agenda.is_empty());
            }
        }
        for (entries, state) in &states {
            prop_assert_eq!(&shown(&fold(&sim.run, &sim.entries[..*entries])), state);
        }
        sim.check();
    }

    /// A run whose every call succeeds, whose timers fire and whose effects are resolved comes to an end.
    #[test]
    fn a_run_that_is_served_ends(plan in workflow(), outcomes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut sim = Sim::start_plan(plan, json!({ "n": 0 }), RunId([4; 16]));
        let mut outcomes = outcomes.into_iter();
        for _ in 0..5_000 {
            if !sim.run.is_open() {
                break;
            }
            if sim.run.has_more() {
                sim.input(Input::Continue).expect("it has more");
            } else if let Some(asked) = sim.asked.first().cloned() {
                let outcome = match outcomes.next().unwrap_or(0) % 5 {
                    0 | 1 => ok(json!({ "n": 1 })),
                    2 => failed(503),
                    3 => CallOutcome::Refused(communication(401)),
                    _ => unknown(),
                };
                sim.answer(&asked.task, outcome);
            } else if !sim.published.is_empty() && sim.run.phase == Phase::Running {
                sim.hear();
            } else if sim.resolve(None, Resolution::Succeeded(json!(1))).is_ok() {
            } else if sim.run.next_wake().is_some() {
                sim.next_timer();
            } else {
                let task = sim.run.wake_sources().into_iter().find_map(|s| match s {
                    WakeSource::Operator { task, .. } => Some(task),
                    _ => None,
                });
                let task = task.expect("what else could wake it?");
                sim.resolve(Some(&task), Resolution::Succeeded(json!(1))).expect("it waits");
            }
        }
        prop_assert!(!sim.run.is_open(), "{}", shown(&sim.run));
        sim.check();
    }

    /// Two effects of one run never share a key, and retries of one never differ in it, as far as act and key go together.
    #[test]
    fn an_act_has_one_key(plan in workflow(), moves in prop::collection::vec((any::<u8>(), any::<u16>(), 0u64..5_000), 0..60)) {
        let mut sim = Sim::start_plan(plan, json!({ "n": 0 }), RunId([5; 16]));
        for (what, n, later) in moves {
            sim.now = sim.now.plus(ms(later));
            play(&mut sim, what, usize::from(n));
        }
        let mut keys = std::collections::BTreeMap::new();
        for asked in &sim.history {
            let key = keys.entry(asked.act).or_insert_with(|| asked.key.clone());
            prop_assert_eq!(&*key, &asked.key);
        }
    }
}
