//! What comes along with a request besides its input: documents that the definition pinned, and conditions on messages.
//!
//! Both are the engine's doing. A document (an OpenAPI or AsyncAPI description, a proto file, a script) was loaded when the
//! definition was registered and is the same in every attempt of every run of that version. A condition is an expression of
//! the definition, ready to be asked about one message; a connector that receives a stream asks it, and never sees jq.

use std::fmt;
use std::sync::Arc;

pub use cpd_core::resource::{Resource, Resources, Wanted};

use crate::{BoxFuture, Problem, Value};

/// A call as it stands in a definition.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// `connector.operation`.
    pub operation: &'a str,
    /// `with`, not evaluated: texts that contain `${` are expressions. It fits the operation's schema as far as that can be
    /// known.
    pub with: &'a Value,
    /// The documents that the definition has pinned so far, those of this call among them.
    pub resources: &'a Resources,
}

/// An expression of the definition about one message.
#[derive(Clone)]
pub struct Condition(Arc<Ask>);

/// What a [`Condition`] calls.
type Ask = dyn Fn(&Value) -> Result<bool, Problem> + Send + Sync;

impl Condition {
    /// A condition that asks `ask`.
    pub fn new(ask: impl Fn(&Value) -> Result<bool, Problem> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Whether it holds for this message.
    ///
    /// # Errors
    /// An `expression` problem.
    pub fn holds(&self, message: &Value) -> Result<bool, Problem> {
        (self.0)(message)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition(…)")
    }
}

/// Conditions of a subscription; all absent for other calls.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// `subscription.filter`: which messages count.
    pub filter: Option<Condition>,
    /// `consume.while`: goes on as long as this holds for the message that came.
    pub proceed: Option<Condition>,
    /// `consume.until`: ends with the first message for which this holds.
    pub until: Option<Condition>,
}

/// Loads the documents that definitions refer to. Asked when a definition is registered or checked, never by a run.
pub trait Loader: Send + Sync {
    /// Loads a document for the definition that came from the file `from`, which may have any name.
    ///
    /// # Errors
    /// Why it cannot be had.
    fn load<'a>(&'a self, wanted: &'a Wanted, from: &'a str) -> BoxFuture<'a, Result<Resource, Problem>>;
}
