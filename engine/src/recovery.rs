//! Recovery: plan, then execute.
//!
//! The plan is made from the rows of open runs in the index, which one scan reads, and the part of the log that the index
//! has not seen; it can be printed and asserted on before anything is done. Executing it hands every open run to its shard: runs with calls in flight, with something left
//! to decide, or touched after the index was last written are folded at once; all others only leave a timer.
//!
//! An index that cannot be read, that another version wrote, or that is of another journal, is put aside, and made again from
//! the log. One that is true beyond the end of its own journal is the witness of a loss: it never knows what was not synced.
//! Then nothing is opened, since what would be written next would stand in the place of what is missing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use cpd_core::definition::plan::{Digest, Plan};
use cpd_core::machine::{RunId, Wait};
use cpd_core::time::Timestamp;
use cpd_journal::index::{
    Batch, Direction, Driver, Index, IndexError, Opened, Range, Rebuilt, begin_anew, open_or_rebuild,
};
use cpd_journal::{Lsn, Position, Reader, Recovered};

use crate::error::Error;
use crate::index::{self, AUDIT_LAST, FORMAT, FORMAT_NUMBER, JOURNAL, META, OPEN, OpenRow, REGISTRY_LAST, TOKENS_LAST};
use crate::registry::Registry;
use crate::shard::Message;

/// What has to be done for the runs that were open when the last process ended.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// Open runs.
    pub runs: Vec<OpenRun>,
    /// Where the last registration is.
    pub registry: Option<Position>,
    /// Where the last entry about tokens is.
    pub tokens: Option<Position>,
    /// Where the last entry of the audit is.
    pub audit: Option<Position>,
    /// The index is true up to here.
    pub applied: Lsn,
    caught_up: usize,
    journal: Recovered,
    rebuilt: Option<Rebuilt>,
}

/// An open run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OpenRun {
    pub run: RunId,
    pub last: Position,
    pub timer: Option<Timestamp>,
    pub load: bool,
    /// What it waits for, if the index knows.
    pub wait: Option<Wait>,
    pub plan: Digest,
}

/// What opening an engine found and did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Open runs.
    pub open_runs: usize,
    /// Open runs that had something under way and were taken up at once.
    pub resumed_runs: usize,
    /// Entries that the index had not seen.
    pub caught_up: usize,
    /// Bytes of an unfinished entry that were cut from the end of the journal.
    pub torn_bytes: u64,
    /// Why the index was rebuilt, if it was.
    pub index_rebuilt: Option<String>,
}

/// Opens the index in a directory, or begins it anew, brings it up to the end of the log, and plans what to do.
pub(crate) fn open(
    driver: Driver,
    directory: &Path,
    reader: &Reader,
    journal: Recovered,
) -> Result<(Arc<dyn Index>, Recovery), Error> {
    let mut opened = open_or_rebuild(driver, directory)?;
    let wrong = match planned(&*opened.index, directory, reader, &journal) {
        Ok(plan) => return Ok(finish(opened, plan)),
        Err(Unplanned::Failed(error)) => return Err(error),
        Err(Unplanned::Index(wrong)) => wrong,
    };
    drop(opened.index);
    opened = begin_anew(driver, directory, wrong)?;
    match planned(&*opened.index, directory, reader, &journal) {
        Ok(plan) => Ok(finish(opened, plan)),
        Err(Unplanned::Failed(error)) => Err(error),
        Err(Unplanned::Index(wrong)) => {
            let source =
                IndexError::Driver { driver: opened.index.driver(), operation: "rebuild", source: wrong.into() };
            Err(Error::from(source))
        }
    }
}

fn finish(opened: Opened, mut plan: Recovery) -> (Arc<dyn Index>, Recovery) {
    if let Some(Rebuilt { reason, moved_to }) = &opened.rebuilt {
        let moved_to = moved_to.as_ref().map(|path| path.display().to_string());
        tracing::warn!(reason, moved_to, "the index was made again from the journal; nothing is lost");
    }
    plan.rebuilt = opened.rebuilt;
    (Arc::from(opened.index), plan)
}

/// Why there is no plan.
enum Unplanned {
    /// The index is of no use.
    Index(String),
    /// Anything else.
    Failed(Error),
}

impl From<IndexError> for Unplanned {
    fn from(error: IndexError) -> Self {
        Unplanned::from(Error::from(error))
    }
}

impl From<Error> for Unplanned {
    fn from(error: Error) -> Self {
        match error {
            Error::Index(source) => {
                let causes = std::iter::successors(Some(&*source as &dyn std::error::Error), |e| e.source());
                Unplanned::Index(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
            }
            other => Unplanned::Failed(other),
        }
    }
}

/// Plans; a driver that meets damage with a panic is an index of no use.
fn planned(index: &dyn Index, directory: &Path, reader: &Reader, journal: &Recovered) -> Result<Recovery, Unplanned> {
    let plan = || -> Result<Recovery, Unplanned> {
        let applied = index.applied()?;
        let format = index.get(META, FORMAT)?;
        if applied > Lsn::ZERO && format.as_deref() != Some(&FORMAT_NUMBER.to_le_bytes()) {
            return Err(Unplanned::Index("another version of cpd has written it".to_owned()));
        }
        let of = index.get(META, JOURNAL)?;
        if applied > Lsn::ZERO && of.as_deref() != Some(&journal.journal) {
            return Err(Unplanned::Index("it is of another journal".to_owned()));
        }
        if applied >= journal.next {
            let index = directory.display().to_string();
            return Err(Unplanned::Failed(Error::RecordsMissing { next: journal.next, applied, index }));
        }
        if format.is_none() || of.is_none() {
            let mut batch = Batch::new();
            batch.put(META, FORMAT, FORMAT_NUMBER.to_le_bytes());
            batch.put(META, JOURNAL, journal.journal);
            index.write(batch)?;
        }
        Recovery::plan(index, reader, journal.clone())
    };
    catch_unwind(AssertUnwindSafe(plan)).unwrap_or_else(|_| Err(Unplanned::Index("reading it panicked".to_owned())))
}

impl Recovery {
    /// Brings the index up to the end of the log and plans what to do.
    fn plan(index: &dyn Index, reader: &Reader, journal: Recovered) -> Result<Self, Unplanned> {
        let (applied, caught_up) = index::catch_up(index, reader, Lsn(index.applied()?.0 + 1))?;
        let mut runs = Vec::new();
        for (key, value) in index.scan(OPEN, &Range::all(), Direction::Ascending, usize::MAX)? {
            let unreadable = || Unplanned::Index(format!("its row {key:02x?} of an open run cannot be read"));
            let id = <[u8; 16]>::try_from(&*key).map_err(|_| unreadable())?;
            let row = OpenRow::read(&value).ok_or_else(unreadable)?;
            let (last, plan) = (Position(row.last), Digest(row.plan));
            runs.push(match row.wake {
                Some(wake) => {
                    let (timer, wait) = (wake.timer.map(Timestamp), wake.wait());
                    OpenRun { run: RunId(id), last, timer, load: wake.busy, wait, plan }
                }
                None => OpenRun { run: RunId(id), last, timer: None, load: true, wait: None, plan },
            });
        }
        let last = |key: &[u8]| -> Result<Option<Position>, IndexError> {
            let position = index.get(META, key)?.and_then(|v| Some(u64::from_le_bytes(v.try_into().ok()?)));
            Ok(position.map(Position))
        };
        let (registry, tokens, audit) = (last(REGISTRY_LAST)?, last(TOKENS_LAST)?, last(AUDIT_LAST)?);
        Ok(Self { runs, registry, tokens, audit, applied, caught_up, journal, rebuilt: None })
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            open_runs: self.runs.len(),
            resumed_runs: self.runs.iter().filter(|r| r.load).count(),
            caught_up: self.caught_up,
            torn_bytes: self.journal.cut.as_ref().map_or(0, |t| t.bytes),
            index_rebuilt: self.rebuilt.as_ref().map(|r| r.reason.clone()),
        }
    }
}

/// Hands every open run to its shard.
pub(crate) fn execute(
    plan: Recovery,
    registry: &Registry,
    send: impl Fn(Message, RunId) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut listening: BTreeMap<Digest, Option<Arc<Plan>>> = BTreeMap::new();
    for OpenRun { run, last, timer, load, wait, plan } in plan.runs {
        let listens = match listening.entry(plan) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let plan = registry.plan(new.key())?.filter(|p| p.listens());
                new.insert(plan).clone()
            }
        };
        send(Message::Adopt { run, last, wake: timer, load, wait, listens }, run)?;
    }
    Ok(())
}
