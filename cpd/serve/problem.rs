//! Errors as answers: problem details for HTTP APIs (RFC 9457).

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cpd_core::machine::turn::Rejected;
use cpd_core::value::Map;
use cpd_core::{Value, json};
use cpd_engine::Error;

use crate::door::Refusal;

/// What went wrong with a request.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    more: Vec<(&'static str, Value)>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem with what stands in the request.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The request cannot be understood", detail)
    }

    /// A problem of that status.
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), more: Vec::new(), headers: HeaderMap::new() }
    }

    /// With one more member.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: Value) -> Self {
        self.more.push((key, value));
        self
    }

    /// To come again in a while.
    #[must_use]
    pub fn later(mut self, seconds: u32) -> Self {
        self.headers.insert(header::RETRY_AFTER, seconds.into());
        self
    }
}

/// An error with everything that led to it, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = chain(&error);
        let (status, title) = match &error {
            Error::NotRegistered { .. } | Error::NoOpenRun { .. } | Error::NoToken { .. } => {
                (StatusCode::NOT_FOUND, "There is no such thing")
            }
            Error::Invalid { diagnostics, .. } => {
                let found = diagnostics.iter().map(|d| Value::from_serialize(d).unwrap_or_default()).collect();
                return Self::new(StatusCode::UNPROCESSABLE_ENTITY, "The definition is not valid", detail)
                    .with("diagnostics", found);
            }
            Error::Rejected(Rejected::NotEntitled { .. }) => (StatusCode::FORBIDDEN, "This is not permitted"),
            Error::Rejected(Rejected::NoEvent { .. }) | Error::NoEvent { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "It is no event")
            }
            Error::Rejected(_)
            | Error::VersionTaken { .. }
            | Error::NotDevelopment
            | Error::TokenTaken { .. }
            | Error::NoFork { .. }
            | Error::NoMigration { .. } => (StatusCode::CONFLICT, "It is not in a state for that"),
            Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "It is too large"),
            Error::StartKey(_) => (StatusCode::UNPROCESSABLE_ENTITY, "The input does not fit"),
            Error::DiskFull | Error::Busy { .. } => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "No new work is taken now", detail).later(5);
            }
            Error::Stopping | Error::Stopped => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "The daemon is stopping", detail).later(5);
            }
            Error::SetAside { .. } => (StatusCode::CONFLICT, "The run is set aside"),
            _ => {
                tracing::error!(error = detail, "a request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "Something is wrong with the daemon")
            }
        };
        Self::new(status, title, detail)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut problem = Self::new(refusal.status(), refusal.title(), refusal.detail());
        problem.headers = refusal.headers();
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut members = Map::new();
        members.insert("type".into(), Value::str("about:blank"));
        members.insert("title".into(), Value::str(self.title));
        members.insert("status".into(), Value::from(u32::from(self.status.as_u16())));
        members.insert("detail".into(), Value::from(self.detail));
        members.extend(self.more.into_iter().map(|(k, v)| (k.into(), v)));
        let mut response = (self.status, Value::from(members).to_json()).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers);
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// A document as an answer.
pub fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_json()).into_response()
}

/// A list with the cursor of the next page.
pub fn page(items: Vec<Value>, next: Option<String>) -> Response {
    answer(StatusCode::OK, &json!({ "items": items, "next": next }))
}
