//! Filters that are written in Rust: one table, looked up by name and number of arguments.
//!
//! Most are functions on values ([`value!`]); those without arguments also serve the fast path. The few that need the
//! interpreter (paths, updates, the meter, the clock) are written against it. Names that begin with `_` are for the
//! prelude alone.
//!
//! Nothing here looks at a clock, the environment, a file or a random number: `now` is the time that the caller gave.

mod collect;
mod format;
mod math;
mod paths;
mod regexes;
mod text;
mod times;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jaq_core::box_iter::box_once;
use jaq_core::native::{self, Fun};
use jaq_core::{Cv, DataT, Error, Exn, Lut, Native, PathsPtr, RunPtr, UpdatePtr, ValXs};

use super::interp::V;
use super::meter::{Blown, MAX_PATH, blow, burn};
use super::ops::{Op, fault};
use super::order;
use crate::value::{Num, Value};

/// What the interpreter is told about our evaluations.
pub(super) struct Kind;

/// What native filters see of the evaluation under way.
pub(super) struct Env<'a> {
    pub(super) lut: &'a Lut<Kind>,
    /// Seconds since the epoch.
    pub(super) now: f64,
}

impl DataT for Kind {
    type V<'a> = V;
    type Data<'a> = &'a Env<'a>;
}

impl<'a> jaq_core::data::HasLut<'a, Kind> for &'a Env<'a> {
    fn lut(&self) -> &'a Lut<Kind> {
        self.lut
    }
}

/// A native filter.
pub(super) struct Entry {
    name: &'static str,
    arity: usize,
    run: RunPtr<Kind>,
    /// How it yields paths and takes updates, where it does.
    paths: Option<(PathsPtr<Kind>, UpdatePtr<Kind>)>,
    /// The filter as a function of its input, where it is one.
    pub(super) of_input: Option<fn(&Value) -> Op>,
}

/// Entries for functions on values: `name/0 => f(&input)`, `name/n => f(&input, &args)`. Their results are taken to be
/// no more than one level deeper than what they were given.
macro_rules! value {
    ($name:literal / 0 => $f:expr) => {
        $crate::expression::natives::Entry {
            name: $name,
            arity: 0,
            run: |cv| $crate::expression::natives::one($f(cv.1.value()), cv.1.depth() + 1),
            paths: None,
            of_input: Some($f),
        }
    };
    ($name:literal / $arity:literal => $f:expr) => {
        $crate::expression::natives::Entry {
            name: $name,
            arity: $arity,
            run: |cv| {
                let (input, args) = $crate::expression::natives::args::<$arity>(cv);
                let depth = args.iter().map(V::depth).fold(input.depth(), u32::max);
                $crate::expression::natives::one($f(input.value(), args.each_ref().map(V::value)), depth + 1)
            },
            paths: None,
            of_input: None,
        }
    };
}
use value;

static CORE: &[Entry] = &[
    value!("true" / 0 => |_: &Value| Ok(Value::Bool(true))),
    value!("false" / 0 => |_: &Value| Ok(Value::Bool(false))),
    value!("null" / 0 => |_: &Value| Ok(Value::Null)),
    value!("not" / 0 => |v: &Value| Ok(Value::Bool(!v.truthy()))),
    value!("type" / 0 => |v: &Value| Ok(Value::from(v.kind()))),
    Entry {
        name: "__tick",
        arity: 0,
        run: |cv| box_once(step().map(|()| cv.1)),
        paths: Some((
            |cv| {
                // A path is a linked list; one that grows without end would overflow the stack when it is dropped.
                if cv.1.1.get(MAX_PATH).is_some() {
                    blow(Blown::Path);
                }
                box_once(step().map(|()| cv.1))
            },
            |cv, f| match step() {
                Ok(()) => f(cv.1),
                Err(e) => box_once(Err(e)),
            },
        )),
        of_input: None,
    },
    Entry {
        name: "now",
        arity: 0,
        run: |cv| box_once(Ok(V::data(Value::from(cv.0.data().now)))),
        paths: None,
        of_input: None,
    },
    Entry { name: "range", arity: 3, run: range, paths: None, of_input: None },
];

static TABLE: LazyLock<BTreeMap<(&'static str, usize), &'static Entry>> = LazyLock::new(|| {
    [CORE, collect::TABLE, format::TABLE, math::TABLE, paths::TABLE, regexes::TABLE, text::TABLE, times::TABLE]
        .into_iter()
        .flatten()
        .map(|e| ((e.name, e.arity), e))
        .collect()
});

/// The native filter of this name and number of arguments.
pub(super) fn find(name: &str, arity: usize) -> Option<&'static Entry> {
    TABLE.get(&(name, arity)).copied()
}

/// All names with their numbers of arguments, in order.
pub(super) fn names() -> impl Iterator<Item = (&'static str, usize)> {
    TABLE.keys().copied().chain(INTERPRETER)
}

/// Filters that the interpreter itself brings along and that are used as they are.
const INTERPRETER: [(&str, usize); 6] =
    [("error_empty", 0), ("path", 1), ("first", 1), ("last", 1), ("limit", 2), ("skip", 2)];

/// Whether the interpreter brings this filter along.
pub(super) fn of_interpreter(name: &str, arity: usize) -> bool {
    INTERPRETER.contains(&(name, arity))
}

impl Entry {
    /// The filter as the interpreter takes it.
    pub(super) fn fun(&self) -> Fun<Kind> {
        let mut native = Native::<Kind>::new(self.run);
        if let Some((paths, update)) = self.paths {
            native = native.with_paths(paths).with_update(update);
        }
        (self.name, native::v(self.arity), native)
    }
}

/// The single output of a function on values.
fn one<'a>(r: Op, depth: u32) -> ValXs<'a, V> {
    box_once(r.and_then(|v| V::bounded(v, depth)).map_err(|e| Exn::from(Error::from(e))))
}

/// Takes the input and the arguments, the last one first.
fn args<const N: usize>(mut cv: Cv<'_, Kind>) -> (V, [V; N]) {
    let mut args = [const { None }; N];
    for arg in args.iter_mut().rev() {
        *arg = Some(cv.0.pop_var());
    }
    (cv.1, args.map(|v| v.unwrap_or_else(|| V::from(false))))
}

/// One step of a loop: the only exception that no program can catch is a halt.
fn step<'a>() -> Result<(), Exn<'a, V>> {
    if burn(1) { Ok(()) } else { Err(Exn::halt(0)) }
}

/// `range($from; $upto; $by)`; nothing if `$by` is zero.
fn range(cv: Cv<'_, Kind>) -> ValXs<'_, V> {
    let (_, [from, upto, by]) = args::<3>(cv);
    let (Value::Num(mut at), Value::Num(upto), Value::Num(by)) = (from.into_value(), upto.value(), by.value()) else {
        return one(fault("Range bounds must be numeric"), 0);
    };
    let (upto, by) = (Value::Num(*upto), *by);
    let (up, down) = (by.as_f64() > 0.0, by.as_f64() < 0.0);
    if !up && !down {
        return Box::new(std::iter::empty());
    }
    Box::new(std::iter::from_fn(move || {
        let v = Value::Num(at);
        if !(if up { order::less(&v, &upto) } else { order::less(&upto, &v) }) {
            return None;
        }
        at = match (at, by) {
            (Num::Int(a), Num::Int(b)) => a.checked_add(b).map_or(Num::Float(a as f64 + b as f64), Num::Int),
            (a, b) => Num::Float(a.as_f64() + b.as_f64()),
        };
        Some(step().map(|()| V::data(v)))
    }))
}
