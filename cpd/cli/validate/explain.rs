//! `cpd validate --explain RULE` and `--rules`: the pages of the rules, from within the binary.

use cpd_core::definition::Severity;
use cpd_core::definition::lint::rules::RULES;
use cpd_core::json;

use super::known;
use crate::cli::style;
use crate::exit::Exit;

/// Prints the page of a rule.
pub(super) fn explain(rule: &str, json: bool) -> anyhow::Result<Exit> {
    let rule = known(rule.trim_matches(['[', ']', '`']))?;
    if json {
        let object = json!({ "id": rule.id, "severity": rule.severity.to_string(), "summary": rule.summary(), "page": rule.page });
        style::line(&object.to_json())?;
        return Ok(Exit::Done);
    }
    print(rule.page)?;
    Ok(Exit::Done)
}

/// Prints Markdown for a terminal: headings in bold, paragraphs to its width, code as it stands.
fn print(page: &str) -> anyhow::Result<()> {
    let (mut code, mut paragraph) = (false, Vec::new());
    for line in page.lines().chain([""]) {
        let fence = line.starts_with("```");
        if !code && !fence && !line.is_empty() && !line.starts_with('#') {
            paragraph.extend(line.split(' '));
            continue;
        }
        if !paragraph.is_empty() {
            flow(&std::mem::take(&mut paragraph))?;
        }
        match line {
            _ if fence => code = !code,
            _ if code => style::line(&format!("    {line}"))?,
            heading if heading.starts_with('#') => style::line(&style::bold(heading.trim_start_matches(['#', ' '])))?,
            blank => style::line(blank)?,
        }
    }
    Ok(())
}

fn flow(words: &[&str]) -> anyhow::Result<()> {
    let width = style::width().min(100);
    let mut row = String::new();
    for word in words {
        if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > width {
            style::line(&std::mem::take(&mut row))?;
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    style::line(&row)
}

/// Lists all rules.
pub(super) fn list(json: bool) -> anyhow::Result<Exit> {
    let width = RULES.iter().map(|r| r.id.len()).max().unwrap_or(0);
    let columns = style::width();
    for rule in RULES {
        if json {
            let object = json!({ "id": rule.id, "severity": rule.severity.to_string(), "summary": rule.summary() });
            style::line(&object.to_json())?;
            continue;
        }
        let severity = match rule.severity {
            Severity::Error => style::bad("error  "),
            Severity::Warning => style::warn("warning"),
        };
        let summary = style::cut(rule.summary(), columns.saturating_sub(width + 11));
        style::line(&format!("{severity}  {}  {summary}", style::name(&format!("{:<width$}", rule.id))))?;
    }
    Ok(Exit::Done)
}
