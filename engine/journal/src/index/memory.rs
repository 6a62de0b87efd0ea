//! The index in memory: for tests, and for looking at a directory that another process owns.

use std::collections::BTreeMap;
use std::ops::Bound;

use parking_lot::RwLock;

use super::{Error, Index, Lsn, Row, Space, WriteBatch, full_key};

/// An index that lives as long as the process.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    inner: RwLock<(BTreeMap<Vec<u8>, Vec<u8>>, u64)>,
}

impl Index for MemoryIndex {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.inner.read().0.get(&full_key(space, key)).cloned())
    }

    fn scan(&self, space: Space, prefix: &[u8], backward: bool, limit: usize) -> Result<Vec<Row>, Error> {
        let inner = self.inner.read();
        let from = full_key(space, prefix);
        let rows = inner.0.range::<[u8], _>((Bound::Included(&from[..]), Bound::Unbounded));
        let rows = rows.take_while(|(k, _)| k.starts_with(&from)).map(|(k, v)| (k[1..].to_vec(), v.clone()));
        let mut rows: Vec<Row> = if backward { rows.collect() } else { rows.take(limit).collect() };
        if backward {
            rows.reverse();
            rows.truncate(limit);
        }
        Ok(rows)
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), Error> {
        let mut inner = self.inner.write();
        for (key, value) in batch.changes {
            match value {
                Some(value) => inner.0.insert(key, value),
                None => inner.0.remove(&key),
            };
        }
        inner.1 = batch.applied.0;
        Ok(())
    }

    fn applied_lsn(&self) -> Result<Lsn, Error> {
        Ok(Lsn(self.inner.read().1.max(1)))
    }

    fn driver(&self) -> &'static str {
        "memory"
    }
}
