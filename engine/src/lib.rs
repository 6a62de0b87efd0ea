//! The durable engine of `cpd`.
//!
//! ```text
//!   Engine ─ start, inputs ─→ shards ─ entries ─→ writer (one sync per group) ─→ journal
//!      ↑                        │  ↑ durable          │
//!      └── answers ─────────────┘  └──────────────────┘
//!                               └─ calls ─→ connectors ─ outcomes ─→ shards
//! ```
//!
//! - [`Engine`]: opens a data directory, registers definitions, starts runs; [`RunHandle`] awaits and operates them.
//! - [`view::View`]: looks at a data directory without owning it.
//! - [`replay`]: rebuilds every state of a run without effects and compares every decision.
//! - [`control`]: tokens, and who administered what.
//! - [`operation`]: makes connectors of async closures, for services that embed the engine.
//!
//! What each module promises stands at its top. This crate names no connector, no HTTP server and no argument parser.

// What tests share with those in `tests/` names this crate from outside.
#[cfg(test)]
extern crate self as cpd_engine;

mod approvals;
mod aside;
mod child;
mod clock;
mod codec;
pub mod control;
mod dispatch;
mod drawn;
mod engine;
mod entropy;
mod error;
mod fork;
mod history;
mod index;
mod keys;
mod load;
mod migrate;
mod observe;
pub mod operation;
mod publish;
mod recovery;
mod registry;
pub mod replay;
mod shard;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod view;

pub use approvals::OpenApproval;
pub use clock::{Clock, SimClock, SystemClock, stopwatch};
pub use codec::DecodeError;
pub use engine::{Builder, DataLimits, Engine, RunEnd, RunHandle, Starting};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use error::Error;
pub use fork::From as ForkFrom;
pub use history::{History, HistoryEntry, Logged, RawRecord};
pub use index::{RowPhase, RunRow};
pub use migrate::Migrated;
pub use observe::{Called, EngineStatus, Observer};
pub use publish::Published;
pub use recovery::Summary;
pub use registry::{Agent, Registration, Registry, Workflow};

/// The guide for services that embed the engine; its code is run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub struct EmbeddingGuide;
