//! The engine over real files: what it promises to a service that embeds it.

mod crashes;
mod dropping;
mod effects;
mod looking;
mod starting;
mod support;
