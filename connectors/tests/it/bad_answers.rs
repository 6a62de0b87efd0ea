//! Every bad answer, for every connector: each ends in time, says what it knows, and holds no 40 MB.

use cpd_connector_api::{Connector, json};
use cpd_connectors::http::{Http, HttpConfig};
use cpd_connectors::sandbox::Sandbox;
use cpd_connectors::sandbox::faults::{Fault, Kind};

use crate::support::*;

async fn ask(sandbox: &Sandbox, method: &str, fault: Kind) -> (String, u16, String) {
    sandbox.heal();
    sandbox.inject(Fault::new(fault));
    let input = json!({
        "method": method, "endpoint": format!("{}/sandbox/echo", sandbox.url()),
        "headers": {"accept": "application/json"}, "body": {"a": 1},
    });
    let outcome =
        Http::new(impatient(), secrets()).call(request("http.request", &format!("{method}-{fault:?}"), input)).await;
    let (name, problem) = trouble(&outcome);
    (name.to_owned(), problem.status, detail(problem).to_owned())
}

#[tokio::test]
async fn a_read_that_goes_wrong_failed_or_is_refused_and_says_how() {
    let sandbox = sandbox().await;
    for (fault, name, status, said) in [
        (Kind::Status, "failed", 500, "answered 500: {\"error\":\"the sandbox was told to fail\"}"),
        (Kind::Unauthorized, "refused", 401, "answered 401"),
        (Kind::Drop, "failed", 502, "was sent and got no answer"),
        (Kind::Never, "failed", 504, "was sent and not answered in time"),
        (Kind::RedirectLoop, "refused", 302, "answered 302"),
        (Kind::LoseReply, "failed", 502, "was sent and got no answer"),
        (Kind::NeverReply, "failed", 504, "was sent and not answered in time"),
        (Kind::ResetMidBody, "failed", 502, "the body broke off after"),
        (Kind::Html, "failed", 502, "found text/html, expected JSON: <!doctype html>"),
        (Kind::BadJson, "failed", 502, "expected JSON"),
        (Kind::Huge, "refused", 502, "with 41943040 bytes, expected at most 8388608"),
        (Kind::HugeChunked, "refused", 502, "expected at most 8388608"),
    ] {
        let found = ask(&sandbox, "GET", fault).await;
        assert_eq!((found.0.as_str(), found.1), (name, status), "{fault:?}: {found:?}");
        assert!(found.2.contains(said), "{fault:?}: {}", found.2);
    }
}

#[tokio::test]
async fn a_write_that_may_have_happened_is_unknown() {
    let sandbox = sandbox().await;
    for (fault, name, effects) in [
        (Kind::Status, "failed", 0),
        (Kind::Unauthorized, "refused", 0),
        (Kind::RedirectLoop, "refused", 0),
        (Kind::Drop, "unknown", 0),
        (Kind::Never, "unknown", 0),
        (Kind::LoseReply, "unknown", 1),
        (Kind::NeverReply, "unknown", 1),
        (Kind::ResetMidBody, "unknown", 1),
        (Kind::Html, "unknown", 1),
        (Kind::BadJson, "unknown", 1),
        (Kind::Huge, "unknown", 1),
        (Kind::HugeChunked, "unknown", 1),
    ] {
        let found = ask(&sandbox, "POST", fault).await;
        assert_eq!(found.0, name, "{fault:?}: {found:?}");
        assert_eq!(sandbox.effects_of(&format!("POST-{fault:?}")), effects, "{fault:?}");
    }
}

#[tokio::test]
async fn atlas_and_the_agent_survive_every_bad_answer() {
    let sandbox = sandbox().await;
    let (atlas, agent) = (atlas(&sandbox, impatient()), agent(&sandbox, impatient()));
    for fault in Kind::ALL {
        for (operation, input) in [
            ("atlas.model", json!({"model": "card-fraud"})),
            ("atlas.retrain", json!({"model": "card-fraud"})),
            ("atlas.promote", json!({"model": "card-fraud", "version": 1})),
            ("agent.run", json!({"agent": "writer", "prompt": "hello"})),
        ] {
            sandbox.heal();
            sandbox.inject(Fault::new(fault));
            let request = request(operation, &format!("{operation}-{fault:?}"), input);
            let connector: &dyn Connector = if operation.starts_with("agent") { &agent } else { &atlas };
            let outcome = connector.call(request).await;
            let (name, problem) = trouble(&outcome);
            let refused = matches!(fault, Kind::Unauthorized | Kind::RedirectLoop | Kind::Huge | Kind::HugeChunked);
            let expected = if refused { "refused" } else { "failed" };
            assert_eq!(name, expected, "{operation} {fault:?}: {problem}");
            assert!(detail(problem).len() < 1_000 && !format!("{outcome:?}").contains(TOKEN), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn limits_are_settings() {
    let sandbox = sandbox().await;
    let http =
        Http::new(client(HttpConfig { answer_bytes_max: 100, body_bytes_max: 10, ..HttpConfig::default() }), secrets());
    let url = format!("{}/sandbox/echo", sandbox.url());
    let outcome = http.call(request("http.request", "k", json!({"method": "GET", "endpoint": url}))).await;
    assert!(detail(trouble(&outcome).1).contains("expected at most 100"), "{outcome:?}");
    let input = json!({"method": "PUT", "endpoint": url, "body": "eleven byte"});
    let outcome = http.call(request("http.request", "k", input)).await;
    assert_eq!(trouble(&outcome).0, "refused");
    assert!(detail(trouble(&outcome).1).contains("body of 11 bytes, expected at most 10"), "{outcome:?}");
}
