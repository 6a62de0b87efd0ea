//! The journal: what `cpd` knows, and what it can prove.
//!
//! State is a fold over a journal, so the journal is all there is to keep. This crate keeps it: records of *streams* (a run each, and control
//! streams), in one append-only log with a checksum on every frame and a chain of digests along every stream.
//!
//! - [`Chain`] and [`EntryBuilder`] make entries, on the thread that owns a stream.
//! - [`Log`] writes them; [`Writer`] does so for many callers, with one sync for all that are waiting.
//! - [`Reader`] reads one frame, everything from a record on, or the history of one stream.
//! - [`verify`](verify()) proves a journal whole, or says what is lost; [`transfer`] takes it out as text and in again.
//! - [`index`] is what can be looked up faster than by reading, and rebuilt by reading.
//! - [`record`] says what records say: frozen structs, one for each kind and version.
//! - [`payloads`] keeps large documents once, by content.
//! - [`codec`] turns structs into payloads.
//! - [`DirLock`] keeps a second process away; [`files`] keeps the operating system away, in tests.
//!
//! `docs/JOURNAL-FORMAT.md` draws the bytes. This crate does not know what a record means and never decides anything.

mod chain;
pub mod codec;
mod error;
pub mod files;
pub mod format;
mod history;
mod ids;
pub mod index;
mod lock;
mod log;
mod mark;
pub mod payloads;
mod reader;
pub mod record;
mod recover;
mod scan;
mod spare;
mod stored;
pub mod transfer;
mod verify;
mod walk;
mod writer;

pub use chain::{Chain, DIGEST_DOMAIN, Entry, EntryBuilder, digest};
pub use error::{Damage, Error, Result};
pub use ids::{Digest, Lsn, NotHex, Position, StreamId};
pub use lock::{DirLock, Held, LockError};
pub use log::{BATCH_BYTES_MAX, Log, Options, Receipt, Recovered};
pub use mark::{Mark, MarkState};
pub use reader::{Reader, SegmentSummary};
pub use recover::{Cut, OnLoss};
pub use scan::{Cursor, Scan};
pub use stored::{Record, StoredEntry};
pub use verify::{Finding, Report, verify, verify_files};
pub use writer::{Batch, Done, Group, Hook, OnGroup, Stats as WriterStats, Status, Writer, WriterOptions};
