//! Streams, entries and the chain of digests that proves them complete.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::format::{get_varint, put_varint};

/// A stream of records with dense numbers of its own: a run, or a part of the control plane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub [u8; 16]);

impl From<[u8; 16]> for StreamId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Number of a record in the whole log, from 1, dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// Where a frame stands: the number of bytes before it in all segments together. 0 is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// No frame.
    pub const NONE: Position = Position(0);
}

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What the first record of a stream is chained to.
    pub const ZERO: Digest = Digest([0; 32]);
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The digest of a record:
/// SHA-256("cpd record 1" ‖ 0 ‖ previous digest ‖ stream ‖ seq ‖ at ‖ kind ‖ version ‖ length ‖ payload), numbers as
/// little-endian u64, i64, u16, u8 and u64.
pub fn record_digest(
    previous: &Digest,
    stream: StreamId,
    seq: u64,
    at: i64,
    kind: u16,
    version: u8,
    payload: &[u8],
) -> Digest {
    let mut head = [0u8; 13 + 32 + 16 + 8 + 8 + 2 + 1 + 8];
    head[..13].copy_from_slice(b"cpd record 1\0");
    head[13..45].copy_from_slice(&previous.0);
    head[45..61].copy_from_slice(&stream.0);
    head[61..69].copy_from_slice(&seq.to_le_bytes());
    head[69..77].copy_from_slice(&at.to_le_bytes());
    head[77..79].copy_from_slice(&kind.to_le_bytes());
    head[79] = version;
    head[80..88].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update(payload);
    Digest(hash.finalize().into())
}

/// The end of a stream: what its next entry continues. Owned by whoever owns the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    stream: StreamId,
    next_seq: u64,
    digest: Digest,
    last: Position,
}

impl Chain {
    /// A stream without records.
    pub fn start(stream: StreamId) -> Self {
        Self { stream, next_seq: 1, digest: Digest::ZERO, last: Position::NONE }
    }

    /// The end of a stream whose last entry is this one.
    pub fn after(entry: &StoredEntry, last: Position) -> Self {
        let next_seq = entry.first_seq + u64::from(entry.count);
        Self { stream: entry.stream, next_seq, digest: entry.digest, last }
    }

    /// The stream.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The number that the next record gets.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The digest of the last record.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Where the last frame is.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The last entry was written there.
    pub fn written(&mut self, at: Position) {
        self.last = at;
    }
}

/// An entry to be written: all records of one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(crate) stream: StreamId,
    pub(crate) first_seq: u64,
    pub(crate) at: i64,
    pub(crate) prev: Position,
    pub(crate) digest: Digest,
    pub(crate) count: u16,
    pub(crate) body: Vec<u8>,
}

impl Entry {
    /// Bytes that the entry takes in the log.
    pub fn stored_len(&self) -> usize {
        crate::format::FRAME_HEADER + self.body.len()
    }
}

/// Builds an entry; hashing is done here, on the caller's thread.
pub struct EntryBuilder {
    chain: Chain,
    at: i64,
    first_seq: u64,
    count: u16,
    body: Vec<u8>,
}

impl EntryBuilder {
    /// An entry that continues `chain`, written at `at` (microseconds since the epoch).
    pub fn new(chain: &Chain, at: i64) -> Self {
        Self { chain: *chain, at, first_seq: chain.next_seq, count: 0, body: Vec::with_capacity(256) }
    }

    /// Adds a record.
    pub fn push(&mut self, kind: u16, version: u8, payload: &[u8]) {
        let Chain { stream, next_seq, digest, .. } = &mut self.chain;
        *digest = record_digest(digest, *stream, *next_seq, self.at, kind, version, payload);
        *next_seq += 1;
        self.count = self.count.checked_add(1).expect("a turn has at most 1,000 events");
        self.body.extend_from_slice(&kind.to_le_bytes());
        self.body.push(version);
        put_varint(payload.len(), &mut self.body);
        self.body.extend_from_slice(payload);
    }

    /// The entry, and the chain after it; tell the chain where it was written.
    pub fn finish(self) -> (Entry, Chain) {
        let Self { chain, at, first_seq, count, body } = self;
        let (stream, digest, prev) = (chain.stream, chain.digest, chain.last);
        (Entry { stream, first_seq, at, prev, digest, count, body }, chain)
    }
}

/// An entry as it stands in the log. Its frame was whole when it was read; its chain is checked by `verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Where it stands.
    pub position: Position,
    /// Number of its first record.
    pub lsn: Lsn,
    /// Its stream.
    pub stream: StreamId,
    /// Number of its first record in the stream.
    pub first_seq: u64,
    /// When it was written, in microseconds since the epoch.
    pub at: i64,
    /// How many records it has.
    pub count: u16,
    /// Where the stream's entry before it stands.
    pub prev: Position,
    /// Digest of its last record.
    pub digest: Digest,
    /// How far the first record of its group lies before it.
    pub(crate) group: u32,
    pub(crate) body: Vec<u8>,
}

/// A record in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its number in the stream.
    pub seq: u64,
    /// Its kind.
    pub kind: u16,
    /// Version of its payload.
    pub version: u8,
    /// The payload.
    pub payload: &'a [u8],
}

impl StoredEntry {
    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = RecordRef<'_>> {
        Records { rest: &self.body, seq: self.first_seq }
    }

    /// The number after its last record's.
    pub fn end_lsn(&self) -> Lsn {
        Lsn(self.lsn.0 + u64::from(self.count))
    }

    /// Bytes that it takes in the log.
    pub fn stored_len(&self) -> usize {
        crate::format::FRAME_HEADER + self.body.len()
    }

    /// The digest that its last record has if the one before its first record has digest `previous`.
    pub fn chained(&self, previous: &Digest) -> Digest {
        self.records().fold(*previous, |digest, r| {
            record_digest(&digest, self.stream, r.seq, self.at, r.kind, r.version, r.payload)
        })
    }
}

/// Walks the records of a body; ends at the first thing that is not one.
pub(crate) struct Records<'a> {
    pub rest: &'a [u8],
    pub seq: u64,
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    fn next(&mut self) -> Option<RecordRef<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<3>()?;
        let (len, rest) = get_varint(rest)?;
        if len > rest.len() {
            return None;
        }
        let (payload, rest) = rest.split_at(len);
        let seq = self.seq;
        (self.rest, self.seq) = (rest, seq + 1);
        Some(RecordRef { seq, kind: u16::from_le_bytes([head[0], head[1]]), version: head[2], payload })
    }
}
