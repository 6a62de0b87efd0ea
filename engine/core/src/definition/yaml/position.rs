//! Where a byte of a scalar's text stands in the source.
//!
//! The text of a scalar is not a slice of the source: quotes, escapes and indentation lie between. An error in an
//! expression should nevertheless point at the very place, so this walks both along. Folded texts over several lines give
//! the line only.

use super::{Style, Yaml};
use crate::definition::diagnostic::Span;

/// The span in the source of a range of bytes of the text of `node`; the node's first line if that cannot be told.
pub fn locate(source: &str, node: &Yaml, start: usize, end: usize) -> Span {
    let whole = node.mark;
    let (Some(text), Some(raw)) = (node.text(), source.get(node.span.start..node.span.end)) else { return whole };
    let offset = |byte: usize| match node.style? {
        Style::Plain => raw.starts_with(text).then_some(byte),
        Style::Single => in_single(raw, text, byte),
        Style::Double => in_double(raw, byte),
        Style::Literal => in_literal(raw, text, byte),
        Style::Folded => None,
    };
    match (offset(start), offset(end.max(start))) {
        (Some(a), Some(b)) => {
            let b = b.max(a);
            // A text that stops too early has its error behind it: point at its last character.
            let a = if a == b && start > 0 && start >= text.len() { a.saturating_sub(1) } else { a };
            Span::of(source, node.span.start + a, node.span.start + b.max(a + 1))
        }
        _ => whole,
    }
}

/// `''` stands for one quote; nothing else is special in one line.
fn in_single(raw: &str, text: &str, byte: usize) -> Option<usize> {
    if text.contains('\n') || raw.contains('\n') {
        return None;
    }
    let quotes = text.get(..byte)?.bytes().filter(|b| *b == b'\'').count();
    Some(1 + byte + quotes)
}

/// Walks the escapes of one line.
fn in_double(raw: &str, byte: usize) -> Option<usize> {
    if raw.contains('\n') {
        return None;
    }
    let (mut at, mut made) = (1, 0);
    while made < byte {
        let rest = raw.get(at..)?;
        let c = rest.chars().next()?;
        if c != '\\' {
            (at, made) = (at + c.len_utf8(), made + c.len_utf8());
            continue;
        }
        let kind = rest[1..].chars().next()?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let code = rest.get(2..2 + digits);
        made += match kind {
            _ if digits > 0 => char::from_u32(u32::from_str_radix(code?, 16).ok()?)?.len_utf8(),
            'N' | '_' => 2,
            'L' | 'P' => 3,
            _ => 1,
        };
        at += 1 + kind.len_utf8() + digits;
    }
    Some(at)
}

/// Each line of the text is a line of the source behind its indentation.
fn in_literal(raw: &str, text: &str, byte: usize) -> Option<usize> {
    let before = text.get(..byte)?;
    let line = before.bytes().filter(|b| *b == b'\n').count();
    let column = before.len() - before.rfind('\n').map_or(0, |i| i + 1);
    let wanted = text.split('\n').nth(line)?;
    // The span begins at the `|` or at the first line of content.
    let skip = usize::from(raw.starts_with('|'));
    let mut start = 0;
    for (i, source_line) in raw.split_inclusive('\n').enumerate() {
        if i == line + skip {
            let trimmed = source_line.trim_end_matches(['\n', '\r']);
            return trimmed.ends_with(wanted).then(|| start + trimmed.len() - wanted.len() + column);
        }
        start += source_line.len();
    }
    None
}
