//! The control plane's records in the order in which they happened.

use std::sync::Arc;

use cpd_core::time::Timestamp;
use cpd_journal::{Lsn, Position, Reader, StoredEntry};

use super::limit::Refusals;
use super::record::{read, unreadable};
use super::{Act, Revoked, Token};
use crate::error::Error;

/// A record of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Its number in the journal.
    pub lsn: Lsn,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub what: What,
}

/// What a record of the control plane says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A token was made; as it was then.
    TokenCreated(Token),
    /// A token was revoked.
    TokenRevoked {
        /// Its id.
        id: Arc<str>,
        /// When, why and by whom.
        revoked: Revoked,
    },
    /// Somebody did something, or was refused.
    Administered(Act),
    /// Refused attempts without records of their own.
    RefusalsCounted(Refusals),
    /// A definition was registered.
    Registered {
        /// `workflow`, `policy` or `agent`.
        what: &'static str,
        /// Its name.
        name: Arc<str>,
        /// Its version.
        version: Arc<str>,
        /// Who registered it.
        actor: Arc<str>,
    },
    /// A document that a definition refers to; the registration after it says whose.
    DocumentPinned,
}

/// The newest `limit` records of some streams before the record `before`, the newest first.
pub(crate) fn audit(
    reader: &Reader,
    streams: &[Option<Position>],
    before: Option<Lsn>,
    limit: usize,
) -> Result<Vec<Audited>, Error> {
    let mut all = Vec::new();
    for last in streams.iter().flatten() {
        all.extend(tail(reader, *last, before, limit)?);
    }
    all.sort_by_key(|a| std::cmp::Reverse(a.lsn));
    all.truncate(limit);
    Ok(all)
}

/// The newest records of one stream. It is read backwards in growing pieces, for it may be long.
fn tail(reader: &Reader, last: Position, before: Option<Lsn>, limit: usize) -> Result<Vec<Audited>, Error> {
    let end = reader.read(last)?.next_seq();
    let mut piece = u64::try_from(limit).unwrap_or(u64::MAX).max(64);
    loop {
        let from = end.saturating_sub(piece).max(1);
        let mut found = Vec::new();
        for entry in reader.history_since(last, from)? {
            take(&entry, before, &mut found)?;
        }
        if found.len() >= limit || from == 1 {
            return Ok(found);
        }
        piece = piece.saturating_mul(4);
    }
}

fn take(entry: &StoredEntry, before: Option<Lsn>, found: &mut Vec<Audited>) -> Result<(), Error> {
    let at = Timestamp(entry.at());
    for (lsn, r) in (entry.lsn().0..).zip(entry.records()) {
        if before.is_some_and(|before| lsn >= before.0) {
            break;
        }
        let what = read(r.kind, r.version, at, r.payload).map_err(|e| unreadable(entry, e))?;
        if what != What::DocumentPinned {
            found.push(Audited { lsn: Lsn(lsn), at, what });
        }
    }
    Ok(())
}
