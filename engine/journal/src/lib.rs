//! The journal of `cpd`: an append-only, chained, group-committed log, and indexes over it.
//!
//! - [`EntryBuilder`], [`Chain`]: entries and the digests that prove a stream complete.
//! - [`Log`], [`Writer`]: segments on disk, recovery of the tail, one sync per group.
//! - [`Reader`]: by position, by stream, front to back.
//! - [`record`], [`codec`]: what records say, frozen.
//! - [`index`]: ordered stores over the log that can be dropped and made again.
//! - [`verify`]: every checksum, every number, every link of every chain.
//! - [`files`]: the file layer below.
//!
//! The log is the truth. This crate never decides anything and knows nothing of workflows.

mod chain;
pub mod codec;
mod error;
pub mod files;
mod format;
pub mod index;
mod lock;
mod log;
mod reader;
pub mod record;
mod segment;
pub mod verify;
mod writer;

pub use chain::{Chain, Digest, Entry, EntryBuilder, Lsn, Position, RecordRef, StoredEntry, StreamId, record_digest};
pub use error::Error;
pub use format::BODY_MAX;
pub use lock::DirLock;
pub use log::{Log, Options, Receipt, Recovered, Torn};
pub use reader::{Reader, Scan};
pub use writer::{Batch, Status, Writer};
