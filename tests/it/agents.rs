//! `call: mcp` and `call: a2a` against a real server and a real agent, by the protocols' own Python SDKs. See
//! `support/real_parts.rs` for when these are skipped.

use std::sync::Arc;

use cpd_connector_api::clock::SystemClock;
use cpd_connector_api::secret::NoSecrets;
use cpd_connector_api::{CancellationToken, Connector, Outcome, Request, Success, Value, json};
use cpd_connectors::a2a::{A2a, A2aConfig};
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::http::{HttpClient, HttpConfig};
use cpd_connectors::mcp::{METHODS, Mcp, McpConfig};

use crate::support::real_parts::{Part, RealParts};

fn request(operation: &str, key: &str, input: Value) -> Request {
    Request {
        operation: operation.into(),
        version: "1.0.0".into(),
        run: "r-real".into(),
        workflow: "agents".into(),
        task: "/do/0/call".into(),
        attempt: 1,
        key: key.into(),
        deadline: None,
        input,
        resources: Default::default(),
        conditions: Default::default(),
        cancel: CancellationToken::new(),
    }
}

fn authenticator() -> Authenticator {
    let client = HttpClient::new(HttpConfig::default(), Arc::new(SystemClock)).expect("a client can be built");
    Authenticator::new(client, Arc::new(NoSecrets))
}

#[track_caller]
fn success(outcome: Outcome) -> Success {
    match outcome {
        Outcome::Succeeded(success) => success,
        other => panic!("{other:?}"),
    }
}

fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |v, key| {
        let found = match key.parse::<usize>() {
            Ok(index) => v.as_array().and_then(|items| items.get(index)),
            Err(_) => v.get(key),
        };
        found.unwrap_or_else(|| panic!("no `{key}` of {path:?} in {v}"))
    })
}

/// Every method of the workflow language, over one transport.
async fn every_method(mcp: &Mcp, transport: Value, version: &str) {
    let ask = async |method: &str, parameters: Value| {
        let with = json!({
            "method": method, "parameters": parameters, "transport": transport.clone(), "protocolVersion": version,
        });
        mcp.call(request("mcp.call", "r/call", with)).await
    };
    let listed = success(ask("tools/list", json!({})).await);
    let tools = at(&listed.output, "tools").as_array().unwrap().iter();
    let names: Vec<_> = tools.map(|tool| at(tool, "name").as_str().unwrap()).collect();
    assert_eq!(names, ["add", "fail", "environment", "count"]);
    let evidence = listed.evidence.unwrap();
    assert_eq!(at(&evidence, "server"), &json!({"name": "cpd-test-tools", "version": "1.2.3"}));
    assert_eq!(at(&evidence, "protocolVersion"), &json!(version));

    let added = success(ask("tools/call", json!({"name": "add", "arguments": {"a": 2, "b": 3}})).await).output;
    assert_eq!(at(&added, "structuredContent"), &json!({"sum": 5}));
    assert_eq!(at(&added, "content.0.type"), &json!("text"));
    let counted = success(ask("tools/call", json!({"name": "count", "arguments": {"to": 3}})).await).output;
    assert_eq!(at(&counted, "content.0.text"), &json!("3"));

    let failed = ask("tools/call", json!({"name": "fail", "arguments": {"reason": "no such city"}})).await;
    let problem = failed.problem().expect("a problem");
    assert!(matches!(failed, Outcome::Failed { .. }) && problem.kind.ends_with("/runtime"), "{problem}");
    assert!(problem.to_string().contains("no such city"), "{problem}");

    let prompts = success(ask("prompts/list", json!({})).await).output;
    assert_eq!(at(&prompts, "prompts.0.name"), &json!("review"));
    let prompt = success(ask("prompts/get", json!({"name": "review", "arguments": {"model": "m-1"}})).await).output;
    assert_eq!(at(&prompt, "messages.0.content.text"), &json!("Review the model m-1."));
    let resources = success(ask("resources/list", json!({})).await).output;
    assert_eq!(at(&resources, "resources.0.uri"), &json!("notes://today"));
    let read = success(ask("resources/read", json!({"uri": "notes://today"})).await).output;
    assert_eq!(at(&read, "contents.0.text"), &json!("nothing happened"));
    let templates = success(ask("resources/templates/list", json!({})).await).output;
    assert_eq!(at(&templates, "resourceTemplates.0.uriTemplate"), &json!("notes://{day}"));

    let missing = ask("prompts/get", json!({"name": "no-such-prompt"})).await;
    let problem = missing.problem().expect("a problem");
    assert!(!matches!(missing, Outcome::Unknown(_)) && problem.kind.ends_with("/runtime"), "{missing:?}");
}

#[tokio::test]
async fn every_method_of_a_real_mcp_server_works_over_http() {
    let Some(parts) = RealParts::find("every_method_of_a_real_mcp_server_works_over_http") else { return };
    assert_eq!(METHODS.len(), 7);
    let dir = tempfile::tempdir().unwrap();
    let mcp = Mcp::new(McpConfig::default(), &authenticator());
    for json in [false, true] {
        let server = parts.mcp_server(dir.path(), json);
        let transport = json!({"http": {"endpoint": server.url.as_str()}});
        for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
            every_method(&mcp, transport.clone(), version).await;
        }
    }
}

#[tokio::test]
async fn every_method_of_a_real_mcp_server_works_over_standard_input_and_output() {
    let test = "every_method_of_a_real_mcp_server_works_over_standard_input_and_output";
    let Some(parts) = RealParts::find(test) else { return };
    let (command, arguments) = parts.mcp_stdio();
    let config = McpConfig { allow_stdio: vec![command.clone()], ..McpConfig::default() };
    let mcp = Mcp::new(config, &authenticator());
    let arguments: Value = arguments.into_iter().map(Value::from).collect();
    let stdio = json!({"command": command, "arguments": arguments, "environment": {"GREETING": "hello"}});
    every_method(&mcp, json!({"stdio": stdio.clone()}), "2025-06-18").await;

    let with = json!({
        "method": "tools/call", "parameters": {"name": "add", "arguments": {"a": 1, "b": 1}},
        "transport": {"stdio": stdio},
    });
    let evidence = success(mcp.call(request("mcp.call", "r/add", with)).await).evidence.unwrap();
    assert!(at(&evidence, "stderr").as_str().unwrap().contains("adding 1 and 1"), "{evidence}");
}

fn message(text: &str) -> Value {
    json!({"message": {"parts": [{"kind": "text", "text": text}]}})
}

async fn ask(agent: &Part, key: &str, method: &str, parameters: Value) -> Outcome {
    let card = format!("{}/.well-known/agent-card.json", agent.url);
    let with = json!({"method": method, "agentCard": {"endpoint": card}, "parameters": parameters});
    A2a::new(&A2aConfig::default(), &authenticator()).call(request("a2a.call", key, with)).await
}

#[tokio::test]
async fn a_real_agent_is_sent_messages_and_asked_for_tasks_in_version_0_3() {
    let test = "a_real_agent_is_sent_messages_and_asked_for_tasks_in_version_0_3";
    let Some(parts) = RealParts::find(test) else { return };
    let dir = tempfile::tempdir().unwrap();
    let agent = parts.a2a_agent(dir.path(), None);

    let done = success(ask(&agent, "k1", "message/send", message("hello")).await);
    assert_eq!(at(&done.output, "status.state"), &json!("completed"));
    assert_eq!(at(&done.output, "artifacts.0.parts.0.text"), &json!("HELLO"));
    assert_eq!(at(&done.evidence.unwrap(), "protocolVersion"), &json!("0.3"));
    let failed = success(ask(&agent, "k2", "message/send", message("fail")).await).output;
    assert_eq!(at(&failed, "status.state"), &json!("failed"));
    let asks = success(ask(&agent, "k3", "message/send", message("ask")).await).output;
    assert_eq!(at(&asks, "status.state"), &json!("input-required"));
    let chat = success(ask(&agent, "k4", "message/send", message("chat")).await).output;
    assert_eq!(at(&chat, "kind"), &json!("message"));

    let id = at(&done.output, "id").clone();
    let found = success(ask(&agent, "k5", "tasks/get", json!({"id": id})).await).output;
    assert_eq!(at(&found, "artifacts"), at(&done.output, "artifacts"));
    let waiting = at(&asks, "id").clone();
    let cancelled = success(ask(&agent, "k6", "tasks/cancel", json!({"id": waiting})).await).output;
    assert_eq!(at(&cancelled, "status.state"), &json!("canceled"));
    let missing = ask(&agent, "k7", "tasks/get", json!({"id": "no-such-task"})).await;
    assert!(matches!(&missing, Outcome::Refused(p) if p.kind.ends_with("/runtime")), "{missing:?}");

    for (text, last) in [("hello", "completed"), ("ask", "input-required"), ("fail", "failed")] {
        let gathered = success(ask(&agent, text, "message/stream", message(text)).await).output;
        let events = gathered.as_array().unwrap();
        assert!(events.len() >= 3, "{gathered}");
        assert_eq!(at(events.last().unwrap(), "status.state"), &json!(last));
    }
    let chat = success(ask(&agent, "k8", "message/stream", message("chat")).await).output;
    assert_eq!(chat.as_array().map(<[Value]>::len), Some(1));
}

#[tokio::test]
async fn a_real_agent_of_version_1_0_is_spoken_to_in_version_1_0() {
    let Some(parts) = RealParts::find("a_real_agent_of_version_1_0_is_spoken_to_in_version_1_0") else { return };
    let dir = tempfile::tempdir().unwrap();
    let agent = parts.a2a_agent(dir.path(), Some("1.0"));
    let hello = |text: &str| json!({"message": {"parts": [{"text": text}]}});

    let done = success(ask(&agent, "k1", "message/send", hello("hello")).await).output;
    assert_eq!(at(&done, "task.status.state"), &json!("TASK_STATE_COMPLETED"));
    let id = at(&done, "task.id").clone();
    assert_eq!(at(&success(ask(&agent, "k2", "tasks/get", json!({"id": id})).await).output, "id"), &id);
    let listed = success(ask(&agent, "k3", "tasks/list", json!({})).await).output;
    assert_eq!(at(&listed, "tasks").as_array().map(<[Value]>::len), Some(1));
    let gathered = success(ask(&agent, "k4", "message/stream", hello("hello")).await).output;
    let last = gathered.as_array().unwrap().last().unwrap();
    assert_eq!(at(last, "statusUpdate.status.state"), &json!("TASK_STATE_COMPLETED"));

    // By its address alone: it says that it does not speak 0.3.
    let address = format!("{}/rpc", agent.url);
    let with = json!({"method": "tasks/get", "server": address, "parameters": {"id": id}});
    let found = A2a::new(&A2aConfig::default(), &authenticator()).call(request("a2a.call", "k5", with)).await;
    assert_eq!(at(&success(found).output, "id"), &id);
}
