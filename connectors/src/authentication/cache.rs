//! Tokens that are still good, by policy, for the whole process.
//!
//! Callers that want the same token at the same time wait for one of them to fetch it ([`Tokens::get`]). If that one fails,
//! those who were waiting share its failure instead of asking a server in trouble one after another; whoever comes later
//! tries anew. If the one who fetches is cancelled, the next takes over.
//!
//! Tokens live in memory only. A token is not used any more a little before it runs out, so that it is still good when it
//! arrives. The number of policies is bounded, because a policy may hold another user's token: what was good for the
//! shortest time goes first.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::Timestamp;
use cpd_connector_api::secret::Secret;
use parking_lot::Mutex;

use super::settings::Fingerprint;
use crate::http::Trouble;

/// Policies whose tokens are kept: more than one deployment has, unless each request has a user's token of its own.
const POLICIES_MAX: usize = 1024;

/// A token is given up this long before it runs out, or after four fifths of a short life.
const MARGIN: Duration = Duration::from_secs(30);

/// What an authority gave.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub access: Secret,
    pub refresh: Option<Secret>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// How long it is good from then on.
    pub lifetime: Duration,
}

impl Grant {
    fn until(&self) -> Timestamp {
        self.asked.plus(self.lifetime.saturating_sub(MARGIN.min(self.lifetime / 5)))
    }
}

/// The tokens. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Arc<Mutex<BTreeMap<Fingerprint, Arc<Slot>>>>);

#[derive(Debug, Default)]
struct Slot {
    /// Held by the one who fetches, across the exchange with the authority: that is what it is for.
    flight: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    access: Option<(Secret, Timestamp)>,
    refresh: Option<Secret>,
    /// Fetches that have ended, and how the last one failed.
    ended: u64,
    failure: Option<Trouble>,
}

impl Slot {
    fn good(&self, now: Timestamp) -> Option<Secret> {
        self.state.lock().access.as_ref().filter(|(_, until)| now < *until).map(|(access, _)| access.clone())
    }
}

impl Tokens {
    /// The token of that policy: one that is good at `now`, or what `fetch` brings, which may use a refresh token.
    ///
    /// # Errors
    /// How the fetch failed.
    pub async fn get<F>(
        &self,
        policy: Fingerprint,
        now: impl Fn() -> Timestamp,
        fetch: impl FnOnce(Option<Secret>) -> F,
    ) -> Result<Secret, Trouble>
    where
        F: Future<Output = Result<Grant, Trouble>>,
    {
        let slot = self.slot(policy, now());
        if let Some(access) = slot.good(now()) {
            return Ok(access);
        }
        let before = slot.state.lock().ended;
        let _flight = slot.flight.lock().await;
        if let Some(access) = slot.good(now()) {
            return Ok(access);
        }
        let refresh = {
            let state = slot.state.lock();
            match &state.failure {
                Some(failure) if state.ended > before => return Err(failure.clone()),
                _ => state.refresh.clone(),
            }
        };
        let fetched = fetch(refresh).await;
        let mut state = slot.state.lock();
        state.ended += 1;
        match fetched {
            Ok(grant) => {
                state.access = Some((grant.access.clone(), grant.until()));
                state.refresh = grant.refresh;
                state.failure = None;
                Ok(grant.access)
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// Forgets a token that a resource refused, unless another has taken its place already.
    pub fn forget(&self, policy: Fingerprint, refused: &Secret) {
        if let Some(slot) = self.0.lock().get(&policy) {
            let mut state = slot.state.lock();
            if state.access.as_ref().is_some_and(|(access, _)| access == refused) {
                state.access = None;
            }
        }
    }

    fn slot(&self, policy: Fingerprint, now: Timestamp) -> Arc<Slot> {
        let mut slots = self.0.lock();
        if let Some(slot) = slots.get(&policy) {
            return slot.clone();
        }
        if slots.len() >= POLICIES_MAX {
            slots.retain(|_, slot| slot.good(now).is_some() || Arc::strong_count(slot) > 1);
        }
        while slots.len() >= POLICIES_MAX {
            let until = |slot: &Slot| slot.state.lock().access.as_ref().map(|(_, until)| *until);
            let soonest = slots.iter().min_by_key(|(_, slot)| until(slot)).map(|(policy, _)| *policy);
            soonest.map(|policy| slots.remove(&policy));
        }
        slots.entry(policy).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use cpd_connector_api::{Problem, Standard};
    use tokio::sync::Semaphore;

    use super::*;

    fn grant(access: &str, asked: i64, lifetime: u64) -> Grant {
        let lifetime = Duration::from_secs(lifetime);
        Grant { access: Secret::new(access), refresh: None, asked: Timestamp(asked * 1_000_000), lifetime }
    }

    async fn get(tokens: &Tokens, now: i64, access: &str, lifetime: u64) -> String {
        let fetched =
            tokens.get([0; 32], || Timestamp(now * 1_000_000), |_| async { Ok(grant(access, now, lifetime)) });
        fetched.await.unwrap().expose().to_owned()
    }

    #[tokio::test]
    async fn a_token_is_used_until_a_little_before_it_runs_out() {
        let tokens = Tokens::default();
        assert_eq!(get(&tokens, 0, "one", 300).await, "one");
        assert_eq!(get(&tokens, 269, "two", 60).await, "one");
        assert_eq!(get(&tokens, 270, "two", 60).await, "two");
        assert_eq!(get(&tokens, 270 + 47, "three", 0).await, "two");
        assert_eq!(get(&tokens, 270 + 48, "three", 0).await, "three");
        assert_eq!(get(&tokens, 270 + 48, "four", 60).await, "four", "a token without a life is used once");
    }

    #[tokio::test]
    async fn a_refused_token_is_forgotten_but_not_the_one_that_took_its_place() {
        let tokens = Tokens::default();
        get(&tokens, 0, "one", 300).await;
        tokens.forget([0; 32], &Secret::new("one"));
        assert_eq!(get(&tokens, 1, "two", 300).await, "two");
        tokens.forget([0; 32], &Secret::new("one"));
        assert_eq!(get(&tokens, 1, "three", 300).await, "two");
    }

    /// Runs `asks` callers, the first of which fetches until it is let go when all the others wait for it.
    async fn together(asks: u32, result: Result<Grant, Trouble>) -> (u32, Vec<Result<Secret, Trouble>>) {
        let (tokens, fetches, go) = (Tokens::default(), AtomicU32::new(0), Semaphore::new(0));
        let (one_fetch, tokens, gate) = (&fetches, &tokens, &go);
        let ask = async |_| {
            let fetch = async |_| {
                one_fetch.fetch_add(1, Ordering::SeqCst);
                drop(gate.acquire().await);
                result.clone()
            };
            tokens.get([0; 32], || Timestamp(0), fetch).await
        };
        let asked = futures_of((0..asks).map(ask));
        tokio::pin!(asked);
        // One poll brings every caller to where it waits; the gate then opens for the one who fetches.
        tokio::select! { biased; _ = &mut asked => panic!("went through a closed gate"), () = std::future::ready(()) => {} }
        go.add_permits(1);
        let results = asked.await;
        (fetches.load(Ordering::SeqCst), results)
    }

    async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
        let mut futures: Vec<_> = futures.map(Box::pin).collect();
        let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
        std::future::poll_fn(|cx| {
            for (future, done) in futures.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
                if let std::task::Poll::Ready(value) = future.as_mut().poll(cx) {
                    *done = Some(value);
                }
            }
            if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        done.into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn those_who_want_one_token_together_fetch_it_once() {
        let (fetches, results) = together(8, Ok(grant("one", 0, 300))).await;
        assert_eq!(fetches, 1);
        assert!(results.iter().all(|r| r.as_ref().is_ok_and(|s| s.expose() == "one")), "{results:?}");
    }

    #[tokio::test]
    async fn those_who_waited_share_a_failure() {
        let failure = Trouble::failed(Problem::standard(Standard::Authentication, "down"));
        let (fetches, results) = together(8, Err(failure.clone())).await;
        assert_eq!(fetches, 1);
        assert!(results.iter().all(|r| r.as_ref() == Err(&failure)), "{results:?}");
    }

    #[tokio::test]
    async fn a_fetch_that_is_cancelled_leaves_nothing_behind() {
        let tokens = Tokens::default();
        {
            let fetch = |_| std::future::pending::<Result<Grant, Trouble>>();
            let asked = tokens.get([0; 32], || Timestamp(0), fetch);
            tokio::pin!(asked);
            tokio::select! { biased; _ = asked => panic!("ended"), () = std::future::ready(()) => {} }
        }
        assert_eq!(get(&tokens, 0, "one", 300).await, "one");
    }

    #[tokio::test]
    async fn the_number_of_policies_is_bounded() {
        let tokens = Tokens::default();
        for index in 0..u16::try_from(POLICIES_MAX).unwrap() + 100 {
            let mut policy = [0; 32];
            policy[..2].copy_from_slice(&index.to_be_bytes());
            let fetch = |_| async { Ok(grant("token", 0, 300)) };
            tokens.get(policy, || Timestamp(0), fetch).await.unwrap();
        }
        assert_eq!(tokens.0.lock().len(), POLICIES_MAX);
    }
}
