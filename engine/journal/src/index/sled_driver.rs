//! The second driver: a `sled` 0.34 database. It can lose nothing as an index; why it is not the truth stands in
//! `docs/decisions/0001-the-log.md`.

use std::path::Path;

use super::{APPLIED_KEY, Error, Index, Lsn, Row, Space, WriteBatch, full_key, read_applied};

const CACHE_BYTES: u64 = 8 << 20;

/// An index in a `sled` database.
pub struct SledIndex {
    database: sled::Db,
}

fn failed(action: &'static str) -> impl FnOnce(sled::Error) -> Error {
    move |source| Error { action, driver: "sled", source: Box::new(source) }
}

impl SledIndex {
    /// Opens the database in `path`, creating it if there is none.
    ///
    /// # Errors
    /// If it will not open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let database = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).open().map_err(failed("open"))?;
        Ok(Self { database })
    }
}

impl Index for SledIndex {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = self.database.get(full_key(space, key)).map_err(failed("read"))?;
        Ok(value.map(|v| v.to_vec()))
    }

    fn scan(&self, space: Space, prefix: &[u8], backward: bool, limit: usize) -> Result<Vec<Row>, Error> {
        let mut rows = self.database.scan_prefix(full_key(space, prefix));
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(row) = (if backward { rows.next_back() } else { rows.next() }) else { break };
            let (key, value) = row.map_err(failed("scan"))?;
            found.push((key[1..].to_vec(), value.to_vec()));
        }
        Ok(found)
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), Error> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.changes {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        writes.insert(APPLIED_KEY, &batch.applied.0.to_le_bytes());
        self.database.apply_batch(writes).map_err(failed("write"))
    }

    fn applied_lsn(&self) -> Result<Lsn, Error> {
        let value = self.database.get(APPLIED_KEY).map_err(failed("read"))?;
        Ok(read_applied(value.as_deref()))
    }

    fn driver(&self) -> &'static str {
        "sled"
    }
}
