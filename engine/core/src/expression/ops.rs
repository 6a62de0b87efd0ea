//! The operators of jq on values: arithmetic, indexing, slicing, and the ways to fail.
//!
//! Rules and error texts are those of jq 1.8, with one exception that is meant: integers of 64 bits stay exact, and
//! spill into doubles only when a result does not fit.
//!
//! Each operator spends fuel for what it copies. An operator on a blown meter fails with [`spent`]; the evaluation as a
//! whole is refused then, so that text is seen by nobody.

use std::sync::Arc;

use super::meter::{Blown, admit, blow, burn, burn_bytes, max_nodes};
use super::order;
use super::print::preview;
use crate::value::{Map, Num, Value};

/// What a program raised: any value, mostly a string.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raised(pub(super) Value);

pub(super) type Op<T = Value> = Result<T, Raised>;

/// An error with this text.
pub(super) fn fault<T>(text: impl Into<String>) -> Op<T> {
    Err(Raised(Value::from(text.into())))
}

/// An error about one value: `string ("x") cannot be …`.
pub(super) fn unfit<T>(v: &Value, text: &str) -> Op<T> {
    fault(format!("{} ({}) {text}", v.kind(), preview(v)))
}

/// An error about two values.
pub(super) fn misfit<T>(l: &Value, r: &Value, text: &str) -> Op<T> {
    fault(format!("{} ({}) and {} ({}) {text}", l.kind(), preview(l), r.kind(), preview(r)))
}

/// The error of an operator whose meter is blown.
pub(super) fn spent<T>() -> Op<T> {
    fault("limit of the evaluation reached")
}

/// The number that a literal stands for. One that is too large for a double is the largest double, as in jq 1.8.
pub(super) fn literal(n: &str) -> Result<Num, std::num::ParseFloatError> {
    match n.parse() {
        Ok(int) => Ok(Num::Int(int)),
        Err(_) => n.parse::<f64>().map(|f| Num::Float(f.clamp(f64::MIN, f64::MAX))),
    }
}

/// A string, if it is not too long.
pub(super) fn text(s: impl Into<Arc<str>>) -> Op {
    let s = s.into();
    if admit(s.len()) { Ok(Value::Str(s)) } else { spent() }
}

/// Fails if there is no fuel for copying `items` values.
pub(super) fn copying(items: usize) -> Op<()> {
    if burn_bytes(items.saturating_mul(24)) { Ok(()) } else { spent() }
}

/// The number as `i64` where it is an exact integer.
fn int(n: Num) -> Option<i64> {
    match n {
        Num::Int(i) => Some(i),
        Num::Float(_) => None,
    }
}

fn arith(l: Num, r: Num, exact: fn(i64, i64) -> Option<i64>, rough: fn(f64, f64) -> f64) -> Value {
    let exact = int(l).zip(int(r)).and_then(|(l, r)| exact(l, r));
    Value::Num(exact.map_or_else(|| Num::Float(rough(l.as_f64(), r.as_f64())), Num::Int))
}

/// `l + r`
pub(super) fn add(l: Value, r: Value) -> Op {
    match (l, r) {
        (Value::Null, v) | (v, Value::Null) => Ok(v),
        (Value::Num(l), Value::Num(r)) => Ok(arith(l, r, i64::checked_add, |l, r| l + r)),
        (Value::Str(l), Value::Str(r)) => {
            if !admit(l.len() + r.len()) {
                return spent();
            }
            let mut s = String::with_capacity(l.len() + r.len());
            s.push_str(&l);
            s.push_str(&r);
            Ok(Value::from(s))
        }
        (Value::Arr(mut l), Value::Arr(r)) => {
            let copied = if Arc::get_mut(&mut l).is_some() { 0 } else { l.len() };
            copying(copied + r.len())?;
            Arc::make_mut(&mut l).extend(r.iter().cloned());
            Ok(Value::Arr(l))
        }
        (Value::Obj(mut l), Value::Obj(r)) => {
            let copied = if Arc::get_mut(&mut l).is_some() { 0 } else { l.len() };
            copying(copied + r.len())?;
            Arc::make_mut(&mut l).extend(r.iter().map(|(k, v)| (k.clone(), v.clone())));
            Ok(Value::Obj(l))
        }
        (l, r) => misfit(&l, &r, "cannot be added"),
    }
}

/// `l - r`
pub(super) fn sub(l: &Value, r: &Value) -> Op {
    match (l, r) {
        (Value::Num(l), Value::Num(r)) => Ok(arith(*l, *r, i64::checked_sub, |l, r| l - r)),
        (Value::Arr(l), Value::Arr(r)) => {
            if !burn((l.len() as u64).saturating_mul(1 + r.len() as u64 / 16)) {
                return spent();
            }
            Ok(l.iter().filter(|l| !r.iter().any(|r| order::equal(l, r))).cloned().collect())
        }
        (l, r) => misfit(l, r, "cannot be subtracted"),
    }
}

/// `l * r`
pub(super) fn mul(l: Value, r: Value) -> Op {
    match (l, r) {
        (Value::Num(l), Value::Num(r)) => Ok(arith(l, r, i64::checked_mul, |l, r| l * r)),
        (Value::Str(s), Value::Num(n)) | (Value::Num(n), Value::Str(s)) => repeat(&s, n.as_f64()),
        (Value::Obj(l), Value::Obj(r)) => merge(l, &r).map(Value::Obj),
        (l, r) => misfit(&l, &r, "cannot be multiplied"),
    }
}

fn repeat(s: &str, times: f64) -> Op {
    if times.is_nan() || times < 0.0 {
        return Ok(Value::Null);
    }
    // Beyond 2^32 the cast saturates, and so does the length; it is refused before anything is allocated.
    let times = if s.is_empty() { 0 } else { times as u32 as usize };
    if admit(s.len().saturating_mul(times)) { Ok(Value::from(s.repeat(times))) } else { spent() }
}

/// Merges deep: objects into objects, everything else is replaced.
fn merge(mut l: Arc<Map>, r: &Map) -> Op<Arc<Map>> {
    let copied = if Arc::get_mut(&mut l).is_some() { 0 } else { l.len() };
    copying(copied + r.len())?;
    let members = Arc::make_mut(&mut l);
    for (k, v) in r {
        let Value::Obj(new) = v else {
            members.insert(k.clone(), v.clone());
            continue;
        };
        match members.get_mut(k) {
            Some(Value::Obj(old)) => *old = merge(std::mem::take(old), new)?,
            _ => {
                members.insert(k.clone(), v.clone());
            }
        }
    }
    Ok(l)
}

/// `l / r`
pub(super) fn div(l: &Value, r: &Value) -> Op {
    match (l, r) {
        (Value::Num(_), Value::Num(n)) if n.as_f64() == 0.0 => {
            misfit(l, r, "cannot be divided because the divisor is zero")
        }
        (Value::Num(l), Value::Num(r)) => {
            let whole = |l: i64, r: i64| (l.checked_rem(r)? == 0).then(|| l.checked_div(r)).flatten();
            Ok(arith(*l, *r, whole, |l, r| l / r))
        }
        (Value::Str(l), Value::Str(r)) => split(l, r),
        (l, r) => misfit(l, r, "cannot be divided"),
    }
}

/// The pieces of a string between separators; its characters if the separator is empty.
pub(super) fn split(s: &str, sep: &str) -> Op {
    if s.is_empty() {
        return Ok(Value::from(Vec::new()));
    }
    let pieces: Vec<Value> = if sep.is_empty() {
        s.chars().map(|c| Value::str(c.encode_utf8(&mut [0; 4]))).collect()
    } else {
        s.split(sep).map(Value::from).collect()
    };
    copying(pieces.len() * 2)?;
    if burn_bytes(s.len()) { Ok(Value::from(pieces)) } else { spent() }
}

/// `l % r`: both cut to integers, the sign that of the dividend.
pub(super) fn rem(l: &Value, r: &Value) -> Op {
    let (Value::Num(x), Value::Num(y)) = (l, r) else { return misfit(l, r, "cannot be divided (remainder)") };
    if x.as_f64().is_nan() || y.as_f64().is_nan() {
        return Ok(Value::from(f64::NAN));
    }
    let cut = |n: Num| int(n).unwrap_or_else(|| n.as_f64() as i64);
    match cut(*y) {
        0 => misfit(l, r, "cannot be divided (remainder) because the divisor is zero"),
        y => Ok(Value::from(cut(*x).checked_rem(y).unwrap_or(0))),
    }
}

/// `-v`
pub(super) fn neg(v: &Value) -> Op {
    match v {
        Value::Num(Num::Int(i)) => Ok(i.checked_neg().map_or_else(|| Value::from(-(*i as f64)), Value::from)),
        Value::Num(Num::Float(f)) => Ok(Value::from(-f)),
        v => unfit(v, "cannot be negated"),
    }
}

/// The place of index `i` in an array of `len`, counted from the end if negative; fractions are cut off.
pub(super) fn place(i: Num, len: usize) -> Option<usize> {
    let i = match i {
        Num::Int(i) => i,
        Num::Float(f) if f.is_nan() => return None,
        Num::Float(f) => f as i64,
    };
    let i = if i < 0 { i.checked_add(i64::try_from(len).ok()?)? } else { i };
    usize::try_from(i).ok()
}

static NULL: Value = Value::Null;

/// `.name`, without copying.
pub(super) fn field<'a>(v: &'a Value, name: &str) -> Op<&'a Value> {
    match v {
        Value::Obj(m) => Ok(m.get(name).unwrap_or(&NULL)),
        Value::Null => Ok(&NULL),
        v => bad_index(v, &Value::from(name)),
    }
}

/// `.[i]`, without copying.
pub(super) fn item(v: &Value, i: Num) -> Op<&Value> {
    match v {
        Value::Arr(a) => Ok(place(i, a.len()).and_then(|i| a.get(i)).unwrap_or(&NULL)),
        Value::Null => Ok(&NULL),
        v => bad_index(v, &Value::Num(i)),
    }
}

fn bad_index<T>(v: &Value, k: &Value) -> Op<T> {
    fault(format!("Cannot index {} with {} ({})", v.kind(), k.kind(), preview(k)))
}

/// `v[k]`
pub(super) fn index(v: &Value, k: &Value) -> Op {
    match (v, k) {
        (v, Value::Str(k)) => field(v, k).cloned(),
        (v, Value::Num(i)) => item(v, *i).cloned(),
        (Value::Null | Value::Arr(_) | Value::Str(_), Value::Obj(range)) => {
            slice(v, range.get("start").unwrap_or(&NULL), range.get("end").unwrap_or(&NULL))
        }
        (Value::Arr(a), Value::Arr(part)) => occurrences(a, part),
        (v, k) => bad_index(v, k),
    }
}

/// Where `part` begins in `whole`.
pub(super) fn occurrences(whole: &[Value], part: &[Value]) -> Op {
    if part.is_empty() {
        return Ok(Value::from(Vec::new()));
    }
    if !burn(whole.len() as u64) {
        return spent();
    }
    let windows = whole.windows(part.len()).enumerate();
    Ok(windows
        .filter(|(_, w)| w.iter().zip(part).all(|(a, b)| order::equal(a, b)))
        .map(|(i, _)| Value::from(i))
        .collect())
}

/// The bounds of a slice in something of length `len`: the start rounds down, the end up, both are clamped.
pub(super) fn bounds(len: usize, from: &Value, upto: &Value) -> Op<(usize, usize)> {
    let bound = |v: &Value, default: f64| match v {
        Value::Null => Ok(default),
        Value::Num(n) if n.as_f64().is_nan() => Ok(default),
        Value::Num(n) => Ok(n.as_f64()),
        _ => fault("Array/string slice indices must be integers"),
    };
    let whole = len as f64;
    let wrap = |f: f64| (if f < 0.0 { f + whole } else { f }).clamp(0.0, whole);
    let start = wrap(bound(from, 0.0)?).floor() as usize;
    let end = wrap(bound(upto, whole)?).ceil() as usize;
    Ok((start, end.max(start)))
}

/// `v[from:upto]`; strings are cut by characters.
pub(super) fn slice(v: &Value, from: &Value, upto: &Value) -> Op {
    match v {
        Value::Null => Ok(Value::Null),
        Value::Arr(a) => {
            let (start, end) = bounds(a.len(), from, upto)?;
            copying(end - start)?;
            Ok(Value::from(a[start..end].to_vec()))
        }
        Value::Str(s) => {
            let (start, end) = bounds(s.chars().count(), from, upto)?;
            let at = |n: usize| s.char_indices().nth(n).map_or(s.len(), |(i, _)| i);
            text(&s[at(start)..at(end)])
        }
        v => fault(format!("Cannot index {} with object", v.kind())),
    }
}

/// The place at which `.[i] = …` writes, with the array grown so that it is there.
pub(super) fn slot(a: &mut Vec<Value>, i: Num) -> Op<&mut Value> {
    let i = match place(i, a.len()) {
        Some(i) => i,
        None if i.as_f64().is_nan() => return fault("Cannot set array element at NaN index"),
        None => return fault("Out of bounds negative array index"),
    };
    if i >= a.len() {
        if i as u64 >= max_nodes() {
            blow(Blown::Nodes);
            return fault("Array index too large");
        }
        copying(i - a.len())?;
        a.resize(i + 1, Value::Null);
    }
    Ok(&mut a[i])
}

/// The nesting of a value; stops counting beyond `limit`.
pub(super) fn depth(v: &Value, limit: u32) -> u32 {
    if limit == 0 {
        return u32::from(matches!(v, Value::Arr(_) | Value::Obj(_)));
    }
    let mut deepest = 0;
    match v {
        Value::Arr(a) => {
            for v in a.iter() {
                if deepest >= limit || !burn(1) {
                    break;
                }
                deepest = deepest.max(depth(v, limit - 1));
            }
            1 + deepest
        }
        Value::Obj(m) => {
            for v in m.values() {
                if deepest >= limit || !burn(1) {
                    break;
                }
                deepest = deepest.max(depth(v, limit - 1));
            }
            1 + deepest
        }
        _ => 0,
    }
}
