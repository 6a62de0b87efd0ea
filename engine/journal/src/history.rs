//! The history of one stream, read backwards from its last frame: no index is needed.
//!
//! Each frame knows where the stream's previous one stands. The walk reads the files in pieces that end behind the frame it wants. While frames of the
//! stream lie close together the pieces grow, up to 256 KiB, so that a run that had the journal for itself costs few reads; while they lie far apart
//! the pieces are small, so that a run among thousands does not cost the reading of all of them.
//!
//! Then the entries are put in order and the chain is recomputed from its beginning. A history that is returned is proved.

use crate::error::{Error, Result};
use crate::format::{self, FrameHeader, Look};
use crate::ids::{Digest, Position};
use crate::reader::{Reader, Segment};
use crate::stored::StoredEntry;
use crate::walk::Window;

/// The smallest and the largest piece.
const PIECE_BYTES_MIN: usize = 4 << 10;
const PIECE_BYTES_MAX: usize = 256 << 10;

/// A frame on the way back.
struct Found {
    header: FrameHeader,
    position: Position,
    frame: Box<[u8]>,
}

impl Reader {
    /// Returns all entries of the stream whose last frame is `last`, oldest first.
    pub fn history(&self, last: Position) -> Result<Vec<StoredEntry>> {
        self.history_since(last, 1)
    }

    /// Returns the entries of the stream whose last frame is `last`, oldest first, from the one that holds its record `seq` on.
    ///
    /// The chain is proved from there on; the digest that it starts from is that of the frame before, or unknown if that was pruned.
    pub fn history_since(&self, last: Position, seq: u64) -> Result<Vec<StoredEntry>> {
        let mut back = Backwards {
            reader: self,
            segment: None,
            window: Window::new(PIECE_BYTES_MIN),
            piece: PIECE_BYTES_MIN,
            hits: 0,
        };
        let mut found: Vec<Found> = Vec::new();
        let mut position = last;
        while !position.is_none() {
            let (segment, this) = back.frame(position)?;
            if let Some(after) = found.last() {
                self.check_link(segment, position, &this.header, &after.header)?;
            }
            position = this.header.previous;
            if !position.is_none() && position >= this.position {
                let found = format!("a link to position {position}");
                let at = this.position.0 - segment.base() + format::AT_PREVIOUS as u64;
                return Err(segment.damaged(at, found, format!("one before {}", this.position)));
            }
            let done = this.header.seq <= seq.max(1);
            if !done && position.is_none() {
                let at = this.position.0 - segment.base() + format::AT_PREVIOUS as u64;
                return Err(segment.damaged(
                    at,
                    "no link",
                    format!("a link to the frame before record {}", this.header.seq),
                ));
            }
            found.push(this);
            if done {
                break;
            }
        }
        let oldest = found.last().map(|oldest| oldest.header);
        let mut before = match oldest {
            Some(header) if header.seq > 1 => self.digest_before(&header)?,
            _ => Some(Digest::ZERO),
        };
        let mut entries = Vec::with_capacity(found.len());
        for Found { header, position, frame } in found.into_iter().rev() {
            let entry = StoredEntry::new(header, position, &frame, before);
            entries.push(entry.map_err(|(at, flaw)| self.located(position, at, flaw))?);
            before = Some(header.digest);
        }
        Ok(entries)
    }

    fn located(&self, position: Position, at: usize, flaw: format::Flaw) -> Error {
        match self.segment(position) {
            Ok(segment) => segment.damaged(position.0 - segment.base() + at as u64, flaw.found, flaw.expected),
            Err(error) => error,
        }
    }
}

/// Reads frames from the end of the journal towards its beginning.
struct Backwards<'a> {
    reader: &'a Reader,
    segment: Option<Segment>,
    window: Window,
    piece: usize,
    /// How many frames the last piece was good for.
    hits: usize,
}

impl Backwards<'_> {
    fn frame(&mut self, position: Position) -> Result<(&Segment, Found)> {
        let inside = self.segment.as_ref().is_some_and(|segment| {
            segment.base() < position.0 && segment.successor.is_none_or(|successor| position < successor)
        });
        if !inside {
            // Also the way on which a position that was pruned or never existed is refused.
            self.window.forget();
            let (segment, _) = self.reader.frame(position, &mut self.window)?;
            self.segment = Some(segment);
        }
        let segment = self.segment.as_ref().expect("it was found above or before");
        let offset = position.0 - segment.base();
        let whole = |bytes: &[u8]| match format::frame(bytes, position) {
            Look::Frame(header) => Some(Found { header, position, frame: bytes[..header.frame_bytes()].into() }),
            Look::Short(_) | Look::Flawed(_) => None,
        };
        self.hits += 1;
        if let Some(found) = self.window.rest(offset).and_then(whole) {
            return Ok((segment, found));
        }
        self.piece = match self.hits {
            8.. => (self.piece * 2).min(PIECE_BYTES_MAX),
            0..2 => (self.piece / 2).max(PIECE_BYTES_MIN),
            2..8 => self.piece,
        };
        self.hits = 0;
        // Most of the piece lies in front of the frame, where the walk goes on; a frame longer than the rest is read by itself below.
        let start = offset.saturating_sub((self.piece - PIECE_BYTES_MIN / 2) as u64);
        let length = (offset - start) as usize + PIECE_BYTES_MIN / 2;
        self.window.load(&*segment.file, start, length).map_err(|e| segment.io(e))?;
        if let Some(found) = self.window.rest(offset).and_then(whole) {
            return Ok((segment, found));
        }
        let (_, header) = self.reader.frame(position, &mut self.window)?;
        let bytes = self.window.bytes(&*segment.file, offset, header.frame_bytes()).map_err(|e| segment.io(e))?;
        match whole(bytes) {
            Some(found) => Ok((segment, found)),
            None => Err(segment.damaged(offset, "a frame that changed while it was read", "the same bytes")),
        }
    }
}
