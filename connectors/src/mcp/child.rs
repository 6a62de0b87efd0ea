//! A server that is started for one call: a process group of its own, a clean environment, an end.
//!
//! - The program is found on the `PATH` of `cpd` itself; the environment is `PATH` and what the definition gives.
//! - It ends with the call: first its standard input closes, then, if it does not go, the group is asked (SIGTERM) and killed. A call
//!   that is dropped kills the group at once. The group is signalled before the leader is reaped, so its id is still ours.
//! - What it says on standard error is kept, the last of it.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::{Problem, Standard, Value};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::wanted::Program;
use crate::http::Trouble;

/// Of standard error, the last bytes that are kept.
const STDERR_BYTES_MAX: usize = 8 * 1024;

/// How long a server may take to go once its standard input is closed, and again once it was asked.
const GRACE: Duration = Duration::from_millis(1_000);

/// The group of a process. Killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // It may be gone already, which is what was wanted.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// A running server. Dropped, it is killed with everything that it started in its group.
pub struct Child {
    // In this order: the group is killed while its leader is not reaped yet.
    group: Group,
    child: tokio::process::Child,
    said: Arc<Mutex<Vec<u8>>>,
    listener: Listener,
}

/// The task that reads standard error.
struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Child {
    /// Starts the program.
    ///
    /// # Errors
    /// A `configuration` problem if it is not there or cannot be started.
    pub fn start(program: &Program) -> Result<(Self, ChildStdin, ChildStdout), Problem> {
        let refuse = |what: String| {
            Problem::standard(Standard::Configuration, format!("start the MCP server {:?}: {what}", program.command))
        };
        let search = std::env::var_os("PATH").unwrap_or_default();
        let file = find(&program.command, &search)
            .ok_or_else(|| refuse("found no such program on the PATH of cpd, expected one".into()))?;
        let mut child = Command::new(file)
            .args(&program.arguments)
            .env_clear()
            .env("PATH", search)
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| refuse(e.to_string()))?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(refuse("found no pipes to it".into()));
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = Listener(tokio::spawn(listen(stderr, said.clone())));
        Ok((Self { group, child, said, listener }, stdin, stdout))
    }

    /// Waits for its end, or brings it about. Returns the last of what it said on standard error.
    pub async fn end(mut self) -> String {
        self.finish().await;
        self.stderr()
    }

    /// The same after a call that went wrong: how it ended and what it said goes into the problem.
    pub async fn explain(mut self, trouble: Trouble) -> Trouble {
        let exited = self.finish().await;
        let stderr = self.stderr();
        let extend = |problem: Problem| {
            let mut data = problem.data.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
            let mut detail = problem.detail.as_deref().unwrap_or("").to_owned();
            if let Some(status) = exited {
                detail.push_str(&format!(" (the server ended by itself: {status})"));
                data.insert("exit".into(), Value::from(status.to_string()));
            }
            data.insert("stderr".into(), Value::from(stderr.as_str()));
            Problem { detail: Some(detail.into()), ..problem }.with_data(Value::from(data))
        };
        match trouble {
            Trouble::Refused(problem) => Trouble::Refused(extend(problem)),
            Trouble::Failed { problem, not_before } => Trouble::Failed { problem: extend(problem), not_before },
            Trouble::Unknown(problem) => Trouble::Unknown(extend(problem)),
        }
    }

    /// How it ended, if it did so by itself.
    async fn finish(&mut self) -> Option<ExitStatus> {
        // Its standard error ends with it; the process itself stays unreaped until the group has got its signals.
        let by_itself = tokio::time::timeout(GRACE, &mut self.listener.0).await.is_ok();
        if !by_itself {
            self.group.signal(Signal::TERM);
            let _ = tokio::time::timeout(GRACE, &mut self.listener.0).await;
        }
        self.group.signal(Signal::KILL);
        self.group.0 = None;
        let status = tokio::time::timeout(GRACE, self.child.wait()).await;
        status.ok().and_then(Result::ok).filter(|_| by_itself)
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.said.lock()).trim().to_owned()
    }
}

async fn listen(mut stderr: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut piece).await {
        let mut said = said.lock();
        said.extend_from_slice(&piece[..count]);
        let surplus = said.len().saturating_sub(STDERR_BYTES_MAX);
        said.drain(..surplus);
    }
}

/// The file of a command: itself if it has a slash, else the first of that name on the path.
fn find(command: &str, search: &std::ffi::OsStr) -> Option<PathBuf> {
    if command.contains('/') {
        return Some(PathBuf::from(command));
    }
    std::env::split_paths(search).map(|dir| dir.join(command)).find(|file| executable(file))
}

fn executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}
