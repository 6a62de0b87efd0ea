//! The engine over real files: what it promises to a service that embeds it.

mod children;
mod control;
mod crashes;
mod dropping;
mod effects;
mod elsewhere;
mod events;
mod forks;
mod full;
mod large;
mod looking;
mod migrations;
mod secrets;
mod starting;
mod support;
