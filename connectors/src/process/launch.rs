//! The launcher: this same program, started again to guard one process of a definition.
//!
//! ```text
//! daemon ──socket──→ guardian ──→ start ═exec═→ program ──→ whatever it starts
//!                    (session of its own, reaper of all that descend from it)
//! ```
//!
//! - The `guardian` makes the private directory, starts the program, watches it, and when the program has ended, a limit is
//!   passed or the daemon's end of the socket closes (a cancellation, a panic, a `kill -9` of the daemon), ends every descendant,
//!   removes the directory, says how it was, and goes.
//! - `start` sets the limits of a single process and becomes the program.
//!
//! Two steps, because what stands between `fork` and `exec` cannot be set from a program with threads without unsafe
//! code, and because somebody has to outlive the daemon. See `docs/decisions/0012-processes.md`.
//!
//! A program that embeds the connector calls [`asked`] first thing in `main`, or names `cpd-launch` as its [`Launcher`].

mod family;
mod guardian;
pub(crate) mod protocol;
mod start;

pub(super) use guardian::remove;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The first argument of a program that is started as a launcher.
const MARK: &str = "__launch";
/// This program's own image, also after the file was replaced by a newer one.
const SELF: &str = "/proc/self/exe";

/// The program that guards processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    program: PathBuf,
}

impl Launcher {
    /// The running program itself, whose `main` calls [`asked`].
    pub fn this_program() -> Self {
        Self { program: SELF.into() }
    }

    /// Another program whose `main` calls [`asked`], such as `cpd-launch`.
    pub fn program(path: impl Into<PathBuf>) -> Self {
        Self { program: path.into() }
    }

    /// The command that starts a guardian.
    pub(super) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args([MARK, "guard"]).env_clear();
        command
    }
}

/// Does the launcher's work if the program was started for it: its exit code then, else `None`.
///
/// To be called before anything else: no thread may have been started.
pub fn asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != MARK {
        return None;
    }
    Some(match arguments.next().as_deref().and_then(|a| a.to_str()) {
        Some("guard") => guardian::main(),
        Some("start") => start::main(arguments),
        _ => usage(),
    })
}

/// Says that nobody types this.
pub fn usage() -> ExitCode {
    say("this is the launcher of processes; cpd starts it by itself");
    ExitCode::from(2)
}

/// The command that becomes the program.
fn second_step(bounds: &start::Bounds, program: &std::path::Path) -> std::process::Command {
    let mut command = std::process::Command::new(SELF);
    command.args([MARK, "start"]).args(bounds.arguments()).arg(OsString::from(program));
    command
}

/// A line on stderr; there is nobody to tell if that fails.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "cpd: {line}"));
}
