//! The last step before a program: limits and session, then `exec`.
//!
//! The guardian starts this program again with the numbers below; what is set here is inherited by the program and by
//! whatever it starts, and cannot be taken back by them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::fs::Mode;
use rustix::io;
use rustix::process::{self, Resource, Rlimit, Signal};

use super::say;

/// The code of a program that could not be started, as shells have it.
const NOT_STARTED: u8 = 127;
/// Open files: enough for any script, few enough that a leak is noticed.
const FILES_MAX: u64 = 512;

/// What the program may use at most, each process by itself.
pub(super) struct Bounds {
    pub guardian: i32,
    pub data_bytes: u64,
    pub cpu_s: u64,
    pub file_bytes: u64,
    pub threads: u64,
}

impl Bounds {
    /// As arguments of the second step.
    pub(super) fn arguments(&self) -> [String; 5] {
        let Self { guardian, data_bytes, cpu_s, file_bytes, threads } = self;
        [guardian.to_string(), data_bytes.to_string(), cpu_s.to_string(), file_bytes.to_string(), threads.to_string()]
    }

    fn read(given: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let mut next = || given.next()?.to_str()?.parse::<u64>().ok();
        Some(Self {
            guardian: i32::try_from(next()?).ok()?,
            data_bytes: next()?,
            cpu_s: next()?,
            file_bytes: next()?,
            threads: next()?,
        })
    }

    /// Binds this process and those that it becomes.
    fn set(&self) -> io::Result<()> {
        // A session of its own: no terminal, and one group to signal.
        process::setsid()?;
        process::set_parent_process_death_signal(Some(Signal::KILL))?;
        process::umask(Mode::RWXG | Mode::RWXO);
        rustix::thread::set_no_new_privs(true)?;
        let most = |resource, max| process::setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) });
        most(Resource::Core, 0)?;
        most(Resource::Data, self.data_bytes)?;
        most(Resource::Cpu, self.cpu_s)?;
        most(Resource::Fsize, self.file_bytes)?;
        // The daemon's own hard limit may be lower already; then that one holds.
        let fewer = |resource, max: u64| {
            let hard = process::getrlimit(resource).maximum;
            most(resource, hard.map_or(max, |hard| hard.min(max)))
        };
        fewer(Resource::Nofile, FILES_MAX)?;
        fewer(Resource::Nproc, self.threads)
    }
}

/// Sets the limits and becomes the program; returns only if that fails.
pub(super) fn main(mut given: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(bounds) = Bounds::read(&mut given) else { return super::usage() };
    let Some(program) = given.next() else { return super::usage() };
    if let Err(e) = bounds.set() {
        say(&format!("set the limits of the process: {e}"));
        return ExitCode::from(NOT_STARTED);
    }
    // If the guardian died before its death was asked for, nobody would end this process.
    if process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(bounds.guardian) {
        return ExitCode::from(NOT_STARTED);
    }
    let error = Command::new(&program).args(given).exec();
    say(&format!("start {}: {error}", program.display()));
    ExitCode::from(NOT_STARTED)
}
