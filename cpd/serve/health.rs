//! `/healthz` and `/readyz`: for supervisors and load balancers, without a credential and without anything to learn from.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cpd_core::{Value, json};

use super::Daemon;
use super::problem::answer;

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
