//! DOT, the language of Graphviz.

use std::fmt::Write as _;

use super::{Graph, Kind, List, Marks, Place};

/// The graph as DOT, with a run laid over it if there is one.
pub fn print(graph: &Graph, marks: Option<&Marks>) -> String {
    let mut out = String::new();
    let title = marks.map_or_else(|| graph.title.clone(), |m| format!("{}: {}", graph.title, m.phase));
    writeln!(
        out,
        "digraph {{\n  label={}; labelloc=t; compound=true; rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\", fontsize=10];",
        text(&title)
    )
    .expect("a string takes it");
    out.push_str(
        "  start [shape=circle, label=\"\", width=0.25];\n  finish [shape=doublecircle, label=\"\", width=0.2];\n",
    );
    for list in &graph.lists {
        blocks(&mut out, graph, marks, list, 1);
    }
    for way in &graph.ways {
        let mut style = vec![format!("label={}", text(&way.label))];
        if matches!(way.kind, Kind::Error | Kind::Skip) {
            style.push("style=dashed".to_owned());
        }
        if marks.is_some_and(|m| m.went(graph, way)) {
            style.push("color=\"#1a7f37\", penwidth=2.5".to_owned());
        }
        writeln!(out, "  {} -> {} [{}];", name(way.from), name(way.to), style.join(", ")).expect("a string takes it");
    }
    out.push_str("}\n");
    out
}

fn blocks(out: &mut String, graph: &Graph, marks: Option<&Marks>, list: &List, depth: usize) {
    let pad = "  ".repeat(depth);
    for index in &list.blocks {
        let block = &graph.blocks[*index];
        let what = if block.detail.is_empty() {
            block.keyword.to_owned()
        } else {
            format!("{} {}", block.keyword, block.detail)
        };
        let mut lines = vec![block.name.to_string(), what];
        lines.extend(block.remarks.iter().cloned());
        let mut style = String::new();
        if let Some(marks) = marks {
            let mark = marks.of(graph, *index);
            lines.extend(Some(mark.words().join(", ")).filter(|w| !w.is_empty()));
            let colour = match mark.state() {
                "taken" => "#d7f0dd",
                "retried" => "#fff1c9",
                "failed" => "#ffd9d6",
                "waiting" => "#d6e8ff",
                "skipped" => "#f0f0f0",
                _ => "white",
            };
            style = format!(", fillcolor=\"{colour}\"");
        }
        let shape = if block.keyword == "switch" { ", shape=diamond, style=filled" } else { "" };
        writeln!(out, "{pad}t{index} [label={}{shape}{style}];", text(&lines.join("\n"))).expect("a string takes it");
        for (number, inside) in block.lists.iter().filter(|l| !l.blocks.is_empty()).enumerate() {
            let title = if inside.label.is_empty() {
                block.name.to_string()
            } else {
                format!("{} · {}", block.name, inside.label)
            };
            writeln!(out, "{pad}subgraph cluster_{index}_{number} {{\n{pad}  label={}; style=dotted;", text(&title))
                .expect("a string takes it");
            blocks(out, graph, marks, inside, depth + 1);
            writeln!(out, "{pad}}}").expect("a string takes it");
        }
    }
}

fn name(place: Place) -> String {
    match place {
        Place::Start => "start".to_owned(),
        Place::End => "finish".to_owned(),
        Place::Block(index) => format!("t{index}"),
    }
}

/// A quoted text. In one, DOT knows the escape of a quotation mark, and Graphviz that of a line's end.
fn text(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
