//! What can go wrong: a text that is no expression, and an evaluation that fails.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::meter::{Blown, Limits, MAX_DATA_DEPTH, MAX_DEPTH, MAX_PATH};
use super::print;
use crate::Value;

/// Why a text is not an expression that can run here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} at byte {} of the expression", span.start)]
pub struct CompileError {
    /// What is wrong.
    pub message: String,
    /// Where in the source, in bytes; empty at the end of a text that stops too early.
    pub span: Range<usize>,
    /// What to do about it.
    pub hint: String,
}

impl CompileError {
    pub(super) fn new(message: impl Into<String>, span: Range<usize>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), span, hint: hint.into() }
    }

    /// An error about `part`, which is a slice of `source` (anything else is taken to be the whole).
    pub(super) fn at(source: &str, part: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let start = (part.as_ptr() as usize).checked_sub(source.as_ptr() as usize);
        let span = start.map(|s| s..s + part.len()).filter(|s| s.end <= source.len());
        Self::new(message, span.unwrap_or(0..source.len()), hint)
    }
}

/// Why an evaluation has no result.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum EvalError {
    /// The program raised an error, by `error` or by an operator that does not take what it was given.
    #[error("expression `{}` failed: {}", excerpt(source_text), message(value))]
    Raised {
        /// The expression.
        source_text: Arc<str>,
        /// What was raised: mostly a string.
        value: Value,
    },
    /// The evaluation took more steps than it may.
    #[error("expression `{}` was stopped after {fuel} steps", excerpt(source_text))]
    OutOfFuel {
        /// The expression.
        source_text: Arc<str>,
        /// The steps that it had.
        fuel: u64,
    },
    /// A value grew beyond what is allowed.
    #[error("expression `{}` made a value of more than {limit} {unit}", excerpt(source_text))]
    TooLarge {
        /// The expression.
        source_text: Arc<str>,
        /// What there was too much of: `nodes`, `bytes`, `levels`, `path steps`.
        unit: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

impl EvalError {
    pub(super) fn blown(source_text: Arc<str>, why: Blown, limits: &Limits) -> Self {
        let (unit, limit) = match why {
            Blown::Fuel => return Self::OutOfFuel { source_text, fuel: limits.fuel },
            Blown::Nodes => ("nodes", limits.max_nodes),
            Blown::Bytes => ("bytes", limits.max_bytes),
            Blown::Depth => ("levels", u64::from(MAX_DEPTH)),
            Blown::DataDepth => ("levels", u64::from(MAX_DATA_DEPTH)),
            Blown::Path => ("path steps", MAX_PATH as u64),
        };
        Self::TooLarge { source_text, unit, limit }
    }

    /// What was raised, as text: a string as it is, anything else as JSON; for the limits the whole message.
    pub fn detail(&self) -> String {
        match self {
            Self::Raised { value, .. } => message(value),
            other => other.to_string(),
        }
    }

    /// What an author can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Raised { .. } => "guard the place with `?`, `//` or `try … catch …`, or check the data that reach it",
            Self::OutOfFuel { .. } => "bound the loop (`limit`, `until` with a counter), or move the work into a task",
            Self::TooLarge { .. } => "keep large data outside of the run and pass references",
        }
    }
}

/// The longest part of an expression that is quoted in an error.
const EXCERPT_BYTES: usize = 60;

fn excerpt(source: &str) -> String {
    let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= EXCERPT_BYTES {
        return line;
    }
    format!("{}…", print::head(&line, EXCERPT_BYTES))
}

fn message(value: &Value) -> String {
    match value {
        Value::Str(s) => s.to_string(),
        v => print::preview(v),
    }
}
