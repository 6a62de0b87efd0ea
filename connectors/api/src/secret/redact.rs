//! Takes secrets out of what comes back, in the forms in which services, gateways and error pages repeat them.
//!
//! A secret is looked for as it is, and as base64 of either alphabet: by itself or in the middle of something longer, where it has one of three
//! forms by the number of bytes in front of it. Each of these is recognised
//!
//! - percent-encoded, any part of it (`p%40ss`, `p%40%73s`, `+` for a space),
//! - as it stands in a JSON text (`\"`, `\u00e9`, `\/`).
//!
//! What is left of base64 around a secret holds the bits of its first and last byte; these characters go with it.
//!
//! Not recognised: what is encrypted, hashed, compressed, encoded twice, or taken apart.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::Secret;
use crate::{Outcome, Problem, Success, Value};

/// Replaces known secrets in what leaves a connector.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
    needles: Vec<Needle>,
    /// For each byte, whether a needle begins with it. Empty without needles.
    begins: Vec<bool>,
}

/// One form of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needle {
    text: Box<[u8]>,
    /// Whether it is base64 that begins, or ends, in the middle of a character: that one goes with it.
    before: bool,
    after: bool,
    /// How much of it has to be there for a beginning of it to be taken for one, where a text was cut short.
    shortest: usize,
}

/// Of base64 in the middle of something, fewer characters are too common a sight.
const BASE64_SHORTEST: usize = 6;

impl Redactor {
    /// What stands in a secret's place.
    pub const MARK: &'static str = "[redacted]";
    /// Shorter values are left alone.
    pub const SHORTEST: usize = 4;

    /// A redactor that knows these secrets.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut redactor = Self::default();
        secrets.into_iter().for_each(|s| redactor.add(s));
        redactor
    }

    /// Teaches it one more.
    pub fn add(&mut self, secret: Secret) {
        if secret.expose().len() < Self::SHORTEST || self.secrets.contains(&secret) {
            return;
        }
        self.begins.resize(256, false);
        for needle in needles(secret.expose().as_bytes()) {
            self.begins[usize::from(needle.text[0])] = true;
            self.needles.push(needle);
        }
        self.secrets.push(secret);
    }

    /// The text without secrets; `None` if there was none in it.
    pub fn text(&self, text: &str) -> Option<String> {
        let clean = match self.search(text.as_bytes()) {
            Cow::Borrowed(_) => None,
            // A match begins and ends with whole characters, so what is left are whole characters.
            Cow::Owned(clean) => Some(String::from_utf8_lossy(&clean).into_owned()),
        };
        let now = clean.as_deref().unwrap_or(text);
        self.cut(now).or(clean)
    }

    /// A text that was cut short within a secret, without the secret's beginning.
    fn cut(&self, text: &str) -> Option<String> {
        let whole = text.strip_suffix('…')?;
        let beginning = |needle: &Needle| {
            let lengths = (needle.shortest..needle.text.len()).rev();
            lengths.into_iter().find(|at| whole.as_bytes().ends_with(&needle.text[..*at]))
        };
        let longest = self.needles.iter().filter_map(beginning).max()?;
        // A beginning may end within a character of the secret, but then the text would not have ended with it.
        let kept = whole.get(..whole.len() - longest)?;
        Some(format!("{kept}{}…", Self::MARK))
    }

    /// The bytes without secrets, whatever else they are: for what is going to be encoded and could not be searched then.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.search(bytes).into_owned()
    }

    /// Everything that is found is taken out, and what overlaps as one: of a secret that goes over into another no rest stays.
    fn search<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut clean: Option<Vec<u8>> = None;
        let mut copied = 0;
        let mut found: Option<(usize, usize)> = None;
        let mut take = |found: (usize, usize), copied: &mut usize| {
            let clean = clean.get_or_insert_default();
            clean.extend_from_slice(&bytes[*copied..found.0]);
            clean.extend_from_slice(Self::MARK.as_bytes());
            *copied = found.1;
        };
        for at in 0..bytes.len() {
            let Some((from, to)) = self.at(bytes, at) else { continue };
            found = match found {
                Some(before) if from < before.1 => Some((before.0.min(from), before.1.max(to))),
                Some(before) => {
                    take(before, &mut copied);
                    Some((from, to))
                }
                None => Some((from, to)),
            };
        }
        if let Some(last) = found {
            take(last, &mut copied);
        }
        match clean {
            None => Cow::Borrowed(bytes),
            Some(mut clean) => {
                clean.extend_from_slice(&bytes[copied..]);
                Cow::Owned(clean)
            }
        }
    }

    /// The longest of what begins there.
    fn at(&self, bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        let rest = &bytes[at..];
        let begins = |byte: u8| self.begins.get(usize::from(byte)) == Some(&true);
        let meant = meaning(rest).map(|(_, meant)| meant.first());
        if !begins(rest[0]) && !meant.is_some_and(begins) {
            return None;
        }
        let lengths = self.needles.iter().filter_map(|needle| Some((needle, needle.at(rest)?)));
        let (needle, length) = lengths.max_by_key(|(_, length)| *length)?;
        let (mut from, mut to) = (at, at + length);
        if needle.before && from > 0 && is_base64(bytes[from - 1]) {
            from -= 1;
        }
        if needle.after && bytes.get(to).is_some_and(|b| is_base64(*b)) {
            to += 1;
        }
        Some((from, to))
    }

    /// The value without secrets, in keys and strings at any depth. A number that is a secret becomes a text.
    #[must_use]
    pub fn value(&self, value: &Value) -> Value {
        if self.secrets.is_empty() {
            return value.clone();
        }
        match value {
            Value::Str(s) => self.text(s).map_or_else(|| value.clone(), Value::from),
            Value::Arr(items) => items.iter().map(|v| self.value(v)).collect(),
            Value::Obj(members) => Value::from(
                members
                    .iter()
                    .map(|(k, v)| (self.text(k).map_or_else(|| k.clone(), Arc::from), self.value(v)))
                    .collect::<cpd_core::value::Map>(),
            ),
            Value::Num(_) => {
                let text = value.to_json();
                let secret = self.secrets.iter().any(|s| s.expose() == text);
                if secret { Value::str(Self::MARK) } else { value.clone() }
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    /// The problem without secrets.
    #[must_use]
    pub fn problem(&self, mut problem: Problem) -> Problem {
        problem.detail = problem.detail.map(|d| self.text(&d).map_or(d, Arc::from));
        problem.data = problem.data.map(|d| self.value(&d));
        problem
    }

    /// The outcome without secrets.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Succeeded(s) => Outcome::Succeeded(Success {
                output: self.value(&s.output),
                evidence: s.evidence.map(|e| self.value(&e)),
            }),
            Outcome::Refused(p) => Outcome::Refused(self.problem(p)),
            Outcome::Failed { problem, not_before } => Outcome::Failed { problem: self.problem(problem), not_before },
            Outcome::Unknown(p) => Outcome::Unknown(self.problem(p)),
        }
    }
}

/// The forms of a secret.
fn needles(secret: &[u8]) -> Vec<Needle> {
    let plain = Needle { text: secret.into(), before: false, after: false, shortest: Redactor::SHORTEST };
    let mut all = vec![plain];
    for ahead in 0..3usize {
        let padded: Vec<u8> = std::iter::repeat_n(0, ahead).chain(secret.iter().copied()).collect();
        let text = BASE64.encode(&padded);
        // The characters that hold bits of the secret alone.
        let (from, to) = ((ahead * 8).div_ceil(6), padded.len() * 8 / 6);
        let Some(core) = text.get(from..to).filter(|core| core.len() >= BASE64_SHORTEST) else { continue };
        let (before, after) = (ahead > 0, !padded.len().is_multiple_of(3));
        let url: String = core
            .chars()
            .map(|c| {
                if c == '+' {
                    '-'
                } else if c == '/' {
                    '_'
                } else {
                    c
                }
            })
            .collect();
        for form in [core, &url] {
            let shortest = BASE64_SHORTEST;
            let needle = Needle { text: form.as_bytes().into(), before, after, shortest };
            if !all.contains(&needle) {
                all.push(needle);
            }
        }
    }
    all
}

impl Needle {
    /// How long it is at the beginning of the bytes, in whatever mixture of forms. A `%` or `\\` of the secret's own is itself where
    /// nothing is encoded, and encoded where anything is.
    fn at(&self, bytes: &[u8]) -> Option<usize> {
        let literally = |rest: &[u8], wanted: &[u8]| (rest.first() == wanted.first()).then_some((1, 1));
        self.read(bytes, |rest, wanted| literally(rest, wanted).or_else(|| form(rest, wanted)))
            .or_else(|| self.read(bytes, |rest, wanted| form(rest, wanted).or_else(|| literally(rest, wanted))))
    }

    fn read(&self, bytes: &[u8], step: impl Fn(&[u8], &[u8]) -> Option<(usize, usize)>) -> Option<usize> {
        let (mut at, mut matched) = (0, 0);
        while matched < self.text.len() {
            let (read, meant) = step(&bytes[at..], &self.text[matched..])?;
            at += read;
            matched += meant;
        }
        Some(at)
    }
}

/// How many bytes of `bytes` say how many of `wanted` in another way.
fn form(bytes: &[u8], wanted: &[u8]) -> Option<(usize, usize)> {
    let (read, meant) = meaning(bytes)?;
    wanted.starts_with(meant.bytes()).then_some((read, meant.bytes().len()))
}

/// What encoded bytes stand for: one byte, or one character.
#[derive(Clone, Copy)]
struct Meant {
    bytes: [u8; 4],
    length: usize,
}

impl Meant {
    fn byte(byte: u8) -> Self {
        Self { bytes: [byte, 0, 0, 0], length: 1 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn first(&self) -> u8 {
        self.bytes[0]
    }
}

/// What is encoded at the beginning of the bytes, if anything is, and in how many of them.
fn meaning(bytes: &[u8]) -> Option<(usize, Meant)> {
    match bytes {
        [b'%', high, low, ..] => Some((3, Meant::byte(u8::try_from(hex(*high)? * 16 + hex(*low)?).ok()?))),
        [b'+', ..] => Some((1, Meant::byte(b' '))),
        [b'\\', b'u', rest @ ..] => {
            let unit = |at: usize| rest.get(at..at + 4)?.iter().try_fold(0, |sum, digit| Some(sum * 16 + hex(*digit)?));
            let (code, read) = match (unit(0)?, rest.get(4..6)) {
                (high @ 0xd800..0xdc00, Some(b"\\u")) => match unit(6)? {
                    low @ 0xdc00..0xe000 => (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12),
                    _ => return None,
                },
                (code, _) => (code, 6),
            };
            let mut meant = Meant::byte(0);
            meant.length = char::from_u32(code)?.encode_utf8(&mut meant.bytes).len();
            Some((read, meant))
        }
        [b'\\', escaped, ..] => {
            let byte = match escaped {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 8,
                b'f' => 12,
                b'"' | b'\\' | b'/' | b'\'' => *escaped,
                _ => return None,
            };
            Some((2, Meant::byte(byte)))
        }
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}
