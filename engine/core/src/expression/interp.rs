//! The value type that the interpreter works on: our [`Value`] with a bound on its nesting.
//!
//! [`V`] is a value as the rest of `cpd` knows it, shared and not converted, plus an upper bound on how deep it is nested.
//! The bound exists because nearly everything that walks a value (printing, comparing, dropping it) recurses, and a loop
//! such as `reduce range(1e6) as $i (null; [.])` would end the process by stack overflow. Each operator knows how much
//! deeper its result can be than its operands; when the bound passes [`MAX_DEPTH`] the true depth is counted, and only if
//! that is too deep the evaluation is refused. The bound of what comes in is taken to be [`MAX_DATA_DEPTH`], unseen.
//!
//! Updates differ from jaq's own value type, and agree with jq: they go through `null`, past the end of arrays, take the
//! first output of the update, and delete where there is none. Objects keep the order of their keys in all cases.
//! An update of a value that nobody else holds happens in place.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Error, ValR, ValT, ValX};

use super::meter::{Blown, MAX_DATA_DEPTH, MAX_DEPTH, blow, burn, burn_bytes};
use super::ops::{self, Op, Raised, fault, unfit};
use super::{order, print};
use crate::value::{Map, Value};

/// A value inside the interpreter.
#[derive(Clone, Debug)]
pub(super) struct V {
    value: Value,
    /// At least the nesting of `value`: 0 for scalars, 1 for `[]`, and so on.
    depth: u32,
}

impl V {
    /// A value from outside, nested no deeper than [`MAX_DATA_DEPTH`].
    pub(super) fn data(value: Value) -> Self {
        Self::at_most(value, MAX_DATA_DEPTH)
    }

    /// A value whose nesting is known not to pass `depth`.
    fn at_most(value: Value, depth: u32) -> Self {
        let depth = if matches!(value, Value::Arr(_) | Value::Obj(_)) { depth.max(1) } else { 0 };
        Self { value, depth }
    }

    /// A value nested no deeper than `depth`, which may be too deep.
    pub(super) fn bounded(value: Value, depth: u32) -> Op<Self> {
        let mut v = Self::at_most(value, depth);
        if v.depth > MAX_DEPTH {
            v.depth = ops::depth(&v.value, MAX_DEPTH + 1);
            if v.depth > MAX_DEPTH {
                blow(Blown::Depth);
                return ops::spent();
            }
        }
        Ok(v)
    }

    /// Something that lies inside of `self`.
    fn child(&self, value: Value) -> Self {
        Self::at_most(value, self.depth.saturating_sub(1))
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    pub(super) fn into_value(self) -> Value {
        self.value
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    fn no_iteration(&self) -> Raised {
        let text = format!("Cannot iterate over {} ({})", self.value.kind(), print::preview(&self.value));
        Raised(Value::from(text))
    }
}

impl From<Raised> for Error<V> {
    fn from(Raised(v): Raised) -> Self {
        Error::new(V::data(v))
    }
}

fn lift(r: Op, depth: u32) -> ValR<V> {
    Ok(V::bounded(r?, depth)?)
}

impl fmt::Display for V {
    /// A preview: the interpreter prints values in its error messages only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Str(s) => f.write_str(s),
            v => f.write_str(&print::preview(v)),
        }
    }
}

impl From<bool> for V {
    fn from(b: bool) -> Self {
        Self::at_most(Value::Bool(b), 0)
    }
}
impl From<isize> for V {
    fn from(i: isize) -> Self {
        Self::at_most(Value::from(i as i64), 0)
    }
}
impl From<String> for V {
    fn from(s: String) -> Self {
        burn_bytes(s.len());
        Self::at_most(Value::from(s), 0)
    }
}
impl From<Range<V>> for V {
    /// The part of a path that stands for a slice.
    fn from(range: Range<V>) -> Self {
        let bound = |v: Option<V>| v.map_or(Value::Null, V::into_value);
        Self::at_most(Value::from([("start", bound(range.start)), ("end", bound(range.end))]), 2)
    }
}
impl FromIterator<V> for V {
    fn from_iter<I: IntoIterator<Item = V>>(items: I) -> Self {
        let mut depth = 0;
        let items: Vec<Value> = items
            .into_iter()
            .map(|v| {
                depth = depth.max(v.depth);
                v.value
            })
            .collect();
        burn_bytes(items.len() * 24);
        // Where this is too deep the meter is blown, and the evaluation will be refused.
        V::bounded(Value::from(items), depth + 1).unwrap_or_else(|_| V::from(false))
    }
}

impl PartialEq for V {
    fn eq(&self, other: &Self) -> bool {
        order::equal(&self.value, &other.value)
    }
}
impl PartialOrd for V {
    /// Never equal for NaN, which is less than every number.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(if order::less(&self.value, &other.value) {
            Ordering::Less
        } else {
            order::compare(&self.value, &other.value)
        })
    }
}

impl std::ops::Add for V {
    type Output = ValR<V>;
    fn add(self, r: V) -> ValR<V> {
        let depth = self.depth.max(r.depth);
        lift(ops::add(self.value, r.value), depth)
    }
}
impl std::ops::Sub for V {
    type Output = ValR<V>;
    fn sub(self, r: V) -> ValR<V> {
        lift(ops::sub(&self.value, &r.value), self.depth)
    }
}
impl std::ops::Mul for V {
    type Output = ValR<V>;
    fn mul(self, r: V) -> ValR<V> {
        let depth = self.depth.max(r.depth);
        lift(ops::mul(self.value, r.value), depth)
    }
}
impl std::ops::Div for V {
    type Output = ValR<V>;
    fn div(self, r: V) -> ValR<V> {
        lift(ops::div(&self.value, &r.value), 1)
    }
}
impl std::ops::Rem for V {
    type Output = ValR<V>;
    fn rem(self, r: V) -> ValR<V> {
        lift(ops::rem(&self.value, &r.value), 0)
    }
}
impl std::ops::Neg for V {
    type Output = ValR<V>;
    fn neg(self) -> ValR<V> {
        lift(ops::neg(&self.value), 0)
    }
}

/// The first output of an update, `None` if it has none.
fn first<'a>(mut outputs: impl Iterator<Item = ValX<'a, V>>) -> ValX<'a, Option<V>, V> {
    outputs.next().transpose()
}

/// How deep a container is after `inner` was put into it.
fn nest(depth: &mut u32, inner: V) -> Value {
    *depth = (*depth).max(inner.depth + 1);
    inner.value
}

impl ValT for V {
    fn from_num(n: &str) -> ValR<Self> {
        let num = super::ops::literal(n);
        num.map(|n| V::at_most(Value::Num(n), 0))
            .map_err(|_| Raised(Value::from(format!("{n} is not a number"))).into())
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(members: I) -> ValR<Self> {
        let mut depth = 1;
        let mut map = Map::new();
        for (k, v) in members {
            let Value::Str(k) = k.value else { return Ok(fault(bad_key(&k.value))?) };
            map.insert(k, nest(&mut depth, v));
        }
        burn(map.len() as u64);
        Ok(V::bounded(Value::from(map), depth)?)
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        let fuel = |n: usize| if burn(n as u64) { n } else { 0 };
        match &self.value {
            Value::Arr(a) => {
                let a = a.clone();
                let len = fuel(a.len());
                Box::new((0..len).map(move |i| Ok((V::at_most(Value::from(i), 0), self.child(a[i].clone())))))
            }
            Value::Obj(m) => {
                let m = m.clone();
                let len = fuel(m.len());
                Box::new((0..len).filter_map(move |i| {
                    let (k, v) = m.get_index(i)?;
                    Some(Ok((V::at_most(Value::Str(k.clone()), 0), self.child(v.clone()))))
                }))
            }
            _ => box_once(Err(self.no_iteration().into())),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        let fuel = |n: usize| if burn(n as u64) { n } else { 0 };
        match &self.value {
            Value::Arr(a) => {
                let a = a.clone();
                let len = fuel(a.len());
                Box::new((0..len).map(move |i| Ok(self.child(a[i].clone()))))
            }
            Value::Obj(m) => {
                let m = m.clone();
                let len = fuel(m.len());
                Box::new((0..len).filter_map(move |i| Some(Ok(self.child(m.get_index(i)?.1.clone())))))
            }
            _ => box_once(Err(self.no_iteration().into())),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        let part = ops::index(&self.value, &index.value)?;
        // A slice is as deep as the whole, anything else lies inside of it.
        Ok(if matches!(index.value, Value::Obj(_)) { V::at_most(part, self.depth) } else { self.child(part) })
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        let bound = |v: Option<&V>| v.map_or(Value::Null, |v| v.value.clone());
        lift(ops::slice(&self.value, &bound(range.start), &bound(range.end)), self.depth)
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(self, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a, Self> {
        let inner = self.depth.saturating_sub(1);
        let mut depth = 1;
        match self.value {
            Value::Arr(mut a) => {
                ops::copying(a.len()).map_err(Error::from)?;
                let mut kept = Vec::with_capacity(a.len());
                for v in std::mem::take(Arc::make_mut(&mut a)) {
                    if let Some(v) = first(f(V::at_most(v, inner)))? {
                        kept.push(nest(&mut depth, v));
                    }
                }
                Ok(V::bounded(Value::from(kept), depth).map_err(Error::from)?)
            }
            Value::Obj(mut m) => {
                ops::copying(m.len()).map_err(Error::from)?;
                let mut kept = Map::with_capacity(m.len());
                for (k, v) in std::mem::take(Arc::make_mut(&mut m)) {
                    if let Some(v) = first(f(V::at_most(v, inner)))? {
                        kept.insert(k, nest(&mut depth, v));
                    }
                }
                Ok(V::bounded(Value::from(kept), depth).map_err(Error::from)?)
            }
            value => Ok(opt.fail(V::at_most(value, 0), |v| Error::from(v.no_iteration()))?),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let mut depth = self.depth.max(1);
        let inner = depth - 1;
        let bound = depth;
        let fail = |value: Value, e: Raised| opt.fail(V::at_most(value, bound), |_| Error::from(e));
        let updated = match (self.value, &index.value) {
            (Value::Null, Value::Str(k)) => match first(f(V::at_most(Value::Null, 0)))? {
                Some(v) => Value::from(Map::from_iter([(k.clone(), nest(&mut depth, v))])),
                None => Value::Null,
            },
            (Value::Obj(mut m), Value::Str(k)) => {
                if Arc::get_mut(&mut m).is_none() {
                    ops::copying(m.len()).map_err(Error::from)?;
                }
                let members = Arc::make_mut(&mut m);
                match members.get_mut(k) {
                    Some(place) => match first(f(V::at_most(std::mem::take(place), inner)))? {
                        Some(v) => *place = nest(&mut depth, v),
                        None => drop(members.shift_remove(k)),
                    },
                    None => {
                        if let Some(v) = first(f(V::at_most(Value::Null, 0)))? {
                            burn(1);
                            members.insert(k.clone(), nest(&mut depth, v));
                        }
                    }
                }
                Value::Obj(m)
            }
            (value @ (Value::Null | Value::Arr(_)), Value::Num(i)) => {
                let mut a = match value {
                    Value::Arr(a) => a,
                    _ => Arc::default(),
                };
                let was_null = a.is_empty() && self.depth == 0;
                if Arc::get_mut(&mut a).is_none() {
                    ops::copying(a.len()).map_err(Error::from)?;
                }
                match ops::place(*i, a.len()).filter(|i| *i < a.len()) {
                    Some(i) => {
                        let items = Arc::make_mut(&mut a);
                        match first(f(V::at_most(std::mem::take(&mut items[i]), inner)))? {
                            Some(v) => items[i] = nest(&mut depth, v),
                            None => drop(items.remove(i)),
                        }
                    }
                    None => match first(f(V::at_most(Value::Null, 0)))? {
                        Some(v) => {
                            let v = nest(&mut depth, v);
                            match ops::slot(Arc::make_mut(&mut a), *i) {
                                Ok(place) => *place = v,
                                Err(e) => return Ok(fail(Value::Arr(a), e)?),
                            }
                        }
                        None if was_null => return Ok(V::at_most(Value::Null, 0)),
                        None => {}
                    },
                }
                Value::Arr(a)
            }
            (value @ (Value::Null | Value::Arr(_)), Value::Obj(range)) => {
                let bound = |name| range.get(name).map(|v| V::at_most(v.clone(), 1));
                let (start, end) = (bound("start"), bound("end"));
                let whole = V::at_most(value, self.depth);
                return whole.map_range(start.as_ref()..end.as_ref(), opt, f);
            }
            (value, key) => {
                // jq reads before it writes, so an index that does not fit fails as it does when reading.
                let e = match ops::index(&value, key) {
                    Err(e) => e,
                    Ok(_) if value.as_str().is_some() => Raised(Value::from("Cannot update string slices")),
                    Ok(_) => {
                        Raised(Value::from(format!("Cannot update field at {} index of {}", key.kind(), value.kind())))
                    }
                };
                return Ok(fail(value, e)?);
            }
        };
        Ok(V::bounded(updated, depth).map_err(Error::from)?)
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let mut depth = self.depth.max(1);
        let bound = |v: Option<&V>| v.map_or(Value::Null, |v| v.value.clone());
        let mut a = match self.value {
            Value::Arr(a) => a,
            Value::Null => Arc::default(),
            value => {
                let e = match &value {
                    Value::Str(_) => Raised(Value::from("Cannot update string slices")),
                    v => Raised(Value::from(format!("Cannot index {} with object", v.kind()))),
                };
                return Ok(opt.fail(V::at_most(value, self.depth), |_| Error::from(e))?);
            }
        };
        let (start, end) = match ops::bounds(a.len(), &bound(range.start), &bound(range.end)) {
            Ok(bounds) => bounds,
            Err(e) => return Ok(opt.fail(V::at_most(Value::Arr(a), depth), |_| Error::from(e))?),
        };
        ops::copying(a.len()).map_err(Error::from)?;
        let part = V::at_most(Value::from(a[start..end].to_vec()), depth);
        let new = match first(f(part))? {
            None => Arc::default(),
            Some(V { value: Value::Arr(new), depth: d }) => {
                depth = depth.max(d);
                new
            }
            Some(_) => {
                let e = Raised(Value::from("A slice of an array can only be assigned another array"));
                return Ok(opt.fail(V::at_most(Value::Arr(a), depth), |_| Error::from(e))?);
            }
        };
        ops::copying(new.len()).map_err(Error::from)?;
        Arc::make_mut(&mut a).splice(start..end, new.iter().cloned());
        Ok(V::bounded(Value::Arr(a), depth).map_err(Error::from)?)
    }

    fn as_bool(&self) -> bool {
        self.value.truthy()
    }

    fn into_string(self) -> Self {
        match &self.value {
            Value::Str(_) => self,
            v => V::at_most(Value::from(print::to_json(v)), 0),
        }
    }
}

/// The error text for a key that is no string.
pub(super) fn bad_key(k: &Value) -> String {
    format!("Cannot use {} ({}) as object key", k.kind(), print::preview(k))
}

/// `has`, on values.
pub(super) fn has(v: &Value, k: &Value) -> Op<bool> {
    match (v, k) {
        (Value::Obj(m), Value::Str(k)) => Ok(m.contains_key(k)),
        (Value::Arr(a), Value::Num(i)) => Ok(i.as_f64() >= 0.0 && ops::place(*i, a.len()).is_some_and(|i| i < a.len())),
        (Value::Null, _) => Ok(false),
        (v, k) => fault(format!("Cannot check whether {} has a {} key", v.kind(), k.kind())),
    }
}

/// The members of an array.
pub(super) fn items<'v>(v: &'v Value, text: &str) -> Op<&'v [Value]> {
    match v {
        Value::Arr(a) => Ok(a),
        v => unfit(v, text),
    }
}
