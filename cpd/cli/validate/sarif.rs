//! SARIF 2.1.0 (OASIS): what code scanning services and editors take.
//!
//! One run of one tool. All rules that were met are described, with their pages as help. A finding that a comment allows is a
//! result with a suppression, so that a dashboard can show what was allowed and why. The fingerprint of a finding is made of
//! its rule, its place in the document (not the line) and what stands there, so it survives edits elsewhere.

use std::collections::BTreeSet;
use std::path::Path;

use cpd_core::definition::lint::allow::Allowed;
use cpd_core::definition::lint::rules::{self, Rule};
use cpd_core::definition::{Diagnostic, Severity};
use cpd_core::{Value, json};
use sha2::{Digest, Sha256};

use super::Outcome;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The log of a run of the linter.
pub(super) fn log(outcomes: &[Outcome]) -> Value {
    let checked: Vec<_> = outcomes.iter().filter_map(|o| Some((&o.file, o.result.as_ref().ok()?))).collect();
    let all =
        checked.iter().flat_map(|(_, c)| c.verdict.found.iter().chain(c.verdict.allowed.iter().map(|a| &a.diagnostic)));
    let met: BTreeSet<&str> = all.map(|d| &*d.code).collect();
    let rules: Vec<&Rule> = met.iter().filter_map(|code| rules::find(code)).collect();
    let index = |code: &str| rules.iter().position(|r| r.id == code).map_or(-1, |i| i64::try_from(i).unwrap_or(-1));
    let mut results = Vec::new();
    for (file, checked) in &checked {
        let found = checked.verdict.found.iter().map(|d| (d, None));
        let allowed = checked.verdict.allowed.iter().map(|a| (&a.diagnostic, Some(a)));
        results.extend(found.chain(allowed).map(|(d, allowed)| result(file, d, allowed, index(&d.code))));
    }
    let failed: Vec<Value> = outcomes
        .iter()
        .filter_map(|o| Some((o, o.result.as_ref().err()?)))
        .map(|(o, e)| {
            json!({
                "level": "error", "message": { "text": format!("{e:#}") },
                "locations": [ { "physicalLocation": { "artifactLocation": { "uri": uri(&o.file) } } } ],
            })
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [ {
            "tool": { "driver": {
                "name": "cpd", "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|r| described(r)).collect::<Vec<Value>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [ { "executionSuccessful": failed.is_empty(), "toolExecutionNotifications": failed } ],
            "results": results,
        } ],
    })
}

fn described(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.summary() },
        "fullDescription": { "text": rule.section("Why").unwrap_or(rule.summary()) },
        "help": { "text": rule.page, "markdown": rule.page },
        "helpUri": help(rule.id),
        "defaultConfiguration": { "level": level(rule.severity) },
    })
}

/// Where the page of a rule is: in the repository, if the package names one.
fn help(id: &str) -> String {
    match env!("CARGO_PKG_REPOSITORY") {
        "" => format!("urn:cpd:rule:{id}"),
        repository => format!("{repository}/blob/main/docs/rules/{id}.md"),
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn result(file: &Path, d: &Diagnostic, allowed: Option<&Allowed>, index: i64) -> Value {
    let more = d.label.iter().chain(&d.hint).chain(&d.notes).map(|m| format!("\n{m}")).collect::<String>();
    let end = d.end().map(|e| (e.line, e.column));
    let related = d.related.iter().enumerate().map(|(i, r)| {
        let mut location = location(file, r.span.line, r.span.column, None);
        insert(&mut location, "id", Value::from(i64::try_from(i).unwrap_or(0)));
        insert(&mut location, "message", json!({ "text": r.message.as_str() }));
        location
    });
    let related: Vec<Value> = related.collect();
    let (line, column) = d.span.map_or((1, 1), |s| (s.line, s.column));
    let mut out = json!({
        "ruleId": &*d.code,
        "ruleIndex": index,
        "level": level(d.severity),
        "message": { "text": format!("{}{more}", d.message) },
        "locations": [ location(file, line, column, end) ],
        "partialFingerprints": { "cpdRulePlace/v1": fingerprint(d) },
    });
    if !related.is_empty() {
        insert(&mut out, "relatedLocations", Value::from(related));
    }
    if let Some(Allowed { reason, .. }) = allowed {
        let suppression = match reason {
            Some(reason) => json!({ "kind": "inSource", "justification": reason.as_str() }),
            None => json!({ "kind": "external", "justification": "allowed on the command line" }),
        };
        insert(&mut out, "suppressions", Value::from(vec![suppression]));
    }
    out
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Value::Obj(map) = object {
        std::sync::Arc::make_mut(map).insert(key.into(), value);
    }
}

fn location(file: &Path, line: u32, column: u32, end: Option<(u32, u32)>) -> Value {
    let mut region = json!({ "startLine": i64::from(line), "startColumn": i64::from(column) });
    if let Some((end_line, end_column)) = end {
        insert(&mut region, "endLine", Value::from(i64::from(end_line)));
        insert(&mut region, "endColumn", Value::from(i64::from(end_column)));
    }
    json!({ "physicalLocation": { "artifactLocation": { "uri": uri(file) }, "region": region } })
}

/// A path as a reference: relative ones stay relative.
fn uri(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "/");
    let mut out = String::from(if path.is_absolute() { "file://" } else { "" });
    for b in text.strip_prefix("./").unwrap_or(&text).bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn fingerprint(d: &Diagnostic) -> String {
    let mut hash = Sha256::new();
    for part in [&*d.code, &d.pointer, &d.message] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references_and_ids_are_found() {
        assert_eq!(uri(Path::new("./a b/c%.yaml")), "a%20b/c%25.yaml");
        assert_eq!(uri(Path::new("/tmp/é.yaml")), "file:///tmp/%C3%A9.yaml");
        assert!(help("no-result").ends_with("no-result") || help("no-result").ends_with("no-result.md"));
    }

    #[test]
    fn a_finding_that_moves_down_keeps_its_fingerprint() {
        let at = |source: &str| {
            let start = source.find("x:").expect("it is there");
            let span = cpd_core::definition::diagnostic::Span::of(source, start, start + 1);
            let mut d = Diagnostic::warning("no-result", "nothing").at(span);
            d.pointer = "/do/0/x".into();
            fingerprint(&d)
        };
        assert_eq!(at("x: 1"), at("# more\n\nx: 1"));
        let mut other = Diagnostic::warning("no-result", "nothing");
        other.pointer = "/do/1/x".into();
        assert_ne!(fingerprint(&other), at("x: 1"));
    }
}
