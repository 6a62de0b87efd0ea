//! Policies: examples that say something else, and parameters that decide nothing.

use super::Linter;
use crate::policy::{Policy, Rule};

impl Linter<'_> {
    pub(super) fn policy(&mut self, policy: &Policy) {
        let document = policy.document();
        let results = policy.run_examples();
        if results.is_empty() {
            let span = Self::key_of(self.root, "name").unwrap_or(self.root.mark);
            let d = self.advise("policy-without-examples", span, "nothing shows what this policy decides");
            d.hint = Some("add `examples`: one on each side of every limit; `cpd policy test` runs them".into());
        }
        for (i, result) in results.iter().enumerate().filter(|(_, r)| !r.passed()) {
            let (yaml, _) = self.root.at_pointer(&format!("/examples/{i}"));
            let span = yaml.get("name").map_or(yaml.mark, |y| y.mark);
            let name = document.examples.get(i).map_or("", |e| &*e.name);
            let d = self.advise(
                "example-fails",
                span,
                format!("the policy decides otherwise than its example `{name}` says"),
            );
            d.hint = result.detail();
        }
        let rule: String = match &document.rule {
            Rule::Threshold(threshold) => threshold.conditions.join("\n"),
            Rule::Rego(source) => source.to_string(),
        };
        let words: Vec<&str> = rule.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        for name in document.parameters.keys().filter(|name| !words.contains(&&***name)) {
            let (yaml, key) = self.root.at_pointer(&format!("/parameters/{name}"));
            let message = format!("the rule does not mention the parameter `{name}`");
            self.advise("unused-parameter", key.unwrap_or(yaml.mark), message).hint =
                Some("whoever changes it will believe that it did something".into());
        }
        self.credentials(self.root, None);
    }
}
