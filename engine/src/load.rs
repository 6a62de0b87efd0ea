//! Folding a run from its history.

use std::sync::Arc;

use cpd_core::machine::{Event, Run, RunId};
use cpd_core::time::Timestamp;
use cpd_journal::record::Kind;
use cpd_journal::{Chain, Position, StoredEntry};

use crate::codec;
use crate::engine::Shared;
use crate::error::Error;
use crate::registry::Registry;

/// A run as it is after its last entry, and the chain that its next entry continues.
pub(crate) fn run(shared: &Arc<Shared>, id: RunId, last: Position) -> Result<(Run, Chain), Error> {
    let entries = shared.reader.history(last)?;
    let run = fold(&shared.registry, id, &entries)?;
    let chain = entries.last().map(StoredEntry::chain).ok_or(Error::NoOpenRun { run: id })?;
    Ok((run, chain))
}

/// Folds entries, oldest first.
pub(crate) fn fold(registry: &Registry, id: RunId, entries: &[StoredEntry]) -> Result<Run, Error> {
    let mut run: Option<Run> = None;
    let mut commands = Vec::new();
    for entry in entries {
        let at = Timestamp(entry.at());
        for event in events(id, entry)? {
            match &mut run {
                None => run = Some(begin(registry, id, &event, at)?),
                Some(run) => run
                    .apply(&event, at, &mut commands)
                    .map_err(|misfit| Error::Unfoldable { run: id, detail: misfit.to_string() })?,
            }
        }
        commands.clear();
        if let Some(run) = &mut run {
            run.departed.clear();
        }
    }
    run.ok_or(Error::NoOpenRun { run: id })
}

/// The run that a `RunStarted` begins, with the plan that it is pinned to.
pub(crate) fn begin(registry: &Registry, id: RunId, event: &Event, at: Timestamp) -> Result<Run, Error> {
    let Event::RunStarted { plan, workflow, version, .. } = event else {
        let detail = format!("its first event is {}, expected RunStarted", event.name());
        return Err(Error::Unfoldable { run: id, detail });
    };
    let plan = registry.plan(plan)?.ok_or_else(|| Error::NoPlan {
        run: id,
        workflow: workflow.to_string(),
        version: version.to_string(),
        digest: plan.to_string(),
    })?;
    Run::begin(id, plan, event, at).map_err(|misfit| Error::Unfoldable { run: id, detail: misfit.to_string() })
}

/// The events of an entry.
pub(crate) fn events(id: RunId, entry: &StoredEntry) -> Result<Vec<Event>, Error> {
    let decoded = entry.records().map(|r| codec::decode(Kind(r.kind), r.version, r.payload));
    decoded.collect::<Result<_, _>>().map_err(|e| Error::Unreadable { run: id, source: Arc::new(e) })
}
