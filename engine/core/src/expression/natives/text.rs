//! Filters on strings: trimming, cutting, joining, case, code points, numbers and JSON in text.

use super::super::interp::V;
use super::super::meter::{admit, burn, burn_bytes};
use super::super::ops::{self, Op, copying, fault, spent, text, unfit};
use super::super::print::{preview, to_json, write_text};
use super::{Entry, value};
use crate::value::{Num, Value};

pub(super) static TABLE: &[Entry] = &[
    value!("tostring" / 0 => tostring),
    value!("tojson" / 0 => |v: &Value| Ok(Value::from(to_json(v)))),
    value!("fromjson" / 0 => fromjson),
    value!("tonumber" / 0 => tonumber),
    value!("toboolean" / 0 => toboolean),
    value!("utf8bytelength" / 0 => utf8bytelength),
    value!("ascii_downcase" / 0 => |v: &Value| text(str_of(v, DOWNCASE)?.to_ascii_lowercase())),
    value!("ascii_upcase" / 0 => |v: &Value| text(str_of(v, UPCASE)?.to_ascii_uppercase())),
    value!("explode" / 0 => explode),
    value!("implode" / 0 => implode),
    value!("trim" / 0 => |v: &Value| cut(v, str_of(v, TRIM)?.trim())),
    value!("ltrim" / 0 => |v: &Value| cut(v, str_of(v, TRIM)?.trim_start())),
    value!("rtrim" / 0 => |v: &Value| cut(v, str_of(v, TRIM)?.trim_end())),
    value!("startswith" / 1 => |v: &Value, [x]: [&Value; 1]| {
        let (s, x) = both(v, x, "startswith() requires string inputs")?;
        Ok(Value::Bool(s.starts_with(x)))
    }),
    value!("endswith" / 1 => |v: &Value, [x]: [&Value; 1]| {
        let (s, x) = both(v, x, "endswith() requires string inputs")?;
        Ok(Value::Bool(s.ends_with(x)))
    }),
    value!("ltrimstr" / 1 => |v: &Value, [x]: [&Value; 1]| ltrimstr(v, x)),
    value!("rtrimstr" / 1 => |v: &Value, [x]: [&Value; 1]| rtrimstr(v, x)),
    value!("trimstr" / 1 => |v: &Value, [x]: [&Value; 1]| rtrimstr(&ltrimstr(v, x)?, x)),
    value!("split" / 1 => |v: &Value, [x]: [&Value; 1]| {
        let (s, sep) = both(v, x, "split input and separator must be strings")?;
        ops::split(s, sep)
    }),
    value!("join" / 1 => |v: &Value, [sep]: [&Value; 1]| join(v, sep)),
];

const DOWNCASE: &str = "explode input must be a string";
const UPCASE: &str = "explode input must be a string";
const TRIM: &str = "trim input must be a string";

fn str_of<'v>(v: &'v Value, otherwise: &str) -> Op<&'v str> {
    v.as_str().map_or_else(|| fault(otherwise), Ok)
}

fn both<'v>(a: &'v Value, b: &'v Value, otherwise: &str) -> Op<(&'v str, &'v str)> {
    Ok((str_of(a, otherwise)?, str_of(b, otherwise)?))
}

/// `part`, which is a part of the string `whole`; shared where it is all of it.
fn cut(whole: &Value, part: &str) -> Op {
    if whole.as_str().is_some_and(|s| s.len() == part.len()) { Ok(whole.clone()) } else { text(part) }
}

fn ltrimstr(v: &Value, x: &Value) -> Op {
    let (s, x) = both(v, x, "startswith() requires string inputs")?;
    cut(v, s.strip_prefix(x).unwrap_or(s))
}

fn rtrimstr(v: &Value, x: &Value) -> Op {
    let (s, x) = both(v, x, "endswith() requires string inputs")?;
    cut(v, s.strip_suffix(x).unwrap_or(s))
}

fn tostring(v: &Value) -> Op {
    Ok(if v.as_str().is_some() { v.clone() } else { Value::from(to_json(v)) })
}

fn fromjson(v: &Value) -> Op {
    let Some(s) = v.as_str() else { return unfit(v, "only strings can be parsed") };
    if !burn(1 + s.len() as u64 / 16) {
        return spent();
    }
    match s.trim() {
        "" => fault(format!("Expected JSON value (while parsing '{s}')")),
        "nan" | "NaN" => Ok(Value::from(f64::NAN)),
        _ => Value::from_json(s.as_bytes()).or_else(|e| fault(format!("{e} (while parsing '{}')", preview(v)))),
    }
}

fn tonumber(v: &Value) -> Op {
    let found = match v {
        Value::Num(_) => return Ok(v.clone()),
        Value::Str(s) => number(s),
        _ => None,
    };
    found.map_or_else(|| unfit(v, "cannot be parsed as a number"), |n| Ok(Value::Num(n)))
}

/// A decimal number, with nothing around it; what Rust's parser takes beyond that (`inf`, `infinity`) is no number.
fn number(s: &str) -> Option<Num> {
    if s.eq_ignore_ascii_case("nan") {
        return Some(Num::Float(f64::NAN));
    }
    let digits = s.strip_prefix(['+', '-']).unwrap_or(s);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    s.parse().map(Num::Int).or_else(|_| s.parse().map(Num::Float)).ok()
}

fn toboolean(v: &Value) -> Op {
    match v {
        Value::Bool(_) => Ok(v.clone()),
        Value::Str(s) if &**s == "true" => Ok(Value::Bool(true)),
        Value::Str(s) if &**s == "false" => Ok(Value::Bool(false)),
        v => unfit(v, "cannot be parsed as a boolean"),
    }
}

fn utf8bytelength(v: &Value) -> Op {
    v.as_str().map_or_else(|| unfit(v, "only strings have UTF-8 byte length"), |s| Ok(Value::from(s.len())))
}

fn explode(v: &Value) -> Op {
    let s = str_of(v, "explode input must be a string")?;
    copying(s.len())?;
    Ok(s.chars().map(|c| Value::from(c as u32)).collect())
}

fn implode(v: &Value) -> Op {
    let Value::Arr(points) = v else { return fault("implode input must be an array") };
    let mut out = String::with_capacity(points.len());
    for p in points.iter() {
        let point = p.as_f64().filter(|f| !f.is_nan());
        let Some(point) = point else {
            return unfit(p, "can't be imploded, unicode codepoint needs to be numeric");
        };
        let point = if point < 0.0 { u32::MAX } else { point as u32 };
        out.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    text(out)
}

/// Joins strings, numbers, booleans and nulls (which are empty).
fn join(v: &Value, sep: &Value) -> Op {
    let parts = super::collect::values_of(v)?;
    if !burn(parts.len() as u64) {
        return spent();
    }
    let mut out = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        if i > 0 {
            match sep {
                Value::Str(sep) => out.push_str(sep),
                Value::Null => {}
                sep => return ops::misfit(&Value::from(out), sep, "cannot be added"),
            }
        }
        match part {
            Value::Null => {}
            Value::Arr(_) | Value::Obj(_) => return ops::misfit(&Value::from(out), part, "cannot be added"),
            part => write_text(part, &mut out),
        }
    }
    text(out)
}

/// Where `part` begins in `s`, in characters; occurrences may overlap.
pub(super) fn occurrences(s: &str, part: &str) -> Op {
    if part.is_empty() {
        return Ok(Value::from(Vec::new()));
    }
    if !burn_bytes(s.len()) || !admit(part.len()) {
        return spent();
    }
    let starts = s.char_indices().enumerate().filter(|(_, (at, _))| s[*at..].starts_with(part));
    Ok(starts.map(|(i, _)| Value::from(i)).collect())
}
