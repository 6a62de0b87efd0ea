//! The typed plan of a workflow: what the checker makes of a document and what the machine runs.
//!
//! A plan is a flat list of nodes in document order; node 0 is the workflow itself, a `do` over its top-level tasks whose
//! `input.from`, `output.as` and `timeout` are the workflow's. Everything that a name can refer to (operations,
//! policies, retries, errors, time-outs, targets of `then`) is resolved here, so the machine never looks a name up.
//! Expressions are compiled. A plan never changes: a run is pinned to the digest of the plan it started with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Value;
use crate::catalog::OperationSpec;
use crate::expression::{Program, Template};
use crate::policy::Policy;
use crate::resource::Resources;
use crate::validation::Schema;

/// SHA-256 of what a plan, policy or agent is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    /// Lower-case hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Index of a node in [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A checked, resolved, compiled workflow.
#[derive(Debug)]
pub struct Plan {
    /// `document.namespace`
    pub namespace: Arc<str>,
    /// `document.name`, a DNS label.
    pub name: Arc<str>,
    /// `document.version`, semantic.
    pub version: Arc<str>,
    /// `document.title`
    pub title: Option<Arc<str>>,
    /// `document.summary`
    pub summary: Option<Arc<str>>,
    /// `metadata.cpd.id`: another name to type.
    pub alias: Option<Arc<str>>,
    /// Over the source text and everything that it was resolved to.
    pub digest: Digest,
    /// The source as registered.
    pub source: Arc<str>,
    /// The document as a value, for `$workflow.definition`.
    pub document: Value,
    /// Every task in document order; 0 is the workflow itself ([`Action::Do`]).
    pub nodes: Vec<Node>,
    /// What names were resolved to, in order of name.
    pub pins: Vec<Pin>,
    /// The documents that it refers to, as they were when it was registered.
    pub resources: Resources,
    /// `use.secrets`: the names of the secrets that its calls may mention.
    pub secrets: Vec<Arc<str>>,
    /// `metadata.cpd.idempotency.key`, evaluated on the transformed input when no key is given at the start.
    pub start_key: Option<Program>,
    /// Default `metadata.cpd.schedule.input`-like input of a run started without one.
    pub default_input: Value,
}

impl Plan {
    /// The node of that id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The id of the workflow itself.
    pub const ROOT: NodeId = NodeId(0);
}

/// Something that a name in the definition was resolved to when it was registered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// What it is.
    pub kind: PinKind,
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Digest of its content.
    pub digest: Digest,
}

/// The kinds of things that a plan pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinKind {
    /// An operation of a connector.
    Operation,
    /// A policy.
    Policy,
    /// An agent.
    Agent,
    /// A workflow that is run by this one.
    Workflow,
    /// How a call may be repeated, as its connector said: its name is the task's reference, its version the class.
    Class,
    /// A document at an address: its name is the address as written, its version the media type that the server named.
    Resource,
}

/// One task.
#[derive(Debug)]
pub struct Node {
    /// Where it stands in [`Plan::nodes`].
    pub id: NodeId,
    /// The task's name; the workflow's name for node 0.
    pub name: Arc<str>,
    /// Its reference, a JSON pointer such as `/do/0/measure`; empty for node 0.
    pub pointer: Arc<str>,
    /// The task whose list it stands in; `None` only for node 0.
    pub parent: Option<NodeId>,
    /// Its place in that list.
    pub index: u32,
    /// Line in the source, from 1.
    pub line: u32,
    /// The task's definition as a value, for `$task.definition`.
    pub definition: Value,
    /// Names of the variables that `for` and `catch` bind around this task, outermost first, with `$`.
    /// An inner name shadows an equal outer one. Expressions of the task itself are compiled with these.
    pub locals: Arc<[Arc<str>]>,
    /// The extended task that this one is before or after: it is what `$task` means here.
    pub subject: Option<NodeId>,
    /// `if`
    pub condition: Option<Program>,
    /// `input.schema`
    pub input_schema: Option<Schema>,
    /// `output.schema`
    pub output_schema: Option<Schema>,
    /// `export.schema`
    pub export_schema: Option<Schema>,
    /// `input.from`
    pub input_from: Option<Template>,
    /// `output.as`
    pub output_as: Option<Template>,
    /// `export.as`
    pub export_as: Option<Template>,
    /// `timeout.after`
    pub timeout: Option<Span>,
    /// `then`
    pub then: Then,
    /// `metadata.cpd.idempotencyKey`
    pub key: Option<Template>,
    /// `metadata.cpd.onUnknown`
    pub on_unknown: OnUnknown,
    /// What it does.
    pub action: Action,
}

impl Node {
    /// Whether nothing is to be evaluated on its output.
    pub fn is_plain_after(&self) -> bool {
        self.output_as.is_none() && self.export_as.is_none() && self.output_schema.is_none()
    }
}

/// Where to go after a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Then {
    /// The next task of the list.
    #[default]
    Continue,
    /// Leave this list.
    Exit,
    /// End the run.
    End,
    /// Another task of the same list.
    To(NodeId),
}

/// What to do with an at-most-once effect whose outcome is unknown and cannot be reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// Wait for an operator (`cpd resolve`).
    #[default]
    Ask,
    /// Call it again with the same key.
    Retry,
    /// Raise the problem as an error.
    Fault,
}

/// A span of time: fixed, or computed when it is needed.
#[derive(Clone, Debug)]
pub enum Span {
    /// Known at registration.
    Fixed(Duration),
    /// An expression giving an ISO 8601 duration text, or an object of days … milliseconds.
    Computed(Program),
}

/// What a task does.
#[derive(Debug)]
pub enum Action {
    /// `call` of an operation in the default catalog, or `call: http` (operation `http.request`).
    Call(Call),
    /// `call: policy.evaluate`
    Decide(Decide),
    /// `do`
    Do(Vec<NodeId>),
    /// A task with an extension around it.
    Extended(Extended),
    /// `emit`
    Emit {
        /// `event.with`
        event: Template,
    },
    /// `for`
    For(For),
    /// `fork`
    Fork {
        /// The branches in declared order.
        branches: Vec<NodeId>,
        /// First one wins.
        compete: bool,
    },
    /// `call: approval.request`: people decide; the request.
    Approve(Template),
    /// `listen`
    Listen(Listen),
    /// `raise`: an object with `type`, `status`, `title`, `detail`, or (our addition) a caught error as it was.
    Raise {
        /// The error.
        error: Template,
    },
    /// `set`
    Set(Template),
    /// `switch`: the first case that holds, in declared order.
    Switch(Vec<Case>),
    /// `try`
    Try {
        /// The guarded list.
        body: Vec<NodeId>,
        /// What to do with errors.
        catch: Catch,
    },
    /// `wait`
    Wait(Span),
}

impl Action {
    /// The keyword, for people.
    pub fn keyword(&self) -> &'static str {
        match self {
            Action::Approve(_) | Action::Call(_) | Action::Decide(_) => "call",
            Action::Do(_) => "do",
            Action::Emit { .. } => "emit",
            Action::Extended(_) => "extension",
            Action::For(_) => "for",
            Action::Fork { .. } => "fork",
            Action::Listen(_) => "listen",
            Action::Raise { .. } => "raise",
            Action::Set(_) => "set",
            Action::Switch(_) => "switch",
            Action::Try { .. } => "try",
            Action::Wait(_) => "wait",
        }
    }
}

/// A call of an operation.
#[derive(Debug)]
pub struct Call {
    /// What is called, pinned.
    pub operation: OperationSpec,
    /// `with`
    pub with: Template,
    /// Expressions about the messages of a subscription.
    pub conditions: Conditions,
}

/// What a subscription asks about each message. All absent for other calls.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// `subscription.filter`: which messages count.
    pub filter: Option<Arc<Program>>,
    /// `consume.while`
    pub proceed: Option<Arc<Program>>,
    /// `consume.until`
    pub until: Option<Arc<Program>>,
}

/// A task with an extension of `use.extensions` around it.
#[derive(Debug)]
pub struct Extended {
    /// `when`: whether the extension applies.
    pub when: Option<Program>,
    /// `before`
    pub before: Vec<NodeId>,
    /// The task, or the next extension around it.
    pub inner: NodeId,
    /// `after`
    pub after: Vec<NodeId>,
}

/// A policy decision.
#[derive(Debug)]
pub struct Decide {
    /// The pinned policy.
    pub policy: Arc<Policy>,
    /// `with.input`: the facts. Without one, the task's input.
    pub facts: Option<Template>,
    /// `with.parameters`: overrides of the policy's parameters.
    pub parameters: Option<Template>,
}

/// A loop.
#[derive(Debug)]
pub struct For {
    /// `for.in`: gives the array; `null` counts as empty.
    pub items: Program,
    /// `while`, compiled with the loop's own variables (the last two locals).
    pub condition: Option<Program>,
    /// The body. Its nodes' locals end with the item's and the index's variable.
    pub body: Vec<NodeId>,
    /// Whether each iteration begins with its item and the outputs of all become the loop's (`foreach`), instead of each
    /// beginning with the output of the one before.
    pub gather: bool,
}

/// A `listen`: which events, how many, and what is done with each.
#[derive(Debug)]
pub struct Listen {
    /// `to.one`, `to.all` or `to.any`.
    pub consume: Consume,
    /// The filters in declared order. None at all, with [`Consume::Any`], takes every event.
    pub filters: Vec<EventFilter>,
    /// `to.until`: when a listen for any event ends. Without one it ends with the first event.
    pub until: Option<Until>,
    /// `read`
    pub read: Read,
    /// `foreach`: a list of one task, a `do` over the tasks for each event. Its locals end with the item's and the index's
    /// variable.
    pub foreach: Vec<NodeId>,
}

/// How many of the filters must be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consume {
    /// The one that there is.
    One,
    /// Each of them, once, in any order.
    All,
    /// Any of them.
    Any,
}

/// What ends a listen for any event.
#[derive(Debug)]
pub enum Until {
    /// An expression about the event that was taken last, as it is read.
    Condition(Program),
    /// Events of their own, which are not part of the output.
    Events {
        /// `one`, `all` or `any`.
        consume: Consume,
        /// The filters.
        filters: Vec<EventFilter>,
    },
}

/// What of an event a workflow gets to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Read {
    /// Its `data`.
    #[default]
    Data,
    /// The whole event.
    Envelope,
    /// Its `data` as it came.
    Raw,
}

/// Which events are meant.
#[derive(Debug)]
pub struct EventFilter {
    /// `with`: attributes and what they must be.
    pub attributes: Vec<(Arc<str>, Matcher)>,
    /// `correlate`
    pub correlate: Vec<Correlation>,
}

/// What an attribute of an event must be.
#[derive(Debug)]
pub enum Matcher {
    /// Equal to this.
    Equal(Value),
    /// This text, or a text that this pattern matches as a whole.
    Pattern(Arc<str>, regex::Regex),
    /// An object that has these members.
    Members(Vec<(Arc<str>, Matcher)>),
    /// An expression about the attribute: `true`, or the value that it must be equal to.
    Computed(Program),
}

/// A value that events must have in common.
#[derive(Debug)]
pub struct Correlation {
    /// Its name. Filters of one listen that use the same name mean the same value.
    pub key: Arc<str>,
    /// Takes the value out of the event.
    pub from: Program,
    /// What it must be; without it, what it was in the first event.
    pub expect: Option<Template>,
}

/// A case of a `switch`.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: Arc<str>,
    /// `when`; `None` is the default case.
    pub when: Option<Program>,
    /// Where to go.
    pub then: Then,
}

/// `catch`
#[derive(Debug)]
pub struct Catch {
    /// `errors.with`: what is caught, compared statically; all `None` catches everything.
    pub filter: ErrorFilter,
    /// `when`, compiled with the error's variable as last local.
    pub when: Option<Program>,
    /// `exceptWhen`, likewise.
    pub except_when: Option<Program>,
    /// `retry`
    pub retry: Option<Retry>,
    /// `do`: its nodes' locals end with the error's variable.
    pub body: Option<Vec<NodeId>>,
    /// `then`: where to go after an error was caught; without it where the `try` goes.
    pub then: Option<Then>,
}

/// Members that must be equal for an error to be caught.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorFilter {
    /// `type`, compared by [`crate::problem::Problem::same_type`].
    pub kind: Option<Arc<str>>,
    /// `status`
    pub status: Option<u16>,
    /// `instance`
    pub instance: Option<Arc<str>>,
    /// `title`
    pub title: Option<Arc<str>>,
    /// `detail` (`details` in 1.0.3)
    pub detail: Option<Arc<str>>,
}

/// `retry`, resolved. Limits count retries, not the first attempt.
#[derive(Debug)]
pub struct Retry {
    /// `when`, compiled with the error's variable as last local.
    pub when: Option<Program>,
    /// `exceptWhen`, likewise.
    pub except_when: Option<Program>,
    /// `delay`; zero if absent.
    pub delay: Span,
    /// `backoff`
    pub backoff: Backoff,
    /// `jitter.from` and `.to`, added to each delay.
    pub jitter: Option<(Span, Span)>,
    /// `limit.attempt.count`: the most retries; the default cap where the definition gives none.
    pub retries_max: u32,
    /// `limit.attempt.duration`: the longest that one attempt may take.
    pub attempt_max: Option<Duration>,
    /// `limit.duration`: the longest that all attempts together may take.
    pub total_max: Option<Span>,
}

/// How the delay grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backoff {
    /// `delay` each time.
    Constant,
    /// `delay` × n for the n-th retry, capped.
    Linear {
        /// The longest delay.
        delay_max: Option<Duration>,
    },
    /// `delay` × factor^(n−1) for the n-th retry, capped.
    Exponential {
        /// The growth; 2 if absent.
        factor: f64,
        /// The longest delay.
        delay_max: Option<Duration>,
    },
}

/// Retries where a definition gives no limit; shown by the linter.
pub const RETRIES_DEFAULT: u32 = 10;

impl Plan {
    /// `namespace/name`
    pub fn qualified_name(&self) -> Arc<str> {
        Arc::from(format!("{}/{}", self.namespace, self.name))
    }
}
