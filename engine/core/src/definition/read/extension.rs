//! `use.extensions`: tasks before and after every task of a kind.
//!
//! The first extension of the list is the outermost. Tasks of extensions are not extended themselves, nor are those that
//! functions are made of: the call of the function is.

use std::mem;

use super::{Reader, Within};
use crate::definition::plan::{Action, Extended, NodeId};
use crate::definition::yaml::{Member, Yaml};

/// What `extend` can name, and the keywords of tasks that it means; `all` means all.
const TARGETS: [(&str, &[&str]); 20] = [
    ("all", &[]),
    ("call", &["call"]),
    ("composite", &["do", "fork"]),
    ("do", &["do"]),
    ("emit", &["emit"]),
    ("for", &["for"]),
    ("fork", &["fork"]),
    ("listen", &["listen"]),
    ("raise", &["raise"]),
    ("run", &["run"]),
    ("set", &["set"]),
    ("switch", &["switch"]),
    ("try", &["try"]),
    ("wait", &["wait"]),
    ("http", &[]),
    ("openapi", &[]),
    ("grpc", &[]),
    ("asyncapi", &[]),
    ("mcp", &[]),
    ("a2a", &[]),
];

/// An extension, held against its form.
#[derive(Clone, Copy)]
pub struct Extension<'a> {
    name: &'a str,
    extend: &'a str,
    when: Option<&'a Yaml>,
    before: Option<&'a Yaml>,
    after: Option<&'a Yaml>,
}

impl<'a> Reader<'a> {
    /// `use.extensions`
    pub fn extensions(&mut self, yaml: &'a Yaml) {
        let what = "`use.extensions`";
        let members: Vec<&'a Member> = match yaml.members() {
            Some(members) => members.iter().collect(),
            None => {
                let items = self.list(yaml, what, "a list of extensions, each with its name").unwrap_or_default();
                let named = items.iter().filter_map(|item| match item.members() {
                    Some([only]) => Some(only),
                    _ => {
                        self.wrong_type(item, "an item of `use.extensions`", "one extension with its name");
                        None
                    }
                });
                named.collect()
            }
        };
        for member in members {
            let what = format!("extension `{}`", member.key);
            let known = ["extend", "when", "before", "after"];
            let Some(fields) = self.fields(&member.value, &what, &known) else { continue };
            let Some(extend) = self.required(fields, "extend", &what) else { continue };
            let choices = TARGETS.map(|(word, _)| (word, word));
            let Some(target) = self.choice(extend, &format!("`extend` of {what}"), &choices) else { continue };
            let (before, after) = (fields.get("before"), fields.get("after"));
            if before.or(after).is_none() {
                let message = format!("{what} has neither `before` nor `after`");
                self.warning("empty-extension", member.key_span, message);
            }
            let extension = Extension { name: &member.key, extend: target, when: fields.get("when"), before, after };
            self.components.extensions.push(extension);
        }
    }

    /// The extensions of a task, the outermost first.
    pub fn extensions_of(&self, keyword: &str, task: &Yaml) -> Vec<Extension<'a>> {
        if self.subject.is_some() || !self.calling.is_empty() {
            return Vec::new();
        }
        let protocol = task.get("call").and_then(Yaml::text).unwrap_or("");
        let meant = |extend: &str| match TARGETS.iter().find(|(word, _)| *word == extend) {
            Some(("all", _)) => true,
            Some((word, [])) => *word == protocol,
            Some((_, keywords)) => keywords.contains(&keyword),
            None => false,
        };
        self.components.extensions.iter().filter(|e| meant(e.extend)).copied().collect()
    }

    /// Puts the extensions around a task: nodes for each, from the outermost (`id`, which has the task's place) inwards.
    /// Returns the node that is left for the task itself.
    pub fn extend(&mut self, id: NodeId, member: &'a Member, layers: &[Extension<'a>], within: &Within) -> NodeId {
        let (name, pointer) = (self.node(id).name.clone(), self.node(id).pointer.clone());
        self.node(id).locals = within.locals.clone();
        let mut holder = id;
        for layer in layers {
            self.node(holder).subject = Some(id);
            self.subject = Some(id);
            let when = layer.when.and_then(|y| self.condition(y, "`when` of an extension", within));
            let list = |reader: &mut Self, yaml: Option<&'a Yaml>, key: &str| {
                let key = format!("extensions/{}/{key}", super::escaped(layer.name));
                // `then` of the tasks of an extension has its own list to jump in.
                let jumps = mem::take(&mut reader.jumps);
                let ids = yaml.map(|y| reader.body(holder, &key, y, within.locals.clone())).unwrap_or_default();
                reader.jumps = jumps;
                ids
            };
            let before = list(self, layer.before, "before");
            let after = list(self, layer.after, "after");
            self.subject = None;
            let line = member.key_span.line;
            let inner = self.reserve(name.clone(), pointer.clone(), (Some(holder), 0), &member.value, line);
            self.node(holder).action = Action::Extended(Extended { when, before, inner, after });
            holder = inner;
        }
        holder
    }
}
