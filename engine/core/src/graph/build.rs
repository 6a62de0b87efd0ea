//! The graph of a plan.

use super::words::{caught, detail, keyword, line, remarks};
use super::{Block, Graph, Kind, List, Place, Way};
use crate::definition::plan::{Action, NodeId, Plan, Then};
use crate::machine::extend::extended_task;

impl Graph {
    /// The graph of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut build = Build { plan, blocks: Vec::new(), ways: Vec::new(), index: vec![None; plan.nodes.len()] };
        let root = plan.node(Plan::ROOT);
        let Action::Do(list) = &root.action else { unreachable!("a workflow is a `do`") };
        let lists = vec![build.list(None, "", list)];
        let begin = list.first().map_or(Place::End, |first| build.at(*first));
        build.way(Place::Start, begin, Kind::Next, "");
        for block in 0..build.blocks.len() {
            build.leave(block);
        }
        let title = format!("{}/{} {}", plan.namespace, plan.name, plan.version);
        Self { title, blocks: build.blocks, lists, ways: build.ways }
    }
}

struct Build<'p> {
    plan: &'p Plan,
    blocks: Vec<Block>,
    ways: Vec<Way>,
    /// Where a node's block is.
    index: Vec<Option<usize>>,
}

impl Build<'_> {
    // ---- blocks ---------------------------------------------------------------------------------------------------

    /// Blocks of a list and of everything inside.
    fn list(&mut self, parent: Option<usize>, label: &str, list: &[NodeId]) -> List {
        let blocks = list.iter().map(|id| self.block(parent, *id)).collect();
        List { label: label.to_owned(), blocks }
    }

    fn block(&mut self, parent: Option<usize>, id: NodeId) -> usize {
        let node = self.plan.node(id);
        let index = self.blocks.len();
        self.index[id.0 as usize] = Some(index);
        self.blocks.push(Block {
            node: id,
            parent,
            pointer: node.pointer.clone(),
            name: node.name.clone(),
            keyword: keyword(node),
            detail: detail(node),
            remarks: remarks(node),
            lists: Vec::new(),
        });
        let inside = Some(index);
        let lists = match &node.action {
            Action::Do(list) => vec![self.list(inside, "", list)],
            Action::For(looped) => vec![self.list(inside, "", &looped.body)],
            Action::Listen(listen) if !listen.foreach.is_empty() => vec![self.list(inside, "", &listen.foreach)],
            Action::Fork { branches, .. } => branches.iter().map(|b| self.list(inside, "", &[*b])).collect(),
            Action::Try { body, catch } => {
                let mut lists = vec![self.list(inside, "try", body)];
                lists.extend(catch.body.as_ref().map(|body| self.list(inside, "catch", body)));
                lists
            }
            Action::Extended(extended) => {
                let all = extended.before.iter().chain([&extended.inner]).chain(&extended.after);
                let all: Vec<NodeId> = all.copied().collect();
                vec![self.list(inside, "", &all)]
            }
            Action::Approve(_)
            | Action::Call(_)
            | Action::Decide(_)
            | Action::Emit { .. }
            | Action::Listen(_)
            | Action::Raise { .. }
            | Action::Set(_)
            | Action::Switch(_)
            | Action::Wait(_) => Vec::new(),
        };
        self.blocks[index].lists = lists;
        index
    }

    // ---- ways -----------------------------------------------------------------------------------------------------

    fn at(&self, id: NodeId) -> Place {
        Place::Block(self.index[id.0 as usize].expect("every task of a list has a block"))
    }

    /// A way; a second one of the same kind between the same places says nothing new.
    fn way(&mut self, from: Place, to: Place, kind: Kind, label: &str) {
        let known = |w: &Way| w.to == to && w.kind == kind;
        if !self.ways.iter().rev().take_while(|w| w.from == from).any(known) {
            self.ways.push(Way { from, to, kind, label: line(label) });
        }
    }

    fn ways(&mut self, from: Place, to: Vec<(Place, Kind)>, kind: Kind, label: &str) {
        for (to, back) in to {
            let kind = if kind == Kind::Next { back } else { kind };
            self.way(from, to, kind, label);
        }
    }

    /// The ways that begin at a block.
    fn leave(&mut self, block: usize) {
        let plan = self.plan;
        let id = self.blocks[block].node;
        let (node, at) = (plan.node(id), Place::Block(block));
        let mut own = true;
        match &node.action {
            Action::Do(list) => own = !self.enter(at, list, ""),
            Action::For(looped) => drop(self.enter(at, &looped.body, "each")),
            Action::Listen(listen) => drop(self.enter(at, &listen.foreach, "each event")),
            Action::Fork { branches, .. } => {
                for branch in branches {
                    own &= !self.enter(at, &[*branch], "");
                }
            }
            Action::Try { body, catch } => {
                own = !self.enter(at, body, "");
                let words = caught(catch);
                match catch.body.as_deref().and_then(|handler| handler.first()) {
                    Some(first) => self.way(at, self.at(*first), Kind::Error, &words),
                    // After the last retry the error goes on, unless there is somewhere else to go.
                    None if catch.retry.is_some() && catch.then.is_none() => {}
                    None => {
                        let to = self.after(id, catch.then.unwrap_or(node.then));
                        self.ways(at, to, Kind::Error, &words);
                    }
                }
            }
            Action::Extended(extended) => {
                own = false;
                match extended.before.first() {
                    Some(first) => {
                        self.way(at, self.at(*first), Kind::Into, "");
                        if extended.when.is_some() {
                            self.way(at, self.at(extended.inner), Kind::Skip, "otherwise");
                        }
                    }
                    None => self.way(at, self.at(extended.inner), Kind::Into, ""),
                }
            }
            Action::Raise { .. } => own = false,
            Action::Switch(cases) => {
                own = false;
                for (case, number) in cases.iter().zip(0u32..) {
                    let to = self.after(id, case.then);
                    let when = case.when.as_ref().map_or("else", |when| when.source());
                    self.ways(at, to, Kind::Case(number), when);
                }
                if cases.iter().all(|case| case.when.is_some()) {
                    let to = self.after(id, node.then);
                    let number = u32::try_from(cases.len()).unwrap_or(u32::MAX);
                    self.ways(at, to, Kind::Case(number), "none holds");
                }
            }
            Action::Approve(_)
            | Action::Call(_)
            | Action::Decide(_)
            | Action::Emit { .. }
            | Action::Set(_)
            | Action::Wait(_) => {}
        }
        if own {
            let label =
                if matches!(node.action, Action::For(_)) || self.blocks[block].contains() { "done" } else { "" };
            let to = self.after(id, node.then);
            self.ways(at, to, Kind::Next, label);
        }
        if node.condition.is_some() {
            let skipped = self.after(id, Then::Continue);
            let plain = own && skipped == self.after(id, node.then);
            if !plain {
                self.ways(at, skipped, Kind::Skip, "if not");
            }
        }
    }

    /// The way into a list. Returns whether there is one.
    fn enter(&mut self, at: Place, list: &[NodeId], label: &str) -> bool {
        let Some(first) = list.first() else { return false };
        self.way(at, self.at(*first), Kind::Into, label);
        true
    }

    /// Where control goes after a task that ends with `then`. Several places only where the task stands in an extension whose
    /// task has several.
    fn after(&self, id: NodeId, then: Then) -> Vec<(Place, Kind)> {
        let plan = self.plan;
        let node = plan.node(id);
        let Some(holder) = node.parent.filter(|_| then != Then::End) else { return vec![(Place::End, Kind::Next)] };
        let parent = plan.node(holder);
        let (list, end): (&[NodeId], Then) = match &parent.action {
            Action::Fork { .. } => return self.after(holder, parent.then),
            Action::Extended(extended) => {
                if id == extended.inner {
                    let passed = self.after(holder, then);
                    return match extended.after.first() {
                        None => passed,
                        Some(first) => {
                            let after = (self.at(*first), Kind::Next);
                            let passed = if extended.when.is_some() { passed } else { Vec::new() };
                            [after].into_iter().chain(passed).collect()
                        }
                    };
                }
                if extended.before.contains(&id) {
                    let position = extended.before.iter().position(|n| *n == id).unwrap_or_default();
                    return match then {
                        Then::Exit => self.after(holder, extended_task(plan, extended.inner).then),
                        Then::To(target) => vec![(self.at(target), Kind::Next)],
                        Then::Continue | Then::End => {
                            let next = extended.before.get(position + 1).copied().unwrap_or(extended.inner);
                            vec![(self.at(next), Kind::Next)]
                        }
                    };
                }
                if let Some(next) = next_of(plan, &extended.after, id, then) {
                    return vec![(self.at(next), Kind::Next)];
                }
                let mut all = Vec::new();
                // A task that ends the run does so before what its extension has to do afterwards.
                for then in thens(plan, extended.inner).into_iter().filter(|then| *then != Then::End) {
                    let to = self.after(holder, then);
                    all.extend(to.into_iter().filter(|place| !all.contains(place)).collect::<Vec<_>>());
                }
                return all;
            }
            Action::Do(list) => (list, parent.then),
            Action::For(looped) => (&looped.body, parent.then),
            Action::Listen(listen) => (&listen.foreach, parent.then),
            Action::Try { body, catch } => match &catch.body {
                Some(handler) if handler.contains(&id) => (handler, catch.then.unwrap_or(parent.then)),
                _ => (body, parent.then),
            },
            Action::Approve(_)
            | Action::Call(_)
            | Action::Decide(_)
            | Action::Emit { .. }
            | Action::Raise { .. }
            | Action::Set(_)
            | Action::Switch(_)
            | Action::Wait(_) => unreachable!("a {} contains no tasks", parent.action.keyword()),
        };
        match next_of(plan, list, id, then) {
            Some(next) => vec![(self.at(next), Kind::Next)],
            None if matches!(parent.action, Action::For(_) | Action::Listen(_)) => vec![(self.at(holder), Kind::Back)],
            None => self.after(holder, end),
        }
    }
}

/// The task of the same list that follows; `None` at the end of the list.
fn next_of(plan: &Plan, list: &[NodeId], id: NodeId, then: Then) -> Option<NodeId> {
    match then {
        Then::To(target) => Some(target),
        Then::Continue => {
            let index = plan.node(id).index as usize;
            let here = list.get(index) == Some(&id);
            let position = if here { index } else { list.iter().position(|n| *n == id)? };
            list.get(position + 1).copied()
        }
        Then::Exit | Then::End => None,
    }
}

/// Every `then` that a task may end with.
fn thens(plan: &Plan, inner: NodeId) -> Vec<Then> {
    let task = extended_task(plan, inner);
    match &task.action {
        Action::Switch(cases) => {
            let none = cases.iter().all(|c| c.when.is_some()).then_some(task.then);
            cases.iter().map(|c| c.then).chain(none).collect()
        }
        Action::Try { catch, .. } => [task.then].into_iter().chain(catch.then).collect(),
        _ if task.condition.is_some() => vec![task.then, Then::Continue],
        _ => vec![task.then],
    }
}
