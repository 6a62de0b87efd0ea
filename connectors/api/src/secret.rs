//! Secrets by name, and their removal from whatever leaves a connector.
//!
//! Configuration and agent documents name secrets; the value is asked for at the moment of the call, from the
//! [`Secrets`] that the process hands in, and is never kept. A [`Secret`] does not print. What comes back from the
//! outside may echo a secret (an echo service, an error page that lists the request's headers): a [`Redactor`] that
//! knows the values in play replaces them before output, evidence or problem leave the connector.
//!
//! A value of fewer than [`Redactor::SHORTEST`] bytes is not searched for: it would maim ordinary text. Where an excerpt was
//! cut short in the middle of a secret (it ends with `…`), the beginning that is left is taken out, too.

mod redact;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use self::redact::Redactor;

/// A secret's value. Prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl AsRef<str>) -> Self {
        Self(Arc::from(value.as_ref()))
    }

    /// The value itself: for the wire and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Redactor::MARK)
    }
}

/// Where secrets come from.
pub trait Secrets: Send + Sync + 'static {
    /// The present value of the secret of that name.
    fn secret(&self, name: &str) -> Option<Secret>;

    /// Whether asking for it may take longer than reading a file: then it is not asked for where others would have to wait.
    fn takes_time(&self, name: &str) -> bool {
        let _ = name;
        false
    }
}

/// No secrets at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn secret(&self, _: &str) -> Option<Secret> {
        None
    }
}

impl Secrets for BTreeMap<String, Secret> {
    fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).cloned()
    }
}
