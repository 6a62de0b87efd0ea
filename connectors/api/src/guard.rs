//! Ends a piece of work at the request's deadline or cancellation.
//!
//! Every connector runs what it does under [`within`]: the work ends with its result, or it is dropped where it stands
//! as soon as the request is cancelled or a little before the deadline, so that the connector answers while somebody
//! still listens. What an interruption means for the effect only the connector knows: it may have been sent or not.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::clock::Clock;
use crate::{Problem, Request, Standard};

/// Why work was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The run, the task or the process ends.
    Cancelled,
    /// The deadline has come, or had passed before anything began.
    Deadline,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interrupted::Cancelled => "the call was cancelled",
            Interrupted::Deadline => "the call's deadline passed",
        })
    }
}

impl Interrupted {
    /// The `timeout` problem for it, saying what was under way.
    pub fn problem(self, doing: &str) -> Problem {
        Problem::standard(Standard::Timeout, format!("{self} {doing}"))
    }
}

/// How long work may take so that its end is still heard: the time left less a twentieth, at most half a second.
pub fn allowance(left: Duration) -> Duration {
    left.saturating_sub((left / 20).min(Duration::from_millis(500)))
}

/// Whether the request has ended before anything was done for it.
pub fn ended(request: &Request, clock: &dyn Clock) -> Option<Interrupted> {
    if request.cancel.is_cancelled() {
        return Some(Interrupted::Cancelled);
    }
    (request.remaining(clock.now()) == Some(Duration::ZERO)).then_some(Interrupted::Deadline)
}

/// Runs `work` until it ends, the request is cancelled, or its deadline is near.
///
/// # Errors
/// The interruption, if that came first; `work` is dropped then.
pub async fn within<T>(request: &Request, clock: &dyn Clock, work: impl Future<Output = T>) -> Result<T, Interrupted> {
    if let Some(why) = ended(request, clock) {
        return Err(why);
    }
    let deadline = async {
        match request.remaining(clock.now()) {
            Some(left) => tokio::time::sleep(allowance(left)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = request.cancel.cancelled() => Err(Interrupted::Cancelled),
        () = deadline => Err(Interrupted::Deadline),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::clock::ManualClock;
    use crate::{CancellationToken, Timestamp, Value};

    fn request(deadline: Option<i64>) -> Request {
        Request {
            operation: "a.b".into(),
            version: "1.0.0".into(),
            run: "r".into(),
            workflow: "w".into(),
            task: "/do/0/t".into(),
            attempt: 1,
            key: "k".into(),
            deadline: deadline.map(Timestamp),
            input: Value::object(),
            resources: Default::default(),
            conditions: Default::default(),
            cancel: CancellationToken::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn endless_work_ends_a_little_before_the_deadline() {
        let clock = ManualClock::new(Timestamp(0));
        let begun = tokio::time::Instant::now();
        let end = within(&request(Some(10_000_000)), &clock, pending::<()>()).await;
        assert_eq!(end, Err(Interrupted::Deadline));
        assert_eq!(begun.elapsed(), Duration::from_millis(9_500));
    }

    #[tokio::test]
    async fn cancelled_work_is_dropped_and_finished_work_is_kept() {
        let clock = ManualClock::default();
        let request = request(None);
        assert_eq!(within(&request, &clock, ready(1)).await, Ok(1));
        request.cancel.cancel();
        assert_eq!(within(&request, &clock, pending::<()>()).await, Err(Interrupted::Cancelled));
    }

    #[tokio::test]
    async fn nothing_begins_after_the_deadline() {
        let clock = ManualClock::new(Timestamp(11));
        let work = async { panic!("began") };
        assert_eq!(within(&request(Some(10)), &clock, work).await, Err(Interrupted::Deadline));
    }
}
