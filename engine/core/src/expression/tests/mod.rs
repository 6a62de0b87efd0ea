//! Behaviour of expressions as a whole: what authors write, where jq and jaq differ, limits, errors, and the agreement of
//! the two ways to run.

mod errors;
mod golden;
mod idioms;
mod limits;
mod properties;
mod semantics;

use super::*;
use crate::json;

/// Evaluates over an input, without variables. An error is its text.
fn run(source: &str, input: &Value) -> Result<Value, String> {
    let program = Program::compile(source, &[]).map_err(|e| format!("{e}; {}", e.hint))?;
    program.eval(&Scope::new(input, &Limits::default())).map_err(|e| e.detail())
}

/// Checks `input | source` against JSON texts; every output counts, not only the first.
#[track_caller]
fn check(source: &str, input: &str, outputs: &[&str]) {
    let input = Value::from_json(input.as_bytes()).unwrap();
    let want: Value = outputs.iter().map(|o| Value::from_json(o.as_bytes()).unwrap()).collect();
    assert_eq!(run(&format!("[{source}]"), &input), Ok(want), "{source}");
}

/// Checks the text of the error that `input | source` raises.
#[track_caller]
fn check_error(source: &str, input: &str, text: &str) {
    let input = Value::from_json(input.as_bytes()).unwrap();
    assert_eq!(run(source, &input), Err(text.to_owned()), "{source}");
}

#[test]
fn programs_and_templates_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Program>();
    shared::<Template>();
    shared::<EvalError>();
}

#[test]
fn variables_are_found_by_name_and_locals_hide_globals() {
    let program = Program::compile("[$context.a, $item, $at, $workflow]", &["$item", "$at", "$workflow"]).unwrap();
    let (context, locals, limits) = (json!({"a": 1}), [json!("x"), json!(0), json!("mine")], Limits::default());
    let scope = Scope::new(&NULL, &limits).with(Global::Context, &context).locals(&locals);
    assert_eq!(program.eval(&scope).unwrap(), json!([1, "x", 0, "mine"]));
    let slow = Program::build(program.source(), &["$item", "$at", "$workflow"], false).unwrap();
    assert_eq!(slow.eval(&scope).unwrap(), json!([1, "x", 0, "mine"]));
}

#[test]
fn locals_that_are_not_given_are_null() {
    let program = Program::compile("[$a, $b] | map(. == null)", &["$a", "$b"]).unwrap();
    assert_eq!(program.eval(&Scope::new(&NULL, &Limits::default())).unwrap(), json!([true, true]));
}

#[test]
fn uses_says_what_is_mentioned_and_nothing_else() {
    let program = Program::compile(".x + $context.a + ([$item[] as $task | $task] | length) + now", &["$item", "$at"]);
    let program = program.unwrap();
    let uses = program.uses();
    let used: Vec<_> = Global::ALL.into_iter().filter(|g| uses.global(*g)).collect();
    assert_eq!(used, [Global::Context], "the inner $task is a variable of the program");
    assert!(uses.local(0) && !uses.local(1) && !uses.local(2));
    assert!(uses.now());
    assert!(!Program::compile("todate", &[]).unwrap().uses().now());
}

#[test]
fn the_first_output_counts_and_none_is_null_or_false() {
    let limits = Limits::default();
    let scope = Scope::new(&NULL, &limits);
    let eval = |s| Program::compile(s, &[]).unwrap().eval(&scope).unwrap();
    let test = |s| Program::compile(s, &[]).unwrap().test(&scope).unwrap();
    assert_eq!(eval("1, error(\"never\")"), json!(1));
    assert_eq!(eval("empty"), Value::Null);
    assert!(test("0") && test("\"\"") && test("[]") && !test("null") && !test("false") && !test("empty"));
    assert!(test(". == null") && !test(". != null") && test("true, false") && !test("false, true"));
}

#[test]
fn now_is_the_time_that_was_given() {
    let limits = Limits::default();
    let scope = Scope::new(&NULL, &limits).now(Timestamp(1_795_411_402_250_000));
    let eval = |s| Program::compile(s, &[]).unwrap().eval(&scope).unwrap();
    assert_eq!(eval("now"), json!(1_795_411_402.25));
    assert_eq!(eval("now | todate"), json!("2026-11-23T05:23:22Z"));
    assert_eq!(eval("[now, (1 | now)] | unique | length"), json!(1));
}

#[test]
fn a_path_shares_what_it_finds() {
    let input = json!({"a": {"b": [1, 2, 3]}});
    let found = run(".a.b", &input).unwrap();
    assert!(found.same(input.get("a").unwrap().get("b").unwrap()));
    let found = run("first(.a.b | select(true))", &input).unwrap();
    assert!(found.same(input.get("a").unwrap().get("b").unwrap()), "nor does the interpreter copy");
}
