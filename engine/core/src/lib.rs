//! The pure part of `cpd`: what a run *is*, without a clock, a disk, a network or a thread.
//!
//! - [`value`]: the JSON value that everything else passes around, shared by `Arc`.
//! - [`time`]: instants and spans as numbers; nothing here reads a clock.
//! - [`catalog`]: what an operation of a connector promises (class, schema, version).
//! - [`expression`]: jq, compiled once and evaluated without IO.
//! - [`problem`]: RFC 7807 errors as the workflow language uses them.
//! - [`resource`]: documents that definitions refer to by an address.
//! - [`schema`]: the part of JSON Schema that operations describe their inputs with, and the check.
//! - [`definition`]: workflow documents, from text to a checked plan.
//! - [`graph`]: a definition as a picture, and a run laid over it.
//!
//! Everything in this crate is a function of its arguments. `now` is an argument.

pub mod catalog;
pub mod definition;
pub mod expression;
pub mod graph;
pub mod machine;
pub mod policy;
pub mod problem;
pub mod resource;
pub mod schema;
pub mod time;
pub mod validation;
pub mod value;

pub use value::Value;
