//! What a run has done, laid over the graph of its definition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Graph, Kind, Place, Way};
use crate::machine::{Event, Phase, Run};

/// What a run has done with a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How often it began.
    pub taken: u32,
    /// How often it was skipped, because its `if` did not hold.
    pub skipped: u32,
    /// How often it was tried again.
    pub retried: u32,
    /// How often it ended with an error.
    pub failed: u32,
    /// How often it caught an error.
    pub caught: u32,
    /// Whether the run waits for it now.
    pub waiting: bool,
}

impl Mark {
    /// In a word: what matters most now.
    pub fn state(&self) -> &'static str {
        match self {
            Mark { waiting: true, .. } => "waiting",
            Mark { failed: 1.., taken, .. } if self.failed >= *taken => "failed",
            Mark { taken: 1.., retried: 1.., .. } => "retried",
            Mark { taken: 1.., .. } => "taken",
            Mark { skipped: 1.., .. } => "skipped",
            _ => "untouched",
        }
    }

    /// In a few words, with the numbers that are not plain.
    pub fn words(&self) -> Vec<String> {
        let times = |n: u32, what: &str| match n {
            0 => None,
            1 => Some(what.to_owned()),
            n => Some(format!("{what} {n} times")),
        };
        let taken = (self.taken > 1).then(|| format!("taken {} times", self.taken));
        let waiting = self.waiting.then(|| "waiting".to_owned());
        [
            taken,
            times(self.skipped, "skipped"),
            times(self.retried, "retried"),
            times(self.failed, "failed"),
            times(self.caught, "error caught"),
            waiting,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A run, as it is laid over a graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// By the task's reference.
    tasks: BTreeMap<Arc<str>, Mark>,
    cases: BTreeSet<(Arc<str>, u32)>,
    /// The run's phase: `running`, `completed` …
    pub phase: &'static str,
    ended: bool,
}

impl Marks {
    /// Takes an event of the run, with the reference of the task that it is about.
    pub fn event(&mut self, task: Option<&Arc<str>>, event: &Event) {
        let Some(task) = task else { return };
        let mark = self.tasks.entry(task.clone()).or_default();
        match event {
            Event::TaskSkipped { .. } => mark.skipped += 1,
            Event::TaskEntered { .. }
            | Event::TaskReturned { .. }
            | Event::EventEmitted { .. }
            | Event::PolicyDecided { .. }
            | Event::TaskStarted { .. }
            | Event::WaitStarted { .. }
            | Event::ListenStarted { .. }
            | Event::ApprovalRequested { .. } => mark.taken += 1,
            Event::CaseTaken { case, .. } => {
                mark.taken += 1;
                self.cases.insert((task.clone(), case.unwrap_or(u32::MAX)));
            }
            Event::TaskRetried { .. } | Event::TryRetried { .. } => mark.retried += 1,
            Event::TaskRefused { .. } | Event::TaskFailed { .. } | Event::DeadlinePassed { attempt: false, .. } => {
                mark.failed += 1;
            }
            Event::TaskFaulted { .. } => {
                // A `raise`, or a task that could not begin, has no other event.
                mark.taken = mark.taken.max(1);
                mark.failed += 1;
            }
            Event::ErrorCaught { .. } => mark.caught += 1,
            _ => {}
        }
    }

    /// What the run is at now.
    pub fn state(&mut self, run: &Run) {
        self.phase = run.phase.name();
        self.ended = matches!(run.phase, Phase::Completed { .. });
        for act in &run.acts {
            let node = run.node_of(act);
            let composite = run.acts.iter().any(|other| other.parent == Some(act.id));
            if !composite && node.parent.is_some() {
                self.tasks.entry(node.pointer.clone()).or_default().waiting = true;
            }
        }
    }

    /// What the run has done with a block.
    pub fn of(&self, graph: &Graph, block: usize) -> Mark {
        self.tasks.get(&graph.blocks[block].pointer).copied().unwrap_or_default()
    }

    /// Whether the run went that way.
    pub fn went(&self, graph: &Graph, way: &Way) -> bool {
        let reached = |place: Place| match place {
            Place::Start => true,
            Place::End => self.ended,
            Place::Block(index) => {
                let mark = self.of(graph, index);
                mark.taken + mark.skipped > 0 || mark.waiting
            }
        };
        // That it was left, and not only entered, by an ordinary way.
        let left = |place: Place| match place {
            Place::Block(index) => {
                let mark = self.of(graph, index);
                mark.taken > mark.failed + u32::from(mark.waiting) || mark.caught > 0
            }
            Place::Start | Place::End => true,
        };
        let skipped = |place: Place| matches!(place, Place::Block(index) if self.of(graph, index).skipped > 0);
        let bypass = graph.ways.iter().any(|w| w.from == way.from && w.kind == Kind::Skip);
        match (way.kind, way.from) {
            (Kind::Case(number), Place::Block(index)) => {
                let block = &graph.blocks[index];
                let cases = graph.ways.iter().filter(|w| w.from == way.from && matches!(w.kind, Kind::Case(_))).count();
                let none = number as usize + 1 == cases && way.label == "none holds";
                let taken = if none { u32::MAX } else { number };
                self.cases.contains(&(block.pointer.clone(), taken))
            }
            (Kind::Error, Place::Block(index)) => self.of(graph, index).caught > 0 && reached(way.to),
            (Kind::Into, from) => reached(from) && reached(way.to),
            (Kind::Skip, from) => skipped(from) && reached(way.to),
            (Kind::Next | Kind::Back, from) => (left(from) || (skipped(from) && !bypass)) && reached(way.to),
            (Kind::Case(_) | Kind::Error, _) => false,
        }
    }
}
