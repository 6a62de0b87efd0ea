//! Reading the journal: one frame by its position, everything from a record on, the history of one stream.
//!
//! A reader opens the files for itself and never writes. There are two kinds:
//!
//! - *Bounded*, from [`Log::reader`](crate::Log::reader) or [`Writer::reader`](crate::Writer::reader), in the process that appends. It sees what is
//!   durable and nothing else, so whoever ships records to another place never ships one that a crash takes back.
//! - *Free*, from [`Reader::open`], for another process. It sees what is in the files. The last group may not be synced yet, and a frame that is
//!   being written looks like the end of the journal; a later look finds more.
//!
//! Where a frame should be and is not, a reader says [`Error::Damaged`] if the journal goes on behind it or the mark says that it must, and treats
//! it as the end otherwise.
//!
//! The table of segments is read again when a reader comes to the end of what it knows, not for each read. A reader is cheap to clone and may be shared.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::files::{File, Files, Mode, RealFiles};
use crate::format::{FrameHeader, SEGMENT_HEADER_BYTES, segment_first};
use crate::ids::{Lsn, Position};
use crate::log::Published;
use crate::mark;
use crate::recover::{SegmentInfo, read_segments};
use crate::scan::{Cursor, Scan};
use crate::stored::StoredEntry;
use crate::walk::{Spot, Window};

/// How much is read for a single frame: most are far smaller.
const FRAME_CHUNK_BYTES: usize = 4096;
/// How many files stay open.
const FILES_OPEN_MAX: usize = 64;

/// Reads a journal. See the module's documentation.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    files: Arc<dyn Files>,
    bound: Option<Arc<Published>>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    segments: Vec<Known>,
    open: usize,
}

struct Known {
    info: SegmentInfo,
    file: Option<Arc<dyn File>>,
}

/// A segment as a reader holds it.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) info: SegmentInfo,
    pub(crate) file: Arc<dyn File>,
    /// The segment behind it, once it is known.
    pub(crate) successor: Option<Position>,
}

/// A segment as retention and people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The file.
    pub name: String,
    /// Its first record.
    pub first: Lsn,
    /// The position of its first byte.
    pub base: Position,
    /// The length of its file.
    pub bytes: u64,
    /// Whether another segment follows, so that this one will not change any more.
    pub sealed: bool,
}

impl Segment {
    pub(crate) fn base(&self) -> u64 {
        self.info.header.base.0
    }

    pub(crate) fn damaged(&self, offset: u64, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::damaged(&self.info.name, offset, found, expected)
    }

    pub(crate) fn io(&self, source: std::io::Error) -> Error {
        Error::io("read", &self.info.name, source)
    }

    fn reaches(&self, position: Position) -> Result<bool> {
        let length = self.file.length().map_err(|e| self.io(e))?;
        Ok(position.0.saturating_sub(self.base()) < length)
    }

    /// Returns the offset before which all frames end.
    pub(crate) fn limit(&self) -> Result<u64> {
        let length = self.file.length().map_err(|e| self.io(e))?;
        Ok(self.successor.map_or(length, |next| length.min(next.0 - self.base())))
    }
}

impl Reader {
    /// Opens the journal in a directory, for reading only. Another process may append to it meanwhile.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::open_files(Arc::new(RealFiles::new(directory.as_ref())))
    }

    /// Opens the journal in a directory of any file layer.
    pub fn open_files(files: Arc<dyn Files>) -> Result<Self> {
        let reader = Self::new(files, None);
        reader.refresh()?;
        if reader.shared.table.lock().segments.is_empty() {
            return Err(Error::Missing);
        }
        Ok(reader)
    }

    pub(crate) fn bounded(files: Arc<dyn Files>, bound: Arc<Published>) -> Self {
        Self::new(files, Some(bound))
    }

    fn new(files: Arc<dyn Files>, bound: Option<Arc<Published>>) -> Self {
        Self { shared: Arc::new(Shared { files, bound, table: Mutex::default() }) }
    }

    /// Reads the entry whose frame stands at `position`.
    pub fn read(&self, position: Position) -> Result<StoredEntry> {
        let mut window = Window::new(FRAME_CHUNK_BYTES);
        let (segment, header) = self.frame(position, &mut window)?;
        let before = if header.count > 1 { self.digest_before(&header)? } else { None };
        self.entry(&segment, position, header, before, &mut window)
    }

    /// Returns all entries from the one that holds record `from` on, in the order of the journal.
    pub fn scan(&self, from: Lsn) -> Result<Scan> {
        Scan::from_lsn(self.clone(), from)
    }

    /// Goes on with a scan where another one has stopped.
    pub fn resume(&self, cursor: Cursor) -> Result<Scan> {
        Scan::resume(self.clone(), cursor)
    }

    /// Returns the segments, oldest first.
    pub fn segments(&self) -> Result<Vec<SegmentSummary>> {
        self.refresh()?;
        let bases: Vec<_> = self.shared.table.lock().segments.iter().map(|known| known.info.header.base).collect();
        bases
            .into_iter()
            .map(|base| {
                let segment = self.segment(base)?;
                let SegmentInfo { name, header } = segment.info.clone();
                let bytes = segment.file.length().map_err(|e| segment.io(e))?;
                Ok(SegmentSummary { name, first: header.first, base, bytes, sealed: segment.successor.is_some() })
            })
            .collect()
    }

    /// Returns the identity of the journal.
    pub fn journal(&self) -> Result<[u8; 16]> {
        self.refresh()?;
        let table = self.shared.table.lock();
        table.segments.first().map(|known| known.info.header.journal).ok_or(Error::Missing)
    }

    pub(crate) fn bound(&self) -> Option<&Published> {
        self.shared.bound.as_deref()
    }

    /// Returns the digest before a frame's first record, or none if the frame that holds it was pruned.
    pub(crate) fn digest_before(&self, header: &FrameHeader) -> Result<Option<crate::Digest>> {
        if header.previous.is_none() {
            return Ok(None);
        }
        let (segment, before) = match self.frame(header.previous, &mut Window::new(FRAME_CHUNK_BYTES)) {
            Err(Error::Pruned { .. }) => return Ok(None),
            outcome => outcome?,
        };
        self.check_link(&segment, header.previous, &before, header)?;
        Ok(Some(before.digest))
    }

    /// Checks that `before`, at `position`, is what `header` continues.
    pub(crate) fn check_link(
        &self,
        segment: &Segment,
        position: Position,
        before: &FrameHeader,
        header: &FrameHeader,
    ) -> Result<()> {
        if before.stream == header.stream && before.next_seq() == header.seq {
            return Ok(());
        }
        let found = format!("records {} to {} of stream {}", before.seq, before.next_seq(), before.stream);
        let expected = format!("the records of stream {} before its record {}", header.stream, header.seq);
        Err(segment.damaged(position.0 - segment.base(), found, expected))
    }

    /// Finds the frame at `position`; its bytes are in the window then.
    pub(crate) fn frame(&self, position: Position, window: &mut Window) -> Result<(Segment, FrameHeader)> {
        if let Some(bound) = self.bound()
            && position >= bound.end()
        {
            return Err(Error::Beyond { position, end: bound.end() });
        }
        let segment = self.segment(position)?;
        let offset = position.0 - segment.base();
        let limit = segment.limit()?;
        if offset >= limit && segment.successor.is_none() {
            return Err(Error::Beyond { position, end: Position(segment.base().saturating_add(limit)) });
        }
        if offset < SEGMENT_HEADER_BYTES as u64 {
            return Err(segment.damaged(offset, "the segment's header", "a frame, as a position elsewhere says"));
        }
        match window.spot(&*segment.file, segment.info.header.base, offset, limit).map_err(|e| segment.io(e))? {
            Spot::Frame(header) => Ok((segment, header)),
            Spot::Blank => Err(segment.damaged(offset, "zeros", "a frame, as a position elsewhere says")),
            Spot::Flawed(flaw) => Err(segment.damaged(offset, flaw.found, flaw.expected)),
        }
    }

    /// Makes an entry of the frame that [`frame`](Self::frame) has found.
    pub(crate) fn entry(
        &self,
        segment: &Segment,
        position: Position,
        header: FrameHeader,
        before: Option<crate::Digest>,
        window: &mut Window,
    ) -> Result<StoredEntry> {
        let offset = position.0 - segment.base();
        let frame = window.bytes(&*segment.file, offset, header.frame_bytes()).map_err(|e| segment.io(e))?;
        if frame.len() < header.frame_bytes() {
            return Err(segment.damaged(offset, "a file that became shorter", "the frame that was there"));
        }
        StoredEntry::new(header, position, frame, before)
            .map_err(|(at, flaw)| segment.damaged(offset + at as u64, flaw.found, flaw.expected))
    }

    /// Returns the segment in which `position` lies.
    pub(crate) fn segment(&self, position: Position) -> Result<Segment> {
        {
            let mut table = self.shared.table.lock();
            if let Some((i, last)) = table.find(position) {
                // A segment that was sealed since the last look is cut to its frames, so what lies within its file lies in it.
                // One that was pruned since is not to be found, and gone from the table after the next look.
                match table.open(&*self.shared.files, i) {
                    Ok(segment) if !last || segment.reaches(position)? => return Ok(segment),
                    Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                    outcome => drop(outcome?),
                }
            }
        }
        self.segment_anew(position)
    }

    /// Returns the segment in which `position` lies, and whether one follows it by now.
    pub(crate) fn segment_anew(&self, position: Position) -> Result<Segment> {
        self.refresh()?;
        let mut table = self.shared.table.lock();
        let Some((i, _)) = table.find(position) else {
            let first = table.segments.first().map_or(Lsn::FIRST, |known| known.info.header.first);
            return Err(Error::Pruned { position, first });
        };
        table.open(&*self.shared.files, i)
    }

    /// Returns the segment in which record `lsn` lies, or will.
    pub(crate) fn segment_of(&self, lsn: Lsn) -> Result<Segment> {
        self.refresh()?;
        let mut table = self.shared.table.lock();
        let Some(i) = table.segments.partition_point(|known| known.info.header.first <= lsn).checked_sub(1) else {
            let first = table.segments.first().map_or(Lsn::FIRST, |known| known.info.header.first);
            return Err(Error::PrunedRecord { lsn, first });
        };
        table.open(&*self.shared.files, i)
    }

    /// Tells whether the mark says that more than `end` was acknowledged.
    pub(crate) fn promised(&self, end: Position) -> Result<Option<Lsn>> {
        let names = [mark::MARK_NAME.to_owned()];
        let state = match mark::read(&*self.shared.files, &names) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome?,
        };
        Ok(state.mark().filter(|mark| mark.end > end).map(|mark| mark.next))
    }

    /// Reads the table of segments again.
    pub(crate) fn refresh(&self) -> Result<()> {
        let Shared { files, table, .. } = &*self.shared;
        // Retention may remove a file between the listing and the reading of its header.
        let mut attempts = 0;
        let fresh = loop {
            attempts += 1;
            let names = list_without_gap(&**files)?;
            let known: Vec<_> = table.lock().segments.iter().map(|known| known.info.clone()).collect();
            let kept: Vec<_> = known.into_iter().filter(|info| names.binary_search(&info.name).is_ok()).collect();
            // The last that is known is read again: the check that its successor follows starts from it.
            let from = kept.last().map_or(0, |last| names.partition_point(|name| *name < last.name));
            match read_segments(&**files, &names[from..]) {
                Ok(mut rest) => {
                    let mut all = kept;
                    all.pop();
                    all.append(&mut rest);
                    break all;
                }
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound && attempts < 8 => {}
                Err(error) => return Err(error),
            }
        };
        table.lock().replace(fresh);
        Ok(())
    }
}

/// Lists the files. A listing that another process makes segments beside may miss one and have a later one, because names come in no order; the
/// second has what was there before it, so what is not newer than the newest of the first has no gap.
fn list_without_gap(files: &dyn Files) -> Result<Vec<String>> {
    let list = || files.list().map_err(|e| Error::io("list", &files.describe(), e));
    let newest = list()?.iter().filter_map(|name| segment_first(name)).max();
    let mut names = list()?;
    names.retain(|name| segment_first(name).is_none_or(|first| Some(first) <= newest));
    Ok(names)
}

impl Table {
    /// Returns which segment a position lies in, and whether it is the last.
    fn find(&self, position: Position) -> Option<(usize, bool)> {
        let i = self.segments.partition_point(|known| known.info.header.base <= position).checked_sub(1)?;
        Some((i, i + 1 == self.segments.len()))
    }

    fn open(&mut self, files: &dyn Files, i: usize) -> Result<Segment> {
        if self.segments[i].file.is_none() {
            if self.open >= FILES_OPEN_MAX {
                self.segments.iter_mut().for_each(|known| known.file = None);
                self.open = 0;
            }
            let name = &self.segments[i].info.name;
            let file = files.open(name, Mode::Read).map_err(|e| Error::io("open", name, e))?;
            self.segments[i].file = Some(file.into());
            self.open += 1;
        }
        let Known { info, file } = &self.segments[i];
        let file = file.clone().expect("it was opened above");
        Ok(Segment {
            info: info.clone(),
            file,
            successor: self.segments.get(i + 1).map(|known| known.info.header.base),
        })
    }

    fn replace(&mut self, fresh: Vec<SegmentInfo>) {
        // Another thread may have read a later table meanwhile; the longer one is the later one.
        let newer = |list: &[SegmentInfo]| list.last().map(|info| info.header.first);
        if newer(&fresh) < self.segments.last().map(|known| known.info.header.first) {
            return;
        }
        let mut old = std::mem::take(&mut self.segments);
        self.segments = fresh
            .into_iter()
            .map(|info| {
                let file = old.iter_mut().find(|known| known.info == info).and_then(|known| known.file.take());
                Known { info, file }
            })
            .collect();
        self.open = self.segments.iter().filter(|known| known.file.is_some()).count();
    }
}
