//! Version 1 of every record. Frozen: what these structs encode to is held by golden bytes.
//!
//! `Json` is compact JSON text. An empty one stands for something that is there already and is said at the field.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The version number that stands beside the kind.
pub const VERSION: u8 = 1;

/// Compact JSON text, borrowed when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json<'a>(#[serde(borrow, with = "serde_bytes")] pub Cow<'a, [u8]>);

/// A run began: `RunStarted`; or it will have begun so once its history is copied: `RunShared`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted<'a> {
    /// Digest of the plan that it is pinned to.
    pub plan: [u8; 32],
    /// `namespace/name` of the workflow.
    #[serde(borrow)]
    pub workflow: Cow<'a, str>,
    /// Its version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// The input as given.
    #[serde(borrow)]
    pub input: Json<'a>,
    /// The key that made starting idempotent.
    #[serde(borrow)]
    pub key: Option<Cow<'a, str>>,
    /// Who or what started it.
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
    /// The rules that the run lives by.
    pub behaviour: u16,
}

/// A composite task, or a `listen` (`ListenStarted`), began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEntered<'a> {
    /// The act.
    pub act: u32,
    /// Its transformed input.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// When its time-out ends, in microseconds since the epoch.
    pub deadline: Option<i64>,
    /// The items of a `for`; empty if they are the input itself.
    #[serde(borrow)]
    pub items: Option<Json<'a>>,
}

/// Only the act: `TaskSkipped`, `TaskQuestioned`, `TaskParked`, `LoopEnded`, `TimerFired`, `EventPublished`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActOnly {
    /// The act.
    pub act: u32,
}

/// The act and a number: `TaskRetried` and `TryRetried` (the attempt), `IterationStarted` (the index).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActAndNumber {
    /// The act.
    pub act: u32,
    /// The number.
    pub number: u32,
}

/// The act, its transformed input, and a document: `TaskReturned` (the output) and `EventEmitted` (the event).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActAndDocument<'a> {
    /// The act.
    pub act: u32,
    /// Its transformed input.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// The document.
    #[serde(borrow)]
    pub document: Json<'a>,
}

/// A `switch` took a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseTaken<'a> {
    /// The act.
    pub act: u32,
    /// Its transformed input.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// Index of the case; none if no case held.
    pub case: Option<u32>,
}

/// A policy decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDecided<'a> {
    /// The act.
    pub act: u32,
    /// Its transformed input.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// The decision.
    #[serde(borrow)]
    pub decision: Json<'a>,
    /// How long it took.
    pub micros: u32,
}

/// The intent of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStarted<'a> {
    /// The act.
    pub act: u32,
    /// Its transformed input.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// When its time-out ends.
    pub deadline: Option<i64>,
    /// The arguments; empty if they are the input itself.
    #[serde(borrow)]
    pub args: Json<'a>,
    /// The idempotency key, if the definition gave one.
    #[serde(borrow)]
    pub key: Option<Cow<'a, str>>,
}

/// People are asked for an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRequested<'a> {
    /// The act.
    pub act: u32,
    /// Its transformed input.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// When its time-out ends.
    pub deadline: Option<i64>,
    /// What is asked, and of whom.
    #[serde(borrow)]
    pub request: Json<'a>,
}

/// Somebody voted on an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalVoted<'a> {
    /// The act.
    pub act: u32,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// In whose stead.
    #[serde(borrow)]
    pub on_behalf_of: Option<Cow<'a, str>>,
    /// Whether they approve.
    pub approves: bool,
    /// Why.
    #[serde(borrow)]
    pub comment: Cow<'a, str>,
    /// Whether this decided it.
    pub last: bool,
}

/// Somebody handed a vote over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalDelegated<'a> {
    /// The act.
    pub act: u32,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// To whom.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// A `wait` began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitStarted<'a> {
    /// The act.
    pub act: u32,
    /// Its transformed input.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// When its time-out ends.
    pub deadline: Option<i64>,
    /// When the wait is over.
    pub until: i64,
}

/// A run was given an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReceived<'a> {
    /// The CloudEvent.
    #[serde(borrow)]
    pub event: Json<'a>,
    /// Whether the oldest one that waited had to go.
    pub displaces: bool,
}

/// A `listen` took an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTaken<'a> {
    /// The act.
    pub act: u32,
    /// The event's number in the run.
    pub number: u64,
    /// Index of the filter that it met.
    pub filter: Option<u32>,
    /// Whether the filter is one of `until`.
    pub until: bool,
    /// The correlation values, if it has set any.
    #[serde(borrow)]
    pub keys: Option<Json<'a>>,
    /// Whether it was the last one.
    pub last: bool,
}

/// A `listen` looked at events and took none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsPassed {
    /// The act.
    pub act: u32,
    /// The number of the next event.
    pub upto: u64,
}

/// An effect happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSucceeded<'a> {
    /// The act.
    pub act: u32,
    /// The attempt.
    pub attempt: u32,
    /// The output.
    #[serde(borrow)]
    pub output: Json<'a>,
    /// What is kept beside it.
    #[serde(borrow)]
    pub evidence: Option<Json<'a>>,
}

/// An effect did not happen: `TaskRefused`, `TaskFailed`, `TaskUnknown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskUnsuccessful<'a> {
    /// The act.
    pub act: u32,
    /// The attempt.
    pub attempt: u32,
    /// The problem.
    #[serde(borrow)]
    pub problem: Json<'a>,
    /// `TaskFailed`: do not retry before.
    pub not_before: Option<i64>,
    /// `TaskUnknown`: whether the process ended while the call was in flight.
    pub interrupted: bool,
}

/// An effect will be tried again later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDelayed {
    /// The act.
    pub act: u32,
    /// When.
    pub until: i64,
}

/// An operator said what became of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResolved<'a> {
    /// The act.
    pub act: u32,
    /// 1: it succeeded, `document` is the output. 2: call it again. 3: it failed, `document` is the problem.
    pub resolution: u8,
    /// See `resolution`; `null` for 2.
    #[serde(borrow)]
    pub document: Json<'a>,
    /// Who.
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
}

/// The outcome of an effect that nobody waits for any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateOutcome<'a> {
    /// The act.
    pub act: u32,
    /// The attempt.
    pub attempt: u32,
    /// `succeeded`, `refused`, `failed` or `unknown`.
    #[serde(borrow)]
    pub outcome: Cow<'a, str>,
    /// Output or problem.
    #[serde(borrow)]
    pub detail: Json<'a>,
}

/// A task's output and export were evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCompleted<'a> {
    /// The act.
    pub act: u32,
    /// Its transformed output.
    #[serde(borrow)]
    pub output: Option<Json<'a>>,
    /// What became of the context.
    #[serde(borrow)]
    pub export: Option<Export<'a>>,
}

/// What `export.as` made of the context. An empty `Json` is the task's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export<'a> {
    /// The whole new context; if absent, `members` are merged into it.
    #[serde(borrow)]
    pub replace: Option<Json<'a>>,
    /// Members that were added or changed.
    #[serde(borrow)]
    pub members: Vec<(Cow<'a, str>, Json<'a>)>,
}

/// The act and a problem: `TaskFaulted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFaulted<'a> {
    /// The act.
    pub act: u32,
    /// The problem.
    #[serde(borrow)]
    pub problem: Json<'a>,
}

/// A `try` caught an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCaught {
    /// The `try`.
    pub act: u32,
    /// The act that failed.
    pub from: u32,
    /// 1: retry as `attempt` at `until`. 2: `catch.do`. 3: nothing.
    pub handling: u8,
    /// For 1, else 0.
    pub attempt: u32,
    /// For 1, else 0.
    pub until: i64,
}

/// A `timeout` has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadlinePassed {
    /// The act.
    pub act: u32,
    /// Whether it was the limit of one attempt of a `try`.
    pub attempt: bool,
}

/// An operator did something to a run: `RunPaused`, `RunResumed`, `RunCancelled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOperated<'a> {
    /// Who.
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// The records before this one are those of another run; what follows is the run's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunForked<'a> {
    /// Whose history it is.
    pub origin: [u8; 16],
    /// How many of its records.
    pub seq: u64,
    /// The run that begins.
    pub run: [u8; 16],
    /// What the next task begins with instead.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// Who.
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
}

/// A run was moved to another version of its workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMigrated<'a> {
    /// Digest of that version's plan.
    pub plan: [u8; 32],
    /// The version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// Who.
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
}

/// A run reached its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCompleted<'a> {
    /// Its transformed output; absent if it is the last task's.
    #[serde(borrow)]
    pub output: Option<Json<'a>>,
}

/// An error reached the top of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFaulted<'a> {
    /// The problem.
    #[serde(borrow)]
    pub problem: Json<'a>,
}

/// A definition was registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered<'a> {
    /// 1: workflow, 2: policy, 3: agent.
    pub what: u8,
    /// Its name, qualified for a workflow.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// Digest of what it means: for a workflow that of its plan.
    pub digest: [u8; 32],
    /// The source text.
    #[serde(borrow)]
    pub source: Cow<'a, str>,
    /// Name of the file it came from, for messages.
    #[serde(borrow)]
    pub file: Cow<'a, str>,
    /// What its names were resolved to.
    #[serde(borrow)]
    pub pins: Vec<Pin<'a>>,
    /// Who registered it.
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
}

/// Something that a definition's name was resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin<'a> {
    /// 1: operation, 2: policy, 3: agent, 4: workflow, 5: document, 6: how a call may be repeated.
    pub kind: u8,
    /// Its name; the address of a document; the reference of a task with a call.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its version; the media type of a document, or nothing; `safe`, `idempotent` or `at-most-once`.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// Digest of its content.
    pub digest: [u8; 32],
    /// An operation's specification as JSON; empty otherwise.
    #[serde(borrow)]
    pub document: Json<'a>,
}

/// A document that a definition refers to by an address. Definitions are pinned to the SHA-256 of the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document<'a> {
    /// Its bytes.
    #[serde(borrow, with = "serde_bytes")]
    pub content: Cow<'a, [u8]>,
}

/// Who did something on the control plane, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor<'a> {
    /// The name of the principal, such as `token:ci`; empty if it was not recognised.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// How it was recognised, such as `token 3kTMd9…`; empty if it was not.
    #[serde(borrow)]
    pub via: Cow<'a, str>,
    /// The address of the peer, or `cli`.
    #[serde(borrow)]
    pub from: Cow<'a, str>,
}

/// A bearer token was made. The token itself is nowhere: its digest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated<'a> {
    /// Its public id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Its name, for people.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The name of its role.
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    /// The namespaces that it reaches, in order; absent if it reaches all.
    #[serde(borrow)]
    pub namespaces: Option<Vec<Cow<'a, str>>>,
    /// Digest of the whole token.
    pub hash: [u8; 32],
    /// From when on it is good no more, in microseconds since the epoch.
    pub expires_at: Option<i64>,
    /// Who made it.
    #[serde(borrow)]
    pub by: Actor<'a>,
}

/// A bearer token is good no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRevoked<'a> {
    /// Its public id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Who revoked it.
    #[serde(borrow)]
    pub by: Actor<'a>,
}

/// Somebody administered something, or was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administered<'a> {
    /// Who.
    #[serde(borrow)]
    pub by: Actor<'a>,
    /// What, such as `token.create`.
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    /// To what.
    #[serde(borrow)]
    pub target: Cow<'a, str>,
    /// 1: allowed. 2: refused.
    pub outcome: u8,
    /// Why it was refused, or what reason was given.
    #[serde(borrow)]
    pub why: Cow<'a, str>,
}

/// Refused attempts that have no record of their own, because there were too many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalsCounted<'a> {
    /// When the first of them was, in microseconds since the epoch.
    pub since: i64,
    /// When the last of them was.
    pub until: i64,
    /// How many there were.
    pub count: u64,
    /// Those that were told apart, the most frequent first; there may have been others.
    #[serde(borrow)]
    pub groups: Vec<RefusalGroup<'a>>,
}

/// Refused attempts that differ in nothing but their time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalGroup<'a> {
    /// The address of the peer.
    #[serde(borrow)]
    pub from: Cow<'a, str>,
    /// What was tried.
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    /// Why it was refused.
    #[serde(borrow)]
    pub why: Cow<'a, str>,
    /// How many there were.
    pub count: u64,
}
