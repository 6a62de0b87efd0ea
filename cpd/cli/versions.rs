//! `cpd fork`, `cpd retry`, `cpd migrate`: runs that go on from somewhere else, or with another version.

use std::sync::Arc;

use anyhow::bail;
use cpd_core::json;
use cpd_core::machine::RunId;
use cpd_engine::{Engine, Error, ForkFrom, Migrated, RunHandle};

use super::{Global, operate, run, style};
use crate::exit::Exit;
use crate::wiring;

/// `cpd fork`
#[derive(clap::Args)]
pub(crate) struct ForkArgs {
    /// The run whose history is shared: its id, the beginning of it, or `last`.
    run: String,
    /// Where to leave it: after the event of that number (`cpd log` shows them), or before the task of that name or
    /// reference began for the last time.
    #[arg(long, value_name = "SEQ|TASK")]
    from: String,
    /// What the next task begins with instead: JSON, @FILE, or @- for standard input.
    #[arg(short, long, value_name = "JSON|@FILE")]
    input: Option<String>,
    #[command(flatten)]
    follow: Follow,
}

/// `cpd retry`
#[derive(clap::Args)]
pub(crate) struct RetryArgs {
    /// The run that faulted: its id, the beginning of it, or `last`.
    run: String,
    #[command(flatten)]
    follow: Follow,
}

#[derive(clap::Args)]
struct Follow {
    /// Return at once; the next cpd process over the data directory drives the run.
    #[arg(long)]
    detach: bool,
    /// Say nothing on the way.
    #[arg(short, long)]
    quiet: bool,
}

/// `cpd migrate`
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["run", "workflow"])))]
pub(crate) struct MigrateArgs {
    /// The run: its id, the beginning of it, or `last`.
    run: Option<String>,
    /// Every open run of that workflow.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// The version to move to.
    #[arg(long, value_name = "VERSION")]
    to: String,
    /// Only say what would happen.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn fork(global: &Global, args: &ForkArgs) -> anyhow::Result<Exit> {
    let from = match args.from.parse() {
        Ok(seq) => ForkFrom::Seq(seq),
        Err(_) => ForkFrom::Task(args.from.clone()),
    };
    let input = args.input.as_deref().map(run::read_input).transpose()?;
    branch(global, &args.run, &args.follow, "forked", async |engine, origin| {
        engine.fork(origin, &from, input.clone(), &operate::actor()).await
    })
}

pub(crate) fn retry(global: &Global, args: &RetryArgs) -> anyhow::Result<Exit> {
    branch(global, &args.run, &args.follow, "retried", async |engine, origin| {
        engine.retry(origin, &operate::actor()).await
    })
}

/// Makes a run of the history of another one, and follows it to its end.
fn branch(
    global: &Global,
    origin: &str,
    follow: &Follow,
    what: &str,
    make: impl AsyncFnOnce(&Engine, RunId) -> Result<RunHandle, Error>,
) -> anyhow::Result<Exit> {
    let origin = global.view()?.find(origin)?;
    let config = global.config()?;
    super::runtime()?.block_on(async {
        let live = (!follow.quiet && !follow.detach).then(run::Live::default);
        let open = |b: cpd_engine::Builder| {
            let b = b.dispatching(!follow.detach);
            match live {
                Some(live) => b.observer(Arc::new(live)),
                None => b,
            }
        };
        let engine = wiring::open(&global.data, &config, open).await?;
        super::with_engine(&engine, false, async {
            let handle = make(&engine, origin).await?;
            if !global.json && !follow.quiet {
                style::say(&format!("Run {origin} was {what} as {}.", handle.id()));
            }
            if follow.detach {
                run::print_started(&handle, global.json)?;
                return Ok(Exit::Done);
            }
            run::finish(&handle, global.json, follow.quiet).await
        })
        .await
    })
}

pub(crate) fn migrate(global: &Global, args: &MigrateArgs) -> anyhow::Result<Exit> {
    let view = global.view()?;
    let runs: Vec<RunId> = match (&args.run, &args.workflow) {
        (Some(run), _) => vec![view.find(run)?],
        (None, Some(workflow)) => {
            let name = view.registry().workflow(workflow)?.qualified_name();
            let open = |(id, row): (RunId, &cpd_engine::RunRow)| {
                (row.phase.is_open() && *row.workflow == *name && row.version != args.to).then_some(id)
            };
            view.runs().filter_map(open).collect()
        }
        (None, None) => bail!("name a run or a workflow"),
    };
    drop(view);
    if runs.is_empty() && !global.json {
        style::say("There is no open run of another version.");
    }
    let config = global.config()?;
    super::runtime()?.block_on(async {
        let engine = wiring::open(&global.data, &config, |b| b.dispatching(false)).await?;
        super::with_engine(&engine, false, async {
            let mut exit = Exit::Done;
            for run in runs {
                let moved = match args.dry_run {
                    true => engine.migratable(run, &args.to),
                    false => engine.migrate(run, &args.to, &operate::actor()).await,
                };
                match moved {
                    Ok(moved) => told(global, &moved, args.dry_run)?,
                    Err(error) => {
                        exit = Exit::Failed;
                        super::report(&error.into(), global.json);
                    }
                }
            }
            Ok(exit)
        })
        .await
    })
}

fn told(global: &Global, moved: &Migrated, dry: bool) -> anyhow::Result<()> {
    let Migrated { run, version, events } = moved;
    if global.json {
        let events = i64::try_from(*events).unwrap_or(i64::MAX);
        let line = json!({ "runId": run.to_string(), "version": **version, "events": events, "moved": !dry });
        return style::line(&line.to_json());
    }
    let word = if dry { "can be moved" } else { "was moved" };
    style::line(&format!("{} {run} {word} to version {version}: its {events} events replay there", style::good("✓")))
}
