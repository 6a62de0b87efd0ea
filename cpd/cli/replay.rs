//! `cpd replay`: proof that a run is what its journal says.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, bail};
use cpd_core::machine::Command;
use cpd_core::machine::verify::Divergence;
use cpd_core::{Value, json};
use cpd_engine::replay::{self, Diverged};
use cpd_engine::{History, Logged};

use super::{Global, style, timeline};
use crate::exit::Exit;

/// `cpd replay`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run: its id, the beginning of it, or `last`. Not needed when replaying a bundle that exists.
    run: Option<String>,
    /// Stop after each turn and show the state.
    #[arg(long)]
    step: bool,
    /// Replay only up to this record.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    until: Option<u64>,
    /// With a run: write everything that is needed to replay it elsewhere into FILE. Without: replay from FILE.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Print only the verdict.
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn replay(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    let history = match (&args.run, &args.bundle) {
        (Some(run), bundle) => {
            let view = global.view()?;
            let history = view.history(view.find(run)?)?;
            if let Some(file) = bundle {
                std::fs::write(file, history.to_bundle())
                    .with_context(|| format!("write the bundle {}", file.display()))?;
                style::say(&format!(
                    "The bundle is in {}: `cpd replay --bundle {0}` replays it anywhere.",
                    file.display()
                ));
            }
            history
        }
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("read the bundle {}", file.display()))?;
            History::from_bundle(&text).map_err(|e| anyhow::anyhow!("read the bundle {}: {e}", file.display()))?
        }
        (None, None) => bail!("replay nothing: name a run (`last` is the newest), or a bundle with --bundle FILE"),
    };
    verify(global, args, &history)
}

fn verify(global: &Global, args: &Args, history: &History) -> anyhow::Result<Exit> {
    let width = style::width();
    // A history that does not fold still replays up to where it breaks.
    let log: Vec<Logged> = history.log().unwrap_or_default();
    let started = log.first().map_or_else(Default::default, |l| l.at);
    let interactive = args.step && std::io::stdin().is_terminal();
    let mut printed = Ok(());
    let replayed = replay::replay(history, args.until, |step| {
        if args.quiet || global.json || printed.is_err() {
            return;
        }
        printed = (|| {
            for offset in 0..step.events.len() as u64 {
                if let Some(logged) = log.get(usize::try_from(step.seq + offset - 1)?) {
                    style::line(&timeline::line(logged, started, width))?;
                }
            }
            if args.step {
                for command in step.commands {
                    style::line(&style::dim(&format!("      command: {}", describe(command))))?;
                }
                let waits: Vec<String> = step.run.wake_sources().iter().map(super::lists::sentence).collect();
                let context = style::cut(&step.run.context.to_json(), width.saturating_sub(20).max(40));
                style::line(&style::dim(&format!("      state: {}, context {context}", step.run.phase.name())))?;
                if !waits.is_empty() {
                    style::line(&style::dim(&format!("      waits for: {}", waits.join("; "))))?;
                }
                if interactive {
                    style::say("      (Enter goes on, q stops)");
                    let mut line = String::new();
                    std::io::stdin().lock().read_line(&mut line)?;
                    if line.trim() == "q" {
                        anyhow::bail!("stopped by hand");
                    }
                }
            }
            anyhow::Ok(())
        })();
    })?;
    printed?;
    let (events, entries) = (replayed.events, replayed.entries as u64);
    if global.json {
        let ok = replayed.divergence.is_none() && replayed.chain.is_ok();
        let object = to_json(history, &replayed);
        style::line(&object.to_json())?;
        return Ok(if ok { Exit::Done } else { Exit::Diverged });
    }
    let mut exit = Exit::Done;
    if let Some(diverged) = &replayed.divergence {
        print_divergence(diverged)?;
        exit = Exit::Diverged;
    }
    if let Err(why) = &replayed.chain {
        style::line(&format!("{} the chain of digests is broken: {why}", style::bad("✗")))?;
        exit = Exit::Diverged;
    }
    if exit == Exit::Done {
        let scope = args.until.map_or_else(String::new, |seq| format!(" up to seq {seq}"));
        style::line(&format!(
            "{} replay identical{scope}: {} in {}, {} compared, chain of digests whole, run {}",
            style::good("✓"),
            style::count(events, "event"),
            style::count(entries, "turn"),
            style::count(replayed.commands, "command"),
            style::status(replayed.run.phase.name()),
        ))?;
    }
    Ok(exit)
}

/// What a replay came to, as an object.
pub(crate) fn to_json(history: &History, replayed: &replay::Replay) -> Value {
    let divergence = replayed.divergence.as_ref().map(|d| {
        let name = |e: &Option<cpd_core::machine::Event>| e.as_ref().map(|e| e.name());
        json!({
            "seq": d.seq, "at": d.at.to_string(), "task": d.divergence.task,
            "expected": name(&d.divergence.expected), "found": name(&d.divergence.found),
            "detail": d.divergence.to_string(), "likelyCause": d.divergence.likely_cause(),
        })
    });
    let ok = divergence.is_none() && replayed.chain.is_ok();
    json!({
        "runId": history.run.to_string(), "verdict": if ok { "identical" } else { "diverged" }, "events": replayed.events,
        "turns": replayed.entries as u64, "commands": replayed.commands, "status": replayed.run.phase.name(),
        "divergence": divergence, "chain": replayed.chain.as_ref().err().map_or("whole", String::as_str),
    })
}

fn describe(command: &Command) -> String {
    match command {
        Command::Call { act, attempt } => format!("call the connector for act {act}, attempt {attempt}"),
        Command::Reconcile { act, attempt } => format!("ask what became of act {act}, attempt {attempt}"),
        Command::Publish { act } => format!("give the event of act {act} to everybody who listens"),
        Command::CancelCall { act, attempt, .. } => format!("tell the call of act {act}, attempt {attempt}, to stop"),
    }
}

fn print_divergence(diverged: &Diverged) -> anyhow::Result<()> {
    let Diverged { seq, at, divergence } = diverged;
    let Divergence { task, found, expected, misfit, .. } = divergence;
    let show = |e: &Option<cpd_core::machine::Event>| e.as_ref().map_or("nothing".to_owned(), |e| format!("{e:?}"));
    style::line(&format!("{} replay diverges at seq {seq} ({at})", style::bad("✗")))?;
    if let Some(task) = task {
        style::line(&format!("  task      {task}"))?;
    }
    match misfit {
        Some(misfit) => style::line(&format!("  found     {misfit}"))?,
        None => {
            style::line(&format!("  found     {}", style::cut(&show(found), 400)))?;
            style::line(&format!("  expected  {}", style::cut(&show(expected), 400)))?;
        }
    }
    style::line(&format!("  likely    {}", divergence.likely_cause()))
}
