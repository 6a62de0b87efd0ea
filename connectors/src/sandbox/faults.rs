//! What the sandbox can do wrong when it is told to.
//!
//! A [`Fault`] says for which requests (method, beginning of the path), how often, and what happens; the first one that
//! fits is used. `?fault=<kind>` in a query does the same for a single request. Faults that strike *before* the work
//! leave no effect; those that strike *after* it have done the work and spoil the answer: the cases that tell a
//! careful client from a hopeful one.

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Before the work: answers with [`Fault::status`] (500).
    Status,
    /// Before the work: answers 401.
    Unauthorized,
    /// Before the work: closes the connection without a word.
    Drop,
    /// Before the work: never answers.
    Never,
    /// Before the work: answers 302 to itself.
    RedirectLoop,
    /// After the work: closes the connection without a word.
    LoseReply,
    /// After the work: never answers.
    NeverReply,
    /// After the work: announces the whole body, sends half of it and closes.
    ResetMidBody,
    /// After the work: an HTML page with status 200.
    Html,
    /// After the work: JSON of another shape.
    WrongJson,
    /// After the work: text that begins like JSON and is none.
    BadJson,
    /// After the work: 40 MB with a length.
    Huge,
    /// After the work: 40 MB without a length.
    HugeChunked,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 13] = [
        Self::Status,
        Self::Unauthorized,
        Self::Drop,
        Self::Never,
        Self::RedirectLoop,
        Self::LoseReply,
        Self::NeverReply,
        Self::ResetMidBody,
        Self::Html,
        Self::WrongJson,
        Self::BadJson,
        Self::Huge,
        Self::HugeChunked,
    ];

    /// Whether the work is done before the fault strikes.
    pub fn after_work(self) -> bool {
        match self {
            Self::Status | Self::Unauthorized | Self::Drop | Self::Never | Self::RedirectLoop => false,
            Self::LoseReply
            | Self::NeverReply
            | Self::ResetMidBody
            | Self::Html
            | Self::WrongJson
            | Self::BadJson
            | Self::Huge
            | Self::HugeChunked => true,
        }
    }
}

/// A fault to strike requests with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub fault: Kind,
    /// Only requests whose path begins so; every request but the control endpoints if empty.
    #[serde(default)]
    pub path: String,
    /// Only this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// How often; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The status of [`Kind::Status`].
    #[serde(default = "default_status")]
    pub status: u16,
    /// The `Retry-After` that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
}

fn default_status() -> u16 {
    500
}

impl Fault {
    /// A fault for every request, for ever.
    pub fn new(fault: Kind) -> Self {
        Self { fault, path: String::new(), method: None, times: None, status: 500, retry_after: None }
    }

    /// The same for paths that begin so.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// The same for one method.
    #[must_use]
    pub fn on(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// The same a number of times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// [`Kind::Status`] with this status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::new(Kind::Status) }
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        path.starts_with(&self.path)
            && self.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(method))
            && self.times != Some(0)
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one, behind the others.
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What is in force.
    pub fn list(&self) -> &[Fault] {
        &self.0
    }

    /// The fault for a request, counted.
    pub fn strike(&mut self, method: &str, path: &str) -> Option<Fault> {
        let fault = self.0.iter_mut().find(|f| f.fits(method, path))?;
        fault.times = fault.times.map(|n| n - 1);
        let fault = fault.clone();
        self.0.retain(|f| f.times != Some(0));
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_what_it_fits_as_often_as_it_says() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Kind::Html).at("/training").on("post").times(2));
        assert_eq!(faults.strike("GET", "/training/jobs"), None);
        assert_eq!(faults.strike("POST", "/api"), None);
        assert!(faults.strike("POST", "/training/jobs").is_some());
        assert!(faults.strike("POST", "/training/jobs").is_some());
        assert_eq!(faults.strike("POST", "/training/jobs"), None);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn kinds_have_the_names_of_the_documentation() {
        let names: Vec<String> = Kind::ALL.iter().map(|k| serde_json::to_string(k).unwrap()).collect();
        assert_eq!(names[4..7], [r#""redirect-loop""#, r#""lose-reply""#, r#""never-reply""#]);
    }
}
