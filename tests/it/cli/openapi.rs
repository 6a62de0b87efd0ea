//! `call: openapi` from a definition to a server: the document is loaded when the definition is registered, and pinned.

use serde_json::json;

use super::server::Server;
use super::{Place, detached, eventually, workflow};

fn document(server: &Server) -> String {
    format!(
        "openapi: 3.1.0
servers: [ {{ url: '{}' }} ]
paths:
  /effect/{{name}}:
    parameters: [ {{ name: name, in: path, required: true, schema: {{ type: string }} }} ]
    get: {{ operationId: look, responses: {{ '200': {{ content: {{ application/json: {{}} }} }} }} }}
    post: {{ operationId: pay, requestBody: {{ content: {{ application/json: {{}} }} }} }}
  /gate:
    put: {{ operationId: openGate }}
    post: {{ operationId: forceGate }}
",
        server.url("")
    )
}

fn call(id: &str, parameters: &str) -> String {
    format!(
        "  - ask:\n      call: openapi\n      with:\n        document: {{ endpoint: api.yaml }}\n        \
         operationId: {id}\n        parameters: {parameters}\n"
    )
}

#[test]
fn an_operation_is_called_by_the_document_that_was_registered_and_no_other() {
    let (place, server) = (Place::new(), Server::start());
    place.write("api.yaml", document(&server));
    let pay = call("pay", "{ name: '${ .to }', amount: '${ .amount }' }");
    place.write("pay.yaml", workflow("pay", &pay));
    let id = detached(&place, &["pay.yaml", "to=a/b", "amount=3"]);
    // The document that the run was registered with has changed since, and is gone.
    place.write("api.yaml", document(&server).replace("/effect/", "/elsewhere/"));
    std::fs::remove_file(place.path("api.yaml")).expect("the document is removed");
    let out = place.cpd(&["resume", &id, "--json"]).exits(0).json();
    assert_eq!(out["output"], json!({ "path": "/effect/a%2Fb" }));
    let effects = server.effects();
    assert_eq!((effects.len(), server.keyless().len()), (1, 0));
    let what: Vec<_> = effects.values().flat_map(|e| e.what.iter().map(String::as_str)).collect();
    assert_eq!(what, [r#"POST /effect/a%2Fb {"amount":3}"#]);
    place.cpd(&["replay", &id, "-q"]).exits(0);
    assert_eq!(server.calls().len(), 1, "a replay calls nothing");
}

#[test]
fn what_a_document_does_not_have_is_an_error_of_the_definition() {
    let (place, server) = (Place::new(), Server::start());
    place.write("api.yaml", document(&server));
    for (id, parameters, said) in [
        ("pays", "{ name: x }", "found no operation \"pays\", did you mean \"pay\"?"),
        ("look", "{ nmae: '${ .x }' }", "found no name; it takes name (path, required)"),
        ("look", "{ name: '${ .x }', amount: 1 }", "found \"amount\", which has no place"),
    ] {
        place.write("ask.yaml", workflow("ask", &call(id, parameters)));
        place.cpd(&["validate", "ask.yaml"]).exits(1).says(&["error[invalid-argument]", said, "ask.yaml:5:"]);
    }
    place.write("ask.yaml", workflow("ask", &call("look", "{ name: x }")));
    place.cpd(&["validate", "ask.yaml"]).exits(0);
    assert_eq!(server.calls(), Vec::<String>::new(), "checking calls nothing");
    assert_eq!(place.cpd(&["run", "ask.yaml", "--json"]).exits(0).json()["output"], json!({ "path": "/effect/x" }));
}

#[test]
fn after_a_crash_the_method_in_the_document_says_whether_a_call_is_made_again() {
    for (id, repeats) in [("openGate", true), ("forceGate", false)] {
        let (place, server) = (Place::new(), Server::start());
        place.write("api.yaml", document(&server));
        place.write("gate.yaml", workflow("gate", &call(id, "{}")));
        let run = place.start(&["run", "gate.yaml", "-q"]);
        eventually("the call", || (!server.effects().is_empty()).then_some(()));
        run.kill();
        std::fs::remove_file(place.path("api.yaml")).expect("the document is removed");
        server.open_gate();
        let out = place.cpd(&["resume", "last", "--json"]).exits(if repeats { 0 } else { 6 }).json();
        assert_eq!(out["status"], if repeats { "completed" } else { "running" }, "{id}");
        let effects = server.effects();
        let calls: Vec<u32> = effects.values().map(|e| e.calls).collect();
        assert_eq!(calls, [if repeats { 2 } else { 1 }], "{id}: under one key");
    }
}
