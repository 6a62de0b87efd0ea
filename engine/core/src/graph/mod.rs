//! A definition as a picture: which tasks there are, and which ways lead from one to the next.
//!
//! [`Graph::of`] makes the graph of a plan; [`Trace`] follows a run and gives the [`Marks`] that are laid over it. The printers
//! ([`mermaid`], [`dot`], [`svg`], [`to_json`]) show it. Everything is in document order, so the same plan gives the same text.
//!
//! - Every task is one [`Block`]. Composite tasks contain blocks: their lists, side by side where they are alternatives
//!   (`catch`) or run together (`fork`).
//! - A [`Way`] leads from where control is to where it goes next. The last task inside of a composite task leads to what comes
//!   after the composite task, and back to it only if it is a loop; so following the ways is following a run.
//! - A `raise` has no way out: who catches it depends on the error. That a `try` catches is a way from the `try` to its handler.

mod build;
pub mod dot;
mod json;
mod marks;
pub mod mermaid;
mod sketch;
pub mod svg;
mod trace;
mod words;

use std::sync::Arc;

use crate::definition::plan::NodeId;

pub use json::to_json;
pub use marks::{Mark, Marks, State};
pub use trace::Trace;

/// The longest label, in characters; longer ones are cut.
pub const LABEL_MAX: usize = 120;

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
    /// The block that it stands in; `None` for the tasks of the workflow itself.
    pub parent: Option<usize>,
    /// Its reference, as `/do/0/name`. A task and the extensions around it have the same.
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
    /// What it is, where that is not plain: `try`, `catch`, a branch.
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
    /// To what comes next where a task is skipped, if that is elsewhere than where the task leads.
    Skip,
    /// Into a list of a composite task.
    Into,
    /// From the end of a loop's list back to the loop.
    Back,
    /// To what handles an error.
    Error,
}

impl Kind {
    /// Whether it is drawn with dashes: not what the author wrote the list for.
    fn dashed(self) -> bool {
        matches!(self, Kind::Error | Kind::Skip)
    }
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

impl Block {
    /// What it does, in a few words.
    fn what(&self) -> String {
        if self.detail.is_empty() { self.keyword.to_owned() } else { format!("{} {}", self.keyword, self.detail) }
    }

    /// Whether there are tasks inside of it.
    fn contains(&self) -> bool {
        self.lists.iter().any(|list| !list.blocks.is_empty())
    }
}

#[cfg(test)]
mod tests;
