//! Servers that misbehave at a chosen point: every protocol's greeting by hand, then silence, an end, or garbage.
//!
//! What matters is the line between "did not happen" and "nobody knows": before the message has gone out a call has failed, after
//! it an end without an answer is unknown.

use std::sync::Arc;

use cpd_connector_api::{Connector, Value, json};
use cpd_connectors::asyncapi::AsyncApiConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server does when it has had enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Hangup,
    Silence,
    Garbage,
}

/// A turn: as soon as the client has said that, the server says this.
type Turn = (&'static [u8], &'static [u8]);

/// Plays the turns with every client, then ends as told.
async fn serve(turns: Vec<Turn>, end: End) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let turns = Arc::new(turns);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, turns.clone(), end));
        }
    });
    port
}

async fn play(mut stream: TcpStream, turns: Arc<Vec<Turn>>, end: End) {
    let mut heard = Vec::new();
    for (cue, line) in turns.iter() {
        while !contains(&heard, cue) {
            let mut piece = [0; 1024];
            match stream.read(&mut piece).await {
                Ok(n) if n > 0 => heard.extend(&piece[..n]),
                _ => return,
            }
        }
        heard.clear();
        if stream.write_all(line).await.is_err() {
            return;
        }
    }
    match end {
        End::Hangup => {}
        End::Garbage => drop(stream.write_all(b"\x13\x37 garbage\r\n").await),
        End::Silence => {
            // Until the client goes.
            let mut piece = [0; 1024];
            while stream.read(&mut piece).await.is_ok_and(|n| n > 0) {}
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|w| w == part)
}

/// The turns up to where a client is in, and what it sends then to publish and to subscribe.
fn greeting(protocol: &str) -> (Vec<Turn>, &'static [u8], &'static [u8]) {
    match protocol {
        "nats" => {
            let turns: Vec<Turn> = vec![(b"", b"INFO {\"headers\":true}\r\n"), (b"PING\r\n", b"PONG\r\n")];
            (turns, b"HPUB", b"SUB")
        }
        "mqtt" => (vec![(b"MQTT\x04", &[0x20, 2, 0, 0])], b"topic", b"topic"),
        "mqtt5" => (vec![(b"MQTT\x05", &[0x20, 3, 0, 0, 0])], b"topic", b"topic"),
        _ => (vec![], b"PUBLISH", b"SUBSCRIBE"),
    }
}

#[tokio::test]
async fn an_end_before_the_message_is_a_failure_and_after_it_nobody_knows() {
    let quick = || limited(AsyncApiConfig { timeout_ms: 300, ..AsyncApiConfig::default() });
    for protocol in ["nats", "mqtt", "mqtt5", "redis"] {
        for end in [End::Hangup, End::Silence, End::Garbage] {
            let (turns, publish, subscribe) = greeting(protocol);
            let call = async |turns: Vec<Turn>, operation: &str, asked: &Value| {
                let api = Api::new(protocol, serve(turns, end).await, "topic");
                ended(&quick().call(api.request(operation, "k", asked)).await)
            };
            let message = json!({"message": {"payload": 1}});
            if protocol != "redis" {
                let (name, kind, said) = call(vec![], "asyncapi.publish", &message).await;
                assert_eq!((name, kind.as_str()), ("failed", "communication"), "{protocol} {end:?}: {said}");
            }
            let mut sent = turns.clone();
            sent.push((publish, b""));
            let (name, kind, said) = call(sent, "asyncapi.publish", &message).await;
            assert_eq!((name, kind.as_str()), ("unknown", "communication"), "{protocol} {end:?}: {said}");
            let expected = match end {
                End::Hangup => "after the message was sent",
                End::Silence => "did not confirm the message within 300 ms",
                End::Garbage => "what its protocol does not have",
            };
            // A reset may come before what was said.
            assert!(said.contains(expected) || said.contains("broke the connection off"), "{protocol} {end:?}: {said}");
            let mut asked = turns;
            asked.push((subscribe, b""));
            let (name, kind, said) = call(asked, "asyncapi.subscribe", &amount(1)).await;
            assert_eq!((name, kind.as_str()), ("failed", "communication"), "{protocol} {end:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_server_of_another_protocol_is_recognised() {
    let http: Turn = (b"", b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    for (protocol, said) in [("nats", "HTTP/1.1 400"), ("mqtt", "is it an MQTT broker?")] {
        let port = serve(vec![http], End::Silence).await;
        let outcome = Api::new(protocol, port, "topic").publish("k", &json!({"message": {"payload": 1}})).await;
        let (name, kind, found) = ended(&outcome);
        assert_eq!((name, kind.as_str()), ("failed", "communication"), "{found}");
        assert!(found.contains(said), "{found}");
    }
}

#[tokio::test]
async fn a_broker_of_version_five_says_why_it_ends_the_session() {
    let bye: Turn = (b"topic", &[0x90, 4, 0, 1, 0, 1, 0xe0, 9, 0x8b, 7, 0x1f, 0, 4, b's', b'o', b'o', b'n']);
    let (mut turns, _, _) = greeting("mqtt5");
    turns.push(bye);
    let api = Api::new("mqtt5", serve(turns.clone(), End::Hangup).await, "topic");
    for (outcome, name) in [
        (api.subscribe("k", &amount(1)).await, "failed"),
        (api.publish("k", &json!({"message": {"payload": 1}})).await, "unknown"),
    ] {
        let (found, kind, said) = ended(&outcome);
        assert_eq!((found, kind.as_str()), (name, "communication"), "{said}");
        assert!(name == "unknown" || said.contains("it is shutting down (code 139): soon"), "{said}");
    }
}

#[tokio::test]
async fn a_payload_that_says_it_is_json_and_is_none_fails_the_subscription() {
    let (mut turns, _, _) = greeting("nats");
    turns.push((b"PING\r\n", b"PONG\r\nMSG topic 1 9\r\n{not json\r\n"));
    let port = serve(turns, End::Silence).await;
    let channel = json!({"address": "topic", "messages": {"m": {"contentType": "application/json"}}});
    let outcome = Api::new("nats", port, "topic").with_channel(channel).subscribe("k", &amount(1)).await;
    let (name, kind, said) = ended(&outcome);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
    assert!(said.contains("message 1 from topic") && said.contains("{not json"), "{said}");
}

#[tokio::test]
async fn a_message_beyond_the_limits_ends_the_subscription() {
    let (mut turns, _, _) = greeting("nats");
    turns.push((b"PING\r\n", b"PONG\r\nMSG topic 1 3\r\n111\r\nMSG topic 1 3\r\n222\r\nMSG topic 1 3\r\n333\r\n"));
    let port = serve(turns, End::Silence).await;
    let api = Api::new("nats", port, "topic");
    for (config, kind, said) in [
        (AsyncApiConfig { messages_max: 2, ..AsyncApiConfig::default() }, "runtime", "more than 2 messages"),
        (AsyncApiConfig { bytes_max: 7, ..AsyncApiConfig::default() }, "runtime", "7 bytes"),
        (AsyncApiConfig { bytes_max: 2, ..AsyncApiConfig::default() }, "communication", "at most 2 are taken"),
    ] {
        let outcome = limited(config).call(api.request("asyncapi.subscribe", "k", &amount(5))).await;
        let (_, found, text) = ended(&outcome);
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(said), "{text}");
    }
}
