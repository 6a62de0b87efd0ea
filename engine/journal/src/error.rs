//! What can go wrong with a journal, for a caller who can do something about it.
//!
//! A text is a fragment that fits after "failed to …". What to do about it is kept apart, in [`Error::hint`]. Sources are never printed by the
//! error above them.

use std::io;
use std::sync::Arc;

use crate::ids::{Lsn, Position, StreamId};

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the journal did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{operation} {file}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file of the journal's directory.
        file: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// There is no room for what should be written; nothing of it was kept.
    #[error("{operation} {file}: no space is left")]
    NoSpace {
        /// What was tried.
        operation: &'static str,
        /// On which file of the journal's directory.
        file: String,
    },
    /// Bytes that were acknowledged once are not what they were.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// A newer version of the program wrote this.
    #[error("{file} has format version {found}, this program supports up to {supported}")]
    TooNew {
        /// The file.
        file: String,
        /// The version that it names.
        found: u16,
        /// The newest version known here.
        supported: u16,
    },
    /// An entry or batch that no journal would take.
    #[error("{what} has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The greatest size allowed.
        limit: u64,
    },
    /// An entry without records, or a record of the illegal kind 0.
    #[error("{0}")]
    Illegal(&'static str),
    /// An entry that does not continue its stream: a bug in the caller, or two owners of one run.
    #[error("the entry of stream {stream} begins with record {found}, the next in the journal is {expected}")]
    OutOfOrder {
        /// The stream.
        stream: StreamId,
        /// The `seq` that the entry begins with.
        found: u64,
        /// The `seq` that the stream goes on with.
        expected: u64,
    },
    /// An append or a sync failed before; nothing is written until the journal is opened again.
    #[error("the journal takes nothing more since an earlier failure")]
    Poisoned {
        /// That failure.
        #[source]
        cause: Arc<Error>,
    },
    /// The writer was closed.
    #[error("the journal's writer is closed")]
    Closed,
    /// The writer was closed while the disk was full; the batch was not written.
    #[error("the journal's writer was closed while no space was left")]
    ClosedWhileFull,
    /// A frame that retention has dropped.
    #[error("position {position} was pruned, the oldest record kept is {first}")]
    Pruned {
        /// The position asked for.
        position: Position,
        /// The first record that is still there.
        first: Lsn,
    },
    /// A record that retention has dropped.
    #[error("record {lsn} was pruned, the oldest record kept is {first}")]
    PrunedRecord {
        /// The record asked for.
        lsn: Lsn,
        /// The first record that is still there.
        first: Lsn,
    },
    /// A position behind the last frame.
    #[error("position {position} is behind the end of the journal at {end}")]
    Beyond {
        /// The position asked for.
        position: Position,
        /// Where the journal ends.
        end: Position,
    },
    /// The directory holds a journal, where an empty one is needed.
    #[error("the directory holds a journal already, beginning with {file}")]
    NotEmpty {
        /// A file that is there.
        file: String,
    },
    /// The directory holds no journal, where one is needed.
    #[error("the directory holds no journal")]
    Missing,
    /// A line of an export that cannot be taken in.
    #[error("line {line} of the export: found {found}, expected {expected}")]
    Import {
        /// The line, from 1.
        line: u64,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
}

/// Where the journal is damaged, and how one can tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {offset}: found {found}, expected {expected}")]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The byte in it.
    pub offset: u64,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

impl Error {
    /// Returns what one can do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Io { .. } => "look at the disk and at the permissions of the data directory, then start again",
            Self::NoSpace { .. } | Self::ClosedWhileFull => {
                "make room on the disk, or raise the quota; nothing acknowledged is lost"
            }
            Self::Damaged(_) => {
                "the records before this byte are whole: run `cpd journal verify` to see what is lost, and restore the file from a backup"
            }
            Self::TooNew { .. } => "use the newer program; an older one must not write into a newer journal",
            Self::TooLarge { .. } => "keep large documents outside and refer to them",
            Self::Poisoned { .. } => "restart the daemon once the cause is mended; recovery finds out what was written",
            Self::Pruned { .. } | Self::PrunedRecord { .. } => "look for the record in the archive or in the warehouse",
            Self::NotEmpty { .. } => "choose an empty directory",
            Self::Missing => "check the path of the data directory",
            Self::Import { .. } => "export the journal again; nothing of this line was taken in",
            Self::Illegal(_) | Self::OutOfOrder { .. } | Self::Closed | Self::Beyond { .. } => return None,
        })
    }

    /// Tells whether this is lack of room, which passes, rather than a failure, which does not.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }

    pub(crate) fn io(operation: &'static str, file: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { operation, file: file.into() },
            _ => Self::fatal(operation, file, source),
        }
    }

    /// An error that must not be taken for one that passes, whatever the system calls it.
    pub(crate) fn fatal(operation: &'static str, file: &str, source: io::Error) -> Self {
        Self::Io { operation, file: file.into(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(file: &str, offset: u64, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Damaged(Box::new(Damage { file: file.into(), offset, found: found.into(), expected: expected.into() }))
    }

    /// Tells whether this is about the bytes of the journal, as against the world around it.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}
