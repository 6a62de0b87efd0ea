//! Approvals: what runs ask people, and what people decide.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use cpd_core::json;
use cpd_core::machine::{RunId, Voter};

use super::Daemon;
use super::entrance::Caller;
use super::problem::{Problem, answer, page};
use super::runs::{needed, object, text};
use crate::cli::approvals::to_json;
use crate::door::Permission;

/// So many are listed, those of the newest runs.
const LIST_MAX: usize = 1_000;

/// `GET /v1/approvals`
pub(super) async fn list(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let open = daemon.engine.approvals(LIST_MAX).await?;
    let seen = open.iter().filter(|a| caller.sees(a.workflow.split('/').next().unwrap_or_default()));
    Ok(page(seen.map(to_json).collect(), None))
}

/// The run, if the caller may decide about it; and the caller as a voter.
async fn reached(daemon: &Daemon, caller: &Caller, run: &str, action: &str) -> Result<(RunId, Voter), Problem> {
    let missing =
        |e: &dyn std::fmt::Display| Problem::new(StatusCode::NOT_FOUND, "There is no such thing", e.to_string());
    let id: RunId = run.parse().map_err(|e| missing(&e))?;
    let row = daemon.engine.row(id)?;
    let namespace = row.workflow.split('/').next().unwrap_or_default();
    if !caller.sees(namespace) {
        return Err(cpd_engine::Error::NoOpenRun { run: id }.into());
    }
    caller.may(daemon, Permission::Approve, Some(namespace), action, run).await?;
    Ok((id, Voter { name: caller.principal.name.clone(), groups: caller.principal.groups.clone() }))
}

/// `POST /v1/runs/{run}/vote`: `{ decision: approved | rejected, comment?, task? }`. Who votes is who asks.
pub(super) async fn vote(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = object(&body, &["task", "decision", "comment"])?;
    let approves = match needed(&body, "decision")?.as_str() {
        "approved" => true,
        "rejected" => false,
        other => return Err(Problem::bad(format!("`decision` is {other:?}, expected approved or rejected"))),
    };
    let (task, comment) = (text(&body, "task")?, text(&body, "comment")?.unwrap_or_default());
    let (id, voter) = reached(&daemon, &caller, &run, "approval.vote").await?;
    daemon.engine.run(id).vote(task.as_deref(), voter, approves, &comment).await?;
    Ok(answer(StatusCode::OK, &json!({ "runId": id.to_string() })))
}

/// `POST /v1/runs/{run}/delegate`: `{ to, reason?, task? }`
pub(super) async fn delegate(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = object(&body, &["task", "to", "reason"])?;
    let (to, task) = (needed(&body, "to")?, text(&body, "task")?);
    let reason = text(&body, "reason")?.unwrap_or_default();
    let (id, voter) = reached(&daemon, &caller, &run, "approval.delegate").await?;
    daemon.engine.run(id).delegate(task.as_deref(), voter, &to, &reason).await?;
    Ok(answer(StatusCode::OK, &json!({ "runId": id.to_string() })))
}
