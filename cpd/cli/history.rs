//! `cpd log`: every event of a run.

use std::time::Duration;

use super::{Global, style, timeline};
use crate::exit::Exit;

/// `cpd log`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run: its id, the beginning of it, or `last`.
    run: String,
    /// Go on printing until the run ends.
    #[arg(short, long)]
    follow: bool,
}

/// How often a followed journal is looked at: another process writes it, and says nothing to this one.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn log(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    let mut view = global.view()?;
    let id = view.find(&args.run)?;
    let width = style::width();
    let mut seen = 0;
    loop {
        let log = view.history(id)?.log()?;
        let started = log.first().map_or_else(Default::default, |l| l.at);
        for logged in log.iter().skip(seen) {
            let line =
                if global.json { timeline::json(logged).to_json() } else { timeline::line(logged, started, width) };
            style::line(&line)?;
        }
        seen = log.len();
        if !args.follow || view.row(id).is_none_or(|row| !row.phase.is_open()) {
            return Ok(Exit::Done);
        }
        super::runtime()?.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
        view.refresh()?;
    }
}
