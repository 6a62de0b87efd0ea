//! Against a real `nats-server`, with a witness that speaks the protocol by hand.

use std::time::Duration;

use cpd_connector_api::{Connector, Request, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::broker::{Broker, certificates};
use super::*;

/// Somebody else at the server.
struct Witness {
    stream: TcpStream,
    heard: String,
}

impl Witness {
    /// Logs in, subscribes to everything that is given, and knows that the server knows.
    async fn enter(broker: &Broker, subject: &str, credentials: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", broker.port)).await.unwrap();
        let mut witness = Self { stream, heard: String::new() };
        let hello = format!("CONNECT {{\"verbose\":false,\"headers\":true{credentials}}}\r\n");
        witness.say(&format!("{hello}SUB {subject} 9\r\nPING\r\n")).await;
        witness.hears("PONG\r\n").await;
        witness
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn publish(&mut self, subject: &str, payload: &str) {
        self.say(&format!("PUB {subject} {}\r\n{payload}\r\nPING\r\n", payload.len())).await;
        self.hears("PONG\r\n").await;
    }

    /// Everything that was heard, as soon as that is in it; forgotten then.
    async fn hears(&mut self, what: &str) -> String {
        let listening = async {
            while !self.heard.contains(what) {
                let mut piece = [0; 4096];
                let n = self.stream.read(&mut piece).await.unwrap();
                assert!(n > 0, "the server hung up after {:?}", self.heard);
                self.heard.push_str(&String::from_utf8_lossy(&piece[..n]));
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(30), listening).await;
        assert!(heard.is_ok(), "never heard {what:?} in {:?}", self.heard);
        std::mem::take(&mut self.heard)
    }
}

#[tokio::test]
async fn a_message_arrives_with_its_headers_and_the_key() {
    let Some(broker) = Broker::nats("").await else { return };
    let mut witness = Witness::enter(&broker, ">", "").await;
    let api = Api::new("nats", broker.port, "greetings.{who}")
        .with_channel(json!({"address": "greetings.{who}", "parameters": {"who": {"default": "all"}}}));
    let message = json!({"message": {"payload": {"greetings": "Hello, World!"}, "headers": {"foo": "bar", "n": 1}}});
    let outcome = api.publish("r-1/greet", &message).await;
    let Outcome::Succeeded(success) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(success.output, json!({"protocol": "nats", "server": "main", "channel": "greetings.all"}));
    let evidence = success.evidence.as_ref().unwrap();
    assert_eq!(text(evidence, &["publication", "confirmation"]), "pong");
    assert_eq!(text(evidence, &["address"]), format!("nats://127.0.0.1:{}", broker.port));
    let heard = witness.hears("Hello, World!\"}\r\n").await;
    assert!(heard.contains("HMSG greetings.all 9 ") && heard.contains("{\"greetings\":\"Hello"), "{heard}");
    for header in ["foo: bar\r\n", "n: 1\r\n", "Nats-Msg-Id: r-1/greet\r\n", "Content-Type: application/json\r\n"] {
        assert!(heard.contains(header), "{header:?} in {heard}");
    }
}

#[tokio::test]
async fn a_stream_takes_a_repeat_with_the_same_key_once() {
    let Some(broker) = Broker::nats("").await else { return };
    let store = broker.file("jetstream");
    let Some(broker) = Broker::nats(&format!("jetstream {{ store_dir: \"{}\" }}", store.display())).await else {
        return;
    };
    let mut witness = Witness::enter(&broker, "inbox", "").await;
    let config = r#"{"name":"S","subjects":["orders"],"storage":"memory"}"#;
    witness.say(&format!("PUB $JS.API.STREAM.CREATE.S inbox {}\r\n{config}\r\n", config.len())).await;
    assert!(!witness.hears("\"created\"").await.contains("\"error\""));
    let api = Api::new("nats", broker.port, "orders");
    for key in ["k-1", "k-1", "k-2", "k-1"] {
        output(api.publish(key, &json!({"message": {"payload": 1}})).await);
    }
    witness.say("PUB $JS.API.STREAM.INFO.S inbox 0\r\n\r\n").await;
    let info = witness.hears("\"last_seq\"").await;
    assert!(info.contains("\"messages\":2,"), "{info}");
}

#[tokio::test]
async fn messages_are_gathered_through_a_filter_until_there_are_enough() {
    let Some(broker) = Broker::nats("").await else { return };
    let mut witness = Witness::enter(&broker, "none", "").await;
    let api = Api::new("nats", broker.port, "numbers.{kind}.x");
    let connector = connector();
    let request = api.request("asyncapi.subscribe", "k", &amount(2));
    let subscribed = async { connector.call(Request { conditions: filtered(|n| n % 2 == 0), ..request }).await };
    let speaking = async {
        broker.says("[SUB numbers.*.x").await;
        for n in 1..=3 {
            witness.publish("numbers.whole.x", &n.to_string()).await;
        }
        witness.say("HPUB numbers.odd.x 24 25\r\nNATS/1.0\r\ntrace: t-9\r\n\r\n4\r\n").await;
    };
    let (outcome, ()) = tokio::join!(subscribed, speaking);
    let expected = json!([
        {"payload": 2, "headers": {}, "channel": "numbers.whole.x"},
        {"payload": 4, "headers": {"trace": "t-9"}, "channel": "numbers.odd.x"},
    ]);
    let Outcome::Succeeded(success) = outcome else { panic!("{outcome:?}") };
    assert_eq!(success.output, expected);
    assert_eq!(success.evidence.unwrap().get("passedOver"), Some(&json!(2)));
}

#[tokio::test]
async fn a_span_that_passes_gives_what_has_come_until_then() {
    let Some(broker) = Broker::nats("").await else { return };
    let mut witness = Witness::enter(&broker, "none", "").await;
    let api = Api::new("nats", broker.port, "quiet");
    let asked = json!({"subscription": {"consume": {"for": {"milliseconds": 100}}}});
    assert_eq!(output(api.subscribe("k", &asked).await), json!([]));
    // Enough time for what is published as soon as the subscription is there.
    let asked = json!({"subscription": {"consume": {"amount": 5, "for": "PT2S"}}});
    let speaking = async {
        // The first was the call above.
        broker.repeats("[SUB quiet", 2).await;
        witness.publish("quiet", "\"only one\"").await;
    };
    let (outcome, ()) = tokio::join!(api.subscribe("k2", &asked), speaking);
    assert_eq!(payloads(&output(outcome)), [json!("only one")]);
}

#[tokio::test]
async fn subscribers_of_one_queue_share_the_messages() {
    let Some(broker) = Broker::nats("").await else { return };
    let mut witness = Witness::enter(&broker, "none", "").await;
    let api = Api::new("nats", broker.port, "work").with_bindings(json!({"nats": {"queue": "workers"}}));
    let one = amount(1);
    let both = async { tokio::join!(api.subscribe("a", &one), api.subscribe("b", &one)) };
    let speaking = async {
        broker.repeats("[SUB work workers", 2).await;
        // Each takes one and leaves, so the second goes to the other one whatever the server draws.
        witness.publish("work", "1").await;
        broker.says("Client connection closed").await;
        witness.publish("work", "2").await;
    };
    let ((a, b), ()) = tokio::join!(both, speaking);
    let mut got = [payloads(&output(a)), payloads(&output(b))].concat();
    got.sort_by_key(|v| v.as_i64());
    assert_eq!(got, [json!(1), json!(2)]);
}

#[tokio::test]
async fn logins_and_tokens_open_the_door_and_wrong_ones_are_refused_in_words() {
    let Some(users) = Broker::nats("authorization { user: somebody, password: hunter2x }").await else { return };
    let Some(token) = Broker::nats(&format!("authorization {{ token: \"{TOKEN}\" }}")).await else { return };
    let message = json!({"message": {"payload": 1}});
    for (broker, authentication, good) in [
        (&users, json!({"basic": {"username": "somebody", "password": "hunter2x"}}), true),
        (&users, json!({"basic": {"use": "login"}}), true),
        (&users, json!({"basic": {"username": "somebody", "password": "hunter3x"}}), false),
        (&users, Value::Null, false),
        (&token, json!({"bearer": {"use": "token"}}), true),
        (&token, json!({"bearer": {"token": "wr0ng-token"}}), false),
    ] {
        let api = Api::new("nats", broker.port, "a");
        let asked = if authentication.is_null() {
            message.clone()
        } else {
            and(message.clone(), "authentication", authentication.clone())
        };
        let outcome = api.publish("k", &asked).await;
        if good {
            assert!(matches!(outcome, Outcome::Succeeded(_)), "{authentication}: {outcome:?}");
            continue;
        }
        let (name, kind, said) = ended(&outcome);
        assert_eq!((name, kind.as_str()), ("refused", "authentication"), "{authentication}: {said}");
        assert!(
            said.contains("Authorization Violation") && !said.contains("hunter3x") && !said.contains("wr0ng"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_a_user_may_not_do_is_an_authorization_error() {
    let users = "authorization { users: [{ user: u, password: secret-p, permissions: { publish: \"open\", subscribe: \"open\" } }] }";
    let Some(broker) = Broker::nats(users).await else { return };
    let login = json!({"basic": {"username": "u", "password": "secret-p"}});
    let message = and(json!({"message": {"payload": 1}}), "authentication", login.clone());
    output(Api::new("nats", broker.port, "open").publish("k", &message).await);
    let closed = Api::new("nats", broker.port, "closed");
    for outcome in
        [closed.publish("k", &message).await, closed.subscribe("k", &and(amount(1), "authentication", login)).await]
    {
        let (name, kind, said) = ended(&outcome);
        assert_eq!((name, kind.as_str()), ("refused", "authorization"), "{said}");
        assert!(said.to_lowercase().contains("permissions violation"), "{said}");
    }
}

#[tokio::test]
async fn what_the_server_does_not_take_is_refused_before_it_is_sent() {
    let Some(broker) = Broker::nats("max_payload: 1000").await else { return };
    let long = "x".repeat(2_000);
    let outcome = Api::new("nats", broker.port, "a").publish("k", &json!({"message": {"payload": long}})).await;
    let (name, kind, said) = ended(&outcome);
    assert_eq!((name, kind.as_str()), ("refused", "validation"), "{said}");
    assert!(said.contains("expected at most 1000"), "{said}");
    for address in ["a b", "a..b", "a.>", "", "a\r\nPUB b 0"] {
        let outcome = Api::new("nats", broker.port, address).publish("k", &json!({"message": {"payload": 1}})).await;
        let (name, kind, said) = ended(&outcome);
        assert_eq!((name, kind.as_str()), ("refused", "configuration"), "{address:?}: {said}");
    }
}

#[tokio::test]
async fn a_server_that_dies_or_is_not_there_is_a_failure_that_may_be_tried_again() {
    let Some(mut broker) = Broker::nats("").await else { return };
    let api = Api::new("nats", broker.port, "a");
    let mut witness = Witness::enter(&broker, "none", "").await;
    let (conditions, asked) = signalling();
    let connector = connector();
    let request = Request { conditions, ..api.request("asyncapi.subscribe", "k", &amount(1)) };
    let killing = async {
        broker.says("[SUB a").await;
        witness.publish("a", "1").await;
        asked.notified().await;
        broker.kill();
    };
    let (outcome, ()) = tokio::join!(connector.call(request), killing);
    let (name, kind, said) = ended(&outcome);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
    assert!(said.contains("in the middle of a subscription"), "{said}");
    for outcome in [api.publish("k", &json!({"message": {"payload": 1}})).await, api.subscribe("k", &amount(1)).await] {
        let (name, kind, said) = ended(&outcome);
        assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
        assert!(said.contains("could not be connected to"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_wants_tls_gets_it_and_only_with_a_known_authority() {
    let (authority, certificate, key) = certificates();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).unwrap();
        dir.path().join(name)
    };
    let (ca, crt, key) = (path("ca.pem", &authority), path("crt.pem", &certificate), path("key.pem", &key));
    let tls = format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}", crt.display(), key.display());
    let Some(broker) = Broker::nats(&tls).await else { return };
    let api = Api::tls("nats", broker.port, "a");
    let request = || api.request("asyncapi.publish", "k", &json!({"message": {"payload": 1}}));
    output(trusting(ca).call(request()).await);
    let outcome = connector().call(request()).await;
    let (name, kind, said) = ended(&outcome);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
    assert!(said.contains("TLS failed: invalid peer certificate"), "{said}");
}
