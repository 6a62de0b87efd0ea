//! Snapshots: whatever they say is what folding says, and nothing needs them.

use std::sync::Arc;

use cpd_connector_api::{Connector, Outcome};
use cpd_core::catalog::Class;
use cpd_core::definition::plan::Plan;
use cpd_core::expression::Limits;
use cpd_core::machine::turn::{CallOutcome, Start, start};
use cpd_core::machine::{ActId, Command, Env, Event, Input, Resolution, Run, RunId, Turn, Voter};
use cpd_core::problem::{Problem, Standard};
use cpd_core::time::Timestamp;
use cpd_core::{Value, json};
use cpd_journal::payloads::Payloads;
use cpd_journal::{Digest, Position};
use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::support::{LONG, World, builder, open, output, register, until};
use crate::codec;
use crate::operation::{Operations, spec};
use crate::registry::Registry;
use crate::snapshot::{self, SNAPSHOTS, Source};

const BEGIN: Timestamp = Timestamp(1_795_392_000_000_000);
const RUN: RunId = RunId([3; 16]);

/// Everything that is part of the state.
fn shown(run: &Run) -> String {
    let Run {
        id,
        plan,
        phase,
        behaviour,
        started_at,
        actor,
        input,
        context,
        acts,
        next_act,
        agenda,
        abandoned,
        inbox,
        events,
        departed: _,
    } = run;
    format!(
        "{id} {} {phase:?} {behaviour} {started_at:?} {actor} {input:?} {context:?} {acts:#?} {next_act} {agenda:?} {abandoned:?} {inbox:?} {events}",
        plan.digest
    )
}

// ---- random runs ------------------------------------------------------------------------------------------------------

/// A registry that knows operations of each class.
fn registry() -> Registry {
    let mut asked = spec("test.asked", Class::AtMostOnce, "Can be asked.");
    asked.reconciles = true;
    let specs = [
        spec("test.read", Class::Safe, "Reads."),
        spec("test.put", Class::Idempotent, "Puts."),
        spec("test.once", Class::AtMostOnce, "Does."),
        asked,
    ];
    let offered = specs.into_iter().fold(Operations::new("test"), |offered, spec| {
        offered.operation(spec, async |request| Outcome::succeeded(request.input))
    });
    let offered: Arc<dyn Connector> = Arc::new(offered);
    Registry::empty().with_connectors([offered])
}

fn with(object: Value, key: &str, value: Value) -> Value {
    let mut map = object.as_object().cloned().unwrap_or_default();
    map.insert(Arc::from(key), value);
    Value::from(map)
}

fn named(list: Vec<Value>) -> Value {
    list.into_iter().enumerate().map(|(i, task)| with(Value::object(), &format!("t{i}"), task)).collect()
}

fn listen() -> BoxedStrategy<Value> {
    let filter = |kind: &str| json!({ "with": { "type": kind }, "correlate": { "who": { "from": ".data.who" } } });
    let plain = |kind: &str| json!({ "with": { "type": kind } });
    let to = prop_oneof![
        Just(json!({ "one": plain("a") })),
        Just(json!({ "all": [filter("a"), filter("b")] })),
        Just(json!({ "any": [plain("a"), plain("b")], "until": ".n > 300" })),
        Just(json!({ "any": [plain("a")], "until": { "one": plain("b") } })),
    ];
    let foreach =
        json!({ "item": "event", "do": [{ "seen": { "call": "test.put", "with": { "e": "${ $event }" } } }] });
    (to, any::<bool>())
        .prop_map(move |(to, each)| {
            let task = json!({ "listen": { "to": to } });
            if each { with(task, "foreach", foreach.clone()) } else { task }
        })
        .boxed()
}

fn tasks(depth: u32) -> BoxedStrategy<Value> {
    prop::collection::vec(task(depth), 1..4).prop_map(named).boxed()
}

fn task(depth: u32) -> BoxedStrategy<Value> {
    let operation = prop::sample::select(vec!["test.read", "test.put", "test.once", "test.asked"]);
    let unknown = prop::sample::select(vec!["ask", "retry", "fault"]);
    let call = (operation, unknown, any::<bool>(), any::<bool>()).prop_map(|(operation, unknown, timeout, key)| {
        let task =
            json!({ "call": operation, "with": { "x": "${ . }" }, "metadata": { "cpd": { "onUnknown": unknown } } });
        let task = if key {
            with(
                task,
                "metadata",
                json!({ "cpd": { "onUnknown": unknown, "idempotencyKey": "${ \"k\" + (. | tostring) }" } }),
            )
        } else {
            task
        };
        if timeout { with(task, "timeout", json!({ "after": "PT3S" })) } else { task }
    });
    let leaf = prop_oneof![
        2 => Just(json!({
            "set": { "n": "${ ((.n? // 0) | tonumber? // 0) + 1.5 }", "all": "${ $context }" },
            "export": { "as": "$context + { n: .n, last: . }" },
        })),
        1 => Just(json!({ "set": "${ $context }", "export": { "as": "." } })),
        1 => Just(json!({ "set": { "n": "${ .n | keys }" } })),
        5 => call,
        2 => (1u32..3, any::<bool>()).prop_map(|(quorum, escalates)| {
            let request = json!({ "title": "${ .n | tostring }", "approvers": { "users": ["a", "b"], "quorum": quorum } });
            let later = json!({ "after": "PT2S", "to": { "group": "g" } });
            json!({ "call": "approval.request", "with": if escalates { with(request, "escalate", later) } else { request } })
        }),
        3 => listen(),
        2 => (listen(), listen()).prop_map(|(a, b)| json!({ "fork": { "branches": [{ "x": a }, { "y": b }] } })),
        1 => Just(json!({ "emit": { "event": { "with": { "type": "t.v1", "data": "${ . }" } } } })),
        1 => (0u32..8).prop_map(|s| json!({ "wait": { "seconds": s } })),
        1 => (400u32..404)
            .prop_map(|s| json!({ "raise": { "error": { "type": "urn:x", "status": s, "title": "X" } } })),
    ];
    let then = prop_oneof![6 => Just(None), 1 => Just(Some("exit")), 1 => Just(Some("end")), 1 => Just(Some("t2"))];
    let leaf = (leaf, then).prop_map(|(task, then)| match then {
        Some(then) => with(task, "then", Value::str(then)),
        None => task,
    });
    if depth == 0 {
        return leaf.boxed();
    }
    let below = tasks(depth - 1);
    let retry = prop::option::of((0u32..3, any::<bool>()).prop_map(|(count, duration)| {
        let limit = if duration { json!({ "count": count, "duration": "PT4S" }) } else { json!({ "count": count }) };
        json!({ "delay": "PT1S", "limit": { "attempt": limit } })
    }));
    prop_oneof![
        4 => leaf,
        1 => below.clone().prop_map(|list| json!({ "do": list })),
        1 => (below.clone(), any::<bool>())
            .prop_map(|(list, compete)| json!({ "fork": { "compete": compete, "branches": list } })),
        2 => (below.clone(), 0u32..4).prop_map(|(list, n)| json!({
            "for": { "in": format!("[range({n}) | {{ v: . }}]") }, "while": "$index < 3", "do": list,
        })),
        2 => (below.clone(), retry, prop::option::of(below)).prop_map(|(list, retry, handler)| {
            let mut catch = Value::object();
            if let Some(retry) = retry { catch = with(catch, "retry", retry); }
            if let Some(handler) = handler { catch = with(catch, "do", handler); }
            json!({ "try": list, "catch": catch, "timeout": { "after": "PT9S" } })
        }),
    ]
    .boxed()
}

/// A workflow in a registry of its own.
struct Defined {
    source: String,
    registry: Registry,
    plan: Arc<Plan>,
}

impl std::fmt::Debug for Defined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

fn workflow() -> impl Strategy<Value = Defined> {
    tasks(3).prop_filter_map("it compiles", |list| {
        let header = json!({ "dsl": "1.0.3", "namespace": "t", "name": "w", "version": "1.0.0" });
        let source = json!({ "document": header, "do": list }).to_json();
        let registry = self::registry();
        registry.check_and_keep(&source, "w.yaml").now_or_never()?.ok()?;
        let plan = registry.workflow("t/w").ok()?;
        Some(Defined { source, registry, plan })
    })
}

/// A run that is live, its record, and a snapshot after each entry.
struct Live {
    run: Run,
    now: Timestamp,
    limits: Limits,
    asked: Vec<(ActId, u32, bool)>,
    published: Vec<ActId>,
    entries: Vec<(Timestamp, Vec<Event>)>,
    snapshots: Vec<Vec<u8>>,
}

impl Live {
    fn start(plan: Arc<Plan>) -> Self {
        let limits = Limits::default();
        let what = Start { input: json!({ "n": 0, "deep": [{ "a": 1.5 }] }), key: None, actor: Arc::from("test") };
        let env = Env { at: BEGIN, limits: &limits, runtime: &Value::Null, stopwatch: || 0 };
        let (run, turn) = start(RUN, plan, what, &env);
        let (asked, published, entries, snapshots) = Default::default();
        let mut live = Self { run, now: BEGIN, limits, asked, published, entries, snapshots };
        live.record(turn);
        live
    }

    fn record(&mut self, turn: Turn) {
        for command in turn.commands {
            match command {
                Command::Call { act, attempt } => self.asked.push((act, attempt, false)),
                Command::Reconcile { act, attempt } => self.asked.push((act, attempt, true)),
                Command::Publish { act } => self.published.push(act),
                Command::CancelCall { act, attempt, .. } => self.asked.retain(|a| (a.0, a.1) != (act, attempt)),
            }
        }
        if turn.events.is_empty() {
            return;
        }
        // As they come back from the journal.
        let journaled = |event: &Event| {
            let mut bytes = Vec::new();
            let kind = codec::encode(event, &mut bytes, &Payloads::default());
            codec::decode(kind, cpd_journal::record::v1::VERSION, &bytes, &Payloads::default())
                .expect("what was encoded")
        };
        self.entries.push((self.now, turn.events.iter().map(journaled).collect()));
        self.snapshots.push(snapshot::encode(&source(&self.run)).expect("it is small"));
    }

    fn play(&mut self, what: u8, n: usize) {
        let asked = self.asked.get(n % self.asked.len().max(1)).copied();
        let problem = |status| Problem::standard(Standard::Communication, "no").with_status(status);
        let outcome = match (what / 16) % 5 {
            0 | 1 => CallOutcome::Succeeded { output: json!({ "n": n as u32 }), evidence: None },
            2 => CallOutcome::Refused(problem(401)),
            3 => CallOutcome::Failed { problem: problem(503), not_before: Some(self.now) },
            _ => CallOutcome::Unknown(problem(504).with_data(json!(null))),
        };
        let input = match (what % 16, asked) {
            (0..=6, Some((act, attempt, true))) => {
                Input::Reconciled { act, attempt, outcome: (!n.is_multiple_of(3)).then_some(outcome) }
            }
            (0..=6, Some((act, attempt, false))) => Input::Outcome { act, attempt, outcome },
            (7 | 8, _) | (13, None) => Input::Tick,
            (0 | 1 | 9, _) => Input::Continue,
            (10, _) => Input::Pause { actor: "p".into(), reason: "p".into() },
            (11, _) => Input::Resume { actor: "p".into(), reason: "p".into() },
            (12, _) => {
                let resolution = match n % 3 {
                    0 => Resolution::Retry,
                    1 => Resolution::Succeeded(json!(n as u32)),
                    _ => Resolution::Failed(problem(410)),
                };
                Input::Resolve { task: None, resolution, actor: "p".into() }
            }
            (13, Some((act, attempt, _))) => Input::Interrupted { act, attempt },
            (14 | 15, _) if n.is_multiple_of(5) && !self.published.is_empty() => {
                Input::Published { act: self.published.remove(0) }
            }
            (15, _) if !n.is_multiple_of(40) && self.run.approvals().next().is_some() => {
                let first = self.run.approvals().next().map(|(act, _)| self.run.node_of(act).pointer.clone());
                let name = ["a", "b", "c", "d"][n % 4];
                let voter =
                    Voter { name: name.into(), groups: if name == "d" { vec!["g".into()] } else { Vec::new() } };
                match (what / 16) % 3 {
                    0 => Input::Delegate { task: first, voter, to: "c".into(), reason: "r".into() },
                    _ => Input::Vote { task: first, voter, approves: !n.is_multiple_of(7), comment: "c".into() },
                }
            }
            (2..=6 | 14, _) => Input::Event(json!({
                "specversion": "1.0", "source": "/t", "type": if n.is_multiple_of(2) { "a" } else { "b" },
                "id": (n % 50).to_string(), "data": { "n": n as u32, "who": (n % 3) as u32 },
            })),
            _ if n.is_multiple_of(40) => Input::Cancel { actor: "p".into(), reason: "p".into() },
            _ => Input::Continue,
        };
        let of = match &input {
            Input::Outcome { act, attempt, .. }
            | Input::Reconciled { act, attempt, .. }
            | Input::Interrupted { act, attempt } => Some((*act, *attempt)),
            _ => None,
        };
        let env = Env { at: self.now, limits: &self.limits, runtime: &Value::Null, stopwatch: || 0 };
        if let Ok(turn) = self.run.turn(input, &env) {
            self.asked.retain(|a| Some((a.0, a.1)) != of);
            self.record(turn);
        }
    }
}

fn source(run: &Run) -> Source {
    Source { run: run.clone(), seq: run.events, digest: Digest([7; 32]) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    /// After every event: a snapshot of the folded state is that state. After every entry: the snapshot of the live state is the folded state, a snapshot of that is the same again, and
    /// whatever comes later does to it what it does to the folded one; deciding again from it leads to the same record.
    #[test]
    fn a_snapshot_is_the_folded_state_and_goes_on_as_that_does(
        defined in workflow(),
        moves in prop::collection::vec((any::<u8>(), any::<u16>(), 0u64..5_000), 0..40),
    ) {
        let Defined { registry, plan, .. } = defined;
        let mut live = Live::start(plan.clone());
        for (what, n, later) in moves {
            live.now = live.now.plus(std::time::Duration::from_millis(later));
            live.play(what, usize::from(n));
        }
        let (at, first) = &live.entries[0];
        let mut folded = Run::begin(RUN, plan, &first[0], *at).expect("a start");
        let mut commands = Vec::new();
        let mut states = Vec::new();
        for (n, (at, events)) in live.entries.iter().enumerate() {
            for event in &events[usize::from(n == 0)..] {
                folded.apply(event, *at, &mut commands).expect("it folds");
                let bytes = snapshot::encode(&source(&folded)).expect("it is small");
                let loaded = snapshot::decode(&registry, RUN, &bytes).expect("it counts");
                prop_assert_eq!(&shown(&loaded.run), &shown(&folded));
            }
            states.push(shown(&folded));
        }
        for (n, bytes) in live.snapshots.iter().enumerate() {
            let loaded = snapshot::decode(&registry, RUN, bytes).expect("it counts");
            prop_assert_eq!((loaded.seq, loaded.digest), (loaded.run.events, Digest([7; 32])));
            prop_assert_eq!(&shown(&loaded.run), &states[n]);
            let again = snapshot::encode(&source(&loaded.run)).expect("it is small");
            let again = snapshot::decode(&registry, RUN, &again).expect("it counts");
            prop_assert_eq!(&shown(&again.run), &states[n]);
            let (mut applied, mut decided) = (loaded.run, again.run);
            for (m, (at, events)) in live.entries.iter().enumerate().skip(n + 1) {
                for event in events {
                    applied.apply(event, *at, &mut commands).expect("it folds");
                }
                prop_assert_eq!(&shown(&applied), &states[m]);
                let env = Env { at: *at, limits: &live.limits, runtime: &Value::Null, stopwatch: || 0 };
                if let Err(found) = decided.verify(events, &env, &mut commands) {
                    prop_assert!(false, "entry {m} after a snapshot at {n}: {found:?}");
                }
            }
        }
    }

    /// Any change of any byte makes it count for nothing, and no bytes make reading it panic.
    #[test]
    fn a_changed_snapshot_does_not_count(
        defined in workflow(), place in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>(),
    ) {
        let Defined { registry, plan, .. } = defined;
        let live = Live::start(plan);
        let whole = live.snapshots.last().expect("one");
        let mut changed = whole.clone();
        changed[place.index(whole.len())] ^= 1 << bit;
        prop_assert!(snapshot::decode(&registry, RUN, &changed).is_none());
        prop_assert!(snapshot::decode(&registry, RUN, &whole[..cut.index(whole.len())]).is_none());
        prop_assert!(snapshot::decode(&registry, RunId([4; 16]), whole).is_none(), "it is of another run");
        prop_assert!(snapshot::decode(&Registry::empty(), RUN, whole).is_none(), "there is no plan");
        prop_assert!(snapshot::decode(&registry, RUN, whole).is_some());
    }
}

// ---- in an engine -----------------------------------------------------------------------------------------------------

const LOOPS: &str = "do:
  - loop: { for: { each: n, in: '[range(.count)]' }, do: [ { step: { call: test.put, with: { n: '${ $n }' }, output: { as: '{ count: 0 }' } } } ] }
  - gate: { call: test.gate, with: {} }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_run_is_loaded_from_its_snapshot_which_is_dropped_when_it_ends() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = builder(dir.path(), &world).open().await.unwrap();
    register(&engine, "long", LOOPS).await;
    let run = engine.start("long").input(json!({ "count": 1_500 })).go().await.unwrap();
    let id = run.id();
    world.until_called("test.gate", 1).await;
    let live = shown(&run.state().await.unwrap());
    engine.stop().await.unwrap();

    let engine = open(dir.path(), &world).await;
    let shared = &engine.inner.shared;
    until(&engine.run(id), |run| run.events > 0).await;
    let row = engine.runs(1).unwrap().remove(0).1;
    let last = Position(row.last);
    let whole = crate::load::whole(shared, id, last).unwrap();
    let loaded = crate::load::run(shared, id, last).unwrap();
    assert!(loaded.snapshot >= snapshot::EVERY && loaded.snapshot < loaded.run.events, "{}", loaded.snapshot);
    assert_eq!(shown(&loaded.run), shown(&whole.run));
    assert_eq!((loaded.chain.next_seq(), loaded.chain.digest()), (whole.chain.next_seq(), whole.chain.digest()));
    assert!(live.len() > 100);

    // One that is right in itself, but of another history, or of a record that there is not.
    let put = |source: Source| {
        let mut batch = cpd_journal::index::Batch::new();
        batch.put(SNAPSHOTS, id.0, snapshot::encode(&source).unwrap());
        shared.index().unwrap().write(batch).unwrap();
    };
    let bytes = shared.index().unwrap().get(SNAPSHOTS, &id.0).unwrap().expect("a snapshot");
    let good = || snapshot::decode(&shared.registry, id, &bytes).expect("it counts");
    let wrong: [&dyn Fn(&mut Source); 4] =
        [&|source| source.digest = Digest([1; 32]), &|source| source.seq -= 1, &|source| source.seq += 1, &|source| {
            source.seq = 1_000_000
        }];
    for (n, wrong) in wrong.into_iter().enumerate() {
        let mut source = good();
        wrong(&mut source);
        put(source);
        let loaded = crate::load::run(shared, id, last).unwrap();
        assert_eq!((loaded.snapshot, shown(&loaded.run)), (0, shown(&whole.run)), "{n}");
    }
    put(good());
    assert!(crate::load::run(shared, id, last).unwrap().snapshot > 0);

    world.gate.open();
    tokio::time::timeout(LONG, output(&engine.run(id))).await.unwrap();
    engine.runs(1).unwrap();
    let left = engine.inner.shared.index().unwrap().get(SNAPSHOTS, &id.0).unwrap();
    assert_eq!(left, None, "a run that has ended needs none");
    engine.stop().await.unwrap();
    let view = crate::view::View::open(dir.path()).unwrap();
    let replayed = crate::replay::replay(&view.history(id).unwrap(), None, |_| {}).unwrap();
    assert!(replayed.divergence.is_none() && replayed.chain.is_ok());
}
