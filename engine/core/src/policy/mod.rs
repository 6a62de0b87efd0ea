//! Policies: versioned documents that decide; workflows act.
//!
//! A policy has parameters, a schema of facts, and a rule: a `threshold` (`drift > max_drift`), or Rego with one contract
//! (`data.<package>.decision` is an object with `outcome`, `reasons`, `actions`, `obligations`). Both give the same
//! [`Decision`]. Facts and parameters are checked *before* the rule is asked, because a rule cannot tell a mistyped
//! field from a quiet day: anything that does not fit is the outcome `ERROR`, with the name of what does not fit. Deciding
//! never fails and never panics; an error is an outcome.
//!
//! - [`document`]: the shape of a policy, read from YAML or JSON.
//! - `threshold`, `rego`: the two kinds of rules.
//!
//! Never here: clocks (the journaled time is handed in), randomness, networks, files.

pub mod document;
mod rego;
mod shape;
mod threshold;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::definition::Diagnostic;
use crate::definition::plan::Digest;
use crate::schema;
use crate::time::Timestamp;
use crate::value::Map;
use crate::{Value, json};

pub use document::{Example, HEADER, PolicyDocument, Rule};

/// The longest facts that are looked at, as JSON.
const FACTS_BYTES_MAX: usize = 1 << 20;

/// Whether a decision binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It is recorded, but the workflow is told the harmless outcome (`NOT_TRIGGERED` or `allow`).
    Shadow,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Enforce => "enforce",
            Mode::Shadow => "shadow",
        })
    }
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A threshold was crossed.
    Triggered,
    /// It was not.
    NotTriggered,
    /// A gate is open.
    Allow,
    /// A person must look.
    Review,
    /// A gate is closed.
    Deny,
    /// The policy could not decide. Never taken for a "no".
    Error,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 6] =
        [Self::Triggered, Self::NotTriggered, Self::Allow, Self::Review, Self::Deny, Self::Error];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Triggered => "TRIGGERED",
            Self::NotTriggered => "NOT_TRIGGERED",
            Self::Allow => "allow",
            Self::Review => "review",
            Self::Deny => "deny",
            Self::Error => "ERROR",
        }
    }

    /// The outcome of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.name() == name)
    }

    /// What a workflow is told in shadow mode.
    fn harmless(self) -> Self {
        match self {
            Self::Triggered | Self::NotTriggered => Self::NotTriggered,
            Self::Allow | Self::Review | Self::Deny => Self::Allow,
            Self::Error => Self::Error,
        }
    }
}

/// A decision, with everything that it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Digest of its content.
    pub digest: Digest,
    /// Whether it binds.
    pub mode: Mode,
    /// What it says.
    pub outcome: Outcome,
    /// Why, in order.
    pub reasons: Vec<String>,
    /// What it wants done.
    pub actions: Value,
    /// What must be kept to if it is done.
    pub obligations: Value,
    /// The parameters that were used, defaults included.
    pub parameters: Value,
    /// The facts that it saw.
    pub facts: Value,
    /// What would have changed the outcome, for thresholds.
    pub would_change: Option<String>,
}

impl Decision {
    /// What a workflow sees. `outcome` is the one that counts: in shadow mode the harmless one, and the policy's own stands
    /// in `shadow`. A gate's outcome stands in `decision` too.
    pub fn to_value(&self) -> Value {
        let shadowed = self.mode == Mode::Shadow;
        let outcome = if shadowed { self.outcome.harmless() } else { self.outcome };
        let mut value = Map::new();
        let mut put = |key: &str, v: Value| drop(value.insert(key.into(), v));
        put("policy", Value::Str(self.policy.clone()));
        put("version", Value::Str(self.version.clone()));
        put("digest", Value::from(self.digest.to_string()));
        put("mode", Value::from(self.mode.to_string()));
        put("outcome", Value::str(outcome.name()));
        if matches!(outcome, Outcome::Allow | Outcome::Review | Outcome::Deny) {
            put("decision", Value::str(outcome.name()));
        }
        if shadowed {
            put("shadow", Value::str(self.outcome.name()));
        }
        put("reasons", self.reasons.iter().map(Value::str).collect());
        put("actions", self.actions.clone());
        put("obligations", self.obligations.clone());
        put("parameters", self.parameters.clone());
        put("facts", self.facts.clone());
        if let Some(change) = &self.would_change {
            put("wouldChange", Value::str(change));
        }
        Value::from(value)
    }
}

/// A policy that is ready to decide. Shared between threads.
pub struct Policy {
    document: PolicyDocument,
    digest: Digest,
    parameters: Value,
    facts: Value,
    rule: Compiled,
}

enum Compiled {
    Threshold(threshold::Threshold),
    Rego(Box<rego::Rego>),
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({} {})", self.document.name, self.document.version)
    }
}

/// What an example came to.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleResult {
    /// The example's name.
    pub name: Arc<str>,
    /// What the policy decided.
    pub decision: Decision,
    /// What differs from what is expected.
    pub differences: Vec<String>,
}

impl ExampleResult {
    /// Whether nothing differs.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }

    /// What differs, in a line.
    pub fn detail(&self) -> Option<String> {
        (!self.passed()).then(|| self.differences.join("; "))
    }
}

impl Policy {
    /// Compiles a document.
    ///
    /// # Errors
    /// Everything that is wrong with its rule.
    pub fn compile(document: PolicyDocument) -> Result<Self, Vec<Diagnostic>> {
        let rule = match &document.rule {
            Rule::Threshold(rule) => threshold::Threshold::compile(rule, &document).map(Compiled::Threshold),
            Rule::Rego(source) => rego::Rego::compile(source, &document).map(|r| Compiled::Rego(Box::new(r))),
        };
        let rule = rule.map_err(|d| document.placed(d))?;
        let parameters = object_schema(&document.parameters, |_| false);
        let facts = object_schema(&document.facts, |s| s.get("optional").is_none_or(|o| !o.truthy()));
        let mut hash = Sha256::new();
        hash.update(b"cpd policy 1\0");
        hash.update(rego::ENGINE.as_bytes());
        hash.update([0]);
        hash.update(document.source.as_bytes());
        let digest = Digest(hash.finalize().into());
        Ok(Self { document, digest, parameters, facts, rule })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.document.version
    }

    /// Digest of its content, and of the engine that reads it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its title.
    pub fn title(&self) -> Option<&str> {
        self.document.title.as_deref()
    }

    /// Whether its decisions bind.
    pub fn mode(&self) -> Mode {
        self.document.mode
    }

    /// The document.
    pub fn document(&self) -> &PolicyDocument {
        &self.document
    }

    /// Names of its parameters.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.document.parameters.keys().map(|k| &**k)
    }

    /// Names of the parameters without which it cannot decide and that have no default. What a module of Rego does without a
    /// parameter is its own affair.
    pub fn needed_parameters(&self) -> impl Iterator<Item = &str> {
        let Compiled::Threshold(rule) = &self.rule else { return None.into_iter().flatten() };
        let defaulted = |name: &str| self.document.parameters.get(name).is_some_and(|s| s.get("default").is_some());
        Some(rule.bounds().filter(move |name| !defaulted(name))).into_iter().flatten()
    }

    /// Names of its facts.
    pub fn fact_names(&self) -> impl Iterator<Item = &str> {
        self.document.facts.keys().map(|k| &**k)
    }

    /// Decides. `overrides` replace parameters; `now` is the journaled time.
    pub fn decide(&self, facts: &Value, overrides: &Value, now: Timestamp) -> Decision {
        let mut parameters = Map::new();
        for (name, schema) in &self.document.parameters {
            if let Some(default) = schema.get("default") {
                parameters.insert(name.clone(), default.clone());
            }
        }
        if let Some(given) = overrides.as_object() {
            parameters.extend(given.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        let parameters = Value::from(parameters);
        let mut decision = Decision {
            policy: self.document.name.clone(),
            version: self.document.version.clone(),
            digest: self.digest,
            mode: self.document.mode,
            outcome: Outcome::Error,
            reasons: Vec::new(),
            actions: Value::from(Vec::new()),
            obligations: self.document.obligations.clone(),
            parameters: parameters.clone(),
            facts: facts.clone(),
            would_change: None,
        };
        let mut wrong = misfits("parameters", &self.parameters, &parameters);
        if !(overrides.is_null() || overrides.as_object().is_some()) {
            wrong.push(format!("parameters: found {}, expected an object", overrides.kind()));
        }
        wrong.extend(misfits("facts", &self.facts, facts));
        if wrong.is_empty() && facts.to_json().len() > FACTS_BYTES_MAX {
            wrong.push(format!("facts: found more than {FACTS_BYTES_MAX} bytes"));
        }
        if !wrong.is_empty() {
            decision.reasons = wrong;
            return decision;
        }
        match &self.rule {
            Compiled::Threshold(threshold) => threshold.decide(facts, &parameters, &mut decision),
            Compiled::Rego(rego) => rego.decide(facts, &parameters, now, &mut decision),
        }
        decision
    }

    /// Decides every example that stands beside the policy.
    pub fn run_examples(&self) -> Vec<ExampleResult> {
        self.document.examples.iter().map(|e| self.run_example(e)).collect()
    }

    fn run_example(&self, example: &Example) -> ExampleResult {
        let decision = self.decide(&example.facts, &example.parameters, Timestamp(0));
        let mut differences = Vec::new();
        if decision.outcome != example.outcome {
            let (found, expected) = (decision.outcome.name(), example.outcome.name());
            let why = decision.reasons.join("; ");
            differences.push(format!("outcome {found}, expected {expected} ({why})"));
        }
        if let Some(reasons) = &example.reasons
            && *reasons != decision.reasons
        {
            differences.push(format!("reasons {:?}, expected {reasons:?}", decision.reasons));
        }
        if let Some(actions) = &example.actions
            && *actions != decision.actions
        {
            differences.push(format!("actions {}, expected {actions}", decision.actions));
        }
        ExampleResult { name: example.name.clone(), decision, differences }
    }
}

/// An object schema over named members.
fn object_schema(members: &Map, required: impl Fn(&Value) -> bool) -> Value {
    let needed: Vec<Value> = members.iter().filter(|(_, s)| required(s)).map(|(k, _)| Value::Str(k.clone())).collect();
    let plain = |s: &Value| {
        let keep = |k: &str| !matches!(k, "default" | "optional" | "description");
        let members = s.as_object().into_iter().flatten().filter(|(k, _)| keep(k));
        Value::from(members.map(|(k, v)| (k.clone(), v.clone())).collect::<Map>())
    };
    let properties: Map = members.iter().map(|(k, s)| (k.clone(), plain(s))).collect();
    json!({
        "type": "object",
        "properties": Value::from(properties),
        "required": needed,
        "additionalProperties": false,
    })
}

/// What does not fit a schema, in words that begin with where.
fn misfits(what: &str, schema: &Value, value: &Value) -> Vec<String> {
    let found = schema::check(schema, value).into_iter().map(|v| {
        let at = v.at.replace('/', ".");
        let hint = v.hint.map_or_else(String::new, |h| format!(" ({h})"));
        format!("{what}{at}: {}{hint}", v.what)
    });
    let mut found: Vec<String> = found.collect();
    if found.is_empty() && !finite(value) {
        found.push(format!("{what}: a number is not finite"));
    }
    found
}

fn finite(value: &Value) -> bool {
    match value {
        Value::Num(n) => n.as_f64().is_finite(),
        Value::Arr(items) => items.iter().all(finite),
        Value::Obj(map) => map.values().all(finite),
        Value::Null | Value::Bool(_) | Value::Str(_) => true,
    }
}

#[cfg(test)]
mod tests;
