//! What a run has done, laid over the graph of its definition.

use std::sync::Arc;
use std::time::Duration;

use crate::machine::RunId;
use crate::time::Timestamp;

/// What a run has done with a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {
    /// How often it began.
    pub taken: u32,
    /// How often it was skipped, because its `if` did not hold.
    pub skipped: u32,
    /// How often it was tried again.
    pub retried: u32,
    /// How often it ended with an error, caught or not.
    pub failed: u32,
    /// How often it caught an error.
    pub caught: u32,
    /// How often it was ended because the run, or what it stood in, did not need it any more.
    pub cancelled: u32,
    /// What became of it last.
    pub state: State,
    /// What it does now or waits for, in a few words.
    pub now: Option<String>,
    /// The last error that it ended with.
    pub problem: Option<String>,
    /// How long all its activations that are over took together.
    pub took: Duration,
}

/// What became of a task last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The run did not come to it.
    #[default]
    Untouched,
    /// It is done.
    Taken,
    /// It is done, after it was tried again.
    Retried,
    /// Its `if` did not hold.
    Skipped,
    /// It ended with an error, which something around it caught.
    Caught,
    /// It ended with an error that nothing caught, or has not yet been caught.
    Failed,
    /// It was ended from outside.
    Cancelled,
    /// It is under way.
    Running,
    /// It waits for a time, an event, or a person.
    Waiting,
}

impl State {
    /// Every state, in the order of a legend.
    pub const ALL: [State; 9] = [
        State::Taken,
        State::Retried,
        State::Running,
        State::Waiting,
        State::Failed,
        State::Caught,
        State::Cancelled,
        State::Skipped,
        State::Untouched,
    ];

    /// The state in a word.
    pub fn name(self) -> &'static str {
        match self {
            State::Untouched => "untouched",
            State::Taken => "taken",
            State::Retried => "retried",
            State::Skipped => "skipped",
            State::Caught => "caught",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Running => "running",
            State::Waiting => "waiting",
        }
    }

    /// What the word means, for a legend.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            State::Untouched => "not reached",
            State::Taken => "done",
            State::Retried => "done after retries",
            State::Skipped => "skipped",
            State::Caught => "failed, caught",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Running => "running",
            State::Waiting => "waiting",
        }
    }

    /// A sign, for those who do not see the colour.
    pub(super) fn sign(self) -> &'static str {
        match self {
            State::Untouched => "",
            State::Taken => "✓",
            State::Retried => "↻",
            State::Skipped => "–",
            State::Caught => "!",
            State::Failed => "✗",
            State::Cancelled => "⊘",
            State::Running => "▸",
            State::Waiting => "◷",
        }
    }
}

impl Mark {
    /// In a few words, with the numbers that are not plain.
    pub fn words(&self) -> Vec<String> {
        let times = |n: u32, what: &str| match n {
            0 => None,
            1 => Some(what.to_owned()),
            n => Some(format!("{what} {n} times")),
        };
        let taken = (self.taken > 1).then(|| format!("taken {} times", self.taken));
        let took =
            (self.took >= Duration::from_millis(1)).then(|| format!("took {}", super::words::elapsed(self.took)));
        let counts = [
            taken,
            times(self.skipped, "skipped"),
            times(self.retried, "retried"),
            times(self.failed, "failed"),
            times(self.caught, "error caught"),
            times(self.cancelled, "cancelled"),
            took,
        ];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let counts = Some(counts.join(", ")).filter(|c| !c.is_empty());
        [counts, self.problem.clone(), self.now.clone()].into_iter().flatten().collect()
    }
}

/// A run, as it is laid over a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Marks {
    /// Which run.
    pub run: RunId,
    /// The run's phase: `running`, `completed` …
    pub phase: &'static str,
    /// Why it faulted or was cancelled.
    pub reason: Option<Arc<str>>,
    /// When it started.
    pub started: Timestamp,
    /// When its last event was.
    pub last: Timestamp,
    /// By block.
    pub(super) blocks: Vec<Mark>,
    /// How often it went each way.
    pub(super) ways: Vec<u32>,
}

impl Marks {
    /// What the run has done with a block.
    pub fn of(&self, block: usize) -> &Mark {
        &self.blocks[block]
    }

    /// How often the run went a way, by its index in [`super::Graph::ways`].
    pub fn went(&self, way: usize) -> u32 {
        self.ways[way]
    }

    /// Which run it is and how it stands, and when that was, in a line each.
    pub(super) fn lines(&self) -> [String; 2] {
        let second = |at: Timestamp| at.to_string().get(..19).unwrap_or_default().replace('T', " ");
        let reason = self.reason.as_ref().map_or_else(String::new, |r| format!(": {}", super::words::line(r)));
        let took = super::words::elapsed(self.last.since(self.started));
        let (started, last) = (second(self.started), second(self.last));
        let open = matches!(self.phase, "running" | "paused");
        let end = if open { "last event" } else { "ended" };
        [
            format!("run {}: {}{reason}", self.run, self.phase),
            format!("started {started} UTC, {end} {last} UTC ({took})"),
        ]
    }
}
