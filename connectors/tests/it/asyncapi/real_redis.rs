//! Against a real `redis-server`, with `redis-cli` as the other side.

use cpd_connector_api::{Value, json};

use super::broker::Broker;
use super::*;

/// Publishes by `redis-cli` until somebody gets it.
async fn spoken(broker: &Broker, login: &[&str], channel: &str, payload: &str) {
    for _ in 0..1_000 {
        let words = [login, &["publish", channel, payload]].concat();
        let said = broker.client("redis-cli", &words).expect("it comes with the server").last_words().await;
        if said.trim() != "0" {
            return;
        }
    }
    panic!("nobody ever subscribed to {channel}");
}

#[tokio::test]
async fn messages_go_both_ways() {
    let Some(broker) = Broker::redis(&[]).await else { return };
    let api = Api::new("redis", broker.port, "room");
    let one = amount(1);
    let (outcome, ()) = tokio::join!(api.subscribe("k", &one), spoken(&broker, &[], "room", r#"{"text": "hi"}"#));
    assert_eq!(output(outcome), json!([{"payload": {"text": "hi"}, "headers": {}, "channel": "room"}]));

    let Outcome::Succeeded(nobody) = api.publish("k", &json!({"message": {"payload": 1}})).await else { panic!() };
    assert_eq!(nobody.evidence.unwrap().get("publication").and_then(|p| p.get("receivers")), Some(&json!(0)));
    let listening = broker.client("redis-cli", &["subscribe", "room"]).unwrap();
    listening.says("1").await;
    let Outcome::Succeeded(one) = api.publish("k", &json!({"message": {"payload": "x y"}})).await else { panic!() };
    assert_eq!(one.evidence.unwrap().get("publication").and_then(|p| p.get("receivers")), Some(&json!(1)));
    listening.says("x y").await;
}

#[tokio::test]
async fn passwords_and_rights_are_asked_for() {
    let user = ["--user", "u", "on", ">s3cret-user", "&open*", "+publish", "+subscribe"];
    let acl = [&["--requirepass", "s3cret-pass"][..], &user].concat();
    let Some(broker) = Broker::redis(&acl).await else { return };
    let call = async |channel: &str, authentication: Value| {
        let message = json!({"message": {"payload": 1}});
        let asked = if authentication.is_null() { message } else { and(message, "authentication", authentication) };
        Api::new("redis", broker.port, channel).publish("k", &asked).await
    };
    let user = json!({"basic": {"username": "u", "password": "s3cret-user"}});
    output(call("any", json!({"bearer": {"token": "s3cret-pass"}})).await);
    output(call("open-1", user.clone()).await);
    let wrong = json!({"basic": {"username": "u", "password": "wr0ng-user"}});
    for (outcome, expected) in [
        (call("open-1", wrong).await, "authentication"),
        (call("open-1", Value::Null).await, "authentication"),
        (call("closed", user).await, "authorization"),
    ] {
        let (name, kind, said) = ended(&outcome);
        assert_eq!((name, kind.as_str()), ("refused", expected), "{said}");
        assert!(!said.contains("wr0ng-user") && !said.contains("s3cret"), "{said}");
    }
}

#[tokio::test]
async fn headers_are_refused_and_a_server_that_dies_is_a_failure() {
    let Some(mut broker) = Broker::redis(&[]).await else { return };
    let api = Api::new("redis", broker.port, "a");
    let outcome = api.publish("k", &json!({"message": {"payload": 1, "headers": {"a": 1}}})).await;
    let (name, kind, said) = ended(&outcome);
    assert_eq!((name, kind.as_str()), ("refused", "configuration"), "{said}");
    assert!(said.contains("redis have no headers"), "{said}");
    let until = Conditions { until: when(|n| n == 2), ..Conditions::default() };
    let connector = connector();
    let asked = json!({"subscription": {"consume": {"until": "${ .payload == 2 }"}}});
    let request = Request { conditions: until, ..api.request("asyncapi.subscribe", "k", &asked) };
    let speaking = async {
        spoken(&broker, &[], "a", "1").await;
        broker.terminate();
    };
    let (outcome, ()) = tokio::join!(connector.call(request), speaking);
    let (name, kind, said) = ended(&outcome);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
    assert!(said.contains("in the middle of a subscription"), "{said}");
}
