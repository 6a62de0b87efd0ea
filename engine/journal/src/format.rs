//! Every byte of the journal's files, as constants and as functions from and to bytes. `docs/JOURNAL-FORMAT.md` draws the same; change both in
//! one commit.
//!
//! Three things are laid out here: the header of a segment (64 bytes), the header of a frame (96 bytes), and the records in a frame's body.
//! All numbers are little-endian and of fixed width, but for the length of a payload, which is a varint. Decoding never panics, whatever the
//! bytes, and never allocates by a length that it has not compared with the bytes at hand. Parsed is not trusted: [`frame`] gives a
//! [`FrameHeader`] only after the checksum over the whole frame has been compared.
//!
//! Nothing here knows about files or about the chain of digests.

use std::ops::Range;

use crate::ids::{Digest, Lsn, Position, StreamId};

/// The version of segments and frames that is written, and the newest that is read.
pub const FORMAT_VERSION: u8 = 1;

/// The size of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// What a segment begins with. The line ends catch a copy "as text", as in PNG.
pub const SEGMENT_MAGIC: [u8; 8] = *b"cpdj\r\n\x1a\n";

/// The size of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 96;
/// What a frame begins with. Neither byte is zero, so that a region of zeros is never taken for a frame.
pub const FRAME_MAGIC: [u8; 2] = [0xCA, 0x4A];
/// How many zeros are written behind each group, which the next group overwrites. Should older bytes stand there, they cannot be taken for what
/// follows.
pub const TERMINATOR_BYTES: usize = 8;
/// The greatest body of a frame: the length has 24 bits.
pub const BODY_BYTES_MAX: usize = (1 << 24) - 1;
/// The greatest number of records in one frame: the count has 16 bits.
pub const FRAME_RECORDS_MAX: usize = u16::MAX as usize;
/// The smallest record: kind, version, an empty payload's length.
pub const RECORD_BYTES_MIN: usize = 4;
/// The illegal kind.
pub const KIND_UNKNOWN: u16 = 0;

// Offsets in a frame's header.
pub(crate) const AT_COUNT: usize = 2;
pub(crate) const AT_CRC: usize = 4;
pub(crate) const AT_LENGTH: usize = 8;
pub(crate) const AT_VERSION: usize = 11;
pub(crate) const AT_UNSYNCED: usize = 12;
pub(crate) const AT_LSN: usize = 16;
pub(crate) const AT_STREAM: usize = 24;
pub(crate) const AT_SEQ: usize = 40;
pub(crate) const AT_TIME: usize = 48;
pub(crate) const AT_PREVIOUS: usize = 56;
pub(crate) const AT_DIGEST: usize = 64;

/// What stands at the head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The first record of the segment; also the name of its file.
    pub first: Lsn,
    /// The position of the segment's own first byte.
    pub base: Position,
    /// How long the file should become before the next one is begun.
    pub capacity: u64,
    /// The last frame of the segment before, or none in the first segment.
    pub previous_last: Position,
    /// The journal that the segment belongs to, so that files of two journals cannot be mixed.
    pub journal: [u8; 16],
}

/// What stands at the head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The number of its first record in the journal.
    pub lsn: Lsn,
    /// Whose records these are.
    pub stream: StreamId,
    /// The number of its first record in the stream.
    pub seq: u64,
    /// When, in microseconds since 1970.
    pub at: i64,
    /// How many records the body holds.
    pub count: u16,
    /// The stream's frame before this one.
    pub previous: Position,
    /// The chain's link after the last record of this frame.
    pub digest: Digest,
    /// How many bytes in front of this frame were not yet known to be synced when it was written.
    pub unsynced: u32,
    /// The length of the body.
    pub body: u32,
}

impl FrameHeader {
    /// Returns the length of the frame: header and body.
    pub fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.body as usize
    }

    /// Returns the number of the record after this frame's last.
    pub fn next_lsn(&self) -> Lsn {
        self.lsn.plus(self.count.into())
    }

    /// Returns the `seq` of the record after this frame's last.
    pub fn next_seq(&self) -> u64 {
        self.seq.saturating_add(self.count.into())
    }
}

/// Why some bytes are not a frame, a segment header, or a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What is there.
    pub found: String,
    /// What should be.
    pub expected: String,
}

impl Flaw {
    pub(crate) fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into() }
    }
}

/// The outcome of looking for a frame in some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// A whole frame with a good checksum.
    Frame(FrameHeader),
    /// A header that may be good, but the frame needs this many bytes.
    Short(usize),
    /// No frame.
    Flawed(Flaw),
}

/// Looks for a frame at the beginning of `bytes`, which stand at `position`.
pub fn frame(bytes: &[u8], position: Position) -> Look {
    let Some(head) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Look::Short(FRAME_HEADER_BYTES);
    };
    if head[..2] != FRAME_MAGIC {
        return Look::Flawed(Flaw::new(format!("bytes {:02x} {:02x}", head[0], head[1]), "a frame, bytes ca 4a"));
    }
    if head[AT_VERSION] != FORMAT_VERSION {
        return Look::Flawed(Flaw::new(
            format!("frame version {}", head[AT_VERSION]),
            format!("version {FORMAT_VERSION}"),
        ));
    }
    let count = u16_at(head, AT_COUNT);
    let body = u32_at(head, AT_LENGTH) & 0x00FF_FFFF;
    if count == 0 || u32::from(count) * RECORD_BYTES_MIN as u32 > body {
        return Look::Flawed(Flaw::new(
            format!("{count} records in {body} bytes"),
            "at least one record of at least 4 bytes",
        ));
    }
    let whole = FRAME_HEADER_BYTES + body as usize;
    let Some(all) = bytes.get(..whole) else {
        return Look::Short(whole);
    };
    let (stated, computed) = (u32_at(head, AT_CRC), checksum(all, position));
    if stated != computed {
        return Look::Flawed(Flaw::new(
            format!("a frame with checksum {computed:08x}"),
            format!("{stated:08x} as in its header"),
        ));
    }
    Look::Frame(FrameHeader {
        lsn: Lsn(u64_at(head, AT_LSN)),
        stream: StreamId(array_at(head, AT_STREAM)),
        seq: u64_at(head, AT_SEQ),
        at: i64::from_le_bytes(array_at(head, AT_TIME)),
        count,
        previous: Position(u64_at(head, AT_PREVIOUS)),
        digest: Digest(array_at(head, AT_DIGEST)),
        unsynced: u32_at(head, AT_UNSYNCED),
        body,
    })
}

/// Returns CRC-32C over a frame's position and the frame, with its own checksum left out.
///
/// The position is not stored in the frame, but a frame is good only where it was written: neither a block that the disk has put in the wrong
/// place, nor a payload that holds a piece of a journal, can be taken for a frame of this one.
pub(crate) fn checksum(frame: &[u8], position: Position) -> u32 {
    let mut front = [0; 12];
    front[..8].copy_from_slice(&position.0.to_le_bytes());
    front[8..].copy_from_slice(&frame[..AT_CRC]);
    crc32c::crc32c_append(crc32c::crc32c(&front), &frame[AT_LENGTH..])
}

/// Writes what a caller knows of a frame before it has a place in the journal. The rest is [`seal_frame`]'s.
pub(crate) fn begin_frame(head: &mut [u8], header: &FrameHeader) {
    head[..2].copy_from_slice(&FRAME_MAGIC);
    put(head, AT_COUNT, &header.count.to_le_bytes());
    put(head, AT_LENGTH, &(header.body & 0x00FF_FFFF).to_le_bytes());
    head[AT_VERSION] = FORMAT_VERSION;
    put(head, AT_STREAM, &header.stream.0);
    put(head, AT_SEQ, &header.seq.to_le_bytes());
    put(head, AT_TIME, &header.at.to_le_bytes());
    put(head, AT_DIGEST, &header.digest.0);
}

/// Gives a frame its place, and the checksum over everything.
pub(crate) fn seal_frame(frame: &mut [u8], position: Position, lsn: Lsn, previous: Position, unsynced: u32) {
    put(frame, AT_UNSYNCED, &unsynced.to_le_bytes());
    put(frame, AT_LSN, &lsn.0.to_le_bytes());
    put(frame, AT_PREVIOUS, &previous.0.to_le_bytes());
    let crc = checksum(frame, position);
    put(frame, AT_CRC, &crc.to_le_bytes());
}

/// A record in the body of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// What it is; the numbers are the caller's.
    pub kind: u16,
    /// The version of its payload.
    pub version: u8,
    /// Where in the body the payload stands.
    pub payload: Range<usize>,
}

/// Appends a record to a body.
pub(crate) fn put_record(body: &mut Vec<u8>, kind: u16, version: u8, payload: &[u8]) {
    body.extend_from_slice(&kind.to_le_bytes());
    body.push(version);
    let mut rest = payload.len() as u32;
    while rest >= 0x80 {
        body.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    body.push(rest as u8);
    body.extend_from_slice(payload);
}

/// Reads the records of a body. The error tells the byte of the body at which they end to make sense.
pub fn records(body: &[u8], count: u16) -> Result<Vec<RawRecord>, (usize, Flaw)> {
    // The count is bounded by the bytes at hand before it is used for a size.
    let mut found = Vec::with_capacity(usize::from(count).min(body.len() / RECORD_BYTES_MIN));
    let mut at = 0;
    for _ in 0..count {
        let short = || {
            (at, Flaw::new("the end of the body", format!("{count} records, this one is number {}", found.len() + 1)))
        };
        let head = body.get(at..at + 3).ok_or_else(short)?;
        let kind = u16::from_le_bytes([head[0], head[1]]);
        if kind == KIND_UNKNOWN {
            return Err((at, Flaw::new("record kind 0", "a kind from 1 on")));
        }
        let (length, varint) = varint(&body[at + 3..]).map_err(|flaw| (at + 3, flaw))?;
        let start = at + 3 + varint;
        let end = start + length as usize;
        if end > body.len() {
            return Err((
                at + 3,
                Flaw::new(format!("a payload of {length} bytes"), format!("at most {}", body.len() - start)),
            ));
        }
        found.push(RawRecord { kind, version: head[2], payload: start..end });
        at = end;
    }
    if at != body.len() {
        return Err((at, Flaw::new(format!("{} bytes after the last record", body.len() - at), "the end of the body")));
    }
    Ok(found)
}

/// Reads a length: 7 bits a byte, the low ones first, in its shortest form, less than 2^28.
fn varint(bytes: &[u8]) -> Result<(u32, usize), Flaw> {
    let mut value = 0u32;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            return if byte == 0 && i > 0 {
                Err(Flaw::new("a length with needless zeros", "its shortest form"))
            } else {
                Ok((value, i + 1))
            };
        }
    }
    Err(Flaw::new("a length without end", "a varint of at most 4 bytes"))
}

/// Writes the header of a segment.
pub fn segment_header_bytes(header: &SegmentHeader) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
    put(&mut bytes, 12, &u16::from(FORMAT_VERSION).to_le_bytes());
    put(&mut bytes, 14, &(SEGMENT_HEADER_BYTES as u16).to_le_bytes());
    put(&mut bytes, 16, &header.first.0.to_le_bytes());
    put(&mut bytes, 24, &header.base.0.to_le_bytes());
    put(&mut bytes, 32, &header.capacity.to_le_bytes());
    put(&mut bytes, 40, &header.previous_last.0.to_le_bytes());
    put(&mut bytes, 48, &header.journal);
    let crc = crc32c::crc32c(&bytes[12..]);
    put(&mut bytes, 8, &crc.to_le_bytes());
    bytes
}

/// Why the first bytes of a file are not the header of a segment that we can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentFlaw {
    /// A newer program wrote it.
    TooNew(u16),
    /// It is damaged, at this byte.
    Damaged(u64, Flaw),
}

/// Reads the header of a segment.
pub fn segment_header(bytes: &[u8]) -> Result<SegmentHeader, SegmentFlaw> {
    let damaged = |at, found: String, expected: String| Err(SegmentFlaw::Damaged(at, Flaw { found, expected }));
    let Some(head) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else {
        let expected = format!("a segment's header of {SEGMENT_HEADER_BYTES}");
        return damaged(bytes.len() as u64, format!("{} bytes", bytes.len()), expected);
    };
    if head[..8] != SEGMENT_MAGIC {
        return damaged(0, format!("{:02x?}", &head[..8]), format!("a segment, bytes {SEGMENT_MAGIC:02x?}"));
    }
    let (stated, computed) = (u32_at(head, 8), crc32c::crc32c(&head[12..]));
    if stated != computed {
        return damaged(
            8,
            format!("a segment's header with checksum {computed:08x}"),
            format!("{stated:08x} as stated in it"),
        );
    }
    let version = u16_at(head, 12);
    if version > FORMAT_VERSION.into() {
        return Err(SegmentFlaw::TooNew(version));
    }
    let length = u16_at(head, 14);
    if version == 0 || usize::from(length) != SEGMENT_HEADER_BYTES {
        return damaged(
            12,
            format!("format version {version}, header of {length} bytes"),
            "version 1, 64 bytes".into(),
        );
    }
    Ok(SegmentHeader {
        first: Lsn(u64_at(head, 16)),
        base: Position(u64_at(head, 24)),
        capacity: u64_at(head, 32),
        previous_last: Position(u64_at(head, 40)),
        journal: array_at(head, 48),
    })
}

/// Returns the name of the segment that begins with a record.
pub fn segment_name(first: Lsn) -> String {
    format!("{:020}.seg", first.0)
}

/// Returns the record that a segment begins with, by the name of its file.
pub fn segment_first(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".seg")?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Lsn)).flatten()
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Copies `N` bytes out of a block that is known to be large enough.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
