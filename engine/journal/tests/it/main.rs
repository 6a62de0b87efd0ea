//! Tests of the journal from outside, in one binary.

mod conformance;
mod crash;
mod damage;
mod format;
mod index;
mod kit;
mod reader;
mod transfer;
mod verify;
mod writer;
