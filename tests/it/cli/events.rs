//! `cpd signal`, `cpd emit`; workflows that run others, schemas and secrets, as people type them.

use serde_json::json;

use super::{Place, detached, workflow};

const EAR: &str = "  - ear:
      listen: { to: { any: [ { with: { type: com.example.a } } ], until: .last } }
";

#[test]
fn a_signalled_run_goes_on_with_what_it_heard() {
    let place = Place::new();
    place.write("ear.yaml", workflow("ear", EAR));
    let id = detached(&place, &["ear.yaml"]);
    let given = place.cpd(&["signal", &id, "com.example.a", "-d", r#"{"n":1}"#, "--json"]).exits(0).json();
    assert_eq!(given, json!({ "runId": id, "status": "running" }));
    place.cpd(&["signal", &id, "com.example.b"]).exits(1).says(&["com.example.b", "nothing in its definition listens"]);
    place.cpd(&["signal", &id, "--event", r#"{"data":1}"#]).exits(1).says(&["has no `type`"]);
    let emitted =
        place.cpd(&["emit", "com.example.a", "-d", r#"{"last":true}"#, "--id", "x", "--json"]).exits(0).json();
    assert_eq!(emitted, json!({ "id": "x", "runs": [id] }));
    // The same event once more, by source and id, changes nothing.
    place.cpd(&["emit", "com.example.a", "-d", r#"{"last":true}"#, "--id", "x"]).exits(0);
    place.cpd(&["emit", "com.example.nobody"]).exits(0).says(&["no open run listens"]);
    let out = place.cpd(&["resume", &id, "--json"]).exits(0).json();
    assert_eq!(out["output"], json!([{ "n": 1 }, { "last": true }]));
    let log = place.cpd(&["log", &id, "--json"]).exits(0).lines();
    assert_eq!(log.iter().filter(|l| l["kind"] == "EventReceived").count(), 2);
    place.cpd(&["signal", &id, "com.example.a"]).exits(1).says(&["completed already"]);
    place.cpd(&["replay", &id, "-q"]).exits(0);
}

#[test]
fn last_is_the_run_that_was_asked_for_and_not_one_that_it_started() {
    let place = Place::new();
    place.write("kid.yaml", workflow("kid", "  - a: { set: { n: '${ .n }' } }\n"));
    let run = "  - c: { run: { workflow: { namespace: test, name: kid, version: latest, input: { n: 1 } } } }\n";
    place.write("par.yaml", workflow("par", run));
    place.cpd(&["register", "kid.yaml", "par.yaml"]).exits(0);
    // A child's id is as old as its parent's and random beyond that: which sorts last is chance.
    for _ in 0..5 {
        let id = place.cpd(&["run", "par", "--json"]).exits(0).json()["runId"].clone();
        assert_eq!(place.cpd(&["show", "last", "--json"]).exits(0).json()["runId"], id);
    }
}

#[test]
fn input_that_does_not_fit_the_schema_faults_the_run_and_says_where() {
    let place = Place::new();
    let text = workflow("strict", "  - a: { set: { ok: true } }\n");
    let schema = "input: { schema: { document: { type: object, properties: { n: { type: number } } } } }\n";
    place.write("strict.yaml", text.replacen("do:", &format!("{schema}do:"), 1));
    place.cpd(&["run", "strict.yaml", "n=1"]).exits(0);
    place.cpd(&["run", "strict.yaml", "n=x"]).exits(3).says(&["/n:", "in the workflow itself"]);
}
