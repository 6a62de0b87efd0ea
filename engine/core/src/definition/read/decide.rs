//! `call: policy.evaluate`: a policy decision.
//!
//! Which policy decides must be known when the definition is registered, so its name is literal; the plan holds the policy
//! itself, and the pin its digest.

use super::call::has_expression;
use super::{Reader, Within};
use crate::definition::names;
use crate::definition::plan::{Decide, Pin, PinKind};
use crate::definition::resolve::Reference;
use crate::definition::yaml::Yaml;

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
        Some(Decide { policy, facts, parameters })
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
