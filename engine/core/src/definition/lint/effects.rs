//! Calls: effects that cannot be taken back, and arguments of the wrong kind.

use super::{Linter, Task, ancestors, subtree};
use crate::Value;
use crate::catalog::Class;
use crate::definition::plan::{Action, Call, NodeId, OnUnknown, Plan};
use crate::definition::yaml::Yaml;
use crate::expression::{expression_source, shape};

impl Linter<'_> {
    pub(super) fn effects(&mut self, plan: &Plan) {
        for task in self.tasks(plan) {
            match &task.node.action {
                Action::Fork { branches, compete: true } if branches.len() > 1 => self.compete(plan, task, branches),
                Action::Call(call) => {
                    self.unknown_outcome(plan, task, task.node.id, call);
                    if let Some(with) = task.yaml.get("with") {
                        self.argument_kinds(&call.operation.name, with, &call.operation.input, "");
                    }
                }
                Action::Do(_) if task.yaml.get("call").is_some() => {
                    // A function: the effects are of the tasks that it is made of, the author's words are this one's.
                    for id in subtree(plan, task.node.id) {
                        if let Action::Call(call) = &plan.node(id).action {
                            self.unknown_outcome(plan, task, id, call);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Branches that lose are cancelled; an effect that must not run twice cannot be.
    fn compete(&mut self, plan: &Plan, task: Task<'_>, branches: &[NodeId]) {
        let once = |id: &NodeId| match &plan.node(*id).action {
            Action::Call(call) => call.operation.class == Class::AtMostOnce,
            _ => false,
        };
        let effects: Vec<NodeId> =
            branches.iter().flat_map(|b| subtree(plan, *b)).filter(|id| once(id)).take(3).collect();
        let Some(first) = effects.first() else { return };
        let span = task.yaml.get("fork").and_then(|f| Self::key_of(f, "compete")).unwrap_or(task.key);
        let places: Vec<_> = effects.iter().filter_map(|id| self.at(&plan.node(*id).pointer)?.1).collect();
        let Action::Call(call) = &plan.node(*first).action else { return };
        let message = "the first branch wins, but effects of the others cannot be called back";
        let hint = format!(
            "`{}` is at-most-once: let branches that compete only read, and act behind the fork",
            call.operation.name
        );
        let d = self.advise("compete-with-effects", span, message);
        d.hint = Some(hint);
        places.into_iter().for_each(|place| d.relate(place, "may have happened although another branch won"));
    }

    /// A retry does not cover a call whose outcome is unknown.
    fn unknown_outcome(&mut self, plan: &Plan, task: Task<'_>, id: NodeId, call: &Call) {
        let said = task.yaml.get("metadata").and_then(|m| m.get("cpd")).and_then(|c| c.get("onUnknown")).is_some();
        let said = said || plan.node(id).on_unknown != OnUnknown::Ask;
        if said || call.operation.reconciles || call.operation.class != Class::AtMostOnce {
            return;
        }
        let mut inside = id;
        for around in ancestors(plan, id) {
            if let Action::Try { body, catch } = &around.action
                && body.contains(&inside)
            {
                if catch.retry.is_some() {
                    let retry = self.at(&format!("{}/catch/retry", around.pointer)).and_then(|(_, key)| key);
                    let message = format!(
                        "if nobody knows whether `{}` was done, the run waits for an operator and does not try again",
                        call.operation.name
                    );
                    let span = Self::key_of(task.yaml, "call").unwrap_or(task.key);
                    let d = self.advise("unknown-outcome", span, message);
                    d.label = Some("at most once".into());
                    d.hint = Some(
                        "say what is meant: `metadata: { cpd: { onUnknown: ask } }`, or `retry` if doing it twice is harmless, or \
                         `fault`"
                            .into(),
                    );
                    if let Some(retry) = retry {
                        d.relate(retry, "covers errors, not unknown outcomes");
                    }
                }
                return;
            }
            inside = around.id;
        }
    }

    /// Expressions that always give another kind of value than the operation takes.
    fn argument_kinds(&mut self, operation: &str, with: &Yaml, schema: &Value, at: &str) {
        for member in with.members().unwrap_or_default() {
            let Some(expected) = schema.get("properties").and_then(|p| p.get(&member.key)) else { continue };
            let place = format!("{at}.{}", member.key);
            if member.value.members().is_some() {
                self.argument_kinds(operation, &member.value, expected, &place);
                continue;
            }
            let Some(text) = member.value.text().and_then(expression_source) else { continue };
            let Some(found) = shape::kind(text) else { continue };
            let types: Vec<&str> = match expected.get("type") {
                Some(Value::Str(one)) => vec![one],
                Some(Value::Arr(several)) => several.iter().filter_map(Value::as_str).collect(),
                _ => continue,
            };
            let fits = types.iter().any(|t| *t == found || (*t == "integer" && found == "number"));
            if !fits && !types.is_empty() {
                let message = format!(
                    "`with{place}` of `{operation}`: the expression gives {} {found}, expected {}",
                    if matches!(found, "array" | "object") { "an" } else { "a" },
                    types.join(" or ")
                );
                self.advise("argument-kind", member.value.mark, message);
            }
        }
    }
}
