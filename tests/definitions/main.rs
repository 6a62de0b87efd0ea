//! Definitions against the operations, policies and agents that `cpd` really ships.
//!
//! - [`shipped`]: every workflow below `definitions/workflows` compiles, without warnings that nobody meant.
//! - [`invalid`]: every broken one below `definitions/invalid/workflows` gets exactly the diagnostics beside it.
//! - [`drawn`]: the drawings in `docs/workflows` are those of the workflows that ship.
//! - [`rules`]: every rule has a page, and the examples of the page show it.
//! - [`schema`]: the schemas for editors agree with the reader.
//!
//! `UPDATE_EXPECT=1` writes the expected diagnostics anew. Read each one: would you know what to do?

mod drawn;
mod environment;
mod invalid;
mod rules;
mod schema;
mod shipped;

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The YAML files of a folder, in order of name, with their text.
fn yaml_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a readable entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    paths.into_iter().map(|p| (p.clone(), fs::read_to_string(&p).expect("a readable file"))).collect()
}
