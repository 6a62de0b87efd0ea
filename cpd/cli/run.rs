//! `cpd run`: start a workflow (or take up the run of a key) and wait for its end.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use cpd_core::machine::{Event, Run, RunId, WakeSource};
use cpd_core::time::Timestamp;
use cpd_core::value::Map;
use cpd_core::{Value, json};
use cpd_engine::{Engine, Error, Observer, RunEnd, RunHandle};

use super::{Global, definitions, style};
use crate::exit::Exit;
use crate::wiring;

/// `cpd run`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A registered workflow (`name`, `namespace/name`, with `:version`), or a file with a definition.
    workflow: String,
    /// Input members, as `key=value`; a value that is JSON is taken as JSON, anything else as text.
    #[arg(value_name = "KEY=VALUE")]
    members: Vec<String>,
    /// The input: JSON, `@file`, or `@-` for standard input.
    #[arg(short, long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Start only if no run of this workflow was started with the same key; otherwise take that run up.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Return as soon as the start is durable. The next cpd process over the data directory drives the run.
    #[arg(long)]
    detach: bool,
    /// If the disk is full, wait for room.
    #[arg(long)]
    wait: bool,
    /// Say nothing on the way.
    #[arg(short, long)]
    quiet: bool,
    /// End at once when standard input is closed: for a worker that shall not outlive the process that started it.
    #[arg(long, hide = true)]
    tethered: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    if args.tethered {
        tether()?;
    }
    let input = input(args)?;
    super::runtime()?.block_on(async {
        let live: Option<Arc<dyn Observer>> = (!args.quiet && !args.detach).then(|| Arc::new(Live::default()) as _);
        let config = global.config()?;
        let engine = wiring::open(&global.data, &config, |b| {
            let b = b.dispatching(!args.detach);
            match live {
                Some(live) => b.observer(live),
                None => b,
            }
        })
        .await?;
        super::with_engine(&engine, args.wait, start(&engine, args, input, global.json)).await
    })
}

/// Ends this process when standard input does. The other end is held by the process that started this one, and the system
/// closes it however that process ends. What was not synced is as after a crash: the next process goes on.
fn tether() -> anyhow::Result<()> {
    let watch = || {
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        std::process::exit(Exit::Failed as i32);
    };
    std::thread::Builder::new().name("cpd-tether".to_owned()).spawn(watch).context("watch standard input")?;
    Ok(())
}

async fn start(engine: &Engine, args: &Args, input: Option<Value>, json: bool) -> anyhow::Result<Exit> {
    let path = Path::new(&args.workflow);
    let looks_like_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    let name = if looks_like_file {
        let registered = definitions::register_file(engine, path).await?;
        if registered.what != "workflow" {
            bail!("run {}: it is a {}, expected a workflow", path.display(), registered.what);
        }
        format!("{}:{}", registered.name, registered.version)
    } else {
        args.workflow.clone()
    };
    let handle = loop {
        let mut starting = engine.start(&name).actor(super::operate::actor());
        if let Some(input) = &input {
            starting = starting.input(input.clone());
        }
        if let Some(key) = &args.key {
            starting = starting.key(key);
        }
        match starting.go().await {
            Err(Error::DiskFull) if args.wait => engine.room().await,
            started => break started?,
        }
    };
    if handle.existed() && !args.quiet {
        style::say(&format!("The run with this key was started before: {}", handle.id()));
    }
    if args.detach {
        print_started(&handle, json)?;
        return Ok(Exit::Done);
    }
    finish(&handle, json, args.quiet).await
}

pub(crate) fn print_started(handle: &RunHandle, json: bool) -> anyhow::Result<()> {
    let id = handle.id().to_string();
    if json { style::line(&json!({ "runId": *id, "status": "running" }).to_json()) } else { style::line(&id) }
}

/// Waits for the end of a run, or until it waits for something that does not come by itself, and prints the result.
pub(crate) async fn finish(handle: &RunHandle, json: bool, quiet: bool) -> anyhow::Result<Exit> {
    let mut result = std::pin::pin!(handle.result());
    let end = loop {
        tokio::select! {
            end = &mut result => break Some(end?),
            // Whether it waits for a person is looked at now and then; its end is not polled for.
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                if waits_for_people(&handle.state().await?) {
                    break None;
                }
            }
        }
    };
    let id = handle.id();
    match end {
        Some(end) => print_end(id, &end, json),
        None => {
            let state = handle.state().await?;
            if json {
                style::line(&json!({ "runId": id.to_string(), "status": state.phase.name() }).to_json())?;
            } else if !quiet {
                style::say(&format!("{id} is still waiting: `cpd why {id}` says for what"));
            }
            Ok(Exit::Waiting)
        }
    }
}

fn waits_for_people(run: &Run) -> bool {
    let sources = run.wake_sources();
    let person =
        |s: &WakeSource| matches!(s, WakeSource::Operator { .. } | WakeSource::Approval { .. } | WakeSource::Resume);
    run.is_open() && !sources.is_empty() && sources.iter().all(person)
}

/// The end of a run as an object.
pub(crate) fn end_json(id: RunId, end: &RunEnd) -> Value {
    let run = id.to_string();
    match end {
        RunEnd::Completed { output } => json!({ "runId": *run, "status": "completed", "output": output }),
        RunEnd::Faulted { problem } => {
            let problem = Value::from_serialize(problem).expect("a problem is JSON");
            json!({ "runId": *run, "status": "faulted", "error": problem })
        }
        RunEnd::Cancelled { reason } => {
            json!({ "runId": *run, "status": "cancelled", "error": { "title": "Cancelled", "detail": &**reason } })
        }
    }
}

fn print_end(id: RunId, end: &RunEnd, json: bool) -> anyhow::Result<Exit> {
    if json {
        style::line(&end_json(id, end).to_json())?;
    } else {
        match end {
            RunEnd::Completed { output } => style::line(&serde_json::to_string_pretty(output)?)?,
            RunEnd::Faulted { problem } => {
                style::say(&format!("{} {problem}", style::error("faulted:")));
                let place = match problem.instance.as_deref() {
                    None | Some("") => "in the workflow itself".to_owned(),
                    Some(instance) => format!("at task {instance}"),
                };
                style::say(&format!("  {place}; `cpd log {id}` has the whole story"));
            }
            RunEnd::Cancelled { reason } => style::say(&format!("{} {reason}", style::error("cancelled:"))),
        }
    }
    Ok(Exit::of_status(end.status()))
}

/// The input from `-i` and from members.
fn input(args: &Args) -> anyhow::Result<Option<Value>> {
    let base = args.input.as_deref().map(read_input).transpose()?;
    if args.members.is_empty() {
        return Ok(base);
    }
    let mut members = match base {
        None => Map::new(),
        Some(Value::Obj(map)) => (*map).clone(),
        Some(other) => bail!("add members to the input: it is {}, expected an object", other.kind()),
    };
    for member in &args.members {
        let Some((key, value)) = member.split_once('=') else {
            bail!("read input member {member:?}: expected KEY=VALUE");
        };
        let value = Value::from_json(value.as_bytes()).unwrap_or_else(|_| Value::from(value));
        members.insert(key.into(), value);
    }
    Ok(Some(Value::from(members)))
}

/// JSON, `@file` or `@-`.
pub(crate) fn read_input(text: &str) -> anyhow::Result<Value> {
    let (source, bytes) = match text.strip_prefix('@') {
        None => ("the input".to_owned(), text.as_bytes().to_vec()),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("read the input from standard input")?;
            ("standard input".to_owned(), bytes)
        }
        Some(file) => (file.to_owned(), std::fs::read(file).with_context(|| format!("read the input from {file}"))?),
    };
    Value::from_json(&bytes).with_context(|| {
        format!("read {source} as JSON: expected a document such as '{{\"a\": 1}}', @FILE, or @- for standard input")
    })
}

/// Prints events as they become durable, on stderr.
#[derive(Default)]
pub(crate) struct Live {
    started: std::sync::OnceLock<Timestamp>,
}

impl Observer for Live {
    fn observe(&self, run: &Run, at: Timestamp, seq: u64, events: &[Event]) {
        let started = *self.started.get_or_init(|| run.started_at.max(at));
        if seq == 1 {
            // Whatever becomes of this process, by its id the run is found again.
            style::say(&format!("{:>9}  ● {}", "", run.id));
        }
        let room = style::width_stderr().saturating_sub(30).clamp(20, 110);
        for (seq, event) in (seq..).zip(events) {
            if let Some(logged) = logged(run, at, seq, event) {
                let (mark, words) = super::timeline::words(event, &logged);
                let task = logged.task_name.as_deref().unwrap_or_default();
                let elapsed = style::span(i64::try_from(at.since(started).as_micros()).unwrap_or(i64::MAX));
                style::say(&format!("{:>9}  {mark} {task:<16} {}", format!("+{elapsed}"), style::cut(&words, room)));
            }
        }
    }
}

/// What is worth a line while a run goes on: effects, decisions, errors; not the bookkeeping.
fn logged(run: &Run, at: Timestamp, seq: u64, event: &Event) -> Option<cpd_engine::Logged> {
    let quiet = matches!(
        event,
        Event::TaskEntered { .. }
            | Event::TaskCompleted { .. }
            | Event::IterationStarted { .. }
            | Event::TaskReturned { .. }
    );
    (!quiet).then(|| cpd_engine::Logged::live(run, at, seq, event))
}
