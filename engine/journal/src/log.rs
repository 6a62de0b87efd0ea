//! The log: segments one behind the other, the last of which takes frames.
//!
//! ```text
//!   <data>/journal/00000000000000000001.seg   sealed: never changes
//!                  00000000000000048211.seg   the last: frames, then zeros that were filled ahead
//!                  mark                       what was acknowledged and what was pruned (see `mark`)
//!                  spare                      the next segment, being filled (see `spare`)
//! ```
//!
//! A group goes out in two steps. [`Log::stage`] gives each entry its place and copies its frame behind the others in memory; [`Log::commit`]
//! writes them with one write and makes them durable with one sync. Only after that are they *published*: readers that share the log stop at
//! what is published, so nobody ever acts on a record that a crash could take back.
//!
//! If there is no room, a commit can be tried again: it writes the same bytes to the same place, also those that a failed sync may have dropped.
//! After any other failure the log is *poisoned*. What a failed sync has left on the disk is unknown, so nothing may be written behind it; opening again
//! finds out.
//!
//! A group lies in one segment. When it does not fit into what is left of the last one, [`Log::roll`] seals that and begins the next, in this order:
//!
//! 1. The last segment is cut to its frames and synced. (Its frames are synced already.)
//! 2. The next one gets its header, under another name, and is synced.
//! 3. It is renamed to its own name, and the directory is synced.
//!
//! So a segment that has a successor is complete whenever one looks, and a segment's header is good as soon as it has its name.
//! A crash before 3 leaves the last segment as it was, or a bit shorter; it goes on to be used.
//!
//! A `Log` belongs to one thread. For many callers put it into a [`Writer`](crate::Writer).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::chain::Entry;
use crate::error::{Error, Result};
use crate::files::{File, Files, Mode, RealFiles};
use crate::format::{self, SEGMENT_HEADER_BYTES, SegmentHeader, TERMINATOR_BYTES};
use crate::ids::{Lsn, Position};
use crate::mark::{Mark, MarkFile, MarkState};
use crate::reader::Reader;
use crate::recover::{Cut, FRESH_NAME, OnLoss, Plan, SPARE_NAME, SegmentInfo, write_zeros};
use crate::spare::Filler;

/// The greatest batch: the entries that [`Log::append`] or one submission takes at once.
pub const BATCH_BYTES_MAX: u64 = 64 << 20;

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long segments become at most, unless a single batch is longer.
    pub segment_bytes: u64,
    /// How long the first segment becomes; each one after it twice as long as the one before, up to `segment_bytes`. Keeps small journals small.
    pub first_segment_bytes: u64,
    /// Whether segments are filled with zeros ahead, by a thread of the log.
    pub fill_ahead: bool,
    /// What to do where acknowledged records at the end are damaged or missing.
    pub on_loss: OnLoss,
    /// The identity of a journal that is created; an existing one keeps its own.
    pub journal: [u8; 16],
    /// The number of the first record of a journal that is created.
    pub first: Lsn,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            first_segment_bytes: 1 << 20,
            fill_ahead: true,
            on_loss: OnLoss::Refuse,
            journal: [0; 16],
            first: Lsn::FIRST,
        }
    }
}

/// What opening a log has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The oldest record there is, or the first there will be.
    pub first: Lsn,
    /// The record that comes next.
    pub next: Lsn,
    /// Where the next frame comes to stand.
    pub end: Position,
    /// The last frame, if there is one.
    pub last_frame: Position,
    /// How many segments there are.
    pub segments: usize,
    /// Whether the journal was created.
    pub created: bool,
    /// The torn tail that was cut.
    pub cut: Option<Cut>,
    /// What the mark said.
    pub mark: MarkState,
    /// The identity of the journal.
    pub journal: [u8; 16],
}

impl Recovered {
    /// Returns the last record, or none in an empty journal.
    pub fn last(&self) -> Option<Lsn> {
        (self.next > self.first).then(|| Lsn(self.next.0 - 1))
    }
}

/// Where an entry came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of its first record.
    pub lsn: Lsn,
    /// Its frame.
    pub position: Position,
}

/// What is durable, for everyone to see.
#[derive(Debug)]
pub(crate) struct Published {
    next: AtomicU64,
    end: AtomicU64,
    first: AtomicU64,
}

impl Published {
    pub(crate) fn next(&self) -> Lsn {
        Lsn(self.next.load(Ordering::Acquire))
    }

    pub(crate) fn end(&self) -> Position {
        Position(self.end.load(Ordering::Acquire))
    }

    pub(crate) fn first(&self) -> Lsn {
        Lsn(self.first.load(Ordering::Acquire))
    }
}

/// The segment that takes frames.
struct Active {
    file: Box<dyn File>,
    info: SegmentInfo,
    /// The offset after the last durable frame.
    end: u64,
    /// The length of the file.
    length: u64,
    /// Set while bytes of a group that was given up may stand behind the end, up to here, on the disk if not in memory.
    unsettled: Option<u64>,
}

/// Frames on their way.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    next: Lsn,
    last_frame: Position,
}

/// A journal, open for appending. See the module's documentation.
pub struct Log {
    files: Arc<dyn Files>,
    options: Options,
    sealed: Vec<SegmentInfo>,
    active: Active,
    next: Lsn,
    last_frame: Position,
    group: Group,
    mark: MarkFile,
    published: Arc<Published>,
    poisoned: Option<Arc<Error>>,
    filler: Option<Filler>,
    /// There was no room in this segment: no spare is asked for.
    cramped: bool,
}

impl Log {
    /// Opens the journal in a directory, which is made if there is none.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<(Self, Recovered)> {
        let directory = directory.as_ref();
        let files =
            RealFiles::create(directory).map_err(|e| Error::io("create", &directory.display().to_string(), e))?;
        Self::open_files(Arc::new(files), options)
    }

    /// Opens the journal in a directory of any file layer.
    pub fn open_files(files: Arc<dyn Files>, options: Options) -> Result<(Self, Recovered)> {
        let plan = Plan::make(&*files, options.on_loss)?;
        plan.perform(&*files)?;
        let Plan { mark: mark_state, sealed, tail, cut, .. } = plan;
        let created = tail.is_none();
        let (active, next, last_frame) = match tail {
            Some(tail) => {
                let name = &tail.segment.name;
                let file = files.open(name, Mode::Write).map_err(|e| Error::io("open", name, e))?;
                let length = file.length().map_err(|e| Error::io("read", name, e))?;
                (
                    Active { file, end: tail.end, length, unsettled: None, info: tail.segment },
                    tail.next,
                    tail.last_frame,
                )
            }
            None => {
                // A crash may have left a mark without a segment, and with it the identity; nothing was acknowledged then.
                let journal = mark_state.mark().map_or(options.journal, |mark| mark.journal);
                let first = mark_state.mark().map_or(options.first, |mark| mark.first).max(Lsn::FIRST);
                let capacity = options.first_segment_bytes.min(options.segment_bytes).max(SEGMENT_HEADER_BYTES as u64);
                let header =
                    SegmentHeader { first, base: Position(0), capacity, previous_last: Position::NONE, journal };
                (create_segment(&*files, header, options.fill_ahead)?, first, Position::NONE)
            }
        };
        let header = active.info.header;
        let end = Position(header.base.0.saturating_add(active.end));
        let first = sealed.first().map_or(header.first, |segment| segment.header.first);
        let mark = MarkFile::open(&*files, mark_state, Mark { first, next, end, journal: header.journal })?;
        files.sync_dir().map_err(|e| Error::io("sync", "the directory", e))?;
        let published = Arc::new(Published { next: next.0.into(), end: end.0.into(), first: AtomicU64::new(first.0) });
        let filler = options.fill_ahead.then(|| Filler::start(Arc::clone(&files))).transpose();
        let filler = filler.map_err(|e| Error::io("start a thread for", SPARE_NAME, e))?;
        let recovered = Recovered {
            first,
            next,
            end,
            last_frame,
            segments: sealed.len() + 1,
            created,
            cut,
            mark: mark_state,
            journal: header.journal,
        };
        let group = Group { bytes: Vec::new(), next, last_frame };
        let log = Self {
            files,
            options,
            sealed,
            active,
            next,
            last_frame,
            group,
            mark,
            published,
            poisoned: None,
            filler,
            cramped: false,
        };
        log.prepare_next();
        Ok((log, recovered))
    }

    /// Appends entries as one group and makes it durable.
    ///
    /// After [`Error::NoSpace`] the journal is as it was and can be used on. An error before any byte was written leaves it as it was, too; any
    /// other poisons it.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Vec<Receipt>> {
        self.check()?;
        let bytes = reserve(entries)?;
        let before: Vec<_> = entries.iter().map(|entry| entry.tail().last()).collect();
        let mut outcome = self.try_append(entries, bytes);
        if matches!(&outcome, Err(error) if error.is_no_space()) && self.give_up_spare() {
            self.unstage();
            // Where the streams ended before, or the first entry of each would be linked to itself.
            for (entry, last) in entries.iter().zip(&before).rev() {
                entry.tail().advance(entry.next_seq(), *last);
            }
            outcome = self.try_append(entries, bytes);
        }
        if outcome.is_err() {
            self.unstage();
            // Now or, if that fails, before the next group.
            drop(self.settle());
            // Backwards, so that of two entries of one stream the state before the first one stays.
            for (entry, last) in entries.iter().zip(before).rev() {
                entry.tail().advance(entry.first_seq(), last);
            }
        }
        outcome
    }

    fn try_append(&mut self, entries: &[Entry], bytes: u64) -> Result<Vec<Receipt>> {
        self.settle()?;
        if !self.fits(bytes) {
            self.roll(bytes)?;
        }
        let receipts = entries.iter().map(|entry| self.stage(entry)).collect();
        self.commit().map(|()| receipts)
    }

    /// Gives back the room that the next segment takes, and returns whether there was any.
    pub(crate) fn give_up_spare(&mut self) -> bool {
        self.cramped = true;
        self.filler.as_ref().is_some_and(Filler::give_up)
    }

    /// Returns the record that comes next.
    pub fn next(&self) -> Lsn {
        self.next
    }

    /// Returns the identity of the journal.
    pub fn journal(&self) -> [u8; 16] {
        self.active.info.header.journal
    }

    /// Returns a reader that sees what is durable, now and later.
    pub fn reader(&self) -> Reader {
        Reader::bounded(Arc::clone(&self.files), Arc::clone(&self.published))
    }

    /// Drops the segments that hold only records before `before`; the last segment always stays. Returns the oldest record that is left.
    ///
    /// The mark moves first, durably: a crash leaves files that the next start removes, never a journal that misses some.
    pub fn prune(&mut self, before: Lsn) -> Result<Lsn> {
        self.check()?;
        // A sealed segment may go if the one behind it begins early enough.
        let behind = self.sealed.iter().skip(1).chain([&self.active.info]).map(|segment| segment.header.first);
        let dropped = self.sealed.iter().zip(behind).take_while(|(_, first)| *first <= before).count();
        if dropped == 0 {
            return Ok(self.published.first());
        }
        let first = self.sealed.get(dropped).map_or(self.active.info.header.first, |segment| segment.header.first);
        let mark = Mark { first, ..self.current_mark() };
        self.mark.write(mark).and_then(|()| self.mark.sync()).map_err(|error| self.poison(error))?;
        self.published.first.store(first.0, Ordering::Release);
        for segment in self.sealed.drain(..dropped) {
            self.files.remove(&segment.name).map_err(|e| Error::io("remove", &segment.name, e))?;
        }
        self.files.sync_dir().map_err(|e| Error::io("sync", "the directory", e))?;
        Ok(first)
    }

    /// Makes the mark durable, so that the next start can prove the last group complete.
    pub fn close(mut self) -> Result<()> {
        self.check()?;
        self.write_mark()?;
        self.mark.sync()
    }

    /// Returns the failure after which nothing was written.
    pub fn poisoned(&self) -> Option<Arc<Error>> {
        self.poisoned.clone()
    }

    pub(crate) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub(crate) fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Tells whether that many bytes more find room in the last segment. An empty segment takes anything.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let end = self.active.end + self.group.bytes.len() as u64;
        let whole = end.saturating_add(bytes).saturating_add(TERMINATOR_BYTES as u64);
        end == SEGMENT_HEADER_BYTES as u64 || whole <= self.active.info.header.capacity
    }

    /// Gives an entry its place behind those that are staged already.
    pub(crate) fn stage(&mut self, entry: &Entry) -> Receipt {
        let group = &mut self.group;
        let unsynced = group.bytes.len();
        let offset = self.active.end + unsynced as u64;
        let receipt =
            Receipt { lsn: group.next, position: Position(self.active.info.header.base.0.saturating_add(offset)) };
        group.bytes.extend_from_slice(entry.frame());
        // A group is shorter than two batches and fits 32 bits.
        format::seal_frame(
            &mut group.bytes[unsynced..],
            receipt.position,
            receipt.lsn,
            entry.tail().last(),
            u32::try_from(unsynced).unwrap_or(u32::MAX),
        );
        entry.tail().advance(entry.next_seq(), receipt.position);
        group.next = receipt.lsn.plus(entry.record_count().into());
        group.last_frame = receipt.position;
        receipt
    }

    /// Returns how many bytes are staged.
    pub(crate) fn staged(&self) -> u64 {
        self.group.bytes.len() as u64
    }

    fn unstage(&mut self) {
        self.group = Group { bytes: Vec::new(), next: self.next, last_frame: self.last_frame };
    }

    /// Writes what is staged and makes it durable.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.check()?;
        let active = &mut self.active;
        let name = &active.info.name;
        let bytes = &mut self.group.bytes;
        let end = active.end + bytes.len() as u64;
        bytes.resize(bytes.len() + TERMINATOR_BYTES, 0);
        let written = active.file.write_all_at(bytes, active.end).map_err(|e| Error::io("append to", name, e));
        bytes.truncate(bytes.len() - TERMINATOR_BYTES);
        let synced = written.and_then(|()| active.file.sync_data().map_err(|e| Error::io("sync", name, e)));
        if let Err(error) = synced {
            return Err(self.failed(error));
        }
        active.end = end;
        active.unsettled = None;
        active.length = active.length.max(end + TERMINATOR_BYTES as u64);
        (self.next, self.last_frame) = (self.group.next, self.group.last_frame);
        self.group.bytes.clear();
        // A large group is rare; its memory is not kept.
        self.group.bytes.shrink_to(GROUP_BYTES_KEPT);
        self.published.end.store(active.info.header.base.0.saturating_add(end), Ordering::Release);
        self.published.next.store(self.next.0, Ordering::Release);
        self.prepare_next();
        Ok(())
    }

    /// Seals the last segment and begins another one that has room for `bytes`.
    pub(crate) fn roll(&mut self, bytes: u64) -> Result<()> {
        self.check()?;
        self.seal_and_begin(bytes).map_err(|error| if error.is_no_space() { error } else { self.poison(error) })
    }

    fn seal_and_begin(&mut self, bytes: u64) -> Result<()> {
        let capacity = self.next_capacity();
        let Active { file, info, end, length, .. } = &mut self.active;
        if *length > *end {
            file.set_len(*end).map_err(|e| Error::io("seal", &info.name, e))?;
        }
        file.sync_data().map_err(|e| Error::io("seal", &info.name, e))?;
        // Only now: if there was no room for the sync, the length is set again.
        *length = *end;
        let room = bytes.saturating_add((SEGMENT_HEADER_BYTES + TERMINATOR_BYTES) as u64);
        let mut header = SegmentHeader {
            first: self.next,
            base: Position(info.header.base.0.saturating_add(*end)),
            capacity: capacity.max(room),
            previous_last: self.last_frame,
            journal: info.header.journal,
        };
        let next = match self.filler.as_ref().and_then(Filler::take) {
            Some(spare) => {
                header.capacity = spare.bytes.max(room);
                name_segment(&*self.files, spare.file, SPARE_NAME, header, spare.bytes)?
            }
            None => create_segment(&*self.files, header, false)?,
        };
        self.sealed.push(std::mem::replace(&mut self.active, next).info);
        self.cramped = false;
        Ok(())
    }

    fn next_capacity(&self) -> u64 {
        self.active
            .info
            .header
            .capacity
            .saturating_mul(2)
            .min(self.options.segment_bytes)
            .max(SEGMENT_HEADER_BYTES as u64)
    }

    /// Has the next segment filled once this one is half full.
    fn prepare_next(&self) {
        if let Some(filler) = self.filler.as_ref().filter(|_| !self.cramped)
            && self.active.end > self.active.info.header.capacity / 2
        {
            filler.want(self.next_capacity());
        }
    }

    fn current_mark(&self) -> Mark {
        let end = self.published.end();
        Mark { first: self.published.first(), next: self.next, end, journal: self.active.info.header.journal }
    }

    /// Writes down what was acknowledged, without a sync. A failure to do so loses no record, but the disk is not to be trusted.
    pub(crate) fn write_mark(&mut self) -> Result<()> {
        let mark = self.current_mark();
        if self.mark.written() == mark {
            return Ok(());
        }
        match self.mark.write(mark) {
            Err(error) if error.is_no_space() => Ok(()),
            outcome => outcome.map_err(|error| self.poison(error)),
        }
    }

    /// Makes durable that a group that was given up is not there. Else a loss of power could bring back a part of it and a part of the next one, which
    /// stand at the same place.
    fn settle(&mut self) -> Result<()> {
        let Active { file, info, end, length, unsettled } = &mut self.active;
        let Some(to) = *unsettled else { return Ok(()) };
        let zeroed = write_zeros(&**file, *end, to.min(*length)).and_then(|()| file.set_len(*length));
        let settled = zeroed.and_then(|()| file.sync_data()).map_err(|e| Error::io("cut", &info.name, e));
        if settled.is_ok() {
            *unsettled = None;
        }
        settled.map_err(|error| if error.is_no_space() { error } else { self.poison(error) })
    }

    /// Takes back what an attempt to write without room has left behind.
    fn failed(&mut self, error: Error) -> Error {
        if !error.is_no_space() {
            return self.poison(error);
        }
        let Active { file, end, length, unsettled, .. } = &mut self.active;
        let staged_end = *end + (self.group.bytes.len() + TERMINATOR_BYTES) as u64;
        *unsettled = (*unsettled).max(Some(staged_end));
        let cut = write_zeros(&**file, *end, staged_end.min(*length)).and_then(|()| match file.length()? {
            longer if longer > *length => file.set_len(*length),
            _ => Ok(()),
        });
        match cut.map_err(|e| Error::io("cut", &self.active.info.name, e)) {
            Err(error) if !error.is_no_space() => self.poison(error),
            _ => error,
        }
    }

    /// Refuses to go on after a failure.
    pub(crate) fn check(&self) -> Result<()> {
        self.poisoned.as_ref().map_or(Ok(()), |cause| match **cause {
            Error::ClosedWhileFull => Err(Error::ClosedWhileFull),
            _ => Err(Error::Poisoned { cause: Arc::clone(cause) }),
        })
    }

    /// Gives up on what is staged and on everything after it.
    pub(crate) fn abandon(&mut self, why: Error) {
        self.unstage();
        // As far as that is possible; the next start has the last word.
        drop(self.settle());
        self.poison(why);
    }

    /// Stops everything for good.
    fn poison(&mut self, error: Error) -> Error {
        self.poisoned.get_or_insert_with(|| Arc::new(error.clone()));
        error
    }
}

/// The memory that a log keeps for the next group.
const GROUP_BYTES_KEPT: usize = 4 << 20;

/// Checks that a batch may be staged as a whole, and moves the streams on to the records after it; returns its size.
pub(crate) fn reserve(entries: &[Entry]) -> Result<u64> {
    let bytes = entries.iter().map(Entry::bytes).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(Error::TooLarge { what: "a batch", found: bytes, limit: BATCH_BYTES_MAX });
    }
    if entries.is_empty() {
        return Err(Error::Illegal("a batch has at least one entry"));
    }
    for (i, entry) in entries.iter().enumerate() {
        let (found, expected) = (entry.first_seq(), entry.tail().next_seq());
        if found != expected {
            entries[..i].iter().rev().for_each(|e| e.tail().advance(e.first_seq(), e.tail().last()));
            return Err(Error::OutOfOrder { stream: entry.stream(), found, expected });
        }
        entry.tail().advance(entry.next_seq(), entry.tail().last());
    }
    Ok(bytes)
}

fn create_segment(files: &dyn Files, header: SegmentHeader, fill: bool) -> Result<Active> {
    let io = |e| Error::io("create", FRESH_NAME, e);
    let made = files.open(FRESH_NAME, Mode::Create).or_else(|error| {
        // Left behind by an attempt for which there was no room.
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            return Err(error);
        }
        files.remove(FRESH_NAME)?;
        files.open(FRESH_NAME, Mode::Create)
    });
    let file = made.map_err(io)?;
    let length = if fill { header.capacity } else { SEGMENT_HEADER_BYTES as u64 };
    write_zeros(&*file, 0, length).map_err(io)?;
    name_segment(files, file, FRESH_NAME, header, length)
}

/// Makes a prepared file a segment: the header first, durably, then the name.
fn name_segment(
    files: &dyn Files,
    file: Box<dyn File>,
    from: &str,
    header: SegmentHeader,
    length: u64,
) -> Result<Active> {
    let name = format::segment_name(header.first);
    file.write_all_at(&format::segment_header_bytes(&header), 0).map_err(|e| Error::io("begin", &name, e))?;
    file.sync_data().map_err(|e| Error::io("begin", &name, e))?;
    files.rename(from, &name).map_err(|e| Error::io("name", &name, e))?;
    // From here on the file is there. To go on with the segment before it, as after lack of room, would fork the journal.
    files.sync_dir().map_err(|e| Error::fatal("sync", "the directory", e))?;
    Ok(Active { file, end: SEGMENT_HEADER_BYTES as u64, length, unsettled: None, info: SegmentInfo { name, header } })
}
