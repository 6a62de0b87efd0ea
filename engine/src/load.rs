//! Folding a run from its history, or from its snapshot and what came after it.

use std::sync::Arc;

use cpd_core::definition::plan::Digest;
use cpd_core::machine::{Event, Run, RunId};
use cpd_core::time::Timestamp;
use cpd_journal::payloads::Payloads;
use cpd_journal::record::Kind;
use cpd_journal::record::v1;
use cpd_journal::{Chain, Position, StoredEntry};

use crate::codec;
use crate::engine::Shared;
use crate::error::Error;
use crate::registry::Registry;
use crate::snapshot;

/// A run that was loaded.
pub(crate) struct Loaded {
    /// Its state after its last entry.
    pub run: Run,
    /// The chain that its next entry continues.
    pub chain: Chain,
    /// How many events the snapshot had that it was loaded from; 0 if it was folded from its beginning.
    pub snapshot: u64,
}

/// A run as it is after its last entry.
pub(crate) fn run(shared: &Shared, id: RunId, last: Position) -> Result<Loaded, Error> {
    match snapshot::load(shared, id, last)? {
        Some((run, chain, snapshot)) => Ok(Loaded { run, chain, snapshot }),
        None => whole(shared, id, last),
    }
}

/// The same from its beginning, whatever the index says.
pub(crate) fn whole(shared: &Shared, id: RunId, last: Position) -> Result<Loaded, Error> {
    let entries = shared.reader.history(last)?;
    let mut run = None;
    let plan = migrated(entries.iter().rev().flat_map(StoredEntry::records).map(|r| (r.kind, r.payload)));
    fold_onto(&mut run, &entries, &shared.payloads, |event, at| begin(&shared.registry, id, event, at, plan))?;
    let run = run.ok_or(Error::NoOpenRun { run: id })?;
    let chain = entries.last().map(StoredEntry::chain).ok_or(Error::NoOpenRun { run: id })?;
    Ok(Loaded { run, chain, snapshot: 0 })
}

/// A run as it is after its last entry, folded from its beginning with a plan that it is being moved to.
pub(crate) fn folded_with(shared: &Shared, id: RunId, last: Position, plan: Digest) -> Result<Run, Error> {
    let entries = shared.reader.history(last)?;
    let mut run = None;
    let begin = |event: &Event, at| begin(&shared.registry, id, event, at, Some(plan));
    fold_onto(&mut run, &entries, &shared.payloads, begin)?;
    run.ok_or(Error::NoOpenRun { run: id })
}

/// Folds entries, oldest first, onto a state or, if there is none, onto the one that their first event begins.
pub(crate) fn fold_onto(
    run: &mut Option<Run>,
    entries: &[StoredEntry],
    payloads: &Payloads,
    begin: impl Fn(&Event, Timestamp) -> Result<Run, Error>,
) -> Result<(), Error> {
    let mut commands = Vec::new();
    for entry in entries {
        let (id, at) = (RunId(entry.stream().0), Timestamp(entry.at()));
        for event in events(id, entry, payloads)? {
            match run {
                None => *run = Some(begin(&event, at)?),
                Some(run) => run
                    .apply(&event, at, &mut commands)
                    .map_err(|misfit| Error::Unfoldable { run: id, detail: misfit.to_string() })?,
            }
        }
        commands.clear();
        if let Some(run) = run {
            run.departed.clear();
        }
    }
    Ok(())
}

/// The plan to which a run was moved last, if it was: its whole history is folded with that one.
pub(crate) fn migrated<'r>(records: impl Iterator<Item = (u16, &'r [u8])>) -> Option<Digest> {
    let moves = records.filter(|(kind, _)| Kind(*kind) == Kind::RUN_MIGRATED);
    let plan = |payload| cpd_journal::codec::decode::<v1::RunMigrated<'_>>(payload, codec::PAYLOAD_MAX).ok();
    moves.map(|(_, payload)| payload).find_map(plan).map(|moved| Digest(moved.plan))
}

/// The run that a `RunStarted` begins, with the plan that it is pinned to, or with the one to which it was `moved` later.
pub(crate) fn begin(
    registry: &Registry,
    id: RunId,
    event: &Event,
    at: Timestamp,
    moved: Option<Digest>,
) -> Result<Run, Error> {
    let Event::RunStarted { plan, workflow, version, .. } = event else {
        let detail = format!("its first event is {}, expected RunStarted", event.name());
        return Err(Error::Unfoldable { run: id, detail });
    };
    let plan = &moved.unwrap_or(*plan);
    let plan = registry.plan(plan)?.ok_or_else(|| Error::NoPlan {
        run: id,
        workflow: workflow.to_string(),
        version: version.to_string(),
        digest: plan.to_string(),
    })?;
    Run::begin(id, plan, event, at).map_err(|misfit| Error::Unfoldable { run: id, detail: misfit.to_string() })
}

/// The events of an entry.
pub(crate) fn events(id: RunId, entry: &StoredEntry, payloads: &Payloads) -> Result<Vec<Event>, Error> {
    let decoded = entry.records().map(|r| codec::decode(Kind(r.kind), r.version, r.payload, payloads));
    decoded.collect::<Result<_, _>>().map_err(|e| Error::Unreadable { run: id, source: Arc::new(e) })
}
