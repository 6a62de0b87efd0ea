//! A panic is a bug in this program, and stays with the run in which it was met.
//!
//! 1. Whatever a shard does for one run it does inside of [`Shard::isolated`].
//! 2. If that panics, the run is *set aside*: what was made of its state since the last durable entry is given up, and the
//!    state is folded again from the journal. Whoever waits for its end is told.
//! 3. From then on the run is treated as by a process that calls nobody: outcomes that still come in, also the one whose
//!    turn panicked, are recorded, and so is what an operator says; nothing more is decided and no timer fires.
//! 4. If even that panics, the run takes nothing any more (*lost*). Its records are as they were.
//! 5. The next process tries again.
//!
//! What is shared between runs cannot be left half-changed: the lists of a shard are only changed by calls that do not
//! panic (a push, an insert, a removal), and the entry of a turn comes into the batch as the last thing that its turn does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cpd_core::machine::{Input, RunId};
use cpd_journal::Position;

use super::{Shard, Sleeper, cancel_calls};
use crate::error::Error;
use crate::load::{self, Loaded};

/// A run whose turn panicked.
pub(super) struct Aside {
    /// What the panic said.
    pub detail: Arc<str>,
    /// It panicked again when its record was folded or an outcome recorded: it takes nothing more in this process.
    pub lost: bool,
}

impl Aside {
    pub(super) fn error(&self, run: RunId) -> Error {
        Error::SetAside { run, detail: self.detail.clone() }
    }
}

/// Does something that may panic, and says what the panic said.
pub(crate) fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| text(panic.as_ref()))
}

/// The words of a panic, in one line and of bounded length.
fn text(panic: &(dyn Any + Send)) -> Arc<str> {
    const CHARS_MAX: usize = 500;
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a panic without a message");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_MAX).collect::<String>().into()
}

impl Shard {
    /// Does something for one run. If it panics, the run is set aside, and the others go on.
    pub(super) fn isolated(&mut self, id: RunId, act: impl FnOnce(&mut Self)) {
        self.under_way = None;
        if let Err(detail) = guarded(|| act(self)) {
            self.set_aside(id, detail);
        }
    }

    /// Why a run is set aside, if it is.
    pub(super) fn aside(&self, id: RunId) -> Option<Error> {
        self.asides.get(&id).map(|aside| aside.error(id))
    }

    fn set_aside(&mut self, id: RunId, detail: Arc<str>) {
        let again = self.asides.contains_key(&id);
        tracing::error!(run = %id, panic = %detail, again, "a bug in this program stopped a run; it is set aside until the next start");
        let outcome = self.under_way.take().filter(|_| !again);
        let aside = self.asides.entry(id).or_insert(Aside { detail, lost: again });
        aside.lost = again;
        let (error, detail) = (aside.error(id), aside.detail.clone());
        if let Some(slot) = self.slots.get_mut(&id) {
            for waiter in slot.waiters.drain(..) {
                drop(waiter.send(Err(error.clone())));
            }
            if slot.unsynced.is_some() {
                // The panic had nothing to do with the entry under way: it is written, and then the run comes to rest.
                slot.mailbox.extend(outcome.map(|input| (input, None)));
                self.shared.asides.note(id, self.shared.clock.now(), &detail);
                return;
            }
        }
        let last = match (self.slots.get(&id), self.sleeping.get(&id)) {
            (Some(slot), _) => slot.chain.last(),
            (None, Some(sleeper)) => sleeper.last,
            (None, None) => Position::NONE,
        };
        if last == Position::NONE {
            // Its start was not recorded: there is no such run, but whoever asked for it is told why.
            self.slots.remove(&id);
            return;
        }
        self.shared.asides.note(id, self.shared.clock.now(), &detail);
        if again {
            self.lose(id, last, &error);
            return;
        }
        match guarded(|| load::whole(&self.shared, id, last)) {
            Ok(Ok(Loaded { run, chain, snapshot })) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.durable_seq = chain.next_seq();
                    (slot.run, slot.chain, slot.snapshot, slot.wake) = (run, chain, snapshot, None);
                    slot.mailbox.extend(outcome.map(|input| (input, None)));
                } else {
                    let wait = self.sleeping.get(&id).and_then(|sleeper| sleeper.wait);
                    self.sleeping.insert(id, Sleeper { last, wake: None, wait });
                }
                // A panic in here comes back once, as the second one, which ends it.
                self.isolated(id, |shard| shard.rest(id));
            }
            Ok(Err(_)) | Err(_) => {
                self.asides.entry(id).and_modify(|aside| aside.lost = true);
                self.lose(id, last, &error);
            }
        }
    }

    /// A run that takes nothing more in this process.
    fn lose(&mut self, id: RunId, last: Position, error: &Error) {
        let mut wait = self.sleeping.get(&id).and_then(|sleeper| sleeper.wait);
        if let Some(mut slot) = self.slots.remove(&id) {
            wait = slot.wait;
            cancel_calls(&mut slot);
            for reply in slot.mailbox.into_iter().filter_map(|(_, reply)| reply) {
                drop(reply.send(Err(error.clone())));
            }
        }
        self.sleeping.insert(id, Sleeper { last, wake: None, wait });
    }

    /// What a run that is set aside does with an input.
    pub(super) fn still_taken(&self, id: RunId, input: &Input) -> Result<(), Error> {
        let Some(aside) = self.asides.get(&id) else { return Ok(()) };
        match input {
            _ if aside.lost => Err(aside.error(id)),
            Input::Tick | Input::Continue | Input::Interrupted { .. } => Err(aside.error(id)),
            Input::Outcome { .. }
            | Input::Reconciled { .. }
            | Input::Cancel { .. }
            | Input::Pause { .. }
            | Input::Resume { .. }
            | Input::Event(_)
            | Input::Published { .. }
            | Input::Vote { .. }
            | Input::Delegate { .. }
            | Input::Resolve { .. } => Ok(()),
        }
    }
}
