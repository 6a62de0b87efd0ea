//! The end-to-end tests, in one binary: each module is one thing that a user could see go wrong.

#![expect(clippy::print_stdout, reason = "tests say how much they tried")]

mod agents;
mod cli;
mod crash;
#[cfg(feature = "grpc")]
mod grpc;
mod observe;
mod openapi;
mod real;
mod support;
