//! `call: grpc` against Google's own implementation of gRPC and of protobuf's JSON, which says what it understood. See
//! `support/real_parts.rs` for when this is skipped.

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::attachment::{Resource, Resources};
use cpd_connector_api::clock::{Clock, SystemClock};
use cpd_connector_api::secret::NoSecrets;
use cpd_connector_api::{CancellationToken, Connector, Outcome, Request, Value, json};
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::grpc::Grpc;
use cpd_connectors::http::{HttpClient, HttpConfig};

use crate::support::real_parts::RealParts;

struct Service {
    connector: Grpc,
    host: String,
    resources: Resources,
}

impl Service {
    fn at(url: &str) -> Self {
        let client = HttpClient::new(HttpConfig::default(), Arc::new(SystemClock)).expect("a client can be built");
        let content = include_bytes!("../real/grpc_service.proto");
        let proto = Resource { uri: "service.proto".into(), media_type: None, content: content.as_slice().into() };
        Self {
            connector: Grpc::new(Authenticator::new(client, Arc::new(NoSecrets))),
            host: url.to_owned(),
            resources: [Arc::new(proto)].into_iter().collect(),
        }
    }

    fn asking(&self, method: &str, arguments: Value) -> Request {
        Request {
            operation: "grpc.call".into(),
            version: "1.0.0".into(),
            run: "r-real".into(),
            workflow: "grpc".into(),
            task: "/do/0/call".into(),
            attempt: 1,
            key: "r-real/call".into(),
            deadline: None,
            input: json!({
                "proto": {"endpoint": "service.proto"}, "method": method, "arguments": arguments,
                "service": {
                    "name": "Service", "host": self.host.as_str(), "authentication": {"bearer": {"token": "t0ken-of-mine"}},
                },
            }),
            resources: self.resources.clone(),
            conditions: Default::default(),
            cancel: CancellationToken::new(),
        }
    }

    async fn ask(&self, method: &str, arguments: Value) -> Outcome {
        self.connector.call(self.asking(method, arguments)).await
    }

    /// The output of a call that has to succeed.
    async fn output(&self, method: &str, arguments: Value) -> Value {
        match self.ask(method, arguments).await {
            Outcome::Succeeded(success) => success.output,
            other => panic!("{method}: {other:?}"),
        }
    }
}

/// A value of every kind, as both sides write it.
fn everything() -> Value {
    json!({
        "aDouble": -1.5e-7, "aFloat": 0.25, "aInt32": -2147483648_i64, "aInt64": "-9223372036854775808",
        "aUint32": 4294967295_u32, "aUint64": "18446744073709551615", "aSint32": -7, "aSint64": "-8", "aFixed32": 9,
        "aFixed64": "10", "aSfixed32": -11, "aSfixed64": "-12", "aBool": true, "aString": "caf\u{e9} \u{1f600}",
        "aBytes": "AP/+", "kind": "DOG", "numbers": ["1", "-1", "0"], "counts": {"a": 1, "b": 0},
        "at": "2026-11-23T16:00:00.250Z", "lasting": "-1.500s", "loose": {"a": [1, null, {"b": "c"}], "d": true},
        "boxed": "0", "any": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"},
    })
}

/// The value with all that has no presence beside it, as an empty message has it.
fn filled(value: Value) -> Value {
    let mut members = json!({
        "aDouble": 0, "aFloat": 0, "aInt32": 0, "aInt64": "0", "aUint32": 0, "aUint64": "0", "aSint32": 0, "aSint64": "0",
        "aFixed32": 0, "aFixed64": "0", "aSfixed32": 0, "aSfixed64": "0", "aBool": false, "aString": "", "aBytes": "",
        "kind": "KIND_UNKNOWN", "numbers": [], "counts": {},
    })
    .as_object()
    .cloned()
    .expect("an object");
    members.extend(value.as_object().cloned().expect("an object"));
    Value::from(members)
}

/// Whether two values are the same but for the order of members and the spelling of numbers.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Obj(a), Value::Obj(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| same(v, other)))
        }
        (Value::Arr(a), Value::Arr(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)),
        (Value::Num(_), Value::Num(_)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

#[tokio::test]
async fn googles_implementation_understands_our_messages_and_we_understand_its() {
    let Some(parts) = RealParts::find("googles_implementation_understands_our_messages_and_we_understand_its") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let part = parts.grpc_service(dir.path());
    let service = Service::at(&part.url);

    for given in [everything(), json!({}), json!({"inner": {"inner": everything()}})] {
        let told = service.output("Tell", given.clone()).await;
        let text = told.get("text").and_then(Value::as_str).unwrap();
        let understood = Value::from_json(text.as_bytes()).unwrap();
        let back = service.output("Make", json!({"text": text})).await;
        assert!(same(&back, &understood), "we read as it does:\n{back}\n{understood}");
        if given.get("inner").is_none() {
            let expected = filled(given);
            assert!(same(&understood, &expected), "it read what we meant:\n{understood}\n{expected}");
        }
    }

    let texts = |items: &[&str]| Value::from(items.iter().map(|t| json!({"text": *t})).collect::<Vec<_>>());
    assert_eq!(service.output("Count", json!({"text": "3"})).await, texts(&["0", "1", "2"]));
    assert_eq!(service.output("Count", json!({"text": "0"})).await, texts(&[]));
    assert_eq!(service.output("Join", texts(&["a", "b", "c"])).await, json!({"text": "a+b+c"}));
    assert_eq!(service.output("Join", texts(&[])).await, json!({"text": ""}));
    assert_eq!(service.output("Swap", texts(&["ab", "cd"])).await, texts(&["ba", "dc"]));
    assert_eq!(service.output("Metadata", json!({"text": "idempotency-key"})).await, json!({"text": "r-real/call"}));
    let authorization = service.output("Metadata", json!({"text": "authorization"})).await;
    assert_eq!(authorization, json!({"text": "Bearer [redacted]"}), "it came, and it does not come back");
}

#[tokio::test]
async fn googles_statuses_deadlines_and_cancellations_mean_what_the_table_says() {
    let Some(parts) = RealParts::find("googles_statuses_deadlines_and_cancellations_mean_what_the_table_says") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let part = parts.grpc_service(dir.path());
    let service = Service::at(&part.url);

    for (status, name, http) in [
        ("INVALID_ARGUMENT", "refused", 400),
        ("NOT_FOUND", "refused", 404),
        ("UNAUTHENTICATED", "refused", 401),
        ("ABORTED", "failed", 409),
        ("RESOURCE_EXHAUSTED", "failed", 429),
        ("UNAVAILABLE", "failed", 503),
        ("INTERNAL", "failed", 500),
        ("DATA_LOSS", "unknown", 500),
        ("raise", "failed", 500),
    ] {
        let outcome = service.ask("Fail", json!({"text": status})).await;
        let problem = outcome.problem().unwrap_or_else(|| panic!("{status}: {outcome:?}"));
        assert_eq!((outcome.name(), problem.status), (name, http), "{problem}");
        let said = if status == "raise" {
            "UNKNOWN: Exception calling application: caf\u{e9}"
        } else {
            "because of 100% caf\u{e9} and more"
        };
        assert!(problem.detail.as_deref().unwrap_or("").contains(said), "{problem}");
    }

    let mut late = service.asking("Hang", json!({}));
    late.deadline = Some(SystemClock.now().plus(Duration::from_millis(500)));
    let outcome = service.connector.call(late).await;
    assert_eq!(outcome.name(), "unknown", "it was sent: {outcome:?}");

    let nothing = json!({"text": "x".repeat(5_000_000)});
    let outcome = service.ask("Metadata", nothing).await;
    let problem = outcome.problem().unwrap_or_else(|| panic!("{outcome:?}"));
    assert!(problem.to_string().contains("RESOURCE_EXHAUSTED"), "it takes 4 MB: {problem}");
}
