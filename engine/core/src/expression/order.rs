//! jq's total order of values, and sorting by it.
//!
//! `null < false < true < numbers < strings < arrays < objects`; arrays compare item by item, objects first by their
//! sorted keys, then by their values. Integers and doubles compare exactly, so the order is transitive even beyond 2^53.
//! NaN is less than every number; for sorting it equals itself, for `<` and `==` it does not (see [`less`]).
//!
//! Comparing spends fuel. When it runs out, the answer is "equal": the evaluation is refused in the end, and the merge
//! sort here, unlike the standard library's, does not mind an order that contradicts itself.

use std::cmp::Ordering;

use super::meter::burn;
use crate::value::{Map, Num, Value};

/// jq's order, with NaN equal to itself.
pub(super) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Num(a), Value::Num(b)) => compare_num(*a, *b),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::Arr(a), Value::Arr(b)) => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !burn(1) {
                    return Ordering::Equal;
                }
                match compare(a, b) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                }
            }
            a.len().cmp(&b.len())
        }
        (Value::Obj(a), Value::Obj(b)) => compare_obj(a, b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// `a < b` as jq has it: NaN is less than any number, itself included.
pub(super) fn less(a: &Value, b: &Value) -> bool {
    is_nan(a) && matches!(b, Value::Num(_)) || compare(a, b).is_lt()
}

/// `a == b` as jq has it: NaN equals nothing.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Num(a), Value::Num(b)) => !a.as_f64().is_nan() && compare_num(*a, *b).is_eq(),
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::Arr(a), Value::Arr(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| burn(1) && equal(a, b))
        }
        (Value::Obj(a), Value::Obj(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| burn(1) && b.get(k).is_some_and(|b| equal(a, b)))
        }
        (a, b) => rank(a) == rank(b),
    }
}

fn is_nan(v: &Value) -> bool {
    matches!(v, Value::Num(Num::Float(f)) if f.is_nan())
}

fn rank(v: &Value) -> u8 {
    match v {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Num(_) => 3,
        Value::Str(_) => 4,
        Value::Arr(_) => 5,
        Value::Obj(_) => 6,
    }
}

fn compare_num(a: Num, b: Num) -> Ordering {
    match (a, b) {
        (Num::Int(a), Num::Int(b)) => a.cmp(&b),
        (Num::Float(a), Num::Float(b)) => a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())),
        (Num::Int(a), Num::Float(b)) => compare_int(a, b),
        (Num::Float(a), Num::Int(b)) => compare_int(b, a).reverse(),
    }
}

/// Compares exactly: the double is taken apart into whole and fraction, never the integer rounded.
fn compare_int(a: i64, b: f64) -> Ordering {
    if b.is_nan() {
        return Ordering::Greater;
    }
    // 2^63 as a double; every integer is less, and casts below it do not saturate.
    if b >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    if b < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    a.cmp(&(b.trunc() as i64)).then_with(|| 0.0.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal))
}

fn compare_obj(a: &Map, b: &Map) -> Ordering {
    let (mut ka, mut kb): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
    if !burn((ka.len() + kb.len()) as u64) {
        return Ordering::Equal;
    }
    ka.sort_by(|a, b| a.0.cmp(b.0));
    kb.sort_by(|a, b| a.0.cmp(b.0));
    ka.iter().map(|e| e.0).cmp(kb.iter().map(|e| e.0)).then_with(|| {
        let values = ka.iter().zip(&kb).map(|(a, b)| compare(a.1, b.1));
        values.into_iter().find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    })
}

/// Sorts stably by `key`. Never panics, whatever the comparison says.
pub(super) fn sort_by_key<T>(items: Vec<T>, key: impl Fn(&T) -> &Value + Copy) -> Vec<T> {
    let len = items.len();
    if len < 2 {
        return items;
    }
    let mut left = items;
    let right = left.split_off(len / 2);
    let (left, right) = (sort_by_key(left, key), sort_by_key(right, key));
    let mut out = Vec::with_capacity(len);
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        burn(1);
        out.extend(if compare(key(r), key(l)).is_lt() { right.next() } else { left.next() });
    }
    out.extend(left);
    out.extend(right);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn kinds_stand_in_jqs_order() {
        let sorted = json!([null, false, true, -1, 0.5, 2, "", "a", [], [0], {}, {"a": 1}, {"a": 2}, {"b": 0}]);
        let sorted = sorted.as_array().unwrap().to_vec();
        let mut shuffled = sorted.clone();
        shuffled.reverse();
        let again = sort_by_key(shuffled, |v| v);
        assert_eq!(Value::from(again), Value::from(sorted));
    }

    #[test]
    fn integers_and_doubles_compare_exactly() {
        let (big, double) = (Value::from((1_i64 << 53) + 1), Value::from((1_i64 << 53) as f64));
        assert_eq!(compare(&big, &double), Ordering::Greater);
        assert!(!equal(&big, &double));
        assert_eq!(compare(&Value::from(i64::MAX), &Value::from(9_223_372_036_854_775_808.0)), Ordering::Less);
        assert_eq!(compare(&Value::from(-1_i64), &Value::from(-1.5)), Ordering::Greater);
        assert!(equal(&Value::from(3_i64), &Value::from(3.0)));
    }

    #[test]
    fn nan_is_less_than_numbers_and_equal_to_nothing() {
        let nan = Value::from(f64::NAN);
        assert!(less(&nan, &nan) && less(&nan, &Value::from(f64::NEG_INFINITY)) && !less(&Value::from(0_i64), &nan));
        assert!(!equal(&nan, &nan));
        assert_eq!(compare(&nan, &nan), Ordering::Equal);
    }
}
