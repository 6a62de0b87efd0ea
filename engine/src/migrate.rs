//! Moving open runs to another version of their workflow.
//!
//! A run may move if its history means the same there: every decision of the record is made again with the new plan and
//! compared, and whatever is under way stands at the same task with the same operation. What the run does next is then the
//! new version's. The move is a record of the run; its history is folded and replayed with the new plan from then on.

use std::sync::Arc;

use cpd_core::definition::plan::{Action, Plan};
use cpd_core::machine::{Run, RunId, Status};
use cpd_core::time::Timestamp;
use cpd_journal::StoredEntry;

use crate::engine::Engine;
use crate::error::Error;
use crate::index::RunRow;
use crate::load;

/// A run that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Which.
    pub run: RunId,
    /// To which version.
    pub version: Arc<str>,
    /// How many events of its history were verified.
    pub events: u64,
}

impl Engine {
    /// Whether a run can move: the plan of the version, and how many events of its history lead to the same.
    pub(crate) fn migration(&self, id: RunId, version: &str) -> Result<(Arc<Plan>, u64), Error> {
        let shared = self.shared();
        let refuse = |why: String| Error::NoMigration { run: id, version: version.to_owned(), why };
        shared.indexer.flush();
        let row = shared.indexer.row(&*shared.index()?, &shared.reader, id)?;
        let row = row.filter(RunRow::is_there).ok_or(Error::NoOpenRun { run: id })?;
        if !row.phase.is_open() {
            return Err(refuse(format!("it is {} already", row.phase.name())));
        }
        let target = shared.registry.workflow(&format!("{}:{version}", row.workflow))?;
        if target.digest.0 == row.plan {
            return Err(refuse("it is of that version already".to_owned()));
        }
        let entries = shared.reader.history(cpd_journal::Position(row.last))?;
        let moved = load::migrated(entries.iter().rev().flat_map(StoredEntry::records).map(|r| (r.kind, r.payload)));
        let (mut old, mut new): (Option<Run>, Option<Run>) = (None, None);
        let mut commands = Vec::new();
        for entry in &entries {
            let at = Timestamp(entry.at());
            let events = load::events(id, entry, &shared.payloads)?;
            let begun = old.is_none();
            let (old, new) = match (&mut old, &mut new) {
                (Some(old), Some(new)) => (old, new),
                (old, new) => {
                    let first = events.first().ok_or(Error::NoOpenRun { run: id })?;
                    let registry = &shared.registry;
                    let old = old.insert(load::begin(registry, id, first, at, moved)?);
                    (old, new.insert(load::begin(registry, id, first, at, Some(target.digest))?))
                }
            };
            let rest = &events[usize::from(begun)..];
            for event in rest {
                old.apply(event, at, &mut commands)
                    .map_err(|misfit| Error::Unfoldable { run: id, detail: misfit.to_string() })?;
            }
            let env = shared.env(at);
            new.verify_part(rest, begun, &env, &mut commands).map_err(|found| {
                let seq = entry.seq() + (usize::from(begun) + found.index) as u64;
                refuse(format!("its history does not replay there: event {seq} {found}"))
            })?;
            commands.clear();
            old.departed.clear();
            new.departed.clear();
        }
        let (Some(old), Some(new)) = (old, new) else { return Err(Error::NoOpenRun { run: id }) };
        same_tasks(&old, &new).map_err(refuse)?;
        Ok((target, old.events))
    }
}

/// Whether everything that is under way stands at the same task in both versions.
fn same_tasks(old: &Run, new: &Run) -> Result<(), String> {
    for (a, b) in old.acts.iter().zip(&new.acts) {
        let (before, after) = (old.node_of(a), new.node_of(b));
        if before.pointer != after.pointer {
            return Err(format!("it is at task {}, which would be {}", before.pointer, after.pointer));
        }
        if let (Status::Calling(_), Action::Call(x), Action::Call(y)) = (&a.status, &before.action, &after.action)
            && x.operation != y.operation
        {
            let (x, y) = (&x.operation, &y.operation);
            return Err(format!(
                "it calls {} {} at task {}, which would be {} {}",
                x.name, x.version, before.pointer, y.name, y.version
            ));
        }
    }
    Ok(())
}
