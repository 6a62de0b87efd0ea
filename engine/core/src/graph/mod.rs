//! A definition as a picture: which tasks there are, and which ways lead from one to the next.
//!
//! [`Graph::of`] makes the graph of a plan; [`Marks`] lay a run over it. The printers ([`mermaid`], [`dot`], [`svg`], [`to_json`])
//! show it. Everything is in document order, so the same plan gives the same text.
//!
//! - Every task is one [`Block`]. Composite tasks contain blocks: their lists, side by side where they are alternatives
//!   (`catch`) or run together (`fork`).
//! - [`Way`]s lead from block to block. Those that the order of a list implies are there as well as the jumps.

mod build;
pub mod dot;
mod json;
mod marks;
pub mod mermaid;
pub mod svg;

use std::sync::Arc;

use crate::definition::plan::NodeId;

pub use json::to_json;
pub use marks::{Mark, Marks};

/// The longest label, in characters; longer ones are cut.
pub const LABEL_MAX: usize = 60;

/// A definition as a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// `namespace/name version`
    pub title: String,
    /// Every task but the workflow itself, in document order.
    pub blocks: Vec<Block>,
    /// The lists of the workflow itself.
    pub lists: Vec<List>,
    /// The ways between them.
    pub ways: Vec<Way>,
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The task.
    pub node: NodeId,
    /// Its reference, as `/do/0/name`.
    pub pointer: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What it does, in a word: `call`, `set` …
    pub keyword: &'static str,
    /// More about it: the operation, the loop's list, the events that it waits for.
    pub detail: String,
    /// Remarks: `if`, time-out, retries.
    pub remarks: Vec<String>,
    /// The lists inside of it.
    pub lists: Vec<List>,
}

/// Tasks one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// What it is, where that is not plain: `catch`, `before`, a branch.
    pub label: String,
    /// Indexes into [`Graph::blocks`].
    pub blocks: Vec<usize>,
}

/// An end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Where a run begins.
    Start,
    /// A task, by its index in [`Graph::blocks`].
    Block(usize),
    /// Where a run ends.
    End,
}

/// What kind of way it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To what comes next.
    Next,
    /// A case of a `switch`, by its index; the last one past all cases is for when none holds.
    Case(u32),
    /// To what comes next where a task with a `then` of its own is skipped.
    Skip,
    /// Into a list of a composite task.
    Into,
    /// From the last task of a loop's list back to the loop, or out of a composite task's list.
    Back,
    /// To the handler of an error.
    Error,
}

/// A way from one place to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// From where.
    pub from: Place,
    /// To where.
    pub to: Place,
    /// What kind it is.
    pub kind: Kind,
    /// What stands on it.
    pub label: String,
}

/// A text on one line, cut where it is too long.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::new();
    for (count, word) in text.split_whitespace().enumerate() {
        if count > 0 {
            out.push(' ');
        }
        out.push_str(word);
        if out.chars().count() > LABEL_MAX {
            break;
        }
    }
    let out: String = out.chars().filter(|c| !c.is_control()).collect();
    if out.chars().count() <= LABEL_MAX {
        return out;
    }
    out.chars().take(LABEL_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
