//! Workflow commands of GitHub Actions: a line each, which the web page shows beside the line of the file.

use cpd_core::definition::{Diagnostic, Severity};

use super::Outcome;
use crate::cli::style;

/// Prints a command for each finding.
pub(super) fn print(outcomes: &[Outcome]) -> anyhow::Result<()> {
    for outcome in outcomes {
        let Ok(checked) = &outcome.result else { continue };
        for diagnostic in &checked.verdict.found {
            style::line(&command(&outcome.file.display().to_string(), diagnostic))?;
        }
    }
    Ok(())
}

fn command(file: &str, d: &Diagnostic) -> String {
    let kind = match d.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut place = format!("file={}", property(file));
    if let Some(span) = d.span {
        let end = d.end().map_or((span.line, span.column), |e| (e.line, e.column));
        place.push_str(&format!(",line={},endLine={}", span.line, end.0));
        // The end is inclusive there, and columns count only within one line.
        if end.0 == span.line {
            place.push_str(&format!(",col={},endColumn={}", span.column, end.1.saturating_sub(1).max(span.column)));
        }
    }
    let more = d.label.iter().chain(&d.hint).chain(&d.notes).map(|m| format!("\n{m}")).collect::<String>();
    format!("::{kind} {place},title={}::{}", property(&d.code), data(&format!("{}{more}", d.message)))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cpd_core::definition::diagnostic::Span;

    use super::*;

    #[test]
    fn nothing_that_a_document_says_ends_the_command() {
        let source = "a: b\nc: d\n";
        let d = Diagnostic::error("unknown-value", "found `b`\n::error::no, 100%").at(Span::of(source, 3, 4)).hint("x");
        let d = d.within(&Arc::from("f"), source);
        assert_eq!(
            command("dir,1/f:g.yaml", &d),
            "::error file=dir%2C1/f%3Ag.yaml,line=1,endLine=1,col=4,endColumn=4,title=unknown-value::found `b`%0A::error::no, \
             100%25%0Ax"
        );
    }
}
