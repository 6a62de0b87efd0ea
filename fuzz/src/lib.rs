//! What the fuzz targets share.
//!
//! A target takes bytes, makes what is wanted of them, and asserts what must hold whatever they are; a panic is a finding.
//! `fuzz/run` builds and runs them; `CONTRIBUTING.md` says what to do with a finding.

pub mod documents;
pub mod values;
