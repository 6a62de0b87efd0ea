//! `call: openapi` against a real service, which wrote its document itself and says what it understood. See
//! `support/real_parts.rs` for when this is skipped.

use std::sync::Arc;

use cpd_connector_api::attachment::{Resource, Resources};
use cpd_connector_api::clock::SystemClock;
use cpd_connector_api::secret::NoSecrets;
use cpd_connector_api::{CancellationToken, Connector, Outcome, Request, Value, json};
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::http::{HttpClient, HttpConfig, resource};
use cpd_connectors::openapi::OpenApi;

use crate::support::real_parts::RealParts;

struct Service {
    connector: OpenApi,
    document: Arc<Resource>,
}

impl Service {
    /// The service as its document says, which is loaded as it is for a definition.
    async fn described_at(uri: String) -> Self {
        let client = HttpClient::new(HttpConfig::default(), Arc::new(SystemClock)).expect("a client can be built");
        let authenticator = Authenticator::new(client.clone(), Arc::new(NoSecrets));
        let document = resource::load(&client, &authenticator, None, &Value::from(uri)).await.expect("a document");
        Self { connector: OpenApi::new(authenticator), document: Arc::new(document) }
    }

    async fn ask(&self, id: &str, parameters: Value, authentication: Option<Value>) -> Outcome {
        let resources: Resources = [self.document.clone()].into_iter().collect();
        let input = json!({
            "document": {"endpoint": self.document.uri.to_string()}, "operationId": id, "parameters": parameters,
            "authentication": authentication,
        });
        // What is null is as if it were not there in a definition.
        let given = input.as_object().unwrap().iter().filter(|(_, v)| !v.is_null());
        let input: cpd_connector_api::Map = given.map(|(k, v)| (k.clone(), v.clone())).collect();
        let request = Request {
            operation: "openapi.call".into(),
            version: "1.0.0".into(),
            run: "r-real".into(),
            workflow: "openapi".into(),
            task: "/do/0/call".into(),
            attempt: 1,
            key: "r-real/call".into(),
            deadline: None,
            input: Value::from(input),
            resources,
            conditions: Default::default(),
            cancel: CancellationToken::new(),
        };
        self.connector.call(request).await
    }

    #[track_caller]
    fn understood(outcome: Outcome) -> Value {
        match outcome {
            Outcome::Succeeded(success) => success.output,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_real_service_understands_what_its_document_says_to_send() {
    let Some(parts) = RealParts::find("a_real_service_understands_what_its_document_says_to_send") else { return };
    let dir = tempfile::tempdir().unwrap();
    let part = parts.openapi_service(dir.path());
    let service = Service::described_at(format!("{}/api/openapi.json", part.url)).await;

    let given = json!({
        "kind": "caf\u{e9} & co", "number": 7, "tags": ["a,b", "c d", "e&f=g"], "deep": true, "X-Trace": "t 1", "theme": "dark",
    });
    let seen = Service::understood(service.ask("look", given, None).await);
    let expected = json!({
        "kind": "caf\u{e9} & co", "number": 7, "tags": ["a,b", "c d", "e&f=g"], "deep": true, "trace": "t 1", "theme": "dark",
    });
    assert_eq!(seen, expected);

    let item = json!({"name": "rex", "price": 1.5, "parent": {"name": "tom", "price": 0, "parent": null}});
    for parameters in [item.clone(), json!({"body": item})] {
        let seen = Service::understood(service.ask("add", parameters, None).await);
        assert_eq!(
            seen,
            json!({"item": item, "key": "r-real/call"}),
            "the key of the call is the header that it requires"
        );
    }
    let parameters = json!({"number": 3, "item": {"name": "tim"}, "note": "later"});
    let seen = Service::understood(service.ask("replace", parameters, None).await);
    assert_eq!(seen.get("note"), Some(&json!("later")));
    assert_eq!(Service::understood(service.ask("remove", json!({"number": 3}), None).await), Value::Null);
    let missing = service.ask("remove", json!({"number": 300}), None).await;
    assert!(matches!(&missing, Outcome::Refused(p) if p.status == 404), "{missing:?}");
    let wrong = service.ask("replace", json!({"number": 3, "item": {"name": 5}, "note": "x"}), None).await;
    assert!(matches!(&wrong, Outcome::Refused(p) if p.status == 422), "the service checks values: {wrong:?}");

    let login = json!({"name": "\u{fc}ser & co", "scopes": ["read", "write+"]});
    assert_eq!(Service::understood(service.ask("login", login.clone(), None).await), login);

    let photo = json!({"base64": "iVBORw==", "filename": "r\u{e9}x \"1\".png", "contentType": "image/png"});
    let given = json!({"photo": photo, "more": ["one", {"text": "two", "filename": "2.txt"}], "note": "asleep"});
    let seen = Service::understood(service.ask("send", given, None).await);
    let file = |name: &str, kind: &str, content: &str| json!({"name": name, "type": kind, "content": content});
    let bytes = "application/octet-stream";
    let expected = json!({
        "photo": file("r\u{e9}x %221%22.png", "image/png", "iVBORw=="),
        "more": [file("more", bytes, "b25l"), file("2.txt", bytes, "dHdv")], "note": "asleep",
    });
    assert_eq!(seen, expected);

    let seen = Service::understood(service.ask("keyed", json!({"X-Key": "k3y-of-mine"}), None).await);
    assert_eq!(seen, json!({"key": "[redacted]"}), "it came, and it does not come back");
    let bearer = json!({"bearer": {"token": "t0ken-of-mine"}});
    let seen = Service::understood(service.ask("guarded", json!({}), Some(bearer)).await);
    assert_eq!(seen, json!({"scheme": "Bearer"}));
    let refused = service.ask("guarded", json!({}), None).await;
    assert!(matches!(&refused, Outcome::Refused(p) if matches!(p.status, 401 | 403)), "{refused:?}");
}

#[tokio::test]
async fn a_real_service_is_called_by_a_swagger_document_too() {
    let Some(parts) = RealParts::find("a_real_service_is_called_by_a_swagger_document_too") else { return };
    let dir = tempfile::tempdir().unwrap();
    let part = parts.openapi_service(dir.path());
    let service = Service::described_at(format!("{}/api/swagger.json", part.url)).await;
    let given = json!({"kind": "a/b", "number": 1, "tags": ["x", "y"]});
    // The slash is one of the value, which this framework cannot tell from one of the path: it finds no such path.
    let outcome = service.ask("look", given, None).await;
    assert!(matches!(&outcome, Outcome::Refused(p) if p.status == 404), "{outcome:?}");
    let given = json!({"kind": "a b", "number": 1, "tags": ["x", "y"]});
    let seen = Service::understood(service.ask("look", given, None).await);
    assert_eq!((seen.get("kind"), seen.get("tags")), (Some(&json!("a b")), Some(&json!(["x", "y"]))));
    let login = json!({"name": "me", "scopes": ["read", "write"]});
    assert_eq!(Service::understood(service.ask("login", login.clone(), None).await), login);
}
