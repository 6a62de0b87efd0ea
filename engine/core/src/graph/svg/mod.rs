//! SVG: one file that needs nothing else. Light and dark by what the viewer prefers; no scripts, nothing from elsewhere.
//!
//! 1. `frame` gives every task a box and every composite task a frame, the innermost first;
//! 2. `layers` puts the boxes of a frame below and beside each other, and finds ways for the lines;
//! 3. here all is written down, frames as groups that are moved to their places.

mod frame;
mod layers;
mod text;

use std::fmt::Write as _;

use self::frame::{Block, Inner, LABEL_LINE, Stroke, arrange, dashed};
use self::text::{escape, wide};
use super::{Graph, Marks, State};

const MARGIN: f64 = 24.0;
const STYLE: &str = include_str!("style.css");

/// The graph as SVG, with a run laid over it if there is one.
pub fn print(graph: &Graph, marks: Option<&Marks>) -> String {
    let (whole, blocks) = arrange(graph, marks);
    let mut printer = Printer { graph, marks, blocks: &blocks, out: String::new() };
    let title = text::wrap(&graph.title, 90, 2);
    let run: Vec<String> = marks.map(Marks::lines).into_iter().flatten().collect();
    let run: Vec<String> = run.iter().flat_map(|line| text::wrap(line, 110, 2)).collect();
    let legend = printer.legend();
    let head = 20.0 * title.len() as f64 + 18.0 * run.len() as f64;
    let widths = title.iter().map(|t| wide(t, 16.0, true)).chain(run.iter().map(|t| wide(t, 12.0, false)));
    let widest = widths.fold(whole.width.max(legend.iter().map(|k| k.1).sum::<f64>().min(620.0)), f64::max);
    let width = widest + 2.0 * MARGIN;
    let (rows, keys) = rows_of(&legend, widest);
    let (x, y) = ((width - whole.width) / 2.0, MARGIN + head + 12.0);
    let below = y + whole.height + if rows > 0 { 30.0 } else { 0.0 };
    let height = below + f64::from(rows) * 22.0 + MARGIN;
    printer.line(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">"
    ));
    let alone = [graph.title.clone()].into_iter().chain(run.iter().cloned()).collect::<Vec<_>>().join(", ");
    printer.line(&format!("<title>{}</title>", escape(&alone)));
    printer.line(&format!("<style>\n{STYLE}</style>"));
    let marker = "viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerUnits=\"userSpaceOnUse\" markerWidth=\"9\" markerHeight=\"9\" orient=\"auto\"";
    printer.line(&format!(
        "<defs><marker id=\"a\" {marker}><path class=\"a\" d=\"M0 0L8 4L0 8z\"/></marker><marker id=\"aw\" {marker}><path class=\"aw\" d=\"M0 0L8 4L0 8z\"/></marker></defs>"
    ));
    printer.line("<rect class=\"bg\" width=\"100%\" height=\"100%\"/>");
    let mut at = MARGIN + 8.0;
    for line in &title {
        printer.line(&format!("<text class=\"title\" x=\"{MARGIN}\" y=\"{at:.1}\">{}</text>", escape(line)));
        at += 20.0;
    }
    for line in &run {
        printer.line(&format!("<text class=\"sub\" x=\"{MARGIN}\" y=\"{:.1}\">{}</text>", at - 1.0, escape(line)));
        at += 18.0;
    }
    printer.inner(&whole, x, y);
    printer.line(&format!("<g transform=\"translate({MARGIN} {below:.1})\">"));
    for (state, x, row) in keys {
        let top = 22.0 * f64::from(row);
        printer.key(state, x, top);
    }
    printer.line("</g>\n</svg>");
    printer.out
}

/// How the keys of a legend fill rows: how many rows, and where each key stands.
fn rows_of(legend: &[(State, f64)], width: f64) -> (u32, Vec<(State, f64, u32)>) {
    let (mut x, mut row) = (0.0, 0);
    let mut keys = Vec::new();
    for (state, own) in legend {
        if x > 0.0 && x + own > width {
            (x, row) = (0.0, row + 1);
        }
        keys.push((*state, x, row));
        x += own;
    }
    (if keys.is_empty() { 0 } else { row + 1 }, keys)
}

struct Printer<'g> {
    graph: &'g Graph,
    marks: Option<&'g Marks>,
    blocks: &'g [Block],
    out: String,
}

impl Printer<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn inner(&mut self, inner: &Inner, x: f64, y: f64) {
        writeln!(self.out, "<g class=\"in\" transform=\"translate({x:.1} {y:.1})\">").expect("a string takes it");
        for line in &inner.lines {
            self.stroke(line);
        }
        for (index, spot) in &inner.blocks {
            self.block(*index, spot.x, spot.top);
        }
        if let Some(spot) = inner.start {
            self.line(&format!("<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"7\"/>", spot.x, spot.top + 11.0));
        }
        if let Some(spot) = inner.end {
            let (x, y) = (spot.x, spot.top + 9.0);
            self.line(&format!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"));
            self.line(&format!("<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8.5\"/>"));
        }
        // Labels stand above everything that could run through them.
        for line in &inner.lines {
            self.label(line);
        }
        self.line("</g>");
    }

    /// How a line looks: went there, did not, or there is no run.
    fn went(&self, line: &Stroke) -> Option<bool> {
        self.marks.map(|marks| line.ways.iter().any(|way| marks.went(*way) > 0))
    }

    fn stroke(&mut self, line: &Stroke) {
        let went = self.went(line);
        let mut class = "w".to_owned();
        class.push_str(match went {
            Some(true) => " went",
            Some(false) => " never",
            None => "",
        });
        class.push_str(if dashed(self.graph, line) { " dash" } else { "" });
        let head = if went == Some(true) { "aw" } else { "a" };
        let arrow = if line.arrow { format!(" marker-end=\"url(#{head})\"") } else { String::new() };
        let labels: Vec<&str> =
            line.ways.iter().map(|way| &*self.graph.ways[*way].label).filter(|l| !l.is_empty()).collect();
        let path = &line.path;
        if labels.is_empty() {
            self.line(&format!("<path class=\"{class}\" d=\"{path}\"{arrow}/>"));
        } else {
            let title = escape(&labels.join("; "));
            self.line(&format!("<path class=\"{class}\" d=\"{path}\"{arrow}><title>{title}</title></path>"));
        }
    }

    fn label(&mut self, line: &Stroke) {
        let Some(label) = &line.label else { return };
        let never = if self.went(line) == Some(false) { " never" } else { "" };
        let (left, top) = (label.x - label.width / 2.0, label.y - label.height / 2.0);
        write!(
            self.out,
            "<g class=\"l{never}\"><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\"/>",
            label.width, label.height
        )
        .expect("a string takes it");
        for (text, row) in label.lines.iter().zip(1_u32..) {
            let y = top + LABEL_LINE * f64::from(row);
            write!(self.out, "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>", label.x, escape(text))
                .expect("a string takes it");
        }
        self.line("</g>");
    }

    fn block(&mut self, index: usize, x: f64, y: f64) {
        let blocks = self.blocks;
        let (shown, block) = (&self.graph.blocks[index], &blocks[index]);
        let state = self.marks.map(|marks| marks.of(index).state);
        let class = state.map_or("plain", State::name);
        let Block { width, height, head, .. } = *block;
        let left = x - width / 2.0;
        self.line(&format!("<g class=\"{class}\" transform=\"translate({left:.1} {y:.1})\">"));
        let facts = [shown.pointer.to_string(), shown.what()].into_iter().chain(shown.remarks.iter().cloned());
        let facts = facts.chain(self.marks.map(|marks| marks.of(index).words()).into_iter().flatten());
        let facts = facts.collect::<Vec<_>>().join("\n");
        self.line(&format!("<title>{}</title>", escape(&facts)));
        if block.inner.is_some() {
            self.line(&format!("<rect class=\"f\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"9\"/>"));
            // The head has the frame's upper corners.
            let line = format!("M0 {head:.1}V9Q0 0 9 0H{:.1}Q{width:.1} 0 {width:.1} 9V{head:.1}z", width - 9.0);
            self.line(&format!("<path class=\"h\" d=\"{line}\"/>"));
        } else if shown.keyword == "switch" {
            let (tip, middle) = (11.0, height / 2.0);
            let line = format!(
                "M{tip} 0H{:.1}L{width:.1} {middle:.1}L{:.1} {height:.1}H{tip}L0 {middle:.1}z",
                width - tip,
                width - tip
            );
            self.line(&format!("<path class=\"b\" d=\"{line}\"/>"));
        } else {
            let round = if matches!(shown.keyword, "wait" | "listen") { height.min(34.0) / 2.0 } else { 6.0 };
            self.line(&format!("<rect class=\"b\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round:.1}\"/>"));
        }
        if shown.keyword != "switch" {
            self.line(&format!(
                "<rect class=\"{}\" x=\"6\" y=\"9\" width=\"3\" height=\"{:.1}\" rx=\"1.5\"/>",
                shown.keyword,
                head - 18.0
            ));
        }
        for row in &block.rows {
            let (class, y, text) = (row.style.class(), row.y, escape(&row.text));
            self.line(&format!("<text class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\">{text}</text>", width / 2.0));
        }
        if let Some(state) = state.filter(|state| !state.sign().is_empty()) {
            self.sign(state, width - 4.0, 3.0);
        }
        if let Some(inner) = &block.inner {
            self.inner(inner, inner.x, inner.y);
        }
        self.line("</g>");
    }

    fn sign(&mut self, state: State, x: f64, y: f64) {
        let sign = state.sign();
        self.line(&format!(
            "<circle class=\"s\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/><text class=\"sign\" x=\"{x:.1}\" y=\"{:.1}\">{sign}</text>",
            y + 3.6
        ));
    }

    /// The states that there are, each with the room that its key takes.
    fn legend(&self) -> Vec<(State, f64)> {
        let Some(marks) = self.marks else { return Vec::new() };
        let there = |state: &State| (0..self.blocks.len()).any(|block| marks.of(block).state == *state);
        State::ALL.into_iter().filter(there).map(|state| (state, wide(state.meaning(), 11.0, false) + 48.0)).collect()
    }

    fn key(&mut self, state: State, x: f64, y: f64) {
        self.line(&format!("<g class=\"{}\" transform=\"translate({x:.1} {y:.1})\">", state.name()));
        self.line("<rect class=\"b\" width=\"22\" height=\"14\" rx=\"4\"/>");
        if !state.sign().is_empty() {
            self.sign(state, 21.0, 1.0);
        }
        self.line(&format!("<text class=\"key\" x=\"33\" y=\"11\">{}</text></g>", state.meaning()));
    }
}
