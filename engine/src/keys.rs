//! Start keys: a key starts one run of its workflow, whoever asks, how often, and at once.
//!
//! 1. Whoever starts with a key first takes the key's cell. Those who come meanwhile wait for the cell.
//! 2. In the cell, the index is asked, and only if it knows nothing the run is started. When that is durable, the cell is
//!    full.
//! 3. The index learns of the key in the background. Until then only the cell knows it.
//! 4. So that the cells do not become more and more, those are dropped whose key the index is *seen* to know, and those of
//!    starts that failed, while nobody holds them. Only an index that cannot be written (which is said) makes them stay.

use std::collections::HashMap;
use std::sync::Arc;

use cpd_core::machine::RunId;
use cpd_journal::index::{Index, IndexError};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::index::{Indexer, KEYS};

/// The hash of a workflow and a key.
pub(crate) type KeyHash = [u8; 16];

/// With so many cells, those that are not needed any more are dropped.
pub(crate) const CELLS_MAX: usize = 4_096;

pub(crate) type Cell = Arc<OnceCell<RunId>>;

/// Runs started with a key that the index may not know yet; a cell is empty while the start is not durable.
pub(crate) struct StartKeys {
    cells: Mutex<Cells>,
}

struct Cells {
    by_key: HashMap<KeyHash, Cell>,
    /// Look through them when there are so many.
    prune_at: usize,
}

impl StartKeys {
    pub(crate) fn new() -> Self {
        Self { cells: Mutex::new(Cells { by_key: HashMap::new(), prune_at: CELLS_MAX }) }
    }

    /// The cell of a key.
    pub(crate) fn cell(&self, key: KeyHash) -> Cell {
        self.cells.lock().by_key.entry(key).or_default().clone()
    }

    /// Whether it is time to [prune](Self::prune). True for one caller, until that one has pruned.
    pub(crate) fn is_time(&self) -> bool {
        let mut cells = self.cells.lock();
        let time = cells.by_key.len() >= cells.prune_at;
        if time {
            cells.prune_at = usize::MAX;
        }
        time
    }

    /// Drops the cells that are not needed any more. Blocks while the index is written.
    pub(crate) fn prune(&self, indexer: &Indexer, index: &dyn Index) {
        indexer.flush();
        let full: Vec<KeyHash> = {
            let cells = self.cells.lock();
            cells.by_key.iter().filter(|(_, cell)| cell.initialized()).map(|(key, _)| *key).collect()
        };
        let known = full.into_iter().filter_map(|key| match known(index, &key) {
            Ok(run) => run.map(|_| key),
            // Whoever starts with it meets the same error, and tells it.
            Err(_) => None,
        });
        let known: Vec<KeyHash> = known.collect();
        let mut cells = self.cells.lock();
        for key in known {
            // Whoever holds the cell has it; whoever comes now asks the index.
            cells.by_key.remove(&key);
        }
        // A start that failed leaves an empty cell, unless somebody is just trying again.
        cells.by_key.retain(|_, cell| cell.initialized() || Arc::strong_count(cell) > 1);
        cells.prune_at = CELLS_MAX.max(2 * cells.by_key.len());
    }

    #[cfg(test)]
    pub(crate) fn is_pruning(&self) -> bool {
        self.cells.lock().prune_at == usize::MAX
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.cells.lock().by_key.len()
    }
}

/// The run that the index knows of a key.
pub(crate) fn known(index: &dyn Index, key: &KeyHash) -> Result<Option<RunId>, IndexError> {
    Ok(index.get(KEYS, key)?.and_then(|run| Some(RunId(run.try_into().ok()?))))
}
