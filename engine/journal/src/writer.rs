//! The writer: one thread that makes groups durable.
//!
//! ```text
//!   submit ─→ queue ─→ writer thread: take all, write once, sync once ─→ done, for each batch in order
//!               ↑                          │
//!               └── the next group gathers while the sync is under way
//! ```
//!
//! - Nobody polls and nobody sleeps: the thread waits for the queue, and for the disk.
//! - `submit` never blocks; whoever takes work from outside looks at [`Writer::pending_bytes`] and refuses it in time.
//! - A full disk stops the thread, not the promises: the group is kept, tried again with growing pauses (or at once when
//!   told by [`Writer::retry`]), and goes on when there is room. [`Writer::status`] says so meanwhile.
//! - Any other failure poisons the writer: every batch under way and every later one gets the cause.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::chain::Entry;
use crate::error::Error;
use crate::log::{Log, Receipt};

/// How long to wait before a full disk is tried again, at first and at most.
const FULL_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The most bytes in one group. A longer one would keep the first of its batches waiting.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// Entries that are to be durable together with others, and whom to tell.
pub struct Batch {
    /// The entries, in the order in which they are to stand.
    pub entries: Vec<Entry>,
    /// Called on the writer's thread, once: quick, please.
    pub done: Box<dyn FnOnce(Result<Vec<Receipt>, Error>) + Send>,
}

/// How the writer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Well.
    Ok,
    /// The disk is full; what is pending waits for room.
    Full,
    /// A write or a sync failed.
    Poisoned(Arc<str>),
    /// It was told to stop.
    Stopped,
}

impl Status {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        *self == Status::Full
    }
}

/// A handle to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Bytes submitted and not yet durable.
    pending: AtomicUsize,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Queue {
    batches: VecDeque<Batch>,
    status: Status,
    stopping: bool,
    retry_now: bool,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn spawn(log: Log) -> Result<Self, Error> {
        let queue = Queue { batches: VecDeque::new(), status: Status::Ok, stopping: false, retry_now: false };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            pending: AtomicUsize::new(0),
            thread: Mutex::new(None),
        });
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("cpd-journal".to_owned())
            .spawn(move || served.serve(log))
            .map_err(Error::io("start the thread of", "the journal's writer"))?;
        *shared.thread.lock() = Some(thread);
        Ok(Self { shared })
    }

    /// Hands a batch over. Never blocks on the disk.
    pub fn submit(&self, batch: Batch) {
        let bytes: usize = batch.entries.iter().map(Entry::stored_len).sum();
        let mut queue = self.shared.queue.lock();
        let refusal = match &queue.status {
            Status::Poisoned(cause) => Some(Error::Poisoned { cause: cause.clone() }),
            Status::Stopped => Some(Error::Stopped),
            Status::Ok | Status::Full if queue.stopping => Some(Error::Stopped),
            Status::Ok | Status::Full => None,
        };
        if let Some(error) = refusal {
            drop(queue);
            (batch.done)(Err(error));
            return;
        }
        self.shared.pending.fetch_add(bytes, Ordering::Relaxed);
        queue.batches.push_back(batch);
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Bytes submitted and not yet durable.
    pub fn pending_bytes(&self) -> usize {
        self.shared.pending.load(Ordering::Relaxed)
    }

    /// How the writer is.
    pub fn status(&self) -> Status {
        self.shared.queue.lock().status.clone()
    }

    /// Tries a full disk again now.
    pub fn retry(&self) {
        self.shared.queue.lock().retry_now = true;
        self.shared.wake.notify_one();
    }

    /// Writes what was submitted, closes the log in order, and ends the thread.
    pub fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_one();
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}

impl Shared {
    fn serve(&self, mut log: Log) {
        let mut group: Vec<Batch> = Vec::new();
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            if !self.gather(&mut group) {
                break;
            }
            let counts: Vec<usize> = group.iter().map(|b| b.entries.len()).collect();
            entries.clear();
            group.iter_mut().for_each(|b| entries.append(&mut b.entries));
            let bytes: usize = entries.iter().map(Entry::stored_len).sum();
            let result = self.write(&mut log, &entries);
            self.pending.fetch_sub(bytes, Ordering::Relaxed);
            match result {
                Ok(receipts) => {
                    let mut receipts = receipts.into_iter();
                    for (batch, count) in group.drain(..).zip(counts) {
                        (batch.done)(Ok(receipts.by_ref().take(count).collect()));
                    }
                }
                Err(error) => {
                    self.poison(&error, group.drain(..));
                    return;
                }
            }
        }
        self.queue.lock().status = Status::Stopped;
        if let Err(error) = log.close() {
            tracing::warn!(error = %error, "the journal was not marked as closed in order");
        }
    }

    /// Waits for batches; `false` if there will be none.
    fn gather(&self, group: &mut Vec<Batch>) -> bool {
        let mut queue = self.queue.lock();
        while queue.batches.is_empty() {
            if queue.stopping {
                return false;
            }
            self.wake.wait(&mut queue);
        }
        let mut bytes = 0;
        while let Some(batch) = queue.batches.front() {
            bytes += batch.entries.iter().map(Entry::stored_len).sum::<usize>();
            if bytes > GROUP_BYTES_MAX && !group.is_empty() {
                break;
            }
            group.extend(queue.batches.pop_front());
        }
        true
    }

    fn write(&self, log: &mut Log, entries: &[Entry]) -> Result<Vec<Receipt>, Error> {
        let mut receipts = Vec::with_capacity(entries.len());
        let mut pause = FULL_RETRY.0;
        loop {
            match log.append(entries, &mut receipts) {
                Ok(()) => {
                    if pause > FULL_RETRY.0 {
                        self.queue.lock().status = Status::Ok;
                        tracing::info!("there is room on the disk again; the journal goes on");
                    }
                    return Ok(receipts);
                }
                Err(error) if error.is_no_space() => {
                    let mut queue = self.queue.lock();
                    if queue.status == Status::Ok {
                        tracing::error!(error = %error, "the disk is full; nothing is lost, and work goes on when there is room");
                    }
                    queue.status = Status::Full;
                    if queue.stopping {
                        return Err(error);
                    }
                    if !std::mem::take(&mut queue.retry_now) {
                        self.wake.wait_for(&mut queue, pause);
                    }
                    pause = (pause * 2).min(FULL_RETRY.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn poison(&self, error: &Error, group: impl Iterator<Item = Batch>) {
        let mut cause = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            cause = format!("{cause}: {inner}");
            source = inner.source();
        }
        tracing::error!(%cause, "the journal failed; nothing more is written or released");
        let cause: Arc<str> = Arc::from(cause);
        let later = {
            let mut queue = self.queue.lock();
            queue.status = Status::Poisoned(cause.clone());
            std::mem::take(&mut queue.batches)
        };
        for batch in group.chain(later) {
            (batch.done)(Err(Error::Poisoned { cause: cause.clone() }));
        }
    }
}
