//! Good calls, who makes them, and what a definition is told before.

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::attachment::Planned;
use cpd_connector_api::conformance::{Kit, Sample, run};
use cpd_connector_api::{BoxFuture, Class, Connector, Value, json};
use cpd_connectors::grpc::{Grpc, class_of};
use cpd_connectors::http::HttpConfig;
use rustls::ServerConfig;

use super::service::{Asked, PETS, Reply, Service, pet};
use super::{asking, call, grpc};
use crate::authority::{Authority, Rules};
use crate::support::*;
use crate::tls::{authority, authority_config};

/// Answers each message with itself.
fn echo(asked: &Asked) -> Reply {
    match asked.method() {
        "Herd" => Reply::Messages(vec![pet("herd", u8::try_from(asked.messages.len()).unwrap())]),
        "Walk" | "List" => Reply::Messages(vec![asked.messages[0].clone(), pet("and", 0), pet("back", 0)]),
        _ => Reply::Messages(asked.messages.clone()),
    }
}

#[tokio::test]
async fn one_message_goes_and_one_comes_with_what_grpc_wants_around_it() {
    let service = Service::start(echo).await;
    let outcome = call(&service, "Add", json!({"name": "rex", "legs": 4})).await;
    assert_eq!(output(outcome.clone()), json!({"name": "rex", "legs": "4", "photo": ""}));
    let asked = service.asked().pop().unwrap();
    assert_eq!((asked.path.as_str(), &asked.messages), ("/pets.v1.Store/Add", &vec![pet("rex", 4)]));
    for (name, value) in [
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-accept-encoding", "identity"),
        ("idempotency-key", "r-1/add"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    let timeout = asked.header("grpc-timeout").and_then(|t| t.strip_suffix('m')?.parse::<u64>().ok()).unwrap();
    assert!((1_000..=60_000).contains(&timeout), "a little less than the deadline of a minute: {timeout}");
    let cpd_connector_api::Outcome::Succeeded(success) = outcome else { panic!("{outcome:?}") };
    let address = format!("http://127.0.0.1:{}", service.port);
    let evidence = json!({"method": "/pets.v1.Store/Add", "address": address, "messages": 1});
    assert_eq!(success.evidence, Some(evidence));
}

#[tokio::test]
async fn a_method_without_side_effects_carries_no_key_and_arguments_may_be_left_out() {
    let service = Service::start(echo).await;
    let found = output(grpc().call(asking(service.port, "Get", None, &[])).await);
    assert_eq!(found, json!({"name": "", "legs": "0", "photo": ""}));
    assert_eq!(service.asked()[0].header("idempotency-key"), None);
}

#[tokio::test]
async fn streams_are_arrays_on_both_sides() {
    let service = Service::start(echo).await;
    let named = |name: &str, legs: &str| json!({"name": name, "legs": legs, "photo": ""});
    let found = output(call(&service, "List", json!({"name": "out"})).await);
    assert_eq!(found, json!([named("out", "0"), named("and", "0"), named("back", "0")]));
    let three = json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]);
    assert_eq!(output(call(&service, "Herd", three.clone()).await), named("herd", "3"));
    assert_eq!(output(call(&service, "Herd", json!([])).await), named("herd", "0"));
    assert_eq!(output(call(&service, "Herd", json!({"name": "alone"})).await), named("herd", "1"));
    assert_eq!(output(call(&service, "Swap", three).await), json!([named("a", "0"), named("b", "0"), named("c", "0")]));
    assert_eq!(output(call(&service, "Swap", json!([])).await), json!([]));
}

#[tokio::test]
async fn many_calls_at_once_do_not_disturb_each_other() {
    let service = Service::start(echo).await;
    let grpc = grpc();
    let calls = (1..=30_i64).map(|n| grpc.call(asking(service.port, "Add", Some(json!({"legs": n})), &[])));
    for (n, outcome) in (1..=30).zip(futures_util::future::join_all(calls).await) {
        assert_eq!(output(outcome).get("legs"), Some(&Value::from(n.to_string())));
    }
}

#[tokio::test]
async fn large_messages_go_both_ways_up_to_the_limits() {
    let service = Service::start(echo).await;
    let photo = "A".repeat(4 * 1024 * 1024);
    let found = output(call(&service, "Add", json!({"photo": photo})).await);
    assert_eq!(found.get("photo").and_then(Value::as_str).map(str::len), Some(photo.len()));
    let outcome = call(&service, "Add", json!({"photo": photo.repeat(3)})).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "refused" && detail(problem).contains("expected at most 8388608"), "{problem}");
    assert_eq!(service.asked().len(), 1, "nothing was sent of what is too large");
}

#[tokio::test]
async fn credentials_go_along_and_do_not_come_back() {
    let service = Service::start(|asked| {
        let shown = asked.header("authorization").unwrap_or("none").to_owned();
        let photo = [&[0x1a, u8::try_from(shown.len()).unwrap()], shown.as_bytes()].concat();
        Reply::Messages(vec![[pet(&shown, 0), photo].concat()])
    })
    .await;
    let policy = [("authentication", json!({"bearer": {"use": "token"}}))];
    let found = output(grpc().call(asking(service.port, "Add", None, &policy)).await);
    assert_eq!(service.asked()[0].header("authorization"), Some(&*format!("Bearer {TOKEN}")));
    assert_eq!(found.get("name"), Some(&json!("Bearer [redacted]")));
    assert_eq!(found.get("photo"), Some(&json!("QmVhcmVyIFtyZWRhY3RlZF0=")), "nor in base64");

    let digest = [("authentication", json!({"digest": {"username": "u", "password": "p"}}))];
    let outcome = grpc().call(asking(service.port, "Add", None, &digest)).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "refused" && detail(problem).contains("expected another scheme"), "{problem}");
    assert_eq!(service.asked().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_fetched_anew_once_and_a_standing_one_is_not() {
    let authority = Authority::start(Rules::default()).await;
    let service = Service::start(|_| Reply::Only(16, "who%20are%20you", vec![])).await;
    let oauth = [("authentication", json!({"oauth2": authority.policy(&json!({}))}))];
    let outcome = grpc().call(asking(service.port, "Add", None, &oauth)).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "refused" && detail(problem).ends_with("UNAUTHENTICATED: who are you"), "{problem}");
    let shown: Vec<_> = service.asked().iter().map(|a| a.header("authorization").unwrap().to_owned()).collect();
    assert!(shown.len() == 2 && shown[0] != shown[1], "once more, with another token: {shown:?}");

    let bearer = [("authentication", json!({"bearer": {"token": TOKEN}}))];
    let outcome = grpc().call(asking(service.port, "Add", None, &bearer)).await;
    assert_eq!((outcome.name(), service.asked().len()), ("refused", 3));
}

#[tokio::test]
async fn tls_is_spoken_where_the_host_says_so_and_with_the_configured_authority_only() {
    let (pem, mut config): (String, ServerConfig) = authority_config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let service = Service::start_tls(config, echo).await;
    let dir = tempfile::tempdir().unwrap();
    let trusting = |pem: &str, name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        Grpc::new(authenticator(HttpConfig { ca_file: Some(path), ..HttpConfig::default() }))
    };
    let secure = [("host", json!("https://localhost"))];
    let (good, suspicious) = (trusting(&pem, "good.pem"), trusting(&authority().0, "other.pem"));
    let found = output(good.call(asking(service.port, "Add", Some(json!({"name": "rex"})), &secure)).await);
    assert_eq!(found.get("name"), Some(&json!("rex")));

    let outcome = suspicious.call(asking(service.port, "Add", None, &secure)).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "failed" && detail(problem).contains("TLS failed: invalid peer certificate"), "{problem}");
    let outcome = good.call(asking(service.port, "Add", None, &[])).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "failed" && detail(problem).contains("write https:// in front of the host"), "{problem}");

    let plain = Service::start(echo).await;
    let outcome = good.call(asking(plain.port, "Add", None, &secure)).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "failed" && detail(problem).contains("write http:// in front of the host"), "{problem}");
    assert_eq!((service.asked().len(), plain.asked().len()), (1, 0), "nothing was sent without a good connection");
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_not_called() {
    let service = Service::start(echo).await;
    let grpc = Grpc::new(guarded(only(&["pets.example.com"])));
    let outcome = grpc.call(asking(service.port, "Add", None, &[])).await;
    let (name, problem) = trouble(&outcome);
    assert!(name == "refused" && problem.status == 403, "{problem}");
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn a_definition_is_told_the_class_of_its_call_and_what_can_never_work() {
    let grpc = grpc();
    let examine = |service: Value, method: &str, arguments: Value, document: &str| {
        let with = json!({
            "proto": {"endpoint": "pets.proto"}, "service": service, "method": method, "arguments": arguments,
        });
        let resources = pinned("pets.proto", document);
        grpc.examine(&Planned { operation: "grpc.call", with: &with, resources: &resources })
    };
    let store = || json!({"name": "Store", "host": "pets", "port": 1});
    for (method, class) in [("Get", Class::Safe), ("Put", Class::Idempotent), ("Add", Class::AtMostOnce)] {
        assert_eq!(examine(store(), method, json!({"name": "rex"}), PETS), Ok(Some(class)), "{method}");
        assert_eq!(class_of(PETS, "pets.v1.Store", method), Some(class));
    }
    assert_eq!(class_of(PETS, "Store", "Buy"), None);
    assert_eq!(class_of("no proto", "Store", "Add"), None);
    // What is only known at the call is left to the call.
    assert_eq!(examine(store(), "Add", json!({"name": "${ .name }", "nope": 1}), PETS), Ok(Some(Class::AtMostOnce)));
    let host = json!({"name": "Store", "host": "${ .host }", "port": "${ .port }"});
    assert_eq!(examine(host, "Put", json!({}), PETS), Ok(Some(Class::Idempotent)));
    assert_eq!(examine(store(), "${ .method }", json!({}), PETS), Ok(None));
    for (service, method, arguments, document, said) in [
        (store(), "Buy", json!({}), PETS, "expected Add, Get, Herd, List, Put, Swap, Walk"),
        (json!({"name": "Shop", "host": "pets"}), "Add", json!({}), PETS, "expected pets.v1.Store"),
        (json!({"name": "Store", "host": "unix:///x"}), "Add", json!({}), PETS, "`service.host`: found another scheme"),
        (store(), "Add", json!({"nope": 1}), PETS, "unrecognized field name 'nope'"),
        (store(), "Herd", json!([{}, {"legs": "four"}]), PETS, "`arguments[1]`"),
        (store(), "Add", json!({}), "<html>", "read the proto file pets.proto: line 1:1"),
    ] {
        let problem = examine(service, method, arguments, document).unwrap_err();
        assert!(detail(&problem).contains(said), "{problem}");
    }
}

#[tokio::test]
async fn grpc_conforms() {
    let service = Service::start(echo).await;
    let silencer = service.silencer();
    let silence = move |on: bool| -> BoxFuture<'static, ()> {
        silencer(on);
        Box::pin(std::future::ready(()))
    };
    let with = json!({
        "proto": {"endpoint": "pets.proto"}, "method": "Add", "arguments": {"name": "rex"},
        "service": {
            "name": "pets.v1.Store", "host": "127.0.0.1", "port": i64::from(service.port),
            "authentication": {"bearer": {"token": TOKEN}},
        },
    });
    let sample = Sample::new("grpc.call", with).with_effects(1).with_resources(pinned("pets.proto", PETS));
    let service = Arc::new(service);
    let probed = service.clone();
    let report = run(Kit {
        connector: &grpc(),
        samples: vec![sample],
        probe: &|key| probed.effects_of(key),
        silence: &silence,
        secrets: vec![TOKEN.into()],
        patience: Duration::from_secs(10),
    })
    .await;
    assert!(report.breaches.is_empty(), "{report}");
    assert!(report.checks > 30, "{report}");
}
