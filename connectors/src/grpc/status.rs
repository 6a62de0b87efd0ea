//! What a gRPC status says about the effect.
//!
//! | status | HTTP-like | safe and idempotent methods | at-most-once methods |
//! |---|---|---|---|
//! | INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE | 400 | refused | refused |
//! | UNAUTHENTICATED | 401 | refused | refused |
//! | PERMISSION_DENIED | 403 | refused | refused |
//! | NOT_FOUND | 404 | refused | refused |
//! | ALREADY_EXISTS | 409 | refused | refused |
//! | UNIMPLEMENTED | 501 | refused | refused |
//! | ABORTED: a conflict, try the whole again | 409 | failed | failed |
//! | RESOURCE_EXHAUSTED | 429 | failed | failed |
//! | UNAVAILABLE | 503 | failed | failed |
//! | UNKNOWN, INTERNAL: the server itself says that it failed | 500 | failed | failed |
//! | CANCELLED, by the other side | 499 | failed | **unknown** |
//! | DEADLINE_EXCEEDED: said also of what was done, but too late | 504 | failed | **unknown** |
//! | DATA_LOSS | 500 | failed | **unknown** |
//! | none: the stream ended without one | 502 | failed | **unknown** |
//! | any, after messages had come | | as above | **unknown** instead of failed |
//!
//! UNKNOWN and INTERNAL are what servers answer when their code throws, as HTTP's 500 is, and are judged like it. A number that
//! no table has counts as UNKNOWN.

use std::time::Duration;

use cpd_connector_api::{Class, Problem};

use crate::http::Trouble;

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// It did not happen and will not.
    Refused,
    /// It did not happen this time.
    Failed,
    /// It may have happened.
    Uncertain,
}

/// A status: its name, what HTTP would say, what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// `NOT_FOUND`
    pub name: &'static str,
    /// 404
    pub http: u16,
    /// What it means for the effect.
    pub verdict: Verdict,
}

const fn status(name: &'static str, http: u16, verdict: Verdict) -> Status {
    Status { name, http, verdict }
}

/// By their numbers.
static STATUSES: [Status; 17] = [
    status("OK", 200, Verdict::Done),
    status("CANCELLED", 499, Verdict::Uncertain),
    UNKNOWN,
    status("INVALID_ARGUMENT", 400, Verdict::Refused),
    status("DEADLINE_EXCEEDED", 504, Verdict::Uncertain),
    status("NOT_FOUND", 404, Verdict::Refused),
    status("ALREADY_EXISTS", 409, Verdict::Refused),
    status("PERMISSION_DENIED", 403, Verdict::Refused),
    status("RESOURCE_EXHAUSTED", 429, Verdict::Failed),
    status("FAILED_PRECONDITION", 400, Verdict::Refused),
    status("ABORTED", 409, Verdict::Failed),
    status("OUT_OF_RANGE", 400, Verdict::Refused),
    status("UNIMPLEMENTED", 501, Verdict::Refused),
    status("INTERNAL", 500, Verdict::Failed),
    status("UNAVAILABLE", 503, Verdict::Failed),
    status("DATA_LOSS", 500, Verdict::Uncertain),
    status("UNAUTHENTICATED", 401, Verdict::Refused),
];

const UNKNOWN: Status = status("UNKNOWN", 500, Verdict::Failed);

impl Status {
    /// The status with that text in `grpc-status`.
    pub fn of(number: &str) -> Self {
        number.trim().parse::<usize>().ok().and_then(|n| STATUSES.get(n)).copied().unwrap_or(UNKNOWN)
    }

    /// The trouble that it stands for, after so many messages.
    pub fn trouble(self, class: Class, messages: usize, problem: Problem, not_before: Option<Duration>) -> Trouble {
        match self.verdict {
            Verdict::Refused => Trouble::Refused(problem),
            Verdict::Failed if messages == 0 => Trouble::Failed { problem, not_before },
            Verdict::Failed | Verdict::Uncertain | Verdict::Done => Trouble::uncertain(class, problem),
        }
    }
}

/// `grpc-message`, which is written in percent signs.
pub fn message(encoded: &[u8]) -> String {
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(byte) = encoded.get(at) {
        let pair = encoded.get(at + 1).copied().and_then(hex).zip(encoded.get(at + 2).copied().and_then(hex));
        match pair {
            Some((high, low)) if *byte == b'%' => {
                bytes.push(high * 16 + low);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `grpc-timeout`: at most eight digits and a unit, never more than there is, and never nothing.
pub fn timeout(span: Duration) -> String {
    let millis = span.as_millis().max(1);
    if millis <= 99_999_999 { format!("{millis}m") } else { format!("{}S", span.as_secs().min(99_999_999)) }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::{Outcome, Standard};

    use super::*;

    fn name(number: &str, class: Class, messages: usize) -> &'static str {
        let problem = Problem::standard(Standard::Communication, "x");
        Outcome::from(Status::of(number).trouble(class, messages, problem, None)).name()
    }

    #[test]
    fn every_status_has_the_verdict_of_the_table() {
        for refused in ["3", "5", "6", "7", "9", "11", "12", "16"] {
            for class in [Class::Safe, Class::Idempotent, Class::AtMostOnce] {
                assert_eq!((name(refused, class, 0), name(refused, class, 1)), ("refused", "refused"), "{refused}");
            }
        }
        for failed in ["2", "8", "10", "13", "14", "17", "-1", "", "x", "99999999999999999999"] {
            for class in [Class::Safe, Class::Idempotent, Class::AtMostOnce] {
                assert_eq!(name(failed, class, 0), "failed", "{failed}");
            }
            assert_eq!((name(failed, Class::Safe, 1), name(failed, Class::AtMostOnce, 1)), ("failed", "unknown"));
        }
        for uncertain in ["1", "4", "15"] {
            assert_eq!((name(uncertain, Class::Safe, 0), name(uncertain, Class::Idempotent, 0)), ("failed", "failed"));
            assert_eq!(name(uncertain, Class::AtMostOnce, 0), "unknown");
        }
        assert_eq!((Status::of("5").name, Status::of("5").http), ("NOT_FOUND", 404));
        assert_eq!((Status::of("16").name, Status::of("12").name), ("UNAUTHENTICATED", "UNIMPLEMENTED"));
    }

    #[test]
    fn messages_are_decoded_and_odd_ones_stay_as_they_are() {
        for (encoded, text) in [
            ("caf%C3%A9 is 100%", "caf\u{e9} is 100%"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%FF", "\u{fffd}"),
        ] {
            assert_eq!(message(encoded.as_bytes()), text, "{encoded}");
        }
    }

    #[test]
    fn timeouts_have_at_most_eight_digits() {
        for (span, text) in [
            (Duration::ZERO, "1m"),
            (Duration::from_millis(1_500), "1500m"),
            (Duration::from_millis(99_999_999), "99999999m"),
            (Duration::from_millis(100_000_000), "100000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(timeout(span), text);
        }
    }
}
