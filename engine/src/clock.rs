//! The one door to the time. Everything else is handed `now`.
//!
//! Wall time is for people and deadlines; order comes from sequence numbers. A clock that jumps back is held: the time
//! that the journal sees never decreases within a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use cpd_core::time::Timestamp;

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;

    /// How long a span of this clock lasts for the machine: itself, but for clocks of tests that run faster.
    fn lasts(&self, span: Duration) -> Duration {
        span
    }
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        let now = std::time::SystemTime::now();
        let micros = match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Timestamp(self.latest.fetch_max(micros, Ordering::Relaxed).max(micros))
    }
}

/// A clock that moves only by hand, for tests.
#[derive(Debug)]
pub struct SimClock {
    now: AtomicI64,
}

impl SimClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { now: AtomicI64::new(now.0) })
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }
}

/// Microseconds on a stopwatch that only moves forward; for measurements, never for order or deadlines.
pub fn stopwatch() -> u64 {
    static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let begin = BEGIN.get_or_init(Instant::now);
    u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX)
}
