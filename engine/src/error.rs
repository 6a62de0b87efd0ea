//! What can go wrong for a caller of the engine.

use std::sync::Arc;

use cpd_core::definition::diagnostic::Diagnostic;
use cpd_core::machine::{RunId, turn::Rejected};

use crate::codec::DecodeError;

/// An error of the engine. Cheap to clone: several callers may wait for the same thing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed or is damaged.
    #[error("use the journal")]
    Journal(#[source] Arc<cpd_journal::Error>),
    /// The index failed. It can be rebuilt: nothing is lost.
    #[error("use the index")]
    Index(#[source] Arc<cpd_journal::index::IndexError>),
    /// Records that were acknowledged are not in the journal any more: the index, which is never ahead of what was synced, knows them.
    #[error(
        "use the journal: found its end before record {next}, expected records up to {applied}, which the index in {index} \
         knows; put back what is missing, or remove the index if this is an older copy that shall go on from there"
    )]
    RecordsMissing {
        /// The first that is missing.
        next: cpd_journal::Lsn,
        /// The last that is known.
        applied: cpd_journal::Lsn,
        /// Where the index is.
        index: String,
    },
    /// Another process owns the data directory.
    #[error("open the data directory; {}", .0.hint())]
    Locked(#[source] Arc<cpd_journal::LockError>),
    /// A record cannot be read.
    #[error("read the history of run {run}")]
    Unreadable {
        /// Which run.
        run: RunId,
        /// Why.
        #[source]
        source: Arc<DecodeError>,
    },
    /// A history does not fold: another version wrote it, or entries are missing.
    #[error("rebuild run {run} from its history: {detail}")]
    Unfoldable {
        /// Which run.
        run: RunId,
        /// Why.
        detail: String,
    },
    /// The plan that a run is pinned to is not in the registry.
    #[error("find the definition of run {run}: no registration of {workflow} {version} has digest {digest}")]
    NoPlan {
        /// Which run.
        run: RunId,
        /// Its workflow.
        workflow: String,
        /// Its version.
        version: String,
        /// The digest.
        digest: String,
    },
    /// It is no CloudEvent.
    #[error("publish an event: {what}")]
    NoEvent {
        /// What is wrong.
        what: &'static str,
    },
    /// There is no such workflow.
    #[error("find {what} {name:?}: none is registered under that name{hint}")]
    NotRegistered {
        /// `workflow`, `policy` or `agent`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The nearest names.
        hint: String,
    },
    /// A definition is wrong.
    #[error("register {file}: {} error{}", .diagnostics.len(), if .diagnostics.len() == 1 { "" } else { "s" })]
    Invalid {
        /// The file.
        file: String,
        /// The source text, to show.
        source_text: Arc<str>,
        /// What is wrong.
        diagnostics: Arc<Vec<Diagnostic>>,
    },
    /// The same version with other content.
    #[error("register {what} {name} {version}: that version is registered with other content; give it a new version")]
    VersionTaken {
        /// `workflow`, `policy` or `agent`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// A version was to be replaced where that may not be.
    #[error(
        "replace a version: this data directory is not for development; give the definition a new version, or set          development = true under [registry] in its cpd.toml"
    )]
    NotDevelopment,
    /// There is a token of that name or id.
    #[error("make a token: {id} is named {name:?} already; revoke it, or choose another name")]
    TokenTaken {
        /// Its name.
        name: Arc<str>,
        /// Its id.
        id: Arc<str>,
    },
    /// There is no such token.
    #[error("find token {id:?}: there is none of that id; `cpd token list` shows them")]
    NoToken {
        /// The id.
        id: Arc<str>,
    },
    /// A run cannot take an input.
    #[error(transparent)]
    Rejected(Rejected),
    /// There is no open run of that id.
    #[error("find run {run}: there is no open run of that id")]
    NoOpenRun {
        /// The id.
        run: RunId,
    },
    /// A bug in this program stopped the run.
    #[error(
        "go on with run {run}: a bug in cpd stopped it ({detail}); it is set aside with its record intact, other runs go \
         on, and the next start tries again"
    )]
    SetAside {
        /// The run.
        run: RunId,
        /// What the panic said.
        detail: Arc<str>,
    },
    /// The disk is full. Nothing is lost; what is under way goes on when there is room.
    #[error("take new work: no space is left on the device of the journal; runs go on when there is room")]
    DiskFull,
    /// The journal is too far behind.
    #[error("take new work: {pending} bytes wait to be synced; try again in a moment")]
    Busy {
        /// What waits.
        pending: usize,
    },
    /// The engine is stopping.
    #[error("take new work: the engine is stopping")]
    Stopping,
    /// The engine has stopped.
    #[error("reach the engine: it has stopped")]
    Stopped,
    /// A run cannot be forked there.
    #[error("fork run {run}: {why}")]
    NoFork {
        /// The run whose history was to be shared.
        run: RunId,
        /// Why not.
        why: String,
    },
    /// A run cannot be moved to another version.
    #[error("move run {run} to version {version}: {why}")]
    NoMigration {
        /// The run.
        run: RunId,
        /// The version.
        version: String,
        /// Why not.
        why: String,
    },
    /// More data than is taken.
    #[error("start a run: the input has {found} bytes, expected at most {limit}")]
    TooLarge {
        /// How many bytes of JSON there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A start key could not be computed.
    #[error("compute the idempotency key of the start: {0}")]
    StartKey(String),
    /// Anything about files around the journal.
    #[error("{action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
}

impl From<cpd_journal::Error> for Error {
    fn from(error: cpd_journal::Error) -> Self {
        Error::Journal(Arc::new(error))
    }
}

impl From<cpd_journal::LockError> for Error {
    fn from(error: cpd_journal::LockError) -> Self {
        Error::Locked(Arc::new(error))
    }
}

impl From<cpd_journal::index::IndexError> for Error {
    fn from(error: cpd_journal::index::IndexError) -> Self {
        Error::Index(Arc::new(error))
    }
}
