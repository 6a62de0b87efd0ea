//! Agents as operations.
pub mod template;
