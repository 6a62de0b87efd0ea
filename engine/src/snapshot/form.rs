//! The form of a snapshot: types of its own, and conversions that name every field and every variant, so that a state that
//! grows does not compile here until the form says how it is kept (and [`super::FORM`] has moved on).
//!
//! Documents and bindings stand in tables, each once, as they do in memory: many acts share them.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cpd_core::Value;
use cpd_core::definition::plan::{NodeId, Plan, Then};
use cpd_core::machine::state::{Abandoned, Binding, Calling};
use cpd_core::machine::{Act, ActId, CallPhase, Phase, Run, RunId, Status};
use cpd_core::problem::Problem;
use cpd_core::time::Timestamp;
use cpd_core::value::read_written;
use cpd_journal::Digest;
use cpd_journal::record::v1::Json;
use serde::{Deserialize, Serialize};

use super::Source;
use crate::codec::PAYLOAD_MAX;
use crate::registry::Registry;

/// Place of a document in the table.
type Doc = u32;

#[derive(Serialize, Deserialize)]
struct Form<'a> {
    /// The program that wrote it: another one may fold another state.
    cpd: String,
    plan: [u8; 32],
    seq: u64,
    digest: [u8; 32],
    #[serde(borrow)]
    documents: Vec<Json<'a>>,
    /// Outer ones before inner ones.
    bindings: Vec<BindingForm>,
    phase: PhaseForm,
    behaviour: u16,
    started_at: i64,
    input: Doc,
    context: Doc,
    acts: Vec<ActForm>,
    next_act: u32,
    agenda: Vec<u32>,
    abandoned: Vec<AbandonedForm>,
    events: u64,
}

#[derive(Serialize, Deserialize)]
struct BindingForm {
    values: Vec<Doc>,
    outer: Option<u32>,
}

#[derive(Serialize, Deserialize)]
enum PhaseForm {
    Running,
    Paused,
    Completed { output: Doc },
    Faulted { problem: Doc },
    Cancelled { reason: String },
}

#[derive(Serialize, Deserialize)]
struct AbandonedForm {
    act: u32,
    node: u32,
    attempt: u32,
}

#[derive(Serialize, Deserialize)]
struct ActForm {
    id: u32,
    node: u32,
    /// The task's reference: a plan that has another task there is not the one that this state belongs to.
    pointer: String,
    parent: Option<u32>,
    branch: u32,
    input: Doc,
    bindings: Option<u32>,
    caught: Option<u32>,
    iteration: String,
    started_at: i64,
    deadline: Option<i64>,
    status: StatusForm,
}

#[derive(Serialize, Deserialize)]
enum StatusForm {
    Ready,
    List { jumps: u32 },
    Loop { items: Doc, index: u32, between: bool, carry: Doc, jumps: u32 },
    Branches { outputs: Vec<Option<Doc>> },
    Trying { attempt: u32, attempt_deadline: Option<i64>, jumps: u32 },
    Delayed { attempt: u32, until: i64, problem: Doc },
    Catching { jumps: u32 },
    Calling { attempt: u32, unknowns: u32, args: Doc, key: Option<String>, phase: CallForm },
    Waiting { until: i64 },
    Returned { output: Doc, then: ThenForm },
    Failing { problem: Doc, not_before: Option<i64>, inside: Option<u32> },
}

#[derive(Serialize, Deserialize)]
enum CallForm {
    InFlight,
    Undetermined { problem: Doc, interrupted: bool },
    BackingOff { until: i64 },
    Reconciling { problem: Doc },
    Unreconciled { problem: Doc },
    Parked { problem: Doc },
}

#[derive(Serialize, Deserialize)]
enum ThenForm {
    Continue,
    Exit,
    End,
    To { node: u32 },
}

// ---- writing ----------------------------------------------------------------------------------------------------------

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
        input,
        context,
        acts,
        next_act,
        agenda,
        abandoned,
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
        input: tables.value(input),
        context: tables.value(context),
        acts: acts.iter().map(|act| tables.act(plan, act)).collect(),
        next_act: *next_act,
        agenda: agenda.iter().map(|act| act.0).collect(),
        abandoned: abandoned
            .iter()
            .map(|Abandoned { act, node, attempt }| AbandonedForm { act: act.0, node: node.0, attempt: *attempt })
            .collect(),
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

// ---- reading ----------------------------------------------------------------------------------------------------------

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
        input: parts.value(form.input)?,
        context: parts.value(form.context)?,
        acts: form.acts.into_iter().map(|act| parts.act(act)).collect::<Option<_>>()?,
        next_act: form.next_act,
        agenda: form.agenda.into_iter().map(ActId).collect::<VecDeque<_>>(),
        abandoned: form.abandoned.into_iter().map(|a| parts.abandoned(a)).collect::<Option<_>>()?,
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
