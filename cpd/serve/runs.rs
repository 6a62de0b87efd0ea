//! Runs: start, list, look at, wait for, operate.

use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cpd_core::graph::{dot, mermaid, svg, to_json};
use cpd_core::machine::{Resolution, RunId};
use cpd_core::problem::{Problem as Fault, Standard};
use cpd_core::value::Map;
use cpd_core::{Value, json};
use cpd_engine::{Error, ForkFrom, RunHandle, RunRow, replay as replaying};
use serde::Deserialize;

use super::Daemon;
use super::entrance::Caller;
use super::follow;
use super::problem::{Problem, answer, page};
use crate::cli::{lists, run as shapes, timeline};
use crate::door::Permission;

/// The most that a page can have.
const PAGE_MAX: usize = 1_000;
/// So many rows are looked at for a page with filters.
const LOOK_MAX: usize = 100_000;

/// The body of a request as an object; no body is an empty one.
pub(super) fn object(body: &Bytes, known: &[&str]) -> Result<Map, Problem> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    let value = Value::from_json(body).map_err(|e| Problem::bad(format!("the body is no JSON document: {e}")))?;
    let Value::Obj(map) = value else {
        return Err(Problem::bad(format!("the body is {}, expected an object", value.kind())));
    };
    for key in map.keys() {
        if !known.contains(&&**key) {
            return Err(Problem::bad(format!("the body has a member `{key}`, expected only {}", known.join(", "))));
        }
    }
    Ok((*map).clone())
}

/// A member that must be a text.
pub(super) fn text(map: &Map, key: &str) -> Result<Option<String>, Problem> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Str(text)) => Ok(Some(text.to_string())),
        Some(other) => Err(Problem::bad(format!("`{key}` is {}, expected a text", other.kind()))),
    }
}

pub(super) fn needed(map: &Map, key: &str) -> Result<String, Problem> {
    text(map, key)?.ok_or_else(|| Problem::bad(format!("the body has no `{key}`")))
}

fn id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|e| Problem::new(StatusCode::NOT_FOUND, "There is no such thing", format!("{e}")))
}

fn namespace(row: &RunRow) -> &str {
    row.workflow.split('/').next().unwrap_or_default()
}

/// The run, if the caller may do that with it. What a caller does not see is not there.
async fn reached(
    daemon: &Daemon,
    caller: &Caller,
    run: &str,
    permission: Permission,
    action: &str,
) -> Result<(RunId, RunRow), Problem> {
    let id = id(run)?;
    let row = daemon.engine.row(id)?;
    if !caller.sees(namespace(&row)) {
        return Err(Error::NoOpenRun { run: id }.into());
    }
    caller.may(daemon, permission, Some(namespace(&row)), action, run).await?;
    Ok((id, row))
}

/// `POST /v1/runs`
pub(super) async fn start(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = object(&body, &["workflow", "version", "input", "key"])?;
    let workflow = needed(&body, "workflow")?;
    let name = text(&body, "version")?.map_or_else(|| workflow.clone(), |version| format!("{workflow}:{version}"));
    let plan = daemon.engine.registry().workflow(&name)?;
    caller.may(&daemon, Permission::Operate, Some(&plan.namespace), "run.start", &name).await?;
    let from_header = headers.get("idempotency-key").map(|value| value.to_str().map(str::to_owned));
    let from_header = from_header.transpose().map_err(|_| Problem::bad("`Idempotency-Key` is no text"))?;
    let key = match (text(&body, "key")?, from_header) {
        (Some(a), Some(b)) if a != b => {
            return Err(Problem::bad("`key` and `Idempotency-Key` differ: give one of them"));
        }
        (a, b) => a.or(b),
    };
    let full = format!("{}:{}", plan.qualified_name(), plan.version);
    let mut starting = daemon.engine.start(&full).actor(&caller.principal.name);
    if let Some(input) = body.get("input") {
        starting = starting.input(input.clone());
    }
    if let Some(key) = &key {
        starting = starting.key(key);
    }
    let handle = starting.go().await?;
    let (run, existed) = (handle.id().to_string(), handle.existed());
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = answer(status, &json!({ "runId": *run, "status": "running", "existed": existed }));
    if let Ok(location) = format!("/v1/runs/{run}").parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filters {
    workflow: Option<String>,
    status: Option<String>,
    namespace: Option<String>,
    limit: Option<usize>,
    /// From the page before.
    cursor: Option<String>,
}

/// `GET /v1/runs`
pub(super) async fn list(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Query(filters): Query<Filters>,
) -> Result<Response, Problem> {
    const STATUS: [&str; 6] = ["running", "paused", "completed", "faulted", "cancelled", "open"];
    if let Some(status) = filters.status.as_deref().filter(|s| !STATUS.contains(s)) {
        return Err(Problem::bad(format!("`status` is {status:?}, expected one of {}", STATUS.join(", "))));
    }
    let limit = filters.limit.unwrap_or(50);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad(format!("`limit` is {limit}, expected 1 to {PAGE_MAX}")));
    }
    let cursor = filters.cursor.as_deref().map(id).transpose().map_err(|_| Problem::bad("`cursor` is none of ours"))?;
    let normal = |name: &str| name.to_lowercase().replace('_', "-");
    let workflow = filters.workflow.as_deref().map(normal);
    let aside = daemon.engine.set_aside();
    let rows = daemon.engine.runs_before(cursor, LOOK_MAX)?;
    let looked_at_all = rows.len() < LOOK_MAX;
    let (mut items, mut last, mut more) = (Vec::new(), None, !looked_at_all);
    for (run, row) in &rows {
        let fits = caller.sees(namespace(row))
            && filters.namespace.as_deref().is_none_or(|n| n == namespace(row))
            && workflow.as_ref().is_none_or(|w| {
                let full = normal(&row.workflow);
                full == *w || full.rsplit('/').next() == Some(w)
            })
            && match filters.status.as_deref() {
                None => true,
                Some("open") => row.phase.is_open(),
                Some(status) => row.phase.name() == status,
            };
        if fits && items.len() == limit {
            more = true;
            break;
        }
        last = Some(*run);
        if fits {
            items.push(lists::row_json(*run, row, aside.get(run).map(|d| &**d)));
        }
    }
    Ok(page(items, last.filter(|_| more).map(|run| run.to_string())))
}

/// `GET /v1/runs/{run}`
pub(super) async fn show(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
) -> Result<Response, Problem> {
    let (id, _) = reached(&daemon, &caller, &run, Permission::Read, "run.show").await?;
    Ok(answer(StatusCode::OK, &lists::state_json(&state(&daemon, id).await?)))
}

async fn state(daemon: &Daemon, id: RunId) -> Result<cpd_core::machine::Run, Problem> {
    match daemon.engine.run(id).state().await {
        // It has ended: its history has its state.
        Err(Error::NoOpenRun { .. }) => Ok(daemon.engine.history(id)?.fold()?),
        other => Ok(other?),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// How long to wait for the end, such as `30s` or `500ms`.
    wait: Option<String>,
}

/// `GET /v1/runs/{run}/result`: 200 with the end, or 202 if it goes on.
pub(super) async fn result(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let (id, row) = reached(&daemon, &caller, &run, Permission::Read, "run.result").await?;
    let longest = Duration::from_millis(daemon.limits.wait_ms_max);
    let wait = wait.wait.as_deref().map(span).transpose()?.unwrap_or(Duration::ZERO).min(longest);
    let handle = daemon.engine.run(id);
    let end = if row.phase.is_open() && wait.is_zero() {
        None
    } else {
        tokio::select! {
            biased;
            end = handle.result() => Some(end?),
            () = daemon.stopping.cancelled() => None,
            () = tokio::time::sleep(wait) => None,
        }
    };
    Ok(match end {
        Some(end) => answer(StatusCode::OK, &shapes::end_json(id, &end)),
        None => {
            let status = state(&daemon, id).await?.phase.name();
            answer(StatusCode::ACCEPTED, &json!({ "runId": id.to_string(), "status": status }))
        }
    })
}

fn span(text: &str) -> Result<Duration, Problem> {
    let wrong = || Problem::bad(format!("`wait` is {text:?}, expected a span such as 30s or 500ms"));
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogPage {
    /// Only events after that number.
    after: Option<u64>,
    limit: Option<usize>,
}

/// `GET /v1/runs/{run}/log`: a page, or with `Accept: text/event-stream` all that has come and comes until the run ends.
pub(super) async fn log(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    Query(LogPage { after, limit }): Query<LogPage>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (id, _) = reached(&daemon, &caller, &run, Permission::Read, "run.log").await?;
    let streams = headers.get(header::ACCEPT).is_some_and(|a| a.as_bytes().starts_with(b"text/event-stream"));
    if streams {
        let after = follow::last_event_id(&headers)?.or(after).unwrap_or(0);
        return follow::run(&daemon, id, after);
    }
    let limit = limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad(format!("`limit` is {limit}, expected 1 to {PAGE_MAX}")));
    }
    let log = daemon.engine.history(id)?.log()?;
    let mut left = log.iter().filter(|l| l.seq > after.unwrap_or(0));
    let items: Vec<_> = left.by_ref().take(limit).collect();
    let next = left.next().and_then(|_| items.last().map(|l| l.seq.to_string()));
    Ok(page(items.into_iter().map(timeline::json).collect(), next))
}

/// `GET /v1/runs/{run}/why`
pub(super) async fn why(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
) -> Result<Response, Problem> {
    let (id, _) = reached(&daemon, &caller, &run, Permission::Read, "run.why").await?;
    let run = state(&daemon, id).await?;
    let sources: Vec<Value> = run.wake_sources().iter().map(lists::wake_json).collect();
    let aside = daemon.engine.set_aside().get(&id).map(|d| d.to_string());
    let why = json!({ "runId": id.to_string(), "status": run.phase.name(), "waitsFor": sources, "setAside": aside });
    Ok(answer(StatusCode::OK, &why))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drawing {
    format: Option<String>,
}

/// `GET /v1/runs/{run}/graph`
pub(super) async fn graph(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    Query(drawing): Query<Drawing>,
) -> Result<Response, Problem> {
    let (id, _) = reached(&daemon, &caller, &run, Permission::Read, "run.graph").await?;
    let (graph, marks) = daemon.engine.history(id)?.graph()?;
    let marks = Some(&marks);
    let (kind, text) = match drawing.format.as_deref().unwrap_or("svg") {
        "svg" => ("image/svg+xml", svg::print(&graph, marks)),
        "mermaid" => ("text/plain; charset=utf-8", mermaid::print(&graph, marks)),
        "dot" => ("text/vnd.graphviz; charset=utf-8", dot::print(&graph, marks)),
        "json" => ("application/json", to_json(&graph, marks).to_json()),
        other => return Err(Problem::bad(format!("`format` is {other:?}, expected svg, mermaid, dot or json"))),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, text).into_response())
}

/// `POST /v1/runs/{run}/replay`: decides everything again, without effects, and compares.
pub(super) async fn replay(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
) -> Result<Response, Problem> {
    let (id, _) = reached(&daemon, &caller, &run, Permission::Read, "run.replay").await?;
    let history = daemon.engine.history(id)?;
    let replayed = tokio::task::spawn_blocking(move || {
        replaying::replay(&history, None, |_| {}).map(|replayed| crate::cli::replay::to_json(&history, &replayed))
    })
    .await;
    let replayed = replayed.map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something is wrong with the daemon",
            "the replay ended too early",
        )
    })?;
    Ok(answer(StatusCode::OK, &replayed?))
}

/// Does one thing to a run and says what became of it.
async fn operate(
    daemon: &Daemon,
    caller: &Caller,
    run: &str,
    action: &str,
    act: impl AsyncFnOnce(&RunHandle, &str) -> Result<(), Error>,
) -> Result<Response, Problem> {
    let (id, _) = reached(daemon, caller, run, Permission::Operate, action).await?;
    let handle = daemon.engine.run(id);
    act(&handle, &caller.principal.name).await?;
    let status = state(daemon, id).await?.phase.name();
    Ok(answer(StatusCode::OK, &json!({ "runId": id.to_string(), "status": status })))
}

/// Why, as the body says it.
fn reason(body: &Bytes) -> Result<String, Problem> {
    Ok(text(&object(body, &["reason"])?, "reason")?.unwrap_or_else(|| "asked by an operator".to_owned()))
}

/// `POST /v1/runs/{run}/cancel`
pub(super) async fn cancel(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let why = reason(&body)?;
    operate(&daemon, &caller, &run, "run.cancel", async |handle, who| handle.cancel(who, &why).await).await
}

/// `POST /v1/runs/{run}/pause`
pub(super) async fn pause(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let why = reason(&body)?;
    operate(&daemon, &caller, &run, "run.pause", async |handle, who| handle.pause(who, &why).await).await
}

/// `POST /v1/runs/{run}/resume`
pub(super) async fn resume(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let why = reason(&body)?;
    operate(&daemon, &caller, &run, "run.resume", async |handle, who| handle.resume(who, &why).await).await
}

/// `POST /v1/runs/{run}/resolve`
pub(super) async fn resolve(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = object(&body, &["task", "resolution", "output", "reason"])?;
    let task = text(&body, "task")?;
    let resolution = match needed(&body, "resolution")?.as_str() {
        "succeeded" => {
            let output = body.get("output").cloned();
            Resolution::Succeeded(output.ok_or_else(|| Problem::bad("the body has no `output`: what was the output?"))?)
        }
        "retry" => Resolution::Retry,
        "failed" => {
            let reason = text(&body, "reason")?.unwrap_or_else(|| "an operator says that it did not happen".to_owned());
            Resolution::Failed(Fault::standard(Standard::Runtime, reason))
        }
        other => return Err(Problem::bad(format!("`resolution` is {other:?}, expected succeeded, retry or failed"))),
    };
    operate(&daemon, &caller, &run, "run.resolve", async |handle, who| {
        handle.resolve(task.as_deref(), resolution, who).await
    })
    .await
}

/// `POST /v1/runs/{run}/signal`: the body is a CloudEvent.
pub(super) async fn signal(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let event = Value::from_json(&body).map_err(|e| Problem::bad(format!("the body is no JSON document: {e}")))?;
    operate(&daemon, &caller, &run, "run.signal", async |handle, _| handle.signal_event(event).await).await
}

fn begun(handle: &RunHandle) -> Response {
    answer(StatusCode::CREATED, &json!({ "runId": handle.id().to_string(), "status": "running" }))
}

/// `POST /v1/runs/{run}/fork`
pub(super) async fn fork(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = object(&body, &["from", "input"])?;
    let from = match body.get("from") {
        Some(Value::Str(task)) => ForkFrom::Task(task.to_string()),
        Some(number) => {
            let seq = number.as_i64().and_then(|n| u64::try_from(n).ok());
            ForkFrom::Seq(seq.ok_or_else(|| Problem::bad("`from` is neither the number of an event nor a task"))?)
        }
        None => return Err(Problem::bad("the body has no `from`: the number of an event, or a task")),
    };
    let (id, _) = reached(&daemon, &caller, &run, Permission::Operate, "run.fork").await?;
    let handle = daemon.engine.fork(id, &from, body.get("input").cloned(), &caller.principal.name).await?;
    Ok(begun(&handle))
}

/// `POST /v1/runs/{run}/retry`
pub(super) async fn retry(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
) -> Result<Response, Problem> {
    let (id, _) = reached(&daemon, &caller, &run, Permission::Operate, "run.retry").await?;
    let handle = daemon.engine.retry(id, &caller.principal.name).await?;
    Ok(begun(&handle))
}

/// `POST /v1/runs/{run}/migrate`
pub(super) async fn migrate(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(run): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = object(&body, &["to"])?;
    let to = needed(&body, "to")?;
    let (id, _) = reached(&daemon, &caller, &run, Permission::Administer, "run.migrate").await?;
    daemon.engine.migrate(id, &to, &caller.principal.name).await?;
    Ok(answer(StatusCode::OK, &json!({ "runId": id.to_string(), "version": to })))
}
