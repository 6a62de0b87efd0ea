//! `cpd schema`: JSON Schemas for editors.

use cpd_core::Value;
use cpd_core::definition::form::{self, Names};

use super::{Global, style};
use crate::exit::Exit;
use crate::{schema, wiring};

/// `cpd schema`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Of what.
    #[arg(default_value = "workflow")]
    of: Kind,
}

/// What there is a schema of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Workflows, with the names of what is registered in the data directory.
    Workflow,
    /// Policies.
    Policy,
    /// Agents.
    Agent,
    /// The configuration, `cpd.toml`.
    Config,
}

pub(crate) fn schema(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    let schema: Value = match args.of {
        Kind::Workflow => form::workflow(&names(global)?),
        Kind::Policy => form::policy(),
        Kind::Agent => schema::agent(),
        Kind::Config => schema::config(),
    };
    let text = if global.json { schema.to_json() } else { serde_json::to_string_pretty(&schema)? };
    style::line(&text)?;
    Ok(Exit::Done)
}

/// What a definition can refer to here. Without a data directory, the operations.
fn names(global: &Global) -> anyhow::Result<Names> {
    let operations = wiring::operations(&global.config()?)?;
    let Ok(view) = global.view() else { return Ok(Names { operations, ..Names::default() }) };
    let registry = view.registry();
    let mut policies: Vec<String> = registry.policies()?.iter().map(|p| p.name().to_owned()).collect();
    let mut agents = registry.agent_names();
    for names in [&mut policies, &mut agents] {
        names.sort();
        names.dedup();
    }
    Ok(Names { operations, policies, agents })
}
