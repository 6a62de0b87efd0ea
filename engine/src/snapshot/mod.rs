//! Snapshots: the state of a long run as it was after one of its records, so that the run is not folded from its beginning
//! again. They stand in the index, so they may always be dropped, and nothing ever needs one.
//!
//! 1. A shard hands over a copy of a run's state once it has [`EVERY`] events more than at the last time. The copy shares
//!    everything with the run; it is written down by the index's thread ([`encode`]).
//! 2. Who loads a run asks for its snapshot, reads the entries of the journal from the one that the snapshot ends with, and
//!    folds what comes after it ([`load`]).
//! 3. A snapshot counts only if all of this holds: its form and the version of this program are those that wrote it; its hash
//!    is right, which covers the run, too; the record that it ends with has the digest that it names, so the journal has the
//!    very history that it is the state of; and the plan has the tasks that it names where it names them. If anything does
//!    not hold, it is as if there were none.
//!
//! ```text
//! form 3 │ SHA-256 of (domain, form, run, body) 32 │ body: the struct of `form`, in the format of records
//! ```
//!
//! `docs/decisions/0013-snapshots.md` says why.

mod form;
mod read;
mod write;

use cpd_core::machine::{Run, RunId};
use cpd_journal::index::Space;
use cpd_journal::payloads::Payloads;
use cpd_journal::{Chain, Digest, Position, StoredEntry};
use sha2::{Digest as _, Sha256};

use crate::engine::Shared;
use crate::error::Error;
use crate::{load, registry::Registry};

/// Snapshots of open runs.
pub(crate) const SNAPSHOTS: Space = Space(5);

/// After so many events a run gets a snapshot. Folding them takes a few milliseconds.
pub(crate) const EVERY: u64 = 2_000;

/// A snapshot is only written if there is an event for each so many bytes of it since the last one: a run with a large state
/// must not write it again and again.
pub(crate) const BYTES_PER_EVENT: u64 = 256;

/// The number of the form. It changes when [`form`] does, and when folding comes to another state than it used to.
const FORM: u16 = 3;

const HEADER_BYTES: usize = 34;

/// A state to be written down.
pub(crate) struct Source {
    /// The state.
    pub run: Run,
    /// The number of the last record that is in it.
    pub seq: u64,
    /// The digest of that record.
    pub digest: Digest,
}

/// Writes a state down. `None` if it is too large for the index.
pub(crate) fn encode(source: &Source) -> Option<Vec<u8>> {
    let mut bytes = vec![0; HEADER_BYTES];
    write::write(source, &mut bytes);
    if bytes.len() > cpd_journal::index::VALUE_BYTES_MAX {
        return None;
    }
    bytes[..2].copy_from_slice(&FORM.to_le_bytes());
    let hash = hash(source.run.id, &bytes[HEADER_BYTES..]);
    bytes[2..HEADER_BYTES].copy_from_slice(&hash);
    Some(bytes)
}

/// Reads a state back, if it is one of this run in this form.
pub(crate) fn decode(registry: &Registry, id: RunId, bytes: &[u8]) -> Option<Source> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
    if header[..2] != FORM.to_le_bytes() || header[2..] != hash(id, body) {
        return None;
    }
    read::read(registry, id, body)
}

fn hash(run: RunId, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"cpd snapshot\0");
    hash.update(FORM.to_le_bytes());
    hash.update(run.0);
    hash.update(body);
    hash.finalize().into()
}

/// A run from its snapshot and the entries after it, the chain that its next entry continues, and how many events the
/// snapshot has. `None` if there is no snapshot that counts.
pub(crate) fn load(shared: &Shared, id: RunId, last: Position) -> Result<Option<(Run, Chain, u64)>, Error> {
    // Without an index there are no snapshots; why it cannot be read is told to those who need it.
    let Ok(index) = shared.index() else { return Ok(None) };
    let Ok(Some(bytes)) = index.get(SNAPSHOTS, &id.0) else { return Ok(None) };
    let Some(source) = decode(&shared.registry, id, &bytes) else {
        tracing::info!(run = %id, "a snapshot does not count; the run is folded from its beginning");
        return Ok(None);
    };
    let entries = shared.reader.history_since(last, source.seq)?;
    Ok(onto(source, &entries, &shared.payloads)?
        .zip(entries.last().map(StoredEntry::chain))
        .map(|((run, events), chain)| (run, chain, events)))
}

/// Folds the entries from the one that the snapshot ends with onto it.
fn onto(source: Source, entries: &[StoredEntry], payloads: &Payloads) -> Result<Option<(Run, u64)>, Error> {
    let Some((covered, rest)) = entries.split_first() else { return Ok(None) };
    if covered.next_seq() != source.seq + 1 || covered.digest() != source.digest {
        return Ok(None);
    }
    // A run that was moved to another version since is folded from its beginning.
    if load::migrated(rest.iter().flat_map(StoredEntry::records).map(|r| (r.kind, r.payload))).is_some() {
        return Ok(None);
    }
    let events = source.run.events;
    let mut run = Some(source.run);
    load::fold_onto(&mut run, rest, payloads, |_, _| unreachable!("there is a run already"))?;
    Ok(run.map(|run| (run, events)))
}
