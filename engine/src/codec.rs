//! The border between the machine's events and the journal's records.
//!
//! Encoding writes the frozen structs of `cpd_journal::record`; decoding reads any version that was ever released and
//! upgrades it. Data that stands in the same record already is left out (see the comments of `record::v1`). Decoding
//! trusts nothing: a record that does not make sense is an error with its kind, never a panic.

use std::borrow::Cow;
use std::sync::Arc;

use cpd_core::Value;
use cpd_core::definition::plan::Digest;
use cpd_core::machine::{ActId, Event, Export, Handling, Piece, Resolution, RunId};
use cpd_core::problem::Problem;
use cpd_core::time::Timestamp;
use cpd_journal::codec;
use cpd_journal::record::Kind;
use cpd_journal::record::v1::{self, Json};

/// The longest payload that is decoded: no entry is longer.
pub(crate) const PAYLOAD_MAX: u64 = cpd_journal::BATCH_BYTES_MAX;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The kind's number is not known here.
    #[error("read a record of kind {kind}, version {version}: this cpd knows kinds up to {newest} in version {known}")]
    TooNew {
        /// Its kind.
        kind: u16,
        /// Its version.
        version: u8,
        /// The highest kind known.
        newest: u16,
        /// The version known.
        known: u8,
    },
    /// The payload is not what the kind says.
    #[error("read a {kind} record: {detail}")]
    Malformed {
        /// Name of its kind.
        kind: &'static str,
        /// What is wrong.
        detail: String,
    },
}

/// Encodes an event; returns its kind and appends the payload to `out`.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> Kind {
    let kind = kind_of(event);
    match event {
        Event::RunStarted { plan, workflow, version, input, key, actor, behaviour } => put(
            out,
            &v1::RunStarted {
                plan: plan.0,
                workflow: Cow::Borrowed(workflow),
                version: Cow::Borrowed(version),
                input: json(input),
                key: key.as_deref().map(Cow::Borrowed),
                actor: Cow::Borrowed(actor),
                behaviour: *behaviour,
            },
        ),
        Event::TaskEntered { act, input, deadline, items } => put(
            out,
            &v1::TaskEntered {
                act: act.0,
                input: optional(input),
                deadline: deadline.map(|t| t.0),
                items: items.as_ref().map(|i| unless_same(i, input.as_ref())),
            },
        ),
        Event::ListenStarted { act, input, deadline } => {
            let deadline = deadline.map(|t| t.0);
            put(out, &v1::TaskEntered { act: act.0, input: optional(input), deadline, items: None });
        }
        Event::EventReceived { event, displaces } => {
            put(out, &v1::EventReceived { event: json(event), displaces: *displaces });
        }
        Event::EventTaken { act, number, filter, until, keys, last } => put(
            out,
            &v1::EventTaken {
                act: act.0,
                number: *number,
                filter: *filter,
                until: *until,
                keys: optional(keys),
                last: *last,
            },
        ),
        Event::EventsPassed { act, upto } => put(out, &v1::EventsPassed { act: act.0, upto: *upto }),
        Event::TaskSkipped { act }
        | Event::TaskQuestioned { act }
        | Event::TaskParked { act }
        | Event::LoopEnded { act }
        | Event::EventPublished { act }
        | Event::TimerFired { act } => put(out, &v1::ActOnly { act: act.0 }),
        Event::TaskReturned { act, input, output: document } | Event::EventEmitted { act, input, event: document } => {
            put(out, &v1::ActAndDocument { act: act.0, input: optional(input), document: json(document) });
        }
        Event::CaseTaken { act, input, case } => {
            put(out, &v1::CaseTaken { act: act.0, input: optional(input), case: *case });
        }
        Event::PolicyDecided { act, input, decision, micros } => put(
            out,
            &v1::PolicyDecided { act: act.0, input: optional(input), decision: json(decision), micros: *micros },
        ),
        Event::TaskStarted { act, input, deadline, args, key } => put(
            out,
            &v1::TaskStarted {
                act: act.0,
                input: optional(input),
                deadline: deadline.map(|t| t.0),
                args: unless_same(args, input.as_ref()),
                key: key.as_deref().map(Cow::Borrowed),
            },
        ),
        Event::WaitStarted { act, input, deadline, until } => put(
            out,
            &v1::WaitStarted { act: act.0, input: optional(input), deadline: deadline.map(|t| t.0), until: until.0 },
        ),
        Event::TaskSucceeded { act, attempt, output, evidence } => put(
            out,
            &v1::TaskSucceeded { act: act.0, attempt: *attempt, output: json(output), evidence: optional(evidence) },
        ),
        Event::TaskRefused { act, attempt, problem: p } => put(out, &unsuccessful(*act, *attempt, p, None, false)),
        Event::TaskFailed { act, attempt, problem: p, not_before } => {
            put(out, &unsuccessful(*act, *attempt, p, *not_before, false));
        }
        Event::TaskUnknown { act, attempt, problem: p, interrupted } => {
            put(out, &unsuccessful(*act, *attempt, p, None, *interrupted));
        }
        Event::TaskDelayed { act, until } => put(out, &v1::TaskDelayed { act: act.0, until: until.0 }),
        Event::TaskRetried { act, attempt: number }
        | Event::TryRetried { act, attempt: number }
        | Event::IterationStarted { act, index: number } => {
            put(out, &v1::ActAndNumber { act: act.0, number: *number });
        }
        Event::TaskResolved { act, resolution, actor } => {
            let (resolution, document) = match resolution {
                Resolution::Succeeded(output) => (1, json(output)),
                Resolution::Retry => (2, json(&Value::Null)),
                Resolution::Failed(problem) => (3, problem_json(problem)),
            };
            put(out, &v1::TaskResolved { act: act.0, resolution, document, actor: Cow::Borrowed(actor) });
        }
        Event::LateOutcome { act, attempt, outcome, detail } => put(
            out,
            &v1::LateOutcome { act: act.0, attempt: *attempt, outcome: Cow::Borrowed(outcome), detail: json(detail) },
        ),
        Event::TaskCompleted { act, output, export } => {
            put(
                out,
                &v1::TaskCompleted { act: act.0, output: optional(output), export: export.as_ref().map(export_v1) },
            );
        }
        Event::TaskFaulted { act, problem } => {
            put(out, &v1::TaskFaulted { act: act.0, problem: problem_json(problem) });
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
                input: optional(input),
                actor: Cow::Borrowed(actor),
            },
        ),
        Event::RunMigrated { plan, version, actor } => {
            put(out, &v1::RunMigrated { plan: plan.0, version: Cow::Borrowed(version), actor: Cow::Borrowed(actor) });
        }
        Event::RunCompleted { output } => put(out, &v1::RunCompleted { output: optional(output) }),
        Event::RunFaulted { problem } => put(out, &v1::RunFaulted { problem: problem_json(problem) }),
    }
    kind
}

/// Decodes a record into an event.
///
/// # Errors
/// If the record is of a newer version, is not about a run, or its payload does not make sense.
pub fn decode(kind: Kind, version: u8, payload: &[u8]) -> Result<Event, DecodeError> {
    let too_new = || DecodeError::TooNew {
        kind: kind.0,
        version,
        newest: Kind::ALL.last().map_or(0, |k| k.0),
        known: v1::VERSION,
    };
    let name = kind.name().ok_or_else(too_new)?;
    if version != v1::VERSION {
        return Err(too_new());
    }
    let r = Reader { name, payload };
    Ok(match kind {
        Kind::RUN_STARTED | Kind::RUN_SHARED => {
            let v: v1::RunStarted<'_> = r.get()?;
            Event::RunStarted {
                plan: Digest(v.plan),
                workflow: Arc::from(&*v.workflow),
                version: Arc::from(&*v.version),
                input: r.value(&v.input)?,
                key: v.key.map(Arc::from),
                actor: Arc::from(&*v.actor),
                behaviour: v.behaviour,
            }
        }
        Kind::TASK_ENTERED => {
            let v: v1::TaskEntered<'_> = r.get()?;
            let input = r.optional(v.input.as_ref())?;
            let items = v.items.map(|i| r.or_same(&i, input.as_ref())).transpose()?;
            Event::TaskEntered { act: ActId(v.act), input, deadline: v.deadline.map(Timestamp), items }
        }
        Kind::LISTEN_STARTED => {
            let v: v1::TaskEntered<'_> = r.get()?;
            let (input, deadline) = (r.optional(v.input.as_ref())?, v.deadline.map(Timestamp));
            Event::ListenStarted { act: ActId(v.act), input, deadline }
        }
        Kind::EVENT_RECEIVED => {
            let v: v1::EventReceived<'_> = r.get()?;
            Event::EventReceived { event: r.value(&v.event)?, displaces: v.displaces }
        }
        Kind::EVENT_TAKEN => {
            let v: v1::EventTaken<'_> = r.get()?;
            let keys = r.optional(v.keys.as_ref())?;
            let v1::EventTaken { act, number, filter, until, last, .. } = v;
            Event::EventTaken { act: ActId(act), number, filter, until, keys, last }
        }
        Kind::EVENTS_PASSED => {
            let v: v1::EventsPassed = r.get()?;
            Event::EventsPassed { act: ActId(v.act), upto: v.upto }
        }
        Kind::EVENT_PUBLISHED => Event::EventPublished { act: r.act()? },
        Kind::TASK_SKIPPED => Event::TaskSkipped { act: r.act()? },
        Kind::TASK_QUESTIONED => Event::TaskQuestioned { act: r.act()? },
        Kind::TASK_PARKED => Event::TaskParked { act: r.act()? },
        Kind::LOOP_ENDED => Event::LoopEnded { act: r.act()? },
        Kind::TIMER_FIRED => Event::TimerFired { act: r.act()? },
        Kind::TASK_RETURNED => {
            let v: v1::ActAndDocument<'_> = r.get()?;
            let (input, output) = (r.optional(v.input.as_ref())?, r.value(&v.document)?);
            Event::TaskReturned { act: ActId(v.act), input, output }
        }
        Kind::EVENT_EMITTED => {
            let v: v1::ActAndDocument<'_> = r.get()?;
            let (input, event) = (r.optional(v.input.as_ref())?, r.value(&v.document)?);
            Event::EventEmitted { act: ActId(v.act), input, event }
        }
        Kind::CASE_TAKEN => {
            let v: v1::CaseTaken<'_> = r.get()?;
            Event::CaseTaken { act: ActId(v.act), input: r.optional(v.input.as_ref())?, case: v.case }
        }
        Kind::POLICY_DECIDED => {
            let v: v1::PolicyDecided<'_> = r.get()?;
            let (input, decision) = (r.optional(v.input.as_ref())?, r.value(&v.decision)?);
            Event::PolicyDecided { act: ActId(v.act), input, decision, micros: v.micros }
        }
        Kind::TASK_STARTED => {
            let v: v1::TaskStarted<'_> = r.get()?;
            let input = r.optional(v.input.as_ref())?;
            let args = r.or_same(&v.args, input.as_ref())?;
            let (deadline, key) = (v.deadline.map(Timestamp), v.key.map(Arc::from));
            Event::TaskStarted { act: ActId(v.act), input, deadline, args, key }
        }
        Kind::WAIT_STARTED => {
            let v: v1::WaitStarted<'_> = r.get()?;
            Event::WaitStarted {
                act: ActId(v.act),
                input: r.optional(v.input.as_ref())?,
                deadline: v.deadline.map(Timestamp),
                until: Timestamp(v.until),
            }
        }
        Kind::TASK_SUCCEEDED => {
            let v: v1::TaskSucceeded<'_> = r.get()?;
            let (output, evidence) = (r.value(&v.output)?, r.optional(v.evidence.as_ref())?);
            Event::TaskSucceeded { act: ActId(v.act), attempt: v.attempt, output, evidence }
        }
        Kind::TASK_REFUSED | Kind::TASK_FAILED | Kind::TASK_UNKNOWN => {
            let v: v1::TaskUnsuccessful<'_> = r.get()?;
            let (act, attempt, problem) = (ActId(v.act), v.attempt, r.problem(&v.problem)?);
            match kind {
                Kind::TASK_REFUSED => Event::TaskRefused { act, attempt, problem },
                Kind::TASK_FAILED => {
                    Event::TaskFailed { act, attempt, problem, not_before: v.not_before.map(Timestamp) }
                }
                _ => Event::TaskUnknown { act, attempt, problem, interrupted: v.interrupted },
            }
        }
        Kind::TASK_DELAYED => {
            let v: v1::TaskDelayed = r.get()?;
            Event::TaskDelayed { act: ActId(v.act), until: Timestamp(v.until) }
        }
        Kind::TASK_RETRIED => {
            let v: v1::ActAndNumber = r.get()?;
            Event::TaskRetried { act: ActId(v.act), attempt: v.number }
        }
        Kind::TRY_RETRIED => {
            let v: v1::ActAndNumber = r.get()?;
            Event::TryRetried { act: ActId(v.act), attempt: v.number }
        }
        Kind::ITERATION_STARTED => {
            let v: v1::ActAndNumber = r.get()?;
            Event::IterationStarted { act: ActId(v.act), index: v.number }
        }
        Kind::TASK_RESOLVED => {
            let v: v1::TaskResolved<'_> = r.get()?;
            let resolution = match v.resolution {
                1 => Resolution::Succeeded(r.value(&v.document)?),
                2 => Resolution::Retry,
                3 => Resolution::Failed(r.problem(&v.document)?),
                other => return Err(r.malformed(format!("resolution {other} is not one of 1, 2, 3"))),
            };
            Event::TaskResolved { act: ActId(v.act), resolution, actor: Arc::from(&*v.actor) }
        }
        Kind::LATE_OUTCOME => {
            let v: v1::LateOutcome<'_> = r.get()?;
            let (outcome, detail) = (Arc::from(&*v.outcome), r.value(&v.detail)?);
            Event::LateOutcome { act: ActId(v.act), attempt: v.attempt, outcome, detail }
        }
        Kind::TASK_COMPLETED => {
            let v: v1::TaskCompleted<'_> = r.get()?;
            let export = v.export.as_ref().map(|e| r.export(e)).transpose()?;
            Event::TaskCompleted { act: ActId(v.act), output: r.optional(v.output.as_ref())?, export }
        }
        Kind::TASK_FAULTED => {
            let v: v1::TaskFaulted<'_> = r.get()?;
            Event::TaskFaulted { act: ActId(v.act), problem: r.problem(&v.problem)? }
        }
        Kind::ERROR_CAUGHT => {
            let v: v1::ErrorCaught = r.get()?;
            let handling = match v.handling {
                1 => Handling::Retry { attempt: v.attempt, until: Timestamp(v.until) },
                2 => Handling::Handle,
                3 => Handling::Swallow,
                other => return Err(r.malformed(format!("handling {other} is not one of 1, 2, 3"))),
            };
            Event::ErrorCaught { act: ActId(v.act), from: ActId(v.from), handling }
        }
        Kind::DEADLINE_PASSED => {
            let v: v1::DeadlinePassed = r.get()?;
            Event::DeadlinePassed { act: ActId(v.act), attempt: v.attempt }
        }
        Kind::RUN_PAUSED | Kind::RUN_RESUMED | Kind::RUN_CANCELLED => {
            let v: v1::RunOperated<'_> = r.get()?;
            let (actor, reason) = (Arc::from(&*v.actor), Arc::from(&*v.reason));
            match kind {
                Kind::RUN_PAUSED => Event::RunPaused { actor, reason },
                Kind::RUN_RESUMED => Event::RunResumed { actor, reason },
                _ => Event::RunCancelled { actor, reason },
            }
        }
        Kind::RUN_FORKED => {
            let v: v1::RunForked<'_> = r.get()?;
            let input = r.optional(v.input.as_ref())?;
            let (origin, run) = (RunId(v.origin), RunId(v.run));
            Event::RunForked { origin, seq: v.seq, run, input, actor: Arc::from(&*v.actor) }
        }
        Kind::RUN_MIGRATED => {
            let v: v1::RunMigrated<'_> = r.get()?;
            let (version, actor) = (Arc::from(&*v.version), Arc::from(&*v.actor));
            Event::RunMigrated { plan: Digest(v.plan), version, actor }
        }
        Kind::RUN_COMPLETED => {
            let v: v1::RunCompleted<'_> = r.get()?;
            Event::RunCompleted { output: r.optional(v.output.as_ref())? }
        }
        Kind::RUN_FAULTED => {
            let v: v1::RunFaulted<'_> = r.get()?;
            Event::RunFaulted { problem: r.problem(&v.problem)? }
        }
        _ => return Err(r.malformed("it is not about a run".to_owned())),
    })
}

/// The kind of record that an event becomes.
pub fn kind_of(event: &Event) -> Kind {
    match event {
        Event::RunStarted { .. } => Kind::RUN_STARTED,
        Event::TaskEntered { .. } => Kind::TASK_ENTERED,
        Event::TaskSkipped { .. } => Kind::TASK_SKIPPED,
        Event::TaskReturned { .. } => Kind::TASK_RETURNED,
        Event::EventEmitted { .. } => Kind::EVENT_EMITTED,
        Event::CaseTaken { .. } => Kind::CASE_TAKEN,
        Event::PolicyDecided { .. } => Kind::POLICY_DECIDED,
        Event::TaskStarted { .. } => Kind::TASK_STARTED,
        Event::WaitStarted { .. } => Kind::WAIT_STARTED,
        Event::ListenStarted { .. } => Kind::LISTEN_STARTED,
        Event::EventReceived { .. } => Kind::EVENT_RECEIVED,
        Event::EventTaken { .. } => Kind::EVENT_TAKEN,
        Event::EventsPassed { .. } => Kind::EVENTS_PASSED,
        Event::EventPublished { .. } => Kind::EVENT_PUBLISHED,
        Event::TaskSucceeded { .. } => Kind::TASK_SUCCEEDED,
        Event::TaskRefused { .. } => Kind::TASK_REFUSED,
        Event::TaskFailed { .. } => Kind::TASK_FAILED,
        Event::TaskUnknown { .. } => Kind::TASK_UNKNOWN,
        Event::TaskDelayed { .. } => Kind::TASK_DELAYED,
        Event::TaskRetried { .. } => Kind::TASK_RETRIED,
        Event::TaskQuestioned { .. } => Kind::TASK_QUESTIONED,
        Event::TaskParked { .. } => Kind::TASK_PARKED,
        Event::TaskResolved { .. } => Kind::TASK_RESOLVED,
        Event::LateOutcome { .. } => Kind::LATE_OUTCOME,
        Event::TaskCompleted { .. } => Kind::TASK_COMPLETED,
        Event::TaskFaulted { .. } => Kind::TASK_FAULTED,
        Event::ErrorCaught { .. } => Kind::ERROR_CAUGHT,
        Event::TryRetried { .. } => Kind::TRY_RETRIED,
        Event::IterationStarted { .. } => Kind::ITERATION_STARTED,
        Event::LoopEnded { .. } => Kind::LOOP_ENDED,
        Event::TimerFired { .. } => Kind::TIMER_FIRED,
        Event::DeadlinePassed { .. } => Kind::DEADLINE_PASSED,
        Event::RunPaused { .. } => Kind::RUN_PAUSED,
        Event::RunResumed { .. } => Kind::RUN_RESUMED,
        Event::RunCancelled { .. } => Kind::RUN_CANCELLED,
        Event::RunForked { .. } => Kind::RUN_FORKED,
        Event::RunMigrated { .. } => Kind::RUN_MIGRATED,
        Event::RunCompleted { .. } => Kind::RUN_COMPLETED,
        Event::RunFaulted { .. } => Kind::RUN_FAULTED,
    }
}

// ---- writing --------------------------------------------------------------------------------------------------------

fn put(out: &mut Vec<u8>, record: &impl serde::Serialize) {
    codec::encode(record, out).expect("a record of ours has a form that the format holds");
}

fn json(value: &Value) -> Json<'static> {
    let mut text = Vec::with_capacity(64);
    value.write_json(&mut text);
    Json(Cow::Owned(text))
}

fn optional(value: &Option<Value>) -> Option<Json<'static>> {
    value.as_ref().map(json)
}

/// Empty if the value is that other one, in memory.
fn unless_same(value: &Value, other: Option<&Value>) -> Json<'static> {
    if other.is_some_and(|o| o.same(value)) { Json::default() } else { json(value) }
}

fn problem_json(problem: &Problem) -> Json<'static> {
    Json(Cow::Owned(serde_json::to_vec(problem).expect("a problem is JSON")))
}

fn unsuccessful(
    act: ActId,
    attempt: u32,
    problem: &Problem,
    not_before: Option<Timestamp>,
    interrupted: bool,
) -> v1::TaskUnsuccessful<'static> {
    let not_before = not_before.map(|t| t.0);
    v1::TaskUnsuccessful { act: act.0, attempt, problem: problem_json(problem), not_before, interrupted }
}

fn export_v1(export: &Export) -> v1::Export<'_> {
    let piece = |p: &Piece| match p {
        Piece::Output => Json::default(),
        Piece::Value(value) => json(value),
    };
    match export {
        Export::Replace(p) => v1::Export { replace: Some(piece(p)), members: Vec::new() },
        Export::Merge(members) => v1::Export {
            replace: None,
            members: members.iter().map(|(k, p)| (Cow::Borrowed(&**k), piece(p))).collect(),
        },
    }
}

// ---- reading --------------------------------------------------------------------------------------------------------

struct Reader<'a> {
    name: &'static str,
    payload: &'a [u8],
}

impl<'a> Reader<'a> {
    fn get<T: serde::Deserialize<'a>>(&self) -> Result<T, DecodeError> {
        codec::decode(self.payload, PAYLOAD_MAX).map_err(|e| self.malformed(e.to_string()))
    }

    fn act(&self) -> Result<ActId, DecodeError> {
        self.get::<v1::ActOnly>().map(|v| ActId(v.act))
    }

    fn value(&self, json: &Json<'_>) -> Result<Value, DecodeError> {
        Value::from_written_json(&json.0).map_err(|e| self.malformed(e.to_string()))
    }

    fn optional(&self, json: Option<&Json<'_>>) -> Result<Option<Value>, DecodeError> {
        json.map(|j| self.value(j)).transpose()
    }

    fn or_same(&self, json: &Json<'_>, other: Option<&Value>) -> Result<Value, DecodeError> {
        match (json.0.is_empty(), other) {
            (false, _) => self.value(json),
            (true, Some(other)) => Ok(other.clone()),
            (true, None) => Err(self.malformed("it refers to an input that it does not have".to_owned())),
        }
    }

    fn problem(&self, json: &Json<'_>) -> Result<Problem, DecodeError> {
        cpd_core::value::read_written(&json.0).map_err(|e| self.malformed(e.to_string()))
    }

    fn export(&self, export: &v1::Export<'_>) -> Result<Export, DecodeError> {
        let piece = |j: &Json<'_>| if j.0.is_empty() { Ok(Piece::Output) } else { self.value(j).map(Piece::Value) };
        Ok(match &export.replace {
            Some(whole) => Export::Replace(piece(whole)?),
            None => {
                let members = export.members.iter().map(|(k, j)| Ok((Arc::from(&**k), piece(j)?)));
                Export::Merge(members.collect::<Result<_, DecodeError>>()?)
            }
        })
    }

    fn malformed(&self, detail: String) -> DecodeError {
        DecodeError::Malformed { kind: self.name, detail }
    }
}

#[cfg(test)]
mod tests {
    use cpd_core::json;
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
            (act(), input(), deadline()).prop_map(|(act, input, deadline)| Event::ListenStarted {
                act,
                input,
                deadline
            }),
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
            (act(), any::<u32>(), value(), input()).prop_map(|(act, attempt, output, evidence)| {
                Event::TaskSucceeded { act, attempt, output, evidence }
            }),
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
            (act(), resolution, text()).prop_map(|(act, resolution, actor)| Event::TaskResolved {
                act,
                resolution,
                actor
            }),
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
            let kind = encode(&event, &mut bytes);
            prop_assert_eq!(kind, kind_of(&event));
            let back = decode(kind, v1::VERSION, &bytes);
            prop_assert!(back.is_ok(), "{:?}", back);
            let back = back.expect("checked");
            prop_assert_eq!(&back, &event);
            // And to the same bytes again: what equality does not tell apart, the journal does not either.
            let mut again = Vec::new();
            encode(&back, &mut again);
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn no_bytes_make_decoding_panic(kind in 0u16..80, version in 0u8..4, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            drop(decode(Kind(kind), version, &bytes));
        }

        #[test]
        fn a_damaged_record_is_refused_or_reads_as_another(event in event(), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = Vec::new();
            let kind = encode(&event, &mut bytes);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
                if cut {
                    bytes.truncate(at);
                }
            }
            drop(decode(kind, v1::VERSION, &bytes));
        }
    }

    #[test]
    fn a_record_of_a_later_cpd_is_too_new() {
        assert!(matches!(decode(Kind(9_999), v1::VERSION, &[]), Err(DecodeError::TooNew { .. })));
        let mut bytes = Vec::new();
        let kind = encode(&Event::TaskReturned { act: ActId(1), input: None, output: json!(1) }, &mut bytes);
        assert!(decode(kind, v1::VERSION + 1, &bytes).is_err());
    }
}
