//! What an open run waits for, in a word: for counting runs, not for explaining one ([`Run::wake_sources`] does that).

use super::state::{CallPhase, Phase, Run, Status};

/// The most telling of a run's wake-sources. If it has several, the first of these that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Wait {
    /// Somebody paused it.
    Resume,
    /// There is something to decide at once.
    Ready,
    /// An operator must say what became of an effect.
    Operator,
    /// People must approve something.
    Approval,
    /// A call is in flight, or its connector is asked what became of it.
    Call,
    /// An event of its own is on its way to those who listen.
    Publication,
    /// It listens.
    Event,
    /// A time must come.
    Timer,
    /// Nothing can make it go on: a bug.
    Nothing,
}

impl Wait {
    /// Every one, in order.
    pub const ALL: [Wait; 9] = [
        Wait::Resume,
        Wait::Ready,
        Wait::Operator,
        Wait::Approval,
        Wait::Call,
        Wait::Publication,
        Wait::Event,
        Wait::Timer,
        Wait::Nothing,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Wait::Resume => "resume",
            Wait::Ready => "ready",
            Wait::Operator => "operator",
            Wait::Approval => "approval",
            Wait::Call => "call",
            Wait::Publication => "publication",
            Wait::Event => "event",
            Wait::Timer => "timer",
            Wait::Nothing => "nothing",
        }
    }
}

impl Run {
    /// What it waits for; `None` if it has ended.
    pub fn wait(&self) -> Option<Wait> {
        match self.phase {
            Phase::Paused => return Some(Wait::Resume),
            Phase::Completed { .. } | Phase::Faulted { .. } | Phase::Cancelled { .. } => return None,
            Phase::Running => {}
        }
        if !self.agenda.is_empty() {
            return Some(Wait::Ready);
        }
        let waits = self.acts.iter().map(|act| match &act.status {
            Status::Calling(calling) => match calling.phase {
                CallPhase::Parked(_) => Wait::Operator,
                CallPhase::InFlight | CallPhase::Reconciling(_) => Wait::Call,
                CallPhase::Undetermined { .. } | CallPhase::Unreconciled(_) => Wait::Ready,
                CallPhase::BackingOff { .. } => Wait::Timer,
            },
            Status::Approving(_) => Wait::Approval,
            Status::Publishing { .. } => Wait::Publication,
            Status::Listening(listening) if !listening.busy => Wait::Event,
            _ if act.timers().iter().any(Option::is_some) => Wait::Timer,
            _ => Wait::Nothing,
        });
        Some(waits.min().unwrap_or(Wait::Nothing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_its_place() {
        let names: std::collections::BTreeSet<_> = Wait::ALL.iter().map(|w| w.name()).collect();
        assert_eq!(names.len(), Wait::ALL.len());
        for (place, wait) in Wait::ALL.into_iter().enumerate() {
            assert_eq!(wait as usize, place);
        }
    }
}
