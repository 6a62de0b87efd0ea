//! What is refused before anything is sent, and in which words.

use cpd_connector_api::attachment::{Planned, Resources};
use cpd_connector_api::{Connector, json};
use cpd_connectors::asyncapi::{AsyncApi, PROTOCOLS};

use super::*;

#[tokio::test]
async fn every_protocol_that_is_not_spoken_is_refused_by_name() {
    for protocol in PROTOCOLS.iter().filter(|p| !p.supported) {
        let outcome = Api::new(protocol.name, 1, "a").publish("k", &json!({"message": {"payload": 1}})).await;
        let (name, kind, said) = ended(&outcome);
        assert_eq!((name, kind.as_str()), ("refused", "configuration"), "{said}");
        assert!(said.contains(&format!("{:?}", protocol.name)) && said.contains("nats"), "{said}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_place() {
    let api = Api::new("nats", 1, "a");
    let consume = |consume: Value| json!({"subscription": {"consume": consume}});
    for (operation, asked, kind, said) in [
        ("asyncapi.publish", json!({}), "validation", "message"),
        ("asyncapi.publish", json!({"message": {"paylod": 1}}), "validation", "paylod"),
        ("asyncapi.publish", json!({"message": {}, "operation": "opp"}), "configuration", "\"op\""),
        (
            "asyncapi.publish",
            json!({"message": {}, "document": {"endpoint": "https://other.example/"}}),
            "configuration",
            "other.example",
        ),
        (
            "asyncapi.publish",
            json!({"message": {}, "server": {"name": "mian"}}),
            "configuration",
            "expected one of \"main\"",
        ),
        ("asyncapi.publish", json!({"message": {}, "protocol": "kafka"}), "configuration", "\"kafka\""),
        ("asyncapi.publish", json!({"message": {}, "authentication": {"basci": {}}}), "validation", "basci"),
        (
            "asyncapi.publish",
            json!({"message": {}, "authentication": {"basic": {"use": "gone"}}}),
            "authorization",
            "\"gone\"",
        ),
        ("asyncapi.subscribe", json!({"message": {}}), "validation", "subscription"),
        ("asyncapi.subscribe", consume(json!({})), "validation", "found nothing that ends it"),
        ("asyncapi.subscribe", consume(json!({"amount": 0})), "validation", "amount"),
        ("asyncapi.subscribe", consume(json!({"for": "P1M"})), "validation", "months"),
        ("asyncapi.subscribe", consume(json!({"until": "${ . }"})), "configuration", "`subscription.consume.until`"),
        ("asyncapi.nonsense", json!({}), "configuration", "asyncapi.publish"),
    ] {
        let outcome = connector().call(api.request(operation, "k", &asked)).await;
        let (name, found, text) = ended(&outcome);
        assert_eq!((name, found.as_str()), ("refused", kind), "{asked}: {text}");
        assert!(text.contains(said), "{asked}: {text}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_allowed_is_not_called_by_any_protocol() {
    let connector = AsyncApi::new(AsyncApiConfig::default(), &guarded(only(&["*.corp.example"])));
    for protocol in ["http", "mqtt", "mqtt5", "nats", "redis", "ws"] {
        let api = Api::new(protocol, 1, "a");
        for (operation, asked) in
            [("asyncapi.publish", json!({"message": {"payload": 1}})), ("asyncapi.subscribe", amount(1))]
        {
            let (name, kind, said) = ended(&connector.call(api.request(operation, "k", &asked)).await);
            assert_eq!((name, kind.as_str()), ("refused", "authorization"), "{protocol} {operation}: {said}");
            assert!(said.contains("*.corp.example"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_message_that_does_not_fit_the_document_is_refused_before_anything_is_sent() {
    let channel = json!({"address": "a", "messages": {"m": {"payload": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}}}});
    let api = Api::new("nats", 1, "a").with_channel(channel);
    let (name, kind, said) = ended(&api.publish("k", &json!({"message": {"payload": {"n": "x"}}})).await);
    assert_eq!((name, kind.as_str()), ("refused", "validation"), "{said}");
    assert!(said.contains("payload: /n") && said.contains("integer"), "{said}");
    let (name, kind, _) = ended(&api.publish("k", &json!({"message": {"payload": {"n": 1}}})).await);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "it fits, and nobody listens at port 1");
}

#[test]
fn a_definition_is_refused_for_what_can_never_work_and_for_nothing_else() {
    let channel = json!({
        "address": "a.{room}.b", "parameters": {"room": {"location": "$message.payload#/room"}},
        "messages": {"m": {"payload": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}, "room": {"type": "string"}}}}},
    });
    let look = |protocol: &str, operation: &str, asked: &Value| {
        let api = Api::new(protocol, 1, "").with_channel(channel.clone());
        let resources: Resources = [Arc::new(api.document())].into_iter().collect();
        let with = api.request(operation, "k", asked).input;
        connector().examine(&Planned { operation, with: &with, resources: &resources })
    };
    let message = |payload: Value| json!({"message": {"payload": payload}});
    for (protocol, operation, asked) in [
        ("nats", "asyncapi.publish", message(json!({"n": 1, "room": "blue"}))),
        ("nats", "asyncapi.publish", message(json!("${ .whatever }"))),
        ("nats", "asyncapi.publish", message(json!({"n": "${ .n }"}))),
        ("nats", "asyncapi.subscribe", amount(1)),
        ("nats", "asyncapi.subscribe", json!({"subscription": {"consume": {"for": "${ .span }"}}})),
        ("kafka", "asyncapi.publish", and(message(json!({})), "operation", json!("${ .operation }"))),
        (
            "nats",
            "asyncapi.publish",
            and(message(json!("${ . }")), "server", json!({"name": "main", "variables": {"x": "${ .x }"}})),
        ),
    ] {
        assert_eq!(look(protocol, operation, &asked), Ok(None), "{asked}");
    }
    for (protocol, operation, asked, said) in [
        ("kafka", "asyncapi.publish", message(json!("${ . }")), "\"kafka\", which is not built"),
        ("mqtt", "asyncapi.publish", json!({"message": {"payload": "${ . }", "headers": {"a": 1}}}), "no headers"),
        ("nats", "asyncapi.publish", message(json!({"n": "x", "room": "blue"})), "/n"),
        ("nats", "asyncapi.publish", message(json!({"n": 1})), "the parameter \"room\""),
        (
            "nats",
            "asyncapi.publish",
            and(message(json!("${ . }")), "operation", json!("opp")),
            "expected one of \"op\"",
        ),
        ("redis", "asyncapi.subscribe", amount(1), "the parameter \"room\""),
        ("nats", "asyncapi.subscribe", json!({"subscription": {"consume": {"for": "P1M"}}}), "months"),
    ] {
        let problem = look(protocol, operation, &asked).unwrap_err();
        assert!(problem.to_string().contains(said), "{asked}: {problem}");
    }
}
