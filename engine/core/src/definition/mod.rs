//! Workflow definitions: from text to a checked, typed [`plan::Plan`].

pub mod duration;
pub mod plan;
