//! Lists of tasks, and what all tasks have in common.
//!
//! A list is read in order, then its jumps are resolved: `then` may name a task that stands further down.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::shape::Fields;
use super::{Reader, Within, escaped};
use crate::definition::check;
use crate::definition::diagnostic::Span;
use crate::definition::names;
use crate::definition::plan::{Action, NodeId, Then};
use crate::definition::yaml::{Member, Yaml};

/// A `then` that names a task.
pub struct Jump<'a> {
    /// The task that jumps.
    pub node: NodeId,
    /// What of it jumps.
    pub site: Site,
    /// The name.
    pub target: &'a str,
    /// Where it stands.
    pub span: Span,
}

/// The part of a task that has a `then`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// The task.
    Task,
    /// A case of its `switch`.
    Case(usize),
    /// Its `catch`.
    Catch,
}

/// What a list of tasks is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Tasks run one after the other; `then` jumps among them.
    Sequence,
    /// Branches of a `fork` run side by side.
    Branches,
}

/// Properties that every task may have.
const COMMON: [&str; 7] = ["if", "input", "output", "export", "timeout", "then", "metadata"];

/// The kinds of task, with the properties that belong to each.
const KEYWORDS: [(&str, &[&str]); 12] = [
    ("call", &["with"]),
    ("do", &[]),
    ("emit", &[]),
    ("for", &["while", "do"]),
    ("fork", &[]),
    ("listen", &["foreach"]),
    ("raise", &[]),
    ("run", &[]),
    ("set", &[]),
    ("switch", &[]),
    ("try", &["catch"]),
    ("wait", &[]),
];

/// Words that `then` has a meaning for.
const DIRECTIVES: [(&str, Then); 3] = [("continue", Then::Continue), ("exit", Then::Exit), ("end", Then::End)];

/// The longest name of a task: names stand in references, and those in every record of a run.
const NAME_BYTES_MAX: usize = 200;

impl<'a> Reader<'a> {
    /// Reads a list of tasks.
    pub fn tasks(&mut self, yaml: &'a Yaml, what: &str, within: &Within, kind: ListKind) -> Vec<NodeId> {
        let Some(items) = self.list(yaml, what, "a list of tasks") else { return Vec::new() };
        if items.is_empty() {
            let d = self.error("empty-list", yaml.mark, format!("{what} has no tasks"));
            d.hint = Some("a task that does nothing is `set: '${ . }'`".into());
        }
        let outer = mem::take(&mut self.jumps);
        let mut list: Vec<(&'a Member, NodeId)> = Vec::new();
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for (index, item) in (0u32..).zip(items) {
            let Some(member) = self.item(item, what) else { continue };
            self.name(member, &mut seen);
            let name: Arc<str> = member.key.clone();
            let pointer = Arc::from(format!("{}/{index}/{}", within.pointer, escaped(&name)));
            let place = (Some(within.parent), u32::try_from(list.len()).unwrap_or(u32::MAX));
            let id = self.reserve(name, pointer, place, &member.value, member.key_span.line);
            self.task(id, member, within);
            list.push((member, id));
        }
        let jumps = mem::replace(&mut self.jumps, outer);
        self.resolve(&jumps, &list, kind);
        if kind == ListKind::Sequence {
            let ids: Vec<NodeId> = list.iter().map(|(_, id)| *id).collect();
            self.reachability(&list, &ids);
        }
        list.into_iter().map(|(_, id)| id).collect()
    }

    /// The one member of an item of a list of tasks.
    fn item(&mut self, item: &'a Yaml, what: &str) -> Option<&'a Member> {
        match item.members() {
            Some([only]) => Some(only),
            Some(members) => {
                let message = format!("an item of {what} has {} members, expected one: the task's name", members.len());
                let names: Vec<_> = members.iter().take(3).map(|m| format!("`{}`", m.key)).collect();
                let d = self.error("task-item", item.mark, message);
                d.hint = Some("write `- name:` and indent the task's properties below the name".into());
                if !names.is_empty() {
                    d.notes.push(format!("found {}", names.join(", ")));
                }
                None
            }
            None => {
                let d = self.wrong_type(item, &format!("an item of {what}"), "a task with its name");
                d.hint = Some("write `- name:` and indent the task's properties below the name".into());
                None
            }
        }
    }

    fn name(&mut self, member: &'a Member, seen: &mut BTreeMap<&'a str, Span>) {
        let (name, span) = (&*member.key, member.key_span);
        if name.trim().is_empty() || name.len() > NAME_BYTES_MAX {
            let message = format!("found a task name of {} bytes, expected 1 to {NAME_BYTES_MAX}", name.len());
            self.error("task-name", span, message);
        }
        if DIRECTIVES.iter().any(|(word, _)| *word == name) {
            let message = format!("a task is called `{name}`, which means something else in `then`");
            self.error("task-name", span, message).label = Some("choose another name".into());
        }
        match seen.get(name) {
            Some(first) => {
                let first = *first;
                let d = self.error("duplicate-task", span, format!("two tasks of one list are called `{name}`"));
                d.label = Some("`then` could not tell them apart".into());
                d.relate(first, "the first one");
            }
            None => drop(seen.insert(name, span)),
        }
    }

    pub fn task(&mut self, id: NodeId, member: &'a Member, within: &Within) {
        let what = format!("task `{}`", member.key);
        let yaml = &member.value;
        let Some(members) = self.object(yaml, &what) else { return };
        let Some((keyword, extra)) = self.keyword(member, members, &what) else { return };
        let known: Vec<&str> = COMMON.into_iter().chain([keyword]).chain(extra.iter().copied()).collect();
        let Some(fields) = self.fields(yaml, &what, &known) else { return };
        let layers = self.extensions_of(keyword, yaml);
        let outer = id;
        let id = if layers.is_empty() { id } else { self.extend(id, member, &layers, within) };
        self.common(id, fields, &what, within);
        if outer != id {
            // A task that is skipped is skipped with its extensions.
            let condition = self.node(id).condition.take();
            self.node(outer).condition = condition;
        }
        let Some(action) = fields.get(keyword).and_then(|y| self.action(id, keyword, y, fields, within)) else {
            return;
        };
        self.node(id).action = action;
    }

    /// The one keyword that says what kind of task it is.
    fn keyword(
        &mut self,
        task: &Member,
        members: &'a [Member],
        what: &str,
    ) -> Option<(&'static str, &'static [&'static str])> {
        let is_loop = members.iter().any(|m| &*m.key == "for");
        let kind_of = |m: &'a Member| {
            let kind = KEYWORDS.iter().find(|(word, _)| *word == &*m.key)?;
            // The `do` of a loop is its body.
            (!(is_loop && kind.0 == "do")).then_some((m, kind))
        };
        let mut kinds = members.iter().filter_map(kind_of);
        let first = kinds.next();
        if let Some(((_, (first, _)), (second, (word, _)))) = first.zip(kinds.next()) {
            let message = format!("{what} is both `{first}` and `{word}`");
            let d = self.error("several-task-keywords", second.key_span, message);
            d.label = Some("a second kind of task".into());
            d.hint = Some("make two tasks of it".into());
            return None;
        }
        if let Some((_, kind)) = first {
            return Some(*kind);
        }
        let words = || KEYWORDS.iter().map(|(word, _)| *word);
        let meant = members
            .iter()
            .filter(|m| !COMMON.contains(&&*m.key))
            .find_map(|m| Some((m, names::nearest(&m.key, words())?)));
        match meant {
            Some((member, word)) => {
                let message = format!("unknown property `{}` of {what}", member.key);
                self.error("unknown-property", member.key_span, message).label =
                    Some(format!("did you mean `{word}`?"));
            }
            None => {
                let d = self.error("no-task-keyword", task.key_span, format!("{what} does not say what to do"));
                d.label = Some("no kind of task".into());
                d.hint = Some(format!(
                    "expected one of {}",
                    words().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
                ));
            }
        }
        None
    }

    fn common(&mut self, id: NodeId, fields: Fields<'a>, what: &str, within: &Within) {
        self.node(id).locals = within.locals.clone();
        if let Some(yaml) = fields.get("if") {
            self.node(id).condition = self.condition(yaml, "`if`", within);
        }
        if let Some(yaml) = fields.get("input") {
            self.node(id).input_from = self.input(yaml, within);
            self.node(id).input_schema = self.schema(yaml, "input");
        }
        if let Some(yaml) = fields.get("output") {
            self.node(id).output_as = self.output(yaml, "output", within);
            self.node(id).output_schema = self.schema(yaml, "output");
        }
        if let Some(yaml) = fields.get("export") {
            self.node(id).export_as = self.output(yaml, "export", within);
            self.node(id).export_schema = self.schema(yaml, "export");
        }
        if let Some(yaml) = fields.get("timeout") {
            self.node(id).timeout = self.timeout(yaml, within);
        }
        if let Some(yaml) = fields.get("then") {
            self.node(id).then = self.then(yaml, id, Site::Task);
        }
        if let Some(yaml) = fields.get("metadata") {
            self.task_metadata(id, yaml, what, within);
        }
    }

    fn action(
        &mut self,
        id: NodeId,
        keyword: &'static str,
        yaml: &'a Yaml,
        fields: Fields<'a>,
        within: &Within,
    ) -> Option<Action> {
        match keyword {
            "call" => self.call(id, yaml, fields, within),
            "do" => Some(Action::Do(self.body(id, "do", yaml, within.locals.clone()))),
            "emit" => self.emit(yaml, within),
            "for" => self.for_each(id, yaml, fields, within),
            "fork" => self.fork(id, yaml, within),
            "raise" => self.raise(yaml, within),
            "set" => self.set(yaml, within),
            "switch" => self.switch(id, yaml),
            "try" => self.try_catch(id, yaml, fields, within),
            "wait" => self.span(yaml, "`wait`", within).map(Action::Wait),
            "listen" => self.listen(id, yaml, fields, within),
            _ => self.run(id, yaml, within),
        }
    }

    /// The list of tasks below a node. `key` is the part of their references that leads to the list.
    pub fn body(&mut self, id: NodeId, key: &str, yaml: &'a Yaml, locals: Arc<[Arc<str>]>) -> Vec<NodeId> {
        let kind = if key == "fork/branches" { ListKind::Branches } else { ListKind::Sequence };
        let pointer = format!("{}/{key}", self.node(id).pointer);
        let what = format!("`{}`", key.replace('/', "."));
        self.tasks(yaml, &what, &Within { parent: id, pointer, locals }, kind)
    }

    /// `then`
    pub fn then(&mut self, yaml: &'a Yaml, node: NodeId, site: Site) -> Then {
        let Some(text) = self.text(yaml, "`then`") else { return Then::Continue };
        match DIRECTIVES.iter().find(|(word, _)| *word == text) {
            Some((_, then)) => *then,
            None => {
                self.jumps.push(Jump { node, site, target: text, span: yaml.mark });
                Then::Continue
            }
        }
    }

    pub fn resolve(&mut self, jumps: &[Jump<'a>], list: &[(&'a Member, NodeId)], kind: ListKind) {
        let ids: BTreeMap<&str, NodeId> = list.iter().rev().map(|(m, id)| (&*m.key, *id)).collect();
        for jump in jumps {
            let target = ids.get(jump.target).copied();
            match (target, kind) {
                (Some(_), ListKind::Branches) => {
                    let message = format!("`then` of a branch goes to the branch `{}`", jump.target);
                    let d = self.error("unknown-target", jump.span, message);
                    d.hint = Some("branches run side by side; a branch may only `continue`, `exit` or `end`".into());
                }
                (Some(id), ListKind::Sequence) => {
                    let node = self.node(jump.node);
                    match (&mut node.action, jump.site) {
                        (Action::Switch(cases), Site::Case(case)) => {
                            if let Some(case) = cases.get_mut(case) {
                                case.then = Then::To(id);
                            }
                        }
                        (Action::Try { catch, .. }, Site::Catch) => catch.then = Some(Then::To(id)),
                        _ => node.then = Then::To(id),
                    }
                }
                (None, _) => {
                    let message = format!("`then` goes to `{}`, which is no task of this list", jump.target);
                    let directives = DIRECTIVES.iter().map(|(word, _)| *word);
                    let known = list.iter().map(|(m, _)| &*m.key).chain(directives);
                    self.lost.push((self.found.len(), jump.target));
                    self.unknown_name("unknown-target", jump.span, message, jump.target, known);
                }
            }
        }
    }

    /// Says about jumps to nowhere that a task of that name stands elsewhere. Only known when all tasks are read.
    pub fn elsewhere(&mut self) {
        for (index, name) in std::mem::take(&mut self.lost) {
            let exists = self.nodes.iter().skip(1).any(|n| *n.name == *name);
            if let Some(d) = self.found.get_mut(index).filter(|_| exists) {
                d.notes.push("a task of that name stands in another list; `then` stays in its own".into());
            }
        }
    }

    fn reachability(&mut self, list: &[(&'a Member, NodeId)], ids: &[NodeId]) {
        // After an unknown target nobody knows what would have been reached.
        if self.found.iter().any(|d| matches!(&*d.code, "unknown-target" | "duplicate-task")) {
            return;
        }
        let flow = check::Flow::of(&self.nodes, ids);
        for index in flow.unreachable() {
            let member = list[index].0;
            let message = format!("task `{}` cannot be reached", member.key);
            self.warning("unreachable-task", member.key_span, message).label = Some("no task leads here".into());
        }
        if let Some(index) = flow.endless() {
            let member = list[index].0;
            let d = self.warning(
                "endless-loop",
                member.key_span,
                format!("the loop through task `{}` has no way out", member.key),
            );
            d.hint = Some("leave it by a `switch`, or use `for` with `while`".into());
        }
    }
}
