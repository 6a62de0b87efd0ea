//! `call: approval.request`: people decide.

use super::call::has_expression;
use super::{Reader, Within};
use crate::definition::resolve::Reference;
use crate::definition::yaml::Yaml;
use crate::expression::Template;
use crate::machine::Terms;

const WHAT: &str = "`with` of `approval.request`";

impl<'a> Reader<'a> {
    /// The request that `with` describes. What of it is literal must be right now; the rest is looked at when it is evaluated.
    pub fn approve(&mut self, call: &'a Yaml, with: Option<&'a Yaml>, within: &Within) -> Option<Template> {
        if let Some(version) = call.text().and_then(|t| Reference::of(t).version) {
            let message = format!("`approval.request` has no version `{version}`");
            self.error("unknown-operation", call.mark, message).hint =
                Some("write `call: approval.request`: it is a part of cpd itself".into());
        }
        let Some(with) = with else {
            let d = self.error("missing-property", call.mark, "`call: approval.request` has no `with`");
            d.hint = Some("with: { title: Retrain card-fraud?, approvers: { group: fraud-ml-owners } }".into());
            return None;
        };
        let fields = self.fields(with, WHAT, &["title", "description", "evidence", "approvers", "escalate"])?;
        self.required(fields, "title", WHAT)?;
        let people = ["user", "users", "group", "groups"];
        if let Some(approvers) = fields.get("approvers").filter(|y| !is_expression(y)) {
            let known: Vec<&str> = people.iter().copied().chain(["quorum", "excludeInitiator"]).collect();
            self.fields(approvers, "`with.approvers`", &known)?;
        }
        if let Some(escalate) = fields.get("escalate").filter(|y| !is_expression(y)) {
            let fields = self.fields(escalate, "`with.escalate`", &["after", "to"])?;
            if let Some(to) = fields.get("to").filter(|y| !is_expression(y)) {
                self.fields(to, "`with.escalate.to`", &people)?;
            }
        }
        let literal = ["title", "approvers", "escalate"].iter().all(|key| !fields.get(key).is_some_and(has_expression));
        if literal && let Err(why) = Terms::read(&with.value) {
            self.error("invalid-argument", with.mark, format!("{WHAT}: {why}"));
            return None;
        }
        self.template(with, within)
    }
}

/// Whether it is an expression as a whole.
fn is_expression(yaml: &Yaml) -> bool {
    yaml.text().is_some_and(|t| t.contains("${"))
}
