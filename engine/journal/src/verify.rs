//! Proves a journal whole, or says what is lost.
//!
//! Opening a journal checks what a start depends on. This checks everything, and changes nothing: the checksum of every frame, that records are dense
//! in the journal and in their stream, that each frame's link leads to the stream's previous one, and the chain of digests, recomputed from every payload.
//! It does not stop at damage: it looks for the next good frame and goes on, so that the report names all that is lost.
//!
//! It remembers the end of each stream: about 100 bytes for each that the journal holds.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::files::{File, Files, Mode, RealFiles};
use crate::format::{self, FrameHeader, SEGMENT_HEADER_BYTES, SegmentFlaw, SegmentHeader};
use crate::ids::{Digest, Lsn, Position, StreamId};
use crate::mark::{self, MarkState};
use crate::stored::StoredEntry;
use crate::walk::{Spot, Window};

/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// How many findings a report holds; the rest is counted.
const FINDINGS_MAX: usize = 1000;

/// What there is, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Good frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Streams that they belong to.
    pub streams: u64,
    /// Bytes of good frames.
    pub bytes: u64,
    /// The oldest record.
    pub first: Lsn,
    /// The record after the newest.
    pub next: Lsn,
    /// Streams whose beginning was pruned.
    pub pruned_streams: u64,
    /// Bytes behind the last frame that no crash-proof promise covers: the next start cuts them.
    pub torn: Option<Damage>,
    /// Whether there was a mark to say up to where records were acknowledged.
    pub marked: bool,
    /// What is wrong, in the order of the journal.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more_findings: u64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, and how one can tell.
    pub damage: Damage,
    /// The records that are lost by it: from the first up to and without the second.
    pub lost: Option<(Lsn, Lsn)>,
}

impl Report {
    /// Tells whether nothing that was acknowledged is missing or changed.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// Returns how many records are lost, as far as that is known.
    pub fn lost_records(&self) -> u64 {
        self.findings.iter().filter_map(|finding| finding.lost).map(|(from, to)| to.0.saturating_sub(from.0)).sum()
    }
}

/// Checks the journal in a directory. An error means that it cannot be read at all; what is wrong with it stands in the report.
pub fn verify(directory: impl AsRef<Path>) -> Result<Report> {
    verify_files(Arc::new(RealFiles::new(directory.as_ref())))
}

/// Checks the journal in a directory of any file layer.
pub fn verify_files(files: Arc<dyn Files>) -> Result<Report> {
    let names = files.list().map_err(|e| Error::io("list", &files.describe(), e))?;
    let mark = mark::read(&*files, &names)?;
    let mut segments = Vec::new();
    for name in names.iter().filter(|name| format::segment_first(name).is_some()) {
        segments.push(Segment::open(&*files, name)?);
    }
    if segments.is_empty() && mark == MarkState::Missing {
        return Err(Error::Missing);
    }
    let mut check = Check { report: Report { marked: mark.mark().is_some(), ..Report::default() }, ..Check::default() };
    check.beginning(mark, &segments);
    for (i, segment) in segments.iter().enumerate() {
        check.segment(segment, segments.get(i + 1))?;
    }
    check.end(mark, segments.last());
    check.report.next = check.next;
    check.report.streams = check.streams.len() as u64;
    Ok(check.report)
}

struct Segment {
    name: String,
    first: Lsn,
    header: Result<SegmentHeader, (u64, format::Flaw)>,
    file: Box<dyn File>,
    length: u64,
}

impl Segment {
    fn open(files: &dyn Files, name: &str) -> Result<Self> {
        let io = |e| Error::io("read", name, e);
        let file = files.open(name, Mode::Read).map_err(io)?;
        let length = file.length().map_err(io)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_at(&mut bytes, 0).map_err(io)?;
        let header = match format::segment_header(&bytes[..read]) {
            Ok(header) => Ok(header),
            Err(SegmentFlaw::Damaged(at, flaw)) => Err((at, flaw)),
            Err(SegmentFlaw::TooNew(found)) => {
                return Err(Error::TooNew { file: name.into(), found, supported: format::FORMAT_VERSION.into() });
            }
        };
        let first = format::segment_first(name).unwrap_or_default();
        Ok(Self { name: name.into(), first, header, file, length })
    }
}

/// The end of a stream so far.
struct End {
    next_seq: u64,
    digest: Digest,
    last: Position,
}

#[derive(Default)]
struct Check {
    report: Report,
    streams: HashMap<StreamId, End>,
    next: Lsn,
    /// The position of the oldest byte there is.
    base: Position,
    /// The position after the last good frame.
    end: Position,
    last_frame: Position,
}

impl Check {
    fn found(&mut self, file: &str, offset: u64, flaw: format::Flaw, lost: Option<(Lsn, Lsn)>) {
        if self.report.findings.len() == FINDINGS_MAX {
            self.report.more_findings += 1;
            return;
        }
        let damage = Damage { file: file.into(), offset, found: flaw.found, expected: flaw.expected };
        self.report.findings.push(Finding { damage, lost });
    }

    fn beginning(&mut self, mark: MarkState, segments: &[Segment]) {
        let first = segments.first().map_or(Lsn::FIRST, |segment| segment.first);
        self.report.first = first;
        self.next = first;
        if let Some(Ok(header)) = segments.first().map(|segment| &segment.header) {
            (self.base, self.end) = (header.base, header.base);
        }
        if let Some(mark) = mark.mark()
            && (mark.first < first || segments.is_empty())
        {
            let to = if segments.is_empty() { mark.next } else { first };
            let flaw =
                format::Flaw::new(format!("a journal that begins with record {to}"), format!("record {}", mark.first));
            self.found(mark::MARK_NAME, 16, flaw, Some((mark.first, to)));
            self.next = to;
        }
        if mark == MarkState::Unreadable {
            let flaw = format::Flaw::new("a mark that cannot be read", "what was acknowledged");
            self.found(mark::MARK_NAME, 0, flaw, None);
        }
    }

    fn end(&mut self, mark: MarkState, last: Option<&Segment>) {
        let (Some(mark), Some(last)) = (mark.mark(), last) else { return };
        if mark.end > self.end && mark.next > self.next {
            let offset = last.header.as_ref().map_or(0, |header| self.end.0.saturating_sub(header.base.0));
            let flaw = format::Flaw::new("the end of the journal", format!("record {}", self.next));
            self.report.torn = None;
            self.found(&last.name, offset, flaw, Some((self.next, mark.next)));
        }
    }

    fn segment(&mut self, segment: &Segment, behind: Option<&Segment>) -> Result<()> {
        self.report.segments += 1;
        let name = &segment.name;
        if segment.first > self.next {
            let flaw = format::Flaw::new(format!("record {}", segment.first), format!("record {}", self.next));
            self.found(name, 16, flaw, Some((self.next, segment.first)));
            self.next = segment.first;
        }
        let header = match &segment.header {
            Ok(header) if header.first == segment.first => header,
            Ok(header) => {
                let flaw =
                    format::Flaw::new(format!("a header for record {}", header.first), "the record in the file's name");
                self.lost_segment(segment, 16, flaw, behind);
                return Ok(());
            }
            Err((at, flaw)) => {
                self.lost_segment(segment, *at, flaw.clone(), behind);
                return Ok(());
            }
        };
        if self.report.segments > 1 && header.previous_last != self.last_frame && self.end == header.base {
            let found = format!("a link to the frame at {}", header.previous_last);
            self.found(name, 40, format::Flaw::new(found, format!("{}", self.last_frame)), None);
        }
        self.end = header.base;
        let successor = behind.and_then(|segment| segment.header.as_ref().ok());
        let sealed_at = successor.and_then(|next| next.base.0.checked_sub(header.base.0));
        let limit = sealed_at.map_or(segment.length, |end| end.min(segment.length));
        self.frames(segment, header, limit, behind)
    }

    fn lost_segment(&mut self, segment: &Segment, at: u64, flaw: format::Flaw, behind: Option<&Segment>) {
        let to = behind.map(|segment| segment.first);
        self.found(&segment.name, at, flaw, to.map(|to| (self.next, to)));
        self.next = to.unwrap_or(self.next);
    }

    fn frames(
        &mut self,
        segment: &Segment,
        header: &SegmentHeader,
        limit: u64,
        behind: Option<&Segment>,
    ) -> Result<()> {
        let Segment { name, file, .. } = segment;
        let io = |e| Error::io("read", name, e);
        let mut window = Window::new(CHUNK_BYTES);
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        loop {
            let position = Position(header.base.0.saturating_add(offset));
            let flaw = match window.spot(&**file, header.base, offset, limit).map_err(io)? {
                Spot::Frame(frame) if frame.lsn >= self.next => {
                    if frame.lsn > self.next {
                        let flaw = format::Flaw::new(format!("record {}", frame.lsn), format!("record {}", self.next));
                        self.found(name, offset, flaw, Some((self.next, frame.lsn)));
                    }
                    let bytes = window.bytes(&**file, offset, frame.frame_bytes()).map_err(io)?.to_vec();
                    self.frame(name, offset, position, frame, &bytes);
                    offset += frame.frame_bytes() as u64;
                    continue;
                }
                Spot::Frame(frame) => {
                    format::Flaw::new(format!("record {}", frame.lsn), format!("record {}", self.next))
                }
                Spot::Blank if behind.is_some_and(|behind| behind.first == self.next) && offset == limit => {
                    return Ok(());
                }
                Spot::Blank => format::Flaw::new("zeros", format!("record {}", self.next)),
                Spot::Flawed(flaw) => flaw,
            };
            let next = window.frame_behind(&**file, header.base, offset + 1, self.next, limit).map_err(io)?;
            let witness = window.witness(&**file, header.base, offset, self.next).map_err(io)?;
            match (next, behind) {
                // Behind the last frame of the journal there may be anything, unless something proves that it was synced once.
                (_, None) if witness.is_none() => {
                    let end = window.end_of_bytes(&**file, offset).map_err(io)?;
                    let damage = Damage { file: name.clone(), offset, found: flaw.found, expected: flaw.expected };
                    self.report.torn = (end > offset).then_some(damage);
                    return Ok(());
                }
                (Some((at, frame)), _) => {
                    self.found(name, offset, flaw, Some((self.next, frame.lsn)));
                    self.next = frame.lsn;
                    offset = at;
                }
                (None, _) => {
                    self.lost_segment(segment, offset, flaw, behind);
                    return Ok(());
                }
            }
        }
    }

    fn frame(&mut self, name: &str, offset: u64, position: Position, frame: FrameHeader, bytes: &[u8]) {
        self.report.frames += 1;
        self.report.records += u64::from(frame.count);
        self.report.bytes += bytes.len() as u64;
        self.next = frame.next_lsn();
        self.last_frame = position;
        self.end = Position(position.0.saturating_add(bytes.len() as u64));
        let before = self.streams.get(&frame.stream);
        let expected = before.map_or((1, Position::NONE), |end| (end.next_seq, end.last));
        let pruned = before.is_none() && !frame.previous.is_none() && frame.previous < self.base;
        self.report.pruned_streams += u64::from(pruned);
        let follows = pruned || (frame.seq, frame.previous) == expected;
        let digest = match before {
            Some(end) if follows => Some(end.digest),
            _ => None,
        };
        if !follows {
            let found =
                format!("record {} of stream {}, linked to position {}", frame.seq, frame.stream, frame.previous);
            let expected = format!("its record {}, linked to position {}", expected.0, expected.1);
            self.found(name, offset + format::AT_SEQ as u64, format::Flaw::new(found, expected), None);
        }
        if let Err((at, flaw)) = StoredEntry::new(frame, position, bytes, digest) {
            self.found(name, offset + at as u64, flaw, None);
        }
        let end = End { next_seq: frame.next_seq(), digest: frame.digest, last: position };
        self.streams.insert(frame.stream, end);
    }
}
