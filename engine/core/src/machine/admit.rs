//! Whether an input from outside is acceptable, as the event that it becomes.

use crate::Value;
use crate::problem::{Problem, Standard};
use crate::time::Timestamp;

use super::event::Event;
use super::ids::ActId;
use super::state::{Act, CallPhase, Calling, Phase, Run, Status};
use super::turn::{CallOutcome, Input, Rejected};

/// Turns an input into the event that it means for this run now; `None` if it means nothing but "go on".
///
/// # Errors
/// If the run cannot take it.
pub fn admit(run: &Run, input: Input, at: Timestamp) -> Result<Option<Event>, Rejected> {
    let event = match input {
        Input::Continue => return Ok(None),
        Input::Outcome { act, attempt, outcome } => outcome_event(run, act, attempt, outcome)?,
        Input::Reconciled { act, attempt, outcome: Some(outcome) } => outcome_event(run, act, attempt, outcome)?,
        Input::Reconciled { act, attempt, outcome: None } => match live_call(run, act) {
            Some(call) if call.attempt == attempt && matches!(call.phase, CallPhase::Reconciling(_)) => {
                Event::TaskRetried { act, attempt: attempt + 1 }
            }
            _ => return Err(Rejected::Stale { act, attempt, run: run.id }),
        },
        Input::Interrupted { act, attempt } => match live_call(run, act) {
            Some(call)
                if call.attempt == attempt && matches!(call.phase, CallPhase::InFlight | CallPhase::Reconciling(_)) =>
            {
                let detail = "the process ended before the outcome was recorded";
                let problem = Problem::standard(Standard::Runtime, detail);
                Event::TaskUnknown { act, attempt, problem, interrupted: true }
            }
            _ => return Err(Rejected::Stale { act, attempt, run: run.id }),
        },
        Input::Event(event) => {
            open(run, "give an event to")?;
            return super::listen::received(run, event);
        }
        Input::Vote { task, voter, approves, comment } => {
            open(run, "decide about")?;
            super::approval::voted(run, task.as_deref(), &voter, approves, comment)?
        }
        Input::Delegate { task, voter, to, reason } => {
            open(run, "decide about")?;
            super::approval::delegated(run, task.as_deref(), &voter, to, reason)?
        }
        Input::Published { act } => match run.publication(act) {
            Some(_) => Event::EventPublished { act },
            None => return Err(Rejected::Stale { act, attempt: 1, run: run.id }),
        },
        Input::Tick => due(run, at).ok_or(Rejected::NothingDue { run: run.id })?,
        Input::Cancel { actor, reason } => {
            open(run, "cancel")?;
            Event::RunCancelled { actor, reason }
        }
        Input::Pause { actor, reason } => {
            open(run, "pause")?;
            if run.phase == Phase::Paused {
                return Err(Rejected::WrongPhase { action: "pause", run: run.id, phase: "paused already" });
            }
            Event::RunPaused { actor, reason }
        }
        Input::Resume { actor, reason } => {
            open(run, "resume")?;
            if run.phase == Phase::Running {
                return Err(Rejected::WrongPhase { action: "resume", run: run.id, phase: "not paused" });
            }
            Event::RunResumed { actor, reason }
        }
        Input::Resolve { task, resolution, actor } => {
            open(run, "resolve")?;
            let waiting: Vec<&Act> =
                run.calls().filter(|(_, c)| matches!(c.phase, CallPhase::Parked(_))).map(|(act, _)| act).collect();
            let named = |act: &&&Act| {
                let node = run.node_of(act);
                task.as_ref().is_none_or(|t| *t == node.pointer || *t == node.name)
            };
            let matching: Vec<&&Act> = waiting.iter().filter(named).collect();
            let [act] = matching[..] else {
                let others: Vec<String> = waiting.iter().map(|a| run.node_of(a).pointer.to_string()).collect();
                let others = match others.len() {
                    0 => String::new(),
                    _ => format!(" (waiting: {})", others.join(", ")),
                };
                let task = task.map_or_else(|| "the task".to_owned(), |t| t.to_string());
                return Err(Rejected::NothingToResolve { task, run: run.id, others });
            };
            Event::TaskResolved { act: act.id, resolution, actor }
        }
    };
    Ok(Some(event))
}

/// The event of the timer that is due first, if one is; equal times in order of act.
pub fn due(run: &Run, at: Timestamp) -> Option<Event> {
    if run.phase != Phase::Running {
        return None;
    }
    let mut first: Option<(Timestamp, &Act, bool)> = None;
    for act in &run.acts {
        for (slot, timer) in act.timers().into_iter().enumerate() {
            let Some((time, _)) = timer else { continue };
            if time <= at && first.is_none_or(|(best, ..)| time < best) {
                first = Some((time, act, slot == 1));
            }
        }
    }
    let (_, act, deadline) = first?;
    let id = act.id;
    Some(match &act.status {
        _ if deadline => Event::DeadlinePassed { act: id, attempt: false },
        Status::Waiting { .. } => Event::TimerFired { act: id },
        Status::Delayed { attempt, .. } => Event::TryRetried { act: id, attempt: *attempt },
        Status::Calling(calling) => Event::TaskRetried { act: id, attempt: calling.attempt + 1 },
        Status::Trying { .. } => Event::DeadlinePassed { act: id, attempt: true },
        Status::Approving(_) => Event::ApprovalEscalated { act: id },
        Status::Ready
        | Status::List { .. }
        | Status::Loop { .. }
        | Status::Branches { .. }
        | Status::Extended { .. }
        | Status::Catching { .. }
        | Status::Listening(_)
        | Status::Publishing { .. }
        | Status::Returned { .. }
        | Status::Failing { .. } => unreachable!("{} has no timer of its own", act.status.name()),
    })
}

fn outcome_event(run: &Run, act: ActId, attempt: u32, outcome: CallOutcome) -> Result<Event, Rejected> {
    let waited_for = live_call(run, act).is_some_and(|call| {
        call.attempt == attempt && matches!(call.phase, CallPhase::InFlight | CallPhase::Reconciling(_))
    });
    if waited_for {
        return Ok(match outcome {
            CallOutcome::Succeeded { output, evidence } => Event::TaskSucceeded { act, attempt, output, evidence },
            CallOutcome::Refused(problem) => Event::TaskRefused { act, attempt, problem },
            CallOutcome::Failed { problem, not_before } => Event::TaskFailed { act, attempt, problem, not_before },
            CallOutcome::Unknown(problem) => Event::TaskUnknown { act, attempt, problem, interrupted: false },
        });
    }
    if !run.abandoned.iter().any(|a| a.act == act && a.attempt == attempt) {
        return Err(Rejected::Stale { act, attempt, run: run.id });
    }
    let problem = |p: Problem| Value::from_serialize(&p).expect("a problem is JSON");
    let (outcome, detail) = match outcome {
        CallOutcome::Succeeded { output, .. } => ("succeeded", output),
        CallOutcome::Refused(p) => ("refused", problem(p)),
        CallOutcome::Failed { problem: p, .. } => ("failed", problem(p)),
        CallOutcome::Unknown(p) => ("unknown", problem(p)),
    };
    Ok(Event::LateOutcome { act, attempt, outcome: outcome.into(), detail })
}

fn live_call(run: &Run, act: ActId) -> Option<&Calling> {
    match &run.act(act)?.status {
        Status::Calling(calling) => Some(calling),
        _ => None,
    }
}

fn open(run: &Run, action: &'static str) -> Result<(), Rejected> {
    if run.is_open() { Ok(()) } else { Err(Rejected::Ended { action, run: run.id, phase: run.phase.name() }) }
}
