//! The flow through one list of tasks: what can follow what.
//!
//! Works on the nodes alone, after names are resolved. A task that raises goes nowhere; one with an `if` may be skipped to
//! the next; any task may of course fail, which leaves the list and is not looked at here.

use super::plan::{Action, Node, NodeId, Then};

/// For each task of a list, the places in the list that may come next.
pub struct Flow {
    next: Vec<Vec<usize>>,
    /// Whether the list may be left behind the task.
    leaves: Vec<bool>,
}

impl Flow {
    /// The flow through the tasks `ids`, which are one list.
    pub fn of(nodes: &[Node], ids: &[NodeId]) -> Self {
        let (mut next, mut leaves) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for (here, id) in ids.iter().enumerate() {
            let node = &nodes[id.0 as usize];
            let mut thens = match &node.action {
                Action::Raise { .. } => vec![],
                Action::Switch(cases) => {
                    let mut thens: Vec<Then> = cases.iter().map(|c| c.then).collect();
                    if cases.iter().all(|c| c.when.is_some()) {
                        thens.push(node.then);
                    }
                    thens
                }
                _ => vec![node.then],
            };
            if node.condition.is_some() {
                thens.push(Then::Continue);
            }
            let (mut to, mut out) = (Vec::new(), matches!(node.action, Action::Raise { .. }));
            for then in thens {
                let target = match then {
                    Then::Continue => Some(here + 1).filter(|n| *n < ids.len()),
                    Then::To(id) => ids.iter().position(|i| *i == id),
                    Then::Exit | Then::End => None,
                };
                match target {
                    Some(target) if !to.contains(&target) => to.push(target),
                    Some(_) => {}
                    None => out = true,
                }
            }
            next.push(to);
            leaves.push(out);
        }
        Self { next, leaves }
    }

    /// The tasks that nothing leads to from the first one, in order.
    pub fn unreachable(&self) -> Vec<usize> {
        let reached = self.from(0);
        (0..self.next.len()).filter(|i| !reached[*i]).collect()
    }

    /// The first task of each loop that cannot be left, in order.
    pub fn endless(&self) -> Vec<usize> {
        let reachable = self.from(0);
        let mut known = vec![false; self.next.len()];
        let mut found = Vec::new();
        for start in (0..self.next.len()).filter(|i| reachable[*i]) {
            let reached = self.from(start);
            let trapped = !(0..reached.len()).any(|i| reached[i] && self.leaves[i]);
            let in_loop = self.next[start].iter().any(|n| self.from(*n)[start]);
            if trapped && in_loop && !known[start] {
                found.push(start);
                (0..reached.len()).filter(|i| reached[*i]).for_each(|i| known[i] = true);
            }
        }
        found
    }

    fn from(&self, start: usize) -> Vec<bool> {
        let mut reached = vec![false; self.next.len()];
        let mut open: Vec<usize> = (start < reached.len()).then_some(start).into_iter().collect();
        while let Some(i) = open.pop() {
            if !std::mem::replace(&mut reached[i], true) {
                open.extend(&self.next[i]);
            }
        }
        reached
    }
}
