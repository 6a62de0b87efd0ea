//! No input makes a connector panic, whatever its members are called and hold.

use cpd_connector_api::attachment::Planned;
use cpd_connector_api::{Connector, Map, OperationSpec, Outcome, Value};
use cpd_connectors::http::HttpConfig;
use cpd_connectors::openapi::OpenApi;
use proptest::prelude::*;

use crate::support::*;

/// Objects with the members of the operation, now and then, and values of any kind in them.
fn inputs(spec: &OperationSpec) -> impl Strategy<Value = Value> + use<> {
    let inner = [
        "endpoint",
        "uri",
        "authentication",
        "basic",
        "bearer",
        "digest",
        "oauth2",
        "oidc",
        "use",
        "token",
        "role",
        "content",
    ];
    let mut names: Vec<String> = inner.into_iter().map(str::to_owned).collect();
    let properties = spec.input.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    names.extend(properties.keys().map(ToString::to_string));
    let words =
        ["GET", "post", "json", "poll", "card-fraud", "http://127.0.0.1:1/", "1", "", "\u{0}", "é'`\"\\", "writer"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let object = move |inner: BoxedStrategy<Value>| {
        prop::collection::vec((prop::sample::select(names.clone()), inner), 0..6)
            .prop_map(|m| Value::from(m.into_iter().map(|(k, v)| (k.into(), v)).collect::<Map>()))
    };
    let any = leaf.prop_recursive(3, 24, 4, {
        let object = object.clone();
        move |inner| {
            prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), object(inner.boxed())]
        }
    });
    object(any.boxed())
}

#[test]
fn no_input_makes_a_connector_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sandbox = runtime.block_on(sandbox());
    let connectors: [Box<dyn Connector>; 5] = [
        Box::new(http()),
        Box::new(OpenApi::new(authenticator(HttpConfig::default()))),
        Box::new(atlas(&sandbox, client(HttpConfig::default()))),
        Box::new(agent(&sandbox, client(HttpConfig::default()))),
        Box::new(crate::asyncapi::connector()),
    ];
    // At an address that the words above make, so that it is found now and then.
    let document = pinned("http://127.0.0.1:1/", "swagger: '2.0'\npaths: { /x: { get: { operationId: post } } }");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
    for connector in &connectors {
        for spec in connector.operations() {
            let ran = runner.run(&inputs(&spec), |input| {
                // Cancelled from the start: all is checked and nothing is sent.
                let mut request = request(&spec.name, "k", input);
                request.resources = document.clone();
                request.cancel.cancel();
                let planned = Planned { operation: &spec.name, with: &request.input, resources: &request.resources };
                let _ = connector.examine(&planned);
                let outcome = runtime.block_on(connector.call(request));
                let quiet = match &outcome {
                    Outcome::Refused(p) | Outcome::Failed { problem: p, .. } | Outcome::Unknown(p) => {
                        p.detail.is_some()
                    }
                    Outcome::Succeeded(_) => false,
                };
                prop_assert!(quiet, "{:?}", outcome);
                Ok(())
            });
            ran.unwrap_or_else(|e| panic!("{}: {e}", spec.name));
        }
    }
    assert_eq!(sandbox.effects(), []);
}
