//! Advice about definitions that run: what a careful reviewer would point at.
//!
//! Errors are the reader's and the checker's; a definition that gets here is one that can run. Each rule looks at the
//! typed [`Plan`] for what a task does and at the YAML tree for where it says so, and says nothing where it is not sure:
//! the page of a rule (`docs/rules/`) tells why it is worth a warning.
//!
//! - `flow`: branches and loops. `effects`: calls. `errors`: what is caught and tried again. `time`: time-outs and schedules.
//!   `events`: what wakes a listen. `data`: expressions and variables. `secrets`: credentials.
//! - `policy` and `agent`: the other kinds of documents.
//! - [`allow`]: comments that say that something is meant, and the levels that the command line sets.
//! - [`rules`]: every rule with its page.
//!
//! Never: IO, a clock, an answer that depends on anything but the definition and what it was resolved to.

mod agent;
pub mod allow;
mod data;
mod effects;
mod errors;
mod events;
mod flow;
mod places;
mod policy;
pub mod rules;
mod secrets;
mod time;

use std::sync::Arc;

use super::diagnostic::{Diagnostic, Span};
use super::plan::{Action, Node, NodeId, Plan};
use super::yaml::{Children, FOUND_MAX, Yaml};
use super::{placed, yaml};
use crate::policy::Policy;

/// Advice about a workflow, in the order of the source. `source` must be the text that the plan was made of.
pub fn workflow(source: &str, file: &str, plan: &Plan) -> Vec<Diagnostic> {
    let Ok(root) = yaml::parse(source) else { return Vec::new() };
    let mut linter = Linter { source, root: &root, found: Vec::new() };
    linter.flow(plan);
    linter.effects(plan);
    linter.errors(plan);
    linter.time(plan);
    linter.events(plan);
    linter.data(plan);
    linter.secrets(plan);
    linter.finish(file)
}

/// Advice about a policy, in the order of the source.
pub fn policy(source: &str, file: &str, policy: &Policy) -> Vec<Diagnostic> {
    let Ok(root) = yaml::parse(source) else { return Vec::new() };
    let mut linter = Linter { source, root: &root, found: Vec::new() };
    linter.policy(policy);
    linter.finish(file)
}

/// Advice about an agent, in the order of the source.
pub fn agent(source: &str, file: &str) -> Vec<Diagnostic> {
    let Ok(root) = yaml::parse(source) else { return Vec::new() };
    let mut linter = Linter { source, root: &root, found: Vec::new() };
    linter.agent();
    linter.finish(file)
}

/// A look at one document.
struct Linter<'a> {
    source: &'a str,
    root: &'a Yaml,
    found: Vec<Diagnostic>,
}

/// A task of the plan where it stands in the document.
#[derive(Clone, Copy)]
struct Task<'a> {
    node: &'a Node,
    yaml: &'a Yaml,
    /// Its name, or what stands for it.
    key: Span,
}

impl<'a> Linter<'a> {
    fn advise(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.found.push(Diagnostic::warning(code, message).at(span));
        self.found.last_mut().expect("one was pushed")
    }

    fn finish(self, file: &str) -> Vec<Diagnostic> {
        let mut found = placed(self.found, &Arc::from(file), self.source, Some(self.root));
        found.truncate(FOUND_MAX);
        found
    }

    /// What stands exactly at a JSON pointer, and its name.
    fn at(&self, pointer: &str) -> Option<(&'a Yaml, Option<Span>)> {
        let (mut node, mut key) = (self.root, None);
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            (node, key) = match &node.children {
                Children::Map(members) => {
                    members.iter().find(|m| *m.key == *name).map(|m| (&m.value, Some(m.key_span)))?
                }
                Children::List(items) => (name.parse().ok().and_then(|i: usize| items.get(i))?, None),
                Children::None => return None,
            };
        }
        Some((node, key))
    }

    /// The tasks that stand in the document themselves, without the extensions around them; what functions are made of does
    /// not.
    fn tasks<'p>(&self, plan: &'p Plan) -> Vec<Task<'p>>
    where
        'a: 'p,
    {
        let place = |node: &'p Node| {
            let (yaml, key) = self.at(&node.pointer)?;
            Some(Task { node, yaml, key: key.unwrap_or(yaml.mark) })
        };
        let itself = |node: &&'p Node| !matches!(node.action, Action::Extended(_));
        plan.nodes.iter().skip(1).filter(itself).filter_map(place).collect()
    }

    /// Where the name of a member stands.
    fn key_of(yaml: &Yaml, key: &str) -> Option<Span> {
        yaml.members()?.iter().find(|m| &*m.key == key).map(|m| m.key_span)
    }
}

/// The tasks directly inside of one.
fn children(action: &Action) -> Vec<NodeId> {
    match action {
        Action::Do(ids) => ids.clone(),
        Action::Extended(e) => e.before.iter().chain([&e.inner]).chain(&e.after).copied().collect(),
        Action::For(f) => f.body.clone(),
        Action::Fork { branches, .. } => branches.clone(),
        Action::Listen(l) => l.foreach.clone(),
        Action::Try { body, catch } => body.iter().chain(catch.body.iter().flatten()).copied().collect(),
        Action::Approve(_)
        | Action::Call(_)
        | Action::Decide(_)
        | Action::Emit { .. }
        | Action::Raise { .. }
        | Action::Set(_)
        | Action::Switch(_)
        | Action::Wait(_) => Vec::new(),
    }
}

/// The node that has a task's place in its list: the task's own, or the outermost extension around it.
fn placed_as(plan: &Plan, id: NodeId) -> &Node {
    let around = |node: &&Node| matches!(&node.action, Action::Extended(e) if e.inner == id);
    match plan.node(id).parent.map(|p| plan.node(p)).filter(around) {
        Some(extension) => placed_as(plan, extension.id),
        None => plan.node(id),
    }
}

/// A task and all that is inside of it, in document order.
fn subtree(plan: &Plan, id: NodeId) -> Vec<NodeId> {
    let (mut out, mut open) = (Vec::new(), vec![id]);
    while let Some(id) = open.pop() {
        out.push(id);
        open.extend(children(&plan.node(id).action));
    }
    out.sort();
    out
}

/// The tasks around one, innermost first.
fn ancestors(plan: &Plan, id: NodeId) -> impl Iterator<Item = &Node> {
    std::iter::successors(plan.node(id).parent, |id| plan.node(*id).parent).map(|id| plan.node(id))
}
