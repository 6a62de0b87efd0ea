//! What comes along with a request besides its input: documents that the definition pinned, and conditions on messages.
//!
//! Both are the engine's doing. A document (an OpenAPI or AsyncAPI description, a proto file, a script) was loaded when the
//! definition was registered and is the same in every attempt of every run of that version. A condition is an expression of
//! the definition, ready to be asked about one message; a connector that receives a stream asks it, and never sees jq.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Problem, Value};

/// A document that a definition refers to, as it was when the definition was registered.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Where it was loaded from, as the definition writes it.
    pub uri: Arc<str>,
    /// What the server said that it is, if it did: `application/json`.
    pub media_type: Option<Arc<str>>,
    /// Its content.
    pub content: Arc<[u8]>,
}

impl Resource {
    /// The content as text.
    ///
    /// # Errors
    /// A `configuration` problem, if it is not UTF-8.
    pub fn text(&self) -> Result<&str, Problem> {
        std::str::from_utf8(&self.content).map_err(|e| {
            let detail = format!("read {}: it is not UTF-8 text (byte {})", self.uri, e.valid_up_to());
            Problem::standard(crate::Standard::Configuration, detail)
        })
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({}, {} bytes)", self.uri, self.content.len())
    }
}

/// The pinned documents of a call, by the URI that stands in the definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(Arc<BTreeMap<Arc<str>, Arc<Resource>>>);

impl Resources {
    /// The document that was loaded from that URI.
    ///
    /// # Errors
    /// A `configuration` problem that names the URI, if the definition did not pin it.
    pub fn get(&self, uri: &str) -> Result<&Resource, Problem> {
        self.0.get(uri).map(|r| &**r).ok_or_else(|| {
            let detail = format!("load {uri}: the definition was registered without it");
            Problem::standard(crate::Standard::Configuration, detail)
        })
    }
}

impl FromIterator<Arc<Resource>> for Resources {
    fn from_iter<I: IntoIterator<Item = Arc<Resource>>>(resources: I) -> Self {
        Self(Arc::new(resources.into_iter().map(|r| (r.uri.clone(), r)).collect()))
    }
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
