//! Branches and loops: conditions that are none, cases that are never taken, branches that are alone.

use super::places::{Place, expressions};
use super::{Linter, Task};
use crate::definition::plan::{Action, Plan, Then};
use crate::definition::yaml::Yaml;
use crate::expression::{VARS, shape};

impl Linter<'_> {
    pub(super) fn flow(&mut self, plan: &Plan) {
        for task in self.tasks(plan) {
            self.constant_conditions(task);
            match &task.node.action {
                Action::Switch(cases) => {
                    self.duplicate_conditions(task);
                    if cases.iter().all(|c| c.when.is_some()) && task.yaml.get("then").is_none() {
                        self.switch_without_default(plan, task);
                    }
                }
                Action::Fork { branches, .. } if branches.len() == 1 => {
                    let span = task.yaml.get("fork").and_then(|f| Self::key_of(f, "branches")).unwrap_or(task.key);
                    let d =
                        self.advise("fork-with-one-branch", span, "a `fork` with one branch runs nothing side by side");
                    d.label = Some("one branch".into());
                    d.hint = Some("write the branch as a task of the list, or add the others".into());
                }
                Action::For(each) if each.condition.is_some() => self.unchanging_while(task),
                _ => {}
            }
        }
    }

    fn switch_without_default(&mut self, plan: &Plan, task: Task<'_>) {
        let place = super::placed_as(plan, task.node.id);
        let siblings = place.parent.map(|p| super::children(&plan.node(p).action)).unwrap_or_default();
        let next = siblings.iter().position(|id| *id == place.id).and_then(|i| siblings.get(i + 1));
        let leads = match next {
            Some(id) => format!("the run goes on with `{}`", plan.node(*id).name),
            None => "the list ends".to_owned(),
        };
        let span = Self::key_of(task.yaml, "switch").unwrap_or(task.key);
        let d = self.advise("switch-without-default", span, format!("if no case holds, {leads}"));
        d.label = Some("no case without `when`, and no `then` of the task".into());
        d.hint = Some("add a case for all others, such as `- otherwise: { then: continue }`".into());
    }

    fn duplicate_conditions(&mut self, task: Task<'_>) {
        let cases = task.yaml.get("switch").and_then(Yaml::items).unwrap_or_default();
        let whens: Vec<(&str, &Yaml)> = cases
            .iter()
            .filter_map(|c| c.members()?.first())
            .filter_map(|m| Some((&*m.key, m.value.get("when")?)))
            .collect();
        let plain = |y: &Yaml| y.text().map(|t| crate::expression::condition_source(t).trim().to_owned());
        for (i, (name, when)) in whens.iter().enumerate() {
            let Some((before, first)) = whens[..i].iter().find(|(_, w)| plain(w) == plain(when)) else { continue };
            let first = first.mark;
            let message = format!("case `{name}` is never taken: `{before}` has the same condition and comes first");
            self.advise("duplicate-condition", when.mark, message).relate(first, "the same");
        }
    }

    fn constant_conditions(&mut self, task: Task<'_>) {
        for expression in expressions(task.yaml).into_iter().filter(|e| e.place == Place::Condition) {
            let Some(value) = shape::constant(expression.text) else { continue };
            let always = if value.truthy() { "always true" } else { "never true" };
            let message = format!("the condition `{}` is {always}", expression.text);
            let hint = match (value.as_str().is_some(), value.truthy()) {
                (true, _) => "a text is true whatever it says; write the expression without quotes of its own",
                (false, true) => "leave the condition out",
                (false, false) => "leave the task or the branch out",
            };
            self.advise("constant-condition", expression.yaml.mark, message).hint = Some(hint.into());
        }
    }

    /// A `while` that mentions nothing that a round could change.
    fn unchanging_while(&mut self, task: Task<'_>) {
        let Some(yaml) = task.yaml.get("while") else { return };
        let Some(text) = yaml.text().map(|t| crate::expression::condition_source(t).trim()) else { return };
        let constant = shape::constant(text).is_some();
        let outer: Vec<&str> = task.node.locals.iter().map(|l| &**l).collect();
        let fixed: Vec<&str> = VARS.into_iter().filter(|v| *v != "$context" && *v != "$output").chain(outer).collect();
        if !constant && variables_only(text).is_some_and(|used| used.iter().all(|v| fixed.contains(&v.as_str()))) {
            let d = self.advise("unchanging-while", yaml.mark, format!("no round of the loop changes `{text}`"));
            d.label = Some("the same in every round".into());
            let hint = "mention the data (`.`), the item or the index; what holds for all rounds belongs into `if`";
            d.hint = Some(hint.into());
        }
    }
}

/// The variables of an expression that is made of variables, literals, comparisons and `and`, `or`; nothing for any other.
fn variables_only(text: &str) -> Option<Vec<String>> {
    let mut used = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |s: &str| s.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(s.len());
        let taken = match first {
            '$' => {
                let end = 1 + word(&rest[1..]);
                used.push(rest[..end].split('.').next().unwrap_or("").to_owned());
                end
            }
            '0'..='9' => word(rest),
            '"' => rest[1..].find('"').filter(|end| !rest[1..=*end].contains('\\'))? + 2,
            '=' | '!' | '<' | '>' | '(' | ')' | '+' | '-' | '*' => 1,
            'a'..='z' => {
                let end = word(rest);
                matches!(&rest[..end], "and" | "or" | "true" | "false" | "null").then_some(end)?
            }
            _ => return None,
        };
        rest = rest[taken..].trim_start();
    }
    (!used.is_empty()).then_some(used)
}

/// Whether some `then` of the plan goes back in its list.
pub(super) fn goes_back(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| {
        let back = |then: &Then| matches!(then, Then::To(id) if *id <= node.id);
        let cases = match &node.action {
            Action::Switch(cases) => cases.iter().any(|c| back(&c.then)),
            Action::Try { catch, .. } => catch.then.as_ref().is_some_and(back),
            _ => false,
        };
        cases || back(&node.then)
    })
}

#[cfg(test)]
mod tests {
    use super::variables_only;

    #[test]
    fn only_what_is_understood_in_full_is_judged() {
        let used = |text: &str| variables_only(text).map(|v| v.join(" "));
        assert_eq!(used("$input.max > 3 and $workflow.id != \"x\""), Some("$input $workflow".into()));
        assert_eq!(used("$index < 3"), Some("$index".into()));
        for text in [".n < 3", "$input | length > 2", "length < 3", "1 < 2", "$input[\"a\"]", "\"\\(.x)\" == $input"] {
            assert_eq!(used(text), None, "{text}");
        }
    }
}
