//! Indexes over the log: small ordered stores that can be dropped and made again.
//!
//! A driver keeps rows in a few spaces, writes batches all or nothing, and knows the lsn up to which it is true. It may
//! lose its newest batches in a crash; it must never be ahead of what it says, or hold half of a batch.

use std::path::Path;

use crate::chain::Lsn;

#[cfg(feature = "index-fjall")]
mod fjall_driver;
mod memory;
#[cfg(feature = "index-sled")]
mod sled_driver;

#[cfg(feature = "index-fjall")]
pub use fjall_driver::FjallIndex;
pub use memory::MemoryIndex;
#[cfg(feature = "index-sled")]
pub use sled_driver::SledIndex;

/// A part of the index, 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub u8);

/// Key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Key under which a driver keeps how far it is true; no space is 0.
pub(crate) const APPLIED_KEY: &[u8] = b"\0applied";

/// An error of a driver.
#[derive(Debug, thiserror::Error)]
#[error("{action} the {driver} index")]
pub struct Error {
    /// What was tried.
    pub action: &'static str,
    /// Which driver.
    pub driver: &'static str,
    /// Why not.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Changes that are applied all or nothing.
#[derive(Clone, Debug)]
pub struct WriteBatch {
    /// The index is true up to here once the batch is in it.
    pub applied: Lsn,
    pub(crate) changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl WriteBatch {
    /// An empty batch after which the index is true up to `applied`.
    pub fn new(applied: Lsn) -> Self {
        Self { applied, changes: Vec::new() }
    }

    /// Sets a row.
    pub fn put(&mut self, space: Space, key: &[u8], value: &[u8]) {
        self.changes.push((full_key(space, key), Some(value.to_vec())));
    }

    /// Removes a row, if it is there.
    pub fn delete(&mut self, space: Space, key: &[u8]) {
        self.changes.push((full_key(space, key), None));
    }

    /// How many changes it has.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A driver.
pub trait Index: Send + Sync {
    /// The value of a row.
    ///
    /// # Errors
    /// If the store cannot be read; likewise below.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Rows whose key begins with `prefix`, in order of key (or the other way round), at most `limit`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn scan(&self, space: Space, prefix: &[u8], backward: bool, limit: usize) -> Result<Vec<Row>, Error>;

    /// Applies a batch.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn commit(&self, batch: WriteBatch) -> Result<(), Error>;

    /// The lsn up to which (exclusive) it is true; 1 for an empty index.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn applied_lsn(&self) -> Result<Lsn, Error>;

    /// The driver's name.
    fn driver(&self) -> &'static str;
}

pub(crate) fn full_key(space: Space, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(space.0);
    full.extend_from_slice(key);
    full
}

pub(crate) fn read_applied(value: Option<&[u8]>) -> Lsn {
    Lsn(value.and_then(|v| v.try_into().ok()).map_or(1, u64::from_le_bytes))
}

/// Opens the default driver's index in `dir`. If it will not open it is moved aside and an empty one made: the second
/// value says why.
///
/// # Errors
/// If not even an empty index can be made there.
pub fn open_or_rebuild(dir: &Path) -> Result<(Box<dyn Index>, Option<String>), Error> {
    let failed = |action: &'static str, source: std::io::Error| Error { action, driver: DRIVER, source: Box::new(source) };
    let path = dir.join(DRIVER);
    let mut in_the_way = None;
    if dir.exists() && !dir.is_dir() {
        let aside = dir.with_extension("broken");
        std::fs::rename(dir, &aside).map_err(|e| failed("move aside what is in the way of", e))?;
        in_the_way = Some(format!("{} was not a directory; it is {} now", dir.display(), aside.display()));
    }
    std::fs::create_dir_all(dir).map_err(|e| failed("create the directory of", e))?;
    match open_default(&path) {
        Ok(index) => Ok((index, in_the_way)),
        Err(error) => {
            let why = format!("{error}: {}", error.source);
            tracing::warn!(%why, "the index will not open; it is made again from the journal");
            let aside = dir.join(format!("{DRIVER}.broken"));
            if aside.exists() {
                std::fs::remove_dir_all(&aside).map_err(|e| failed("remove an older broken copy of", e))?;
            }
            std::fs::rename(&path, &aside).map_err(|e| failed("move aside", e))?;
            Ok((open_default(&path)?, Some(why)))
        }
    }
}

#[cfg(feature = "index-fjall")]
const DRIVER: &str = "fjall";
#[cfg(feature = "index-fjall")]
fn open_default(path: &Path) -> Result<Box<dyn Index>, Error> {
    Ok(Box::new(FjallIndex::open(path)?))
}

#[cfg(all(feature = "index-sled", not(feature = "index-fjall")))]
const DRIVER: &str = "sled";
#[cfg(all(feature = "index-sled", not(feature = "index-fjall")))]
fn open_default(path: &Path) -> Result<Box<dyn Index>, Error> {
    Ok(Box::new(SledIndex::open(path)?))
}

#[cfg(not(any(feature = "index-sled", feature = "index-fjall")))]
const DRIVER: &str = "memory";
#[cfg(not(any(feature = "index-sled", feature = "index-fjall")))]
fn open_default(_path: &Path) -> Result<Box<dyn Index>, Error> {
    Ok(Box::new(MemoryIndex::default()))
}
