//! Every event comes back as it went.

use std::sync::Arc;

use cpd_core::Value;
use cpd_core::definition::plan::Digest;
use cpd_core::json;
use cpd_core::machine::{ActId, Event, Export, Handling, Piece, Resolution, RunId};
use cpd_core::problem::Problem;
use cpd_core::time::Timestamp;
use cpd_journal::payloads::Payloads;
use cpd_journal::record::Kind;
use cpd_journal::record::v1;
use proptest::prelude::*;

use super::*;

fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no others", |n| n.is_finite())
            .prop_map(|n| { Value::from_serialize(&n).expect("a number is JSON") }),
        ".{0,12}".prop_map(|s| Value::str(&s)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..4).prop_map(|members| Value::from(
                members.into_iter().map(|(k, v)| (Arc::from(k), v)).collect::<cpd_core::value::Map>()
            )),
        ]
    })
    .boxed()
}

fn text() -> BoxedStrategy<Arc<str>> {
    ".{0,20}".prop_map(Arc::from).boxed()
}

fn problem() -> BoxedStrategy<Problem> {
    (text(), any::<u16>(), text(), prop::option::of(text()), prop::option::of(text()), prop::option::of(value()))
        .prop_map(|(kind, status, title, detail, instance, data)| Problem {
            kind,
            status,
            title,
            detail,
            instance,
            data,
        })
        .boxed()
}

fn piece() -> BoxedStrategy<Piece> {
    prop_oneof![Just(Piece::Output), value().prop_map(Piece::Value)].boxed()
}

/// Every kind of event, with anything in it.
fn event() -> BoxedStrategy<Event> {
    let act = || any::<u32>().prop_map(ActId);
    let at = || any::<i64>().prop_map(Timestamp);
    let input = || prop::option::of(value());
    let deadline = || prop::option::of(any::<i64>().prop_map(Timestamp));
    let export = prop_oneof![
        piece().prop_map(Export::Replace),
        prop::collection::vec((text(), piece()), 0..3).prop_map(Export::Merge),
    ];
    let handling = prop_oneof![
        (any::<u32>(), at()).prop_map(|(attempt, until)| Handling::Retry { attempt, until }),
        Just(Handling::Handle),
        Just(Handling::Swallow),
    ];
    let resolution = prop_oneof![
        value().prop_map(Resolution::Succeeded),
        Just(Resolution::Retry),
        problem().prop_map(Resolution::Failed),
    ];
    let outcome = prop::sample::select(vec!["succeeded", "refused", "failed", "unknown"]);
    let started = (any::<[u8; 32]>(), text(), text(), value(), prop::option::of(text()), text(), any::<u16>());
    let run = prop_oneof![
        started.prop_map(|(plan, workflow, version, input, key, actor, behaviour)| Event::RunStarted {
            plan: Digest(plan),
            workflow,
            version,
            input,
            key,
            actor,
            behaviour,
        }),
        (text(), text()).prop_map(|(actor, reason)| Event::RunPaused { actor, reason }),
        (text(), text()).prop_map(|(actor, reason)| Event::RunResumed { actor, reason }),
        (text(), text()).prop_map(|(actor, reason)| Event::RunCancelled { actor, reason }),
        (any::<[u8; 16]>(), any::<u64>(), any::<[u8; 16]>(), input(), text()).prop_map(
            |(origin, seq, run, input, actor)| Event::RunForked {
                origin: RunId(origin),
                seq,
                run: RunId(run),
                input,
                actor,
            }
        ),
        (any::<[u8; 32]>(), text(), text()).prop_map(|(plan, version, actor)| Event::RunMigrated {
            plan: Digest(plan),
            version,
            actor
        }),
        input().prop_map(|output| Event::RunCompleted { output }),
        problem().prop_map(|problem| Event::RunFaulted { problem }),
    ];
    let items = prop::option::of(prop::collection::vec(value(), 0..3).prop_map(Value::from));
    let entry = prop_oneof![
        (act(), input(), deadline(), items).prop_map(|(act, input, deadline, items)| Event::TaskEntered {
            act,
            input,
            deadline,
            items
        }),
        act().prop_map(|act| Event::TaskSkipped { act }),
        (act(), input(), value()).prop_map(|(act, input, output)| Event::TaskReturned { act, input, output }),
        (act(), input(), value()).prop_map(|(act, input, event)| Event::EventEmitted { act, input, event }),
        (act(), input(), deadline()).prop_map(|(act, input, deadline)| Event::ListenStarted { act, input, deadline }),
        (act(), input(), deadline(), value()).prop_map(|(act, input, deadline, request)| Event::ApprovalRequested {
            act,
            input,
            deadline,
            request
        }),
        (act(), ".{0,8}", proptest::option::of(".{0,8}"), any::<bool>(), ".{0,8}", any::<bool>()).prop_map(
            |(act, by, other, approves, comment, last)| Event::ApprovalVoted {
                act,
                by: by.into(),
                on_behalf_of: other.map(Into::into),
                approves,
                comment: comment.into(),
                last
            }
        ),
        (act(), ".{0,8}", ".{0,8}", ".{0,8}").prop_map(|(act, by, to, reason)| Event::ApprovalDelegated {
            act,
            by: by.into(),
            to: to.into(),
            reason: reason.into()
        }),
        act().prop_map(|act| Event::ApprovalEscalated { act }),
        (value(), any::<bool>()).prop_map(|(event, displaces)| Event::EventReceived { event, displaces }),
        (act(), any::<u64>(), any::<Option<u32>>(), any::<bool>(), input(), any::<bool>()).prop_map(
            |(act, number, filter, until, keys, last)| Event::EventTaken { act, number, filter, until, keys, last }
        ),
        (act(), any::<u64>()).prop_map(|(act, upto)| Event::EventsPassed { act, upto }),
        act().prop_map(|act| Event::EventPublished { act }),
        (act(), input(), prop::option::of(any::<u32>())).prop_map(|(act, input, case)| Event::CaseTaken {
            act,
            input,
            case
        }),
        (act(), input(), value(), any::<u32>()).prop_map(|(act, input, decision, micros)| Event::PolicyDecided {
            act,
            input,
            decision,
            micros
        }),
        (act(), input(), deadline(), value(), prop::option::of(text()))
            .prop_map(|(act, input, deadline, args, key)| Event::TaskStarted { act, input, deadline, args, key }),
        (act(), input(), deadline(), at()).prop_map(|(act, input, deadline, until)| Event::WaitStarted {
            act,
            input,
            deadline,
            until
        }),
    ];
    let call = prop_oneof![
        (act(), any::<u32>(), value(), input())
            .prop_map(|(act, attempt, output, evidence)| { Event::TaskSucceeded { act, attempt, output, evidence } }),
        (act(), any::<u32>(), problem()).prop_map(|(act, attempt, problem)| Event::TaskRefused {
            act,
            attempt,
            problem
        }),
        (act(), any::<u32>(), problem(), deadline()).prop_map(|(act, attempt, problem, not_before)| {
            Event::TaskFailed { act, attempt, problem, not_before }
        }),
        (act(), any::<u32>(), problem(), any::<bool>()).prop_map(|(act, attempt, problem, interrupted)| {
            Event::TaskUnknown { act, attempt, problem, interrupted }
        }),
        (act(), at()).prop_map(|(act, until)| Event::TaskDelayed { act, until }),
        (act(), any::<u32>()).prop_map(|(act, attempt)| Event::TaskRetried { act, attempt }),
        act().prop_map(|act| Event::TaskQuestioned { act }),
        act().prop_map(|act| Event::TaskParked { act }),
        (act(), resolution, text()).prop_map(|(act, resolution, actor)| Event::TaskResolved { act, resolution, actor }),
        (act(), any::<u32>(), outcome, value()).prop_map(|(act, attempt, outcome, detail)| {
            Event::LateOutcome { act, attempt, outcome: outcome.into(), detail }
        }),
    ];
    let flow = prop_oneof![
        (act(), input(), prop::option::of(export)).prop_map(|(act, output, export)| Event::TaskCompleted {
            act,
            output,
            export
        }),
        (act(), problem()).prop_map(|(act, problem)| Event::TaskFaulted { act, problem }),
        (act(), act(), handling).prop_map(|(act, from, handling)| Event::ErrorCaught { act, from, handling }),
        (act(), any::<u32>()).prop_map(|(act, attempt)| Event::TryRetried { act, attempt }),
        (act(), any::<u32>()).prop_map(|(act, index)| Event::IterationStarted { act, index }),
        act().prop_map(|act| Event::LoopEnded { act }),
        act().prop_map(|act| Event::TimerFired { act }),
        (act(), any::<bool>()).prop_map(|(act, attempt)| Event::DeadlinePassed { act, attempt }),
    ];
    prop_oneof![run, entry, call, flow].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_the_same(event in event()) {
        let mut bytes = Vec::new();
        let kind = encode(&event, &mut bytes, &Payloads::default());
        prop_assert_eq!(kind, kind_of(&event));
        let back = decode(kind, v1::VERSION, &bytes, &Payloads::default());
        prop_assert!(back.is_ok(), "{:?}", back);
        let back = back.expect("checked");
        prop_assert_eq!(&back, &event);
        // And to the same bytes again: what equality does not tell apart, the journal does not either.
        let mut again = Vec::new();
        encode(&back, &mut again, &Payloads::default());
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn no_bytes_make_decoding_panic(kind in 0u16..80, version in 0u8..4, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        drop(decode(Kind(kind), version, &bytes, &Payloads::default()));
    }

    #[test]
    fn a_damaged_record_is_refused_or_reads_as_another(event in event(), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = Vec::new();
        let kind = encode(&event, &mut bytes, &Payloads::default());
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            if cut {
                bytes.truncate(at);
            }
        }
        drop(decode(kind, v1::VERSION, &bytes, &Payloads::default()));
    }
}

#[test]
fn a_record_of_a_later_cpd_is_too_new() {
    assert!(matches!(decode(Kind(9_999), v1::VERSION, &[], &Payloads::default()), Err(DecodeError::TooNew { .. })));
    let mut bytes = Vec::new();
    let kind =
        encode(&Event::TaskReturned { act: ActId(1), input: None, output: json!(1) }, &mut bytes, &Payloads::default());
    assert!(decode(kind, v1::VERSION + 1, &bytes, &Payloads::default()).is_err());
}

#[test]
fn a_large_document_is_stored_once_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let payloads = Payloads::of(dir.path());
    let large = Value::from("x".repeat(LARGE));
    let event =
        |act| Event::TaskReturned { act: ActId(act), input: Some(json!({ "small": 1 })), output: large.clone() };
    for act in 0..3 {
        let mut bytes = Vec::new();
        let kind = encode(&event(act), &mut bytes, &payloads);
        assert!(bytes.len() < 100, "{} bytes", bytes.len());
        assert_eq!(decode(kind, v1::VERSION, &bytes, &payloads).unwrap(), event(act));
        let lost = decode(kind, v1::VERSION, &bytes, &Payloads::default()).unwrap_err();
        assert!(lost.to_string().contains("find the payload"), "{lost}");
    }
    assert_eq!(payloads.all().unwrap().len(), 1);
    // Where nothing can be stored, it stays in its record.
    let mut bytes = Vec::new();
    let kind = encode(&event(0), &mut bytes, &Payloads::default());
    assert_eq!(decode(kind, v1::VERSION, &bytes, &Payloads::default()).unwrap(), event(0));
}
