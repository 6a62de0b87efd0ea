//! Runtime expressions: jq 1.8, compiled once, evaluated without IO, clock or chance.
//!
//! ```
//! use cpd_core::expression::{Limits, Program, Scope};
//! use cpd_core::{json, time::Timestamp, Value};
//!
//! let program = Program::compile(".reading.psi >= $limit", &["$limit"])?;
//! let (input, limit) = (json!({"reading": {"psi": 0.3}}), [Value::from(0.25)]);
//! let limits = Limits::default();
//! let scope = Scope::new(&input, &limits).locals(&limit).now(Timestamp(0));
//! assert!(program.test(&scope)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`Program::compile`] parses with jaq's parser, resolves every name (an undefined variable is an error here, not in the
//!   middle of a run), and picks one of two ways to run: the fast path in `fast` for common shapes, else jaq's interpreter
//!   over our own values (`interp`), filters (`natives`) and definitions (`prelude.jq`).
//! - [`Program::eval`] and [`Program::test`] take the first output; there is none of the rest computed.
//! - [`Program::uses`] says what an expression mentions, so that a caller need not build what nobody reads.
//! - [`Template`] is a tree of data in which whole strings of the form `${ … }` are expressions.
//!
//! Invariants:
//! - A result is a function of program, scope and limits. The time is an argument ([`Scope::now`]).
//! - No input, and no program, panics, overflows the stack, or runs for ever: fuel and sizes are bounded ([`Limits`]).
//! - Run data is shared with the interpreter, never converted.
//! - Nothing is ever evaluated that was not compiled by a caller: data are data.
//!
//! What differs from jq 1.8 is listed in `docs/decisions/0003-expressions.md`.

mod compile;
mod error;
mod fast;
mod interp;
mod library;
mod meter;
mod natives;
mod ops;
mod order;
mod print;
mod resolve;
pub mod shape;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jaq_core::{Ctx, Filter, Vars};

pub use error::{CompileError, EvalError};
pub use meter::Limits;
pub use template::{Template, condition_source, expression_source};

use self::fast::{Node, Source};
use self::interp::V;
use self::meter::{Blown, MAX_DATA_DEPTH, Meter};
use self::natives::{Env, Kind};
use self::ops::Raised;
use self::resolve::Resolver;
use crate::Value;
use crate::time::Timestamp;
use crate::value::{Map, Num};

/// A variable that the language defines; which are set depends on the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Global {
    /// `$context`
    Context,
    /// `$input`
    Input,
    /// `$output`
    Output,
    /// `$secrets`
    Secrets,
    /// `$authorization`
    Authorization,
    /// `$task`
    Task,
    /// `$workflow`
    Workflow,
    /// `$runtime`
    Runtime,
}

impl Global {
    /// All of them, in the order in which a [`Scope`] holds them.
    pub const ALL: [Global; 8] = [
        Global::Context,
        Global::Input,
        Global::Output,
        Global::Secrets,
        Global::Authorization,
        Global::Task,
        Global::Workflow,
        Global::Runtime,
    ];

    /// The name, with its `$`.
    pub fn name(self) -> &'static str {
        VARS[self as usize]
    }
}

/// The names of the variables that the language defines, in the order of [`Global::ALL`].
pub const VARS: [&str; 8] =
    ["$context", "$input", "$output", "$secrets", "$authorization", "$task", "$workflow", "$runtime"];

/// What an expression mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    globals: u8,
    locals: Vec<bool>,
    now: bool,
}

impl Uses {
    /// Whether the expression reads this variable.
    pub fn global(&self, global: Global) -> bool {
        self.globals & 1 << global as usize != 0
    }

    /// Whether the expression reads the local variable number `i`.
    pub fn local(&self, i: usize) -> bool {
        self.locals.get(i).copied().unwrap_or(false)
    }

    /// Whether the expression asks for the time.
    pub fn now(&self) -> bool {
        self.now
    }

    /// Adds what another expression with the same locals mentions.
    pub fn merge(&mut self, other: &Uses) {
        self.globals |= other.globals;
        self.now |= other.now;
        if self.locals.len() < other.locals.len() {
            self.locals.resize(other.locals.len(), false);
        }
        self.locals.iter_mut().zip(&other.locals).for_each(|(l, r)| *l |= r);
    }
}

/// What an evaluation sees.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    input: &'a Value,
    globals: [&'a Value; 8],
    locals: &'a [Value],
    now: Timestamp,
    limits: &'a Limits,
}

static NULL: Value = Value::Null;

impl<'a> Scope<'a> {
    /// A scope with this input; all variables are null, and it is 1970.
    pub fn new(input: &'a Value, limits: &'a Limits) -> Self {
        Self { input, globals: [&NULL; 8], locals: &[], now: Timestamp(0), limits }
    }

    /// The same scope with another input.
    #[must_use]
    pub fn input(self, input: &'a Value) -> Self {
        Self { input, ..self }
    }

    /// The same scope with a variable set.
    #[must_use]
    pub fn with(mut self, global: Global, value: &'a Value) -> Self {
        self.globals[global as usize] = value;
        self
    }

    /// The same scope with local variables, in the order in which they were named to the compiler.
    /// Those that are missing are null.
    #[must_use]
    pub fn locals(self, locals: &'a [Value]) -> Self {
        Self { locals, ..self }
    }

    /// The same scope at a time: what `now` yields.
    #[must_use]
    pub fn now(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    fn get(&self, source: Source) -> &'a Value {
        match source {
            Source::Global(i) => self.globals.get(i).copied().unwrap_or(&NULL),
            Source::Local(i) => self.locals.get(i).unwrap_or(&NULL),
        }
    }
}

/// A compiled expression. Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct Program(Arc<Inner>);

struct Inner {
    source: Arc<str>,
    uses: Uses,
    run: Run,
}

enum Run {
    Fast {
        node: Node,
        only_looks: bool,
    },
    /// The filter, and where the variables that it takes are found.
    Jaq(Arc<Filter<Kind>>, Box<[Source]>),
}

impl Program {
    /// Compiles an expression. `locals` are the names of variables that its place binds besides [`VARS`], with their `$`
    /// (`$item`, `$error`); a later one hides an earlier one of the same name.
    ///
    /// # Errors
    /// If the text is not an expression, or mentions what is not there.
    pub fn compile(source: &str, locals: &[&str]) -> Result<Self, CompileError> {
        Self::build(source, locals, true)
    }

    fn build(source: &str, locals: &[&str], fast: bool) -> Result<Self, CompileError> {
        let tokens = compile::parse(source)?;
        let term = compile::term(source, &tokens)?;
        let known: Vec<&str> = VARS.iter().chain(locals).copied().collect();
        let mut resolver = Resolver::new(source, &known);
        resolver.term(&term);
        if let Some(error) = resolver.errors.into_iter().next() {
            return Err(error);
        }
        let find = |name: &str| {
            let local = locals.iter().rposition(|l| *l == name).map(Source::Local);
            local.or_else(|| VARS.iter().position(|g| *g == name).map(Source::Global))
        };
        let mut uses = Uses { locals: vec![false; locals.len()], ..Uses::default() };
        uses.now = resolver.calls.contains(&("now", 0));
        for name in &resolver.used {
            match find(name) {
                Some(Source::Global(i)) => uses.globals |= 1 << i,
                Some(Source::Local(i)) => uses.locals[i] = true,
                None => {}
            }
        }
        // A local definition may hide a filter, so the fast path keeps out of terms that have any; it knows none.
        let run = match Node::of(&term, &find).filter(|_| fast) {
            Some(node) => Run::Fast { only_looks: node.only_looks(), node },
            None => {
                let sources = resolver.used.iter().filter_map(|name| find(name)).collect();
                Run::Jaq(compile::filter(term, resolver.calls, resolver.used)?, sources)
            }
        };
        Ok(Self(Arc::new(Inner { source: source.into(), uses, run })))
    }

    /// The text that this was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// What the expression mentions.
    pub fn uses(&self) -> &Uses {
        &self.0.uses
    }

    /// The first output; null if there is none.
    ///
    /// # Errors
    /// If the program raises an error or exceeds a limit.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        self.run(scope, leaving).map(Option::unwrap_or_default)
    }

    /// Whether the first output is neither null nor false; false if there is none.
    ///
    /// # Errors
    /// If the program raises an error or exceeds a limit.
    pub fn test(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        if let Run::Fast { node, only_looks } = &self.0.run {
            let _meter = (!only_looks).then(|| Meter::start(scope.limits));
            let result = node.eval(scope, scope.input).map(|v| v.truthy());
            return self.finish(result, scope.limits, *only_looks);
        }
        self.run(scope, measured).map(|v| v.is_some_and(|v| v.truthy()))
    }

    /// The first output, as `leave` lets it go.
    fn run(&self, scope: &Scope<'_>, leave: fn(Value) -> Value) -> Result<Option<Value>, EvalError> {
        match &self.0.run {
            Run::Fast { node, only_looks: true } => {
                let result = node.eval(scope, scope.input).map(|v| Some(v.into_owned()));
                self.finish(result, scope.limits, true)
            }
            Run::Fast { node, .. } => {
                let _meter = Meter::start(scope.limits);
                let result = node.eval(scope, scope.input).map(|v| Some(leave(v.into_owned())));
                self.finish(result, scope.limits, false)
            }
            Run::Jaq(filter, sources) => {
                let _meter = Meter::start(scope.limits);
                let env = Env { lut: &filter.lut, now: scope.now.as_secs_f64() };
                let vars = Vars::new(sources.iter().map(|s| V::data(scope.get(*s).clone())));
                let ctx = Ctx::<Kind>::new(&env, vars);
                let first = filter.id.run((ctx, V::data(scope.input.clone()))).next();
                let result = match first {
                    None => Ok(None),
                    Some(Ok(v)) => Ok(Some(leave(v.into_value()))),
                    // A halt comes from the meter alone, which is asked below.
                    Some(Err(e)) => Err(e.get_err().map_or(Raised(Value::Null), |e| Raised(e.into_val().into_value()))),
                };
                self.finish(result, scope.limits, false)
            }
        }
    }

    fn finish<T>(&self, result: Result<T, Raised>, limits: &Limits, unmetered: bool) -> Result<T, EvalError> {
        if let Some(why) = meter::blown().filter(|_| !unmetered) {
            return Err(EvalError::blown(self.0.source.clone(), why, limits));
        }
        result.map_err(|Raised(value)| EvalError::Raised { source_text: self.0.source.clone(), value: as_json(&value) })
    }

    /// The value, if the expression has the same one always.
    pub fn constant(&self) -> Option<&Value> {
        match &self.0.run {
            Run::Fast { node, .. } => node.constant(),
            Run::Jaq(..) => None,
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.0.source).finish()
    }
}

impl PartialEq for Program {
    /// The same text; what variables its place binds is not compared.
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

/// A result on its way out: measured, and what its JSON says. NaN and infinities only live inside expressions: the journal has the
/// JSON, and a run that is replayed must go on with what the live one had.
fn leaving(v: Value) -> Value {
    if measure(&v) { v } else { as_json(&v) }
}

/// A result that is only looked at.
fn measured(v: Value) -> Value {
    measure(&v);
    v
}

/// `v` with its numbers as JSON writes them.
fn as_json(v: &Value) -> Value {
    match v {
        Value::Num(Num::Float(f)) if f.is_nan() => Value::Null,
        Value::Num(Num::Float(f)) if f.is_infinite() => Value::from(f64::MAX.copysign(*f)),
        Value::Arr(a) => Value::from(a.iter().map(as_json).collect::<Vec<_>>()),
        Value::Obj(m) => Value::from(m.iter().map(|(k, v)| (k.clone(), as_json(v))).collect::<Map>()),
        _ => v.clone(),
    }
}

/// Blows the meter if a result is too large to leave. Returns whether all its numbers are numbers.
fn measure(v: &Value) -> bool {
    fn walk(v: &Value, depth: u32, nodes: &mut u64, bytes: &mut u64, finite: &mut bool) {
        let Some(rest) = nodes.checked_sub(1) else { return meter::blow(Blown::Nodes) };
        *nodes = rest;
        let mut text = |s: &str| match bytes.checked_sub(s.len() as u64) {
            Some(rest) => *bytes = rest,
            None => meter::blow(Blown::Bytes),
        };
        match v {
            Value::Str(s) => text(s),
            Value::Arr(_) | Value::Obj(_) if depth == MAX_DATA_DEPTH => meter::blow(Blown::DataDepth),
            Value::Arr(a) => {
                for v in a.iter() {
                    if meter::blown().is_some() {
                        return;
                    }
                    walk(v, depth + 1, nodes, bytes, finite);
                }
            }
            Value::Obj(m) => {
                for (k, v) in m.iter() {
                    if meter::blown().is_some() {
                        return;
                    }
                    match bytes.checked_sub(k.len() as u64) {
                        Some(rest) => *bytes = rest,
                        None => return meter::blow(Blown::Bytes),
                    }
                    walk(v, depth + 1, nodes, bytes, finite);
                }
            }
            Value::Num(Num::Float(f)) => *finite &= f.is_finite(),
            _ => {}
        }
    }
    let mut finite = true;
    walk(v, 0, &mut meter::max_nodes(), &mut meter::max_bytes(), &mut finite);
    // A result that is too large goes no further; it is not worth a copy.
    finite || meter::blown().is_some()
}
