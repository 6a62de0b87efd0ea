//! Errors as the workflow language has them: RFC 7807 problem details.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Value;

/// The base of the standard error types; `compare by last segment for the known hosts; emit the new host`.
pub const TYPE_BASE: &str = "https://open-workflow-specification.org/spec/1.0.0/errors/";

/// The standard error kinds of the specification, with their status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// 400: the definition or the set-up is wrong.
    Configuration,
    /// 400: data does not fit a schema.
    Validation,
    /// 400: an expression failed.
    Expression,
    /// 401: who are you?
    Authentication,
    /// 403: you may not.
    Authorization,
    /// 408: it took too long.
    Timeout,
    /// 500 (or the status of the answer): the other side failed.
    Communication,
    /// 500: anything else at run time.
    Runtime,
}

impl Standard {
    /// Every standard kind.
    pub const ALL: [Standard; 8] = [
        Self::Configuration,
        Self::Validation,
        Self::Expression,
        Self::Authentication,
        Self::Authorization,
        Self::Timeout,
        Self::Communication,
        Self::Runtime,
    ];

    /// The last segment of the type URI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Validation => "validation",
            Self::Expression => "expression",
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::Timeout => "timeout",
            Self::Communication => "communication",
            Self::Runtime => "runtime",
        }
    }

    /// The default status.
    pub fn status(self) -> u16 {
        match self {
            Self::Configuration | Self::Validation | Self::Expression => 400,
            Self::Authentication => 401,
            Self::Authorization => 403,
            Self::Timeout => 408,
            Self::Communication | Self::Runtime => 500,
        }
    }
}

/// A problem (RFC 7807): what went wrong, in a form that `catch` can match and people can read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The error type, a URI.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// An HTTP-like status.
    pub status: u16,
    /// A short summary, the same for every error of the type.
    pub title: Arc<str>,
    /// What happened this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Arc<str>>,
    /// JSON pointer of the task that raised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Arc<str>>,
    /// Anything else worth having: an excerpt of an answer, a position.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// `null` is data, too: what was written comes back, or a replay would differ.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl Problem {
    /// A problem of a standard kind with its default status.
    pub fn standard(kind: Standard, detail: impl AsRef<str>) -> Self {
        let name = kind.name();
        let title = format!("{}{} error", name[..1].to_ascii_uppercase(), &name[1..]);
        Self {
            kind: Arc::from(format!("{TYPE_BASE}{name}")),
            status: kind.status(),
            title: Arc::from(title),
            detail: Some(Arc::from(detail.as_ref())),
            instance: None,
            data: None,
        }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same with data attached.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// Whether two type URIs mean the same: equal, or standard types of any of the specification's hosts and spellings.
    pub fn same_type(a: &str, b: &str) -> bool {
        fn known(uri: &str) -> Option<&str> {
            let last = uri.rsplit('/').next()?;
            let host = ["serverlessworkflow.io", "open-workflow-specification.org"].iter().any(|h| uri.contains(h));
            let relative = uri.starts_with("/spec/1.0.0/errors/") || uri.starts_with("/dsl/errors/types/");
            ((host || relative) && Standard::ALL.iter().any(|s| s.name() == last)).then_some(last)
        }
        a == b || matches!((known(a), known(b)), (Some(x), Some(y)) if x == y)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.title, self.status)?;
        self.detail.as_ref().map_or(Ok(()), |d| write!(f, ": {d}"))
    }
}
