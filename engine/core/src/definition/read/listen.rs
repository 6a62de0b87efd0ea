//! `listen`, and the filters of events that `schedule.on` has too.

use std::sync::Arc;

use super::shape::Fields;
use super::{Reader, Within};
use crate::Value;
use crate::definition::names;
use crate::definition::plan::{Action, Consume, Correlation, EventFilter, Listen, Matcher, NodeId, Read, Until};
use crate::definition::yaml::Yaml;
use crate::expression::expression_source;

/// The attributes that CloudEvents 1.0 knows.
const ATTRIBUTES: [&str; 9] =
    ["id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data", "specversion"];

/// Events to wait for.
pub struct Strategy {
    /// How many.
    pub consume: Consume,
    /// Which.
    pub filters: Vec<EventFilter>,
    /// Until when.
    pub until: Option<Until>,
}

impl<'a> Reader<'a> {
    /// `listen` and `foreach`
    pub fn listen(&mut self, id: NodeId, yaml: &'a Yaml, fields: Fields<'a>, within: &Within) -> Option<Action> {
        let listen = self.fields(yaml, "`listen`", &["to", "read"])?;
        let reads = [("data", Read::Data), ("envelope", Read::Envelope), ("raw", Read::Raw)];
        let read = listen.get("read").and_then(|y| self.choice(y, "`listen.read`", &reads)).unwrap_or_default();
        let to = self.required(listen, "to", "`listen`")?;
        let strategy = self.strategy(to, "`listen.to`", within)?;
        let foreach = fields.get("foreach").map(|y| self.foreach(id, y, within)).unwrap_or_default();
        let Strategy { consume, filters, until } = strategy;
        Some(Action::Listen(Listen { consume, filters, until, read, foreach }))
    }

    /// Which events: `one`, `any` or `all`.
    pub fn strategy(&mut self, yaml: &'a Yaml, what: &str, within: &Within) -> Option<Strategy> {
        let fields = self.fields(yaml, what, &["one", "any", "all", "until"])?;
        let kinds = [("one", Consume::One), ("any", Consume::Any), ("all", Consume::All)];
        let mut there = kinds.iter().filter_map(|(key, consume)| Some((*key, *consume, fields.get(key)?)));
        let (Some((key, consume, list)), None) = (there.next(), there.next()) else {
            self.error("wrong-shape", yaml.mark, format!("{what}: expected exactly one of `one`, `any` and `all`"));
            return None;
        };
        let filters = if consume == Consume::One {
            vec![self.event_filter(list, within)?]
        } else {
            let items = self.list(list, &format!("{what}.{key}"), "a list of event filters")?;
            if items.is_empty() && consume == Consume::All {
                self.error("empty-list", list.mark, format!("{what}: `all` has no filters, so nothing could wake it"));
            }
            items.iter().map(|y| self.event_filter(y, within)).collect::<Option<Vec<_>>>()?
        };
        let until = fields.get("until").and_then(|y| self.until(y, consume, what, within));
        Some(Strategy { consume, filters, until })
    }

    fn until(&mut self, yaml: &'a Yaml, consume: Consume, what: &str, within: &Within) -> Option<Until> {
        if consume != Consume::Any {
            let d = self.error("wrong-shape", yaml.mark, format!("{what}: `until` goes with `any` only"));
            d.hint = Some("`one` and `all` end by themselves".into());
            return None;
        }
        match &yaml.value {
            // What the language's examples write for "never".
            Value::Bool(false) => Some(Until::Condition(crate::expression::Program::compile("false", &[]).ok()?)),
            Value::Str(_) => self.condition(yaml, "`until`", within).map(Until::Condition),
            _ => {
                let Strategy { consume, filters, until } = self.strategy(yaml, "`until`", within)?;
                if until.is_some() {
                    self.error("wrong-shape", yaml.mark, "`until` has an `until` of its own");
                }
                Some(Until::Events { consume, filters })
            }
        }
    }

    fn event_filter(&mut self, yaml: &'a Yaml, within: &Within) -> Option<EventFilter> {
        let fields = self.fields(yaml, "an event filter", &["with", "correlate"])?;
        let with = self.required(fields, "with", "an event filter")?;
        let mut attributes = Vec::new();
        for member in self.object(with, "`with` of an event filter")? {
            let key = &*member.key;
            if !key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) || key.is_empty() {
                let message = format!("events have no attribute `{key}`");
                let near = names::nearest(key, ATTRIBUTES).map(|n| format!("did you mean `{n}`?"));
                let d = self.error("invalid-attribute", member.key_span, message);
                d.label = near;
                d.hint = Some("attributes of CloudEvents have lower-case letters and digits only".into());
            }
            if let Some(matcher) = self.matcher(&member.value, within) {
                attributes.push((member.key.clone(), matcher));
            }
        }
        let correlate = match fields.get("correlate") {
            Some(yaml) => self.correlations(yaml, within),
            None => Vec::new(),
        };
        Some(EventFilter { attributes, correlate })
    }

    fn matcher(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Matcher> {
        if let Some(members) = yaml.members().filter(|m| !m.is_empty()) {
            let inner = members.iter().map(|m| Some((m.key.clone(), self.matcher(&m.value, within)?)));
            return inner.collect::<Option<Vec<_>>>().map(Matcher::Members);
        }
        let Some(text) = yaml.text() else { return Some(Matcher::Equal(yaml.value.clone())) };
        if expression_source(text).is_some() || text.contains("${") {
            if expression_source(text).is_none() {
                // Says what is wrong with an expression inside of a text.
                self.template(yaml, within)?;
            }
            return self.condition(yaml, "an event filter", within).map(Matcher::Computed);
        }
        if !text.contains(['^', '$', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\']) {
            return Some(Matcher::Equal(yaml.value.clone()));
        }
        match regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 20).build() {
            Ok(pattern) => Some(Matcher::Pattern(Arc::from(text), pattern)),
            Err(e) => {
                let last = e.to_string().lines().last().unwrap_or("").trim().to_owned();
                let message = format!("found `{text}`, which is no regular expression: {last}");
                self.error("invalid-pattern", yaml.mark, message).hint =
                    Some("texts in event filters are regular expressions; escape with `\\`".into());
                None
            }
        }
    }

    fn correlations(&mut self, yaml: &'a Yaml, within: &Within) -> Vec<Correlation> {
        let members = self.object(yaml, "`correlate`").unwrap_or_default();
        let mut out = Vec::new();
        for member in members {
            let what = format!("`correlate.{}`", member.key);
            let Some(fields) = self.fields(&member.value, &what, &["from", "expect"]) else { continue };
            let from = self.required(fields, "from", &what).and_then(|y| self.condition(y, &what, within));
            let expect = fields.get("expect").map(|y| self.template(y, within));
            if let (Some(from), None | Some(Some(_))) = (from, &expect) {
                out.push(Correlation { key: member.key.clone(), from, expect: expect.flatten() });
            }
        }
        out
    }

    /// `foreach`: one inner task, a list, for each event or message.
    pub fn foreach(&mut self, id: NodeId, yaml: &'a Yaml, within: &Within) -> Vec<NodeId> {
        let Some(fields) = self.fields(yaml, "`foreach`", &["item", "at", "do", "output", "export"]) else {
            return Vec::new();
        };
        let mut variable = |key: &str, default: &str| {
            let named = fields.get(key).and_then(|y| self.variable(y, &format!("`foreach.{key}`")));
            named.unwrap_or_else(|| Arc::from(default))
        };
        let (item, index) = (variable("item", "$item"), variable("at", "$index"));
        if item == index {
            self.error("duplicate-variable", yaml.mark, format!("`item` and `at` are both called `{item}`"));
        }
        let locals: Arc<[Arc<str>]> = within.locals.iter().cloned().chain([item, index]).collect();
        let pointer = Arc::from(format!("{}/foreach", self.node(id).pointer));
        let inner = self.reserve(Arc::from("foreach"), pointer, (Some(id), 0), yaml, yaml.mark.line);
        let inside = Within { parent: inner, pointer: String::new(), locals: locals.clone() };
        self.node(inner).locals = locals.clone();
        if let Some(yaml) = fields.get("output") {
            self.node(inner).output_as = self.output(yaml, "output", &inside);
            self.node(inner).output_schema = self.schema(yaml, "output");
        }
        if let Some(yaml) = fields.get("export") {
            self.node(inner).export_as = self.output(yaml, "export", &inside);
            self.node(inner).export_schema = self.schema(yaml, "export");
        }
        let body = match fields.get("do") {
            Some(yaml) => self.body(inner, "do", yaml, locals),
            None => Vec::new(),
        };
        self.node(inner).action = Action::Do(body);
        vec![inner]
    }
}
