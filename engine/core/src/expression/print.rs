//! Values as text, the way jq prints them: compact JSON with jq's numbers, and the cut previews of its error messages.
//!
//! Printing spends fuel for every node, because a small value whose parts are shared may be huge as text. What is cut
//! short that way is refused by the evaluation as a whole.

use std::fmt::Write;

use super::meter::{admit, burn};
use crate::value::{Num, Value};

/// The longest preview in an error message, as jq 1.8 has it.
const PREVIEW_BYTES: usize = 29;

/// Compact JSON.
pub(super) fn to_json(v: &Value) -> String {
    let mut out = String::new();
    write_json(v, &mut out);
    admit(out.len());
    out
}

/// The text of a string, or JSON: `tostring`, `"\(…)"`.
pub(super) fn write_text(v: &Value, out: &mut String) {
    match v {
        Value::Str(s) => out.push_str(s),
        v => write_json(v, out),
    }
}

fn write_json(v: &Value, out: &mut String) {
    if !burn(1) {
        return;
    }
    match v {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Num(n) => write_num(*n, out),
        Value::Str(s) => write_str(s, out),
        Value::Arr(a) => {
            out.push('[');
            for (i, v) in a.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(v, out);
            }
            out.push(']');
        }
        Value::Obj(m) => {
            out.push('{');
            for (i, (k, v)) in m.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_str(k, out);
                out.push(':');
                write_json(v, out);
            }
            out.push('}');
        }
    }
}

fn write_str(s: &str, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || c == '\u{7f}' => write_infallible(out, format_args!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as jq prints it: the shortest digits that read back as the same double, an exponent of two digits or more
/// where the point stands far away, `null` for what is not a number, the largest double for an infinity.
pub(super) fn write_num(n: Num, out: &mut String) {
    match n {
        Num::Int(i) => write_infallible(out, format_args!("{i}")),
        Num::Float(f) if f.is_nan() => out.push_str("null"),
        Num::Float(f) => write_double(if f.is_infinite() { f64::MAX.copysign(f) } else { f }, out),
    }
}

fn write_double(f: f64, out: &mut String) {
    if f.fract() == 0.0 && f.abs() < 1e17 && !(f == 0.0 && f.is_sign_negative()) {
        // The same rule by which a value leaves as JSON.
        return write_infallible(out, format_args!("{}", f as i64));
    }
    let scientific = format!("{f:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let point = exponent + 1; // digits in front of the decimal point
    let len = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    out.push_str(sign);
    if point <= -4 || point > len + 15 {
        let (head, tail) = digits.split_at(1);
        out.push_str(head);
        if !tail.is_empty() {
            out.push('.');
            out.push_str(tail);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        write_infallible(out, format_args!("e{sign}{:02}", exponent.unsigned_abs()));
    } else if point <= 0 {
        out.push_str("0.");
        (point..0).for_each(|_| out.push('0'));
        out.push_str(&digits);
    } else if point >= len {
        out.push_str(&digits);
        (len..point).for_each(|_| out.push('0'));
    } else {
        let (whole, fraction) = digits.split_at(point.unsigned_abs() as usize);
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    }
}

fn write_infallible(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = out.write_fmt(args);
}

/// The longest beginning of `s` that has at most `bytes` bytes and ends between two characters.
pub(super) fn head(s: &str, bytes: usize) -> &str {
    let mut end = bytes.min(s.len());
    while !s.is_char_boundary(end) {
        end -= 1;
    }
    &s[..end]
}

/// The beginning of the JSON text, cut the way jq 1.8 cuts it in error messages.
pub(super) fn preview(v: &Value) -> String {
    let mut out = String::new();
    preview_into(v, &mut out);
    if out.len() <= PREVIEW_BYTES {
        return out;
    }
    let close = match out.as_bytes()[0] {
        b'"' => "\"",
        b'[' => "]",
        b'{' => "}",
        _ => "",
    };
    format!("{}...{close}", head(&out, PREVIEW_BYTES - 3 - close.len()))
}

/// Writes JSON until it is longer than a preview; looks at no more than that.
fn preview_into(v: &Value, out: &mut String) {
    if out.len() > PREVIEW_BYTES {
        return;
    }
    match v {
        Value::Str(s) => write_str(head(s, PREVIEW_BYTES + 1), out),
        Value::Arr(a) => {
            out.push('[');
            for (i, v) in a.iter().take(PREVIEW_BYTES).enumerate() {
                if i > 0 {
                    out.push(',');
                }
                preview_into(v, out);
            }
            out.push(']');
        }
        Value::Obj(m) => {
            out.push('{');
            for (i, (k, v)) in m.iter().take(PREVIEW_BYTES).enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_str(head(k, PREVIEW_BYTES + 1), out);
                out.push(':');
                preview_into(v, out);
            }
            out.push('}');
        }
        Value::Num(n) => write_num(*n, out),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Null => out.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn num(f: f64) -> String {
        to_json(&Value::from(f))
    }

    #[test]
    fn numbers_print_as_jq_prints_them() {
        let printed = [0.1 + 0.2, 1.5e-7, 0.00001, 0.0001, 1e17, 1.234e20, 1.5e300, -2.5, 3.0, 1.2345678901234568e20];
        let want = [
            "0.30000000000000004",
            "1.5e-07",
            "1e-05",
            "0.0001",
            "1e+17",
            "1.234e+20",
            "1.5e+300",
            "-2.5",
            "3",
            "123456789012345680000",
        ];
        assert_eq!(printed.map(num), want);
        assert_eq!(num(f64::NAN), "null");
        assert_eq!(num(f64::NEG_INFINITY), "-1.7976931348623157e+308");
        assert_eq!(to_json(&Value::from(i64::MIN)), "-9223372036854775808");
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_double() {
        for f in [1e-300, 4.9e-324, 123_456.789, 1e22, 9.007_199_254_740_993e15, 0.000_123_4] {
            assert_eq!(num(f).parse::<f64>().unwrap(), f);
        }
    }

    #[test]
    fn a_preview_is_short_whatever_the_value() {
        assert_eq!(preview(&json!({"a": [1, "x"]})), r#"{"a":[1,"x"]}"#);
        assert_eq!(preview(&Value::from("x".repeat(100))), format!("\"{}...\"", "x".repeat(24)));
        assert_eq!(preview(&json!([11111111, 22222222, 33333333, 44444444])), "[11111111,22222222,333333...]");
        let mut v = Value::from("é".repeat(40));
        for _ in 0..100 {
            v = Value::from(vec![v.clone(), v]);
        }
        assert!(preview(&v).len() <= PREVIEW_BYTES);
    }
}
