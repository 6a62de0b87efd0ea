//! DOT, the language of Graphviz.

use std::fmt::Write as _;

use super::sketch::Sketch;
use super::{Graph, List, Marks, Place, State};

/// The graph as DOT, with a run laid over it if there is one.
pub fn print(graph: &Graph, marks: Option<&Marks>) -> String {
    let mut printer = Printer { graph, marks, sketch: Sketch::of(graph, marks), out: String::new() };
    let title = text(&printer.sketch.title());
    printer.line(0, "digraph {");
    printer.line(1, &format!("label={title}; labelloc=t; rankdir=TB; fontname=\"Helvetica\"; bgcolor=white;"));
    printer
        .line(1, "node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"Helvetica\", fontsize=11];");
    printer.line(1, "edge [fontname=\"Helvetica\", fontsize=10, color=\"#57606a\"];");
    printer.line(1, "start [shape=circle, label=\"\", width=0.2, fillcolor=\"#57606a\"];");
    for list in &graph.lists {
        printer.blocks(list, 1);
    }
    printer.line(1, "finish [shape=doublecircle, label=\"\", width=0.16, fillcolor=\"#57606a\"];");
    for line in printer.sketch.lines() {
        let mut style = vec![format!("label={}", text(&line.label))];
        style.extend(line.dashed.then(|| "style=dashed".to_owned()));
        style.extend(line.went.then(|| "color=\"#1a7f37\", penwidth=2.5".to_owned()));
        printer.line(1, &format!("{} -> {} [{}];", name(line.from), name(line.to), style.join(", ")));
    }
    printer.legend();
    printer.line(0, "}");
    printer.out
}

fn colours(state: State) -> (&'static str, &'static str) {
    match state {
        State::Taken => ("#d7f0dd", "#1a7f37"),
        State::Retried => ("#fff1c9", "#9a6700"),
        State::Failed => ("#ffd9d6", "#b3261e"),
        State::Caught => ("#ffe5d0", "#bc4c00"),
        State::Cancelled => ("#e8e6ee", "#6e6a85"),
        State::Running => ("#d6e8ff", "#0b57d0"),
        State::Waiting => ("#e9ddff", "#6f42c1"),
        State::Skipped => ("#f0f0f0", "#8a8a8a"),
        State::Untouched => ("white", "#c8ccd0"),
    }
}

struct Printer<'g> {
    graph: &'g Graph,
    marks: Option<&'g Marks>,
    sketch: Sketch<'g>,
    out: String,
}

impl Printer<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        writeln!(self.out, "{:1$}{text}", "", 2 * depth).expect("a string takes it");
    }

    fn blocks(&mut self, list: &List, depth: usize) {
        let graph = self.graph;
        for index in &list.blocks {
            let block = &graph.blocks[*index];
            if !block.contains() {
                self.node(*index, depth);
                continue;
            }
            let boxed = self.sketch.is_boxed(*index);
            let title = text(&self.sketch.frame(*index));
            let colour = self.marks.map_or("#8c959f", |marks| colours(marks.of(*index).state).1);
            self.line(depth, &format!("subgraph cluster_{index} {{"));
            self.line(
                depth + 1,
                &format!("label={title}; labelloc=t; style=rounded; color=\"{colour}\"; fontsize=11;"),
            );
            if boxed {
                self.node(*index, depth + 1);
            }
            for inside in &block.lists {
                self.blocks(inside, depth + 1);
            }
            self.line(depth, "}");
        }
    }

    fn node(&mut self, index: usize, depth: usize) {
        let shape = match self.graph.blocks[index].keyword {
            "switch" => ", shape=hexagon, style=filled",
            "raise" => ", shape=octagon, style=filled",
            "emit" => ", shape=cds, style=filled",
            "for" | "fork" | "try" | "do" | "extension" => ", style=filled",
            _ => "",
        };
        let state = self.marks.map_or_else(String::new, |marks| {
            let (fill, stroke) = colours(marks.of(index).state);
            format!(", fillcolor=\"{fill}\", color=\"{stroke}\"")
        });
        let label = self.label(index);
        self.line(depth, &format!("t{index} [label={label}{shape}{state}];"));
    }

    fn label(&self, index: usize) -> String {
        let (name, what, remarks, run) = self.sketch.text(index);
        let framed = self.graph.blocks[index].contains() && self.sketch.is_boxed(index);
        let name = (!framed).then_some(name);
        let lines: Vec<String> = name.into_iter().chain([what]).chain(remarks).chain(run).collect();
        text(&lines.join("\n"))
    }

    fn legend(&mut self) {
        let Some(marks) = self.marks else { return };
        self.line(1, "subgraph cluster_legend {");
        self.line(2, "style=rounded; color=\"#c8ccd0\";");
        for state in State::ALL {
            if (0..self.graph.blocks.len()).any(|block| marks.of(block).state == state) {
                let (fill, stroke) = colours(state);
                let label = text(format!("{} {}", state.sign(), state.meaning()).trim());
                let name = state.name();
                self.line(2, &format!("legend_{name} [label={label}, fillcolor=\"{fill}\", color=\"{stroke}\"];"));
            }
        }
        self.line(1, "}");
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
