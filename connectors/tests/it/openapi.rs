//! `call: openapi` against a real service on loopback that its document describes: what arrives there, what comes back,
//! and what becomes of bad documents and bad answers.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cpd_connector_api::attachment::{Planned, Resources};
use cpd_connector_api::{Class, Connector, Outcome, Request, Value, json};
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::http::{HttpClient, HttpConfig};
use cpd_connectors::openapi::OpenApi;
use parking_lot::Mutex;

use crate::authority::{Authority, Rules};
use crate::server::{Asked, Reply, Server};
use crate::support::*;

/// The service: pets that can be added, read, replaced, removed and listed, and documents of them.
const PETS: &str = r##"
openapi: 3.1.0
info: { title: Pets, version: 1.0.0 }
# Relative to where the document is, as many are.
servers: [ { url: /v1 } ]
security: [ { key: [] } ]
paths:
  /pets:
    get:
      operationId: listPets
      parameters:
        - { name: tags, in: query, style: pipeDelimited, explode: false, schema: { type: array } }
        - { name: owner, in: query, style: deepObject, explode: true, schema: { type: object } }
        - { name: X-Request-Id, in: header, schema: { type: string } }
        - { name: theme, in: cookie, schema: { type: string } }
      responses: { '200': { $ref: '#/components/responses/pets' } }
    post:
      operationId: addPet
      requestBody: { required: true, content: { application/json: { schema: { $ref: '#/components/schemas/Pet' } } } }
      responses: { '201': { content: { application/json: {} } } }
  /pets/{id}:
    parameters: [ { $ref: '#/components/parameters/id' } ]
    get: { operationId: getPet, responses: { '200': { content: { application/json: {} } } } }
    put: { operationId: replacePet, requestBody: { content: { application/json: {} } }, responses: { '200': { content: { application/json: {} } } } }
    delete: { operationId: removePet, responses: { '204': { description: gone } } }
  /pets/{id}/photo:
    get: { operationId: getPhoto, responses: { '200': { content: { image/png: {} } } } }
    post:
      operationId: addPhoto
      parameters: [ { $ref: '#/components/parameters/id' } ]
      requestBody:
        content:
          multipart/form-data:
            schema: { type: object, properties: { photo: { type: string, format: binary }, note: { type: string } } }
  /moved:
    get: { operationId: moved, responses: { '200': { content: { application/json: {} } } } }
  /secure:
    get: { operationId: secure, responses: { '200': { content: { application/json: {} } } } }
components:
  parameters: { id: { name: id, in: path, required: true, schema: { type: string } } }
  responses: { pets: { content: { application/json: { schema: { type: array, items: { $ref: '#/components/schemas/Pet' } } } } } }
  schemas: { Pet: { type: object, required: [ name ], properties: { name: { type: string }, parent: { $ref: '#/components/schemas/Pet' } } } }
  securitySchemes: { key: { type: apiKey, in: query, name: api_key } }
"##;

/// A store of pets behind the document.
async fn pets() -> Server {
    let store = Mutex::new(vec![json!({"name": "rex"})]);
    Server::start(move |asked: &Asked| {
        let mut pets = store.lock();
        let body = || Value::from_json(&asked.body).unwrap_or_default();
        let id = asked.path.strip_prefix("/v1/pets/").and_then(|id| id.parse::<usize>().ok());
        match (asked.method.as_str(), asked.path.as_str(), id) {
            ("GET", "/v1/pets", _) => Reply::json(200, &Value::from(pets.clone())),
            ("POST", "/v1/pets", _) => {
                pets.push(body());
                Reply::json(201, &json!({"id": pets.len() - 1}))
            }
            ("GET", "/v1/moved", _) => Reply::redirect(307, "/v1/pets/0"),
            ("GET", "/v1/secure", _) if asked.header("authorization").is_some() => Reply::json(200, &json!("in")),
            ("GET", "/v1/secure", _) => Reply::json(401, &json!({"error": "who are you?"})),
            ("GET", "/v1/pets/0/photo", _) => Reply::new(200, "image/png", &b"\x89PNG\r\n"[..]),
            ("POST", "/v1/pets/0/photo", _) => Reply::new(204, "", ""),
            (_, _, Some(id)) if id >= pets.len() => Reply::json(404, &json!({"error": "no such pet"})),
            ("GET", _, Some(id)) => Reply::json(200, &pets[id]),
            ("PUT", _, Some(id)) => {
                pets[id] = body();
                Reply::json(200, &pets[id])
            }
            ("DELETE", _, Some(_)) => Reply::new(204, "", ""),
            _ => Reply::new(404, "text/plain", "nothing here"),
        }
    })
    .await
}

fn openapi() -> OpenApi {
    OpenApi::new(authenticator(HttpConfig::default()))
}

/// A request whose document was loaded from the server's `/docs/openapi.yaml`.
fn asking(server: &Server, document: &str, with: &Value) -> Request {
    let uri = server.url("/docs/openapi.yaml");
    let mut members = with.as_object().expect("an object").clone();
    members.insert("document".into(), json!({"endpoint": {"uri": uri}}));
    let mut request = request("openapi.call", "r-1/pet", Value::from(members));
    request.resources = pinned(&uri, document);
    request
}

async fn call(server: &Server, with: Value) -> Outcome {
    openapi().call(asking(server, PETS, &with)).await
}

#[tokio::test]
async fn operations_are_called_as_the_document_says() {
    let server = pets().await;
    let all = json!({
        "tags": ["a b", "c"], "owner": {"name": "é", "age": 3}, "x-request-id": 7, "theme": "dark",
    });
    let with = json!({"operationId": "listPets", "parameters": all});
    assert_eq!(output(call(&server, with).await), json!([{"name": "rex"}]));
    let asked = server.asked().pop().unwrap();
    assert_eq!(asked.target(), "/v1/pets?tags=a%20b%7Cc&owner%5Bname%5D=%C3%A9&owner%5Bage%5D=3");
    assert_eq!((asked.header("x-request-id"), asked.header("cookie")), (Some("7"), Some("theme=dark")));
    assert_eq!((asked.header("accept"), asked.header("idempotency-key")), (Some("application/json"), None));

    let with = json!({"operationId": "addPet", "parameters": {"name": "tom", "age": 2}});
    assert_eq!(output(call(&server, with).await), json!({"id": 1}));
    let asked = server.asked().pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.text()), ("POST", r#"{"name":"tom","age":2}"#));
    assert_eq!(asked.header("idempotency-key"), Some("r-1/pet"));
    assert_eq!(asked.header("content-type"), Some("application/json"));

    let with = json!({"operationId": "replacePet", "parameters": {"id": 1, "body": {"name": "tim"}}});
    assert_eq!(output(call(&server, with).await), json!({"name": "tim"}));
    let with = json!({"operationId": "getPet", "parameters": {"id": "1"}});
    assert_eq!(output(call(&server, with).await), json!({"name": "tim"}));
    let with = json!({"operationId": "removePet", "parameters": {"id": 1}});
    assert_eq!(output(call(&server, with).await), Value::Null);
    assert_eq!(server.asked().pop().unwrap().header("idempotency-key"), Some("r-1/pet"));
}

#[tokio::test]
async fn files_are_sent_and_bytes_come_back() {
    let server = pets().await;
    let photo = json!({"base64": STANDARD.encode(b"\x89PNG"), "filename": "rex.png", "contentType": "image/png"});
    let with = json!({"operationId": "addPhoto", "parameters": {"id": 0, "photo": photo, "note": "asleep"}});
    assert_eq!(output(call(&server, with).await), Value::Null);
    let asked = server.asked().pop().unwrap();
    let kind = asked.header("content-type").unwrap().to_owned();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").expect("a boundary");
    let expected = [
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"rex.png\"\r\nContent-Type: image/png\r\n\r\n").into_bytes(),
        b"\x89PNG\r\n".to_vec(),
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nasleep\r\n--{boundary}--\r\n").into_bytes(),
    ];
    assert_eq!(asked.body, expected.concat());

    let with = |mode: &str| json!({"operationId": "getPhoto", "parameters": {"id": 0}, "output": mode});
    let bytes = json!(STANDARD.encode(b"\x89PNG\r\n"));
    for mode in ["content", "raw"] {
        assert_eq!(output(call(&server, with(mode)).await), bytes, "{mode}");
    }
    let whole = output(call(&server, with("response")).await);
    assert_eq!((whole.get("statusCode"), whole.get("content")), (Some(&json!(200)), Some(&bytes)));
    assert_eq!(text(&whole, &["request", "uri"]), server.url("/v1/pets/0/photo"));
    assert_eq!(text(&whole, &["request", "method"]), "GET");
}

#[tokio::test]
async fn redirects_are_errors_unless_they_are_welcome() {
    let server = pets().await;
    let outcome = call(&server, json!({"operationId": "moved"})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("refused", 307));
    let with = json!({"operationId": "moved", "redirect": true});
    assert_eq!(output(call(&server, with).await), json!({"name": "rex"}));
}

#[tokio::test]
async fn authentication_goes_along_and_keys_do_not_come_back() {
    let (server, authority) = (pets().await, Authority::start(Rules::default()).await);
    let outcome = call(&server, json!({"operationId": "secure"})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("refused", 401), "{problem}");
    for policy in [
        json!({"bearer": {"use": "token"}}),
        json!({"basic": {"use": "login"}}),
        json!({"oauth2": authority.policy(&json!({}))}),
    ] {
        let with = json!({"operationId": "secure", "authentication": policy});
        assert_eq!(output(call(&server, with).await), json!("in"));
    }
    let schemes = server
        .asked()
        .iter()
        .filter_map(|a| a.header("authorization")?.split(' ').next().map(str::to_owned))
        .collect::<Vec<_>>();
    assert_eq!(schemes, ["Bearer", "Basic", "Bearer"]);

    let parameters = json!({"id": 0, "api_key": "k3y/of mine"});
    let with = json!({"operationId": "getPet", "parameters": parameters, "output": "response"});
    let whole = output(call(&server, with).await);
    assert_eq!(server.asked().pop().unwrap().query, "api_key=k3y%2Fof%20mine");
    assert!(!whole.to_json().contains("k3y"), "{whole}");
    let wrong = json!({"operationId": "secure", "authentication": {"bearer": {"use": "nobody"}}});
    let outcome = call(&server, wrong).await;
    assert!(trouble(&outcome).1.kind.ends_with("/authorization"), "{outcome:?}");
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_refused_and_nothing_is_sent() {
    let server = pets().await;
    for (with, said) in [
        (json!({"operationId": "getPet"}), "found no id; it takes id (path, required), api_key (query)"),
        (
            json!({"operationId": "getPet", "parameters": {"id": 1, "api-key": 1}}),
            "found \"api-key\", did you mean \"api_key\"?",
        ),
        (json!({"operationId": "addPet"}), "found no body"),
        (json!({"operationId": "getPets"}), "found no operation \"getPets\", did you mean \"getPet\"?"),
        (json!({"operationId": "getPet", "parameters": [1]}), "`with` of openapi.call does not fit"),
        (json!({"operationId": "getPet", "paramters": {}}), "`with` of openapi.call does not fit"),
        (json!({"parameters": {}}), "`with` of openapi.call does not fit"),
    ] {
        let outcome = call(&server, with).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused");
        assert!(detail(problem).contains(said), "{problem}");
    }
    let mut stranger = asking(&server, PETS, &json!({"operationId": "getPet", "parameters": {"id": 0}}));
    stranger.resources = Resources::default();
    let outcome = openapi().call(stranger).await;
    assert!(detail(trouble(&outcome).1).contains("the definition was registered without it"), "{outcome:?}");
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn documents_that_are_no_documents_are_refused_and_nothing_is_sent() {
    let server = pets().await;
    let mut wide = String::from("openapi: 3.0.0\npaths: {}\nx-filler:\n");
    (0..400_000).for_each(|n| wide.push_str(&format!("  k{n}: v\n")));
    assert!(wide.len() > 5_000_000);
    let deep = format!("openapi: 3.0.0\npaths: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (document, said) in [
        ("<!doctype html><title>Sign in</title>", "expected `openapi: 3.x` or `swagger: \"2.0\"` at its top"),
        ("openapi: 3.0.0\npaths: [", "it is not YAML"),
        ("{\"openapi\": \"3.0.0\", \"paths\": ", "it is not JSON"),
        ("", "it is empty"),
        ("openapi: 3.0.0\npaths: { /x: { get: { summary: no id } } }", "none has an `operationId`"),
        ("openapi: 3.0.0\npaths: { /x: { $ref: '#/paths/~1x' } }", "none has an `operationId`"),
        (
            "openapi: 3.0.0\npaths: { /x: { get: { operationId: getPet, requestBody: { $ref: '#/a' } } } }\na: { $ref: '#/b' }\nb: { $ref: '#/a' }",
            "goes in circles",
        ),
        (
            "openapi: 3.0.0\npaths: { /x: { get: { operationId: getPet, parameters: [ { $ref: 'common.yaml#/id' } ] } } }",
            "points to another document",
        ),
        (wide.as_str(), "found no operation \"getPet\""),
        (deep.as_str(), "read the OpenAPI document: "),
    ] {
        let with = json!({"operationId": "getPet", "parameters": {"id": 1}});
        let outcome = openapi().call(asking(&server, document, &with)).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused");
        assert!(problem.kind.ends_with("/configuration") && detail(problem).contains(said), "{problem}");
        assert!(detail(problem).len() < 1_000, "{problem}");
    }
    let mut bytes = asking(&server, PETS, &json!({"operationId": "getPet"}));
    let mut resource = (**bytes.resources.iter().next().unwrap()).clone();
    resource.content = b"openapi: \xff".as_slice().into();
    bytes.resources = [Arc::new(resource)].into_iter().collect();
    let outcome = openapi().call(bytes).await;
    assert!(detail(trouble(&outcome).1).contains("it is not UTF-8 text (byte 9)"), "{outcome:?}");
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn a_document_that_changed_is_read_again_and_one_that_did_not_is_not() {
    let server = pets().await;
    let connector = openapi();
    let old = "swagger: '2.0'\nbasePath: /v1\npaths: { /pets/0: { get: { operationId: x } } }";
    let new = old.replace("/pets/0", "/pets");
    let ask =
        async |document: &str| output(connector.call(asking(&server, document, &json!({"operationId": "x"}))).await);
    for _ in 0..2 {
        assert_eq!(ask(old).await, json!({"name": "rex"}));
        assert_eq!(ask(&new).await, json!([{"name": "rex"}]));
    }
    // The same content from elsewhere means another server.
    let other = pets().await;
    let elsewhere = connector.call(asking(&other, old, &json!({"operationId": "x"}))).await;
    assert_eq!(output(elsewhere), json!({"name": "rex"}));
    assert_eq!((server.asked().len(), other.asked().len()), (4, 1));
}

/// A service that gives one answer to everything.
async fn answered(client: HttpClient, id: &str, reply: Reply) -> Outcome {
    let server = Server::start(move |_| reply.clone()).await;
    let connector = OpenApi::new(Authenticator::new(client, secrets()));
    let with = json!({"operationId": id, "parameters": {"id": 1, "body": {}}});
    let with = if id == "getPet" { json!({"operationId": id, "parameters": {"id": 1}}) } else { with };
    let with = if id == "addPet" { json!({"operationId": id, "parameters": {"name": "x"}}) } else { with };
    connector.call(asking(&server, PETS, &with)).await
}

#[tokio::test]
async fn bad_answers_mean_what_the_class_of_the_operation_says() {
    let html = || Reply::new(200, "text/html", "<!doctype html><p>Sign in");
    let huge = || Reply::new(200, "application/json", vec![b'1'; 1 << 20]).chunked(40);
    let error = |status| Reply::json(status, &json!({"error": "no"}));
    for (reply, get, put, post, said) in [
        (html(), "failed", "failed", "unknown", "found text/html, expected JSON: <!doctype html>"),
        (huge(), "refused", "refused", "unknown", "expected at most 8388608"),
        (error(500), "failed", "failed", "failed", "answered 500: {\"error\":\"no\"}"),
        (error(502), "failed", "failed", "unknown", "answered 502"),
        (error(429), "failed", "failed", "failed", "answered 429"),
        (error(422), "refused", "refused", "refused", "answered 422"),
        (Reply::never(), "failed", "failed", "unknown", "was sent and not answered in time"),
    ] {
        for (id, expected) in [("getPet", get), ("replacePet", put), ("addPet", post)] {
            let outcome = answered(impatient(), id, reply.clone()).await;
            let (name, problem) = trouble(&outcome);
            assert_eq!(name, expected, "{id}: {problem}");
            assert!(problem.kind.ends_with("/communication") && detail(problem).contains(said), "{id}: {problem}");
        }
    }
    let later = error(503).with("retry-after", "7");
    let Outcome::Failed { not_before, .. } = answered(impatient(), "getPet", later).await else { panic!("not failed") };
    assert_eq!(not_before.map(|d| d.as_secs()), Some(7));
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_not_called_whatever_a_document_says() {
    let server = pets().await;
    let connector = OpenApi::new(guarded(only(&["api.example.com"])));
    let with = json!({"operationId": "getPet", "parameters": {"id": 0}});
    let outcome = connector.call(asking(&server, PETS, &with)).await;
    assert!(detail(trouble(&outcome).1).contains("expected one of those allowed"), "{outcome:?}");
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn a_definition_is_told_the_class_of_its_call_and_what_can_never_work() {
    let server = pets().await;
    for (id, parameters, expected) in [
        ("getPet", json!({"id": "${ .id }"}), Ok(Some(Class::Safe))),
        ("removePet", json!({"id": "${ .id }"}), Ok(Some(Class::Idempotent))),
        ("addPet", json!("${ .pet }"), Ok(Some(Class::AtMostOnce))),
        ("removePets", json!({}), Err("did you mean \"removePet\"?")),
        ("removePet", json!({"idd": 1}), Err("found no id")),
    ] {
        let request = asking(&server, PETS, &json!({"operationId": id, "parameters": parameters}));
        let planned = Planned { operation: "openapi.call", with: &request.input, resources: &request.resources };
        match (openapi().examine(&planned), expected) {
            (Ok(found), Ok(class)) => assert_eq!(found, class, "{id}"),
            (Err(problem), Err(said)) => assert!(detail(&problem).contains(said), "{id}: {problem}"),
            (found, expected) => panic!("{id}: found {found:?}, expected {expected:?}"),
        }
    }
    assert_eq!(server.asked().len(), 0);
}
