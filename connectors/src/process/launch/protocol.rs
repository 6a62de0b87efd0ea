//! What daemon and guardian say to each other: one JSON document a line, over the socket that is the guardian's stdin.
//!
//! ```text
//! daemon ── Order ──────────────────────────→ guardian
//!        ←── Message::Started, or Trouble ──
//!        ── (closes its side: end it all) ──→
//!        ←── Message::Ended ────────────────
//! ```
//!
//! Both are the same build, or nearly (a daemon that was replaced on disk starts its own image), so this is no format to keep.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// What stands before the script's path, or before the arguments.
    pub flags: Vec<String>,
    /// A file to write into the private directory; its path stands behind the flags.
    pub script: Option<Script>,
    /// What comes last.
    pub arguments: Vec<String>,
    /// The whole environment, but for what names the private directory.
    pub environment: Vec<(String, String)>,
    /// What the program reads.
    pub stdin: String,
    /// Where the private directory is made.
    pub work_dir: PathBuf,
    /// What it may use.
    pub limits: Limits,
}

/// A script's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Script {
    /// Its name, without a path.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a process and its descendants may use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub time_ms: u64,
    pub memory_bytes: u64,
    pub file_bytes: u64,
    pub processes: u64,
}

/// What the guardian says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// It runs; its process group has this number.
    Started { group: i32, directory: PathBuf },
    /// It did not come to run.
    Trouble(String),
    /// It ran, and nothing of it runs any more.
    Ended(End),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that nobody here sent.
    Signalled(i32),
    /// It went over a limit and was ended.
    Over(Limit),
    /// The daemon wanted it ended, or is gone.
    Ordered,
}

/// Which limit the guardian found passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Limit {
    Time { ms: u64 },
    Memory { bytes: u64, max: u64 },
    Processes { found: u64, max: u64 },
}

impl Limit {
    /// The setting that says how much.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Limit::Time { .. } => "time_ms_max",
            Limit::Memory { .. } => "memory_bytes_max",
            Limit::Processes { .. } => "processes_max",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Time { ms } => write!(f, "it ran for longer than {ms} ms"),
            Limit::Memory { bytes, max } => write!(f, "it held {bytes} bytes of memory, more than {max}"),
            Limit::Processes { found, max } => write!(f, "it had {found} processes at a time, more than {max}"),
        }
    }
}
