//! What the linter says nothing about, and that no definition makes it panic. What it does say is on the pages of the rules, whose
//! examples run with everything that ships.

use proptest::prelude::*;

use super::*;
use crate::definition::lint::allow::{Levels, judge};

fn advice(body: &str) -> Vec<String> {
    let source = format!("{HEAD}{body}");
    let compiled = compile(&source, "w.yaml", &WORLD)
        .unwrap_or_else(|e| panic!("{}", e.iter().map(Diagnostic::render).collect::<String>()));
    let found = crate::definition::lint::workflow(&source, "w.yaml", &compiled.plan);
    found.iter().map(|d| format!("{} {}", d.code, d.pointer)).collect()
}

#[test]
fn a_context_that_an_earlier_round_may_have_exported_is_no_mistake() {
    for body in [
        // A loop: the second round sees what the first one exported.
        "do:
  - each:
      for: { in: .items }
      do:
        - look: { if: $context.seen, set: { x: 1 } }
        - note: { set: { x: 1 }, export: { as: '{ seen: true }' } }
",
        // A jump back.
        "do:
  - look: { if: $context.seen, set: { x: 1 } }
  - note: { set: { x: 1 }, export: { as: '{ seen: true }' } }
  - again: { switch: [ { more: { when: .more, then: look } }, { done: { then: end } } ] }
",
        // Another attempt.
        "do:
  - guarded:
      try:
        - look: { if: $context.seen, set: { x: 1 } }
        - note: { set: { x: 1 }, export: { as: '{ seen: true }' } }
      catch: { retry: { delay: PT1S, limit: { attempt: { count: 2 } } } }
",
        // An export that adds to what is there, which is nothing the first time.
        "do:
  - first: { set: { x: 1 }, export: { as: '$context + { x: 1 }' } }
  - second: { set: { y: '${ $context.x }' } }
",
        // The other branch of a fork may have been faster.
        "do:
  - both:
      fork:
        branches:
          - a: { set: { x: 1 }, export: { as: '{ x: 1 }' } }
          - b: { set: { y: '${ $context.x }' } }
",
    ] {
        assert_eq!(advice(body), [""; 0], "{body}");
    }
}

#[test]
fn a_context_before_the_first_export_is_told_wherever_it_is_read() {
    let found = advice(
        "output: { as: $context.x }
do:
  - look: { if: $context.a, set: { x: '${ $context.b }' }, output: { as: '{ y: $context.c }' } }
",
    );
    assert_eq!(
        found,
        [
            "context-before-export /output/as",
            "context-before-export /do/0/look/if",
            "context-before-export /do/0/look/set/x",
            "context-before-export /do/0/look/output/as"
        ]
    );
}

#[test]
fn variables_hide_others_only_where_they_are_bound() {
    let loops = |outer: &str, inner: &str| {
        let body = format!(
            "do:
  - a:
      for: {{ {outer} in: .x }}
      do:
        - b: {{ for: {{ {inner} in: .y }}, do: [ {{ c: {{ set: {{ z: 1 }} }} }} ] }}
  - d: {{ for: {{ {outer} in: .x }}, do: [ {{ e: {{ set: {{ z: 1 }} }} }} ] }}
"
        );
        advice(&body)
    };
    assert_eq!(loops("", ""), ["shadowed-variable /do/0/a/do/0/b/for"]);
    assert_eq!(loops("each: row,", "each: row,"), ["shadowed-variable /do/0/a/do/0/b/for/each"]);
    assert_eq!(loops("each: row,", ""), [""; 0]);
    assert_eq!(loops("", "each: cell,"), [""; 0]);
    assert_eq!(loops("at: i,", "each: cell, at: i,"), ["shadowed-variable /do/0/a/do/0/b/for/at"]);
    let catches = "do:
  - a:
      try: [ { b: { set: { x: 1 } } } ]
      catch:
        as: failure
        do:
          - c:
              try: [ { d: { set: { x: '${ $failure }' } } } ]
              catch: { as: NAME, do: [ { e: { set: { x: 1 } } } ] }
";
    assert_eq!(advice(&catches.replace("NAME", "other")), [""; 0]);
    assert_eq!(advice(&catches.replace("NAME", "failure")), ["shadowed-variable /do/0/a/catch/do/0/c/catch/as"]);
}

#[test]
fn only_times_that_can_never_matter_are_told() {
    let nested = |outer: &str, inner: &str| {
        advice(&format!(
            "timeout: {{ after: {outer} }}\ndo: [ {{ a: {{ set: {{ x: 1 }}, timeout: {{ after: {inner} }} }} }} ]\n"
        ))
    };
    assert_eq!(nested("PT1H", "PT2H"), ["overtaken-time /do/0/a/timeout"]);
    assert_eq!(nested("PT1H", "PT1H"), [""; 0], "which of two equal ones fires is visible in the error");
    assert_eq!(nested("PT1H", "PT5M"), [""; 0]);
    assert_eq!(nested("'${ .limit }'", "PT5M"), [""; 0]);
    let waits = |wait: &str, limit: &str| {
        advice(&format!("do: [ {{ a: {{ wait: {wait}, timeout: {{ after: {limit} }} }} }} ]\n"))
    };
    assert_eq!(waits("PT5M", "PT5M"), ["overtaken-time /do/0/a/wait"]);
    assert_eq!(waits("PT4M", "PT5M"), [""; 0]);
}

#[test]
fn credentials_are_told_apart_from_words_about_them() {
    let with = |member: &str| advice(&format!("do:\n  - a:\n      set: {{ {member} }}\n"));
    for secret in [
        "password: hunter22",
        "apiKey: 0123456789abcdef",
        "client_secret: s3cr3t-value",
        "x: 'sk-abcdefghijklmnopqrstuvwx'",
        "x: 'postgres://app:pass@db/x'",
        "x: 'AKIAABCDEFGHIJKLMNOP'",
    ] {
        assert_eq!(with(secret).len(), 1, "{secret}");
    }
    for harmless in [
        "password: '${ .password }'",
        "tokenSecret: atlas-token",
        "password: ''",
        "password: the one of your account",
        "x: 'https://example.com:8443/a@b'",
        "x: sk-short",
        "secretName: atlas-token",
        "token: next-page-token",
    ] {
        assert_eq!(with(harmless), [""; 0], "{harmless}");
    }
}

#[test]
fn what_an_extension_is_around_is_looked_at_as_if_it_stood_alone() {
    let body = "use: { extensions: [ { audit: { extend: all, before: [ { note: { set: { x: 1 } } } ] } } ] }
do:
  - route: { switch: [ { a: { when: .n > 1, then: exit } } ] }
  - next: { set: { x: '${ .items[] }' } }
";
    assert_eq!(advice(body), ["switch-without-default /do/0/route/switch", "several-results /do/1/next/set/x"]);
    let source = format!("{HEAD}{body}");
    let plan = compile(&source, "w.yaml", &WORLD).expect("it is right").plan;
    let found = crate::definition::lint::workflow(&source, "w.yaml", &plan);
    assert_eq!(found[0].message, "if no case holds, the run goes on with `next`");
}

#[test]
fn a_switch_that_says_where_it_goes_otherwise_needs_no_default() {
    let switch =
        |more: &str| advice(&format!("do:\n  - a: {{ switch: [ {{ b: {{ when: .x, then: end }} }} ]{more} }}\n"));
    assert_eq!(switch(""), ["switch-without-default /do/0/a/switch"]);
    assert_eq!(switch(", then: exit"), [""; 0]);
}

#[test]
fn secrets_that_are_taken_by_a_computed_name_may_be_any_of_them() {
    let uses = |expression: &str| {
        advice(&format!(
            "use: {{ secrets: [ one ] }}\ndo:\n  - a: {{ call: test.echo, with: {{ text: '${{ {expression} }}' }} }}\n"
        ))
    };
    for used in ["$secrets.one", "$secrets[\"one\"]", "$secrets[$input.name]", "$secrets | tojson"] {
        assert_eq!(uses(used), [""; 0], "{used}");
    }
    assert_eq!(uses("\"x\""), ["unused-component /use/secrets/0"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_good_definition_makes_the_linter_panic(
        at in 0..SAMPLE.len(), length in 0usize..60, put in "(# cpd: allow\\(no-result\\) x|[ \\n:{}\\[\\]$.|'\"a-z#-]{0,6})",
    ) {
        let start = SAMPLE.floor_char_boundary(at);
        let end = SAMPLE.floor_char_boundary((at + length).min(SAMPLE.len())).max(start);
        let source = format!("{}{put}{}", &SAMPLE[..start], &SAMPLE[end..]);
        let found = match compile(&source, "w.yaml", &WORLD) {
            Ok(compiled) => crate::definition::lint::workflow(&source, "w.yaml", &compiled.plan),
            Err(found) => found,
        };
        for d in judge(&source, "w.yaml", found, &Levels::default()).found {
            let span = d.span.expect("advice has a place");
            prop_assert!(source.get(span.start..span.end).is_some());
            prop_assert!(!d.message.ends_with('.'), "{}", d.message);
            drop(d.render_with(&|_, t| t.to_owned(), 40));
        }
    }

    #[test]
    fn no_comment_makes_the_judge_panic(text in "(\\PC|# cpd: allow|-file|\\(|\\)|,|\\n|no-result| ){0,40}") {
        judge(&text, "f", Vec::new(), &Levels::default());
    }
}
