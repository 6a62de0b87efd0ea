//! Changes as they happen: the events of runs, for streams of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, http::HeaderMap};
use cpd_core::Value;
use cpd_core::machine::{Event, Run, RunId};
use cpd_core::time::Timestamp;
use cpd_engine::{Called, Logged, Observer};
use cpd_journal::Group;
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::broadcast::{self, error::RecvError};

use super::Daemon;
use super::entrance::Caller;
use super::problem::Problem;
use crate::cli::timeline;

/// So many events wait for a stream that is read slowly; one that falls further behind is caught up from the journal, or ends.
const BACKLOG: usize = 4_096;
/// A comment now and then, so that whatever is between does not take the stream for dead.
const ALIVE: Duration = Duration::from_secs(15);

/// An event of a run that is durable.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) run: RunId,
    pub(super) namespace: Arc<str>,
    pub(super) workflow: Arc<str>,
    pub(super) logged: Logged,
    /// Whether the run has ended with it.
    pub(super) last: bool,
}

/// Tells whoever follows what has become durable.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    sender: broadcast::Sender<Arc<Change>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG) }
    }
}

impl Changes {
    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<Change>> {
        self.sender.subscribe()
    }
}

impl Observer for Changes {
    fn observe(&self, run: &Run, at: Timestamp, seq: u64, events: &[Event]) {
        // Most of the time nobody follows, and a run costs nothing here.
        if self.sender.receiver_count() == 0 {
            return;
        }
        let open = run.is_open();
        for (offset, event) in (0_u64..).zip(events) {
            let last = !open && offset + 1 == events.len() as u64;
            let logged = Logged::live(run, at, seq + offset, event);
            let (namespace, workflow) = (run.plan.namespace.clone(), run.plan.qualified_name());
            // Nobody may be left to hear it.
            drop(self.sender.send(Arc::new(Change { run: run.id, namespace, workflow, logged, last })));
        }
    }
}

fn sent(run: RunId, workflow: Option<&str>, logged: &Logged) -> Sent {
    let mut value = timeline::json(logged);
    if let (Value::Obj(map), Some(workflow)) = (&mut value, workflow) {
        let map = Arc::make_mut(map);
        map.insert("runId".into(), Value::from(run.to_string()));
        map.insert("workflow".into(), Value::str(workflow));
    }
    Sent::default().id(logged.seq.to_string()).event(logged.event.name()).data(value.to_json())
}

/// What a stream of one run has still to send.
struct Follower {
    daemon: Daemon,
    run: RunId,
    /// The number of the last event that was sent.
    seen: u64,
    waiting: std::collections::VecDeque<Logged>,
    changes: broadcast::Receiver<Arc<Change>>,
    ended: bool,
}

impl Follower {
    /// Reads what the journal has beyond what was sent.
    fn catch_up(&mut self) -> Result<(), cpd_engine::Error> {
        let history = self.daemon.engine.history(self.run)?;
        self.waiting = history.log()?.into_iter().filter(|l| l.seq > self.seen).collect();
        self.ended = !self.daemon.engine.row(self.run)?.phase.is_open();
        Ok(())
    }

    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(logged) = self.waiting.pop_front() {
                self.seen = logged.seq;
                return Some(sent(self.run, None, &logged));
            }
            if self.ended {
                return None;
            }
            let heard = tokio::select! {
                () = self.daemon.stopping.cancelled() => return None,
                heard = self.changes.recv() => heard,
            };
            match heard {
                Ok(change) if change.run == self.run && change.logged.seq > self.seen => {
                    self.ended = change.last;
                    self.waiting.push_back(change.logged.clone());
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.catch_up().ok()?,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// The log of a run from an event on, and what comes until it ends.
pub(super) fn run(daemon: &Daemon, run: RunId, after: u64) -> Result<Response, Problem> {
    // First listen, then read: nothing falls between.
    let changes = daemon.changes.follow();
    let (waiting, ended) = Default::default();
    let mut follower = Follower { daemon: daemon.clone(), run, seen: after, waiting, changes, ended };
    follower.catch_up()?;
    let stream = stream::unfold(follower, |mut follower| async move {
        let sent = follower.next().await?;
        Some((Ok::<_, Infallible>(sent), follower))
    });
    Ok(streamed(stream))
}

fn streamed(stream: impl Stream<Item = Result<Sent, Infallible>> + Send + 'static) -> Response {
    Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// The number in `Last-Event-ID`, with which a stream is taken up again.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|v| v.trim().parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Problem::bad("`Last-Event-ID` is no number; it is the `seq` of the last event that came"))
}

/// `GET /v1/stream`: every event of every run that the caller sees, from now on. One that falls behind by too much ends, and says so.
pub(super) async fn all(State(daemon): State<Daemon>, Extension(caller): Extension<Caller>) -> Response {
    let changes = daemon.changes.follow();
    let stream = stream::unfold(Some((changes, daemon, caller)), |state| async move {
        let (mut changes, daemon, caller) = state?;
        loop {
            let heard = tokio::select! {
                () = daemon.stopping.cancelled() => return None,
                heard = changes.recv() => heard,
            };
            match heard {
                Ok(change) if caller.sees(&change.namespace) => {
                    let sent = sent(change.run, Some(&change.workflow), &change.logged);
                    return Some((Ok::<_, Infallible>(sent), Some((changes, daemon, caller))));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    let told = Sent::default().event("Lagged").data(format!("{{\"missed\":{missed}}}"));
                    return Some((Ok(told), None));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    });
    streamed(stream)
}

/// Tells those who follow, and counts.
pub(super) struct Both(pub(super) Changes, pub(super) Arc<dyn Observer>);

impl Observer for Both {
    fn observe(&self, run: &Run, at: Timestamp, seq: u64, events: &[Event]) {
        self.0.observe(run, at, seq, events);
        self.1.observe(run, at, seq, events);
    }

    fn called(&self, call: &Called) {
        self.1.called(call);
    }

    fn fired(&self, late: Duration) {
        self.1.fired(late);
    }

    fn synced(&self, group: &Group) {
        self.1.synced(group);
    }
}
