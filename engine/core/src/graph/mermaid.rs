//! Mermaid: `flowchart TD`, as GitHub, GitLab and many editors show it. Written for Mermaid 10 and 11.

use std::fmt::Write as _;

use super::sketch::Sketch;
use super::{Graph, List, Marks, Place, State};

/// The graph as Mermaid, with a run laid over it if there is one.
pub fn print(graph: &Graph, marks: Option<&Marks>) -> String {
    let mut printer = Printer { graph, sketch: Sketch::of(graph, marks), out: String::new(), frames: Vec::new() };
    // A title in front matter is YAML: a quoted text is safe there.
    let title = crate::Value::from(printer.sketch.title()).to_json();
    printer.line(0, &format!("---\ntitle: {title}\n---\nflowchart TD"));
    printer.line(1, "start((\" \"))");
    for list in &graph.lists {
        printer.blocks(list, 1);
    }
    printer.line(1, "finish(((\" \")))");
    let went = printer.lines();
    if !printer.frames.is_empty() {
        printer.line(1, "classDef frame fill:#7f7f7f14,stroke:#7f7f7f99");
        let frames = printer.frames.join(",");
        printer.line(1, &format!("class {frames} frame"));
    }
    if let Some(marks) = marks {
        printer.run(marks, &went);
    }
    printer.out
}

/// How the states of a run look: text and background go together, so that they can be read on light and dark pages.
fn look(state: State) -> &'static str {
    match state {
        State::Taken => "fill:#d7f0dd,stroke:#1a7f37,color:#0b3d1a",
        State::Retried => "fill:#fff1c9,stroke:#9a6700,color:#4d3300",
        State::Failed => "fill:#ffd9d6,stroke:#b3261e,color:#5c110c,stroke-width:2px",
        State::Caught => "fill:#ffe5d0,stroke:#bc4c00,color:#5c2600",
        State::Cancelled => "fill:#e8e6ee,stroke:#6e6a85,color:#3a3650,stroke-dasharray:2 3",
        State::Running => "fill:#d6e8ff,stroke:#0b57d0,color:#062e6f,stroke-width:2px",
        State::Waiting => "fill:#e9ddff,stroke:#6f42c1,color:#351c75,stroke-width:2px",
        State::Skipped => "fill:#f0f0f0,stroke:#8a8a8a,color:#5a5a5a,stroke-dasharray:5 3",
        State::Untouched => "opacity:0.55",
    }
}

/// A frame shows the page behind it, with the colour of its state.
fn look_of_frame(state: State) -> String {
    let stroke = look(state).split(',').find_map(|part| part.strip_prefix("stroke:"));
    stroke.map_or_else(|| look(state).to_owned(), |colour| format!("fill:{colour}1f,stroke:{colour}"))
}

struct Printer<'g> {
    graph: &'g Graph,
    sketch: Sketch<'g>,
    out: String,
    frames: Vec<String>,
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
            self.line(depth, &format!("subgraph f{index}[\"{title}\"]"));
            self.frames.push(format!("f{index}"));
            if boxed {
                self.node(*index, depth + 1);
            }
            let framed = |list: &&List| !list.label.is_empty() && !list.blocks.is_empty();
            let several = block.lists.iter().filter(framed).count() > 1;
            for (number, inside) in block.lists.iter().enumerate().filter(|(_, list)| !list.blocks.is_empty()) {
                if several {
                    self.line(depth + 1, &format!("subgraph f{index}_{number}[\"{}\"]", text(&inside.label)));
                    self.frames.push(format!("f{index}_{number}"));
                    self.blocks(inside, depth + 2);
                    self.line(depth + 1, "end");
                } else {
                    self.blocks(inside, depth + 1);
                }
            }
            self.line(depth, "end");
        }
    }

    fn node(&mut self, index: usize, depth: usize) {
        let block = &self.graph.blocks[index];
        let (open, close) = match block.keyword {
            "switch" => ("{{\"", "\"}}"),
            "wait" | "listen" => ("([\"", "\"])"),
            "emit" => ("[/\"", "\"/]"),
            "raise" => (">\"", "\"]"),
            "for" | "fork" | "try" | "do" | "extension" => ("[[\"", "\"]]"),
            _ => ("[\"", "\"]"),
        };
        let label = self.label(index);
        self.line(depth, &format!("t{index}{open}{label}{close}"));
    }

    fn label(&self, index: usize) -> String {
        let (name, what, remarks, run) = self.sketch.text(index);
        // Where there is a box beside the frame, the frame has the name.
        let framed = self.graph.blocks[index].contains() && self.sketch.is_boxed(index);
        let mut lines: Vec<String> = if framed { Vec::new() } else { vec![format!("<b>{}</b>", text(&name))] };
        lines.push(text(&what));
        lines.extend(remarks.iter().map(|r| format!("<i>{}</i>", text(r))));
        lines.extend(run.iter().map(|r| text(r)));
        lines.join("<br/>")
    }

    /// Prints the lines; returns the numbers of those that a run went.
    fn lines(&mut self) -> Vec<String> {
        let mut went = Vec::new();
        for (number, line) in self.sketch.lines().into_iter().enumerate() {
            let arrow = if line.dashed { "-.->" } else { "-->" };
            let label = if line.label.is_empty() { String::new() } else { format!("|\"{}\"|", text(&line.label)) };
            self.line(1, &format!("{} {arrow}{label} {}", name(line.from), name(line.to)));
            if line.went {
                went.push(number.to_string());
            }
        }
        went
    }

    fn run(&mut self, marks: &Marks, went: &[String]) {
        let graph = self.graph;
        let of = |state: State| (0..graph.blocks.len()).filter(move |block| marks.of(*block).state == state);
        let used: Vec<State> = State::ALL.into_iter().filter(|state| of(*state).next().is_some()).collect();
        // A row below everything, held there by lines that nobody sees.
        for state in &used {
            let sign = format!("{} {}", state.sign(), state.meaning());
            self.line(1, &format!("finish ~~~ legend_{}[\"{}\"]", state.name(), text(sign.trim())));
        }
        for state in used {
            self.line(1, &format!("classDef {} {}", state.name(), look(state)));
            let (boxes, frames): (Vec<usize>, Vec<usize>) = of(state).partition(|block| self.sketch.is_boxed(*block));
            let boxes: Vec<String> =
                boxes.iter().map(|b| format!("t{b}")).chain([format!("legend_{}", state.name())]).collect();
            self.line(1, &format!("class {} {}", boxes.join(","), state.name()));
            if !frames.is_empty() {
                let frames: Vec<String> = frames.iter().map(|f| format!("f{f}")).collect();
                self.line(1, &format!("classDef {}_frame {}", state.name(), look_of_frame(state)));
                self.line(1, &format!("class {} {}_frame", frames.join(","), state.name()));
            }
        }
        if !went.is_empty() {
            self.line(1, &format!("linkStyle {} stroke:#1a7f37,stroke-width:3px", went.join(",")));
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

/// A text within quotes. Mermaid reads entities without `&`, and Markdown even where nobody asks for it; whatever could be taken
/// for anything but itself is an entity.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // `1. x`, `- x` and `+ x` would begin lists.
    let listed = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let mut word = false;
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let inside = word && rest.starts_with(|c: char| c.is_alphanumeric());
        let plain = match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | ',' | '/' | '=' | '?' | '!' => true,
            '.' => listed.len() != text.len() - at || at == 0,
            '-' | '+' => at > 0,
            '_' => inside,
            ':' => true,
            c => c.is_alphanumeric() || c == '…' || c == '·',
        };
        if plain {
            out.push(c);
        } else {
            write!(out, "#{};", u32::from(c)).expect("a string takes it");
        }
        // An icon, a formula, and a new line, even where the characters are entities: something invisible comes between them.
        if (c == ':' && rest.starts_with("fa"))
            || (c == '$' && rest.starts_with('$'))
            || (c == '\\' && rest.starts_with('n'))
        {
            out.push_str("#8288;");
        }
        word = c.is_alphanumeric();
    }
    out
}
