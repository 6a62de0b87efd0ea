//! The daemon's end of one guarded process: starts the guardian, reads what the process writes, hears how it ended.
//!
//! A [`Running`] that is dropped closes the socket, and the guardian ends the process by itself. [`Running::end`] does the same and
//! waits until it is done, so that nothing runs any more when a call has answered.
//!
//! stdout and stderr are read at the same time and up to a limit each; past it the rest is not wanted, and the caller ends the process.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use cpd_connector_api::{Problem, Standard};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use super::launch::protocol::{End, Message, Order};
use super::launch::{Launcher, remove};

/// How long the guardian may take to end everything; it gives up by itself before.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long output may lag behind the end of those who write it.
const LAG: Duration = Duration::from_secs(2);

/// What a process wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// How watching a process came to an end.
#[derive(Debug)]
pub(super) enum Finish {
    /// It ended, or was ended at a limit.
    Ended(End, Output),
    /// It wrote more than is taken; it still runs.
    TooMuch {
        /// `stdout` or `stderr`.
        stream: &'static str,
    },
    /// The guardian did not say what became of it.
    Lost(String),
}

/// A process under guard.
pub(super) struct Running {
    guardian: Child,
    messages: BufReader<OwnedReadHalf>,
    control: Option<OwnedWriteHalf>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    group: Option<Pid>,
    directory: PathBuf,
}

impl Running {
    /// Starts a process; returns when it runs.
    ///
    /// # Errors
    /// If nothing was started.
    pub(super) async fn start(launcher: &Launcher, order: &Order) -> Result<Self, Problem> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(|e| failed("make a socket", &e))?;
        ours.set_nonblocking(true).map_err(|e| failed("make a socket", &e))?;
        let ours = UnixStream::from_std(ours).map_err(|e| failed("make a socket", &e))?;
        let mut guardian = {
            let mut command = launcher.command();
            // A group of its own: an interrupt from the terminal is for the daemon, which then ends what it guards.
            command.process_group(0).current_dir("/").stdin(OwnedFd::from(theirs));
            let mut command = Command::from(command);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().map_err(|e| failed("start the launcher", &e))?
        };
        let (stdout, stderr) = (guardian.stdout.take(), guardian.stderr.take());
        let (messages, mut control) = ours.into_split();
        let mut messages = BufReader::new(messages);
        let mut line = serde_json::to_vec(order).map_err(|e| failed("write the order", &e))?;
        line.push(b'\n');
        // A guardian that is gone already is found when its answer is read.
        drop(control.write_all(&line).await);
        let (group, directory) = match hear(&mut messages).await {
            Ok(Message::Started { group, directory }) => (Pid::from_raw(group), directory),
            Ok(Message::Trouble(what)) => return Err(failed("start the process", &what)),
            Ok(Message::Ended(end)) => return Err(failed("start the process", &format!("the launcher said {end:?}"))),
            Err(what) => {
                return Err(failed("start the launcher", &format!("{what}; the program has to call launch::asked")));
            }
        };
        Ok(Self { guardian, messages, control: Some(control), stdout, stderr, group, directory })
    }

    /// Reads until the process has ended, or has written more than `most` bytes to one of its outputs.
    pub(super) async fn finish(&mut self, most: usize) -> Finish {
        let stdout = read("stdout", self.stdout.take(), most);
        let stderr = read("stderr", self.stderr.take(), most);
        let messages = &mut self.messages;
        // What remains to be read when nothing runs any more is in the pipes, unless somebody who escaped holds them open.
        let (ended, outputs) = {
            let both = async { tokio::try_join!(stdout, stderr) };
            tokio::pin!(both);
            tokio::select! {
                outputs = &mut both => match outputs {
                    Ok(outputs) => (hear(messages).await, Ok(Some(outputs))),
                    Err(stream) => return Finish::TooMuch { stream },
                },
                ended = hear(messages) => (ended, timeout(LAG, &mut both).await.ok().transpose()),
            }
        };
        let output = match outputs {
            Ok(Some((stdout, stderr))) => Output { stdout, stderr },
            Ok(None) => Output::default(),
            Err(stream) => return Finish::TooMuch { stream },
        };
        match ended {
            Ok(Message::Ended(end)) => {
                drop(self.guardian.wait().await);
                Finish::Ended(end, output)
            }
            Ok(Message::Trouble(what)) => Finish::Lost(what),
            Ok(Message::Started { .. }) => Finish::Lost("the launcher said twice that it had started".into()),
            Err(what) => {
                self.abandoned();
                Finish::Lost(what)
            }
        }
    }

    /// Ends the process and all that descends from it, and waits until that is done.
    pub(super) async fn end(mut self) {
        drop(self.stdout.take());
        drop(self.stderr.take());
        drop(self.control.take());
        let heard = timeout(PATIENCE, async {
            while !matches!(hear(&mut self.messages).await?, Message::Ended(_) | Message::Trouble(_)) {}
            Ok::<(), String>(())
        });
        match heard.await {
            Ok(Ok(())) => drop(timeout(PATIENCE, self.guardian.wait()).await),
            Ok(Err(_)) | Err(_) => self.abandoned(),
        }
    }

    /// The guardian is gone without a word: somebody killed it. Does what is left to be done for it.
    fn abandoned(&mut self) {
        if let Some(group) = self.group {
            // The program dies with its guardian; this is for those that it had started.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove a private directory");
        }
    }
}

/// A program that could not be started: nothing happened, and it may go better another time.
fn failed(doing: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::standard(Standard::Runtime, format!("{doing}: {error}"))
}

async fn hear(messages: &mut BufReader<OwnedReadHalf>) -> Result<Message, String> {
    let mut line = String::new();
    match messages.read_line(&mut line).await {
        Ok(0) => Err("the launcher ended without a word".into()),
        Ok(_) => serde_json::from_str(&line).map_err(|e| format!("the launcher said {line:?}: {e}")),
        Err(e) => Err(format!("the launcher cannot be heard: {e}")),
    }
}

/// Everything that comes, or the stream's name if that is more than `most`.
async fn read(
    name: &'static str,
    stream: Option<impl AsyncRead + Unpin>,
    most: usize,
) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let one_more = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        // A stream that breaks has ended.
        drop(stream.take(one_more).read_to_end(&mut bytes).await);
    }
    if bytes.len() > most { Err(name) } else { Ok(bytes) }
}
