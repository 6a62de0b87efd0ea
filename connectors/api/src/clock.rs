//! The time, as the process hands it to connectors.
//!
//! A connector needs `now` to know how long it has until a request's deadline, to read a `Retry-After` date, and to
//! date what it finds. It asks a [`Clock`] that whoever builds it hands in. [`SystemClock`] is the one place on this
//! side of the engine where the machine's clock is read; [`ManualClock`] moves only by hand and is for tests.
//! Spans that are waited for (time-outs, polling) are the runtime's timers, not this clock's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the door through which connectors see the machine's clock")]
    fn now(&self) -> Timestamp {
        from_system(SystemTime::now())
    }
}

/// Converts the standard library's instant; what lies outside the range becomes its nearest end.
pub fn from_system(at: SystemTime) -> Timestamp {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp(0).plus(since),
        Err(before) => Timestamp(i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us)),
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`.
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.as_micros()))
    }

    /// Moves it forward.
    pub fn advance(&self, span: Duration) {
        let now = self.now().plus(span);
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = ManualClock::new(Timestamp(7));
        assert_eq!(clock.now(), Timestamp(7));
        clock.advance(Duration::from_micros(5));
        assert_eq!(clock.now(), Timestamp(12));
    }

    #[test]
    fn the_system_clock_is_past_the_year_2020_and_converts_both_sides_of_the_epoch() {
        assert!(SystemClock.now().as_secs() > 1_577_836_800);
        assert_eq!(from_system(UNIX_EPOCH - Duration::from_micros(3)), Timestamp(-3));
        assert_eq!(from_system(UNIX_EPOCH + Duration::from_micros(3)), Timestamp(3));
    }
}
