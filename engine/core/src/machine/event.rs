//! Events (what happened) and commands (what the world must do).
//!
//! Each event's comment says what it does to each state; those comments are the specification that the tests follow.
//! An event that names an act which is not in the stated status is refused by [`super::apply`] as a divergence.

use std::sync::Arc;

use crate::Value;
use crate::definition::plan::{Digest, NodeId};
use crate::problem::Problem;
use crate::time::Timestamp;

use super::ids::{ActId, RunId};

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first event of every run. Creates the root act as `Ready` with the given input.
    RunStarted {
        /// The plan that the run is pinned to.
        plan: Digest,
        /// Its qualified name, for people.
        workflow: Arc<str>,
        /// Its version, for people.
        version: Arc<str>,
        /// The input as given.
        input: Value,
        /// The key that makes starting idempotent.
        key: Option<Arc<str>>,
        /// Who or what started it.
        actor: Arc<str>,
        /// The number of the rules that this run lives by (see [`super::state::BEHAVIOUR`]).
        behaviour: u16,
    },
    /// `Ready` → running its list, branches or loop. With `items`, the loop's array.
    TaskEntered {
        /// Which.
        act: ActId,
        /// The input after `input.from`; absent where there is none.
        input: Option<Value>,
        /// When its `timeout` ends.
        deadline: Option<Timestamp>,
        /// `for` only: what `in` gave.
        items: Option<Value>,
    },
    /// `Ready` → gone: `if` did not hold. Its raw input goes on to the next task.
    TaskSkipped {
        /// Which.
        act: ActId,
    },
    /// `Ready` → `Returned`: a `set` was evaluated.
    TaskReturned {
        /// Which.
        act: ActId,
        /// The input after `input.from`.
        input: Option<Value>,
        /// The result.
        output: Value,
    },
    /// `Ready` → `Publishing`: an event was emitted. It is public once this is durable. (Runs of behaviour 1: `Returned`.)
    EventEmitted {
        /// Which.
        act: ActId,
        /// The input after `input.from`.
        input: Option<Value>,
        /// The CloudEvent.
        event: Value,
    },
    /// `Ready` → `Returned` with the case's `then`.
    CaseTaken {
        /// Which.
        act: ActId,
        /// The input after `input.from`.
        input: Option<Value>,
        /// Index of the case; `None` if none holds and there is no default.
        case: Option<u32>,
    },
    /// `Ready` → `Returned`, or `Failing` if the decision's outcome is `ERROR`: an error is never taken for a "no".
    PolicyDecided {
        /// Which.
        act: ActId,
        /// The input after `input.from`.
        input: Option<Value>,
        /// The decision: policy, version, digest, facts, parameters, outcome, reasons, actions.
        decision: Value,
        /// How long the decision took, in microseconds. A measurement: replay does not compare it.
        micros: u32,
    },
    /// `Ready` → `Calling`: the intent of an effect. The connector is called once this is durable.
    TaskStarted {
        /// Which.
        act: ActId,
        /// The input after `input.from`.
        input: Option<Value>,
        /// When its `timeout` ends.
        deadline: Option<Timestamp>,
        /// The evaluated `with`.
        args: Value,
        /// The idempotency key, where the definition gives one.
        key: Option<Arc<str>>,
    },
    /// `Ready` → `Waiting`.
    WaitStarted {
        /// Which.
        act: ActId,
        /// The input after `input.from`.
        input: Option<Value>,
        /// When its `timeout` ends.
        deadline: Option<Timestamp>,
        /// When the wait is over.
        until: Timestamp,
    },
    /// `Ready` → `Listening`. Events that the run was given before are looked at first.
    ListenStarted {
        /// Which.
        act: ActId,
        /// The input after `input.from`.
        input: Option<Value>,
        /// When its `timeout` ends.
        deadline: Option<Timestamp>,
    },
    /// Open: an event from outside that a `listen` of the definition may want. It gets the next number and waits until one
    /// takes it; every act that is `Listening` looks at it.
    EventReceived {
        /// The CloudEvent.
        event: Value,
        /// Whether the oldest one that waits had to go, because too many wait.
        displaces: bool,
    },
    /// `Ready` → `Approving`: people are asked.
    ApprovalRequested {
        /// Which.
        act: ActId,
        /// The input after `input.from`.
        input: Option<Value>,
        /// When its `timeout` ends.
        deadline: Option<Timestamp>,
        /// The evaluated `with`.
        request: Value,
    },
    /// `Approving` stays, or is `Returned` with the last vote.
    ApprovalVoted {
        /// Which.
        act: ActId,
        /// Who.
        by: Arc<str>,
        /// In whose stead.
        on_behalf_of: Option<Arc<str>>,
        /// Whether they approve.
        approves: bool,
        /// Why.
        comment: Arc<str>,
        /// Whether this decides it.
        last: bool,
    },
    /// `Approving` stays: somebody else may vote in the stead of one who may.
    ApprovalDelegated {
        /// Which.
        act: ActId,
        /// Who hands the vote over.
        by: Arc<str>,
        /// To whom.
        to: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// `Approving` stays: from now on those of `escalate.to` may vote, too.
    ApprovalEscalated {
        /// Which.
        act: ActId,
    },
    /// `Listening` → takes an event; it is `Returned`, or runs its `foreach`, or goes on listening.
    EventTaken {
        /// Which.
        act: ActId,
        /// The event's number.
        number: u64,
        /// Index of the filter that it meets; `None` if there are no filters.
        filter: Option<u32>,
        /// Whether it is an event of `until`, which is not part of the output.
        until: bool,
        /// The correlation values, if this event has set any.
        keys: Option<Value>,
        /// Whether it is the last one.
        last: bool,
    },
    /// `Listening` stays: it has looked at all events before that number.
    EventsPassed {
        /// Which.
        act: ActId,
        /// The number of the next event.
        upto: u64,
    },
    /// `Publishing` → `Returned`: everybody who listened has the event.
    EventPublished {
        /// Which.
        act: ActId,
    },
    /// `Calling` → `Returned`.
    TaskSucceeded {
        /// Which.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// The connector's output.
        output: Value,
        /// What the log keeps beside it.
        evidence: Option<Value>,
    },
    /// `Calling` → `Failing`.
    TaskRefused {
        /// Which.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// Why.
        problem: Problem,
    },
    /// `Calling` → `Failing`, to be retried not before `not_before` if a `retry` wants to.
    TaskFailed {
        /// Which.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// Why.
        problem: Problem,
        /// What the other side asked for.
        not_before: Option<Timestamp>,
    },
    /// `Calling` stays, its phase becomes `Undetermined`: the call may have had its effect. Also what recovery says of a
    /// call whose process died.
    TaskUnknown {
        /// Which.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// What is known.
        problem: Problem,
        /// Whether the process ended while the call was in flight.
        interrupted: bool,
    },
    /// `Calling`, undetermined or not reconciled → backing off until then; the same key will be used.
    TaskDelayed {
        /// Which.
        act: ActId,
        /// When it will be called again.
        until: Timestamp,
    },
    /// `Calling`, undetermined, backing off or resolved → in flight, with the same key.
    TaskRetried {
        /// Which.
        act: ActId,
        /// The attempt that begins.
        attempt: u32,
    },
    /// `Calling`, undetermined → reconciling: the connector is asked what became of it.
    TaskQuestioned {
        /// Which.
        act: ActId,
    },
    /// `Calling`, undetermined or reconciling → waits for an operator.
    TaskParked {
        /// Which.
        act: ActId,
    },
    /// `Calling`, parked → `Returned`, `Failing` or undetermined-and-to-be-retried, as the operator says.
    TaskResolved {
        /// Which.
        act: ActId,
        /// What the operator says.
        resolution: Resolution,
        /// Who.
        actor: Arc<str>,
    },
    /// The outcome of a call that nobody waits for any more (timed out, cancelled, or its branch lost). Changes nothing
    /// but the list of abandoned calls; the log keeps it.
    LateOutcome {
        /// The act, which is gone.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// `succeeded`, `refused`, `failed` or `unknown`.
        outcome: Arc<str>,
        /// Output or problem.
        detail: Value,
    },
    /// `Returned` → gone: `output.as` and `export.as` were evaluated; the parent goes on.
    TaskCompleted {
        /// Which.
        act: ActId,
        /// The output after `output.as`; absent where there is none.
        output: Option<Value>,
        /// What `export.as` did to the context.
        export: Option<Export>,
    },
    /// Any status → `Failing`: an expression failed, a `raise` was reached, a limit was hit.
    TaskFaulted {
        /// Which.
        act: ActId,
        /// The error.
        problem: Problem,
    },
    /// A `try` catches the error of an act below it. Everything below the `try` ends.
    ErrorCaught {
        /// The `try`.
        act: ActId,
        /// The act that failed.
        from: ActId,
        /// What happens now.
        handling: Handling,
    },
    /// `Try`, delayed → its body begins anew with the same input.
    TryRetried {
        /// The `try`.
        act: ActId,
        /// The attempt that begins; 2 for the first retry.
        attempt: u32,
    },
    /// `For`, between iterations → the iteration's list begins.
    IterationStarted {
        /// The `for`.
        act: ActId,
        /// From 0.
        index: u32,
    },
    /// `For`, between iterations → `Returned`: no item is left, or `while` does not hold.
    LoopEnded {
        /// The `for`.
        act: ActId,
    },
    /// `Waiting` → `Returned` with its input.
    TimerFired {
        /// Which.
        act: ActId,
    },
    /// The `timeout` of an act (or, with `attempt`, of the current attempt of a `try`) has passed: everything below it
    /// ends and it is `Failing` with a time-out; for an attempt the `try` itself may catch it.
    DeadlinePassed {
        /// Which.
        act: ActId,
        /// Whether it was the limit of one attempt of a `try`.
        attempt: bool,
    },
    /// Running → paused: outcomes are still recorded, nothing new begins.
    RunPaused {
        /// Who.
        actor: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Paused → running.
    RunResumed {
        /// Who.
        actor: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Open → cancelled. Every act ends; calls in flight are told.
    RunCancelled {
        /// Who.
        actor: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The history up to here is that of another run, and from here on it is a run of its own, and running.
    RunForked {
        /// Whose history it is.
        origin: RunId,
        /// How many events of it.
        seq: u64,
        /// The run that begins.
        run: RunId,
        /// What the next task begins with instead.
        input: Option<Value>,
        /// Who.
        actor: Arc<str>,
    },
    /// The run is that of another version of its workflow from here on, with which its history leads to the same.
    RunMigrated {
        /// The version's plan.
        plan: Digest,
        /// The version.
        version: Arc<str>,
        /// Who.
        actor: Arc<str>,
    },
    /// Root `Returned` → completed.
    RunCompleted {
        /// The output after the workflow's `output.as`; absent where there is none.
        output: Option<Value>,
    },
    /// An error reached the top → faulted. Every act ends.
    RunFaulted {
        /// The error.
        problem: Problem,
    },
}

/// What `export.as` made of the context.
#[derive(Clone, Debug, PartialEq)]
pub enum Export {
    /// The context is this now.
    Replace(Piece),
    /// The context keeps its members, but for these. Recorded so when the expression only added to the context, so that a
    /// context that grows does not fill the journal.
    Merge(Vec<(Arc<str>, Piece)>),
}

/// A value, or the task's output that stands in the journal already.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// The task's (transformed) output.
    Output,
    /// Something else.
    Value(Value),
}

/// What a `try` does with an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Handling {
    /// The body runs again at `until`.
    Retry {
        /// The attempt to come; 2 for the first retry.
        attempt: u32,
        /// When, jitter included.
        until: Timestamp,
    },
    /// `catch.do` runs.
    Handle,
    /// Nothing: the try's input goes on.
    Swallow,
}

/// What an operator says about an effect whose outcome is unknown.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// It happened; this was the output.
    Succeeded(Value),
    /// Call it again with the same key.
    Retry,
    /// It did not happen: raise this.
    Failed(Problem),
}

/// What the world must do after an event is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Call the connector.
    Call {
        /// Which act; [`super::Run::call`] has the rest.
        act: ActId,
        /// Which attempt.
        attempt: u32,
    },
    /// Ask the connector what became of a call.
    Reconcile {
        /// Which act.
        act: ActId,
        /// Which attempt.
        attempt: u32,
    },
    /// Give the event that this act emits to everybody who listens.
    Publish {
        /// Which act; [`super::Run::publication`] has the event.
        act: ActId,
    },
    /// Nobody waits for this call any more.
    CancelCall {
        /// Which act.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// Its task.
        node: NodeId,
    },
}

impl Event {
    /// The act it is about.
    pub fn act(&self) -> Option<ActId> {
        match self {
            Event::TaskEntered { act, .. }
            | Event::TaskSkipped { act }
            | Event::TaskReturned { act, .. }
            | Event::EventEmitted { act, .. }
            | Event::CaseTaken { act, .. }
            | Event::PolicyDecided { act, .. }
            | Event::TaskStarted { act, .. }
            | Event::WaitStarted { act, .. }
            | Event::ListenStarted { act, .. }
            | Event::ApprovalRequested { act, .. }
            | Event::ApprovalVoted { act, .. }
            | Event::ApprovalDelegated { act, .. }
            | Event::ApprovalEscalated { act }
            | Event::EventTaken { act, .. }
            | Event::EventsPassed { act, .. }
            | Event::EventPublished { act }
            | Event::TaskSucceeded { act, .. }
            | Event::TaskRefused { act, .. }
            | Event::TaskFailed { act, .. }
            | Event::TaskUnknown { act, .. }
            | Event::TaskDelayed { act, .. }
            | Event::TaskRetried { act, .. }
            | Event::TaskQuestioned { act }
            | Event::TaskParked { act }
            | Event::TaskResolved { act, .. }
            | Event::LateOutcome { act, .. }
            | Event::TaskCompleted { act, .. }
            | Event::TaskFaulted { act, .. }
            | Event::ErrorCaught { act, .. }
            | Event::TryRetried { act, .. }
            | Event::IterationStarted { act, .. }
            | Event::LoopEnded { act }
            | Event::TimerFired { act }
            | Event::DeadlinePassed { act, .. } => Some(*act),
            Event::RunStarted { .. }
            | Event::EventReceived { .. }
            | Event::RunPaused { .. }
            | Event::RunResumed { .. }
            | Event::RunCancelled { .. }
            | Event::RunForked { .. }
            | Event::RunMigrated { .. }
            | Event::RunCompleted { .. }
            | Event::RunFaulted { .. } => None,
        }
    }

    /// Its name, as the log shows it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::RunStarted { .. } => "RunStarted",
            Event::TaskEntered { .. } => "TaskEntered",
            Event::TaskSkipped { .. } => "TaskSkipped",
            Event::TaskReturned { .. } => "TaskReturned",
            Event::EventEmitted { .. } => "EventEmitted",
            Event::CaseTaken { .. } => "CaseTaken",
            Event::PolicyDecided { .. } => "PolicyDecided",
            Event::TaskStarted { .. } => "TaskStarted",
            Event::WaitStarted { .. } => "WaitStarted",
            Event::ListenStarted { .. } => "ListenStarted",
            Event::ApprovalRequested { .. } => "ApprovalRequested",
            Event::ApprovalVoted { .. } => "ApprovalVoted",
            Event::ApprovalDelegated { .. } => "ApprovalDelegated",
            Event::ApprovalEscalated { .. } => "ApprovalEscalated",
            Event::EventReceived { .. } => "EventReceived",
            Event::EventTaken { .. } => "EventTaken",
            Event::EventsPassed { .. } => "EventsPassed",
            Event::EventPublished { .. } => "EventPublished",
            Event::TaskSucceeded { .. } => "TaskSucceeded",
            Event::TaskRefused { .. } => "TaskRefused",
            Event::TaskFailed { .. } => "TaskFailed",
            Event::TaskUnknown { .. } => "TaskUnknown",
            Event::TaskDelayed { .. } => "TaskDelayed",
            Event::TaskRetried { .. } => "TaskRetried",
            Event::TaskQuestioned { .. } => "TaskQuestioned",
            Event::TaskParked { .. } => "TaskParked",
            Event::TaskResolved { .. } => "TaskResolved",
            Event::LateOutcome { .. } => "LateOutcome",
            Event::TaskCompleted { .. } => "TaskCompleted",
            Event::TaskFaulted { .. } => "TaskFaulted",
            Event::ErrorCaught { .. } => "ErrorCaught",
            Event::TryRetried { .. } => "TryRetried",
            Event::IterationStarted { .. } => "IterationStarted",
            Event::LoopEnded { .. } => "LoopEnded",
            Event::TimerFired { .. } => "TimerFired",
            Event::DeadlinePassed { .. } => "DeadlinePassed",
            Event::RunPaused { .. } => "RunPaused",
            Event::RunResumed { .. } => "RunResumed",
            Event::RunCancelled { .. } => "RunCancelled",
            Event::RunForked { .. } => "RunForked",
            Event::RunMigrated { .. } => "RunMigrated",
            Event::RunCompleted { .. } => "RunCompleted",
            Event::RunFaulted { .. } => "RunFaulted",
        }
    }

    /// Whether it follows from the state by the definition alone ([`super::decide`]); the others come from outside.
    pub fn is_decided(&self) -> bool {
        match self {
            Event::TaskEntered { .. }
            | Event::TaskSkipped { .. }
            | Event::TaskReturned { .. }
            | Event::EventEmitted { .. }
            | Event::CaseTaken { .. }
            | Event::PolicyDecided { .. }
            | Event::TaskStarted { .. }
            | Event::WaitStarted { .. }
            | Event::ListenStarted { .. }
            | Event::ApprovalRequested { .. }
            | Event::EventTaken { .. }
            | Event::EventsPassed { .. }
            | Event::TaskDelayed { .. }
            | Event::TaskQuestioned { .. }
            | Event::TaskParked { .. }
            | Event::TaskCompleted { .. }
            | Event::TaskFaulted { .. }
            | Event::ErrorCaught { .. }
            | Event::IterationStarted { .. }
            | Event::LoopEnded { .. }
            | Event::RunCompleted { .. }
            | Event::RunFaulted { .. } => true,
            Event::RunStarted { .. }
            | Event::ApprovalVoted { .. }
            | Event::ApprovalDelegated { .. }
            | Event::ApprovalEscalated { .. }
            | Event::EventReceived { .. }
            | Event::EventPublished { .. }
            | Event::TaskSucceeded { .. }
            | Event::TaskRefused { .. }
            | Event::TaskFailed { .. }
            | Event::TaskUnknown { .. }
            | Event::TaskRetried { .. }
            | Event::TaskResolved { .. }
            | Event::LateOutcome { .. }
            | Event::TryRetried { .. }
            | Event::TimerFired { .. }
            | Event::DeadlinePassed { .. }
            | Event::RunPaused { .. }
            | Event::RunResumed { .. }
            | Event::RunForked { .. }
            | Event::RunMigrated { .. }
            | Event::RunCancelled { .. } => false,
        }
    }
}
