//! Colours, widths and printing. Colours only where a person looks; nothing else depends on them.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use anyhow::Context;
use cpd_core::time::Timestamp;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static COLOURS: OnceLock<(bool, bool)> = OnceLock::new();

/// Decides once, for stdout and stderr.
pub(crate) fn init(when: When) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    let decide = |terminal: bool| match when {
        When::Always => true,
        When::Never => false,
        When::Auto => terminal && !plain,
    };
    COLOURS.get_or_init(|| (decide(std::io::stdout().is_terminal()), decide(std::io::stderr().is_terminal())));
}

/// Whether stderr is in colour.
pub(crate) fn coloured_stderr() -> bool {
    COLOURS.get().is_some_and(|c| c.1)
}

fn paint(code: &str, text: &str) -> String {
    if COLOURS.get().is_some_and(|c| c.0) { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Less important.
pub(crate) fn dim(text: &str) -> String {
    paint("2", text)
}
/// More important.
pub(crate) fn bold(text: &str) -> String {
    paint("1", text)
}
/// Well.
pub(crate) fn good(text: &str) -> String {
    paint("32", text)
}
/// Look at this.
pub(crate) fn warn(text: &str) -> String {
    paint("33", text)
}
/// Not well.
pub(crate) fn bad(text: &str) -> String {
    paint("31", text)
}
/// A name.
pub(crate) fn name(text: &str) -> String {
    paint("36", text)
}
/// The word `error:` on stderr.
pub(crate) fn error(text: &str) -> String {
    if coloured_stderr() { format!("\x1b[1;31m{text}\x1b[0m") } else { text.to_owned() }
}

/// A run's status in its colour.
pub(crate) fn status(status: &str) -> String {
    match status {
        "completed" => good(status),
        "faulted" | "cancelled" | "set aside" => bad(status),
        "paused" => warn(status),
        _ => name(status),
    }
}

/// Prints to stdout.
///
/// # Errors
/// If stdout is closed, which ends the command quietly.
pub(crate) fn out(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("write to standard output")
}

/// Prints a line to stdout.
///
/// # Errors
/// If stdout is closed, which ends the command quietly.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    out(&format!("{text}\n"))
}

/// Prints a line of talk to stderr. If nobody listens, so be it.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// The width of the terminal on stdout; wide where there is none.
pub(crate) fn width() -> usize {
    if !std::io::stdout().is_terminal() {
        return 10_000;
    }
    terminal(std::io::stdout()).unwrap_or(100)
}

/// The width of the terminal on stderr; that of a page where there is none.
pub(crate) fn width_stderr() -> usize {
    terminal(std::io::stderr()).unwrap_or(120)
}

/// A terminal that says nothing, or less than anything fits into, is taken for one of the least width.
fn terminal(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let (terminal_size::Width(columns), _) = terminal_size::terminal_size_of(stream)?;
    Some(usize::from(columns).max(WIDTH_MIN))
}

/// What the narrowest terminal is taken for.
const WIDTH_MIN: usize = 40;

/// Cuts a text to so many columns, with an ellipsis. Colours must be put on afterwards.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.chars().count() <= columns {
        return text;
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// A span of time in a few characters.
pub(crate) fn span(micros: i64) -> String {
    let ms = micros as f64 / 1e3;
    match micros {
        ..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{ms:.0} ms"),
        1_000_000..60_000_000 => format!("{:.1} s", ms / 1e3),
        60_000_000..3_600_000_000 => format!("{}m {:02}s", micros / 60_000_000, micros / 1_000_000 % 60),
        _ => format!("{}h {:02}m", micros / 3_600_000_000, micros / 60_000_000 % 60),
    }
}

/// A time of day with milliseconds, UTC.
pub(crate) fn clock(at: Timestamp) -> String {
    at.to_string().get(11..23).unwrap_or_default().to_owned()
}

/// Date and time to the second, UTC.
pub(crate) fn date(at: Timestamp) -> String {
    at.to_string().get(..19).unwrap_or_default().replace('T', " ")
}

/// `1 event`, `2 events`.
pub(crate) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A diagnostic as it is printed on stderr.
pub(crate) fn diagnostic(diagnostic: &cpd_core::definition::Diagnostic) -> String {
    use cpd_core::definition::diagnostic::{Part, Severity};
    let width = match terminal_size::terminal_size_of(std::io::stderr()) {
        Some((terminal_size::Width(w), _)) if std::io::stderr().is_terminal() => usize::from(w),
        _ => cpd_core::definition::diagnostic::WIDTH,
    };
    if !coloured_stderr() {
        return diagnostic.render_with(&|_, text| text.to_owned(), width);
    }
    let paint = |part: Part, text: &str| {
        let code = match part {
            Part::Title(Severity::Error) | Part::Marker(Severity::Error) => "1;31",
            Part::Title(Severity::Warning) | Part::Marker(Severity::Warning) => "1;33",
            Part::Message => "1",
            Part::Frame | Part::Aside | Part::Secondary => "1;34",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    };
    diagnostic.render_with(&paint, width)
}
