//! Folds one event into a run.
//!
//! - here: what is about the run, and tasks that begin; `lists`: tasks that are done and lists that go on; `effects`: calls;
//!   `flow`: errors, retries, iterations and timers; [`super::listen`]: events.
//!
//! Evaluates nothing and asks nobody: everything that an event means is in the event, the state and the plan. The same
//! function serves live turns, recovery and replay. An event that does not fit the state is refused and nothing has
//! changed; for a journal that verifies this can only mean that another version wrote it, or a bug.

mod effects;
mod flow;
mod lists;

use std::sync::Arc;

use crate::Value;
use crate::definition::plan::{Action, NodeId, Plan, Then};
use crate::problem::{Problem, Standard};
use crate::time::Timestamp;
use crate::value::Map;

use super::approval::{Approving, Terms};
use super::event::{Command, Event, Export, Piece};
use super::ids::{ActId, RunId};
use super::state::{Abandoned, Act, Binding, CallPhase, Calling, Departed, Phase, Run, Status, effect_key};

/// An event that does not fit the state.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("apply {event} to {subject}: it is {found}, expected {expected}")]
pub struct Misfit {
    /// The event's name.
    pub event: &'static str,
    /// The run or act.
    pub subject: String,
    /// What state it is in.
    pub found: &'static str,
    /// What state the event needs.
    pub expected: &'static str,
}

impl Run {
    /// The run that a `RunStarted` begins.
    ///
    /// # Errors
    /// If `event` is another one.
    pub fn begin(id: RunId, plan: Arc<Plan>, event: &Event, at: Timestamp) -> Result<Self, Misfit> {
        let Event::RunStarted { input, behaviour, actor, .. } = event else {
            let subject = format!("run {id}");
            return Err(Misfit { event: event.name(), subject, found: "not started", expected: "started" });
        };
        let mut run = Self {
            id,
            plan,
            phase: Phase::Running,
            behaviour: *behaviour,
            started_at: at,
            actor: actor.clone(),
            input: input.clone(),
            context: Value::object(),
            acts: Vec::with_capacity(4),
            next_act: 0,
            agenda: Default::default(),
            abandoned: Vec::new(),
            inbox: Default::default(),
            events: 1,
            departed: Vec::new(),
        };
        run.spawn(Plan::ROOT, None, 0, input.clone(), None, Arc::from(""), at);
        Ok(run)
    }

    /// Folds `event`, which happened at `at`, into the state; appends what the world must do to `commands`.
    ///
    /// # Errors
    /// If the event does not fit the state; the state is as before.
    pub fn apply(&mut self, event: &Event, at: Timestamp, commands: &mut Vec<Command>) -> Result<(), Misfit> {
        match event {
            Event::RunStarted { .. } => return Err(self.misfit(event, "not started")),
            Event::RunPaused { .. }
            | Event::RunResumed { .. }
            | Event::RunCancelled { .. }
            | Event::RunForked { .. }
            | Event::RunMigrated { .. }
            | Event::RunCompleted { .. }
            | Event::RunFaulted { .. } => self.apply_to_run(event, commands)?,
            Event::LateOutcome { act, .. } => {
                let place = self.abandoned.iter().position(|a| a.act == *act);
                self.abandoned.remove(place.ok_or_else(|| self.misfit_act(event, *act, "abandoned"))?);
            }
            _ if !self.is_open() => return Err(self.misfit(event, "open")),
            Event::EventReceived { .. }
            | Event::EventTaken { .. }
            | Event::EventsPassed { .. }
            | Event::EventPublished { .. } => self.apply_to_listening(event, at, commands)?,
            Event::ApprovalVoted { .. } | Event::ApprovalDelegated { .. } | Event::ApprovalEscalated { .. } => {
                self.apply_to_approval(event, at, commands)?;
            }
            Event::TaskEntered { .. }
            | Event::TaskSkipped { .. }
            | Event::TaskReturned { .. }
            | Event::EventEmitted { .. }
            | Event::CaseTaken { .. }
            | Event::PolicyDecided { .. }
            | Event::TaskStarted { .. }
            | Event::WaitStarted { .. }
            | Event::ListenStarted { .. }
            | Event::ApprovalRequested { .. } => self.apply_to_ready(event, at, commands)?,
            Event::TaskSucceeded { .. }
            | Event::TaskRefused { .. }
            | Event::TaskFailed { .. }
            | Event::TaskUnknown { .. }
            | Event::TaskDelayed { .. }
            | Event::TaskRetried { .. }
            | Event::TaskQuestioned { .. }
            | Event::TaskParked { .. }
            | Event::TaskResolved { .. } => self.apply_to_call(event, at, commands)?,
            Event::TaskCompleted { .. }
            | Event::TaskFaulted { .. }
            | Event::ErrorCaught { .. }
            | Event::TryRetried { .. }
            | Event::IterationStarted { .. }
            | Event::LoopEnded { .. }
            | Event::TimerFired { .. }
            | Event::DeadlinePassed { .. } => self.apply_to_flow(event, at, commands)?,
        }
        self.events += 1;
        Ok(())
    }

    // ---- run ----------------------------------------------------------------------------------------------------

    fn apply_to_run(&mut self, event: &Event, commands: &mut Vec<Command>) -> Result<(), Misfit> {
        match (event, &self.phase) {
            (Event::RunPaused { .. }, Phase::Running) => self.phase = Phase::Paused,
            (Event::RunPaused { .. }, _) => return Err(self.misfit(event, "running")),
            (Event::RunResumed { .. }, Phase::Paused) => self.phase = Phase::Running,
            (Event::RunResumed { .. }, _) => return Err(self.misfit(event, "paused")),
            (_, Phase::Completed { .. } | Phase::Faulted { .. } | Phase::Cancelled { .. }) => {
                return Err(self.misfit(event, "open"));
            }
            (Event::RunForked { origin, run, input, actor, .. }, Phase::Running | Phase::Paused) => {
                self.fork(*origin, *run, input.as_ref()).map_err(|()| self.misfit(event, "about to begin a task"))?;
                self.actor = actor.clone();
            }
            (Event::RunMigrated { plan, .. }, Phase::Running | Phase::Paused) => {
                // A history that was moved is folded with the plan to which it was moved, from its beginning.
                if self.plan.digest != *plan {
                    return Err(self.misfit(event, "folded with that plan"));
                }
            }
            (Event::RunCancelled { reason, .. }, Phase::Running | Phase::Paused) => {
                self.end(Phase::Cancelled { reason: reason.clone() }, commands);
            }
            (Event::RunFaulted { problem }, Phase::Running | Phase::Paused) => {
                self.end(Phase::Faulted { problem: problem.clone() }, commands);
            }
            (Event::RunCompleted { output }, Phase::Running | Phase::Paused) => {
                let Some(Status::Returned { output: raw, .. }) = self.acts.first().map(|a| &a.status) else {
                    return Err(self.misfit_act(event, ActId(0), "returned"));
                };
                let output = output.clone().unwrap_or_else(|| raw.clone());
                self.end(Phase::Completed { output }, commands);
            }
            (other, _) => unreachable!("{} is not about the run", other.name()),
        }
        Ok(())
    }

    /// Becomes a run of its own. Effects that are under way stay the effects of the run that began them.
    fn fork(&mut self, origin: RunId, run: RunId, input: Option<&Value>) -> Result<(), ()> {
        if let Some(input) = input {
            let next = self.agenda.front().copied().and_then(|id| self.act_mut(id));
            let next = next.filter(|act| matches!(act.status, Status::Ready)).ok_or(())?;
            next.input = input.clone();
            if next.parent.is_none() {
                self.input = input.clone();
            }
        }
        let plan = self.plan.clone();
        for act in &mut self.acts {
            if let Status::Calling(calling) = &mut act.status {
                let key = || effect_key(origin, &plan.node(act.node).pointer, &act.iteration);
                calling.key.get_or_insert_with(key);
            }
        }
        self.id = run;
        self.phase = Phase::Running;
        Ok(())
    }

    fn end(&mut self, phase: Phase, commands: &mut Vec<Command>) {
        for act in std::mem::take(&mut self.acts) {
            self.depart(&act);
            self.abandon(&act, commands);
        }
        self.agenda.clear();
        self.phase = phase;
    }

    // ---- Ready --------------------------------------------------------------------------------------------------

    fn apply_to_ready(&mut self, event: &Event, at: Timestamp, commands: &mut Vec<Command>) -> Result<(), Misfit> {
        let id = event.act().expect("an event about an act");
        let index = self.index(event, id, "ready")?;
        let Status::Ready = self.acts[index].status else { return Err(self.misfit_act(event, id, "ready")) };
        let node = self.acts[index].node;
        let plan = self.plan.clone();
        let action = &plan.node(node).action;
        // The event must be one that this kind of task has.
        let fits = match (event, action) {
            (Event::TaskSkipped { .. }, _) => node != Plan::ROOT,
            (Event::TaskEntered { items, .. }, Action::For(_)) => matches!(items, Some(Value::Arr(_))),
            (Event::TaskEntered { items, .. }, Action::Extended(_)) => matches!(items, Some(Value::Bool(_))),
            (Event::TaskEntered { items: None, .. }, Action::Do(_) | Action::Fork { .. } | Action::Try { .. }) => true,
            (Event::TaskReturned { .. }, Action::Set(_)) => true,
            (Event::EventEmitted { .. }, Action::Emit { .. }) => true,
            (Event::CaseTaken { case, .. }, Action::Switch(cases)) => case.is_none_or(|c| (c as usize) < cases.len()),
            (Event::PolicyDecided { .. }, Action::Decide(_)) => true,
            (Event::TaskStarted { .. }, Action::Call(_)) => true,
            (Event::WaitStarted { .. }, Action::Wait(_)) => true,
            (Event::ListenStarted { .. }, Action::Listen(_)) => true,
            (Event::ApprovalRequested { request, .. }, Action::Approve(_)) => Terms::read(request).is_ok(),
            _ => false,
        };
        if !fits {
            return Err(self.misfit_act(event, id, "a task of another kind"));
        }
        self.settle(id);
        let act = &mut self.acts[index];
        match event {
            Event::TaskEntered { input, deadline, .. }
            | Event::TaskStarted { input, deadline, .. }
            | Event::WaitStarted { input, deadline, .. }
            | Event::ListenStarted { input, deadline, .. }
            | Event::ApprovalRequested { input, deadline, .. } => {
                act.deadline = *deadline;
                replace(&mut act.input, input);
            }
            Event::TaskReturned { input, .. }
            | Event::EventEmitted { input, .. }
            | Event::CaseTaken { input, .. }
            | Event::PolicyDecided { input, .. } => replace(&mut act.input, input),
            _ => {}
        }
        let own_then = plan.node(node).then;
        match event {
            Event::TaskSkipped { .. } => {
                let output = act.input.clone();
                self.complete(id, output, Then::Continue, at, commands);
            }
            Event::TaskEntered { items, .. } => self.enter(index, items.as_ref(), at, commands),
            Event::TaskReturned { output, .. } => self.returned(id, output.clone(), own_then, at, commands),
            Event::EventEmitted { event, .. } if self.behaviour < 2 => {
                self.returned(id, event.clone(), own_then, at, commands);
            }
            Event::EventEmitted { event, .. } => {
                act.status = Status::Publishing { event: event.clone() };
                commands.push(Command::Publish { act: id });
            }
            Event::ListenStarted { .. } => self.begin_listening(index),
            Event::ApprovalRequested { request, .. } => {
                let approving = Approving::begin(request, at).expect("checked above");
                act.status = Status::Approving(Box::new(approving));
            }
            Event::CaseTaken { case, .. } => {
                let Action::Switch(cases) = action else { unreachable!("checked above") };
                let then = case.map_or(own_then, |c| cases[c as usize].then);
                let output = act.input.clone();
                self.returned(id, output, then, at, commands);
            }
            Event::PolicyDecided { decision, .. } => {
                if decision.get("outcome").and_then(Value::as_str) == Some("ERROR") {
                    let problem = policy_problem(decision);
                    self.fail(id, problem, None);
                } else {
                    self.returned(id, decision.clone(), own_then, at, commands);
                }
            }
            Event::TaskStarted { args, key, .. } => {
                act.status = Status::Calling(Calling {
                    attempt: 1,
                    unknowns: 0,
                    args: args.clone(),
                    key: key.clone(),
                    phase: CallPhase::InFlight,
                });
                commands.push(Command::Call { act: id, attempt: 1 });
            }
            Event::WaitStarted { until, .. } => act.status = Status::Waiting { until: *until },
            other => unreachable!("{} is not about a ready act", other.name()),
        }
        Ok(())
    }

    /// A composite begins.
    fn enter(&mut self, index: usize, items: Option<&Value>, at: Timestamp, commands: &mut Vec<Command>) {
        let plan = self.plan.clone();
        let act = &mut self.acts[index];
        let (id, node) = (act.id, plan.node(act.node));
        match &node.action {
            Action::Do(list) => {
                act.status = Status::List { jumps: 0 };
                self.begin_list(id, list, at, commands);
            }
            Action::Try { body, catch } => {
                let attempt_deadline = catch.retry.as_ref().and_then(|r| r.attempt_max).map(|d| at.plus(d));
                act.status = Status::Trying { attempt: 1, attempt_deadline, jumps: 0 };
                self.begin_list(id, body, at, commands);
            }
            Action::For(looped) => {
                act.status = Status::Loop {
                    items: items.cloned().unwrap_or_default(),
                    index: 0,
                    between: true,
                    carry: if looped.gather { Value::from(Vec::new()) } else { act.input.clone() },
                    jumps: 0,
                };
                self.agenda.push_back(id);
            }
            Action::Extended(_) => self.begin_extended(id, items.and_then(Value::as_bool).unwrap_or(true), at),
            Action::Fork { branches, .. } => {
                act.status = Status::Branches { outputs: vec![None; branches.len()] };
                let (input, bindings, iteration) = (act.input.clone(), act.bindings.clone(), act.iteration.clone());
                for (branch, node) in (0..).zip(branches) {
                    self.spawn(*node, Some(id), branch, input.clone(), bindings.clone(), iteration.clone(), at);
                }
                if branches.is_empty() {
                    self.returned(id, Value::from(Vec::new()), node.then, at, commands);
                }
            }
            _ => unreachable!("only composites are entered"),
        }
    }

    /// Starts the first task of an act's list, or returns at once if the list is empty.
    pub(super) fn begin_list(&mut self, id: ActId, list: &[NodeId], at: Timestamp, commands: &mut Vec<Command>) {
        let act = self.act(id).expect("a live act");
        let input = act.input.clone();
        match list.first() {
            Some(first) => self.spawn_in_list(id, *first, input, at),
            None => self.list_ended(id, input, at, commands),
        }
    }

    /// Starts a task of the list that `parent` runs, with the bindings and the iteration that hold there.
    pub(super) fn spawn_in_list(&mut self, parent: ActId, node: NodeId, input: Value, at: Timestamp) {
        let act = self.act(parent).expect("a live act");
        let outer = act.bindings.clone();
        let (bindings, iteration, jumps) = match &act.status {
            Status::Loop { items, index, jumps, .. } => {
                let item = items.as_array().and_then(|a| a.get(*index as usize)).cloned().unwrap_or_default();
                let values = vec![item, Value::from(*index)];
                let iteration = match &*act.iteration {
                    "" => index.to_string(),
                    outer => format!("{outer}.{index}"),
                };
                (Some(Arc::new(Binding { values, outer })), Arc::from(iteration), *jumps)
            }
            Status::Listening(listening) => {
                let values = vec![listening.item.clone(), Value::from(listening.index)];
                let iteration = match &*act.iteration {
                    "" => listening.index.to_string(),
                    outer => format!("{outer}.{}", listening.index),
                };
                (Some(Arc::new(Binding { values, outer })), Arc::from(iteration), 0)
            }
            Status::Catching { jumps } => (act.caught.clone().or(outer), act.iteration.clone(), *jumps),
            Status::List { jumps } | Status::Trying { jumps, .. } | Status::Extended { jumps, .. } => {
                (outer, act.iteration.clone(), *jumps)
            }
            _ => (outer, act.iteration.clone(), 0),
        };
        // Once a list around has jumped, every list below says how often, even if never: else the second round of an outer
        // list and the second round of an inner one would be the same iteration, and two effects would have one key.
        let counted = jumps > 0 || iteration.contains('~');
        let iteration = if counted { Arc::from(format!("{iteration}~{jumps}")) } else { iteration };
        self.spawn(node, Some(parent), 0, input, bindings, iteration, at);
    }

    #[expect(clippy::too_many_arguments, reason = "one call, each of another type but the two numbers")]
    fn spawn(
        &mut self,
        node: NodeId,
        parent: Option<ActId>,
        branch: u32,
        input: Value,
        bindings: Option<Arc<Binding>>,
        iteration: Arc<str>,
        at: Timestamp,
    ) {
        let id = ActId(self.next_act);
        self.next_act += 1;
        self.acts.push(Act {
            id,
            node,
            parent,
            branch,
            input,
            bindings,
            caught: None,
            iteration,
            started_at: at,
            deadline: None,
            status: Status::Ready,
        });
        self.agenda.push_back(id);
    }

    // ---- helpers --------------------------------------------------------------------------------------------------

    /// The act is failing; somebody must catch it. The instance of the problem is the task, if it has none.
    fn fail(&mut self, id: ActId, mut problem: Problem, not_before: Option<Timestamp>) {
        let index = self.acts.binary_search_by_key(&id, |a| a.id).expect("a live act");
        if problem.instance.is_none() {
            problem.instance = Some(self.plan.node(self.acts[index].node).pointer.clone());
        }
        self.acts[index].status = Status::Failing { problem, not_before, inside: None };
        self.agenda.push_back(id);
    }

    /// What was to be decided about `id` has been.
    pub(super) fn settle(&mut self, id: ActId) {
        if self.agenda.front() == Some(&id) {
            self.agenda.pop_front();
        } else {
            self.agenda.retain(|a| *a != id);
        }
    }

    /// Ends everything below an act.
    fn drop_below(&mut self, id: ActId, commands: &mut Vec<Command>) {
        if self.acts.last().is_none_or(|last| last.id <= id) {
            return;
        }
        let mut gone = vec![id];
        let mut kept = Vec::with_capacity(self.acts.len());
        for act in std::mem::take(&mut self.acts) {
            if act.parent.is_some_and(|p| gone.binary_search(&p).is_ok()) {
                gone.push(act.id);
                self.depart(&act);
                self.abandon(&act, commands);
            } else {
                kept.push(act);
            }
        }
        self.acts = kept;
        self.agenda.retain(|a| *a == id || gone.binary_search(a).is_err());
    }

    fn depart(&mut self, act: &Act) {
        self.departed.push(Departed { act: act.id, node: act.node, iteration: act.iteration.clone() });
    }

    /// Remembers a call that may still be under way, and tells the connector.
    fn abandon(&mut self, act: &Act, commands: &mut Vec<Command>) {
        if let Status::Calling(Calling { attempt, phase: CallPhase::InFlight | CallPhase::Reconciling(_), .. }) =
            act.status
        {
            self.abandoned.push(Abandoned { act: act.id, node: act.node, attempt });
            commands.push(Command::CancelCall { act: act.id, attempt, node: act.node });
        }
    }

    pub(super) fn index(&self, event: &Event, id: ActId, expected: &'static str) -> Result<usize, Misfit> {
        self.acts.binary_search_by_key(&id, |a| a.id).map_err(|_| self.misfit_act(event, id, expected))
    }

    fn misfit(&self, event: &Event, expected: &'static str) -> Misfit {
        Misfit { event: event.name(), subject: format!("run {}", self.id), found: self.phase.name(), expected }
    }

    pub(super) fn misfit_act(&self, event: &Event, id: ActId, expected: &'static str) -> Misfit {
        let (subject, found) = match self.act(id) {
            Some(act) => (format!("task {} (act {id})", self.plan.node(act.node).pointer), act.status.name()),
            None => (format!("act {id}"), "not live"),
        };
        Misfit { event: event.name(), subject, found, expected }
    }
}

impl Status {
    /// The status in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Status::Ready => "ready",
            Status::List { .. } => "running its list",
            Status::Loop { between: true, .. } => "between iterations",
            Status::Loop { .. } => "in an iteration",
            Status::Branches { .. } => "running branches",
            Status::Extended { .. } => "running with its extension",
            Status::Trying { .. } => "trying",
            Status::Delayed { .. } => "delayed",
            Status::Catching { .. } => "catching",
            Status::Calling(calling) => match calling.phase {
                CallPhase::InFlight => "calling",
                CallPhase::Undetermined { .. } => "undetermined",
                CallPhase::BackingOff { .. } => "backing off",
                CallPhase::Reconciling(_) => "reconciling",
                CallPhase::Unreconciled(_) => "not reconciled",
                CallPhase::Parked(_) => "waiting for an operator",
            },
            Status::Waiting { .. } => "waiting",
            Status::Listening(listening) if listening.busy => "running its foreach",
            Status::Listening(_) => "listening",
            Status::Publishing { .. } => "publishing",
            Status::Approving(_) => "waiting for an approval",
            Status::Returned { .. } => "returned",
            Status::Failing { .. } => "failing",
        }
    }

    fn jump(&mut self) {
        match self {
            Status::List { jumps }
            | Status::Loop { jumps, .. }
            | Status::Trying { jumps, .. }
            | Status::Extended { jumps, .. }
            | Status::Catching { jumps } => *jumps += 1,
            Status::Ready
            | Status::Branches { .. }
            | Status::Delayed { .. }
            | Status::Calling(_)
            | Status::Listening(_)
            | Status::Publishing { .. }
            | Status::Approving(_)
            | Status::Waiting { .. }
            | Status::Returned { .. }
            | Status::Failing { .. } => {}
        }
    }
}

fn replace(slot: &mut Value, with: &Option<Value>) {
    if let Some(value) = with {
        *slot = value.clone();
    }
}

/// The context after an export.
pub(super) fn exported(context: &Value, export: &Export, output: &Value) -> Value {
    let value = |piece: &Piece| match piece {
        Piece::Output => output.clone(),
        Piece::Value(v) => v.clone(),
    };
    match export {
        Export::Replace(piece) => value(piece),
        Export::Merge(members) => {
            let mut map: Map = context.as_object().cloned().unwrap_or_default();
            map.extend(members.iter().map(|(k, piece)| (k.clone(), value(piece))));
            Value::from(map)
        }
    }
}

/// The error that a decision with outcome `ERROR` raises.
fn policy_problem(decision: &Value) -> Problem {
    let policy = decision.get("policy").and_then(Value::as_str).unwrap_or("?");
    let reasons = decision.get("reasons").and_then(Value::as_array).unwrap_or_default();
    let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
    let detail = format!("policy {policy} could not decide: {}", reasons.join("; "));
    Problem::standard(Standard::Validation, detail).with_data(decision.clone())
}
