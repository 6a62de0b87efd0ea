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
        (json!({"pattern": "(a"}), "/pattern"),
        (json!({"if": {}}), "/if"),
        (json!({"$ref": "#/$defs/none"}), "/$ref"),
        (json!({"$ref": "https://example.com/schema"}), "/$ref"),
        (json!({"$defs": {"a": {"type": "text"}}}), "/$defs/a/type"),
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
fn references_patterns_and_exclusions_are_held() {
    let schema = json!({
        "$defs": {"sha": {"type": "string", "pattern": "^[0-9a-f]{4}$"}, "tree": {"items": {"$ref": "#/$defs/tree"}, "type": "array"}},
        "properties": {"a": {"$ref": "#/$defs/sha"}, "t": {"$ref": "#/$defs/tree"}},
        "not": {"required": ["a", "t"], "properties": {"a": true, "t": true}},
    });
    assert_eq!(defects(&schema), []);
    assert_eq!(said(&schema, &json!({"a": "00ff"})), Vec::<String>::new());
    assert_eq!(said(&schema, &json!({"a": "xyz"})), ["/a: found \"xyz\", expected text that matches ^[0-9a-f]{4}$"]);
    assert_eq!(said(&schema, &json!({"t": [[], [[1]]]})), ["/t/1/0/0: found 1, expected an array"]);
    assert_eq!(
        said(&schema, &json!({"a": "00ff", "t": []})),
        ["the value: found an object of 2, expected anything but an object with a, t"]
    );
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let schema = json!({"$ref": "#"});
    assert_eq!(check(&schema, &json!(1)).len(), 1);
    let nested = (0..10_000).fold(Value::Null, |inner, _| Value::from(vec![inner]));
    let deep = json!({"items": {"$ref": "#"}});
    assert_eq!(check(&deep, &nested).len(), 1);
    // A value this deep overflows the stack when it is dropped all at once; take it apart.
    let mut rest = nested;
    while let Value::Arr(items) = rest {
        rest = items.first().cloned().unwrap_or_default();
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
