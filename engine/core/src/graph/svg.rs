//! SVG: one file that needs nothing else. Light and dark by what the viewer prefers; no scripts, nothing from elsewhere.
//!
//! The picture follows the text of a definition: tasks of a list stand below each other, what a task contains stands in its
//! frame, and branches and handlers side by side. Jumps run in lanes at the right of their list.

use std::fmt::Write as _;

use super::{Graph, Kind, List, Mark, Marks, Place, Way};

/// The width of a character of the font, in pixels.
const CHAR: f64 = 7.3;
const LINE: f64 = 17.0;
const PAD: f64 = 12.0;
/// Between tasks of a list.
const GAP: f64 = 30.0;
/// Between lists side by side.
const BESIDE: f64 = 22.0;
/// Between lanes of jumps.
const LANE: f64 = 13.0;
const MARGIN: f64 = 24.0;
/// Room for what ends a run or leaves a list, at the right of a box.
const STUB: f64 = 76.0;

const STYLE: &str = "\
svg{background:#fff}\
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1c2733}\
.n{font-weight:700}.d{fill:#52616f}.r{fill:#7a5a00;font-style:italic}.m{fill:#0b57d0}.t{font-size:14px;font-weight:700}\
rect{fill:#f7f9fb;stroke:#9fb0c0;stroke-width:1.2}.frame{fill:none;stroke:#c3ced8;stroke-dasharray:none}\
path{fill:none;stroke:#8696a5;stroke-width:1.5}.error{stroke-dasharray:5 4}.went{stroke:#1a7f37;stroke-width:2.6}\
marker path,circle{fill:#8696a5;stroke:none}.went-head path{fill:#1a7f37}\
.taken rect.b{fill:#e2f4e6;stroke:#1a7f37}.retried rect.b{fill:#fff4d1;stroke:#9a6700}\
.failed rect.b{fill:#ffe1de;stroke:#b3261e}.waiting rect.b{fill:#dfecff;stroke:#0b57d0}\
.skipped rect.b{fill:#f3f3f3;stroke:#9a9a9a;stroke-dasharray:4 3}.skipped text{fill:#767676}\
.untouched{opacity:.62}\
@media(prefers-color-scheme:dark){svg{background:#10161c}text{fill:#e3eaf0}.d{fill:#9db0c0}.r{fill:#e0b94f}.m{fill:#8ab4f8}\
rect{fill:#18212a;stroke:#4a5b6a}.frame{stroke:#33414d}path{stroke:#71828f}marker path,circle{fill:#71828f}\
.went{stroke:#4cc26a}.went-head path{fill:#4cc26a}\
.taken rect.b{fill:#12301b;stroke:#4cc26a}.retried rect.b{fill:#33280a;stroke:#d9a514}.failed rect.b{fill:#3a1512;stroke:#ff8a80}\
.waiting rect.b{fill:#10254a;stroke:#8ab4f8}.skipped rect.b{fill:#1b1f23;stroke:#6c6c6c}.skipped text{fill:#8d8d8d}}";

/// The graph as SVG, with a run laid over it if there is one.
pub fn print(graph: &Graph, marks: Option<&Marks>) -> String {
    let mut layout = Layout { graph, marks, boxes: vec![Box::default(); graph.blocks.len()] };
    let sizes: Vec<Size> = graph.lists.iter().map(|list| layout.measure(list)).collect();
    let title = marks.map_or_else(|| graph.title.clone(), |m| format!("{}: {}", graph.title, m.phase));
    let inner = sizes.iter().map(|s| s.width).fold(0.0, f64::max);
    let width = inner.max(wide(&title) * 1.2) + 2.0 * MARGIN;
    let (top, start) = (MARGIN + 30.0, MARGIN + 22.0);
    let mut y = top + GAP - 8.0;
    for (list, size) in graph.lists.iter().zip(&sizes) {
        layout.place(list, (width - size.width) / 2.0, y);
        y += size.height + GAP;
    }
    let legend = if marks.is_some() { 34.0 } else { 0.0 };
    let height = y + 16.0 + MARGIN + legend;
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\
         <title>{0}</title><style>{STYLE}</style>\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>\
         <marker id=\"w\" class=\"went-head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\
         <text class=\"t\" x=\"{MARGIN}\" y=\"{MARGIN}\">{0}</text>",
        escape(&title)
    )
    .expect("a string takes it");
    for index in 0..graph.blocks.len() {
        layout.draw(&mut out, index);
    }
    let first = graph.lists.first().and_then(|l| l.blocks.first());
    let middle = first.map_or(width / 2.0, |b| layout.boxes[*b].middle());
    writeln!(out, "<circle cx=\"{middle:.1}\" cy=\"{start:.1}\" r=\"6\"/>").expect("a string takes it");
    let last = graph.lists.last().and_then(|l| l.blocks.last());
    let below = last.map_or(width / 2.0, |b| layout.boxes[*b].middle());
    let end = y - 4.0;
    writeln!(out, "<circle cx=\"{below:.1}\" cy=\"{end:.1}\" r=\"6\"/><circle cx=\"{below:.1}\" cy=\"{end:.1}\" r=\"9\" style=\"fill:none;stroke:#8696a5\"/>").expect("a string takes it");
    let mut lanes = Lanes::default();
    for way in &graph.ways {
        layout.way(&mut out, way, (middle, start), (below, end), &mut lanes);
    }
    if marks.is_some() {
        let mut x = MARGIN;
        for state in ["taken", "retried", "failed", "waiting", "skipped", "untouched"] {
            writeln!(
                out,
                "<g class=\"{state}\"><rect class=\"b\" x=\"{x:.1}\" y=\"{:.1}\" width=\"14\" height=\"14\" rx=\"3\"/><text x=\"{:.1}\" y=\"{:.1}\">{state}</text></g>",
                height - MARGIN - 10.0,
                x + 20.0,
                height - MARGIN + 2.0
            )
            .expect("a string takes it");
            x += wide(state) + 44.0;
        }
    }
    out.push_str("</svg>\n");
    out
}

#[derive(Clone, Copy, Default)]
struct Size {
    width: f64,
    height: f64,
}

/// Where a task stands.
#[derive(Clone, Default)]
struct Box {
    x: f64,
    y: f64,
    /// Of the box with its text.
    head: Size,
    /// With everything inside.
    whole: Size,
    /// Of the lists inside.
    lists: Vec<Size>,
    lines: Vec<(&'static str, String)>,
    /// The list that it stands in: its right side, behind the boxes.
    edge: f64,
}

impl Box {
    /// The x of the ways into it and out of it.
    fn middle(&self) -> f64 {
        self.x + self.head.width / 2.0
    }

    fn bottom(&self) -> f64 {
        self.y + self.whole.height
    }
}

#[derive(Default)]
struct Lanes {
    /// By the right side of a list: how many lanes are in use.
    used: Vec<(f64, f64, usize)>,
}

struct Layout<'g> {
    graph: &'g Graph,
    marks: Option<&'g Marks>,
    boxes: Vec<Box>,
}

impl Layout<'_> {
    fn mark(&self, index: usize) -> Option<Mark> {
        self.marks.map(|m| m.of(self.graph, index))
    }

    /// Ways that run in lanes beside a list.
    fn jumps(&self, list: &List) -> usize {
        let jump = |way: &&Way| match (way.from, way.to) {
            (Place::Block(from), Place::Block(to)) => {
                list.blocks.contains(&from) && list.blocks.contains(&to) && !follows(list, from, to)
            }
            _ => false,
        };
        self.graph.ways.iter().filter(jump).count()
    }

    fn measure(&mut self, list: &List) -> Size {
        let mut size = Size { width: wide(&list.label), height: 0.0 };
        for (position, index) in list.blocks.iter().enumerate() {
            let own = self.measure_block(*index);
            size.width = size.width.max(own.width);
            size.height += own.height + if position > 0 { GAP } else { 0.0 };
        }
        let lanes = self.jumps(list);
        size.width += STUB + if lanes > 0 { LANE * (lanes as f64 + 1.0) } else { 0.0 };
        size
    }

    fn measure_block(&mut self, index: usize) -> Size {
        let block = &self.graph.blocks[index];
        let mut lines = vec![("n", block.name.to_string())];
        lines.push((
            "d",
            if block.detail.is_empty() {
                block.keyword.to_owned()
            } else {
                format!("{} {}", block.keyword, block.detail)
            },
        ));
        lines.extend(block.remarks.iter().map(|r| ("r", r.clone())));
        if block.keyword == "switch" {
            for way in self.graph.ways.iter().filter(|w| w.from == Place::Block(index)) {
                let to = match way.to {
                    Place::Block(to) if self.graph.blocks[to].lists.iter().any(|l| l.blocks.contains(&index)) => {
                        "leave"
                    }
                    Place::Block(to) => &*self.graph.blocks[to].name,
                    Place::Start | Place::End => "end",
                };
                lines.push(("d", format!("{} → {to}", way.label)));
            }
        }
        if let Some(mark) = self.mark(index) {
            lines.extend(Some(mark.words().join(", ")).filter(|w| !w.is_empty()).map(|w| ("m", w)));
        }
        // Bold letters may be wider, where the font is none of those that are asked for.
        let wide = |(class, text): &(&str, String)| wide(text) * if *class == "n" { 1.12 } else { 1.0 };
        let width = lines.iter().map(wide).fold(90.0, f64::max) + 2.0 * PAD;
        let head = Size { width, height: LINE * lines.len() as f64 + PAD };
        let lists: Vec<Size> = block.lists.iter().map(|list| self.measure(list)).collect();
        let mut whole = head;
        if lists.iter().any(|l| l.height > 0.0) {
            let inner = lists.iter().map(|l| l.width).sum::<f64>() + BESIDE * (lists.len() as f64 - 1.0);
            let tallest = lists.iter().map(|l| l.height).fold(0.0, f64::max);
            let labels = if block.lists.iter().any(|l| !l.label.is_empty()) { LINE } else { 0.0 };
            whole.width = head.width.max(inner) + 2.0 * PAD;
            whole.height = head.height + GAP + labels + tallest + 2.0 * PAD;
        }
        self.boxes[index] = Box { head, whole, lists, lines, ..Box::default() };
        whole
    }

    fn place(&mut self, list: &List, x: f64, y: f64) {
        let widest = list.blocks.iter().map(|i| self.boxes[*i].whole.width).fold(0.0, f64::max);
        let mut y = y;
        for index in &list.blocks {
            let own = self.boxes[*index].whole;
            let left = x + (widest - own.width) / 2.0;
            self.place_block(*index, left, y);
            self.boxes[*index].edge = x + widest;
            y += own.height + GAP;
        }
    }

    fn place_block(&mut self, index: usize, x: f64, y: f64) {
        let Box { head, whole, lists, .. } = self.boxes[index].clone();
        let graph = self.graph;
        let block = &graph.blocks[index];
        let framed = whole.height > head.height;
        let place = &mut self.boxes[index];
        (place.x, place.y) = (x + (whole.width - head.width) / 2.0, y);
        if framed {
            place.y = y + PAD;
            place.whole.height = whole.height - PAD;
            let labels = if block.lists.iter().any(|l| !l.label.is_empty()) { LINE } else { 0.0 };
            let inner = lists.iter().map(|l| l.width).sum::<f64>() + BESIDE * (lists.len() as f64 - 1.0);
            let mut at = x + (whole.width - inner) / 2.0;
            for (list, size) in block.lists.iter().zip(&lists) {
                self.place(list, at, y + PAD + head.height + GAP + labels);
                at += size.width + BESIDE;
            }
        }
    }

    fn draw(&self, out: &mut String, index: usize) {
        let Box { x, y, head, whole, lines, lists, .. } = &self.boxes[index];
        let block = &self.graph.blocks[index];
        let state = self.mark(index).map_or("plain", |m| m.state());
        if whole.height > head.height {
            let left = x - (whole.width - head.width) / 2.0;
            writeln!(
                out,
                "<rect class=\"frame\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\"/>",
                y - PAD,
                whole.width,
                whole.height + PAD
            )
            .expect("a string takes it");
            for (list, size) in block.lists.iter().zip(lists).filter(|(l, _)| !l.label.is_empty()) {
                let Some(first) = list.blocks.first() else { continue };
                let first = &self.boxes[*first];
                let top = y + head.height + GAP + LINE - 6.0;
                let left = first.x + first.head.width / 2.0 - first.whole.width.max(size.width - STUB) / 2.0;
                writeln!(out, "<text class=\"d\" x=\"{left:.1}\" y=\"{top:.1}\">{}</text>", escape(&list.label))
                    .expect("a string takes it");
            }
        }
        let rounded = if matches!(block.keyword, "wait" | "listen" | "emit") { 14 } else { 5 };
        writeln!(
            out,
            "<g class=\"{state}\"><title>{}</title><rect class=\"b\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{rounded}\"/>",
            escape(&block.pointer),
            head.width,
            head.height
        )
        .expect("a string takes it");
        for ((class, text), row) in lines.iter().zip(1_u32..) {
            let at = y + LINE * f64::from(row);
            writeln!(out, "<text class=\"{class}\" x=\"{:.1}\" y=\"{at:.1}\">{}</text>", x + PAD, escape(text))
                .expect("a string takes it");
        }
        out.push_str("</g>\n");
    }

    fn way(&self, out: &mut String, way: &Way, start: (f64, f64), end: (f64, f64), lanes: &mut Lanes) {
        let went = self.marks.is_some_and(|m| m.went(self.graph, way));
        let mut class = if went { "went".to_owned() } else { String::new() };
        if matches!(way.kind, Kind::Error | Kind::Skip) {
            class.push_str(" error");
        }
        let head = if went { "w" } else { "a" };
        let line = |out: &mut String, path: String| {
            let title =
                if way.label.is_empty() { String::new() } else { format!("<title>{}</title>", escape(&way.label)) };
            writeln!(out, "<path class=\"{}\" d=\"{path}\" marker-end=\"url(#{head})\">{title}</path>", class.trim())
                .expect("a string takes it");
        };
        match (way.from, way.to) {
            (Place::Start, Place::Block(to)) => {
                line(out, down(start.0, start.1 + 6.0, self.boxes[to].middle(), self.boxes[to].y));
            }
            (Place::Start, _) => line(out, down(start.0, start.1 + 6.0, end.0, end.1 - 9.0)),
            (Place::Block(from), Place::End) => {
                let source = &self.boxes[from];
                let last = self.graph.lists.last().and_then(|l| l.blocks.last()) == Some(&from);
                if last {
                    line(out, down(source.middle(), source.bottom(), end.0, end.1 - 9.0));
                } else {
                    // A way of its own through everything else would only be in the way: it ends where it begins.
                    self.stub(out, from, way, went, "end");
                }
            }
            (Place::Block(from), Place::Block(to)) => {
                let contains = |outer: usize, inner: usize| {
                    self.graph.blocks[outer].lists.iter().find(|l| l.blocks.contains(&inner))
                };
                if contains(from, to).is_some() {
                    let (source, target) = (&self.boxes[from], &self.boxes[to]);
                    line(out, down(source.middle(), source.y + source.head.height, target.middle(), target.y));
                } else if let Some(list) = contains(to, from) {
                    // That a list ends with its last task is plain; that a loop goes round, and where else it is left, is not.
                    let (source, target) = (&self.boxes[from], &self.boxes[to]);
                    if list.blocks.last() != Some(&from) {
                        self.stub(out, from, way, went, "leave");
                    } else if matches!(self.graph.blocks[to].keyword, "for" | "listen") {
                        let left = target.x - (target.whole.width - target.head.width) / 2.0 + 6.0;
                        let (a, b) = (source.y + source.head.height / 2.0, target.y + target.head.height / 2.0);
                        line(out, format!("M{:.1} {a:.1}H{left:.1}V{b:.1}H{:.1}", source.x, target.x));
                    }
                } else {
                    let (source, target) = (&self.boxes[from], &self.boxes[to]);
                    let list = self.lists().find(|l| l.blocks.contains(&from)).expect("every task stands in a list");
                    if follows(list, from, to) {
                        line(out, down(source.middle(), source.bottom(), target.middle(), target.y));
                    } else {
                        let (a, b) = (source.y + self.row(from, way), target.y + target.head.height / 2.0);
                        let b = if a < b { b - 5.0 } else { b + 5.0 };
                        let lane = lanes.take(source.edge, a.min(b));
                        let (from_x, to_x) = (source.x + source.head.width, target.x + target.head.width);
                        line(out, format!("M{from_x:.1} {a:.1}H{lane:.1}V{b:.1}H{to_x:.1}"));
                    }
                }
            }
            (Place::End, _) | (Place::Block(_), Place::Start) => {}
        }
    }

    /// A way that leads out of the list or ends the run: an arrow that says so.
    fn stub(&self, out: &mut String, from: usize, way: &Way, went: bool, word: &str) {
        let source = &self.boxes[from];
        let (x, y) = (source.x + source.head.width, source.y + self.row(from, way));
        let (class, head) = if went { ("went", "w") } else { ("", "a") };
        writeln!(
            out,
            "<path class=\"{class}\" d=\"M{x:.1} {y:.1}h22\" marker-end=\"url(#{head})\"/><text class=\"d\" x=\"{:.1}\" y=\"{:.1}\">{word}</text>",
            x + 27.0,
            y + 4.0
        )
        .expect("a string takes it");
    }

    /// How far below its top a way leaves a box: each case of a `switch` at its own line.
    fn row(&self, from: usize, way: &Way) -> f64 {
        let head = self.boxes[from].head.height;
        match way.kind {
            Kind::Case(number) => {
                let rows = 2 + self.graph.blocks[from].remarks.len();
                (LINE * (rows as f64 + f64::from(number) + 0.75)).min(head - 4.0)
            }
            Kind::Skip => head - 8.0,
            _ => head / 2.0,
        }
    }

    fn lists(&self) -> impl Iterator<Item = &List> {
        self.graph.lists.iter().chain(self.graph.blocks.iter().flat_map(|b| &b.lists))
    }
}

impl Lanes {
    /// The next free lane at the right of a list whose boxes end at `edge`.
    fn take(&mut self, edge: f64, _from: f64) -> f64 {
        let known = self.used.iter_mut().find(|(e, ..)| (*e - edge).abs() < 0.5);
        let number = match known {
            Some((_, _, n)) => {
                *n += 1;
                *n
            }
            None => {
                self.used.push((edge, 0.0, 1));
                1
            }
        };
        edge + 26.0 + LANE * number as f64
    }
}

/// Whether one task stands right behind another one in a list.
fn follows(list: &List, from: usize, to: usize) -> bool {
    list.blocks.windows(2).any(|pair| pair == [from, to])
}

fn down(x: f64, y: f64, to_x: f64, to_y: f64) -> String {
    if (x - to_x).abs() < 1.0 {
        return format!("M{x:.1} {y:.1}V{to_y:.1}");
    }
    let middle = f64::midpoint(y, to_y);
    format!("M{x:.1} {y:.1}C{x:.1} {middle:.1} {to_x:.1} {middle:.1} {to_x:.1} {to_y:.1}")
}

fn wide(text: &str) -> f64 {
    // Characters of East Asian scripts and symbols take up to two places.
    text.chars().map(|c| if u32::from(c) >= 0x1100 { 2.0 * CHAR } else { CHAR }).sum()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // What XML 1.0 does not have.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}')
            }
            c => out.push(c),
        }
    }
    out
}
