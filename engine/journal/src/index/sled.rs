//! The second driver: sled 0.34, a B-tree over a log of its own.
//!
//! Its flush does not sync the disk, it is slower, and larger on disk; as an index that can be rebuilt it may be all of that. It reports some kinds of
//! damage by panicking, which [`open_or_rebuild`](super::open_or_rebuild) takes for damage.

use std::ops::Bound;
use std::path::Path;

use ::sled::{Db, Error};

use super::{Direction, IndexError, Over, Pair, Store};

const CACHE_BYTES: u64 = 16 << 20;
/// Keys cleared at a time.
const CLEAR_KEYS: usize = 4096;

/// A database with one tree.
pub(super) struct Sled {
    database: Db,
}

pub(super) fn open(path: &Path) -> Result<Over<Sled>, IndexError> {
    let database = ::sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(500)).open();
    let database = database.map_err(|error| match &error {
        // sled has no kind of its own for it.
        Error::Io(io) if io.to_string().contains("could not acquire lock") => {
            IndexError::InUse { driver: Sled::NAME, path: path.display().to_string() }
        }
        _ => IndexError::Driver { driver: Sled::NAME, operation: "open", source: Box::new(error) },
    })?;
    Over::new(Sled { database })
}

impl Store for Sled {
    const NAME: &'static str = "sled";
    type Error = Error;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.database.get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, direction: Direction, limit: usize) -> Result<Vec<Pair>, Error> {
        let range =
            self.database.range::<&[u8], _>((Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded)));
        let owned = |pair: Result<_, Error>| {
            pair.map(|(key, value): (::sled::IVec, ::sled::IVec)| (key.to_vec(), value.to_vec()))
        };
        match direction {
            Direction::Ascending => range.take(limit).map(owned).collect(),
            Direction::Descending => range.rev().take(limit).map(owned).collect(),
        }
    }

    fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Error> {
        let mut batch = ::sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.database.apply_batch(batch)
    }

    /// Not atomic, and the tree's own `clear` is not either: the claim in the space 255 goes last.
    fn clear(&self) -> Result<(), Error> {
        loop {
            let keys: Vec<_> = self.database.iter().keys().take(CLEAR_KEYS).collect::<Result<_, _>>()?;
            if keys.is_empty() {
                return Ok(());
            }
            let mut batch = ::sled::Batch::default();
            keys.into_iter().for_each(|key| batch.remove(key));
            self.database.apply_batch(batch)?;
        }
    }
}
