//! The JSON value that runs are made of.
//!
//! A value is shared, never copied deep: strings, arrays and objects stand behind `Arc`, so handing `$context` to an
//! expression or an input to a connector costs a reference count. Objects keep the order in which their keys came in.
//! Integers up to 64 bits are exact.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The members of an object, in insertion order.
pub type Map = IndexMap<Arc<str>, Value>;

/// The deepest nesting of JSON that was written by this program and is read back.
pub const WRITTEN_DEPTH_MAX: usize = 384;

/// Reads JSON that this program has written, see [`Value::from_written_json`].
///
/// # Errors
/// Where the text is not that of a `T`, with line and column.
pub fn read_written<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    if depth_passes(bytes, WRITTEN_DEPTH_MAX) {
        return Err(de::Error::custom(format!("it is nested more than {WRITTEN_DEPTH_MAX} levels deep")));
    }
    let mut text = serde_json::Deserializer::from_slice(bytes);
    // The bound was looked at above.
    text.disable_recursion_limit();
    let value = T::deserialize(&mut text)?;
    text.end()?;
    Ok(value)
}

/// Whether the brackets of a JSON text are nested deeper than that.
fn depth_passes(text: &[u8], limit: usize) -> bool {
    // So deep needs that many brackets to open and as many to close.
    if text.len() <= 2 * limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// A JSON value, cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Num(Num),
    /// A string.
    Str(Arc<str>),
    /// An array.
    Arr(Arc<Vec<Value>>),
    /// An object; keys in insertion order.
    Obj(Arc<Map>),
}

/// A number: a 64-bit integer kept exact, or a finite or non-finite double.
#[derive(Clone, Copy, Debug)]
pub enum Num {
    /// An exact integer.
    Int(i64),
    /// A double. NaN and infinities only arise inside expressions; they leave as JSON the way jq prints them
    /// (`null`, and the largest double).
    Float(f64),
}

impl Num {
    /// The number as a double; integers beyond 2^53 round.
    pub fn as_f64(self) -> f64 {
        match self {
            Num::Int(i) => i as f64,
            Num::Float(f) => f,
        }
    }

    /// The number as an integer, if it is one (a double with no fraction counts).
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Num::Int(i) => Some(i),
            Num::Float(f) if f.fract() == 0.0 && (-9.2e18..9.2e18).contains(&f) => Some(f as i64),
            Num::Float(_) => None,
        }
    }
}

impl PartialEq for Num {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Num::Int(a), Num::Int(b)) => a == b,
            (a, b) => a.as_f64() == b.as_f64(),
        }
    }
}

impl PartialEq for Value {
    /// Deep equality as JSON: numbers by value, objects whatever their order. Shared parts compare at once.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Num(a), Value::Num(b)) => a == b,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Arr(a), Value::Arr(b)) => Arc::ptr_eq(a, b) || a == b,
            (Value::Obj(a), Value::Obj(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}

/// A writer that keeps nothing but the count.
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Value {
    /// An empty object.
    pub fn object() -> Self {
        Value::Obj(Arc::default())
    }

    /// A string value.
    pub fn str(s: impl AsRef<str>) -> Self {
        Value::Str(Arc::from(s.as_ref()))
    }

    /// Parses JSON text.
    ///
    /// # Errors
    /// Where the text is not JSON, with line and column.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Parses JSON text that this program has written, however deep it is nested within [`WRITTEN_DEPTH_MAX`]. What comes in
    /// from outside is read to 127 levels ([`Value::from_json`]), and expressions make no more than 128; but a task, an
    /// outcome or a problem puts a few more around that, and what was recorded must be readable.
    ///
    /// # Errors
    /// Where the text is not JSON, with line and column.
    pub fn from_written_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        read_written(bytes)
    }

    /// Compact JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a value always prints")
    }

    /// Appends compact JSON text to `out`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, self).expect("writing to memory does not fail");
    }

    /// How many bytes of JSON it is, if those are more than `limit`.
    pub fn beyond(&self, limit: usize) -> Option<usize> {
        // Nearly all data are so small that their longest possible form is within any limit.
        if self.bytes_at_most(limit) <= limit {
            return None;
        }
        let mut counted = Counted(0);
        serde_json::to_writer(&mut counted, self).expect("counting does not fail");
        Some(counted.0).filter(|n| *n > limit)
    }

    /// No fewer bytes than its JSON has, counted no further than a little beyond `limit`.
    fn bytes_at_most(&self, limit: usize) -> usize {
        let mut open = vec![self];
        let mut bytes = 0usize;
        while let Some(value) = open.pop() {
            // An escape takes six bytes; the longest number is a double.
            bytes += match value {
                Value::Null | Value::Bool(_) => 6,
                Value::Num(_) => 26,
                Value::Str(text) => 6 * text.len() + 3,
                Value::Arr(items) => {
                    open.extend(items.iter());
                    2 + items.len()
                }
                Value::Obj(members) => {
                    open.extend(members.values());
                    2 + members.keys().map(|k| 6 * k.len() + 4).sum::<usize>()
                }
            };
            if bytes > limit {
                break;
            }
        }
        bytes
    }

    /// Converts any serialisable thing.
    ///
    /// # Errors
    /// If `thing` does not serialise to JSON (a map with non-string keys, say).
    pub fn from_serialize(thing: &impl Serialize) -> Result<Self, serde_json::Error> {
        read_written(&serde_json::to_vec(thing)?)
    }

    /// Reads the value as `T`.
    ///
    /// # Errors
    /// If the value has not the shape of `T`.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&serde_json::to_vec(self)?)
    }

    /// The member `key` of an object; `None` for anything else.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Obj(m) => m.get(key),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The number as a double.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Num(n) => Some(n.as_f64()),
            _ => None,
        }
    }

    /// The number as an integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Num(n) => n.as_i64(),
            _ => None,
        }
    }

    /// The truth value, if it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Arr(a) => Some(a),
            _ => None,
        }
    }

    /// The members of an object.
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Value::Obj(m) => Some(m),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Truth as jq has it: everything but `null` and `false`.
    pub fn truthy(&self) -> bool {
        !matches!(self, Value::Null | Value::Bool(false))
    }

    /// The kind of value, as jq's `type` names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Num(_) => "number",
            Value::Str(_) => "string",
            Value::Arr(_) => "array",
            Value::Obj(_) => "object",
        }
    }

    /// The value as it comes back from the journal: NaN is `null`, an infinity the largest double. A connector may give
    /// either; a run that is replayed must go on with what the live one had.
    #[must_use]
    pub fn as_journaled(self) -> Self {
        fn finite(value: &Value) -> bool {
            match value {
                Value::Num(n) => n.as_f64().is_finite(),
                Value::Arr(items) => items.iter().all(finite),
                Value::Obj(members) => members.values().all(finite),
                Value::Null | Value::Bool(_) | Value::Str(_) => true,
            }
        }
        if finite(&self) {
            return self;
        }
        Value::from_written_json(self.to_json().as_bytes()).unwrap_or_default()
    }

    /// Whether both are the same shared thing in memory, or the same scalar. Never walks into a structure.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => Arc::ptr_eq(a, b) || a == b,
            (Value::Arr(a), Value::Arr(b)) => Arc::ptr_eq(a, b),
            (Value::Obj(a), Value::Obj(b)) => Arc::ptr_eq(a, b),
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Num(Num::Int(a)), Value::Num(Num::Int(b))) => a == b,
            (Value::Num(Num::Float(a)), Value::Num(Num::Float(b))) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}

impl fmt::Display for Value {
    /// Compact JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(i: i64) -> Self {
        Value::Num(Num::Int(i))
    }
}
impl From<u32> for Value {
    fn from(i: u32) -> Self {
        Value::Num(Num::Int(i.into()))
    }
}
impl From<usize> for Value {
    fn from(i: usize) -> Self {
        i64::try_from(i).map_or(Value::Num(Num::Float(i as f64)), Value::from)
    }
}
impl From<f64> for Value {
    fn from(f: f64) -> Self {
        Value::Num(Num::Float(f))
    }
}
impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::str(s)
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::Str(s.into())
    }
}
impl From<Vec<Value>> for Value {
    fn from(a: Vec<Value>) -> Self {
        Value::Arr(Arc::new(a))
    }
}
impl From<Map> for Value {
    fn from(m: Map) -> Self {
        Value::Obj(Arc::new(m))
    }
}
impl<const N: usize> From<[(&str, Value); N]> for Value {
    /// An object from its members, in this order.
    fn from(members: [(&str, Value); N]) -> Self {
        Value::from(members.into_iter().map(|(k, v)| (Arc::from(k), v)).collect::<Map>())
    }
}
impl From<serde_json::Value> for Value {
    fn from(v: serde_json::Value) -> Self {
        Value::from_serialize(&v).expect("a JSON value is JSON")
    }
}
impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        Value::Arr(Arc::new(items.into_iter().collect()))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => s.serialize_unit(),
            Value::Bool(b) => s.serialize_bool(*b),
            Value::Num(Num::Int(i)) => s.serialize_i64(*i),
            Value::Num(Num::Float(f)) if f.is_nan() => s.serialize_unit(),
            Value::Num(Num::Float(f)) if f.is_infinite() => s.serialize_f64(f64::MAX.copysign(*f)),
            // jq prints 1.0 as 1; so does everything that compares our output with jq's.
            Value::Num(Num::Float(f)) if f.fract() == 0.0 && f.abs() < 1e17 && !(*f == 0.0 && f.is_sign_negative()) => {
                s.serialize_i64(*f as i64)
            }
            Value::Num(Num::Float(f)) => s.serialize_f64(*f),
            Value::Str(t) => s.serialize_str(t),
            Value::Arr(a) => {
                let mut seq = s.serialize_seq(Some(a.len()))?;
                a.iter().try_for_each(|v| seq.serialize_element(v))?;
                seq.end()
            }
            Value::Obj(m) => {
                let mut map = s.serialize_map(Some(m.len()))?;
                m.iter().try_for_each(|(k, v)| map.serialize_entry(&**k, v))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
                Value::deserialize(d)
            }
            fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
                Ok(Value::Bool(b))
            }
            fn visit_i64<E>(self, i: i64) -> Result<Value, E> {
                Ok(Value::from(i))
            }
            fn visit_u64<E>(self, i: u64) -> Result<Value, E> {
                Ok(i64::try_from(i).map_or(Value::from(i as f64), Value::from))
            }
            fn visit_f64<E>(self, f: f64) -> Result<Value, E> {
                Ok(Value::from(f))
            }
            fn visit_str<E: de::Error>(self, s: &str) -> Result<Value, E> {
                Ok(Value::str(s))
            }
            fn visit_string<E: de::Error>(self, s: String) -> Result<Value, E> {
                Ok(Value::from(s))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(4096));
                while let Some(v) = seq.next_element()? {
                    items.push(v);
                }
                Ok(Value::from(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut members = Map::with_capacity(map.size_hint().unwrap_or(0).min(4096));
                while let Some((k, v)) = map.next_entry::<String, Value>()? {
                    members.insert(k.into(), v);
                }
                Ok(Value::from(members))
            }
        }
        d.deserialize_any(Reader)
    }
}

/// Builds a [`Value`] from JSON-like syntax, as `serde_json::json!` does.
#[macro_export]
macro_rules! json {
    ($($t:tt)*) => { $crate::Value::from($crate::value::__json!($($t)*)) };
}
#[doc(hidden)]
pub use serde_json::json as __json;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_through_unchanged_and_keeps_key_order() {
        let text = r#"{"z":1,"a":[null,true,-9223372036854775808,0.1,"é\n"],"m":{}}"#;
        assert_eq!(Value::from_json(text.as_bytes()).unwrap().to_json(), text);
    }

    #[test]
    fn whole_doubles_print_as_jq_prints_them() {
        assert_eq!(json!({"a": 1.0, "b": 0.22}).to_json(), r#"{"a":1,"b":0.22}"#);
        assert_eq!(Value::from(f64::NAN).to_json(), "null");
    }

    #[test]
    fn equality_ignores_key_order_and_number_kind() {
        assert_eq!(json!({"a": 1, "b": 2.0}), json!({"b": 2, "a": 1}));
        assert_ne!(json!([1]), json!([1, 1]));
    }
}

#[cfg(test)]
mod exact {
    use super::*;

    #[test]
    fn doubles_come_back_bit_for_bit() {
        for text in ["0.22331593609345426", "0.1", "5.0159356085715455e-47", "1.7976931348623157e308", "4.9e-324"] {
            let value = Value::from_json(text.as_bytes()).unwrap();
            assert_eq!(value.as_f64().unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
            assert_eq!(
                value.to_json().parse::<f64>().unwrap().to_bits(),
                text.parse::<f64>().unwrap().to_bits(),
                "{text}"
            );
        }
    }
}
