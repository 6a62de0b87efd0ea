//! The document as a whole: its head, and what stands around its tasks.

use std::sync::Arc;

use super::metadata::WorkflowMetadata;
use super::shape::Fields;
use super::task::ListKind;
use super::{Reader, Within};
use crate::Value;
use crate::definition::plan::{Action, Plan};
use crate::definition::yaml::Yaml;

/// What `document` says.
pub struct Head {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub version: Arc<str>,
    pub title: Option<Arc<str>>,
    pub summary: Option<Arc<str>>,
    pub cpd: WorkflowMetadata,
    pub document: Value,
}

const TOP: [&str; 9] = ["document", "input", "use", "do", "timeout", "output", "schedule", "evaluate", "metadata"];

impl<'a> Reader<'a> {
    /// Reads the whole document. The plan is complete only if no error was found.
    pub fn document(&mut self, root: &'a Yaml) -> Option<Plan> {
        let fields = self.fields(root, "the document", &TOP[..8])?;
        if let Some(yaml) = fields.get("use") {
            self.components(yaml);
        }
        let within = Within { parent: Plan::ROOT, pointer: "/do".into(), locals: Arc::from([]) };
        let head = self.required(fields, "document", "the definition").and_then(|y| self.head(y, root, &within));
        let name = head.as_ref().map_or_else(|| Arc::from("workflow"), |h| h.name.clone());
        let id = self.reserve(name, Arc::from(""), (None, 0), root, root.span.line);
        if let Some(yaml) = fields.get("evaluate") {
            self.evaluate(yaml);
        }
        if let Some(yaml) = fields.get("input") {
            self.node(id).input_from = self.input(yaml, &within);
            self.node(id).input_schema = self.schema(yaml, "input");
        }
        if let Some(yaml) = fields.get("output") {
            self.node(id).output_as = self.output(yaml, "output", &within);
            self.node(id).output_schema = self.schema(yaml, "output");
        }
        if let Some(yaml) = fields.get("timeout") {
            self.node(id).timeout = self.timeout(yaml, &within);
        }
        if let Some(member) = fields.member("schedule") {
            self.schedule(&member.value);
            let d =
                self.warning("schedule-not-fired", member.key_span, "the schedule is kept, but nothing fires it yet");
            d.hint = Some("start runs from outside until the scheduler is there".into());
        }
        if let Some(yaml) = self.required(fields, "do", "the definition") {
            let tasks = self.tasks(yaml, "`do`", &within, ListKind::Sequence);
            self.node(id).action = Action::Do(tasks);
        }
        self.elsewhere();
        self.unused(root);
        let head = head?;
        Some(self.finish(head))
    }

    fn head(&mut self, yaml: &'a Yaml, root: &Yaml, within: &Within) -> Option<Head> {
        let known = ["dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"];
        let fields = self.fields(yaml, "`document`", &known)?;
        self.language(fields);
        let namespace = self.label(fields, "namespace");
        let name = self.label(fields, "name");
        let version = self.required(fields, "version", "`document`").and_then(|y| {
            let text = self.text(y, "`document.version`")?;
            if let Err(e) = semver::Version::parse(text) {
                let message = format!("`document.version`: found `{text}`, expected a semantic version ({e})");
                self.error("invalid-version", y.mark, message).hint = Some("such as '1.0.0'".into());
            }
            Some(Arc::from(text))
        });
        let title = self.text_of(fields, "title", "document");
        let summary = self.text_of(fields, "summary", "document");
        if let Some(yaml) = fields.get("tags") {
            self.object(yaml, "`document.tags`");
        }
        let cpd = fields.get("metadata").map(|y| self.workflow_metadata(y, within)).unwrap_or_default();
        Some(Head {
            namespace: namespace?,
            name: name?,
            version: version?,
            title,
            summary,
            cpd,
            document: root.value.clone(),
        })
    }

    /// `dsl`
    fn language(&mut self, fields: Fields<'a>) {
        let Some(yaml) = self.required(fields, "dsl", "`document`") else { return };
        let Some(text) = self.text(yaml, "`document.dsl`") else { return };
        let message = match semver::Version::parse(text) {
            Ok(v) if (v.major, v.minor) == (1, 0) && v.pre.is_empty() => return,
            Ok(_) => format!("`document.dsl`: found `{text}`, expected 1.0.x"),
            Err(_) => format!("`document.dsl`: found `{text}`, expected a version of the language such as `1.0.3`"),
        };
        self.error("unsupported-dsl", yaml.mark, message).hint =
            Some("this version of cpd reads the language of release 1.0.3".into());
    }

    /// A DNS label.
    fn label(&mut self, fields: Fields<'a>, key: &str) -> Option<Arc<str>> {
        let yaml = self.required(fields, key, "`document`")?;
        let text = self.text(yaml, &format!("`document.{key}`"))?;
        let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let bytes = || text.bytes();
        let fits = text.len() <= 63
            && bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && edge(bytes().next())
            && edge(bytes().next_back());
        if !fits {
            let message = format!("`document.{key}`: found `{text}`, expected a DNS label");
            let plain = text.replace(['_', ' ', '.'], "-");
            let d = self.error("invalid-name", yaml.mark, message);
            d.label = Some("1 to 63 letters, digits and `-`, at either end no `-`".into());
            if key == "name" && text.contains('_') {
                d.hint = Some(format!("write `{plain}`; people who type `{text}` find it all the same"));
            }
        }
        Some(Arc::from(text))
    }

    /// `evaluate` (of the specification's main branch)
    fn evaluate(&mut self, yaml: &'a Yaml) {
        let Some(fields) = self.fields(yaml, "`evaluate`", &["language", "mode"]) else { return };
        if let Some(yaml) = fields.get("language")
            && let Some(text) = self.text(yaml, "`evaluate.language`")
            && text != "jq"
        {
            let d = self.error("unknown-value", yaml.mark, format!("`evaluate.language`: found `{text}`"));
            d.label = Some("expressions are `jq` here".into());
        }
        if let Some(yaml) = fields.get("mode") {
            let modes = [("strict", false), ("loose", true)];
            self.loose = self.choice(yaml, "`evaluate.mode`", &modes).unwrap_or(false);
            if self.loose {
                let message = "in mode `loose` a text changes its meaning when it happens to be an expression";
                let d = self.warning("loose-expressions", yaml.mark, message);
                d.hint = Some("write `${ … }` around expressions, and leave `evaluate` out".into());
            }
        }
    }
}
