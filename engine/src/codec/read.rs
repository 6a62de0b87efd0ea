//! Records into events.

use std::borrow::Cow;
use std::sync::Arc;

use cpd_core::Value;
use cpd_core::definition::plan::Digest;
use cpd_core::machine::{ActId, Event, Export, Handling, Piece, Resolution, RunId};
use cpd_core::problem::Problem;
use cpd_core::time::Timestamp;
use cpd_journal::codec;
use cpd_journal::payloads::Payloads;
use cpd_journal::record::Kind;
use cpd_journal::record::v1::{self, Json};

use super::{DecodeError, PAYLOAD_MAX, REFERENCE};

/// Decodes a record into an event.
///
/// # Errors
/// If the record is of a newer version, is not about a run, or its payload does not make sense.
pub fn decode(kind: Kind, version: u8, payload: &[u8], payloads: &Payloads) -> Result<Event, DecodeError> {
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
    let r = Reader { name, payload, payloads };
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
        Kind::APPROVAL_REQUESTED => {
            let v: v1::ApprovalRequested<'_> = r.get()?;
            let (input, request) = (r.optional(v.input.as_ref())?, r.value(&v.request)?);
            Event::ApprovalRequested { act: ActId(v.act), input, deadline: v.deadline.map(Timestamp), request }
        }
        Kind::APPROVAL_VOTED => {
            let v: v1::ApprovalVoted<'_> = r.get()?;
            Event::ApprovalVoted {
                act: ActId(v.act),
                by: Arc::from(v.by),
                on_behalf_of: v.on_behalf_of.map(Arc::from),
                approves: v.approves,
                comment: Arc::from(v.comment),
                last: v.last,
            }
        }
        Kind::APPROVAL_DELEGATED => {
            let v: v1::ApprovalDelegated<'_> = r.get()?;
            let (by, to, reason) = (Arc::from(v.by), Arc::from(v.to), Arc::from(v.reason));
            Event::ApprovalDelegated { act: ActId(v.act), by, to, reason }
        }
        Kind::APPROVAL_ESCALATED => Event::ApprovalEscalated { act: r.act()? },
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

struct Reader<'a> {
    name: &'static str,
    payload: &'a [u8],
    payloads: &'a Payloads,
}

impl<'a> Reader<'a> {
    fn get<T: serde::Deserialize<'a>>(&self) -> Result<T, DecodeError> {
        codec::decode(self.payload, PAYLOAD_MAX).map_err(|e| self.malformed(e.to_string()))
    }

    fn act(&self) -> Result<ActId, DecodeError> {
        self.get::<v1::ActOnly>().map(|v| ActId(v.act))
    }

    fn value(&self, json: &Json<'_>) -> Result<Value, DecodeError> {
        let document = self.document(json)?;
        Value::from_written_json(&document).map_err(|e| self.malformed(e.to_string()))
    }

    /// The text of a document, wherever it is kept.
    fn document<'j>(&self, json: &'j Json<'_>) -> Result<Cow<'j, [u8]>, DecodeError> {
        let Some((&REFERENCE, digest)) = json.0.split_first() else { return Ok(Cow::Borrowed(&json.0)) };
        let digest = digest.try_into().map_err(|_| self.malformed("it refers to a payload by no digest".to_owned()))?;
        self.payloads.get(&digest).map(Cow::Owned).map_err(|e| self.malformed(e.to_string()))
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
        let document = self.document(json)?;
        cpd_core::value::read_written(&document).map_err(|e| self.malformed(e.to_string()))
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
