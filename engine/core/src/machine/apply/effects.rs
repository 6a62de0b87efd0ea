//! What becomes of calls.

use super::Misfit;
use crate::machine::event::{Command, Event, Resolution};
use crate::machine::state::{CallPhase, Run, Status};
use crate::time::Timestamp;

impl Run {
    pub(super) fn apply_to_call(
        &mut self,
        event: &Event,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) -> Result<(), Misfit> {
        let id = event.act().expect("an event about an act");
        let index = self.index(event, id, "calling")?;
        let Status::Calling(calling) = &mut self.acts[index].status else {
            return Err(self.misfit_act(event, id, "calling"));
        };
        let asked = matches!(calling.phase, CallPhase::InFlight | CallPhase::Reconciling(_));
        let expected = match (event, &calling.phase) {
            (
                Event::TaskSucceeded { attempt, .. }
                | Event::TaskRefused { attempt, .. }
                | Event::TaskFailed { attempt, .. }
                | Event::TaskUnknown { attempt, .. },
                _,
            ) if asked && *attempt == calling.attempt => None,
            (Event::TaskSucceeded { .. } | Event::TaskRefused { .. }, _) => Some("in flight in that attempt"),
            (Event::TaskFailed { .. } | Event::TaskUnknown { .. }, _) => Some("in flight in that attempt"),
            (Event::TaskQuestioned { .. }, CallPhase::Undetermined { .. }) => None,
            (Event::TaskQuestioned { .. }, _) => Some("undetermined"),
            (
                Event::TaskDelayed { .. } | Event::TaskParked { .. },
                CallPhase::Undetermined { .. } | CallPhase::Unreconciled(_),
            ) => None,
            (Event::TaskDelayed { .. } | Event::TaskParked { .. }, _) => Some("undetermined"),
            (Event::TaskRetried { attempt, .. }, phase) => {
                let may = !matches!(phase, CallPhase::InFlight | CallPhase::Parked(_));
                (!(may && *attempt == calling.attempt + 1)).then_some("to be retried")
            }
            (Event::TaskResolved { .. }, CallPhase::Parked(_)) => None,
            (Event::TaskResolved { .. }, _) => Some("waiting for an operator"),
            (other, _) => unreachable!("{} is not about a call", other.name()),
        };
        if let Some(expected) = expected {
            return Err(self.misfit_act(event, id, expected));
        }
        let then = self.plan.node(self.acts[index].node).then;
        let Status::Calling(calling) = &mut self.acts[index].status else { unreachable!("checked above") };
        match event {
            Event::TaskSucceeded { output, .. } => self.returned(id, output.clone(), then, at, commands),
            Event::TaskRefused { problem, .. } => self.fail(id, problem.clone(), None),
            Event::TaskFailed { problem, not_before, .. } => self.fail(id, problem.clone(), *not_before),
            Event::TaskUnknown { problem, interrupted, .. } => {
                let reconciling = matches!(calling.phase, CallPhase::Reconciling(_));
                calling.unknowns += u32::from(!interrupted);
                // A crash while the connector was asked: ask again.
                calling.phase = if reconciling && !interrupted {
                    CallPhase::Unreconciled(problem.clone())
                } else {
                    CallPhase::Undetermined { problem: problem.clone(), interrupted: *interrupted }
                };
                self.agenda.push_back(id);
            }
            Event::TaskDelayed { until, .. } => {
                calling.phase = CallPhase::BackingOff { until: *until };
                self.settle(id);
            }
            Event::TaskQuestioned { .. } => {
                let CallPhase::Undetermined { problem, .. } = &calling.phase else { unreachable!("checked above") };
                calling.phase = CallPhase::Reconciling(problem.clone());
                commands.push(Command::Reconcile { act: id, attempt: calling.attempt });
                self.settle(id);
            }
            Event::TaskParked { .. } => {
                let (CallPhase::Undetermined { problem, .. } | CallPhase::Unreconciled(problem)) = &calling.phase
                else {
                    unreachable!("checked above")
                };
                calling.phase = CallPhase::Parked(problem.clone());
                self.settle(id);
            }
            Event::TaskRetried { attempt, .. } => {
                calling.attempt = *attempt;
                calling.phase = CallPhase::InFlight;
                commands.push(Command::Call { act: id, attempt: *attempt });
                self.settle(id);
            }
            Event::TaskResolved { resolution, .. } => match resolution {
                Resolution::Succeeded(output) => self.returned(id, output.clone(), then, at, commands),
                Resolution::Failed(problem) => self.fail(id, problem.clone(), None),
                Resolution::Retry => {
                    calling.attempt += 1;
                    calling.phase = CallPhase::InFlight;
                    commands.push(Command::Call { act: id, attempt: calling.attempt });
                }
            },
            other => unreachable!("{} is not about a call", other.name()),
        }
        Ok(())
    }
}
