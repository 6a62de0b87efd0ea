//! YAML (and so JSON) with positions: what a document says and where it says it.
//!
//! 1. `granit-parser` gives events with byte positions; it bounds nesting by itself.
//! 2. [`parse`] makes a tree of them. Every node knows its value, its bytes and its line; plain scalars are typed by the
//!    core schema of YAML 1.2, so `on:` is a text and `no` is one as well.
//! 3. [`position`] finds a byte of a scalar's text in the source, through quotes and escapes.
//!
//! Refused, with a position: duplicate keys (all of them, not only the first), keys that are no scalars, merge keys (they
//! are not YAML 1.2), tags of one's own, more than one document, numbers that JSON does not have, texts above
//! [`SOURCE_BYTES_MAX`], trees above [`NODES_MAX`] nodes after aliases are expanded or deeper than [`DEPTH_MAX`].
//!
//! Never panics, whatever the text.

use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use super::diagnostic::{Diagnostic, Span};
use crate::Value;
use crate::value::{Map, Num};

pub mod position;

/// The longest document. Shipped ones have some ten kilobytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// The most nodes, aliases expanded: an alias bomb stops here. Shipped documents have some hundred, and each may be an
/// expression that takes a third of a millisecond to compile.
pub const NODES_MAX: usize = 20_000;
/// The most errors, and the most warnings, that are kept: nobody reads more, and each remembers its line.
pub const FOUND_MAX: usize = 200;
/// The deepest nesting: less than the 128 at which common JSON readers stop, since documents travel as JSON later.
pub const DEPTH_MAX: usize = 100;

/// A node of a document.
#[derive(Clone, Debug)]
pub struct Yaml {
    /// What it says.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
    /// Where to point for it: its key if it is a block of several lines or nothing at all, else itself.
    pub mark: Span,
    /// How a text is written; `None` for anything else.
    pub style: Option<Style>,
    /// What is in it.
    pub children: Children,
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`
    Single,
    /// `"…"`
    Double,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// What is in a node.
#[derive(Clone, Debug)]
pub enum Children {
    /// A scalar has none.
    None,
    /// Items of a list.
    List(Vec<Yaml>),
    /// Members of an object, in the order of the text.
    Map(Vec<Member>),
}

/// A member of an object.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub key: Arc<str>,
    /// Where the name stands.
    pub key_span: Span,
    /// What it is.
    pub value: Yaml,
}

impl Yaml {
    /// The members, if it is an object.
    pub fn members(&self) -> Option<&[Member]> {
        match &self.children {
            Children::Map(members) => Some(members),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn items(&self) -> Option<&[Yaml]> {
        match &self.children {
            Children::List(items) => Some(items),
            _ => None,
        }
    }

    /// The member of that name.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.members()?.iter().find(|m| &*m.key == key).map(|m| &m.value)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// Whether nothing stands there, or `null`.
    pub fn is_nothing(&self) -> bool {
        self.value.is_null()
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Num(_) => "a number",
            Value::Str(_) => "a text",
            Value::Arr(_) => "a list",
            Value::Obj(_) => "an object",
        }
    }

    /// The node at a JSON pointer, and where its name stands if it is a member. Stops at the last node that is there.
    pub fn at_pointer(&self, pointer: &str) -> (&Yaml, Option<Span>) {
        let (mut node, mut key) = (self, None);
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            let next = match &node.children {
                Children::Map(members) => {
                    members.iter().find(|m| *m.key == *name).map(|m| (&m.value, Some(m.key_span)))
                }
                Children::List(items) => name.parse().ok().and_then(|i: usize| items.get(i)).map(|n| (n, None)),
                Children::None => None,
            };
            match next {
                Some(next) => (node, key) = next,
                None => break,
            }
        }
        (node, key)
    }

    /// The JSON pointer of the innermost node at a byte of the source.
    pub fn pointer_at(&self, byte: usize) -> String {
        let (mut node, mut pointer) = (self, String::new());
        loop {
            let (name, next) = match &node.children {
                Children::Map(members) => match members.iter().rev().find(|m| m.key_span.start <= byte) {
                    Some(m) => (m.key.replace('~', "~0").replace('/', "~1"), &m.value),
                    None => return pointer,
                },
                Children::List(items) => match items.iter().enumerate().rev().find(|(_, n)| n.span.start <= byte) {
                    Some((i, n)) => (i.to_string(), n),
                    None => return pointer,
                },
                Children::None => return pointer,
            };
            pointer.push('/');
            pointer.push_str(&name);
            node = next;
        }
    }

    /// How many nodes there are in it, itself included.
    fn size(&self) -> usize {
        1 + match &self.children {
            Children::None => 0,
            Children::List(items) => items.iter().map(Yaml::size).sum(),
            Children::Map(members) => members.iter().map(|m| m.value.size()).sum(),
        }
    }
}

/// Reads a text of exactly one document.
///
/// # Errors
/// The first place at which it is not YAML, or every duplicate key and the like.
pub fn parse(source: &str) -> Result<Yaml, Vec<Diagnostic>> {
    if source.len() > SOURCE_BYTES_MAX {
        let message = format!("the document has {} bytes, expected at most {SOURCE_BYTES_MAX}", source.len());
        return Err(vec![Diagnostic::error("document-too-large", message)]);
    }
    let mut builder =
        Builder { source, stack: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None, found: vec![] };
    for event in Parser::new_from_str(source) {
        let step = match event {
            Ok((event, span)) => builder.event(event, span_of(&span)),
            Err(e) => Err(Box::new(syntax(source, &e))),
        };
        if let Err(fatal) = step {
            builder.found.push(*fatal);
            return Err(builder.found);
        }
    }
    match builder.root {
        _ if !builder.found.is_empty() => Err(builder.found),
        Some(root) if !(root.is_nothing() && root.span.start == root.span.end) => Ok(root),
        _ => Err(vec![Diagnostic::error("empty-document", "the document is empty")]),
    }
}

fn span_of(span: &granit_parser::Span) -> Span {
    let (start, end) = (span.start.byte_offset().unwrap_or(0), span.end.byte_offset().unwrap_or(0));
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { start, end: end.max(start), line: number(span.start.line()), column: number(span.start.col() + 1) }
}

fn syntax(source: &str, error: &ScanError) -> Diagnostic {
    let mark = error.marker();
    let start =
        mark.byte_offset().unwrap_or_else(|| source.char_indices().nth(mark.index()).map_or(source.len(), |(i, _)| i));
    // An error at the very end is easier to see at the last thing that was written.
    let start = if start >= source.len() { source.trim_end().len() } else { start };
    let info = error.info();
    let d = Diagnostic::error("invalid-yaml", format!("not YAML: {info}")).at(Span::of(source, start, start + 1));
    let line = source[..source.floor_char_boundary(start)].rsplit('\n').next().unwrap_or("");
    if line.contains('\t') || source[source.floor_char_boundary(start)..].starts_with('\t') {
        return d.hint("indent with spaces: YAML does not allow tabs there");
    }
    if info.contains("mapping values") {
        return d.hint("quote a text that has `: ` in it, and expressions with `{`: '${ {a: .b} }'");
    }
    if info.contains("while parsing a flow") && line.contains(['{', '[']) {
        return d.hint("quote a text that has one of `[ ] { } ,` in it, as expressions often have: '.items[0]'");
    }
    d
}

/// An event that was taken, or the reason to stop.
type Step<T = ()> = Result<T, Box<Diagnostic>>;

struct Builder<'s> {
    source: &'s str,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Yaml>,
    nodes: usize,
    root: Option<Yaml>,
    found: Vec<Diagnostic>,
}

/// A collection that is being read.
struct Open {
    anchor: usize,
    span: Span,
    kind: Kind,
}

enum Kind {
    List(Vec<Yaml>),
    Map { members: Vec<Member>, seen: BTreeMap<Arc<str>, Span>, key: Option<(Arc<str>, Span)> },
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let core = self.tag(tag.as_deref(), span)?;
                if self.awaits_key() {
                    self.count(1, span)?;
                    return self.key(&text, style, span);
                }
                let node = self.scalar(&text, style, core.as_deref(), span);
                self.add(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span)?;
                self.open(anchor, span, Kind::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span)?;
                self.open(anchor, span, Kind::Map { members: Vec::new(), seen: BTreeMap::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    let d =
                        Diagnostic::error("invalid-yaml", "an alias inside of the node that it stands for").at(span);
                    return Err(Box::new(d));
                };
                if self.awaits_key() {
                    let d = Diagnostic::error("invalid-yaml", "found an alias as a key, expected a text").at(span);
                    return Err(Box::new(d));
                }
                let (size, node) = (node.size(), node.clone());
                self.count(size, span)?;
                self.place(node)
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                let d = Diagnostic::error("several-documents", "found a second document, expected one").at(span);
                Err(Box::new(d.hint("put each definition into a file of its own")))
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, d: Diagnostic) {
        if self.found.len() < FOUND_MAX {
            self.found.push(d);
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Open { kind: Kind::Map { key: None, .. }, .. }))
    }

    fn count(&mut self, nodes: usize, span: Span) -> Step {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let message = format!("the document has more than {NODES_MAX} nodes once its aliases are expanded");
            return Err(Box::new(Diagnostic::error("document-too-large", message).at(span)));
        }
        Ok(())
    }

    /// The type that a tag of the core schema asks for.
    fn tag(&self, tag: Option<&granit_parser::Tag>, span: Span) -> Step<Option<String>> {
        let Some(tag) = tag else { return Ok(None) };
        match tag.core_suffix() {
            Some(core @ ("str" | "int" | "float" | "bool" | "null" | "map" | "seq")) => Ok(Some(core.to_owned())),
            _ => {
                let d = Diagnostic::error("invalid-yaml", format!("found the tag {:?}", tag.original())).at(span);
                Err(Box::new(d.hint("leave the tag out: definitions are plain data")))
            }
        }
    }

    fn open(&mut self, anchor: usize, span: Span, kind: Kind) -> Step {
        self.count(1, span)?;
        if self.awaits_key() {
            return Err(Box::new(
                Diagnostic::error("invalid-yaml", "found a list or an object as a key, expected a text")
                    .at(span)
                    .hint("quote an expression that begins with `{` or `[`: '${ … }'"),
            ));
        }
        if self.stack.len() >= DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return Err(Box::new(Diagnostic::error("document-too-large", message).at(span)));
        }
        self.stack.push(Open { anchor, span, kind });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Step {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let (value, children) = match open.kind {
            Kind::List(items) => (items.iter().map(|n| n.value.clone()).collect(), Children::List(items)),
            Kind::Map { members, .. } => {
                let map: Map = members.iter().map(|m| (m.key.clone(), m.value.value.clone())).collect();
                (Value::from(map), Children::Map(members))
            }
        };
        // A block ends where the next thing begins; what matters is where its last part ended.
        let last = match &children {
            Children::Map(m) => m.last().map(|m| m.value.span.end.max(m.key_span.end)),
            Children::List(l) => l.last().map(|n| n.span.end),
            Children::None => None,
        };
        let flow = end.end > end.start;
        let span =
            Span { end: if flow { end.end } else { last.unwrap_or(open.span.end) }.max(open.span.start), ..open.span };
        let node = Yaml { value, span, mark: self.first_line(span), style: None, children };
        if open.anchor != 0 {
            self.anchors.insert(open.anchor, node.clone());
        }
        self.place(node)
    }

    /// The first line of a span.
    fn first_line(&self, span: Span) -> Span {
        let text = self.source.get(span.start..span.end).unwrap_or("");
        let line = text.split(['\n', '\r']).next().unwrap_or("").trim_end();
        Span { end: span.start + line.len(), ..span }
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) -> Step {
        if text == "<<" && style == ScalarStyle::Plain {
            let d = Diagnostic::error("merge-key", "found a merge key, which YAML 1.2 does not have").at(span);
            return Err(Box::new(d.hint("write the members out, or use an alias for a whole value")));
        }
        let span = self.first_line(span);
        if let Some(Open { kind: Kind::Map { seen, key, .. }, .. }) = self.stack.last_mut() {
            let name: Arc<str> = Arc::from(text);
            if let Some(first) = seen.get(&name) {
                let d = Diagnostic::error("duplicate-key", format!("found the key `{text}` twice in one object"));
                let d = d.at(span).label("second time").also(*first, "the first one");
                if self.found.len() < FOUND_MAX {
                    self.found.push(d);
                }
            } else {
                seen.insert(name.clone(), span);
            }
            *key = Some((name, span));
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, core: Option<&str>, span: Span) -> Yaml {
        let quoted = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let value = match core {
            Some("str") => Ok(Value::str(text)),
            Some(_) => plain(text),
            None if quoted == Style::Plain => plain(text),
            None => Ok(Value::str(text)),
        };
        let value = value.unwrap_or_else(|found| {
            let d = Diagnostic::error("invalid-number", format!("found {found}, which JSON cannot hold")).at(span);
            self.say(d.hint("quote it if it is meant as a text"));
            Value::Null
        });
        let style = matches!(value, Value::Str(_)).then_some(quoted);
        Yaml { value, span, mark: self.first_line(span), style, children: Children::None }
    }

    fn add(&mut self, node: Yaml, anchor: usize) -> Step {
        self.count(1, node.span)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node)
    }

    fn place(&mut self, mut node: Yaml) -> Step {
        match self.stack.last_mut().map(|open| &mut open.kind) {
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map { members, key, .. }) => {
                if let Some((key, key_span)) = key.take() {
                    let collection = !matches!(node.children, Children::None);
                    let block = node.span.end > node.mark.end || node.span.line > key_span.line;
                    if (collection && block) || node.span.start == node.span.end {
                        node.mark = key_span;
                    }
                    members.push(Member { key, key_span, value: node });
                }
            }
            None => self.root = Some(node),
        }
        Ok(())
    }
}

/// A scalar without quotes, typed by the core schema of YAML 1.2.
fn plain(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Err(text.to_owned()),
        _ if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF") => return Err(text.to_owned()),
        _ => match number(text) {
            Some(n @ Num::Int(_)) => Value::Num(n),
            Some(Num::Float(f)) if f.is_finite() => Value::Num(Num::Float(f)),
            Some(_) => return Err(text.to_owned()),
            None => Value::str(text),
        },
    })
}

fn number(text: &str) -> Option<Num> {
    let radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok().map(Num::Int);
    let all = |s: &str, ok: fn(&u8) -> bool| !s.is_empty() && s.bytes().all(|b| ok(&b));
    if let Some(hex) = text.strip_prefix("0x").filter(|s| all(s, u8::is_ascii_hexdigit)) {
        return radix(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o").filter(|s| all(s, |b| (b'0'..=b'7').contains(b))) {
        return radix(octal, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if all(unsigned, u8::is_ascii_digit) {
        return text.parse().map(Num::Int).ok().or_else(|| text.parse().ok().map(Num::Float));
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['+', '-']).unwrap_or(e))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let shaped = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    (shaped && exponent.is_none_or(|e| all(e, u8::is_ascii_digit))).then(|| text.parse().ok().map(Num::Float)).flatten()
}

#[cfg(test)]
mod tests;
