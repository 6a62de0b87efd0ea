//! What the check says, case by case, and that no value or schema makes it panic.

use proptest::prelude::*;

use super::*;
use crate::json;

fn said(schema: &Value, value: &Value) -> Vec<String> {
    check(schema, value).iter().map(Violation::to_string).collect()
}

#[test]
fn a_fitting_value_has_no_violations() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["model"],
        "properties": {
            "model": {"type": "string", "minLength": 1},
            "limit": {"type": "integer", "minimum": 1, "maximum": 10},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    });
    assert_eq!(defects(&schema), []);
    assert_eq!(said(&schema, &json!({"model": "m", "limit": 3.0, "tags": {"a": "b"}})), Vec::<String>::new());
    assert_eq!(
        said(&schema, &json!({"modle": "m", "limit": 11, "tags": {"a/b": 1}})),
        [
            r#"the value: member "model" is missing"#,
            r#"/modle: found a member that is not known (did you mean "model"?)"#,
            "/limit: found 11, expected at most 10",
            "/tags/a~1b: found 1, expected a string",
        ]
    );
}

#[test]
fn an_enum_names_what_is_allowed_and_what_was_probably_meant() {
    let schema = json!({"enum": ["content", "raw", "response"]});
    assert_eq!(
        said(&schema, &json!("contents")),
        [r#"the value: found "contents", expected one of "content", "raw", "response" (did you mean "content"?)"#]
    );
}

#[test]
fn a_choice_reports_the_branch_that_was_meant() {
    let schema = json!({"oneOf": [
        {"type": "string"},
        {"type": "object", "required": ["uri"], "properties": {"uri": {"type": "string"}}, "additionalProperties": false},
    ]});
    assert_eq!(defects(&schema), []);
    assert_eq!(said(&schema, &json!("x")), Vec::<String>::new());
    assert_eq!(said(&schema, &json!({"uri": 1})), ["/uri: found 1, expected a string"]);
    assert_eq!(said(&schema, &json!(1)), ["the value: found 1, expected a string or an object with uri"]);
}

#[test]
fn what_is_not_known_yet_fits_everything() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false});
    let expression = |v: &Value| v.as_str().is_some_and(|s| s.starts_with("${"));
    assert_eq!(check_with(&schema, &json!({"n": "${ .n }"}), &expression), []);
    assert_eq!(check_with(&schema, &json!({"n": "3"}), &expression).len(), 1);
    assert_eq!(check_with(&schema, &json!({"m": "${ .n }"}), &expression).len(), 1);
}

#[test]
fn what_is_write_only_is_never_shown() {
    let schema = json!({"properties": {"auth": {
        "writeOnly": true, "type": "object", "properties": {"token": {"type": "integer"}, "kind": {"enum": ["a"]}},
    }}});
    assert_eq!(said(&schema, &json!({"auth": "hunter2"})), ["/auth: found a string (not shown), expected an object"]);
    let inside = said(&schema, &json!({"auth": {"token": "hunter2", "kind": "hunter2"}}));
    assert_eq!(inside.len(), 2);
    assert!(!inside.concat().contains("hunter2"), "{inside:?}");
}

#[test]
fn a_schema_that_promises_what_nobody_enforces_is_defective() {
    for (schema, at) in [
        (json!({"pattern": "^a"}), "/pattern"),
        (json!({"type": "text"}), "/type"),
        (json!({"required": ["a"], "properties": {}}), "/required"),
        (json!({"properties": {"a": 3}}), "/properties/a"),
        (json!({"anyOf": []}), "/anyOf"),
        (json!({"minLength": -1}), "/minLength"),
    ] {
        let found = defects(&schema);
        assert_eq!(found.iter().map(|v| v.at.as_str()).collect::<Vec<_>>(), [at], "{schema}");
    }
}

#[test]
fn a_million_bad_items_make_a_short_report() {
    let schema = json!({"items": {"type": "string"}});
    let value: Value = (0..1_000_000_i64).map(Value::from).collect();
    assert_eq!(check(&schema, &value).len(), MOST);
}

fn any_value() -> impl Strategy<Value = Value> {
    let words =
        ["type", "object", "string", "properties", "required", "items", "anyOf", "a", "enum", "oneOf", "minimum"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(words.to_vec()), inner), 0..5)
                .prop_map(|m| Value::from(m.into_iter().map(|(k, v)| (k.into(), v)).collect::<crate::value::Map>())),
        ]
    })
}

proptest! {
    #[test]
    fn no_schema_and_no_value_make_it_panic(schema in any_value(), value in any_value()) {
        let _ = defects(&schema);
        prop_assert!(check(&schema, &value).len() <= MOST);
    }
}

#[test]
fn references_lead_to_definitions_and_circles_end() {
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"file": {"$ref": "#/$defs/file"}, "tree": {"$ref": "#/$defs/tree"}},
        "$defs": {
            "file": {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}},
            "tree": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "string"}]},
        },
    });
    assert_eq!(defects(&schema), []);
    assert_eq!(said(&schema, &json!({"file": {"path": 1}})), ["/file/path: found 1, expected a string"]);
    assert_eq!(said(&schema, &json!({"file": {}})), [r#"/file: member "path" is missing"#]);
    let _ = check(&schema, &json!({"tree": 1}));
    assert_eq!(defects(&json!({"$ref": "#/$defs/no"})).len(), 1);
}

#[test]
fn what_is_excluded_is_said() {
    let schema =
        json!({"type": "object", "not": {"required": ["bins", "edges"]}, "properties": {"bins": {}, "edges": {}}});
    assert_eq!(said(&schema, &json!({"bins": 1})), Vec::<String>::new());
    assert_eq!(
        said(&schema, &json!({"bins": 1, "edges": 2})),
        ["the value: found an object of 2, which is excluded: an object with bins, edges"]
    );
}
