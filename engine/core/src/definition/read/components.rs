//! `use`: parts of a definition that its tasks refer to by name, and the time-outs of tasks.
//!
//! A component is read once for each task that uses it, since its expressions see the variables of that task. One that
//! nothing uses is read by itself, so that its errors are found, and gets a warning.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::extension::Extension;
use super::{Reader, Within};
use crate::definition::plan::{Plan, Span};
use crate::definition::yaml::{Member, Yaml};

/// The components by name.
#[derive(Default)]
pub struct Components<'a> {
    /// `use.authentications`
    pub authentications: Section<'a>,
    /// `use.catalogs`
    pub catalogs: Section<'a>,
    /// `use.secrets`
    pub secrets: Vec<Arc<str>>,
    /// `use.errors`
    pub errors: Section<'a>,
    /// `use.extensions`, in their order.
    pub extensions: Vec<Extension<'a>>,
    /// `use.functions`
    pub functions: Section<'a>,
    /// `use.retries`
    pub retries: Section<'a>,
    /// `use.timeouts`
    pub timeouts: Section<'a>,
}

/// The components of one kind.
pub type Section<'a> = BTreeMap<&'a str, Entry<'a>>;

/// A component.
pub struct Entry<'a> {
    /// Its name and what it is.
    pub member: &'a Member,
    /// Whether a task refers to it.
    pub used: bool,
}

const SECTIONS: [&str; 8] =
    ["authentications", "catalogs", "errors", "extensions", "functions", "retries", "secrets", "timeouts"];

impl<'a> Reader<'a> {
    /// `use`
    pub fn components(&mut self, yaml: &'a Yaml) {
        let Some(fields) = self.fields(yaml, "`use`", &SECTIONS) else { return };
        let mut section = |key: &str| -> Section<'a> {
            let members = fields.get(key).and_then(|y| self.object(y, &format!("`use.{key}`")));
            let entry = |m: &'a Member| (&*m.key, Entry { member: m, used: false });
            members.unwrap_or_default().iter().map(entry).collect()
        };
        self.components = Components {
            authentications: section("authentications"),
            catalogs: section("catalogs"),
            extensions: Vec::new(),
            secrets: Vec::new(),
            errors: section("errors"),
            functions: section("functions"),
            retries: section("retries"),
            timeouts: section("timeouts"),
        };
        if let Some(yaml) = fields.get("extensions") {
            self.extensions(yaml);
        }
        if let Some(yaml) = fields.get("secrets") {
            let items = self.list(yaml, "`use.secrets`", "a list of names").unwrap_or_default();
            for item in items {
                if let Some(name) = self.text(item, "a name in `use.secrets`") {
                    self.components.secrets.push(Arc::from(name));
                }
            }
        }
    }

    /// Reads what nothing refers to.
    pub fn unused(&mut self, root: &'a Yaml) {
        let unused = |section: &Section<'a>| -> Vec<(&'a str, &'a Member)> {
            section.iter().filter(|(_, e)| !e.used).map(|(name, e)| (*name, e.member)).collect()
        };
        let Components { authentications, catalogs, errors, functions, retries, timeouts, extensions: _, secrets: _ } =
            &self.components;
        let kinds = [
            ("authentications", unused(authentications)),
            ("catalogs", unused(catalogs)),
            ("errors", unused(errors)),
            ("functions", unused(functions)),
            ("retries", unused(retries)),
            ("timeouts", unused(timeouts)),
        ];
        for (kind, entries) in kinds {
            for (name, member) in entries {
                let yaml = &member.value;
                let (_, key) = root.at_pointer(&format!("/use/{kind}/{}", super::escaped(name)));
                let message = format!("nothing refers to `use.{kind}.{name}`");
                self.warning("unused-component", key.unwrap_or(yaml.mark), message);
                let locals: Arc<[Arc<str>]> =
                    if kind == "retries" { Arc::from([Arc::from("$error")]) } else { Arc::from([]) };
                let within = Within { parent: Plan::ROOT, pointer: String::new(), locals };
                match kind {
                    "authentications" => drop(self.policy(yaml)),
                    "errors" => drop(self.problem(yaml, &within)),
                    "retries" => drop(self.retry(yaml, &within)),
                    "timeouts" => drop(self.timeout_object(yaml, &within)),
                    "catalogs" => drop(self.catalog(member)),
                    _ => self.unused_function(name, member),
                }
            }
        }
    }

    /// `timeout` of a task or of the workflow: inline or by name.
    pub fn timeout(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Span> {
        let Some(name) = yaml.text() else { return self.timeout_object(yaml, within) };
        match self.components.timeouts.get_mut(name) {
            Some(entry) => {
                entry.used = true;
                let shared = &entry.member.value;
                self.timeout_object(shared, within)
            }
            None => {
                let known: Vec<&'a str> = self.components.timeouts.keys().copied().collect();
                let message = format!("there is no time-out `{name}` in `use.timeouts`");
                self.unknown_name("unknown-timeout", yaml.mark, message, name, known);
                let inline = crate::definition::duration::from_text(name).is_ok() || name.contains("${");
                if let (true, Some(d)) = (inline, self.found.last_mut()) {
                    d.hint = Some(format!("a span stands below `after`: timeout: {{ after: {name} }}"));
                }
                None
            }
        }
    }

    fn timeout_object(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Span> {
        let fields = self.fields(yaml, "`timeout`", &["after"])?;
        let after = self.required(fields, "after", "`timeout`")?;
        let span = self.span(after, "`timeout.after`", within)?;
        if matches!(span, Span::Fixed(d) if d.is_zero()) {
            self.error("out-of-range", after.mark, "`timeout.after` is zero: nothing could ever finish in time");
        }
        Some(span)
    }
}
