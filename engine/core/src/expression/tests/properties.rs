//! Properties over generated programs and values.

use proptest::prelude::*;

use super::*;
use crate::value::Num;

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2.0..2.0).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-cé\"\\\\\n]{0,3}".prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[abc]", inner), 0..4).prop_map(|m| Value::from(
                m.into_iter().map(|(k, v)| (Arc::from(k), v)).collect::<crate::value::Map>()
            )),
        ]
    })
}

/// Programs of the shapes that the fast path knows.
fn fast_program() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(".".to_owned()),
        Just(".a".to_owned()),
        Just(".a.b".to_owned()),
        Just(".[0]".to_owned()),
        Just(".[-1]".to_owned()),
        Just(".a[1].c".to_owned()),
        Just("$context".to_owned()),
        Just("$context.a.b".to_owned()),
        Just("$item[\"c\"]".to_owned()),
        Just("\"text\"".to_owned()),
        Just("\"\\n\\u00e9\"".to_owned()),
        Just("1".to_owned()),
        Just("9007199254740993".to_owned()),
        Just("2.50".to_owned()),
        Just("1e400".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("length".to_owned()),
        Just("keys".to_owned()),
        Just("tostring".to_owned()),
        Just("tonumber".to_owned()),
        Just("sort".to_owned()),
        Just("add".to_owned()),
        Just("to_entries".to_owned()),
        Just("nan".to_owned()),
    ];
    let op =
        prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "//", "|"]);
    leaf.prop_recursive(4, 24, 3, move |inner| {
        prop_oneof![
            (inner.clone(), op.clone(), inner.clone()).prop_map(|(l, op, r)| format!("({l}) {op} ({r})")),
            inner.clone().prop_map(|t| format!("-({t})")),
            inner.clone().prop_map(|t| format!("({t} | not)")),
            inner.clone().prop_map(|t| format!("({t}).a")),
            inner.clone().prop_map(|t| format!("\"<\\({t})>\"")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[({a}), ({b})]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{a: ({a}), \"b c\": ({b}), $item, c}}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("if {a} then {b} else {c} end")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("if {a} then {b} end")),
        ]
    })
}

/// Any program at all: pieces of programs, put together without regard for grammar.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        ".",
        ".a",
        ".[0]",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "|",
        ",",
        ":",
        ";",
        "+",
        "-",
        "*",
        "/",
        "%",
        "//",
        "|=",
        "+=",
        "=",
        "==",
        "<",
        ">",
        "and",
        "or",
        "not",
        "if",
        "then",
        "else",
        "elif",
        "end",
        "try",
        "catch",
        "?",
        "as",
        "$x",
        "$context",
        "reduce",
        "foreach",
        "label",
        "break",
        "def",
        "f",
        "..",
        "1",
        "0",
        "-1",
        "1e9",
        "\"a\"",
        "\"\\(",
        "\"",
        "empty",
        "error",
        "map",
        "select",
        "range",
        "limit",
        "first",
        "last",
        "recurse",
        "until",
        "path",
        "getpath",
        "setpath",
        "delpaths",
        "del",
        "to_entries",
        "from_entries",
        "with_entries",
        "sort_by",
        "group_by",
        "unique",
        "flatten",
        "add",
        "join",
        "split",
        "test",
        "match",
        "sub",
        "gsub",
        "ascii_downcase",
        "explode",
        "implode",
        "tojson",
        "fromjson",
        "todate",
        "mktime",
        "strftime",
        "strptime",
        "gmtime",
        "floor",
        "pow",
        "log",
        "@csv",
        "@base64d",
        "@uri",
        "tostream",
        "fromstream",
        "walk",
        "paths",
        "splits",
        "ltrimstr",
        "indices",
        "infinite",
        "nan",
        "combinations",
        "transpose",
        "input",
        "$__loc__",
        "é",
        "#",
        "\n",
    ]);
    prop::collection::vec(piece, 1..14).prop_map(|pieces| pieces.join(" "))
}

/// Calls of one- and two-argument filters on odd things.
fn call() -> impl Strategy<Value = String> {
    let names: Vec<_> = library::library().public().collect();
    let args = prop::collection::vec(
        prop::sample::select(vec![
            ".", ".[]", "1", "-1", "nan", "1e9", "\"a\"", "[0]", "[[0]]", "{}", "null", ".a", "empty", "\"%Y\"",
        ]),
        4,
    );
    (prop::sample::select(names), args).prop_map(|((name, arity), args)| match arity {
        0 => name.to_owned(),
        n => format!("{name}({})", args[..n.min(4)].join("; ")),
    })
}

fn stopped(result: &Result<Value, EvalError>) -> bool {
    matches!(result, Err(EvalError::OutOfFuel { .. } | EvalError::TooLarge { .. }))
}

fn outcome(program: &Program, scope: &Scope<'_>) -> Result<Value, String> {
    program.eval(scope).map_err(|e| e.to_string())
}

/// Equality that tells integers from doubles and takes NaN for equal to itself.
fn identical(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Num(Num::Int(a)), Value::Num(Num::Int(b))) => a == b,
        (Value::Num(Num::Float(a)), Value::Num(Num::Float(b))) => a == b || a.is_nan() && b.is_nan(),
        (Value::Arr(a), Value::Arr(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| identical(a, b)),
        (Value::Obj(a), Value::Obj(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|((k, a), (l, b))| k == l && identical(a, b))
        }
        (Value::Num(_), _) | (_, Value::Num(_)) => false,
        (a, b) => a == b,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_agrees_with_the_interpreter(source in fast_program(), input in value(), context in value(), item in value()) {
        let (fast, slow) = (Program::build(&source, &["$item"], true), Program::build(&source, &["$item"], false));
        let (Ok(fast), Ok(slow)) = (fast, slow) else {
            return Err(TestCaseError::fail(format!("does not compile: {source}")));
        };
        prop_assert!(matches!(fast.0.run, Run::Fast { .. }), "{source} is not on the fast path");
        let (limits, locals) = (Limits::default(), [item]);
        let scope = Scope::new(&input, &limits).with(Global::Context, &context).locals(&locals);
        let (fast_out, slow_out) = (fast.eval(&scope), slow.eval(&scope));
        // The interpreter evaluates both operands before it looks at the errors of either, so near the limits it may
        // run out where the fast path does not.
        prop_assume!(!stopped(&fast_out) && !stopped(&slow_out));
        let (fast_out, slow_out) = (fast_out.map_err(|e| e.to_string()), slow_out.map_err(|e| e.to_string()));
        let same = match (&fast_out, &slow_out) {
            (Ok(a), Ok(b)) => identical(a, b),
            (a, b) => a == b,
        };
        prop_assert!(same, "{source}: {fast_out:?} but {slow_out:?}");
        prop_assert_eq!(fast.test(&scope).map_err(|e| e.to_string()), slow.test(&scope).map_err(|e| e.to_string()));
        prop_assert_eq!(fast.uses(), slow.uses());
    }

    #[test]
    fn no_text_panics_the_compiler_or_an_evaluation(source in soup(), input in value()) {
        if let Ok(program) = Program::compile(&source, &["$x"]) {
            let limits = Limits { fuel: 5_000, ..Limits::default() };
            let scope = Scope::new(&input, &limits);
            let first = outcome(&program, &scope);
            prop_assert_eq!(first.map(|v| v.to_json()), outcome(&program, &scope).map(|v| v.to_json()));
        }
    }

    #[test]
    fn no_characters_panic_the_compiler(source in "\\PC{0,40}") {
        let _ = Program::compile(&source, &[]);
        let _ = Template::compile(&Value::from(format!("${{{source}}}")), &[]);
        let _ = Template::compile(&Value::from(source), &[]);
    }

    #[test]
    fn no_filter_panics_on_any_value(source in call(), input in value()) {
        let program = Program::compile(&format!("[limit(20; {source})]"), &[]);
        let program = program.map_err(|e| TestCaseError::fail(format!("{source}: {e}")))?;
        let limits = Limits { fuel: 20_000, ..Limits::default() };
        let scope = Scope::new(&input, &limits);
        let first = outcome(&program, &scope);
        prop_assert_eq!(first.map(|v| v.to_json()), outcome(&program, &scope).map(|v| v.to_json()));
    }

    #[test]
    fn text_goes_through_its_encodings_unchanged(s in "\\PC{0,20}") {
        let v = Value::from(s);
        for round in ["@base64 | @base64d", "@uri | @urid", "tojson | fromjson", "explode | implode", "[.] | join(\",\")"] {
            prop_assert_eq!(run(round, &v), Ok(v.clone()));
        }
    }

    #[test]
    fn sorting_agrees_with_comparing(v in prop::collection::vec(value(), 0..8)) {
        let sorted = run("sort", &Value::from(v)).unwrap();
        let items = sorted.as_array().unwrap();
        for pair in items.windows(2) {
            prop_assert!(order::compare(&pair[0], &pair[1]).is_le());
        }
    }
}
