//! The offline summariser: plain English about nested data, from rules and not from a model.
//!
//! It needs no network, costs nothing, and says the same for the same data. It knows a few shapes that runs of a
//! control plane are made of (drift figures, a policy's decision, an approval, a training result, a promotion, a
//! problem) and tells them in sentences, in the order in which such a run happens; whatever else there is follows as
//! facts, one a line. Its output names it (`provider: template`), so that nobody takes it for a model's judgement.
//!
//! How: one walk over the data. At each object the recognisers in `shapes` are asked; the one that fits takes the
//! members that it tells about, the walk goes on with the rest. Nothing is dropped in silence: what is cut short says
//! how much there was.

mod shapes;
mod words;

use cpd_connector_api::Value;

use shapes::Shape;
use words::{join, label, phrase, scalar};

/// The name that the summariser goes by where others name their model.
pub const MODEL: &str = "cpd-template-summariser";

/// At most so many facts are listed.
const FACTS_MAX: usize = 30;
/// Of a list of objects, so many are told one by one.
const ITEMS_MAX: usize = 5;
/// Data nested deeper than this is only counted.
const DEPTH_MAX: usize = 24;

/// A summary in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// One sentence that says the most important.
    pub headline: String,
    /// What was recognised, told in sentences.
    pub sentences: Vec<String>,
    /// Everything else, one fact each.
    pub facts: Vec<String>,
}

impl Summary {
    /// The summary as text: headline, sentences as a paragraph, facts as a list.
    pub fn text(&self) -> String {
        let mut text = self.headline.clone();
        if !self.sentences.is_empty() {
            text.push_str("\n\n");
            text.push_str(&self.sentences.join(" "));
        }
        if !self.facts.is_empty() {
            text.push_str("\n\nDetails:");
            self.facts.iter().for_each(|fact| text.push_str(&format!("\n- {fact}")));
        }
        text
    }
}

/// Something told about: what it is, in a few words for the headline, and in a sentence.
#[derive(Clone, Debug)]
struct Finding {
    shape: Shape,
    short: String,
    sentence: String,
}

#[derive(Debug, Default)]
struct Walk {
    subject: Option<String>,
    findings: Vec<Finding>,
    facts: Vec<String>,
    cut: usize,
}

/// Summarises any data.
pub fn summarise(data: &Value) -> Summary {
    let mut walk = Walk { subject: shapes::subject(data, 6), ..Walk::default() };
    walk.value(&mut Vec::new(), data);
    let Walk { subject, mut findings, mut facts, cut } = walk;
    // The order in which such a run happens; the sort keeps the data's own order within a shape.
    findings.sort_by_key(|f| f.shape);
    findings.dedup_by(|a, b| a.sentence == b.sentence);
    let headline = headline(subject.as_deref(), &findings, data, &facts);
    if cut > 0 {
        facts.push(format!("and {cut} more"));
    }
    Summary { headline, sentences: findings.into_iter().map(|f| f.sentence).collect(), facts }
}

fn headline(subject: Option<&str>, findings: &[Finding], data: &Value, facts: &[String]) -> String {
    let mut shorts: Vec<&str> = Vec::new();
    for finding in findings {
        if !finding.short.is_empty() && !shorts.contains(&finding.short.as_str()) {
            shorts.push(&finding.short);
        }
    }
    if !shorts.is_empty() {
        let told = shorts.join("; ");
        return match subject {
            Some(subject) => format!("{subject}: {told}."),
            None => format!("{}.", words::capital(&told)),
        };
    }
    let about = subject.map(|s| format!("{s}: ")).unwrap_or_default();
    match data {
        Value::Obj(members) if members.is_empty() => "There is nothing to summarise: the data is empty.".into(),
        Value::Arr(items) if items.is_empty() => "There is nothing to summarise: the list is empty.".into(),
        Value::Null => "There is nothing to summarise: no data was given.".into(),
        Value::Obj(members) => {
            let names: Vec<String> = members.keys().take(6).map(|k| label(k)).collect();
            let more = members.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{about}{} about {}{more}.", words::count(facts.len().max(1), "fact"), join(&names))
        }
        Value::Arr(items) => format!("{about}A list of {}.", words::count(items.len(), "entry")),
        other => format!("{about}The data is one value, {}.", scalar(other)),
    }
}

impl Walk {
    fn value(&mut self, path: &mut Vec<String>, value: &Value) {
        if path.len() >= DEPTH_MAX {
            return self.fact(path, "more, nested too deep to tell");
        }
        match value {
            Value::Obj(members) => {
                let told = shapes::recognise(path, value, self.subject.as_deref());
                let taken = told.map(|(finding, taken)| {
                    self.findings.push(finding);
                    taken
                });
                for (name, member) in members.iter() {
                    if taken.as_ref().is_some_and(|t| t.contains(&&**name)) {
                        continue;
                    }
                    path.push(label(name));
                    self.value(path, member);
                    path.pop();
                }
            }
            Value::Arr(items) => self.list(path, items),
            Value::Null => {}
            leaf if self.is_subject(path, leaf) => {}
            leaf => self.fact(path, &scalar(leaf)),
        }
    }

    fn list(&mut self, path: &mut Vec<String>, items: &[Value]) {
        if items.is_empty() {
            return;
        }
        if let Some(finding) = shapes::ranking(path, items) {
            return self.findings.push(finding);
        }
        if items.iter().all(|v| !matches!(v, Value::Obj(_) | Value::Arr(_))) {
            let shown: Vec<String> = items.iter().take(12).map(scalar).collect();
            let more = items.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return self.fact(path, &format!("{}{more}", join(&shown)));
        }
        for (i, item) in items.iter().take(ITEMS_MAX).enumerate() {
            path.push(format!("{}", i + 1));
            self.value(path, item);
            path.pop();
        }
        if items.len() > ITEMS_MAX {
            self.fact(path, &format!("{} in all, {} of them told here", items.len(), ITEMS_MAX));
        }
    }

    fn fact(&mut self, path: &[String], text: &str) {
        if self.facts.len() >= FACTS_MAX {
            self.cut += 1;
            return;
        }
        self.facts.push(if path.is_empty() { text.to_owned() } else { format!("{}: {text}", phrase(path)) });
    }

    /// The subject stands in the headline; repeating it as a fact tells nothing.
    fn is_subject(&self, path: &[String], leaf: &Value) -> bool {
        let named = path.last().is_some_and(|name| shapes::SUBJECT_LABELS.contains(&name.as_str()));
        named && leaf.as_str().is_some_and(|text| self.subject.as_deref() == Some(text))
    }
}

#[cfg(test)]
mod tests;
