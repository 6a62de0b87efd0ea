//! One document looked at in full: read, checked, resolved, linted, and held against comments and levels.
//!
//! The engine's registry says whether a definition can run; [`cpd_core::definition::lint`] gives advice about it; what an agent's
//! document must be, only its connector knows. This puts the three together, for `cpd validate` and for whoever embeds it.

use std::sync::Arc;

use cpd_connectors::agent::document::{AgentDocument, Error as AgentError};
use cpd_core::definition::diagnostic::{Diagnostic, Span};
use cpd_core::definition::lint::allow::{Levels, Verdict, judge};
use cpd_core::definition::yaml::{self, Children, Yaml};
use cpd_core::definition::{self, DocumentKind, lint};
use cpd_engine::{Error, Registration, Registry};

/// What became of a document.
#[derive(Debug)]
pub struct Checked {
    /// What it is, if it can be registered.
    pub registration: Option<Registration>,
    /// What there is to say about it.
    pub verdict: Verdict,
}

impl Checked {
    /// Whether it can be registered, and nothing that was found is an error to the caller.
    pub fn passes(&self) -> bool {
        self.registration.is_some() && !self.verdict.refuses()
    }
}

/// Checks a document, and keeps it in the registry's memory if it is right, so that those checked later can refer to it.
///
/// # Errors
/// Only for what is not about the document.
pub async fn check(registry: &Registry, source: &str, file: &str, levels: &Levels) -> Result<Checked, Error> {
    let found = agent_faults(source, file);
    if !found.is_empty() {
        return Ok(Checked { registration: None, verdict: judge(source, file, found, levels) });
    }
    let registration = match registry.check_and_keep(source, file).await {
        Ok(registration) => registration,
        Err(Error::Invalid { diagnostics, .. }) => {
            let found = Arc::unwrap_or_clone(diagnostics);
            return Ok(Checked { registration: None, verdict: judge(source, file, found, levels) });
        }
        Err(other) => return Err(other),
    };
    let mut found = registration.warnings.clone();
    let full = format!("{}:{}", registration.name, registration.version);
    found.extend(match registration.what {
        "workflow" => lint::workflow(source, file, &*registry.workflow(&full)?),
        "policy" => lint::policy(source, file, &*registry.policy(&full)?),
        _ => lint::agent(source, file),
    });
    found.sort_by(|a, b| (a.span, &a.code).cmp(&(b.span, &b.code)));
    Ok(Checked { registration: Some(registration), verdict: judge(source, file, found, levels) })
}

/// What is wrong with an agent's document, if it is one.
fn agent_faults(source: &str, file: &str) -> Vec<Diagnostic> {
    if definition::kind_of(source, file) != Ok(DocumentKind::Agent) {
        return Vec::new();
    }
    let (Ok(value), Ok(root)) = (definition::read_value(source, file), yaml::parse(source)) else { return Vec::new() };
    let faults = match AgentDocument::from_value(&value) {
        Ok(_) => return Vec::new(),
        Err(AgentError::Shape { what }) => vec![what],
        Err(AgentError::Faults { faults, .. }) => faults,
    };
    let file: Arc<str> = Arc::from(file);
    let said = |fault: String| {
        let mut d = Diagnostic::error("invalid-agent", fault.clone());
        d.span = Some(place_of(&fault, &root));
        d.pointer = d.span.map(|s| root.pointer_at(s.start)).unwrap_or_default();
        d.within(&file, source)
    };
    faults.into_iter().map(said).collect()
}

/// Where the member stands that a fault names first between backticks.
fn place_of(fault: &str, root: &Yaml) -> Span {
    if let Some(found) = fault.strip_prefix("invalid type: ").or(fault.strip_prefix("invalid value: ")) {
        return valued(root, found).unwrap_or(root.mark);
    }
    let name = fault.split('`').nth(1).unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    let (node, key) = root.at_pointer(&format!("/{}", name.replace('.', "/")));
    key.or_else(|| key_named(root, last)).unwrap_or(node.mark)
}

/// The first scalar that a fault describes as "integer `1`, expected …" or "string \"x\", expected …".
fn valued(yaml: &Yaml, fault: &str) -> Option<Span> {
    match &yaml.children {
        Children::Map(members) => members.iter().find_map(|m| valued(&m.value, fault)),
        Children::List(items) => items.iter().find_map(|y| valued(y, fault)),
        Children::None => {
            let number = fault.split('`').nth(1).and_then(|n| n.parse::<f64>().ok());
            let text = yaml.text().is_some_and(|t| fault.contains(&format!("string {t:?}")));
            (text || (number.is_some() && yaml.value.as_f64() == number)).then_some(yaml.mark)
        }
    }
}

fn key_named(yaml: &Yaml, name: &str) -> Option<Span> {
    match &yaml.children {
        Children::Map(members) => {
            let here = members.iter().find(|m| &*m.key == name).map(|m| m.key_span);
            here.or_else(|| members.iter().find_map(|m| key_named(&m.value, name)))
        }
        Children::List(items) => items.iter().find_map(|y| key_named(y, name)),
        Children::None => None,
    }
}
