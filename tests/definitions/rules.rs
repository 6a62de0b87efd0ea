//! The rules of the linter: each has a page, and the page tells the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cpd::lint::{Checked, check};
use cpd_connector_api::attachment::{Loader, Resource, Wanted};
use cpd_connector_api::{BoxFuture, Problem, Standard};
use cpd_core::definition::Severity;
use cpd_core::definition::lint::allow::Levels;
use cpd_core::definition::lint::rules::{self, RULES, Rule};
use cpd_engine::Registry;
use regex::Regex;

use crate::{root, yaml_files};

/// A registry with everything that ships.
fn installed() -> Registry {
    let connectors = cpd::wiring::known(&cpd::config::Config::default()).expect("connectors");
    let registry = Registry::empty().with_connectors(connectors).with_loader(Arc::new(Pages));
    for folder in ["definitions/policies", "definitions/agents", "definitions/workflows/examples"] {
        for (path, text) in yaml_files(&root().join(folder)) {
            now(registry.check_and_keep(&text, "shipped.yaml")).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
    registry
}

/// Nothing here waits for anything.
fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// The documents that the examples refer to.
struct Pages;

impl Loader for Pages {
    fn load<'a>(&'a self, wanted: &'a Wanted, _from: &'a str) -> BoxFuture<'a, Result<Resource, Problem>> {
        let content: Option<&[u8]> = match &*wanted.uri {
            "https://example.com/order.json" => Some(br#"{ "type": "object" }"#),
            "https://example.com/catalog/functions/ask/1.0.0/function.yaml" => {
                Some(b"call: http\nwith: { method: get, endpoint: 'https://example.com/' }\n")
            }
            "https://example.com/picture.png" => Some(b"\x89PNG\xff\xfe"),
            "https://example.com/orders.yaml" => Some(include_bytes!("orders.asyncapi.yaml")),
            _ => None,
        };
        Box::pin(async move {
            let content = content.ok_or_else(|| {
                let detail = format!("load {}: the server has no such document", wanted.uri);
                Problem::standard(Standard::Configuration, detail)
            })?;
            Ok(Resource { uri: wanted.uri.clone(), media_type: None, content: Arc::from(content) })
        })
    }
}

fn checked(registry: &Registry, source: &str) -> Checked {
    now(check(registry, source, "page.yaml", &Levels::default())).expect("nothing but the document can be wrong")
}

fn shown(checked: &Checked) -> String {
    checked.verdict.found.iter().map(|d| d.render()).collect()
}

/// The codes of what was found. That nothing fires schedules yet is about this version and not about the example.
fn codes<'c>(checked: &'c Checked, rule: &Rule) -> BTreeSet<&'c str> {
    let found = checked.verdict.found.iter().map(|d| &*d.code);
    found.filter(|c| rule.id == *c || *c != "schedule-not-fired").collect()
}

#[test]
fn the_bad_example_of_a_page_shows_its_rule_and_no_other() {
    let registry = installed();
    let mut wrong = Vec::new();
    for rule in RULES {
        let Some(bad) = rule.example("Bad") else {
            wrong.push(format!("{}: no bad example", rule.id));
            continue;
        };
        let result = checked(&registry, bad);
        let severities: BTreeSet<Severity> =
            result.verdict.found.iter().filter(|d| d.code == rule.id).map(|d| d.severity).collect();
        if codes(&result, rule) != BTreeSet::from([rule.id]) || severities != BTreeSet::from([rule.severity]) {
            wrong.push(format!("{} ({}): its bad example says\n{}", rule.id, rule.severity, shown(&result)));
        }
        assert_eq!(result.registration.is_none(), rule.severity == Severity::Error, "{}", rule.id);
    }
    assert!(wrong.is_empty(), "{} pages:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_said_about_each_bad_example_stands_in_a_file() {
    let registry = installed();
    let mut expected = Vec::new();
    for rule in RULES {
        let mut told = checked(&registry, rule.example("Bad").expect("a bad example"));
        told.verdict.found.retain(|d| d.code == rule.id || d.code != "schedule-not-fired");
        let told = shown(&told);
        expected.push((root().join(format!("definitions/invalid/rules/{}.expect", rule.id)), told));
    }
    for folder in ["policies", "agents"] {
        let files = yaml_files(&root().join("definitions/invalid").join(folder));
        assert!(files.len() >= 3, "{folder}");
        for (path, text) in files {
            let result = checked(&registry, &text);
            assert!(!result.verdict.found.is_empty(), "{}", path.display());
            assert!(
                folder == "agents" || path.ends_with("advice.yaml") || result.registration.is_none(),
                "{} is registered",
                path.display()
            );
            expected.push((path.with_extension("expect"), shown(&result)));
        }
    }
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for (path, told) in expected {
        if update {
            fs::write(&path, told).expect("a writable file");
        } else if fs::read_to_string(&path).unwrap_or_default() != told {
            wrong.push(format!("{} says:\n{told}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{} differ (UPDATE_EXPECT=1 takes them over):\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_good_example_of_a_page_passes_without_a_word() {
    let registry = installed();
    let mut wrong = Vec::new();
    for rule in RULES {
        let result = checked(&registry, rule.example("Good").expect("a good example"));
        let silent = RULES.iter().find(|r| r.id == "invalid-yaml").expect("a rule");
        if !codes(&result, silent).is_empty() || !result.passes() {
            wrong.push(format!("{}: its good example says\n{}", rule.id, shown(&result)));
        }
    }
    assert!(wrong.is_empty(), "{} pages:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_comment_above_its_bad_example_allows_every_warning() {
    let registry = installed();
    for rule in RULES.iter().filter(|r| r.severity == Severity::Warning) {
        if matches!(rule.id, "unknown-rule" | "malformed-allow" | "useless-allow") {
            continue;
        }
        let source =
            format!("# cpd: allow-file({}) this is the example\n{}", rule.id, rule.example("Bad").expect("one"));
        let result = checked(&registry, &source);
        assert!(codes(&result, rule).is_empty(), "{}: {}", rule.id, shown(&result));
        assert!(result.verdict.allowed.iter().all(|a| a.reason.as_deref() == Some("this is the example")));
        assert!(!result.verdict.allowed.is_empty() && result.passes(), "{}", rule.id);
    }
}

/// The Rust files below a folder, without tests.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() && name != "tests" {
            sources(&path, out);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            out.push(path);
        }
    }
}

/// Every code that stands in the sources as the code of a diagnostic, with its severity.
fn emitted() -> BTreeMap<String, Severity> {
    let mut files = vec![
        root().join("engine/src/registry/mod.rs"),
        root().join("engine/src/registry/environment.rs"),
        root().join("cpd/lint.rs"),
    ];
    sources(&root().join("engine/core/src/definition"), &mut files);
    sources(&root().join("engine/core/src/policy"), &mut files);
    let call =
        Regex::new(r#"\b(error|warning|say|advise|unknown_name)\(\s*"([a-z]+(?:-[a-z]+)*)""#).expect("a pattern");
    let mut codes = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable file");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
        for found in call.captures_iter(code) {
            let severity = if matches!(&found[1], "warning" | "advise") { Severity::Warning } else { Severity::Error };
            let before = codes.insert(found[2].to_owned(), severity);
            assert!(before.is_none_or(|b| b == severity), "{} is an error here and a warning there", &found[2]);
        }
    }
    codes
}

#[test]
fn every_code_that_can_be_said_is_a_rule_with_a_page_and_every_page_is_of_one() {
    let said = emitted();
    assert!(said.len() > 90, "only {} codes were found in the sources", said.len());
    let known: BTreeMap<String, Severity> = RULES.iter().map(|r| (r.id.to_owned(), r.severity)).collect();
    let unknown: Vec<_> = said.iter().filter(|(code, severity)| known.get(*code) != Some(severity)).collect();
    let unsaid: Vec<_> = known.keys().filter(|code| !said.contains_key(*code)).collect();
    let todo = "write docs/rules/CODE.md like the others, and a line for it at the end of lint/rules.rs";
    assert!(unknown.is_empty(), "no rule for {unknown:?}: {todo}");
    assert!(unsaid.is_empty(), "rules that nothing says any more: {unsaid:?}");
    let pages = fs::read_dir(root().join("docs/rules")).expect("the pages").map(|e| e.expect("an entry").path());
    let pages: BTreeSet<String> =
        pages.filter_map(|p| p.file_stem().and_then(|s| s.to_str()).map(str::to_owned)).collect();
    assert_eq!(pages, known.keys().cloned().collect(), "pages in docs/rules, and rules");
}

#[test]
fn every_page_has_the_same_parts() {
    assert!(RULES.is_sorted_by_key(|r| r.id), "rules are found by searching");
    for rule in RULES {
        let begin = format!("# {}\n\n*{}, ", rule.id, rule.severity);
        assert!(rule.page.starts_with(&begin), "{} begins with {begin:?}", rule.id);
        assert!(rule.summary().ends_with('.') && rule.summary().len() > 20, "{}: {:?}", rule.id, rule.summary());
        for heading in ["Why", "Bad", "Good", "Allowing it"] {
            assert!(rule.section(heading).is_some_and(|s| !s.is_empty()), "{} has no part `{heading}`", rule.id);
        }
        assert_eq!(rules::find(rule.id), Some(rule));
        let named = rule.section("Allowing it").is_some_and(|s| s.contains(rule.id));
        assert_eq!(named, rule.severity == Severity::Warning, "{}", rule.id);
    }
}

#[test]
fn what_ships_needs_no_advice() {
    let registry = installed();
    for folder in ["policies", "agents", "workflows", "workflows/examples"] {
        for (path, text) in yaml_files(&root().join("definitions").join(folder)) {
            let result = checked(&registry, &text);
            assert!(result.verdict.found.is_empty(), "{}:\n{}", path.display(), shown(&result));
        }
    }
}
