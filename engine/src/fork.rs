//! Forks: runs that share the history of another one up to a point and go on from there by themselves.
//!
//! The shared events are copied with their times, so a fork can be replayed, exported and read without its origin. What the
//! origin did up to there is not done again: outcomes are in the history, and effects that were under way keep the keys that
//! the origin gave them. Whatever begins after the fork is the fork's own and has keys of its own.

use std::sync::Arc;

use cpd_core::Value;
use cpd_core::machine::{ActId, Event, Run, RunId, Status};
use cpd_core::time::Timestamp;
use cpd_journal::payloads::Payloads;
use cpd_journal::record::{Kind, v1};
use cpd_journal::{Batch, Chain, EntryBuilder, Lsn, StoredEntry, StreamId};

use crate::codec;
use crate::engine::{Engine, RunHandle};
use crate::error::Error;
use crate::index::{IndexUpdate, RunRow};
use crate::load;
use crate::shard::Message;

/// Where a fork leaves the history of its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// After that many events.
    Seq(u64),
    /// Before the task of that name or reference began for the last time.
    Task(String),
    /// Before the task whose error ended the run began for the last time.
    Failure,
}

/// A point in a history.
struct Cut {
    /// How many events are shared.
    seq: u64,
    /// The state there.
    run: Run,
}

impl Engine {
    /// Starts a run that shares the history of `origin` up to a point, and goes on from there; `input` is what the next task
    /// begins with instead. When this returns, the fork is durable.
    ///
    /// # Errors
    /// If there is no such run or no such point in it, the run had ended there, or `input` is given and no task is about to
    /// begin.
    pub async fn fork(
        &self,
        origin: RunId,
        from: &From,
        input: Option<Value>,
        actor: &str,
    ) -> Result<RunHandle, Error> {
        let shared = self.shared();
        shared.indexer.flush();
        let row = shared.indexer.row(&*shared.index()?, &shared.reader, origin)?;
        let row = row.filter(RunRow::is_there).ok_or(Error::NoOpenRun { run: origin })?;
        let entries = shared.reader.history(cpd_journal::Position(row.last))?;
        let Cut { seq, mut run } = self.cut(origin, &entries, from)?;

        let now = shared.clock.now();
        let id = RunId::new(now, self.run_id_bytes());
        let event = Event::RunForked { origin, seq, run: id, input, actor: Arc::from(actor) };
        run.apply(&event, now, &mut Vec::new())
            .map_err(|misfit| Error::NoFork { run: origin, why: misfit.to_string() })?;
        let mut copied = copy(id, &entries, seq, &shared.payloads)?;
        let mut builder = EntryBuilder::new(&copied.chain, now.as_micros());
        let mut payload = Vec::new();
        let kind = codec::encode(&event, &mut payload, &shared.payloads);
        builder.push(kind.0, v1::VERSION, &payload);
        let (entry, _) = builder.finish()?;
        copied.entries.push(entry);

        let (done, written) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| drop(done.send(result)));
        shared.writer.submit(Batch { entries: copied.entries, done });
        let receipts = written.await.map_err(|_| Error::Stopped)??;
        let (Some(first), Some(last)) = (receipts.first(), receipts.last()) else { return Err(Error::Stopped) };
        shared.indexer.update(IndexUpdate {
            first: first.lsn,
            end: Lsn(last.lsn.0 + 1),
            rows: vec![(id, RunRow::of(&run, now, last.position))],
            keys: Vec::new(),
            ended: Vec::new(),
        });
        let listens = Some(run.plan.clone()).filter(|plan| plan.listens());
        self.tell(id, Message::Adopt { run: id, last: last.position, wake: None, load: true, wait: None, listens })?;
        Ok(self.run(id))
    }

    /// Goes on with a run that faulted, from the task whose error ended it, in a run of its own.
    ///
    /// # Errors
    /// If there is no such run, or it has not faulted.
    pub async fn retry(&self, run: RunId, actor: &str) -> Result<RunHandle, Error> {
        self.fork(run, &From::Failure, None, actor).await
    }

    /// Finds the point, and the state there.
    fn cut(&self, origin: RunId, entries: &[StoredEntry], from: &From) -> Result<Cut, Error> {
        let refuse = |why: String| Error::NoFork { run: origin, why };
        let seq = match from {
            From::Seq(seq) => *seq,
            From::Task(task) => self
                .last_begin(origin, entries, |run, act| {
                    let node = run.act(act).map(|a| run.node_of(a));
                    node.is_some_and(|n| *n.pointer == **task || *n.name == **task)
                })?
                .ok_or_else(|| {
                    refuse(format!("no task {task:?} has begun in it; `cpd show {origin}` lists its tasks"))
                })?,
            From::Failure => {
                let failed = self.failed_act(origin, entries)?;
                let failed = failed.ok_or_else(|| refuse("it has not faulted".to_owned()))?;
                self.last_begin(origin, entries, |_, act| act == failed)?
                    .ok_or_else(|| refuse("the workflow itself failed, and no task of it".to_owned()))?
            }
        };
        let mut left = seq;
        let mut state = None;
        self.walk(origin, entries, |run, _, _| {
            left = left.saturating_sub(1);
            if left == 0 {
                state = Some(run.clone());
            }
            left > 0
        })?;
        match state {
            Some(run) if seq > 0 && run.is_open() => Ok(Cut { seq, run }),
            Some(run) if seq > 0 => Err(refuse(format!("after its event {seq} it is {} already", run.phase.name()))),
            _ => Err(refuse(format!("it has no event {seq} to go on from"))),
        }
    }

    /// How many events stand before the one with which an act that is looked for began, the last of them.
    fn last_begin(
        &self,
        origin: RunId,
        entries: &[StoredEntry],
        wanted: impl Fn(&Run, ActId) -> bool,
    ) -> Result<Option<u64>, Error> {
        let (mut before, mut found) = (0, None);
        let mut ready: Vec<ActId> = Vec::new();
        self.walk(origin, entries, |run, event, _| {
            // What was ready before this event and began with it.
            if let Some(act) = event.act().filter(|act| ready.contains(act)) {
                ready.retain(|a| *a != act);
                found = Some(before);
            }
            before += 1;
            let now = run.acts.iter().filter(|a| matches!(a.status, Status::Ready) && a.parent.is_some());
            ready = now.map(|a| a.id).filter(|id| wanted(run, *id)).collect();
            true
        })?;
        Ok(found)
    }

    /// The act whose error ended the run.
    fn failed_act(&self, origin: RunId, entries: &[StoredEntry]) -> Result<Option<ActId>, Error> {
        let (mut failing, mut failed) = (None, None);
        self.walk(origin, entries, |run, event, _| {
            if let Event::RunFaulted { .. } = event {
                failed = failing;
            }
            let now = run.acts.iter().find(|a| matches!(a.status, Status::Failing { .. }));
            failing = now.map(|a| a.id);
            true
        })?;
        Ok(failed)
    }

    /// Folds a history event by event, until told to stop.
    fn walk(
        &self,
        origin: RunId,
        entries: &[StoredEntry],
        mut see: impl FnMut(&Run, &Event, Timestamp) -> bool,
    ) -> Result<(), Error> {
        let moved = load::migrated(entries.iter().rev().flat_map(StoredEntry::records).map(|r| (r.kind, r.payload)));
        let mut run: Option<Run> = None;
        let mut commands = Vec::new();
        for entry in entries {
            let at = Timestamp(entry.at());
            for event in load::events(origin, entry, &self.shared().payloads)? {
                let run = match &mut run {
                    None => run.insert(load::begin(&self.shared().registry, origin, &event, at, moved)?),
                    Some(run) => {
                        run.apply(&event, at, &mut commands)
                            .map_err(|misfit| Error::Unfoldable { run: origin, detail: misfit.to_string() })?;
                        run
                    }
                };
                commands.clear();
                run.departed.clear();
                if !see(run, &event, at) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Events on the stream of another run.
struct Copied {
    entries: Vec<cpd_journal::Entry>,
    chain: Chain,
}

/// Copies the first `seq` events. The key that the origin was started with stays its own. The copy begins with a record of a
/// kind of its own, so that what a crash leaves of it without its [`Event::RunForked`] is no run.
fn copy(id: RunId, entries: &[StoredEntry], seq: u64, payloads: &Payloads) -> Result<Copied, Error> {
    let mut copied = Copied { entries: Vec::new(), chain: Chain::start(StreamId(id.0)) };
    let mut left = usize::try_from(seq).unwrap_or(usize::MAX);
    for entry in entries {
        let mut builder = EntryBuilder::new(&copied.chain, entry.at());
        let records = entry.records().take(left);
        let mut count = 0;
        for record in records {
            count += 1;
            if !matches!(Kind(record.kind), Kind::RUN_STARTED | Kind::RUN_SHARED) {
                builder.push(record.kind, record.version, record.payload);
                continue;
            }
            let event = codec::decode(Kind(record.kind), record.version, record.payload, payloads);
            let mut event = event.map_err(|e| Error::Unreadable { run: id, source: Arc::new(e) })?;
            if let Event::RunStarted { key, .. } = &mut event {
                *key = None;
            }
            let mut payload = Vec::new();
            codec::encode(&event, &mut payload, payloads);
            builder.push(Kind::RUN_SHARED.0, v1::VERSION, &payload);
        }
        let (entry, next) = builder.finish()?;
        copied.entries.push(entry);
        copied.chain = next;
        left -= count;
        if left == 0 {
            break;
        }
    }
    Ok(copied)
}
