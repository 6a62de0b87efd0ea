//! From the form to the state. Nothing is believed that refers to what is not there.

use std::collections::VecDeque;
use std::sync::Arc;

use cpd_core::Value;
use cpd_core::definition::plan::{NodeId, Plan, Then};
use cpd_core::machine::extend::Stage;
use cpd_core::machine::listen::{Inbox, Listening, Received};
use cpd_core::machine::state::{Abandoned, Binding, Calling};
use cpd_core::machine::{Act, ActId, Approving, CallPhase, Phase, Run, RunId, Status, Terms, Vote};
use cpd_core::problem::Problem;
use cpd_core::time::Timestamp;
use cpd_core::value::{Map, read_written};
use cpd_journal::Digest;
use cpd_journal::record::v1::Json;

use super::Source;
use super::form::{
    AbandonedForm, ActForm, BindingForm, CallForm, Doc, Form, InboxForm, PhaseForm, ReceivedForm, StageForm,
    StatusForm, ThenForm, VoteForm,
};
use crate::codec::PAYLOAD_MAX;
use crate::registry::Registry;

/// Reads a form. `None` if it is none of this program, or names what is not there.
pub(super) fn read(registry: &Registry, id: RunId, body: &[u8]) -> Option<Source> {
    let form: Form<'_> = cpd_journal::codec::decode(body, PAYLOAD_MAX).ok()?;
    if form.cpd != env!("CARGO_PKG_VERSION") {
        return None;
    }
    // A plan that is not there is told by the one who folds.
    let plan = registry.plan(&cpd_core::definition::plan::Digest(form.plan)).ok()??;
    let parts = Parts::read(&plan, &form.documents, &form.bindings)?;
    let run = Run {
        id,
        phase: parts.phase(form.phase)?,
        behaviour: form.behaviour,
        started_at: Timestamp(form.started_at),
        actor: Arc::from(form.actor),
        input: parts.value(form.input)?,
        context: parts.value(form.context)?,
        acts: form.acts.into_iter().map(|act| parts.act(act)).collect::<Option<_>>()?,
        next_act: form.next_act,
        agenda: form.agenda.into_iter().map(ActId).collect::<VecDeque<_>>(),
        abandoned: form.abandoned.into_iter().map(|a| parts.abandoned(a)).collect::<Option<_>>()?,
        inbox: parts.inbox(form.inbox)?,
        events: form.events,
        departed: Vec::new(),
        plan: plan.clone(),
    };
    Some(Source { run, seq: form.seq, digest: Digest(form.digest) })
}

/// What the form refers to.
struct Parts<'a> {
    plan: &'a Plan,
    texts: &'a [Json<'a>],
    /// Those that were values; a problem is only read as one.
    values: Vec<Value>,
    bindings: Vec<Arc<Binding>>,
}

impl<'a> Parts<'a> {
    fn read(plan: &'a Plan, texts: &'a [Json<'a>], forms: &[BindingForm]) -> Option<Self> {
        let values = texts.iter().map(|text| Value::from_written_json(&text.0).ok()).collect::<Option<_>>()?;
        let mut parts = Self { plan, texts, values, bindings: Vec::with_capacity(forms.len()) };
        for BindingForm { values, outer } in forms {
            let values = values.iter().map(|doc| parts.value(*doc)).collect::<Option<_>>()?;
            let outer = parts.binding(*outer)?;
            parts.bindings.push(Arc::new(Binding { values, outer }));
        }
        Some(parts)
    }

    fn value(&self, doc: Doc) -> Option<Value> {
        self.values.get(doc as usize).cloned()
    }

    fn problem(&self, doc: Doc) -> Option<Problem> {
        read_written(&self.texts.get(doc as usize)?.0).ok()
    }

    /// `Some(None)` if none was named.
    fn binding(&self, number: Option<u32>) -> Option<Option<Arc<Binding>>> {
        number.map(|number| self.bindings.get(number as usize).cloned()).map_or(Some(None), |found| found.map(Some))
    }

    fn node(&self, number: u32) -> Option<NodeId> {
        self.plan.nodes.get(number as usize).map(|_| NodeId(number))
    }

    fn inbox(&self, form: InboxForm) -> Option<Inbox> {
        let InboxForm { events, next, remembered } = form;
        let received =
            |ReceivedForm { number, event, taken }| self.value(event).map(|event| Received { number, event, taken });
        let events = events.into_iter().map(received).collect::<Option<_>>()?;
        Some(Inbox::from_parts(events, next, remembered.into_iter().map(Arc::from).collect()))
    }

    fn abandoned(&self, form: AbandonedForm) -> Option<Abandoned> {
        let AbandonedForm { act, node, attempt } = form;
        Some(Abandoned { act: ActId(act), node: self.node(node)?, attempt })
    }

    fn phase(&self, form: PhaseForm) -> Option<Phase> {
        Some(match form {
            PhaseForm::Running => Phase::Running,
            PhaseForm::Paused => Phase::Paused,
            PhaseForm::Completed { output } => Phase::Completed { output: self.value(output)? },
            PhaseForm::Faulted { problem } => Phase::Faulted { problem: self.problem(problem)? },
            PhaseForm::Cancelled { reason } => Phase::Cancelled { reason: reason.into() },
        })
    }

    fn act(&self, form: ActForm) -> Option<Act> {
        let ActForm {
            id,
            node,
            pointer,
            parent,
            branch,
            input,
            bindings,
            caught,
            iteration,
            started_at,
            deadline,
            status,
        } = form;
        let node = self.node(node).filter(|node| *self.plan.node(*node).pointer == *pointer)?;
        Some(Act {
            id: ActId(id),
            node,
            parent: parent.map(ActId),
            branch,
            input: self.value(input)?,
            bindings: self.binding(bindings)?,
            caught: self.binding(caught)?,
            iteration: iteration.into(),
            started_at: Timestamp(started_at),
            deadline: deadline.map(Timestamp),
            status: self.status(status)?,
        })
    }

    fn status(&self, form: StatusForm) -> Option<Status> {
        Some(match form {
            StatusForm::Ready => Status::Ready,
            StatusForm::List { jumps } => Status::List { jumps },
            StatusForm::Loop { items, index, between, carry, jumps } => {
                Status::Loop { items: self.value(items)?, index, between, carry: self.value(carry)?, jumps }
            }
            StatusForm::Branches { outputs } => {
                let output = |output: Option<Doc>| output.map_or(Some(None), |doc| self.value(doc).map(Some));
                Status::Branches { outputs: outputs.into_iter().map(output).collect::<Option<_>>()? }
            }
            StatusForm::Extended { stage, jumps } => {
                let stage = match stage {
                    StageForm::Before => Stage::Before,
                    StageForm::Inner { applies } => Stage::Inner { applies },
                    StageForm::After { output, then } => {
                        Stage::After { output: self.value(output)?, then: self.then(then)? }
                    }
                };
                Status::Extended { stage, jumps }
            }
            StatusForm::Trying { attempt, attempt_deadline, jumps } => {
                Status::Trying { attempt, attempt_deadline: attempt_deadline.map(Timestamp), jumps }
            }
            StatusForm::Delayed { attempt, until, problem } => {
                Status::Delayed { attempt, until: Timestamp(until), problem: self.problem(problem)? }
            }
            StatusForm::Catching { jumps } => Status::Catching { jumps },
            StatusForm::Calling { attempt, unknowns, args, key, phase } => Status::Calling(Calling {
                attempt,
                unknowns,
                args: self.value(args)?,
                key: key.map(Arc::from),
                phase: self.call(phase)?,
            }),
            StatusForm::Listening { next, gathered, met, until_met, keys, item, index, busy, closing } => {
                let Value::Obj(keys) = self.value(keys)? else { return None };
                Status::Listening(Box::new(Listening {
                    next,
                    gathered: gathered.into_iter().map(|event| self.value(event)).collect::<Option<_>>()?,
                    met,
                    until_met,
                    keys: Map::clone(&keys),
                    item: self.value(item)?,
                    index,
                    busy,
                    closing,
                }))
            }
            StatusForm::Publishing { event } => Status::Publishing { event: self.value(event)? },
            StatusForm::Approving { request, since, escalated, votes, delegations } => {
                let request = self.value(request)?;
                let vote = |VoteForm { by, on_behalf_of, approves, comment, at }| Vote {
                    by: Arc::from(by),
                    on_behalf_of: on_behalf_of.map(Arc::from),
                    approves,
                    comment: Arc::from(comment),
                    at: Timestamp(at),
                };
                Status::Approving(Box::new(Approving {
                    terms: Terms::read(&request).ok()?,
                    request,
                    since: Timestamp(since),
                    escalated,
                    votes: votes.into_iter().map(vote).collect(),
                    delegations: delegations.into_iter().map(|(a, b)| (Arc::from(a), Arc::from(b))).collect(),
                }))
            }
            StatusForm::Waiting { until } => Status::Waiting { until: Timestamp(until) },
            StatusForm::Returned { output, then } => {
                Status::Returned { output: self.value(output)?, then: self.then(then)? }
            }
            StatusForm::Failing { problem, not_before, inside } => {
                Status::Failing { problem: self.problem(problem)?, not_before: not_before.map(Timestamp), inside }
            }
        })
    }

    fn call(&self, form: CallForm) -> Option<CallPhase> {
        Some(match form {
            CallForm::InFlight => CallPhase::InFlight,
            CallForm::Undetermined { problem, interrupted } => {
                CallPhase::Undetermined { problem: self.problem(problem)?, interrupted }
            }
            CallForm::BackingOff { until } => CallPhase::BackingOff { until: Timestamp(until) },
            CallForm::Reconciling { problem } => CallPhase::Reconciling(self.problem(problem)?),
            CallForm::Unreconciled { problem } => CallPhase::Unreconciled(self.problem(problem)?),
            CallForm::Parked { problem } => CallPhase::Parked(self.problem(problem)?),
        })
    }

    fn then(&self, form: ThenForm) -> Option<Then> {
        Some(match form {
            ThenForm::Continue => Then::Continue,
            ThenForm::Exit => Then::Exit,
            ThenForm::End => Then::End,
            ThenForm::To { node } => Then::To(self.node(node)?),
        })
    }
}
