//! Expressions, compiled and evaluated: text up to the first zero byte is the expression, JSON behind it the input.
//!
//! Holds: no panic, no run without end, the same result each time, errors whose place lies in the source.
#![no_main]

use cpd_core::expression::{Limits, Program, Scope, Template};
use cpd_core::time::Timestamp;
use cpd_core::{Value, json};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
    let (source, input) = text.split_once('\0').unwrap_or((text, ""));
    let input = Value::from_json(input.as_bytes()).unwrap_or_else(
        |_| json!({"a": [1, null, {"b": "x"}], "drift": 0.22, "features": [{"name": "n", "psi": 0.3}]}),
    );

    // Data is never evaluated unless it was compiled: a template of a text is the text, or an expression, or an error.
    let _ = Template::compile(&json!({"x": [source]}), &["$item"]);

    let program = match Program::compile(source, &["$item"]) {
        Ok(program) => program,
        Err(e) => {
            assert!(!e.to_string().is_empty());
            return Corpus::Keep;
        }
    };
    let limits = Limits { fuel: 20_000, max_nodes: 10_000, max_bytes: 1 << 20 };
    let locals = [json!({"i": 1})];
    let scope = Scope::new(&input, &limits).locals(&locals).now(Timestamp(1_700_000_000_000_000));
    let (first, second) = (program.eval(&scope), program.eval(&scope));
    match (&first, &second) {
        (Ok(a), Ok(b)) => {
            let written = a.to_json();
            assert_eq!(written, b.to_json(), "two evaluations differ");
            let read = Value::from_json(written.as_bytes()).expect("a result is written as JSON that can be read");
            // The journal has the JSON: a run that is replayed must go on with what the live one had.
            assert_eq!(*a, read, "a result is not what its JSON says");
        }
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string(), "two evaluations differ"),
        _ => panic!("two evaluations differ: {first:?}, {second:?}"),
    }
    let _ = program.test(&scope);
    Corpus::Keep
});
