//! The log: append-only segments, one sync per group, recovery of the tail.
//!
//! # Invariants
//! - A frame is never changed once it is synced; a sealed segment is never changed at all.
//! - `append` returns only after everything it was given is durable.
//! - Positions and lsns only grow. Records of a group carry how far they lie behind the group's first, so that recovery can
//!   tell a torn group (never acknowledged: it was the last) from damage in one that was synced.
//! - After a failed write or sync the log writes nothing more, but for a full disk: then the same group may be tried again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::{Entry, Lsn, Position};
use crate::error::Error;
use crate::files::{File, Files, RealFiles};
use crate::format::{self, FRAME_HEADER, FRAME_MAGIC, FrameHeader, SEGMENT_HEADER};
use crate::segment::{NoFrame, Segment, Window, open_all};

/// Name of the file that is filled with zeros to become the next segment.
const SPARE: &str = "spare.tmp";
/// Name of the file that says where a journal that was closed in order ends.
const CLEAN: &str = "clean";
/// Zeros are written in pieces of this size.
const ZEROS: usize = 1 << 20;

/// How a log is laid out.
#[derive(Clone)]
pub struct Options {
    /// Length of the first segment; each following one is eight times as long, up to `segment_bytes`. An empty directory
    /// stays small.
    pub first_segment_bytes: u64,
    /// Length of a full-grown segment.
    pub segment_bytes: u64,
    /// The files below.
    pub files: Arc<dyn Files>,
}

impl Default for Options {
    fn default() -> Self {
        Self { first_segment_bytes: 1 << 20, segment_bytes: 64 << 20, files: Arc::new(RealFiles) }
    }
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The number that the next record gets.
    pub next_lsn: Lsn,
    /// A torn tail that was cut.
    pub torn: Option<Torn>,
    /// Whether the journal was closed in order.
    pub clean: bool,
}

/// A torn tail: a group that was being written when the process or the machine ended. It was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Name of the segment.
    pub segment: String,
    /// Where it begins in it.
    pub offset: u64,
    /// How many bytes that are not zero were cut.
    pub bytes: u64,
    /// What was wrong with it.
    pub found: String,
}

/// Where an entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Number of its first record.
    pub lsn: Lsn,
    /// The number after its last record's.
    pub end: Lsn,
    /// Where its frame stands.
    pub position: Position,
}

/// The log, open for appending. One per directory: the data directory's lock sees to that.
pub struct Log {
    dir: PathBuf,
    options: Options,
    segment: Segment,
    /// Where the next frame goes in the segment.
    offset: u64,
    /// The segment's length on disk, zeros included.
    length: u64,
    next_lsn: u64,
    spare: Option<std::thread::JoinHandle<std::io::Result<()>>>,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the log in `dir`, creating it if there is none, and recovers its tail.
    ///
    /// # Errors
    /// If files cannot be used, or synced bytes are damaged.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Recovered), Error> {
        let files = options.files.clone();
        files.create_dir(dir).map_err(Error::io("create", dir))?;
        let names = files.list(dir).map_err(Error::io("list", dir))?;
        if names.iter().any(|n| n == SPARE) {
            // It may be half filled; a new one is made when it is needed.
            let path = dir.join(SPARE);
            files.remove(&path).map_err(Error::io("remove", &path))?;
        }
        let clean = if names.iter().any(|n| n == CLEAN) { Some(read_clean(&*files, dir)?) } else { None };
        drop_unborn(&*files, dir, &names)?;
        let segments = open_all(&*files, dir)?;
        let Some(last) = segments.last().cloned() else {
            let segment = create_segment(&options, dir, 1, 0, options.first_segment_bytes)?;
            let length = options.first_segment_bytes.max(SEGMENT_HEADER as u64);
            let log = Self::at(dir, options, segment, SEGMENT_HEADER as u64, length, 1);
            return Ok((log, Recovered { next_lsn: Lsn(1), torn: None, clean: false }));
        };
        let (offset, next_lsn, torn) = recover_tail(dir, &last)?;
        if let Some(clean) = clean {
            let end = last.base + offset;
            if (end, next_lsn) != clean {
                return Err(Error::Damaged {
                    segment: last.name.to_string(),
                    offset,
                    found: format!("the end of the journal at position {end}, lsn {next_lsn}"),
                    expected: format!("position {}, lsn {}, where it was closed in order", clean.0, clean.1),
                });
            }
            let path = dir.join(CLEAN);
            files.remove(&path).map_err(Error::io("remove", &path))?;
        }
        let length = last.file.len().map_err(Error::io("measure", dir.join(&*last.name)))?;
        files.sync_dir(dir).map_err(Error::io("sync", dir))?;
        let log = Self::at(dir, options, last, offset, length, next_lsn);
        Ok((log, Recovered { next_lsn: Lsn(next_lsn), torn, clean: clean.is_some() }))
    }

    fn at(dir: &Path, options: Options, segment: Segment, offset: u64, length: u64, next_lsn: u64) -> Self {
        let dir = dir.to_owned();
        Self { dir, options, segment, offset, length, next_lsn, spare: None, buffer: Vec::new() }
    }

    /// The number that the next record gets.
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.next_lsn)
    }

    /// Writes a group and makes it durable. `receipts` says how much of it is durable already: after an error for which
    /// [`Error::is_no_space`] holds, call again with the same arguments and the rest is tried again.
    ///
    /// # Errors
    /// If a write or a sync fails. But for a full disk, the log must not be used any more.
    pub fn append(&mut self, entries: &[Entry], receipts: &mut Vec<Receipt>) -> Result<(), Error> {
        while receipts.len() < entries.len() {
            let group_first = self.next_lsn;
            let (mut offset, mut lsn) = (self.offset, self.next_lsn);
            let first = receipts.len();
            let mut taken = Vec::with_capacity(entries.len() - first);
            self.buffer.clear();
            for entry in &entries[first..] {
                let end = offset + entry.stored_len() as u64;
                // A frame that is longer than a segment gets one of its own, which grows.
                if end > self.length && offset > SEGMENT_HEADER as u64 {
                    break;
                }
                write_frame(&mut self.buffer, entry, lsn, group_first);
                let next = lsn + u64::from(entry.count);
                let position = Position(self.segment.base + offset);
                taken.push(Receipt { lsn: Lsn(lsn), end: Lsn(next), position });
                (offset, lsn) = (end, next);
            }
            if taken.is_empty() {
                self.rotate()?;
                continue;
            }
            let path = || self.dir.join(&*self.segment.name);
            self.segment.file.write_at(&self.buffer, self.offset).map_err(Error::io("write to", path()))?;
            self.segment.file.sync().map_err(Error::io("sync", path()))?;
            receipts.extend(taken);
            (self.offset, self.next_lsn) = (offset, lsn);
            self.length = self.length.max(offset);
            self.prepare_spare();
        }
        Ok(())
    }

    /// Closes in order: says on disk where the journal ends.
    ///
    /// # Errors
    /// If that cannot be written; nothing is lost by it.
    pub fn close(mut self) -> Result<(), Error> {
        if let Some(spare) = self.spare.take() {
            drop(spare.join());
            let path = self.dir.join(SPARE);
            // It is only zeros; if it stays, the next start removes it.
            drop(self.options.files.remove(&path));
        }
        let path = self.dir.join(CLEAN);
        let mut bytes = Vec::with_capacity(20);
        bytes.extend_from_slice(&(self.segment.base + self.offset).to_le_bytes());
        bytes.extend_from_slice(&self.next_lsn.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let file = self.options.files.open(&path, true).map_err(Error::io("create", &path))?;
        file.write_at(&bytes, 0).map_err(Error::io("write to", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        self.options.files.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))
    }

    /// Seals the segment and goes on in a new one.
    fn rotate(&mut self) -> Result<(), Error> {
        let path = self.dir.join(&*self.segment.name);
        let target = self.grown();
        // First the next one, then the seal: if the disk is full, this segment is as it was.
        let base = self.segment.base + self.offset;
        let spare_ready = self.spare.take().is_some_and(|s| s.join().is_ok_and(|r| r.is_ok()));
        let segment = if spare_ready {
            adopt_spare(&self.options, &self.dir, self.next_lsn, base)?
        } else {
            create_segment(&self.options, &self.dir, self.next_lsn, base, target)?
        };
        self.segment.file.set_len(self.offset).map_err(Error::io("seal", &path))?;
        self.segment.file.sync().map_err(Error::io("sync", &path))?;
        let files = &self.options.files;
        let path = self.dir.join(Segment::name_of(self.next_lsn));
        let unborn = unborn_path(&self.dir, self.next_lsn);
        files.rename(&unborn, &path).map_err(Error::io("name", &path))?;
        files.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        self.length = segment.file.len().map_err(Error::io("measure", &path))?;
        self.segment = segment;
        self.offset = SEGMENT_HEADER as u64;
        Ok(())
    }

    /// The length of the segment after this one.
    fn grown(&self) -> u64 {
        let now = self.length.max(self.options.first_segment_bytes);
        now.saturating_mul(8).min(self.options.segment_bytes).max(self.options.first_segment_bytes)
    }

    /// Fills the next segment with zeros in the background when this one is half full.
    fn prepare_spare(&mut self) {
        if self.spare.is_some() || self.offset < self.length / 2 {
            return;
        }
        let (files, path, len) = (self.options.files.clone(), self.dir.join(SPARE), self.grown());
        let fill = move || -> std::io::Result<()> {
            let file = files.open(&path, true)?;
            fill(&*file, len)
        };
        // Without a thread the next segment is filled when it is needed.
        self.spare = std::thread::Builder::new().name("cpd-journal-spare".to_owned()).spawn(fill).ok();
    }
}

fn write_frame(out: &mut Vec<u8>, entry: &Entry, lsn: u64, group_first: u64) {
    let start = out.len();
    let header = FrameHeader {
        body_len: u32::try_from(entry.body.len()).expect("a body is under its limit"),
        crc: 0,
        count: entry.count,
        group: u32::try_from(lsn - group_first).unwrap_or(u32::MAX),
        lsn,
        stream: entry.stream,
        first_seq: entry.first_seq,
        at: entry.at,
        prev: entry.prev,
        digest: entry.digest,
    };
    header.write(out);
    out.extend_from_slice(&entry.body);
    let crc = format::frame_crc(&out[start..]);
    out[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
}

fn fill(file: &dyn File, len: u64) -> std::io::Result<()> {
    let zeros = vec![0; ZEROS.min(usize::try_from(len).unwrap_or(ZEROS))];
    let mut offset = 0;
    while offset < len {
        let piece = zeros.len().min(usize::try_from(len - offset).unwrap_or(usize::MAX));
        file.write_at(&zeros[..piece], offset)?;
        offset += piece as u64;
    }
    file.sync()
}

/// A segment that is not yet part of the log: it gets its name when the one before is sealed.
fn unborn_path(dir: &Path, first_lsn: u64) -> PathBuf {
    dir.join(format!("{}.new", Segment::name_of(first_lsn)))
}

fn create_segment(options: &Options, dir: &Path, first_lsn: u64, base: u64, len: u64) -> Result<Segment, Error> {
    let path = unborn_path(dir, first_lsn);
    let file: Arc<dyn File> = Arc::from(options.files.open(&path, true).map_err(Error::io("create", &path))?);
    fill(&*file, len.max(SEGMENT_HEADER as u64)).map_err(Error::io("fill", &path))?;
    let segment = begin_segment(first_lsn, base, file, &path)?;
    if first_lsn == 1 {
        let named = dir.join(&*segment.name);
        options.files.rename(&path, &named).map_err(Error::io("name", &named))?;
        options.files.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    Ok(segment)
}

fn adopt_spare(options: &Options, dir: &Path, first_lsn: u64, base: u64) -> Result<Segment, Error> {
    let (spare, path) = (dir.join(SPARE), unborn_path(dir, first_lsn));
    options.files.rename(&spare, &path).map_err(Error::io("name", &path))?;
    let file: Arc<dyn File> = Arc::from(options.files.open(&path, true).map_err(Error::io("open", &path))?);
    begin_segment(first_lsn, base, file, &path)
}

fn begin_segment(first_lsn: u64, base: u64, file: Arc<dyn File>, path: &Path) -> Result<Segment, Error> {
    file.write_at(&format::segment_header(first_lsn, base), 0).map_err(Error::io("write to", path))?;
    file.sync().map_err(Error::io("sync", path))?;
    Ok(Segment { name: Arc::from(Segment::name_of(first_lsn)), first_lsn, base, file })
}

/// Removes segments that were being made when the last process ended.
fn drop_unborn(files: &dyn Files, dir: &Path, names: &[String]) -> Result<(), Error> {
    for name in names.iter().filter(|n| n.ends_with(".seg.new")) {
        let path = dir.join(name);
        files.remove(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

fn read_clean(files: &dyn Files, dir: &Path) -> Result<(u64, u64), Error> {
    let path = dir.join(CLEAN);
    let file = files.open(&path, false).map_err(Error::io("open", &path))?;
    let mut bytes = [0; 20];
    let read = file.read_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
    let crc = u32::from_le_bytes(bytes[16..].try_into().expect("four bytes"));
    if read < 20 || crc != crc32c::crc32c(&bytes[..16]) {
        return Err(Error::Damaged {
            segment: CLEAN.to_owned(),
            offset: 0,
            found: format!("{read} bytes that do not fit their checksum"),
            expected: "where the journal ends, in 20 bytes; remove the file if a crash while closing cut it".to_owned(),
        });
    }
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Ok((number(0), number(8)))
}

/// Finds the end of the newest segment and cuts what is torn behind it. Returns the offset and lsn of the next frame.
fn recover_tail(dir: &Path, segment: &Segment) -> Result<(u64, u64, Option<Torn>), Error> {
    let path = dir.join(&*segment.name);
    let mut window = Window::forward(1 << 20);
    let (mut offset, mut lsn) = (SEGMENT_HEADER as u64, segment.first_lsn);
    let found = loop {
        match segment.frame(offset, &mut window) {
            Ok(entry) if entry.lsn.0 == lsn => {
                offset += entry.stored_len() as u64;
                lsn = entry.end_lsn().0;
            }
            Ok(entry) => break format!("a frame with lsn {}", entry.lsn.0),
            Err(NoFrame::Nothing) => break String::new(),
            Err(NoFrame::Bad(found)) => break found,
            Err(NoFrame::Io(source)) => return Err(Error::Io { action: "read", path, source }),
        }
    };
    let length = segment.file.len().map_err(Error::io("measure", &path))?;
    let rest = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut tail = vec![0; rest];
    let read = segment.file.read_at(&mut tail, offset).map_err(Error::io("read", &path))?;
    tail.truncate(read);
    let dirty = tail.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    if dirty == 0 {
        return Ok((offset, lsn, None));
    }
    // A frame of a later group was written only after the group of the bad one had been synced.
    if let Some(at) = later_group(segment, offset, &tail[..dirty], lsn) {
        let found = if found.is_empty() { "zeros".to_owned() } else { found };
        return Err(Error::Damaged {
            segment: segment.name.to_string(),
            offset,
            found: format!("{found}; a whole frame of a later group follows at offset {at}"),
            expected: format!("the frame with lsn {lsn}"),
        });
    }
    let zeros = vec![0; dirty];
    segment.file.write_at(&zeros, offset).map_err(Error::io("cut the torn tail of", &path))?;
    segment.file.sync().map_err(Error::io("sync", &path))?;
    let torn = Torn { segment: segment.name.to_string(), offset, bytes: dirty as u64, found };
    Ok((offset, lsn, Some(torn)))
}

/// Offset of a whole frame in `tail` whose group began after `lsn`.
fn later_group(segment: &Segment, offset: u64, tail: &[u8], lsn: u64) -> Option<u64> {
    let mut window = Window::forward(1 << 16);
    let mut at = 0;
    while let Some(next) = tail[at..].windows(2).position(|w| w == FRAME_MAGIC) {
        at += next;
        let plausible = tail.len() - at >= FRAME_HEADER && FrameHeader::read(&tail[at..]).is_ok();
        if plausible && let Ok(entry) = segment.frame(offset + at as u64, &mut window) {
            if entry.lsn.0.saturating_sub(u64::from(entry.group)) > lsn {
                return Some(offset + at as u64);
            }
            at += entry.stored_len();
        } else {
            at += 1;
        }
        if at >= tail.len() {
            break;
        }
    }
    None
}
