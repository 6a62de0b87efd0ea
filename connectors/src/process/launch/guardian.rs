//! The guardian of one process: starts it, watches it, and ends everything that descends from it.
//!
//! Three threads tell the main one what happens: one reaps, one listens to the daemon, one feeds stdin. Between events the main
//! thread looks at the family every [`LOOK`]: Linux has no limit for the memory or number of a process *and* its descendants but
//! control groups, which a daemon may not have the right to make.
//!
//! Invariants:
//! - The guardian is the reaper of all its descendants (`PR_SET_CHILD_SUBREAPER`), also of those that moved to another session; when it
//!   has no child left, nothing of the process runs any more.
//! - A family is ended group first: the kernel signals a group in one go, and no member can fork past it.
//! - It ends when its socket does, whatever else is the case, so a dead daemon leaves no process behind.
//! - The directory goes when nothing can write to it any more.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    self, DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group,
    set_child_subreaper, set_dumpable_behavior,
};

use super::protocol::{End, Limit, Limits, Message, Order};
use super::start::Bounds;
use super::{family, second_step};

/// How often the family is looked at. A process can take a few hundred megabytes in that time, not more.
const LOOK: Duration = Duration::from_millis(20);
/// How often what is being ended is signalled again.
const INSIST: Duration = Duration::from_millis(2);
/// How long ending may take: what hangs in the kernel for longer is left, and said.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the threads tell.
enum Event {
    Reaped(Pid, WaitStatus),
    /// There is no child left.
    Alone,
    /// The daemon wants it ended, or is gone.
    HungUp,
}

/// Guards what the order on stdin says.
pub(super) fn main() -> ExitCode {
    let Ok(mut daemon) = rustix::stdio::stdin().try_clone_to_owned().map(UnixStream::from) else {
        return super::usage();
    };
    let message = match guard(&daemon) {
        Ok(end) => Message::Ended(end),
        Err(what) => Message::Trouble(what),
    };
    // A daemon that is gone needs no word.
    match tell(&mut daemon, &message) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn tell(daemon: &mut UnixStream, message: &Message) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    daemon.write_all(&line)
}

fn guard(daemon: &UnixStream) -> Result<End, String> {
    let clone = || daemon.try_clone().map_err(|e| format!("share the socket: {e}"));
    let mut lines = BufReader::new(clone()?);
    let mut line = String::new();
    lines.read_line(&mut line).map_err(|e| format!("read the order: {e}"))?;
    let order: Order = serde_json::from_str(&line).map_err(|e| format!("read the order: {e}"))?;
    // Nobody attaches to the guardian to make it forget its duty; it is the same user's process.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| format!("guard against tracing: {e}"))?;
    set_child_subreaper(Some(process::getpid())).map_err(|e| format!("become the reaper: {e}"))?;
    let directory = private_directory(&order.work_dir)?;
    let result = run(&order, &directory, lines, clone()?);
    let removed = remove(&directory);
    let end = result?;
    removed.map_err(|e| format!("remove {}: {e}", directory.display()))?;
    Ok(end)
}

fn run(order: &Order, directory: &Path, lines: BufReader<UnixStream>, mut daemon: UnixStream) -> Result<End, String> {
    let mut command = second_step(&bounds(&order.limits), &order.program);
    command.args(&order.flags);
    if let Some(script) = &order.script {
        let path = directory.join(&script.name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut f| f.write_all(script.text.as_bytes())).map_err(|e| format!("write the script: {e}"))?;
        command.arg(path);
    }
    command.args(&order.arguments).current_dir(directory).stdin(Stdio::piped()).env_clear();
    command.env("HOME", directory).env("TMPDIR", directory).env("PWD", directory);
    command.envs(order.environment.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().map_err(|e| format!("start the process: {e}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("start the process: no number")?;
    let events = watchers(child.stdin.take(), order.stdin.clone(), lines);
    let started = Message::Started { group: group.as_raw_nonzero().get(), directory: directory.to_owned() };
    // If the daemon is gone, the listener finds the socket closed as well.
    drop(tell(&mut daemon, &started));
    watch(group, &order.limits, &events)
}

fn bounds(limits: &Limits) -> Bounds {
    // The watch ends the family at its limit, with a word; a single process that leaps past it fails to get the memory.
    let data_bytes = limits.memory_bytes.saturating_mul(2).saturating_add(256 << 20);
    // Wall time is watched; this is for the case that nobody watches any more.
    let cores = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let cpu_s = limits.time_ms.div_ceil(1000).saturating_mul(cores).saturating_add(5);
    // The kernel counts the threads of the user on the whole machine.
    let others = family::threads_of_the_machine().unwrap_or(4096);
    let threads = limits.processes.saturating_mul(32).saturating_add(others);
    Bounds {
        guardian: process::getpid().as_raw_nonzero().get(),
        data_bytes,
        cpu_s,
        file_bytes: limits.file_bytes,
        threads,
    }
}

/// Starts the threads that tell what happens.
fn watchers(stdin: Option<ChildStdin>, text: String, mut lines: BufReader<UnixStream>) -> Receiver<Event> {
    let (events, seen) = mpsc::channel();
    let listener: Sender<Event> = events.clone();
    thread::spawn(move || {
        // The daemon says nothing after the order; whatever comes, the end comes last.
        let mut line = String::new();
        while matches!(lines.read_line(&mut line), Ok(n) if n > 0) {
            line.clear();
        }
        drop(listener.send(Event::HungUp));
    });
    thread::spawn(move || {
        // A program that does not read its stdin to the end has decided so.
        if let Some(mut stdin) = stdin {
            drop(stdin.write_all(text.as_bytes()));
        }
    });
    thread::spawn(move || {
        loop {
            let event = match process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => Event::Reaped(pid, status),
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(_) => Event::Alone,
            };
            let last = matches!(event, Event::Alone);
            if events.send(event).is_err() || last {
                return;
            }
        }
    });
    seen
}

/// Waits for the end, makes it come when it must, and returns when there is no descendant left.
fn watch(group: Pid, limits: &Limits, events: &Receiver<Event>) -> Result<End, String> {
    let begun = Instant::now();
    let mut ending: Option<(End, Instant)> = None;
    loop {
        let pause = if ending.is_some() { INSIST } else { LOOK };
        let mut end = None;
        match events.recv_timeout(pause) {
            Ok(Event::Alone) => {
                return ending.map(|(end, _)| end).ok_or_else(|| "wait for the process: it was never there".into());
            }
            Ok(Event::Reaped(pid, status)) if pid == group => end = Some(end_of(status)),
            Ok(Event::Reaped(..)) => {}
            Ok(Event::HungUp) => end = Some(End::Ordered),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("watch the process: nobody tells anything".into()),
        }
        match (&ending, end.or_else(|| passed(limits, begun))) {
            (None, Some(end)) => {
                ending = Some((end, Instant::now()));
                end_all(group);
            }
            (None, None) => {}
            (Some((_, since)), _) if since.elapsed() > PATIENCE => {
                let left = family::of(process::getpid().as_raw_nonzero().get(), usize::MAX).len();
                return Err(format!("end the process: {left} of its descendants do not end"));
            }
            (Some(_), _) => end_all(group),
        }
    }
}

/// The first limit that the family has passed.
fn passed(limits: &Limits, begun: Instant) -> Option<End> {
    if begun.elapsed() > Duration::from_millis(limits.time_ms) {
        return Some(End::Over(Limit::Time { ms: limits.time_ms }));
    }
    // A bomb is not counted to its end.
    let most = usize::try_from(limits.processes).unwrap_or(usize::MAX).saturating_add(1);
    let members = family::of(process::getpid().as_raw_nonzero().get(), most);
    let (found, bytes) = (members.len() as u64, members.iter().map(|m| m.bytes).sum::<u64>());
    if found > limits.processes {
        return Some(End::Over(Limit::Processes { found, max: limits.processes }));
    }
    (bytes > limits.memory_bytes).then_some(End::Over(Limit::Memory { bytes, max: limits.memory_bytes }))
}

fn end_of(status: WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => End::Signalled(signal),
        (code, None) => End::Exited(code.unwrap_or_default()),
    }
}

/// Signals the group, then every descendant that is not in it any more. Those that are gone already are what is wanted.
fn end_all(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
    for member in family::of(process::getpid().as_raw_nonzero().get(), 10_000) {
        if let Some(pid) = Pid::from_raw(member.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn private_directory(below: &Path) -> Result<PathBuf, String> {
    // Said, because the daemon's umask, which this process has, mostly lets others read.
    let private = Permissions::from_mode(0o700);
    let made = tempfile::Builder::new().prefix("cpd-").rand_bytes(12).permissions(private).tempdir_in(below);
    // What removes it is `remove`, which gets past what a script may have done to its own directories.
    made.map(tempfile::TempDir::keep).map_err(|e| format!("make a directory in {}: {e}", below.display()))
}

/// Removes a directory and what is in it, also if its owner took the permissions away. Never follows a link.
pub(in crate::process) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            open_up(directory);
            fs::remove_dir_all(directory)
        }
    }
}

/// Gives the owner every permission on the directories below. What cannot be changed shows when it cannot be removed.
fn open_up(directory: &Path) {
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        drop(fs::set_permissions(&path, Permissions::from_mode(0o700)));
        let Ok(entries) = fs::read_dir(&path) else { continue };
        open.extend(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
}
