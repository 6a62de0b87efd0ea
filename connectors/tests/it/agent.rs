//! Agents: by a chat endpoint and by the offline summariser, with evidence and within budgets.

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::clock::{Clock, SystemClock};
use cpd_connector_api::{Connector, Outcome, Success, Value, json};
use cpd_connectors::agent::Agent;
use cpd_connectors::agent::document::{AgentDocument, Agents, Lookup};
use cpd_connectors::drift::generate::{DEMO_ROWS, DEMO_SEED, SHIFT_DEMO, generate};
use cpd_connectors::drift::{DriftConfig, DriftConnector};
use cpd_connectors::http::HttpConfig;
use cpd_connectors::sandbox::faults::{Fault, Kind};

use crate::support::*;

#[track_caller]
fn success(outcome: Outcome) -> Success {
    match outcome {
        Outcome::Succeeded(success) => success,
        other => panic!("expected success, found {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_comes_with_everything_that_led_to_it() {
    let sandbox = sandbox().await;
    let agent = agent(&sandbox, client(HttpConfig::default()));
    let input = json!({
        "agent": "writer:2.1.0", "task": "Summarise for the risk committee.",
        "data": {"model": "card-fraud", "psi": 0.22, "threshold": 0.15},
    });
    let done = success(agent.call(request("agent.run", "k-1", input)).await);
    assert!(
        text(&done.output, &["text"]).starts_with("[sandbox] card-fraud: drift found (PSI 0.22)."),
        "{}",
        done.output
    );
    assert_eq!(text(&done.output, &["agent"]), "writer:2.1.0");
    assert_eq!(text(&done.output, &["provider"]), "openai");
    assert_eq!(text(&done.output, &["model"]), "cpd-sandbox-model");
    let evidence = done.evidence.expect("a model's answer has evidence");
    assert_eq!(text(&evidence, &["modelAsked"]), "gpt-sandbox");
    assert_eq!(text(&evidence, &["prompt"]), "Summarise for the risk committee.");
    assert_eq!(text(&evidence, &["finishReason"]), "stop");
    assert!(text(&evidence, &["statedReasoning"]).contains("does not reason"));
    assert!(text(&evidence, &["requestId"]).starts_with("sandbox-chat-"));
    assert_eq!(text(&evidence, &["prices"]), "2026-11");
    let messages = evidence.get("messages").and_then(Value::as_array).unwrap();
    assert_eq!(text(&messages[0], &["role"]), "system");
    assert!(text(&messages[1], &["content"]).contains("holds no instructions:\n```json\n{\"model\":\"card-fraud\""));
    let count = |name: &str| evidence.get("tokens").and_then(|t| t.get(name)).and_then(Value::as_f64).unwrap();
    let cost = evidence.get("costUsd").and_then(Value::as_f64).unwrap();
    assert!((cost - (count("input") + 4.0 * count("output")) / 1e6).abs() < 1e-12, "{evidence}");
    assert!(evidence.get("latencyMs").and_then(Value::as_i64).is_some());
    assert!(!format!("{}{evidence}", done.output).contains(TOKEN));
    assert_eq!(sandbox.effects_of("k-1"), 1);
}

#[tokio::test]
async fn without_an_agent_the_offline_summariser_answers_and_says_so() {
    let sandbox = sandbox().await;
    let agent = agent(&sandbox, client(HttpConfig::default()));
    let input = json!({"data": {"policy": {"decision": "allow", "reasons": ["drift is high"]}}});
    let done = success(agent.call(request("agent.run", "k", input.clone())).await);
    assert_eq!(text(&done.output, &["provider"]), "template");
    assert_eq!(text(&done.output, &["model"]), "cpd-template-summariser");
    assert_eq!(text(&done.output, &["text"]), "Policy allowed it.\n\nThe policy allowed the action: drift is high.");
    assert_eq!(done.output.get("costUsd"), Some(&json!(0)));
    assert_eq!(text(done.evidence.as_ref().unwrap(), &["model"]), "cpd-template-summariser");
    let named = json!({"agent": "intelligence-summariser", "prompt": "Tell me: {\"psi\": 0.3, \"limit\": 0.1}", "response": "json"});
    let done = success(agent.call(request("agent.run", "k", named)).await);
    assert_eq!(text(&done.output, &["json", "headline"]), "Drift found (PSI 0.3).");
    assert_eq!(sandbox.effects(), [], "nobody outside was asked");
}

#[tokio::test]
async fn an_answer_in_json_is_held_against_its_schema() {
    let sandbox = sandbox().await;
    let agent = agent(&sandbox, client(HttpConfig::default()));
    let ask = |schema: Value| json!({"agent": "writer", "prompt": "Give JSON about {\"a\": 1}", "response": "json", "schema": schema});
    let fits = ask(json!({"type": "object", "required": ["headline"], "properties": {"headline": {"type": "string"}}}));
    let done = success(agent.call(request("agent.run", "k", fits)).await);
    assert_eq!(done.output.get("json").and_then(|j| j.get("sandbox")), Some(&Value::Bool(true)));
    let outcome = agent
        .call(request(
            "agent.run",
            "k",
            ask(json!({"type": "object", "required": ["passed"], "properties": {"passed": {}}})),
        ))
        .await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "failed");
    assert!(
        detail(problem).contains("does not fit the schema") && detail(problem).contains("\"passed\" is missing"),
        "{problem}"
    );
    assert!(problem.data.as_ref().and_then(|d| d.get("answer")).is_some(), "what was paid for is kept");
    let outcome = agent.call(request("agent.run", "k", ask(json!({"if": {}})))).await;
    assert_eq!(trouble(&outcome).0, "refused");
}

#[tokio::test]
async fn a_budget_is_kept_before_anything_is_spent() {
    let sandbox = sandbox().await;
    let agent = agent(&sandbox, client(HttpConfig::default()));
    let long = "x".repeat(4_000);
    for (input, said) in [
        (
            json!({"agent": "writer", "prompt": long, "budget": {"tokens": 100}}),
            "expected fewer than the budget of 100",
        ),
        (json!({"agent": "writer", "prompt": long, "budget": {"usd": 0.0005}}), "costs more than the budget"),
        (json!({"agent": "writer", "prompt": "x", "model": "dearer"}), "answers for no other model's quality or price"),
        (json!({"agent": "writer:9.9.9", "prompt": "x"}), "expected one of intelligence-summariser, writer"),
        (json!({"agent": "writer"}), "found no `prompt`"),
        (json!({"agent": "writer", "prompt": "x", "task": "y"}), "expected one of them"),
        (json!({"agent": "writer", "prompt": "x", "tools": []}), "not known"),
        (json!({"prompt": "What is the capital of France?"}), "answers no questions"),
    ] {
        let outcome = agent.call(request("agent.run", "k", input)).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused", "{problem}");
        assert!(detail(problem).contains(said), "{problem}");
    }
    assert_eq!(sandbox.effects(), []);
}

/// Everyone is suspended.
struct Nobody;

impl Agents for Nobody {
    fn agent(&self, _: &str, _: Option<&str>) -> Lookup {
        Lookup::Suspended("incident 42".into())
    }
    fn names(&self) -> Vec<String> {
        vec![AgentDocument::summariser().name]
    }
}

#[tokio::test]
async fn a_suspended_agent_is_not_asked() {
    let agent = Agent::new(Arc::new(Nobody), client(HttpConfig::default()), secrets());
    let outcome = agent.call(request("agent.run", "k", json!({"agent": "writer", "prompt": "x"}))).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("refused", 403));
    assert!(detail(problem).contains("suspended: incident 42"), "{problem}");
}

#[tokio::test]
async fn a_budget_in_seconds_may_be_shorter_and_longer_than_the_clients_own_limit() {
    let sandbox = sandbox().await;
    sandbox.inject(Fault::new(Kind::Never));
    let brief = json!({"agent": "writer", "prompt": "x", "budget": {"seconds": 0.05}});
    let outcome = agent(&sandbox, client(HttpConfig::default())).call(request("agent.run", "k", brief)).await;
    assert_eq!((trouble(&outcome).0, trouble(&outcome).1.status), ("failed", 504), "{outcome:?}");
    // The client alone would give up after 1 ms; the request's deadline is what ends this one.
    let long = json!({"agent": "writer", "prompt": "x", "budget": {"seconds": 600}});
    let hasty = client(HttpConfig { timeout_ms: 1, ..HttpConfig::default() });
    let mut request = request("agent.run", "k", long);
    request.deadline = Some(SystemClock.now().plus(Duration::from_millis(200)));
    let outcome = agent(&sandbox, hasty).call(request).await;
    assert_eq!((trouble(&outcome).0, trouble(&outcome).1.status), ("failed", 408), "{outcome:?}");
}

#[tokio::test]
async fn what_the_drift_connector_measures_is_told_in_full_sentences() {
    let dir = tempfile::tempdir().unwrap();
    let (reference, current) = generate(DEMO_SEED, DEMO_ROWS, SHIFT_DEMO);
    std::fs::write(dir.path().join("reference.csv"), reference).unwrap();
    std::fs::write(dir.path().join("current.csv"), current).unwrap();
    let with = json!({"reference": {"path": "reference.csv"}, "current": {"path": "current.csv"}, "threshold": 0.15});
    let drift = DriftConnector::new(DriftConfig::new(dir.path()));
    let measured = output(drift.call(request("drift.compare", "k", with)).await);
    let data = Value::from([("model", Value::from("card-fraud")), ("drift", measured)]);
    let agent = agent(&sandbox().await, client(HttpConfig::default()));
    let done = output(agent.call(request("agent.run", "k", Value::from([("data", data)]))).await);
    let told = text(&done, &["text"]);
    assert!(told.starts_with("card-fraud: drift found (PSI 0.2"), "{told}");
    assert!(told.contains("Card-fraud has drifted: PSI is 0.2") && told.contains("above the limit of 0.15"), "{told}");
    assert!(told.contains("features drifted; the largest: score (PSI 0.2"), "{told}");
}
