//! The chain of a stream, and the entries that lengthen it.
//!
//! 1. Who owns a run owns its [`Chain`]: the next `seq`, the last digest, and where the stream's last frame stands.
//! 2. [`EntryBuilder`] collects the records of one turn and hashes them on the caller's thread.
//! 3. [`EntryBuilder::finish`] gives the [`Entry`] for the log and the chain after it. If the entry is not submitted, the owner keeps the old
//!    chain and forgets the new one.
//! 4. The log alone knows where the entry comes to stand. It leaves the position in a cell that all chains of the stream share, so the owner may
//!    build and submit the next entry before the first is durable, and its link backwards will still be right.
//!
//! The digest of a record is
//!
//! ```text
//! SHA-256( "cpd.rec1" ‖ digest of the record before ‖ stream ‖ seq ‖ at ‖ kind ‖ version ‖ payload length ‖ payload )
//!             8                  32                     16      8     8    2        1          4
//! ```
//!
//! with numbers in big-endian, unlike the rest of the format: a warehouse that recomputes the chain in SQL prints numbers as hexadecimal digits
//! in that order. Where a record stands (lsn, links) is not part of it, so the chain survives an export and an import.
//!
//! Nothing here does IO or knows the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::format::{self, BODY_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_RECORDS_MAX, FrameHeader, KIND_UNKNOWN};
use crate::ids::{Digest, Lsn, Position, StreamId};

/// What every record's digest begins with, so that it can be taken for nothing else.
pub const DIGEST_DOMAIN: [u8; 8] = *b"cpd.rec1";

/// Returns the digest of a record, given that of the record before.
pub fn digest(before: &Digest, stream: StreamId, seq: u64, at: i64, kind: u16, version: u8, payload: &[u8]) -> Digest {
    // One block of the fixed fields: a single call into the hash costs less than eight.
    let mut fields = [0; 79];
    format::put(&mut fields, 0, &DIGEST_DOMAIN);
    format::put(&mut fields, 8, &before.0);
    format::put(&mut fields, 40, &stream.0);
    format::put(&mut fields, 56, &seq.to_be_bytes());
    format::put(&mut fields, 64, &at.to_be_bytes());
    format::put(&mut fields, 72, &kind.to_be_bytes());
    fields[74] = version;
    format::put(&mut fields, 75, &(payload.len() as u32).to_be_bytes());
    let mut hash = Sha256::new();
    hash.update(fields);
    hash.update(payload);
    Digest(hash.finalize().into())
}

/// The end of a stream: what the next entry has to continue.
///
/// Clones share the knowledge of where the last frame stands.
#[derive(Clone, Debug)]
pub struct Chain {
    stream: StreamId,
    next_seq: u64,
    digest: Digest,
    tail: Arc<Tail>,
}

/// What the log has made of a stream so far. Only the thread that appends writes to it.
#[derive(Debug)]
pub(crate) struct Tail {
    next_seq: AtomicU64,
    last: AtomicU64,
}

impl Tail {
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq.load(Ordering::Acquire)
    }

    pub(crate) fn last(&self) -> Position {
        Position(self.last.load(Ordering::Acquire))
    }

    pub(crate) fn advance(&self, next_seq: u64, last: Position) {
        self.last.store(last.0, Ordering::Release);
        self.next_seq.store(next_seq, Ordering::Release);
    }
}

impl Chain {
    /// Begins a stream.
    pub fn start(stream: StreamId) -> Self {
        Self::at(stream, 1, Digest::ZERO, Position::NONE)
    }

    /// Takes up a stream where it ends: the `seq` of the next record, the digest of the last one, and the position of the last frame.
    pub fn at(stream: StreamId, next_seq: u64, digest: Digest, last: Position) -> Self {
        let tail = Tail { next_seq: next_seq.into(), last: last.0.into() };
        Self { stream, next_seq, digest, tail: Arc::new(tail) }
    }

    /// Returns whose chain this is.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Returns the `seq` of the next record; the first is 1.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Returns the digest of the last record.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the position of the last frame that the log has taken, which may be behind this chain while an entry waits for its turn.
    pub fn last(&self) -> Position {
        self.tail.last()
    }
}

/// The records of one turn of one stream, ready for the log.
#[derive(Debug)]
pub struct Entry {
    /// The whole frame, but for what [`format::seal_frame`] writes.
    frame: Vec<u8>,
    stream: StreamId,
    first_seq: u64,
    count: u16,
    tail: Arc<Tail>,
}

impl Entry {
    /// Returns whose records these are.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Returns the `seq` of the first record.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Returns the number of records.
    pub fn record_count(&self) -> u16 {
        self.count
    }

    /// Returns how many bytes it takes in the journal.
    pub fn bytes(&self) -> u64 {
        self.frame.len() as u64
    }

    pub(crate) fn frame(&self) -> &[u8] {
        &self.frame
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.count.into())
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }
}

/// Collects the records of one turn.
#[derive(Debug)]
pub struct EntryBuilder<'a> {
    chain: &'a Chain,
    at: i64,
    frame: Vec<u8>,
    digest: Digest,
    count: usize,
    refused: Option<Error>,
}

impl<'a> EntryBuilder<'a> {
    /// Begins an entry that continues `chain`, at a time in microseconds since 1970.
    pub fn new(chain: &'a Chain, at: i64) -> Self {
        // Room for a usual turn: three records of some 60 bytes.
        let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + 224);
        frame.resize(FRAME_HEADER_BYTES, 0);
        Self { chain, at, frame, digest: chain.digest, count: 0, refused: None }
    }

    /// Adds a record. What cannot be a record is remembered, and [`finish`](Self::finish) refuses the entry.
    pub fn push(&mut self, kind: u16, version: u8, payload: &[u8]) -> &mut Self {
        let body = self.frame.len() - FRAME_HEADER_BYTES + RECORD_HEAD_BYTES_MAX + payload.len();
        if self.refused.is_some() {
            return self;
        } else if kind == KIND_UNKNOWN {
            self.refused = Some(Error::Illegal("record kind 0 means unknown and is never written"));
        } else if body > BODY_BYTES_MAX {
            self.refused = Some(Error::TooLarge { what: "an entry", found: body as u64, limit: BODY_BYTES_MAX as u64 });
        } else if self.count == FRAME_RECORDS_MAX {
            self.refused = Some(Error::Illegal("an entry has at most 65,535 records"));
        } else {
            let seq = self.chain.next_seq.saturating_add(self.count as u64);
            self.digest = digest(&self.digest, self.chain.stream, seq, self.at, kind, version, payload);
            format::put_record(&mut self.frame, kind, version, payload);
            self.count += 1;
        }
        self
    }

    /// Returns the entry under a digest that cannot be recomputed, because what it continues was pruned.
    pub(crate) fn finish_as(mut self, digest: Digest) -> Result<(Entry, Chain)> {
        self.digest = digest;
        self.finish()
    }

    /// Returns the entry, and the chain as it is after it.
    pub fn finish(mut self) -> Result<(Entry, Chain)> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        if self.count == 0 {
            return Err(Error::Illegal("an entry has at least one record"));
        }
        let Chain { stream, next_seq: seq, .. } = *self.chain;
        let (count, body) = (self.count as u16, (self.frame.len() - FRAME_HEADER_BYTES) as u32);
        let header = FrameHeader {
            lsn: Lsn::ZERO,
            stream,
            seq,
            at: self.at,
            count,
            previous: Position::NONE,
            digest: self.digest,
            unsynced: 0,
            body,
        };
        format::begin_frame(&mut self.frame, &header);
        let tail = Arc::clone(&self.chain.tail);
        let next = Chain { stream, next_seq: header.next_seq(), digest: self.digest, tail: Arc::clone(&tail) };
        Ok((Entry { frame: self.frame, stream, first_seq: seq, count, tail }, next))
    }
}

/// Kind, version and the longest length in front of a payload.
const RECORD_HEAD_BYTES_MAX: usize = 2 + 1 + 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_frozen() {
        let stream = StreamId(*b"run-0123456789ab");
        let first = digest(&Digest::ZERO, stream, 1, 1_700_000_000_000_000, 7, 1, b"payload");
        // Recomputed by hand from the layout in the module's comment.
        let mut bytes = Vec::new();
        bytes.extend_from_slice(b"cpd.rec1");
        bytes.extend_from_slice(&[0; 32]);
        bytes.extend_from_slice(b"run-0123456789ab");
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend_from_slice(&1_700_000_000_000_000_i64.to_be_bytes());
        bytes.extend_from_slice(&[0, 7, 1, 0, 0, 0, 7]);
        bytes.extend_from_slice(b"payload");
        assert_eq!(first.0, <[u8; 32]>::from(Sha256::digest(&bytes)));
        assert_ne!(first, digest(&first, stream, 1, 1_700_000_000_000_000, 7, 1, b"payload"));
    }

    #[test]
    fn entry_without_records_is_refused() {
        let chain = Chain::start(StreamId::default());
        assert!(matches!(EntryBuilder::new(&chain, 0).finish(), Err(Error::Illegal(_))));
    }

    #[test]
    fn record_of_kind_zero_is_refused() {
        let chain = Chain::start(StreamId::default());
        let mut builder = EntryBuilder::new(&chain, 0);
        builder.push(0, 1, b"").push(1, 1, b"");
        assert!(matches!(builder.finish(), Err(Error::Illegal(_))));
    }

    #[test]
    fn entry_beyond_the_limit_is_refused_and_one_at_the_limit_is_not() {
        let chain = Chain::start(StreamId::default());
        let most = vec![0; BODY_BYTES_MAX - RECORD_HEAD_BYTES_MAX];
        let mut builder = EntryBuilder::new(&chain, 0);
        builder.push(1, 1, &most);
        let (entry, next) = builder.finish().expect("an entry at the limit");
        assert_eq!((entry.bytes() as usize, next.next_seq()), (FRAME_HEADER_BYTES + BODY_BYTES_MAX, 2));
        let mut builder = EntryBuilder::new(&chain, 0);
        builder.push(1, 1, &most).push(1, 1, b"");
        assert!(matches!(builder.finish(), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn more_records_than_a_count_can_hold_are_refused() {
        let chain = Chain::start(StreamId::default());
        let mut builder = EntryBuilder::new(&chain, 0);
        for _ in 0..=FRAME_RECORDS_MAX {
            builder.push(1, 1, b"");
        }
        assert!(matches!(builder.finish(), Err(Error::Illegal(_))));
    }
}
