//! `run`: other workflows, and processes.
//!
//! A workflow is run by the operation `workflow.run`, which is the engine's own: the run that it starts has an id that follows from
//! the effect's key, so it is started once however often the effect is tried. Scripts, shells and containers are operations
//! of the connector `process`, where there is one.

use std::sync::Arc;

use super::{Reader, Within};
use crate::Value;
use crate::catalog::{Class, OperationSpec};
use crate::definition::names;
use crate::definition::plan::{Action, Call, Conditions, NodeId};
use crate::definition::resolve::Reference;
use crate::definition::yaml::Yaml;
use crate::value::Map;

/// The operation behind `run: workflow`.
pub const WORKFLOW: &str = "workflow.run";

impl<'a> Reader<'a> {
    /// `run`
    pub fn run(&mut self, id: NodeId, yaml: &'a Yaml, within: &Within) -> Option<Action> {
        let kinds = ["container", "script", "shell", "workflow"];
        let known: Vec<&str> = kinds.into_iter().chain(["await", "return"]).collect();
        let fields = self.fields(yaml, "`run`", &known)?;
        let mut there = kinds.into_iter().filter_map(|k| Some((k, fields.get(k)?)));
        let (Some((kind, what)), None) = (there.next(), there.next()) else {
            let names = kinds.map(|k| format!("`{k}`")).join(", ");
            self.error("wrong-shape", yaml.mark, format!("`run`: expected exactly one of {names}"));
            return None;
        };
        let awaits = fields.get("await").and_then(|y| self.boolean(y, "`run.await`")).unwrap_or(true);
        if kind == "workflow" {
            return self.workflow(what, awaits, within);
        }
        let returns = ["stdout", "stderr", "code", "all", "none"];
        if let Some(yaml) = fields.get("return") {
            self.choice(yaml, "`run.return`", &returns.map(|r| (r, ())))?;
        }
        let name = format!("process.{kind}");
        if self.env.operation(&name, None).is_none() {
            let key = fields.member(kind)?.key_span;
            let instead = "put the work behind an operation of a connector, and `call` it";
            self.not_yet(key, &format!("`run.{kind}`"), instead);
            return None;
        }
        if let Some(source) = what.get("source").filter(|_| kind == "script") {
            self.resource(source, "`run.script.source`")?;
        }
        let operation = self.operation(yaml, Reference { name: &name, version: None, catalog: None })?;
        self.arguments(&operation, Some(yaml), &yaml.value, yaml);
        let mut value = yaml.value.clone();
        if let (false, Value::Obj(members)) = (awaits, &mut value) {
            // Whoever does not wait goes on with its input.
            Arc::make_mut(members).insert(Arc::from("input"), Value::str("${ . }"));
        }
        let conditions = Conditions::default();
        self.performed(id, operation, Some(yaml), &value, conditions, yaml, within).map(Action::Call)
    }

    fn workflow(&mut self, yaml: &'a Yaml, awaits: bool, within: &Within) -> Option<Action> {
        let fields = self.fields(yaml, "`run.workflow`", &["namespace", "name", "version", "input"])?;
        let mut text = |key: &str| {
            let yaml = self.required(fields, key, "`run.workflow`")?;
            Some((self.text(yaml, &format!("`run.workflow.{key}`"))?, yaml))
        };
        let (namespace, name, version) = (text("namespace"), text("name"), text("version"));
        let ((namespace, _), (name, place), (version, version_place)) = (namespace?, name?, version?);
        let qualified = format!("{namespace}/{name}");
        let wanted = Some(version).filter(|v| *v != "latest");
        let Some(pin) = self.env.workflow(&qualified, wanted) else {
            match (wanted, self.env.workflow(&qualified, None)) {
                (Some(version), Some(newest)) => {
                    let message = format!("workflow `{qualified}` has no version `{version}`");
                    self.error("unknown-workflow", version_place.mark, message).label =
                        Some(format!("the newest is `{}`", newest.version));
                }
                _ => {
                    let workflows = self.env.workflow_names();
                    let message = format!("there is no workflow `{qualified}`");
                    let known = names::texts(&workflows);
                    self.unknown_name("unknown-workflow", place.mark, message, &qualified, known);
                    if let Some(d) = self.found.last_mut() {
                        d.hint.get_or_insert_with(|| "register it before the workflow that runs it".into());
                    }
                }
            }
            return None;
        };
        let input = match fields.get("input") {
            Some(input) if input.text().is_none() => {
                self.object(input, "`run.workflow.input`")?;
                input.value.clone()
            }
            Some(input) => {
                self.whole_expression(input, "`run.workflow.input`", within)?;
                input.value.clone()
            }
            None => Value::object(),
        };
        let members = [
            ("workflow", Value::Str(pin.name.clone())),
            ("version", Value::Str(pin.version.clone())),
            ("digest", Value::from(pin.digest.to_string())),
            ("await", Value::Bool(awaits)),
            ("input", input),
        ];
        let value = Value::from(members.into_iter().map(|(k, v)| (Arc::from(k), v)).collect::<Map>());
        let with = self.template_of(yaml, &value, within)?;
        self.pin(pin);
        let operation = OperationSpec {
            name: Arc::from(WORKFLOW),
            version: Arc::from("1.0.0"),
            class: Class::Idempotent,
            reconciles: false,
            summary: Arc::from("Runs another workflow."),
            input: Value::Null,
            output: Value::Null,
        };
        Some(Action::Call(Call { operation, with, conditions: Conditions::default() }))
    }
}
