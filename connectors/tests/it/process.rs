//! The connector `process` with the real `sh`, `node` and `python3`, and with a container engine that follows the documents.
//!
//! What a process leaves behind is looked for by its number and its directory. Waiting is for a condition, with a bound.

mod bounds;
mod conforms;
mod container;
mod docker;
mod script;
mod shell;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpd_connector_api::clock::SystemClock;
use cpd_connector_api::{Connector, Outcome, Request, Value};
use cpd_connectors::process::config::Kind;
use cpd_connectors::process::{Launcher, Process, ProcessConfig};
use tempfile::TempDir;

use crate::support::request;

/// How long what must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connector and the directory below which its processes work; beside that is room for what they write.
struct World {
    connector: Arc<Process>,
    root: TempDir,
}

impl World {
    /// One that allows everything.
    fn new() -> Self {
        Self::with(ProcessConfig { allow: Kind::ALL.into(), ..ProcessConfig::default() })
    }

    fn with(config: ProcessConfig) -> Self {
        let root = tempfile::tempdir().expect("there is room");
        std::fs::create_dir(root.path().join("work")).expect("there is room");
        let config = ProcessConfig { work_dir: Some(root.path().join("work")), ..config };
        let launcher = Launcher::program(env!("CARGO_BIN_EXE_cpd-launch"));
        Self { connector: Arc::new(Process::new(config, launcher, Arc::new(SystemClock))), root }
    }

    async fn run(&self, kind: &str, with: Value) -> Outcome {
        self.call(request(&format!("process.{kind}"), "r/t", with)).await
    }

    async fn call(&self, request: Request) -> Outcome {
        tokio::time::timeout(PATIENCE * 2, self.connector.call(request)).await.expect("a call ends")
    }

    /// A file beside the working directories.
    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// How many working directories there are.
    fn directories(&self) -> usize {
        std::fs::read_dir(self.root.path().join("work")).expect("it is there").count()
    }
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::task::yield_now().await;
    }
}

/// The words of a line that a process writes into a file, once it has.
async fn written(file: &Path) -> Vec<String> {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    until(&format!("{} is written", file.display()), || read().ends_with('\n')).await;
    read().split_whitespace().map(str::to_owned).collect()
}

/// Whether a process is there and has not ended: a zombie that nobody has reaped yet counts as ended.
fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}
