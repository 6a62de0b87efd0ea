//! `call: asyncapi`: against real brokers where there are some (modules `real_…`), and against servers of the tests' own for what
//! no well-behaved one does.

mod broker;
mod conformance;
mod http;
mod real_conformance;
mod real_mqtt;
mod real_nats;
mod real_redis;
mod refusals;
mod script;
mod ws;

use std::path::PathBuf;
use std::sync::Arc;

use cpd_connector_api::attachment::{Condition, Conditions, Resource};
use cpd_connector_api::{Connector, Outcome, Request, Value, json};
use cpd_connectors::asyncapi::{AsyncApi, AsyncApiConfig};
use cpd_connectors::http::HttpConfig;
use tokio::sync::Notify;

use crate::support::*;

/// Where the documents of these tests say that they come from.
pub const URI: &str = "https://docs.example/api.json";

pub fn connector() -> AsyncApi {
    limited(AsyncApiConfig::default())
}

pub fn limited(config: AsyncApiConfig) -> AsyncApi {
    AsyncApi::new(config, &authenticator(HttpConfig::default()))
}

/// A connector that trusts that authority, too.
pub fn trusting(ca_file: PathBuf) -> AsyncApi {
    let http = HttpConfig { ca_file: Some(ca_file), ..HttpConfig::default() };
    AsyncApi::new(AsyncApiConfig::default(), &authenticator(http))
}

/// A document of version 3 with one server, one channel and one operation `op`.
#[derive(Clone)]
pub struct Api {
    pub server: Value,
    pub channel: Value,
    pub bindings: Value,
}

impl Api {
    pub fn new(protocol: &str, port: u16, address: &str) -> Self {
        let server = json!({"host": format!("127.0.0.1:{port}"), "protocol": protocol});
        Self { server, channel: json!({"address": address}), bindings: Value::object() }
    }

    /// The same over TLS to the name that the tests' certificates have.
    pub fn tls(protocol: &str, port: u16, address: &str) -> Self {
        let server = json!({"host": format!("localhost:{port}"), "protocol": protocol});
        Self { server, ..Self::new(protocol, port, address) }
    }

    pub fn with_bindings(self, bindings: Value) -> Self {
        Self { bindings, ..self }
    }

    pub fn with_channel(self, channel: Value) -> Self {
        Self { channel, ..self }
    }

    pub fn document(&self) -> Resource {
        let document = json!({
            "asyncapi": "3.0.0",
            "servers": {"main": self.server},
            "channels": {"it": self.channel},
            "operations": {"op": {"action": "receive", "channel": {"$ref": "#/channels/it"}, "bindings": self.bindings}},
        });
        Resource { uri: URI.into(), media_type: None, content: document.to_json().into_bytes().into() }
    }

    /// A request; `asked` has the members of `with` beside document and operation.
    pub fn request(&self, operation: &str, key: &str, asked: &Value) -> Request {
        let mut with = json!({"document": {"endpoint": URI}, "operation": "op"});
        if let Value::Obj(members) = &mut with {
            let members = Arc::make_mut(members);
            for (name, value) in asked.as_object().into_iter().flatten() {
                members.insert(name.clone(), value.clone());
            }
        }
        let resources = [Arc::new(self.document())].into_iter().collect();
        Request { resources, ..request(operation, key, with) }
    }

    pub async fn publish(&self, key: &str, asked: &Value) -> Outcome {
        connector().call(self.request("asyncapi.publish", key, asked)).await
    }

    pub async fn subscribe(&self, key: &str, asked: &Value) -> Outcome {
        connector().call(self.request("asyncapi.subscribe", key, asked)).await
    }
}

/// `subscription` that ends after so many messages.
pub fn amount(n: i64) -> Value {
    json!({"subscription": {"consume": {"amount": n}}})
}

/// The same with credentials.
pub fn and(mut asked: Value, name: &str, value: Value) -> Value {
    if let Value::Obj(members) = &mut asked {
        Arc::make_mut(members).insert(name.into(), value);
    }
    asked
}

/// A condition on the payload, taken as a number.
pub fn when(holds: impl Fn(i64) -> bool + Send + Sync + 'static) -> Option<Condition> {
    Some(Condition::new(move |message| Ok(holds(message.get("payload").and_then(Value::as_i64).unwrap_or(-1)))))
}

pub fn filtered(filter: impl Fn(i64) -> bool + Send + Sync + 'static) -> Conditions {
    Conditions { filter: when(filter), ..Conditions::default() }
}

/// A filter that lets nothing through and says when it was asked: then the client is in the middle of its subscription.
pub fn signalling() -> (Conditions, Arc<Notify>) {
    let asked = Arc::new(Notify::new());
    let says = asked.clone();
    let filter = move |_| {
        says.notify_one();
        false
    };
    (filtered(filter), asked)
}

/// The payloads of messages.
pub fn payloads(messages: &Value) -> Vec<Value> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("expected messages, found {messages}"));
    messages.iter().map(|m| m.get("payload").cloned().unwrap_or_default()).collect()
}

/// The outcome's name, the last part of its problem's type, and the detail.
#[track_caller]
pub fn ended(outcome: &Outcome) -> (&'static str, String, String) {
    let (name, problem) = trouble(outcome);
    let kind = problem.kind.rsplit('/').next().unwrap_or("").to_owned();
    (name, kind, detail(problem).to_owned())
}
