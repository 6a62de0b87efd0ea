//! The sandbox says what it is, counts effects, and is steered over HTTP.

use cpd_connector_api::{Connector, Value, json};
use cpd_connectors::sandbox::{Config, serve};

use crate::support::*;

async fn get(url: String) -> Value {
    output(
        http()
            .call(request("http.request", "k", json!({"method": "GET", "endpoint": url, "output": "response"})))
            .await,
    )
}

#[tokio::test]
async fn every_answer_says_that_it_comes_from_a_sandbox() {
    let sandbox = sandbox().await;
    for path in
        ["/health", "/sandbox/effects", "/sandbox/echo", "/api/2.0/mlflow/registered-models/get?name=card-fraud"]
    {
        let answer = get(format!("{}{path}", sandbox.url())).await;
        assert_eq!(text(&answer, &["headers", "x-cpd-sandbox"]), "1", "{path}");
    }
    let outcome = http()
        .call(request("http.request", "k", json!({"method": "GET", "endpoint": format!("{}/x", sandbox.url())})))
        .await;
    assert!(detail(trouble(&outcome).1).contains("the sandbox has nothing at /x"));
}

#[tokio::test]
async fn faults_are_steered_and_effects_counted_over_http() {
    let sandbox = sandbox().await;
    let faults = format!("{}/sandbox/faults", sandbox.url());
    let echo = json!({"method": "POST", "endpoint": format!("{}/sandbox/echo", sandbox.url())});
    let add = json!({"method": "POST", "endpoint": faults, "body": {"fault": "lose-reply", "path": "/sandbox/echo", "times": 1}});
    output(http().call(request("http.request", "a", add)).await);
    let listed = get(faults.clone()).await;
    assert_eq!(listed.get("content").and_then(Value::as_array).map(<[Value]>::len), Some(1));
    assert_eq!(trouble(&http().call(request("http.request", "work", echo.clone())).await).0, "unknown");
    output(http().call(request("http.request", "work", echo)).await);
    let effects = get(format!("{}/sandbox/effects", sandbox.url())).await;
    let counts = effects.get("content").and_then(|c| c.get("counts")).cloned().unwrap();
    assert_eq!(counts, json!({"work": {"echo": 1}}));
    let bad = json!({"method": "POST", "endpoint": faults, "body": {"fault": "explode"}});
    let outcome = http().call(request("http.request", "b", bad)).await;
    assert!(detail(trouble(&outcome).1).contains("unknown variant `explode`"), "{outcome:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let first = sandbox().await;
    let second = serve(Config { port: first.addr.port(), ..quick() }).await;
    let text = second.err().expect("the port is taken").to_string();
    assert!(text.contains(&first.addr.to_string()), "{text}");
}

#[tokio::test]
async fn shutdown_ends_calls_that_wait() {
    let sandbox = sandbox().await;
    let input = json!({"method": "GET", "endpoint": format!("{}/sandbox/echo?fault=never", sandbox.url())});
    let waiting = tokio::spawn(async move { http().call(request("http.request", "k", input)).await });
    let probe = sandbox.handle();
    // The call is under way or not yet; either way it ends with the sandbox.
    drop(probe);
    sandbox.shutdown().await;
    let outcome = tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.expect("it ends").unwrap();
    assert_eq!(trouble(&outcome).0, "failed");
}
