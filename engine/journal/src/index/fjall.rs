//! The default driver: fjall 3, an LSM tree.
//!
//! One keyspace holds everything, so a batch is one entry of fjall's own journal and is whole or absent after a crash. It is handed to the system
//! with each batch and never synced: `kill -9` loses nothing, a loss of power loses the last batches.

use std::ops::Bound;
use std::path::Path;

use ::fjall::{Database, Error, Keyspace, KeyspaceCreateOptions};

use super::{Direction, IndexError, Over, Pair, Store};

/// Small, because the journal beside it has the first claim on memory.
const CACHE_BYTES: u64 = 16 << 20;
const MEMTABLE_BYTES: u64 = 8 << 20;
/// The least that fjall takes.
const JOURNALS_BYTES_MAX: u64 = 64 << 20;
const FILES_OPEN_MAX: usize = 64;

/// A database with one keyspace.
pub(super) struct Fjall {
    database: Database,
    keys: Keyspace,
}

pub(super) fn open(path: &Path) -> Result<Over<Fjall>, IndexError> {
    let failed = |error| match error {
        Error::Locked => IndexError::InUse { driver: Fjall::NAME, path: path.display().to_string() },
        error => IndexError::Driver { driver: Fjall::NAME, operation: "open", source: Box::new(error) },
    };
    let database = Database::builder(path)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNALS_BYTES_MAX)
        .max_cached_files(Some(FILES_OPEN_MAX))
        .worker_threads(1)
        .open()
        .map_err(failed)?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    let keys = database.keyspace("index", options).map_err(failed)?;
    Over::new(Fjall { database, keys })
}

impl Store for Fjall {
    const NAME: &'static str = "fjall";
    type Error = Error;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.keys.get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, direction: Direction, limit: usize) -> Result<Vec<Pair>, Error> {
        let range =
            self.keys.range::<&[u8], _>((Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded)));
        let owned = |guard: ::fjall::Guard| guard.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec()));
        match direction {
            Direction::Ascending => range.take(limit).map(owned).collect(),
            Direction::Descending => range.rev().take(limit).map(owned).collect(),
        }
    }

    fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Error> {
        // All changes of a batch have one sequence number, so two of one key would have no order between them: only the last
        // one goes in. In the order of their keys they also go into the memtable faster.
        let mut changes = changes;
        changes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut batch = self.database.batch();
        let mut changes = changes.into_iter().peekable();
        while let Some((key, value)) = changes.next() {
            if changes.peek().is_some_and(|(next, _)| *next == key) {
                continue;
            }
            match value {
                Some(value) => batch.insert(&self.keys, key, value),
                None => batch.remove(&self.keys, key),
            }
        }
        batch.commit()
    }

    fn clear(&self) -> Result<(), Error> {
        self.keys.clear()
    }
}
