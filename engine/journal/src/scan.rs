//! Everything from a record on, in the order of the journal.
//!
//! A [`Scan`] is an iterator that may be asked again: `None` means that there is nothing more *now*. That is how the replicator follows the
//! journal. After an error it stays where it is.
//!
//! The scan keeps the last digest of the streams that it has seen lately, so that the digests inside a frame seldom cost another read.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::format::{FrameHeader, SEGMENT_HEADER_BYTES};
use crate::ids::{Digest, Lsn, Position, StreamId};
use crate::reader::{Reader, Segment};
use crate::stored::StoredEntry;
use crate::walk::{Spot, Window};

/// How much a scan reads at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// How many streams' digests are kept: some 6 MiB.
const STREAMS_MAX: usize = 1 << 16;

/// Where a scan stands: good for going on after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Where the next frame stands, or will.
    pub position: Position,
    /// The number of its first record.
    pub next: Lsn,
    /// Entries that end before this record are passed over.
    pub from: Lsn,
}

/// Entries in the order of the journal. See the module's documentation.
pub struct Scan {
    reader: Reader,
    segment: Segment,
    window: Window,
    offset: u64,
    next: Lsn,
    /// Entries that end before this record are passed over.
    from: Lsn,
    digests: HashMap<StreamId, (u64, Digest)>,
}

impl Scan {
    pub(crate) fn from_lsn(reader: Reader, from: Lsn) -> Result<Self> {
        let from = from.max(Lsn::FIRST);
        let segment = reader.segment_of(from)?;
        let next = segment.info.header.first;
        Ok(Self::new(reader, segment, SEGMENT_HEADER_BYTES as u64, next, from))
    }

    pub(crate) fn resume(reader: Reader, cursor: Cursor) -> Result<Self> {
        let segment = reader.segment(cursor.position)?;
        // The end of a segment is the beginning of the one behind it, where the header stands.
        let offset = cursor.position.0.saturating_sub(segment.base()).max(SEGMENT_HEADER_BYTES as u64);
        Ok(Self::new(reader, segment, offset, cursor.next, cursor.from))
    }

    fn new(reader: Reader, segment: Segment, offset: u64, next: Lsn, from: Lsn) -> Self {
        Self { reader, segment, window: Window::new(CHUNK_BYTES), offset, next, from, digests: HashMap::new() }
    }

    /// Returns where the scan stands: after the entry that it has returned last.
    pub fn cursor(&self) -> Cursor {
        Cursor { position: self.place(), next: self.next, from: self.from.max(self.next) }
    }

    fn place(&self) -> Position {
        Position(self.segment.base().saturating_add(self.offset))
    }

    fn step(&mut self) -> Result<Option<StoredEntry>> {
        while let Some(header) = self.find()? {
            let (position, segment) = (self.place(), self.segment.clone());
            let entry = if header.next_lsn() > self.from {
                let before = self.before(&header)?;
                Some(self.reader.entry(&segment, position, header, before, &mut self.window)?)
            } else {
                None
            };
            self.offset += header.frame_bytes() as u64;
            self.next = header.next_lsn();
            if self.digests.len() >= STREAMS_MAX {
                self.digests.clear();
            }
            self.digests.insert(header.stream, (header.next_seq(), header.digest));
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    fn before(&self, header: &FrameHeader) -> Result<Option<Digest>> {
        match self.digests.get(&header.stream) {
            Some(&(next_seq, digest)) if next_seq == header.seq => Ok(Some(digest)),
            _ if header.count > 1 => self.reader.digest_before(header),
            _ => Ok(None),
        }
    }

    /// Finds the next frame, in this segment or the one behind it. None at the end.
    ///
    /// Another process may write a frame while this one reads it, and then what proves that it was written before this one looks for the proof. So
    /// damage is what a look that began behind the proof still shows.
    fn find(&mut self) -> Result<Option<FrameHeader>> {
        match self.find_once() {
            Err(error) if error.is_damage() => {
                self.window.forget();
                self.find_once()
            }
            found => found,
        }
    }

    fn find_once(&mut self) -> Result<Option<FrameHeader>> {
        if self.reader.bound().is_some_and(|bound| self.next >= bound.next()) {
            return Ok(None);
        }
        loop {
            let at_end = self.segment.successor.is_some_and(|next| self.place() >= next);
            let spot = if at_end { Spot::Blank } else { self.look()? };
            match spot {
                Spot::Frame(header) if header.lsn == self.next => return Ok(Some(header)),
                Spot::Frame(header) => return Err(self.damaged(format!("record {}", header.lsn))),
                _ if self.advance()? => {}
                Spot::Blank => return self.end("zeros"),
                Spot::Flawed(flaw) => {
                    let base = self.segment.info.header.base;
                    let witness = self.window.witness(&*self.segment.file, base, self.offset, self.next);
                    return match witness.map_err(|e| self.segment.io(e))? {
                        Some(_) => Err(self.damaged(flaw.found)),
                        None => self.end(&flaw.found),
                    };
                }
            }
        }
    }

    /// Looks for a frame here, the second time past what the window has kept.
    fn look(&mut self) -> Result<Spot> {
        let (file, base) = (&*self.segment.file, self.segment.info.header.base);
        let limit = self.segment.limit()?;
        match self.window.spot(file, base, self.offset, limit).map_err(|e| self.segment.io(e))? {
            Spot::Frame(header) => Ok(Spot::Frame(header)),
            Spot::Blank | Spot::Flawed(_) => {
                self.window.forget();
                self.window.spot(file, base, self.offset, limit).map_err(|e| self.segment.io(e))
            }
        }
    }

    /// Goes over to the segment behind this one if this one ends here; false if there is none. When one has appeared since the last look, this one
    /// is looked at again first, because frames may have come before it.
    fn advance(&mut self) -> Result<bool> {
        let position = self.place();
        let Some(successor) = self.segment.successor else {
            let segment = self.reader.segment_anew(Position(position.0.saturating_sub(1)))?;
            let appeared = segment.successor.is_some();
            self.segment = segment;
            return Ok(appeared);
        };
        if position != successor {
            let found = if position > successor { "a frame" } else { "no frame" };
            return Err(self.damaged(format!("{found}, and the next segment at position {successor}")));
        }
        self.segment = self.reader.segment(successor)?;
        self.offset = SEGMENT_HEADER_BYTES as u64;
        self.window.forget();
        if self.segment.info.header.first != self.next {
            return Err(self.damaged(format!("a segment that begins with record {}", self.segment.info.header.first)));
        }
        Ok(true)
    }

    /// Decides whether the journal may end here.
    fn end(&self, found: &str) -> Result<Option<FrameHeader>> {
        let bound = self.reader.bound().map(|bound| bound.next());
        match bound.filter(|&next| next > self.next).or(self.reader.promised(self.place())?) {
            Some(_) => Err(self.damaged(found)),
            None => Ok(None),
        }
    }

    fn damaged(&self, found: impl Into<String>) -> Error {
        self.segment.damaged(self.offset, found, format!("record {}", self.next))
    }
}

impl Iterator for Scan {
    type Item = Result<StoredEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
