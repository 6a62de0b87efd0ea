//! Policies: any text as a document, and any facts against the policies that ship.
//!
//! The first byte chooses: a document (text follows), or a decision (JSON `{"facts": …, "parameters": …}` or raw bytes follow).
//! Holds: no panic; the same facts, the same decision; a decision that is not an error had facts that fit the policy.
#![no_main]

use cpd_core::Value;
use cpd_core::policy::{Outcome, Policy, PolicyDocument};
use cpd_core::time::Timestamp;
use cpd_fuzz::documents::World;
use cpd_fuzz::values::value;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((choice, rest)) = data.split_first() else { return Corpus::Reject };
    if choice % 2 == 0 {
        let Ok(source) = std::str::from_utf8(rest) else { return Corpus::Reject };
        if let Ok(document) = PolicyDocument::parse(source, "fuzz.yaml")
            && let Ok(policy) = Policy::compile(document)
        {
            policy.run_examples();
            decide(&policy, &Value::object(), &Value::Null);
        }
        return Corpus::Keep;
    }
    let policies = World::get().policies();
    let policy = &policies[usize::from(choice / 2) % policies.len()];
    let (facts, parameters) = match Value::from_json(rest) {
        Ok(given) => {
            let member = |name: &str| given.get(name).cloned().unwrap_or_default();
            (member("facts"), member("parameters"))
        }
        Err(_) => {
            let mut u = Unstructured::new(rest);
            let (Ok(facts), Ok(parameters)) = (value(&mut u, 3), value(&mut u, 2)) else { return Corpus::Reject };
            (facts, parameters)
        }
    };
    decide(policy, &facts, &parameters);
    Corpus::Keep
});

fn decide(policy: &Policy, facts: &Value, parameters: &Value) {
    let now = Timestamp(1_700_000_000_000_000);
    let decision = policy.decide(facts, parameters, now);
    // As text: a fact that is no number is not equal to itself.
    let again = policy.decide(facts, parameters, now);
    assert_eq!(format!("{decision:?}"), format!("{again:?}"), "two decisions differ");
    assert_eq!(decision.to_value().get("outcome").and_then(Value::as_str), Some(decision.outcome.name()));
    if decision.outcome == Outcome::Error {
        assert!(!decision.reasons.is_empty(), "an error without a reason: {decision:?}");
    } else {
        let known = |name: &str| policy.fact_names().any(|fact| fact == name);
        let members = facts.as_object().into_iter().flatten();
        assert!(members.clone().all(|(name, _)| known(name)), "an unknown fact was let through: {decision:?}");
    }
}
