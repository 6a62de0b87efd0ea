//! The state machine of a run: state is a fold over events.
//!
//! ```text
//! input → admit(run, input, now) → event ─┐
//!              decide(run, now)  → event ─┼→ apply(run, event) → run, commands
//!                       ↑_________________┘        (until nothing is left to decide)
//! ```
//!
//! - [`admit`]: whether something from outside (an outcome, a tick, an operator) is acceptable, as an event.
//! - [`decide`]: what follows by the definition alone: expressions, policies, conditions. The only place where an
//!   expression is evaluated. It reads the state and returns one event; it changes nothing.
//! - [`apply`]: folds one event into the state and says what the world must do. Evaluates nothing, asks nobody; live turns
//!   and recovery use the same function.
//! - [`verify`]: replay. Where an event was decided, decide again and compare.
//!
//! An event carries facts: inputs, outcomes, times, and results of expressions. What stands in the journal already is
//! left out (an output without `output.as` *is* the outcome), so folding never needs an expression, and a newer
//! expression engine cannot change the past.
//!
//! Never here: clocks, randomness (jitter is a hash of run, task and attempt), IO, unordered iteration.

pub mod admit;
pub mod apply;
mod approval;
pub mod decide;
pub mod event;
pub mod extend;
pub mod ids;
pub mod listen;
mod scope;
pub mod state;
#[cfg(test)]
mod tests;
pub mod turn;
pub mod verify;
mod wait;

pub use approval::{Approving, People, Terms, Vote, Voter, person};
pub use event::{Command, Event, Export, Handling, Piece, Resolution};
pub use ids::{ActId, RunId};
pub use scope::Frozen;
pub use state::{Act, CallPhase, Phase, Run, Status, WakeSource};
pub use turn::{Env, Input, Rejected, Turn, start_key};
pub use wait::Wait;

#[cfg(test)]
pub(crate) use tests::plan as test_plan;
