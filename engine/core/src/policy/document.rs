//! The shape of a policy document, read from YAML or JSON with every error at its place.
//!
//! ```yaml
//! cpd: policy/v1
//! name: fraud_max_drift
//! version: 1.0.0
//! mode: enforce                      # or shadow
//! parameters: { max_drift: { type: number, minimum: 0, default: 0.15 } }
//! facts: { drift: { type: number, minimum: 0 } }
//! threshold:                         # or `rego: |`
//!   any: [ drift > max_drift ]
//!   actions: [ trigger_retrain ]
//! examples: [ { name: above, facts: { drift: 0.2 }, expect: { outcome: TRIGGERED } } ]
//! ```

use std::sync::Arc;

use crate::Value;
use crate::definition::{self, Diagnostic, names};
use crate::schema;
use crate::value::Map;

use super::{Mode, Outcome};

/// The header that says what a document is.
pub const HEADER: &str = "policy/v1";

const MEMBERS: [&str; 15] = [
    "cpd",
    "name",
    "version",
    "title",
    "description",
    "owner",
    "mode",
    "parameters",
    "facts",
    "threshold",
    "rego",
    "obligations",
    "sensitive",
    "tags",
    "examples",
];

/// A policy as it is written.
#[derive(Clone, Debug)]
pub struct PolicyDocument {
    /// The source text.
    pub source: Arc<str>,
    /// The file that it came from, for messages.
    pub file: Arc<str>,
    /// Its name, perhaps `namespace/name`.
    pub name: Arc<str>,
    /// Its version, semantic.
    pub version: Arc<str>,
    /// A line about it.
    pub title: Option<Arc<str>>,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// Whether its decisions bind.
    pub mode: Mode,
    /// Parameters: name → JSON Schema with `default`.
    pub parameters: Map,
    /// Facts: name → JSON Schema; `optional: true` for those that may be missing.
    pub facts: Map,
    /// The rule.
    pub rule: Rule,
    /// What must be kept to, unless the rule says otherwise.
    pub obligations: Value,
    /// JSON pointers of facts that must not leave the journal unmasked.
    pub sensitive: Vec<Arc<str>>,
    /// What `cpd policy test` runs.
    pub examples: Vec<Example>,
}

/// How a policy decides.
#[derive(Clone, Debug)]
pub enum Rule {
    /// `threshold`
    Threshold(ThresholdRule),
    /// `rego`
    Rego(Arc<str>),
}

/// `threshold`
#[derive(Clone, Debug)]
pub struct ThresholdRule {
    /// `any` or `all`: conditions such as `drift > max_drift`.
    pub conditions: Vec<String>,
    /// Whether all must hold.
    pub all: bool,
    /// The outcome if they do.
    pub met: Outcome,
    /// The outcome if they do not.
    pub otherwise: Outcome,
    /// What is to be done if they do.
    pub actions: Value,
}

/// An example that stands beside a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What it shows.
    pub name: Arc<str>,
    /// The facts.
    pub facts: Value,
    /// Parameters instead of the policy's.
    pub parameters: Value,
    /// What is expected.
    pub outcome: Outcome,
    /// The reasons that are expected, if they matter.
    pub reasons: Option<Vec<String>>,
    /// The actions that are expected, if they matter.
    pub actions: Option<Value>,
}

impl PolicyDocument {
    /// Reads a policy from YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with its shape.
    pub fn parse(source: &str, file: &str) -> Result<Self, Vec<Diagnostic>> {
        let value = definition::read_value(source, file)?;
        let mut reader = Reader { wrong: Vec::new() };
        let document = reader.document(&value, source, file);
        match document {
            Some(document) if reader.wrong.is_empty() => Ok(document),
            _ => Err(place(reader.wrong, source, file)),
        }
    }

    /// Diagnostics with the places that their pointers mean in this document.
    pub(super) fn placed(&self, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
        place(diagnostics, &self.source, &self.file)
    }
}

fn place(diagnostics: Vec<Diagnostic>, source: &str, file: &str) -> Vec<Diagnostic> {
    let place = |mut d: Diagnostic| {
        if d.span.is_none() {
            d.span = definition::locate(source, &d.pointer);
        }
        d.within(&Arc::from(file), source)
    };
    diagnostics.into_iter().map(place).collect()
}

struct Reader {
    wrong: Vec<Diagnostic>,
}

impl Reader {
    fn say(&mut self, code: &'static str, pointer: &str, message: String, hint: Option<String>) {
        let mut diagnostic = Diagnostic::error(code, message);
        diagnostic.pointer = pointer.to_owned();
        self.wrong.push(match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        });
    }

    fn document(&mut self, value: &Value, source: &str, file: &str) -> Option<PolicyDocument> {
        let Some(map) = value.as_object() else {
            self.say("wrong-type", "", format!("found {}, expected a policy: an object", value.kind()), None);
            return None;
        };
        self.known(map, &MEMBERS, "");
        if map.get("cpd").and_then(Value::as_str) != Some(HEADER) {
            let found = map.get("cpd").map_or_else(|| "nothing".to_owned(), Value::to_json);
            self.say("wrong-header", "/cpd", format!("found {found}, expected `cpd: {HEADER}`"), None);
        }
        let name = self.text(map, "name", true);
        if let Some(name) = &name
            && !(name.len() <= 128 && name.split('/').all(label) && name.split('/').count() <= 2)
        {
            let hint = "letters, digits, `-` and `_`, perhaps after `namespace/`".to_owned();
            self.say("bad-name", "/name", format!("found {name:?}, expected a name"), Some(hint));
        }
        let version = self.text(map, "version", true);
        if let Some(version) = &version
            && !semantic(version)
        {
            self.say(
                "bad-version",
                "/version",
                format!("found {version:?}, expected a semantic version such as 1.0.0"),
                None,
            );
        }
        let mode = match self.text(map, "mode", false).as_deref() {
            None | Some("enforce") => Mode::Enforce,
            Some("shadow") => Mode::Shadow,
            Some(other) => {
                self.say("bad-value", "/mode", format!("found {other:?}, expected enforce or shadow"), None);
                Mode::Enforce
            }
        };
        let parameters = self.schemas(map, "parameters", &["default", "description"]);
        for (name, schema) in &parameters {
            if let Some(default) = schema.get("default") {
                let plain: Map = schema
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(k, _)| &***k != "default" && &***k != "description")
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                for violation in schema::check(&Value::from(plain), default) {
                    let message =
                        format!("the default of parameter {name:?} does not fit its own schema: {}", violation.what);
                    self.say("bad-default", &format!("/parameters/{name}/default"), message, violation.hint);
                }
            }
        }
        let facts = self.schemas(map, "facts", &["optional", "description"]);
        let title = self.text(map, "title", false);
        let owner = self.text(map, "owner", false);
        let rule = self.rule(map);
        let obligations = map.get("obligations").cloned().unwrap_or_else(Value::object);
        let sensitive = self.texts(map.get("sensitive"), "/sensitive");
        let examples = self.examples(map);
        Some(PolicyDocument {
            source: Arc::from(source),
            file: Arc::from(file),
            name: name?,
            version: version?,
            title,
            owner,
            mode,
            parameters,
            facts,
            rule: rule?,
            obligations,
            sensitive,
            examples,
        })
    }

    fn rule(&mut self, map: &Map) -> Option<Rule> {
        match (map.get("threshold"), map.get("rego")) {
            (Some(threshold), None) => self.threshold(threshold).map(Rule::Threshold),
            (None, Some(Value::Str(source))) => Some(Rule::Rego(source.clone())),
            (None, Some(other)) => {
                self.say(
                    "wrong-type",
                    "/rego",
                    format!("found {}, expected a text with a Rego module", other.kind()),
                    None,
                );
                None
            }
            (Some(_), Some(_)) => {
                self.say("two-rules", "/rego", "found both `threshold` and `rego`, expected one".to_owned(), None);
                None
            }
            (None, None) => {
                let hint = "`threshold: { any: [ drift > max_drift ] }`, or `rego: |` with a module".to_owned();
                self.say("missing-property", "", "the policy has no rule".to_owned(), Some(hint));
                None
            }
        }
    }

    fn threshold(&mut self, value: &Value) -> Option<ThresholdRule> {
        let Some(map) = value.as_object() else {
            self.say(
                "wrong-type",
                "/threshold",
                format!("found {}, expected an object with `any` or `all`", value.kind()),
                None,
            );
            return None;
        };
        self.known(map, &["any", "all", "met", "otherwise", "actions"], "/threshold");
        let (key, all) = match (map.get("any"), map.get("all")) {
            (Some(_), None) => ("any", false),
            (None, Some(_)) => ("all", true),
            _ => {
                self.say(
                    "missing-property",
                    "/threshold",
                    "a threshold needs `any` or `all`, one of them".to_owned(),
                    None,
                );
                return None;
            }
        };
        let pointer = format!("/threshold/{key}");
        let conditions = self.texts(map.get(key), &pointer).iter().map(ToString::to_string).collect::<Vec<_>>();
        if conditions.is_empty() {
            self.say("empty", &pointer, "a threshold needs at least one condition".to_owned(), None);
        }
        let met = self.outcome(map, "met", "/threshold/met").unwrap_or(Outcome::Triggered);
        let otherwise = self.outcome(map, "otherwise", "/threshold/otherwise").unwrap_or(match met {
            Outcome::Triggered | Outcome::NotTriggered | Outcome::Error => Outcome::NotTriggered,
            Outcome::Allow | Outcome::Review | Outcome::Deny => Outcome::Allow,
        });
        let gate = |o: Outcome| matches!(o, Outcome::Allow | Outcome::Review | Outcome::Deny);
        if gate(met) != gate(otherwise) {
            let hint = "TRIGGERED with NOT_TRIGGERED, or two of allow, review, deny".to_owned();
            let message = format!("found {} with {}, expected two of a kind", met.name(), otherwise.name());
            self.say("bad-value", "/threshold/otherwise", message, Some(hint));
        }
        let actions = map.get("actions").cloned().unwrap_or_else(|| Value::from(Vec::new()));
        if actions.as_array().is_none() {
            self.say("wrong-type", "/threshold/actions", format!("found {}, expected a list", actions.kind()), None);
        }
        Some(ThresholdRule { conditions, all, met, otherwise, actions })
    }

    fn outcome(&mut self, map: &Map, key: &str, pointer: &str) -> Option<Outcome> {
        let value = map.get(key)?;
        let outcome = value.as_str().and_then(Outcome::of);
        if outcome.is_none() {
            let all: Vec<&str> = Outcome::ALL.iter().map(|o| o.name()).collect();
            self.say(
                "bad-value",
                pointer,
                format!("found {}, expected one of {}", value.to_json(), all.join(", ")),
                None,
            );
        }
        outcome
    }

    fn examples(&mut self, map: &Map) -> Vec<Example> {
        let Some(value) = map.get("examples") else { return Vec::new() };
        let Some(items) = value.as_array() else {
            self.say("wrong-type", "/examples", format!("found {}, expected a list", value.kind()), None);
            return Vec::new();
        };
        let mut examples = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let pointer = format!("/examples/{index}");
            let Some(map) = item.as_object() else {
                self.say("wrong-type", &pointer, format!("found {}, expected an object", item.kind()), None);
                continue;
            };
            self.known(map, &["name", "facts", "parameters", "expect"], &pointer);
            let expect = map.get("expect").and_then(Value::as_object).cloned().unwrap_or_default();
            self.known(&expect, &["outcome", "reasons", "actions"], &format!("{pointer}/expect"));
            let Some(outcome) = self.outcome(&expect, "outcome", &format!("{pointer}/expect/outcome")) else {
                if !expect.contains_key("outcome") {
                    self.say(
                        "missing-property",
                        &pointer,
                        "an example needs `expect: { outcome: … }`".to_owned(),
                        None,
                    );
                }
                continue;
            };
            let reasons = expect.get("reasons").map(|r| self.texts(Some(r), &format!("{pointer}/expect/reasons")));
            examples.push(Example {
                name: map
                    .get("name")
                    .and_then(Value::as_str)
                    .map_or_else(|| Arc::from(format!("example {}", index + 1)), Arc::from),
                facts: map.get("facts").cloned().unwrap_or_else(Value::object),
                parameters: map.get("parameters").cloned().unwrap_or_else(Value::object),
                outcome,
                reasons: reasons.map(|r| r.iter().map(ToString::to_string).collect()),
                actions: expect.get("actions").cloned(),
            });
        }
        examples
    }

    /// Named JSON Schemas; `own` are members that are ours.
    fn schemas(&mut self, map: &Map, key: &str, own: &[&str]) -> Map {
        let pointer = format!("/{key}");
        let Some(value) = map.get(key) else { return Map::new() };
        let Some(members) = value.as_object() else {
            self.say(
                "wrong-type",
                &pointer,
                format!("found {}, expected an object of names and schemas", value.kind()),
                None,
            );
            return Map::new();
        };
        for (name, schema) in members {
            let pointer = format!("{pointer}/{name}");
            let Some(members) = schema.as_object() else {
                let hint = format!("`{name}: {{ type: number }}`");
                self.say("wrong-type", &pointer, format!("found {}, expected a schema", schema.kind()), Some(hint));
                continue;
            };
            let plain: Map =
                members.iter().filter(|(k, _)| !own.contains(&&***k)).map(|(k, v)| (k.clone(), v.clone())).collect();
            for defect in schema::defects(&Value::from(plain)) {
                self.say("bad-schema", &format!("{pointer}{}", defect.at), defect.what, defect.hint);
            }
        }
        members.clone()
    }

    fn text(&mut self, map: &Map, key: &str, required: bool) -> Option<Arc<str>> {
        match map.get(key) {
            Some(Value::Str(text)) => Some(text.clone()),
            Some(other) => {
                let hint = (key == "version").then(|| "quote it: '1.0.0'".to_owned());
                self.say("wrong-type", &format!("/{key}"), format!("found {}, expected a text", other.kind()), hint);
                None
            }
            None => {
                if required {
                    self.say("missing-property", "", format!("the policy has no `{key}`"), None);
                }
                None
            }
        }
    }

    fn texts(&mut self, value: Option<&Value>, pointer: &str) -> Vec<Arc<str>> {
        let Some(value) = value else { return Vec::new() };
        let texts: Option<Vec<Arc<str>>> =
            value.as_array().and_then(|items| items.iter().map(|i| i.as_str().map(Arc::from)).collect());
        if texts.is_none() {
            self.say("wrong-type", pointer, format!("found {}, expected a list of texts", value.kind()), None);
        }
        texts.unwrap_or_default()
    }

    fn known(&mut self, map: &Map, members: &[&str], pointer: &str) {
        for key in map.keys().filter(|k| !members.contains(&&***k)) {
            let hint = names::suggestion(key, members.iter().copied());
            self.say("unknown-property", &format!("{pointer}/{key}"), format!("unknown property `{key}`"), hint);
        }
    }
}

fn label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.chars().all(inner) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn semantic(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3 && parts.iter().all(|p| !p.is_empty() && p.len() < 10 && p.chars().all(|c| c.is_ascii_digit()))
}
