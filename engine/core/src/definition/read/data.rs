//! Data on its way through a task: `input`, `output`, `export`, `set`.

use super::{Reader, Within};
use crate::definition::plan::Action;
use crate::definition::yaml::{self, Yaml};
use crate::expression::Template;
use crate::validation::Schema;

impl<'a> Reader<'a> {
    /// `input`: the template of `input.from`.
    pub fn input(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Template> {
        let fields = self.fields(yaml, "`input`", &["schema", "from"])?;
        self.filter(fields.get("from")?, "`input.from`", within)
    }

    /// `output` or `export`: the template of its `as`.
    pub fn output(&mut self, yaml: &'a Yaml, key: &str, within: &Within) -> Option<Template> {
        let fields = self.fields(yaml, &format!("`{key}`"), &["schema", "as"])?;
        self.filter(fields.get("as")?, &format!("`{key}.as`"), within)
    }

    /// The schema of an `input`, `output` or `export`.
    pub fn schema(&mut self, yaml: &'a Yaml, key: &str) -> Option<Schema> {
        let yaml = yaml.get("schema")?;
        let what = format!("`{key}.schema`");
        let format_is = format!("`{key}.schema.format`");
        let fields = self.fields(yaml, &what, &["format", "document", "resource"])?;
        if let Some(format) = fields.get("format")
            && let Some(text) = self.text(format, &format_is)
            && text.split(':').next() != Some("json")
        {
            let d = self.error("unknown-value", format.mark, format!("{format_is}: found `{text}`"));
            d.label = Some("expected `json`".into());
        }
        if let (Some(resource), None) = (fields.get("resource"), fields.get("document")) {
            return self.schema_at(resource, &what);
        }
        let document = self.required(fields, "document", &what)?;
        match Schema::compile(&document.value) {
            Ok(schema) => Some(schema),
            Err((at, message)) => {
                let (node, place) = document.at_pointer(&at);
                let d = self.error("invalid-schema", place.unwrap_or(node.mark), format!("{what}: {message}"));
                d.hint = Some("JSON Schema, draft 2020-12; references stay inside of the document".into());
                None
            }
        }
    }

    /// A schema that stands in a document of its own, as JSON or YAML.
    fn schema_at(&mut self, yaml: &'a Yaml, what: &str) -> Option<Schema> {
        let resource = self.resource(yaml, &format!("`{}.resource`", what.trim_matches('`')))?;
        let uri = &resource.uri;
        let parsed = match resource.text() {
            Ok(text) => yaml::parse(text).map_err(|found| found.first().map_or(String::new(), |d| d.message.clone())),
            Err(problem) => Err(problem.detail.as_deref().unwrap_or_default().to_owned()),
        };
        let compiled = parsed
            .and_then(|root| Schema::compile(&root.value).map_err(|(at, message)| format!("at {at:?}: {message}")));
        match compiled {
            Ok(schema) => Some(schema),
            Err(why) => {
                let d = self.error("invalid-schema", yaml.mark, format!("{what}: {uri} is no schema: {why}"));
                d.hint = Some("JSON Schema, draft 2020-12; references stay inside of the document".into());
                None
            }
        }
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
