//! Summaries as people read them, and that no data makes the summariser fail.

use cpd_connector_api::json;
use proptest::prelude::*;

use super::*;

#[test]
fn a_run_of_drift_policy_training_and_promotion_reads_like_a_report() {
    let data = json!({
        "run": {"model": "card-fraud", "window": "P7D"},
        "promotion": {"model": "card-fraud", "version": "2", "alias": "champion", "previousVersion": "1", "changed": true},
        "drift": {"psi": 0.2231, "threshold": 0.15, "rows": 120_000, "features": [
            {"feature": "amount", "psi": 0.41, "drifted": true},
            {"feature": "country", "psi": 0.22, "drifted": true},
            {"feature": "hour", "psi": 0.02, "drifted": false},
        ]},
        "policy": {"decision": "allow", "policy": "fraud/model-retrain", "policyVersion": "1.2.0",
            "reasons": ["drift 0.2231 is above max_drift 0.15", "labels are fresh"]},
        "job": {"model": "card-fraud", "version": "2", "jobId": "sandbox-job-1", "metrics": {"auc": 0.92, "logLoss": 0.21}},
    });
    assert_eq!(
        summarise(&data).text(),
        "card-fraud: drift found (PSI 0.2231); 2 of 3 features drifted; policy allowed it; retrained as version 2; \
         version 2 is champion.\n\n\
         Card-fraud has drifted: PSI is 0.2231, above the limit of 0.15. \
         2 of 3 features drifted; the largest: amount (PSI 0.41), country (PSI 0.22) and hour (PSI 0.02). \
         Policy fraud/model-retrain (version 1.2.0) allowed the action: drift 0.2231 is above max_drift 0.15 and labels are fresh. \
         Card-fraud was retrained: version 2 is registered (job sandbox-job-1; auc 0.92; log loss 0.21). \
         Version 2 of card-fraud is now champion; before, it was version 1.\n\n\
         Details:\n- Run, window: P7D\n- Drift, rows: 120,000"
            .replace("auc 0.92; log loss", "auc 0.92 and log loss")
    );
}

#[test]
fn a_denial_and_a_quiet_model_are_told_as_such() {
    let quiet = summarise(&json!({"model": "churn", "js_distance": 0.04, "max_drift": 0.1}));
    assert_eq!(quiet.headline, "churn: no drift (JS distance 0.04).");
    let denied = summarise(&json!({"decision": "deny", "reasons": [{"message": "labels are stale"}]}));
    assert_eq!(denied.headline, "Policy denied it.");
    assert_eq!(denied.sentences, ["The policy denied the action: labels are stale."]);
    let approved =
        summarise(&json!({"approval": {"decision": "approved", "by": "alice", "at": "2026-11-23T05:00:00Z"}}));
    assert_eq!(
        approved.text(),
        "Approved by alice.\n\nAlice approved it.\n\nDetails:\n- Approval, at: 2026-11-23T05:00:00Z"
    );
}

#[test]
fn failures_are_told_with_their_reason() {
    let failed = summarise(&json!({"job": {"jobId": "j-9", "status": "failed", "model": "m", "error": "no labels"}}));
    assert_eq!(failed.sentences, ["Training of m (job j-9) failed: no labels."]);
    let problem = summarise(
        &json!({"error": {"type": "https://x/communication", "status": 503, "title": "Communication error", "detail": "atlas is away"}}),
    );
    assert_eq!(problem.sentences, ["It went wrong: Communication error (503): atlas is away."]);
}

#[test]
fn data_of_any_other_shape_is_listed_in_words() {
    let data = json!({"orderTotal": 1234567.5, "items": [1, 2, 3], "express": true, "customer": {"firstName": "Ada"}, "note": null});
    assert_eq!(
        summarise(&data).text(),
        "4 facts about order total, items, express, customer and note.\n\n\
         Details:\n- Order total: 1,234,567.5\n- Items: 1, 2 and 3\n- Express: yes\n- Customer, first name: Ada"
    );
    assert_eq!(summarise(&json!({})).text(), "There is nothing to summarise: the data is empty.");
    assert_eq!(summarise(&json!(3)).headline, "The data is one value, 3.");
    let many: Value = (0..100_i64).map(|i| json!({"n": i})).collect();
    let told = summarise(&many);
    assert_eq!(told.headline, "A list of 100 entries.");
    assert_eq!(told.facts.last().unwrap(), "100 in all, 5 of them told here");
}

#[test]
fn what_is_cut_says_how_much_there_was() {
    let wide =
        Value::from((0..100_i64).map(|i| (format!("f{i}").into(), Value::from(i))).collect::<cpd_connector_api::Map>());
    let told = summarise(&wide);
    assert_eq!(told.facts.len(), FACTS_MAX + 1);
    assert_eq!(told.facts.last().unwrap(), "and 70 more");
}

fn any_value() -> impl Strategy<Value = Value> {
    let names =
        ["psi", "decision", "model", "reasons", "metrics", "jobId", "alias", "version", "type", "status", "é_x", ""];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("allow")),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(names.to_vec()), inner), 0..6).prop_map(|m| Value::from(
                m.into_iter().map(|(k, v)| (k.into(), v)).collect::<cpd_connector_api::Map>()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn any_data_gets_the_same_summary_twice_and_never_an_empty_one(data in any_value()) {
        let told = summarise(&data);
        prop_assert!(!told.headline.trim().is_empty());
        prop_assert_eq!(&told, &summarise(&data));
        prop_assert!(told.facts.len() <= FACTS_MAX + 1);
    }
}
