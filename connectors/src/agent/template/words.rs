//! How names, numbers and lists are put into words.

use cpd_connector_api::Value;

/// Longer strings are cut.
const TEXT_CHARS_MAX: usize = 160;

/// A member's name as words: `jobId` → `job id`, `max_drift` → `max drift`, `PSI` stays.
pub fn label(name: &str) -> String {
    let mut words = String::new();
    let mut before = ' ';
    let mut chars = name.chars().take(80).peekable();
    while let Some(c) = chars.next() {
        let next_is_lower = chars.peek().is_some_and(|n| n.is_lowercase());
        if matches!(c, '_' | '-' | '.' | ' ' | '/') {
            if !words.ends_with(' ') && !words.is_empty() {
                words.push(' ');
            }
        } else if c.is_uppercase() {
            let begins = before.is_lowercase() || before.is_ascii_digit() || (before.is_uppercase() && next_is_lower);
            if begins && !words.ends_with(' ') && !words.is_empty() {
                words.push(' ');
            }
            // An abbreviation keeps its capitals.
            let abbreviation =
                !next_is_lower && (before.is_uppercase() || chars.peek().is_some_and(|n| n.is_uppercase()));
            if abbreviation { words.push(c) } else { words.extend(c.to_lowercase()) }
        } else if !c.is_control() {
            words.push(c);
        }
        before = c;
    }
    words.trim().to_owned()
}

/// Where a fact stands, as words: `drift`, `window` → `drift, window`.
pub fn phrase(path: &[String]) -> String {
    capital(&path.join(", "))
}

/// The text with a capital at its beginning.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A number with at most four digits after the point, and thousands set apart.
pub fn number(n: f64) -> String {
    if !n.is_finite() {
        return "not a number".into();
    }
    let size = n.abs();
    if size >= 1e15 || (size > 0.0 && size < 0.0001) {
        return format!("{n:.3e}");
    }
    let text = format!("{size:.4}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let rest = rest.trim_end_matches('0');
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) && whole.len() > 4 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if n < 0.0 { "−" } else { "" };
    if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{rest}") }
}

/// A scalar in words; structures are only counted.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Num(n) => number(n.as_f64()),
        Value::Str(s) => text(s),
        Value::Arr(items) => count(items.len(), "entry"),
        Value::Obj(members) => count(members.len(), "member"),
    }
}

/// A text on one line, cut if it is long.
pub fn text(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}… ({} characters)", &line[..end], line.chars().count()),
        None => line,
    }
}

/// `1 fact`, `2 facts`, `3 entries`.
pub fn count(n: usize, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {noun}s"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn join(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

/// A sentence's end, unless the text has one.
pub fn full_stop(mut text: String) -> String {
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words() {
        for (name, words) in [
            ("jobId", "job id"),
            ("max_drift", "max drift"),
            ("PSI", "PSI"),
            ("costUSD", "cost USD"),
            ("HTTPStatus", "HTTP status"),
            ("policyVersion", "policy version"),
            ("p99", "p99"),
            ("", ""),
        ] {
            assert_eq!(label(name), words, "{name}");
        }
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        for (n, words) in [
            (0.22, "0.22"),
            (0.123_456, "0.1235"),
            (120_000.0, "120,000"),
            (1_234_567.5, "1,234,567.5"),
            (2026.0, "2026"),
            (-3.0, "−3"),
            (0.0, "0"),
            (1e-9, "1.000e-9"),
            (1e300, "1.000e300"),
            (f64::NAN, "not a number"),
        ] {
            assert_eq!(number(n), words, "{n}");
        }
    }

    #[test]
    fn lists_and_counts_read_as_english() {
        assert_eq!(join(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        assert_eq!(count(1, "entry"), "1 entry");
        assert_eq!(count(2, "entry"), "2 entries");
    }
}
