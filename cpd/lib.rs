//! The `cpd` daemon and command line: the only place where engine, connectors and people are wired together.
//!
//! - [`cli`]: the commands.
//! - [`config`]: where the outside world is, from `cpd.toml` and the environment.
//! - [`door`]: who may do what.
//! - [`lint`]: one document looked at in full.
//! - [`observe`]: metrics of a running engine.
//! - [`schema`]: JSON Schemas of what people write.
//! - [`secrets`]: secrets by name, from the environment and from files.
//! - [`serve`]: the daemon and its HTTP API.
//! - [`wiring`]: connectors from a configuration, an engine from a data directory.
//! - [`exit`]: what exit codes mean.

pub mod cli;
pub mod config;
pub mod door;
pub mod exit;
pub mod lint;
pub mod observe;
pub mod schema;
pub mod secrets;
pub mod serve;
pub mod wiring;
