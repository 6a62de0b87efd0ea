//! The binary as people and scripts meet it: what it prints where, and with which exit status.
//!
//! Every test has a temporary directory of its own as its current directory, with the data directory in `.cpd`, and a
//! server of its own if it calls one. Nothing sleeps: what another process does is waited for with a bound.

mod approvals;
mod bad_input;
mod damage;
mod definitions;
mod demo;
mod egress;
mod events;
mod graph;
mod kill;
mod logging;
mod manual;
mod messages;
mod openapi;
mod operate;
mod replay;
mod run;
mod secrets;
mod serve;
mod server;
mod tokens;
mod validate;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a condition of another process is waited for before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command did.
#[derive(Debug)]
struct Out {
    /// The exit status; `None` if a signal ended it.
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Out {
    /// Asserts the exit status, and that nothing panicked on the way.
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.calm()
    }

    /// Asserts that nothing panicked.
    #[track_caller]
    fn calm(self) -> Self {
        assert!(!self.stderr.contains("panicked") && !self.stdout.contains("panicked"), "{self:?}");
        assert!(self.code.is_some() && self.code != Some(101), "{self:?}");
        self
    }

    /// Asserts that stdout has each of these.
    #[track_caller]
    fn prints(self, wanted: &[&str]) -> Self {
        for part in wanted {
            assert!(self.stdout.contains(part), "no {part:?} in stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        }
        self
    }

    /// Asserts that stderr has each of these.
    #[track_caller]
    fn says(self, wanted: &[&str]) -> Self {
        for part in wanted {
            assert!(self.stderr.contains(part), "no {part:?} in stderr:\n{}\nstdout:\n{}", self.stderr, self.stdout);
        }
        self
    }

    /// The one object on stdout.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("stdout is no JSON: {e}\n{self:?}"))
    }

    /// The objects on stdout, one a line.
    #[track_caller]
    fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("no JSON: {e}\n{l}"))).collect()
    }
}

/// A directory to work in.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path(".cpd")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("a directory");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// The command, ready to be started; its environment holds nothing that could change what it says.
    fn command(&self, args: &[&str]) -> Command {
        command_in(self.dir.path(), args)
    }

    /// Runs the binary to its end.
    fn cpd(&self, args: &[&str]) -> Out {
        finish(self.command(args).stdin(Stdio::null()))
    }

    /// Runs the binary with something on standard input.
    fn cpd_with_stdin(&self, args: &[&str], input: &str) -> Out {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // A command that does not read its input closes the pipe; that is its right.
        drop(child.stdin.take().expect("a pipe").write_all(input.as_bytes()));
        out(child.wait_with_output().expect("an end"))
    }

    /// Starts the binary and leaves it running.
    fn start(&self, args: &[&str]) -> Running {
        let child = self
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        Running { child: Some(child) }
    }

    /// The segments of the journal, in order.
    fn segments(&self) -> Vec<PathBuf> {
        segments(&self.data())
    }
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(data.join("journal"))
        .expect("a journal")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    segments.sort();
    segments
}

fn command_in(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpd"));
    command.args(args).current_dir(dir);
    for name in [
        "CPD_DATA",
        "CPD_LOG",
        "CPD_LOG_FORMAT",
        "CPD_ATLAS_MLFLOW_URL",
        "CPD_ATLAS_TRAINING_URL",
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "COLUMNS",
    ] {
        command.env_remove(name);
    }
    // The parts that are called stand on loopback.
    command.env("NO_PROXY", "127.0.0.1").env("CPD_EGRESS_ALLOW", "127.0.0.0/8").env("USER", "tester");
    command
}

fn finish(command: &mut Command) -> Out {
    out(command.output().expect("the binary starts"))
}

fn out(output: std::process::Output) -> Out {
    Out {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
    }
}

/// A process that is still going; it does not outlive its test.
struct Running {
    child: Option<Child>,
}

impl Running {
    fn id(&self) -> u32 {
        self.child.as_ref().expect("a process").id()
    }

    /// Kills it, as `kill -9` does.
    fn kill(mut self) -> Out {
        let mut child = self.child.take().expect("a process");
        child.kill().expect("a kill");
        out(child.wait_with_output().expect("an end"))
    }

    /// Lets it live for so long; returns whether it has come to its end.
    fn ends_within(&mut self, life: Duration) -> bool {
        let start = Instant::now();
        let child = self.child.as_mut().expect("a process");
        while start.elapsed() < life {
            if child.try_wait().expect("a look").is_some() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    /// Waits for its end.
    fn wait(mut self) -> Out {
        out(self.child.take().expect("a process").wait_with_output().expect("an end"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Waits until something holds that another process brings about.
#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::yield_now();
    }
}

/// A workflow of one task list.
fn workflow(name: &str, tasks: &str) -> String {
    format!("document: {{ dsl: '1.0.3', namespace: test, name: {name}, version: '1.0.0' }}\ndo:\n{tasks}")
}

/// A workflow that needs nothing from outside.
const SUM: &str = "document: { dsl: '1.0.3', namespace: test, name: add-up, version: '1.0.0' }
do:
  - addUp:
      set: { sum: '${ .a + .b }', a: '${ .a }' }
";

/// A workflow that ends with an error.
const FAULTY: &str = "document: { dsl: '1.0.3', namespace: test, name: faulty, version: '1.0.0' }
do:
  - giveUp:
      raise:
        error:
          type: https://example.com/errors/no-luck
          status: 418
          title: No luck
          detail: it did not work
";

/// A workflow that waits longer than any test.
const SLEEPY: &str = "document: { dsl: '1.0.3', namespace: test, name: sleepy, version: '1.0.0' }
do:
  - nap:
      wait: { hours: 5 }
";

fn definitions_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("definitions")
}

/// The id that `run --detach` prints.
fn detached(place: &Place, args: &[&str]) -> String {
    let mut all = vec!["run", "--detach"];
    all.extend(args);
    let out = place.cpd(&all).exits(0);
    let id = out.stdout.trim().to_owned();
    assert!(!id.is_empty() && !id.contains(char::is_whitespace), "{out:?}");
    id
}
