//! What wakes a listen: filters that no event fits, and filters that every event fits.

use super::{Linter, Task};
use crate::Value;
use crate::definition::plan::{Action, Consume, EventFilter, Matcher, Plan};
use crate::definition::yaml::Yaml;
use crate::expression::shape;

/// Attributes of CloudEvents that are texts.
const TEXTS: [&str; 8] = ["id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "specversion"];

impl Linter<'_> {
    pub(super) fn events(&mut self, plan: &Plan) {
        for task in self.tasks(plan) {
            let Action::Listen(listen) = &task.node.action else { continue };
            let Some(to) = task.yaml.get("listen").and_then(|l| l.get("to")) else { continue };
            let key = match listen.consume {
                Consume::One => "one",
                Consume::All => "all",
                Consume::Any => "any",
            };
            let Some(list) = to.get(key) else { continue };
            let yamls: Vec<&Yaml> = match listen.consume {
                Consume::One => vec![list],
                Consume::All | Consume::Any => list.items().unwrap_or_default().iter().collect(),
            };
            if listen.filters.is_empty() && listen.until.is_none() {
                self.everything(task, list);
            }
            for (filter, yaml) in listen.filters.iter().zip(yamls) {
                self.filter(task, filter, yaml);
            }
        }
    }

    fn everything(&mut self, task: Task<'_>, yaml: &Yaml) {
        let message = format!("task `{}` is woken by every event, whatever it is about", task.node.name);
        let d = self.advise("listen-to-everything", yaml.mark, message);
        d.hint = Some("say which: `with: { type: com.example.order.paid.v1 }`".into());
    }

    fn filter(&mut self, task: Task<'_>, filter: &EventFilter, yaml: &Yaml) {
        if filter.attributes.is_empty() && filter.correlate.is_empty() {
            self.everything(task, yaml);
        }
        let with = yaml.get("with");
        for (name, matcher) in &filter.attributes {
            let Some(why) = impossible(name, matcher) else { continue };
            let place = with.and_then(|w| w.get(name)).map_or(yaml.mark, |y| y.mark);
            let d = self.advise("deaf-listen", place, format!("no event fits: {why}"));
            d.label = Some("nothing can wake this".into());
        }
    }
}

/// Why no event has such an attribute.
fn impossible(name: &str, matcher: &Matcher) -> Option<String> {
    let text = TEXTS.contains(&name);
    match matcher {
        Matcher::Equal(Value::Str(s)) if s.is_empty() && matches!(name, "id" | "source" | "type") => {
            Some(format!("`{name}` of an event is never empty"))
        }
        Matcher::Equal(Value::Str(s)) if name == "specversion" && &**s != "1.0" => {
            Some("`specversion` of the events here is `1.0`".into())
        }
        Matcher::Equal(Value::Str(_)) => None,
        Matcher::Equal(other) if text => Some(format!("`{name}` is a text, and never {other}")),
        Matcher::Members(_) if text => Some(format!("`{name}` is a text, and never an object")),
        Matcher::Computed(program) => {
            let never = shape::constant(program.source()).is_some_and(|v| !v.truthy());
            (never && text).then(|| format!("the expression about `{name}` is never true"))
        }
        Matcher::Equal(_) | Matcher::Members(_) | Matcher::Pattern(..) => None,
    }
}
