//! What the operator allows, and how much of it: `[connectors.process]`.
//!
//! Nothing may be run unless `allow` says so. A definition can stay below these limits and never go above them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The kinds of process that the `run` task knows, but for workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A command line for `/bin/sh`.
    Shell,
    /// A script in one of the two languages.
    Script,
    /// A container of the local engine.
    Container,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Shell, Kind::Script, Kind::Container];

    /// Its name in definitions, settings and operations.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Shell => "shell",
            Kind::Script => "script",
            Kind::Container => "container",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The programs that run scripts: a path, or a name that is looked up in the daemon's `PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Interpreters {
    /// For `js`.
    pub js: PathBuf,
    /// For `python`.
    pub python: PathBuf,
}

impl Default for Interpreters {
    fn default() -> Self {
        Self { js: "node".into(), python: "python3".into() }
    }
}

/// Permissions and limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// What may be run. Empty: nothing.
    pub allow: BTreeSet<Kind>,
    /// The only programs that `shell` may start, without a shell between; empty: any command line.
    pub commands: Vec<String>,
    /// What runs scripts.
    pub interpreters: Interpreters,
    /// How long a process may run, awaited or not. A task's own timeout may end it sooner.
    pub time_ms_max: u64,
    /// How much memory a process and its descendants may hold together.
    pub memory_bytes_max: u64,
    /// The most that is taken from each of stdout and stderr.
    pub output_bytes_max: usize,
    /// The largest file that a process may write.
    pub file_bytes_max: u64,
    /// The most processes at a time in one task, the first one included.
    pub processes_max: u64,
    /// Where the private working directories are made; the system's directory for temporary files if absent.
    pub work_dir: Option<PathBuf>,
    /// The socket of Docker or Podman; the usual places if absent.
    pub docker_socket: Option<PathBuf>,
    /// Directories of this machine of which containers may mount what lies in them. Empty: none.
    pub volumes: Vec<PathBuf>,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            allow: BTreeSet::new(),
            commands: Vec::new(),
            interpreters: Interpreters::default(),
            time_ms_max: 600_000,
            memory_bytes_max: 1 << 30,
            output_bytes_max: 8 << 20,
            file_bytes_max: 1 << 30,
            processes_max: 64,
            work_dir: None,
            docker_socket: None,
            volumes: Vec::new(),
        }
    }
}
