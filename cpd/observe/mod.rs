//! What an operator sees of `cpd`: metrics.
//!
//! ```text
//! engine ─ entries, calls, timers, groups ─→ Metrics (atomics) ─┐
//!        └ status: open runs, journal, disk ────────────────────┴─→ render → OpenMetrics text
//! ```
//!
//! [`Metrics::observer`] goes to [`cpd_engine::Builder::observer`]; whoever serves `/metrics` answers with
//! [`Metrics::render`] as [`metrics::CONTENT_TYPE`]. `docs/operations/metrics.md` says what each metric means.

mod bounded;
mod catalogue;
mod histogram;
pub mod metrics;

pub use catalogue::{CATALOGUE, Described};
pub use metrics::Metrics;
