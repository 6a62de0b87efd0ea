//! Values out of bytes.

use cpd_core::Value;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

/// The names that members get: few, so that expressions, policies and workflows find what they look for.
const NAMES: &[&str] = &["drift", "psi", "status", "features", "name", "model", "a", "outcome", "error", ""];

/// A value, nested up to `depth`.
///
/// # Errors
/// Never in practice: exhausted bytes read as zeros.
pub fn value(u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    let kinds = if depth == 0 { 8 } else { 10 };
    Ok(match u.int_in_range(0..=kinds - 1)? {
        0 => Value::Null,
        1 => Value::from(u.arbitrary::<bool>()?),
        2 => Value::from(u.arbitrary::<i64>()?),
        3 => Value::from(i64::from(u.arbitrary::<i8>()?)),
        // What comes from outside came as JSON: it is a number.
        4 => Value::from(Some(u.arbitrary::<f64>()?).filter(|f| f.is_finite()).unwrap_or_default()),
        5 => Value::from(f64::from(u.arbitrary::<u8>()?) / 256.0),
        6 => Value::from(*u.choose(NAMES)?),
        7 => {
            let length = u.int_in_range(0..=12)?;
            Value::from(String::from_utf8_lossy(u.bytes(length.min(u.len()))?).into_owned())
        }
        8 => {
            let count = u.int_in_range(0..=4)?;
            Value::from((0..count).map(|_| value(u, depth - 1)).collect::<Result<Vec<_>>>()?)
        }
        _ => {
            let count = u.int_in_range(0..=4)?;
            let members = (0..count).map(|_| Ok(((*u.choose(NAMES)?).into(), value(u, depth - 1)?)));
            Value::from(members.collect::<Result<cpd_core::value::Map>>()?)
        }
    })
}
