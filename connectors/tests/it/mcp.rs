//! `call: mcp` against servers that misbehave, over HTTP and over standard input and output. The servers are the tests' own, after the
//! protocol's specification; a real one is in `tests/it/agents.rs` of the root package.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cpd_connector_api::conformance::{Kit, Sample, run};
use cpd_connector_api::{BoxFuture, Connector, Outcome, Value, json};
use cpd_connectors::http::HttpConfig;
use cpd_connectors::mcp::{Mcp, McpConfig};
use parking_lot::Mutex;

use crate::loopback::*;
use crate::support::*;

fn mcp(config: McpConfig) -> Mcp {
    Mcp::new(config, &authenticator(HttpConfig::default()))
}

/// Gives up soon.
fn hasty() -> Mcp {
    mcp(McpConfig { timeout_ms: 1_000, ..McpConfig::default() })
}

/// The handshake, and `then` for everything else.
fn shaking_hands(asked: &Asked, then: impl FnOnce(&Asked) -> Reply) -> Reply {
    match (asked.method.as_str(), asked.rpc()) {
        ("DELETE", _) => Reply::Whole(200, String::new(), vec![]),
        (_, "initialize") => {
            let about = json!({
                "protocolVersion": asked.params().get("protocolVersion").cloned(),
                "capabilities": {"tools": {}}, "serverInfo": {"name": "loopback", "version": "1"},
            });
            let body = json!({"jsonrpc": "2.0", "id": asked.id(), "result": about}).to_json();
            let headers = "content-type: application/json\r\nmcp-session-id: s-1\r\n";
            Reply::Whole(200, headers.into(), body.into_bytes())
        }
        (_, "notifications/initialized") => Reply::Whole(202, String::new(), vec![]),
        _ => then(asked),
    }
}

async fn serving(then: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Loopback {
    loopback(move |asked| shaking_hands(asked, &then)).await
}

fn call(server: &Loopback, method: &str, parameters: Value) -> Value {
    let endpoint = format!("{}/mcp", server.url);
    json!({"method": method, "parameters": parameters, "transport": {"http": {"endpoint": endpoint}}})
}

fn echo(server: &Loopback) -> Value {
    call(server, "tools/call", json!({"name": "echo", "arguments": {"a": 1}}))
}

async fn ask(mcp: &Mcp, with: Value) -> Outcome {
    mcp.call(request("mcp.call", "r/t", with)).await
}

#[tokio::test]
async fn the_output_is_the_result_as_it_came_and_the_session_is_closed() {
    let said = json!({
        "content": [{"type": "text", "text": "1", "unheard-of": true}, {"type": "hologram", "x": 1.50}],
        "structuredContent": {"a": 1}, "isError": false, "more": [null],
    });
    let expected = said.clone();
    let server = serving(move |asked| result(asked, said.clone())).await;
    let Outcome::Succeeded(success) = ask(&hasty(), echo(&server)).await else { panic!("expected success") };
    assert_eq!(success.output, expected);
    let evidence = success.evidence.unwrap();
    assert_eq!(evidence.get("server"), Some(&json!({"name": "loopback", "version": "1"})));
    assert_eq!(text(&evidence, &["protocolVersion"]), "2025-06-18");
    let asked = server.asked();
    let names: Vec<_> = asked.iter().map(|a| if a.rpc().is_empty() { a.method.as_str() } else { a.rpc() }).collect();
    let posts: Vec<_> = names.iter().filter(|n| **n != "GET").copied().collect();
    assert_eq!(posts, ["initialize", "notifications/initialized", "tools/call", "DELETE"]);
    let call = asked.iter().find(|a| a.rpc() == "tools/call").unwrap();
    assert_eq!(call.header("mcp-session-id").as_deref(), Some("s-1"));
    assert_eq!(call.header("mcp-protocol-version").as_deref(), Some("2025-06-18"));
    assert_eq!(call.header("idempotency-key").as_deref(), Some("r/t"));
    assert_eq!(call.params().get("_meta").and_then(|m| m.get("cpd/idempotencyKey")), Some(&json!("r/t")));
}

#[tokio::test]
async fn an_answer_as_a_stream_is_an_answer_too() {
    let server = serving(|asked| {
        let progress =
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
        let answer = json!({"jsonrpc": "2.0", "id": asked.id(), "result": {"content": []}});
        Reply::Events(vec![format!("data: {progress}\n\n"), format!("event: message\ndata: {answer}\n\n")], End::Open)
    })
    .await;
    assert_eq!(output(ask(&hasty(), echo(&server)).await), json!({"content": []}));
}

#[tokio::test]
async fn a_tool_that_says_that_it_failed_raises_a_runtime_error_with_what_it_said() {
    let server =
        serving(|asked| result(asked, json!({"content": [{"type": "text", "text": "no such city"}], "isError": true})))
            .await;
    let outcome = ask(&hasty(), echo(&server)).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("failed", 500), "{problem}");
    assert!(
        problem.kind.ends_with("/runtime") && detail(problem).contains("\"echo\" failed: no such city"),
        "{problem}"
    );
    let data = problem.data.as_ref().unwrap();
    assert_eq!(data.get("content").and_then(Value::as_array).map(<[Value]>::len), Some(1));
}

#[tokio::test]
async fn errors_of_the_protocol_are_refused_or_failed_but_never_unknown() {
    for (code, name) in [(-32602, "refused"), (-32601, "refused"), (-32603, "failed")] {
        let server = serving(move |asked| error(asked, code, "not like this")).await;
        let outcome = ask(&hasty(), echo(&server)).await;
        assert_eq!(trouble(&outcome).0, name, "{outcome:?}");
        assert!(detail(trouble(&outcome).1).contains("not like this"), "{outcome:?}");
        assert!(trouble(&outcome).1.kind.ends_with("/runtime"));
    }
}

type Bad = fn(&Asked) -> Reply;

/// Answers to the request itself, what they mean for a reading method and for a tool, and what is said about them.
const BAD: [(&str, Bad, &str, &str, &str); 13] = [
    ("html", |_| html(200), "failed", "unknown", "found"),
    ("500", |_| html(500), "failed", "failed", "answered 500: <!doctype html>"),
    ("503 for a while", |_| Reply::Whole(503, "retry-after: 7\r\n".into(), vec![]), "failed", "failed", "answered 503"),
    ("502", |_| html(502), "failed", "unknown", "answered 502"),
    ("401", |_| html(401), "refused", "refused", "answered 401"),
    ("40 MB", |_| Reply::Huge("application/json"), "refused", "unknown", "more than 8388608 bytes"),
    ("a stream of 40 MB", |_| Reply::Huge("text/event-stream"), "failed", "unknown", "more than 8388608 bytes"),
    ("no answer", |_| Reply::Never, "failed", "unknown", "no answer within 1000 ms"),
    ("a closed connection", |_| Reply::Drop, "failed", "unknown", "got no answer"),
    ("another id", |_| json_body(json!({"jsonrpc": "2.0", "id": 99, "result": {}})), "failed", "unknown", "id 99"),
    (
        "another id in a stream",
        |_| Reply::Events(vec!["data: {\"jsonrpc\": \"2.0\", \"id\": 99, \"result\": {}}\n\n".into()], End::Open),
        "failed",
        "unknown",
        "id 99",
    ),
    (
        "a stream that breaks off",
        |_| Reply::Events(vec![": hello\n\n".into()], End::Broken),
        "failed",
        "unknown",
        "broke off",
    ),
    (
        "a stream that ends",
        |_| Reply::Events(vec![": hello\n\n".into()], End::Properly),
        "failed",
        "unknown",
        "broke off",
    ),
];

#[tokio::test]
async fn every_bad_answer_ends_the_call_and_says_what_is_known() {
    for (what, reply, reading, calling, said) in BAD {
        let server = serving(reply).await;
        for (with, expected) in [(call(&server, "tools/list", json!({})), reading), (echo(&server), calling)] {
            let outcome = ask(&hasty(), with).await;
            let (name, problem) = trouble(&outcome);
            assert_eq!(name, expected, "{what}: {problem}");
            let said = if what == "html" { "expected application/json" } else { said };
            assert!(detail(problem).contains(said), "{what}: {problem}");
            assert!(detail(problem).len() < 1_000, "{what}: {problem}");
        }
    }
}

#[tokio::test]
async fn a_handshake_that_goes_wrong_leaves_nothing_in_doubt() {
    let replies: [(&str, Bad, &str); 6] = [
        ("html", |_| html(200), "failed"),
        ("401", |_| html(401), "refused"),
        ("silence", |_| Reply::Never, "failed"),
        ("an error", |asked| error(asked, -32602, "no such version"), "refused"),
        ("another id", |_| json_body(json!({"jsonrpc": "2.0", "id": 99, "result": {}})), "failed"),
        ("something else", |asked| result(asked, json!({"tools": []})), "failed"),
    ];
    for (what, reply, expected) in replies {
        let server = loopback(reply).await;
        let outcome = ask(&hasty(), echo(&server)).await;
        assert_eq!(trouble(&outcome).0, expected, "{what}: {outcome:?}");
        assert!(server.asked().iter().all(|a| a.rpc() != "tools/call"), "{what}: the tool was called");
    }
}

#[tokio::test]
async fn a_trusted_tool_that_may_be_repeated_is_never_in_doubt() {
    let trusting = mcp(McpConfig { trust_annotations: true, timeout_ms: 1_000, ..McpConfig::default() });
    for (hints, expected) in [
        (json!({"readOnlyHint": true}), "failed"),
        (json!({"idempotentHint": true}), "failed"),
        (json!({"readOnlyHint": false}), "unknown"),
    ] {
        for silent in [false, true] {
            let hints = hints.clone();
            let server = serving(move |asked| match asked.rpc() {
                "tools/list" => {
                    let tool = json!({"name": "echo", "inputSchema": {"type": "object"}, "annotations": hints});
                    result(asked, json!({"tools": [tool]}))
                }
                _ if silent => Reply::Never,
                _ => Reply::Drop,
            })
            .await;
            assert_eq!(trouble(&ask(&trusting, echo(&server)).await).0, expected);
            assert_eq!(trouble(&ask(&hasty(), echo(&server)).await).0, "unknown", "nobody is trusted by default");
        }
    }
}

#[tokio::test]
async fn a_list_of_tools_that_gets_lost_leaves_the_tool_uncalled_and_nothing_in_doubt() {
    let trusting = mcp(McpConfig { trust_annotations: true, timeout_ms: 1_000, ..McpConfig::default() });
    for reply in [(|_| Reply::Drop) as Bad, |_| Reply::Never, |_| html(502)] {
        let server = serving(reply).await;
        let outcome = ask(&trusting, echo(&server)).await;
        assert_eq!(trouble(&outcome).0, "failed", "{outcome:?}");
        assert!(server.asked().iter().all(|a| a.rpc() != "tools/call"));
    }
}

#[tokio::test]
async fn secrets_in_headers_do_not_come_back() {
    let server = serving(|asked| result(asked, json!({"content": [], "seen": asked.header("x-api-key")}))).await;
    let mut with = echo(&server);
    let endpoint = format!("{}/mcp", server.url);
    if let Value::Obj(members) = &mut with {
        let http = json!({"http": {"endpoint": endpoint, "headers": {"X-Api-Key": TOKEN}}});
        Arc::make_mut(members).insert("transport".into(), http);
    }
    assert_eq!(text(&output(ask(&hasty(), with).await), &["seen"]), "[redacted]");
}

#[tokio::test]
async fn the_endpoints_authentication_goes_with_every_message() {
    let server = serving(|asked| result(asked, json!({"content": [], "seen": asked.header("authorization")}))).await;
    let endpoint = json!({"uri": format!("{}/mcp", server.url), "authentication": {"bearer": {"token": TOKEN}}});
    let with = json!({
        "method": "tools/call", "parameters": {"name": "echo"}, "transport": {"http": {"endpoint": endpoint}},
    });
    assert_eq!(text(&output(ask(&hasty(), with).await), &["seen"]), "Bearer [redacted]");
    let bearer = format!("Bearer {TOKEN}");
    assert!(server.asked().iter().all(|a| a.header("authorization").as_deref() == Some(&bearer)));
}

#[tokio::test]
async fn mcp_conforms() {
    let silent = Arc::new(AtomicBool::new(false));
    let effects = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let (hush, counts) = (silent.clone(), effects.clone());
    let server = serving(move |asked| {
        if hush.load(Ordering::SeqCst) {
            return Reply::Never;
        }
        *counts.lock().entry(asked.header("idempotency-key").unwrap_or_default()).or_default() += 1;
        result(asked, json!({"content": []}))
    })
    .await;
    let mcp = mcp(McpConfig::default());
    let silence = move |on: bool| -> BoxFuture<'static, ()> {
        silent.store(on, Ordering::SeqCst);
        Box::pin(async {})
    };
    let endpoint = format!("{}/mcp", server.url);
    let with = json!({
        "method": "tools/call", "parameters": {"name": "echo"},
        "transport": {"http": {"endpoint": endpoint, "headers": {"authorization": format!("Bearer {TOKEN}")}}},
    });
    let report = run(Kit {
        connector: &mcp,
        samples: vec![Sample::new("mcp.call", with).with_effects(1)],
        probe: &|key| effects.lock().get(key).copied().unwrap_or(0),
        silence: &silence,
        secrets: vec![TOKEN.into()],
        patience: Duration::from_secs(10),
    })
    .await;
    assert!(report.breaches.is_empty(), "{report}");
    assert!(report.checks > 20, "{report}");
}
