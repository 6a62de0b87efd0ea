//! Agents: models that may answer without a limit.

use super::Linter;
use crate::definition::yaml::Yaml;

impl Linter<'_> {
    pub(super) fn agent(&mut self) {
        let limited = |budget: &Yaml| ["tokens", "usd"].iter().any(|k| budget.get(k).is_some());
        let paid = self.root.get("provider").and_then(Yaml::text).is_some_and(|p| p != "template");
        if paid && !self.root.get("budget").is_some_and(limited) {
            let span = Self::key_of(self.root, "budget").or(Self::key_of(self.root, "provider"));
            let d = self.advise(
                "agent-without-budget",
                span.unwrap_or(self.root.mark),
                "nothing limits what one answer may cost",
            );
            d.hint = Some("add `budget: { tokens: 20000 }`, or `usd` with `prices`".into());
        }
        self.credentials(self.root, None);
    }
}
