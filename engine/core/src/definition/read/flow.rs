//! The flow of control: `for`, `fork`, `switch`. (`do` and `then` are in `task`.)

use std::sync::Arc;

use super::expression::names;
use super::shape::Fields;
use super::task::Site;
use super::{Reader, Within};
use crate::Value;
use crate::definition::diagnostic::Span;
use crate::definition::plan::{Action, Case, For, NodeId, Then};
use crate::definition::yaml::Yaml;
use crate::expression::{Global, Program, expression_source};

/// A value with expressions inside as one expression. JSON is an expression that gives itself, but for the interpolation that
/// a `\\(` in a text would begin; JSON texts have no such escape.
fn as_expression(value: &Value) -> String {
    match value {
        Value::Arr(items) => format!("[{}]", items.iter().map(as_expression).collect::<Vec<_>>().join(", ")),
        Value::Obj(members) => {
            let member = |(k, v): (&Arc<str>, &Value)| format!("{}: {}", Value::Str(k.clone()), as_expression(v));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        // What an expression inside of a template gives is its first output, or null.
        Value::Str(text) => match expression_source(text) {
            Some(inner) => format!("first(({inner}), null)"),
            None => value.to_json(),
        },
        other => other.to_json(),
    }
}

impl<'a> Reader<'a> {
    /// `for`, `while`, `do`
    pub fn for_each(&mut self, id: NodeId, yaml: &'a Yaml, fields: Fields<'a>, within: &Within) -> Option<Action> {
        let each = self.fields(yaml, "`for`", &["each", "in", "at"]);
        let mut variable = |key: &str, default: &str| {
            let yaml = each.and_then(|f| f.get(key));
            let named = yaml.and_then(|y| self.variable(y, &format!("`for.{key}`")));
            named.unwrap_or_else(|| Arc::from(default))
        };
        let (item, index) = (variable("each", "$item"), variable("at", "$index"));
        if item == index {
            let span = each.and_then(|f| f.get("at").or(f.get("each"))).map_or(yaml.mark, |y| y.mark);
            self.error("duplicate-variable", span, format!("`for.each` and `for.at` are both called `{item}`"));
        }
        let items = each.and_then(|f| self.required(f, "in", "`for`")).and_then(|y| self.items(y, within));
        let locals: Arc<[Arc<str>]> = within.locals.iter().cloned().chain([item, index]).collect();
        let inside = Within { locals: locals.clone(), ..within.clone() };
        let condition = fields.get("while").and_then(|y| self.condition(y, "`while`", &inside));
        let body = match fields.get("do") {
            Some(yaml) => self.body(id, "do", yaml, locals),
            None => {
                self.required(fields, "do", "a `for` task");
                Vec::new()
            }
        };
        Some(Action::For(For { items: items?, condition, body, gather: false }))
    }

    /// `for.in`: an expression, or a literal list.
    fn items(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Program> {
        if yaml.items().is_none() {
            return self.condition(yaml, "`for.in`", within);
        }
        // Says what is wrong with an expression inside, at its place.
        self.template(yaml, within)?;
        Program::compile(&as_expression(&yaml.value), &names(within)).ok()
    }

    /// The name of a variable, with its `$`.
    pub fn variable(&mut self, yaml: &'a Yaml, what: &str) -> Option<Arc<str>> {
        let name = self.text(yaml, what)?;
        let plain = name.strip_prefix('$').unwrap_or(name);
        let letters = plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if plain.len() != name.len() || !letters || !plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let d = self.error(
                "invalid-variable",
                yaml.mark,
                format!("{what}: found `{name}`, expected the name of a variable"),
            );
            d.hint = Some("letters, digits and `_`, without the `$`".into());
            return None;
        }
        let variable: Arc<str> = Arc::from(format!("${plain}"));
        if Global::ALL.iter().any(|g| g.name() == &*variable) || matches!(plain, "ENV" | "__loc__" | "__prog_args") {
            let message = format!("{what}: found `{name}`, which would hide `{variable}`");
            self.error("invalid-variable", yaml.mark, message).label = Some("choose another name".into());
            return None;
        }
        Some(variable)
    }

    /// `fork`
    pub fn fork(&mut self, id: NodeId, yaml: &'a Yaml, within: &Within) -> Option<Action> {
        let fields = self.fields(yaml, "`fork`", &["branches", "compete"])?;
        let compete = fields.get("compete").and_then(|y| self.boolean(y, "`fork.compete`"));
        let branches = self.required(fields, "branches", "`fork`")?;
        let branches = self.body(id, "fork/branches", branches, within.locals.clone());
        Some(Action::Fork { branches, compete: compete.unwrap_or(false) })
    }

    /// `switch`
    pub fn switch(&mut self, id: NodeId, yaml: &'a Yaml) -> Option<Action> {
        let items = self.list(yaml, "`switch`", "a list of cases")?;
        if items.is_empty() {
            self.error("empty-list", yaml.mark, "`switch` has no cases");
        }
        let within = Within { parent: id, pointer: String::new(), locals: self.node(id).locals.clone() };
        let (mut cases, mut default): (Vec<Case>, Option<(Case, Span)>) = (Vec::new(), None);
        let mut names: Vec<&str> = Vec::new();
        let mut thens = Vec::new();
        for item in items {
            let Some([member]) = item.members() else {
                let d = self.wrong_type(item, "a case of `switch`", "one case with its name");
                d.hint = Some("- high: { when: .score > 0.9, then: alert }".into());
                continue;
            };
            let what = format!("case `{}`", member.key);
            if names.contains(&&*member.key) {
                self.error(
                    "duplicate-case",
                    member.key_span,
                    format!("two cases of one `switch` are called `{}`", member.key),
                );
            }
            names.push(&member.key);
            let Some(fields) = self.fields(&member.value, &what, &["when", "then"]) else { continue };
            let then = self.required(fields, "then", &what);
            let case = |when| Case { name: member.key.clone(), when, then: Then::Continue };
            match fields.get("when") {
                Some(yaml) => {
                    let when = self.condition(yaml, "`when`", &within);
                    thens.push((then, Some(cases.len())));
                    cases.push(case(when));
                }
                None => {
                    if let Some((_, first)) = &default {
                        let first = *first;
                        let d = self.error(
                            "several-defaults",
                            member.key_span,
                            format!("{what} has no `when`, and is not the only one"),
                        );
                        d.label = Some("a second default".into());
                        d.relate(first, "the first one");
                        continue;
                    }
                    thens.push((then, None));
                    default = Some((case(None), member.key_span));
                }
            }
        }
        // The default is for when no other case holds, wherever it stands; the machine takes the first that fits.
        let last = cases.len();
        cases.extend(default.map(|(case, _)| case));
        for (yaml, index) in thens {
            let index = index.unwrap_or(last);
            if let Some(yaml) = yaml {
                let then = self.then(yaml, id, Site::Case(index));
                if let Some(case) = cases.get_mut(index) {
                    case.then = then;
                }
            }
        }
        Some(Action::Switch(cases))
    }
}
