//! `cpd validate`: definitions checked and linted, for people, editors and the checks of a repository.
//!
//! 1. Files are gathered, and checked so that what others refer to comes first; what is registered in the data directory
//!    may be referred to as well.
//! 2. Each has a verdict: what was found after comments and `--deny`, `--allow` have been held against it.
//! 3. The verdicts are printed in the form that was asked for: pictures, JSON, SARIF, or commands for GitHub.

mod explain;
mod github;
mod sarif;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use cpd_core::definition::lint::allow::Levels;
use cpd_core::definition::lint::rules::{self, RULES};
use cpd_core::definition::{Severity, names};
use cpd_core::{Value, json};
use cpd_engine::Registry;

use super::{Global, definitions, runtime, style};
use crate::exit::Exit;
use crate::lint::{self, Checked};
use crate::wiring;

/// `cpd validate`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files, or directories of `.yaml`, `.yml` and `.json` files.
    #[arg(required_unless_present_any = ["explain", "rules"])]
    paths: Vec<PathBuf>,
    /// How to print what is found.
    #[arg(
        long = "format",
        id = "report",
        value_name = "FORMAT",
        default_value = "human",
        default_value_if("json", "true", "json")
    )]
    report: Format,
    /// Take warnings of a rule for errors; `warnings` means all of them.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    deny: Vec<String>,
    /// Leave warnings of a rule out.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    allow: Vec<String>,
    /// Print the page of a rule: what it says, why, and how to do better.
    #[arg(long, value_name = "RULE", conflicts_with_all = ["paths", "rules"])]
    explain: Option<String>,
    /// List all rules.
    #[arg(long, conflicts_with = "paths")]
    rules: bool,
}

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Pictures on stderr, a line for each good definition on stdout.
    Human,
    /// An object a line.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Commands that annotate a pull request.
    Github,
}

/// What became of a file.
struct Outcome {
    file: PathBuf,
    result: anyhow::Result<Checked>,
}

pub(crate) fn validate(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    if let Some(rule) = &args.explain {
        return explain::explain(rule, global.json);
    }
    if args.rules {
        return explain::list(global.json);
    }
    let levels = levels(args)?;
    let outcomes = runtime()?.block_on(check_all(global, &args.paths, &levels))?;
    match args.report {
        Format::Human => human(&outcomes)?,
        Format::Json => outcomes.iter().try_for_each(as_json)?,
        Format::Sarif => style::line(&sarif::log(&outcomes).to_json())?,
        Format::Github => github::print(&outcomes)?,
    }
    if args.report != Format::Human {
        // What is not about a definition has no place in the other forms.
        outcomes.iter().filter_map(|o| o.result.as_ref().err()).for_each(|e| super::report(e, false));
    }
    let passes = |o: &Outcome| o.result.as_ref().is_ok_and(Checked::passes);
    Ok(if outcomes.iter().all(passes) { Exit::Done } else { Exit::Failed })
}

fn levels(args: &Args) -> anyhow::Result<Levels> {
    let mut levels = Levels::default();
    for name in &args.deny {
        if name == "warnings" {
            levels.deny_warnings = true;
        } else {
            known(name)?;
            levels.deny.insert(name.clone());
        }
    }
    for name in &args.allow {
        if known(name)?.severity == Severity::Error {
            bail!("allow the rule {name}: it is an error, and a definition with errors cannot run");
        }
        levels.allow.insert(name.clone());
    }
    Ok(levels)
}

fn known(name: &str) -> anyhow::Result<&'static rules::Rule> {
    let Some(rule) = rules::find(name) else {
        let near = names::nearest(name, RULES.iter().map(|r| r.id));
        let near = near.map_or_else(String::new, |n| format!("; did you mean {n}?"));
        bail!("find the rule {name}: there is none{near} (`cpd validate --rules` lists them)");
    };
    Ok(rule)
}

async fn check_all(global: &Global, paths: &[PathBuf], levels: &Levels) -> anyhow::Result<Vec<Outcome>> {
    let files = definitions::files(paths)?;
    let config = global.config()?;
    // What is registered may be referred to; and the files may refer to each other.
    let registry = match global.view() {
        Ok(view) => view.registry_apart()?,
        Err(_) => Registry::empty(),
    };
    let registry = registry.with_connectors(wiring::known(&config)?).with_loader(wiring::loader(&config)?);
    let mut again: BTreeSet<PathBuf> = files.iter().cloned().collect();
    let mut outcomes: Vec<Option<Outcome>> = files.iter().map(|_| None).collect();
    loop {
        let before = again.len();
        for (file, outcome) in files.iter().zip(&mut outcomes).filter(|(f, _)| again.contains(*f)).collect::<Vec<_>>() {
            let result = one(&registry, file, levels).await;
            // What can be registered has been kept, and others may refer to it now.
            if result.as_ref().is_ok_and(|c| c.registration.is_some()) {
                again.remove(file);
            }
            *outcome = Some(Outcome { file: file.clone(), result });
        }
        if again.is_empty() || again.len() == before {
            return Ok(outcomes.into_iter().flatten().collect());
        }
    }
}

async fn one(registry: &Registry, file: &Path, levels: &Levels) -> anyhow::Result<Checked> {
    let source = definitions::read(file)?;
    Ok(lint::check(registry, &source, &file.display().to_string(), levels).await?)
}

fn human(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let (mut good, mut errors, mut warnings, mut allowed) = (0u64, 0u64, 0u64, 0u64);
    for Outcome { result, .. } in outcomes {
        let checked = match result {
            Ok(checked) => checked,
            Err(error) => {
                super::report(error, false);
                continue;
            }
        };
        for diagnostic in &checked.verdict.found {
            style::say(&style::diagnostic(diagnostic));
            match diagnostic.severity {
                Severity::Error => errors += 1,
                Severity::Warning => warnings += 1,
            }
        }
        allowed += checked.verdict.allowed.len() as u64;
        if let Some(r) = checked.registration.as_ref().filter(|_| checked.passes()) {
            good += 1;
            style::line(&format!("{} valid {} {} {}", style::good("✓"), r.what, style::name(&r.name), r.version))?;
        }
    }
    let total = outcomes.len() as u64;
    let bad = if good == total { String::new() } else { format!(", {} with errors", total - good) };
    let parts: Vec<String> = [(errors, "error"), (warnings, "warning")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| style::count(n, what))
        .chain((allowed > 0).then(|| format!("{allowed} allowed")))
        .collect();
    let found = if parts.is_empty() { String::new() } else { format!(" Found {}.", parts.join(", ")) };
    style::say(&format!("{good} of {} valid{bad}.{found}", style::count(total, "definition")));
    if errors + warnings > 0 {
        style::say("`cpd validate --explain RULE` says more about the name in brackets.");
    }
    Ok(())
}

fn as_json(outcome: &Outcome) -> anyhow::Result<()> {
    let Ok(checked) = &outcome.result else { return Ok(()) };
    match checked.registration.as_ref().filter(|_| checked.passes()) {
        Some(registration) => {
            let mut object = definitions::as_json(&outcome.file, registration, &checked.verdict.found);
            let allowed = checked.verdict.allowed.iter().map(|a| {
                json!({ "code": &*a.diagnostic.code, "line": a.diagnostic.span.map_or(1, |s| s.line), "reason": a.reason.clone() })
            });
            let allowed: Vec<Value> = allowed.collect();
            if let Value::Obj(map) = &mut object {
                std::sync::Arc::make_mut(map).insert("allowed".into(), Value::from(allowed));
            }
            style::line(&object.to_json())
        }
        None => {
            definitions::print_diagnostics(&outcome.file.display().to_string(), &checked.verdict.found, true);
            Ok(())
        }
    }
}
