//! Events: `emit`. (`wait` is a span of time and read with the others.)

use super::{Reader, Within};
use crate::definition::names;
use crate::definition::plan::Action;
use crate::definition::yaml::Yaml;

/// The attributes that CloudEvents 1.0 knows.
const ATTRIBUTES: [&str; 8] = ["id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data"];

impl<'a> Reader<'a> {
    /// `emit`
    pub fn emit(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Action> {
        let fields = self.fields(yaml, "`emit`", &["event"])?;
        let event = self.required(fields, "event", "`emit`")?;
        let fields = self.fields(event, "`emit.event`", &["with"])?;
        let with = self.required(fields, "with", "`emit.event`")?;
        let members = self.object(with, "`emit.event.with`")?;
        if with.get("type").is_none() {
            let d = self.error("missing-property", with.mark, "`emit.event.with` has no `type`");
            d.hint = Some("name what happened, such as `com.example.drift.detected.v1`".into());
        }
        for member in members {
            let key = &*member.key;
            if !key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) || key.is_empty() {
                let message =
                    format!("the event attribute `{key}` has other characters than lower-case letters and digits");
                let near = names::nearest(key, ATTRIBUTES).map(|n| format!("did you mean `{n}`?"));
                let d = self.error("invalid-attribute", member.key_span, message);
                d.label = near;
                d.hint = Some("CloudEvents allows no others; put anything else into `data`".into());
            }
            let text_only =
                matches!(key, "id" | "source" | "type" | "time" | "subject" | "datacontenttype" | "dataschema");
            if text_only {
                self.text(&member.value, &format!("`emit.event.with.{key}`"));
            }
        }
        self.template(with, within).map(|event| Action::Emit { event })
    }
}
