//! The dialect against jq: every line of `tests/jq/cases.tsv` must give what jq 1.8.2 gave (`tests/jq/golden.json`, which
//! `tests/jq/golden` makes and CI recomputes), or stand in `tests/jq/differences.tsv` with what is given instead and why.
//! The reasons are headings of `docs/expressions.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const CASES: &str = include_str!("../../../../../tests/jq/cases.tsv");
const GOLDEN: &str = include_str!("../../../../../tests/jq/golden.json");
const DIFFERENCES: &str = include_str!("../../../../../tests/jq/differences.tsv");
const DOCUMENT: &str = include_str!("../../../../../docs/expressions.md");

/// What came of an expression, in a form that can be compared and printed.
fn outcome(input: &Value, expression: &str) -> String {
    // The expression by itself must compile; its outputs are then taken all together. The line break ends a comment.
    if let Err(error) = Program::compile(expression, &[]) {
        return format!("refused: {error}");
    }
    let limits = Limits::default();
    let scope = Scope::new(input, &limits);
    let all = match Program::compile(&format!("[{expression}\n]"), &[]) {
        Ok(program) => program.eval(&scope),
        Err(error) => return format!("refused: {error}"),
    };
    match all {
        Ok(outputs) => format!("out: {}", print::to_json(&outputs)),
        Err(EvalError::Raised { value, .. }) => format!("error: {}", value.to_json()),
        Err(error) => format!("stopped: {error}"),
    }
}

/// What jq made of a case, in the same form; `None` if it was not asked.
fn expected(case: &Value) -> Option<String> {
    let text = |key: &str| case.get(key).and_then(Value::as_str);
    let raised = text("error").map(|e| format!("error: {e}"));
    let refused = || case.get("refused").map(|_| "refused".to_owned());
    text("out").map(|o| format!("out: {o}")).or(raised).or_else(refused)
}

struct Difference<'s> {
    ours: &'s str,
    reason: &'s str,
}

fn differences() -> BTreeMap<(&'static str, &'static str), Difference<'static>> {
    let lines = DIFFERENCES.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut all = BTreeMap::new();
    for line in lines {
        let columns: Vec<&str> = line.split('\t').collect();
        let [input, expression, reason, ours] = columns[..] else { panic!("four columns in {line:?}") };
        let known = all.insert((input, expression), Difference { ours, reason });
        assert!(known.is_none(), "listed twice: {line}");
    }
    all
}

#[test]
fn every_case_gives_what_jq_gives_or_is_listed_with_a_reason() {
    let golden = Value::from_json(GOLDEN.as_bytes()).unwrap();
    let cases = golden.get("cases").and_then(Value::as_array).unwrap();
    let mut listed = differences();
    let mut wrong = Vec::new();
    for case in cases {
        let text = |key: &str| case.get(key).and_then(Value::as_str).unwrap();
        let (input, expression) = (text("input"), text("expression"));
        let ours = outcome(&Value::from_json(input.as_bytes()).unwrap(), expression);
        let theirs = expected(case);
        // Texts of the compiler are our own; that both refuse is what counts.
        let agrees = theirs.as_deref().is_some_and(|t| ours == t || (t == "refused" && ours.starts_with("refused: ")));
        let key = listed.keys().find(|k| **k == (input, expression)).copied();
        match key.and_then(|k| listed.remove(&k)) {
            None if agrees => {}
            Some(d) if !agrees && d.ours == ours => {}
            Some(d) if agrees => wrong.push(format!("{input}\t{expression}\tis listed as {} but agrees", d.reason)),
            _ => wrong.push(format!("{input}\t{expression}\t{ours}\t(jq) {}", theirs.unwrap_or_default())),
        }
    }
    wrong.extend(listed.iter().map(|((input, expression), _)| format!("{input}\t{expression}\tis no case")));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_golden_file_is_of_these_cases_and_there_are_many() {
    let golden = Value::from_json(GOLDEN.as_bytes()).unwrap();
    let cases = golden.get("cases").and_then(Value::as_array).unwrap();
    let computed: Vec<String> = cases
        .iter()
        .map(|c| ["input", "expression"].map(|k| c.get(k).and_then(Value::as_str).unwrap()).join("\t"))
        .collect();
    let written: Vec<&str> = CASES.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    assert_eq!(computed, written, "run tests/jq/golden");
    assert!(written.len() >= 400);
}

#[test]
fn the_first_output_alone_is_the_first_of_all() {
    let golden = Value::from_json(GOLDEN.as_bytes()).unwrap();
    let limits = Limits::default();
    for case in golden.get("cases").and_then(Value::as_array).unwrap() {
        let text = |key: &str| case.get(key).and_then(Value::as_str).unwrap();
        let (input, expression) = (Value::from_json(text("input").as_bytes()).unwrap(), text("expression"));
        let (Ok(one), Ok(all)) =
            (Program::compile(expression, &[]), Program::compile(&format!("[{expression}\n]"), &[]))
        else {
            continue;
        };
        let scope = Scope::new(&input, &limits);
        let Ok(all) = all.eval(&scope) else { continue };
        let first = all.as_array().and_then(|a| a.first().cloned()).unwrap_or_default();
        assert_eq!(one.eval(&scope).map(|v| v.to_json()), Ok(first.to_json()), "{expression}");
    }
}

#[test]
fn every_reason_for_a_difference_is_explained_and_every_explanation_has_a_case() {
    let reasons: BTreeSet<&str> = differences().values().map(|d| d.reason).collect();
    let explained: BTreeSet<&str> =
        DOCUMENT.lines().filter_map(|l| l.strip_prefix("- **`")?.split_once("`**")).map(|(id, _)| id).collect();
    assert_eq!(reasons, explained);
}

#[test]
fn the_document_names_every_filter_that_there_is_and_no_other() {
    let library = library::library();
    let known: BTreeSet<String> = library.public().map(|(name, arity)| format!("{name}/{arity}")).collect();
    let (_, list) = DOCUMENT.split_once("<!-- filters -->").unwrap();
    let (list, _) = list.split_once("<!-- end -->").unwrap();
    let named: BTreeSet<String> = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let missing: Vec<_> = known.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}");
}
