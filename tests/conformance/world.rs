//! The world outside: operations and an HTTP server, which count effects by their idempotency keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cpd_connector_api::attachment::{Loader, Resource, Wanted};
use cpd_connector_api::secret::{Secret, Secrets};
use cpd_connector_api::{BoxFuture, Class, Outcome, Problem, Request, Standard};
use cpd_core::{Value, json};
use cpd_engine::operation::{Operations, spec};
use parking_lot::Mutex;
use serde_json::json as plain;

/// What has happened outside.
#[derive(Default)]
pub struct World {
    /// Effects by key, and how often each was asked for.
    effects: Mutex<BTreeMap<String, usize>>,
    /// Calls of `test.flaky`: their keys, in order.
    flaky: Mutex<Vec<String>>,
}

impl World {
    /// As it was when nothing had happened but the first calls of `test.flaky`.
    pub fn begin_with(&self, flaky: Vec<String>) {
        self.effects.lock().clear();
        *self.flaky.lock() = flaky;
    }

    /// The keys of the effects.
    pub fn keys(&self) -> Vec<String> {
        self.effects.lock().keys().cloned().collect()
    }

    /// The keys of the calls of `test.flaky`, in order.
    pub fn flaky(&self) -> Vec<String> {
        self.flaky.lock().clone()
    }

    fn effect(&self, key: &str) {
        *self.effects.lock().entry(key.to_owned()).or_insert(0) += 1;
    }

    /// The operations `test.*`.
    pub fn operations(self: &Arc<Self>) -> Operations {
        let status = |request: &Request| {
            let status = request.input.get("status").and_then(Value::as_i64).and_then(|s| u16::try_from(s).ok());
            Problem::standard(Standard::Communication, "as asked").with_status(status.unwrap_or(500))
        };
        let (put, flaky) = (self.clone(), self.clone());
        Operations::new("test")
            .operation(spec("test.echo", Class::Safe, "Gives its input back."), async |request| {
                Outcome::succeeded(request.input)
            })
            .operation(spec("test.put", Class::Idempotent, "Puts."), move |request: Request| {
                put.effect(&request.key);
                async move { Outcome::succeeded(json!({ "put": request.input })) }
            })
            .operation(spec("test.fail", Class::Safe, "Fails."), move |request: Request| async move {
                Outcome::Failed { problem: status(&request), not_before: None }
            })
            .operation(spec("test.refuse", Class::Safe, "Is refused."), move |request: Request| async move {
                Outcome::Refused(status(&request))
            })
            .operation(spec("test.flaky", Class::Idempotent, "Fails now and then."), move |request: Request| {
                let mut calls = flaky.flaky.lock();
                calls.push(request.key.to_string());
                let calls = calls.iter().filter(|k| **k == *request.key).count();
                flaky.effect(&request.key);
                let times = request.input.get("times").and_then(Value::as_i64).unwrap_or(1);
                async move {
                    if i64::try_from(calls).is_ok_and(|calls| calls <= times) {
                        let problem = Problem::standard(Standard::Communication, "not yet").with_status(503);
                        return Outcome::Failed { problem, not_before: None };
                    }
                    Outcome::succeeded(json!({ "attempts": calls }))
                }
            })
            .operation(spec("test.never", Class::Safe, "Never answers."), async |_| std::future::pending().await)
    }

    /// Serves on loopback; the address.
    pub async fn serve(self: &Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }
}

async fn answer(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !header("idempotency-key").is_empty() {
        world.effect(header("idempotency-key"));
    }
    let path = uri.path().to_owned();
    let (first, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let json = |status: u16, value: serde_json::Value| {
        let status = StatusCode::from_u16(status).expect("a status");
        (status, [("content-type", "application/json")], value.to_string()).into_response()
    };
    match first {
        "status" => {
            let status = rest.parse().unwrap_or(500);
            json(status, plain!({ "status": status }))
        }
        "text" => ([("content-type", "text/plain")], "hello").into_response(),
        "html" => ([("content-type", "text/html")], "<p>hello</p>").into_response(),
        "empty" => StatusCode::NO_CONTENT.into_response(),
        "redirect" => (StatusCode::FOUND, [("location", "/echo/redirected")]).into_response(),
        "slow" => {
            tokio::time::sleep(Duration::from_millis(rest.parse().unwrap_or(100))).await;
            json(200, plain!({ "slow": true }))
        }
        "basic" => {
            let given = header("authorization").strip_prefix("Basic ").and_then(|b| BASE64.decode(b).ok());
            match given.as_deref() {
                Some(b"ann:p4ss") => json(200, plain!({ "user": "ann" })),
                _ => json(401, plain!({ "error": "who are you" })),
            }
        }
        "bearer" => match header("authorization").strip_prefix("Bearer ") {
            Some(token) if token == rest => json(200, plain!({ "ok": true })),
            _ => json(401, plain!({ "error": "who are you" })),
        },
        "token" => token(header("authorization"), &String::from_utf8_lossy(&body), json),
        _ => {
            let query: serde_json::Map<_, _> = pairs(uri.query().unwrap_or("")).collect();
            let named: serde_json::Map<_, _> =
                headers.iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap_or("").to_owned().into())).collect();
            let text = String::from_utf8_lossy(&body).into_owned();
            let body = match serde_json::from_str(&text) {
                Ok(value) => value,
                Err(_) if text.is_empty() => serde_json::Value::Null,
                Err(_) => text.into(),
            };
            json(
                200,
                plain!({ "method": method.as_str(), "path": path, "query": query, "headers": named, "body": body }),
            )
        }
    }
}

fn token(authorization: &str, body: &str, json: impl Fn(u16, serde_json::Value) -> Response) -> Response {
    let form: BTreeMap<String, serde_json::Value> = pairs(body).collect();
    let field = |name: &str| form.get(name).and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
    let basic = authorization.strip_prefix("Basic ").and_then(|b| BASE64.decode(b).ok());
    let basic = basic.and_then(|b| String::from_utf8(b).ok()).unwrap_or_default();
    let in_body = (field("client_id"), field("client_secret"));
    if basic != "cid:csecret" && in_body != ("cid".to_owned(), "csecret".to_owned()) {
        return json(401, plain!({ "error": "invalid_client" }));
    }
    let token = format!("t-{}-cid", field("grant_type"));
    json(200, plain!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 }))
}

/// The pairs of a query or form.
fn pairs(text: &str) -> impl Iterator<Item = (String, serde_json::Value)> + '_ {
    text.split('&').filter(|p| !p.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescaped(key), unescaped(value).into())
    })
}

fn unescaped(text: &str) -> String {
    let bytes = text.replace('+', " ").into_bytes();
    let (mut out, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match hex.filter(|_| bytes[i] == b'%').and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Secrets of a case.
pub struct Known(pub BTreeMap<String, String>);

impl Secrets for Known {
    fn secret(&self, name: &str) -> Option<Secret> {
        self.0.get(name).map(Secret::new)
    }
}

/// Documents of a case.
pub struct Shelf(pub BTreeMap<String, String>);

impl Loader for Shelf {
    fn load<'a>(&'a self, wanted: &'a Wanted, _from: &'a str) -> BoxFuture<'a, Result<Resource, Problem>> {
        Box::pin(async move {
            let text = self.0.get(&*wanted.uri).ok_or_else(|| {
                Problem::standard(Standard::Communication, format!("GET {} answered 404", wanted.uri))
            })?;
            Ok(Resource { uri: wanted.uri.clone(), media_type: None, content: text.as_bytes().into() })
        })
    }
}
