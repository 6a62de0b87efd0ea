//! Group commit: one thread owns the [`Log`], everyone else hands it batches.
//!
//! ```text
//!   shard ──┐ submit: push, wake if asleep
//!   shard ──┼──► queue ──► writer thread: take all ─► stage ─► one write ─► one sync ─► done(…) for each batch ─► again
//!   shard ──┘                                            └ while this runs, the next group gathers in the queue
//! ```
//!
//! - There is one sync for each group, however many batches are in it, and no timer: a lone batch is written at once.
//! - Nobody is blocked: [`Writer::submit`] only pushes. The queue is bounded by its callers, who look at [`Writer::pending_bytes`] or use
//!   [`Writer::try_submit`], and turn new work away where it comes in. Work that was begun can always write its outcome.
//! - Batches are written in the order in which they were submitted. The entries of a batch stand one behind the other, and each is atomic; the
//!   batch as a whole is not.
//! - *Full:* if there is no room, what is prepared for the next segment is given up. If that does not help, the group stays in memory and is tried again, at growing distances of up to a second, until there is; nothing
//!   is lost or reordered. [`Status::Full`] says so.
//! - *Poisoned:* after any other failure nothing is written any more, and each batch that is pending or comes later is answered with it. Whether
//!   the records of such a batch exist is open until the journal is opened again.
//! - A batch refused with [`Error::OutOfOrder`], [`Error::TooLarge`] or [`Error::Illegal`] leaves no trace.
//!
//! `done` runs on the writer thread, after the sync, and holds up the next group: it should pass the news on and return. If it panics, the writer
//! goes on, and counts. It must not wait for the writer ([`Writer::append`], [`Writer::prune`]): that would wait for itself.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::chain::Entry;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::ids::Lsn;
use crate::log::{Log, Published, Receipt, reserve};
use crate::reader::Reader;

/// Is told what became of a batch: one receipt for each entry, in order.
pub type Done = Box<dyn FnOnce(Result<Vec<Receipt>>) + Send>;

/// Is told something on the writer thread.
pub type Hook<T> = Arc<dyn Fn(T) + Send + Sync>;

/// Entries to be written, and whom to tell.
pub struct Batch {
    /// In the order in which they shall stand.
    pub entries: Vec<Entry>,
    /// Called once, on the writer thread; on the caller's own if the writer is closed already.
    pub done: Done,
}

/// How the writer is doing.
#[derive(Clone, Debug)]
pub enum Status {
    /// It writes.
    Ok,
    /// It waits for room on the disk.
    Full,
    /// It has failed and writes nothing more.
    Poisoned(Arc<Error>),
    /// It was closed.
    Closed,
}

/// How a writer works.
#[derive(Clone)]
pub struct WriterOptions {
    /// From how many pending bytes on [`Writer::try_submit`] refuses.
    pub pending_bytes_max: u64,
    /// How long a group becomes at most, unless a single batch is longer. Bounds the time of one sync.
    pub group_bytes_max: u64,
    /// Told of each change of the status.
    pub on_status: Option<Hook<Status>>,
    /// Told the next record's number after each group, for those who follow the journal.
    pub on_durable: Option<Hook<Lsn>>,
    /// Told of each group that was written.
    pub on_group: Option<OnGroup>,
}

/// Who is told of the groups, and how they are measured.
#[derive(Clone)]
pub struct OnGroup {
    /// A stopwatch, in microseconds.
    pub stopwatch: fn() -> u64,
    /// Told of each group after it is durable and its batches have been answered.
    pub told: Hook<Group>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            pending_bytes_max: 64 << 20,
            group_bytes_max: 8 << 20,
            on_status: None,
            on_durable: None,
            on_group: None,
        }
    }
}

/// A group that was written, and is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its batches.
    pub batches: u64,
    /// Its entries.
    pub entries: u64,
    /// Its bytes.
    pub bytes: u64,
    /// How long the write and the sync took; with the wait for room, if there was one.
    pub took: Duration,
}

/// What a writer has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups written; each took one sync.
    pub groups: u64,
    /// Batches written.
    pub batches: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes written, headers included.
    pub bytes: u64,
    /// Attempts that found no room.
    pub full: u64,
    /// Calls of `done` or of a hook that panicked.
    pub panics: u64,
}

/// A handle to the thread that writes the journal. Clones are the same writer; it stops with the last of them.
#[derive(Clone)]
pub struct Writer {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
    files: Arc<dyn Files>,
}

struct Shared {
    options: WriterOptions,
    queue: Mutex<Queue>,
    wake: Condvar,
    stop: Condvar,
    pending_bytes: AtomicU64,
    status: Mutex<Status>,
    published: Arc<Published>,
    counters: Counters,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    asleep: bool,
    stopping: bool,
    stopped: bool,
}

enum Work {
    Batch { entries: Vec<Entry>, bytes: u64, done: Done },
    Prune { before: Lsn, done: Box<dyn FnOnce(Result<Lsn>) + Send> },
}

#[derive(Default)]
struct Counters {
    groups: AtomicU64,
    batches: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    full: AtomicU64,
    panics: AtomicU64,
}

impl Writer {
    /// Starts the thread.
    pub fn spawn(log: Log) -> Result<Self> {
        Self::spawn_with(log, WriterOptions::default())
    }

    /// Starts the thread.
    pub fn spawn_with(log: Log, options: WriterOptions) -> Result<Self> {
        let shared = Arc::new(Shared {
            options,
            queue: Mutex::default(),
            wake: Condvar::new(),
            stop: Condvar::new(),
            pending_bytes: AtomicU64::new(0),
            status: Mutex::new(log.poisoned().map_or(Status::Ok, Status::Poisoned)),
            published: Arc::clone(log.published()),
            counters: Counters::default(),
        });
        let files = Arc::clone(log.files());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("journal-writer".into()).spawn(move || run(log, &theirs));
        let thread = thread.map_err(|e| Error::io("start a thread for", "the writer", e))?;
        Ok(Self { handle: Arc::new(Handle { shared, thread: Mutex::new(Some(thread)), files }) })
    }

    /// Hands a batch over. Never blocks, and never refuses; see the module's documentation for what bounds the queue.
    pub fn submit(&self, batch: Batch) {
        let Batch { entries, done } = batch;
        let bytes = entries.iter().map(Entry::bytes).sum();
        self.shared().pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.push(Work::Batch { entries, bytes, done });
    }

    /// Hands a batch over unless more than [`WriterOptions::pending_bytes_max`] are pending already, or the writer is not [`Status::Ok`].
    /// Gives the batch back if it does not.
    pub fn try_submit(&self, batch: Batch) -> Result<(), Batch> {
        let busy = self.pending_bytes() > self.shared().options.pending_bytes_max;
        if busy || !matches!(self.status(), Status::Ok) {
            return Err(batch);
        }
        self.submit(batch);
        Ok(())
    }

    /// Hands entries over and waits until they are durable. Not for an async task.
    pub fn append(&self, entries: Vec<Entry>) -> Result<Vec<Receipt>> {
        self.wait_for(|done| self.submit(Batch { entries, done }))
    }

    /// Drops old segments, see [`Log::prune`], and waits until that is done.
    pub fn prune(&self, before: Lsn) -> Result<Lsn> {
        self.wait_for(|done| self.push(Work::Prune { before, done }))
    }

    /// Returns the size of the entries that were submitted and not yet answered.
    pub fn pending_bytes(&self) -> u64 {
        self.shared().pending_bytes.load(Ordering::Relaxed)
    }

    /// Returns how the writer is doing.
    pub fn status(&self) -> Status {
        self.shared().status.lock().clone()
    }

    /// Returns what the writer has done.
    pub fn stats(&self) -> Stats {
        let Counters { groups, batches, entries, bytes, full, panics } = &self.shared().counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            groups: get(groups),
            batches: get(batches),
            entries: get(entries),
            bytes: get(bytes),
            full: get(full),
            panics: get(panics),
        }
    }

    /// Returns the number of the record that comes after all that are durable.
    pub fn durable(&self) -> Lsn {
        self.shared().published.next()
    }

    /// Returns a reader that sees what is durable, now and later.
    pub fn reader(&self) -> Reader {
        Reader::bounded(Arc::clone(&self.handle.files), Arc::clone(&self.shared().published))
    }

    /// Writes what is pending, closes the log in order, and joins the thread. What is submitted afterwards is answered with [`Error::Closed`].
    ///
    /// While the disk is full, what is pending is answered with [`Error::ClosedWhileFull`]. Calling it again, or from the writer thread, only
    /// asks the writer to stop.
    pub fn close(&self) -> Result<()> {
        self.handle.stop()
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    fn push(&self, work: Work) {
        let shared = self.shared();
        let mut queue = shared.queue.lock();
        if queue.stopped {
            drop(queue);
            shared.answer(work, &Error::Closed);
            return;
        }
        queue.work.push_back(work);
        if std::mem::take(&mut queue.asleep) {
            drop(queue);
            shared.wake.notify_one();
        }
    }

    fn wait_for<T: Send + 'static>(&self, send: impl FnOnce(Box<dyn FnOnce(Result<T>) + Send>)) -> Result<T> {
        let (tell, told) = mpsc::sync_channel(1);
        // The receiver waits below, so the message cannot fail to arrive.
        send(Box::new(move |outcome| drop(tell.send(outcome))));
        told.recv().unwrap_or(Err(Error::Closed))
    }
}

impl Handle {
    fn stop(&self) -> Result<()> {
        {
            let mut queue = self.shared.queue.lock();
            queue.stopping = true;
            queue.asleep = false;
        }
        self.shared.wake.notify_one();
        self.shared.stop.notify_one();
        let mut slot = self.thread.lock();
        match slot.take() {
            // A callback that held the last handle runs on the thread itself; it ends after this.
            Some(thread) if thread.thread().id() == thread::current().id() => {
                *slot = Some(thread);
                Ok(())
            }
            Some(thread) => {
                drop(slot);
                thread.join().unwrap_or(Err(Error::Closed))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What failed has been told to whom it concerned.
        drop(self.stop());
    }
}

impl Shared {
    fn set_status(&self, status: Status) {
        *self.status.lock() = status.clone();
        if let Some(hook) = &self.options.on_status {
            self.guarded(|| hook(status));
        }
    }

    /// Runs foreign code on the writer thread.
    fn guarded(&self, call: impl FnOnce()) {
        // The call's own state is its owner's; nothing of ours is inside.
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answer(&self, work: Work, error: &Error) {
        match work {
            Work::Batch { bytes, done, .. } => self.finish(bytes, done, Err(error.clone())),
            Work::Prune { done, .. } => self.guarded(|| done(Err(error.clone()))),
        }
    }

    fn finish(&self, bytes: u64, done: Done, outcome: Result<Vec<Receipt>>) {
        self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.guarded(|| done(outcome));
    }
}

/// A batch that is staged.
struct Staged {
    bytes: u64,
    done: Done,
    receipts: Vec<Receipt>,
}

/// The thread: serves the queue until it is told to stop and the queue is empty.
fn run(mut log: Log, shared: &Shared) -> Result<()> {
    let mut work = VecDeque::new();
    let mut group = Vec::new();
    while next_work(shared, &mut work) {
        let served = catch_unwind(AssertUnwindSafe(|| serve(&mut log, shared, &mut work, &mut group)));
        if served.is_err() {
            // A bug in here: stop writing, but never leave a caller without an answer.
            let cause = Arc::new(Error::Illegal("the writer has panicked"));
            let error = Error::Poisoned { cause: Arc::clone(&cause) };
            shared.set_status(Status::Poisoned(cause));
            group.drain(..).for_each(|Staged { bytes, done, .. }| shared.finish(bytes, done, Err(error.clone())));
            return refuse_forever(shared, work, &error);
        }
    }
    let closed = log.close();
    shared.set_status(Status::Closed);
    closed
}

/// Waits for work; false if there will be none.
fn next_work(shared: &Shared, work: &mut VecDeque<Work>) -> bool {
    let mut queue = shared.queue.lock();
    while queue.work.is_empty() {
        if queue.stopping {
            queue.stopped = true;
            return false;
        }
        queue.asleep = true;
        shared.wake.wait(&mut queue);
    }
    queue.asleep = false;
    std::mem::swap(&mut queue.work, work);
    true
}

fn refuse_forever(shared: &Shared, mut work: VecDeque<Work>, error: &Error) -> Result<()> {
    loop {
        work.drain(..).for_each(|item| shared.answer(item, error));
        if !next_work(shared, &mut work) {
            return Err(error.clone());
        }
    }
}

/// Writes everything in `work`, in groups.
fn serve(log: &mut Log, shared: &Shared, work: &mut VecDeque<Work>, group: &mut Vec<Staged>) {
    while let Some(item) = work.pop_front() {
        match item {
            Work::Batch { entries, bytes, done } => match log.check().and_then(|()| reserve(&entries)) {
                Ok(_) => add(log, shared, group, &entries, bytes, done),
                Err(error) => shared.finish(bytes, done, Err(error)),
            },
            Work::Prune { before, done } => {
                commit(log, shared, group);
                let outcome = log.prune(before);
                publish_poison(log, shared);
                shared.guarded(|| done(outcome));
            }
        }
    }
    commit(log, shared, group);
    if shared.queue.lock().work.is_empty() {
        // Nobody waits: the time to write down what was promised.
        drop(log.write_mark());
        publish_poison(log, shared);
    }
}

/// Adds a batch to the group, after committing the group if it does not fit.
fn add(log: &mut Log, shared: &Shared, group: &mut Vec<Staged>, entries: &[Entry], bytes: u64, done: Done) {
    let fits = log.fits(bytes);
    if !fits || log.staged().saturating_add(bytes) > shared.options.group_bytes_max {
        commit(log, shared, group);
    }
    // Committed or not, the group is empty now if the batch did not fit.
    if !fits && let Err(error) = patiently(log, shared, |log| log.roll(bytes)) {
        shared.finish(bytes, done, Err(error));
        return;
    }
    let receipts = entries.iter().map(|entry| log.stage(entry)).collect();
    group.push(Staged { bytes, done, receipts });
}

/// Commits the group and answers its batches.
fn commit(log: &mut Log, shared: &Shared, group: &mut Vec<Staged>) {
    if group.is_empty() {
        return;
    }
    let bytes = log.staged();
    let begin = shared.options.on_group.as_ref().map(|hook| (hook.stopwatch)());
    match patiently(log, shared, Log::commit) {
        Ok(()) => {
            let Counters { groups, batches, entries, bytes: counted, .. } = &shared.counters;
            groups.fetch_add(1, Ordering::Relaxed);
            batches.fetch_add(group.len() as u64, Ordering::Relaxed);
            let written = group.iter().map(|staged| staged.receipts.len() as u64).sum();
            entries.fetch_add(written, Ordering::Relaxed);
            let seen = shared.options.on_group.as_ref().zip(begin).map(|(hook, begin)| {
                let took = Duration::from_micros((hook.stopwatch)().saturating_sub(begin));
                (hook, Group { batches: group.len() as u64, entries: written, bytes, took })
            });
            counted.fetch_add(bytes, Ordering::Relaxed);
            group.drain(..).for_each(|Staged { bytes, done, receipts }| shared.finish(bytes, done, Ok(receipts)));
            if let Some((hook, seen)) = seen {
                shared.guarded(|| (hook.told)(seen));
            }
            if let Some(hook) = &shared.options.on_durable {
                shared.guarded(|| hook(log.next()));
            }
        }
        Err(error) => {
            group.drain(..).for_each(|Staged { bytes, done, .. }| shared.finish(bytes, done, Err(error.clone())))
        }
    }
}

/// Does something with the log, and while there is no room for it, again.
fn patiently(log: &mut Log, shared: &Shared, mut act: impl FnMut(&mut Log) -> Result<()>) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    let mut full = false;
    loop {
        match act(log) {
            Ok(()) => {
                if full {
                    shared.set_status(Status::Ok);
                }
                return Ok(());
            }
            Err(error) if error.is_no_space() && log.give_up_spare() => {}
            Err(error) if error.is_no_space() => {
                shared.counters.full.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut full, true) {
                    shared.set_status(Status::Full);
                }
                let mut queue = shared.queue.lock();
                if !queue.stopping {
                    shared.stop.wait_for(&mut queue, pause);
                }
                if queue.stopping {
                    drop(queue);
                    log.abandon(Error::ClosedWhileFull);
                    return Err(Error::ClosedWhileFull);
                }
                pause = (pause * 2).min(LAST_PAUSE);
            }
            Err(error) => {
                publish_poison(log, shared);
                return Err(log.check().err().unwrap_or(error));
            }
        }
    }
}

fn publish_poison(log: &Log, shared: &Shared) {
    if let Some(cause) = log.poisoned()
        && !matches!(*shared.status.lock(), Status::Poisoned(_))
    {
        shared.set_status(Status::Poisoned(cause));
    }
}

/// Room comes back when a person or a rotation makes it: at once at first, then at a pace that costs nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);
