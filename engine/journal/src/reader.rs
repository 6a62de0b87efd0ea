//! Reading the log: by position, by stream, front to back. Needs no lock and works while another process appends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::chain::{Lsn, Position, StoredEntry};
use crate::error::Error;
use crate::files::{Files, RealFiles};
use crate::format::SEGMENT_HEADER;
use crate::segment::{NoFrame, Segment, Window, open_all};

/// Bytes read at a time along a stream, and front to back.
const BEHIND: usize = 256 << 10;
const AHEAD: usize = 1 << 20;

/// Reads a log. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    files: Arc<dyn Files>,
    dir: PathBuf,
    segments: RwLock<Vec<Segment>>,
}

impl Reader {
    /// A reader of the log in `dir`.
    ///
    /// # Errors
    /// If there is no log, or a segment's header is damaged.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_in(dir, Arc::new(RealFiles))
    }

    /// The same over other files.
    ///
    /// # Errors
    /// If there is no log, or a segment's header is damaged.
    pub fn open_in(dir: &Path, files: Arc<dyn Files>) -> Result<Self, Error> {
        let missing = |e: Error| match &e {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::Missing { path: dir.to_owned() }
            }
            _ => e,
        };
        let segments = open_all(&*files, dir).map_err(missing)?;
        if segments.is_empty() {
            return Err(Error::Missing { path: dir.to_owned() });
        }
        let shared = Shared { files, dir: dir.to_owned(), segments: RwLock::new(segments) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The entry at a position.
    ///
    /// # Errors
    /// If no frame stands there, or it is damaged.
    pub fn read(&self, position: Position) -> Result<StoredEntry, Error> {
        self.read_through(position, &mut None)
    }

    /// A stream's entries, oldest first, given where its last one stands.
    ///
    /// # Errors
    /// If a frame on the way is damaged, or of another stream.
    pub fn history(&self, last: Position) -> Result<Vec<StoredEntry>, Error> {
        let mut entries: Vec<StoredEntry> = Vec::new();
        let mut window = None;
        let mut next = last;
        while next != Position::NONE {
            let entry = self.read_through(next, &mut window)?;
            let fits = entries.last().is_none_or(|after: &StoredEntry| {
                after.stream == entry.stream
                    && after.position > entry.position
                    && entry.first_seq + u64::from(entry.count) == after.first_seq
            });
            if !fits {
                return Err(self.damaged(next, "an entry of another stream, or out of order".to_owned()));
            }
            next = entry.prev;
            entries.push(entry);
        }
        entries.reverse();
        Ok(entries)
    }

    /// Every entry from a number on, front to back, up to the end that is there when it gets there.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn scan(&self, from: Lsn) -> Result<Scan, Error> {
        let segments = self.refresh()?;
        let begin = segments.partition_point(|s| s.first_lsn <= from.0).saturating_sub(1);
        let segments = segments[begin.min(segments.len())..].to_vec();
        Ok(Scan { dir: self.shared.dir.clone(), segments, from, next: 0, offset: SEGMENT_HEADER as u64, lsn: None, window: Window::forward(AHEAD), ended: false })
    }

    fn read_through(&self, position: Position, window: &mut Option<(u64, Window)>) -> Result<StoredEntry, Error> {
        let (segment, offset) = self.locate(position)?;
        let (_, window) = match window {
            Some((base, w)) if *base == segment.base => (segment.base, w),
            slot => {
                let (base, w) = slot.insert((segment.base, Window::backward(BEHIND)));
                (*base, w)
            }
        };
        segment.frame(offset, window).map_err(|e| match e {
            NoFrame::Nothing => self.damaged(position, "nothing".to_owned()),
            NoFrame::Bad(found) => self.damaged(position, found),
            NoFrame::Io(source) => {
                Error::Io { action: "read", path: self.shared.dir.join(&*segment.name), source }
            }
        })
    }

    fn locate(&self, position: Position) -> Result<(Segment, u64), Error> {
        let find = |segments: &[Segment]| {
            let index = segments.partition_point(|s| s.base + (SEGMENT_HEADER as u64) <= position.0).checked_sub(1)?;
            let segment = segments.get(index)?;
            // The newest known segment may have been sealed and followed by others since.
            let inside = index + 1 < segments.len() || segment.file.len().is_ok_and(|len| position.0 < segment.base + len);
            inside.then(|| (segment.clone(), position.0 - segment.base))
        };
        if let Some(found) = find(&self.shared.segments.read()) {
            return Ok(found);
        }
        find(&self.refresh()?).ok_or(Error::NoSuchPosition { position: position.0 })
    }

    fn refresh(&self) -> Result<Vec<Segment>, Error> {
        let mut tries = 0;
        loop {
            match open_all(&*self.shared.files, &self.shared.dir) {
                Ok(segments) => {
                    *self.shared.segments.write() = segments.clone();
                    return Ok(segments);
                }
                // The writer may seal a segment between two looks at it.
                Err(Error::Damaged { .. }) if tries < 3 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn damaged(&self, position: Position, found: String) -> Error {
        let (segment, offset) = match self.locate(position) {
            Ok((segment, offset)) => (segment.name.to_string(), offset),
            Err(_) => ("(none)".to_owned(), position.0),
        };
        Error::Damaged { segment, offset, found, expected: "a whole frame of the stream".to_owned() }
    }
}

/// Entries front to back.
pub struct Scan {
    dir: PathBuf,
    segments: Vec<Segment>,
    from: Lsn,
    next: usize,
    offset: u64,
    lsn: Option<u64>,
    window: Window,
    ended: bool,
}

impl Iterator for Scan {
    type Item = Result<StoredEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let segment = self.segments.get(self.next)?;
            let newest = self.next + 1 == self.segments.len();
            let expected = self.lsn.unwrap_or(segment.first_lsn);
            match segment.frame(self.offset, &mut self.window) {
                Ok(entry) if entry.lsn.0 == expected => {
                    self.offset += entry.stored_len() as u64;
                    self.lsn = Some(entry.end_lsn().0);
                    if entry.end_lsn() > self.from {
                        return Some(Ok(entry));
                    }
                }
                Ok(entry) => {
                    self.ended = true;
                    let found = format!("a frame with lsn {}", entry.lsn.0);
                    return Some(Err(self.damaged(segment, found, expected)));
                }
                Err(NoFrame::Io(source)) => {
                    self.ended = true;
                    return Some(Err(Error::Io { action: "read", path: self.dir.join(&*segment.name), source }));
                }
                // The end, or a frame that is being written right now.
                Err(NoFrame::Nothing | NoFrame::Bad(_)) if newest => self.ended = true,
                Err(no) => {
                    let end = segment.file.len().is_ok_and(|len| self.offset >= len);
                    if !end || self.segments[self.next + 1].first_lsn != expected {
                        self.ended = true;
                        let found = match no {
                            NoFrame::Bad(found) => found,
                            NoFrame::Nothing | NoFrame::Io(_) => "nothing".to_owned(),
                        };
                        return Some(Err(self.damaged(segment, found, expected)));
                    }
                    self.next += 1;
                    self.offset = SEGMENT_HEADER as u64;
                    self.window.reset();
                }
            }
        }
        None
    }
}

impl Scan {
    fn damaged(&self, segment: &Segment, found: String, expected: u64) -> Error {
        Error::Damaged {
            segment: segment.name.to_string(),
            offset: self.offset,
            found,
            expected: format!("the frame with lsn {expected}"),
        }
    }
}
