//! What an answer, or the lack of one, says about the effect.
//!
//! | what came back | safe and idempotent methods | at-most-once methods |
//! |---|---|---|
//! | nothing was sent: name not found, connection refused, TLS failed | failed | failed |
//! | sent, then time-out, reset, or an answer that is no HTTP | failed | **unknown** |
//! | 2xx whose body broke off or does not parse | failed | **unknown**: it took effect |
//! | 2xx whose body is too large | refused | **unknown**: it took effect |
//! | 3xx that is not followed | refused | refused |
//! | 408, 421, 425, 429: the server says that it did not process the request | failed | failed |
//! | other 4xx | refused | refused |
//! | 502, 504, 520, 524: a gateway lost the server's answer | failed | **unknown** |
//! | other 5xx: the server itself says that it failed | failed | failed |
//!
//! A 500 from a `POST` counts as failed, not unknown: there is an answer, it says "failed", and an author who writes a
//! retry for it means it. The request carries an `Idempotency-Key`, so a server can tell the repeat. A gateway's
//! 502 or 504 is no word from the server at all, and the request may have reached it.

use std::time::Duration;

use cpd_connector_api::clock::from_system;
use cpd_connector_api::{Class, Outcome, Problem, Timestamp};

/// A call that did not succeed: an [`Outcome`] without its good variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// It did not happen and will not.
    Refused(Problem),
    /// It did not happen this time.
    Failed {
        /// Why.
        problem: Problem,
        /// What the other side asked for.
        not_before: Option<Duration>,
    },
    /// Nobody knows.
    Unknown(Problem),
}

impl Trouble {
    /// A failure that may be retried at once.
    pub fn failed(problem: Problem) -> Self {
        Trouble::Failed { problem, not_before: None }
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        match self {
            Trouble::Refused(problem) | Trouble::Failed { problem, .. } | Trouble::Unknown(problem) => problem,
        }
    }

    /// The problem, taken out.
    pub fn into_problem(self) -> Problem {
        match self {
            Trouble::Refused(problem) | Trouble::Failed { problem, .. } | Trouble::Unknown(problem) => problem,
        }
    }

    /// The same with another problem.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Problem) -> Problem) -> Self {
        match self {
            Trouble::Refused(problem) => Trouble::Refused(change(problem)),
            Trouble::Failed { problem, not_before } => Trouble::Failed { problem: change(problem), not_before },
            Trouble::Unknown(problem) => Trouble::Unknown(change(problem)),
        }
    }

    /// What an uncertain end means for an operation of this class.
    pub fn uncertain(class: Class, problem: Problem) -> Self {
        match class {
            Class::Safe | Class::Idempotent => Trouble::failed(problem),
            Class::AtMostOnce => Trouble::Unknown(problem),
        }
    }
}

impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(problem) => Outcome::Refused(problem),
            Trouble::Failed { problem, not_before } => Outcome::Failed { problem, not_before },
            Trouble::Unknown(problem) => Outcome::Unknown(problem),
        }
    }
}

/// The class of an HTTP method. A method that is not known is at-most-once.
pub fn class_of(method: &str) -> Class {
    match method.to_ascii_uppercase().as_str() {
        "GET" | "HEAD" | "OPTIONS" => Class::Safe,
        "PUT" | "DELETE" => Class::Idempotent,
        _ => Class::AtMostOnce,
    }
}

/// What a status other than 2xx says about the effect of a request of this class.
pub fn of_status(status: u16, class: Class, problem: Problem, not_before: Option<Duration>) -> Trouble {
    match status {
        408 | 421 | 425 | 429 => Trouble::Failed { problem, not_before },
        502 | 504 | 520 | 524 if class == Class::AtMostOnce => Trouble::Unknown(problem),
        500.. => Trouble::Failed { problem, not_before },
        _ => Trouble::Refused(problem),
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date. Anything else is as if it were not there.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    httpdate::parse_http_date(value).ok().map(|at| from_system(at).since(now))
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::Standard;

    use super::*;

    fn name(status: u16, class: Class) -> &'static str {
        let trouble = of_status(status, class, Problem::standard(Standard::Communication, "x"), None);
        Outcome::from(trouble).name()
    }

    #[test]
    fn every_status_has_the_verdict_of_the_table() {
        for status in [300, 301, 304, 400, 401, 403, 404, 409, 410, 413, 415, 422, 451] {
            for class in [Class::Safe, Class::Idempotent, Class::AtMostOnce] {
                assert_eq!(name(status, class), "refused", "{status} {class}");
            }
        }
        for status in [408, 421, 425, 429, 500, 501, 503, 505, 507, 521, 530, 599] {
            for class in [Class::Safe, Class::Idempotent, Class::AtMostOnce] {
                assert_eq!(name(status, class), "failed", "{status} {class}");
            }
        }
        for status in [502, 504, 520, 524] {
            assert_eq!(name(status, Class::Safe), "failed");
            assert_eq!(name(status, Class::Idempotent), "failed");
            assert_eq!(name(status, Class::AtMostOnce), "unknown");
        }
    }

    #[test]
    fn methods_have_the_classes_of_rfc_9110_and_strangers_run_at_most_once() {
        for (method, class) in [
            ("get", Class::Safe),
            ("HEAD", Class::Safe),
            ("Options", Class::Safe),
            ("PUT", Class::Idempotent),
            ("delete", Class::Idempotent),
            ("POST", Class::AtMostOnce),
            ("PATCH", Class::AtMostOnce),
            ("BREW", Class::AtMostOnce),
            ("", Class::AtMostOnce),
        ] {
            assert_eq!(class_of(method), class, "{method}");
        }
    }

    #[test]
    fn retry_after_reads_seconds_and_dates_and_ignores_the_rest() {
        let now = Timestamp(784_111_777_000_000); // Sun, 06 Nov 1994 08:49:37 GMT
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        for odd in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(retry_after(odd, now), None, "{odd}");
        }
    }
}
