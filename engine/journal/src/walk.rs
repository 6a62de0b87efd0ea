//! Reading frames out of one file: a window over its bytes, the frame at an offset, and the search for frames behind a damaged place.
//!
//! The window reads large chunks and keeps the last one. What it keeps may be older than the file while another thread appends: who finds no
//! frame where one may have been written since calls [`Window::forget`] and looks again.
//!
//! Nothing here decides what a missing frame means; `recover` and `reader` do.

use std::io;

use crate::files::File;
use crate::format::{self, FRAME_HEADER_BYTES, FRAME_MAGIC, Flaw, FrameHeader, Look};
use crate::ids::{Lsn, Position};

/// A piece of a file in memory.
#[derive(Debug)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    start: u64,
    chunk: usize,
}

/// What stands at an offset.
#[derive(Debug)]
pub(crate) enum Spot {
    /// A frame with a good checksum.
    Frame(FrameHeader),
    /// The end of the file, or a header of zeros.
    Blank,
    /// Something else.
    Flawed(Flaw),
}

impl Window {
    /// Makes a window that reads at least `chunk` bytes at a time.
    pub(crate) fn new(chunk: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, chunk }
    }

    /// Drops what is in memory.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// Returns up to `length` bytes from `offset` on: fewer only at the end of the file.
    pub(crate) fn bytes(&mut self, file: &dyn File, offset: u64, length: usize) -> io::Result<&[u8]> {
        if self.held(offset, length).is_none() {
            self.load(file, offset, length.max(self.chunk))?;
        }
        let from = ((offset - self.start) as usize).min(self.buffer.len());
        Ok(&self.buffer[from..(from + length).min(self.buffer.len())])
    }

    /// Returns bytes that are in memory as a whole.
    pub(crate) fn held(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.buffer.get(from..from.checked_add(length)?)
    }

    /// Returns everything in memory from `offset` on.
    pub(crate) fn rest(&self, offset: u64) -> Option<&[u8]> {
        self.buffer.get(usize::try_from(offset.checked_sub(self.start)?).ok()?..)
    }

    /// Fills the window with `length` bytes from `offset` on.
    pub(crate) fn load(&mut self, file: &dyn File, offset: u64, length: usize) -> io::Result<()> {
        // The length is bounded by the file before it is used for a size.
        let there = file.length()?.saturating_sub(offset);
        let length = usize::try_from(there).unwrap_or(usize::MAX).min(length);
        self.start = offset;
        self.buffer.resize(length, 0);
        let read = file.read_at(&mut self.buffer, offset);
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        read.map(drop)
    }

    /// Tells what stands at `offset` of a file whose first byte has position `base`. No frame reaches beyond `limit`.
    pub(crate) fn spot(&mut self, file: &dyn File, base: Position, offset: u64, limit: u64) -> io::Result<Spot> {
        let mut needed = FRAME_HEADER_BYTES;
        loop {
            let room = limit.saturating_sub(offset);
            let bytes = self.bytes(file, offset, needed.min(usize::try_from(room).unwrap_or(usize::MAX)))?;
            return Ok(match format::frame(bytes, Position(base.0.saturating_add(offset))) {
                Look::Frame(header) => Spot::Frame(header),
                _ if bytes.iter().take(FRAME_HEADER_BYTES).all(|&b| b == 0) => Spot::Blank,
                Look::Flawed(flaw) => Spot::Flawed(flaw),
                Look::Short(more) if bytes.len() >= needed && (more as u64) <= room => {
                    needed = more;
                    continue;
                }
                Look::Short(more) => Spot::Flawed(Flaw::new(
                    format!("a frame of at least {more} bytes"),
                    format!("at most the {room} that are left of the file"),
                )),
            });
        }
    }

    /// Returns the offset after the last byte that is not zero, or `from` if there is none.
    pub(crate) fn end_of_bytes(&mut self, file: &dyn File, from: u64) -> io::Result<u64> {
        let (mut end, mut offset) = (from, from);
        loop {
            let chunk = self.chunk;
            let bytes = self.bytes(file, offset, chunk)?;
            if bytes.is_empty() {
                return Ok(end);
            }
            if let Some(last) = bytes.iter().rposition(|&b| b != 0) {
                end = offset + last as u64 + 1;
            }
            offset += bytes.len() as u64;
        }
    }

    /// Looks for a frame behind `after` that was written when the bytes at `after` were known to be synced: the proof that those bytes are
    /// damaged, and not merely lost with a group that nobody was told about.
    pub(crate) fn witness(
        &mut self,
        file: &dyn File,
        base: Position,
        after: u64,
        next: Lsn,
    ) -> io::Result<Option<Witness>> {
        let limit = file.length()?;
        let mut from = after + 1;
        while let Some((at, header)) = self.frame_behind(file, base, from, next, limit)? {
            if at.saturating_sub(header.unsynced.into()) > after {
                return Ok(Some(Witness { position: Position(base.0.saturating_add(at)), lsn: header.lsn }));
            }
            from = at + header.frame_bytes() as u64;
        }
        Ok(None)
    }

    /// Looks for the next frame from `from` on that holds a record behind `next`; returns its offset, too.
    pub(crate) fn frame_behind(
        &mut self,
        file: &dyn File,
        base: Position,
        from: u64,
        next: Lsn,
        limit: u64,
    ) -> io::Result<Option<(u64, FrameHeader)>> {
        let mut offset = from;
        while let Some(at) = self.next_magic(file, offset, limit)? {
            // Reject by the lsn first: the checksum of what merely looks like a frame may be long.
            let Some(head) = self.bytes(file, at, FRAME_HEADER_BYTES)?.first_chunk::<FRAME_HEADER_BYTES>() else {
                return Ok(None);
            };
            let lsn = format::u64_at(head, format::AT_LSN);
            if lsn > next.0
                && lsn - next.0 <= limit
                && let Spot::Frame(header) = self.spot(file, base, at, limit)?
            {
                return Ok(Some((at, header)));
            }
            offset = at + 1;
        }
        Ok(None)
    }

    fn next_magic(&mut self, file: &dyn File, from: u64, limit: u64) -> io::Result<Option<u64>> {
        let mut offset = from;
        while offset < limit {
            let chunk = self.chunk;
            let bytes = self.bytes(file, offset, chunk)?;
            if bytes.len() < 2 {
                return Ok(None);
            }
            if let Some(at) = bytes.windows(2).position(|pair| pair == FRAME_MAGIC) {
                return Ok(Some(offset + at as u64));
            }
            offset += bytes.len() as u64 - 1;
        }
        Ok(None)
    }
}

/// A frame that shows that everything before some place was synced once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) position: Position,
    pub(crate) lsn: Lsn,
}
