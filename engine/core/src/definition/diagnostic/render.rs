//! Pictures of diagnostics, as compilers draw them: the lines of the source, carets below the place, dashes below other
//! places, and what there is to say.
//!
//! A line that is too long is shown around the place. Lines that are far apart have `...` between them. A place of several
//! lines has a bar at its left. Hints and notes are wrapped to the width.

use super::{Diagnostic, Span, plain};
use crate::definition::Severity;

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
    /// Dashes and the label of another place.
    Secondary,
    /// `hint:` and `note:`
    Aside,
}

/// The width for which is drawn where nobody knows better.
pub const WIDTH: usize = 120;
/// A picture narrower than this would be unreadable.
const NARROWEST: usize = 40;
/// The most lines of one place that are shown; of longer ones the middle is left out.
const BLOCK_LINES: usize = 6;

/// Puts colours around a part.
type Paint<'a> = &'a dyn Fn(Part, &str) -> String;

/// A place in a line.
struct Mark<'a> {
    span: Span,
    label: Option<&'a str>,
    primary: bool,
}

/// A line of the source that is shown.
struct Line<'a> {
    number: u32,
    text: String,
    marks: Vec<Mark<'a>>,
}

impl Diagnostic {
    /// Draws it with the line of the source and carets below the place. Ends with a line break.
    pub fn render(&self) -> String {
        self.render_with(&|_, text| text.to_owned(), WIDTH)
    }

    /// The same, so many columns wide; `paint` may put colours around each part.
    pub fn render_with(&self, paint: Paint<'_>, width: usize) -> String {
        let width = width.max(NARROWEST);
        let mut out = paint(Part::Title(self.severity), &format!("{}[{}]", self.severity, self.code));
        out.push_str(&paint(Part::Message, &format!(": {}", plain(&self.message))));
        out.push('\n');
        let last = self.related.iter().map(|r| r.span.line).chain(self.end.map(|e| e.line)).max();
        let deepest = self.span.map_or(0, |s| last.unwrap_or(0).max(s.line));
        let gutter = if deepest == 0 { 0 } else { deepest.to_string().len() };
        let pad = " ".repeat(gutter);
        match (self.span, &self.excerpt) {
            (Some(span), Some(excerpt)) => {
                let place = format!("{}:{}:{}", plain(&self.file), span.line, span.column);
                out.push_str(&format!("{pad}{} {place}\n", paint(Part::Frame, "-->")));
                out.push_str(&format!("{pad} {}\n", paint(Part::Frame, "|")));
                let several = self.end.is_some_and(|e| e.line > span.line) && excerpt.contains('\n');
                let picture = Picture { diagnostic: self, paint, gutter, width: width - gutter - 3 };
                out.push_str(&if several { picture.block(excerpt) } else { picture.lines(span, excerpt) });
            }
            _ if !self.file.is_empty() => {
                out.push_str(&format!("{} {}\n", paint(Part::Frame, "-->"), plain(&self.file)));
            }
            _ => {}
        }
        for (what, text) in self.hint.iter().map(|h| ("hint", h)).chain(self.notes.iter().map(|n| ("note", n))) {
            let indent = format!("\n{pad}         ");
            let text = wrapped(&plain(text), width.saturating_sub(gutter + 9)).join(&indent);
            out.push_str(&format!("{pad} {} {text}\n", paint(Part::Aside, &format!("= {what}:"))));
        }
        out
    }
}

struct Picture<'a> {
    diagnostic: &'a Diagnostic,
    paint: Paint<'a>,
    gutter: usize,
    width: usize,
}

impl Picture<'_> {
    fn numbered(&self, number: u32, text: &str) -> String {
        let frame = (self.paint)(Part::Frame, &format!("{number:>width$} |", width = self.gutter));
        format!("{}\n", format!("{frame} {text}").trim_end())
    }

    fn unnumbered(&self, text: &str) -> String {
        let frame = (self.paint)(Part::Frame, "|");
        format!("{}\n", format!("{} {frame} {text}", " ".repeat(self.gutter)).trim_end())
    }

    fn skipped(&self) -> String {
        format!("{}\n", (self.paint)(Part::Frame, "..."))
    }

    /// Lines with one place each, or several.
    fn lines(&self, span: Span, excerpt: &str) -> String {
        let first = |text: &str| text.split(['\n', '\r']).next().unwrap_or("").to_owned();
        let primary = Mark { span, label: self.diagnostic.label.as_deref(), primary: true };
        let mut lines = vec![Line { number: span.line, text: first(excerpt), marks: vec![primary] }];
        for related in &self.diagnostic.related {
            let mark = Mark { span: related.span, label: Some(&related.message), primary: false };
            match lines.iter_mut().find(|l| l.number == related.span.line) {
                Some(line) => line.marks.push(mark),
                None => {
                    let text = first(related.excerpt.as_deref().unwrap_or(""));
                    lines.push(Line { number: related.span.line, text, marks: vec![mark] });
                }
            }
        }
        lines.sort_by_key(|l| l.number);
        let (mut out, mut before) = (String::new(), None);
        for line in &lines {
            if before.is_some_and(|b| line.number > b + 1) {
                out.push_str(&self.skipped());
            }
            before = Some(line.number);
            out.push_str(&self.line(line));
        }
        out
    }

    fn line(&self, line: &Line<'_>) -> String {
        let focus = line.marks.iter().find(|m| m.primary).or(line.marks.first()).map_or(1, |m| m.span.column);
        let (shown, from, cut) = window(&line.text, focus, self.width);
        let mut out = self.numbered(line.number, &shown);
        for mark in &line.marks {
            let (before, length) = placed(&line.text, mark.span, from, shown.chars().count() - cut);
            let (sign, part) =
                if mark.primary { ("^", Part::Marker(self.diagnostic.severity)) } else { ("-", Part::Secondary) };
            let label = mark.label.map(plain).unwrap_or_default();
            out.push_str(&self.marked(before, &sign.repeat(length), &label, part));
        }
        out
    }

    /// Signs and, beside them or below, what they mean.
    fn marked(&self, before: usize, signs: &str, label: &str, part: Part) -> String {
        let beside = before + signs.chars().count() + 1;
        if label.is_empty() || beside + label.chars().count() <= self.width {
            let text = format!("{signs} {label}");
            return self.unnumbered(&format!("{}{}", " ".repeat(before), (self.paint)(part, text.trim_end())));
        }
        let indent = before.min(self.width / 3);
        let mut out = self.unnumbered(&format!("{}{}", " ".repeat(before), (self.paint)(part, signs)));
        for row in wrapped(label, self.width - indent) {
            out.push_str(&self.unnumbered(&format!("{}{}", " ".repeat(indent), (self.paint)(part, &row))));
        }
        out
    }

    /// A place of several lines.
    fn block(&self, excerpt: &str) -> String {
        let Some(span) = self.diagnostic.span else { return String::new() };
        let texts: Vec<&str> = excerpt.lines().collect();
        let part = Part::Marker(self.diagnostic.severity);
        let mut out = String::new();
        for (i, text) in texts.iter().enumerate() {
            let hidden = texts.len() > BLOCK_LINES && (3..texts.len() - 2).contains(&i);
            if hidden {
                if i == 3 {
                    out.push_str(&self.skipped());
                }
                continue;
            }
            let number = span.line + u32::try_from(i).unwrap_or(0);
            let bar = (self.paint)(part, if i == 0 { "/" } else { "|" });
            let (shown, _, _) = window(text, 1, self.width.saturating_sub(2));
            out.push_str(&self.numbered(number, &format!("{bar} {shown}")));
        }
        let end = self.diagnostic.end.map_or(1, |e| e.column.saturating_sub(1).max(1) as usize);
        let end = end.min(self.width.saturating_sub(2));
        let label = self.diagnostic.label.as_deref().map(plain).unwrap_or_default();
        out.push_str(&self.marked(0, &format!("|{}^", "_".repeat(end)), &label, part));
        for related in &self.diagnostic.related {
            out.push_str(&self.skipped());
            let text = related.excerpt.as_deref().unwrap_or("").split(['\n', '\r']).next().unwrap_or("").to_owned();
            let mark = Mark { span: related.span, label: Some(&related.message), primary: false };
            out.push_str(&self.line(&Line { number: related.span.line, text, marks: vec![mark] }));
        }
        out
    }
}

/// The part of a line around a column, the index of its first character, and how many signs stand for what was cut at the end.
fn window(line: &str, column: u32, width: usize) -> (String, usize, usize) {
    let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let column = (column.saturating_sub(1) as usize).min(chars.len());
    let room = width.saturating_sub(2).max(10);
    let from = if chars.len() <= width || column < room * 2 / 3 { 0 } else { column - room / 3 };
    let to = if chars.len() <= width { chars.len() } else { (from + room).min(chars.len()) };
    let mut shown: String = chars[from..to].iter().collect();
    if from > 0 {
        shown.insert(0, '…');
    }
    if to < chars.len() {
        shown.push('…');
    }
    (shown, from, usize::from(to < chars.len()))
}

/// The characters before a span in a window that begins at `from` and ends at `shown`, and the length of the span.
fn placed(line: &str, span: Span, from: usize, shown: usize) -> (usize, usize) {
    let column = (span.column.saturating_sub(1) as usize).min(line.chars().count());
    let bytes = span.end.saturating_sub(span.start);
    let mut sum = 0;
    let length = line
        .chars()
        .skip(column)
        .take_while(|c| {
            sum += c.len_utf8();
            sum <= bytes
        })
        .count();
    let before = (column + usize::from(from > 0)).saturating_sub(from).min(shown);
    (before, length.min(shown.saturating_sub(before)).max(1))
}

/// A text in lines of at most so many characters, cut between words; words that are longer stay whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let mut row = String::new();
        for word in line.split(' ') {
            if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > width {
                rows.push(std::mem::take(&mut row));
            }
            if !row.is_empty() {
                row.push(' ');
            }
            row.push_str(word);
        }
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SOURCE: &str =
        "do:\n  - first:\n      set: { x: 1 }\n  - second:\n      set: { x: 2 }\n  - third:\n      then: first\n";

    fn at(needle: &str) -> Span {
        let start = SOURCE.find(needle).expect("it is there");
        Span::of(SOURCE, start, start + needle.len())
    }

    fn drawn(d: Diagnostic, width: usize) -> String {
        d.within(&Arc::from("w.yaml"), SOURCE).render_with(&|_, t| t.to_owned(), width)
    }

    #[test]
    fn other_places_are_drawn_in_order_with_dashes() {
        let d = Diagnostic::warning("w", "goes round").at(at("third")).label("here").also(at("first"), "from here");
        let expected = "warning[w]: goes round\n --> w.yaml:6:5\n  |\n2 |   - first:\n  |     ----- from here\n...\n6 |   - third:\n  |     ^^^^^ here\n";
        assert_eq!(drawn(d, 80), expected);
    }

    #[test]
    fn two_places_of_one_line_have_a_row_each() {
        let d = Diagnostic::error("e", "no").at(at("x: 1")).also(at("set: {"), "in this");
        let expected = "error[e]: no\n --> w.yaml:3:14\n  |\n3 |       set: { x: 1 }\n  |              ^^^^\n  |       ------ in this\n";
        assert_eq!(drawn(d, 80), expected);
    }

    #[test]
    fn a_place_of_several_lines_has_a_bar() {
        let d = Diagnostic::error("e", "no").at(at("second:\n      set: { x: 2 }")).label("all of this");
        let expected = "error[e]: no\n --> w.yaml:4:5\n  |\n4 | /   - second:\n5 | |       set: { x: 2 }\n  | |___________________^ all of this\n";
        assert_eq!(drawn(d, 80), expected);
    }

    #[test]
    fn a_long_block_loses_its_middle() {
        let d = Diagnostic::error("e", "no").at(Span::of(SOURCE, 0, SOURCE.len() - 1));
        let text = drawn(d, 80);
        assert!(text.contains("3 | |       set: { x: 1 }\n...\n6 | |   - third:\n"), "{text}");
    }

    #[test]
    fn nothing_but_long_words_is_wider_than_the_terminal() {
        let many = "a hint of many words that goes on and on until it is far too long for the terminal that shows it";
        let d = Diagnostic::error("e", "short").at(at("second")).label(many).hint(many).note(many);
        let text = drawn(d, 50);
        assert!(text.lines().all(|l| l.chars().count() <= 50), "{text}");
        assert!(text.split_whitespace().filter(|w| *w == "terminal").count() == 3, "{text}");
    }

    #[test]
    fn a_concealed_place_shows_nothing_of_what_stands_there() {
        let mut d = Diagnostic::warning("w", "a secret").at(at("{ x: 2 }"));
        d.conceal();
        let text = drawn(d, 80);
        assert!(text.contains("set: ********\n") && !text.contains("x: 2"), "{text}");
    }
}
