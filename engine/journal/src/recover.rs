//! What a directory holds when it is opened, and what has to be done before the next frame may follow.
//!
//! First a plan is made that only reads ([`Plan::make`]), then [`Plan::perform`] does it. The plan:
//!
//! 1. Segments are the files with a segment's name; they must follow each other without a gap, in records and in bytes. Left-overs of a
//!    segment that was being prepared, or of pruning, are removed.
//! 2. A segment that has a successor is *sealed*. Its header, its length and its last frame are compared with what the successor's header says.
//!    Whether every byte between is good is the business of `verify`, not of every start.
//! 3. The last segment is read from front to back. Where no good frame stands, the journal ends, and the rest is a *torn tail*, unless it can be
//!    shown that more was acknowledged. Two things can show it: a good frame further on that was written when this place was synced already
//!    (each frame says how much in front of it was not), and the mark.
//! 4. A torn tail is filled with zeros, durably, before anything else is written, so that no later reader can take a piece of it for a frame.
//!
//! What cannot be told apart, and what is done then:
//!
//! - *The last group, damaged after it was acknowledged, and the last group, torn by a loss of power.* Without the mark's word for it both look the same; the
//!   group is cut, and reported. The mark is written as soon as the writer is idle and reaches the disk with the system's next write-back,
//!   so this is open for seconds after the last record, and not at all after an orderly close.
//! - *A group that was written and synced, whose acknowledgement got lost with the process.* It is whole, so it is kept: an unacknowledged entry may
//!   appear after a crash, whole and in order, but never a part of one.
//! - *A last segment cut exactly between two frames, without a mark,* looks like a journal that ends there. Copies elsewhere (the chain in the
//!   warehouse) can tell.
//!
//! The last group that is kept is *written again*, byte for byte, and synced. A sync that fails makes the system forget which pages it owed to the disk
//! while it goes on showing them to readers: a process that starts after such a failure would see the group whole, and a loss of power would take it away
//! from under everything that was acknowledged behind it. Everything before that group is known to have been synced well.
//!
//! For the same reason a *terminator* of zeros is written behind it: bytes that stand there on the disk, but not in memory, cannot become a frame.
//!
//! Zeros are written over a torn tail, not a shorter length: the room behind the end was filled ahead so that appends need no new blocks.

use std::io::ErrorKind;

use crate::error::{Error, Result};
use crate::files::{File, Files, Mode};
use crate::format::{self, Flaw, SEGMENT_HEADER_BYTES, SegmentFlaw, SegmentHeader};
use crate::ids::{Lsn, Position};
use crate::mark::{self, Mark, MarkFile, MarkState};
use crate::walk::{Spot, Window};

/// Files in which a segment is prepared before it has its name.
pub(crate) const SPARE_NAME: &str = "spare";
pub(crate) const FRESH_NAME: &str = "fresh";
/// How much of a segment recovery reads at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What to do where acknowledged records at the end of the journal are damaged or missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// Refuse to open.
    #[default]
    Refuse,
    /// Cut the journal there and report it: an operator's decision, when no better copy exists.
    Cut,
}

/// A tail that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment's file.
    pub segment: String,
    /// The byte from which on nothing was kept.
    pub offset: u64,
    /// How many bytes there were up to the last one that was not zero.
    pub bytes: u64,
    /// What was there.
    pub found: String,
    /// Set if acknowledged records were among them, as only [`OnLoss::Cut`] allows.
    pub loss: Option<String>,
}

/// A segment as recovery and readers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
}

/// The last segment and where it ends.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) segment: SegmentInfo,
    /// The offset at which the next frame comes to stand.
    pub(crate) end: u64,
    pub(crate) next: Lsn,
    pub(crate) last_frame: Position,
    /// The offset before which everything is known to have been synced.
    pub(crate) proven: u64,
}

/// What is there and what to do about it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) mark: MarkState,
    /// The segments before the last, oldest first.
    pub(crate) sealed: Vec<SegmentInfo>,
    /// None in an empty directory.
    pub(crate) tail: Option<Tail>,
    pub(crate) cut: Option<Cut>,
    /// Files to remove.
    pub(crate) remove: Vec<String>,
    /// Sealed segments whose file is longer than it should be: name and proper length.
    pub(crate) shorten: Vec<(String, u64)>,
}

impl Plan {
    /// Looks at a directory without changing anything.
    pub(crate) fn make(files: &dyn Files, on_loss: OnLoss) -> Result<Self> {
        let names = files.list().map_err(|e| Error::io("list", "the directory", e))?;
        let mark = mark::read(files, &names)?;
        let mut remove: Vec<_> =
            names.iter().filter(|n| [SPARE_NAME, FRESH_NAME].contains(&n.as_str())).cloned().collect();
        let mut segments = read_segments(files, &names)?;
        if let Some(mark) = mark.mark() {
            // Pruning moves the mark first and removes files after it; a crash between leaves files behind.
            let pruned = segments.windows(2).take_while(|pair| pair[1].header.first <= mark.first).count();
            remove.extend(segments.drain(..pruned).map(|segment| segment.name));
            check_beginning(&mark, &segments)?;
        }
        let mut plan = Self { mark, sealed: segments, tail: None, cut: None, remove, shorten: Vec::new() };
        if let Some(last) = plan.sealed.pop() {
            for (i, segment) in plan.sealed.iter().enumerate() {
                let next = plan.sealed.get(i + 1).unwrap_or(&last);
                plan.shorten.extend(check_sealed(files, segment, next)?.map(|length| (segment.name.clone(), length)));
            }
            let (tail, cut) = find_tail(files, last, mark.mark(), on_loss)?;
            (plan.tail, plan.cut) = (Some(tail), cut);
        }
        Ok(plan)
    }

    /// Does what the plan says and makes it durable.
    pub(crate) fn perform(&self, files: &dyn Files) -> Result<()> {
        if let Some(mark) = self.mark.mark().filter(|_| !self.remove.is_empty()) {
            // The mark that allows the removal may be one that a failed sync has left in memory only.
            let mut file = MarkFile::open(files, self.mark, mark)?;
            file.write(mark)?;
            file.sync()?;
        }
        for name in &self.remove {
            files.remove(name).map_err(|e| Error::io("remove", name, e))?;
        }
        for (name, length) in &self.shorten {
            let file = files.open(name, Mode::Write).map_err(|e| Error::io("open", name, e))?;
            file.set_len(*length).map_err(|e| Error::io("shorten", name, e))?;
            file.sync_data().map_err(|e| Error::io("sync", name, e))?;
        }
        if let Some(Cut { segment, offset, bytes, .. }) = &self.cut {
            let file = files.open(segment, Mode::Write).map_err(|e| Error::io("open", segment, e))?;
            write_zeros(&*file, *offset, offset.saturating_add(*bytes)).map_err(|e| Error::io("cut", segment, e))?;
        }
        if let Some(Tail { segment, end, proven, .. }) = &self.tail {
            let name = &segment.name;
            let file = files.open(name, Mode::Write).map_err(|e| Error::io("open", name, e))?;
            write_again(&*file, *proven, *end).map_err(|e| Error::io("secure", name, e))?;
            terminate(&*file, *end).map_err(|e| Error::io("secure", name, e))?;
            file.sync_data().map_err(|e| Error::io("sync", name, e))?;
        }
        files.sync_dir().map_err(|e| Error::io("sync", "the directory", e))
    }
}

/// Writes zeros over a range, in pieces.
pub(crate) fn write_zeros(file: &dyn File, mut from: u64, to: u64) -> std::io::Result<()> {
    let zeros = vec![0; (to - from).min(CHUNK_BYTES as u64) as usize];
    while from < to {
        let piece = &zeros[..(to - from).min(zeros.len() as u64) as usize];
        file.write_all_at(piece, from)?;
        from += piece.len() as u64;
    }
    Ok(())
}

/// Writes what stands in a range over itself.
fn write_again(file: &dyn File, mut from: u64, to: u64) -> std::io::Result<()> {
    let mut piece = vec![0; (to.saturating_sub(from)).min(CHUNK_BYTES as u64) as usize];
    while from < to {
        let length = piece.len().min((to - from) as usize);
        let read = file.read_at(&mut piece[..length], from)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(&piece[..read], from)?;
        from += read as u64;
    }
    Ok(())
}

/// Makes sure that nothing that follows can be taken for a frame: a change of length that a failed sync has forgotten may bring back bytes that are not
/// seen now. On a disk without room for it, that has to be risked.
fn terminate(file: &dyn File, end: u64) -> std::io::Result<()> {
    match file.write_all_at(&[0; format::TERMINATOR_BYTES], end) {
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(()),
        outcome => outcome,
    }
}

/// Reads the headers of all segments and checks that they follow each other.
pub(crate) fn read_segments(files: &dyn Files, names: &[String]) -> Result<Vec<SegmentInfo>> {
    let mut segments: Vec<SegmentInfo> = Vec::new();
    for name in names {
        let Some(first) = format::segment_first(name) else { continue };
        let header = read_header(files, name)?;
        if header.first != first {
            let found = format!("a segment that begins with record {}", header.first);
            return Err(Error::damaged(name, 16, found, format!("record {first}, as in the file's name")));
        }
        if let Some(before) = segments.last().map(|s| &s.header) {
            let follows =
                header.base > before.base && header.previous_last > before.base && header.previous_last < header.base;
            if header.journal != before.journal || !follows {
                let found = format!("a segment at position {} after a frame at {}", header.base, header.previous_last);
                let expected = format!("one of the same journal that follows the segment at position {}", before.base);
                return Err(Error::damaged(name, 24, found, expected));
            }
        }
        segments.push(SegmentInfo { name: name.clone(), header });
    }
    Ok(segments)
}

fn read_header(files: &dyn Files, name: &str) -> Result<SegmentHeader> {
    let file = files.open(name, Mode::Read).map_err(|e| Error::io("open", name, e))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = file.read_at(&mut bytes, 0).map_err(|e| Error::io("read", name, e))?;
    format::segment_header(&bytes[..read]).map_err(|flaw| match flaw {
        SegmentFlaw::TooNew(found) => {
            Error::TooNew { file: name.into(), found, supported: format::FORMAT_VERSION.into() }
        }
        SegmentFlaw::Damaged(at, flaw) => Error::damaged(name, at, flaw.found, flaw.expected),
    })
}

/// Checks that the journal begins, and belongs, where the mark says.
fn check_beginning(mark: &Mark, segments: &[SegmentInfo]) -> Result<()> {
    let kept =
        format!("records {} to {}, kept and acknowledged as the mark says", mark.first, mark.next.0.saturating_sub(1));
    match segments.first() {
        None if mark.next > mark.first => Err(Error::damaged(mark::MARK_NAME, 16, "no segments", kept)),
        Some(first) if first.header.journal != mark.journal => {
            Err(Error::damaged(&first.name, 48, "a segment of another journal", "the journal that the mark names"))
        }
        Some(first) if first.header.first > mark.first => {
            Err(Error::damaged(&first.name, 16, format!("no segment before record {}", first.header.first), kept))
        }
        _ => Ok(()),
    }
}

/// Compares a sealed segment with what its successor says of it. Returns its proper length if the file is longer: the seal was torn. What stands there
/// was never acknowledged, since the successor says where the segment ends.
fn check_sealed(files: &dyn Files, segment: &SegmentInfo, next: &SegmentInfo) -> Result<Option<u64>> {
    let name = &segment.name;
    let io = |e| Error::io("read", name, e);
    let file = files.open(name, Mode::Read).map_err(io)?;
    let length = file.length().map_err(io)?;
    let (base, end) = (segment.header.base, next.header.base.0 - segment.header.base.0);
    let mut window = Window::new(4096);
    if length < end {
        let found = format!("the end of the file after {length} bytes");
        return Err(Error::damaged(name, length, found, format!("{end} bytes, as {} says", next.name)));
    }
    let last = next.header.previous_last.0 - base.0;
    match window.spot(&*file, base, last, end).map_err(io)? {
        Spot::Frame(header) if header.next_lsn() == next.header.first && last + header.frame_bytes() as u64 == end => {}
        Spot::Frame(header) => {
            let found = format!("a frame with records {} to {} before", header.lsn, header.next_lsn());
            return Err(Error::damaged(name, last, found, format!("the last one before record {}", next.header.first)));
        }
        Spot::Blank => return Err(Error::damaged(name, last, "zeros", "the segment's last frame")),
        Spot::Flawed(flaw) => return Err(Error::damaged(name, last, flaw.found, flaw.expected)),
    }
    Ok((length > end).then_some(end))
}

/// Finds the end of the last segment.
fn find_tail(
    files: &dyn Files,
    segment: SegmentInfo,
    mark: Option<Mark>,
    on_loss: OnLoss,
) -> Result<(Tail, Option<Cut>)> {
    let name = segment.name.clone();
    let io = |e| Error::io("read", &name, e);
    let file = files.open(&name, Mode::Read).map_err(io)?;
    let limit = file.length().map_err(io)?;
    let base = segment.header.base;
    let mut window = Window::new(CHUNK_BYTES);
    let mut tail = Tail {
        end: SEGMENT_HEADER_BYTES as u64,
        next: segment.header.first,
        last_frame: segment.header.previous_last,
        proven: SEGMENT_HEADER_BYTES as u64,
        segment,
    };
    let mut misplaced = None;
    let flaw = loop {
        match window.spot(&*file, base, tail.end, limit).map_err(io)? {
            Spot::Frame(header) if header.lsn == tail.next => {
                tail.last_frame = Position(base.0.saturating_add(tail.end));
                tail.proven = tail.end.saturating_sub(header.unsynced.into());
                tail.next = header.next_lsn();
                tail.end += header.frame_bytes() as u64;
            }
            Spot::Frame(header) => {
                // No crash leaves a good frame with another number: what was torn once has been filled with zeros.
                misplaced = Some(format!("record {}", tail.next));
                break Flaw::new(format!("record {}", header.lsn), format!("record {}", tail.next));
            }
            Spot::Blank => break Flaw::new("zeros", format!("record {}", tail.next)),
            Spot::Flawed(flaw) => break flaw,
        }
    };
    let acknowledged = mark.map_or(0, |mark| mark.end.0.saturating_sub(base.0));
    tail.proven = tail.proven.max(SEGMENT_HEADER_BYTES as u64).max(acknowledged).min(tail.end);
    let loss = match misplaced {
        None => loss(&*file, &mut window, &tail, mark).map_err(io)?,
        misplaced => misplaced,
    };
    if let (Some(expected), OnLoss::Refuse) = (&loss, on_loss) {
        let found = if tail.end >= limit { "the end of the file".into() } else { flaw.found };
        return Err(Error::damaged(&name, tail.end, found, expected));
    }
    let bytes = window.end_of_bytes(&*file, tail.end).map_err(io)? - tail.end;
    let cut = (bytes > 0 || loss.is_some()).then(|| Cut {
        segment: name.clone(),
        offset: tail.end,
        bytes,
        found: flaw.found,
        loss,
    });
    Ok((tail, cut))
}

/// Returns what shows that records were acknowledged behind the end that was found.
fn loss(file: &dyn File, window: &mut Window, tail: &Tail, mark: Option<Mark>) -> std::io::Result<Option<String>> {
    let base = tail.segment.header.base;
    if let Some(witness) = window.witness(file, base, tail.end, tail.next)? {
        let (lsn, next, position) = (witness.lsn, tail.next, witness.position);
        return Ok(Some(format!(
            "record {next}, which was synced before record {lsn} was written at position {position}"
        )));
    }
    let end = base.0.saturating_add(tail.end);
    Ok(mark.filter(|mark| mark.end.0 > end).map(|mark| {
        format!("records {} to {}, acknowledged as the mark says", tail.next, mark.next.0.saturating_sub(1))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planning_in_an_empty_directory_finds_nothing_to_do() {
        let plan = Plan::make(&crate::files::MemoryFiles::new(), OnLoss::Refuse).expect("a plan");
        assert!(plan.tail.is_none() && plan.cut.is_none() && plan.remove.is_empty() && plan.mark == MarkState::Missing);
    }
}
