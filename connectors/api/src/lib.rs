//! The contract between the engine and a connector.
//!
//! A connector gets a [`Request`] and returns an [`Outcome`]; it never sees engine, journal or machine.
//! The engine has made the intent durable before [`Connector::call`] runs, and it may run again with the same
//! [`Request::key`] after a crash, as far as the operation's [`Class`] allows.
//!
//! - [`attachment`]: what comes along with a request: pinned documents, conditions on messages.
//! - [`clock`]: the time, as the process hands it to connectors; a clock for tests that moves by hand.
//! - [`guard`]: ends a piece of work at the request's deadline or cancellation.
//! - [`schema`]: the part of JSON Schema that operations describe their inputs with, and the check.
//! - [`secret`]: secrets by name, and their removal from whatever leaves a connector.
//! - `conformance` (feature `conformance`): the suite that every connector is run through.

pub mod attachment;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod guard;
pub mod secret;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use cpd_core::catalog::{Class, OperationSpec};
pub use cpd_core::definition::{duration, read_value};
pub use cpd_core::problem::{Problem, Standard};
pub use cpd_core::schema;
pub use cpd_core::time::Timestamp;
pub use cpd_core::value::Map;
pub use cpd_core::{Value, json};
pub use tokio_util::sync::CancellationToken;

/// A future that a connector returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who calls, what for, and how long it may take.
#[derive(Clone, Debug)]
pub struct Request {
    /// `connector.operation`.
    pub operation: Arc<str>,
    /// The operation's version that the run is pinned to.
    pub version: Arc<str>,
    /// The run, as people type it.
    pub run: Arc<str>,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The task's reference: a JSON pointer such as `/do/0/measure`.
    pub task: Arc<str>,
    /// 1 for the first attempt; grows over retries and restarts.
    pub attempt: u32,
    /// The same over all attempts of one effect; different for different effects.
    pub key: Arc<str>,
    /// When the engine stops waiting. The connector should give up a little before.
    pub deadline: Option<Timestamp>,
    /// The evaluated `with`.
    pub input: Value,
    /// Documents that the definition pinned.
    pub resources: attachment::Resources,
    /// Conditions on the messages of a subscription.
    pub conditions: attachment::Conditions,
    /// Is cancelled when the run, the task or the process ends. Stop as soon as it is safe.
    pub cancel: CancellationToken,
}

impl Request {
    /// How long until the deadline: `None` without one, zero when it has passed.
    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        self.deadline.map(|at| at.since(now))
    }

    /// The key as it may stand in an HTTP header or a tag: itself if it is short and plain, else its SHA-256.
    pub fn wire_key(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if self.key.len() <= 200 && !self.key.is_empty() && self.key.chars().all(plain) {
            return self.key.to_string();
        }
        let digest = Sha256::digest(self.key.as_bytes());
        digest.iter().fold(String::from("sha256:"), |mut hex, byte| {
            hex.push_str(&format!("{byte:02x}"));
            hex
        })
    }

    /// Reads the input as `T`.
    ///
    /// # Errors
    /// A `validation` problem that says what was found and expected: return it as [`Outcome::Refused`].
    pub fn input<T: serde::de::DeserializeOwned>(&self) -> Result<T, Problem> {
        self.input.to().map_err(|e| {
            Problem::standard(Standard::Validation, format!("`with` of {} does not fit: {e}", self.operation))
        })
    }
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It happened.
    Succeeded(Success),
    /// It did not happen and will not: do not retry.
    Refused(Problem),
    /// It did not happen this time: retry by policy, not before the given delay.
    Failed {
        /// Why.
        problem: Problem,
        /// What the other side asked for (`Retry-After`).
        not_before: Option<Duration>,
    },
    /// Nobody knows whether it happened (a lost answer, a time-out after sending).
    Unknown(Problem),
}

/// The good outcome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Success {
    /// What the workflow goes on with.
    pub output: Value,
    /// What the log keeps beside it and the workflow does not see: prompt, model, tokens, cost, reasoning, request ids.
    pub evidence: Option<Value>,
}

impl Outcome {
    /// The word for it in logs: `succeeded`, `refused`, `failed` or `unknown`.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Succeeded(_) => "succeeded",
            Outcome::Refused(_) => "refused",
            Outcome::Failed { .. } => "failed",
            Outcome::Unknown(_) => "unknown",
        }
    }

    /// The problem, unless it succeeded.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Outcome::Succeeded(_) => None,
            Outcome::Refused(problem) | Outcome::Failed { problem, .. } | Outcome::Unknown(problem) => Some(problem),
        }
    }

    /// A failure that may be retried at once.
    pub fn failed(problem: Problem) -> Self {
        Outcome::Failed { problem, not_before: None }
    }

    /// Success with an output and no evidence.
    pub fn succeeded(output: impl Into<Value>) -> Self {
        Outcome::Succeeded(Success { output: output.into(), evidence: None })
    }
}

/// What a connector found out about an earlier call.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconciled {
    /// It had happened; this was the outcome.
    Happened(Outcome),
    /// It had not happened: it may be called again with the same key.
    NotHappened,
    /// The connector cannot tell.
    CannotTell(Problem),
}

/// Something that performs operations in the world.
pub trait Connector: Send + Sync + 'static {
    /// The first part of its operations' names, such as `atlas`.
    fn name(&self) -> &str;

    /// What it offers. Asked once, when the engine opens.
    fn operations(&self) -> Vec<OperationSpec>;

    /// Looks at a call as it stands in a definition that is being registered: how it may be repeated, if that depends on
    /// more than the operation. Pinned with the definition, so it is asked once.
    ///
    /// # Errors
    /// What about the call can never work; the definition is refused.
    fn examine(&self, planned: &attachment::Planned<'_>) -> Result<Option<Class>, Problem> {
        let _ = planned;
        Ok(None)
    }

    /// Performs `request.operation`. Must not panic on any input; must end soon after `request.cancel`.
    fn call(&self, request: Request) -> BoxFuture<'_, Outcome>;

    /// Finds out what became of an earlier call with the same key. Asked only for operations that say `reconciles`.
    /// The request is that call's, with a deadline of its own: the one that the call had may have passed.
    fn reconcile(&self, request: Request) -> BoxFuture<'_, Reconciled> {
        let problem =
            Problem::standard(Standard::Runtime, format!("{} cannot reconcile {}", self.name(), request.operation));
        Box::pin(async move { Reconciled::CannotTell(problem) })
    }
}

impl fmt::Debug for dyn Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str) -> Request {
        Request {
            operation: "a.b".into(),
            version: "1.0.0".into(),
            run: "r".into(),
            workflow: "w".into(),
            task: "/do/0/t".into(),
            attempt: 1,
            key: key.into(),
            deadline: Some(Timestamp(5_000_000)),
            input: Value::object(),
            resources: Default::default(),
            conditions: Default::default(),
            cancel: CancellationToken::new(),
        }
    }

    #[test]
    fn plain_keys_travel_as_they_are_and_others_as_a_digest() {
        assert_eq!(request("r-1/retrain").wire_key(), "r-1/retrain");
        let odd = request("it's `quoted`\n").wire_key();
        assert_eq!(odd.len(), 7 + 64);
        assert!(odd.starts_with("sha256:"), "{odd}");
        assert_ne!(odd, request("it's `quoted`").wire_key());
        assert!(request("").wire_key().starts_with("sha256:"));
    }

    #[test]
    fn remaining_time_never_goes_below_zero() {
        assert_eq!(request("k").remaining(Timestamp(2_000_000)), Some(Duration::from_secs(3)));
        assert_eq!(request("k").remaining(Timestamp(9_000_000)), Some(Duration::ZERO));
    }
}
