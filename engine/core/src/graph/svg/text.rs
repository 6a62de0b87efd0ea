//! Texts: how wide they are, where they break, and how XML writes them.

use crate::graph::words::cut;

/// How a row of a box is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A task's name.
    Name,
    /// What it does.
    What,
    /// A condition, a limit.
    Remark,
    /// What a run has done with it.
    Run,
}

impl Style {
    pub fn class(self) -> &'static str {
        match self {
            Style::Name => "n",
            Style::What => "d",
            Style::Remark => "r",
            Style::Run => "m",
        }
    }

    pub fn size(self) -> f64 {
        match self {
            Style::Name => 13.0,
            Style::What => 12.0,
            Style::Remark | Style::Run => 11.0,
        }
    }
}

/// How wide a text is, for the widest of the fonts that are asked for; in others there is some room left.
pub(super) fn wide(text: &str, size: f64, bold: bool) -> f64 {
    let em: f64 = text.chars().map(em).sum();
    em * size * if bold { 1.1 } else { 1.0 }
}

fn em(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' => 0.28,
        ' ' | '.' | ',' | ':' | ';' | '/' | '\\' | 'I' | '!' => 0.34,
        'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '-' | '"' | '`' => 0.42,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '=' | '<' | '>' | '+' | '~' | '→' | '…' => 0.98,
        'A'..='Z' | '0'..='9' | '&' | '$' | '#' | '_' => 0.72,
        c if c.is_ascii() => 0.62,
        // Alphabets up to here are about as wide as Latin capitals; East Asian scripts and symbols fill a square.
        c if u32::from(c) < 0x1100 => 0.74,
        _ => 1.1,
    }
}

/// Breaks a text into lines of at most so many characters, at spaces where there are any; cuts what is left after `rows`.
pub(super) fn wrap(text: &str, columns: usize, rows: usize) -> Vec<String> {
    let text = cut(text, columns * rows);
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > columns && lines.len() + 1 < rows {
        let late = |at: &usize| *at * 2 > columns;
        let space = rest[..=columns].iter().rposition(|c| *c == ' ').filter(late);
        let joint = || rest[..columns].iter().rposition(|c| matches!(c, '.' | '/' | '-' | '_' | ',')).filter(late);
        let at = space.or_else(|| joint().filter(|at| at + 1 < rest.len())).unwrap_or(columns);
        let tail = rest.split_off(at);
        lines.push(rest.iter().collect::<String>().trim_end().to_owned());
        rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
    }
    let last: String = rest.iter().collect();
    lines.push(cut(&last, columns));
    lines
}

/// A text as XML writes it.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // What XML 1.0 does not have.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}')
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_break_at_spaces_and_are_cut_after_the_last_row() {
        assert_eq!(wrap("one two three", 20, 2), ["one two three"]);
        assert_eq!(wrap("one two three four", 9, 3), ["one two", "three", "four"]);
        assert_eq!(wrap("abcdefghijkl", 5, 2), ["abcde", "fghi…"]);
        assert_eq!(wrap("com.example.retrained.v1", 20, 2), ["com.example", ".retrained.v1"]);
        assert_eq!(wrap("", 5, 2), [""]);
        let cut = wrap(&"word ".repeat(10_000), 10, 2);
        assert_eq!(cut.len(), 2);
        assert!(cut.iter().all(|l| l.chars().count() <= 10) && cut[1].ends_with('…'), "{cut:?}");
    }

    #[test]
    fn xml_gets_nothing_that_it_could_take_for_markup() {
        assert_eq!(escape("<a b=\"c\">&\u{7}</a>"), "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}&lt;/a&gt;");
    }
}
