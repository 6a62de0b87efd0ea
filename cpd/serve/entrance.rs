//! Who comes in: every request but `/healthz` and `/readyz` passes here, and handlers see who asks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;

use super::Daemon;
use super::problem::Problem;
use crate::door::{Permission, Principal, Wish};

/// The other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: IpAddr,
    /// What it has shown in the handshake of TLS.
    pub(super) certificate: Option<Arc<CertificateDer<'static>>>,
}

/// Who asks, in the extensions of a request.
#[derive(Clone)]
pub(super) struct Caller {
    /// Who.
    pub(super) principal: Principal,
    /// From where.
    pub(super) from: IpAddr,
}

impl Caller {
    /// Whether the caller may do something in a namespace; what is administered is recorded before it is done.
    pub(super) async fn may(
        &self,
        daemon: &Daemon,
        permission: Permission,
        namespace: Option<&str>,
        action: &str,
        target: &str,
    ) -> Result<(), Problem> {
        let wish = Wish { permission, namespace, action, target };
        Ok(daemon.door.allow(&self.principal, self.from, wish).await?)
    }

    /// Whether the caller sees what belongs to a namespace.
    pub(super) fn sees(&self, namespace: &str) -> bool {
        self.principal.may(Permission::Read, Some(namespace)).is_ok()
    }
}

/// Recognises the caller.
pub(super) async fn recognise(State(daemon): State<Daemon>, mut request: Request, next: Next) -> Response {
    let Some(Peer { address, certificate }) = request.extensions().get::<Peer>().cloned() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Something is wrong with the daemon", "no peer")
            .into_response();
    };
    match daemon.door.recognise(request.headers(), address, certificate.as_deref()).await {
        Ok(principal) => {
            request.extensions_mut().insert(Caller { principal, from: address });
            next.run(request).await
        }
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

/// Takes the body in, so that nothing waits for a client that sends slowly, or never, beyond its time.
pub(super) async fn whole(State(daemon): State<Daemon>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let (most, patience) = (daemon.limits.body_bytes_max, Duration::from_millis(daemon.limits.body_ms_max));
    let problem = match tokio::time::timeout(patience, axum::body::to_bytes(body, most)).await {
        Ok(Ok(bytes)) => return next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(error)) if is_too_long(&error) => {
            let detail = format!("the body has more than the {most} bytes of `body_bytes_max` of [server]");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "It is too large", detail)
        }
        Ok(Err(error)) => Problem::bad(format!("the body did not come in whole: {error}")),
        Err(_) => {
            let detail = format!("the body took longer than the {patience:?} of `body_ms_max` of [server]");
            Problem::new(StatusCode::REQUEST_TIMEOUT, "It takes too long", detail)
        }
    };
    let mut response = problem.into_response();
    // What is still to come of the body is not read.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn is_too_long(error: &axum::Error) -> bool {
    let first: &dyn std::error::Error = error;
    std::iter::successors(Some(first), |e| e.source()).any(|e| e.is::<http_body_util::LengthLimitError>())
}

/// Takes so many requests at a time, and tells the others to come again.
pub(super) async fn bounded(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match room.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many requests at the same time",
            "`requests_max` of [server] requests are under way; try again in a moment",
        )
        .later(1)
        .into_response(),
    }
}

/// The framework's own answers, such as for a body that is too large, in the form of all others.
pub(super) async fn uniform(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let ours = response
        .headers()
        .get(axum::http::header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/") || t.as_bytes().starts_with(b"text/event-stream"));
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (title, detail) = match status {
        StatusCode::NOT_FOUND => {
            ("There is no such thing", "there is nothing at this path; docs/api.md lists what there is")
        }
        StatusCode::METHOD_NOT_ALLOWED => ("There is no such method", "this path does not take that method"),
        StatusCode::PAYLOAD_TOO_LARGE => ("It is too large", "the body is larger than `body_bytes_max` of [server]"),
        StatusCode::BAD_REQUEST => {
            ("The request cannot be understood", "a part of the address or the body is malformed")
        }
        _ => ("The request was refused", "see the status"),
    };
    let mut problem = Problem::new(status, title, detail).into_response();
    for (name, value) in response.headers() {
        if name == axum::http::header::ALLOW {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}
