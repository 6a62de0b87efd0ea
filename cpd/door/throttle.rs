//! Guessing is slow: failed attempts of a peer are answered later and later, and at last turned away.
//!
//! Each failure fills the peer's bucket, which empties slowly. The first few failures cost nothing; then each answer waits,
//! up to [`DELAY_MAX`]; a bucket that is full, or too many answers that wait already, are turned away at once.
//!
//! - What is right is never held up: many callers may share an address, and one of them must not lock the others out.
//! - Both the table and the number of waiting answers are bounded. IPv6 peers count by their /64, which is what one of them owns.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures that cost nothing.
const FREE: f64 = 5.0;
/// Failures of a full bucket.
const FULL: f64 = 30.0;
/// How long one failure takes to be forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);
/// The first delay; each further failure doubles it.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// Peers in the table; the one that was seen longest ago makes room.
const PEERS_MAX: usize = 4_096;
/// Answers that wait at a time, in all and for one peer.
const WAITING_MAX: usize = 256;
const WAITING_PER_PEER_MAX: usize = 4;

#[derive(Default)]
pub(super) struct Throttle {
    peers: Mutex<HashMap<IpAddr, Bucket>>,
    waiting: AtomicUsize,
}

struct Bucket {
    level: f64,
    seen: Instant,
    waiting: Arc<AtomicUsize>,
}

/// What becomes of a failed attempt.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Answer it.
    Now,
    /// Turn it away; it may be tried again after this long.
    TooMany(Duration),
}

impl Throttle {
    /// Takes note of a failed attempt, and waits as long as its answer has to.
    pub async fn failed(&self, peer: IpAddr) -> Answer {
        let (level, of_peer) = self.fill(key(peer));
        if level <= FREE {
            return Answer::Now;
        }
        if level > FULL {
            return Answer::TooMany(FORGOTTEN_AFTER.mul_f64(level - FULL + 1.0));
        }
        let places = (Place::take(&self.waiting, WAITING_MAX), Place::take(&of_peer, WAITING_PER_PEER_MAX));
        let (Some(_all), Some(_peer)) = places else { return Answer::TooMany(DELAY_MAX) };
        let doublings = (level - FREE).ceil().clamp(1.0, 16.0) as u32 - 1;
        tokio::time::sleep(DELAY_MIN.saturating_mul(1 << doublings).min(DELAY_MAX)).await;
        Answer::Now
    }

    /// Fills the bucket of a peer; returns how full it is.
    fn fill(&self, peer: IpAddr) -> (f64, Arc<AtomicUsize>) {
        let now = Instant::now();
        let mut peers = self.peers.lock();
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            let oldest = peers.iter().min_by_key(|(_, bucket)| bucket.seen).map(|(peer, _)| *peer);
            oldest.map(|oldest| peers.remove(&oldest));
        }
        let fresh = || Bucket { level: 0.0, seen: now, waiting: Arc::default() };
        let bucket = peers.entry(peer).or_insert_with(fresh);
        let forgotten = now.duration_since(bucket.seen).as_secs_f64() / FORGOTTEN_AFTER.as_secs_f64();
        // A little above full, so that somebody who does not stop is let in no earlier than somebody who does.
        bucket.level = ((bucket.level - forgotten).max(0.0) + 1.0).min(FULL + 5.0);
        bucket.seen = now;
        (bucket.level, bucket.waiting.clone())
    }

    #[cfg(test)]
    fn peers(&self) -> usize {
        self.peers.lock().len()
    }
}

/// The peer that counts.
fn key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A place among those that wait; given back when dropped, also if the caller goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        let more = |n: usize| (n < max).then_some(n + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_failures_are_free_then_answers_wait_then_they_are_turned_away() {
        let throttle = Throttle::default();
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let begun = Instant::now();
        for _ in 0..5 {
            assert_eq!(throttle.failed(peer).await, Answer::Now);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(throttle.failed(peer).await, Answer::Now);
        assert!(begun.elapsed() >= DELAY_MIN);
        let mut turned_away = None;
        for attempt in 6..200 {
            if let Answer::TooMany(after) = throttle.failed(peer).await {
                turned_away = Some((attempt, after));
                break;
            }
        }
        let (attempt, after) = turned_away.expect("it ends");
        assert!((30..60).contains(&attempt) && after >= FORGOTTEN_AFTER, "{attempt} {after:?}");
        assert_eq!(throttle.failed("10.0.0.2".parse().unwrap()).await, Answer::Now, "others are not held up");
        tokio::time::advance(FORGOTTEN_AFTER * 60).await;
        assert_eq!(throttle.failed(peer).await, Answer::Now, "it is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_answers_wait_than_may_and_those_who_leave_make_room() {
        let throttle = Arc::new(Throttle::default());
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        for _ in 0..5 {
            throttle.failed(peer).await;
        }
        let waiting: Vec<_> = (0..WAITING_PER_PEER_MAX)
            .map(|_| {
                let throttle = throttle.clone();
                tokio::spawn(async move { throttle.failed(peer).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(throttle.failed(peer).await, Answer::TooMany(DELAY_MAX));
        for task in waiting {
            task.abort();
            drop(task.await);
        }
        assert_eq!(throttle.waiting.load(Ordering::SeqCst), 0);
        assert_eq!(throttle.failed(peer).await, Answer::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_one_network_is_one_peer() {
        let throttle = Throttle::default();
        for n in 0..3 * u32::try_from(PEERS_MAX).unwrap() {
            throttle.failed(IpAddr::V4(n.into())).await;
        }
        assert_eq!(throttle.peers(), PEERS_MAX);
        let (a, b) = ("2001:db8::1".parse().unwrap(), "2001:db8::ffff:0:1".parse().unwrap());
        assert_eq!(key(a), key(b));
        assert_ne!(key(a), key("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(key("::ffff:10.0.0.1".parse().unwrap()), key("10.0.0.1".parse().unwrap()));
    }
}
