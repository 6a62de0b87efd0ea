//! Documents and values in, requests out.

use cpd_connector_api::clock::SystemClock;
use cpd_connector_api::secret::{NoSecrets, Redactor};
use proptest::prelude::*;

use super::*;

const URI: &str = "https://docs.example:8443/api/openapi.yaml";

/// The request as one text: method and address, then headers, then the body.
fn sent(document: &str, id: &str, given: &Value) -> Result<String, String> {
    let said = |p: Problem| p.detail.unwrap().to_string();
    let root = document::parse(document)?;
    let operation = Operation::read(&root, URI, id).map_err(said)?;
    let none = Map::new();
    let Placed { call, .. } =
        place(&operation, given.as_object().unwrap_or(&none), "key", &mut Redactor::default()).map_err(said)?;
    let mut text = format!("{} {}", call.method, call.url);
    for (name, value) in &call.headers {
        text.push_str(&format!(" | {name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    if let Some(body) = call.body {
        text.push_str(&format!(" | {}", String::from_utf8(body.to_vec()).unwrap()));
    }
    Ok(text)
}

const PETS: &str = r##"
openapi: 3.0.3
servers:
  - url: https://{region}.api.example/v1/
    variables: { region: { default: eu } }
security: [ { key: [] } ]
paths:
  /pets/{petId}:
    parameters:
      - $ref: '#/components/parameters/petId'
      - { name: verbose, in: query, schema: { type: boolean } }
    get:
      operationId: getPet
      parameters:
        - { name: verbose, in: query, required: true, schema: { type: boolean } }
        - { name: X-Trace, in: header, schema: { type: string } }
        - { name: session, in: cookie, schema: { type: string } }
        - { name: filter, in: query, content: { application/json: {} } }
        - { name: at, in: query, style: deepObject, schema: { type: object } }
        - { name: link, in: query, allowReserved: true, schema: { type: string } }
      responses:
        '200': { content: { text/plain: {}, application/json: {} } }
    put:
      operationId: putPet
      servers: [ { url: /elsewhere } ]
      requestBody: { $ref: '#/components/requestBodies/pet' }
      responses: { '204': {} }
  /pets:
    post:
      operationId: addPet
      requestBody:
        required: true
        content: { application/json: { schema: { $ref: '#/components/schemas/Pet' } } }
    patch:
      operationId: sealedPet
      requestBody: { content: { application/json: { schema: { type: object, additionalProperties: false, properties: { name: {}, body: {} } } } } }
  /text:
    post: { operationId: sendText, requestBody: { content: { text/plain: {} } } }
  /form:
    post:
      operationId: sendForm
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema: { type: object, properties: { tags: { type: array }, extra: { type: object } } }
            encoding: { tags: { style: form, explode: false }, extra: { contentType: application/json } }
  /bare/{x}/y:
    delete: { operationId: bare, servers: [ { url: 'http://[::1]:9' } ] }
components:
  parameters:
    petId: { name: petId, in: path, required: true, schema: { type: string } }
  requestBodies:
    pet: { content: { application/xml: {}, application/hal+json: { schema: { $ref: '#/components/schemas/Pet' } } } }
  schemas:
    Pet: { type: object, properties: { name: { type: string }, owner: { $ref: '#/components/schemas/Pet' } } }
  securitySchemes:
    key: { type: apiKey, in: header, name: X-Api-Token }
"##;

#[test]
fn parameters_go_where_the_document_says() {
    for (id, given, expected) in [
        (
            "getPet",
            json!({"petId": "a/b c", "verbose": true}),
            "GET https://eu.api.example/v1/pets/a%2Fb%20c?verbose=true | accept: application/json, text/plain",
        ),
        (
            "getPet",
            json!({
                "petId": 7, "verbose": false, "x-trace": "t", "session": "s;1", "filter": {"a": [1]}, "at": {"x": 1},
                "link": "https://h/p?q=ü", "X-Api-Token": "secret", "missing": null,
            }),
            "GET https://eu.api.example/v1/pets/7?verbose=false&filter=%7B%22a%22%3A%5B1%5D%7D&at%5Bx%5D=1&link=https://h/p?q=%C3%BC | x-trace: t | x-api-token: secret | cookie: session=s%3B1 | accept: application/json, text/plain",
        ),
        ("bare", json!({"x": "1"}), "DELETE http://[::1]:9/bare/1/y"),
    ] {
        assert_eq!(sent(PETS, id, &given).unwrap(), expected);
    }
}

#[test]
fn what_no_parameter_takes_makes_the_body() {
    for (id, given, expected) in [
        (
            "addPet",
            json!({"name": "rex", "age": 3}),
            "POST https://eu.api.example/v1/pets | content-type: application/json | {\"name\":\"rex\",\"age\":3}",
        ),
        (
            "addPet",
            json!({"name": "rex", "owner": null, "X-Api-Token": null}),
            "POST https://eu.api.example/v1/pets | content-type: application/json | {\"name\":\"rex\",\"owner\":null}",
        ),
        ("putPet", json!({"petId": "p", "body": null}), "PUT https://docs.example:8443/elsewhere/pets/p"),
        (
            "addPet",
            json!({"body": [1, null]}),
            "POST https://eu.api.example/v1/pets | content-type: application/json | [1,null]",
        ),
        (
            "putPet",
            json!({"petId": "p", "name": "rex"}),
            "PUT https://docs.example:8443/elsewhere/pets/p | content-type: application/hal+json | {\"name\":\"rex\"}",
        ),
        ("putPet", json!({"petId": "p"}), "PUT https://docs.example:8443/elsewhere/pets/p"),
        (
            "sealedPet",
            json!({"body": 1, "name": "x"}),
            "PATCH https://eu.api.example/v1/pets | content-type: application/json | {\"body\":1,\"name\":\"x\"}",
        ),
        ("sendText", json!({"body": "hi"}), "POST https://eu.api.example/v1/text | content-type: text/plain | hi"),
        (
            "sendForm",
            json!({"tags": ["a", "b c"], "extra": {"k": 1}, "n": 1}),
            "POST https://eu.api.example/v1/form | content-type: application/x-www-form-urlencoded | tags=a,b%20c&extra=%7B%22k%22%3A1%7D&n=1",
        ),
    ] {
        assert_eq!(sent(PETS, id, &given).unwrap(), expected);
    }
}

#[test]
fn values_that_do_not_fit_are_refused_by_name_with_what_there_is() {
    for (id, given, said) in [
        (
            "getPet",
            json!({"petid": "x"}),
            "`parameters` of getPet: found no verbose, petId; it takes verbose (query, required), X-Trace (header), ",
        ),
        ("getPet", json!({"petId": "x", "verbose": true, "filtr": 1}), "found \"filtr\", did you mean \"filter\"?"),
        ("getPet", json!({"petId": "x", "verbose": true, "zzz": 1}), "found \"zzz\", which has no place; it takes"),
        ("getPet", json!({"petId": "", "verbose": true}), "\"petId\": found nothing to put into the path"),
        ("getPet", json!({"petId": "..", "verbose": true}), "found a value that is `.` or `..`"),
        ("getPet", json!({"petId": "x", "verbose": {"a": [1]}}), "\"verbose\": found array in it"),
        (
            "getPet",
            json!({"petId": "x", "verbose": true, "X-Trace": "a\r\nEvil: b"}),
            "\"X-Trace\" has a value with characters",
        ),
        ("bare", json!({}), "found no x; it takes x (path, required)"),
        (
            "addPet",
            json!({}),
            "found no body, expected `body`, or members of it; it takes X-Api-Token (header), body (the body, required of name, owner)",
        ),
        ("addPet", json!({"body": {}, "name": "rex"}), "found the whole body in \"body\" and \"name\" beside it"),
        ("sealedPet", json!({"nmae": 1}), "found \"nmae\", did you mean \"name\"?"),
        ("sendText", json!({"x": 1}), "the body is text/plain, give it as `body`"),
        ("sendForm", json!({"body": "x"}), "the body: found string, expected an object"),
    ] {
        let found = sent(PETS, id, &given).unwrap_err();
        assert!(found.contains(said), "{id} {given}: {found}");
    }
}

const SWAGGER: &str = r##"
swagger: 2.0
basePath: /v2
host: api.example
schemes: [ http, https ]
consumes: [ application/json ]
produces: [ application/json, application/xml ]
parameters: { limit: { name: limit, in: query, type: integer } }
paths:
  /pets:
    get:
      operationId: find
      parameters:
        - { name: status, in: query, type: array, collectionFormat: multi, required: true }
        - { name: ids, in: query, type: array, collectionFormat: pipes }
        - { $ref: '#/parameters/limit' }
    post:
      operationId: add
      schemes: [ http ]
      parameters: [ { name: pet, in: body, required: true, schema: { $ref: '#/definitions/Pet' } } ]
  /pets/{id}/image:
    post:
      operationId: upload
      consumes: [ multipart/form-data ]
      parameters:
        - { name: id, in: path, required: true, type: integer }
        - { name: note, in: formData, type: string }
        - { name: file, in: formData, type: file, required: true }
  /pets/{id}:
    post:
      operationId: rename
      parameters: [ { name: id, in: path, required: true, type: string }, { name: name, in: formData, type: string } ]
definitions: { Pet: { type: object, properties: { name: { type: string } } } }
"##;

#[test]
fn swagger_documents_work_as_well() {
    for (id, given, expected) in [
        (
            "find",
            json!({"status": ["a", "b"], "ids": [1, 2], "limit": 5}),
            "GET https://api.example/v2/pets?status=a&status=b&ids=1%7C2&limit=5 | accept: application/json, application/xml",
        ),
        (
            "add",
            json!({"pet": {"name": "rex"}}),
            "POST http://api.example/v2/pets | content-type: application/json | accept: application/json, application/xml | {\"name\":\"rex\"}",
        ),
        (
            "add",
            json!({"name": "rex"}),
            "POST http://api.example/v2/pets | content-type: application/json | accept: application/json, application/xml | {\"name\":\"rex\"}",
        ),
        (
            "add",
            json!({"body": {"name": "rex"}}),
            "POST http://api.example/v2/pets | content-type: application/json | accept: application/json, application/xml | {\"name\":\"rex\"}",
        ),
        (
            "rename",
            json!({"id": "1", "name": "a&b"}),
            "POST https://api.example/v2/pets/1 | content-type: application/x-www-form-urlencoded | accept: application/json, application/xml | name=a%26b",
        ),
    ] {
        assert_eq!(sent(SWAGGER, id, &given).unwrap(), expected);
    }
    let found =
        sent(SWAGGER, "upload", &json!({"id": 1, "note": "n", "file": {"text": "x", "filename": "a.txt"}})).unwrap();
    assert!(
        found.contains("content-type: multipart/form-data; boundary=") && found.contains("filename=\"a.txt\""),
        "{found}"
    );
    for (id, given, said) in [
        ("find", json!({}), "found no status; it takes status (query, required), ids (query), limit (query)"),
        (
            "upload",
            json!({"id": 1, "note": "n"}),
            "found no file; it takes id (path, required), body (the body of note, file)",
        ),
        ("upload", json!({"id": 1, "file": "x", "nte": "n"}), "found \"nte\", did you mean \"note\"?"),
        ("add", json!({}), "found no body"),
    ] {
        let found = sent(SWAGGER, id, &given).unwrap_err();
        assert!(found.contains(said), "{id} {given}: {found}");
    }
}

#[test]
fn what_a_swagger_document_leaves_out_comes_from_its_address() {
    let document = "swagger: '2.0'\npaths: { /x: { get: { operationId: x } } }";
    assert_eq!(sent(document, "x", &json!({})).unwrap(), "GET https://docs.example:8443/x");
    let root = document::parse(document).unwrap();
    let found = Operation::read(&root, "file:///etc/x.yaml", "x").unwrap_err().to_string();
    assert!(found.contains("it has no `host`, and file:///etc/x.yaml has none"), "{found}");
    let root = document::parse("openapi: 3.1.0\npaths: { /x: { get: { operationId: x } } }").unwrap();
    let found = Operation::read(&root, "x.yaml", "x").unwrap_err().to_string();
    assert!(found.contains("a document that is a file gives relative ones no host"), "{found}");
}

#[test]
fn documents_that_do_not_say_what_is_needed_are_refused_with_the_reason() {
    let one = |operation: &str| {
        format!("openapi: 3.0.0\npaths: {{ '/x/{{a}}': {{ get: {{ operationId: x, {operation} }} }} }}")
    };
    for (document, said) in [
        (
            "<!doctype html><p>Sign in",
            "found the text \"<!doctype html><p>Sign in\", expected `openapi: 3.x` or `swagger",
        ),
        ("{}", "found an empty object"),
        ("a: 1\nb: 2", "found an object with a, b"),
        ("[1]", "found array"),
        ("openapi: 4.0.0\npaths: {}", "found `openapi: 4.0.0`, expected 3.0 or 3.1"),
        ("swagger: 1.2", "found `swagger: 1.2`, expected 2.0"),
        ("openapi: 3.0.0", "it has no `paths`"),
        ("openapi: 3.0.0\npaths: { /x: { get: {} } }", "none has an `operationId`"),
        ("openapi: 3.0.0\npaths: { /x: { get: { operationId: getX } } }", "expected one of getX"),
        ("openapi: 3.0.0\npaths: { /x: { get: { operationId: xs } } }", "did you mean \"xs\"?"),
        (
            "openapi: 3.0.0\npaths: { /x: { get: { operationId: x }, put: { operationId: x } } }",
            "the operationId of get /x and of put /x",
        ),
        (&one("parameters: [ { $ref: '#/p' } ]"), "`$ref: #/p` points to nothing (operation x)"),
        (&one("parameters: [ { $ref: '#/paths/~1x~1%7Ba%7D/get/parameters/0' } ]"), "goes in circles"),
        (&one("parameters: [ { name: a, in: matrix } ]"), "found `in: matrix` of parameter \"a\""),
        (&one("parameters: [ { in: query } ]"), "without `name` or `in`"),
        (
            &one("parameters: [ { name: a, in: path, style: form } ]"),
            "a style of parameter \"a\" that `in: path` does not have",
        ),
        (&one("parameters: [ { name: a, in: query, style: odd } ]"), "found `style: odd`"),
        (&one("requestBody: { content: {} }"), "a `requestBody` without `content`"),
        (&one("requestBody: { content: { multipart/mixed: {} } }"), "found a `requestBody` of multipart/mixed"),
        (
            &one("servers: [ { url: 'https://{r}.x' } ]"),
            "the variable \"r\" of the server \"https://{r}.x\" has no default",
        ),
        (&one("servers: [ { url: 'https://{r.x' } ]"), "expected `}` in it"),
        (&one("servers: [ { url: 'mailto:x' } ]"), "expected http or https"),
        ("openapi: 3.0.0\npaths: { /x: { trace: { operationId: x } } }", "found the method trace"),
    ] {
        let found = sent(document, "x", &json!({"a": 1})).unwrap_err();
        assert!(found.contains(said), "{document}: {found}");
    }
}

/// What documents in the wild do, and what the specification says of it.
const WILD: &str = r##"
openapi: 3.1.0
servers: [ { url: 'https://api.example/base?api-version=7' } ]
paths:
  /functions?list&type={type}:
    get: { operationId: listOf, parameters: [ { name: type, in: path, required: true, schema: { type: string } } ] }
  /search:
    get:
      operationId: search
      parameters:
        - { name: lang, in: query, required: true, schema: { $ref: '#/components/schemas/Lang' } }
        - { name: size, in: query, schema: { type: integer, default: 10 } }
        - { name: note, in: header, content: { text/plain: {} } }
        - { name: X-Key, in: header, schema: { type: string } }
    post:
      operationId: put
      parameters:
        - { name: Idempotency-Key, in: header, required: true, schema: { type: string } }
        - { name: Accept, in: header, required: true, schema: { type: string } }
      requestBody: { x-bodyName: query, content: { application/json: { schema: { $ref: 'elsewhere.yaml#/Query' } } } }
    patch:
      operationId: comment
      requestBody: { content: { application/json: { schema: { $ref: '#/components/schemas/Node' } } } }
  /files:
    post:
      operationId: files
      requestBody:
        content:
          multipart/form-data:
            schema: { properties: { all: { type: array, items: { anyOf: [ { type: string, contentMediaType: application/octet-stream }, { type: 'null' } ] } } } }
components:
  schemas:
    Lang: { type: string, default: en }
    Node: { anyOf: [ { $ref: '#/components/schemas/Node' }, { allOf: [ { properties: { body: {}, next: { $ref: '#/components/schemas/Node' } } } ] } ] }
  securitySchemes: { key: { type: apiKey, in: header, name: x-key } }
security: [ { key: [] } ]
"##;

#[test]
fn what_documents_in_the_wild_do_is_understood() {
    for (id, given, expected) in [
        ("listOf", json!({"type": "a&b"}), "GET https://api.example/base/functions?api-version=7&list&type=a%26b"),
        ("search", json!({}), "GET https://api.example/base/search?api-version=7&lang=en"),
        (
            "search",
            json!({"lang": "nl", "note": "hi"}),
            "GET https://api.example/base/search?api-version=7&lang=nl | note: hi",
        ),
        (
            "put",
            json!({"query": [1]}),
            "POST https://api.example/base/search?api-version=7 | content-type: application/json | [1]",
        ),
        (
            "put",
            json!({"idempotency-key": "mine", "body": {}}),
            "POST https://api.example/base/search?api-version=7 | idempotency-key: mine | content-type: application/json | {}",
        ),
    ] {
        assert_eq!(sent(WILD, id, &given).unwrap(), expected);
    }
    let found = sent(WILD, "comment", &json!({"body": "hi", "next": {}})).unwrap();
    assert!(found.ends_with(r#" | {"body":"hi","next":{}}"#), "a member of that name: {found}");
    let found = sent(WILD, "files", &json!({"all": ["one", "two"]})).unwrap();
    assert_eq!(found.matches("name=\"all\"; filename=\"all\"").count(), 2, "{found}");
    let header = "swagger: '2.0'\nhost: h\npaths: { /x: { get: { operationId: x, parameters: [ { name: a, in: header, type: array, collectionFormat: ssv } ] } } }";
    assert_eq!(sent(header, "x", &json!({"a": ["b", 1]})).unwrap(), "GET https://h/x | a: b 1");
    let nowhere = "openapi: 3.0.0\nservers: [ { url: '' } ]\npaths: { /x: { get: { operationId: x } } }";
    assert_eq!(sent(nowhere, "x", &json!({})).unwrap(), "GET https://docs.example:8443/api/x");
}

#[test]
fn keys_of_security_and_cookies_are_taught_to_the_redactor() {
    let root = document::parse(WILD).unwrap();
    let mut redactor = Redactor::default();
    let given = json!({"X-Key": "k3y-of-mine"});
    let operation = Operation::read(&root, URI, "search").unwrap();
    let placed = place(&operation, given.as_object().unwrap(), "key", &mut redactor).unwrap();
    assert!(placed.call.headers["x-key"].is_sensitive());
    let root = document::parse(PETS).unwrap();
    let given = json!({"petId": 1, "verbose": true, "session": "long;session"});
    let operation = Operation::read(&root, URI, "getPet").unwrap();
    place(&operation, given.as_object().unwrap(), "key", &mut redactor).unwrap();
    let said = redactor.value(&json!("k3y-of-mine long;session long%3Bsession compact"));
    let mark = Redactor::MARK;
    assert_eq!(said, Value::from(format!("{mark} {mark} {mark} compact")));
}

fn examined(with: Value) -> Result<Option<Class>, String> {
    let content = PETS.as_bytes().into();
    let resource = Resource { uri: URI.into(), media_type: None, content };
    let resources = [Arc::new(resource)].into_iter().collect();
    let client = crate::http::HttpClient::new(Default::default(), Arc::new(SystemClock)).unwrap();
    let connector = OpenApi::new(Authenticator::new(client, Arc::new(NoSecrets)));
    let planned = Planned { operation: "openapi.call", with: &with, resources: &resources };
    connector.examine(&planned).map_err(|p| p.detail.unwrap().to_string())
}

#[test]
fn a_call_is_held_against_its_document_when_it_is_registered() {
    let document = json!({"endpoint": {"uri": URI}});
    let with = |id: &str, parameters: Value| json!({"document": document, "operationId": id, "parameters": parameters});
    for (id, parameters, class) in [
        ("getPet", json!({"petId": 1, "verbose": true}), Some(Class::Safe)),
        ("getPet", json!({"petId": "${ .id }", "verbose": true, "filter": {"a": ["${ .b }"]}}), Some(Class::Safe)),
        ("getPet", json!("${ . }"), Some(Class::Safe)),
        ("putPet", json!({"petId": "${ .id }", "name": "${ .name }"}), Some(Class::Idempotent)),
        ("addPet", json!({"body": "${ . }"}), Some(Class::AtMostOnce)),
        ("${ .which }", json!({"anything": 1}), None),
    ] {
        assert_eq!(examined(with(id, parameters)), Ok(class), "{id}");
    }
    for (with, said) in [
        (with("getPets", json!({})), "found no operation \"getPets\", did you mean \"getPet\"?"),
        (with("getPet", json!({"petId": "${ .id }"})), "found no verbose; it takes verbose (query, required)"),
        (with("getPet", json!({"petId": "${ .id }", "verbose": true, "filtr": 1})), "did you mean \"filter\"?"),
        (with("getPet", json!({"petId": "", "verbose": true})), "found nothing to put into the path"),
        (json!({"document": document, "operationId": "addPet"}), "found no body"),
        (json!({"document": {"endpoint": "other"}, "operationId": "addPet"}), "registered without it"),
    ] {
        let found = examined(with).unwrap_err();
        assert!(found.contains(said), "{found}");
    }
}

#[test]
fn the_class_follows_the_method_and_is_known_from_the_document_alone() {
    for (id, class) in [
        ("getPet", Some(Class::Safe)),
        ("putPet", Some(Class::Idempotent)),
        ("bare", Some(Class::Idempotent)),
        ("addPet", Some(Class::AtMostOnce)),
        ("sealedPet", Some(Class::AtMostOnce)),
        ("getPets", None),
    ] {
        assert_eq!(class_of(PETS, id), class, "{id}");
    }
    assert_eq!(class_of("<html>", "getPet"), None);
    assert!(check(PETS, "getPets").unwrap_err().to_string().contains("did you mean \"getPet\"?"));
}

#[test]
fn a_document_of_five_megabytes_is_read() {
    let schema = "    Big{n}: { type: object, properties: { a: { type: string, description: 'long enough to fill a line or two' } } }\n";
    let mut document = PETS.replace("  securitySchemes:", "{big}  securitySchemes:");
    let big: String = (0..50_000).map(|n| schema.replace("{n}", &n.to_string())).collect();
    document = document.replace("{big}", &format!("    # many\n{big}"));
    assert!(document.len() > 5_000_000, "{}", document.len());
    assert_eq!(class_of(&document, "addPet"), Some(Class::AtMostOnce));
}

proptest! {
    #[test]
    fn no_values_make_it_panic_or_leave_the_path(
        pet in ".{0,12}",
        name in prop::sample::select(vec!["verbose", "X-Trace", "session", "filter", "at", "link", "body"]),
        value in prop_oneof![Just(json!(null)), Just(json!([[1]])), Just(json!({"a": {"b": 1}})), ".{0,12}".prop_map(Value::from)],
    ) {
        let given = json!({"petId": pet.as_str(), "verbose": true});
        let mut given = given.as_object().unwrap().clone();
        given.insert(name.into(), value);
        if let Ok(text) = sent(PETS, "getPet", &Value::from(given)) {
            let path = text.split(['?', ' ']).nth(1).unwrap();
            prop_assert_eq!(path.split('/').count(), 6, "{}", text);
        }
    }

    #[test]
    fn no_document_makes_it_panic(text in "(openapi: 3.0.0\n|swagger: '2.0'\n)?paths: [a-z{}\\[\\]:,/$'# ]{0,60}") {
        let _ = sent(&text, "x", &json!({"a": 1}));
    }
}
