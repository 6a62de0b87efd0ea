//! `POST /v1/events`: CloudEvents 1.0 over HTTP, structured, batched and binary.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use cpd_core::value::Map;
use cpd_core::{Value, json};

use super::Daemon;
use super::entrance::Caller;
use super::problem::{Problem, answer};
use crate::door::Permission;

/// The most events in a batch.
const BATCH_MAX: usize = 1_000;

/// Gives events to every open run that listens. All of a batch are looked at before the first is given.
pub(super) async fn publish(
    State(daemon): State<Daemon>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    // An event belongs to no namespace: it reaches runs of all of them.
    caller.may(&daemon, Permission::Operate, None, "event.publish", "").await?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (events, batch) = match media.as_str() {
        "application/cloudevents-batch+json" => match parsed(&body)? {
            Value::Arr(events) if events.len() <= BATCH_MAX => (events.to_vec(), true),
            Value::Arr(events) => {
                return Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "It is too large",
                    format!("the batch has {} events, expected at most {BATCH_MAX}", events.len()),
                ));
            }
            other => return Err(Problem::bad(format!("the batch is {}, expected a list", other.kind()))),
        },
        "application/cloudevents+json" => (vec![parsed(&body)?], false),
        _ if headers.contains_key("ce-specversion") || headers.contains_key("ce-type") => {
            (vec![binary(&headers, &media, &body)?], false)
        }
        "application/json" => (vec![parsed(&body)?], false),
        _ => {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "This is no form of a CloudEvent",
                "expected `Content-Type: application/cloudevents+json`, `application/cloudevents-batch+json`, or `ce-` headers",
            ));
        }
    };
    for (place, event) in events.iter().enumerate() {
        check(event).map_err(|what| {
            let which = if batch { format!("event {place} of the batch") } else { "the event".to_owned() };
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "It is no event", format!("{which}: {what}"))
        })?;
    }
    let mut published = Vec::with_capacity(events.len());
    for event in events {
        let done = daemon.engine.publish(event).await?;
        let runs: Vec<Value> = done.runs.iter().map(|r| Value::from(r.to_string())).collect();
        published.push(json!({ "id": done.id, "runs": runs }));
    }
    let whole = if batch { Value::from(published) } else { published.pop().unwrap_or_default() };
    Ok(answer(StatusCode::ACCEPTED, &whole))
}

fn parsed(body: &Bytes) -> Result<Value, Problem> {
    Value::from_json(body).map_err(|e| Problem::bad(format!("the body is no JSON document: {e}")))
}

/// What an event from outside must have (CloudEvents 1.0, section 3.1): that one told apart by `source` and `id` is the sender's to
/// say.
fn check(event: &Value) -> Result<(), String> {
    let Some(members) = event.as_object() else {
        return Err(format!("found {}, expected an object", event.kind()));
    };
    for name in ["id", "source", "type", "specversion"] {
        match members.get(name) {
            Some(Value::Str(text)) if !text.is_empty() => {}
            found => {
                let found = found.map_or("nothing", Value::kind);
                return Err(format!("`{name}` is {found}, expected a text that is not empty"));
            }
        }
    }
    match event.get("specversion").and_then(Value::as_str) {
        Some("1.0") => Ok(()),
        other => Err(format!("`specversion` is {:?}, expected \"1.0\"", other.unwrap_or_default())),
    }
}

/// The binary mode: attributes are headers, the body is the data.
fn binary(headers: &HeaderMap, media: &str, body: &Bytes) -> Result<Value, Problem> {
    let mut event = Map::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let value = value
            .to_str()
            .ok()
            .and_then(percent)
            .ok_or_else(|| Problem::bad(format!("the header `{name}` is no text")))?;
        event.insert(attribute.into(), Value::from(value));
    }
    if !media.is_empty() {
        event.insert("datacontenttype".into(), Value::str(media));
    }
    if !body.is_empty() {
        let data = if media.is_empty() || media == "application/json" || media.ends_with("+json") {
            parsed(body)?
        } else {
            match std::str::from_utf8(body) {
                Ok(text) => Value::str(text),
                Err(_) => {
                    return Err(Problem::bad(
                        "the data is neither JSON nor text; send it structured, as `data_base64`",
                    ));
                }
            }
        };
        event.insert("data".into(), data);
    }
    Ok(Value::from(event))
}

/// Attributes in headers are percent-encoded (HTTP protocol binding, section 3.1.3.2).
fn percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}
