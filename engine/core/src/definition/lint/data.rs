//! Expressions and variables: results that are dropped, a context that nobody has written, names that hide others.

use super::flow::goes_back;
use super::places::{Expression, Place, expressions};
use super::{Linter, Task, ancestors, subtree};
use crate::definition::plan::{Action, Node, NodeId, Plan};
use crate::definition::yaml::{Yaml, position};
use crate::expression::shape::{Outputs, outputs};

impl Linter<'_> {
    pub(super) fn data(&mut self, plan: &Plan) {
        let tasks = self.tasks(plan);
        for task in &tasks {
            for expression in expressions(task.yaml) {
                self.results(expression);
            }
            self.shadowed(*task);
        }
        let root: Vec<Expression<'_>> = head(self.root);
        for expression in &root {
            self.results(*expression);
        }
        self.context(plan, &tasks, &root);
    }

    fn results(&mut self, expression: Expression<'_>) {
        let text = expression.text;
        let outputs = outputs(text);
        if outputs == Outputs::One {
            return;
        }
        // Counting lines from the beginning is for what is said, not for every expression.
        let start = expression.offset();
        let span = position::locate(self.source, expression.yaml, start, start + text.len());
        match outputs {
            Outputs::One => {}
            Outputs::None => {
                let d = self.advise("no-result", span, "the expression never has a result, which counts as null");
                d.hint = Some("write `null`, or what is meant".into());
            }
            Outputs::Many => {
                let message = "the expression may have several results, of which only the first is kept";
                let d = self.advise("several-results", span, message);
                d.hint = Some(match expression.place {
                    Place::Condition => "ask about all of them: `any(.items[]; .ok)` or `all(.items[]; .ok)`".into(),
                    Place::Items => format!("a loop takes a list: `[ {text} ]`, or the list itself without `[]`"),
                    Place::Data | Place::Export => {
                        format!("keep them all with `[ {text} ]`, or say that the first is meant with `first({text})`")
                    }
                });
            }
        }
    }

    /// A variable of a loop or a catch that hides one from around it.
    fn shadowed(&mut self, task: Task<'_>) {
        let hides = |name: &str| task.node.locals.iter().any(|l| l.strip_prefix('$') == Some(name));
        let mut names: Vec<(&str, &Yaml)> = Vec::new();
        for (part, keys) in [("for", ["each", "at"]), ("foreach", ["item", "at"]), ("catch", ["as", "as"])] {
            let Some(yaml) = task.yaml.get(part) else { continue };
            names.extend(keys.iter().filter_map(|k| yaml.get(k)).filter_map(|y| Some((y.text()?, y))));
            // Two loops of which neither names its item: the usual way to lose the outer one.
            let unnamed = yaml.get(keys[0]).is_none();
            if unnamed && part != "catch" && hides("item") {
                let span = Self::key_of(task.yaml, part).unwrap_or(task.key);
                let message = "`$item` of this loop hides `$item` of the loop around it";
                self.advise("shadowed-variable", span, message).hint =
                    Some(format!("name one of them: `{part}: {{ {}: row, … }}`", keys[0]));
            }
        }
        names.dedup_by_key(|(_, y)| y.span.start);
        for (name, yaml) in names {
            if hides(name) {
                let message = format!("`${name}` hides the `${name}` that is bound around this task");
                self.advise("shadowed-variable", yaml.mark, message).hint = Some("give it another name".into());
            }
        }
    }

    /// `$context` that is read where nothing can have been exported yet.
    fn context(&mut self, plan: &Plan, tasks: &[Task<'_>], root: &[Expression<'_>]) {
        let exporters: Vec<NodeId> = plan.nodes.iter().filter(|n| n.export_as.is_some()).map(|n| n.id).collect();
        let mentions = |e: &&Expression<'_>| e.text.contains("$context") && e.place != Place::Export;
        if exporters.is_empty() {
            for expression in root.iter().filter(mentions) {
                self.empty_context(*expression, "no task exports anything");
            }
        }
        let back = goes_back(plan);
        for task in tasks {
            if !exporters.is_empty() && (back || may_follow(plan, task.node, &exporters)) {
                continue;
            }
            let why = if exporters.is_empty() { "no task exports anything" } else { "the first `export` comes later" };
            for expression in expressions(task.yaml).iter().filter(mentions) {
                self.empty_context(*expression, why);
            }
        }
    }

    fn empty_context(&mut self, expression: Expression<'_>, why: &str) {
        let at = expression.text.find("$context").unwrap_or(0) + expression.offset();
        let span = position::locate(self.source, expression.yaml, at, at + "$context".len());
        let d = self.advise("context-before-export", span, format!("`$context` is empty here: {why}"));
        d.hint = Some("export what later tasks need: `export: { as: '$context + { name: . }' }`".into());
    }
}

/// Whether an export may have been made before a task is evaluated.
fn may_follow(plan: &Plan, node: &Node, exporters: &[NodeId]) -> bool {
    let around: Vec<&Node> = ancestors(plan, node.id).collect();
    let before = exporters.iter().any(|e| *e < node.id && !around.iter().any(|n| n.id == *e));
    // A later round of a loop, or another attempt, sees what an earlier one exported.
    before
        || around.iter().any(|n| {
            let repeats = match &n.action {
                Action::For(_) | Action::Listen(_) => true,
                Action::Try { catch, .. } => catch.retry.is_some(),
                _ => false,
            };
            repeats && subtree(plan, n.id).iter().skip(1).any(|id| exporters.contains(id))
        })
}

/// The expressions of the workflow itself.
fn head(root: &Yaml) -> Vec<Expression<'_>> {
    let mut all = expressions(root);
    all.retain(|e| matches!(e.place, Place::Data | Place::Export));
    let own = |e: &Expression<'_>| {
        ["input", "output"]
            .iter()
            .filter_map(|k| root.get(k))
            .any(|y| (y.span.start..y.span.end).contains(&e.yaml.span.start))
    };
    all.retain(own);
    all
}
