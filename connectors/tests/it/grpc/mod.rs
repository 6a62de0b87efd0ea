//! `call: grpc` over real sockets.

mod answers;
mod calls;
mod service;

use cpd_connector_api::{Connector, Map, Outcome, Request, Value, json};
use cpd_connectors::grpc::Grpc;
use cpd_connectors::http::HttpConfig;

use self::service::{PETS, Service};
use crate::support::*;

fn grpc() -> Grpc {
    Grpc::new(authenticator(HttpConfig::default()))
}

/// A call of a method of the pets' store, with other members of `service` than those of course.
fn asking(port: u16, method: &str, arguments: Option<Value>, more: &[(&str, Value)]) -> Request {
    let mut service: Map = Map::new();
    service.insert("name".into(), Value::from("pets.v1.Store"));
    service.insert("host".into(), Value::from("127.0.0.1"));
    service.insert("port".into(), Value::from(i64::from(port)));
    for (name, value) in more {
        service.insert((*name).into(), value.clone());
    }
    let mut with = Map::new();
    with.insert("proto".into(), json!({"endpoint": "pets.proto"}));
    with.insert("service".into(), Value::from(service));
    with.insert("method".into(), Value::from(method));
    if let Some(arguments) = arguments {
        with.insert("arguments".into(), arguments);
    }
    let mut request = request("grpc.call", "r-1/add", Value::from(with));
    request.resources = pinned("pets.proto", PETS);
    request
}

async fn call(service: &Service, method: &str, arguments: Value) -> Outcome {
    grpc().call(asking(service.port, method, Some(arguments), &[])).await
}
