//! What the exit codes of `cpd` mean. They are part of the interface.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was done.
    Done = 0,
    /// It could not be done.
    Failed = 1,
    /// It was asked for wrongly.
    Usage = 2,
    /// The run ended with an error.
    Faulted = 3,
    /// The run was cancelled.
    Cancelled = 4,
    /// A replay differs from the record, or a verification found something wrong.
    Diverged = 5,
    /// The run waits for something that does not come by itself.
    Waiting = 6,
}

impl Exit {
    /// The code of a run that ended with this status.
    pub fn of_status(status: &str) -> Self {
        match status {
            "completed" => Exit::Done,
            "faulted" => Exit::Faulted,
            "cancelled" => Exit::Cancelled,
            _ => Exit::Waiting,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
