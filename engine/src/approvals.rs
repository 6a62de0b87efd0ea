//! Approvals that open runs wait for.

use std::sync::Arc;

use cpd_core::machine::{Approving, Run, RunId};
use cpd_core::time::Timestamp;
use cpd_journal::index::{Direction, Range};

use crate::engine::Engine;
use crate::error::Error;
use crate::index::{self, RunRow};
use crate::registry::Registry;
use crate::view::View;

/// An approval that an open run waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenApproval {
    /// The run.
    pub run: RunId,
    /// Its workflow, as `namespace/name`.
    pub workflow: Arc<str>,
    /// Who or what started it.
    pub initiator: Arc<str>,
    /// The task's reference, as `/do/0/name`.
    pub task: Arc<str>,
    /// When the task's own time-out ends.
    pub deadline: Option<Timestamp>,
    /// What is asked, of whom, and the votes so far.
    pub approving: Approving,
}

impl OpenApproval {
    fn of(run: &Run) -> Vec<Self> {
        let approval = |(act, approving): (&cpd_core::machine::Act, &Approving)| Self {
            run: run.id,
            workflow: run.plan.qualified_name(),
            initiator: run.actor.clone(),
            task: run.node_of(act).pointer.clone(),
            deadline: act.deadline,
            approving: approving.clone(),
        };
        run.approvals().map(approval).collect()
    }
}

fn may_ask(registry: &Registry, row: &RunRow) -> Result<bool, Error> {
    let plan = cpd_core::definition::plan::Digest(row.plan);
    Ok(row.phase.is_open() && registry.plan(&plan)?.is_some_and(|plan| plan.asks()))
}

impl View {
    /// The approvals that open runs wait for, those of the newest runs first, at most `limit`.
    ///
    /// # Errors
    /// If a run cannot be read.
    pub fn approvals(&self, limit: usize) -> Result<Vec<OpenApproval>, Error> {
        let mut out = Vec::new();
        for (id, row) in self.runs() {
            if out.len() >= limit {
                break;
            }
            if may_ask(self.registry(), row)? {
                out.extend(OpenApproval::of(&self.history(id)?.fold()?));
            }
        }
        out.truncate(limit);
        Ok(out)
    }
}

impl Engine {
    /// The approvals that open runs wait for, those of the newest runs first, at most `limit`.
    ///
    /// # Errors
    /// If the index or a run cannot be read.
    pub async fn approvals(&self, limit: usize) -> Result<Vec<OpenApproval>, Error> {
        let shared = self.shared();
        shared.indexer.flush();
        let open = shared.index()?.scan(index::OPEN, &Range::all(), Direction::Descending, usize::MAX)?;
        let mut out = Vec::new();
        for (key, _) in open {
            if out.len() >= limit {
                break;
            }
            let Ok(id) = <[u8; 16]>::try_from(&*key).map(RunId) else { continue };
            let row = shared.indexer.row(&*shared.index()?, &shared.reader, id)?;
            let Some(row) = row.filter(RunRow::is_there) else { continue };
            if may_ask(self.registry(), &row)? {
                match self.run(id).state().await {
                    Ok(run) => out.extend(OpenApproval::of(&run)),
                    // It has ended meanwhile, or is set aside.
                    Err(Error::NoOpenRun { .. } | Error::SetAside { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        out.truncate(limit);
        Ok(out)
    }
}
