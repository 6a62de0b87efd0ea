//! `cpd cancel`, `pause`, `resume`, `resolve`.

use serde_json::json;

use super::server::Server;
use super::{Place, SLEEPY, SUM, detached, eventually, workflow};

#[test]
fn a_paused_run_waits_and_a_resumed_one_goes_on() {
    let place = Place::new();
    place.write(
        "add.yaml",
        workflow("two", "  - nap: { wait: { milliseconds: 1 } }\n  - done: { set: { ok: true } }\n"),
    );
    let id = detached(&place, &["add.yaml"]);
    let paused = place.cpd(&["pause", &id, "--json", "--reason", "lunch"]).exits(0).json();
    assert_eq!(paused, json!({ "runId": id, "status": "paused" }));
    place.cpd(&["why", &id]).exits(0).prints(&["an operator to resume it: it is paused"]);
    place.cpd(&["pause", &id]).exits(1).says(&["pause run", "paused already"]);
    assert_eq!(place.cpd(&["resume", &id, "--detach", "--json"]).exits(0).json()["status"], "running");
    assert_eq!(place.cpd(&["resume", &id, "--json"]).exits(0).json()["output"], json!({ "ok": true }));
    let log = place.cpd(&["log", &id, "--json"]).exits(0).lines();
    let paused = log.iter().find(|l| l["kind"] == "RunPaused").expect("the pause");
    assert_eq!(paused["data"], json!({ "actor": "cli:tester", "reason": "lunch" }));
    place.cpd(&["replay", &id, "-q"]).exits(0);
}

#[test]
fn a_cancelled_run_stays_cancelled() {
    let place = Place::new();
    place.write("sleepy.yaml", SLEEPY);
    let id = detached(&place, &["sleepy.yaml"]);
    place.cpd(&["cancel", &id, "--reason", "enough"]).exits(0).says(&[&format!("Run {id} was cancelled")]);
    let out = place.cpd(&["resume", &id, "--json"]).exits(4);
    assert_eq!(out.json()["status"], "cancelled");
    assert_eq!(out.json()["error"]["detail"], "enough");
    for command in ["cancel", "pause"] {
        place.cpd(&[command, &id]).exits(1).says(&[&format!("{command} run {id}"), "cancelled already"]);
    }
    place.cpd(&["resolve", &id, "--retry"]).exits(1).says(&[&id]);
    place.cpd(&["why", &id]).exits(0).prints(&["it was cancelled: enough"]);
    place.cpd(&["replay", &id, "-q"]).exits(0);
}

#[test]
fn a_run_that_a_bug_stopped_is_shown_as_set_aside_until_the_next_start() {
    let place = Place::new();
    place.write("sleepy.yaml", SLEEPY);
    let id = detached(&place, &["sleepy.yaml"]);
    // What an engine leaves whose turn of this run panicked, among lines that nobody can read.
    let line = json!({ "run": id, "at": "2026-11-23T06:00:00Z", "detail": "index out of bounds" });
    std::fs::write(place.data().join("aside.ndjson"), format!("{{\n{line}\n\u{0}\n{{\"run\": 1}}")).unwrap();
    place.cpd(&["why", &id]).exits(0).prints(&["a bug stopped it", "index out of bounds"]);
    assert_eq!(place.cpd(&["why", &id, "--json"]).exits(0).json()["setAside"], "index out of bounds");
    place.cpd(&["runs"]).exits(0).prints(&["set aside"]);
    assert_eq!(place.cpd(&["runs", "--json"]).exits(0).lines()[0]["setAside"], "index out of bounds");
    // A process that calls nobody tries nothing again; one that does begins anew.
    place.cpd(&["pause", &id]).exits(0);
    place.cpd(&["runs"]).exits(0).prints(&["set aside"]);
    place.cpd(&["resolve", &id, "--retry"]).exits(1);
    place.cpd(&["runs"]).exits(0).prints(&["paused"]);
    assert_eq!(place.cpd(&["why", &id, "--json"]).exits(0).json()["setAside"], json!(null));
}

#[test]
fn a_completed_run_takes_no_orders() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    place.cpd(&["run", "add.yaml", "a=1", "b=2"]).exits(0);
    let before = place.cpd(&["journal", "verify", "--json"]).exits(0).json();
    for args in [&["cancel", "last"][..], &["pause", "last"], &["resolve", "last", "--failed"]] {
        place.cpd(args).exits(1).says(&["error: "]);
    }
    assert_eq!(place.cpd(&["journal", "verify", "--json"]).exits(0).json()["records"], before["records"]);
}

/// A run whose `POST` was in flight when the process was killed: nobody knows what became of it.
fn in_doubt(place: &Place, server: &Server) -> String {
    let url = server.url("/gate");
    let tasks = format!(
        "  - pay:\n      call: http\n      with: {{ method: post, endpoint: '{url}', body: {{ amount: 3 }} }}\n"
    );
    place.write("pay.yaml", workflow("pay", &tasks));
    let run = place.start(&["run", "pay.yaml", "-q"]);
    eventually("the call", || (!server.effects().is_empty()).then_some(()));
    run.kill();
    let out = place.cpd(&["resume", "last", "--json"]).exits(6);
    assert_eq!(out.json()["status"], "running");
    let id = out.json()["runId"].as_str().expect("an id").to_owned();
    place.cpd(&["why", &id]).exits(0).prints(&["an operator to say what became of /do/0/pay", "cpd resolve"]);
    assert_eq!(server.calls().len(), 1, "what may have happened is not tried again by itself");
    id
}

#[test]
fn an_effect_in_doubt_is_resolved_as_succeeded() {
    let (place, server) = (Place::new(), Server::start());
    let id = in_doubt(&place, &server);
    place.cpd(&["resolve", &id]).exits(2);
    place.cpd(&["resolve", &id, "--retry", "--failed"]).exits(2);
    place.cpd(&["resolve", &id, "/do/9/other", "--retry"]).exits(1).says(&["/do/9/other"]);
    place.cpd(&["resolve", &id, "--succeeded", "{bad"]).exits(1).says(&["as JSON"]);
    place.cpd(&["resolve", &id, "pay", "--succeeded", r#"{"paid": 3}"#]).exits(0).says(&["was resolved"]);
    let out = place.cpd(&["resume", &id, "--json"]).exits(0);
    assert_eq!(out.json()["output"], json!({ "paid": 3 }));
    assert_eq!(server.calls().len(), 1);
    place.cpd(&["replay", &id, "-q"]).exits(0);
}

#[test]
fn an_effect_in_doubt_is_tried_again_with_the_same_key_or_given_up() {
    let (place, server) = (Place::new(), Server::start());
    let id = in_doubt(&place, &server);
    // `--retry` once recorded the intent and left the call to the next process, which asked the operator again, for ever.
    server.open_gate();
    let out = place.cpd(&["resolve", &id, "/do/0/pay", "--retry", "--json"]).exits(0);
    assert_eq!(out.json()["output"], json!({ "passed": true }));
    let effects = server.effects();
    assert_eq!(effects.len(), 1, "{effects:?}");
    assert_eq!(effects.values().next().expect("an effect").calls, 2);

    let (place, server) = (Place::new(), Server::start());
    let id = in_doubt(&place, &server);
    place.cpd(&["resolve", &id, "--failed", "--reason", "the bank says no"]).exits(0);
    let out = place.cpd(&["resume", &id, "--json"]).exits(3);
    assert_eq!(out.json()["error"]["detail"], "the bank says no");
    assert_eq!(out.json()["error"]["instance"], "/do/0/pay");
}

#[test]
fn a_run_that_waits_for_an_operator_ends_the_command_with_6() {
    let (place, server) = (Place::new(), Server::start());
    let id = in_doubt(&place, &server);
    place.cpd(&["resume", &id]).exits(6).says(&["is still waiting", &format!("`cpd why {id}`")]);
}

/// Wrong, and asserted so that the repair is noticed: a start with `--detach` goes as far as recording the intent of the
/// first call, and does not make it. The next process cannot tell that from a call that may have happened; one that must
/// not happen twice then waits for an operator, though nothing ever left this machine. It should exit with 0.
#[test]
fn a_detached_run_makes_its_first_call_when_it_is_driven_and_only_then() {
    let (place, server) = (Place::new(), Server::start());
    let url = server.url("/effect/pay");
    let tasks = format!(
        "  - pay:\n      call: http\n      with: {{ method: post, endpoint: '{url}', body: {{ amount: 3 }} }}\n"
    );
    place.write("pay.yaml", workflow("pay", &tasks));
    let id = detached(&place, &["pay.yaml"]);
    assert_eq!(server.calls(), Vec::<String>::new(), "nothing was called");
    place.cpd(&["resume", &id, "-q"]).exits(0);
    assert_eq!(server.calls().len(), 1);
}
