//! `cpd approvals`.

use serde_json::json;

use super::{Place, detached, workflow};

const ASK: &str = "  - ask:\n      call: approval.request\n      with: { title: Retrain?, evidence: { drift: 0.3 }, approvers: { users: [ann, bob], group: owners, quorum: 2, excludeInitiator: true } }\n  - told: { set: '${ { decision, by } }' }\n";

#[test]
fn people_decide_and_the_run_goes_on_with_it() {
    let place = Place::new();
    place.write("ask.yaml", workflow("ask", ASK));
    place.cpd(&["approvals", "list"]).exits(1);
    let out = place.cpd(&["run", "ask.yaml", "--json"]).exits(6);
    let id = out.json()["runId"].as_str().expect("a run").to_owned();
    place.cpd(&["why", &id]).exits(0).prints(&["2 approvals of ann, bob, group owners", "Retrain?"]);
    place.cpd(&["approvals", "list"]).exits(0).prints(&["Retrain?", &id, "/do/0/ask", "2 missing", "drift"]);
    place.cpd(&["approvals", "approve", &id]).exits(1).says(&["cli:tester has started the run"]);
    place.cpd(&["approvals", "approve", &id, "--as", "mallory"]).exits(1).says(&["not one of those who are asked"]);
    place.cpd(&["approvals", "approve", &id, "--as", "ann", "-c", "fine"]).exits(0).says(&["was approved", "running"]);
    let listed = place.cpd(&["approvals", "list", "--json"]).exits(0).lines();
    assert_eq!(listed[0]["missing"], 1);
    assert_eq!(listed[0]["votes"][0]["by"], "ann");
    place.cpd(&["approvals", "delegate", &id, "ask", "--as", "bob", "--to", "carl", "--reason", "ill"]).exits(0);
    place.cpd(&["approvals", "approve", &id, "/do/0/ask", "--as", "carl"]).exits(0);
    let out = place.cpd(&["resume", &id, "--json"]).exits(0).json();
    assert_eq!(out["output"], json!({ "decision": "approved", "by": "carl" }));
    place.cpd(&["approvals", "list"]).exits(0).says(&["No approvals are asked for."]);
    place.cpd(&["log", &id]).exits(0).prints(&[
        "asks for an approval: Retrain?",
        "carl for bob approves",
        "bob lets carl decide",
    ]);
    place.cpd(&["replay", &id, "-q"]).exits(0);
    place.cpd(&["audit", "verify"]).exits(0);
}

#[test]
fn a_rejection_ends_it_and_a_group_may_vote() {
    let place = Place::new();
    place.write("ask.yaml", workflow("ask", ASK));
    let id = detached(&place, &["ask.yaml"]);
    place.cpd(&["resume", &id, "--json"]).exits(6);
    place.cpd(&["approvals", "reject", &id, "--as", "dora", "--group", "owners", "-c", "not now"]).exits(0);
    let out = place.cpd(&["resume", &id, "--json"]).exits(0).json();
    assert_eq!(out["output"], json!({ "decision": "rejected", "by": "dora" }));
    place.cpd(&["approvals", "reject", &id]).exits(1).says(&["completed already"]);
    place.cpd(&["replay", &id, "-q"]).exits(0);
}
