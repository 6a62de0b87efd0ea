//! What Mermaid and DOT draw alike: boxes in frames, and lines between boxes.
//!
//! Neither draws lines to frames well, so a composite task is a frame with a box in it for the task itself. Where that box
//! would only lead to the first task of the frame, and its text is short, it is left out: the frame has its text, and what leads
//! to it leads to the first task.

use super::words::cut;
use super::{Graph, Kind, Marks, Place};

/// The longest line of a box or label, in characters: both wrap by themselves, or not at all.
const LINE_MAX: usize = 80;
/// The longest text of a frame, in characters: it stands in one line, and the frame is as wide as that.
const FRAME_MAX: usize = 64;

/// A line between two boxes.
pub(super) struct Line {
    pub from: Place,
    pub to: Place,
    pub dashed: bool,
    pub label: String,
    /// Whether the run went there.
    pub went: bool,
}

/// The parts of a drawing.
pub(super) struct Sketch<'g> {
    graph: &'g Graph,
    marks: Option<&'g Marks>,
    /// Whether a block has a box of its own.
    boxed: Vec<bool>,
}

impl<'g> Sketch<'g> {
    pub fn of(graph: &'g Graph, marks: Option<&'g Marks>) -> Self {
        let mut boxed = vec![false; graph.blocks.len()];
        for (block, own) in graph.blocks.iter().zip(&mut boxed) {
            *own = !block.contains();
        }
        for way in &graph.ways {
            match (way.kind, way.from, way.to) {
                (Kind::Into, ..) => {}
                (_, Place::Block(from), _) => boxed[from] = true,
                _ => {}
            }
            if let (Kind::Back, Place::Block(to)) = (way.kind, way.to) {
                boxed[to] = true;
            }
        }
        // A fork: more than one way in.
        for pair in graph.ways.windows(2) {
            if let [a, b] = pair
                && (a.kind, b.kind) == (Kind::Into, Kind::Into)
                && a.from == b.from
                && let Place::Block(from) = a.from
            {
                boxed[from] = true;
            }
        }
        let mut sketch = Self { graph, marks, boxed };
        for block in 0..graph.blocks.len() {
            sketch.boxed[block] |= sketch.frame(block).chars().count() > FRAME_MAX;
        }
        sketch
    }

    /// The text of a frame, in one line.
    pub fn frame(&self, block: usize) -> String {
        let shown = &self.graph.blocks[block];
        if self.boxed[block] {
            return shown.name.to_string();
        }
        let (name, what, remarks, run) = self.text(block);
        [name, what].into_iter().chain(remarks).chain(run).collect::<Vec<_>>().join(" · ")
    }

    /// Whether a block has a box of its own, beside its frame if it has one.
    pub fn is_boxed(&self, block: usize) -> bool {
        self.boxed[block]
    }

    /// The title in one line.
    pub fn title(&self) -> String {
        let run = self.marks.map(Marks::lines).into_iter().flatten();
        [self.graph.title.clone()].into_iter().chain(run).collect::<Vec<_>>().join(" · ")
    }

    /// The lines of text of a block: its name, what it does, remarks, and what a run has done with it.
    pub fn text(&self, block: usize) -> (String, String, Vec<String>, Vec<String>) {
        let shown = &self.graph.blocks[block];
        let remarks = shown.remarks.iter().map(|r| cut(r, LINE_MAX)).collect();
        let mut run = Vec::new();
        if let Some(mark) = self.marks.map(|m| m.of(block)) {
            let words = mark.words();
            let sign = [mark.state.sign().to_owned()];
            let first = sign.into_iter().chain(words.first().cloned()).filter(|w| !w.is_empty());
            run.extend(Some(first.collect::<Vec<_>>().join(" ")).filter(|w| !w.is_empty()));
            run.extend(words.into_iter().skip(1));
        }
        (shown.name.to_string(), cut(&shown.what(), LINE_MAX), remarks, run.iter().map(|r| cut(r, LINE_MAX)).collect())
    }

    /// Every line, in the order of the ways.
    pub fn lines(&self) -> Vec<Line> {
        let drawn = |place: &Place| !matches!(place, Place::Block(block) if !self.boxed[*block]);
        let ways = self.graph.ways.iter().enumerate().filter(|(_, way)| drawn(&way.from));
        let line = |(number, way): (usize, &super::Way)| {
            let went = self.marks.map_or(0, |marks| marks.went(number));
            let times = (went > 1).then(|| format!("{went} ×"));
            let label = [Some(cut(&way.label, LINE_MAX)).filter(|l| !l.is_empty()), times];
            let label = label.into_iter().flatten().collect::<Vec<_>>().join(" · ");
            Line { from: way.from, to: self.first(way.to), dashed: way.kind.dashed(), label, went: went > 0 }
        };
        ways.map(line).collect()
    }

    /// The box that stands for a place.
    fn first(&self, mut place: Place) -> Place {
        while let Place::Block(block) = place {
            if self.boxed[block] {
                break;
            }
            let inside = self.graph.blocks[block].lists.iter().find_map(|list| list.blocks.first());
            match inside {
                Some(inside) => place = Place::Block(*inside),
                None => break,
            }
        }
        place
    }
}
