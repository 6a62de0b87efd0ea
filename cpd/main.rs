//! The `cpd` binary.
fn main() {}
