//! Extensions around a task: what comes before it, the task itself, and what comes after.
//!
//! An act of an [`Action::Extended`] holds the place of the task in its list. Data passes by the extension: the task gets the
//! input that it would have had, and its output goes on. Only a task that leaves `before` by `then: exit` stands in for the
//! extended task: its output is the output, and neither the task nor `after` runs.

use crate::Value;
use crate::definition::plan::{Action, Extended, Node, NodeId, Plan, Then};
use crate::time::Timestamp;

use super::event::Command;
use super::ids::ActId;
use super::state::{Act, Run, Status};

/// Which of the three an extended task is at.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// `before`
    Before,
    /// The task. Whether the extension applies, and so `after` is to follow.
    Inner {
        /// Whether it does.
        applies: bool,
    },
    /// `after`, with what the task has given.
    After {
        /// Its output.
        output: Value,
        /// Where to go.
        then: Then,
    },
}

/// The extended task itself, through all its extensions.
pub fn extended_task(plan: &Plan, mut id: NodeId) -> &Node {
    while let Action::Extended(Extended { inner, .. }) = &plan.node(id).action {
        id = *inner;
    }
    plan.node(id)
}

/// The list that an extended task is at.
pub(super) fn list<'p>(extended: &'p Extended, stage: &Stage) -> &'p [NodeId] {
    match stage {
        Stage::Before => &extended.before,
        Stage::Inner { .. } => &[],
        Stage::After { .. } => &extended.after,
    }
}

impl Run {
    /// An extended task begins.
    pub(super) fn begin_extended(&mut self, id: ActId, applies: bool, at: Timestamp) {
        let plan = self.plan.clone();
        let act = self.act_mut(id).expect("a live act");
        let Action::Extended(extended) = &plan.node(act.node).action else { unreachable!("the caller has looked") };
        let input = act.input.clone();
        match extended.before.first().filter(|_| applies) {
            Some(first) => {
                act.status = Status::Extended { stage: Stage::Before, jumps: 0 };
                self.spawn_in_list(id, *first, input, at);
            }
            None => self.run_inner(id, applies, at),
        }
    }

    fn run_inner(&mut self, id: ActId, applies: bool, at: Timestamp) {
        let plan = self.plan.clone();
        let act = self.act_mut(id).expect("a live act");
        let Action::Extended(extended) = &plan.node(act.node).action else { unreachable!("only these have an inner") };
        let input = act.input.clone();
        act.status = Status::Extended { stage: Stage::Inner { applies }, jumps: 0 };
        self.spawn_in_list(id, extended.inner, input, at);
    }

    /// A task in an extension, or the extended task, is done. Returns whether that was all there is to do about it.
    pub(super) fn extended_goes_on(
        &mut self,
        id: ActId,
        output: &Value,
        then: Then,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) -> bool {
        let plan = self.plan.clone();
        let act = self.act_mut(id).expect("a live act");
        let Action::Extended(extended) = &plan.node(act.node).action else { return false };
        let Status::Extended { stage, jumps } = &mut act.status else { return false };
        match (&*stage, then) {
            (Stage::Inner { applies }, then) => match extended.after.first().filter(|_| *applies) {
                Some(first) => {
                    *stage = Stage::After { output: output.clone(), then };
                    *jumps = 0;
                    self.spawn_in_list(id, *first, output.clone(), at);
                }
                None => self.returned(id, output.clone(), then, at, commands),
            },
            (Stage::Before, Then::Exit) => {
                let then = extended_task(&plan, extended.inner).then;
                self.returned(id, output.clone(), then, at, commands);
            }
            _ => return false,
        }
        true
    }

    /// The list of an extension is through.
    pub(super) fn extension_ended(&mut self, id: ActId, at: Timestamp, commands: &mut Vec<Command>) {
        let Some(Status::Extended { stage, .. }) = self.act(id).map(|a| &a.status) else {
            unreachable!("the caller has looked")
        };
        match stage.clone() {
            Stage::Before => self.run_inner(id, true, at),
            Stage::Inner { .. } => unreachable!("the task is no list"),
            Stage::After { output, then } => self.returned(id, output, then, at, commands),
        }
    }

    /// The act of the extended task that an act in one of its extensions is about, and what the task has given by now.
    pub(super) fn subject_of<'r>(&'r self, act: &'r Act, subject: NodeId) -> (&'r Act, Option<&'r Value>) {
        let (mut here, mut output) = (act, None);
        while here.node != subject {
            let Some(parent) = here.parent.and_then(|p| self.act(p)) else { break };
            here = parent;
            if let Status::Extended { stage: Stage::After { output: given, .. }, .. } = &here.status {
                output = output.or(Some(given));
            }
        }
        (here, output)
    }
}
