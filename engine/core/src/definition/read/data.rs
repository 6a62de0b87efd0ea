//! Data on its way through a task: `input`, `output`, `export`, `set`.

use super::{Reader, Within};
use crate::definition::plan::Action;
use crate::definition::yaml::Yaml;
use crate::expression::Template;

/// What to do as long as schemas of definitions are not checked.
const SCHEMA_INSTEAD: &str = "check the data with a `switch` and `raise`; operations check their own input";

impl<'a> Reader<'a> {
    /// `input`: the template of `input.from`.
    pub fn input(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Template> {
        let fields = self.fields(yaml, "`input`", &["schema", "from"])?;
        self.refuse_members(fields, "input.", &[("schema", SCHEMA_INSTEAD)]);
        self.filter(fields.get("from")?, "`input.from`", within)
    }

    /// `output` or `export`: the template of its `as`.
    pub fn output(&mut self, yaml: &'a Yaml, key: &str, within: &Within) -> Option<Template> {
        let fields = self.fields(yaml, &format!("`{key}`"), &["schema", "as"])?;
        self.refuse_members(fields, &format!("{key}."), &[("schema", SCHEMA_INSTEAD)]);
        self.filter(fields.get("as")?, &format!("`{key}.as`"), within)
    }

    /// `set`
    pub fn set(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Action> {
        if yaml.text().is_some() {
            return self.whole_expression(yaml, "`set`", within).map(Action::Set);
        }
        let members = self.object(yaml, "`set`")?;
        if members.is_empty() {
            let d = self.error("empty-object", yaml.mark, "`set` has no members");
            d.hint = Some("to set nothing, leave the task out; to set an empty object, write '${ {} }'".into());
        }
        self.template(yaml, within).map(Action::Set)
    }
}
