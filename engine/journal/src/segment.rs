//! Segments on disk, and reading frames from them.
//!
//! A segment knows its first lsn and its base: how many bytes stand in all segments before it. Behind the last frame of
//! the newest segment are zeros that were filled in ahead; a sealed segment ends with its last frame.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::{Lsn, Position, Records, StoredEntry};
use crate::error::Error;
use crate::files::{File, Files};
use crate::format::{self, FRAME_HEADER, FrameHeader, SEGMENT_HEADER};

/// An open segment.
#[derive(Clone)]
pub(crate) struct Segment {
    pub name: Arc<str>,
    pub first_lsn: u64,
    pub base: u64,
    pub file: Arc<dyn File>,
}

/// Why there is no frame.
#[derive(Debug)]
pub(crate) enum NoFrame {
    /// Only zeros, or the end of the file.
    Nothing,
    /// Something that is not a frame.
    Bad(String),
    /// The file could not be read.
    Io(std::io::Error),
}

impl Segment {
    pub(crate) fn name_of(first_lsn: u64) -> String {
        format!("{first_lsn:020}.seg")
    }

    pub(crate) fn path(dir: &Path, name: &str) -> PathBuf {
        dir.join(name)
    }

    pub(crate) fn open(files: &dyn Files, dir: &Path, name: &str) -> Result<Self, Error> {
        let path = Self::path(dir, name);
        let file: Arc<dyn File> = Arc::from(files.open(&path, false).map_err(Error::io("open", &path))?);
        let mut head = [0; SEGMENT_HEADER];
        let read = file.read_at(&mut head, 0).map_err(Error::io("read", &path))?;
        let (first_lsn, base) = format::read_segment_header(&head[..read]).map_err(|found| Error::Damaged {
            segment: name.to_owned(),
            offset: 0,
            found: found.to_owned(),
            expected: "the header of a segment".to_owned(),
        })?;
        if Self::name_of(first_lsn) != name {
            return Err(Error::Damaged {
                segment: name.to_owned(),
                offset: 8,
                found: format!("a header with first lsn {first_lsn}"),
                expected: "the number in the file's name".to_owned(),
            });
        }
        Ok(Self { name: Arc::from(name), first_lsn, base, file })
    }

    /// The frame at `offset`, read through `window`, a buffer that reads ahead.
    pub(crate) fn frame(&self, offset: u64, window: &mut Window) -> Result<StoredEntry, NoFrame> {
        let head = window.get(&*self.file, offset, FRAME_HEADER).map_err(NoFrame::Io)?;
        if head.iter().all(|b| *b == 0) {
            return Err(NoFrame::Nothing);
        }
        let header = FrameHeader::read(head).map_err(|e| NoFrame::Bad(e.to_owned()))?;
        let len = FRAME_HEADER + header.body_len as usize;
        let frame = window.get(&*self.file, offset, len).map_err(NoFrame::Io)?;
        if frame.len() < len {
            return Err(NoFrame::Bad(format!("a frame of {len} bytes of which {} are there", frame.len())));
        }
        let crc = format::frame_crc(frame);
        if crc != header.crc {
            return Err(NoFrame::Bad(format!("checksum {crc:08x}, where the frame says {:08x}", header.crc)));
        }
        let body = frame[FRAME_HEADER..].to_vec();
        let mut records = Records { rest: &body, seq: header.first_seq };
        let count = records.by_ref().count();
        if count != usize::from(header.count) || !records.rest.is_empty() || count == 0 {
            return Err(NoFrame::Bad(format!("{count} records, where the frame says {}", header.count)));
        }
        Ok(StoredEntry {
            position: Position(self.base + offset),
            lsn: Lsn(header.lsn),
            stream: header.stream,
            first_seq: header.first_seq,
            at: header.at,
            count: header.count,
            prev: header.prev,
            digest: header.digest,
            group: header.group,
            body,
        })
    }
}

/// A buffer over a part of a file.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    start: u64,
    ahead: usize,
    behind: usize,
}

impl Window {
    /// Reads `ahead` bytes at a time from where it is asked.
    pub(crate) fn forward(ahead: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, ahead, behind: 0 }
    }

    /// Reads `behind` bytes at a time up to where it is asked.
    pub(crate) fn backward(behind: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, ahead: 4096, behind }
    }

    /// Forgets what it has: another file, or another state of it.
    pub(crate) fn reset(&mut self) {
        self.bytes.clear();
    }

    /// `len` bytes at `offset`, or fewer where the file ends.
    pub(crate) fn get(&mut self, file: &dyn File, offset: u64, len: usize) -> std::io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if self.bytes.is_empty() || offset < self.start || offset + len as u64 > end {
            self.start = offset.saturating_sub(self.behind as u64);
            let want = usize::try_from(offset - self.start).expect("a window is small") + len.max(self.ahead);
            self.bytes.resize(want, 0);
            let read = file.read_at(&mut self.bytes, self.start)?;
            self.bytes.truncate(read);
        }
        let from = usize::try_from(offset - self.start).expect("a window is small").min(self.bytes.len());
        Ok(&self.bytes[from..(from + len).min(self.bytes.len())])
    }
}

/// Every segment of a directory, in order, with headers that fit each other.
pub(crate) fn open_all(files: &dyn Files, dir: &Path) -> Result<Vec<Segment>, Error> {
    let mut names = files.list(dir).map_err(Error::io("list", dir))?;
    names.retain(|n| n.ends_with(".seg"));
    names.sort_unstable();
    let segments = names.iter().map(|n| Segment::open(files, dir, n)).collect::<Result<Vec<_>, _>>()?;
    for pair in segments.windows(2) {
        let path = dir.join(&*pair[0].name);
        let len = pair[0].file.len().map_err(Error::io("measure", &path))?;
        if pair[1].base != pair[0].base + len || pair[1].first_lsn <= pair[0].first_lsn {
            return Err(Error::Damaged {
                segment: pair[1].name.to_string(),
                offset: 0,
                found: format!("a segment at position {}", pair[1].base),
                expected: format!(
                    "one at position {}, where segment {} ends: a segment is missing, or one was cut",
                    pair[0].base + len,
                    pair[0].name
                ),
            });
        }
    }
    Ok(segments)
}
