//! What is meant: comments in a definition, and the levels that a caller sets.
//!
//! `# cpd: allow(rule) reason` takes back the warnings of a rule. Behind something it is about that line. On a line of its own it is
//! about what follows: the line below and all that is indented deeper, so above a task it is about the task.
//! `# cpd: allow-file(rule) reason` is about the whole document. Several rules stand with commas. A reason is required, since the next
//! reader will ask; an allowance that is wrong or that nothing needs is a warning of its own. Errors cannot be allowed.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::rules;
use crate::definition::diagnostic::{Diagnostic, Severity, Span};
use crate::definition::names;
use crate::definition::yaml::{self, Children, Yaml};

/// How serious rules are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Every warning is an error.
    pub deny_warnings: bool,
    /// Warnings of these rules are errors.
    pub deny: BTreeSet<String>,
    /// Warnings of these rules are not wanted.
    pub allow: BTreeSet<String>,
}

/// A warning that somebody has allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The warning.
    pub diagnostic: Diagnostic,
    /// The reason that was given; none if the caller did not want to hear of the rule.
    pub reason: Option<String>,
}

/// What is left to say about a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// In the order of the source.
    pub found: Vec<Diagnostic>,
    /// What was allowed.
    pub allowed: Vec<Allowed>,
}

impl Verdict {
    /// Whether there is an error among what was found.
    pub fn refuses(&self) -> bool {
        self.found.iter().any(|d| d.severity == Severity::Error)
    }
}

static COMMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|\s)#\s*cpd:\s*allow(-file)?\b\s*(?:\(([^)]*)\))?[ \t:]*(.*)$").expect("the pattern is right")
});

/// A comment that allows something.
struct Allowance<'s> {
    rule: &'s str,
    reason: &'s str,
    /// The rule's name in the source.
    span: Span,
    /// The lines that it is about, from the first to the last.
    lines: (u32, u32),
    used: bool,
}

/// Holds what was found against the comments of the document and the levels of the caller.
pub fn judge(source: &str, file: &str, found: Vec<Diagnostic>, levels: &Levels) -> Verdict {
    let mut verdict = Verdict::default();
    let (mut allowances, mut wrong) = comments(source);
    // What kept the document from being read in full may also have kept a warning from being found.
    let complete = !found.iter().any(|d| d.severity == Severity::Error);
    for diagnostic in found {
        let line = diagnostic.span.map_or(1, |s| s.line);
        let fits = |a: &&mut Allowance<'_>| a.rule == diagnostic.code && (a.lines.0..=a.lines.1).contains(&line);
        match allowances.iter_mut().find(fits).filter(|_| diagnostic.severity == Severity::Warning) {
            Some(allowance) => {
                allowance.used = true;
                verdict.allowed.push(Allowed { diagnostic, reason: Some(allowance.reason.to_owned()) });
            }
            None => verdict.found.push(diagnostic),
        }
    }
    for allowance in allowances.iter().filter(|a| complete && !a.used) {
        let d = Diagnostic::warning("useless-allow", format!("there is no `{}` here to allow", allowance.rule));
        wrong.push(d.at(allowance.span).hint("take the comment out"));
    }
    let file: Arc<str> = Arc::from(file);
    verdict.found.extend(wrong.into_iter().map(|d| d.within(&file, source)));
    verdict.found.sort_by(|a, b| (a.span, &a.code, &a.message).cmp(&(b.span, &b.code, &b.message)));
    let (unwanted, mut left): (Vec<_>, Vec<_>) = std::mem::take(&mut verdict.found)
        .into_iter()
        .partition(|d| d.severity == Severity::Warning && levels.allow.contains(&*d.code));
    verdict.allowed.extend(unwanted.into_iter().map(|diagnostic| Allowed { diagnostic, reason: None }));
    for d in left.iter_mut().filter(|d| d.severity == Severity::Warning) {
        if levels.deny_warnings || levels.deny.contains(&*d.code) {
            d.severity = Severity::Error;
        }
    }
    verdict.found = left;
    verdict
}

/// The allowances of a document, and what is wrong with them.
fn comments(source: &str) -> (Vec<Allowance<'_>>, Vec<Diagnostic>) {
    let (mut allowances, mut wrong) = (Vec::new(), Vec::new());
    if !source.contains("cpd:") {
        return (allowances, wrong);
    }
    // Most documents have no such comment: the tree is only made for the first one.
    let root = LazyCell::new(|| yaml::parse(source).ok());
    let lines: Vec<&str> = source.split('\n').map(|l| l.trim_end_matches('\r')).collect();
    let mut start = 0;
    for (i, (line, raw)) in lines.iter().zip(source.split('\n')).enumerate() {
        let begin = start;
        start += raw.len() + 1;
        let Some(found) = COMMENT.captures(line) else { continue };
        let from = found.get(0).map_or(0, |m| m.start());
        let sign = begin + from + line[from..].find('#').unwrap_or(0);
        if root.as_ref().is_some_and(|root| in_text(root, sign)) {
            continue;
        }
        let reason = found.get(3).map_or("", |m| m.as_str().trim());
        let whole = Span::of(source, sign, begin + line.len());
        let form = "write `# cpd: allow(rule) why it is meant`";
        let Some(list) = found.get(2).filter(|l| !l.as_str().trim().is_empty()) else {
            let d = Diagnostic::warning("malformed-allow", "this comment does not say what is allowed");
            wrong.push(d.at(whole).hint(form));
            continue;
        };
        if reason.is_empty() {
            let d = Diagnostic::warning("malformed-allow", "this comment does not say why");
            wrong.push(d.at(whole).label("a reason is missing").hint(form));
            continue;
        }
        let about = if found.get(1).is_some() { (1, u32::MAX) } else { extent(&lines, i, line[..sign - begin].trim()) };
        let mut at = begin + list.start();
        for part in list.as_str().split(',') {
            let rule = part.trim();
            let from = at + part.len() - part.trim_start().len();
            let span = Span::of(source, from, from + rule.len());
            at += part.len() + 1;
            match rules::find(rule) {
                Some(known) if known.severity == Severity::Warning => {
                    allowances.push(Allowance { rule: known.id, reason, span, lines: about, used: false });
                }
                Some(_) => {
                    let message = format!("`{rule}` is an error, and errors cannot be allowed");
                    wrong.push(Diagnostic::warning("useless-allow", message).at(span));
                }
                None => {
                    let mut d = Diagnostic::warning("unknown-rule", format!("there is no rule `{rule}`")).at(span);
                    let known = rules::RULES.iter().filter(|r| r.severity == Severity::Warning).map(|r| r.id);
                    d.label = names::nearest(rule, known).map(|n| format!("did you mean `{n}`?"));
                    wrong.push(d.hint("`cpd validate --rules` lists them"));
                }
            }
        }
    }
    (allowances, wrong)
}

/// The lines that a comment in line `at` is about; `before` is what stands before it in its line.
fn extent(lines: &[&str], at: usize, before: &str) -> (u32, u32) {
    let number = |i: usize| u32::try_from(i + 1).unwrap_or(u32::MAX);
    if !before.is_empty() {
        return (number(at), number(at));
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    let says_nothing = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let Some(first) = (at + 1..lines.len()).find(|i| !says_nothing(&lines[*i])) else {
        return (number(at), number(at));
    };
    let (depth, item) = (indent(lines[first]), lines[first].trim_start().starts_with("- "));
    // The items of a list may stand as deep as the name of the list.
    let inside = |line: &&str| {
        says_nothing(line)
            || indent(line) > depth
            || (!item && indent(line) == depth && line.trim_start().starts_with("- "))
    };
    let last = (first + 1..lines.len()).take_while(|i| inside(&lines[*i])).last().unwrap_or(first);
    (number(first), number(last))
}

/// Whether a byte of the source stands inside of a text.
fn in_text(yaml: &Yaml, byte: usize) -> bool {
    if yaml.span.start > byte || yaml.span.end <= byte {
        return false;
    }
    match &yaml.children {
        Children::None => yaml.text().is_some(),
        Children::Map(members) => members.iter().any(|m| in_text(&m.value, byte)),
        Children::List(items) => items.iter().any(|n| in_text(n, byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "document: 1
do:
  # cpd: allow(several-results) the first is enough
  - a:
      set: 1
      if: 2

  - b:
      set: 3 # cpd: allow(no-result, several-results): it is so
  - c: 4
";

    fn warning(code: &'static str, needle: &str) -> Diagnostic {
        let start = SOURCE.find(needle).expect("it is there");
        Diagnostic::warning(code, "x").at(Span::of(SOURCE, start, start + needle.len()))
    }

    fn left(found: Vec<Diagnostic>, levels: &Levels) -> Vec<String> {
        judge(SOURCE, "w.yaml", found, levels).found.iter().map(|d| format!("{} {}", d.severity, d.code)).collect()
    }

    #[test]
    fn a_comment_is_about_its_line_or_about_the_block_below() {
        let all = |code| ["if: 2", "set: 3", "- c"].map(|n| warning(code, n)).to_vec();
        let verdict = judge(SOURCE, "w.yaml", all("several-results"), &Levels::default());
        assert_eq!(verdict.allowed.len(), 2);
        assert_eq!(verdict.allowed[0].reason.as_deref(), Some("the first is enough"));
        assert_eq!(verdict.allowed[1].reason.as_deref(), Some("it is so"));
        let lines: Vec<_> = verdict.found.iter().map(|d| (d.span.unwrap().line, &*d.code)).collect();
        assert_eq!(lines, [(9, "useless-allow"), (10, "several-results")], "the one of no-result allows nothing");
    }

    #[test]
    fn levels_deny_and_allow_and_errors_stay_errors() {
        let found = || vec![warning("swallowed-error", "- c"), warning("no-result", "- c")];
        let comments_too = ["warning useless-allow", "warning useless-allow", "warning useless-allow"];
        let none = left(found(), &Levels::default());
        assert_eq!(none[..3], comments_too);
        assert_eq!(none[3..], ["warning no-result", "warning swallowed-error"]);
        let deny = Levels { deny: BTreeSet::from(["no-result".to_owned()]), ..Levels::default() };
        assert_eq!(left(found(), &deny)[3..], ["error no-result", "warning swallowed-error"]);
        let allow = BTreeSet::from(["no-result".to_owned(), "useless-allow".to_owned()]);
        let both = Levels { deny_warnings: true, allow, ..Levels::default() };
        assert_eq!(left(found(), &both), ["error swallowed-error"]);
        let error = Diagnostic::error("unknown-property", "x").at(Span::of(SOURCE, 0, 1));
        let all = Levels { allow: BTreeSet::from(["unknown-property".to_owned()]), ..Levels::default() };
        assert!(left(vec![error], &all).contains(&"error unknown-property".to_owned()));
    }

    #[test]
    fn comments_that_say_too_little_are_told() {
        let of = |comment: &str| {
            let source = format!("a: 1 # cpd: {comment}\n");
            let found = judge(&source, "w.yaml", vec![], &Levels::default()).found;
            found.iter().map(|d| d.code.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("allow(no-result)"), "malformed-allow");
        assert_eq!(of("allow no-result because"), "malformed-allow");
        assert_eq!(of("allow(no-resutl) because"), "unknown-rule");
        assert_eq!(of("allow(unknown-property) because"), "useless-allow");
        assert_eq!(of("allow-file(no-result) because"), "useless-allow");
        assert_eq!(of("is a name"), "");
        assert_eq!(of("allowance"), "");
    }

    #[test]
    fn what_stands_in_a_text_is_no_comment() {
        let behind = "a: 'x#y' # cpd: allow(nonsense) z\n";
        assert_eq!(judge(behind, "w.yaml", vec![], &Levels::default()).found.len(), 1);
        let source = "a: |\n  x # cpd: allow(nonsense) y\nb: 'z # cpd: allow(nonsense) y'\n";
        assert!(judge(source, "w.yaml", vec![], &Levels::default()).found.is_empty());
    }
}
