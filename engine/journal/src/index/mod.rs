//! What can be looked up faster than by reading the journal, and rebuilt by reading it.
//!
//! An index is an ordered map of bytes, in *spaces*, that knows up to which record of the journal it is true. It is never the truth: it may lose its
//! last batches in a crash, since the engine applies the records after [`Index::applied`] again. So no driver syncs. What a driver must do is keep
//! a batch whole, and batches in order: an index that claims a record has everything up to it.
//!
//! An index that will not open or was left half wiped is put aside and begun anew, and [`open_or_rebuild`] says so. Whether it belongs to the
//! journal beside it, and what it means if it is ahead of it, is for the caller to say.
//!
//! A driver is a `Store`: get, scan and write over plain keys. Everything else stands here, once. Keys within a driver are the byte of the space,
//! then the caller's key; what the index says about itself stands in the space 255.

#[cfg(feature = "index-fjall")]
mod fjall;
mod memory;
mod open;
#[cfg(feature = "index-sled")]
mod sled;

use crate::ids::Lsn;

pub use open::{Driver, Opened, Rebuilt, begin_anew, open_or_rebuild};

/// The longest key, without its space.
pub const KEY_BYTES_MAX: usize = 32 << 10;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// A part of an index with keys of its own. Space 255 is the index's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub u8);

const OWN: Space = Space(255);
/// The key in [`OWN`] under which stands what the index says about itself: a byte of state, then the record.
const STATE: &[u8] = b"state";
const STATE_GOOD: u8 = 1;
const STATE_WIPING: u8 = 2;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Which keys to scan: from `start` on, before `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first key that may be in it.
    pub start: Vec<u8>,
    /// The first key behind it, or none if it goes on to the end of the space.
    pub end: Option<Vec<u8>>,
}

impl Range {
    /// All keys of a space.
    pub fn all() -> Self {
        Self::default()
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { start: prefix.to_vec(), end: after_prefix(prefix) }
    }

    /// Leaves out everything up to and with `key`: goes on after the last key of an earlier scan.
    pub fn after(mut self, key: &[u8]) -> Self {
        let next = [key, &[0]].concat();
        self.start = self.start.max(next);
        self
    }

    /// Leaves out everything from `key` on: goes on after the last key of an earlier scan in descending order.
    pub fn before(mut self, key: &[u8]) -> Self {
        if self.end.as_deref().is_none_or(|end| key < end) {
            self.end = Some(key.to_vec());
        }
        self
    }
}

/// The first key that is greater than all that begin with `prefix`.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// From which end to scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The smallest keys first.
    Ascending,
    /// The greatest keys first.
    Descending,
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// A later change of a key overrules an earlier one.
    changes: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
    applied: Option<Lsn>,
}

impl Batch {
    /// Makes an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push((space, key.into(), Some(value.into())));
        self
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, space: Space, key: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push((space, key.into(), None));
        self
    }

    /// States that with this batch the index is true up to and with this record.
    pub fn applied(&mut self, lsn: Lsn) -> &mut Self {
        self.applied = Some(lsn);
        self
    }

    /// Tells whether the batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.applied.is_none()
    }

    /// Returns the number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }
}

/// Why an index did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The driver failed. The index can be rebuilt.
    #[error("{operation} the {driver} index")]
    Driver {
        /// Which driver.
        driver: &'static str,
        /// What was tried.
        operation: &'static str,
        /// What the driver said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process, or another part of this one, has the index open.
    #[error("the {driver} index in {path} is in use")]
    InUse {
        /// Which driver.
        driver: &'static str,
        /// The directory.
        path: String,
    },
    /// A key or value that no driver would take.
    #[error("{what} of {found} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The greatest size allowed.
        limit: usize,
    },
    /// A change in the space that is the index's own.
    #[error("space 255 is reserved")]
    Reserved,
    /// A batch that would take the index back: a bug in the caller.
    #[error("the index is true up to record {found}, a batch says {stated}")]
    Backwards {
        /// Up to where it is true.
        found: Lsn,
        /// What the batch said.
        stated: Lsn,
    },
    /// What the index says about itself makes no sense.
    #[error("the index says about itself {found:02x?}")]
    State {
        /// The bytes.
        found: Vec<u8>,
    },
    /// The driver asked for is not part of this program.
    #[error("the {driver} index is not part of this build")]
    NotBuilt {
        /// Which driver.
        driver: &'static str,
    },
}

/// An ordered map over the journal. See the module's documentation.
pub trait Index: Send + Sync {
    /// Returns the value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// Returns up to `limit` pairs of a range, in order.
    fn scan(&self, space: Space, range: &Range, direction: Direction, limit: usize) -> Result<Vec<Pair>, IndexError>;
    /// Makes all changes of a batch, or none.
    fn write(&self, batch: Batch) -> Result<(), IndexError>;
    /// Returns up to which record the index is true; zero if it is empty.
    fn applied(&self) -> Result<Lsn, IndexError>;
    /// Forgets everything.
    fn wipe(&self) -> Result<(), IndexError>;
    /// Returns the name of the driver.
    fn driver(&self) -> &'static str;
}

/// What a driver has to do.
trait Store: Send + Sync + 'static {
    const NAME: &'static str;
    type Error: std::error::Error + Send + Sync + 'static;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
    /// Pairs with `start <= key < end`.
    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, Self::Error>;
    /// All or none, and not before what was written earlier.
    fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Self::Error>;
    /// Removes everything; need not be atomic.
    fn clear(&self) -> Result<(), Self::Error>;
}

/// An index over a driver.
struct Over<S: Store> {
    store: S,
    /// Batches are written one at a time, so that the check against `applied` holds.
    applied: parking_lot::Mutex<Lsn>,
}

impl<S: Store> Over<S> {
    /// Takes a driver that is open. An index that was being wiped is wiped.
    fn new(store: S) -> Result<Self, IndexError> {
        let index = Self { store, applied: parking_lot::Mutex::new(Lsn::ZERO) };
        let state = index.store.get(&key(OWN, STATE)).map_err(|e| Self::failed("read", e))?;
        let lsn = match state.as_deref() {
            None => Lsn::ZERO,
            Some([STATE_GOOD, lsn @ ..]) if lsn.len() == 8 => Lsn(crate::format::u64_at(lsn, 0)),
            Some([STATE_WIPING, ..]) => {
                index.clear()?;
                Lsn::ZERO
            }
            Some(found) => return Err(IndexError::State { found: found.to_vec() }),
        };
        *index.applied.lock() = lsn;
        Ok(index)
    }

    fn failed(operation: &'static str, source: S::Error) -> IndexError {
        IndexError::Driver { driver: S::NAME, operation, source: Box::new(source) }
    }

    /// First says durably enough that it is wiping, so that a crash cannot leave a part of the keys under an old claim.
    fn clear(&self) -> Result<(), IndexError> {
        let wiping = vec![(key(OWN, STATE), Some(state(STATE_WIPING, Lsn::ZERO)))];
        self.store.write(wiping).and_then(|()| self.store.clear()).map_err(|e| Self::failed("wipe", e))
    }
}

fn key(space: Space, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(1 + key.len());
    whole.push(space.0);
    whole.extend_from_slice(key);
    whole
}

fn state(state: u8, lsn: Lsn) -> Vec<u8> {
    [&[state][..], &lsn.0.to_le_bytes()].concat()
}

fn check(what: &'static str, found: usize, limit: usize) -> Result<(), IndexError> {
    if found > limit { Err(IndexError::TooLarge { what, found, limit }) } else { Ok(()) }
}

impl<S: Store> Index for Over<S> {
    fn get(&self, space: Space, of: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        check("a key", of.len(), KEY_BYTES_MAX)?;
        self.store.get(&key(space, of)).map_err(|e| Self::failed("read", e))
    }

    fn scan(&self, space: Space, range: &Range, direction: Direction, limit: usize) -> Result<Vec<Pair>, IndexError> {
        let start = key(space, &range.start);
        let end = match &range.end {
            Some(end) => Some(key(space, end)),
            None => after_prefix(&[space.0]),
        };
        // Some maps panic on a range that ends before it begins.
        if limit == 0 || end.as_ref().is_some_and(|end| *end <= start) {
            return Ok(Vec::new());
        }
        let pairs = self.store.scan(&start, end.as_deref(), direction, limit).map_err(|e| Self::failed("scan", e))?;
        Ok(pairs.into_iter().map(|(whole, value)| (whole[1..].to_vec(), value)).collect())
    }

    fn write(&self, batch: Batch) -> Result<(), IndexError> {
        let Batch { changes, applied: stated } = batch;
        let mut whole = Vec::with_capacity(changes.len() + 1);
        for (space, of, value) in changes {
            if space == OWN {
                return Err(IndexError::Reserved);
            }
            check("a key", of.len(), KEY_BYTES_MAX)?;
            check("a value", value.as_ref().map_or(0, Vec::len), VALUE_BYTES_MAX)?;
            whole.push((key(space, &of), value));
        }
        let mut applied = self.applied.lock();
        if let Some(stated) = stated {
            if stated < *applied {
                return Err(IndexError::Backwards { found: *applied, stated });
            }
            whole.push((key(OWN, STATE), Some(state(STATE_GOOD, stated))));
        }
        if whole.is_empty() {
            return Ok(());
        }
        self.store.write(whole).map_err(|e| Self::failed("write to", e))?;
        *applied = stated.unwrap_or(*applied);
        Ok(())
    }

    fn applied(&self) -> Result<Lsn, IndexError> {
        Ok(*self.applied.lock())
    }

    fn wipe(&self) -> Result<(), IndexError> {
        let mut applied = self.applied.lock();
        self.clear()?;
        *applied = Lsn::ZERO;
        Ok(())
    }

    fn driver(&self) -> &'static str {
        S::NAME
    }
}
