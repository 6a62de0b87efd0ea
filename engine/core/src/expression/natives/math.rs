//! Mathematics on doubles, with the same bits on every platform: `libm` in Rust, not the system's.

use super::super::interp::V;
use super::super::ops::{self, Op, unfit};
use super::super::order;
use super::{Entry, value};
use crate::value::{Num, Value};

/// Entries for functions of doubles: `name: input`, `name: a b`, `name: a b c`.
macro_rules! doubles {
    ($($name:literal: $f:expr),* ; $($name2:literal: $f2:expr),* ; $($name3:literal: $f3:expr),*) => {
        &[
            $(value!($name / 0 => |v: &Value| Ok(double($f(f64_of(v)?)))),)*
            $(value!($name2 / 2 => |_: &Value, [a, b]: [&Value; 2]| Ok(double($f2(f64_of(a)?, f64_of(b)?)))),)*
            $(value!($name3 / 3 => |_: &Value, [a, b, c]: [&Value; 3]| {
                Ok(double($f3(f64_of(a)?, f64_of(b)?, f64_of(c)?)))
            }),)*
            value!("floor" / 0 => |v: &Value| whole(v, libm::floor)),
            value!("ceil" / 0 => |v: &Value| whole(v, libm::ceil)),
            value!("round" / 0 => |v: &Value| whole(v, libm::round)),
            value!("trunc" / 0 => |v: &Value| whole(v, libm::trunc)),
            value!("rint" / 0 => |v: &Value| whole(v, libm::rint)),
            value!("nearbyint" / 0 => |v: &Value| whole(v, libm::rint)),
            value!("abs" / 0 => abs),
            value!("infinite" / 0 => |_: &Value| Ok(Value::from(f64::INFINITY))),
            value!("nan" / 0 => |_: &Value| Ok(Value::from(f64::NAN))),
            value!("isinfinite" / 0 => |v: &Value| is(v, f64::is_infinite)),
            value!("isnan" / 0 => |v: &Value| is(v, f64::is_nan)),
            value!("isnormal" / 0 => |v: &Value| is(v, f64::is_normal)),
            value!("frexp" / 0 => |v: &Value| {
                let (mantissa, exponent) = libm::frexp(f64_of(v)?);
                Ok(Value::from(vec![double(mantissa), Value::from(i64::from(exponent))]))
            }),
            value!("modf" / 0 => |v: &Value| {
                let f = f64_of(v)?;
                let (fraction, whole) = if f.is_infinite() { (0.0_f64.copysign(f), f) } else { libm::modf(f) };
                Ok(Value::from(vec![double(fraction), double(whole)]))
            }),
        ]
    };
}

pub(super) static TABLE: &[Entry] = doubles!(
    "acos": libm::acos, "acosh": libm::acosh, "asin": libm::asin, "asinh": libm::asinh, "atan": libm::atan,
    "atanh": libm::atanh, "cbrt": libm::cbrt, "cos": libm::cos, "cosh": libm::cosh, "exp": libm::exp,
    "exp10": libm::exp10, "exp2": libm::exp2, "expm1": libm::expm1, "fabs": libm::fabs, "gamma": libm::lgamma,
    "lgamma": libm::lgamma, "tgamma": libm::tgamma, "log": libm::log, "log10": libm::log10, "log1p": libm::log1p,
    "log2": libm::log2, "logb": logb, "significand": significand, "sin": libm::sin, "sinh": libm::sinh,
    "sqrt": libm::sqrt, "tan": libm::tan, "tanh": libm::tanh;
    "atan2": libm::atan2, "copysign": libm::copysign, "drem": libm::remainder, "fdim": libm::fdim, "fmax": libm::fmax,
    "fmin": libm::fmin, "fmod": libm::fmod, "hypot": libm::hypot, "ldexp": scale, "nextafter": libm::nextafter,
    "pow": libm::pow, "scalb": scale, "scalbln": scale;
    "fma": libm::fma
);

fn f64_of(v: &Value) -> Op<f64> {
    v.as_f64().map_or_else(|| unfit(v, "number required"), Ok)
}

/// A double that is a whole number of moderate size is kept as an integer, so that it stays exact in what follows.
fn double(f: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if f.fract() == 0.0 && f.abs() <= EXACT && !(f == 0.0 && f.is_sign_negative()) {
        Value::from(f as i64)
    } else {
        Value::from(f)
    }
}

fn whole(v: &Value, round: fn(f64) -> f64) -> Op {
    match v {
        Value::Num(Num::Int(_)) => Ok(v.clone()),
        v => Ok(double(round(f64_of(v)?))),
    }
}

fn abs(v: &Value) -> Op {
    match v {
        Value::Num(Num::Int(i)) => Ok(i.checked_abs().map_or_else(|| Value::from((*i as f64).abs()), Value::from)),
        Value::Num(Num::Float(f)) => Ok(Value::from(if *f < 0.0 { -f } else { *f })),
        v if order::less(v, &Value::from(0_i64)) => ops::neg(v),
        v => Ok(v.clone()),
    }
}

fn is(v: &Value, what: fn(f64) -> bool) -> Op {
    Ok(Value::Bool(v.as_f64().is_some_and(what)))
}

fn logb(f: f64) -> f64 {
    match f {
        0.0 => f64::NEG_INFINITY,
        f if f.is_infinite() => f64::INFINITY,
        f if f.is_nan() => f,
        f => f64::from(libm::ilogb(f)),
    }
}

fn significand(f: f64) -> f64 {
    if f == 0.0 || !f.is_finite() { f } else { libm::scalbn(f, -libm::ilogb(f)) }
}

fn scale(f: f64, exponent: f64) -> f64 {
    // The cast saturates, and 2^±2147483647 is infinite or zero all the same.
    libm::scalbn(f, exponent as i32)
}
