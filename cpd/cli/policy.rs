//! `cpd policy list|eval|test`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use cpd_core::policy::{Policy, PolicyDocument};
use cpd_core::{Value, json};
use cpd_engine::{Clock, SystemClock};

use super::{Global, definitions, run, style};
use crate::exit::Exit;

/// `cpd policy …`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List registered policies.
    List,
    /// Let a policy decide on facts, and record nothing.
    Eval(EvalArgs),
    /// Run the examples that stand beside policies.
    Test(TestArgs),
}

/// `cpd policy eval`
#[derive(clap::Args)]
pub(crate) struct EvalArgs {
    /// A registered policy (`name`, with `:version`), or a file with one.
    policy: String,
    /// The facts: JSON, `@file`, or `@-`.
    #[arg(short, long, value_name = "JSON|@FILE")]
    facts: String,
    /// Parameters instead of the policy's: JSON or `@file`.
    #[arg(short, long, value_name = "JSON|@FILE")]
    parameters: Option<String>,
}

/// `cpd policy test`
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Files with policies; without any, the registered ones.
    files: Vec<PathBuf>,
}

pub(crate) fn policy(global: &Global, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::List => list(global),
        Command::Eval(args) => eval(global, args),
        Command::Test(args) => test(global, args),
    }
}

fn list(global: &Global) -> anyhow::Result<Exit> {
    let policies = global.view()?.registry().policies()?;
    for policy in &policies {
        let (name, version, mode) = (policy.name(), policy.version(), policy.mode());
        let title = policy.title().unwrap_or_default();
        if global.json {
            let object = json!({ "name": name, "version": version, "mode": mode.to_string(), "title": title, "digest": policy.digest().to_string() });
            style::line(&object.to_json())?;
        } else {
            style::line(&format!(
                "{}  {version:<8}  {:<8}  {title}",
                style::name(&format!("{name:<28}")),
                mode.to_string()
            ))?;
        }
    }
    if policies.is_empty() {
        style::say(
            "No policies are registered: `cpd register definitions/policies` registers those that ship with cpd.",
        );
    }
    Ok(Exit::Done)
}

fn eval(global: &Global, args: &EvalArgs) -> anyhow::Result<Exit> {
    let path = PathBuf::from(&args.policy);
    let policy = if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
        Arc::new(read(&path)?)
    } else {
        global.view()?.registry().policy(&args.policy)?
    };
    let facts = run::read_input(&args.facts)?;
    let parameters = args.parameters.as_deref().map(run::read_input).transpose()?.unwrap_or_else(Value::object);
    let decision = policy.decide(&facts, &parameters, SystemClock::default().now()).to_value();
    let outcome = decision.get("outcome").and_then(Value::as_str).unwrap_or("?").to_owned();
    if global.json {
        style::line(&decision.to_json())?;
    } else {
        let painted = match &*outcome {
            "ERROR" | "deny" => style::bad(&outcome),
            "TRIGGERED" | "review" => style::warn(&outcome),
            _ => style::good(&outcome),
        };
        style::line(&format!("{} {} → {painted}", style::name(policy.name()), policy.version()))?;
        for reason in decision.get("reasons").and_then(Value::as_array).unwrap_or_default() {
            style::line(&format!("  {}", reason.as_str().map_or_else(|| reason.to_json(), str::to_owned)))?;
        }
        if let Some(change) = decision.get("wouldChange").and_then(Value::as_str) {
            style::line(&style::dim(&format!("  {change}")))?;
        }
    }
    Ok(if outcome == "ERROR" { Exit::Failed } else { Exit::Done })
}

fn test(global: &Global, args: &TestArgs) -> anyhow::Result<Exit> {
    let policies = if args.files.is_empty() {
        global.view()?.registry().policies()?
    } else {
        args.files.iter().map(|f| read(f).map(Arc::new)).collect::<anyhow::Result<Vec<_>>>()?
    };
    let (mut passed, mut failed) = (0u64, 0u64);
    for policy in &policies {
        for example in policy.run_examples() {
            let ok = example.passed();
            if ok {
                passed += 1
            } else {
                failed += 1
            }
            if global.json {
                style::line(&json!({ "policy": policy.name(), "example": *example.name, "passed": ok, "detail": example.detail() }).to_json())?;
            } else {
                let mark = if ok { style::good("✓") } else { style::bad("✗") };
                style::line(&format!("{mark} {} {}  {}", style::name(policy.name()), policy.version(), example.name))?;
                if let Some(detail) = example.detail() {
                    style::line(&format!("    {detail}"))?;
                }
            }
        }
    }
    if passed + failed == 0 {
        bail!("test policies: {} and no examples beside them", style::count(policies.len() as u64, "policy file"));
    }
    style::say(&format!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

fn read(path: &std::path::Path) -> anyhow::Result<Policy> {
    let source = std::fs::read_to_string(path).with_context(|| format!("read the policy {}", path.display()))?;
    let file = path.display().to_string();
    let compiled = PolicyDocument::parse(&source, &file).and_then(Policy::compile);
    Ok(compiled.map_err(|diagnostics| definitions::as_error(&file, &source, diagnostics))?)
}
