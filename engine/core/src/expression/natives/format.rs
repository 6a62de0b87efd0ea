//! The `@` filters: text for other languages.

use super::super::interp::V;
use super::super::meter::burn_bytes;
use super::super::ops::{Op, fault, spent, text, unfit};
use super::super::print::{to_json, write_num, write_text};
use super::{Entry, value};
use crate::value::Value;

pub(super) static TABLE: &[Entry] = &[
    value!("@text" / 0 => |v: &Value| text(text_of(v))),
    value!("@json" / 0 => |v: &Value| Ok(Value::from(to_json(v)))),
    value!("@csv" / 0 => |v: &Value| row(v, ',', "cannot be csv-formatted, only array", |s| format!("\"{}\"", s.replace('"', "\"\"")))),
    value!("@tsv" / 0 => |v: &Value| row(v, '\t', "cannot be tsv-formatted, only array", tsv_cell)),
    value!("@html" / 0 => |v: &Value| text(html(&text_of(v)))),
    value!("@uri" / 0 => |v: &Value| text(uri(&text_of(v)))),
    value!("@urid" / 0 => urid),
    value!("@sh" / 0 => sh),
    value!("@base64" / 0 => |v: &Value| text(base64(text_of(v).as_bytes()))),
    value!("@base64d" / 0 => base64d),
    value!("format" / 1 => |v: &Value, [name]: [&Value; 1]| by_name(v, name)),
];

fn text_of(v: &Value) -> String {
    let mut out = String::new();
    write_text(v, &mut out);
    out
}

fn by_name(v: &Value, name: &Value) -> Op {
    let Some(name) = name.as_str() else { return unfit(name, "is not a valid format") };
    let entry = TABLE.iter().find(|e| e.name.strip_prefix('@') == Some(name));
    match entry.and_then(|e| e.of_input) {
        Some(f) => f(v),
        None => fault(format!("{name} is not a valid format")),
    }
}

fn row(v: &Value, sep: char, otherwise: &str, cell: impl Fn(&str) -> String) -> Op {
    let Value::Arr(cells) = v else { return unfit(v, otherwise) };
    let mut out = String::new();
    for (i, v) in cells.iter().enumerate() {
        if i > 0 {
            out.push(sep);
        }
        match v {
            Value::Null => {}
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Num(n) if n.as_f64().is_nan() => {}
            Value::Num(n) => write_num(*n, &mut out),
            Value::Str(s) => out.push_str(&cell(s)),
            v => return unfit(v, "is not valid in a csv row"),
        }
    }
    text(out)
}

fn tsv_cell(s: &str) -> String {
    s.replace('\\', "\\\\").replace('\t', "\\t").replace('\r', "\\r").replace('\n', "\\n")
}

fn html(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn uri(s: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(s.len());
    for b in s.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(b as char);
        } else {
            out.push('%');
            out.push(HEX[usize::from(b >> 4)] as char);
            out.push(HEX[usize::from(b & 15)] as char);
        }
    }
    out
}

fn urid(v: &Value) -> Op {
    let s = text_of(v);
    let mut bytes = s.bytes();
    let mut out = Vec::with_capacity(s.len());
    let digit = |bytes: &mut std::str::Bytes<'_>| bytes.next().and_then(|b| (b as char).to_digit(16));
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        match (digit(&mut bytes), digit(&mut bytes)) {
            (Some(hi), Some(lo)) => out.push((hi * 16 + lo) as u8),
            _ => return unfit(v, "is not a valid uri encoding"),
        }
    }
    match String::from_utf8(out) {
        Ok(s) => text(s),
        Err(_) => unfit(v, "is not a valid uri encoding"),
    }
}

fn sh(v: &Value) -> Op {
    let words = match v {
        Value::Arr(words) => words.as_slice(),
        v => std::slice::from_ref(v),
    };
    let mut out = String::new();
    for (i, v) in words.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        match v {
            Value::Arr(_) | Value::Obj(_) => return unfit(v, "can not be escaped for shell"),
            Value::Str(s) => {
                out.push('\'');
                out.push_str(&s.replace('\'', "'\\''"));
                out.push('\'');
            }
            v => write_text(v, &mut out),
        }
    }
    text(out)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() / 3 * 4 + 4);
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let group = a << 16 | b << 8 | c;
        for i in 0..4 {
            let digit = BASE64[(group >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { digit as char } else { '=' });
        }
    }
    out
}

/// Reads digits up to the first `=`; bits that fill no byte are dropped. The second value is how many digits there were.
fn decode(s: &str) -> Option<(Vec<u8>, usize)> {
    let mut out = Vec::with_capacity(s.len());
    let (mut held, mut count, mut digits) = (0_u32, 0, 0);
    for b in s.bytes().take_while(|b| *b != b'=') {
        let digit = BASE64.iter().position(|a| *a == b)?;
        held = (held << 6 | digit as u32) & 0xf_ffff;
        count += 6;
        digits += 1;
        if count >= 8 {
            count -= 8;
            out.push((held >> count & 0xff) as u8);
        }
    }
    Some((out, digits))
}

fn base64d(v: &Value) -> Op {
    let s = text_of(v);
    if !burn_bytes(s.len() * 16) {
        return spent();
    }
    match decode(&s) {
        Some((_, digits)) if digits % 4 == 1 => unfit(v, "trailing base64 byte found"),
        Some((bytes, _)) => text(String::from_utf8_lossy(&bytes)),
        None => unfit(v, "is not valid base64 data"),
    }
}
