//! The end-to-end tests, in one binary: each module is one thing that a user could see go wrong.

mod cli;
mod crash;
mod engine;
mod real;
mod support;
