//! Filters on arrays and objects: lengths, keys, sorting, grouping, searching, conversion to entries and back.

use super::super::interp::{V, bad_key, has, items};
use super::super::meter::burn;
use super::super::ops::{self, Op, copying, fault, misfit, occurrences, spent, unfit};
use super::super::order::{self, sort_by_key};
use super::super::print::preview;
use super::{Entry, value};
use crate::value::{Map, Num, Value};

pub(super) static TABLE: &[Entry] = &[
    value!("length" / 0 => length),
    value!("keys" / 0 => keys),
    value!("keys_unsorted" / 0 => keys_unsorted),
    value!("has" / 1 => |v: &Value, [k]: [&Value; 1]| has(v, k).map(Value::Bool)),
    value!("contains" / 1 => |l: &Value, [r]: [&Value; 1]| contains(l, r)),
    value!("add" / 0 => add),
    value!("any" / 0 => |v: &Value| quantify(v, true)),
    value!("all" / 0 => |v: &Value| quantify(v, false)),
    value!("reverse" / 0 => reverse),
    value!("sort" / 0 => sort),
    value!("unique" / 0 => unique),
    value!("min" / 0 => |v: &Value| extreme(v, v, false)),
    value!("max" / 0 => |v: &Value| extreme(v, v, true)),
    value!("_sort_by" / 1 => |v: &Value, [k]: [&Value; 1]| Ok(sorted(v, k)?.into_iter().map(|(_, v)| v).collect())),
    value!("_group_by" / 1 => |v: &Value, [k]: [&Value; 1]| group(v, k)),
    value!("_unique_by" / 1 => |v: &Value, [k]: [&Value; 1]| unique_by(v, k)),
    value!("_min_by" / 1 => |v: &Value, [k]: [&Value; 1]| extreme(v, k, false)),
    value!("_max_by" / 1 => |v: &Value, [k]: [&Value; 1]| extreme(v, k, true)),
    value!("bsearch" / 1 => |v: &Value, [x]: [&Value; 1]| bsearch(v, x)),
    value!("flatten" / 0 => |v: &Value| flat(v, f64::INFINITY)),
    value!("flatten" / 1 => |v: &Value, [d]: [&Value; 1]| flatten(v, d)),
    value!("to_entries" / 0 => to_entries),
    value!("from_entries" / 0 => from_entries),
    value!("indices" / 1 => |v: &Value, [x]: [&Value; 1]| indices(v, x)),
    value!("index" / 1 => |v: &Value, [x]: [&Value; 1]| nth_of(indices(v, x)?, Num::Int(0))),
    value!("rindex" / 1 => |v: &Value, [x]: [&Value; 1]| nth_of(indices(v, x)?, Num::Int(-1))),
    value!("toarray" / 0 => |v: &Value| Ok(if v.as_array().is_some() { v.clone() } else { vec![v.clone()].into() })),
    value!("transpose" / 0 => transpose),
];

fn length(v: &Value) -> Op {
    match v {
        Value::Null => Ok(Value::from(0_i64)),
        Value::Bool(_) => unfit(v, "has no length"),
        Value::Num(Num::Int(i)) => Ok(i.checked_abs().map_or_else(|| Value::from((*i as f64).abs()), Value::from)),
        Value::Num(Num::Float(f)) => Ok(Value::from(f.abs())),
        Value::Str(s) => Ok(Value::from(s.chars().count())),
        Value::Arr(a) => Ok(Value::from(a.len())),
        Value::Obj(m) => Ok(Value::from(m.len())),
    }
}

fn keys_unsorted(v: &Value) -> Op {
    match v {
        Value::Obj(m) => {
            copying(m.len())?;
            Ok(m.keys().map(|k| Value::Str(k.clone())).collect())
        }
        Value::Arr(a) => {
            copying(a.len())?;
            Ok((0..a.len()).map(Value::from).collect())
        }
        v => unfit(v, "has no keys"),
    }
}

fn keys(v: &Value) -> Op {
    let keys = keys_unsorted(v)?;
    if v.as_object().is_some() { sort(&keys) } else { Ok(keys) }
}

fn contains(l: &Value, r: &Value) -> Op {
    // true and false are kinds of their own.
    if l.kind() != r.kind() || matches!((l, r), (Value::Bool(l), Value::Bool(r)) if l != r) {
        return misfit(l, r, "cannot have their containment checked");
    }
    Ok(Value::Bool(within(l, r)))
}

fn within(l: &Value, r: &Value) -> bool {
    if !burn(1) {
        return false;
    }
    match (l, r) {
        (Value::Obj(l), Value::Obj(r)) => r.iter().all(|(k, r)| l.get(k).is_some_and(|l| within(l, r))),
        (Value::Arr(l), Value::Arr(r)) => r.iter().all(|r| l.iter().any(|l| within(l, r))),
        (Value::Str(l), Value::Str(r)) => l.contains(&**r),
        (l, r) => order::equal(l, r),
    }
}

fn add(v: &Value) -> Op {
    let values = values_of(v)?;
    if !burn(values.len() as u64) {
        return spent();
    }
    // Strings are gathered in one go; sums of strings one by one would copy quadratically.
    if let Some(parts) = values.iter().map(|v| v.as_str()).collect::<Option<Vec<_>>>() {
        return if parts.is_empty() { Ok(Value::Null) } else { ops::text(parts.concat()) };
    }
    values.into_iter().try_fold(Value::Null, |sum, v| ops::add(sum, v.clone()))
}

fn quantify(v: &Value, any: bool) -> Op {
    Ok(Value::Bool(values_of(v)?.iter().any(|v| v.truthy() == any) == any))
}

fn reverse(v: &Value) -> Op {
    match (v, length(v)?) {
        (Value::Arr(a), _) => {
            copying(a.len())?;
            Ok(a.iter().rev().cloned().collect())
        }
        (_, Value::Num(n)) if n.as_f64() == 0.0 => Ok(Value::from(Vec::new())),
        // jq begins at the end.
        (v, Value::Num(n)) => ops::item(v, Num::Float(n.as_f64() - 1.0)).cloned(),
        (v, _) => ops::item(v, Num::Int(0)).cloned(),
    }
}

fn sort(v: &Value) -> Op {
    let a = items(v, "cannot be sorted, as it is not an array")?;
    copying(a.len())?;
    Ok(Value::from(sort_by_key(a.to_vec(), |v| v)))
}

fn unique(v: &Value) -> Op {
    let mut kept: Vec<Value> = Vec::new();
    for v in items(&sort(v)?, "")? {
        if kept.last().is_none_or(|last| !order::equal(last, v)) {
            kept.push(v.clone());
        }
    }
    Ok(Value::from(kept))
}

/// The items of `v` with their keys, in order of the keys.
fn sorted(v: &Value, keys: &Value) -> Op<Vec<(Value, Value)>> {
    match (v, keys) {
        (Value::Arr(a), Value::Arr(k)) if a.len() == k.len() => {
            copying(a.len() * 2)?;
            let pairs: Vec<_> = k.iter().cloned().zip(a.iter().cloned()).collect();
            Ok(sort_by_key(pairs, |pair| &pair.0))
        }
        (v, k) => misfit(v, k, "cannot be sorted, as they are not both arrays"),
    }
}

fn group(v: &Value, keys: &Value) -> Op {
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, v) in sorted(v, keys)? {
        match groups.last_mut() {
            Some((last, group)) if order::equal(last, &key) => group.push(v),
            _ => groups.push((key, vec![v])),
        }
    }
    Ok(groups.into_iter().map(|(_, group)| Value::from(group)).collect())
}

fn unique_by(v: &Value, keys: &Value) -> Op {
    let mut kept: Vec<(Value, Value)> = Vec::new();
    for (key, v) in sorted(v, keys)? {
        if kept.last().is_none_or(|(last, _)| !order::equal(last, &key)) {
            kept.push((key, v));
        }
    }
    Ok(kept.into_iter().map(|(_, v)| v).collect())
}

/// The first least, or the last greatest, item by its key.
fn extreme(v: &Value, keys: &Value, greatest: bool) -> Op {
    let (Value::Arr(a), Value::Arr(k)) = (v, keys) else { return misfit(v, keys, "cannot be iterated over") };
    let mut best: Option<(&Value, &Value)> = None;
    for (v, k) in a.iter().zip(k.iter()) {
        burn(1);
        let better = best.is_none_or(|(_, b)| order::compare(k, b).is_lt() != greatest);
        if better {
            best = Some((v, k));
        }
    }
    Ok(best.map_or(Value::Null, |(v, _)| v.clone()))
}

fn bsearch(v: &Value, x: &Value) -> Op {
    let a = items(v, "cannot be searched from")?;
    Ok(match a.binary_search_by(|v| order::compare(v, x)) {
        Ok(i) => Value::from(i),
        Err(i) => Value::from(-1 - i64::try_from(i).unwrap_or(i64::MAX - 1)),
    })
}

fn flatten(v: &Value, depth: &Value) -> Op {
    match depth {
        Value::Num(n) if n.as_f64() < 0.0 => fault("flatten depth must not be negative"),
        Value::Num(n) => flat(v, n.as_f64()),
        d => unfit(d, "is not a depth to flatten to"),
    }
}

fn flat(v: &Value, depth: f64) -> Op {
    fn gather(values: &mut dyn Iterator<Item = &Value>, depth: f64, out: &mut Vec<Value>) {
        for v in values {
            if !burn(1) {
                return;
            }
            match v {
                Value::Arr(inner) if depth > 0.0 => gather(&mut inner.iter(), depth - 1.0, out),
                v => out.push(v.clone()),
            }
        }
    }
    let mut out = Vec::new();
    gather(&mut values_of(v)?.into_iter(), depth, &mut out);
    Ok(Value::from(out))
}

fn to_entries(v: &Value) -> Op {
    let entry = |k: Value, v: &Value| Value::from([("key", k), ("value", v.clone())]);
    match v {
        Value::Obj(m) => {
            copying(m.len() * 3)?;
            Ok(m.iter().map(|(k, v)| entry(Value::Str(k.clone()), v)).collect())
        }
        Value::Arr(a) => {
            copying(a.len() * 3)?;
            Ok(a.iter().enumerate().map(|(i, v)| entry(Value::from(i), v)).collect())
        }
        v => unfit(v, "has no keys"),
    }
}

/// Takes the key from the first of `key`, `Key`, `name`, `Name` that is not false, the value from `value` or `Value`.
fn from_entries(v: &Value) -> Op {
    let entries = values_of(v)?;
    copying(entries.len())?;
    let mut out = Map::with_capacity(entries.len());
    for entry in entries {
        let mut key = &Value::Null;
        for name in ["key", "Key", "name", "Name"] {
            key = ops::field(entry, name)?;
            if key.truthy() {
                break;
            }
        }
        let Value::Str(key) = key else { return fault(bad_key(key)) };
        let value = entry.get("value").or_else(|| entry.get("Value"));
        out.insert(key.clone(), value.cloned().unwrap_or(Value::Null));
    }
    Ok(Value::from(out))
}

/// The values that `.[]` yields.
pub(super) fn values_of(v: &Value) -> Op<Vec<&Value>> {
    match v {
        Value::Arr(a) => Ok(a.iter().collect()),
        Value::Obj(m) => Ok(m.values().collect()),
        v => fault(format!("Cannot iterate over {} ({})", v.kind(), preview(v))),
    }
}

fn indices(v: &Value, x: &Value) -> Op {
    match (v, x) {
        (Value::Null, _) => Ok(Value::Null),
        (Value::Arr(a), Value::Arr(part)) => occurrences(a, part),
        (Value::Arr(a), x) => occurrences(a, std::slice::from_ref(x)),
        (Value::Str(s), Value::Str(part)) => super::text::occurrences(s, part),
        (v, x) => ops::index(v, x),
    }
}

fn nth_of(found: Value, i: Num) -> Op {
    ops::item(&found, i).cloned()
}

fn transpose(v: &Value) -> Op {
    let rows = items(v, "cannot be transposed, as it is not an array")?;
    let rows: Vec<&[Value]> = rows.iter().map(|r| items(r, "is not a row")).collect::<Op<_>>()?;
    let width = rows.iter().map(|r| r.len()).max().unwrap_or(0);
    copying(width.saturating_mul(rows.len()))?;
    Ok((0..width).map(|i| rows.iter().map(|r| r.get(i).cloned().unwrap_or_default()).collect::<Value>()).collect())
}
