//! The next segment, filled with zeros while the current one is in use.
//!
//! Overwriting blocks that exist is faster to sync than growing a file, but filling takes time. So one thread prepares a *spare*: a file of its
//! own, so that no two threads ever write the same one. The log asks for it when a segment is half full and takes it when the segment is full. If it
//! is not ready then, because records come in faster than zeros can be written, the log begins a segment that grows: at such rates a sync is shared by
//! so many entries that growing costs nothing that could be measured.
//!
//! The zeros go out in pieces with a sync each, so that the syncs of the log beside it do not queue behind 64 MiB.
//!
//! A spare is room that records may need: when there is none left for them, it is given up, and none is asked for again in this segment.
//!
//! The thread never touches a segment; it may fail or find no room, and nothing depends on it.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::files::{File, Files, Mode};
use crate::recover::SPARE_NAME;

/// How much is written between two syncs.
const PIECE_BYTES: usize = 128 << 10;

/// A file of zeros under [`SPARE_NAME`].
pub(crate) struct Spare {
    pub(crate) file: Box<dyn File>,
    pub(crate) bytes: u64,
}

enum State {
    Idle,
    Wanted(u64),
    Filling,
    /// It is being filled, and is not wanted any more.
    Unwanted,
    Ready(Spare),
    Stopped,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The thread that fills spares.
pub(crate) struct Filler {
    shared: Arc<Shared>,
    files: Arc<dyn Files>,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    /// Starts the thread.
    pub(crate) fn start(files: Arc<dyn Files>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::Idle), changed: Condvar::new() });
        let (theirs, their_files) = (Arc::clone(&shared), Arc::clone(&files));
        let thread =
            std::thread::Builder::new().name("journal-spare".into()).spawn(move || fill(&theirs, &*their_files))?;
        Ok(Self { shared, files, thread: Some(thread) })
    }

    /// Asks for a spare of this size, unless one is there or on its way.
    pub(crate) fn want(&self, bytes: u64) {
        let mut state = self.shared.state.lock();
        if matches!(*state, State::Idle) {
            *state = State::Wanted(bytes);
            self.shared.changed.notify_one();
        }
    }

    /// Takes the spare if it is ready. The file still has its name; the next spare is asked for only after it was renamed.
    pub(crate) fn take(&self) -> Option<Spare> {
        let mut state = self.shared.state.lock();
        match std::mem::replace(&mut *state, State::Idle) {
            State::Ready(spare) => Some(spare),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Gives back the room that a spare takes, finished or not, and returns whether there was one. Waits for the thread to stop filling it: for
    /// one piece at most.
    pub(crate) fn give_up(&self) -> bool {
        let mut state = self.shared.state.lock();
        match std::mem::replace(&mut *state, State::Idle) {
            State::Ready(spare) => {
                drop(spare);
                self.files.remove(SPARE_NAME).is_ok()
            }
            State::Filling | State::Unwanted => {
                *state = State::Unwanted;
                self.shared.changed.notify_one();
                while matches!(*state, State::Unwanted) {
                    self.shared.changed.wait(&mut state);
                }
                true
            }
            // One that was taken stays under its name if there was no room to make a segment of it.
            State::Idle | State::Wanted(_) => self.files.remove(SPARE_NAME).is_ok(),
            State::Stopped => {
                *state = State::Stopped;
                false
            }
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        *self.shared.state.lock() = State::Stopped;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed, and a spare is not worth another one.
            drop(thread.join());
        }
        // A spare that stays is removed at the next start.
        drop(self.files.remove(SPARE_NAME));
    }
}

fn fill(shared: &Shared, files: &dyn Files) {
    loop {
        let mut state = shared.state.lock();
        let bytes = loop {
            match *state {
                State::Wanted(bytes) => break bytes,
                State::Stopped => return,
                State::Idle | State::Filling | State::Unwanted | State::Ready(_) => shared.changed.wait(&mut state),
            }
        };
        *state = State::Filling;
        drop(state);
        let outcome = make(shared, files, bytes);
        let mut state = shared.state.lock();
        if matches!(*state, State::Stopped) {
            return;
        }
        let wanted = !matches!(*state, State::Unwanted);
        *state = match outcome {
            Ok(Some(file)) if wanted => State::Ready(Spare { file, bytes }),
            Ok(_) | Err(_) => {
                // No room, most likely: what was filled would only be in the way of records.
                drop(files.remove(SPARE_NAME));
                State::Idle
            }
        };
        shared.changed.notify_all();
    }
}

/// Returns the file, or none if it is not wanted any more.
fn make(shared: &Shared, files: &dyn Files, bytes: u64) -> std::io::Result<Option<Box<dyn File>>> {
    let file = files.open(SPARE_NAME, Mode::Create)?;
    let zeros = vec![0; PIECE_BYTES];
    let mut filled = 0;
    while filled < bytes {
        if matches!(*shared.state.lock(), State::Stopped | State::Unwanted) {
            return Ok(None);
        }
        let piece = &zeros[..(bytes - filled).min(PIECE_BYTES as u64) as usize];
        file.write_all_at(piece, filled)?;
        file.sync_data()?;
        filled += piece.len() as u64;
    }
    Ok(Some(file))
}
