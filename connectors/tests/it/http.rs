//! `http.request` against a server that is well, or refuses in the usual ways.

use std::time::Duration;

use cpd_connector_api::{Connector, Outcome, json};
use cpd_connectors::sandbox::faults::{Fault, Kind};
use tokio::net::TcpListener;

use crate::support::*;

#[tokio::test]
async fn a_request_arrives_as_it_was_asked_for() {
    let sandbox = sandbox().await;
    let input = json!({
        "method": "post",
        "endpoint": {"uri": format!("{}/sandbox/echo?a=1", sandbox.url()), "authentication": {"basic": {"username": "bob", "password": "hunter2x"}}},
        "headers": {"X-Custom": "yes", "x-number": 3},
        "query": {"q": "a b&c", "list": [1, 2], "none": null},
        "body": {"model": "card-fraud"},
    });
    let output = output(http().call(request("http.request", "k-1", input)).await);
    assert_eq!(text(&output, &["method"]), "POST");
    assert_eq!(text(&output, &["query", "q"]), "a b&c");
    assert_eq!(text(&output, &["query", "a"]), "1");
    assert_eq!(text(&output, &["headers", "x-custom"]), "yes");
    assert_eq!(text(&output, &["headers", "x-number"]), "3");
    assert_eq!(text(&output, &["headers", "content-type"]), "application/json");
    assert_eq!(text(&output, &["headers", "idempotency-key"]), "k-1");
    assert_eq!(text(&output, &["body"]), r#"{"model":"card-fraud"}"#);
    // The service echoes its request's headers; the credentials do not come through.
    assert_eq!(text(&output, &["headers", "authorization"]), "Basic [redacted]");
    assert_eq!(sandbox.effects_of("k-1"), 1);
}

#[tokio::test]
async fn reads_carry_no_idempotency_key_and_a_given_one_is_kept() {
    let sandbox = sandbox().await;
    let url = format!("{}/sandbox/echo", sandbox.url());
    let read = output(http().call(request("http.request", "k", json!({"method": "GET", "endpoint": url}))).await);
    assert_eq!(read.get("headers").and_then(|h| h.get("idempotency-key")), None);
    let input = json!({"method": "PUT", "endpoint": url, "headers": {"Idempotency-Key": "own"}, "body": "text"});
    let written = output(http().call(request("http.request", "k", input)).await);
    assert_eq!(text(&written, &["headers", "idempotency-key"]), "own");
    assert_eq!(text(&written, &["headers", "content-type"]), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn the_whole_response_can_be_had_without_its_secrets() {
    let sandbox = sandbox().await;
    let url = format!("{}/sandbox/echo", sandbox.url());
    let input = json!({
        "method": "GET", "endpoint": {"uri": url, "authentication": {"bearer": {"token": TOKEN}}},
        "headers": {"X-Api-Key": "another-secret"}, "output": "response",
    });
    let outcome = http().call(request("http.request", "k", input)).await;
    let shown = format!("{outcome:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains("another-secret"), "{shown}");
    let output = output(outcome);
    assert_eq!(output.get("statusCode"), Some(&json!(200)));
    assert_eq!(text(&output, &["headers", "x-cpd-sandbox"]), "1");
    assert_eq!(text(&output, &["request", "headers", "authorization"]), "[redacted]");
    assert_eq!(text(&output, &["request", "method"]), "GET");
    assert_eq!(text(&output, &["content", "method"]), "GET");
    let input = json!({"method": "GET", "endpoint": format!("{}/health", sandbox.url()), "output": "raw"});
    assert_eq!(crate::support::output(http().call(request("http.request", "k", input)).await), json!("T0s="));
}

#[tokio::test]
async fn statuses_become_communication_problems_with_an_excerpt_and_a_wait() {
    let sandbox = sandbox().await;
    let url = format!("{}/sandbox/echo?token=hidden", sandbox.url());
    for (status, method, name) in [
        (500, "GET", "failed"),
        (500, "POST", "failed"),
        (503, "POST", "failed"),
        (504, "POST", "unknown"),
        (502, "PUT", "failed"),
        (404, "GET", "refused"),
        (409, "POST", "refused"),
        (429, "POST", "failed"),
        (408, "PATCH", "failed"),
    ] {
        sandbox.inject(Fault { retry_after: Some("7".into()), ..Fault::status(status) }.times(1));
        let outcome = http().call(request("http.request", "k", json!({"method": method, "endpoint": url}))).await;
        let (found, problem) = trouble(&outcome);
        assert_eq!((found, problem.status), (name, status), "{method} {outcome:?}");
        assert!(problem.kind.ends_with("/communication"));
        assert!(detail(problem).contains("the sandbox was told to fail"), "{problem}");
        assert!(!detail(problem).contains("hidden"), "{problem}");
        if let Outcome::Failed { not_before, .. } = outcome {
            assert_eq!(not_before, Some(Duration::from_secs(7)), "{status}");
        }
    }
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_host_did_not_happen() {
    // A port that was free a moment ago and that nobody listens on.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    for uri in [refused.as_str(), "http://no-such-host.invalid/"] {
        let outcome = http().call(request("http.request", "k", json!({"method": "POST", "endpoint": uri}))).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!((name, problem.status), ("failed", 503), "{outcome:?}");
        assert!(detail(problem).contains("could not connect"), "{problem}");
    }
}

#[tokio::test]
async fn redirects_are_followed_only_when_asked_and_not_for_ever() {
    let sandbox = sandbox().await;
    let url = format!("{}/sandbox/echo", sandbox.url());
    let ask = |method: &str, redirect: bool| json!({"method": method, "endpoint": url, "redirect": redirect});
    sandbox.inject(Fault::new(Kind::RedirectLoop).times(1));
    let outcome = http().call(request("http.request", "k", ask("GET", false))).await;
    assert_eq!((trouble(&outcome).0, trouble(&outcome).1.status), ("refused", 302));
    let outcome = http()
        .call(request(
            "http.request",
            "k",
            json!({"method": "GET", "endpoint": format!("{url}?fault=redirect-loop"), "redirect": true}),
        ))
        .await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(detail(problem).contains("more than 10 redirects"), "{problem}");
    // A POST that was answered with a redirect took effect: what follows cannot undo that.
    let outcome = http()
        .call(request(
            "http.request",
            "k",
            json!({"method": "POST", "endpoint": format!("{url}?fault=redirect-loop"), "redirect": true}),
        ))
        .await;
    assert_eq!(trouble(&outcome).0, "unknown");
    // A single redirect, followed.
    sandbox.inject(Fault::new(Kind::RedirectLoop).times(1).on("POST"));
    let location = output(
        http().call(request("http.request", "k", json!({"method": "GET", "endpoint": url, "redirect": true}))).await,
    );
    assert_eq!(text(&location, &["method"]), "GET");
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_is_sent_and_echoes_no_secret() {
    let sandbox = sandbox().await;
    let url = format!("{}/sandbox/echo", sandbox.url());
    for (input, said) in [
        (json!({"method": "GET"}), "\"endpoint\" is missing"),
        (json!({"method": "TRACE", "endpoint": url}), "expected GET"),
        (json!({"method": "GET", "endpoint": "/relative"}), "expected https://host/path"),
        (json!({"method": "GET", "endpoint": "ftp://host/x"}), "expected http or https"),
        (json!({"method": "GET", "endpoint": "http://u:hunter2x@host/"}), "authentication"),
        (json!({"method": "GET", "endpoint": url, "headers": {"a b": "hunter2x"}}), "is no header name"),
        (json!({"method": "GET", "endpoint": url, "headers": {"x": "hunter2x\n"}}), "cannot stand in a header"),
        (json!({"method": "GET", "endpoint": url, "headers": {"Host": "hunter2x"}}), "set by the client"),
        (json!({"method": "GET", "endpoint": url, "query": {"a": [{"b": 1}]}}), "expected a scalar"),
        (json!({"method": "GET", "endpoint": {"uri": url, "authentication": {"bearer": "hunter2x"}}}), "(not shown)"),
        (
            json!({"method": "GET", "endpoint": {"uri": url, "authentication": {"digest": {}}}}),
            "digest.username`: found nothing",
        ),
        (json!({"method": "GET", "endpoint": {"uri": url, "authentication": {"dijest": {}}}}), "not known"),
        (json!({"method": "GET", "endpoint": {"uri": url, "authentication": {"use": "corp"}}}), "not known"),
        (json!({"method": "GET", "endpoint": "file:///etc/passwd"}), "expected http or https"),
        (json!({"method": "GET", "endpoint": url, "outptu": "raw"}), "did you mean \"output\"?"),
    ] {
        let outcome = http().call(request("http.request", "k", input.clone())).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused", "{input}");
        assert!(detail(problem).contains(said), "{input}: {problem}");
        assert!(!format!("{problem:?}").contains("hunter2x"), "{problem:?}");
    }
    assert_eq!(sandbox.effects(), []);
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_not_called_even_by_a_redirect() {
    let sandbox = sandbox().await;
    let http = cpd_connectors::http::Http::over(guarded(only(&["api.example.com"])));
    let input = json!({"method": "POST", "endpoint": format!("{}/sandbox/echo", sandbox.url())});
    let outcome = http.call(request("http.request", "k", input)).await;
    assert_eq!((trouble(&outcome).0, trouble(&outcome).1.status), ("refused", 403));
    assert_eq!(sandbox.effects(), []);
}
