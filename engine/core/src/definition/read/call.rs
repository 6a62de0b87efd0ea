//! `call`: operations of the default catalog, functions of `use.functions`, and the protocols of the language.
//!
//! A name is looked up in this order: protocols (`http`, `grpc` …), `use.functions`, the default catalog. Operations are
//! pinned; what of `with` is literal is held against the operation's schema.

use std::sync::Arc;

use super::protocol::PROTOCOLS;
use super::shape::Fields;
use super::{Reader, Within};
use crate::Value;
use crate::catalog::OperationSpec;
use crate::definition::diagnostic::Diagnostic;
use crate::definition::names;
use crate::definition::plan::{Action, Conditions, NodeId};
use crate::definition::resolve::{self, Reference};
use crate::definition::yaml::{Children, Yaml};
use crate::schema;

/// The operation behind `call: http`.
pub const HTTP: &str = "http.request";
/// The call that is a policy decision and no operation.
pub const POLICY: &str = "policy.evaluate";
/// The call that asks people, and is no operation.
pub const APPROVAL: &str = "approval.request";
/// The operation that runs agents.
const AGENT: &str = "agent.run";

impl<'a> Reader<'a> {
    /// `call` and `with`
    pub fn call(&mut self, id: NodeId, yaml: &'a Yaml, fields: Fields<'a>, within: &Within) -> Option<Action> {
        let name = self.text(yaml, "`call`")?;
        let with = fields.get("with");
        if let Some(with) = with {
            self.object(with, "`with`")?;
        }
        if let Some(protocol) = PROTOCOLS.iter().find(|p| p.name == name) {
            return self.protocol(id, protocol, yaml, with, within);
        }
        if name == "http" || Reference::of(name).name == HTTP {
            return self.http(yaml, with, within).map(Action::Call);
        }
        if self.components.functions.contains_key(name) {
            return self.named_function(id, yaml, name, fields, within);
        }
        if name.contains("://") {
            return self.function_by_address(id, yaml, name, fields, within);
        }
        let reference = Reference::of(name);
        if reference.catalog.is_some_and(|c| c != "default") {
            return self.catalog_function(id, yaml, reference, fields, within);
        }
        if reference.name == POLICY {
            return self.decide(yaml, with, within).map(Action::Decide);
        }
        if reference.name == APPROVAL {
            return self.approve(yaml, with, within).map(Action::Approve);
        }
        let operation = self.operation(yaml, reference)?;
        let empty = Value::object();
        let mut value = with.map_or(empty, |w| w.value.clone());
        if reference.name == AGENT
            && let Some(with) = with
        {
            value = self.agent(with, value);
        }
        self.arguments(&operation, with, &value, yaml);
        self.performed(id, operation, with, &value, Conditions::default(), yaml, within).map(Action::Call)
    }

    /// Looks an operation up and pins it.
    pub fn operation(&mut self, yaml: &Yaml, reference: Reference<'_>) -> Option<OperationSpec> {
        let Reference { name, version, .. } = reference;
        if let Some(spec) = self.env.operation(name, version) {
            self.pin(resolve::operation_pin(&spec));
            return Some(spec);
        }
        match (version, self.env.operation(name, None)) {
            (Some(version), Some(newest)) => {
                let message = format!("operation `{name}` has no version `{version}`");
                self.error("unknown-operation", yaml.mark, message).label =
                    Some(format!("the newest is `{}`", newest.version));
            }
            _ => {
                let operations = self.env.operation_names();
                let functions: Vec<&'a str> = self.components.functions.keys().copied().collect();
                let known = names::texts(&operations).chain([POLICY, APPROVAL, "http"]).chain(functions);
                let message = format!("there is no operation `{name}`");
                self.unknown_name("unknown-operation", yaml.mark, message, name, known);
            }
        }
        None
    }

    /// Holds the literal parts of `with` against the operation's schema.
    pub fn arguments(&mut self, spec: &OperationSpec, with: Option<&Yaml>, value: &Value, call: &Yaml) {
        let computed = |v: &Value| v.as_str().is_some_and(|s| s.contains("${"));
        for violation in schema::check_with(&spec.input, value, &computed) {
            let span = match with.map(|w| w.at_pointer(&violation.at)) {
                Some((_, Some(key))) => key,
                Some((node, None)) => node.mark,
                None => call.mark,
            };
            let at = violation.at.replace('/', ".");
            let d = Diagnostic::error("invalid-argument", format!("`with{at}` of `{}`: {}", spec.name, violation.what));
            let mut d = d.at(span);
            d.label = violation.hint.or_else(|| with.is_none().then(|| "there is no `with`".to_owned()));
            self.say(d);
        }
    }

    /// Pins the agent that `with.agent` names, so that the run stays with it.
    fn agent(&mut self, with: &'a Yaml, value: Value) -> Value {
        let Some(yaml) = with.get("agent") else { return value };
        let Some(text) = yaml.text() else { return value };
        if text.contains("${") {
            let d = self.warning("agent-not-pinned", yaml.mark, "which agent answers is only known at run time");
            d.hint = Some("name it, so that a run keeps the agent that it started with".into());
            return value;
        }
        let Reference { name, version, .. } = Reference::of(text);
        let Some(pin) = self.env.agent(name, version) else {
            let agents = self.env.agent_names();
            let message = match (version, self.env.agent(name, None)) {
                (Some(version), Some(_)) => format!("agent `{name}` has no version `{version}`"),
                _ => format!("there is no agent `{name}`"),
            };
            self.unknown_name("unknown-agent", yaml.mark, message, name, names::texts(&agents));
            return value;
        };
        let Value::Obj(members) = &value else { return value };
        let mut members = (**members).clone();
        members.insert(Arc::from("agent"), Value::Str(resolve::pinned_name(&pin)));
        self.pin(pin);
        Value::from(members)
    }
}

/// Whether there is an expression anywhere in a tree.
pub fn has_expression(yaml: &Yaml) -> bool {
    match &yaml.children {
        Children::None => yaml.text().is_some_and(|t| t.contains("${")),
        Children::List(items) => items.iter().any(has_expression),
        Children::Map(members) => members.iter().any(|m| has_expression(&m.value)),
    }
}
