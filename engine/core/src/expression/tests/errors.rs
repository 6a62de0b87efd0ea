//! What authors are told.

use super::*;

#[track_caller]
fn refused(source: &str, message: &str, at: &str, hint: &str) {
    let e = Program::compile(source, &["$item"]).expect_err(source);
    assert_eq!((e.message.as_str(), &source[e.span.clone()], e.hint.as_str()), (message, at, hint), "{source}");
}

#[test]
fn undefined_names_are_refused_with_the_nearest_right_one() {
    refused(".a + $contxt.b", "undefined variable $contxt", "$contxt", "did you mean $context?");
    refused("$itme", "undefined variable $itme", "$itme", "did you mean $item?");
    refused("map(selct(.a))", "undefined filter selct", "selct", "did you mean select?");
    refused("startsWith(\"a\")", "undefined filter startsWith", "startsWith", "did you mean startswith?");
    refused("test(\"a\"; \"b\"; \"c\")", "test called with 3 arguments", "test", "it takes 1 argument or 2 arguments");
    refused("def f(g): 1; f", "f called with 0 arguments", "f", "it takes 1 argument");
    refused("break $out", "undefined label $out", "$out", "write `label $name | …` around it");
    let e = Program::compile("$zzzzzzzz", &[]).unwrap_err();
    assert!(e.hint.starts_with("here are known: $context, $input, $output"), "{}", e.hint);
}

#[test]
fn variables_are_known_only_where_they_are_bound() {
    refused("(1 as $itm | $itm) + $itm", "undefined variable $itm", "$itm", "did you mean $item?");
    let e = Program::compile("reduce $y as $y ($y; .)", &[]).unwrap_err();
    assert_eq!(e.span, 7..9);
    assert!(Program::compile(". as [$a, {b: $c}] | def f($d; g): $d + $a + g; f(1; $c)", &[]).is_ok());
    refused(
        "(def f: 1; f) + f",
        "undefined filter f",
        "f",
        "the filters are those of jq 1.8; a field is written .name, a string \"text\"",
    );
}

#[test]
fn the_outside_world_is_out_of_reach() {
    let hint = "an expression sees only what it is given";
    for name in [
        "env",
        "input",
        "inputs",
        "debug",
        "stderr",
        "halt",
        "halt_error",
        "localtime",
        "input_line_number",
        "builtins",
    ] {
        refused(name, &format!("{name} is not available in expressions"), name, hint);
    }
    refused("debug(\"x\")", "debug is not available in expressions", "debug", hint);
    refused("0 | strflocaltime(\"%H\")", "strflocaltime is not available in expressions", "strflocaltime", hint);
    refused("import \"a\" as a; 1", "import is not available in expressions", "import", hint);
    refused(
        "$ENV.HOME",
        "undefined variable $ENV",
        "$ENV",
        "expressions do not see the environment; use a secret or the workflow's input",
    );
    refused("a::b", "undefined module in a::b", "a::b", "expressions have no modules");
    for name in ["__tick", "__main", "_match(1; 2; 3)", "error_empty", "_limit(1; 2)", "_sort_by(1)"] {
        assert!(Program::compile(name, &[]).is_err(), "{name} is internal");
    }
}

#[test]
fn recursive_definitions_are_refused() {
    let hint = "use reduce, foreach, recurse, until or while";
    refused("def f: f; f", "recursive definition f/0", "f", hint);
    refused("def f(g): def h: f(g); h; f(1)", "recursive definition f/1", "f", hint);
    assert!(Program::compile("def f: 1; def f: f + 1; f", &[]).is_err(), "a definition sees itself");
    assert!(Program::compile("def f(g): g; f(f(1))", &[]).is_ok());
    assert!(Program::compile("def f: 1; def f(a): f + a; f(2)", &[]).is_ok());
    assert!(Program::compile("def f(f): f; f(1)", &[]).is_ok(), "the argument hides the definition");
}

#[test]
fn bad_syntax_is_refused_with_a_place_and_a_hint() {
    refused(".a +", "expected term, found the end of the expression", "", "something is missing at the end");
    refused("", "empty expression", "", "write `.` for the input itself");
    refused("  ", "empty expression", "  ", "write `.` for the input itself");
    refused("(.a", "expected a closing parenthesis, found the end of the expression", "", "close what was opened");
    refused("\"abc", "expected a closing quote, found the end of the expression", "", "close what was opened");
    refused(".a)", "expected a token, found `)`", ")", "there is no opening bracket for this one");
    refused(".a == 'x'", "expected a token, found `'`", "'", "strings stand in double quotes");
    refused(".a && .b", "expected a token, found `&`", "&", "write `and`");
    refused(
        ".a .b c",
        "expected the end of the expression, found `c`",
        "c",
        "join two expressions with `|`, `,` or an operator",
    );
    refused(
        "if . then 1",
        "expected else or end, found the end of the expression",
        "",
        "`if … then … else … end` needs its `end`",
    );
    refused(
        ". as [$a] ?// $a | $a",
        "expected `|`, found `?`",
        "?",
        "destructuring alternatives are not supported; use `if type == …` or `try`",
    );
    refused(
        "\"\\q\"",
        "expected an escape sequence, found `q`",
        "q",
        "escapes are \\n \\t \\r \\b \\f \\\\ \\/ \\\" \\uXXXX and \\(…)",
    );
    let e = Program::compile(&"[".repeat(1000), &[]).unwrap_err();
    assert_eq!(e.message, "more than 48 nested brackets");
    let e = Program::compile(&"1+".repeat(1000), &[]).unwrap_err();
    assert_eq!(e.message, "more than 120 operators in one place");
    let e = Program::compile(&" ".repeat(20_000), &[]).unwrap_err();
    assert_eq!(e.message, "expression of 20000 bytes, at most 16384 are allowed");
}

#[test]
fn an_error_of_an_evaluation_names_the_expression_and_what_was_raised() {
    let program = Program::compile(".a\n   + .b", &[]).unwrap();
    let e = program.eval(&Scope::new(&json!({"a": 1, "b": "x"}), &Limits::default())).unwrap_err();
    assert_eq!(e.to_string(), "expression `.a + .b` failed: number (1) and string (\"x\") cannot be added");
    assert!(matches!(&e, EvalError::Raised { value, .. } if value.as_str().is_some()));
    let e =
        Program::compile("error({code: 7})", &[]).unwrap().eval(&Scope::new(&NULL, &Limits::default())).unwrap_err();
    assert!(matches!(&e, EvalError::Raised { value, .. } if *value == json!({"code": 7})));
    let limits = Limits { fuel: 10, ..Limits::default() };
    let e = Program::compile("[repeat(1)]", &[]).unwrap().eval(&Scope::new(&NULL, &limits)).unwrap_err();
    assert_eq!(e.to_string(), "expression `[repeat(1)]` was stopped after 10 steps");
}

#[test]
fn templates_evaluate_whole_strings_and_leave_the_rest() {
    let tree =
        json!({"a": "${ .x }", "b": ["plain", "${.y + 1}", 3], "c": {"d": "no $ { here"}, "e/f": "  ${ $item } "});
    let template = Template::compile(&tree, &["$item"]).unwrap();
    let (input, locals, limits) = (json!({"x": "${ .y }", "y": 1}), [json!([1])], Limits::default());
    let scope = Scope::new(&input, &limits).locals(&locals);
    let want = json!({"a": "${ .y }", "b": ["plain", 2, 3], "c": {"d": "no $ { here"}, "e/f": [1]});
    assert_eq!(template.eval(&scope).unwrap(), want, "what comes out of an expression is not evaluated again");
    assert!(template.uses().local(0) && !template.uses().global(Global::Context));
    assert_eq!(template.constant(), None);
}

#[test]
fn a_template_without_expressions_is_a_shared_clone() {
    let tree = json!({"a": [1, {"b": "c"}]});
    let template = Template::compile(&tree, &[]).unwrap();
    let limits = Limits::default();
    assert!(template.eval(&Scope::new(&NULL, &limits)).unwrap().same(&tree));
    assert!(template.constant().unwrap().same(&tree));
}

#[test]
fn a_template_reports_all_errors_with_their_pointers() {
    let tree = json!({"a": "${ .x + }", "b": {"c/d": ["ok", "hello ${ .name }, \"you\" ${.n}!"]}, "e": "a ${ .b"});
    let errors = Template::compile(&tree, &[]).unwrap_err();
    let pointers: Vec<_> = errors.iter().map(|(p, _)| p.as_str()).collect();
    assert_eq!(pointers, ["/a", "/b/c~1d/1", "/e"]);
    assert_eq!(errors[0].1.span, 7..7, "within the string, not within the expression");
    assert_eq!(errors[1].1.hint, r#"write ${ "hello \(.name), \"you\" \(.n)!" }"#);
    assert_eq!(errors[1].1.span, 6..16);
    assert_eq!(errors[2].1.message, "unclosed `${` in a string");
    assert!(Program::compile(r#""hello \(.name), \"you\" \(.n)!""#, &[]).is_ok(), "the hint compiles");
}

#[test]
fn a_place_for_expressions_takes_both_forms() {
    assert_eq!([condition_source(".a"), condition_source("${ .a }"), condition_source(" ${.a}")], [".a", " .a ", ".a"]);
    assert_eq!([expression_source(".a"), expression_source("${ .a }")], [None, Some(" .a ")]);
    for text in [".a > 1", "${ .a > 1 }", "${.a > 1}"] {
        let template = Template::expression(text, &[]).unwrap();
        assert_eq!(template.eval(&Scope::new(&json!({"a": 2}), &Limits::default())).unwrap(), json!(true));
    }
    assert_eq!(Template::expression("${ .a > }", &[]).unwrap_err().span, 7..7);
}
