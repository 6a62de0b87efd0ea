//! `cpd replay`: proof, and what it says when there is none.

use serde_json::{Value, json};

use super::server::Server;
use super::{Place, SUM, workflow};

/// A place with a run that has had effects, and its id.
fn ran() -> (Place, String) {
    let (place, server) = (Place::new(), Server::start());
    let url = server.url("/effect/1");
    let tasks = format!(
        "  - first: {{ set: {{ n: 1 }} }}\n  - call:\n      call: http\n      with: {{ method: put, endpoint: '{url}', body: '${{ . }}' }}\n  \
         - last: {{ set: {{ path: '${{ .path }}' }} }}\n"
    );
    place.write("effect.yaml", workflow("effect", &tasks));
    let id =
        place.cpd(&["run", "effect.yaml", "-q", "--json"]).exits(0).json()["runId"].as_str().expect("an id").to_owned();
    (place, id)
}

#[test]
fn a_run_replays_without_effects_and_changes_nothing() {
    // The server is gone: an effect could not happen.
    let (place, id) = ran();
    let before = std::fs::read(&place.segments()[0]).expect("a segment");
    let events = place.cpd(&["log", &id, "--json"]).exits(0).lines().len();
    let out = place.cpd(&["replay", &id]).exits(0).prints(&[
        "test/effect 1.0.0 started by cli",
        "calls http.request",
        &format!("✓ replay identical: {events} events in"),
        "1 command compared, chain of digests whole, run completed",
    ]);
    assert_eq!(out.stdout.lines().count(), events + 1);
    assert_eq!(place.cpd(&["replay", &id, "--quiet"]).exits(0).stdout.lines().count(), 1);
    let verdict = place.cpd(&["replay", "last", "--json"]).exits(0).json();
    assert_eq!(verdict["verdict"], "identical");
    assert_eq!(
        (&verdict["events"], &verdict["commands"], &verdict["chain"]),
        (&json!(events), &json!(1), &json!("whole"))
    );
    assert_eq!(std::fs::read(&place.segments()[0]).expect("a segment"), before);
}

#[test]
fn replay_stops_where_it_is_told_and_steps_through_a_pipe() {
    let (place, id) = ran();
    place.cpd(&["replay", &id, "--until", "3"]).exits(0).prints(&["replay identical up to seq 3", "run running"]);
    let events = |until: &str| {
        place.cpd(&["replay", &id, "--until", until, "--json"]).exits(0).json()["events"].as_u64().expect("a count")
    };
    assert!(events("3") <= events("99999"));
    place.cpd(&["replay", &id, "--step"]).exits(0).prints(&[
        "command: call the connector for act",
        "state: running",
        "state: completed",
        "waits for: the outcome of http.request",
    ]);
    place.cpd(&["replay", &id, "--until", "x"]).exits(2);
    place.cpd(&["replay", &id, "--until", "0"]).exits(2).says(&["0 is not in 1.."]);
    place.cpd(&["replay"]).exits(1).says(&["name a run", "--bundle"]);
}

#[test]
fn a_bundle_replays_on_another_machine() {
    let (place, id) = ran();
    place.cpd(&["replay", &id, "--bundle", "b.json", "-q"]).exits(0).says(&["The bundle is in b.json"]);
    let elsewhere = Place::new();
    std::fs::copy(place.path("b.json"), elsewhere.path("b.json")).expect("a copy");
    let out = elsewhere.cpd(&["replay", "--bundle", "b.json"]).exits(0);
    assert_eq!(out.stdout, place.cpd(&["replay", &id]).exits(0).stdout);
    assert!(!elsewhere.data().exists(), "a bundle needs no data directory");
}

fn bundle(place: &Place, id: &str) -> Value {
    place.cpd(&["replay", id, "--bundle", "b.json", "-q"]).exits(0);
    serde_json::from_slice(&std::fs::read(place.path("b.json")).expect("a file")).expect("JSON")
}

/// Replaces text in a base64 payload by text of the same length.
fn replace(payload: &mut Value, from: &str, to: &str) -> bool {
    assert_eq!(from.len(), to.len());
    let mut bytes = decode(payload.as_str().expect("base64"));
    let Some(at) = bytes.windows(from.len()).position(|w| w == from.as_bytes()) else { return false };
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    *payload = Value::from(encode(&bytes));
    true
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn decode(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = (bits << 6) | u32::try_from(ALPHABET.iter().position(|a| *a == c).expect("base64")).expect("small");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).expect("a byte"));
        }
    }
    bytes
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |b, x| (b << 8) | u32::from(*x)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let c = ALPHABET[(bits >> (18 - 6 * n)) as usize & 63];
            text.push(if n <= chunk.len() { char::from(c) } else { '=' });
        }
    }
    text
}

#[test]
fn a_tampered_record_breaks_the_chain() {
    let (place, id) = ran();
    let mut bundle = bundle(&place, &id);
    // The path that the server answered with stands in the outcome alone.
    let mut found = 0;
    for entry in bundle["entries"].as_array_mut().expect("entries") {
        for record in entry["records"].as_array_mut().expect("records") {
            found += u32::from(replace(&mut record["payload"], r#"{"path":"/effect/1"}"#, r#"{"path":"/effect/2"}"#));
        }
    }
    assert!(found > 0, "the outcome is in the bundle");
    place.write("tampered.json", bundle.to_string());
    place.cpd(&["replay", "--bundle", "tampered.json"]).exits(5).prints(&["the chain of digests is broken"]);
    let verdict = place.cpd(&["replay", "--bundle", "tampered.json", "--json"]).exits(5).json();
    assert_eq!(verdict["verdict"], "diverged");
    assert_ne!(verdict["chain"], "whole");
}

#[test]
fn a_changed_definition_diverges_with_position_expected_found_and_likely_cause() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    let id = place.cpd(&["run", "add.yaml", "a=1", "b=2", "--json", "-q"]).exits(0).json()["runId"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut bundle = bundle(&place, &id);
    let registration = &mut bundle["registrations"][0]["payload"];
    assert!(replace(registration, "${ .a + .b }", "${ .a * .b }"), "the definition is in the bundle");
    place.write("changed.json", bundle.to_string());
    let out = place.cpd(&["replay", "--bundle", "changed.json"]).calm();
    // Either the definition is refused because its digest is not the run's, or the replay names the first difference.
    assert_eq!(out.code, Some(5), "{out:?}");
    out.prints(&["diverges at seq 3", "/do/0/addUp", "found", "expected", "likely"]);
}

#[test]
fn what_is_no_bundle_is_refused() {
    let (place, id) = ran();
    let good = bundle(&place, &id).to_string();
    place.cpd(&["replay", "--bundle", "none.json"]).exits(1).says(&["read the bundle none.json", "No such file"]);
    place.write("text.json", "hello");
    place.cpd(&["replay", "--bundle", "text.json"]).exits(1).says(&["read the bundle text.json"]);
    place.write("empty.json", "{}");
    place.cpd(&["replay", "--bundle", "empty.json"]).exits(1).says(&["read the bundle empty.json"]);
    place.write("newer.json", good.replacen("\"cpdBundle\":1", "\"cpdBundle\":2", 1));
    place.cpd(&["replay", "--bundle", "newer.json"]).exits(1).says(&["2"]);
    place.write("binary.json", [0xff, 0xfe, 0]);
    place.cpd(&["replay", "--bundle", "binary.json"]).exits(1).says(&["binary.json"]);
    // Cut anywhere, it is no bundle; nothing panics.
    for at in (0..good.len()).step_by(good.len() / 12 + 1) {
        place.write("cut.json", &good[..at]);
        place.cpd(&["replay", "--bundle", "cut.json", "-q"]).exits(1).says(&["read the bundle cut.json"]);
    }
    place.cpd(&["replay", &id, "--bundle", "no/such/dir.json"]).exits(1).says(&["write the bundle no/such/dir.json"]);
}
