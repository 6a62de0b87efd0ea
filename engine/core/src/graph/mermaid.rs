//! Mermaid: `flowchart TD`, as GitHub, GitLab and many editors show it. Written for Mermaid 10 and 11.

use std::fmt::Write as _;

use super::{Graph, Kind, List, Marks, Place};

/// The graph as Mermaid, with a run laid over it if there is one.
pub fn print(graph: &Graph, marks: Option<&Marks>) -> String {
    let mut out = String::new();
    let title = marks.map_or_else(|| graph.title.clone(), |m| format!("{}: {}", graph.title, m.phase));
    // A title in front matter is YAML: a quoted text is safe there.
    writeln!(out, "---\ntitle: {}\n---\nflowchart TD", crate::Value::from(title).to_json()).expect("a string takes it");
    out.push_str("  start((\" \"))\n");
    for list in &graph.lists {
        blocks(&mut out, graph, marks, list, 1);
    }
    out.push_str("  finish(((\" \")))\n");
    let mut went = Vec::new();
    for (number, way) in graph.ways.iter().enumerate() {
        let arrow = match way.kind {
            Kind::Error | Kind::Skip => "-.->",
            _ => "-->",
        };
        let label = if way.label.is_empty() { String::new() } else { format!("|{}|", text(&way.label)) };
        writeln!(out, "  {} {arrow}{label} {}", name(way.from), name(way.to)).expect("a string takes it");
        if marks.is_some_and(|m| m.went(graph, way)) {
            went.push(number.to_string());
        }
    }
    if let Some(marks) = marks {
        let colours = [
            ("taken", "fill:#d7f0dd,stroke:#1a7f37,color:#0b3d1a"),
            ("retried", "fill:#fff1c9,stroke:#9a6700,color:#4d3300"),
            ("failed", "fill:#ffd9d6,stroke:#b3261e,color:#5c110c"),
            ("waiting", "fill:#d6e8ff,stroke:#0b57d0,color:#062e6f"),
            ("skipped", "fill:#f0f0f0,stroke:#8a8a8a,color:#5a5a5a,stroke-dasharray:4 3"),
        ];
        for (state, style) in colours {
            let of: Vec<String> = (0..graph.blocks.len())
                .filter(|block| marks.of(graph, *block).state() == state)
                .map(|block| name(Place::Block(block)))
                .collect();
            if !of.is_empty() {
                writeln!(out, "  classDef {state} {style}\n  class {} {state}", of.join(","))
                    .expect("a string takes it");
            }
        }
        if !went.is_empty() {
            writeln!(out, "  linkStyle {} stroke:#1a7f37,stroke-width:3px", went.join(",")).expect("a string takes it");
        }
    }
    out
}

fn blocks(out: &mut String, graph: &Graph, marks: Option<&Marks>, list: &List, depth: usize) {
    let pad = "  ".repeat(depth);
    for index in &list.blocks {
        let block = &graph.blocks[*index];
        let id = name(Place::Block(*index));
        let mut lines = vec![format!("<b>{}</b>", text(&block.name))];
        let what = if block.detail.is_empty() {
            block.keyword.to_owned()
        } else {
            format!("{} {}", block.keyword, block.detail)
        };
        lines.push(text(&what));
        lines.extend(block.remarks.iter().map(|r| format!("<i>{}</i>", text(r))));
        if let Some(marks) = marks {
            let words = marks.of(graph, *index).words();
            if !words.is_empty() {
                lines.push(text(&words.join(", ")));
            }
        }
        let label = lines.join("<br/>");
        let (open, close) = match block.keyword {
            "switch" => ("{\"", "\"}"),
            "wait" | "listen" => ("([\"", "\"])"),
            "emit" => ("[/\"", "\"/]"),
            "raise" => ("{{\"", "\"}}"),
            "for" | "fork" | "try" | "do" | "extension" => ("[[\"", "\"]]"),
            _ => ("[\"", "\"]"),
        };
        let inner: Vec<&List> = block.lists.iter().filter(|l| !l.blocks.is_empty()).collect();
        writeln!(out, "{pad}{id}{open}{label}{close}").expect("a string takes it");
        for (number, inside) in inner.into_iter().enumerate() {
            let title = if inside.label.is_empty() {
                block.name.to_string()
            } else {
                format!("{} · {}", block.name, inside.label)
            };
            writeln!(out, "{pad}subgraph {id}_{number}[\"{}\"]", text(&title)).expect("a string takes it");
            blocks(out, graph, marks, inside, depth + 1);
            writeln!(out, "{pad}end").expect("a string takes it");
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

/// A text within quotes. Mermaid reads entities without `&`, and Markdown after a backtick; whatever could be taken for anything
/// but itself is an entity.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | ',' | '-' | '_' | '/' | ':' | '=' | '+' | '?' | '!' => {
                out.push(c)
            }
            c if c.is_alphanumeric() || c == '…' || c == '·' => out.push(c),
            c => write!(out, "#{};", u32::from(c)).expect("a string takes it"),
        }
    }
    out
}
