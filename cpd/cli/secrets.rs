//! `cpd secrets list`: which secrets there are and where each comes from, without a value.

use std::collections::BTreeMap;

use cpd_core::{Value, json};

use super::{Global, style};
use crate::exit::Exit;
use crate::secrets::{SecretStore, Source};

/// `cpd secrets`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Name the secrets: where each comes from, whether it can be had (commands are run), and who asks for it.
    List,
}

pub(crate) fn secrets(global: &Global, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::List => list(global),
    }
}

struct Row {
    name: String,
    source: &'static str,
    place: String,
    problem: Option<String>,
    used_by: Vec<String>,
}

fn list(global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let wanted = wanted(global, &config)?;
    let store = SecretStore::new(config.secrets);
    let row = |name: String| {
        let used_by = wanted.get(&name).cloned().unwrap_or_default();
        let (source, place, problem) = match store.find(&name) {
            Some((source, found)) => {
                let (kind, place) = match source {
                    Source::Environment(variable) => ("environment", variable),
                    Source::File(path) => ("file", path.display().to_string()),
                    Source::Command(program) => ("command", program),
                };
                (kind, place, found.err())
            }
            None => ("nowhere", String::new(), Some("no variable, file or command has it".to_owned())),
        };
        Row { name, source, place, problem, used_by }
    };
    let rows: Vec<Row> = store.names(wanted.keys().cloned()).into_iter().map(row).collect();
    let missing = rows.iter().any(|row| row.problem.is_some());
    if global.json {
        for row in &rows {
            style::line(&json_of(row).to_json())?;
        }
    } else if rows.is_empty() {
        style::say("No secrets.");
    } else {
        print(&rows)?;
    }
    Ok(if missing { Exit::Failed } else { Exit::Done })
}

/// Who asks for which secret: workflows that are registered, and the configuration.
fn wanted(global: &Global, config: &crate::config::Config) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if global.data.join("journal").is_dir() {
        let view = global.view()?;
        for workflow in view.registry().workflows() {
            let full = format!("{}:{}", workflow.name, workflow.version);
            let plan = view.registry().workflow(&full)?;
            for name in &plan.secrets {
                wanted.entry(name.to_string()).or_default().push(full.clone());
            }
        }
    }
    if let Some(atlas) = &config.connectors.atlas {
        for name in [&atlas.mlflow.token_secret, &atlas.training.token_secret].into_iter().flatten() {
            wanted.entry(name.clone()).or_default().push("[connectors.atlas]".to_owned());
        }
    }
    Ok(wanted)
}

fn json_of(row: &Row) -> Value {
    let used_by: Vec<Value> = row.used_by.iter().map(|by| Value::from(by.as_str())).collect();
    json!({
        "name": row.name.as_str(),
        "source": row.source,
        "place": row.place.as_str(),
        "resolves": row.problem.is_none(),
        "problem": row.problem.as_deref(),
        "usedBy": used_by,
    })
}

fn print(rows: &[Row]) -> anyhow::Result<()> {
    let width = |of: fn(&Row) -> &str, least: usize| {
        rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).max(least)
    };
    let (names, places) = (width(|r| &r.name, 6), width(|r| &r.place, 5));
    style::line(&style::dim(&format!("{:<names$}  {:<11}  {:<places$}  RESOLVES", "SECRET", "SOURCE", "PLACE")))?;
    for row in rows {
        let answer = match &row.problem {
            None => "yes".to_owned(),
            Some(problem) => format!("no: {problem}"),
        };
        style::line(&format!("{:<names$}  {:<11}  {:<places$}  {answer}", row.name, row.source, row.place))?;
    }
    Ok(())
}
