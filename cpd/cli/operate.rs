//! `cpd cancel`, `pause`, `resume`, `resolve`, `signal`, `emit`: what operators do to runs.

use cpd_core::machine::{Phase, Resolution, RunId};
use cpd_core::problem::{Problem, Standard};
use cpd_core::{Value, json};
use cpd_engine::{Engine, Error, RunHandle};

use super::{Global, run, style};
use crate::exit::Exit;
use crate::wiring;

/// `cpd cancel`, `cpd pause`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run: its id, the beginning of it, or `last`.
    run: String,
    /// Why; it stands in the log.
    #[arg(long, default_value = "asked by an operator")]
    reason: String,
}

/// `cpd resume`
#[derive(clap::Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    operate: Args,
    /// Return at once; the next cpd process over the data directory drives the run.
    #[arg(long)]
    detach: bool,
    /// If the disk is full, wait for room.
    #[arg(long)]
    wait: bool,
    /// Say nothing on the way.
    #[arg(short, long)]
    quiet: bool,
}

/// `cpd resolve`
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["succeeded", "retry", "failed"])))]
pub(crate) struct ResolveArgs {
    /// The run: its id, the beginning of it, or `last`.
    run: String,
    /// The task: its reference (`/do/0/name`) or name. Not needed if only one waits.
    task: Option<String>,
    /// It happened; this was the output (JSON or @file).
    #[arg(long, value_name = "JSON|@FILE")]
    succeeded: Option<String>,
    /// Call it again, with the same idempotency key, and wait for the end of the run.
    #[arg(long)]
    retry: bool,
    /// It did not happen: raise an error.
    #[arg(long)]
    failed: bool,
    /// With --failed: what to say.
    #[arg(long, default_value = "an operator says that it did not happen")]
    reason: String,
}

/// `cpd signal`
#[derive(clap::Args)]
pub(crate) struct SignalArgs {
    /// The run: its id, the beginning of it, or `last`.
    run: String,
    #[command(flatten)]
    event: EventArgs,
}

/// An event: `cpd emit`
#[derive(clap::Args)]
pub(crate) struct EventArgs {
    /// Its type, such as `com.example.drift.detected.v1`.
    #[arg(value_name = "TYPE", required_unless_present = "event")]
    kind: Option<String>,
    /// Its data.
    #[arg(short = 'd', long, value_name = "JSON|@FILE")]
    payload: Option<String>,
    /// What it is about.
    #[arg(long)]
    subject: Option<String>,
    /// Where it comes from.
    #[arg(long)]
    source: Option<String>,
    /// Its id. The same event again, by source and id, changes nothing.
    #[arg(long)]
    id: Option<String>,
    /// The whole CloudEvent instead.
    #[arg(long, value_name = "JSON|@FILE", conflicts_with_all = ["kind", "payload", "subject", "source", "id"])]
    event: Option<String>,
}

impl EventArgs {
    fn event(&self) -> anyhow::Result<Value> {
        if let Some(event) = &self.event {
            return run::read_input(event);
        }
        let data = self.payload.as_deref().map(run::read_input).transpose()?;
        let texts = [("type", &self.kind), ("subject", &self.subject), ("source", &self.source), ("id", &self.id)];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key, Value::str(text.as_deref()?))));
        let members = texts.chain(data.map(|d| ("data", d))).map(|(key, v)| (std::sync::Arc::from(key), v));
        Ok(Value::from(members.collect::<cpd_core::value::Map>()))
    }
}

pub(crate) fn signal(global: &Global, args: &SignalArgs) -> anyhow::Result<Exit> {
    let event = args.event.event()?;
    operate(global, &args.run, "given the event", async |run| run.signal_event(event.clone()).await)
}

pub(crate) fn emit(global: &Global, args: &EventArgs) -> anyhow::Result<Exit> {
    let event = args.event()?;
    let config = global.config()?;
    super::runtime()?.block_on(async {
        let engine: Engine = wiring::open(&global.data, &config, |b| b.dispatching(false)).await?;
        let published = super::with_engine(&engine, false, async { Ok(engine.publish(event).await?) }).await?;
        let runs: Vec<String> = published.runs.iter().map(ToString::to_string).collect();
        if global.json {
            style::line(&json!({ "id": published.id, "runs": runs }).to_json())?;
        } else if runs.is_empty() {
            style::say(&format!("Event {}: no open run listens to it.", published.id));
        } else {
            style::say(&format!("Event {} was given to {} runs:", published.id, runs.len()));
            runs.iter().try_for_each(|run| style::line(run))?;
        }
        Ok(Exit::Done)
    })
}

pub(crate) fn cancel(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    operate(global, &args.run, "cancelled", async |run| run.cancel(&actor(), &args.reason).await)
}

pub(crate) fn pause(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    operate(global, &args.run, "paused", async |run| run.pause(&actor(), &args.reason).await)
}

pub(crate) fn resolve(global: &Global, args: &ResolveArgs) -> anyhow::Result<Exit> {
    let resolution = match &args.succeeded {
        Some(output) => Resolution::Succeeded(run::read_input(output)?),
        None if args.retry => Resolution::Retry,
        None => Resolution::Failed(Problem::standard(Standard::Runtime, &args.reason)),
    };
    if args.retry {
        return retry(global, args, resolution);
    }
    operate(global, &args.run, "resolved", async |run| {
        run.resolve(args.task.as_deref(), resolution.clone(), &actor()).await
    })
}

/// Calls again in this process. Were the intent recorded here and the call left to the next process, that one could not
/// tell that it was never made, and would ask the operator once more.
fn retry(global: &Global, args: &ResolveArgs, resolution: Resolution) -> anyhow::Result<Exit> {
    let id = find(global, &args.run)?;
    let config = global.config()?;
    super::runtime()?.block_on(async {
        let engine = wiring::open(&global.data, &config, |b| b).await?;
        let handle = engine.run(id);
        super::with_engine(&engine, false, async {
            handle.resolve(args.task.as_deref(), resolution, &actor()).await?;
            run::finish(&handle, global.json, false).await
        })
        .await
    })
}

pub(crate) fn resume(global: &Global, args: &ResumeArgs) -> anyhow::Result<Exit> {
    let id = find(global, &args.operate.run)?;
    let config = global.config()?;
    super::runtime()?.block_on(async {
        let live = (!args.quiet && !args.detach).then(run::Live::default);
        let open = |b: cpd_engine::Builder| {
            let b = b.dispatching(!args.detach);
            match live {
                Some(live) => b.observer(std::sync::Arc::new(live)),
                None => b,
            }
        };
        let engine = wiring::open(&global.data, &config, open).await?;
        let handle = engine.run(id);
        super::with_engine(&engine, args.wait, async {
            if handle.state().await?.phase == Phase::Paused {
                handle.resume(&actor(), &args.operate.reason).await?;
            }
            if args.detach {
                done(global, &handle, "resumed").await
            } else {
                run::finish(&handle, global.json, args.quiet).await
            }
        })
        .await
    })
}

/// Opens the directory without driving anything, does one thing to one run, and says so.
pub(super) fn operate(
    global: &Global,
    run: &str,
    what: &str,
    act: impl AsyncFnOnce(&RunHandle) -> Result<(), Error>,
) -> anyhow::Result<Exit> {
    let id = find(global, run)?;
    let config = global.config()?;
    super::runtime()?.block_on(async {
        let engine: Engine = wiring::open(&global.data, &config, |b| b.dispatching(false)).await?;
        let handle = engine.run(id);
        super::with_engine(&engine, false, async {
            act(&handle).await?;
            done(global, &handle, what).await
        })
        .await
    })
}

async fn done(global: &Global, handle: &RunHandle, what: &str) -> anyhow::Result<Exit> {
    let id = handle.id();
    let status = handle.state().await?.phase.name();
    if global.json {
        style::line(&json!({ "runId": id.to_string(), "status": status }).to_json())?;
    } else {
        style::say(&format!("Run {id} was {what}; it is {status}."));
        if status == "running" {
            style::say(&format!("`cpd resume {id}` drives it on."));
        }
    }
    Ok(Exit::Done)
}

fn find(global: &Global, run: &str) -> anyhow::Result<RunId> {
    Ok(global.view()?.find(run)?)
}

/// Who does it, for the log.
pub(crate) fn actor() -> String {
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    format!("cli:{}", user.as_deref().unwrap_or("unknown"))
}
