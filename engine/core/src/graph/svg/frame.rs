//! Boxes, and frames around what composite tasks contain.
//!
//! A frame is laid out by itself, the innermost first, and is then a box to the frame around it. A way between tasks of
//! different frames is cut at the frames' edges: inside of a frame it leads to a port at its bottom, outside it goes on
//! from there.

use std::collections::BTreeMap;

use super::layers::{Edge, Item, Placed, Route, Spot, layout};
use super::text::{Style, wide, wrap};
use crate::graph::{Graph, Kind, Marks, Place};

const PAD_X: f64 = 16.0;
const PAD_Y: f64 = 9.0;
/// Between a frame and what is in it.
const INSET: f64 = 16.0;
/// Between a frame's head and what is in it.
const BELOW_HEAD: f64 = 24.0;
/// How far from a box lines turn that run beside all boxes.
const TURN: f64 = 13.0;
/// Between lines that run beside all boxes.
const LANE: f64 = 14.0;
pub(super) const LABEL_LINE: f64 = 14.0;
/// Lines of a label, and characters in them.
const LABEL: (usize, usize) = (30, 3);

/// A row of text in a box: its middle line is `y` below the box's top.
pub(super) struct Row {
    pub style: Style,
    pub text: String,
    pub y: f64,
}

/// A task's box, or its frame.
pub(super) struct Block {
    pub width: f64,
    pub height: f64,
    /// The height of what holds the text; less than the whole height for a frame.
    pub head: f64,
    pub rows: Vec<Row>,
    /// What is in the frame.
    pub inner: Option<Inner>,
}

/// What is in a frame, or in the picture as a whole.
pub(super) struct Inner {
    pub width: f64,
    pub height: f64,
    /// From the frame's edges.
    pub x: f64,
    pub y: f64,
    /// Where the blocks stand: the middle of their upper edges.
    pub blocks: Vec<(usize, Spot)>,
    pub start: Option<Spot>,
    pub end: Option<Spot>,
    pub lines: Vec<Stroke>,
    /// Where ways leave the frame: what they lead to, and how far from its middle.
    ports: Vec<(Place, f64)>,
}

/// A line.
pub(super) struct Stroke {
    /// The path, as SVG writes it.
    pub path: String,
    /// Its ways, by their index in the graph.
    pub ways: Vec<usize>,
    /// Whether it ends here, rather than going on outside of the frame.
    pub arrow: bool,
    pub label: Option<Label>,
}

/// What stands on a line.
pub(super) struct Label {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub lines: Vec<String>,
}

/// The whole picture; and blocks by their index.
pub(super) fn arrange(graph: &Graph, marks: Option<&Marks>) -> (Inner, Vec<Block>) {
    let mut frames: BTreeMap<Option<usize>, Vec<Part>> = BTreeMap::new();
    for (number, way) in graph.ways.iter().enumerate() {
        cut_at_frames(graph, number, way.from, way.to, &mut frames);
    }
    let mut blocks: Vec<Option<Block>> = graph.blocks.iter().map(|_| None).collect();
    // A block stands before what it contains.
    for index in (0..graph.blocks.len()).rev() {
        let rows = rows(graph, marks, index);
        let (width, head) = (rows.iter().map(|(_, _, width)| *width).fold(92.0, f64::max) + 2.0 * PAD_X, height(&rows));
        let mut y = PAD_Y;
        let rows = rows.into_iter().map(|(style, text, _)| {
            y += style.size() + 4.0;
            Row { style, text, y: y - 5.0 }
        });
        let rows = rows.collect();
        let mut block = Block { width, height: head, head, rows, inner: None };
        if graph.blocks[index].contains() {
            let parts = frames.remove(&Some(index)).unwrap_or_default();
            let mut inner = inside(graph, marks, Some(index), &parts, &blocks);
            block.width = width.max(inner.width + 2.0 * INSET);
            (inner.x, inner.y) = ((block.width - inner.width) / 2.0, head + BELOW_HEAD);
            block.height = inner.y + inner.height + INSET;
            for (_, offset) in &mut inner.ports {
                *offset += inner.x - block.width / 2.0;
            }
            block.inner = Some(inner);
        }
        blocks[index] = Some(block);
    }
    let parts = frames.remove(&None).unwrap_or_default();
    let whole = inside(graph, marks, None, &parts, &blocks);
    (whole, blocks.into_iter().flatten().collect())
}

/// A part of a way, in one frame.
#[derive(Clone, Copy, PartialEq)]
struct Part {
    way: usize,
    /// The block in the frame; `None` for the frame's own head.
    from: Option<Place>,
    /// The task itself, rather than a frame around it.
    begins: bool,
    /// The block in the frame, `None` for the frame's own head; or what it leads to outside of it.
    to: Option<Place>,
    leaves: bool,
}

fn cut_at_frames(graph: &Graph, way: usize, from: Place, to: Place, frames: &mut BTreeMap<Option<usize>, Vec<Part>>) {
    let parent = |place: Place| match place {
        Place::Block(index) => graph.blocks[index].parent,
        Place::Start | Place::End => None,
    };
    let around = |place: Place| std::iter::successors(parent(place), |index| graph.blocks[*index].parent);
    let contains =
        |outer: Place, inner: Place| matches!(outer, Place::Block(index) if around(inner).any(|f| f == index));
    if contains(from, to) {
        let Place::Block(frame) = from else { return };
        let part = Part { way, from: None, begins: true, to: Some(to), leaves: false };
        frames.entry(Some(frame)).or_default().push(part);
        return;
    }
    let back = contains(to, from);
    let meet = match to {
        Place::Block(frame) if back => Some(frame),
        _ => parent(to),
    };
    let (mut here, mut begins) = (from, true);
    while parent(here) != meet {
        let Some(frame) = parent(here) else { return };
        let part = Part { way, from: Some(here), begins, to: Some(to), leaves: true };
        frames.entry(Some(frame)).or_default().push(part);
        (here, begins) = (Place::Block(frame), false);
    }
    let part = Part { way, from: Some(here), begins, to: Some(to).filter(|_| !back), leaves: false };
    frames.entry(meet).or_default().push(part);
}

type Rows = Vec<(Style, String, f64)>;

fn rows(graph: &Graph, marks: Option<&Marks>, index: usize) -> Rows {
    let block = &graph.blocks[index];
    let mut texts = vec![(Style::Name, block.name.to_string(), (34, 2)), (Style::What, block.what(), (38, 3))];
    texts.extend(block.remarks.iter().map(|remark| (Style::Remark, remark.clone(), (42, 2))));
    if let Some(marks) = marks {
        texts.extend(marks.of(index).words().into_iter().map(|words| (Style::Run, words, (42, 2))));
    }
    let lines = texts.into_iter().flat_map(|(style, text, (columns, rows))| {
        wrap(&text, columns, rows).into_iter().map(move |line| {
            let bold = matches!(style, Style::Name | Style::Run);
            let width = wide(&line, style.size(), bold);
            (style, line, width)
        })
    });
    lines.collect()
}

fn height(rows: &Rows) -> f64 {
    rows.iter().map(|(style, ..)| style.size() + 4.0).sum::<f64>() + 2.0 * PAD_Y - 2.0
}

/// The text on a way: its label, and how often a run went there if that was not once.
fn label(graph: &Graph, marks: Option<&Marks>, way: usize) -> Option<Vec<String>> {
    let text = &graph.ways[way].label;
    let mut lines = if text.is_empty() { Vec::new() } else { wrap(text, LABEL.0, LABEL.1) };
    let went = marks.map_or(0, |marks| marks.went(way));
    if went > 1 {
        lines.push(format!("{went} ×"));
    }
    Some(lines).filter(|lines| !lines.is_empty())
}

/// A line of a frame, before it is laid out.
struct Drawn {
    edge: Edge,
    ways: Vec<usize>,
    text: Option<Vec<String>>,
    leaves: bool,
    /// Whether it begins at the frame's bottom.
    port: bool,
}

fn inside(
    graph: &Graph,
    marks: Option<&Marks>,
    frame: Option<usize>,
    parts: &[Part],
    blocks: &[Option<Block>],
) -> Inner {
    let lists = frame.map_or(&graph.lists, |index| &graph.blocks[index].lists);
    let mut places: Vec<Place> = Vec::new();
    let mut items: Vec<Item> = Vec::new();
    let small = |last| Item { width: 18.0, height: 18.0, group: 0, last };
    if frame.is_none() {
        places.push(Place::Start);
        items.push(small(false));
    }
    for (group, list) in lists.iter().enumerate() {
        for index in &list.blocks {
            let (width, height) = blocks[*index].as_ref().map_or((0.0, 0.0), |block| (block.width, block.height));
            places.push(Place::Block(*index));
            items.push(Item { width, height, group, last: false });
        }
    }
    if frame.is_none() {
        places.push(Place::End);
        items.push(small(true));
    }
    let inside = places.len();
    // Ports: one for each place that is left for.
    for part in parts.iter().filter(|part| part.leaves) {
        if let Some(to) = part.to.filter(|to| !places[inside..].contains(to)) {
            places.push(to);
            items.push(Item { width: 8.0, height: 0.0, group: 0, last: true });
        }
    }
    let index: BTreeMap<Place, usize> = places[..inside].iter().enumerate().map(|(at, place)| (*place, at)).collect();
    let mut drawn: Vec<Drawn> = Vec::new();
    for part in parts {
        let from = part.from.and_then(|place| index.get(&place).copied());
        let to = part.to.and_then(|to| match part.leaves {
            true => places[inside..].iter().position(|place| *place == to).map(|at| at + inside),
            false => index.get(&to).copied(),
        });
        let (target, port) = (graph.ways[part.way].to, !part.begins);
        let around = part.from.filter(|_| port).and_then(|place| match place {
            Place::Block(index) => blocks[index].as_ref()?.inner.as_ref(),
            Place::Start | Place::End => None,
        });
        let known = |inner: &Inner| inner.ports.iter().find(|(place, _)| *place == target).map(|(_, offset)| *offset);
        let offset = around.and_then(known).unwrap_or(0.0);
        // What stands on a way stands where it begins.
        let text = if part.begins { label(graph, marks, part.way) } else { None };
        let alike = |d: &&mut Drawn| {
            d.text.is_none() && d.edge.from == from && d.edge.to == to && d.port == port && d.edge.offset == offset
        };
        if let Some(same) = drawn.iter_mut().rev().take(64).find(alike).filter(|_| text.is_none()) {
            same.ways.push(part.way);
            continue;
        }
        let size = text.as_ref().map(|lines| {
            let width = lines.iter().map(|line| wide(line, 11.0, false)).fold(0.0, f64::max);
            (width + 14.0, LABEL_LINE * lines.len() as f64 + 6.0)
        });
        let edge = Edge { from, to, offset, label: size };
        drawn.push(Drawn { edge, ways: vec![part.way], text, leaves: part.leaves, port });
    }
    let edges: Vec<Edge> = drawn.iter().map(|d| d.edge).collect();
    let placed = layout(&items, &edges);
    let (mut leaving, mut coming) = (vec![0; items.len()], vec![0; items.len()]);
    for edge in &edges {
        edge.from.into_iter().for_each(|from| leaving[from] += 1);
        edge.to.into_iter().for_each(|to| coming[to] += 1);
    }
    let (lanes, turns) = (placed.width + LANE, vec![0; items.len()]);
    let mut pen = Pen { items: &items, placed: &placed, leaving, coming, lanes, turns };
    let mut order: Vec<usize> = (0..drawn.len()).collect();
    // Short lines beside the boxes are nearest to them.
    let span = |d: &Drawn| {
        let layer = |at: Option<usize>| at.map_or(0, |at| placed.layer_of[at]);
        layer(d.edge.from).abs_diff(layer(d.edge.to))
    };
    order.sort_by_key(|at| span(&drawn[*at]));
    let mut lines: Vec<(usize, Stroke)> = Vec::new();
    for at in order {
        let line = &mut drawn[at];
        let text = line.text.take();
        let (path, spot) = match &placed.routes[at] {
            Route::Down { by, label } => (pen.down(line, by), *label),
            Route::Beside => pen.beside(line),
        };
        let label = text.zip(spot).zip(line.edge.label).map(|((lines, spot), (width, height))| Label {
            x: spot.x,
            y: f64::midpoint(spot.top, spot.bottom),
            width,
            height,
            lines,
        });
        lines.push((at, Stroke { path, ways: line.ways.clone(), arrow: !line.leaves, label }));
    }
    lines.sort_by_key(|(at, _)| *at);
    let spots = || places.iter().zip(&placed.items);
    let of = |wanted: Place| spots().take(inside).find(|(place, _)| **place == wanted).map(|(_, spot)| *spot);
    let standing = spots().take(inside).filter_map(|(place, spot)| match place {
        Place::Block(index) => Some((*index, *spot)),
        Place::Start | Place::End => None,
    });
    let used = pen.lanes > placed.width + LANE;
    Inner {
        width: if used { pen.lanes } else { placed.width },
        height: placed.height,
        x: 0.0,
        y: 0.0,
        blocks: standing.collect(),
        start: if frame.is_none() { of(Place::Start) } else { None },
        end: if frame.is_none() { of(Place::End) } else { None },
        ports: spots().skip(inside).map(|(place, spot)| (*place, spot.x)).collect(),
        lines: lines.into_iter().map(|(_, line)| line).collect(),
    }
}

/// Draws the lines of a frame.
struct Pen<'l> {
    items: &'l [Item],
    placed: &'l Placed,
    /// How many lines begin and end at each box.
    leaving: Vec<u32>,
    coming: Vec<u32>,
    /// Where the next line beside all boxes runs.
    lanes: f64,
    /// How many lines have turned at each box.
    turns: Vec<u32>,
}

impl Pen<'_> {
    /// The place on a box's edge that is nearest to being in line with `x`, if it meets several lines; else the middle.
    fn edge(&self, item: usize, lines: u32, x: f64) -> f64 {
        let reach = if lines > 1 { self.items[item].width * 0.36 } else { 0.0 };
        let middle = self.placed.items[item].x;
        x.clamp(middle - reach, middle + reach)
    }

    fn down(&self, line: &Drawn, by: &[Spot]) -> String {
        let Edge { from, to, offset, .. } = line.edge;
        let Some(to) = to else { return String::new() };
        let target = self.placed.items[to];
        let next = by.first().map_or(target.x, |spot| spot.x);
        let (x, y, below) = match from {
            // The head of a frame is as wide as the frame: lines begin right above where they lead to.
            None => (by.first().map_or(target.x, |spot| spot.x), -BELOW_HEAD, -BELOW_HEAD),
            Some(from) => {
                let spot = self.placed.items[from];
                let x = if line.port { spot.x + offset } else { self.edge(from, self.leaving[from], next) };
                (x, spot.bottom, self.placed.layers[self.placed.layer_of[from]].bottom)
            }
        };
        let mut path = format!("M{x:.1} {y:.1}");
        let (mut here, mut level) = (x, below.max(y));
        if level > y + 0.1 {
            path.push_str(&format!("V{level:.1}"));
        }
        for spot in by {
            bend(&mut path, &mut here, level, spot.x, spot.top);
            if spot.bottom > spot.top + 0.1 {
                path.push_str(&format!("V{:.1}", spot.bottom));
            }
            level = spot.bottom;
        }
        // A port is where the line goes on; the frame ends a little below.
        let (x, y) =
            if line.leaves { (target.x, target.top) } else { (self.edge(to, self.coming[to], here), target.top) };
        bend(&mut path, &mut here, level, x, y);
        if line.leaves {
            path.push_str(&format!("v{INSET:.1}"));
        }
        path
    }

    /// A line at the right of all boxes, and where its label stands.
    fn beside(&mut self, line: &Drawn) -> (String, Option<Spot>) {
        let Edge { from, to, offset, label } = line.edge;
        let Some(from) = from else { return (String::new(), None) };
        let (room, rise) = label.map_or((0.0, 0.0), |(width, height)| (width / 2.0, height / 2.0));
        let lane = self.lanes + room;
        self.lanes = lane + room + LANE;
        let source = self.placed.items[from];
        let mut corners = Vec::new();
        let turn = self.turn(from);
        if self.placed.free[from] && !line.port {
            let y = f64::midpoint(source.top, source.bottom) + turn;
            corners.extend([(source.x + self.items[from].width / 2.0, y), (lane, y)]);
        } else {
            let layer = self.placed.layers[self.placed.layer_of[from]];
            let (x, y) = (source.x + if line.port { offset } else { 0.0 }, layer.bottom + TURN + turn / 2.0);
            corners.extend([(x, source.bottom), (x, y), (lane, y)]);
        }
        match to {
            None => corners.push((lane, -BELOW_HEAD)),
            Some(to) => {
                let (target, turn) = (self.placed.items[to], self.turn(to));
                if self.placed.free[to] {
                    let y = target.top + ((target.bottom - target.top) / 2.0).min(20.0) + turn;
                    corners.extend([(lane, y), (target.x + self.items[to].width / 2.0, y)]);
                } else {
                    let x = self.edge(to, self.coming[to], target.x + 24.0);
                    let y = target.top - TURN + turn / 2.0;
                    corners.extend([(lane, y), (x, y), (x, target.top)]);
                }
            }
        }
        let (first, last) = corners
            .iter()
            .filter(|(x, _)| *x == lane)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), (_, y)| (a.min(*y), b.max(*y)));
        let middle = f64::midpoint(first, last);
        (rounded(&corners), label.map(|_| Spot { x: lane, top: middle - rise, bottom: middle + rise }))
    }

    /// How far from the middle the next line meets a box that has others already.
    fn turn(&mut self, item: usize) -> f64 {
        self.turns[item] += 1;
        let n = self.turns[item] - 1;
        let step = f64::from(n.div_ceil(2)) * 7.0;
        let most = ((self.placed.items[item].bottom - self.placed.items[item].top) / 2.0 - 6.0).max(0.0);
        if n % 2 == 1 { step.min(most) } else { -step.min(most) }
    }
}

/// From where the line is down to a place further below, leaving and arriving upright.
fn bend(path: &mut String, here: &mut f64, level: f64, x: f64, y: f64) {
    if (*here - x).abs() < 0.6 {
        path.push_str(&format!("V{y:.1}"));
    } else {
        let middle = f64::midpoint(level, y);
        path.push_str(&format!("C{here:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}"));
        *here = x;
    }
}

/// A path with rounded corners.
fn rounded(corners: &[(f64, f64)]) -> String {
    let Some((first, last)) = corners.first().zip(corners.last()) else { return String::new() };
    let mut path = format!("M{:.1} {:.1}", first.0, first.1);
    let toward = |from: (f64, f64), to: (f64, f64)| {
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let step = if length > 0.0 { (length / 2.0).min(8.0) / length } else { 0.0 };
        (from.0 + (to.0 - from.0) * step, from.1 + (to.1 - from.1) * step)
    };
    for three in corners.windows(3) {
        let (before, after) = (toward(three[1], three[0]), toward(three[1], three[2]));
        path.push_str(&format!(
            "L{:.1} {:.1}Q{:.1} {:.1} {:.1} {:.1}",
            before.0, before.1, three[1].0, three[1].1, after.0, after.1
        ));
    }
    path.push_str(&format!("L{:.1} {:.1}", last.0, last.1));
    path
}

/// Whether a line is drawn with dashes: whether all its ways are.
pub(super) fn dashed(graph: &Graph, line: &Stroke) -> bool {
    line.ways.iter().all(|way| matches!(graph.ways[*way].kind, Kind::Error | Kind::Skip))
}
