//! Secrets by name, and their removal from whatever leaves a connector.
//!
//! Configuration and agent documents name secrets; the value is asked for at the moment of the call, from the
//! [`Secrets`] that the process hands in, and is never kept. A [`Secret`] does not print. What comes back from the
//! outside may echo a secret (an echo service, an error page that lists the request's headers): a [`Redactor`] that
//! knows the values in play replaces them before output, evidence or problem leave the connector.
//!
//! A value of fewer than [`Redactor::SHORTEST`] bytes is not searched for: it would maim ordinary text. Where an excerpt was
//! cut short in the middle of a secret (it ends with `…`), the beginning that is left is taken out, too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Outcome, Problem, Success, Value};

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

/// Replaces known secrets in what leaves a connector.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// What stands in a secret's place.
    pub const MARK: &'static str = "[redacted]";
    /// Shorter values are left alone.
    pub const SHORTEST: usize = 4;

    /// A redactor that knows these secrets.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut redactor = Self::default();
        secrets.into_iter().for_each(|s| redactor.add(s));
        redactor
    }

    /// Teaches it one more.
    pub fn add(&mut self, secret: Secret) {
        if secret.expose().len() >= Self::SHORTEST && !self.0.contains(&secret) {
            self.0.push(secret);
            // The longest first, so that a secret which is part of another one leaves no rest of that one behind.
            self.0.sort_by_key(|s| std::cmp::Reverse(s.expose().len()));
        }
    }

    /// The text without secrets; `None` if there was none in it.
    pub fn text(&self, text: &str) -> Option<String> {
        let mut clean: Option<String> = None;
        for secret in &self.0 {
            let now = clean.as_deref().unwrap_or(text);
            if now.contains(secret.expose()) {
                clean = Some(now.replace(secret.expose(), Self::MARK));
            }
        }
        let now = clean.as_deref().unwrap_or(text);
        self.cut(now).or(clean)
    }

    /// A text that was cut short within a secret, without the secret's beginning.
    fn cut(&self, text: &str) -> Option<String> {
        let whole = text.strip_suffix('…')?;
        let beginning = |secret: &Secret| {
            let secret = secret.expose();
            let lengths = (Self::SHORTEST..secret.len()).rev().filter(|at| secret.is_char_boundary(*at));
            lengths.into_iter().find(|at| whole.ends_with(&secret[..*at]))
        };
        let longest = self.0.iter().filter_map(beginning).max()?;
        Some(format!("{}{}…", &whole[..whole.len() - longest], Self::MARK))
    }

    /// The bytes without secrets, whatever else they are: for what is going to be encoded and could not be searched then.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut clean = bytes.to_vec();
        for secret in &self.0 {
            let secret = secret.expose().as_bytes();
            // What is left is copied once, however often the secret stands in it.
            let (mut whole, mut rest) = (Vec::new(), clean.as_slice());
            while let Some(at) = find(rest, secret) {
                whole.extend_from_slice(&rest[..at]);
                whole.extend_from_slice(Self::MARK.as_bytes());
                rest = &rest[at + secret.len()..];
            }
            if !whole.is_empty() {
                whole.extend_from_slice(rest);
                clean = whole;
            }
        }
        clean
    }

    /// The value without secrets, in keys and strings at any depth.
    #[must_use]
    pub fn value(&self, value: &Value) -> Value {
        if self.0.is_empty() {
            return value.clone();
        }
        match value {
            Value::Str(s) => self.text(s).map_or_else(|| value.clone(), Value::from),
            Value::Arr(items) => items.iter().map(|v| self.value(v)).collect(),
            Value::Obj(members) => Value::from(
                members
                    .iter()
                    .map(|(k, v)| (self.text(k).map_or_else(|| k.clone(), Arc::from), self.value(v)))
                    .collect::<cpd_core::value::Map>(),
            ),
            Value::Null | Value::Bool(_) | Value::Num(_) => value.clone(),
        }
    }

    /// The problem without secrets.
    #[must_use]
    pub fn problem(&self, mut problem: Problem) -> Problem {
        problem.detail = problem.detail.map(|d| self.text(&d).map_or(d, Arc::from));
        problem.data = problem.data.map(|d| self.value(&d));
        problem
    }

    /// The outcome without secrets.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Succeeded(s) => Outcome::Succeeded(Success {
                output: self.value(&s.output),
                evidence: s.evidence.map(|e| self.value(&e)),
            }),
            Outcome::Refused(p) => Outcome::Refused(self.problem(p)),
            Outcome::Failed { problem, not_before } => Outcome::Failed { problem: self.problem(problem), not_before },
            Outcome::Unknown(p) => Outcome::Unknown(self.problem(p)),
        }
    }
}

/// Where `needle`, which is not empty, begins in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        from += bytes[from..].iter().position(|b| *b == needle[0])?;
        if bytes[from..].starts_with(needle) {
            return Some(from);
        }
        from += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Standard, json};

    #[test]
    fn secrets_vanish_from_every_place_of_an_outcome() {
        let redactor = Redactor::new([Secret::new("hunter22"), Secret::new("hunter2"), Secret::new("abc")]);
        let seen = json!({"a": ["x hunter22 y", {"hunter2": 1}], "abc": true});
        let outcome = Outcome::Succeeded(Success { output: seen.clone(), evidence: Some(seen) });
        let Outcome::Succeeded(clean) = redactor.outcome(outcome) else { panic!("changed its kind") };
        assert_eq!(clean.output.to_json(), r#"{"a":["x [redacted] y",{"[redacted]":1}],"abc":true}"#);
        assert_eq!(clean.evidence, Some(clean.output));
        let problem = Problem::standard(Standard::Communication, "told hunter2").with_data(json!({"e": "hunter2"}));
        let shown = format!("{:?}", redactor.outcome(Outcome::failed(problem)));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_beginning_of_a_secret_at_a_cut_vanishes_too() {
        let redactor = Redactor::new([Secret::new("hunter22"), Secret::new("x-hunter22-é")]);
        assert_eq!(redactor.text("said x-hunt…").as_deref(), Some("said [redacted]…"));
        assert_eq!(redactor.text("said hunter22 and hunter2…").as_deref(), Some("said [redacted] and [redacted]…"));
        assert_eq!(redactor.text("said hun…"), None);
        assert_eq!(redactor.text("said hunter2"), None, "nothing was cut");
    }

    #[test]
    fn secrets_vanish_from_bytes_that_are_no_text() {
        let redactor = Redactor::new([Secret::new("hunter2")]);
        assert_eq!(redactor.bytes(b"\xffhunter2hunter2\xfe"), b"\xff[redacted][redacted]\xfe");
        assert_eq!(redactor.bytes(b"\xffhunt"), b"\xffhunt");
        assert_eq!(redactor.bytes(b"hhunter2"), b"h[redacted]");
        assert_eq!(redactor.bytes(b""), b"");
        let many = Redactor::new([Secret::new("aaaa")]).bytes(&vec![b'a'; 4 << 20]);
        assert_eq!(many.len(), Redactor::MARK.len() << 20, "in one pass, or this would not end");
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }
}
