//! Connectors.

pub mod drift;
