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
            let skips = node.condition.is_some();
            let node = extended(nodes, node);
            let mut thens = match &node.action {
                Action::Raise { .. } => vec![],
                Action::Switch(cases) => {
                    let mut thens: Vec<Then> = cases.iter().map(|c| c.then).collect();
                    if cases.iter().all(|c| c.when.is_some()) {
                        thens.push(node.then);
                    }
                    thens
                }
                Action::Try { catch, .. } => [node.then].into_iter().chain(catch.then).collect(),
                _ => vec![node.then],
            };
            if skips {
                thens.push(Then::Continue);
            }
            let (mut to, mut out) = (Vec::new(), matches!(node.action, Action::Raise { .. }));
            for then in thens {
                let target = match then {
                    Then::Continue => Some(here + 1).filter(|n| *n < ids.len()),
                    Then::To(id) => Some(nodes[id.0 as usize].index as usize).filter(|n| *n < ids.len()),
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

    /// The first task of a loop that cannot be left, if there is one.
    pub fn endless(&self) -> Option<usize> {
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); self.next.len()];
        for (here, next) in self.next.iter().enumerate() {
            next.iter().for_each(|n| before[*n].push(here));
        }
        let exits = (0..self.leaves.len()).filter(|i| self.leaves[*i]).collect();
        let (escapes, reached) = (spread(&before, exits), self.from(0));
        let trapped = (0..self.next.len()).find(|i| reached[*i] && !escapes[*i])?;
        // Whatever way is taken from there, it comes back to where it was.
        let (mut path, mut here) = (vec![trapped], trapped);
        loop {
            here = *self.next[here].first()?;
            match path.iter().position(|p| *p == here) {
                Some(begin) => return path[begin..].iter().min().copied(),
                None => path.push(here),
            }
        }
    }

    fn from(&self, start: usize) -> Vec<bool> {
        spread(&self.next, (start < self.next.len()).then_some(start).into_iter().collect())
    }
}

/// The task inside of its extensions.
fn extended<'n>(nodes: &'n [Node], mut node: &'n Node) -> &'n Node {
    while let Action::Extended(extended) = &node.action {
        node = &nodes[extended.inner.0 as usize];
    }
    node
}

/// What can be reached along the edges.
fn spread(edges: &[Vec<usize>], mut open: Vec<usize>) -> Vec<bool> {
    let mut reached = vec![false; edges.len()];
    while let Some(i) = open.pop() {
        if !std::mem::replace(&mut reached[i], true) {
            open.extend(&edges[i]);
        }
    }
    reached
}
