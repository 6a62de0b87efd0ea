//! Prints what compiling and evaluating expressions costs, in nanoseconds: the best of several rounds, since the machine
//! may be busy with other things.
//!
//! `cargo run --release -p cpd-core --example expr_bench`

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::hint::black_box;
use std::time::Instant;

use cpd_core::expression::{Global, Limits, Program, Scope, Template};
use cpd_core::{Value, json};

/// Nanoseconds of one call of `f`: the best of ten rounds of about ten milliseconds each.
fn best(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let once = start.elapsed().as_nanos().max(20);
    let calls = (10_000_000 / once).clamp(1, 1_000_000) as u32;
    let round = || {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        start.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    std::iter::repeat_with(round).take(10).fold(f64::INFINITY, f64::min)
}

fn main() {
    let items: Vec<Value> = (0..1000)
        .map(|i| json!({"id": i, "kind": format!("k{}", i % 10), "n": i as f64 / 7.0, "on": i % 2 == 0}))
        .collect();
    let input = json!({"psi": 0.31, "model": "credit-7", "reading": {"psi": 0.3, "at": {"day": 3}}, "list": [1, 2, 3]});
    let context = json!({"limit": 0.25, "model": {"name": "credit", "version": 7}, "items": items});
    let item = [json!({"id": 5})];

    println!("{:>9} {:>9}  expression", "compile", "eval");
    for source in [
        "1",
        ".",
        ".psi",
        ".reading.at.day",
        "$context.model.name",
        ".list[0]",
        ".psi >= 0.25",
        ".reading.psi > $context.limit and .model != null",
        "{a: .psi, b: $context.model.name}",
        "$context + {psi: .psi}",
        "\"model \\(.model) at \\(.psi)\"",
        ".missing // \"default\"",
        "if .psi > 0.2 then \"high\" else \"low\" end",
        ".list | length > 2",
        // From here on the interpreter runs.
        "first(.psi)",
        "[.list[] | . * 2]",
        ".list | map(. + 1) | add",
        ".reading.psi |= . + 1",
        ".model | test(\"^credit-[0-9]+$\")",
        ".model | startswith(\"credit\")",
        "with_entries(select(.value != null))",
        "now | todate",
        "$context.items | map(select(.on) | .n) | add",
        "$context.items | group_by(.kind) | map({kind: .[0].kind, n: length})",
        "reduce $context.items[] as $i ({}; .[$i.kind] += $i.n)",
    ] {
        let limits = Limits::default();
        let scope = Scope::new(&input, &limits).with(Global::Context, &context).locals(&item);
        let program = Program::compile(source, &["$item"]).expect("the expressions above compile");
        program.eval(&scope).expect("the expressions above have results");
        let compile = best(|| drop(black_box(Program::compile(black_box(source), &["$item"]))));
        let eval = best(|| drop(black_box(program.eval(black_box(&scope)))));
        println!("{compile:>9.0} {eval:>9.0}  {source}");
    }

    let tree =
        json!({"endpoint": "https://example.org", "body": {"psi": "${ .psi }", "model": "${ .model }"}, "retries": 3});
    let template = Template::compile(&tree, &[]).expect("the template above compiles");
    let limits = Limits::default();
    let scope = Scope::new(&input, &limits);
    println!(
        "{:>9} {:>9.0}  template with two expressions",
        "",
        best(|| drop(black_box(template.eval(black_box(&scope)))))
    );
    let constant = Template::compile(&context, &[]).expect("data are a template");
    println!("{:>9} {:>9.0}  template without any", "", best(|| drop(black_box(constant.eval(black_box(&scope))))));
}
