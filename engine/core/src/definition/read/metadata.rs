//! `metadata.cpd`: what `cpd` adds to the language, typed. Other members of `metadata` are the author's own.
//!
//! Members that would change what a run does and are not built are refused; what only describes is taken.

use std::sync::Arc;

use super::{Reader, Within};
use crate::Value;
use crate::definition::plan::{NodeId, OnUnknown};
use crate::definition::yaml::Yaml;
use crate::expression::Program;

/// What `document.metadata.cpd` says.
#[derive(Default)]
pub struct WorkflowMetadata {
    /// `id`
    pub alias: Option<Arc<str>>,
    /// `idempotency.key`
    pub start_key: Option<Program>,
    /// `schedule.input`
    pub default_input: Option<Value>,
}

const WORKFLOW: [&str; 9] =
    ["id", "owner", "idempotency", "schedule", "slo", "concurrency", "retention", "priority", "dataClass"];
const TASK: [&str; 4] = ["idempotencyKey", "onUnknown", "slo", "risk"];

impl<'a> Reader<'a> {
    /// `document.metadata`
    pub fn workflow_metadata(&mut self, yaml: &'a Yaml, within: &Within) -> WorkflowMetadata {
        let mut out = WorkflowMetadata::default();
        let Some(cpd) = self.cpd(yaml, "`document.metadata`") else { return out };
        let what = "`document.metadata.cpd`";
        let Some(fields) = self.fields(cpd, what, &WORKFLOW) else { return out };
        self.refuse_members(
            fields,
            "metadata.cpd.",
            &[
                ("concurrency", "start runs one after the other from outside, or give them one idempotency key"),
                ("retention", "retention is a setting of the journal"),
                ("priority", "runs are served in the order of their events"),
                ("dataClass", "keep sensitive data outside of the run and pass references"),
            ],
        );
        self.text_of(fields, "owner", "metadata.cpd");
        if let Some(yaml) = fields.get("id") {
            out.alias = self.alias(yaml);
        }
        if let Some(fields) =
            fields.get("idempotency").and_then(|y| self.fields(y, "`metadata.cpd.idempotency`", &["key", "retain"]))
        {
            self.refuse_members(
                fields,
                "metadata.cpd.idempotency.",
                &[("retain", "leave it out: keys are kept as long as their runs")],
            );
            let key = self.required(fields, "key", "`metadata.cpd.idempotency`");
            out.start_key = key.and_then(|y| self.condition(y, "`metadata.cpd.idempotency.key`", within));
        }
        if let Some(yaml) = fields.get("schedule") {
            out.default_input = self.schedule_metadata(yaml);
        }
        if let Some(yaml) = fields.get("slo") {
            self.slo(yaml);
        }
        out
    }

    /// `metadata` of a task
    pub fn task_metadata(&mut self, id: NodeId, yaml: &'a Yaml, what: &str, within: &Within) {
        let Some(cpd) = self.cpd(yaml, &format!("`metadata` of {what}")) else { return };
        let Some(fields) = self.fields(cpd, "`metadata.cpd` of a task", &TASK) else { return };
        if let Some(yaml) = fields.get("idempotencyKey") {
            if yaml.text().is_some() {
                self.node(id).key = self.template(yaml, within);
            } else {
                self.wrong_type(yaml, "`metadata.cpd.idempotencyKey`", "a text or `${ … }`");
            }
        }
        if let Some(yaml) = fields.get("onUnknown") {
            let choices = [("ask", OnUnknown::Ask), ("retry", OnUnknown::Retry), ("fault", OnUnknown::Fault)];
            if let Some(choice) = self.choice(yaml, "`metadata.cpd.onUnknown`", &choices) {
                self.node(id).on_unknown = choice;
            }
        }
        self.text_of(fields, "risk", "metadata.cpd");
        if let Some(yaml) = fields.get("slo") {
            self.slo(yaml);
        }
    }

    fn cpd(&mut self, yaml: &'a Yaml, what: &str) -> Option<&'a Yaml> {
        self.object(yaml, what)?;
        yaml.get("cpd")
    }

    fn alias(&mut self, yaml: &'a Yaml) -> Option<Arc<str>> {
        let text = self.text(yaml, "`metadata.cpd.id`")?;
        let fits = !text.is_empty()
            && text.len() <= 100
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !fits {
            let message = format!("`metadata.cpd.id`: found `{text}`, expected 1 to 100 letters, digits, `_` and `-`");
            self.error("invalid-name", yaml.mark, message);
        }
        Some(Arc::from(text))
    }

    /// `slo`: kept in the document; measured from the journal by whoever reads it.
    fn slo(&mut self, yaml: &'a Yaml) {
        let Some(fields) = self.fields(yaml, "`slo`", &["duration", "objective", "window"]) else { return };
        for key in ["duration", "window"] {
            if let Some(yaml) = fields.get(key) {
                self.fixed_span(yaml, &format!("`slo.{key}`"));
            }
        }
        if let Some(yaml) = fields.get("objective") {
            match yaml.value.as_f64() {
                Some(o) if o > 0.0 && o <= 1.0 => {}
                Some(o) => {
                    let message = format!("`slo.objective`: found {o}, expected a share above 0 and up to 1");
                    self.error("out-of-range", yaml.mark, message);
                }
                None => drop(self.wrong_type(yaml, "`slo.objective`", "a number")),
            }
        }
    }
}
