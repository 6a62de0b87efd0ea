//! A case, as its file says it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// One case of a construct.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// Which of the settled points of the language it holds.
    #[serde(default)]
    #[expect(dead_code, reason = "for readers")]
    pub point: Option<u32>,
    /// The definition, with or without `document`.
    pub workflow: Value,
    /// Definitions that are registered before.
    #[serde(default)]
    pub others: Vec<Value>,
    /// The input.
    #[serde(default)]
    pub input: Option<Value>,
    /// Events for the run.
    #[serde(default)]
    pub events: Vec<Value>,
    /// Whether all events are given at once, before the run listens.
    #[serde(default)]
    pub early: bool,
    /// Secrets by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Documents by address.
    #[serde(default)]
    pub documents: BTreeMap<String, String>,
    /// What must come out.
    pub expect: Expect,
}

/// What must come out of a case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The output. Told apart from one that is null.
    #[serde(deserialize_with = "present")]
    pub output: Option<Value>,
    /// The context at the end.
    pub context: Option<Value>,
    /// The error.
    pub error: Option<Fault>,
    /// The refusal.
    pub refused: Option<Refusal>,
    /// The tasks that ran.
    pub tasks: Option<Vec<String>>,
    /// How many effects there were.
    pub effects: Option<usize>,
}

/// An error that a run ends with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// The last segment of its type, or all of it.
    pub r#type: Option<String>,
    /// Its status.
    pub status: Option<u16>,
    /// Its title.
    pub title: Option<String>,
    /// A part of its detail.
    pub detail: Option<String>,
    /// Its instance.
    pub instance: Option<String>,
}

/// A definition that is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// A code among the diagnostics.
    pub code: String,
    /// The JSON pointer of that diagnostic.
    #[serde(default)]
    pub at: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

/// Where the cases are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases")
}

/// The constructs that there are cases of.
pub fn constructs() -> Vec<String> {
    let files = std::fs::read_dir(folder()).expect("the folder of the cases").flatten().map(|e| e.path());
    let yaml = files.filter(|p| p.extension().is_some_and(|e| e == "yaml"));
    let mut names: Vec<String> = yaml.map(|p| p.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The cases of a construct; `{HTTP}` is the address of the server.
pub fn cases(construct: &str, http: &str) -> Vec<Case> {
    let path = folder().join(format!("{construct}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    let cases: Vec<Case> = serde_yaml_ng::from_str(&text.replace("{HTTP}", http))
        .unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    for case in &cases {
        let e = &case.expect;
        let ends = usize::from(e.output.is_some()) + usize::from(e.error.is_some()) + usize::from(e.refused.is_some());
        assert_eq!(ends, 1, "{construct}: {}: expected exactly one of output, error and refused", case.name);
    }
    cases
}

impl Case {
    /// The source of its definition.
    pub fn source(&self) -> String {
        let mut workflow = self.workflow.clone();
        if let Some(members) = workflow.as_object_mut().filter(|m| !m.contains_key("document")) {
            let document = serde_json::json!({ "dsl": "1.0.3", "namespace": "t", "name": "case", "version": "1.0.0" });
            members.insert("document".into(), document);
        }
        workflow.to_string()
    }

    /// Its events, each with an identity.
    pub fn events(&self) -> Vec<Value> {
        let identified = |(i, event): (usize, &Value)| {
            let mut event = event.clone();
            let members = event.as_object_mut().expect("an event is an object");
            members.entry("id").or_insert_with(|| format!("e{i}").into());
            members.entry("source").or_insert_with(|| "/conformance".into());
            event
        };
        self.events.iter().enumerate().map(identified).collect()
    }
}
