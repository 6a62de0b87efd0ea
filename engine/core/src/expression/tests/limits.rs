//! Nothing runs for ever, grows without bound, or overflows the stack.

use super::*;

/// Programs that would run for ever, or for longer than anybody waits, or fill the memory.
const RUNAWAYS: [&str; 39] = [
    "last(repeat(1))",
    "[repeat(.)]",
    "0 | until(false; . + 1)",
    "[0 | while(true; . + 1)]",
    "last(recurse(.))",
    "[range(1e18)]",
    "[range(1e9)]",
    "reduce range(1e9) as $i (0; ., .)",
    "foreach 1 as $x (0; repeat(1); .)",
    "last(foreach range(1e9) as $x (0; ., 1; .))",
    "last(range(0; infinite; 1))",
    "reduce range(1e12) as $i (0; . + $i)",
    "foreach repeat(1) as $i (0; .; empty)",
    "[range(1e5) as $a | range(1e5) as $b | $a * $b]",
    "try last(repeat(error(\"x\"))) catch last(repeat(1))",
    "[repeat(try error(\"x\") catch .)]",
    "last(repeat(try error(\"x\") catch .))",
    "[range(40)] | map(0, 1) | [combinations(30)] | length",
    "last(limit(1e15; repeat(1)))",
    "isempty(repeat(empty | 1) | select(false))",
    "first(range(1e15) | select(. < 0))",
    "any(repeat(false); .)",
    "path(last(repeat(.)))",
    "[path(recurse(.a)) | length] | length",
    "(recurse(.a) | .b) = 1",
    "getpath([range(1e6) | \"a\"])",
    "reduce range(1e6) as $i (null; [.])",
    "reduce range(1e6) as $i (null; {a: .})",
    "reduce range(1e6) as $i (null; .a |= [$i, .])",
    "reduce range(100) as $i (1; [., .])",
    "reduce range(100) as $i (1; [., .]) | tojson",
    "(reduce range(100) as $i (1; [., .])) as $a | (reduce range(100) as $i (1; [., .])) as $b | $a == $b",
    "reduce range(100) as $i ([1]; [., .]) | flatten",
    "reduce range(100) as $i (\"xxxxxxxx\"; . + .)",
    "\"x\" * 1e9",
    "\"x\" * 1e10",
    "null | .[1e12] = 1",
    "reduce range(100) as $i ([1, 2]; . + .) | sort",
    "def a: ., .; def b: a | a | a | a; def c: b | b | b | b; last(null | c | c | c | c)",
];

#[test]
fn twenty_and_more_runaways_are_stopped_and_cannot_catch_it() {
    let limits = Limits { fuel: 100_000, ..Limits::default() };
    for source in RUNAWAYS {
        for source in [source.to_owned(), format!("try ({source}) catch \"caught\""), format!("[({source})?] // 1")] {
            let program = Program::compile(&source, &[]).unwrap_or_else(|e| panic!("{source}: {e}"));
            let result = program.eval(&Scope::new(&NULL, &limits));
            assert!(
                matches!(result, Err(EvalError::OutOfFuel { .. } | EvalError::TooLarge { .. })),
                "{source}: {result:?}"
            );
        }
    }
}

#[test]
fn exponential_programs_without_loops_are_stopped() {
    let mut doubled = String::from("def f0: . + 1; ");
    for i in 1..35 {
        doubled.push_str(&format!("def f{i}: f{} | f{}; ", i - 1, i - 1));
    }
    let branching = vec!["(0, 1)"; 40].join(" as $x | ") + " as $x | empty";
    let iterating = vec!["[1, 2][]"; 40].join(" as $x | ") + " as $x | empty";
    for source in [doubled + "0 | f34", branching, iterating] {
        let result = Program::compile(&source, &[]).unwrap().eval(&Scope::new(&NULL, &Limits::default()));
        assert!(matches!(result, Err(EvalError::OutOfFuel { .. })), "{result:?}");
    }
}

#[test]
fn an_evaluation_stops_at_the_same_step_every_time() {
    let least = |source: &str| {
        let program = Program::compile(source, &[]).unwrap();
        let input = json!({"a": [5, 3, 1], "b": "text"});
        let enough = |fuel| {
            let limits = Limits { fuel, ..Limits::default() };
            program.eval(&Scope::new(&input, &limits)).is_ok()
        };
        let mut fuel = 0;
        while !enough(fuel) {
            fuel += 1;
        }
        assert!(fuel < 2_000, "{source} took {fuel}");
        assert!((fuel..fuel + 50).all(enough), "{source}: more fuel must not hurt");
        fuel
    };
    for source in ["[.a[] | . * 2] | sort", "{a, b: (.b | test(\"e\"))}", "tojson", "[limit(3; repeat(1))]", "walk(.)"]
    {
        let first = least(source);
        assert!(first > 0, "{source} must cost something");
        assert_eq!(first, least(source), "{source}");
    }
}

#[test]
fn what_leaves_is_bounded_in_nodes_bytes_and_depth() {
    let limits = Limits { max_nodes: 10, max_bytes: 20, ..Limits::default() };
    let eval = |s: &str| Program::compile(s, &[]).unwrap().eval(&Scope::new(&NULL, &limits));
    let unit = |s: &str| match eval(s) {
        Err(EvalError::TooLarge { unit, .. }) => unit,
        other => panic!("{s}: {other:?}"),
    };
    assert!(eval("[range(9)]").is_ok());
    assert_eq!(unit("[range(10)]"), "nodes");
    assert_eq!(unit("[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"), "nodes", "nor by the fast path");
    assert!(eval("\"x\" * 20").is_ok());
    assert_eq!(unit("\"x\" * 21"), "bytes");
    assert_eq!(unit("[\"12345678901\", \"12345678901\"]"), "bytes");
    assert_eq!(unit("{aaaaaaaaaaaaaaaaaaaaa: 1}"), "bytes");
    assert!(run("reduce range(128) as $i (0; [.])", &NULL).is_ok());
    assert!(run("reduce range(129) as $i (0; [.])", &NULL).unwrap_err().contains("128 levels"));
    assert_eq!(
        run("reduce range(200) as $i (0; [.]) | [.. | numbers]", &NULL),
        Ok(json!([0])),
        "inside there is more room"
    );
}

#[test]
fn long_loops_over_shallow_data_are_not_taken_for_deep_ones() {
    let input = json!({"count": 0, "items": [], "last": {"x": {"y": 1}}});
    let source =
        "reduce range(3000) as $i (.; .count += 1 | .items += [$i] | .last = {x: .last.x} | .t = [.last, [.count]])
        | .t = [.t] | (.items | length)";
    assert_eq!(run(source, &input), Ok(json!(3000)));
    assert_eq!(
        run(
            "reduce range(3000) as $i (.; to_entries | map([.key, .value]) | map({key: .[0], value: .[1]}) | from_entries | sort_by(1)? // .) | .count",
            &input
        ),
        Ok(json!(0))
    );
}

/// Runs on a stack of two megabytes, as tests and workers have.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(f).unwrap().join().unwrap();
}

#[test]
fn the_deepest_programs_compile_and_run_on_a_small_stack() {
    on_a_small_stack(|| {
        let repeat = |unit: &str, n: usize, rest: &str| unit.repeat(n) + rest;
        let shapes: [(&str, &str, &str); 20] = [
            ("1 + ", "1", ""),
            (". | ", ".", ""),
            ("., ", ".", ""),
            (". // ", ".", ""),
            ("-", "1", ""),
            ("try ", ".", ""),
            (". as $x | ", ".", ""),
            ("[", "1", "]"),
            ("(", "1", ")"),
            ("{a: ", "1", "}"),
            ("\"\\(", "1", ")\""),
            ("if . then ", "1", " end"),
            ("reduce . as $x (0; ", "1", ")"),
            ("label $x | ", "1", ""),
            ("def f: 1; ", "f", ""),
            ("first(", "1", ")"),
            ("2 * 3 % ", "1", ""),
            ("(2 * 3 % ", "1", ")"),
            ("1 == (", "1", ")"),
            ("reduce . as $x (0; ., ", "1", ")"),
        ];
        for (open, inner, close) in shapes {
            let mut compiled = 0;
            for n in (1..400).step_by(7) {
                let source = repeat(open, n, inner) + &close.repeat(n);
                for fast in [true, false] {
                    if let Ok(program) = Program::build(&source, &[], fast) {
                        compiled = n;
                        let _ = program.eval(&Scope::new(&NULL, &Limits::default()));
                        let all = Program::build(&format!("last({source})"), &[], fast);
                        let _ = all.map(|p| p.eval(&Scope::new(&NULL, &Limits::default())));
                    }
                }
            }
            assert!((15..130).contains(&compiled), "{open}… compiled up to {compiled}");
        }
        let wide: String = (0..110).map(|i| format!("k{i}: (.a | {i}), ")).collect();
        assert!(run(&format!("{{{wide}}}"), &NULL).is_ok());
    });
}

#[test]
fn the_deepest_values_are_walked_on_a_small_stack() {
    on_a_small_stack(|| {
        let deep = "reduce range(255) as $i (0; [.])";
        for walk in [
            "[..] | length",
            "tojson | length",
            "walk(.) | length",
            "[paths] | length",
            ". == .",
            "[., .] | sort | length",
            "flatten",
            "[tostream] | length",
            "(.. | numbers) |= 1 | length",
            "contains(.)",
            "[.. | scalars]",
            "del(..)",
            "tojson | fromjson? // 0",
        ] {
            let source = format!("{deep} | {walk}");
            assert!(run(&source, &NULL).is_ok(), "{source}: {:?}", run(&source, &NULL));
        }
        let deep = "reduce range(255) as $i ({}; {a: .})";
        assert!(run(&format!("{deep} | . * . | [.. | length] | length"), &NULL).is_ok());
    });
}
