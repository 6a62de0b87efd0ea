//! A shard: the one task that owns the states of its runs. No locks, no shared states.
//!
//! ```text
//!  start, inputs ─→ turn ─→ entry ─→ batch ─→ writer (one sync per group)
//!                                                │ durable
//!  index ←── rows ←── release: answers, calls ←──┘
//! ```
//!
//! - A run has at most one entry under way. Inputs that come meanwhile wait in its mailbox.
//! - Nothing leaves a shard before the entry behind it is durable: no answer, no call, no timer.
//! - A run that waits only for a far timer, an operator or its resumption is put to sleep: its state goes, a few bytes
//!   stay, and it is folded again from the journal when it is woken.
//! - Operations that are ready at once are polled in place; all others get a task of their own.
//! - A panic in a turn sets its run aside; the others go on (see [`isolation`]).

mod isolation;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use cpd_core::Value;
use cpd_core::definition::plan::Plan;
use cpd_core::machine::{self, ActId, CallPhase, Command, Event, Input, Phase, Run, RunId, Turn, Wait, turn::Start};
use cpd_core::time::Timestamp;
use cpd_journal::record::v1;
use cpd_journal::{Batch, Chain, Entry, EntryBuilder, Lsn, Position, Receipt, StreamId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::child::{self, Child};
use crate::codec;
use crate::dispatch;
use crate::engine::{RunEnd, Shared};
use crate::error::Error;
use crate::index::{self, IndexUpdate, RunRow};
use crate::load::{self, Loaded};
use crate::observe::Watch;
use crate::publish;
use crate::snapshot;

use isolation::Aside;
pub(crate) use isolation::guarded;

/// A run whose next timer is further away than this, and that has nothing else to do, is put to sleep.
const SLEEP_AFTER: Duration = Duration::from_secs(10);
/// The longest that the shard sleeps while timers are pending: the wall clock may be set meanwhile.
const NAP_MAX: Duration = Duration::from_secs(10);
/// Messages taken in one go before their entries are handed to the writer.
const MESSAGES_MAX: usize = 1_024;

/// What a shard is told.
pub(crate) enum Message {
    /// Start a run.
    Start { id: RunId, plan: Arc<Plan>, start: Start, reply: Reply },
    /// Something from outside for a run.
    Input { run: RunId, input: Input, reply: Option<Reply> },
    /// Give an event to every run of this shard whose definition may want it.
    Event { event: Value, reply: oneshot::Sender<Vec<Delivery>> },
    /// Answer when the run has ended.
    Await { run: RunId, reply: oneshot::Sender<Result<RunEnd, Error>> },
    /// Fold a run with another version of its workflow, with which its first `events` events have been verified.
    Migrate { run: RunId, plan: Arc<Plan>, events: u64, actor: Arc<str>, reply: Reply },
    /// A copy of the run's state.
    Inspect { run: RunId, reply: oneshot::Sender<Result<Run, Error>> },
    /// A batch is durable, or the journal failed.
    Durable { runs: Vec<RunId>, result: Result<Vec<Receipt>, cpd_journal::Error> },
    /// Recovery: an open run that was there before.
    Adopt {
        run: RunId,
        last: Position,
        wake: Option<Timestamp>,
        load: bool,
        wait: Option<Wait>,
        listens: Option<Arc<Plan>>,
    },
    /// Why a run did not answer: because it was set aside, or for no reason that is known.
    Fate { run: RunId, reply: oneshot::Sender<Option<Error>> },
    /// The engine was dropped: end now.
    Leave,
    /// Stop when everything under way is durable.
    Stop { reply: oneshot::Sender<()> },
}

/// A run that an event is given to, and the answer when it has it.
pub(crate) type Delivery = (RunId, oneshot::Receiver<Result<(), Error>>);
pub(crate) type Reply = oneshot::Sender<Result<(), Error>>;
type Look = oneshot::Sender<Result<Run, Error>>;

/// Run ids carry 80 random bits: they need no further hashing.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        if let Some(tail) = bytes.last_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*tail);
        }
    }
    fn write_usize(&mut self, _len: usize) {}
}

pub(crate) type RunMap<T> = HashMap<RunId, T, BuildHasherDefault<IdHasher>>;

struct Slot {
    run: Run,
    chain: Chain,
    /// The number that comes after the last durable record.
    durable_seq: u64,
    unsynced: Option<Unsynced>,
    mailbox: VecDeque<(Input, Option<Reply>)>,
    waiters: Vec<oneshot::Sender<Result<RunEnd, Error>>>,
    calls: Vec<(ActId, u32, CancellationToken)>,
    /// The timer that is set for it.
    wake: Option<Timestamp>,
    /// How many events its last snapshot has.
    snapshot: u64,
    /// As what it is counted among the open runs.
    wait: Option<Wait>,
}

/// An entry under way, and what is held back until it is durable.
struct Unsynced {
    at: Timestamp,
    /// The number in the run that comes after the entry.
    end: u64,
    commands: Vec<Command>,
    events: Vec<Event>,
    reply: Option<Reply>,
    /// Of the start: the key under which the run is found.
    key: Option<[u8; 16]>,
    /// Who wants to see the state.
    looks: Vec<Look>,
}

/// What is left of a run that sleeps.
struct Sleeper {
    last: Position,
    wake: Option<Timestamp>,
    wait: Option<Wait>,
}

/// Tells the calls of a run to stop.
fn cancel_calls(slot: &mut Slot) {
    slot.calls.drain(..).for_each(|(_, _, token)| token.cancel());
}

pub(crate) struct Shard {
    shared: Arc<Shared>,
    tx: mpsc::UnboundedSender<Message>,
    slots: RunMap<Slot>,
    sleeping: RunMap<Sleeper>,
    /// Open runs whose definition has a `listen`.
    listeners: BTreeMap<RunId, Arc<Plan>>,
    timers: BinaryHeap<Reverse<(Timestamp, RunId)>>,
    entries: Vec<Entry>,
    entry_runs: Vec<RunId>,
    scratch: Vec<u8>,
    in_flight: usize,
    /// Runs in whose turns this program panicked.
    asides: RunMap<Aside>,
    /// A copy of the outcome whose turn is under way: a panic must not make it unknown.
    under_way: Option<Input>,
    stopping: Option<oneshot::Sender<()>>,
    leaving: bool,
    failed: Option<Error>,
}

impl Shard {
    pub(crate) fn new(shared: Arc<Shared>, tx: mpsc::UnboundedSender<Message>) -> Self {
        Self {
            shared,
            tx,
            slots: RunMap::default(),
            sleeping: RunMap::default(),
            listeners: BTreeMap::new(),
            timers: BinaryHeap::new(),
            entries: Vec::new(),
            entry_runs: Vec::new(),
            scratch: Vec::new(),
            in_flight: 0,
            asides: RunMap::default(),
            under_way: None,
            stopping: None,
            leaving: false,
            failed: None,
        }
    }

    /// Serves until told to stop, or until every sender is gone.
    pub(crate) async fn serve(mut self, mut rx: mpsc::UnboundedReceiver<Message>) {
        let mut messages = Vec::with_capacity(MESSAGES_MAX);
        loop {
            let nap = self.nap();
            let got = match nap {
                Some(nap) if nap.is_zero() => {
                    self.fire_timers();
                    self.submit();
                    messages.extend(rx.try_recv());
                    usize::from(!messages.is_empty())
                }
                Some(nap) => {
                    tokio::time::timeout(nap, rx.recv_many(&mut messages, MESSAGES_MAX)).await.unwrap_or(usize::MAX)
                }
                None => rx.recv_many(&mut messages, MESSAGES_MAX).await,
            };
            if got == 0 && nap.is_none_or(|n| !n.is_zero()) {
                return;
            }
            for message in messages.drain(..) {
                self.handle(message);
            }
            self.submit();
            if self.leaving {
                return;
            }
            if self.in_flight == 0
                && let Some(reply) = self.stopping.take()
            {
                self.slots.values_mut().for_each(cancel_calls);
                // Whoever asked may have gone: then there is nobody to tell.
                reply.send(()).ok();
                return;
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Start { id, plan, start, reply } => self.isolated(id, |s| s.start(id, plan, start, reply)),
            Message::Input { run, input, reply } => self.isolated(run, |s| s.input(run, input, reply)),
            Message::Await { run, reply } => self.isolated(run, |s| s.wait_for(run, reply)),
            Message::Inspect { run, reply } => self.isolated(run, |s| match s.wake_up(run) {
                // A state is an answer: it leaves when the entry behind it is durable.
                Ok(Slot { unsynced: Some(unsynced), .. }) => unsynced.looks.push(reply),
                Ok(slot) => drop(reply.send(Ok(slot.run.clone()))),
                Err(error) => drop(reply.send(Err(error))),
            }),
            Message::Migrate { run, plan, events, actor, reply } => {
                self.isolated(run, |s| s.migrate(run, plan, events, actor, reply));
            }
            Message::Durable { runs, result } => self.durable(runs, result),
            Message::Adopt { run, last, wake, load, wait, listens } => {
                if let Some(plan) = listens {
                    self.listeners.insert(run, plan);
                }
                self.isolated(run, |s| s.adopt(run, Sleeper { last, wake, wait }, load));
            }
            Message::Event { event, reply } => drop(reply.send(self.give(&event))),
            Message::Fate { run, reply } => drop(reply.send(self.aside(run))),
            Message::Leave => self.leaving = true,
            Message::Stop { reply } => self.stopping = Some(reply),
        }
    }

    // ---- turns ----------------------------------------------------------------------------------------------------

    fn start(&mut self, id: RunId, plan: Arc<Plan>, start: Start, reply: Reply) {
        if let Some(error) = self.refusal() {
            drop(reply.send(Err(error)));
            return;
        }
        let at = self.shared.clock.now();
        let key = start.key.as_ref().map(|key| index::start_key(&plan.qualified_name(), key));
        if plan.listens() {
            self.listeners.insert(id, plan.clone());
        }
        let begin = if self.shared.dispatching { machine::turn::start } else { machine::turn::start_only };
        let (run, turn) = begin(id, plan, start, &self.shared.env(at));
        #[cfg(test)]
        self.shared.hooks.before_turn(&run);
        let slot = Slot {
            run,
            chain: Chain::start(StreamId(id.0)),
            durable_seq: 1,
            unsynced: None,
            mailbox: VecDeque::new(),
            waiters: Vec::new(),
            calls: Vec::new(),
            wake: None,
            snapshot: 0,
            wait: None,
        };
        self.slots.insert(id, slot);
        self.journal(id, turn, at, Some(reply));
        if let Some(unsynced) = self.slots.get_mut(&id).and_then(|slot| slot.unsynced.as_mut()) {
            unsynced.key = key;
        }
    }

    fn input(&mut self, id: RunId, input: Input, reply: Option<Reply>) {
        // What comes back from the world is taken to the last: an outcome that is known must not become unknown.
        let refused = if reply.is_some() { self.refusal() } else { self.failed.clone() };
        if let Some(error) = refused {
            if let Some(reply) = reply {
                drop(reply.send(Err(error)));
            }
            return;
        }
        let slot = match self.still_taken(id, &input).and_then(|()| self.wake_up(id)) {
            Ok(slot) => slot,
            Err(error) => {
                if let Some(reply) = reply {
                    drop(reply.send(Err(error)));
                }
                return;
            }
        };
        if slot.unsynced.is_some() {
            slot.mailbox.push_back((input, reply));
            return;
        }
        let at = self.shared.clock.now();
        let shared = self.shared.clone();
        let slot = self.slots.get_mut(&id).expect("it was woken above");
        let env = shared.env(at);
        let turn = if shared.dispatching && !self.asides.contains_key(&id) {
            if matches!(input, Input::Outcome { .. } | Input::Reconciled { .. }) {
                self.under_way = Some(input.clone());
            }
            #[cfg(test)]
            shared.hooks.before_turn(&slot.run);
            slot.run.turn(input, &env)
        } else {
            slot.run.take(input, &env)
        };
        match turn {
            Ok(turn) if turn.events.is_empty() => {
                if let Some(reply) = reply {
                    drop(reply.send(Ok(())));
                }
                self.rest(id);
            }
            Ok(turn) => self.journal(id, turn, at, reply),
            Err(rejected) => {
                if let Some(reply) = reply {
                    drop(reply.send(Err(Error::Rejected(rejected))));
                }
                self.rest(id);
            }
        }
    }

    /// Goes on with a run under another plan, which leads to the same state from the same history.
    fn migrate(&mut self, id: RunId, plan: Arc<Plan>, events: u64, actor: Arc<str>, reply: Reply) {
        let shared = self.shared.clone();
        let at = shared.clock.now();
        let moved = self.refusal().map_or(Ok(()), Err).and_then(|()| self.wake_up(id)).and_then(|slot| {
            if slot.unsynced.is_some() || slot.run.events != events {
                let why = "it has gone on meanwhile; try again when it waits".to_owned();
                return Err(Error::NoMigration { run: id, version: plan.version.to_string(), why });
            }
            let mut run = load::folded_with(&shared, id, slot.chain.last(), plan.digest)?;
            let event = Event::RunMigrated { plan: plan.digest, version: plan.version.clone(), actor };
            run.apply(&event, at, &mut Vec::new())
                .map_err(|misfit| Error::Unfoldable { run: id, detail: misfit.to_string() })?;
            slot.run = run;
            // A snapshot of it under the old plan does not count any more.
            slot.snapshot = 0;
            Ok(event)
        });
        match moved {
            Ok(event) => {
                self.listeners.remove(&id);
                if plan.listens() {
                    self.listeners.insert(id, plan);
                }
                self.journal(id, Turn { events: vec![event], commands: Vec::new() }, at, Some(reply));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Gives an event to every run whose definition may want it.
    fn give(&mut self, event: &Value) -> Vec<Delivery> {
        let wanting = self.listeners.iter().filter(|(_, plan)| plan.may_want(event));
        let runs: Vec<RunId> = wanting.map(|(id, _)| *id).collect();
        let deliver = |id| {
            let (reply, done) = oneshot::channel();
            self.isolated(id, |s| s.input(id, Input::Event(event.clone()), Some(reply)));
            (id, done)
        };
        runs.into_iter().map(deliver).collect()
    }

    /// Makes one entry of a turn and puts it into the batch.
    fn journal(&mut self, id: RunId, turn: Turn, at: Timestamp, reply: Option<Reply>) {
        let slot = self.slots.get_mut(&id).expect("a run that had a turn is there");
        let mut builder = EntryBuilder::new(&slot.chain, at.as_micros());
        for event in &turn.events {
            self.scratch.clear();
            let kind = codec::encode(event, &mut self.scratch, &self.shared.payloads);
            builder.push(kind.0, v1::VERSION, &self.scratch);
        }
        let (entry, chain) = match builder.finish() {
            Ok(built) => built,
            Err(error) => return self.too_large(id, error.into(), reply),
        };
        let end = chain.next_seq();
        slot.chain = chain;
        let events = if self.shared.observer.is_some() { turn.events } else { Vec::new() };
        slot.unsynced =
            Some(Unsynced { at, end, commands: turn.commands, events, reply, key: None, looks: Vec::new() });
        self.entries.push(entry);
        self.entry_runs.push(id);
        self.in_flight += 1;
    }

    /// An entry that no journal takes: the state is ahead of what can be written, so it is given up and folded again, and the
    /// run is cancelled with the reason.
    fn too_large(&mut self, id: RunId, error: Error, reply: Option<Reply>) {
        tracing::error!(run = %id, error = %error, "a turn of a run cannot be journaled");
        let slot = self.slots.remove(&id);
        if let Some(reply) = reply {
            drop(reply.send(Err(error.clone())));
        }
        let Some(slot) = slot else { return };
        for waiter in slot.waiters {
            drop(waiter.send(Err(error.clone())));
        }
        for (_, reply) in slot.mailbox {
            if let Some(reply) = reply {
                drop(reply.send(Err(error.clone())));
            }
        }
        let last = slot.chain.last();
        if last == Position::NONE {
            return;
        }
        self.sleeping.insert(id, Sleeper { last, wake: None, wait: slot.wait });
        let reason = format!("a turn of it is too large for the journal: {error}");
        self.input(id, Input::Cancel { actor: Arc::from("engine"), reason: Arc::from(reason) }, None);
    }

    /// Hands the gathered entries to the writer.
    fn submit(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.entries);
        let runs = std::mem::take(&mut self.entry_runs);
        let tx = self.tx.clone();
        self.shared.writer.submit(Batch {
            entries,
            // If the shard is gone the engine was dropped: the entries are durable, and nobody waits.
            done: Box::new(move |result| drop(tx.send(Message::Durable { runs, result }))),
        });
    }

    // ---- release --------------------------------------------------------------------------------------------------

    fn durable(&mut self, runs: Vec<RunId>, result: Result<Vec<Receipt>, cpd_journal::Error>) {
        self.in_flight -= runs.len();
        let receipts = match result {
            Ok(receipts) => receipts,
            Err(error) => return self.fail(&runs, &Error::from(error)),
        };
        let (mut rows, mut held) = (Vec::with_capacity(runs.len()), Vec::with_capacity(runs.len()));
        let (mut keys, mut ended) = (Vec::new(), Vec::new());
        let first = receipts.first().map(|r| r.lsn);
        let mut next = first;
        for (id, receipt) in runs.into_iter().zip(receipts) {
            let slot = self.slots.get_mut(&id).expect("a run with an entry under way is there");
            let before = slot.durable_seq;
            let unsynced = slot.unsynced.take().expect("an entry was under way");
            slot.durable_seq = unsynced.end;
            let wait = slot.run.wait();
            self.shared.census.moved(slot.wait, wait);
            slot.wait = wait;
            next = Some(Lsn(receipt.lsn.0 + (unsynced.end - before)));
            rows.push((id, RunRow::of(&slot.run, unsynced.at, receipt.position)));
            keys.extend(unsynced.key.map(|key| (key, id)));
            let events = slot.run.events;
            if !slot.run.is_open() {
                ended.extend((events >= snapshot::EVERY).then_some(id));
            } else if events >= slot.snapshot + snapshot::EVERY {
                slot.snapshot = events;
                let source =
                    snapshot::Source { run: slot.run.clone(), seq: unsynced.end - 1, digest: slot.chain.digest() };
                self.shared.indexer.snapshot(source);
            }
            held.push((id, before, unsynced));
        }
        // Before anybody is answered: who then asks the index, after a flush, finds what was answered.
        if let Some((first, end)) = first.zip(next) {
            self.shared.indexer.update(IndexUpdate { first, end, rows, keys, ended });
        }
        for (id, before, unsynced) in held {
            self.isolated(id, |shard| shard.release(id, before, unsynced));
        }
    }

    /// Lets go of what was held back until the entry was durable.
    fn release(&mut self, id: RunId, before: u64, unsynced: Unsynced) {
        let Unsynced { at, commands, events, reply, looks, .. } = unsynced;
        if let Some(reply) = reply {
            drop(reply.send(Ok(())));
        }
        if let Some(slot) = self.slots.get(&id) {
            looks.into_iter().for_each(|look| drop(look.send(Ok(slot.run.clone()))));
        }
        if let Some(observer) = &self.shared.observer
            && let Some(slot) = self.slots.get(&id)
            && let Err(panic) = guarded(|| observer.observe(&slot.run, at, before, &events))
        {
            tracing::error!(run = %id, panic = %panic, "the observer panicked; the run goes on");
        }
        for command in commands {
            self.perform(id, command, at);
        }
        self.go_on(id);
    }

    /// The journal failed: nothing is released, everybody who waits is told, nothing more is taken.
    fn fail(&mut self, runs: &[RunId], error: &Error) {
        self.failed = Some(error.clone());
        for id in runs {
            let Some(slot) = self.slots.get_mut(id) else { continue };
            if let Some(reply) = slot.unsynced.take().and_then(|u| u.reply) {
                drop(reply.send(Err(error.clone())));
            }
        }
        for (_, mut slot) in self.slots.drain() {
            for waiter in slot.waiters.drain(..) {
                drop(waiter.send(Err(error.clone())));
            }
            for reply in slot.mailbox.drain(..).filter_map(|(_, reply)| reply) {
                drop(reply.send(Err(error.clone())));
            }
            cancel_calls(&mut slot);
        }
    }

    /// Does what was decided at `at`, now that it is durable.
    fn perform(&mut self, id: RunId, command: Command, at: Timestamp) {
        let slot = self.slots.get_mut(&id).expect("a run that has commands is there");
        match command {
            Command::Call { act, attempt } | Command::Reconcile { act, attempt } => {
                let reconcile = matches!(command, Command::Reconcile { .. });
                if !self.shared.dispatching {
                    return;
                }
                let Some(call) = slot.run.call(act) else { return };
                let token = CancellationToken::new();
                let request = dispatch::request(&self.shared, &slot.run, act, &call, token.clone());
                let sealed = dispatch::sealed(&slot.run, &call);
                let watch = Watch::of(&self.shared, &slot.run, &request, reconcile, at);
                let tx = self.tx.clone();
                if &*request.operation == child::OPERATION {
                    let input = slot.run.act(act).map(|a| a.input.clone()).unwrap_or_default();
                    let child = Child::of(&slot.run, &request.key, input);
                    slot.calls.push((act, attempt, token));
                    let shared = self.shared.clone();
                    self.shared.tracker.spawn(async move {
                        // The other run may be one that recovery has still to hand over.
                        let engine = shared.engine.wait().await.clone();
                        drop(shared);
                        if let Some(outcome) = child.perform(engine, request).await {
                            let input = Input::Outcome { act, attempt, outcome };
                            watch.into_iter().for_each(|watch| watch.ended(&input));
                            drop(tx.send(Message::Input { run: id, input, reply: None }));
                        }
                    });
                    return;
                }
                match dispatch::perform(&self.shared, request, sealed, reconcile, (act, attempt), watch) {
                    dispatch::Performed::Now(input) => {
                        // The outcome is an input like any other, only sooner.
                        slot.mailbox.push_back((input, None));
                    }
                    dispatch::Performed::Later(future) => {
                        slot.calls.push((act, attempt, token));
                        let call = dispatch::InFlight::new(future, self.shared.clone());
                        self.shared.tracker.spawn(call.outcome(move |input| {
                            drop(tx.send(Message::Input { run: id, input, reply: None }));
                        }));
                    }
                }
            }
            Command::Publish { act } => {
                let Some(event) = slot.run.publication(act).cloned() else { return };
                if !self.shared.dispatching {
                    return;
                }
                let Some(shards) = self.shared.router.get().cloned() else { return };
                self.shared.tracker.spawn(async move {
                    // Whoever could not take it down has failed as a whole: the next process publishes it again, and whoever
                    // has it already does not take it twice.
                    if publish::publish(&shards, event).await.is_ok() {
                        // Unless the engine has ended.
                        drop(shards.send(id, Message::Input { run: id, input: Input::Published { act }, reply: None }));
                    }
                });
            }
            Command::CancelCall { act, attempt, .. } => {
                slot.calls.retain(|(a, n, token)| {
                    let this = *a == act && *n == attempt;
                    if this {
                        token.cancel();
                    }
                    !this
                });
            }
        }
    }

    /// What a run does after an entry of it is durable.
    fn go_on(&mut self, id: RunId) {
        let slot = self.slots.get_mut(&id).expect("it was there a line above");
        if let Some((input, reply)) = slot.mailbox.pop_front() {
            self.input(id, input, reply);
        } else if slot.run.has_more() && self.shared.dispatching && !self.asides.contains_key(&id) {
            self.input(id, Input::Continue, None);
        } else {
            self.rest(id);
        }
    }

    /// A run has nothing to do now: answer who waits for its end, set its timer, or put it to sleep.
    fn rest(&mut self, id: RunId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.unsynced.is_some() {
            return;
        }
        if let Some((input, reply)) = slot.mailbox.pop_front() {
            return self.input(id, input, reply);
        }
        if !slot.run.is_open() {
            let end = RunEnd::of(&slot.run);
            for waiter in slot.waiters.drain(..) {
                drop(waiter.send(Ok(end.clone())));
            }
            self.listeners.remove(&id);
            if slot.run.abandoned.is_empty() {
                self.slots.remove(&id);
            }
            return;
        }
        debug_assert!(!slot.run.wake_sources().is_empty(), "run {id} stalls");
        let aside = self.asides.contains_key(&id);
        let wake = if aside { None } else { slot.run.next_wake() };
        let busy = slot.run.calls().any(|(_, c)| matches!(c.phase, CallPhase::InFlight | CallPhase::Reconciling(_)));
        if let Some(at) = wake
            && wake != slot.wake
        {
            self.timers.push(Reverse((at, id)));
        }
        slot.wake = wake;
        let far = wake.is_none_or(|at| at.since(self.shared.clock.now()) > SLEEP_AFTER);
        if far && !busy && slot.waiters.is_empty() && (aside || !slot.run.has_more()) {
            let (last, wait) = (slot.chain.last(), slot.wait);
            self.slots.remove(&id);
            self.sleeping.insert(id, Sleeper { last, wake, wait });
        }
    }

    // ---- sleep and wake -------------------------------------------------------------------------------------------

    /// The slot of a run, folded from the journal again if it sleeps.
    fn wake_up(&mut self, id: RunId) -> Result<&mut Slot, Error> {
        if let Some(aside) = self.asides.get(&id).filter(|aside| aside.lost) {
            return Err(aside.error(id));
        }
        if let Some(sleeper) = self.sleeping.get(&id) {
            let Loaded { run, chain, snapshot } = load::run(&self.shared, id, sleeper.last)?;
            let (wake, wait) = (sleeper.wake, sleeper.wait);
            self.sleeping.remove(&id);
            let slot = Slot {
                run,
                durable_seq: chain.next_seq(),
                chain,
                unsynced: None,
                mailbox: VecDeque::new(),
                waiters: Vec::new(),
                calls: Vec::new(),
                wake,
                snapshot,
                wait,
            };
            self.slots.insert(id, slot);
        }
        self.slots.get_mut(&id).ok_or(Error::NoOpenRun { run: id })
    }

    fn adopt(&mut self, id: RunId, sleeper: Sleeper, load: bool) {
        let wake = sleeper.wake;
        self.shared.census.moved(None, sleeper.wait);
        self.sleeping.insert(id, sleeper);
        if let Some(at) = wake {
            self.timers.push(Reverse((at, id)));
        }
        if !load {
            return;
        }
        let dispatching = self.shared.dispatching;
        let slot = match self.wake_up(id) {
            Ok(slot) => slot,
            Err(error) => {
                tracing::error!(run = %id, error = %error, "a run cannot be recovered; it stays as it is");
                let lost = self.sleeping.remove(&id);
                self.shared.census.moved(lost.and_then(|sleeper| sleeper.wait), None);
                return;
            }
        };
        slot.wake = None;
        let wait = slot.run.wait();
        let before = std::mem::replace(&mut slot.wait, wait);
        let interrupted: Vec<Input> = slot
            .run
            .calls()
            .filter(|(_, c)| matches!(c.phase, CallPhase::InFlight | CallPhase::Reconciling(_)))
            .map(|(act, c)| Input::Interrupted { act: act.id, attempt: c.attempt })
            .collect();
        if dispatching {
            slot.mailbox.extend(interrupted.into_iter().map(|input| (input, None)));
        }
        // Calls that were given up before the crash have no outcome and never will.
        slot.run.abandoned.clear();
        self.shared.census.moved(before, wait);
        let slot = self.slots.get_mut(&id).expect("it was there a line above");
        let publications: Vec<ActId> = slot.run.publications().collect();
        let (idle, more) = (slot.mailbox.is_empty(), slot.run.has_more());
        let now = self.shared.clock.now();
        for act in publications {
            self.perform(id, Command::Publish { act }, now);
        }
        if idle && more && dispatching {
            return self.input(id, Input::Continue, None);
        }
        self.rest(id);
    }

    fn wait_for(&mut self, id: RunId, reply: oneshot::Sender<Result<RunEnd, Error>>) {
        let aside = self.aside(id);
        match self.wake_up(id) {
            // It may still have been cancelled after it was set aside.
            Ok(slot)
                if slot.run.is_open()
                    && let Some(error) = aside =>
            {
                drop(reply.send(Err(error)))
            }
            Ok(slot) if slot.run.is_open() || slot.unsynced.is_some() => slot.waiters.push(reply),
            Ok(slot) => drop(reply.send(Ok(RunEnd::of(&slot.run)))),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    // ---- timers ---------------------------------------------------------------------------------------------------

    /// How long until the next timer; `None` if there is none.
    fn nap(&self) -> Option<Duration> {
        let Reverse((at, _)) = self.timers.peek()?;
        if !self.shared.dispatching {
            return None;
        }
        Some(self.shared.clock.lasts(at.since(self.shared.clock.now())).min(NAP_MAX))
    }

    fn fire_timers(&mut self) {
        let now = self.shared.clock.now();
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let due = match (self.slots.get(&id), self.sleeping.get(&id)) {
                (Some(slot), _) => slot.run.phase == Phase::Running && slot.wake == Some(at),
                (None, Some(sleeper)) => sleeper.wake == Some(at),
                (None, None) => false,
            };
            if due {
                if let Some(observer) = &self.shared.observer {
                    observer.fired(now.since(at));
                }
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.wake = None;
                }
                self.isolated(id, |shard| shard.input(id, Input::Tick, None));
            }
        }
    }

    fn refusal(&self) -> Option<Error> {
        self.failed.clone().or_else(|| self.stopping.is_some().then_some(Error::Stopping))
    }
}
