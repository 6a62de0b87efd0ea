//! What is wrong with a document, where, and what to do about it.
//!
//! A [`Diagnostic`] carries all that is needed to show it: file, position, JSON pointer and the line of the source, so it
//! can be printed long after the source is gone. [`Diagnostic::render`] draws it the way compilers do; with
//! [`Diagnostic::render_with`] a terminal gives it colours. It serialises to JSON for editors and the API.
//!
//! Invariants: rendering never panics, and nothing that it prints can steer a terminal (control characters are replaced).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

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
    /// The line of the source in which the span begins.
    #[serde(skip)]
    excerpt: Option<Arc<str>>,
}

/// The parts of a rendered diagnostic that a terminal may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `error[code]`
    Title(Severity),
    /// The message.
    Message,
    /// Line numbers, bars and arrows.
    Frame,
    /// Carets and the label.
    Marker(Severity),
    /// `hint:` and `note:`
    Aside,
}

/// The most characters of a source line that are shown.
const EXCERPT_CHARS: usize = 110;
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
            excerpt: None,
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

    /// The same with its file and its line of the source, so that it can be rendered.
    #[must_use]
    pub fn within(mut self, file: &Arc<str>, source: &str) -> Self {
        self.file = file.clone();
        self.excerpt = self.span.map(|span| {
            let start = source.floor_char_boundary(span.start.min(source.len()));
            let line_start = source[..start].rfind('\n').map_or(0, |i| i + 1);
            let line = source[line_start..].split(['\n', '\r']).next().unwrap_or("");
            let end = line.floor_char_boundary((start - line_start + EXCERPT_BYTES).min(line.len()));
            Arc::from(&line[..end])
        });
        self
    }

    /// Draws it with the line of the source and carets below the place. Ends with a line break.
    pub fn render(&self) -> String {
        self.render_with(&|_, text| text.to_owned())
    }

    /// The same; `paint` may put colours around each part.
    pub fn render_with(&self, paint: &dyn Fn(Part, &str) -> String) -> String {
        let mut out = paint(Part::Title(self.severity), &format!("{}[{}]", self.severity, self.code));
        out.push_str(&paint(Part::Message, &format!(": {}", plain(&self.message))));
        out.push('\n');
        let width = self.span.map_or(0, |s| s.line.to_string().len());
        let pad = " ".repeat(width);
        match (self.span, &self.excerpt) {
            (Some(span), Some(line)) => {
                let place = format!("{}:{}:{}", plain(&self.file), span.line, span.column);
                out.push_str(&format!("{pad}{} {place}\n", paint(Part::Frame, "-->")));
                let (shown, before, length) = window(line, span);
                out.push_str(&format!("{pad} {}\n", paint(Part::Frame, "|")));
                let number = paint(Part::Frame, &format!("{} |", span.line));
                out.push_str(format!("{number} {shown}").trim_end());
                let label = self.label.as_ref().map_or_else(String::new, |l| format!(" {}", plain(l)));
                let marker = paint(Part::Marker(self.severity), &format!("{}{label}", "^".repeat(length)));
                out.push_str(&format!("\n{pad} {} {}{marker}\n", paint(Part::Frame, "|"), " ".repeat(before)));
            }
            _ if !self.file.is_empty() => {
                out.push_str(&format!("{} {}\n", paint(Part::Frame, "-->"), plain(&self.file)));
            }
            _ => {}
        }
        for (what, text) in self.hint.iter().map(|h| ("hint", h)).chain(self.notes.iter().map(|n| ("note", n))) {
            let text = plain(text).replace('\n', &format!("\n{pad}         "));
            out.push_str(&format!("{pad} {} {text}\n", paint(Part::Aside, &format!("= {what}:"))));
        }
        out
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

/// The part of a line around a span, the characters before the span in it, and the length of the span in characters.
fn window(line: &str, span: Span) -> (String, usize, usize) {
    let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let column = (span.column.saturating_sub(1) as usize).min(chars.len());
    let bytes = span.end.saturating_sub(span.start);
    let marked: usize = line
        .chars()
        .skip(column)
        .map(char::len_utf8)
        .scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        })
        .take_while(|sum| *sum <= bytes)
        .count();
    let from = if chars.len() <= EXCERPT_CHARS { 0 } else { column.saturating_sub(EXCERPT_CHARS / 3) };
    let to = (from + EXCERPT_CHARS).min(chars.len());
    let mut shown: String = chars[from..to].iter().collect();
    let mut before = column - from;
    if from > 0 {
        shown.insert(0, '…');
        before += 1;
    }
    if to < chars.len() {
        shown.push('…');
    }
    (shown, before, marked.min(to - column.min(to)).max(1))
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
