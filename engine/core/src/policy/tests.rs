use proptest::prelude::*;

use super::*;

fn policy(source: &str) -> Policy {
    PolicyDocument::parse(source, "test.yaml").and_then(Policy::compile).unwrap_or_else(|d| {
        panic!("{}", d.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n"));
    })
}

fn shipped() -> Vec<Policy> {
    [
        include_str!("../../../../definitions/policies/fraud_max_drift.yaml"),
        include_str!("../../../../definitions/policies/model_retrain_gate.yaml"),
        include_str!("../../../../definitions/policies/sensitive_documents.yaml"),
    ]
    .map(policy)
    .into()
}

const REGO_TWIN: &str = "
cpd: policy/v1
name: twin
version: 1.0.0
parameters: { max_drift: { type: number, default: 0.15 } }
facts: { drift: { type: number } }
rego: |
  package t
  import rego.v1
  default decision := {\"outcome\": \"NOT_TRIGGERED\", \"reasons\": [], \"actions\": []}
  decision := {\"outcome\": \"TRIGGERED\", \"reasons\": [], \"actions\": []} if input.facts.drift > input.params.max_drift
";

#[test]
fn the_examples_beside_every_shipped_policy_hold() {
    for policy in shipped() {
        let results = policy.run_examples();
        assert!(results.len() >= 3, "{policy:?} needs examples");
        for result in results {
            assert!(result.passed(), "{policy:?} {}: {:?}", result.name, result.detail());
        }
    }
}

#[test]
fn a_decision_names_what_would_have_changed_it() {
    let decision = shipped()[0].decide(&json!({ "drift": 0.22 }), &Value::Null, Timestamp(0));
    assert_eq!(decision.would_change.as_deref(), Some("would be NOT_TRIGGERED at drift <= 0.15"));
    let decision = shipped()[0].decide(&json!({ "drift": 0.1 }), &Value::Null, Timestamp(0));
    assert_eq!(decision.would_change.as_deref(), Some("would be TRIGGERED at drift > 0.15"));
}

#[test]
fn facts_that_do_not_fit_are_an_error_with_the_name_of_what_does_not() {
    let policy = &shipped()[0];
    for (facts, name) in [
        (json!({}), "drift"),
        (json!({ "drift": "0.22" }), "drift"),
        (json!({ "drift": -1 }), "drift"),
        (json!({ "drift": 0.2, "drfit": 1 }), "drfit"),
        (json!([0.22]), "facts"),
    ] {
        let decision = policy.decide(&facts, &Value::Null, Timestamp(0));
        assert_eq!(decision.outcome, Outcome::Error, "{facts}");
        assert!(decision.reasons.iter().any(|r| r.contains(name)), "{facts}: {:?}", decision.reasons);
    }
}

#[test]
fn a_parameter_that_is_missing_or_unknown_is_an_error_that_names_it() {
    let source = "{cpd: policy/v1, name: p, version: 1.0.0, parameters: {limit: {type: number}}, facts: {x: {type: number}}, threshold: {any: [x > limit]}}";
    let policy = policy(source);
    let missing = policy.decide(&json!({ "x": 1 }), &Value::Null, Timestamp(0));
    assert_eq!(
        (missing.outcome, missing.reasons[0].contains("limit")),
        (Outcome::Error, true),
        "{:?}",
        missing.reasons
    );
    let unknown = policy.decide(&json!({ "x": 1 }), &json!({ "limit": 2, "limt": 3 }), Timestamp(0));
    assert_eq!((unknown.outcome, unknown.reasons[0].contains("limt")), (Outcome::Error, true), "{:?}", unknown.reasons);
}

#[test]
fn a_policy_in_shadow_records_its_outcome_and_lets_the_workflow_go_on() {
    let source =
        include_str!("../../../../definitions/policies/fraud_max_drift.yaml").replace("mode: enforce", "mode: shadow");
    let decision = policy(&source).decide(&json!({ "drift": 0.9 }), &Value::Null, Timestamp(0));
    assert_eq!(decision.outcome, Outcome::Triggered);
    let seen = decision.to_value();
    assert_eq!(seen.get("outcome"), Some(&Value::str("NOT_TRIGGERED")));
    assert_eq!(seen.get("shadow"), Some(&Value::str("TRIGGERED")));
}

#[test]
fn the_clock_of_a_rule_is_the_journaled_time_and_chance_is_refused() {
    let rule = |body: &str| {
        format!(
            "cpd: policy/v1\nname: p\nversion: 1.0.0\nrego: |\n  package t\n  import rego.v1\n  decision := {{\"outcome\": \"allow\", \"reasons\": [sprintf(\"%v\", [{body}])], \"actions\": []}}\n"
        )
    };
    let clock = policy(&rule("time.now_ns()")).decide(&json!({}), &Value::Null, Timestamp(1_000_000));
    assert_eq!(clock.reasons, ["1000000000"]);
    let refused = PolicyDocument::parse(&rule("rand.intn(\"x\", 5)"), "p.yaml").and_then(Policy::compile);
    assert!(refused.is_err(), "randomness is found when the policy is registered");
}

#[test]
fn a_runaway_rule_and_a_rule_that_gives_up_are_errors_not_ends_of_the_process() {
    let rule = |body: &str| {
        format!(
            "cpd: policy/v1\nname: p\nversion: 1.0.0\nfacts: {{n: {{type: integer}}, s: {{type: string}}}}\nrego: |\n  package t\n  import rego.v1\n  default decision := {{\"outcome\": \"allow\", \"reasons\": [], \"actions\": []}}\n  decision := {{\"outcome\": \"deny\", \"reasons\": [], \"actions\": []}} if {{ input.facts.n > 0; {body} }}\n"
        )
    };
    let runaway = rule("count([1 | some a in numbers.range(1, 90000); some b in numbers.range(1, 90000); a == b]) > 0");
    let decision = policy(&runaway).decide(&json!({ "n": 1, "s": "" }), &Value::Null, Timestamp(0));
    assert_eq!(decision.outcome, Outcome::Error, "{:?}", decision.reasons);
    let range = policy(&rule("count(numbers.range(1, 30000000)) > 0")).decide(
        &json!({ "n": 1, "s": "" }),
        &Value::Null,
        Timestamp(0),
    );
    assert_eq!(range.outcome, Outcome::Error, "{:?}", range.reasons);
    let panics = policy(&rule("strings.count(\"abc\", input.facts.s) > 0")).decide(
        &json!({ "n": 1, "s": "" }),
        &Value::Null,
        Timestamp(0),
    );
    assert_eq!(panics.outcome, Outcome::Error, "{:?}", panics.reasons);
}

#[test]
fn a_rule_that_would_keep_the_parser_busy_is_refused_at_once() {
    let rule = |body: &str| {
        format!(
            "cpd: policy/v1\nname: p\nversion: 1.0.0\nrego: |\n  package t\n  import rego.v1\n  decision := {body}\n"
        )
    };
    let refused = |source: &str| PolicyDocument::parse(source, "p.yaml").and_then(Policy::compile).unwrap_err();
    let deep = refused(&rule(&"{".repeat(40)));
    assert!(deep[0].message.contains("nest 40 deep"), "{:?}", deep[0].message);
    // Brackets in texts and comments are none.
    let quoted = rule(&format!(
        "{{\"outcome\": \"allow\", \"reasons\": [\"{}\"], \"actions\": []}} # {}",
        "{".repeat(40),
        "[".repeat(40)
    ));
    assert_eq!(policy(&quoted).decide(&json!({}), &Value::Null, Timestamp(0)).outcome, Outcome::Allow);
}

#[test]
fn the_digest_follows_the_content() {
    let source = include_str!("../../../../definitions/policies/fraud_max_drift.yaml");
    assert_eq!(policy(source).digest(), policy(source).digest());
    assert_ne!(policy(source).digest(), policy(&source.replace("0.15", "0.16")).digest());
}

proptest! {
    #[test]
    fn a_threshold_and_its_rego_twin_decide_alike(drift in 0.0..1.0f64, limit in 0.0..1.0f64) {
        let threshold = &shipped()[0];
        let twin = policy(REGO_TWIN);
        let (facts, overrides) = (json!({ "drift": drift }), json!({ "max_drift": limit }));
        let a = threshold.decide(&facts, &overrides, Timestamp(0));
        let b = twin.decide(&facts, &overrides, Timestamp(0));
        prop_assert_eq!(a.outcome, b.outcome);
        prop_assert_eq!(a.outcome == Outcome::Triggered, drift > limit);
    }

    #[test]
    fn no_facts_make_a_policy_panic(text in "\\PC{0,40}", number in proptest::num::f64::ANY, deep in 0usize..40) {
        let mut nested = Value::from(number);
        for _ in 0..deep {
            nested = json!([nested, text.as_str()]);
        }
        for policy in shipped() {
            for facts in [nested.clone(), json!({ "drift": nested, "findings": nested, "document": text.as_str() })] {
                let decision = policy.decide(&facts, &nested, Timestamp(0));
                prop_assert!(Outcome::of(decision.outcome.name()).is_some());
            }
        }
    }
}
