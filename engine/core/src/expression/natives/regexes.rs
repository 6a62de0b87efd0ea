//! Regular expressions, in time linear in the text.
//!
//! One native filter yields all matches as jq's `match` describes them; `test`, `capture`, `scan`, `split`, `sub` and so
//! on are written in terms of it in the prelude. The syntax is that of the `regex` crate: no look-around and no
//! back-references. Offsets and lengths count characters. The flags are jq's `g`, `i`, `x`, `n`, `s`, `l`, `p`.
//!
//! A compiled pattern is kept per thread, a few at a time: compiling costs a hundred times what matching does. What an
//! evaluation burns does not depend on whether the pattern was there already.

use std::cell::RefCell;
use std::rc::Rc;

use regex::{Captures, Regex, RegexBuilder};

use super::super::interp::V;
use super::super::meter::burn;
use super::super::ops::{Op, fault, spent, unfit};
use super::{Entry, value};
use crate::value::Value;

pub(super) static TABLE: &[Entry] =
    &[value!("_match" / 3 => |v: &Value, [re, flags, test]: [&Value; 3]| find(v, re, flags, test))];

/// Patterns kept per thread; a workflow's expressions use a handful.
const KEPT: usize = 32;
/// Bounds memory and time of compiling a pattern such as `(a{1000}){1000}`.
const PROGRAM_BYTES: usize = 1 << 20;
/// What compiling a pattern costs, in units of fuel: some ten microseconds and more with its length.
const COMPILE_FUEL: u64 = 32;

/// A pattern with its flags, compiled.
type Compiled = (Box<str>, Flags, Rc<Regex>);

thread_local! {
    /// Most recently used last.
    static PATTERNS: RefCell<Vec<Compiled>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Flags {
    global: bool,
    ignore_case: bool,
    extended: bool,
    dot_all: bool,
    not_empty: bool,
}

impl Flags {
    fn of(v: &Value) -> Op<Self> {
        let mut flags = Self::default();
        let text = match v {
            Value::Null => return Ok(flags),
            Value::Str(s) => s,
            v => return unfit(v, "is not a string"),
        };
        for c in text.chars() {
            match c {
                'g' => flags.global = true,
                'i' => flags.ignore_case = true,
                'x' => flags.extended = true,
                // Oniguruma's "single line" (`^` and `$` at the ends of the text only) is how Rust's patterns are by default;
                // its "longest match" has no counterpart.
                's' | 'l' => {}
                'm' | 'p' => flags.dot_all = true,
                'n' => flags.not_empty = true,
                _ => return fault(format!("{text} is not a valid modifier string")),
            }
        }
        Ok(flags)
    }
}

fn compile(pattern: &str, flags: Flags) -> Op<Rc<Regex>> {
    if !burn(COMPILE_FUEL + pattern.len() as u64 / 4) {
        return spent();
    }
    PATTERNS.with_borrow_mut(|kept| {
        if let Some(i) = kept.iter().position(|(p, f, _)| **p == *pattern && *f == flags) {
            kept[i..].rotate_left(1);
            return Ok(kept[kept.len() - 1].2.clone());
        }
        let regex = RegexBuilder::new(pattern)
            .case_insensitive(flags.ignore_case)
            .ignore_whitespace(flags.extended)
            .dot_matches_new_line(flags.dot_all)
            .size_limit(PROGRAM_BYTES)
            .build()
            .map_or_else(|e| fault(format!("Regex failure: {e}")), |re| Ok(Rc::new(re)))?;
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((pattern.into(), flags, regex.clone()));
        Ok(regex)
    })
}

fn find(v: &Value, re: &Value, flags: &Value, test: &Value) -> Op {
    let Some(s) = v.as_str() else { return unfit(v, "cannot be matched, as it is not a string") };
    let Some(pattern) = re.as_str() else { return unfit(re, "is not a string") };
    let flags = Flags::of(flags)?;
    let regex = compile(pattern, flags)?;
    if !burn(1 + s.len() as u64 / 64) {
        return spent();
    }
    if test.truthy() && !flags.not_empty {
        return Ok(Value::Bool(regex.is_match(s)));
    }
    let mut found = Vec::new();
    let mut chars = Chars { s, byte: 0, chars: 0 };
    // Where a search begins: after the last match, one character on if that was empty. Unlike the crate's own iterator
    // this admits an empty match right behind another one, as jq does.
    let mut start = 0;
    while let Some(captures) = (start <= s.len()).then(|| regex.captures_at(s, start)).flatten() {
        let whole = captures.get_match();
        let step = s[whole.end()..].chars().next().map_or(1, char::len_utf8);
        start = whole.end() + if whole.is_empty() { step } else { 0 };
        if !burn(1 + captures.len() as u64) {
            return spent();
        }
        if whole.is_empty() && flags.not_empty {
            continue;
        }
        found.push(describe(&regex, &captures, &mut chars));
        if !flags.global {
            break;
        }
    }
    Ok(if test.truthy() { Value::Bool(!found.is_empty()) } else { Value::from(found) })
}

/// One match with its groups.
fn describe(regex: &Regex, captures: &Captures<'_>, chars: &mut Chars<'_>) -> Value {
    let whole = captures.get_match();
    let start = chars.at(whole.start());
    let groups = captures.iter().zip(regex.capture_names()).skip(1).map(|(group, name)| {
        let (offset, length, string) = match group {
            Some(m) => {
                let lead = chars.s[whole.start()..m.start()].chars().count();
                (Value::from(start + lead), m.as_str().chars().count(), Value::str(m.as_str()))
            }
            None => (Value::from(-1_i64), 0, Value::Null),
        };
        let name = name.map_or(Value::Null, Value::from);
        let length = Value::from(length);
        // In the order in which jq has them, which differs for a group that is not in the match.
        if string.is_null() {
            Value::from([("offset", offset), ("string", string), ("length", length), ("name", name)])
        } else {
            Value::from([("offset", offset), ("length", length), ("string", string), ("name", name)])
        }
    });
    let groups: Value = groups.collect();
    Value::from([
        ("offset", Value::from(start)),
        ("length", Value::from(whole.as_str().chars().count())),
        ("string", Value::str(whole.as_str())),
        ("captures", groups),
    ])
}

/// Counts characters up to byte positions that only grow.
struct Chars<'s> {
    s: &'s str,
    byte: usize,
    chars: usize,
}

impl Chars<'_> {
    fn at(&mut self, byte: usize) -> usize {
        self.chars += self.s[self.byte..byte].chars().count();
        self.byte = byte;
        self.chars
    }
}
