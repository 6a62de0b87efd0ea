//! What is wrong with a document, where, and what to do about it.
//!
//! A [`Diagnostic`] carries all that is needed to show it: file, position, JSON pointer and the line of the source, so it
//! can be printed long after the source is gone. [`Diagnostic::render`] draws it the way compilers do; with
//! [`Diagnostic::render_with`] a terminal gives it colours. It serialises to JSON for editors and the API.
//!
//! Invariants: rendering never panics, and nothing that it prints can steer a terminal (control characters are replaced).

mod render;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub use self::render::{Part, WIDTH};

/// A part of a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
    /// Line of the first byte, from 1.
    pub line: u32,
    /// Column of the first byte in characters, from 1.
    pub column: u32,
}

impl Span {
    /// The span of a range of bytes; counts the lines before it, so it is for errors and not for every node.
    pub fn of(source: &str, start: usize, end: usize) -> Self {
        let start = source.floor_char_boundary(start.min(source.len()));
        let end = source.floor_char_boundary(end.min(source.len())).max(start);
        let before = &source[..start];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = 1 + before.bytes().filter(|b| *b == b'\n').count();
        let column = 1 + before[line_start..].chars().count();
        Self { start, end, line: small(line), column: small(column) }
    }
}

/// Positions are shown, never computed with: a text of more lines than fit has been refused before.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is taken, but its author should look at this.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing to say about a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What kind of thing it is, stable, such as `unknown-property`.
    pub code: Cow<'static, str>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// The document, as the caller named it.
    pub file: Arc<str>,
    /// JSON pointer to the place in the document.
    pub pointer: String,
    /// The place in the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// What to write at the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Anything else worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Other places that have to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// Where the span ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
    /// The lines of the source from the one in which the span begins to the one in which it ends.
    #[serde(skip)]
    excerpt: Option<Arc<str>>,
    /// Whether what stands at the place must not be shown.
    #[serde(skip)]
    concealed: bool,
}

/// Another place that has to do with a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Where.
    pub span: Span,
    /// What is there.
    pub message: String,
    /// Its line of the source.
    #[serde(skip)]
    excerpt: Option<Arc<str>>,
}

/// Where a span ends: the position behind its last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// The most characters of a line that are kept, so that a file of one line is not kept once per diagnostic.
const EXCERPT_BYTES: usize = 4096;

impl Diagnostic {
    /// An error without a place.
    pub fn error(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code.into(), message.into())
    }

    /// A warning without a place.
    pub fn warning(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code.into(), message.into())
    }

    fn new(severity: Severity, code: Cow<'static, str>, message: String) -> Self {
        let (file, pointer) = (Arc::from(""), String::new());
        Self {
            code,
            severity,
            message,
            file,
            pointer,
            span: None,
            label: None,
            hint: None,
            notes: vec![],
            related: vec![],
            end: None,
            excerpt: None,
            concealed: false,
        }
    }

    /// The same at a place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// The same with words at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|h| !h.is_empty());
        self
    }

    /// The same with a remark.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The same with another place that has to do with it.
    #[must_use]
    pub fn also(mut self, span: Span, message: impl Into<String>) -> Self {
        self.relate(span, message);
        self
    }

    /// Adds another place that has to do with it.
    pub fn relate(&mut self, span: Span, message: impl Into<String>) {
        self.related.push(Related { span, message: message.into(), excerpt: None });
    }

    /// Hides what stands at its place: it is a secret.
    pub fn conceal(&mut self) {
        self.concealed = true;
    }

    /// Where its span ends; known once it has its source.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The same with its file and its line of the source, so that it can be rendered.
    #[must_use]
    pub fn within(mut self, file: &Arc<str>, source: &str) -> Self {
        self.file = file.clone();
        let concealed = self.span.filter(|_| self.concealed);
        self.excerpt = self.span.map(|span| lines_of(source, span, concealed));
        for related in &mut self.related {
            let first = Span { end: related.span.start, ..related.span };
            related.excerpt = Some(lines_of(source, first, concealed));
        }
        self.end = self.span.map(|span| {
            let end = Span::of(source, span.end.max(span.start), span.end.max(span.start));
            End { line: end.line, column: end.column }
        });
        self
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `file:line:column: error[code]: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", plain(&self.file))?;
        }
        if let Some(span) = self.span {
            write!(f, "{}:{}: ", span.line, span.column)?;
        } else if !self.file.is_empty() {
            f.write_str(" ")?;
        }
        write!(f, "{}[{}]: {}", self.severity, self.code, plain(&self.message))
    }
}

/// The lines of a source that a span touches, without what is `concealed`.
fn lines_of(source: &str, span: Span, concealed: Option<Span>) -> Arc<str> {
    let start = source.floor_char_boundary(span.start.min(source.len()));
    let line_start = source[..start].rfind('\n').map_or(0, |i| i + 1);
    let end = source.floor_char_boundary(span.end.clamp(start, source.len()));
    let line_end = source[end..].find(['\n', '\r']).map_or(source.len(), |i| end + i);
    let cut = source.floor_char_boundary((start + EXCERPT_BYTES).min(line_end));
    let text = &source[line_start..cut];
    let Some(hidden) = concealed else { return Arc::from(text) };
    let hide = |(i, c): (usize, char)| {
        let inside = (hidden.start..hidden.end).contains(&(line_start + i)) && !matches!(c, '\n' | '\r');
        if inside { '*' } else { c }
    };
    text.char_indices().map(hide).collect::<String>().into()
}

/// The text without control characters other than line breaks.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: &str, start: usize, end: usize) -> Diagnostic {
        Diagnostic::error("unknown-property", "unknown property `outputs` of task `a`")
            .at(Span::of(source, start, end))
            .label("not known")
            .hint("did you mean `output`?")
            .note("tasks know `output`")
            .within(&Arc::from("w.yaml"), source)
    }

    #[test]
    fn renders_the_line_with_carets_below_the_place() {
        let source = "do:\n  - a:\n      outputs: 1\n";
        assert_eq!(
            sample(source, 17, 24).render(),
            "error[unknown-property]: unknown property `outputs` of task `a`\n \
             --> w.yaml:3:7\n  |\n3 |       outputs: 1\n  |       ^^^^^^^ not known\n  \
             = hint: did you mean `output`?\n  = note: tasks know `output`\n"
        );
        assert_eq!(
            sample(source, 17, 24).to_string(),
            "w.yaml:3:7: error[unknown-property]: unknown property `outputs` of task `a`"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let source = format!("{}HERE{}", "x".repeat(500), "y".repeat(500));
        let rendered = sample(&source, 500, 504).render();
        let lines: Vec<&str> = rendered.lines().collect();
        assert!(lines[3].chars().count() < 130, "{rendered}");
        let caret = lines[4].chars().position(|c| c == '^').unwrap();
        let at_caret: String = lines[3].chars().skip(caret).take(4).collect();
        assert_eq!(at_caret, "HERE", "{rendered}");
    }

    #[test]
    fn control_characters_of_a_document_do_not_reach_a_terminal() {
        let source = "a: \u{1b}[31mred";
        let d = Diagnostic::error("x", "found \u{1b}[31m").at(Span::of(source, 3, 8)).within(&Arc::from("f"), source);
        assert!(!d.render().contains('\u{1b}'));
        assert!(!d.to_string().contains('\u{1b}'));
    }

    #[test]
    fn spans_past_the_end_or_inside_a_character_are_moved() {
        assert_eq!(Span::of("é", 1, 99), Span { start: 0, end: 2, line: 1, column: 1 });
        let _ = sample("", 5, 3).render();
    }

    #[test]
    fn serialises_for_editors() {
        let json = serde_json::to_value(sample("do:\n", 0, 2)).unwrap();
        assert_eq!(json["severity"], "error");
        assert_eq!(json["span"]["line"], 1);
        assert_eq!(json["code"], "unknown-property");
        assert!(json.get("excerpt").is_none());
    }
}
