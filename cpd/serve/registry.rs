//! Definitions: list, register, look at; policies: evaluate.

use std::path::Path as File;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cpd_core::{Value, json};
use cpd_engine::{Clock as _, SystemClock};

use super::Daemon;
use super::entrance::Caller;
use super::problem::{Problem, answer, page};
use super::runs::object;
use crate::cli::definitions;
use crate::door::Permission;

/// `GET /v1/definitions`
pub(super) async fn list(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let registry = daemon.engine.registry();
    let mut items: Vec<Value> = Vec::new();
    for workflow in registry.workflows() {
        if caller.sees(workflow.name.split('/').next().unwrap_or_default()) {
            items.push(json!({
                "kind": "workflow", "name": &*workflow.name, "version": &*workflow.version, "digest": workflow.digest.to_string(),
            }));
        }
    }
    for policy in registry.policies()? {
        items.push(json!({
            "kind": "policy", "name": policy.name(), "version": policy.version(), "digest": policy.digest().to_string(),
        }));
    }
    for agent in registry.agents() {
        items.push(json!({
            "kind": "agent", "name": &*agent.name, "version": &*agent.version, "digest": agent.digest.to_string(),
        }));
    }
    for operation in registry.operations() {
        items.push(json!({
            "kind": "operation", "name": &*operation.name, "version": &*operation.version, "summary": &*operation.summary,
        }));
    }
    Ok(page(items, None))
}

/// `POST /v1/definitions`: the body is the document, YAML or JSON.
pub(super) async fn register(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Response, Problem> {
    let source = std::str::from_utf8(&body).map_err(|e| Problem::bad(format!("the document is no UTF-8: {e}")))?;
    caller.may(&daemon, Permission::Administer, None, "definition.register", "").await?;
    let registration = daemon.engine.register(source, "document.yaml").await?;
    let status = if registration.unchanged { StatusCode::OK } else { StatusCode::CREATED };
    let mut value = definitions::as_json(File::new("document.yaml"), &registration, &registration.warnings);
    if let Value::Obj(map) = &mut value {
        std::sync::Arc::make_mut(map).shift_remove("file");
    }
    Ok(answer(status, &value))
}

/// `GET /v1/workflows/{namespace}/{name}`: the source of the newest version, or of `name:version`.
pub(super) async fn workflow(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = format!("{namespace}/{name}");
    if !caller.sees(&namespace.to_lowercase().replace('_', "-")) {
        let detail = format!("find workflow {wanted:?}: none is registered under that name");
        return Err(Problem::new(StatusCode::NOT_FOUND, "There is no such thing", detail));
    }
    let plan = daemon.engine.registry().workflow(&wanted)?;
    let tag = format!("\"{}\"", plan.digest);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let value = json!({
        "name": &*plan.qualified_name(), "version": &*plan.version, "digest": plan.digest.to_string(), "document": plan.document,
    });
    let mut response = answer(StatusCode::OK, &value);
    if let Ok(tag) = tag.parse() {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// `POST /v1/policies/{name}/evaluate`: `{ facts, parameters? }`. Nothing is recorded: no run has asked.
pub(super) async fn evaluate(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.may(&daemon, Permission::Read, None, "policy.evaluate", &name).await?;
    let body = object(&body, &["facts", "parameters"])?;
    let part = |key: &str| body.get(key).cloned().unwrap_or_else(Value::object);
    let policy = daemon.engine.registry().policy(&name)?;
    let at = SystemClock::default().now();
    Ok(answer(StatusCode::OK, &policy.decide(&part("facts"), &part("parameters"), at).to_value()))
}
