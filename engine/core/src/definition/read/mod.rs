//! From the tree of a document to the nodes of a plan, written out by hand, a file per family of constructs.
//!
//! A [`Reader`] walks the document once, in its order. It never stops at an error: what cannot be read leaves a
//! placeholder behind and a diagnostic, and a plan is made only if there is no error among them.
//!
//! - `shape`: objects, lists and scalars of the expected kind, unknown properties with the nearest right one.
//! - `expression`: conditions, filters and templates, with errors at their very place.
//! - `document`, `metadata`, `schedule`, `components`: the head of a document.
//! - `task`: lists of tasks and what all tasks have in common; `data`: input, output, export, set.
//! - `call`, `function`, `http`, `protocol`, `decide`, `run`; `resource` (documents at an address); `flow` (do, for, fork, switch); `error` (try, raise, retry); `event` (emit), `listen`.
//!
//! A construct that is part of the language but not built is refused by [`Reader::not_yet`]; grep for it to see what is
//! missing.

mod approval;
mod authentication;
mod call;
mod components;
mod data;
mod decide;
mod document;
mod error;
mod event;
mod expression;
mod extension;
mod flow;
mod function;
mod http;
mod listen;
mod metadata;
mod protocol;
mod resource;
mod run;
mod schedule;
mod shape;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;

use typed_arena::Arena;

use self::components::Components;
use self::task::Jump;
use super::Environment;
use super::diagnostic::{Diagnostic, Severity, Span};
use super::plan::{Action, Node, NodeId, OnUnknown, Pin, Plan, Then};
use super::resolve;
use super::yaml::{FOUND_MAX, Member, Yaml};
use crate::Value;
use crate::resource::Resource;

/// Reads one document.
pub struct Reader<'a> {
    source: &'a str,
    env: &'a dyn Environment,
    components: Components<'a>,
    nodes: Vec<Node>,
    pins: Vec<Pin>,
    found: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// One that is not kept.
    spare: Option<Diagnostic>,
    /// Whether `$secrets` may be mentioned in what is being read: it is evaluated when a call is made.
    may_seal: bool,
    /// `evaluate.mode`: whether texts without `${ … }` may be expressions.
    loose: bool,
    /// Jumps out of the tasks of the list that is being read.
    jumps: Vec<Jump<'a>>,
    /// Names of the functions whose bodies are being read, outermost first.
    calling: Vec<String>,
    /// The task whose extensions are being read.
    subject: Option<NodeId>,
    /// The documents that were wanted and found.
    resources: BTreeMap<Arc<str>, Arc<Resource>>,
    /// Texts of functions from elsewhere, and the tasks that they hold.
    texts: &'a Arena<String>,
    members: &'a Arena<Member>,
    /// Diagnostics about jumps to nowhere, with the name that they wanted.
    lost: Vec<(usize, &'a str)>,
}

/// Where tasks stand: their parent, its reference with the keyword of the list, and the variables bound there.
#[derive(Clone)]
pub struct Within {
    parent: NodeId,
    pointer: String,
    locals: Arc<[Arc<str>]>,
}

/// Reads a workflow: the plan, if nothing stood in the way, and all there is to say.
pub fn workflow(source: &str, root: &Yaml, env: &dyn Environment) -> (Option<Plan>, Vec<Diagnostic>) {
    let components = Components::default();
    let (texts, members) = (Arena::new(), Arena::new());
    let mut reader = Reader {
        source,
        env,
        components,
        nodes: vec![],
        pins: vec![],
        found: vec![],
        errors: 0,
        warnings: 0,
        spare: None,
        may_seal: false,
        loose: false,
        jumps: vec![],
        calling: vec![],
        subject: None,
        resources: BTreeMap::new(),
        texts: &texts,
        members: &members,
        lost: vec![],
    };
    let plan = reader.document(root);
    (plan, reader.found)
}

impl<'a> Reader<'a> {
    fn say(&mut self, diagnostic: Diagnostic) {
        self.push(diagnostic);
    }

    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Diagnostic::error(code, message).at(span))
    }

    fn warning(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Diagnostic::warning(code, message).at(span))
    }

    /// Keeps a diagnostic, unless there are enough of its severity.
    fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count > FOUND_MAX {
            return self.spare.insert(diagnostic);
        }
        self.found.push(diagnostic);
        self.found.last_mut().expect("one was pushed")
    }

    /// Whether enough has been said for today: looking for the nearest names costs time.
    fn is_fed_up(&self) -> bool {
        self.errors > FOUND_MAX
    }

    /// Refuses a construct that the language has and this version has not.
    fn not_yet(&mut self, span: Span, construct: &str, instead: &str) {
        let d = self.error("not-yet-supported", span, format!("{construct} is not supported yet"));
        d.hint = Some(instead.to_owned()).filter(|i| !i.is_empty());
    }

    /// A node with its place, to be filled.
    fn reserve(
        &mut self,
        name: Arc<str>,
        pointer: Arc<str>,
        place: (Option<NodeId>, u32),
        yaml: &Yaml,
        line: u32,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a document is bounded"));
        self.nodes.push(Node {
            id,
            name,
            pointer,
            parent: place.0,
            index: place.1,
            line,
            definition: yaml.value.clone(),
            locals: Arc::from([]),
            subject: self.subject,
            condition: None,
            input_schema: None,
            output_schema: None,
            export_schema: None,
            input_from: None,
            output_as: None,
            export_as: None,
            timeout: None,
            then: Then::Continue,
            key: None,
            on_unknown: OnUnknown::Ask,
            action: Action::Do(Vec::new()),
        });
        id
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn pin(&mut self, pin: Pin) {
        self.pins.push(pin);
    }

    fn finish(&mut self, head: document::Head) -> Plan {
        let nodes = std::mem::take(&mut self.nodes);
        let mut pins = std::mem::take(&mut self.pins);
        pins.sort();
        pins.dedup();
        Plan {
            namespace: head.namespace,
            name: head.name,
            version: head.version,
            title: head.title,
            summary: head.summary,
            alias: head.cpd.alias,
            digest: resolve::digest(self.source, &pins),
            source: Arc::from(self.source),
            document: head.document,
            nodes,
            pins,
            resources: std::mem::take(&mut self.resources).into_values().collect(),
            secrets: std::mem::take(&mut self.components.secrets),
            start_key: head.cpd.start_key,
            default_input: head.cpd.default_input.unwrap_or_else(Value::object),
        }
    }
}

/// A name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
