//! Full verification: every checksum, every number, every link of every chain.

use std::collections::HashMap;
use std::path::Path;

use crate::chain::{Digest, Position, StreamId};
use crate::error::Error;
use crate::files::{Files, RealFiles};
use crate::format::SEGMENT_HEADER;
use crate::segment::{NoFrame, Segment, Window};

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Entries that could be read.
    pub entries: u64,
    /// Records in them.
    pub records: u64,
    /// Streams that they belong to.
    pub streams: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// The number after the last record's.
    pub next_lsn: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the segment.
    pub segment: String,
    /// Where in it.
    pub offset: u64,
    /// What, and what is lost by it.
    pub what: String,
}

/// Verifies the log in `dir` from front to back. Damage is a finding, not an error; what follows it is read as far as
/// frames can be found.
///
/// # Errors
/// If there is no log, or files cannot be read at all.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    verify_in(dir, &RealFiles)
}

/// The same over other files.
///
/// # Errors
/// If there is no log, or files cannot be read at all.
pub fn verify_in(dir: &Path, files: &dyn Files) -> Result<Report, Error> {
    let mut names = files.list(dir).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: dir.to_owned() },
        _ => Error::Io { action: "list", path: dir.to_owned(), source },
    })?;
    names.retain(|n| n.ends_with(".seg"));
    names.sort_unstable();
    if names.is_empty() {
        return Err(Error::Missing { path: dir.to_owned() });
    }
    let mut walk = Walk { report: Report { next_lsn: 1, ..Report::default() }, tails: HashMap::new(), end: 0, torn: false };
    let last = names.len() - 1;
    for (index, name) in names.iter().enumerate() {
        match Segment::open(files, dir, name) {
            Ok(segment) => walk.segment(dir, &segment, index == last)?,
            Err(Error::Damaged { segment, offset, found, expected }) => {
                let what = format!("{found}, expected {expected}; nothing in this segment can be read");
                walk.report.findings.push(Finding { segment, offset, what });
                walk.torn = true;
            }
            Err(error) => return Err(error),
        }
    }
    walk.report.streams = walk.tails.len() as u64;
    Ok(walk.report)
}

struct Walk {
    report: Report,
    /// The end of each stream: next number, digest, position of the last frame.
    tails: HashMap<StreamId, (u64, Digest, Position)>,
    /// Where the segment before ended.
    end: u64,
    /// Whether frames before here could not be read: gaps are then expected.
    torn: bool,
}

impl Walk {
    fn find(&mut self, segment: &Segment, offset: u64, what: String) {
        self.report.findings.push(Finding { segment: segment.name.to_string(), offset, what });
    }

    fn segment(&mut self, dir: &Path, segment: &Segment, newest: bool) -> Result<(), Error> {
        let path = dir.join(&*segment.name);
        self.report.segments += 1;
        if segment.base != self.end && !self.torn {
            let what = format!("the segment begins at position {}, expected {}: bytes before it are lost", segment.base, self.end);
            self.find(segment, 16, what);
        }
        let length = segment.file.len().map_err(Error::io("measure", &path))?;
        let mut window = Window::forward(1 << 20);
        let mut offset = SEGMENT_HEADER as u64;
        if self.torn {
            self.report.next_lsn = self.report.next_lsn.max(segment.first_lsn);
        }
        while offset < length {
            match segment.frame(offset, &mut window) {
                Ok(entry) => {
                    self.entry(segment, offset, &entry);
                    offset += entry.stored_len() as u64;
                }
                Err(NoFrame::Io(source)) => return Err(Error::Io { action: "read", path, source }),
                Err(NoFrame::Nothing) if newest && zeros_to_end(segment, offset, length, &path)? => break,
                Err(no) => {
                    let found = match no {
                        NoFrame::Bad(found) => found,
                        NoFrame::Nothing | NoFrame::Io(_) => "zeros".to_owned(),
                    };
                    let expected = self.report.next_lsn;
                    let Some(next) = next_frame(segment, offset + 1, length, &mut window)? else {
                        let lost = length - offset;
                        let what = format!(
                            "{found}, expected the frame with lsn {expected}; the {lost} bytes from here to the end of the \
                             segment cannot be read"
                        );
                        self.find(segment, offset, what);
                        self.torn = true;
                        break;
                    };
                    let what = format!(
                        "{found}, expected the frame with lsn {expected}; {} bytes are lost, the next whole frame is at \
                         offset {next}",
                        next - offset
                    );
                    self.find(segment, offset, what);
                    self.torn = true;
                    offset = next;
                }
            }
        }
        self.end = segment.base + if newest { offset } else { length };
        Ok(())
    }

    fn entry(&mut self, segment: &Segment, offset: u64, entry: &crate::chain::StoredEntry) {
        let stream = entry.stream;
        if entry.lsn.0 != self.report.next_lsn && !self.torn {
            let what = format!("lsn {}, expected {}: records are lost", entry.lsn.0, self.report.next_lsn);
            self.find(segment, offset, what);
        }
        let (seq, digest, last) = self.tails.get(&stream).copied().unwrap_or((1, Digest::ZERO, Position::NONE));
        if entry.first_seq != seq || entry.prev != last {
            let what = format!(
                "stream {stream:?}: seq {} after position {}, expected seq {seq} after position {}: records of it are lost",
                entry.first_seq, entry.prev.0, last.0
            );
            self.find(segment, offset, what);
        } else if entry.chained(&digest) != entry.digest {
            let what = format!("stream {stream:?}: the digest at seq {} does not follow from the one before: records were changed", entry.first_seq);
            self.find(segment, offset, what);
        }
        let next = entry.first_seq + u64::from(entry.count);
        self.tails.insert(stream, (next, entry.digest, entry.position));
        self.report.next_lsn = entry.end_lsn().0;
        self.report.entries += 1;
        self.report.records += u64::from(entry.count);
        self.report.bytes += entry.stored_len() as u64;
        self.torn = false;
    }
}

fn zeros_to_end(segment: &Segment, offset: u64, length: u64, path: &Path) -> Result<bool, Error> {
    let mut rest = vec![0; usize::try_from(length - offset).unwrap_or(usize::MAX)];
    let read = segment.file.read_at(&mut rest, offset).map_err(Error::io("read", path))?;
    Ok(rest[..read].iter().all(|b| *b == 0))
}

/// The next offset at which a whole frame stands.
fn next_frame(segment: &Segment, from: u64, length: u64, window: &mut Window) -> Result<Option<u64>, Error> {
    let mut bytes = vec![0; usize::try_from(length.saturating_sub(from)).unwrap_or(usize::MAX)];
    let read = segment.file.read_at(&mut bytes, from).map_err(Error::io("read", segment.name.to_string()))?;
    bytes.truncate(read);
    let mut at = 0;
    while let Some(next) = bytes[at..].windows(2).position(|w| w == crate::format::FRAME_MAGIC) {
        at += next;
        if segment.frame(from + at as u64, window).is_ok() {
            return Ok(Some(from + at as u64));
        }
        at += 1;
    }
    Ok(None)
}
