//! What the sandbox remembers: models, versions, runs, jobs, and every effect by its idempotency key.
//!
//! With a state file, all of it is written before a request is answered, to a new file that then takes the old one's
//! place: the process may be killed at any moment and another one goes on from what was answered. (A power loss is not
//! guarded against: this is a sandbox.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cpd_connector_api::Value;
use serde::{Deserialize, Serialize};

/// Why the state file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not read or write.
    #[error("{doing} the sandbox's state file {path}")]
    File {
        /// "read", "write".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no state.
    #[error("understand the sandbox's state file {path}: delete it to start afresh")]
    Format {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

/// A registered model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Alias to version.
    pub aliases: BTreeMap<String, String>,
    /// Versions by number; a deleted one leaves a gap.
    pub versions: BTreeMap<u32, Version>,
    /// The last number that was given.
    pub last: u32,
}

/// A model version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Where the artifact lies.
    pub source: String,
    /// The run that made it.
    pub run_id: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A tracked run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Milliseconds since 1970.
    pub started_ms: i64,
    /// Metrics.
    pub metrics: BTreeMap<String, f64>,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A training job. Whether it still runs follows from the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The idempotency key that it was started with.
    pub key: String,
    /// The model that is trained.
    pub model: String,
    /// What it was started with; the same key with another body is refused.
    pub body: Value,
    /// Milliseconds since 1970.
    pub started_ms: i64,
    /// Milliseconds since 1970.
    pub ends_ms: i64,
    /// Its run.
    pub run_id: String,
    /// It was told to fail.
    pub fails: bool,
    /// It was cancelled.
    pub cancelled: bool,
    /// The version that the training service registered itself.
    pub version: Option<String>,
}

/// Something that happened because of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// What: `training`, `version`, `alias`, `tag`, `delete-version`, `cancel-training`, `completion`, `echo`.
    pub kind: String,
    /// The request's idempotency key; empty without one.
    pub key: String,
    /// To what: `card-fraud/2`, a job's id.
    pub target: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// By name.
    pub models: BTreeMap<String, Model>,
    /// By id.
    pub runs: BTreeMap<String, Run>,
    /// By id.
    pub jobs: BTreeMap<String, Job>,
    /// In order.
    pub effects: Vec<Effect>,
}

impl State {
    /// Reads the file; a missing one is a fresh state.
    ///
    /// # Errors
    /// If the file is there and not a state.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(Error::File { doing: "read", path: path.to_path_buf(), source }),
        };
        serde_json::from_slice(&bytes).map_err(|source| Error::Format { path: path.to_path_buf(), source })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let fail = |source| Error::File { doing: "write", path: path.to_path_buf(), source };
        let new = path.with_extension("new");
        let bytes = serde_json::to_vec(self).expect("the state is JSON");
        std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, path)).map_err(fail)
    }

    /// How many effects a key has had.
    pub fn effects_of(&self, key: &str) -> usize {
        self.effects.iter().filter(|e| e.key == key).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_comes_back_from_its_file_and_rubbish_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let mut state = State::load(&path).unwrap();
        assert_eq!(state, State::default());
        state.models.insert("m".into(), Model { last: 3, ..Model::default() });
        state.save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
        std::fs::write(&path, "{").unwrap();
        assert!(State::load(&path).unwrap_err().to_string().contains("delete it to start afresh"));
    }
}
