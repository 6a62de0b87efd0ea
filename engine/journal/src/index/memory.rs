//! An index in memory: rebuilt at each start. For tests and for small journals.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use parking_lot::RwLock;

use super::{Direction, Pair, Store};

/// A map.
#[derive(Default)]
pub(super) struct Memory {
    map: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Store for Memory {
    const NAME: &'static str = "memory";
    type Error = Infallible;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.map.read().get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, Infallible> {
        let map = self.map.read();
        let range = map.range::<[u8], _>((Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded)));
        let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(match direction {
            Direction::Ascending => range.take(limit).map(owned).collect(),
            Direction::Descending => range.rev().take(limit).map(owned).collect(),
        })
    }

    fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Infallible> {
        let mut map = self.map.write();
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), Infallible> {
        self.map.write().clear();
        Ok(())
    }
}
