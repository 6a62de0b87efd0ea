//! Policies.

use super::parts::text;
use super::{DIALECT, about, closed, list_of, map_of, object, one_of_members, set, typed, words};
use crate::Value;
use crate::policy::Outcome;

/// The schema of policies.
pub fn policy() -> Value {
    let mut texts = list_of(typed("string"));
    set(&mut texts, "minItems", Value::from(1_i64));
    let names = Outcome::ALL.map(Outcome::name);
    let outcome = || words(&names);
    let mut threshold = closed(
        &[],
        [
            ("any", about("The policy is met if one of these holds, such as `drift > max_drift`.", texts.clone())),
            ("all", about("The policy is met if all of these hold.", texts)),
            ("met", outcome()),
            ("otherwise", outcome()),
            ("actions", list_of(Value::object())),
        ],
    );
    one_of_members(&mut threshold, &["any", "all"]);
    let expect = closed(
        &["outcome"],
        [("outcome", outcome()), ("reasons", list_of(typed("string"))), ("actions", Value::object())],
    );
    let example = closed(
        &["expect"],
        [("name", Value::object()), ("facts", Value::object()), ("parameters", Value::object()), ("expect", expect)],
    );
    let declared = |what: &str| about(what, map_of(typed("object")));
    let label = "[A-Za-z0-9][A-Za-z0-9_-]*";
    let members = [
        ("cpd", object([("const", Value::str(crate::policy::HEADER))])),
        ("name", text(&format!("^({label}/)?{label}$"))),
        ("version", about("A semantic version, quoted or with three parts.", text(r"^\d+\.\d+\.\d+([-+].*)?$"))),
        ("title", typed("string")),
        ("description", Value::object()),
        ("owner", about("Who answers for it.", typed("string"))),
        ("mode", about("Whether decisions bind.", words(&["enforce", "shadow"]))),
        ("parameters", declared("Names, and JSON Schemas with a `default`.")),
        ("facts", declared("Names, and JSON Schemas; `optional: true` for those that may be missing.")),
        ("threshold", threshold),
        ("rego", about("A Rego module.", typed("string"))),
        ("obligations", Value::object()),
        ("sensitive", about("JSON pointers of facts that must be masked.", list_of(typed("string")))),
        ("tags", Value::object()),
        ("examples", about("What `cpd policy test` runs.", list_of(example))),
    ];
    let mut schema = closed(&["cpd", "name", "version"], members);
    one_of_members(&mut schema, &["threshold", "rego"]);
    set(&mut schema, "$schema", Value::str(DIALECT));
    set(&mut schema, "title", Value::str("cpd policy"));
    schema
}
