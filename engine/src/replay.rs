//! Replay: every state of a run rebuilt from its history with no effects, every decision made again and compared.

use std::sync::Arc;

use cpd_core::Value;
use cpd_core::expression::Limits;
use cpd_core::json;
use cpd_core::machine::turn::Env;
use cpd_core::machine::verify::Divergence;
use cpd_core::machine::{Command, Event, Run, RunId};
use cpd_core::time::Timestamp;
use cpd_journal::record::Kind;

use crate::clock::stopwatch;
use crate::codec;
use crate::error::Error;
use crate::history::{History, migrated};
use crate::load;

/// What a replay found.
#[derive(Debug)]
pub struct Replay {
    /// The state after the last event that was replayed.
    pub run: Run,
    /// Events replayed.
    pub events: u64,
    /// Entries (turns) replayed.
    pub entries: usize,
    /// Commands that would have been released.
    pub commands: u64,
    /// The first difference.
    pub divergence: Option<Diverged>,
    /// What is wrong with the chain of digests, if anything is.
    pub chain: Result<(), String>,
}

/// A difference, with its place.
#[derive(Debug)]
pub struct Diverged {
    /// Number of the record in the run.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What differs.
    pub divergence: Divergence,
}

/// Seen after each entry that was replayed.
pub struct Step<'a> {
    /// Number of its first record.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Its events.
    pub events: &'a [Event],
    /// What the world was told after it.
    pub commands: &'a [Command],
    /// The state after it.
    pub run: &'a Run,
}

/// Whose history the run shares first, if it was forked.
fn forked_from(history: &History) -> Result<Option<RunId>, Error> {
    let records = history.entries.iter().flat_map(|e| &e.records);
    let Some(forked) = records.clone().find(|r| Kind(r.kind) == Kind::RUN_FORKED) else { return Ok(None) };
    match codec::decode(Kind(forked.kind), forked.version, &forked.payload, &history.payloads) {
        Ok(Event::RunForked { origin, .. }) => Ok(Some(origin)),
        Ok(_) => Ok(None),
        Err(e) => Err(Error::Unreadable { run: history.run, source: Arc::new(e) }),
    }
}

/// Replays a history up to and including record `until`.
///
/// # Errors
/// If a record cannot be read at all, or the plan is not there. A difference is not an error but a finding.
pub fn replay(history: &History, until: Option<u64>, step: impl FnMut(&Step<'_>)) -> Result<Replay, Error> {
    let mut replay = decisions(history, until, step)?;
    replay.chain = history.check_chain();
    Ok(replay)
}

/// The same without checking the chain of digests.
///
/// # Errors
/// If a record cannot be read at all, or the plan is not there.
pub fn decisions(history: &History, until: Option<u64>, mut step: impl FnMut(&Step<'_>)) -> Result<Replay, Error> {
    let limits = Limits::default();
    let runtime: Value = json!({ "name": "cpd", "version": env!("CARGO_PKG_VERSION"), "metadata": {} });
    let mut run: Option<Run> = None;
    let (mut events, mut entries, mut released, mut divergence) = (0, 0, 0, None);
    for entry in &history.entries {
        if until.is_some_and(|until| entry.seq > until) {
            break;
        }
        let mut recorded = entry.events(history.run, &history.payloads)?;
        let cut = until.map_or(recorded.len(), |until| usize::try_from(until - entry.seq + 1).unwrap_or(usize::MAX));
        recorded.truncate(cut);
        let env = Env { at: entry.at, limits: &limits, runtime: &runtime, stopwatch };
        let mut commands = Vec::new();
        let skip = usize::from(run.is_none());
        let run = match &mut run {
            Some(run) => run,
            empty => {
                let first = recorded.first().ok_or(Error::NoOpenRun { run: history.run })?;
                // What was decided before a fork was decided by the run that had the history first.
                let id = forked_from(history)?.unwrap_or(history.run);
                empty.insert(load::begin(&history.registry, id, first, entry.at, migrated(&history.entries))?)
            }
        };
        run.departed.clear();
        match run.verify_part(&recorded[skip..], skip > 0, &env, &mut commands) {
            Ok(()) => {}
            Err(found) => {
                let seq = entry.seq + (skip + found.index) as u64;
                divergence = Some(Diverged { seq, at: entry.at, divergence: *found });
                break;
            }
        }
        events += recorded.len() as u64;
        entries += 1;
        released += commands.len() as u64;
        step(&Step { seq: entry.seq, at: entry.at, events: &recorded, commands: &commands, run });
    }
    let run = run.ok_or(Error::NoOpenRun { run: history.run })?;
    Ok(Replay { run, events, entries, commands: released, divergence, chain: Ok(()) })
}
