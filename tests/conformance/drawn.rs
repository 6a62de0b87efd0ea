//! What holds for the drawing of any definition and any run.
//!
//! `CPD_DRAWINGS=DIR` keeps the drawings, to be looked at or given to what shall read them.

use std::collections::{BTreeMap, BTreeSet};

use cpd_core::definition::plan::{NodeId, Plan};
use cpd_core::graph::{Graph, Marks, Place, State, Way, dot, mermaid, svg, to_json};
use cpd_engine::History;

/// Draws a run and its definition.
///
/// # Errors
/// What does not hold.
pub fn drawn(history: &History) -> Result<(), String> {
    let plan = history.fold().map_err(|e| e.to_string())?.plan;
    let graph = Graph::of(&plan);
    complete(&graph, &plan)?;
    readable(&graph, None)?;
    // Activations of each task, as the machine numbers them.
    let mut acts: BTreeMap<NodeId, BTreeSet<u32>> = BTreeMap::new();
    let run = history.each(|run, _, _| {
        for act in &run.acts {
            acts.entry(act.node).or_default().insert(act.id.0);
        }
    });
    let run = run.map_err(|e| e.to_string())?;
    let (same, marks) = history.graph().map_err(|e| e.to_string())?;
    if same != graph {
        return Err("a run has another graph than its definition".to_owned());
    }
    for (index, block) in graph.blocks.iter().enumerate() {
        let begun = u32::try_from(acts.get(&block.node).map_or(0, BTreeSet::len)).unwrap_or(u32::MAX);
        let inside = |place: Place| match place {
            Place::Block(inner) => around(&graph, inner).any(|outer| outer == index),
            Place::Start | Place::End => false,
        };
        // What leads back to a loop from inside begins nothing.
        let into = |way: &Way| way.to == Place::Block(index) && !inside(way.from);
        let went: Vec<u32> =
            graph.ways.iter().enumerate().filter(|(_, way)| into(way)).map(|(number, _)| marks.went(number)).collect();
        // Branches come together: several ways may lead to one activation, but each only once.
        let most = went.iter().copied().max().unwrap_or(0);
        if most > begun || (begun > 0 && went.iter().sum::<u32>() < begun) {
            return Err(format!("{} began {begun} times, by ways that were taken {went:?} times", block.pointer));
        }
        let mark = marks.of(index);
        if mark.taken + mark.skipped > begun {
            return Err(format!("{} began {begun} times: {mark:?}", block.pointer));
        }
        let open = matches!(mark.state, State::Running | State::Waiting);
        if (mark.state == State::Untouched) != (begun == 0) || (open && !run.is_open()) {
            return Err(format!("{} began {begun} times in a run that is {}: {mark:?}", block.pointer, marks.phase));
        }
    }
    let to_end = graph.ways.iter().enumerate().filter(|(_, way)| way.to == Place::End);
    let ended: u32 = to_end.map(|(number, _)| marks.went(number)).sum();
    if (ended > 0) != (marks.phase == "completed") {
        return Err(format!("a run that is {} went to the end {ended} times", marks.phase));
    }
    readable(&graph, Some(&marks))
}

/// The blocks around a block, the innermost first.
fn around(graph: &Graph, block: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(graph.blocks[block].parent, |outer| graph.blocks[*outer].parent)
}

/// Every task is there once, in one list, and every way has its ends.
fn complete(graph: &Graph, plan: &Plan) -> Result<(), String> {
    let mut nodes: Vec<NodeId> = graph.blocks.iter().map(|block| block.node).collect();
    nodes.sort();
    if !nodes.iter().copied().eq(plan.nodes.iter().skip(1).map(|node| node.id)) {
        return Err(format!("tasks {nodes:?} are drawn"));
    }
    let lists = graph.lists.iter().chain(graph.blocks.iter().flat_map(|block| &block.lists));
    let mut listed: Vec<usize> = lists.flat_map(|list| list.blocks.iter().copied()).collect();
    listed.sort_unstable();
    if !listed.into_iter().eq(0..graph.blocks.len()) {
        return Err("a task stands in no list, or in two".to_owned());
    }
    for way in &graph.ways {
        let there = |place: Place| !matches!(place, Place::Block(index) if index >= graph.blocks.len());
        if !there(way.from) || !there(way.to) || way.from == Place::End || way.to == Place::Start {
            return Err(format!("a way without an end: {way:?}"));
        }
    }
    // Only an error leads on from a `raise`.
    for (index, block) in graph.blocks.iter().enumerate() {
        let leads_on = graph.ways.iter().any(|way| way.from == Place::Block(index));
        let raises = block.keyword == "raise" && !block.remarks.iter().any(|remark| remark.starts_with("if "));
        if leads_on == raises {
            return Err(format!("{} is a dead end, or a `raise` that is none", block.pointer));
        }
    }
    Ok(())
}

/// What is printed can be read by what it is for, as far as can be told without that.
fn readable(graph: &Graph, marks: Option<&Marks>) -> Result<(), String> {
    let (svg, mermaid, dot) = (svg::print(graph, marks), mermaid::print(graph, marks), dot::print(graph, marks));
    well_formed(&svg).map_err(|what| format!("{what} in\n{svg}"))?;
    // Places are numbers: an unknown one would be written as a word.
    let word = |place: &str| place.starts_with(|c: char| c.is_ascii_alphabetic()) || place.starts_with("-i");
    if ["x", "y", "width", "height", "cx", "cy"].iter().any(|at| svg.split(&format!(" {at}=\"")).skip(1).any(word)) {
        return Err(format!("a place that is no number in\n{svg}"));
    }
    let boxes = |text: &str, one: &dyn Fn(usize) -> [String; 2]| {
        (0..graph.blocks.len()).find(|index| !one(*index).iter().any(|mark| text.contains(mark.as_str())))
    };
    let missing = boxes(&mermaid, &|index| [format!(" t{index}"), format!("subgraph f{index}[")])
        .or(boxes(&dot, &|index| [format!(" t{index} ["), format!("cluster_{index} ")]));
    let drawn = svg.matches("<g class=\"plain\"").count();
    if let Some(index) = missing {
        return Err(format!("{} is not drawn", graph.blocks[index].pointer));
    }
    if marks.is_none() && drawn != graph.blocks.len() {
        return Err(format!("{drawn} of {} tasks are drawn in\n{svg}", graph.blocks.len()));
    }
    let starts = mermaid.lines().filter(|line| line.trim_start().starts_with("subgraph ")).count();
    let ends = mermaid.lines().filter(|line| line.trim() == "end").count();
    let quotes = mermaid.lines().skip(3).all(|line| matches!(line.matches('"').count(), 0 | 2));
    if starts != ends || !quotes {
        return Err(format!("quotes or frames are open in\n{mermaid}"));
    }
    let data = to_json(graph, marks);
    let tasks = data.get("tasks").and_then(|tasks| tasks.as_array()).map_or(0, <[_]>::len);
    if tasks != graph.blocks.len() {
        return Err(format!("{tasks} tasks in the data, expected {}", graph.blocks.len()));
    }
    if let Some(dir) = std::env::var_os("CPD_DRAWINGS") {
        keep(std::path::Path::new(&dir), &[("svg", &svg), ("mmd", &mermaid), ("dot", &dot)]);
    }
    Ok(())
}

fn keep(dir: &std::path::Path, drawings: &[(&str, &str)]) {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    for (kind, text) in drawings {
        // Runs differ in their ids and times only: one of each is enough.
        let same: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let mut hash = DefaultHasher::new();
        same.hash(&mut hash);
        std::fs::write(dir.join(format!("{:016x}.{kind}", hash.finish())), text).expect("a drawing can be kept");
    }
}

/// Checks that a text is well-formed XML, as far as it is used here: elements, attributes, text, the five entities.
///
/// # Errors
/// What is wrong with it.
pub fn well_formed(text: &str) -> Result<(), String> {
    let plain = |text: &str| {
        let known = |rest: &str| ["amp;", "lt;", "gt;", "quot;", "apos;"].iter().any(|e| rest.starts_with(e));
        let entities = text.split('&').skip(1).all(known);
        let control = text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
        if entities && !control { Ok(()) } else { Err(format!("a text that XML does not have: {text:?}")) }
    };
    let mut open: Vec<&str> = Vec::new();
    let mut roots = 0;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        plain(before)?;
        if open.is_empty() && !before.trim().is_empty() {
            return Err(format!("text outside of the root: {before:?}"));
        }
        let (tag, after) = after.split_once('>').ok_or("a tag without an end")?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(format!("an element of the name {name:?}"));
        }
        let mut seen = BTreeSet::new();
        while !attributes.trim_start().is_empty() {
            let (key, value) =
                attributes.trim_start().split_once("=\"").ok_or(format!("no attribute: {attributes:?}"))?;
            let (value, more) = value.split_once('"').ok_or(format!("an open attribute: {value:?}"))?;
            plain(value)?;
            if !seen.insert(key) || key.contains(char::is_whitespace) {
                return Err(format!("the attribute {key:?} twice, or none"));
            }
            attributes = more;
        }
        roots += usize::from(open.is_empty());
        if !empty {
            open.push(name);
        }
    }
    match (open.last(), roots, rest.trim()) {
        (None, 1, "") => Ok(()),
        other => Err(format!("it does not end as it should: {other:?}")),
    }
}

#[test]
fn what_is_not_xml_is_told() {
    well_formed("<a b=\"c &lt; d\"><e/>text &amp; text<f>x</f></a>\n").expect("XML");
    for wrong in [
        "<a>",
        "<a></b>",
        "<a b=c/>",
        "<a b=\"1\" b=\"2\"/>",
        "<a>&x;</a>",
        "<a/><b/>",
        "x<a/>",
        "<a>\u{7}</a>",
        "<a <b/>",
    ] {
        assert!(well_formed(wrong).is_err(), "{wrong}");
    }
}
