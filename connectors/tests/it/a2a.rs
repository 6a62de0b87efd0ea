//! `call: a2a` against agents that behave and agents that do not. The agents are the tests' own, after the protocol's specification;
//! a real one is in `tests/it/agents.rs` of the root package.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cpd_connector_api::attachment::Resource;
use cpd_connector_api::conformance::{Kit, Sample, run};
use cpd_connector_api::{BoxFuture, Connector, Outcome, Value, json};
use cpd_connectors::a2a::{A2a, A2aConfig};
use cpd_connectors::http::HttpConfig;
use parking_lot::Mutex;

use crate::loopback::*;
use crate::support::*;

fn a2a(timeout_ms: u64) -> A2a {
    A2a::new(&A2aConfig { timeout_ms }, &authenticator(HttpConfig::default()))
}

/// Gives up soon.
fn hasty() -> A2a {
    a2a(1_000)
}

fn send(server: &Loopback) -> Value {
    with(server, "message/send", json!({"message": {"parts": [{"kind": "text", "text": "hello"}]}}))
}

fn with(server: &Loopback, method: &str, parameters: Value) -> Value {
    json!({"method": method, "server": format!("{}/rpc", server.url), "parameters": parameters})
}

async fn ask(a2a: &A2a, with: Value) -> Outcome {
    a2a.call(request("a2a.call", "r/t", with)).await
}

fn task(state: &str) -> Value {
    json!({"kind": "task", "id": "t-1", "contextId": "c-1", "status": {"state": state}})
}

fn event(asked: &Asked, result: &Value) -> String {
    format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": asked.id(), "result": result}))
}

#[tokio::test]
async fn a_message_gets_an_identity_and_a_role_that_every_attempt_repeats() {
    let server = loopback(|asked| result(asked, task("completed"))).await;
    for _ in 0..2 {
        assert_eq!(output(ask(&hasty(), send(&server)).await), task("completed"));
    }
    let asked = server.asked();
    let message = asked[0].params().get("message").cloned().unwrap();
    assert_eq!(text(&message, &["messageId"]).len(), 36);
    assert_eq!(text(&message, &["role"]), "user");
    assert_eq!(asked[1].params(), asked[0].params());
    assert_eq!(asked[0].header("a2a-version").as_deref(), Some("0.3"));
    assert_eq!(asked[0].header("idempotency-key").as_deref(), Some("r/t"));
    assert_eq!(asked[0].rpc(), "message/send");
}

#[tokio::test]
async fn what_the_author_gave_a_message_stays() {
    let server = loopback(|asked| result(asked, task("completed"))).await;
    let message = json!({"messageId": "mine", "role": "agent", "parts": []});
    output(ask(&hasty(), with(&server, "message/send", json!({"message": message.clone()}))).await);
    assert_eq!(server.asked()[0].params().get("message"), Some(&message));
}

#[tokio::test]
async fn a_task_is_a_result_whatever_its_state() {
    for state in ["failed", "rejected", "input-required", "working"] {
        let server = loopback(move |asked| result(asked, task(state))).await;
        assert_eq!(text(&output(ask(&hasty(), send(&server)).await), &["status", "state"]), state);
    }
}

#[tokio::test]
async fn a_stream_is_gathered_up_to_its_final_event() {
    let server = loopback(|asked| {
        let update =
            |state: &str, last: bool| json!({"kind": "status-update", "status": {"state": state}, "final": last});
        let events = [task("submitted"), update("working", false), update("completed", true), update("late", false)];
        Reply::Events(events.iter().map(|e| event(asked, e)).collect(), End::Open)
    })
    .await;
    let mut with = send(&server);
    if let Value::Obj(members) = &mut with {
        Arc::make_mut(members).insert("method".into(), json!("message/stream"));
    }
    let gathered = output(ask(&hasty(), with).await);
    let states: Vec<_> = gathered.as_array().unwrap().iter().map(|e| text(e, &["status", "state"])).collect();
    assert_eq!(states, ["submitted", "working", "completed"]);
}

#[tokio::test]
async fn a_streaming_method_that_is_answered_at_once_gives_an_array_of_one() {
    let server = loopback(|asked| result(asked, task("completed"))).await;
    let gathered = output(ask(&hasty(), with(&server, "tasks/resubscribe", json!({"id": "t-1"}))).await);
    assert_eq!(gathered, Value::from(vec![task("completed")]));
}

#[tokio::test]
async fn a_pinned_card_says_where_the_agent_is_and_nobody_fetches_it() {
    let server = loopback(|asked| result(asked, task("completed"))).await;
    let card = json!({
        "name": "Reporter", "protocolVersion": "0.3.0", "url": format!("{}/v03", server.url),
        "securitySchemes": {"key": {"type": "apiKey"}},
    });
    let uri = "https://agents.invalid/.well-known/agent-card.json";
    let with = json!({"method": "tasks/get", "agentCard": {"endpoint": uri}, "parameters": {"id": "t-1"}});
    let mut asked = request("a2a.call", "k", with);
    let content: Arc<[u8]> = card.to_json().into_bytes().into();
    asked.resources = [Arc::new(Resource { uri: uri.into(), media_type: None, content })].into_iter().collect();
    let Outcome::Succeeded(success) = hasty().call(asked).await else { panic!("expected success") };
    let evidence = success.evidence.unwrap();
    assert_eq!(text(&evidence, &["agent", "name"]), "Reporter");
    assert_eq!(text(&evidence, &["agent", "securitySchemes", "key", "type"]), "apiKey");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_card_that_is_not_pinned_is_fetched_and_version_1_0_is_spoken_where_only_that_is() {
    let server = loopback(|asked| match asked.method.as_str() {
        "GET" => {
            let url = format!("http://{}/v1", asked.header("host").unwrap_or_default());
            let interface =
                json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "acme"});
            json_body(json!({"name": "Modern", "supportedInterfaces": [interface]}))
        }
        _ => result(asked, json!({"task": {"id": "t-1"}})),
    })
    .await;
    let card = format!("{}/.well-known/agent-card.json", server.url);
    let parameters = json!({"message": {"parts": [{"text": "hello"}]}});
    let with = json!({"method": "message/send", "agentCard": {"endpoint": {"uri": card}}, "parameters": parameters});
    assert_eq!(output(ask(&hasty(), with).await), json!({"task": {"id": "t-1"}}));
    let asked = &server.asked()[1];
    assert_eq!((asked.rpc(), asked.path.as_str()), ("SendMessage", "/v1"));
    assert_eq!(asked.header("a2a-version").as_deref(), Some("1.0"));
    assert_eq!(text(&asked.params(), &["message", "role"]), "ROLE_USER");
    assert_eq!(text(&asked.params(), &["tenant"]), "acme");
}

#[tokio::test]
async fn an_address_that_does_not_speak_version_0_3_is_asked_in_version_1_0() {
    let server = loopback(|asked| match asked.header("a2a-version").as_deref() {
        Some("1.0") => result(asked, json!({"id": "t-1"})),
        _ => error(asked, -32009, "version not supported"),
    })
    .await;
    assert_eq!(output(ask(&hasty(), with(&server, "tasks/get", json!({"id": "t-1"}))).await), json!({"id": "t-1"}));
    assert_eq!(server.asked()[1].rpc(), "GetTask");
}

#[tokio::test]
async fn errors_of_the_protocol_raise_runtime_and_leave_nothing_in_doubt() {
    for (status, code, name) in [(200, -32001, "refused"), (400, -32602, "refused"), (200, -32603, "failed")] {
        let server = loopback(move |asked| {
            let body = json!({"jsonrpc": "2.0", "id": asked.id(), "error": {"code": code, "message": "not like this"}});
            Reply::Whole(status, "content-type: application/json\r\n".into(), body.to_json().into_bytes())
        })
        .await;
        let outcome = ask(&hasty(), send(&server)).await;
        let (found, problem) = trouble(&outcome);
        assert_eq!(found, name, "{problem}");
        assert!(problem.kind.ends_with("/runtime") && detail(problem).contains("not like this"), "{problem}");
        assert_eq!(problem.data.as_ref().unwrap().get("code"), Some(&json!(code)));
    }
}

type Bad = fn(&Asked) -> Reply;

/// Bad answers, what they mean for a reading method and for a message, and what is said about them.
const BAD: [(&str, Bad, &str, &str, &str); 8] = [
    ("html", |_| html(200), "failed", "unknown", "no JSON"),
    ("500", |_| html(500), "failed", "failed", "answered 500"),
    ("502", |_| html(502), "failed", "unknown", "answered 502"),
    ("401", |_| html(401), "refused", "refused", "answered 401"),
    ("40 MB", |_| Reply::Huge("application/json"), "refused", "unknown", "expected at most"),
    ("no answer", |_| Reply::Never, "failed", "unknown", "not answered in time"),
    ("a closed connection", |_| Reply::Drop, "failed", "unknown", "got no answer"),
    ("another id", |_| json_body(json!({"jsonrpc": "2.0", "id": 99, "result": {}})), "failed", "unknown", "id 99"),
];

/// The same for streams.
const BAD_STREAMS: [(&str, Bad, &str, &str, &str); 6] = [
    ("a stream of 40 MB", |_| Reply::Huge("text/event-stream"), "refused", "unknown", "expected at most"),
    (
        "a stream that breaks off",
        |a| Reply::Events(vec![event(a, &task("working"))], End::Broken),
        "failed",
        "unknown",
        "broke off",
    ),
    (
        "a stream that ends early",
        |a| Reply::Events(vec![event(a, &task("working"))], End::Properly),
        "failed",
        "unknown",
        "without a final one",
    ),
    (
        "a stream that stops",
        |a| Reply::Events(vec![event(a, &task("working"))], End::Open),
        "failed",
        "unknown",
        "time ran out",
    ),
    ("no JSON", |_| Reply::Events(vec!["data: <p>\n\n".into()], End::Open), "failed", "unknown", "event 1 is no JSON"),
    (
        "another id",
        |_| Reply::Events(vec!["data: {\"id\": 9, \"result\": {}}\n\n".into()], End::Open),
        "failed",
        "unknown",
        "id 9",
    ),
];

#[tokio::test]
async fn every_bad_answer_ends_the_call_and_says_what_is_known() {
    let single = BAD.iter().map(|bad| (bad, "tasks/get", "message/send"));
    let streams = BAD.iter().chain(&BAD_STREAMS).map(|bad| (bad, "tasks/resubscribe", "message/stream"));
    for ((what, reply, reading, sending, said), read, send) in single.chain(streams) {
        let server = loopback(reply).await;
        for (method, expected) in [(read, reading), (send, sending)] {
            let parameters = json!({"id": "t-1", "message": {"parts": []}});
            let outcome = ask(&hasty(), with(&server, method, parameters)).await;
            let (name, problem) = trouble(&outcome);
            assert_eq!(name, *expected, "{method} and {what}: {problem}");
            assert!(
                detail(problem).contains(said) && problem.kind.ends_with("/runtime"),
                "{method} and {what}: {problem}"
            );
            assert!(detail(problem).len() < 1_000, "{what}: {problem}");
        }
    }
}

#[tokio::test]
async fn a_bad_card_leaves_nothing_in_doubt() {
    let replies: [(&str, Bad, &str); 4] = [
        ("html", |_| html(200), "failed"),
        ("no interface", |_| json_body(json!({"name": "x"})), "failed"),
        ("404", |_| html(404), "refused"),
        ("silence", |_| Reply::Never, "failed"),
    ];
    for (what, reply, expected) in replies {
        let server = loopback(reply).await;
        let parameters = json!({"message": {"parts": []}});
        let with =
            json!({"method": "message/send", "agentCard": {"endpoint": server.url.as_str()}, "parameters": parameters});
        let outcome = ask(&hasty(), with).await;
        assert_eq!(trouble(&outcome).0, expected, "{what}: {outcome:?}");
        assert!(server.asked().iter().all(|a| a.method == "GET"), "{what}: the agent was called");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_sent() {
    let server = loopback(|_| Reply::Never).await;
    for (input, said) in [
        (json!({"method": "tasks/get"}), "server"),
        (json!({"method": "tasks/burn", "server": server.url.as_str()}), "message/send"),
        (json!({"method": "tasks/get", "server": "agent"}), "`server`: found an address"),
        (json!({"method": "message/send", "server": server.url.as_str()}), "`parameters.message`"),
        (json!({"method": "tasks/get", "server": server.url.as_str(), "parameters": "all"}), "/parameters"),
    ] {
        let outcome = ask(&hasty(), input).await;
        assert_eq!(trouble(&outcome).0, "refused", "{outcome:?}");
        assert!(detail(trouble(&outcome).1).contains(said), "{outcome:?}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn credentials_go_to_the_agent_where_its_card_lives_and_nowhere_else() {
    let elsewhere = loopback(|asked| result(asked, task("completed"))).await;
    let address = Arc::new(Mutex::new(String::new()));
    let told = address.clone();
    let home = loopback(move |asked| match asked.method.as_str() {
        "GET" => json_body(json!({"name": "x", "url": told.lock().as_str()})),
        _ => result(asked, json!({"seen": asked.header("authorization")})),
    })
    .await;
    let authentication = json!({"bearer": {"token": TOKEN}});
    let endpoint = json!({"uri": format!("{}/card.json", home.url), "authentication": authentication.clone()});
    let get = json!({"method": "tasks/get", "agentCard": {"endpoint": endpoint}, "parameters": {"id": "t-1"}});
    let bearer = format!("Bearer {TOKEN}");

    *address.lock() = "/rpc".into();
    assert_eq!(text(&output(ask(&hasty(), get.clone()).await), &["seen"]), "Bearer [redacted]");
    assert!(home.asked().iter().all(|a| a.header("authorization").as_deref() == Some(&bearer)));
    *address.lock() = format!("{}/rpc", elsewhere.url);
    output(ask(&hasty(), get).await);
    assert_eq!(elsewhere.asked()[0].header("authorization"), None);

    let server = json!({"uri": format!("{}/rpc", elsewhere.url), "authentication": authentication});
    output(ask(&hasty(), json!({"method": "tasks/resubscribe", "server": server, "parameters": {"id": "t"}})).await);
    assert_eq!(elsewhere.asked()[1].header("authorization"), Some(bearer));
}

#[tokio::test]
async fn a2a_conforms() {
    let silent = Arc::new(AtomicBool::new(false));
    let effects = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let (hush, counts) = (silent.clone(), effects.clone());
    let server = loopback(move |asked| {
        if hush.load(Ordering::SeqCst) {
            return Reply::Never;
        }
        *counts.lock().entry(asked.header("idempotency-key").unwrap_or_default()).or_default() += 1;
        result(asked, task("completed"))
    })
    .await;
    let a2a = a2a(60_000);
    let silence = move |on: bool| -> BoxFuture<'static, ()> {
        silent.store(on, Ordering::SeqCst);
        Box::pin(async {})
    };
    let report = run(Kit {
        connector: &a2a,
        samples: vec![Sample::new("a2a.call", send(&server)).with_effects(1)],
        probe: &|key| effects.lock().get(key).copied().unwrap_or(0),
        silence: &silence,
        secrets: vec![TOKEN.into()],
        patience: Duration::from_secs(10),
    })
    .await;
    assert!(report.breaches.is_empty(), "{report}");
    assert!(report.checks > 20, "{report}");
}
