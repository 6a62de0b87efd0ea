//! From the state to its form.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use cpd_core::Value;
use cpd_core::definition::plan::{Plan, Then};
use cpd_core::machine::extend::Stage;
use cpd_core::machine::listen::{Inbox, InboxParts, Listening, Received};
use cpd_core::machine::state::{Abandoned, Binding, Calling};
use cpd_core::machine::{Act, Approving, CallPhase, Phase, Run, Status, Vote};
use cpd_core::problem::Problem;
use cpd_core::value::Map;
use cpd_journal::record::v1::Json;

use super::Source;
use super::form::{
    AbandonedForm, ActForm, BindingForm, CallForm, Doc, Form, InboxForm, PhaseForm, ReceivedForm, StageForm,
    StatusForm, ThenForm, VoteForm,
};

/// Appends the form of a state.
pub(super) fn write(source: &Source, out: &mut Vec<u8>) {
    let Source { run, seq, digest } = source;
    // `departed` belongs to the last turn and `id` to the key; all else is the state.
    let Run {
        id: _,
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
    let mut tables = Tables::default();
    let form = Form {
        cpd: env!("CARGO_PKG_VERSION").to_owned(),
        plan: plan.digest.0,
        seq: *seq,
        digest: digest.0,
        phase: tables.phase(phase),
        behaviour: *behaviour,
        started_at: started_at.0,
        actor: actor.to_string(),
        input: tables.value(input),
        context: tables.value(context),
        acts: acts.iter().map(|act| tables.act(plan, act)).collect(),
        next_act: *next_act,
        agenda: agenda.iter().map(|act| act.0).collect(),
        abandoned: abandoned
            .iter()
            .map(|Abandoned { act, node, attempt }| AbandonedForm { act: act.0, node: node.0, attempt: *attempt })
            .collect(),
        inbox: tables.inbox(inbox),
        events: *events,
        documents: tables.documents,
        bindings: tables.bindings,
    };
    cpd_journal::codec::encode(&form, out).expect("the form has a shape that the format holds");
}

/// What was written already, by where it is in memory. The run is held meanwhile, so nothing else comes to stand there.
#[derive(Default)]
struct Tables {
    documents: Vec<Json<'static>>,
    by_place: HashMap<usize, Doc>,
    bindings: Vec<BindingForm>,
    bindings_by_place: HashMap<usize, u32>,
}

impl Tables {
    fn value(&mut self, value: &Value) -> Doc {
        let place = match value {
            Value::Arr(items) => Some(Arc::as_ptr(items).addr()),
            Value::Obj(members) => Some(Arc::as_ptr(members).addr()),
            Value::Str(text) => Some(Arc::as_ptr(text).addr()),
            Value::Null | Value::Bool(_) | Value::Num(_) => None,
        };
        if let Some(known) = place.and_then(|place| self.by_place.get(&place)) {
            return *known;
        }
        let mut text = Vec::with_capacity(64);
        value.write_json(&mut text);
        let doc = self.document(text);
        if let Some(place) = place {
            self.by_place.insert(place, doc);
        }
        doc
    }

    /// Members that stand in no value of their own: nothing that can be known by its place.
    fn members(&mut self, members: &Map) -> Doc {
        self.document(Value::from(members.clone()).to_json().into_bytes())
    }

    fn problem(&mut self, problem: &Problem) -> Doc {
        self.document(serde_json::to_vec(problem).expect("a problem is JSON"))
    }

    fn document(&mut self, text: Vec<u8>) -> Doc {
        let place = u32::try_from(self.documents.len()).expect("a state has fewer values than that");
        self.documents.push(Json(Cow::Owned(text)));
        place
    }

    fn binding(&mut self, binding: &Arc<Binding>) -> u32 {
        let place = Arc::as_ptr(binding).addr();
        if let Some(known) = self.bindings_by_place.get(&place) {
            return *known;
        }
        let Binding { values, outer } = &**binding;
        let outer = outer.as_ref().map(|outer| self.binding(outer));
        let values = values.iter().map(|value| self.value(value)).collect();
        let number = u32::try_from(self.bindings.len()).expect("a state has fewer bindings than that");
        self.bindings.push(BindingForm { values, outer });
        self.bindings_by_place.insert(place, number);
        number
    }

    fn phase(&mut self, phase: &Phase) -> PhaseForm {
        match phase {
            Phase::Running => PhaseForm::Running,
            Phase::Paused => PhaseForm::Paused,
            Phase::Completed { output } => PhaseForm::Completed { output: self.value(output) },
            Phase::Faulted { problem } => PhaseForm::Faulted { problem: self.problem(problem) },
            Phase::Cancelled { reason } => PhaseForm::Cancelled { reason: reason.to_string() },
        }
    }

    fn inbox(&mut self, inbox: &Inbox) -> InboxForm {
        let InboxParts { events, next, remembered } = inbox.parts();
        let received = |Received { number, event, taken }: &Received| ReceivedForm {
            number: *number,
            event: self.value(event),
            taken: *taken,
        };
        InboxForm {
            events: events.iter().map(received).collect(),
            next,
            remembered: remembered.iter().map(|identity| identity.to_string()).collect(),
        }
    }

    fn listening(&mut self, listening: &Listening) -> StatusForm {
        let Listening { next, gathered, met, until_met, keys, item, index, busy, closing } = listening;
        StatusForm::Listening {
            next: *next,
            gathered: gathered.iter().map(|event| self.value(event)).collect(),
            met: met.clone(),
            until_met: until_met.clone(),
            keys: self.members(keys),
            item: self.value(item),
            index: *index,
            busy: *busy,
            closing: *closing,
        }
    }

    fn act(&mut self, plan: &Plan, act: &Act) -> ActForm {
        let Act { id, node, parent, branch, input, bindings, caught, iteration, started_at, deadline, status } = act;
        ActForm {
            id: id.0,
            node: node.0,
            pointer: plan.node(*node).pointer.to_string(),
            parent: parent.map(|parent| parent.0),
            branch: *branch,
            input: self.value(input),
            bindings: bindings.as_ref().map(|binding| self.binding(binding)),
            caught: caught.as_ref().map(|binding| self.binding(binding)),
            iteration: iteration.to_string(),
            started_at: started_at.0,
            deadline: deadline.map(|at| at.0),
            status: self.status(status),
        }
    }

    fn status(&mut self, status: &Status) -> StatusForm {
        match status {
            Status::Ready => StatusForm::Ready,
            Status::List { jumps } => StatusForm::List { jumps: *jumps },
            Status::Loop { items, index, between, carry, jumps } => StatusForm::Loop {
                items: self.value(items),
                index: *index,
                between: *between,
                carry: self.value(carry),
                jumps: *jumps,
            },
            Status::Branches { outputs } => StatusForm::Branches {
                outputs: outputs.iter().map(|output| output.as_ref().map(|output| self.value(output))).collect(),
            },
            Status::Extended { stage, jumps } => {
                let stage = match stage {
                    Stage::Before => StageForm::Before,
                    Stage::Inner { applies } => StageForm::Inner { applies: *applies },
                    Stage::After { output, then } => {
                        StageForm::After { output: self.value(output), then: then_form(*then) }
                    }
                };
                StatusForm::Extended { stage, jumps: *jumps }
            }
            Status::Trying { attempt, attempt_deadline, jumps } => StatusForm::Trying {
                attempt: *attempt,
                attempt_deadline: attempt_deadline.map(|at| at.0),
                jumps: *jumps,
            },
            Status::Delayed { attempt, until, problem } => {
                StatusForm::Delayed { attempt: *attempt, until: until.0, problem: self.problem(problem) }
            }
            Status::Catching { jumps } => StatusForm::Catching { jumps: *jumps },
            Status::Calling(Calling { attempt, unknowns, args, key, phase }) => StatusForm::Calling {
                attempt: *attempt,
                unknowns: *unknowns,
                args: self.value(args),
                key: key.as_ref().map(|key| key.to_string()),
                phase: self.call(phase),
            },
            Status::Listening(listening) => self.listening(listening),
            Status::Publishing { event } => StatusForm::Publishing { event: self.value(event) },
            Status::Approving(approving) => self.approving(approving),
            Status::Waiting { until } => StatusForm::Waiting { until: until.0 },
            Status::Returned { output, then } => {
                StatusForm::Returned { output: self.value(output), then: then_form(*then) }
            }
            Status::Failing { problem, not_before, inside } => StatusForm::Failing {
                problem: self.problem(problem),
                not_before: not_before.map(|at| at.0),
                inside: *inside,
            },
        }
    }

    fn approving(&mut self, approving: &Approving) -> StatusForm {
        // The terms are those that the request says.
        let Approving { request, terms: _, since, escalated, votes, delegations } = approving;
        let vote = |Vote { by, on_behalf_of, approves, comment, at }: &Vote| VoteForm {
            by: by.to_string(),
            on_behalf_of: on_behalf_of.as_ref().map(ToString::to_string),
            approves: *approves,
            comment: comment.to_string(),
            at: at.0,
        };
        StatusForm::Approving {
            request: self.value(request),
            since: since.0,
            escalated: *escalated,
            votes: votes.iter().map(vote).collect(),
            delegations: delegations.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect(),
        }
    }

    fn call(&mut self, phase: &CallPhase) -> CallForm {
        match phase {
            CallPhase::InFlight => CallForm::InFlight,
            CallPhase::Undetermined { problem, interrupted } => {
                CallForm::Undetermined { problem: self.problem(problem), interrupted: *interrupted }
            }
            CallPhase::BackingOff { until } => CallForm::BackingOff { until: until.0 },
            CallPhase::Reconciling(problem) => CallForm::Reconciling { problem: self.problem(problem) },
            CallPhase::Unreconciled(problem) => CallForm::Unreconciled { problem: self.problem(problem) },
            CallPhase::Parked(problem) => CallForm::Parked { problem: self.problem(problem) },
        }
    }
}

fn then_form(then: Then) -> ThenForm {
    match then {
        Then::Continue => ThenForm::Continue,
        Then::Exit => ThenForm::Exit,
        Then::End => ThenForm::End,
        Then::To(node) => ThenForm::To { node: node.0 },
    }
}
