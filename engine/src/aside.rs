//! Runs that are set aside: a bug in this program panicked in a turn of theirs.
//!
//! Their records are intact and the other runs go on. Nothing about it stands in the journal: the next process that drives
//! the directory tries again, perhaps with the bug mended. Meanwhile a line for each stands in `aside.ndjson` in the data
//! directory, so that `cpd why` and `cpd runs` can tell it from another process. The file is for people: it begins anew
//! whenever a driving process opens the directory, and nothing depends on it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cpd_core::machine::RunId;
use cpd_core::time::Timestamp;
use cpd_core::{Value, json};
use parking_lot::Mutex;

/// The name of the file in a data directory.
const FILE: &str = "aside.ndjson";
/// The file takes no more lines than this: one bug may stop every run there is. All of them are counted and traced.
const LINES_MAX: usize = 10_000;

/// The runs of this process that are set aside.
pub(crate) struct Asides {
    path: PathBuf,
    known: Mutex<BTreeMap<RunId, Arc<str>>>,
}

impl Asides {
    /// Begins with none. `driving`: this process tries again whatever was set aside by the last one.
    pub(crate) fn begin(data: &Path, driving: bool) -> Self {
        let path = data.join(FILE);
        if driving
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), error = %error, "what the last process set aside is still listed");
        }
        Self { path, known: Mutex::default() }
    }

    /// Remembers a run, and writes its line.
    pub(crate) fn note(&self, run: RunId, at: Timestamp, detail: &Arc<str>) {
        let count = {
            let mut known = self.known.lock();
            if known.insert(run, detail.clone()).is_some() {
                return;
            }
            known.len()
        };
        if count > LINES_MAX {
            return;
        }
        let line = json!({ "run": run.to_string(), "at": at.to_string(), "detail": &**detail }).to_json();
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), error = %error, "other processes cannot be told of a run set aside");
        }
    }

    /// All of them, with the reason of each.
    pub(crate) fn all(&self) -> BTreeMap<RunId, Arc<str>> {
        self.known.lock().clone()
    }
}

/// What the process that drives a data directory, or the last one, has set aside. A file that is not there, or lines that
/// cannot be read, say nothing.
pub(crate) fn read(data: &Path) -> BTreeMap<RunId, Arc<str>> {
    let text = std::fs::read(data.join(FILE)).unwrap_or_default();
    let line = |line: &[u8]| {
        let Value::Obj(line) = Value::from_json(line).ok()? else { return None };
        let (Value::Str(run), Value::Str(detail)) = (line.get("run")?, line.get("detail")?) else { return None };
        Some((run.parse().ok()?, detail.clone()))
    };
    text.split(|b| *b == b'\n').filter_map(line).collect()
}
