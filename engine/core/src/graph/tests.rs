//! Graphs of small definitions, and what must hold for every one.

use super::*;
use crate::definition::plan::{Action, Plan};
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
            "one -> two Next ",
            "two -> three Skip skipped",
            "two -> loop Back ",
            "three -> loop Back ",
            "loop -> choose Next done",
            "choose -> guarded Case(0) .n >= 2",
            "choose -> END Case(1) .n < 0",
            "choose -> both Case(2) else",
            "guarded -> risky Into ",
            "risky -> guarded Back ",
            "guarded -> mend Error ",
            "mend -> guarded Back ",
            "guarded -> both Next ",
            "both -> left Into ",
            "left -> both Back ",
            "both -> right Into ",
            "right -> both Back ",
            "both -> again Next ",
            "again -> first Next ",
        ]
    );
    let remarks = |name: &str| graph.blocks.iter().find(|b| &*b.name == name).expect("a task").remarks.clone();
    assert_eq!(remarks("guarded"), ["timeout 1 h 30 min", "retries up to 3 times after 2 s", "catches 503"]);
    assert_eq!(remarks("two"), ["if .n > 1"]);
}

/// What holds for the graph of any plan.
fn holds(plan: &Plan) {
    let graph = Graph::of(plan);
    let tasks: Vec<_> = plan.nodes.iter().skip(1).map(|n| n.pointer.clone()).collect();
    let mut blocks: Vec<_> = graph.blocks.iter().map(|b| b.pointer.clone()).collect();
    let mut expected = tasks;
    blocks.sort();
    expected.sort();
    assert_eq!(blocks, expected, "every task once");
    let mut listed: Vec<usize> =
        graph.lists.iter().chain(graph.blocks.iter().flat_map(|b| &b.lists)).flat_map(|l| l.blocks.clone()).collect();
    listed.sort_unstable();
    assert_eq!(listed, (0..graph.blocks.len()).collect::<Vec<_>>(), "every task in one list");
    for way in &graph.ways {
        for place in [way.from, way.to] {
            assert!(!matches!(place, Place::Block(index) if index >= graph.blocks.len()), "{way:?}");
        }
    }
    for (index, block) in graph.blocks.iter().enumerate() {
        let raises = matches!(plan.node(block.node).action, Action::Raise { .. });
        let leaves = graph.ways.iter().any(|w| w.from == Place::Block(index));
        assert_eq!(leaves, !raises, "{}: a way leads on, but from a `raise`", block.pointer);
    }
    for text in [mermaid::print(&graph, None), dot::print(&graph, None), svg::print(&graph, None)] {
        assert!(!text.contains("NaN") && !text.contains("inf\""), "{text}");
    }
}

#[test]
fn graphs_of_all_kinds_of_tasks_hold() {
    for body in [
        ALL,
        "do:\n  - a: { for: { each: n, in: '[1]' }, do: [ { x: { set: { v: 1 } } } ] }\n  - b: { raise: { error: { type: 'urn:x', status: 500, title: X } } }\n",
        "do:\n  - a: { switch: [ { x: { when: .a, then: exit } } ] }\n  - b: { try: [ { c: { set: { v: 1 } } } ], catch: { then: a } }\n",
        "do:\n  - a: { listen: { to: { any: [ { with: { type: x } } ], until: '.n > 3' } }, foreach: { item: e, do: [ { b: { set: { v: 1 } } } ] } }\n",
        "use: { extensions: [ { log: { extend: set, before: [ { b: { set: { v: 1 } } } ], after: [ { c: { set: { v: 1 } } } ] } } ] }\ndo:\n  - a: { set: { v: 1 } }\n",
        "do:\n  - ask: { call: approval.request, with: { title: 'May I?' } }\n",
    ] {
        holds(&plan(body));
    }
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
    let dot = dot::print(&graph, None);
    assert!(dot.contains(r#"\"]; end"#), "{dot}");
}

#[test]
fn long_labels_are_cut_and_large_definitions_are_no_trouble() {
    let long = "x".repeat(10_000);
    let many: String = (1..500).map(|n| format!("  - t{n}: {{ if: '.x == {n}', set: {{ n: {n} }} }}\n")).collect();
    let many = format!("  - t0: {{ if: '.{long} == 0', set: {{ n: 0 }} }}\n{many}");
    let graph = Graph::of(&plan(&format!("do:\n{many}")));
    assert_eq!(graph.blocks.len(), 500);
    assert_eq!(graph.blocks[0].remarks[0].chars().count(), LABEL_MAX);
    assert!(svg::print(&graph, None).len() < 1_000_000);
}
