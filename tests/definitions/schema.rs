//! The schemas for editors, held against what the reader does.

use std::collections::BTreeSet;

use cpd_core::Value;
use cpd_core::definition::lint::rules::RULES;
use cpd_core::definition::{self, DocumentKind, Severity, form};
use cpd_core::policy::PolicyDocument;
use serde_json::Value as Json;

use crate::environment::INSTALLED;
use crate::{root, yaml_files};

/// Codes that are about the form alone.
const STRUCTURAL: [&str; 9] = [
    "unknown-property",
    "missing-property",
    "wrong-type",
    "wrong-shape",
    "task-item",
    "no-task-keyword",
    "several-task-keywords",
    "empty-list",
    "empty-object",
];

fn validator(schema: &Value) -> jsonschema::Validator {
    let schema = serde_json::to_value(schema).expect("JSON");
    assert!(jsonschema::meta::is_valid(&schema), "a schema of its own dialect");
    jsonschema::validator_for(&schema).expect("a schema")
}

fn workflows() -> jsonschema::Validator {
    let operations = cpd::wiring::operations(&cpd::config::Config::default()).expect("operations");
    validator(&form::workflow(&form::Names { operations, ..form::Names::default() }))
}

fn json(source: &str) -> Option<Json> {
    serde_json::to_value(definition::read_value(source, "w.yaml").ok()?).ok()
}

/// Sources of workflows that the reader takes: what ships, and the examples of the pages.
fn good_workflows() -> Vec<(String, String)> {
    let mut out = Vec::new();
    for folder in ["definitions/workflows", "definitions/workflows/examples"] {
        out.extend(yaml_files(&root().join(folder)).into_iter().map(|(p, text)| (p.display().to_string(), text)));
    }
    for rule in RULES.iter().filter(|r| r.page.contains(", workflows*")) {
        out.push((format!("good {}", rule.id), rule.example("Good").expect("one").to_owned()));
        if rule.severity == Severity::Warning {
            out.push((format!("bad {}", rule.id), rule.example("Bad").expect("one").to_owned()));
        }
    }
    out
}

#[test]
fn whatever_the_reader_takes_the_schema_takes() {
    let schema = workflows();
    let all = good_workflows();
    assert!(all.len() > 100, "{}", all.len());
    let mut wrong = Vec::new();
    for (name, source) in all {
        let document = json(&source).expect("YAML");
        wrong.extend(schema.iter_errors(&document).map(|e| format!("{name}{}: {e}", e.instance_path())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_in_form_the_schema_refuses() {
    let schema = workflows();
    let mut sources: Vec<(String, String)> = yaml_files(&root().join("definitions/invalid/workflows"))
        .into_iter()
        .map(|(p, text)| (p.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned(), text))
        .collect();
    let pages = RULES.iter().filter(|r| STRUCTURAL.contains(&r.id));
    sources.extend(pages.map(|r| (r.id.to_owned(), r.example("Bad").expect("one").to_owned())));
    let (mut refused, mut taken) = (0, Vec::new());
    for (name, source) in sources {
        let Some(document) = json(&source) else { continue };
        let Err(found) = definition::compile(&source, "w.yaml", &*INSTALLED) else { continue };
        let codes: BTreeSet<&str> = found.iter().map(|d| &*d.code).filter(|c| STRUCTURAL.contains(c)).collect();
        if !codes.is_empty() && schema.is_valid(&document) {
            taken.push(format!("{name}: {codes:?}"));
        } else {
            refused += usize::from(!codes.is_empty());
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
    assert!(refused > 20, "only {refused} files are wrong in their form");
}

/// The JSON pointers of all objects in a value.
fn objects(value: &Json, pointer: &str, out: &mut Vec<String>) {
    let escaped = |k: &str| k.replace('~', "~0").replace('/', "~1");
    match value {
        Json::Object(map) => {
            out.push(pointer.to_owned());
            map.iter().for_each(|(k, v)| objects(v, &format!("{pointer}/{}", escaped(k)), out));
        }
        Json::Array(items) => items.iter().enumerate().for_each(|(i, v)| objects(v, &format!("{pointer}/{i}"), out)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Changes each object of each document in two ways, by a member that nobody knows and by leaving each member out, and compares.
fn compare(
    schema: &jsonschema::Validator,
    documents: Vec<(String, Json)>,
    read: impl Fn(&str) -> Result<(), Vec<String>>,
) {
    let (mut tried, mut wrong) = (0, Vec::new());
    for (name, document) in documents {
        let mut pointers = Vec::new();
        objects(&document, "", &mut pointers);
        for pointer in pointers {
            let keys: Vec<String> = document
                .pointer(&pointer)
                .and_then(Json::as_object)
                .map(|m| m.keys().cloned().collect())
                .unwrap_or_default();
            for change in keys.iter().map(Some).chain([None]) {
                let mut changed = document.clone();
                let map = changed.pointer_mut(&pointer).and_then(Json::as_object_mut).expect("an object");
                match change {
                    Some(key) => drop(map.remove(key)),
                    None => drop(map.insert("zzzSurprise".into(), Json::Bool(true))),
                }
                tried += 1;
                let taken = schema.is_valid(&changed);
                let what = change.map_or("a surprise".to_owned(), |key| format!("no {key}"));
                match read(&changed.to_string()) {
                    Ok(()) if !taken => wrong.push(format!("{name}: {what} in {pointer}: the reader takes it")),
                    Err(codes) if taken && codes.iter().any(|c| STRUCTURAL.contains(&&**c)) => {
                        wrong.push(format!(
                            "{name}: {what} in {pointer}: the schema takes it, the reader says {codes:?}"
                        ));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }
    assert!(tried > 30, "only {tried} changes");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn reader_and_schema_agree_about_every_member_of_every_workflow() {
    let documents = good_workflows().into_iter().map(|(name, s)| (name, json(&s).expect("YAML"))).collect();
    compare(&workflows(), documents, |source| {
        let compiled = definition::compile(source, "w.yaml", &*INSTALLED);
        compiled.map(drop).map_err(|found| found.iter().map(|d| d.code.to_string()).collect())
    });
}

#[test]
fn reader_and_schema_agree_about_every_member_of_every_policy_and_agent() {
    let of = |folder: &str, kind| -> Vec<(String, Json)> {
        let files = yaml_files(&root().join(folder)).into_iter().map(|(p, t)| (p.display().to_string(), t));
        let pages = RULES.iter().filter_map(|r| Some((r.id.to_owned(), r.example("Good")?.to_owned())));
        let all = files.chain(pages.filter(|(_, t)| definition::kind_of(t, "d") == Ok(kind)));
        all.map(|(name, t)| (name, json(&t).expect("YAML"))).collect()
    };
    let policies = of("definitions/policies", DocumentKind::Policy);
    compare(&validator(&form::policy()), policies, |source| {
        let codes = |found: Vec<definition::Diagnostic>| found.iter().map(|d| d.code.to_string()).collect::<Vec<_>>();
        PolicyDocument::parse(source, "p.yaml").map(drop).map_err(codes)
    });
    let agents = of("definitions/agents", DocumentKind::Agent);
    compare(&validator(&cpd::schema::agent()), agents, |source| {
        use cpd_connectors::agent::document::{AgentDocument, Error};
        let value = definition::read_value(source, "a.yaml").expect("JSON");
        AgentDocument::from_value(&value).map(drop).map_err(|e| match e {
            Error::Shape { .. } => vec!["unknown-property".to_owned()],
            Error::Faults { faults, .. } => faults,
        })
    });
}
