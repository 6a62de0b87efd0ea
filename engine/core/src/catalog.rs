//! What an operation of a connector promises. The engine resolves names to these when a definition is registered.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Value;

/// What may be done with an effect whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It only reads: call it again.
    Safe,
    /// The same key has the same effect once: call it again with the same key.
    Idempotent,
    /// It must not run twice: reconcile, or ask an operator.
    AtMostOnce,
}

impl Class {
    /// The class of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Class::Safe, Class::Idempotent, Class::AtMostOnce].into_iter().find(|c| c.to_string() == name)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Safe => "safe",
            Class::Idempotent => "idempotent",
            Class::AtMostOnce => "at-most-once",
        })
    }
}

/// An operation that a connector offers in the default catalog, such as `atlas.retrain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationSpec {
    /// `connector.operation`, lower case.
    pub name: Arc<str>,
    /// Semantic version of the operation's contract.
    pub version: Arc<str>,
    /// What may be done when the outcome is unknown.
    pub class: Class,
    /// Whether the connector can find out what became of a call by its idempotency key.
    pub reconciles: bool,
    /// One sentence: what it does.
    pub summary: Arc<str>,
    /// JSON Schema of `with`; `null` accepts anything.
    #[serde(default)]
    pub input: Value,
    /// JSON Schema of the output; `null` promises nothing.
    #[serde(default)]
    pub output: Value,
}

/// Looks operations up while a definition is checked.
pub trait Catalog {
    /// The operation of that name, the newest if `version` is `None`.
    fn find(&self, name: &str, version: Option<&str>) -> Option<OperationSpec>;
    /// Every name, for "did you mean …".
    fn names(&self) -> Vec<Arc<str>>;
}

impl Catalog for [OperationSpec] {
    fn find(&self, name: &str, version: Option<&str>) -> Option<OperationSpec> {
        self.iter().rfind(|o| &*o.name == name && version.is_none_or(|v| v == &*o.version)).cloned()
    }
    fn names(&self) -> Vec<Arc<str>> {
        self.iter().map(|o| o.name.clone()).collect()
    }
}
