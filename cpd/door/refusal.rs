//! What somebody is told who is not let in: enough to mend a mistake, nothing that helps with guessing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::principal::Denied;

/// Somebody is not let in. What stands in the audit is more than what is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    kind: Kind,
    /// For the audit; never part of an answer.
    reason: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// There is no credential.
    Missing,
    /// There is one, and it is not good.
    Invalid,
    /// It is good, and gives no right at all.
    NoRole,
    /// It does not give this right.
    Denied(Denied),
    /// Too many attempts failed.
    TooMany(Duration),
    /// It cannot be told just now.
    Unavailable(Duration),
}

impl Refusal {
    pub(super) fn missing(reason: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::Missing, reason: reason.into() }
    }

    pub(super) fn invalid(reason: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::Invalid, reason: reason.into() }
    }

    pub(super) fn no_role(reason: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::NoRole, reason: reason.into() }
    }

    pub(super) fn unavailable(after: Duration, reason: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::Unavailable(after), reason: reason.into() }
    }

    pub(super) fn denied(denied: Denied) -> Self {
        let reason = denied.to_string().into();
        Self { kind: Kind::Denied(denied), reason }
    }

    pub(super) fn too_many(self, after: Duration) -> Self {
        Self { kind: Kind::TooMany(after), ..self }
    }

    /// Whether somebody may be guessing.
    pub(super) fn is_guess(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// Why, for the audit and the log of the process. Never part of an answer.
    pub(super) fn reason(&self) -> &Arc<str> {
        &self.reason
    }

    /// The status of the answer: 401, 403, 429 or 503.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Missing | Kind::Invalid => StatusCode::UNAUTHORIZED,
            Kind::NoRole | Kind::Denied(_) => StatusCode::FORBIDDEN,
            Kind::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The title of the problem (RFC 9457).
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self.kind {
            Kind::Missing => "A credential is missing",
            Kind::Invalid => "The credential is not accepted",
            Kind::NoRole | Kind::Denied(_) => "This is not permitted",
            Kind::TooMany(_) => "Too many attempts",
            Kind::Unavailable(_) => "Credentials cannot be checked now",
        }
    }

    /// The detail of the problem.
    #[must_use]
    pub fn detail(&self) -> String {
        match &self.kind {
            Kind::Missing => "found no credential, expected `Authorization: Bearer TOKEN`".to_owned(),
            // Whether it is unknown, expired, revoked, or meant for somebody else is nobody's business.
            Kind::Invalid => "the credential is wrong, was revoked, or is good no more".to_owned(),
            Kind::NoRole => {
                "the credential is good, and no role belongs to it; ask who administers this cpd".to_owned()
            }
            Kind::Denied(denied) => denied.to_string(),
            Kind::TooMany(after) => format!("try again in {} s", seconds(*after)),
            Kind::Unavailable(after) => format!("try again in {} s", seconds(*after)),
        }
    }

    /// Headers of the answer: what to authenticate with (RFC 6750), and when to come again.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let challenge = match self.kind {
            Kind::Missing => Some("Bearer realm=\"cpd\""),
            Kind::Invalid => Some("Bearer realm=\"cpd\", error=\"invalid_token\""),
            Kind::NoRole | Kind::Denied(_) => Some("Bearer realm=\"cpd\", error=\"insufficient_scope\""),
            Kind::TooMany(_) | Kind::Unavailable(_) => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Kind::TooMany(after) | Kind::Unavailable(after) = self.kind {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds(after)));
        }
        headers
    }
}

fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title(), self.detail())
    }
}

impl std::error::Error for Refusal {}
