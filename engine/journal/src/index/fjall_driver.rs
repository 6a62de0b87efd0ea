//! The default driver: a `fjall` database with one keyspace.
//!
//! It is never synced: fjall's own journal keeps batches whole and in order, and what a power loss takes from its end is
//! caught up from the log. Small caches: the index is read at starts and for lists, not on the path of a run.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::{APPLIED_KEY, Error, Index, Lsn, Row, Space, WriteBatch, full_key, read_applied};

const CACHE_BYTES: u64 = 8 << 20;
const JOURNAL_BYTES: u64 = 64 << 20;
const MEMTABLE_BYTES: u64 = 8 << 20;

/// An index in a `fjall` database.
pub struct FjallIndex {
    database: Database,
    rows: Keyspace,
}

fn failed(action: &'static str) -> impl FnOnce(fjall::Error) -> Error {
    move |source| Error { action, driver: "fjall", source: Box::new(source) }
}

impl FjallIndex {
    /// Opens the database in `path`, creating it if there is none.
    ///
    /// # Errors
    /// If it will not open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let database = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()
            .map_err(failed("open"))?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let rows = database.keyspace("rows", options).map_err(failed("open"))?;
        Ok(Self { database, rows })
    }
}

impl Index for FjallIndex {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = self.rows.get(full_key(space, key)).map_err(failed("read"))?;
        Ok(value.map(|v| v.to_vec()))
    }

    fn scan(&self, space: Space, prefix: &[u8], backward: bool, limit: usize) -> Result<Vec<Row>, Error> {
        let mut rows = self.rows.prefix(full_key(space, prefix));
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(row) = (if backward { rows.next_back() } else { rows.next() }) else { break };
            let (key, value) = row.into_inner().map_err(failed("scan"))?;
            found.push((key[1..].to_vec(), value.to_vec()));
        }
        Ok(found)
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), Error> {
        let mut writes = self.database.batch();
        for (key, value) in batch.changes {
            match value {
                Some(value) => writes.insert(&self.rows, key, value),
                None => writes.remove(&self.rows, key),
            }
        }
        writes.insert(&self.rows, APPLIED_KEY, batch.applied.0.to_le_bytes().to_vec());
        writes.commit().map_err(failed("write"))
    }

    fn applied_lsn(&self) -> Result<Lsn, Error> {
        let value = self.rows.get(APPLIED_KEY).map_err(failed("read"))?;
        Ok(read_applied(value.as_deref()))
    }

    fn driver(&self) -> &'static str {
        "fjall"
    }
}
