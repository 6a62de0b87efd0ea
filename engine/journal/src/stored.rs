//! An entry as it is read back: its records, and the digest of each.
//!
//! A frame holds only the digest after its last record; the others are recomputed, for which the digest before the first one is needed. It stands in
//! the stream's previous frame. Where that is at hand, the recomputed last digest is compared with the one in the frame, so reading checks the
//! chain as it goes.

use crate::chain;
use crate::format::{self, FRAME_HEADER_BYTES, Flaw, FrameHeader};
use crate::ids::{Digest, Lsn, Position, StreamId};

/// An entry that was read from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    header: FrameHeader,
    position: Position,
    /// The whole frame.
    frame: Box<[u8]>,
    records: Vec<Stored>,
    before: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    raw: format::RawRecord,
    digest: Option<Digest>,
}

/// A record that was read from the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number in the journal.
    pub lsn: Lsn,
    /// Its number in its stream.
    pub seq: u64,
    /// When, in microseconds since 1970.
    pub at: i64,
    /// What it is.
    pub kind: u16,
    /// The version of its payload.
    pub version: u8,
    /// What it says.
    pub payload: &'a [u8],
    /// Its link of the chain. None only where the stream's previous frame was pruned and this is not the last record of its frame.
    pub digest: Option<Digest>,
}

impl StoredEntry {
    /// Parses the records of a frame whose checksum is good, and checks the chain if the digest before is known. The error names a byte of the frame.
    pub(crate) fn new(
        header: FrameHeader,
        position: Position,
        frame: &[u8],
        before: Option<Digest>,
    ) -> Result<Self, (usize, Flaw)> {
        let body = &frame[FRAME_HEADER_BYTES..];
        let raw = format::records(body, header.count).map_err(|(at, flaw)| (FRAME_HEADER_BYTES + at, flaw))?;
        let before = if header.seq == 1 { Some(Digest::ZERO) } else { before };
        let mut digest = before;
        let mut records = Vec::with_capacity(raw.len());
        for (seq, raw) in (header.seq..).zip(raw) {
            let payload = &body[raw.payload.clone()];
            digest = digest.map(|d| chain::digest(&d, header.stream, seq, header.at, raw.kind, raw.version, payload));
            records.push(Stored { raw, digest });
        }
        if digest.is_some_and(|digest| digest != header.digest) {
            let flaw =
                Flaw::new("records that do not continue their stream's chain", format!("the digest {}", header.digest));
            return Err((format::AT_DIGEST, flaw));
        }
        if let Some(last) = records.last_mut() {
            last.digest = Some(header.digest);
        }
        Ok(Self { header, position, frame: frame.into(), records, before })
    }

    /// Returns where the frame stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns the number of the first record in the journal.
    pub fn lsn(&self) -> Lsn {
        self.header.lsn
    }

    /// Returns the number of the record after the last of this entry.
    pub fn next_lsn(&self) -> Lsn {
        self.header.next_lsn()
    }

    /// Returns whose records these are.
    pub fn stream(&self) -> StreamId {
        self.header.stream
    }

    /// Returns the number of the first record in the stream.
    pub fn seq(&self) -> u64 {
        self.header.seq
    }

    /// Returns the number of the record that the stream goes on with.
    pub fn next_seq(&self) -> u64 {
        self.header.next_seq()
    }

    /// Returns when, in microseconds since 1970.
    pub fn at(&self) -> i64 {
        self.header.at
    }

    /// Returns the stream's frame before this one.
    pub fn previous(&self) -> Position {
        self.header.previous
    }

    /// Returns the digest of the last record.
    pub fn digest(&self) -> Digest {
        self.header.digest
    }

    /// Returns the digest before the first record, unless the frame that holds it was pruned.
    pub fn before(&self) -> Option<Digest> {
        self.before
    }

    /// Returns how many records there are: at least one.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// Returns how many bytes the frame takes.
    pub fn bytes(&self) -> u64 {
        self.frame.len() as u64
    }

    /// Returns the chain of the stream as it is after this entry, if this is its last.
    pub fn chain(&self) -> chain::Chain {
        chain::Chain::at(self.stream(), self.next_seq(), self.digest(), self.position)
    }

    /// Returns the records in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        let body = &self.frame[FRAME_HEADER_BYTES..];
        self.records.iter().enumerate().map(move |(i, Stored { raw, digest })| Record {
            lsn: self.header.lsn.plus(i as u64),
            seq: self.header.seq.saturating_add(i as u64),
            at: self.header.at,
            kind: raw.kind,
            version: raw.version,
            payload: &body[raw.payload.clone()],
            digest: *digest,
        })
    }
}
