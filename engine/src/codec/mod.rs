//! The border between the machine's events and the journal's records.
//!
//! Encoding writes the frozen structs of `cpd_journal::record`; decoding reads any version that was ever released and
//! upgrades it. Data that stands in the same record already is left out (see the comments of `record::v1`). Decoding
//! trusts nothing: a record that does not make sense is an error with its kind, never a panic.

mod read;
#[cfg(test)]
mod tests;
mod write;

use cpd_core::machine::Event;
use cpd_journal::record::Kind;

pub use self::read::decode;
pub use self::write::encode;

/// A document of more bytes than this is stored apart from its record, once.
pub(crate) const LARGE: usize = 64 << 10;
/// What a document begins with in a record if only its digest stands there. No JSON begins so.
const REFERENCE: u8 = 1;

/// The longest payload that is decoded: no entry is longer.
pub(crate) const PAYLOAD_MAX: u64 = cpd_journal::BATCH_BYTES_MAX;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The kind's number is not known here.
    #[error("read a record of kind {kind}, version {version}: this cpd knows kinds up to {newest} in version {known}")]
    TooNew {
        /// Its kind.
        kind: u16,
        /// Its version.
        version: u8,
        /// The highest kind known.
        newest: u16,
        /// The version known.
        known: u8,
    },
    /// The payload is not what the kind says.
    #[error("read a {kind} record: {detail}")]
    Malformed {
        /// Name of its kind.
        kind: &'static str,
        /// What is wrong.
        detail: String,
    },
}

/// The kind of record that an event becomes.
pub fn kind_of(event: &Event) -> Kind {
    match event {
        Event::RunStarted { .. } => Kind::RUN_STARTED,
        Event::TaskEntered { .. } => Kind::TASK_ENTERED,
        Event::TaskSkipped { .. } => Kind::TASK_SKIPPED,
        Event::TaskReturned { .. } => Kind::TASK_RETURNED,
        Event::EventEmitted { .. } => Kind::EVENT_EMITTED,
        Event::CaseTaken { .. } => Kind::CASE_TAKEN,
        Event::PolicyDecided { .. } => Kind::POLICY_DECIDED,
        Event::TaskStarted { .. } => Kind::TASK_STARTED,
        Event::WaitStarted { .. } => Kind::WAIT_STARTED,
        Event::ListenStarted { .. } => Kind::LISTEN_STARTED,
        Event::ApprovalRequested { .. } => Kind::APPROVAL_REQUESTED,
        Event::ApprovalVoted { .. } => Kind::APPROVAL_VOTED,
        Event::ApprovalDelegated { .. } => Kind::APPROVAL_DELEGATED,
        Event::ApprovalEscalated { .. } => Kind::APPROVAL_ESCALATED,
        Event::EventReceived { .. } => Kind::EVENT_RECEIVED,
        Event::EventTaken { .. } => Kind::EVENT_TAKEN,
        Event::EventsPassed { .. } => Kind::EVENTS_PASSED,
        Event::EventPublished { .. } => Kind::EVENT_PUBLISHED,
        Event::TaskSucceeded { .. } => Kind::TASK_SUCCEEDED,
        Event::TaskRefused { .. } => Kind::TASK_REFUSED,
        Event::TaskFailed { .. } => Kind::TASK_FAILED,
        Event::TaskUnknown { .. } => Kind::TASK_UNKNOWN,
        Event::TaskDelayed { .. } => Kind::TASK_DELAYED,
        Event::TaskRetried { .. } => Kind::TASK_RETRIED,
        Event::TaskQuestioned { .. } => Kind::TASK_QUESTIONED,
        Event::TaskParked { .. } => Kind::TASK_PARKED,
        Event::TaskResolved { .. } => Kind::TASK_RESOLVED,
        Event::LateOutcome { .. } => Kind::LATE_OUTCOME,
        Event::TaskCompleted { .. } => Kind::TASK_COMPLETED,
        Event::TaskFaulted { .. } => Kind::TASK_FAULTED,
        Event::ErrorCaught { .. } => Kind::ERROR_CAUGHT,
        Event::TryRetried { .. } => Kind::TRY_RETRIED,
        Event::IterationStarted { .. } => Kind::ITERATION_STARTED,
        Event::LoopEnded { .. } => Kind::LOOP_ENDED,
        Event::TimerFired { .. } => Kind::TIMER_FIRED,
        Event::DeadlinePassed { .. } => Kind::DEADLINE_PASSED,
        Event::RunPaused { .. } => Kind::RUN_PAUSED,
        Event::RunResumed { .. } => Kind::RUN_RESUMED,
        Event::RunCancelled { .. } => Kind::RUN_CANCELLED,
        Event::RunForked { .. } => Kind::RUN_FORKED,
        Event::RunMigrated { .. } => Kind::RUN_MIGRATED,
        Event::RunCompleted { .. } => Kind::RUN_COMPLETED,
        Event::RunFaulted { .. } => Kind::RUN_FAULTED,
    }
}
