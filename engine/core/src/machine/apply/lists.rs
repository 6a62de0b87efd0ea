//! Tasks that are done, and the lists that go on with the next one.

use std::sync::Arc;

use crate::Value;
use crate::definition::plan::{Action, For, NodeId, Then};
use crate::machine::event::Command;
use crate::machine::extend;
use crate::machine::ids::ActId;
use crate::machine::state::{Run, Status};
use crate::time::Timestamp;

impl Run {
    /// An act has its raw output. If nothing is to be evaluated on it, it is complete at once.
    pub(in crate::machine) fn returned(
        &mut self,
        id: ActId,
        output: Value,
        then: Then,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let act = self.act(id).expect("a live act");
        let node = self.plan.node(act.node);
        if act.parent.is_some() && node.is_plain_after() {
            self.complete(id, output, then, at, commands);
            return;
        }
        self.act_mut(id).expect("a live act").status = Status::Returned { output, then };
        self.agenda.push_back(id);
    }

    /// An act is done: it goes, and its parent goes on.
    pub(super) fn complete(
        &mut self,
        id: ActId,
        output: Value,
        then: Then,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let index = self.acts.binary_search_by_key(&id, |a| a.id).expect("a live act");
        let act = self.acts.remove(index);
        self.depart(&act);
        let Some(parent) = act.parent else { unreachable!("the root ends by RunCompleted") };
        if then == Then::End {
            self.end_early(output, commands);
            return;
        }
        let plan = self.plan.clone();
        let parent_index = self.acts.binary_search_by_key(&parent, |a| a.id).expect("a parent outlives its children");
        let holder = &mut self.acts[parent_index];
        let parent_node = plan.node(holder.node);
        if let (Status::Branches { outputs }, Action::Fork { compete, .. }) = (&mut holder.status, &parent_node.action)
        {
            if *compete {
                self.drop_below(parent, commands);
                self.returned(parent, output, parent_node.then, at, commands);
                return;
            }
            outputs[act.branch as usize] = Some(output);
            if outputs.iter().all(Option::is_some) {
                let all = outputs.iter_mut().map(|o| o.take().expect("all are there")).collect();
                self.returned(parent, all, parent_node.then, at, commands);
            }
            return;
        }
        if self.extended_goes_on(parent, &output, then, at, commands) {
            return;
        }
        let holder = &mut self.acts[parent_index];
        let list = list_of(&parent_node.action, &holder.status);
        let here = plan.node(act.node).index as usize;
        let next = match then {
            Then::Continue => list.get(here + 1).copied(),
            Then::Exit => None,
            Then::To(target) => {
                if plan.node(target).index as usize <= here {
                    holder.status.jump();
                }
                Some(target)
            }
            Then::End => unreachable!("handled above"),
        };
        match next {
            Some(node) => self.spawn_in_list(parent, node, output, at),
            None => self.list_ended(parent, output, at, commands),
        }
    }

    /// The list of an act is through.
    pub(super) fn list_ended(&mut self, id: ActId, output: Value, at: Timestamp, commands: &mut Vec<Command>) {
        let plan = self.plan.clone();
        let act = self.act_mut(id).expect("a live act");
        if let Status::Loop { between, carry, index, jumps, .. } = &mut act.status {
            match (&plan.node(act.node).action, &mut *carry) {
                (Action::For(For { gather: true, .. }), Value::Arr(outputs)) => Arc::make_mut(outputs).push(output),
                _ => *carry = output,
            }
            (*between, *index, *jumps) = (true, *index + 1, 0);
            self.agenda.push_back(id);
            return;
        }
        if let Status::Extended { .. } = act.status {
            return self.extension_ended(id, at, commands);
        }
        if let Status::Listening(_) = act.status {
            return self.foreach_ended(id, output, at, commands);
        }
        let node = plan.node(act.node);
        let then = match (&node.action, &act.status) {
            (Action::Try { catch, .. }, Status::Catching { .. }) => catch.then.unwrap_or(node.then),
            _ => node.then,
        };
        self.returned(id, output, then, at, commands);
    }

    /// `then: end`: everything but the root goes; the root has this output.
    fn end_early(&mut self, output: Value, commands: &mut Vec<Command>) {
        self.drop_below(ActId(0), commands);
        self.agenda.clear();
        self.acts[0].status = Status::Returned { output, then: Then::Continue };
        self.agenda.push_back(ActId(0));
    }
}

/// The list that an act runs.
fn list_of<'a>(action: &'a Action, status: &Status) -> &'a [NodeId] {
    match (action, status) {
        (Action::Do(list), _) => list,
        (Action::Extended(extended), Status::Extended { stage, .. }) => extend::list(extended, stage),
        (Action::For(looped), _) => &looped.body,
        (Action::Listen(listen), _) => &listen.foreach,
        (Action::Try { catch, .. }, Status::Catching { .. }) => catch.body.as_deref().unwrap_or_default(),
        (Action::Try { body, .. }, _) => body,
        _ => &[],
    }
}
