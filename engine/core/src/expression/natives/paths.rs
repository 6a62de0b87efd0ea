//! Filters on paths: reading, writing and deleting at an array of keys.
//!
//! `getpath` is also a path itself: `path(getpath(["a"]))`, `getpath(["a"]) |= f`.

use std::sync::Arc;

use jaq_core::box_iter::box_once;
use jaq_core::path::Opt;
use jaq_core::{Error, Exn, ValT, ValX, ValXs};

use super::super::interp::{V, items};
use super::super::meter::{Blown, MAX_PATH, blow, burn};
use super::super::ops::{self, Op, fault};
use super::super::order;
use super::{Entry, args, one, value};
use crate::value::{Map, Value};

pub(super) static TABLE: &[Entry] = &[
    Entry {
        name: "getpath",
        arity: 1,
        run: |cv| {
            let (v, [path]) = args::<1>(cv);
            one(keys(path.value()).and_then(|path| get(v.value(), path)), v.depth())
        },
        paths: Some((
            |mut cv| {
                let path = cv.0.pop_var();
                let (v, mut at) = cv.1;
                let found = keys(path.value()).and_then(|keys| {
                    let found = get(v.value(), keys)?;
                    Ok((V::bounded(found, v.depth())?, keys.to_vec()))
                });
                box_once(match found {
                    Ok((found, keys)) => {
                        for key in keys {
                            at = at.cons(V::data(key));
                        }
                        Ok((found, at))
                    }
                    Err(e) => Err(Exn::from(Error::from(e))),
                })
            },
            |mut cv, f| {
                let path = cv.0.pop_var();
                box_once(match keys(path.value()) {
                    Ok(keys) => update(cv.1, keys, &|v| f(v)),
                    Err(e) => Err(Exn::from(Error::from(e))),
                })
            },
        )),
        of_input: None,
    },
    Entry {
        name: "setpath",
        arity: 2,
        run: |cv| {
            let (v, [path, new]) = args::<2>(cv);
            box_once(match keys(path.value()) {
                Ok(keys) => update(v, keys, &|_| box_once(Ok(new.clone()))),
                Err(e) => Err(Exn::from(Error::from(e))),
            })
        },
        paths: None,
        of_input: None,
    },
    value!("delpaths" / 1 => |v: &Value, [paths]: [&Value; 1]| delete(v, paths)),
];

fn keys(path: &Value) -> Op<&[Value]> {
    let Value::Arr(keys) = path else { return fault("Path must be specified as an array") };
    if keys.len() > MAX_PATH {
        blow(Blown::Path);
        return fault("Path too deep");
    }
    Ok(keys)
}

/// What stands at a path; null where it ends early.
fn get(v: &Value, path: &[Value]) -> Op {
    let mut v = v.clone();
    for key in path {
        burn(1);
        v = ops::index(&v, key)?;
    }
    Ok(v)
}

/// Updates what stands at a path.
fn update<'a>(v: V, path: &[Value], f: &dyn Fn(V) -> ValXs<'a, V>) -> ValX<'a, V> {
    match path.split_first() {
        None => f(v).next().unwrap_or_else(|| Ok(V::data(Value::Null))),
        Some((key, rest)) => {
            burn(1);
            let inner = |v| match rest {
                [] => f(v),
                rest => box_once(update(v, rest, f)),
            };
            v.map_index(&V::data(key.clone()), Opt::Essential, inner)
        }
    }
}

/// Deletes at many paths; what is deleted first does not move what is deleted later.
fn delete(v: &Value, paths: &Value) -> Op {
    let paths = items(paths, "").or_else(|_| fault("Paths must be specified as an array"))?;
    for path in paths {
        match path {
            Value::Arr(_) => keys(path)?,
            other => return fault(format!("Path must be specified as array, not {}", other.kind())),
        };
    }
    let paths = order::sort_by_key(paths.to_vec(), |v| v);
    let sorted: Vec<&[Value]> = paths.iter().filter_map(Value::as_array).collect();
    match sorted.first() {
        None => Ok(v.clone()),
        Some([]) => Ok(Value::Null),
        Some(_) => delete_sorted(v.clone(), &sorted, 0),
    }
}

/// `paths` are sorted and longer than `start`; they agree on what is before it.
fn delete_sorted(mut v: Value, paths: &[&[Value]], start: usize) -> Op {
    let mut doomed = Vec::new();
    for group in paths.chunk_by(|a, b| order::equal(&a[start], &b[start])) {
        let key = &group[0][start];
        burn(group.len() as u64);
        if group[0].len() == start + 1 {
            doomed.push(key);
            continue;
        }
        let inner = ops::index(&v, key)?;
        if !inner.is_null() {
            let inner = delete_sorted(inner, group, start + 1)?;
            v = put(v, key, inner)?;
        }
    }
    remove(v, &doomed)
}

/// Puts `new` where something stands already.
fn put(v: Value, key: &Value, new: Value) -> Op {
    match (v, key) {
        (Value::Obj(mut m), Value::Str(k)) => {
            ops::copying(m.len())?;
            Arc::make_mut(&mut m).insert(k.clone(), new);
            Ok(Value::Obj(m))
        }
        (Value::Arr(mut a), Value::Num(i)) => {
            ops::copying(a.len())?;
            *ops::slot(Arc::make_mut(&mut a), *i)? = new;
            Ok(Value::Arr(a))
        }
        (Value::Arr(a), Value::Obj(range)) => {
            let bound = |name| range.get(name).unwrap_or(&Value::Null);
            let (start, end) = ops::bounds(a.len(), bound("start"), bound("end"))?;
            ops::copying(a.len())?;
            let mut a = a.to_vec();
            a.splice(start..end, new.as_array().unwrap_or_default().iter().cloned());
            Ok(Value::from(a))
        }
        (v, k) => fault(format!("Cannot update field at {} index of {}", k.kind(), v.kind())),
    }
}

fn remove(v: Value, doomed: &[&Value]) -> Op {
    if doomed.is_empty() {
        return Ok(v);
    }
    match v {
        Value::Null => Ok(Value::Null),
        Value::Obj(m) => {
            let mut names = std::collections::BTreeSet::new();
            for k in doomed {
                match k {
                    Value::Str(k) => names.insert(k.clone()),
                    k => return fault(format!("Cannot delete {} field of object", k.kind())),
                };
            }
            ops::copying(m.len())?;
            let kept = m.iter().filter(|(k, _)| !names.contains(*k));
            Ok(Value::from(kept.map(|(k, v)| (k.clone(), v.clone())).collect::<Map>()))
        }
        Value::Arr(a) => {
            let mut gone = vec![false; a.len()];
            ops::copying(a.len())?;
            for k in doomed {
                match k {
                    Value::Num(i) => {
                        if let Some(place) = ops::place(*i, a.len()).and_then(|i| gone.get_mut(i)) {
                            *place = true;
                        }
                    }
                    Value::Obj(range) => {
                        let bound = |name| range.get(name).unwrap_or(&Value::Null);
                        let (start, end) = ops::bounds(a.len(), bound("start"), bound("end"))?;
                        gone[start..end].fill(true);
                    }
                    k => return fault(format!("Cannot delete {} element of array", k.kind())),
                }
            }
            Ok(a.iter().zip(gone).filter(|(_, gone)| !gone).map(|(v, _)| v.clone()).collect())
        }
        v => fault(format!("Cannot delete fields from {}", v.kind())),
    }
}
