//! One turn: an input from outside, and everything that follows from it without the outside.

use std::sync::Arc;

use crate::Value;
use crate::definition::plan::Plan;
use crate::expression::Limits;
use crate::problem::Problem;
use crate::time::Timestamp;

use super::admit::admit;
use super::approval::Voter;
use super::decide::decide;
use super::event::{Command, Event, Resolution};
use super::ids::{ActId, RunId};
use super::state::{BEHAVIOUR, Run};

/// The most events that one turn journals. A run that has more to do without the outside yields, so that other runs get
/// their turns and it can be cancelled; the loop then sends [`Input::Continue`].
pub const EVENTS_MAX: usize = 1_000;

/// What a turn may know of the world.
#[derive(Clone, Debug)]
pub struct Env<'a> {
    /// The time that the turn's entry is journaled with.
    pub at: Timestamp,
    /// Limits of expressions.
    pub limits: &'a Limits,
    /// `$runtime`
    pub runtime: &'a Value,
    /// A stopwatch in microseconds, for measurements that replay does not compare.
    pub stopwatch: fn() -> u64,
}

/// Something from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A call came back.
    Outcome {
        /// Which act.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// With what.
        outcome: CallOutcome,
    },
    /// The connector said what became of an earlier call: it had this outcome, or (`None`) it had not happened.
    Reconciled {
        /// Which act.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// What became of it.
        outcome: Option<CallOutcome>,
    },
    /// The process ended while a call was in flight.
    Interrupted {
        /// Which act.
        act: ActId,
        /// Which attempt.
        attempt: u32,
    },
    /// An event from outside.
    Event(Value),
    /// Somebody votes on an approval.
    Vote {
        /// The task's reference or name; may be absent if only one waits.
        task: Option<Arc<str>>,
        /// Who.
        voter: Voter,
        /// Whether they approve.
        approves: bool,
        /// Why.
        comment: Arc<str>,
    },
    /// Somebody who may vote on an approval lets another one do so.
    Delegate {
        /// The task's reference or name; may be absent if only one waits.
        task: Option<Arc<str>>,
        /// Who.
        voter: Voter,
        /// To whom.
        to: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Everybody who listened has the event that an act emitted.
    Published {
        /// Which act.
        act: ActId,
    },
    /// Time has passed: the earliest due timer fires.
    Tick,
    /// Go on after a yield.
    Continue,
    /// End it.
    Cancel {
        /// Who.
        actor: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Stop it for a while.
    Pause {
        /// Who.
        actor: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// Let it go on.
    Resume {
        /// Who.
        actor: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// An operator says what became of an effect.
    Resolve {
        /// The task's reference (`/do/0/name`) or name; may be absent if only one waits.
        task: Option<Arc<str>>,
        /// What became of it.
        resolution: Resolution,
        /// Who says so.
        actor: Arc<str>,
    },
}

/// What a connector said.
#[derive(Clone, Debug, PartialEq)]
pub enum CallOutcome {
    /// It happened.
    Succeeded {
        /// What the workflow goes on with.
        output: Value,
        /// What the log keeps beside it.
        evidence: Option<Value>,
    },
    /// It did not happen and will not.
    Refused(Problem),
    /// It did not happen this time.
    Failed {
        /// Why.
        problem: Problem,
        /// Do not retry before.
        not_before: Option<Timestamp>,
    },
    /// Nobody knows.
    Unknown(Problem),
}

/// An input that the run cannot take. Nothing has changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// The run has ended.
    #[error("{action} run {run}: it is {phase} already")]
    Ended {
        /// What was asked.
        action: &'static str,
        /// Which run.
        run: RunId,
        /// Its phase.
        phase: &'static str,
    },
    /// The run is not in the right phase.
    #[error("{action} run {run}: it is {phase}")]
    WrongPhase {
        /// What was asked.
        action: &'static str,
        /// Which run.
        run: RunId,
        /// Its phase.
        phase: &'static str,
    },
    /// No effect waits for an operator there.
    #[error("resolve {task} of run {run}: no effect with an unknown outcome waits there{others}")]
    NothingToResolve {
        /// What was named.
        task: String,
        /// Which run.
        run: RunId,
        /// The tasks that do wait, as a hint.
        others: String,
    },
    /// No approval waits there.
    #[error("decide about {task} of run {run}: no approval waits there{others}")]
    NothingToApprove {
        /// What was named.
        task: String,
        /// Which run.
        run: RunId,
        /// The tasks that do wait, as a hint.
        others: String,
    },
    /// Somebody who may not vote.
    #[error("decide about {task} of run {run}: {why}")]
    NotEntitled {
        /// The task.
        task: String,
        /// Which run.
        run: RunId,
        /// Why not.
        why: String,
    },
    /// An outcome that nobody waits for (a duplicate, or of an attempt long gone).
    #[error("take the outcome of attempt {attempt} of act {act} in run {run}: nobody waits for it")]
    Stale {
        /// Which act.
        act: ActId,
        /// Which attempt.
        attempt: u32,
        /// Which run.
        run: RunId,
    },
    /// No `listen` of the definition can want this event.
    #[error("give an event of type {kind} to run {run}: nothing in its definition listens to such an event")]
    NotListening {
        /// The event's type.
        kind: String,
        /// Which run.
        run: RunId,
    },
    /// It is no event.
    #[error("give an event to run {run}: {what}")]
    NoEvent {
        /// What is wrong.
        what: &'static str,
        /// Which run.
        run: RunId,
    },
    /// Nothing is due.
    #[error("fire a timer of run {run}: nothing is due")]
    NothingDue {
        /// Which run.
        run: RunId,
    },
}

/// What one turn made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// To be journaled as one entry.
    pub events: Vec<Event>,
    /// To be released when the entry is durable.
    pub commands: Vec<Command>,
}

/// What a run is started with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The input as given.
    pub input: Value,
    /// The key that makes starting idempotent.
    pub key: Option<Arc<str>>,
    /// Who or what starts it.
    pub actor: Arc<str>,
}

/// Starts a run and takes it as far as it goes without the outside.
pub fn start(id: RunId, plan: Arc<Plan>, start: Start, env: &Env<'_>) -> (Run, Turn) {
    let event = started(&plan, start);
    let mut run = Run::begin(id, plan, &event, env.at).expect("RunStarted begins a run");
    let mut turn = Turn { events: vec![event], commands: Vec::new() };
    run.go_on(env, &mut turn);
    (run, turn)
}

/// Starts a run and takes it no step further: what follows is left to whoever can perform it.
pub fn start_only(id: RunId, plan: Arc<Plan>, start: Start, env: &Env<'_>) -> (Run, Turn) {
    let event = started(&plan, start);
    let run = Run::begin(id, plan, &event, env.at).expect("RunStarted begins a run");
    (run, Turn { events: vec![event], commands: Vec::new() })
}

fn started(plan: &Plan, start: Start) -> Event {
    Event::RunStarted {
        plan: plan.digest,
        workflow: plan.qualified_name(),
        version: plan.version.clone(),
        input: start.input,
        key: start.key,
        actor: start.actor,
        behaviour: BEHAVIOUR,
    }
}

/// The key that makes starting idempotent, where the definition computes one from the (transformed) input.
///
/// # Errors
/// If an expression fails.
pub fn start_key(plan: &Arc<Plan>, input: &Value, env: &Env<'_>) -> Result<Option<Arc<str>>, Problem> {
    super::decide::start_key(plan, input, env)
}

impl Run {
    /// Takes an input and goes as far as it can without the outside.
    ///
    /// # Errors
    /// If the run cannot take the input; nothing has changed.
    pub fn turn(&mut self, input: Input, env: &Env<'_>) -> Result<Turn, Rejected> {
        let mut turn = Turn::default();
        self.departed.clear();
        if let Some(event) = admit(self, input, env.at)? {
            self.apply(&event, env.at, &mut turn.commands).expect("an admitted event fits the state");
            turn.events.push(event);
        }
        self.go_on(env, &mut turn);
        Ok(turn)
    }

    /// Takes an input and goes no step further. For processes that call nobody: an intent must not be journaled by one that
    /// will not act on it, or the next one would take it for a call that may have happened.
    ///
    /// # Errors
    /// If the run cannot take the input; nothing has changed.
    pub fn take(&mut self, input: Input, env: &Env<'_>) -> Result<Turn, Rejected> {
        let mut turn = Turn::default();
        self.departed.clear();
        if let Some(event) = admit(self, input, env.at)? {
            self.apply(&event, env.at, &mut turn.commands).expect("an admitted event fits the state");
            turn.events.push(event);
        }
        Ok(turn)
    }

    /// Whether it has more to do without the outside (its last turn yielded).
    pub fn has_more(&self) -> bool {
        self.phase == super::state::Phase::Running && !self.agenda.is_empty()
    }

    fn go_on(&mut self, env: &Env<'_>, turn: &mut Turn) {
        while turn.events.len() < EVENTS_MAX {
            let Some(event) = decide(self, env) else { break };
            self.apply(&event, env.at, &mut turn.commands).expect("a decided event fits the state");
            turn.events.push(event);
        }
    }
}
