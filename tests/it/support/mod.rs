//! What the end-to-end tests share.

pub mod real_parts;
pub mod world;
