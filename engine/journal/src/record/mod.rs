//! What records say: frozen structs, one per kind and version, and the numbers that stand for them.
//!
//! A record on disk is `kind`, `version` and a payload; the payload is the bincode-1 encoding of exactly one struct of the
//! module of that version. Kinds are numbered by hand and never reused; 0 is illegal. JSON documents stand inside as
//! bytes: this crate neither reads nor checks them. The engine converts between these and its own types.
//!
//! A released module is frozen. A new shape of a record is a struct in a new module and one upgrade step in the engine.

pub mod v1;

/// The number of a record's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u16);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Kind = Kind($number);)*

            /// Every kind there is, in order of number.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// The kind's name; `None` for a number of a newer version.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Kind::$name => Some($text),)*
                    Kind(_) => None,
                }
            }
        }
    };
}

kinds! {
    /// A run began.
    RUN_STARTED = 1, "RunStarted";
    /// A composite task began.
    TASK_ENTERED = 2, "TaskEntered";
    /// A task's `if` did not hold.
    TASK_SKIPPED = 3, "TaskSkipped";
    /// A `set` was evaluated.
    TASK_RETURNED = 4, "TaskReturned";
    /// An event was emitted.
    EVENT_EMITTED = 5, "EventEmitted";
    /// A `switch` took a case.
    CASE_TAKEN = 6, "CaseTaken";
    /// A policy decided.
    POLICY_DECIDED = 7, "PolicyDecided";
    /// The intent of an effect.
    TASK_STARTED = 8, "TaskStarted";
    /// A `wait` began.
    WAIT_STARTED = 9, "WaitStarted";
    /// An effect happened.
    TASK_SUCCEEDED = 10, "TaskSucceeded";
    /// An effect was refused for good.
    TASK_REFUSED = 11, "TaskRefused";
    /// An effect failed this time.
    TASK_FAILED = 12, "TaskFailed";
    /// Nobody knows whether an effect happened.
    TASK_UNKNOWN = 13, "TaskUnknown";
    /// An effect will be tried again later.
    TASK_DELAYED = 14, "TaskDelayed";
    /// An effect is tried again with the same key.
    TASK_RETRIED = 15, "TaskRetried";
    /// The connector is asked what became of an effect.
    TASK_QUESTIONED = 16, "TaskQuestioned";
    /// An operator is asked what became of an effect.
    TASK_PARKED = 17, "TaskParked";
    /// An operator said what became of an effect.
    TASK_RESOLVED = 18, "TaskResolved";
    /// The outcome of an effect that nobody waits for any more.
    LATE_OUTCOME = 19, "LateOutcome";
    /// A task's output and export were evaluated.
    TASK_COMPLETED = 20, "TaskCompleted";
    /// A task raised an error.
    TASK_FAULTED = 21, "TaskFaulted";
    /// A `try` caught an error.
    ERROR_CAUGHT = 22, "ErrorCaught";
    /// The body of a `try` begins anew.
    TRY_RETRIED = 23, "TryRetried";
    /// An iteration of a `for` began.
    ITERATION_STARTED = 24, "IterationStarted";
    /// A `for` is through.
    LOOP_ENDED = 25, "LoopEnded";
    /// A `wait` is over.
    TIMER_FIRED = 26, "TimerFired";
    /// A `timeout` has passed.
    DEADLINE_PASSED = 27, "DeadlinePassed";
    /// An operator paused a run.
    RUN_PAUSED = 28, "RunPaused";
    /// An operator let a run go on.
    RUN_RESUMED = 29, "RunResumed";
    /// Somebody cancelled a run.
    RUN_CANCELLED = 30, "RunCancelled";
    /// A run reached its end.
    RUN_COMPLETED = 31, "RunCompleted";
    /// An error reached the top of a run.
    RUN_FAULTED = 32, "RunFaulted";
    /// A `listen` began.
    LISTEN_STARTED = 33, "ListenStarted";
    /// A run was given an event.
    EVENT_RECEIVED = 34, "EventReceived";
    /// A `listen` took an event.
    EVENT_TAKEN = 35, "EventTaken";
    /// A `listen` looked at events and took none.
    EVENTS_PASSED = 36, "EventsPassed";
    /// Everybody who listened has an emitted event.
    EVENT_PUBLISHED = 37, "EventPublished";
    /// A run goes on with the history of another one.
    RUN_FORKED = 38, "RunForked";
    /// A run was moved to another version of its workflow.
    RUN_MIGRATED = 39, "RunMigrated";
    /// The start of a run whose history is being copied: the run is there once a `RunForked` has followed.
    RUN_SHARED = 40, "RunShared";
    /// People are asked for an approval.
    APPROVAL_REQUESTED = 41, "ApprovalRequested";
    /// Somebody voted on an approval.
    APPROVAL_VOTED = 42, "ApprovalVoted";
    /// Somebody handed a vote over.
    APPROVAL_DELEGATED = 43, "ApprovalDelegated";
    /// More people may vote on an approval.
    APPROVAL_ESCALATED = 44, "ApprovalEscalated";
    /// A workflow, policy, agent or connector operation was registered.
    REGISTERED = 64, "Registered";
    /// A document that a definition refers to.
    DOCUMENT_PINNED = 65, "DocumentPinned";
    /// A bearer token was made.
    TOKEN_CREATED = 70, "TokenCreated";
    /// A bearer token is good no more.
    TOKEN_REVOKED = 71, "TokenRevoked";
    /// Somebody administered something, or was refused.
    ADMINISTERED = 72, "Administered";
    /// Refused attempts that have no record of their own, because there were too many.
    REFUSALS_COUNTED = 73, "RefusalsCounted";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_zero_is_illegal() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|k| k.name().unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.windows(2).all(|w| w[0] < w[1]), "in order, so none is used twice");
        assert_eq!(Kind(0).name(), None);
        assert_eq!(Kind(u16::MAX).name(), None);
    }
}
