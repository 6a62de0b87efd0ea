//! Drift of data.

pub mod stats;
