//! The graph of a run: its definition, and what was done of it.

use cpd_core::graph::{Graph, Marks, Trace};
use cpd_core::time::Timestamp;

use crate::error::Error;
use crate::history::History;

impl History {
    /// The graph of the definition, and what the run has done of it.
    ///
    /// # Errors
    /// If a record cannot be read or does not fold.
    pub fn graph(&self) -> Result<(Graph, Marks), Error> {
        let mut trace = None;
        let mut last = Timestamp::default();
        let run = self.each(|run, event, at| {
            trace.get_or_insert_with(|| Trace::new(Graph::of(&run.plan))).event(run, event, at);
            last = at;
        })?;
        let trace = trace.unwrap_or_else(|| Trace::new(Graph::of(&run.plan)));
        Ok(trace.marks(&run, last))
    }
}
