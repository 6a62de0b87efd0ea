//! Graphs of small definitions, and what must hold for every one.

use super::*;
use crate::machine::test_plan as plan;

const ALL: &str = "do:
  - first: { set: { n: 1 } }
  - loop:
      for: { each: n, in: '.list' }
      while: '$index < 3'
      do:
        - one: { call: test.put, with: {} }
        - two: { if: .n > 1, set: { n: 2 }, then: exit }
        - three: { set: { n: 3 } }
  - choose:
      switch:
        - much: { when: .n >= 2, then: guarded }
        - little: { when: .n < 0, then: end }
        - other: { then: both }
  - guarded:
      try: [ { risky: { call: test.once, with: {} } } ]
      catch: { errors: { with: { status: 503 } }, retry: { delay: PT2S, limit: { attempt: { count: 3 } } }, do: [ { mend: { set: { mended: true } } } ] }
      timeout: { after: PT1H30M }
  - both: { fork: { compete: true, branches: [ { left: { wait: { seconds: 5 } } }, { right: { listen: { to: { one: { with: { type: a.b } } } } } } ] } }
  - again: { set: { n: 4 }, then: first }
";

fn ways(graph: &Graph) -> Vec<String> {
    let name = |place: Place| match place {
        Place::Start => "START".to_owned(),
        Place::End => "END".to_owned(),
        Place::Block(index) => graph.blocks[index].name.to_string(),
    };
    graph.ways.iter().map(|w| format!("{} -> {} {:?} {}", name(w.from), name(w.to), w.kind, w.label)).collect()
}

#[test]
fn every_way_of_a_definition_is_there_once() {
    let graph = Graph::of(&plan(ALL));
    assert_eq!(
        ways(&graph),
        [
            "START -> first Next ",
            "first -> loop Next ",
            "loop -> one Into each",
            "loop -> choose Next done",
            "one -> two Next ",
            "two -> loop Back ",
            "two -> three Skip if not",
            "three -> loop Back ",
            "choose -> guarded Case(0) .n >= 2",
            "choose -> END Case(1) .n < 0",
            "choose -> both Case(2) else",
            "guarded -> risky Into ",
            "guarded -> mend Error error 503",
            "risky -> both Next ",
            "mend -> both Next ",
            "both -> left Into ",
            "both -> right Into ",
            "left -> again Next ",
            "right -> again Next ",
            "again -> first Next ",
        ]
    );
    let remarks = |name: &str| graph.blocks.iter().find(|b| &*b.name == name).expect("a task").remarks.clone();
    assert_eq!(remarks("guarded"), ["timeout 1 h 30 min", "retries up to 3 times after 2 s"]);
    assert_eq!(remarks("two"), ["if .n > 1"]);
    let details: Vec<String> = graph.blocks.iter().map(Block::what).collect();
    assert_eq!(
        details,
        [
            "set n",
            "for each n in .list",
            "call test.put",
            "set n",
            "set n",
            "switch",
            "try",
            "call test.once",
            "set mended",
            "fork the first one wins",
            "wait 5 s",
            "listen a.b",
            "set n",
        ]
    );
}

#[test]
fn what_stands_in_an_extension_leads_to_the_task_and_past_it() {
    let source = "use: { extensions: [ { log: { extend: switch, when: .loud, before: [ { b: { if: .x, set: { v: 1 }, then: exit } } ],
  after: [ { c: { set: { v: 1 } } } ] } } ] }
do:
  - pick: { switch: [ { one: { when: .n == 1, then: end } }, { two: { then: last } } ] }
  - never: { set: { v: 2 } }
  - last: { set: { v: 3 } }
";
    let graph = Graph::of(&plan(source));
    assert_eq!(
        ways(&graph),
        [
            "START -> pick Next ",
            // Into the extension; past it where it does not apply.
            "pick -> b Into ",
            "pick -> pick Skip otherwise",
            // `exit` stands in for the task, which would have gone on as it does without a case.
            "b -> never Next ",
            "b -> pick Skip if not",
            // The task: the end of the run at once; else to what comes afterwards, or on.
            "pick -> END Case(0) .n == 1",
            "pick -> c Case(1) else",
            "pick -> last Case(1) else",
            "c -> last Next ",
            "never -> last Next ",
            "last -> END Next ",
        ]
    );
}

#[test]
fn a_try_that_only_retries_lets_errors_pass_and_one_with_then_does_not() {
    let graph = Graph::of(&plan(
        "do:
  - a: { try: [ { b: { set: { v: 1 } } } ], catch: { retry: { delay: PT1S, limit: { attempt: { count: 1 } } } } }
  - c: { try: [ { d: { set: { v: 1 } } } ], catch: { errors: { with: { type: 'https://x.example/errors/late' } }, when: .n > 1, then: a } }
  - e: { try: [ { f: { set: { v: 1 } } } ], catch: {} }
",
    ));
    let errors: Vec<String> = ways(&graph).into_iter().filter(|w| w.contains("Error")).collect();
    assert_eq!(errors, ["c -> a Error error late when .n > 1", "e -> END Error error"]);
    assert_eq!(graph.blocks[0].remarks, ["retries once after 1 s"]);
}

#[test]
fn no_text_can_break_out_of_its_label() {
    let nasty = "\"]; end %% `x` <b>&amp;</b> #quot; -->|x| \\ {{ }} \u{7} é 漢";
    let source = format!("do:\n  - {}: {{ set: {{ a: 1 }} }}\n", crate::Value::from(nasty).to_json());
    let graph = Graph::of(&plan(&source));
    let svg = svg::print(&graph, None);
    assert!(svg.contains("&lt;b&gt;&amp;amp;&lt;/b&gt;") && !svg.contains('\u{7}'), "{svg}");
    let mermaid = mermaid::print(&graph, None);
    let line = mermaid.lines().find(|l| l.trim_start().starts_with("t0[")).expect("the task");
    let label = line.trim().strip_prefix("t0[\"<b>").and_then(|l| l.split_once("</b>")).expect("a label").0;
    assert!(!label.contains(['"', '<', '>', '`', '|', '[', ']', '{', '}', '\\', '&', '%']), "{label}");
    assert!(label.contains('é') && label.contains('漢'), "{label}");
    let dot = dot::print(&graph, None);
    assert!(dot.contains(r#"\"]; end"#), "{dot}");
}

#[test]
fn long_labels_are_cut_and_large_definitions_are_no_trouble() {
    let long = "x".repeat(10_000);
    let many: String = (1..500).map(|n| format!("  - t{n}: {{ if: '.x == {n}', set: {{ n: {n} }} }}\n")).collect();
    let many = format!("  - t0: {{ if: '.{long} == 0', set: {{ n: 0 }} }}\n{many}");
    let graph = Graph::of(&plan(&format!("do:\n{many}")));
    let all = [mermaid::print(&graph, None), dot::print(&graph, None), svg::print(&graph, None)];
    assert!(all.iter().all(|drawing| drawing.len() < 1_000_000));
    assert_eq!(graph.blocks.len(), 500);
    assert_eq!(graph.blocks[0].remarks[0].chars().count(), LABEL_MAX);
}
