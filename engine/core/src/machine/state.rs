//! The state of a run: its acts (activations of tasks), its context, and what it waits for.
//!
//! Acts form a tree by `parent`; composites hold their place, leaves hold what they wait for. What a status needs, its
//! variant carries. Acts stand in a list ordered by id; a parent always stands before its children.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::Value;
use crate::catalog::OperationSpec;
use crate::definition::plan::{Action, Node, NodeId, Plan, Then};
use crate::problem::Problem;
use crate::time::Timestamp;

use super::approval::{Approving, wake_source};
use super::extend::Stage;
use super::ids::{ActId, RunId};
use super::listen::{Inbox, Listening};

/// The rules that new runs live by. A change of behaviour that an old run would notice gets the next number, and the old
/// number keeps its old behaviour. 1: an emitted event is public at once. 2: `emit` is over when everybody who listens has the
/// event.
pub const BEHAVIOUR: u16 = 2;

/// Where a run is in its life (DSL 1.0 "phases").
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// It goes on, or waits for something.
    Running,
    /// An operator stopped it for a while.
    Paused,
    /// It reached its end.
    Completed {
        /// Its output.
        output: Value,
    },
    /// An error reached the top.
    Faulted {
        /// The error.
        problem: Problem,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// Why.
        reason: Arc<str>,
    },
}

impl Phase {
    /// Whether the run has not ended.
    pub fn is_open(&self) -> bool {
        matches!(self, Phase::Running | Phase::Paused)
    }

    /// The phase's name.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Completed { .. } => "completed",
            Phase::Faulted { .. } => "faulted",
            Phase::Cancelled { .. } => "cancelled",
        }
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Who it is.
    pub id: RunId,
    /// What it runs.
    pub plan: Arc<Plan>,
    /// Where it is in its life.
    pub phase: Phase,
    /// The rules it lives by.
    pub behaviour: u16,
    /// When it started.
    pub started_at: Timestamp,
    /// Who or what started it.
    pub actor: Arc<str>,
    /// The input as given.
    pub input: Value,
    /// `$context`
    pub context: Value,
    /// The live acts, by id.
    pub acts: Vec<Act>,
    /// The id that the next act gets.
    pub next_act: u32,
    /// Acts about which something is to be decided, in the order in which it is done.
    pub agenda: VecDeque<ActId>,
    /// Calls that nobody waits for any more and whose outcome is not recorded.
    pub abandoned: Vec<Abandoned>,
    /// Events from outside.
    pub inbox: Inbox,
    /// Events applied so far.
    pub events: u64,
    /// Acts that ended in the current turn, for whoever tells its events: not part of the state.
    pub departed: Vec<Departed>,
}

/// An act that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Departed {
    /// Which one.
    pub act: ActId,
    /// Of which task.
    pub node: NodeId,
    /// Which iteration of the loops around it.
    pub iteration: Arc<str>,
}

/// A call that was given up.
#[derive(Clone, Debug, PartialEq)]
pub struct Abandoned {
    /// The act, which is gone.
    pub act: ActId,
    /// Its task.
    pub node: NodeId,
    /// The attempt in flight at the time.
    pub attempt: u32,
}

/// An activation of a task.
#[derive(Clone, Debug)]
pub struct Act {
    /// Which one.
    pub id: ActId,
    /// Of which task.
    pub node: NodeId,
    /// The act that waits for it; `None` for the workflow itself.
    pub parent: Option<ActId>,
    /// Its place among its parent's branches (`fork` only).
    pub branch: u32,
    /// The raw input; after entry, the input after `input.from`.
    pub input: Value,
    /// Variables bound around it.
    pub bindings: Option<Arc<Binding>>,
    /// `try` only: the bindings of `catch.do`, once an error was caught.
    pub caught: Option<Arc<Binding>>,
    /// Which iteration of the loops around it: empty outside of loops, else such as `3` or `0.2`; a list that jumped back
    /// adds `~n`, and so does every list inside of one that did. With run and task reference it identifies an effect, over
    /// retries.
    pub iteration: Arc<str>,
    /// When it began.
    pub started_at: Timestamp,
    /// When its `timeout` ends.
    pub deadline: Option<Timestamp>,
    /// What it is doing.
    pub status: Status,
}

/// Variables that a loop or a `catch` binds, innermost first.
#[derive(Clone, Debug)]
pub struct Binding {
    /// In the order of the node's locals.
    pub values: Vec<Value>,
    /// The ones around.
    pub outer: Option<Arc<Binding>>,
}

impl Binding {
    /// All values, outermost first, in the order of [`Node::locals`].
    pub fn flatten(binding: Option<&Arc<Binding>>) -> Vec<Value> {
        let Some(binding) = binding else { return Vec::new() };
        let mut values = Binding::flatten(binding.outer.as_ref());
        values.extend(binding.values.iter().cloned());
        values
    }
}

/// What an act is doing.
#[derive(Clone, Debug)]
pub enum Status {
    /// To be entered: `if` and `input.from` are still to be evaluated.
    Ready,
    /// Runs a list (`do`, and the workflow itself).
    List {
        /// Backward jumps in this list so far.
        jumps: u32,
    },
    /// A loop.
    Loop {
        /// What it goes over.
        items: Value,
        /// The current item, or the next one if `between`.
        index: u32,
        /// Whether the next iteration is still to be decided.
        between: bool,
        /// The last iteration's output.
        carry: Value,
        /// Backward jumps in this iteration's list.
        jumps: u32,
    },
    /// Parallel branches.
    Branches {
        /// Outputs so far, in declared order.
        outputs: Vec<Option<Value>>,
    },
    /// A task with an extension around it.
    Extended {
        /// What it is at.
        stage: Stage,
        /// Backward jumps in the extension's list.
        jumps: u32,
    },
    /// The body of a `try`.
    Trying {
        /// 1 for the first.
        attempt: u32,
        /// When this attempt must be done.
        attempt_deadline: Option<Timestamp>,
        /// Backward jumps in the body's list.
        jumps: u32,
    },
    /// A `try` between attempts.
    Delayed {
        /// The attempt to come.
        attempt: u32,
        /// When.
        until: Timestamp,
        /// What went wrong.
        problem: Problem,
    },
    /// `catch.do`
    Catching {
        /// Backward jumps in its list.
        jumps: u32,
    },
    /// An effect.
    Calling(Calling),
    /// People are asked.
    Approving(Box<Approving>),
    /// A `listen`.
    Listening(Box<Listening>),
    /// An `emit` whose event is on its way.
    Publishing {
        /// The CloudEvent.
        event: Value,
    },
    /// A `wait`.
    Waiting {
        /// Until when.
        until: Timestamp,
    },
    /// Has an output; `output.as` and `export.as` are still to be evaluated.
    Returned {
        /// The raw output.
        output: Value,
        /// Where to go.
        then: Then,
    },
    /// Has an error that somebody must catch.
    Failing {
        /// The error.
        problem: Problem,
        /// Do not retry before.
        not_before: Option<Timestamp>,
        /// Set if this is a `try` whose attempt of that number took too long: it may itself catch the error.
        inside: Option<u32>,
    },
}

/// An effect under way.
#[derive(Clone, Debug)]
pub struct Calling {
    /// The current attempt, from 1.
    pub attempt: u32,
    /// How often the outcome was unknown, interruptions by a crash not counted.
    pub unknowns: u32,
    /// The evaluated `with`.
    pub args: Value,
    /// The idempotency key that the definition gave.
    pub key: Option<Arc<str>>,
    /// What is going on.
    pub phase: CallPhase,
}

/// What is going on with an effect.
#[derive(Clone, Debug, PartialEq)]
pub enum CallPhase {
    /// The connector has it (or had it, before a crash).
    InFlight,
    /// The outcome is unknown; what to do is still to be decided.
    Undetermined {
        /// What is known.
        problem: Problem,
        /// Whether the process ended while the call was in flight.
        interrupted: bool,
    },
    /// It will be called again.
    BackingOff {
        /// When.
        until: Timestamp,
    },
    /// The connector is asked.
    Reconciling(Problem),
    /// The connector could not tell; still to be decided.
    Unreconciled(Problem),
    /// An operator is asked.
    Parked(Problem),
}

/// Everything that a call needs.
#[derive(Clone, Debug)]
pub struct CallView<'a> {
    /// The task.
    pub node: &'a Node,
    /// What to call.
    pub operation: &'a OperationSpec,
    /// The evaluated `with`.
    pub args: &'a Value,
    /// Which attempt.
    pub attempt: u32,
    /// The idempotency key.
    pub key: Arc<str>,
    /// When the engine stops waiting.
    pub deadline: Option<Timestamp>,
}

/// What can make an open run go on.
#[derive(Clone, Debug, PartialEq)]
pub enum WakeSource {
    /// There is something to decide at once.
    Agenda,
    /// A time.
    Timer {
        /// When.
        at: Timestamp,
        /// The task.
        task: Arc<str>,
        /// `wait`, `timeout`, `retry` or `back-off`.
        what: &'static str,
    },
    /// A call in flight.
    Call {
        /// The task.
        task: Arc<str>,
        /// The operation.
        operation: Arc<str>,
        /// Which attempt.
        attempt: u32,
        /// Since when the act runs.
        since: Timestamp,
    },
    /// The connector is asked what became of a call.
    Reconciliation {
        /// The task.
        task: Arc<str>,
    },
    /// An operator must say what became of a call.
    Operator {
        /// The task.
        task: Arc<str>,
        /// What is known.
        problem: Problem,
    },
    /// People must decide.
    Approval {
        /// The task.
        task: Arc<str>,
        /// What is to be approved.
        title: Arc<str>,
        /// Who may vote, in a few words.
        asked: Arc<str>,
        /// How many approvals are missing.
        missing: u32,
    },
    /// An event.
    Event {
        /// The task.
        task: Arc<str>,
        /// The types of events that it waits for, as far as they are fixed.
        types: Vec<Arc<str>>,
    },
    /// An event on its way to those who listen.
    Publication {
        /// The task.
        task: Arc<str>,
    },
    /// An operator paused the run.
    Resume,
}

impl Run {
    /// Whether the run has not ended.
    pub fn is_open(&self) -> bool {
        self.phase.is_open()
    }

    /// The live act of that id.
    pub fn act(&self, id: ActId) -> Option<&Act> {
        self.acts.binary_search_by_key(&id, |a| a.id).ok().map(|i| &self.acts[i])
    }

    pub(super) fn act_mut(&mut self, id: ActId) -> Option<&mut Act> {
        self.acts.binary_search_by_key(&id, |a| a.id).ok().map(|i| &mut self.acts[i])
    }

    /// The task of an act.
    pub fn node_of(&self, act: &Act) -> &Node {
        self.plan.node(act.node)
    }

    /// What a call needs, if that act is a call.
    pub fn call(&self, act: ActId) -> Option<CallView<'_>> {
        let act = self.act(act)?;
        let node = self.node_of(act);
        let (Status::Calling(calling), Action::Call(call)) = (&act.status, &node.action) else { return None };
        Some(CallView {
            node,
            operation: &call.operation,
            args: &calling.args,
            attempt: calling.attempt,
            key: calling.key.clone().unwrap_or_else(|| effect_key(self.id, &node.pointer, &act.iteration)),
            deadline: self.deadline_of(act),
        })
    }

    /// The earliest deadline of an act and everything around it.
    fn deadline_of(&self, act: &Act) -> Option<Timestamp> {
        let mut earliest = None;
        let mut next = Some(act);
        while let Some(act) = next {
            earliest = min_some(earliest, act.deadline);
            if let Status::Trying { attempt_deadline, .. } = act.status {
                earliest = min_some(earliest, attempt_deadline);
            }
            next = act.parent.and_then(|p| self.act(p));
        }
        earliest
    }

    /// Calls that are in flight or being reconciled: what recovery must look at.
    pub fn calls(&self) -> impl Iterator<Item = (&Act, &Calling)> {
        self.acts.iter().filter_map(|a| match &a.status {
            Status::Calling(c) => Some((a, c)),
            _ => None,
        })
    }

    /// The event that an act is publishing.
    pub fn publication(&self, act: ActId) -> Option<&Value> {
        match &self.act(act)?.status {
            Status::Publishing { event } => Some(event),
            _ => None,
        }
    }

    /// Acts whose events are on their way: what recovery must publish again.
    pub fn publications(&self) -> impl Iterator<Item = ActId> {
        self.acts.iter().filter(|a| matches!(a.status, Status::Publishing { .. })).map(|a| a.id)
    }

    /// When the clock makes this run go on; `None` while it is paused or has ended.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if self.phase != Phase::Running {
            return None;
        }
        self.acts.iter().flat_map(|a| a.timers().into_iter().flatten()).map(|(at, _)| at).min()
    }

    /// Everything that can make an open run go on. Never empty for an open run (P4).
    pub fn wake_sources(&self) -> Vec<WakeSource> {
        match self.phase {
            Phase::Paused => return vec![WakeSource::Resume],
            Phase::Completed { .. } | Phase::Faulted { .. } | Phase::Cancelled { .. } => return Vec::new(),
            Phase::Running => {}
        }
        let mut sources = Vec::new();
        if !self.agenda.is_empty() {
            sources.push(WakeSource::Agenda);
        }
        for act in &self.acts {
            let node = self.node_of(act);
            let task = node.pointer.clone();
            if let (Status::Calling(c), Action::Call(call)) = (&act.status, &node.action) {
                match &c.phase {
                    CallPhase::InFlight => sources.push(WakeSource::Call {
                        task: task.clone(),
                        operation: call.operation.name.clone(),
                        attempt: c.attempt,
                        since: act.started_at,
                    }),
                    CallPhase::Reconciling(_) => sources.push(WakeSource::Reconciliation { task: task.clone() }),
                    CallPhase::Parked(problem) => {
                        sources.push(WakeSource::Operator { task: task.clone(), problem: problem.clone() });
                    }
                    CallPhase::Undetermined { .. } | CallPhase::Unreconciled(_) | CallPhase::BackingOff { .. } => {}
                }
            }
            match (&act.status, &node.action) {
                (Status::Listening(listening), Action::Listen(listen)) if !listening.busy => {
                    sources.push(WakeSource::Event { task: task.clone(), types: listen.types() });
                }
                (Status::Approving(approving), _) => sources.push(wake_source(task.clone(), approving)),
                (Status::Publishing { .. }, _) => sources.push(WakeSource::Publication { task: task.clone() }),
                _ => {}
            }
            for (at, what) in act.timers().into_iter().flatten() {
                sources.push(WakeSource::Timer { at, task: task.clone(), what });
            }
        }
        sources
    }
}

impl Act {
    /// The times at which this act wants to be looked at, and what each is.
    pub(super) fn timers(&self) -> [Option<(Timestamp, &'static str)>; 2] {
        let own = match &self.status {
            Status::Waiting { until } => Some((*until, "wait")),
            Status::Delayed { until, .. } => Some((*until, "retry")),
            Status::Trying { attempt_deadline, .. } => attempt_deadline.map(|at| (at, "attempt timeout")),
            Status::Calling(Calling { phase: CallPhase::BackingOff { until }, .. }) => Some((*until, "back-off")),
            Status::Approving(approving) => approving.escalates_at().map(|at| (at, "escalation")),
            Status::Ready
            | Status::List { .. }
            | Status::Loop { .. }
            | Status::Branches { .. }
            | Status::Extended { .. }
            | Status::Catching { .. }
            | Status::Calling(_)
            | Status::Listening(_)
            | Status::Publishing { .. }
            | Status::Returned { .. }
            | Status::Failing { .. } => None,
        };
        [own, self.deadline.map(|at| (at, "timeout"))]
    }
}

fn min_some(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The default idempotency key of an effect: a hash of run, task reference and iteration, the same over all attempts.
/// 128 bits of SHA-256, in hexadecimal.
pub fn effect_key(run: RunId, pointer: &str, iteration: &str) -> Arc<str> {
    let mut hash = Sha256::new();
    hash.update(b"cpd effect key 1\0");
    hash.update(run.0);
    hash.update(pointer.as_bytes());
    hash.update([0]);
    hash.update(iteration.as_bytes());
    let mut text = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text.into()
}
