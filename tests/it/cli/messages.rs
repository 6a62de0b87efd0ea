//! `call: asyncapi` from the definition to the output: the document beside the definition, the connector, and `foreach`.

use serde_json::json;

use super::server::Server;
use super::{Place, workflow};

const PUBLISH: &str = "  - say:
      call: asyncapi
      with:
        document: { endpoint: api.yaml }
        operation: say
        message: { payload: { text: '${ .text }' }, headers: { X-Lang: en } }
";

const SUBSCRIBE: &str = "  - hear:
      call: asyncapi
      with:
        document: { endpoint: api.yaml }
        channel: lines
        subscription:
          filter: ${ .payload.n != 2 }
          consume: { until: '${ .payload.n == 3 }' }
          foreach: { item: m, at: i, do: [ { s: { set: { n: '${ $m.payload.n }', i: '${ $i }' } } } ] }
";

fn document(protocol: &str, server: &Server) -> String {
    let host = server.url("").replace("http://", "");
    format!(
        "asyncapi: 3.0.0
servers: {{ main: {{ host: '{host}', protocol: {protocol} }} }}
channels:
  room: {{ address: room, messages: {{ said: {{ payload: {{ type: object, properties: {{ text: {{ type: string }} }} }} }} }} }}
  lines: {{ address: lines }}
operations: {{ say: {{ action: receive, channel: {{ $ref: '#/channels/room' }} }} }}
"
    )
}

#[test]
fn messages_are_published_once_and_gathered_through_conditions_and_foreach() {
    let (place, server) = (Place::new(), Server::start());
    place.write("api.yaml", document("http", &server));
    place.write("talk.yaml", workflow("talk", &format!("{PUBLISH}{SUBSCRIBE}")));
    let out = place.cpd(&["run", "talk.yaml", "text=hi", "--json"]).exits(0).json();
    assert_eq!(out["output"], json!([{ "n": 1, "i": 0 }, { "n": 3, "i": 1 }]));
    assert_eq!(server.calls(), ["POST /room", "GET /lines"]);
    let effects: Vec<_> = server.effects().into_values().collect();
    assert_eq!(effects.len(), 1);
    assert_eq!(effects[0].what.iter().collect::<Vec<_>>(), [r#"POST /room {"text":"hi"}"#]);
    let run = out["runId"].as_str().unwrap();
    place.cpd(&["replay", run]).exits(0);
    assert_eq!(server.calls().len(), 2, "a replay calls nobody");
    // The document is the one that was registered, whatever becomes of the file.
    place.write("api.yaml", "asyncapi: 3.0.0");
    place.cpd(&["run", "talk", "text=again", "--json"]).exits(0);
}

#[test]
fn a_document_behind_a_login_is_loaded_with_it_and_the_call_has_its_own() {
    let (place, server) = (Place::new(), Server::start());
    let uri = server.url("/api.json");
    let both = format!(
        "document: {{ endpoint: {{ uri: '{uri}', authentication: {{ use: docs }} }} }}
        authentication: {{ use: broker }}"
    );
    let task = PUBLISH.replace("document: { endpoint: api.yaml }", &both);
    let policies = "use: { authentications: { docs: { basic: { username: u, password: p } }, broker: { bearer: { token: t-0-k-e-n } } } }\ndo:";
    place.write("talk.yaml", workflow("talk", &task).replace("do:", policies));
    place.cpd(&["run", "talk.yaml", "text=hi"]).exits(0);
    let calls = server.calls();
    assert_eq!(calls.last().map(String::as_str), Some("POST /room"));
    assert!(calls.contains(&"GET /api.json".to_owned()), "{calls:?}");
}

#[test]
fn what_a_document_cannot_do_is_told_when_the_definition_is_checked() {
    let (place, server) = (Place::new(), Server::start());
    place.write("talk.yaml", workflow("talk", PUBLISH));
    place.write("api.yaml", document("kafka", &server));
    place.cpd(&["validate", "talk.yaml"]).exits(1).says(&["invalid-argument", "\"kafka\", which is not built into"]);
    place.write("api.yaml", document("mqtt", &server));
    place.cpd(&["validate", "talk.yaml"]).exits(1).says(&["messages of mqtt have no headers"]);
    place.write("api.yaml", document("http", &server).replace("say:", "tell:"));
    place
        .cpd(&["run", "talk.yaml", "text=hi"])
        .exits(1)
        .says(&["found no operation \"say\"", "expected one of \"tell\""]);
    assert!(server.calls().is_empty());
}
