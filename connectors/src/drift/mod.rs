//! Drift of data.

pub mod source;
pub mod stats;
