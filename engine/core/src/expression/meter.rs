//! What an evaluation may spend: fuel, and the size of what it makes.
//!
//! The interpreter hands its context to native filters only, not to the operators of values (`+`, `.[]`, `==`), so the
//! meter of the evaluation under way stands in a thread-local. [`Meter::start`] sets it, its guard puts back what was
//! there before. Everything that takes time in proportion to data calls [`burn`]; every string calls [`admit`].
//!
//! Invariants:
//! - What is burnt follows from program and data alone: no clock, no addresses. The same evaluation stops at the same step.
//! - Once blown, a meter stays blown. Loops stop at their next step (see `__tick` in [`super::natives`]), operators fail,
//!   and whatever the program makes of those failures (`try`, `?`, `//`), the evaluation as a whole is refused.
//!
//! It does not watch memory: fuel bounds that, because making 256 bytes burns at least one unit.

use std::cell::Cell;

/// Limits of one evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of work. A loop step, an item visited, a definition called, or 256 bytes made cost one.
    pub fuel: u64,
    /// The most nodes (scalars, arrays, objects) that a result may have, shared parts counted each time they occur.
    pub max_nodes: u64,
    /// The most bytes that one string, and all strings of a result together, may have.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// A million units stop a runaway in about a tenth of a second; the sizes are far above what belongs in a journal.
    fn default() -> Self {
        Self { fuel: 1_000_000, max_nodes: 1_000_000, max_bytes: 16 << 20 }
    }
}

/// The deepest nesting of values that an evaluation may build on the way.
pub(super) const MAX_DEPTH: u32 = 256;
/// The deepest nesting of values that may come in or go out. JSON text is read to this depth, too.
pub(super) const MAX_DATA_DEPTH: u32 = 128;
/// The longest path: `path(..)`, `getpath`, `setpath`.
pub(super) const MAX_PATH: usize = 256;

/// Why a meter is blown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blown {
    Fuel,
    Nodes,
    Bytes,
    Depth,
    DataDepth,
    Path,
}

#[derive(Clone, Copy)]
struct State {
    fuel: u64,
    max_nodes: u64,
    max_bytes: u64,
    blown: Option<Blown>,
}

/// Outside of any evaluation (tests of operators, printing) nothing is limited.
const IDLE: State = State { fuel: u64::MAX, max_nodes: u64::MAX, max_bytes: u64::MAX, blown: None };

thread_local! {
    static METER: Cell<State> = const { Cell::new(IDLE) };
}

/// The meter of one evaluation; dropping it restores the one before.
pub(super) struct Meter(State);

impl Meter {
    pub(super) fn start(limits: &Limits) -> Self {
        let Limits { fuel, max_nodes, max_bytes } = *limits;
        Self(METER.replace(State { fuel, max_nodes, max_bytes, blown: None }))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        METER.set(self.0);
    }
}

/// Spends `units`; false if the meter is blown.
pub(super) fn burn(units: u64) -> bool {
    let mut state = METER.get();
    if state.blown.is_some() {
        return false;
    }
    match state.fuel.checked_sub(units) {
        Some(rest) => state.fuel = rest,
        None => {
            state.fuel = 0;
            state.blown = Some(Blown::Fuel);
        }
    }
    METER.set(state);
    state.blown.is_none()
}

/// Spends what copying `bytes` costs.
pub(super) fn burn_bytes(bytes: usize) -> bool {
    burn(1 + bytes as u64 / 256)
}

/// Admits a string of `bytes`; false if it is too long or the meter is blown.
pub(super) fn admit(bytes: usize) -> bool {
    if bytes as u64 > METER.get().max_bytes {
        blow(Blown::Bytes);
    }
    burn_bytes(bytes)
}

/// Blows the meter, unless it is already.
pub(super) fn blow(why: Blown) {
    let mut state = METER.get();
    state.blown.get_or_insert(why);
    METER.set(state);
}

/// Why the meter is blown, if it is.
pub(super) fn blown() -> Option<Blown> {
    METER.get().blown
}

/// The most nodes that a value may have.
pub(super) fn max_nodes() -> u64 {
    METER.get().max_nodes
}

/// The most bytes that a string may have.
pub(super) fn max_bytes() -> u64 {
    METER.get().max_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blown_meter_stays_blown_until_its_evaluation_ends() {
        let _outer = Meter::start(&Limits { fuel: 100, ..Limits::default() });
        {
            let _inner = Meter::start(&Limits { fuel: 2, ..Limits::default() });
            assert!(burn(2));
            assert!(!burn(1));
            assert!(!burn(0), "nothing is free after the end");
            assert_eq!(blown(), Some(Blown::Fuel));
        }
        assert_eq!(blown(), None);
        assert!(burn(100) && !burn(1));
    }

    #[test]
    fn the_first_cause_is_the_one_reported() {
        let _meter = Meter::start(&Limits { max_bytes: 10, ..Limits::default() });
        assert!(admit(10));
        assert!(!admit(11));
        blow(Blown::Depth);
        assert_eq!(blown(), Some(Blown::Bytes));
    }
}
