//! A secret that a program prints: `pass show mlflow`, `vault kv get -field=token kv/mlflow`.
//!
//! - The words are the operator's, from the configuration, and go to the program as they are: there is no shell, and nothing of a definition
//!   is among them.
//! - It has no standard input, its standard error is not read (nobody knows what it tells there), and it gets the environment of `cpd`, which it
//!   may need to find its own credentials. It is a process group of its own, which is killed when its time is up or it prints too much.
//! - What counts is all that it prints if it ends well, without a line break at the end. It must be text, and not nothing.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cpd_connector_api::secret::Secret;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{BYTES_MAX, trimmed};

/// What a command prints, if it ends well within the time.
pub(super) fn output(words: &[String], limit: Duration) -> Result<Secret, String> {
    // Where a runtime has other threads, it gives this one's other work to them.
    let waits = tokio::runtime::Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
    if waits { tokio::task::block_in_place(|| run(words, limit)) } else { run(words, limit) }
}

/// A running command. Dropped, it is killed with what it has started in its group, and reaped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The leader is not reaped yet, or was a line ago: its id is nobody else's group.
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // It may be gone already, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn run(words: &[String], limit: Duration) -> Result<Secret, String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err("the command is empty, expected a program and its arguments".into());
    };
    let until = Instant::now() + limit;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("the command {program:?} does not start: {e}"))?;
    let mut running = Running(child);
    let stdout = running.0.stdout.take().ok_or_else(|| format!("the command {program:?} has no output"))?;
    let (tell, told) = mpsc::sync_channel(1);
    // It ends with the pipe, and the pipe with the group.
    let reading = thread::Builder::new().name("cpd-secret".into()).spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(BYTES_MAX + 1).read_to_end(&mut bytes);
        // Nobody listens if the time was up.
        drop(tell.send(read.map(|_| bytes)));
    });
    reading.map_err(|e| format!("start a thread to read what {program:?} prints: {e}"))?;
    let late = || format!("the command {program:?} has not ended within {} ms", limit.as_millis());
    let bytes = match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(Ok(bytes)) if bytes.len() as u64 > BYTES_MAX => {
            return Err(format!("the command {program:?} printed more than {BYTES_MAX} bytes"));
        }
        Ok(Ok(bytes)) => bytes,
        Ok(Err(e)) => return Err(format!("read what the command {program:?} prints: {e}")),
        Err(_) => return Err(late()),
    };
    // Its output is closed; one that goes on after that is given what is left of its time.
    let status = loop {
        match running.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() >= until => return Err(late()),
            // Nobody sends any more: this waits a moment.
            Ok(None) => drop(told.recv_timeout(Duration::from_millis(1))),
            Err(e) => return Err(format!("wait for the command {program:?}: {e}")),
        }
        thread::yield_now();
    };
    if !status.success() {
        return Err(format!("the command {program:?} ended with {status}; run it by hand to see why"));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| format!("the command {program:?} printed something that is no text"))?;
    if text.trim().is_empty() {
        return Err(format!("the command {program:?} printed nothing"));
    }
    Ok(trimmed(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str], limit_ms: u64) -> Result<Secret, String> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        output(&words, Duration::from_millis(limit_ms))
    }

    #[test]
    fn what_a_command_prints_is_the_secret_and_its_words_are_taken_as_they_are() {
        assert_eq!(of(&["/bin/echo", "a  b $HOME ; echo x"], 10_000), Ok(Secret::new("a  b $HOME ; echo x")));
        assert_eq!(of(&["printf", "two\\nlines\\r\\n"], 10_000), Ok(Secret::new("two\nlines")));
    }

    #[test]
    fn a_command_that_goes_wrong_is_told_apart_without_what_it_printed() {
        for (words, said) in [
            (&["sh", "-c", "echo hunter2; exit 3"] as &[&str], "exit status: 3"),
            (&["sh", "-c", "echo hunter2 >&2; kill -9 $$"], "signal: 9"),
            (&["/no/such/program-hunter"], "does not start"),
            (&["true"], "printed nothing"),
            (&["printf", "\\377"], "no text"),
            (&[], "the command is empty"),
            (&["sh", "-c", "head -c 3000000 /dev/zero"], "more than 1048576"),
        ] {
            let error = of(words, 10_000).unwrap_err();
            assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_with_what_it_started() {
        let begun = Instant::now();
        // The one holds the pipe open, the other goes on without it.
        for script in ["sleep 600 & sleep 600", "exec >&-; sleep 600"] {
            let error = of(&["sh", "-c", script], 200).unwrap_err();
            assert!(error.contains("within 200 ms"), "{error}");
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
