//! Errors, retries, iterations and timers.

use std::sync::Arc;

use super::{Misfit, exported};
use crate::Value;
use crate::definition::plan::Action;
use crate::machine::event::{Command, Event, Handling};
use crate::machine::ids::ActId;
use crate::machine::state::{Binding, Run, Status};
use crate::problem::{Problem, Standard};
use crate::time::Timestamp;

impl Run {
    pub(super) fn apply_to_flow(
        &mut self,
        event: &Event,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) -> Result<(), Misfit> {
        let id = event.act().expect("an event about an act");
        let index = self.index(event, id, "live")?;
        let plan = self.plan.clone();
        let node = plan.node(self.acts[index].node);
        match (event, &mut self.acts[index].status) {
            (Event::TaskCompleted { output, export, .. }, Status::Returned { output: raw, then }) if id != ActId(0) => {
                let (output, then) = (output.clone().unwrap_or_else(|| raw.clone()), *then);
                if let Some(export) = export {
                    self.context = exported(&self.context, export, &output);
                }
                self.settle(id);
                self.complete(id, output, then, at, commands);
            }
            (Event::TaskCompleted { .. }, _) => return Err(self.misfit_act(event, id, "returned")),
            (Event::TaskFaulted { problem, .. }, _) => {
                self.drop_below(id, commands);
                self.settle(id);
                self.fail(id, problem.clone(), None);
            }
            (Event::ErrorCaught { from, handling, .. }, status) => {
                let own = *from == id && matches!(status, Status::Failing { inside: Some(_), .. });
                if !(own || matches!(status, Status::Trying { .. })) {
                    return Err(self.misfit_act(event, id, "trying"));
                }
                let Some(Status::Failing { problem, .. }) = self.act(*from).map(|a| &a.status) else {
                    return Err(self.misfit_act(event, *from, "failing"));
                };
                let problem = problem.clone();
                self.drop_below(id, commands);
                self.settle(id);
                self.caught(index, problem, handling, at, commands);
            }
            (Event::TryRetried { attempt, .. }, Status::Delayed { attempt: coming, .. }) if *attempt == *coming => {
                let Action::Try { body, catch } = &node.action else { unreachable!("only a try is delayed") };
                let attempt_deadline = catch.retry.as_ref().and_then(|r| r.attempt_max).map(|d| at.plus(d));
                self.acts[index].status = Status::Trying { attempt: *attempt, attempt_deadline, jumps: 0 };
                self.begin_list(id, body, at, commands);
            }
            (Event::TryRetried { .. }, _) => return Err(self.misfit_act(event, id, "delayed")),
            (Event::IterationStarted { index: now, .. }, Status::Loop { between, index: coming, items, carry, .. })
                if *between && now == coming && items.as_array().is_some_and(|i| (*now as usize) < i.len()) =>
            {
                *between = false;
                let Action::For(looped) = &node.action else { unreachable!("only a for is a loop") };
                let item = || items.as_array().and_then(|i| i.get(*now as usize)).cloned().unwrap_or_default();
                let input = if looped.gather { item() } else { carry.clone() };
                self.settle(id);
                match looped.body.first() {
                    Some(first) => self.spawn_in_list(id, *first, input, at),
                    None => self.list_ended(id, input, at, commands),
                }
            }
            (Event::LoopEnded { .. }, Status::Loop { between: true, carry, .. }) => {
                let output = carry.clone();
                self.settle(id);
                self.returned(id, output, node.then, at, commands);
            }
            (Event::IterationStarted { .. } | Event::LoopEnded { .. }, _) => {
                return Err(self.misfit_act(event, id, "between iterations"));
            }
            (Event::TimerFired { .. }, Status::Waiting { .. }) => {
                let output = self.acts[index].input.clone();
                self.returned(id, output, node.then, at, commands);
            }
            (Event::TimerFired { .. }, _) => return Err(self.misfit_act(event, id, "waiting")),
            (Event::DeadlinePassed { attempt, .. }, status) => {
                let trying = match status {
                    Status::Trying { attempt, attempt_deadline: Some(_), .. } => Some(*attempt),
                    _ => None,
                };
                if !(if *attempt { trying.is_some() } else { self.acts[index].deadline.is_some() }) {
                    return Err(self.misfit_act(event, id, "limited in time"));
                }
                let what = if *attempt { "an attempt of task" } else { "task" };
                let name = if id == ActId(0) { "workflow" } else { what };
                let since = match (&self.acts[index].status, &node.action) {
                    // The current attempt began as long before its deadline as it may take.
                    (Status::Trying { attempt_deadline: Some(end), .. }, Action::Try { catch, .. }) if *attempt => {
                        let longest = catch.retry.as_ref().and_then(|r| r.attempt_max).unwrap_or_default();
                        at.since(*end) + longest
                    }
                    _ => at.since(self.acts[index].started_at),
                };
                let after = since.as_millis();
                let detail = format!("{name} {} did not end within its timeout ({after} ms)", node.name);
                let problem = Problem::standard(Standard::Timeout, detail);
                self.drop_below(id, commands);
                let act = self.acts[index].clone();
                self.abandon(&act, commands);
                self.settle(id);
                self.fail(id, problem, None);
                if let Status::Failing { inside, .. } = &mut self.acts[index].status {
                    *inside = trying.filter(|_| *attempt);
                }
                if !attempt {
                    // A deadline passes once.
                    self.acts[index].deadline = None;
                }
            }
            (other, _) => unreachable!("{} is not about flow", other.name()),
        }
        Ok(())
    }

    fn caught(
        &mut self,
        index: usize,
        problem: Problem,
        handling: &Handling,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let plan = self.plan.clone();
        let act = &mut self.acts[index];
        let (id, node) = (act.id, plan.node(act.node));
        let Action::Try { catch, .. } = &node.action else { unreachable!("only a try catches") };
        match handling {
            Handling::Retry { attempt, until } => {
                act.status = Status::Delayed { attempt: *attempt, until: *until, problem };
            }
            Handling::Handle => {
                let value = Value::from_serialize(&problem).expect("a problem is JSON");
                act.caught = Some(Arc::new(Binding { values: vec![value], outer: act.bindings.clone() }));
                act.status = Status::Catching { jumps: 0 };
                self.begin_list(id, catch.body.as_deref().unwrap_or_default(), at, commands);
            }
            Handling::Swallow => {
                let output = act.input.clone();
                self.returned(id, output, catch.then.unwrap_or(node.then), at, commands);
            }
        }
    }
}
