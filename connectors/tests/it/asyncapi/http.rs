//! HTTP as a protocol for messages, against small servers of the tests' own.

use cpd_connector_api::{Connector, Value, json};
use cpd_connectors::sandbox::faults::{Fault, Kind};

use super::*;
use crate::loopback::{self, End, loopback};
use crate::server::{Reply, Server};

fn api(server: &Server, address: &str) -> Api {
    let host = server.url("").trim_start_matches("http://").to_owned();
    let own = Api::new("http", 0, address);
    Api { server: json!({"host": host, "pathname": "/v1", "protocol": "http"}), ..own }
}

fn message() -> Value {
    json!({"message": {"payload": {"a": 1}, "headers": {"X-Foo": "bar"}}})
}

#[tokio::test]
async fn a_message_is_one_request_with_the_key_and_the_headers() {
    let server = Server::start(|_| Reply::new(202, "", "")).await;
    let bearer = and(message(), "authentication", json!({"bearer": {"use": "token"}}));
    let Outcome::Succeeded(success) = api(&server, "orders/new").publish("r/k", &bearer).await else { panic!() };
    assert_eq!(success.output, json!({"protocol": "http", "server": "main", "channel": "orders/new"}));
    assert_eq!(success.evidence.unwrap().get("publication").and_then(|p| p.get("statusCode")), Some(&json!(202)));
    let put = api(&server, "/orders/7").with_bindings(json!({"http": {"method": "put"}}));
    output(put.publish("r/k", &message()).await);
    let asked = server.asked();
    let first = &asked[0];
    assert_eq!((first.method.as_str(), first.path.as_str(), first.text()), ("POST", "/v1/orders/new", r#"{"a":1}"#));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("idempotency-key"), Some("r/k"));
    assert_eq!(first.header("x-foo"), Some("bar"));
    assert_eq!(first.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!((asked[1].method.as_str(), asked[1].path.as_str()), ("PUT", "/v1/orders/7"));
}

#[tokio::test]
async fn answers_mean_what_they_mean_for_any_post() {
    for (status, name) in [(404, "refused"), (401, "refused"), (429, "failed"), (500, "failed"), (502, "unknown")] {
        let server = Server::start(move |_| Reply::new(status, "text/plain", "no")).await;
        let (found, kind, said) = ended(&api(&server, "a").publish("k", &message()).await);
        assert_eq!((found, kind.as_str()), (name, "communication"), "{status}: {said}");
    }
}

#[tokio::test]
async fn a_plain_answer_is_one_message_and_an_empty_one_is_none() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/one" => Reply::json(200, &json!({"n": 1})).with("x-trace", "t-1"),
        "/v1/none" => Reply::new(204, "", ""),
        "/v1/bad" => Reply::new(200, "application/json", "{oops"),
        _ => Reply::new(404, "text/plain", "no such thing"),
    })
    .await;
    let one = output(api(&server, "one").subscribe("k", &amount(3)).await);
    assert_eq!(payloads(&one), [json!({"n": 1})]);
    assert_eq!(text(&one.as_array().unwrap()[0], &["headers", "x-trace"]), "t-1");
    assert_eq!(output(api(&server, "none").subscribe("k", &amount(3)).await), json!([]));
    let (name, kind, said) = ended(&api(&server, "bad").subscribe("k", &amount(1)).await);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
    let (name, kind, said) = ended(&api(&server, "gone").subscribe("k", &amount(1)).await);
    assert_eq!((name, kind.as_str()), ("refused", "communication"), "{said}");
    assert!(said.contains("answered 404: no such thing"), "{said}");
}

#[tokio::test]
async fn streams_are_read_message_by_message() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/events" => {
            Reply::new(200, "text/event-stream", "id: 7\nevent: tick\ndata: {\"n\": 1}\n\n: quiet\n\ndata: two\n\n")
        }
        "/v1/lines" => Reply::new(200, "application/x-ndjson; charset=utf-8", "{\"n\": 1}\n\n[2]\n\"three\""),
        _ => Reply::new(200, "application/x-ndjson", "1\n{bad\n"),
    })
    .await;
    let events = output(api(&server, "events").subscribe("k", &amount(9)).await);
    let expected = json!([
        {"payload": {"n": 1}, "headers": {"event": "tick", "id": "7"}},
        {"payload": "two", "headers": {}},
    ]);
    assert_eq!(events, expected, "the end of the stream is the end of the messages");
    let lines = output(api(&server, "lines").subscribe("k", &amount(9)).await);
    assert_eq!(payloads(&lines), [json!({"n": 1}), json!([2]), json!("three")]);
    let first = output(api(&server, "bad").subscribe("k", &amount(1)).await);
    assert_eq!(payloads(&first), [json!(1)], "nobody looks at what comes after enough");
    let (name, kind, said) = ended(&api(&server, "bad").subscribe("k", &amount(2)).await);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
    assert!(said.contains("message 2 from bad"), "{said}");
    assert!(server.asked().iter().all(|a| a.method == "GET" && a.header("accept").unwrap().contains("event-stream")));
}

#[tokio::test]
async fn an_endless_stream_ends_with_enough_or_with_the_span() {
    let server = Server::start(|_| Reply::new(200, "text/event-stream", "data: 1\n\n").chunked(usize::MAX)).await;
    let api = api(&server, "a");
    assert_eq!(payloads(&output(api.subscribe("k", &amount(3)).await)).len(), 3);
    let none = Conditions { filter: when(|_| false), ..Conditions::default() };
    let asked = json!({"subscription": {"consume": {"for": "PT0.2S"}}});
    let request = Request { conditions: none, ..api.request("asyncapi.subscribe", "k", &asked) };
    assert_eq!(output(connector().call(request).await), json!([]));
    let small = AsyncApiConfig { messages_max: 10, ..AsyncApiConfig::default() };
    let outcome = limited(small).call(api.request("asyncapi.subscribe", "k", &amount(50))).await;
    let (name, kind, said) = ended(&outcome);
    assert_eq!((name, kind.as_str()), ("refused", "runtime"), "{said}");
    let huge = Server::start(|_| Reply::new(200, "application/x-ndjson", "xxxxxxxx").chunked(usize::MAX)).await;
    let small = AsyncApiConfig { bytes_max: 1_000, ..AsyncApiConfig::default() };
    let outcome = limited(small).call(self::api(&huge, "a").request("asyncapi.subscribe", "k", &amount(1))).await;
    let (name, kind, said) = ended(&outcome);
    assert_eq!((name, kind.as_str()), ("refused", "runtime"), "{said}");
    assert!(said.contains("a message of more than 1000 bytes"), "{said}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_a_failure() {
    let sandbox = sandbox().await;
    let host = sandbox.url().trim_start_matches("http://").to_owned();
    let api = Api { server: json!({"host": host, "protocol": "http"}), ..Api::new("http", 0, "sandbox/echo") };
    sandbox.handle().inject(Fault::new(Kind::ResetMidBody));
    let (name, kind, said) = ended(&api.subscribe("k", &amount(1)).await);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
    sandbox.handle().heal();
    assert_eq!(payloads(&output(api.subscribe("k", &amount(1)).await)).len(), 1);
    let broken = loopback(|_| loopback::Reply::Events(vec!["data: 1\n\n".into()], End::Broken)).await;
    let host = broken.url.trim_start_matches("http://").to_owned();
    let api = Api { server: json!({"host": host, "protocol": "http"}), ..Api::new("http", 0, "a") };
    assert_eq!(payloads(&output(api.subscribe("k", &amount(1)).await)), [json!(1)]);
    let (name, kind, said) = ended(&api.subscribe("k", &amount(2)).await);
    assert_eq!((name, kind.as_str()), ("failed", "communication"), "{said}");
}
