//! Expressions: compiling, and evaluating warm.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cpd_connector_api::json;
use cpd_core::expression::{Limits, Program, Scope};

use crate::meter::Report;

/// Conditions and paths by the fast path, the rest by the interpreter.
pub fn expressions(report: &mut Report) {
    report.part("Expressions (one thread, warm, best of ten rounds)");
    let input = json!({
        "a": { "b": 0.31 },
        "reading": { "psi": 0.31, "model": "risk" },
        "list": (0..100).map(|n| json!({ "n": n, "on": n % 2 == 0 })).collect::<Vec<_>>(),
    });
    let limits = Limits::default();
    let scope = Scope::new(&input, &limits);
    for source in [
        ".a.b",
        ".a.b >= 0.1",
        ".reading.psi >= 0.25 and .reading.model != null",
        "{psi: .a.b, model: .reading.model}",
        ".a.b = .reading.psi * 2",
        ".list | map(select(.on) | .n) | add",
        "reduce .list[] as $i (0; . + $i.n)",
    ] {
        let program = Program::compile(source, &[]).expect("the expressions above compile");
        program.eval(&scope).expect("the expressions above have results");
        let compile = best(|| drop(black_box(Program::compile(black_box(source), &[]))));
        let eval = best(|| drop(black_box(program.eval(black_box(&scope)))));
        report.line(source, &[("evaluate", eval, "µs"), ("compile", compile, "µs")]);
    }
}

/// The shortest mean time of a round, in microseconds.
fn best(work: impl Fn()) -> f64 {
    let round = || {
        let (begin, mut times) = (Instant::now(), 0u32);
        while begin.elapsed() < Duration::from_millis(20) {
            (0..16).for_each(|_| work());
            times += 16;
        }
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(times)
    };
    (0..10).map(|_| round()).fold(f64::INFINITY, f64::min)
}
