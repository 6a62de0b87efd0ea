//! Against a real mosquitto, with `mosquitto_pub` and `mosquitto_sub` as the other side.

use std::process::Command;

use cpd_connector_api::{Value, json};

use super::broker::{Broker, certificates, program};
use super::*;

const OPEN: &str = "allow_anonymous true";

/// Both versions, as a server says them.
const VERSIONS: [&str; 2] = ["mqtt", "mqtt5"];

#[tokio::test]
async fn a_message_arrives_at_every_quality_in_both_versions() {
    let Some(broker) = Broker::mosquitto(OPEN, &[]).await else { return };
    for protocol in VERSIONS {
        for (qos, confirmation) in [(0, "pingresp"), (1, "puback"), (2, "pubcomp")] {
            let topic = format!("rooms/{protocol}/{qos}");
            let arguments = ["-t", &topic, "-C", "1", "-q", "2", "-F", "got %t %p at %q"];
            let Some(listening) = broker.client("mosquitto_sub", &arguments) else { return };
            broker.says(&format!("\t{topic} (QoS 2)")).await;
            let api = Api::new(protocol, broker.port, &topic).with_bindings(json!({"mqtt": {"qos": qos}}));
            let outcome = api.publish("k", &json!({"message": {"payload": {"text": "hi"}}})).await;
            let Outcome::Succeeded(success) = outcome else { panic!("{topic}: {outcome:?}") };
            assert_eq!(text(&success.evidence.unwrap(), &["publication", "confirmation"]), confirmation);
            let said = listening.last_words().await;
            assert!(said.contains(&format!("got {topic} {{\"text\":\"hi\"}} at {qos}")), "{said}");
        }
    }
}

#[tokio::test]
async fn version_five_carries_headers_the_content_type_and_the_key() {
    let Some(broker) = Broker::mosquitto(OPEN, &[]).await else { return };
    let arguments = ["-t", "a", "-C", "1", "-V", "5", "-F", "got %C / %P"];
    let Some(listening) = broker.client("mosquitto_sub", &arguments) else { return };
    broker.says("\ta (QoS 0)").await;
    let mut api = Api::new("mqtt", broker.port, "a");
    let asked = json!({"message": {"payload": 1, "headers": {"foo": "bar"}}});
    let (name, kind, said) = ended(&api.publish("r/k", &asked).await);
    assert_eq!((name, kind.as_str()), ("refused", "configuration"), "{said}");
    assert!(said.contains("no headers") && said.contains("protocolVersion"), "{said}");
    api.server = and(api.server.clone(), "protocolVersion", json!("5.0"));
    output(api.publish("r/k", &asked).await);
    let said = listening.last_words().await;
    assert!(said.contains("got application/json / foo:bar Idempotency-Key:r/k"), "{said}");
}

#[tokio::test]
async fn messages_are_gathered_with_what_their_version_has() {
    let Some(broker) = Broker::mosquitto(OPEN, &[]).await else { return };
    for protocol in VERSIONS {
        let address = format!("{protocol}/{{room}}/said");
        let api = Api::new(protocol, broker.port, &address);
        let connector = connector();
        let request = api.request("asyncapi.subscribe", &format!("r/{protocol}"), &amount(2));
        let request = Request { conditions: filtered(|n| n > 1), ..request };
        let filter = format!("{protocol}/+/said");
        let speaking = async {
            broker.says(&format!("\t{filter} (QoS 1)")).await;
            for n in ["1", "2", "3"] {
                let topic = format!("{protocol}/blue/said");
                let mut arguments = vec!["-t", &topic, "-m", n, "-q", "1", "-V", protocol.trim_start_matches("mqtt")];
                if protocol == "mqtt5" {
                    arguments.extend(["-D", "publish", "user-property", "trace", "t-1"]);
                    arguments.extend(["-D", "publish", "correlation-data", "c-1"]);
                } else {
                    arguments.truncate(6);
                }
                broker.client("mosquitto_pub", &arguments).unwrap().last_words().await;
            }
        };
        let (outcome, ()) = tokio::join!(connector.call(request), speaking);
        let message = |n: i64| {
            let channel = format!("{protocol}/blue/said");
            if protocol == "mqtt5" {
                json!({"payload": n, "headers": {"trace": "t-1"}, "correlationId": "c-1", "channel": channel})
            } else {
                json!({"payload": n, "headers": {}, "channel": channel})
            }
        };
        assert_eq!(output(outcome), Value::from(vec![message(2), message(3)]), "{protocol}");
    }
}

#[tokio::test]
async fn a_retained_message_is_kept_for_those_who_come_later() {
    let Some(broker) = Broker::mosquitto(OPEN, &[]).await else { return };
    let api = Api::new("mqtt", broker.port, "state").with_bindings(json!({"mqtt": {"retain": true}}));
    output(api.publish("k", &json!({"message": {"payload": {"on": true}}})).await);
    assert_eq!(payloads(&output(api.subscribe("k", &amount(1)).await)), [json!({"on": true})]);
}

/// A broker with the user `somebody` (password `hunter2x`), who may read and write below `open/` only.
async fn guarded() -> Option<Broker> {
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwords");
    std::fs::write(&passwords, "").unwrap();
    let made =
        Command::new(program("mosquitto_passwd")?).arg("-b").arg(&passwords).args(["somebody", "hunter2x"]).output();
    assert!(made.unwrap().status.success());
    let passwords = std::fs::read_to_string(passwords).unwrap();
    let files = [("passwords", passwords.as_str()), ("acl", "user somebody\ntopic readwrite open/#\n")];
    let config = "allow_anonymous false\npassword_file {dir}/passwords\nacl_file {dir}/acl\nmax_packet_size 2000";
    Broker::mosquitto(config, &files).await
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_right_ones_are_not() {
    let Some(broker) = guarded().await else { return };
    let message = json!({"message": {"payload": 1}});
    for protocol in VERSIONS {
        let call = async |authentication: Value| {
            let api = Api::new(protocol, broker.port, "open/a");
            let asked = if authentication.is_null() {
                message.clone()
            } else {
                and(message.clone(), "authentication", authentication)
            };
            api.publish("k", &asked).await
        };
        output(call(json!({"basic": {"username": "somebody", "password": "hunter2x"}})).await);
        output(call(json!({"basic": {"use": "login"}})).await);
        for wrong in [
            json!({"basic": {"username": "somebody", "password": "hunter3x"}}),
            json!({"bearer": {"token": "wr0ng-token"}}),
            Value::Null,
        ] {
            let (name, kind, said) = ended(&call(wrong).await);
            assert_eq!((name, kind.as_str()), ("refused", "authentication"), "{said}");
            assert!(!said.contains("hunter3x") && !said.contains("wr0ng"), "{said}");
        }
        let (name, kind, said) = ended(&call(json!({"digest": {"username": "u", "password": "p"}})).await);
        assert_eq!((name, kind.as_str()), ("refused", "configuration"), "{said}");
    }
}

#[tokio::test]
async fn what_a_user_may_not_do_is_an_authorization_error_where_the_version_can_say_so() {
    let Some(broker) = guarded().await else { return };
    let login = json!({"basic": {"use": "login"}});
    let message = and(json!({"message": {"payload": 1}}), "authentication", login.clone());
    let five = Api::new("mqtt5", broker.port, "closed/a");
    let (name, kind, said) = ended(&five.publish("k", &message).await);
    assert_eq!((name, kind.as_str()), ("refused", "authorization"), "{said}");
    assert!(said.contains("not authorised (code 135)"), "{said}");
    // Version 3.1.1 has no word for it: the broker takes the message and drops it.
    output(Api::new("mqtt", broker.port, "closed/a").publish("k", &message).await);
}

#[tokio::test]
async fn what_the_broker_does_not_take_is_refused() {
    let Some(broker) = guarded().await else { return };
    let login = json!({"basic": {"use": "login"}});
    let long = and(json!({"message": {"payload": "x".repeat(4_000)}}), "authentication", login);
    let (name, kind, said) = ended(&Api::new("mqtt5", broker.port, "open/a").publish("k", &long).await);
    assert_eq!((name, kind.as_str()), ("refused", "validation"), "{said}");
    assert!(said.contains("expected at most 2000"), "{said}");
    // Version 3.1.1 announces no limit; the broker hangs up on what it has half read, and nobody knows.
    let (name, _, said) = ended(&Api::new("mqtt", broker.port, "open/a").publish("k", &long).await);
    assert_eq!(name, "unknown", "{said}");
    for address in ["a/#", "+", "", "a\0b"] {
        let outcome = Api::new("mqtt", broker.port, address).publish("k", &json!({"message": {"payload": 1}})).await;
        let (name, kind, said) = ended(&outcome);
        assert_eq!(name, "refused", "{address:?}: {said}");
        assert!(kind == "configuration" || kind == "authentication", "{address:?}: {said}");
    }
}

#[tokio::test]
async fn a_broker_that_stops_or_dies_in_the_middle_is_a_failure() {
    for protocol in VERSIONS {
        for kill in [true, false] {
            let Some(mut broker) = Broker::mosquitto(OPEN, &[]).await else { return };
            let api = Api::new(protocol, broker.port, "a");
            let (conditions, asked) = signalling();
            let connector = connector();
            let request = Request { conditions, ..api.request("asyncapi.subscribe", "k", &amount(1)) };
            let ending = async {
                broker.says("Sending SUBACK").await;
                broker.client("mosquitto_pub", &["-t", "a", "-m", "1"]).unwrap().last_words().await;
                asked.notified().await;
                if kill { broker.kill() } else { broker.terminate() }
            };
            let (outcome, ()) = tokio::join!(connector.call(request), ending);
            let (name, kind, said) = ended(&outcome);
            assert_eq!((name, kind.as_str()), ("failed", "communication"), "{protocol} {kill}: {said}");
            assert!(said.contains("in the middle of a subscription"), "{said}");
        }
    }
}

#[tokio::test]
async fn mqtts_goes_under_tls_with_a_known_authority_only() {
    let (authority, certificate, key) = certificates();
    let files = [("ca.pem", authority.as_str()), ("crt.pem", &certificate), ("key.pem", &key)];
    let config = format!("{OPEN}\ncertfile {{dir}}/crt.pem\nkeyfile {{dir}}/key.pem");
    let Some(broker) = Broker::mosquitto(&config, &files).await else { return };
    let api = Api::tls("mqtts", broker.port, "a");
    let request = || api.request("asyncapi.publish", "k", &json!({"message": {"payload": 1}}));
    output(trusting(broker.file("ca.pem")).call(request()).await);
    let (name, kind, said) = ended(&connector().call(request()).await);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
    assert!(said.contains("TLS failed"), "{said}");
}
