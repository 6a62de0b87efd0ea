//! Tests that need a hold on the inside of an engine.

mod isolation;
mod keys;
mod snapshots;
#[expect(dead_code, reason = "the tests in `tests/` use the rest of it")]
#[path = "../tests/it/support.rs"]
mod support;

use std::sync::Arc;

use cpd_core::machine::Run;

/// Called before the turns of runs; may panic.
pub(crate) type BeforeTurn = Arc<dyn Fn(&Run) + Send + Sync>;

/// What a test puts into an engine.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) before_turn: Option<BeforeTurn>,
}

impl Hooks {
    pub(crate) fn before_turn(&self, run: &Run) {
        if let Some(hook) = &self.before_turn {
            hook(run);
        }
    }
}
