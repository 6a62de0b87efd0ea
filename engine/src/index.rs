//! What the index knows, and how it is made from the journal.
//!
//! The index is a convenience: every row can be made again from the log, and is, when the index is missing or will not
//! open. It is written in the background, in batches, by one thread, and carries the lsn up to which it is true.
//!
//! | space | key | value |
//! |---|---|---|
//! | `RUNS` | run id | [`RunRow`] |
//! | `OPEN` | run id | [`OpenRow`]: the run has not ended |
//! | `KEYS` | hash of workflow and start key | run id |
//! | `SNAPSHOTS` | run id | the state of a long open run, see [`crate::snapshot`] |
//! | `META` | `format` | the number of this form |
//! | `META` | `registry` | position of the last registration |
//! | `META` | `tokens`, `audit` | positions of the last entries of those streams, see [`crate::control`] |

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use cpd_core::machine::{CallPhase, Phase, Run, RunId, Wait};
use cpd_core::time::Timestamp;
use cpd_journal::index::{Batch, Index, IndexError, Space};
use cpd_journal::record::{Kind, v1};
use cpd_journal::{Lsn, Position, Reader, Record, StoredEntry};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::codec::DecodeError;
use crate::error::Error;
use crate::shard::RunMap;
use crate::snapshot::{self, SNAPSHOTS, Source};

/// Rows of runs.
pub(crate) const RUNS: Space = Space(1);
/// Open runs.
pub(crate) const OPEN: Space = Space(2);
/// Start keys.
pub(crate) const KEYS: Space = Space(3);
/// Everything else.
pub(crate) const META: Space = Space(4);
/// Key in [`META`]: the number of the form that rows have.
pub(crate) const FORMAT: &[u8] = b"format";
/// The form of this file. An index of any other form is made again from the log.
pub(crate) const FORMAT_NUMBER: u32 = 6;
/// Key in [`META`]: the identity of the journal that the index is of.
pub(crate) const JOURNAL: &[u8] = b"journal";
/// Key in [`META`]: position of the last registration.
pub(crate) const REGISTRY_LAST: &[u8] = b"registry";
/// Key in [`META`]: position of the last entry about tokens.
pub(crate) const TOKENS_LAST: &[u8] = b"tokens";
/// Key in [`META`]: position of the last entry of the audit.
pub(crate) const AUDIT_LAST: &[u8] = b"audit";

/// Rows are written together when this much time has passed since the first of them, so that a short run costs one row.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// … or when this many are waiting.
const ROWS_MAX: usize = 20_000;

/// What the index knows of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// `namespace/name` of its workflow.
    pub workflow: String,
    /// The workflow's version.
    pub version: String,
    /// Digest of the plan that it is pinned to.
    pub plan: [u8; 32],
    /// The run's phase: `running`, `paused`, `completed`, `faulted`, `cancelled`.
    pub phase: RowPhase,
    /// When it started, in microseconds since the epoch.
    pub started_at: i64,
    /// When its last entry was written.
    pub updated_at: i64,
    /// Where its last entry is.
    pub last: u64,
    /// What wakes it; `None` after a recovery that has only the log: the run must be folded to know.
    pub wake: Option<RowWake>,
    /// The key that it was started with.
    pub key: Option<String>,
}

/// A phase, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowPhase {
    /// Open and going on.
    Running,
    /// Open and paused.
    Paused,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Faulted,
    /// Was cancelled.
    Cancelled,
    /// Its history is being copied; what a crash leaves of that is no run.
    Forming,
}

impl RowPhase {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            RowPhase::Running => "running",
            RowPhase::Paused => "paused",
            RowPhase::Completed => "completed",
            RowPhase::Faulted => "faulted",
            RowPhase::Cancelled => "cancelled",
            RowPhase::Forming => "forming",
        }
    }

    /// Whether the run has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, RowPhase::Running | RowPhase::Paused)
    }

    fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Running => RowPhase::Running,
            Phase::Paused => RowPhase::Paused,
            Phase::Completed { .. } => RowPhase::Completed,
            Phase::Faulted { .. } => RowPhase::Faulted,
            Phase::Cancelled { .. } => RowPhase::Cancelled,
        }
    }
}

/// What wakes an open run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowWake {
    /// Its next timer, in microseconds since the epoch.
    pub timer: Option<i64>,
    /// Whether it has calls in flight or more to do at once: recovery must load it.
    pub busy: bool,
    /// The number of what it waits for in [`Wait::ALL`]; `None` if it has ended.
    pub wait: Option<u8>,
}

impl RowWake {
    /// What it waits for, for counting.
    pub(crate) fn wait(self) -> Option<Wait> {
        self.wait.and_then(|number| Wait::ALL.get(usize::from(number)).copied())
    }
}

/// What a start needs to know of an open run. It stands in a space of its own, so that a start reads the rows of the runs
/// that are open, one behind the other, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenRow {
    /// Where its last entry is.
    pub last: u64,
    /// Digest of its plan.
    pub plan: [u8; 32],
    /// Its phase.
    pub phase: RowPhase,
    /// What wakes it, as in [`RunRow`].
    pub wake: Option<RowWake>,
}

impl OpenRow {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        cpd_journal::codec::decode(bytes, crate::codec::PAYLOAD_MAX).ok()
    }
}

impl RunRow {
    /// Whether it is a run, and not what a crash left of one that was being made.
    pub(crate) fn is_there(&self) -> bool {
        self.phase != RowPhase::Forming
    }

    /// The row of a run after an entry.
    pub(crate) fn of(run: &Run, at: Timestamp, last: Position) -> Self {
        let busy = run.has_more()
            || run.publications().next().is_some()
            || run.calls().any(|(_, c)| matches!(c.phase, CallPhase::InFlight | CallPhase::Reconciling(_)));
        Self {
            workflow: run.plan.qualified_name().to_string(),
            version: run.plan.version.to_string(),
            plan: run.plan.digest.0,
            phase: RowPhase::of(&run.phase),
            started_at: run.started_at.0,
            updated_at: at.0,
            last: last.0,
            wake: Some(RowWake { timer: run.next_wake().map(|t| t.0), busy, wait: run.wait().map(|w| w as u8) }),
            key: None,
        }
    }
}

/// The key under which a start key is found.
pub(crate) fn start_key(workflow: &str, key: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"cpd start key 1\0");
    hash.update(workflow.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    hash.finalize()[..16].try_into().expect("32 bytes have 16")
}

/// The struct in a record, whatever documents it refers to.
fn head<'r, T: Deserialize<'r>>(id: RunId, record: &Record<'r>) -> Result<T, Error> {
    let malformed = |detail: String| {
        let kind = Kind(record.kind).name().unwrap_or("?");
        Error::Unreadable { run: id, source: Arc::new(DecodeError::Malformed { kind, detail }) }
    };
    if record.version != v1::VERSION {
        return Err(malformed(format!("version {} is newer than this cpd", record.version)));
    }
    cpd_journal::codec::decode(record.payload, crate::codec::PAYLOAD_MAX).map_err(|e| malformed(e.to_string()))
}

/// Whether an entry is the first of its run, so that no row can be known.
fn begins(entry: &StoredEntry) -> bool {
    entry.records().next().is_some_and(|r| matches!(Kind(r.kind), Kind::RUN_STARTED | Kind::RUN_SHARED))
}

/// What an entry of a run does to its row, from the log alone.
pub(crate) fn project(row: Option<RunRow>, id: RunId, entry: &StoredEntry) -> Result<Option<RunRow>, Error> {
    let mut row = row;
    for record in entry.records() {
        let phase = match Kind(record.kind) {
            Kind::RUN_STARTED | Kind::RUN_SHARED => {
                let v1::RunStarted { plan, workflow, version, key, .. } = head(id, &record)?;
                row = Some(RunRow {
                    workflow: workflow.into_owned(),
                    version: version.into_owned(),
                    plan,
                    phase: match Kind(record.kind) {
                        Kind::RUN_SHARED => RowPhase::Forming,
                        _ => RowPhase::Running,
                    },
                    started_at: entry.at(),
                    updated_at: entry.at(),
                    last: entry.position().0,
                    wake: None,
                    key: key.map(Cow::into_owned),
                });
                continue;
            }
            Kind::RUN_MIGRATED => {
                let v1::RunMigrated { plan, version, .. } = head(id, &record)?;
                if let Some(row) = &mut row {
                    (row.plan, row.version) = (plan, version.into_owned());
                }
                continue;
            }
            Kind::RUN_FORKED => {
                let v1::RunForked { run, .. } = head(id, &record)?;
                if run != id.0 {
                    // The origin was a fork itself.
                    continue;
                }
                RowPhase::Running
            }
            // What the origin of a fork went through on the way is not the fork's.
            _ if row.as_ref().is_some_and(|r| r.phase == RowPhase::Forming) => continue,
            Kind::RUN_PAUSED => RowPhase::Paused,
            Kind::RUN_RESUMED => RowPhase::Running,
            Kind::RUN_COMPLETED => RowPhase::Completed,
            Kind::RUN_FAULTED => RowPhase::Faulted,
            Kind::RUN_CANCELLED => RowPhase::Cancelled,
            _ => continue,
        };
        if let Some(row) = &mut row {
            row.phase = phase;
        }
    }
    if let Some(row) = &mut row {
        row.updated_at = entry.at();
        row.last = entry.position().0;
        row.wake = None;
    }
    Ok(row)
}

/// Rows that a shard hands over after a batch is durable.
pub(crate) struct IndexUpdate {
    /// First lsn of the batch.
    pub first: Lsn,
    /// The lsn after its last record.
    pub end: Lsn,
    /// The rows.
    pub rows: Vec<(RunId, RunRow)>,
    /// Start keys of runs whose start is in the batch. They come with the rows: a key in the index always has its run, and
    /// a run that the index has seen always has its key.
    pub keys: Vec<([u8; 16], RunId)>,
    /// Runs that have ended and may have a snapshot.
    pub ended: Vec<RunId>,
}

enum ToIndexer {
    Update(IndexUpdate),
    /// An entry of a control stream, by its key in [`META`].
    Control(&'static [u8], Position, Lsn, Lsn),
    Snapshot(Box<Source>),
    Flush(Sender<()>),
}

/// The thread that writes the index.
pub(crate) struct Indexer {
    tx: Mutex<Option<Sender<ToIndexer>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Set when the index could not be written, such as on a full disk: it stays as it is until the next start.
    behind: Arc<AtomicBool>,
}

impl Indexer {
    pub(crate) fn spawn(index: Arc<dyn Index>, applied: Lsn) -> std::io::Result<Self> {
        let (tx, rx) = channel();
        let behind = Arc::new(AtomicBool::new(false));
        let state = State {
            index,
            applied,
            ahead: BTreeMap::new(),
            rows: RunMap::default(),
            keys: Vec::new(),
            controls: BTreeMap::new(),
            snapshots: RunMap::default(),
            written: RunMap::default(),
            behind: behind.clone(),
        };
        let thread = std::thread::Builder::new().name("cpd-index".to_owned()).spawn(move || state.serve(&rx))?;
        Ok(Self { tx: Mutex::new(Some(tx)), thread: Mutex::new(Some(thread)), behind })
    }

    pub(crate) fn update(&self, update: IndexUpdate) {
        self.send(ToIndexer::Update(update));
    }

    pub(crate) fn registered(&self, last: Position, first: Lsn, end: Lsn) {
        self.control(REGISTRY_LAST, last, first, end);
    }

    /// Notes where the last entry of a control stream is; `key` is the stream's in [`META`].
    pub(crate) fn control(&self, key: &'static [u8], last: Position, first: Lsn, end: Lsn) {
        self.send(ToIndexer::Control(key, last, first, end));
    }

    /// Writes a snapshot with the next rows.
    pub(crate) fn snapshot(&self, source: Source) {
        self.send(ToIndexer::Snapshot(Box::new(source)));
    }

    /// Writes everything that was handed over so far.
    pub(crate) fn flush(&self) {
        let (tx, rx) = channel();
        self.send(ToIndexer::Flush(tx));
        // If the thread is gone there is nothing to wait for.
        rx.recv().ok();
    }

    /// The row of a run, also if the index could not be written any more: then the log after it is read. Flush first.
    pub(crate) fn row(&self, index: &dyn Index, reader: &Reader, id: RunId) -> Result<Option<RunRow>, Error> {
        let mut row = index.get(RUNS, &id.0)?.and_then(|bytes| read_row(&bytes));
        if self.behind.load(Ordering::Acquire) {
            for entry in reader.scan(Lsn(index.applied()?.0 + 1))? {
                let entry = entry?;
                if entry.stream().0 == id.0 {
                    row = project(row, id, &entry)?;
                }
            }
        }
        Ok(row)
    }

    /// Whether the index could not be written any more.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// Writes everything and ends the thread.
    pub(crate) fn stop(&self) {
        drop(self.tx.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the index writer panicked; the index will be caught up at the next start");
        }
    }

    fn send(&self, message: ToIndexer) {
        if let Some(tx) = &*self.tx.lock() {
            // A failed send means that the thread gave up on the index; it has said so.
            tx.send(message).ok();
        }
    }
}

struct State {
    index: Arc<dyn Index>,
    /// Everything before this lsn is in the index or in `rows`.
    applied: Lsn,
    /// Batches that came before one with a lower lsn: first → end.
    ahead: BTreeMap<Lsn, Lsn>,
    rows: RunMap<RunRow>,
    keys: Vec<([u8; 16], RunId)>,
    /// Positions of the last entries of control streams, by their keys in [`META`].
    controls: BTreeMap<&'static [u8], Position>,
    /// States to be written down; `None` for one to be forgotten.
    snapshots: RunMap<Option<Box<Source>>>,
    /// Events and bytes of the snapshots of open runs that this process has written.
    written: RunMap<(u64, u64)>,
    behind: Arc<AtomicBool>,
}

impl State {
    fn serve(mut self, rx: &Receiver<ToIndexer>) {
        loop {
            let idle =
                self.rows.is_empty() && self.keys.is_empty() && self.controls.is_empty() && self.snapshots.is_empty();
            let message =
                if idle { rx.recv().map_err(|_| RecvTimeoutError::Disconnected) } else { rx.recv_timeout(FLUSH_AFTER) };
            let flushed = match message {
                Ok(message) => {
                    let reply = self.take(message);
                    let full = self.rows.len() >= ROWS_MAX;
                    let result = if full || reply.is_some() { self.flush() } else { Ok(()) };
                    if let Some(reply) = reply {
                        reply.send(()).ok();
                    }
                    result
                }
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.flush() {
                        tracing::warn!(error = %error, "the index was not written; it will be caught up at the next start");
                    }
                    return;
                }
            };
            if let Err(error) = flushed {
                self.behind.store(true, Ordering::Release);
                tracing::error!(error = %error, "the index cannot be written; it will be caught up or rebuilt at the next start");
                return;
            }
        }
    }

    fn take(&mut self, message: ToIndexer) -> Option<Sender<()>> {
        match message {
            ToIndexer::Update(update) => {
                self.cover(update.first, update.end);
                self.rows.extend(update.rows);
                self.keys.extend(update.keys);
                self.snapshots.extend(update.ended.into_iter().map(|id| (id, None)));
            }
            ToIndexer::Snapshot(source) => {
                self.snapshots.insert(source.run.id, Some(source));
            }
            ToIndexer::Control(key, last, first, end) => {
                self.cover(first, end);
                self.controls.insert(key, last);
            }
            ToIndexer::Flush(reply) => return Some(reply),
        }
        None
    }

    fn cover(&mut self, first: Lsn, end: Lsn) {
        self.ahead.insert(first, end);
        while let Some(end) = self.ahead.remove(&self.applied) {
            self.applied = end;
        }
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        let mut batch = Batch::new();
        batch.applied(before(self.applied));
        for (id, row) in self.rows.drain() {
            put_row(&mut batch, id, &row);
        }
        for (key, run) in self.keys.drain(..) {
            batch.put(KEYS, key, run.0);
        }
        for (key, last) in std::mem::take(&mut self.controls) {
            batch.put(META, key, last.0.to_le_bytes());
        }
        for (id, source) in self.snapshots.drain() {
            let Some(source) = source else {
                self.written.remove(&id);
                batch.delete(SNAPSHOTS, id.0);
                continue;
            };
            let (events, bytes) = self.written.get(&id).copied().unwrap_or_default();
            if source.run.events.saturating_sub(events).saturating_mul(snapshot::BYTES_PER_EVENT) < bytes {
                continue;
            }
            if let Some(bytes) = snapshot::encode(&source) {
                self.written.insert(id, (source.run.events, bytes.len() as u64));
                batch.put(SNAPSHOTS, id.0, bytes);
            }
        }
        self.index.write(batch)
    }
}

/// Puts a run's row, and whether it is open.
pub(crate) fn put_row(batch: &mut Batch, id: RunId, row: &RunRow) {
    let mut bytes = Vec::with_capacity(96);
    cpd_journal::codec::encode(row, &mut bytes).expect("a row has a form that the format holds");
    batch.put(RUNS, id.0, bytes);
    if row.phase.is_open() {
        let mut open = Vec::with_capacity(24);
        cpd_journal::codec::encode(
            &OpenRow { last: row.last, plan: row.plan, phase: row.phase, wake: row.wake },
            &mut open,
        )
        .expect("a row has a form that the format holds");
        batch.put(OPEN, id.0, open);
    } else {
        batch.delete(OPEN, id.0);
    }
}

/// Reads a row.
pub(crate) fn read_row(bytes: &[u8]) -> Option<RunRow> {
    cpd_journal::codec::decode(bytes, crate::codec::PAYLOAD_MAX).ok()
}

/// The key in [`META`] of the control stream that an entry belongs to; `None` for runs.
pub(crate) fn control_key(entry: &StoredEntry) -> Option<&'static [u8]> {
    if crate::registry::is_registry(entry) {
        return Some(REGISTRY_LAST);
    }
    match entry.stream() {
        crate::control::TOKENS => Some(TOKENS_LAST),
        crate::control::AUDIT => Some(AUDIT_LAST),
        _ => None,
    }
}

/// The record before the one with that number.
fn before(next: Lsn) -> Lsn {
    Lsn(next.0.saturating_sub(1))
}

/// Brings an index up to the end of the log.
pub(crate) fn catch_up(index: &dyn Index, reader: &Reader, from: Lsn) -> Result<(Lsn, usize), Error> {
    let mut rows: RunMap<RunRow> = RunMap::default();
    let (mut applied, mut entries) = (from, 0);
    let mut batch = Batch::new();
    for entry in reader.scan(from)? {
        let entry = entry?;
        applied = entry.next_lsn();
        entries += 1;
        let id = RunId(entry.stream().0);
        if let Some(key) = control_key(&entry) {
            batch.put(META, key, entry.position().0.to_le_bytes());
            continue;
        }
        let known = match rows.remove(&id) {
            Some(row) => Some(row),
            None if begins(&entry) => None,
            None => index.get(RUNS, &id.0)?.and_then(|bytes| read_row(&bytes)),
        };
        let fresh = known.is_none();
        if let Some(row) = project(known, id, &entry)? {
            if fresh && let Some(key) = &row.key {
                batch.put(KEYS, start_key(&row.workflow, key), id.0);
            }
            if !row.phase.is_open() {
                batch.delete(SNAPSHOTS, id.0);
            }
            rows.insert(id, row);
        }
        if rows.len() >= ROWS_MAX {
            let mut full = std::mem::take(&mut batch);
            full.applied(before(applied));
            rows.drain().for_each(|(id, row)| put_row(&mut full, id, &row));
            index.write(full)?;
        }
    }
    batch.applied(before(applied));
    rows.drain().for_each(|(id, row)| put_row(&mut batch, id, &row));
    index.write(batch)?;
    Ok((applied, entries))
}
