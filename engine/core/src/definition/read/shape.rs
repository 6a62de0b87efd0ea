//! The shapes that constructs are made of: objects with known members, lists, texts, numbers.
//!
//! Each function says itself what is wrong and returns `None`; the caller goes on with what is left.

use std::sync::Arc;

use super::Reader;
use crate::definition::diagnostic::{Diagnostic, Span};
use crate::definition::names;
use crate::definition::yaml::{Member, Yaml};

/// An object whose members have been held against the known ones.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    pub yaml: &'a Yaml,
    members: &'a [Member],
}

impl<'a> Fields<'a> {
    /// The member of that name.
    pub fn get(&self, key: &str) -> Option<&'a Yaml> {
        self.member(key).map(|m| &m.value)
    }

    /// The member of that name with its key.
    pub fn member(&self, key: &str) -> Option<&'a Member> {
        self.members.iter().find(|m| &*m.key == key)
    }
}

impl<'a> Reader<'a> {
    /// `found` where something else was expected.
    pub fn wrong_type(&mut self, yaml: &Yaml, what: &str, expected: &str) -> &mut Diagnostic {
        let message = format!("{what}: found {}, expected {expected}", yaml.kind());
        let d = self.error("wrong-type", yaml.mark, message);
        d.label = Some(format!("expected {expected}"));
        d
    }

    /// An object, whatever its members.
    pub fn object(&mut self, yaml: &'a Yaml, what: &str) -> Option<&'a [Member]> {
        if yaml.members().is_none() {
            self.wrong_type(yaml, what, "an object");
        }
        yaml.members()
    }

    /// An object with members among `known`.
    pub fn fields(&mut self, yaml: &'a Yaml, what: &str, known: &[&str]) -> Option<Fields<'a>> {
        let members = self.object(yaml, what)?;
        for member in members.iter().filter(|m| !known.contains(&&*m.key)) {
            self.unknown_property(member, what, known);
        }
        Some(Fields { yaml, members })
    }

    /// A property that does not exist.
    pub fn unknown_property(&mut self, member: &Member, what: &str, known: &[&str]) {
        let suggestion = if self.is_fed_up() { None } else { names::suggestion(&member.key, known.iter().copied()) };
        let message = format!("unknown property `{}` of {what}", member.key);
        self.error("unknown-property", member.key_span, message).label = suggestion;
    }

    /// Refuses the members of `table` that are there: construct of the language, what to use instead.
    pub fn refuse_members(&mut self, fields: Fields<'a>, prefix: &str, table: &[(&str, &str)]) {
        for (key, instead) in table {
            if let Some(member) = fields.member(key) {
                self.not_yet(member.key_span, &format!("`{prefix}{key}`"), instead);
            }
        }
    }

    /// A member that must be there.
    pub fn required(&mut self, fields: Fields<'a>, key: &str, what: &str) -> Option<&'a Yaml> {
        let found = fields.get(key);
        if found.is_none() {
            let message = format!("{what} has no `{key}`");
            self.error("missing-property", fields.yaml.mark, message).label = Some(format!("`{key}` is required"));
        }
        found
    }

    /// A text.
    pub fn text(&mut self, yaml: &'a Yaml, what: &str) -> Option<&'a str> {
        if yaml.text().is_none() {
            let number = matches!(yaml.value, crate::Value::Num(_) | crate::Value::Bool(_));
            let quoted = format!("'{}'", self.source.get(yaml.span.start..yaml.span.end).unwrap_or(""));
            let d = self.wrong_type(yaml, what, "a text");
            if number {
                d.hint = Some(format!("quote it: {quoted}"));
            }
        }
        yaml.text()
    }

    /// A text that is there, if the member is.
    pub fn text_of(&mut self, fields: Fields<'a>, key: &str, what: &str) -> Option<Arc<str>> {
        let yaml = fields.get(key)?;
        self.text(yaml, &format!("{what}.{key}")).map(Arc::from)
    }

    /// A list.
    pub fn list(&mut self, yaml: &'a Yaml, what: &str, expected: &str) -> Option<&'a [Yaml]> {
        if yaml.items().is_none() {
            self.wrong_type(yaml, what, expected);
        }
        yaml.items()
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, yaml: &'a Yaml, what: &str) -> Option<bool> {
        if yaml.value.as_bool().is_none() {
            self.wrong_type(yaml, what, "a boolean (`true` or `false`)");
        }
        yaml.value.as_bool()
    }

    /// A whole number within bounds.
    pub fn whole(&mut self, yaml: &'a Yaml, what: &str, least: i64, most: i64) -> Option<i64> {
        match yaml.value.as_i64() {
            Some(n) if (least..=most).contains(&n) => Some(n),
            Some(n) => {
                let message = format!("{what}: found {n}, expected {least} to {most}");
                self.error("out-of-range", yaml.mark, message);
                None
            }
            None => {
                self.wrong_type(yaml, what, "a whole number");
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, yaml: &'a Yaml, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let found = self.text(yaml, what)?;
        let hit = choices.iter().find(|(word, _)| *word == found).map(|(_, t)| *t);
        if hit.is_none() {
            let suggestion = names::suggestion(found, choices.iter().map(|(word, _)| *word));
            self.error("unknown-value", yaml.mark, format!("{what}: found `{found}`")).label = suggestion;
        }
        hit
    }

    /// An error about a name that is not among the known ones.
    pub fn unknown_name<'n>(
        &mut self,
        code: &'static str,
        span: Span,
        message: String,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) {
        let suggestion = if self.is_fed_up() { None } else { names::suggestion(name, known) };
        self.error(code, span, message).label = suggestion;
    }
}
