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

/// A policy whose rule is this, read on a stack of the size that the engine's threads have.
fn refusal(rules: &str) -> Option<String> {
    let lines: String = rules.lines().map(|line| format!("  {line}\n")).collect();
    let source = format!("cpd: policy/v1\nname: p\nversion: 1.0.0\nrego: |\n  package t\n  import rego.v1\n{lines}");
    let read =
        move || PolicyDocument::parse(&source, "p.yaml").and_then(Policy::compile).err().map(|d| d[0].message.clone());
    std::thread::Builder::new().stack_size(2 << 20).spawn(read).expect("a thread").join().expect("an answer")
}

const ALLOW: &str = "decision := {\"outcome\": \"allow\", \"reasons\": [], \"actions\": []} if";

// `f(x) := f(x)` ended the process with an overflow of the stack: at registration, and at a decision.
#[test]
fn functions_that_call_themselves_are_refused_instead_of_ending_the_process() {
    for rules in [
        "f(x) := f(x)",
        "f(x) := f(x + 1) if x > 0\nf(0) := 1",
        "f(x) := g(x)\ng(x) := y if {\n  y := f(x)\n}",
        "f(x) := 1 if {\n  x > 0\n} else := f(x)",
        "f(x) := data.t.f(x)",
        "f(x) := data.t[\"f\"](x)",
        "f(x) :=\n  f(x)",
        "g := 1 f(x) := f(x)",
        "f(x) if {\n  every y in [x] { f(y) }\n}",
    ] {
        let found = refusal(&format!("{rules}\n{ALLOW} f(1) == 1\n")).expect(rules);
        assert!(found.contains("refers to itself"), "{rules}: {found}");
    }
    let mocked = refusal(&format!("f(x) := 1\ng(x) := f(x)\n{ALLOW} f(1) == 1 with f as g\n")).expect("a refusal");
    assert!(mocked.contains("`with`"), "{mocked}");
}

#[test]
fn chains_of_rules_are_read_up_to_the_limit_and_refused_beyond_it() {
    let rules = |n: usize| {
        let chain: String = (0..n).map(|i| format!("r{i} := r{}\n", i + 1)).collect();
        format!("{chain}r{n} := 1\n{ALLOW} r0 == 1\n")
    };
    let functions = |n: usize| {
        let chain: String = (0..n).map(|i| format!("f{i}(x) := f{}(x)\n", i + 1)).collect();
        format!("{chain}f{n}(x) := 1\n{ALLOW} f0(1) == 1\n")
    };
    let nested = |n: usize| {
        let chain: String = (0..n).map(|i| format!("r{i} := [[[[[[[r{}]]]]]]]\n", i + 1)).collect();
        format!("{chain}r{n} := 1\n{ALLOW} r0\n")
    };
    for (name, at_most, beyond) in [
        ("rules", rules(28), rules(3_000)),
        ("functions", functions(13), functions(3_000)),
        ("nested", nested(3), nested(900)),
    ] {
        assert_eq!(refusal(&at_most), None, "{name}");
        let found = refusal(&beyond).expect(name);
        assert!(found.contains("reaches through too many"), "{name}: {found}");
    }
}

#[test]
fn rows_of_operators_are_read_up_to_the_limit_and_refused_beyond_it() {
    for operator in ["+", "-", "*", "|", "&", "<"] {
        let row = |n: usize| format!("x := 1{}\n{ALLOW} x\n", format!("\n{operator} 1").repeat(n));
        assert_ne!(refusal(&row(60)).as_deref().map(|m| m.contains("operators")), Some(true), "{operator}");
        let found = refusal(&row(15_000)).expect(operator);
        assert!(found.contains("15000 operators"), "{operator}: {found}");
    }
    assert_eq!(refusal(&format!("x := [1{}]\n{ALLOW} count(x) > 1\n", ", 1".repeat(200))), None);
    assert_eq!(refusal(&format!("{}{ALLOW} x0 == 1\n", "x0 := 1\n".repeat(500))), None, "rules beside each other");
}

#[test]
fn names_that_only_look_like_a_recursion_are_read() {
    let rules = "labels contains x if some x in input.labels\nkind contains 1 if {\n  x := {\"allowed\": 2}\n  x.allowed > 1\n}\nallowed if count(kind) > 0";
    let source = format!("{rules}\nfacts := input.facts\ncount_of(x) := count(x)\n{ALLOW} count_of(kind) >= 0\n");
    assert_eq!(refusal(&source), None);
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
