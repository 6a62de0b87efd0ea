//! What can be seen of a working engine: every durable entry, every call, every timer, every group of the journal, and how
//! many runs wait for what.
//!
//! Whoever watches is called where the thing happens, so it must be quick and must not block. Without an observer none of
//! this is measured; what [`Engine::status`] says is counted always, and costs an atomic when a run begins to wait for
//! something else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cpd_core::machine::turn::CallOutcome;
use cpd_core::machine::{Event, Input, Run, RunId, Wait};
use cpd_core::time::Timestamp;
use cpd_journal::{Group, OnGroup, Status, WriterStats};

use crate::clock::stopwatch;
use crate::engine::{Engine, Shared};
use crate::error::Error;

/// Sees what happens in an engine. Must be quick: it is called on the tasks and threads that do the work.
pub trait Observer: Send + Sync + 'static {
    /// An entry of a run is durable: `events` are those of it, the first with the given `seq`, written at `at`; `run` is
    /// the state after them. Called on the shard's task.
    fn observe(&self, run: &Run, at: Timestamp, seq: u64, events: &[Event]);

    /// A call of a connector has come back. Called on the task that made it.
    fn called(&self, call: &Called) {
        let _ = call;
    }

    /// A timer fired so much later than it was set for. Called on the shard's task.
    fn fired(&self, late: Duration) {
        let _ = late;
    }

    /// A group of entries was written and synced. Called on the journal's thread.
    fn synced(&self, group: &Group) {
        let _ = group;
    }
}

/// A call of a connector that has come back.
#[derive(Clone, Debug)]
pub struct Called {
    /// The operation, such as `http.get`.
    pub operation: Arc<str>,
    /// The run.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The task's reference, such as `/do/0/measure`.
    pub task: Arc<str>,
    /// The idempotency key.
    pub key: Arc<str>,
    /// Which attempt.
    pub attempt: u32,
    /// Whether the connector was only asked what became of an earlier call.
    pub reconcile: bool,
    /// From the turn that decided it to the moment when the connector was asked: the sync, and the shard's queue.
    pub queued: Duration,
    /// When the connector was asked.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// `succeeded`, `refused`, `failed`, `unknown`; `not-happened` if a connector says so of an earlier call.
    pub outcome: &'static str,
}

/// Measures one call, if somebody watches.
pub(crate) struct Watch {
    observer: Arc<dyn Observer>,
    called: Called,
    begin: u64,
}

impl Watch {
    /// Begins to measure the call of a request, which was decided at `at`.
    pub(crate) fn of(
        shared: &Shared,
        run: &Run,
        request: &cpd_connector_api::Request,
        reconcile: bool,
        at: Timestamp,
    ) -> Option<Self> {
        let observer = shared.observer.clone()?;
        let began = shared.clock.now();
        let called = Called {
            operation: request.operation.clone(),
            run: run.id,
            workflow: request.workflow.clone(),
            task: request.task.clone(),
            key: request.key.clone(),
            attempt: request.attempt,
            reconcile,
            queued: began.since(at),
            began,
            took: Duration::ZERO,
            outcome: "unknown",
        };
        Some(Self { observer, called, begin: stopwatch() })
    }

    /// Tells how it ended.
    pub(crate) fn ended(mut self, input: &Input) {
        self.called.took = Duration::from_micros(stopwatch().saturating_sub(self.begin));
        self.called.outcome = match input {
            Input::Outcome { outcome, .. } | Input::Reconciled { outcome: Some(outcome), .. } => match outcome {
                CallOutcome::Succeeded { .. } => "succeeded",
                CallOutcome::Refused(_) => "refused",
                CallOutcome::Failed { .. } => "failed",
                CallOutcome::Unknown(_) => "unknown",
            },
            Input::Reconciled { outcome: None, .. } => "not-happened",
            _ => return,
        };
        if crate::shard::guarded(|| self.observer.called(&self.called)).is_err() {
            tracing::error!(run = %self.called.run, "the observer panicked; the run goes on");
        }
    }
}

/// Several observers are one.
pub(crate) struct Several(pub(crate) Vec<Arc<dyn Observer>>);

impl Several {
    pub(crate) fn of(mut observers: Vec<Arc<dyn Observer>>) -> Option<Arc<dyn Observer>> {
        match observers.len() {
            0 | 1 => observers.pop(),
            _ => Some(Arc::new(Several(observers))),
        }
    }
}

impl Observer for Several {
    fn observe(&self, run: &Run, at: Timestamp, seq: u64, events: &[Event]) {
        self.0.iter().for_each(|o| o.observe(run, at, seq, events));
    }
    fn called(&self, call: &Called) {
        self.0.iter().for_each(|o| o.called(call));
    }
    fn fired(&self, late: Duration) {
        self.0.iter().for_each(|o| o.fired(late));
    }
    fn synced(&self, group: &Group) {
        self.0.iter().for_each(|o| o.synced(group));
    }
}

/// What the journal is to tell an observer of its groups.
pub(crate) fn on_group(observer: Option<&Arc<dyn Observer>>) -> Option<OnGroup> {
    let observer = observer?.clone();
    Some(OnGroup { stopwatch, told: Arc::new(move |group| observer.synced(&group)) })
}

/// How many open runs wait for what.
#[derive(Debug, Default)]
pub(crate) struct Census([AtomicI64; Wait::ALL.len()]);

impl Census {
    /// A run waits for something else now, has begun, or has ended.
    pub(crate) fn moved(&self, from: Option<Wait>, to: Option<Wait>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.0[from as usize].fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(to) = to {
            self.0[to as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> BTreeMap<Wait, u64> {
        let count = |wait: Wait| u64::try_from(self.0[wait as usize].load(Ordering::Relaxed)).unwrap_or(0);
        Wait::ALL.into_iter().map(|wait| (wait, count(wait))).collect()
    }
}

/// How an engine is doing.
#[derive(Clone, Debug)]
pub struct EngineStatus {
    /// Open runs by what they wait for; every kind is there.
    pub open: BTreeMap<Wait, u64>,
    /// Runs that are set aside because a bug in this program stopped them.
    pub set_aside: usize,
    /// Whether the journal writes, waits for room, or has failed.
    pub journal: Status,
    /// What the journal's thread has done since the engine was opened.
    pub written: WriterStats,
    /// Bytes that were submitted and are not durable yet.
    pub pending_bytes: u64,
    /// Files of the journal.
    pub segments: usize,
    /// Bytes of those files.
    pub journal_bytes: u64,
    /// Whether the index could not be written and is behind until the next start.
    pub index_behind: bool,
}

impl Engine {
    /// How it is doing. Looks at the files of the journal, so it is not for an async task that must not wait for a disk.
    ///
    /// # Errors
    /// If the files of the journal cannot be listed.
    pub fn status(&self) -> Result<EngineStatus, Error> {
        let shared = self.shared();
        let segments = shared.reader.segments()?;
        Ok(EngineStatus {
            open: shared.census.counts(),
            set_aside: self.set_aside().len(),
            journal: shared.writer.status(),
            written: shared.writer.stats(),
            pending_bytes: shared.writer.pending_bytes(),
            segments: segments.len(),
            journal_bytes: segments.iter().map(|s| s.bytes).sum(),
            index_behind: shared.indexer.is_behind(),
        })
    }
}
