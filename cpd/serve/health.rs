//! `/healthz` and `/readyz`: for supervisors and load balancers, without a credential and without anything to learn from. `/metrics`.

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cpd_core::{Value, json};

use super::Daemon;
use super::entrance::Caller;
use super::problem::{Problem, answer};
use crate::door::Permission;
use crate::observe::metrics::CONTENT_TYPE;

/// The process answers.
pub(super) async fn alive() -> Response {
    answer(StatusCode::OK, &json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Whether it takes work: the journal takes records, and every open run is driven.
pub(super) async fn ready(State(daemon): State<Daemon>) -> Response {
    use cpd_journal::Status;
    let mut why: Vec<Value> = Vec::new();
    match daemon.engine.journal_status() {
        Status::Ok => {}
        Status::Full => why.push(Value::str("the disk of the journal is full")),
        Status::Poisoned(_) => why.push(Value::str("the journal has failed and takes nothing more")),
        Status::Closed => why.push(Value::str("the journal is closed")),
    }
    if daemon.stopping.is_cancelled() {
        why.push(Value::str("the daemon is stopping"));
    }
    let aside = daemon.engine.set_aside().len();
    if aside > 0 {
        why.push(Value::from(format!("{aside} runs are set aside because of a bug; `cpd runs` shows them")));
    }
    let ready = why.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &json!({ "ready": ready, "why": why }))
}

/// `/metrics`: OpenMetrics text, for whoever may look at everything.
pub(super) async fn metrics(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    caller.may(&daemon, Permission::Read, None, "metrics", "").await?;
    let (metrics, engine) = (daemon.metrics.clone(), daemon.engine.clone());
    // It looks at files.
    let text = tokio::task::spawn_blocking(move || metrics.render(&engine)).await;
    let wrong =
        |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Something is wrong with the daemon", detail);
    let text = text.map_err(|e| wrong(e.to_string()))?.map_err(|e| wrong(format!("{e:#}")))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
