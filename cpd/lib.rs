//! The `cpd` daemon and command line.
