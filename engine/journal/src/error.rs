//! What can go wrong with the journal.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// An error of the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("{action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Bytes that were synced are not what was written.
    #[error(
        "read segment {segment} at offset {offset}: {found}, expected {expected}; this is damage, not a torn tail: nothing \
         was changed. Run `cpd journal verify` to see what is lost, and restore a backup"
    )]
    Damaged {
        /// Name of the segment.
        segment: String,
        /// Where in it.
        offset: u64,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A write or a sync failed earlier; nothing is written any more.
    #[error("write to the journal: it was poisoned by an earlier failure ({cause}); restart to recover")]
    Poisoned {
        /// What failed.
        cause: Arc<str>,
    },
    /// The writer has stopped.
    #[error("write to the journal: its writer has stopped")]
    Stopped,
    /// Another process owns the directory.
    #[error(
        "lock {}: process {pid} ({version}) has owned it since {since}; stop that process, or use another --data directory",
        .path.display()
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// Its process id.
        pid: String,
        /// Its version.
        version: String,
        /// Since when.
        since: String,
    },
    /// There is no journal.
    #[error("open {}: there is no journal here", .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A position that no frame has.
    #[error("read the frame at position {position}: no segment holds it")]
    NoSuchPosition {
        /// The position.
        position: u64,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// Whether the disk is full: the same may succeed later.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}
