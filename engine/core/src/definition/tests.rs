//! Compiling whole definitions.
