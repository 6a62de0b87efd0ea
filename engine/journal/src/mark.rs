//! The mark: a small file beside the segments that says what was promised.
//!
//! A journal that ends too early looks like a journal that ends. Two facts tell the difference, and both stand in the mark: up to where records
//! were acknowledged, and which record is the oldest that retention has kept. The mark is written without a sync when the writer has nothing else
//! to do, and with one when the journal is closed or pruned. So it may be late, never early: it is a lower bound of what has to be there.
//! Within the log, each frame also says how much in front of it was synced, which covers everything but the last group.
//!
//! The mark is an aid. A journal without it, or with one that cannot be read, opens; that is reported, and a new one is written. It fits into one
//! sector and is overwritten in place: it is the old one or the new one.
//!
//! ```text
//!  0  8  magic "cpdm\r\n\x1a\n"     8  4  CRC-32C over bytes 12..64     12  2  format version     14  2  zero
//! 16  8  oldest record kept        24  8  record after the last acknowledged      32  8  position after its frame
//! 40  16  journal                  56  8  zero
//! ```

use crate::error::{Error, Result};
use crate::files::{File, Files, Mode};
use crate::format::{array_at, put, u16_at, u32_at, u64_at};
use crate::ids::{Lsn, Position};

/// The name of the file.
pub(crate) const MARK_NAME: &str = "mark";
const MARK_BYTES: usize = 64;
const MARK_MAGIC: [u8; 8] = *b"cpdm\r\n\x1a\n";
const MARK_VERSION: u16 = 1;

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The oldest record that has to be there.
    pub first: Lsn,
    /// The record after the last one acknowledged.
    pub next: Lsn,
    /// The position after the last frame acknowledged.
    pub end: Position,
    /// The journal that it speaks of.
    pub journal: [u8; 16],
}

/// What opening found of the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkState {
    /// It was good.
    Good(Mark),
    /// There was none.
    Missing,
    /// There was one that could not be read.
    Unreadable,
}

impl MarkState {
    pub(crate) fn mark(self) -> Option<Mark> {
        match self {
            Self::Good(mark) => Some(mark),
            Self::Missing | Self::Unreadable => None,
        }
    }
}

impl Mark {
    fn to_bytes(self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&MARK_MAGIC);
        put(&mut bytes, 12, &MARK_VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.first.0.to_le_bytes());
        put(&mut bytes, 24, &self.next.0.to_le_bytes());
        put(&mut bytes, 32, &self.end.0.to_le_bytes());
        put(&mut bytes, 40, &self.journal);
        let crc = crc32c::crc32c(&bytes[12..]);
        put(&mut bytes, 8, &crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; MARK_BYTES]) -> Option<Self> {
        let good = bytes[..8] == MARK_MAGIC
            && u32_at(bytes, 8) == crc32c::crc32c(&bytes[12..])
            && u16_at(bytes, 12) == MARK_VERSION;
        good.then(|| Self {
            first: Lsn(u64_at(bytes, 16)),
            next: Lsn(u64_at(bytes, 24)),
            end: Position(u64_at(bytes, 32)),
            journal: array_at(bytes, 40),
        })
    }
}

/// Reads the mark of a directory.
pub(crate) fn read(files: &dyn Files, names: &[String]) -> Result<MarkState> {
    if !names.iter().any(|name| name == MARK_NAME) {
        return Ok(MarkState::Missing);
    }
    let file = files.open(MARK_NAME, Mode::Read).map_err(|e| Error::io("open", MARK_NAME, e))?;
    let mut bytes = [0; MARK_BYTES];
    let read = file.read_at(&mut bytes, 0).map_err(|e| Error::io("read", MARK_NAME, e))?;
    let mark = (read == MARK_BYTES).then(|| Mark::from_bytes(&bytes)).flatten();
    Ok(mark.map_or(MarkState::Unreadable, MarkState::Good))
}

/// The mark, open for writing.
pub(crate) struct MarkFile {
    file: Box<dyn File>,
    written: Mark,
}

impl MarkFile {
    /// Opens or creates the file and writes a mark into it, durably but for the name.
    pub(crate) fn open(files: &dyn Files, state: MarkState, mark: Mark) -> Result<Self> {
        let mode = if state == MarkState::Missing { Mode::Create } else { Mode::Write };
        let file = files.open(MARK_NAME, mode).map_err(|e| Error::io("open", MARK_NAME, e))?;
        let mut mark_file = Self { file, written: mark };
        if state != MarkState::Good(mark) {
            mark_file.write(mark)?;
            mark_file.sync()?;
        }
        Ok(mark_file)
    }

    /// Writes the mark, without a sync.
    pub(crate) fn write(&mut self, mark: Mark) -> Result<()> {
        self.file.write_all_at(&mark.to_bytes(), 0).map_err(|e| Error::io("write", MARK_NAME, e))?;
        self.written = mark;
        Ok(())
    }

    /// Makes the mark durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", MARK_NAME, e))
    }

    /// Returns what was written last.
    pub(crate) fn written(&self) -> Mark {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { first: Lsn(3), next: Lsn(99), end: Position(4096), journal: [7; 16] };

    #[test]
    fn mark_comes_back_from_its_bytes() {
        assert_eq!(Mark::from_bytes(&MARK.to_bytes()), Some(MARK));
    }

    #[test]
    fn any_flipped_bit_makes_the_mark_unreadable() {
        for bit in 0..MARK_BYTES * 8 {
            let mut bytes = MARK.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::from_bytes(&bytes), None, "bit {bit}");
        }
    }
}
