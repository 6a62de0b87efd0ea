//! The expressions of a document, with what kind of place each stands in.

use crate::definition::yaml::{Children, Member, Yaml};
use crate::expression::{condition_source, expression_source};

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is true or false.
    Condition,
    /// It gives the list of a loop.
    Items,
    /// It gives data.
    Data,
    /// It gives what is exported.
    Export,
}

/// An expression.
#[derive(Clone, Copy)]
pub(super) struct Expression<'a> {
    pub yaml: &'a Yaml,
    /// The expression without `${ … }`, a slice of the text of `yaml`.
    pub text: &'a str,
    pub place: Place,
}

impl Expression<'_> {
    /// Where in the text of its node it begins.
    pub fn offset(&self) -> usize {
        self.yaml.text().map_or(0, |t| (self.text.as_ptr() as usize).saturating_sub(t.as_ptr() as usize))
    }
}

/// Members whose texts are expressions with or without `${ … }`.
const CONDITIONS: [&str; 4] = ["if", "while", "when", "exceptWhen"];
/// Members in which lists of tasks stand.
const LISTS: [&str; 4] = ["do", "try", "branches", "foreach"];

/// The expressions of a task, without those of the tasks inside of it.
pub(super) fn expressions(task: &Yaml) -> Vec<Expression<'_>> {
    let mut out = Vec::new();
    for member in task.members().unwrap_or_default() {
        match &*member.key {
            "if" | "while" => bare(&member.value, Place::Condition, &mut out),
            "for" => member.value.get("in").into_iter().for_each(|y| bare(y, Place::Items, &mut out)),
            "switch" => {
                let cases = member.value.items().unwrap_or_default().iter().filter_map(Yaml::members).flatten();
                cases.filter_map(|m| m.value.get("when")).for_each(|y| bare(y, Place::Condition, &mut out));
            }
            "input" => filter(member, "from", Place::Data, &mut out),
            "output" => filter(member, "as", Place::Data, &mut out),
            "export" => filter(member, "as", Place::Export, &mut out),
            "catch" => caught(&member.value, &mut out),
            key if LISTS.contains(&key) || key == "fork" => {}
            _ => values(&member.value, &mut out),
        }
    }
    out
}

fn caught<'a>(yaml: &'a Yaml, out: &mut Vec<Expression<'a>>) {
    for yaml in [Some(yaml), yaml.get("retry")].into_iter().flatten() {
        let conditions = yaml.members().unwrap_or_default().iter().filter(|m| CONDITIONS.contains(&&*m.key));
        conditions.for_each(|m| bare(&m.value, Place::Condition, out));
    }
}

fn filter<'a>(member: &'a Member, key: &str, place: Place, out: &mut Vec<Expression<'a>>) {
    let Some(yaml) = member.value.get(key) else { return };
    if yaml.text().is_some() {
        bare(yaml, place, out);
    } else {
        let before = out.len();
        values(yaml, out);
        out[before..].iter_mut().for_each(|e| e.place = place);
    }
}

fn bare<'a>(yaml: &'a Yaml, place: Place, out: &mut Vec<Expression<'a>>) {
    if let Some(text) = yaml.text() {
        out.push(Expression { yaml, text: condition_source(text).trim(), place });
    }
}

fn values<'a>(yaml: &'a Yaml, out: &mut Vec<Expression<'a>>) {
    match &yaml.children {
        Children::Map(members) => members.iter().for_each(|m| values(&m.value, out)),
        Children::List(items) => items.iter().for_each(|y| values(y, out)),
        Children::None => {
            if let Some(text) = yaml.text().and_then(expression_source) {
                out.push(Expression { yaml, text: text.trim(), place: Place::Data });
            }
        }
    }
}
