//! Bounds on what refused attempts may write: whoever is not let in must not be able to fill the disk.
//!
//! In each [`WINDOW`] so many refusals have a record of their own, and so many of them from one address. The rest is counted,
//! told apart as far as there is room, and summarised in one record when the window is over. At worst that is
//! 60 records of some 800 bytes and one summary of some 10 kB a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cpd_core::time::Timestamp;

use super::Act;

/// How long refusals are counted together.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Refusals with a record of their own, in a window.
const RECORDS_MAX: u32 = 60;
/// The same, from one address: a loud one leaves room for the others.
const RECORDS_PER_PEER_MAX: u32 = 10;
/// Groups that are told apart in a summary.
const GROUPS_MAX: usize = 16;

/// Refused attempts that were counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// When the first of them was.
    pub since: Timestamp,
    /// When the last of them was.
    pub until: Timestamp,
    /// How many there were.
    pub count: u64,
    /// Those that were told apart, the most frequent first; there may have been others.
    pub groups: Vec<RefusalGroup>,
}

/// Refused attempts that differ in nothing but their time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalGroup {
    /// The address of the peer.
    pub from: Arc<str>,
    /// What was tried.
    pub action: Arc<str>,
    /// Why it was refused.
    pub why: Arc<str>,
    /// How many there were.
    pub count: u64,
}

/// What becomes of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has a record.
    Record,
    /// It is counted; `first` if nothing was counted before.
    Counted {
        /// Whether a summary has to be arranged for.
        first: bool,
    },
}

#[derive(Default)]
pub(super) struct Limiter {
    begun: Timestamp,
    records: u32,
    /// As many as there are records at most.
    by_peer: BTreeMap<Arc<str>, u32>,
    refusals: Option<Refusals>,
}

impl Limiter {
    /// Takes note of a refusal.
    pub fn take(&mut self, act: &Act, now: Timestamp) -> Verdict {
        if now.since(self.begun) >= WINDOW {
            (self.begun, self.records) = (now, 0);
            self.by_peer.clear();
        }
        let of_peer = self.by_peer.get(&act.by.from).copied().unwrap_or(0);
        if self.records < RECORDS_MAX && of_peer < RECORDS_PER_PEER_MAX {
            self.records += 1;
            self.by_peer.insert(act.by.from.clone(), of_peer + 1);
            return Verdict::Record;
        }
        Verdict::Counted { first: self.count(act, now) }
    }

    /// Counts a refusal; tells whether nothing was counted before.
    pub fn count(&mut self, act: &Act, now: Timestamp) -> bool {
        let first = self.refusals.is_none();
        let refusals = self.refusals.get_or_insert_with(|| Refusals { since: now, ..Refusals::default() });
        refusals.until = now;
        refusals.count += 1;
        let groups = &mut refusals.groups;
        let same = |g: &RefusalGroup| g.from == act.by.from && g.action == act.action && g.why == act.why;
        match groups.iter().position(same) {
            Some(at) => groups[at].count += 1,
            None if groups.len() < GROUPS_MAX => groups.push(RefusalGroup {
                from: act.by.from.clone(),
                action: act.action.clone(),
                why: act.why.clone(),
                count: 1,
            }),
            None => {}
        }
        first
    }

    /// What was counted, once.
    pub fn summary(&mut self) -> Option<Refusals> {
        let mut refusals = self.refusals.take()?;
        refusals.groups.sort_by_key(|g| std::cmp::Reverse(g.count));
        Some(refusals)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Actor;
    use super::*;

    fn refused(from: &str, action: &str) -> Act {
        let by = Actor { from: from.into(), ..Actor::default() };
        Act { by, action: action.into(), target: "/".into(), allowed: false, why: "no".into() }
    }

    #[test]
    fn a_loud_peer_is_counted_and_leaves_room_for_the_others() {
        let mut limiter = Limiter::default();
        let now = Timestamp(1_000_000_000_000);
        let loud: Vec<Verdict> = (0..1_000).map(|_| limiter.take(&refused("10.0.0.1", "enter"), now)).collect();
        assert_eq!(loud.iter().filter(|v| **v == Verdict::Record).count(), 10);
        assert_eq!(loud.iter().filter(|v| **v == Verdict::Counted { first: true }).count(), 1);
        assert_eq!(limiter.take(&refused("10.0.0.2", "enter"), now), Verdict::Record);
        let summary = limiter.summary().unwrap();
        assert_eq!((summary.count, summary.groups.len()), (990, 1));
        assert_eq!(limiter.summary(), None, "once");
    }

    #[test]
    fn many_peers_are_bounded_too_and_a_new_window_begins_anew() {
        let mut limiter = Limiter::default();
        let now = Timestamp(1_000_000_000_000);
        let records = |limiter: &mut Limiter, now| {
            (0..100_000).filter(|n| limiter.take(&refused(&format!("p{n}"), "enter"), now) == Verdict::Record).count()
        };
        assert_eq!(records(&mut limiter, now), 60);
        let summary = limiter.summary().unwrap();
        assert_eq!((summary.count, summary.groups.len()), (100_000 - 60, 16));
        assert!(limiter.by_peer.len() <= 60);
        assert_eq!(records(&mut limiter, now.plus(WINDOW)), 60);
    }
}
