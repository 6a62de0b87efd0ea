//! The engine over real files: what it promises to a service that embeds it.

mod children;
mod crashes;
mod dropping;
mod effects;
mod events;
mod full;
mod looking;
mod secrets;
mod starting;
mod support;
