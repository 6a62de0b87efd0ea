//! `call: policy.evaluate`: a policy decision.
//!
//! Which policy decides must be known when the definition is registered, so its name is literal; the plan holds the policy
//! itself, and the pin its digest.

use super::call::has_expression;
use super::{Reader, Within};
use crate::Value;
use crate::definition::names;
use crate::definition::plan::{Decide, Pin, PinKind};
use crate::definition::resolve::Reference;
use crate::definition::yaml::Yaml;
use crate::policy::Policy;
use crate::schema;
use crate::value::Map;

impl<'a> Reader<'a> {
    /// The decision that `with` describes.
    pub fn decide(&mut self, call: &'a Yaml, with: Option<&'a Yaml>, within: &Within) -> Option<Decide> {
        let what = "`with` of `policy.evaluate`";
        if let Some(version) = call.text().and_then(|t| Reference::of(t).version) {
            let message = format!("`policy.evaluate` has no version `{version}`");
            self.error("unknown-operation", call.mark, message).hint =
                Some("give the policy's version: `policy: name:1.0.0`".into());
        }
        let Some(with) = with else {
            let d = self.error("missing-property", call.mark, "`call: policy.evaluate` has no `with`");
            d.hint = Some("with: { policy: fraud_max_drift, input: { drift: '${ .drift }' } }".into());
            return None;
        };
        let fields = self.fields(with, what, &["policy", "input", "parameters"])?;
        let facts = fields.get("input").and_then(|y| self.filter_or_template(y, "`with.input`", within));
        let parameters = fields.get("parameters").and_then(|y| self.filter_or_template(y, "`with.parameters`", within));
        let name = self.required(fields, "policy", what)?;
        let text = self.text(name, "`with.policy`")?;
        if has_expression(name) {
            let d = self.error(
                "computed-policy",
                name.mark,
                "`with.policy` is an expression, expected the name of a policy",
            );
            d.hint = Some(
                "a run is pinned to the policies it started with: branch with `switch` between the policies".into(),
            );
            return None;
        }
        let Reference { name: wanted, version, .. } = Reference::of(text);
        let Some(policy) = self.env.policy(wanted, version) else {
            match (version, self.env.policy(wanted, None)) {
                (Some(version), Some(newest)) => {
                    let message = format!("policy `{wanted}` has no version `{version}`");
                    self.error("unknown-policy", name.mark, message).label =
                        Some(format!("the newest is `{}`", newest.version()));
                }
                _ => {
                    let policies = self.env.policy_names();
                    let message = format!("there is no policy `{wanted}`");
                    self.unknown_name("unknown-policy", name.mark, message, wanted, names::texts(&policies));
                }
            }
            return None;
        };
        let (name, version, digest) = (policy.name().into(), policy.version().into(), policy.digest());
        self.pin(Pin { kind: PinKind::Policy, name, version, digest });
        let document = policy.document();
        if let Some(yaml) = fields.get("input") {
            self.declared(yaml, "fact", &document.name, &document.facts);
            self.missing_facts(yaml, &document.name, &document.facts);
        }
        if let Some(yaml) = fields.get("parameters") {
            self.declared(yaml, "parameter", &document.name, &document.parameters);
        }
        self.missing_parameters(with, fields.get("parameters"), &policy);
        Some(Decide { policy, facts, parameters })
    }

    /// Holds what is given literally against what the policy declares.
    fn declared(&mut self, yaml: &'a Yaml, what: &str, policy: &str, declared: &Map) {
        for member in yaml.members().unwrap_or_default() {
            let Some(schema) = declared.get(&member.key) else {
                let message = format!("policy `{policy}` has no {what} `{}`", member.key);
                let known = declared.keys().map(|k| &**k);
                self.unknown_name("unknown-argument", member.key_span, message, &member.key, known);
                continue;
            };
            let computed = |v: &Value| v.as_str().is_some_and(|s| s.contains("${"));
            for violation in schema::check_with(schema, &member.value.value, &computed) {
                let at = violation.at.replace('/', ".");
                let message = format!("{what} `{}{at}` of policy `{policy}`: {}", member.key, violation.what);
                let span = member.value.at_pointer(&violation.at).0.mark;
                self.error("invalid-argument", span, message).label = violation.hint;
            }
        }
    }

    fn missing_facts(&mut self, yaml: &'a Yaml, policy: &str, declared: &Map) {
        let Some(members) = yaml.members() else { return };
        for (fact, schema) in declared {
            let optional =
                schema.get("optional").and_then(Value::as_bool) == Some(true) || schema.get("default").is_some();
            if !optional && !members.iter().any(|m| m.key == *fact) {
                let message = format!("policy `{policy}` needs the fact `{fact}`");
                self.error("missing-argument", yaml.mark, message).label = Some(format!("`{fact}` is missing"));
            }
        }
    }

    /// What a computed object has is not known before it is.
    fn missing_parameters(&mut self, with: &'a Yaml, given: Option<&'a Yaml>, policy: &Policy) {
        let members = match given.map(Yaml::members) {
            Some(None) => return,
            Some(Some(members)) => members,
            None => &[],
        };
        for parameter in policy.needed_parameters().filter(|p| !members.iter().any(|m| &*m.key == *p)) {
            let message = format!("policy `{}` needs the parameter `{parameter}`, which has no default", policy.name());
            let d = self.error("missing-argument", given.unwrap_or(with).mark, message);
            d.label = Some(format!("`parameters: {{ {parameter}: … }}` is missing"));
        }
    }

    /// An object with expressions inside, or one `${ … }`.
    fn filter_or_template(
        &mut self,
        yaml: &'a Yaml,
        what: &str,
        within: &Within,
    ) -> Option<crate::expression::Template> {
        if yaml.text().is_some() {
            return self.whole_expression(yaml, what, within);
        }
        self.object(yaml, what)?;
        self.template(yaml, within)
    }
}
