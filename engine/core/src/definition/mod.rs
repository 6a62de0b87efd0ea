//! Workflow definitions: from text to a checked, typed [`plan::Plan`].
//!
//! 1. [`yaml`] reads YAML 1.2 (JSON is YAML) into a tree in which every node knows its place.
//! 2. `read` walks the tree by hand, a file per family of constructs, and makes the nodes of the plan. It knows every
//!    construct of the language: those that are not built yet are refused as `not-yet-supported`, never skipped.
//! 3. `check` holds names against each other: targets of `then`, tasks that cannot be reached.
//! 4. `resolve` looks operations, policies and agents up in an [`Environment`] and pins what it found; the digest of the
//!    plan covers the source and the pins.
//!
//! [`lint`] gives advice about what can run, to those who ask; [`form`] is the shape of documents for editors.
//!
//! All errors are found in one go, each a [`Diagnostic`] with its place, in the order of the source.
//!
//! Never: IO, a panic on any text, a name left for run time to look up.

mod check;
pub mod diagnostic;
pub mod duration;
pub mod form;
pub mod lint;
pub mod names;
pub mod plan;
mod read;
mod resolve;
#[cfg(test)]
mod tests;
pub mod yaml;

use std::sync::Arc;

pub use self::diagnostic::{Diagnostic, Severity};
use self::plan::{Pin, Plan};
use self::yaml::Yaml;
use crate::Value;
use crate::catalog::{Class, OperationSpec};
use crate::policy::Policy;
use crate::problem::Problem;
use crate::resource::{Loaded, Resources, Wanted};

/// What the names in a definition can refer to.
pub trait Environment {
    /// The operation of that name; the newest if no version is given.
    fn operation(&self, name: &str, version: Option<&str>) -> Option<OperationSpec>;
    /// The names of all operations.
    fn operation_names(&self) -> Vec<Arc<str>>;
    /// The policy of that name; the newest if no version is given.
    fn policy(&self, name: &str, version: Option<&str>) -> Option<Arc<Policy>>;
    /// The names of all policies.
    fn policy_names(&self) -> Vec<Arc<str>>;
    /// The agent of that name; the newest if no version is given.
    fn agent(&self, name: &str, version: Option<&str>) -> Option<Pin>;
    /// The names of all agents.
    fn agent_names(&self) -> Vec<Arc<str>>;
    /// The workflow of that qualified name; the newest if no version is given.
    fn workflow(&self, name: &str, version: Option<&str>) -> Option<Pin>;
    /// The qualified names of all workflows.
    fn workflow_names(&self) -> Vec<Arc<str>>;
    /// How a call may be repeated, where the operation alone does not say it. `with` is not evaluated: texts that contain
    /// `${` are expressions.
    ///
    /// # Errors
    /// What about the call can never work.
    fn class_of(
        &self,
        pointer: &str,
        operation: &OperationSpec,
        with: &Value,
        resources: &Resources,
    ) -> Result<Option<Class>, Problem> {
        let _ = (pointer, operation, with, resources);
        Ok(None)
    }
    /// The document at an address, if it has been loaded.
    fn resource(&self, wanted: &Wanted) -> Loaded {
        let _ = wanted;
        Loaded::Absent
    }
}

/// A definition that can run.
#[derive(Debug)]
pub struct Compiled {
    /// What the machine runs.
    pub plan: Plan,
    /// What a careful author would look at, in the order of the source.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a workflow definition. `file_name` is for messages.
///
/// # Errors
/// Everything that is wrong with it, in the order of the source.
pub fn compile(source: &str, file_name: &str, env: &dyn Environment) -> Result<Compiled, Vec<Diagnostic>> {
    let file = Arc::from(file_name);
    let root = yaml::parse(source).map_err(|found| placed(found, &file, source, None))?;
    let (plan, found) = read::workflow(source, &root, env);
    let found = placed(found, &file, source, Some(&root));
    let (errors, warnings): (Vec<_>, Vec<_>) = found.into_iter().partition(|d| d.severity == Severity::Error);
    match plan {
        Some(plan) if errors.is_empty() => Ok(Compiled { plan, warnings }),
        _ => Err(errors),
    }
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// A workflow.
    Workflow,
    /// A policy.
    Policy,
    /// An agent.
    Agent,
}

/// Tells by its members what a document is.
///
/// # Errors
/// If it is not YAML, or none of the three.
pub fn kind_of(source: &str, file_name: &str) -> Result<DocumentKind, Vec<Diagnostic>> {
    let file = Arc::from(file_name);
    let root = yaml::parse(source).map_err(|found| placed(found, &file, source, None))?;
    let has = |key: &str| root.get(key).is_some();
    let header = root.get("cpd").and_then(Yaml::text).unwrap_or("");
    if has("document") || has("do") {
        Ok(DocumentKind::Workflow)
    } else if header.starts_with("policy/") || has("threshold") || has("rego") {
        Ok(DocumentKind::Policy)
    } else if header.starts_with("agent/") || (has("name") && has("provider")) {
        Ok(DocumentKind::Agent)
    } else {
        let d =
            Diagnostic::error("unknown-document", "found neither a workflow, nor a policy, nor an agent").at(root.mark);
        let hint = "a workflow has `document` and `do`, a policy begins with `cpd: policy/v1`, an agent has `name` and `provider`";
        Err(placed(vec![d.hint(hint)], &file, source, Some(&root)))
    }
}

/// Reads any document as a value, with the errors that YAML can have.
///
/// # Errors
/// If it is not YAML.
pub fn read_value(source: &str, file_name: &str) -> Result<Value, Vec<Diagnostic>> {
    let file = Arc::from(file_name);
    yaml::parse(source).map(|root| root.value).map_err(|found| placed(found, &file, source, None))
}

/// `document.metadata.cpd.id` of a workflow: another name for people to type.
pub fn alias_of(source: &str) -> Option<Arc<str>> {
    let root = yaml::parse(source).ok()?;
    root.get("document")?.get("metadata")?.get("cpd")?.get("id")?.text().map(Arc::from)
}

/// Where a JSON pointer of a document stands in its source; the nearest thing around it, if it is not there.
pub fn locate(source: &str, pointer: &str) -> Option<diagnostic::Span> {
    let root = yaml::parse(source).ok()?;
    let (node, key) = root.at_pointer(pointer);
    Some(key.unwrap_or(node.mark))
}

/// Gives diagnostics their file, line and pointer, and puts them in the order of the source.
fn placed(found: Vec<Diagnostic>, file: &Arc<str>, source: &str, root: Option<&Yaml>) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = found
        .into_iter()
        .map(|mut d| {
            if let (Some(root), Some(span)) = (root, d.span) {
                d.pointer = root.pointer_at(span.start);
            }
            d.within(file, source)
        })
        .collect();
    found.sort_by(|a, b| (a.span, &a.code, &a.message).cmp(&(b.span, &b.code, &b.message)));
    // A shared component is read once per use.
    found.dedup_by(|a, b| a.span == b.span && a.code == b.code && a.message == b.message);
    found
}
