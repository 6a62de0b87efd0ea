//! Events into records.

use std::borrow::Cow;

use cpd_core::Value;
use cpd_core::machine::{ActId, Event, Export, Handling, Piece, Resolution};
use cpd_core::problem::Problem;
use cpd_core::time::Timestamp;
use cpd_journal::codec;
use cpd_journal::payloads::Payloads;
use cpd_journal::record::Kind;
use cpd_journal::record::v1::{self, Json};

use super::{LARGE, REFERENCE, kind_of};

/// Encodes an event; returns its kind and appends the payload to `out`. Documents that are large go to `payloads`, if those
/// can take them.
pub fn encode(event: &Event, out: &mut Vec<u8>, payloads: &Payloads) -> Kind {
    let kind = kind_of(event);
    let w = Writer { payloads };
    match event {
        Event::RunStarted { plan, workflow, version, input, key, actor, behaviour } => put(
            out,
            &v1::RunStarted {
                plan: plan.0,
                workflow: Cow::Borrowed(workflow),
                version: Cow::Borrowed(version),
                input: w.json(input),
                key: key.as_deref().map(Cow::Borrowed),
                actor: Cow::Borrowed(actor),
                behaviour: *behaviour,
            },
        ),
        Event::TaskEntered { act, input, deadline, items } => put(
            out,
            &v1::TaskEntered {
                act: act.0,
                input: w.optional(input),
                deadline: deadline.map(|t| t.0),
                items: items.as_ref().map(|i| w.unless_same(i, input.as_ref())),
            },
        ),
        Event::ListenStarted { act, input, deadline } => {
            let deadline = deadline.map(|t| t.0);
            put(out, &v1::TaskEntered { act: act.0, input: w.optional(input), deadline, items: None });
        }
        Event::ApprovalRequested { act, input, deadline, request } => put(
            out,
            &v1::ApprovalRequested {
                act: act.0,
                input: w.optional(input),
                deadline: deadline.map(|t| t.0),
                request: w.json(request),
            },
        ),
        Event::ApprovalVoted { act, by, on_behalf_of, approves, comment, last } => put(
            out,
            &v1::ApprovalVoted {
                act: act.0,
                by: Cow::Borrowed(by),
                on_behalf_of: on_behalf_of.as_deref().map(Cow::Borrowed),
                approves: *approves,
                comment: Cow::Borrowed(comment),
                last: *last,
            },
        ),
        Event::ApprovalDelegated { act, by, to, reason } => {
            let (by, to, reason) = (Cow::Borrowed(&**by), Cow::Borrowed(&**to), Cow::Borrowed(&**reason));
            put(out, &v1::ApprovalDelegated { act: act.0, by, to, reason });
        }
        Event::EventReceived { event, displaces } => {
            put(out, &v1::EventReceived { event: w.json(event), displaces: *displaces });
        }
        Event::EventTaken { act, number, filter, until, keys, last } => put(
            out,
            &v1::EventTaken {
                act: act.0,
                number: *number,
                filter: *filter,
                until: *until,
                keys: w.optional(keys),
                last: *last,
            },
        ),
        Event::EventsPassed { act, upto } => put(out, &v1::EventsPassed { act: act.0, upto: *upto }),
        Event::TaskSkipped { act }
        | Event::ApprovalEscalated { act }
        | Event::TaskQuestioned { act }
        | Event::TaskParked { act }
        | Event::LoopEnded { act }
        | Event::EventPublished { act }
        | Event::TimerFired { act } => put(out, &v1::ActOnly { act: act.0 }),
        Event::TaskReturned { act, input, output: document } | Event::EventEmitted { act, input, event: document } => {
            put(out, &v1::ActAndDocument { act: act.0, input: w.optional(input), document: w.json(document) });
        }
        Event::CaseTaken { act, input, case } => {
            put(out, &v1::CaseTaken { act: act.0, input: w.optional(input), case: *case });
        }
        Event::PolicyDecided { act, input, decision, micros } => put(
            out,
            &v1::PolicyDecided { act: act.0, input: w.optional(input), decision: w.json(decision), micros: *micros },
        ),
        Event::TaskStarted { act, input, deadline, args, key } => put(
            out,
            &v1::TaskStarted {
                act: act.0,
                input: w.optional(input),
                deadline: deadline.map(|t| t.0),
                args: w.unless_same(args, input.as_ref()),
                key: key.as_deref().map(Cow::Borrowed),
            },
        ),
        Event::WaitStarted { act, input, deadline, until } => put(
            out,
            &v1::WaitStarted { act: act.0, input: w.optional(input), deadline: deadline.map(|t| t.0), until: until.0 },
        ),
        Event::TaskSucceeded { act, attempt, output, evidence } => put(
            out,
            &v1::TaskSucceeded {
                act: act.0,
                attempt: *attempt,
                output: w.json(output),
                evidence: w.optional(evidence),
            },
        ),
        Event::TaskRefused { act, attempt, problem: p } => put(out, &w.unsuccessful(*act, *attempt, p, None, false)),
        Event::TaskFailed { act, attempt, problem: p, not_before } => {
            put(out, &w.unsuccessful(*act, *attempt, p, *not_before, false));
        }
        Event::TaskUnknown { act, attempt, problem: p, interrupted } => {
            put(out, &w.unsuccessful(*act, *attempt, p, None, *interrupted));
        }
        Event::TaskDelayed { act, until } => put(out, &v1::TaskDelayed { act: act.0, until: until.0 }),
        Event::TaskRetried { act, attempt: number }
        | Event::TryRetried { act, attempt: number }
        | Event::IterationStarted { act, index: number } => {
            put(out, &v1::ActAndNumber { act: act.0, number: *number });
        }
        Event::TaskResolved { act, resolution, actor } => {
            let (resolution, document) = match resolution {
                Resolution::Succeeded(output) => (1, w.json(output)),
                Resolution::Retry => (2, w.json(&Value::Null)),
                Resolution::Failed(problem) => (3, w.problem(problem)),
            };
            put(out, &v1::TaskResolved { act: act.0, resolution, document, actor: Cow::Borrowed(actor) });
        }
        Event::LateOutcome { act, attempt, outcome, detail } => put(
            out,
            &v1::LateOutcome { act: act.0, attempt: *attempt, outcome: Cow::Borrowed(outcome), detail: w.json(detail) },
        ),
        Event::TaskCompleted { act, output, export } => {
            put(
                out,
                &v1::TaskCompleted {
                    act: act.0,
                    output: w.optional(output),
                    export: export.as_ref().map(|e| w.export(e)),
                },
            );
        }
        Event::TaskFaulted { act, problem } => {
            put(out, &v1::TaskFaulted { act: act.0, problem: w.problem(problem) });
        }
        Event::ErrorCaught { act, from, handling } => {
            let (handling, attempt, until) = match handling {
                Handling::Retry { attempt, until } => (1, *attempt, until.0),
                Handling::Handle => (2, 0, 0),
                Handling::Swallow => (3, 0, 0),
            };
            put(out, &v1::ErrorCaught { act: act.0, from: from.0, handling, attempt, until });
        }
        Event::DeadlinePassed { act, attempt } => put(out, &v1::DeadlinePassed { act: act.0, attempt: *attempt }),
        Event::RunPaused { actor, reason }
        | Event::RunResumed { actor, reason }
        | Event::RunCancelled { actor, reason } => {
            put(out, &v1::RunOperated { actor: Cow::Borrowed(actor), reason: Cow::Borrowed(reason) });
        }
        Event::RunForked { origin, seq, run, input, actor } => put(
            out,
            &v1::RunForked {
                origin: origin.0,
                seq: *seq,
                run: run.0,
                input: w.optional(input),
                actor: Cow::Borrowed(actor),
            },
        ),
        Event::RunMigrated { plan, version, actor } => {
            put(out, &v1::RunMigrated { plan: plan.0, version: Cow::Borrowed(version), actor: Cow::Borrowed(actor) });
        }
        Event::RunCompleted { output } => put(out, &v1::RunCompleted { output: w.optional(output) }),
        Event::RunFaulted { problem } => put(out, &v1::RunFaulted { problem: w.problem(problem) }),
    }
    kind
}

fn put(out: &mut Vec<u8>, record: &impl serde::Serialize) {
    codec::encode(record, out).expect("a record of ours has a form that the format holds");
}

/// Writes documents, large ones where they are kept once.
struct Writer<'p> {
    payloads: &'p Payloads,
}

impl Writer<'_> {
    fn json(&self, value: &Value) -> Json<'static> {
        let mut text = Vec::with_capacity(64);
        value.write_json(&mut text);
        self.document(text)
    }

    fn document(&self, text: Vec<u8>) -> Json<'static> {
        if text.len() <= LARGE || !self.payloads.can_store() {
            return Json(Cow::Owned(text));
        }
        match self.payloads.put(&text) {
            Ok(digest) => Json(Cow::Owned([&[REFERENCE][..], &digest].concat())),
            Err(error) => {
                // In the record it is as safe, and the journal knows what to do about a disk that has no room.
                tracing::warn!(%error, bytes = text.len(), "a large document could not be stored apart; it stays in its record");
                Json(Cow::Owned(text))
            }
        }
    }

    fn optional(&self, value: &Option<Value>) -> Option<Json<'static>> {
        value.as_ref().map(|v| self.json(v))
    }

    /// Empty if the value is that other one, in memory.
    fn unless_same(&self, value: &Value, other: Option<&Value>) -> Json<'static> {
        if other.is_some_and(|o| o.same(value)) { Json::default() } else { self.json(value) }
    }

    fn problem(&self, problem: &Problem) -> Json<'static> {
        self.document(serde_json::to_vec(problem).expect("a problem is JSON"))
    }

    fn unsuccessful(
        &self,
        act: ActId,
        attempt: u32,
        problem: &Problem,
        not_before: Option<Timestamp>,
        interrupted: bool,
    ) -> v1::TaskUnsuccessful<'static> {
        let not_before = not_before.map(|t| t.0);
        v1::TaskUnsuccessful { act: act.0, attempt, problem: self.problem(problem), not_before, interrupted }
    }

    fn export<'e>(&self, export: &'e Export) -> v1::Export<'e> {
        let piece = |p: &Piece| match p {
            Piece::Output => Json::default(),
            Piece::Value(value) => self.json(value),
        };
        match export {
            Export::Replace(p) => v1::Export { replace: Some(piece(p)), members: Vec::new() },
            Export::Merge(members) => v1::Export {
                replace: None,
                members: members.iter().map(|(k, p)| (Cow::Borrowed(&**k), piece(p))).collect(),
            },
        }
    }
}
