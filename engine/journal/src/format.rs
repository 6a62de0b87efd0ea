//! The bytes of the log, repeated from `docs/JOURNAL-FORMAT.md`; change both in one commit.
//!
//! All numbers are little-endian and of fixed width, but for the lengths of records.

use crate::chain::{Digest, Position, StreamId};

/// First bytes of a segment.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"CPDJSEG1";
/// Length of a segment's header: magic, first lsn, base position, CRC-32C of what stands before.
pub(crate) const SEGMENT_HEADER: usize = 8 + 8 + 8 + 4;
/// First bytes of a frame. Not zero, so that zeros that were filled in ahead are never taken for a frame.
pub(crate) const FRAME_MAGIC: [u8; 2] = [0xC9, 0xDF];
/// Version of the frame's layout.
pub(crate) const FRAME_VERSION: u8 = 1;
/// Length of a frame's header.
pub(crate) const FRAME_HEADER: usize = 98;
/// The longest body of a frame. A turn of a thousand events with a payload of 64 KiB each just fits.
pub const BODY_MAX: usize = 64 << 20;

/// A frame's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub body_len: u32,
    pub crc: u32,
    pub count: u16,
    /// How many records stand between the first record of the group that was written and synced together and this frame.
    pub group: u32,
    pub lsn: u64,
    pub stream: StreamId,
    pub first_seq: u64,
    pub at: i64,
    pub prev: Position,
    pub digest: Digest,
}

impl FrameHeader {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&[FRAME_VERSION, 0]);
        out.extend_from_slice(&self.body_len.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&self.lsn.to_le_bytes());
        out.extend_from_slice(&self.stream.0);
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.prev.0.to_le_bytes());
        out.extend_from_slice(&self.digest.0);
    }

    /// Reads a header; says what is wrong with it otherwise.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let Some(bytes) = bytes.first_chunk::<FRAME_HEADER>() else { return Err("the frame's header is cut") };
        if bytes[..2] != FRAME_MAGIC {
            return Err("the frame does not begin with its magic");
        }
        if bytes[2] != FRAME_VERSION {
            return Err("the frame's version is not known");
        }
        // Reserved, and not under the checksum: who gives it a meaning gives the frame a new version.
        if bytes[3] != 0 {
            return Err("the frame's reserved byte is not zero");
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let body_len = u32_at(4);
        if body_len as usize > BODY_MAX {
            return Err("the frame's length is over the limit");
        }
        Ok(Self {
            body_len,
            crc: u32_at(8),
            count: u16::from_le_bytes([bytes[12], bytes[13]]),
            group: u32_at(14),
            lsn: u64_at(18),
            stream: StreamId(bytes[26..42].try_into().expect("sixteen bytes")),
            first_seq: u64_at(42),
            at: i64::from_le_bytes(bytes[50..58].try_into().expect("eight bytes")),
            prev: Position(u64_at(58)),
            digest: Digest(bytes[66..98].try_into().expect("32 bytes")),
        })
    }
}

/// CRC-32C of a frame: over everything behind the checksum.
pub(crate) fn frame_crc(frame: &[u8]) -> u32 {
    crc32c::crc32c(&frame[12..])
}

pub(crate) fn segment_header(first_lsn: u64, base: u64) -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
    bytes[8..16].copy_from_slice(&first_lsn.to_le_bytes());
    bytes[16..24].copy_from_slice(&base.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..24]);
    bytes[24..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// First lsn and base position.
pub(crate) fn read_segment_header(bytes: &[u8]) -> Result<(u64, u64), &'static str> {
    let Some(bytes) = bytes.first_chunk::<SEGMENT_HEADER>() else { return Err("the segment's header is cut") };
    if bytes[..8] != SEGMENT_MAGIC {
        return Err("the segment does not begin with its magic (CPDJSEG1)");
    }
    let crc = u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes"));
    if crc != crc32c::crc32c(&bytes[..24]) {
        return Err("the checksum of the segment's header is wrong");
    }
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Ok((u64_at(8), u64_at(16)))
}

/// Appends a length: seven bits a byte, low ones first.
pub(crate) fn put_varint(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads a length; `None` if it is cut, too long, or not written in the shortest way.
pub(crate) fn get_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut n = 0usize;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        n |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let shortest = i == 0 || *byte != 0;
            return shortest.then(|| (n, &bytes[i + 1..]));
        }
    }
    None
}
