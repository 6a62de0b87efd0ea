//! The conformance suite: what it needs of this connector, and over HTTP with the sandbox.

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::attachment::Resources;
use cpd_connector_api::conformance::{Kit, Sample, run};
use cpd_connector_api::{BoxFuture, OperationSpec, json};
use cpd_connectors::sandbox::Handle;
use cpd_connectors::sandbox::faults::{Fault, Kind};

use super::*;

/// The connector with a document pinned, as the engine does it.
pub struct Pinned(AsyncApi, Resources);

impl Connector for Pinned {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn operations(&self) -> Vec<OperationSpec> {
        self.0.operations()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        self.0.call(Request { resources: self.1.clone(), ..request })
    }
}

pub fn pinned(api: &Api) -> Pinned {
    Pinned(connector(), [Arc::new(api.document())].into_iter().collect())
}

pub fn samples(login: &Value, consume: Value) -> Vec<Sample> {
    let with = |name: &str, value: Value| {
        let with = json!({"document": {"endpoint": URI}, "operation": "op", "authentication": login});
        and(with, name, value)
    };
    vec![
        Sample::new("asyncapi.publish", with("message", json!({"payload": {"a": 1}, "headers": {"x-a": "b"}})))
            .with_effects(1),
        Sample::new("asyncapi.subscribe", with("subscription", json!({"consume": consume}))),
    ]
}

#[tokio::test]
async fn it_conforms_over_http() {
    let sandbox = sandbox().await;
    let host = sandbox.url().trim_start_matches("http://").to_owned();
    let api = Api { server: json!({"host": host, "protocol": "http"}), ..Api::new("http", 0, "sandbox/echo") };
    let (probe, silent) = (sandbox.handle(), sandbox.handle());
    let report = run(Kit {
        connector: &pinned(&api),
        samples: samples(&json!({"bearer": {"use": "token"}}), json!({"amount": 1})),
        probe: &|key| probe.effects_of(key),
        silence: &move |on: bool| -> BoxFuture<'static, ()> {
            let silent: Handle = silent.clone();
            Box::pin(async move { if on { silent.inject(Fault::new(Kind::Never)) } else { silent.heal() } })
        },
        secrets: vec![TOKEN.into()],
        patience: Duration::from_secs(10),
    })
    .await;
    assert!(report.breaches.is_empty(), "{report}");
}
