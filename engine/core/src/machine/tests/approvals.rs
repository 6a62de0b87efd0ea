//! Approvals: who may vote, what a quorum is, and what comes of it.

use super::*;
use crate::machine::Voter;

const ASK: &str = "do:\n  - ask:\n      call: approval.request\n      with: { title: '${ \"Retrain \\(.model)?\" }', evidence: '${ .drift }', approvers: { users: [ ann, bob ], group: owners, quorum: 2, excludeInitiator: true }, escalate: { after: PT4H, to: { group: leads } } }\n      timeout: { after: P1D }\n  - told: { set: { it: '${ . }' } }\n";

fn asking() -> Sim {
    Sim::start_with(ASK, json!({ "model": "risk", "drift": 0.3 }))
}

fn vote(sim: &mut Sim, name: &str, groups: &[&str], approves: bool) -> Result<(), Rejected> {
    let voter = Voter { name: name.into(), groups: groups.iter().map(|g| Arc::from(*g)).collect() };
    sim.input(Input::Vote { task: None, voter, approves, comment: "so be it".into() })
}

fn delegate(sim: &mut Sim, name: &str, to: &str) -> Result<(), Rejected> {
    let voter = Voter { name: name.into(), groups: Vec::new() };
    sim.input(Input::Delegate { task: Some("ask".into()), voter, to: to.into(), reason: "on holiday".into() })
}

fn refused(result: Result<(), Rejected>, why: &str) {
    match result {
        Err(Rejected::NotEntitled { why: found, .. }) => assert!(found.contains(why), "{found}"),
        other => panic!("expected a refusal with {why:?}, found {other:?}"),
    }
}

fn decided(sim: &Sim) -> &Value {
    match &sim.run.phase {
        Phase::Completed { output } => output.get("it").expect("what was decided"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_quorum_approves_and_everybody_votes_once() {
    let mut sim = asking();
    let [WakeSource::Approval { title, missing: 2, asked, .. }, ..] = &sim.run.wake_sources()[..] else {
        panic!("{:?}", sim.run.wake_sources())
    };
    assert_eq!((&**title, &**asked), ("Retrain risk?", "ann, bob, group owners"));
    vote(&mut sim, "cli:ann", &[], true).unwrap();
    refused(vote(&mut sim, "ann", &["owners"], true), "ann has voted already");
    assert!(sim.run.is_open());
    vote(&mut sim, "carl", &["owners"], true).unwrap();
    sim.settle();
    let output = decided(&sim);
    assert_eq!(output.get("decision"), Some(&Value::str("approved")));
    assert_eq!(output.get("by"), Some(&Value::str("carl")));
    assert_eq!(output.get("votes").and_then(Value::as_array).map(<[Value]>::len), Some(2));
    sim.check();
}

#[test]
fn one_rejection_rejects() {
    let mut sim = asking();
    vote(&mut sim, "bob", &[], true).unwrap();
    vote(&mut sim, "ann", &[], false).unwrap();
    sim.settle();
    assert_eq!(decided(&sim).get("decision"), Some(&Value::str("rejected")));
    let late = vote(&mut sim, "carl", &["owners"], true);
    assert!(matches!(late, Err(Rejected::Ended { .. })), "{late:?}");
    sim.check();
}

#[test]
fn strangers_and_the_initiator_may_not_vote() {
    let mut sim = asking();
    refused(
        vote(&mut sim, "mallory", &["leads"], true),
        "mallory is not one of those who are asked: ann, bob, group owners",
    );
    refused(vote(&mut sim, "test", &["owners"], true), "has started the run");
    refused(vote(&mut sim, "cli:test", &["owners"], true), "has started the run");
    refused(delegate(&mut sim, "ann", "test"), "has started the run");
    refused(delegate(&mut sim, "mallory", "ann"), "not one of those who are asked");
    let elsewhere = Input::Vote {
        task: Some("told".into()),
        voter: Voter { name: "ann".into(), groups: Vec::new() },
        approves: true,
        comment: "".into(),
    };
    let elsewhere = sim.input(elsewhere);
    assert!(
        matches!(&elsewhere, Err(Rejected::NothingToApprove { others, .. }) if others == " (waiting: /do/0/ask)"),
        "{elsewhere:?}"
    );
    sim.check();
}

#[test]
fn a_vote_that_was_handed_over_counts_for_the_one_who_had_it() {
    let mut sim = asking();
    delegate(&mut sim, "ann", "dora").unwrap();
    refused(vote(&mut sim, "ann", &[], true), "ann has handed the vote over to dora");
    refused(delegate(&mut sim, "dora", "emil"), "cannot hand that on");
    refused(delegate(&mut sim, "bob", "dora"), "votes in somebody's stead");
    refused(delegate(&mut sim, "bob", "bob"), "may vote already");
    vote(&mut sim, "dora", &[], true).unwrap();
    vote(&mut sim, "bob", &[], true).unwrap();
    sim.settle();
    let first = decided(&sim).get("votes").and_then(Value::as_array).and_then(<[Value]>::first).cloned();
    assert_eq!(first.as_ref().and_then(|v| v.get("onBehalfOf")), Some(&Value::str("ann")));
    sim.check();
}

#[test]
fn escalation_lets_others_vote_and_the_timeout_ends_it() {
    let mut sim = asking();
    assert_eq!(sim.next_timer(), secs(4 * 3600));
    vote(&mut sim, "lea", &["leads"], true).unwrap();
    assert_eq!(sim.next_timer(), secs(20 * 3600));
    sim.settle();
    assert!(
        matches!(&sim.run.phase, Phase::Faulted { problem } if problem.kind.ends_with("/timeout")),
        "{:?}",
        sim.run.phase
    );
    sim.check();
}

#[test]
fn a_paused_run_keeps_votes_and_goes_on_with_them() {
    let mut sim = asking();
    sim.pause().unwrap();
    vote(&mut sim, "ann", &[], true).unwrap();
    vote(&mut sim, "bob", &[], true).unwrap();
    assert!(sim.run.is_open());
    sim.resume().unwrap();
    sim.settle();
    assert_eq!(decided(&sim).get("decision"), Some(&Value::str("approved")));
    sim.check();
}

#[test]
fn what_is_computed_is_looked_at_when_it_is_known() {
    for (with, why) in [
        ("{ title: '${ .n }' }", "`title` is"),
        ("{ title: t, approvers: '${ { quorum: 0 } }' }", "from 1 to 100"),
        ("{ title: t, approvers: '${ { users: [\"a\"], quorum: 2 } }' }", "only 1 may vote"),
        ("{ title: t, escalate: '${ { after: \"PT1H\", to: {} } }' }", "names nobody"),
        ("{ title: t, escalate: '${ { after: \"soon\", to: { user: \"a\" } } }' }", "`escalate.after`"),
        ("{ title: t, approvers: '${ { users: [1] } }' }", "expected a name"),
    ] {
        let sim = Sim::start(&format!("do:\n  - ask: {{ call: approval.request, with: {with} }}\n"));
        let Phase::Faulted { problem } = &sim.run.phase else { panic!("{with}: {:?}", sim.run.phase) };
        let detail = problem.detail.as_deref().unwrap_or_default();
        assert!(detail.contains(why) && problem.kind.ends_with("/validation"), "{with}: {problem}");
        sim.check();
    }
}

#[test]
fn what_is_literal_is_looked_at_when_it_is_registered() {
    for (call, code) in [
        ("call: approval.request", "missing-property"),
        ("call: approval.request, with: {}", "missing-property"),
        ("call: approval.request, with: { title: t, approver: {} }", "unknown-property"),
        ("call: approval.request, with: { title: t, approvers: { gruop: x } }", "unknown-property"),
        ("call: approval.request, with: { title: t, approvers: { users: [ a ], quorum: 3 } }", "invalid-argument"),
        ("call: approval.request, with: { title: t, escalate: { after: PT1H } }", "invalid-argument"),
        ("call: 'approval.request:2.0.0', with: { title: t }", "unknown-operation"),
    ] {
        let source = format!(
            "document: {{ dsl: '1.0.3', namespace: t, name: w, version: '1.0.0' }}\ndo:\n  - ask: {{ {call} }}\n"
        );
        let errors = compile(&source, "w.yaml", &World).expect_err(call);
        assert!(errors.iter().any(|e| e.code == code), "{call}: {errors:?}");
    }
}
