//! What a run of the demo found, read back from its journal and told.

use anyhow::Context;
use cpd_core::Value;
use cpd_core::machine::{Event, RunId};
use cpd_engine::Logged;
use cpd_engine::view::View;

use crate::cli::style;

/// What a run found, read back from its journal.
struct Story {
    log: Vec<Logged>,
    status: &'static str,
}

impl Story {
    fn read(view: &View, run: RunId) -> anyhow::Result<Self> {
        let history = view.history(run)?;
        Ok(Self { log: history.log()?, status: history.fold()?.phase.name() })
    }

    /// The output of the last successful call of an operation.
    fn output(&self, operation: &str) -> Option<&Value> {
        self.log.iter().rev().find_map(|l| match &l.event {
            Event::TaskSucceeded { output, .. } if l.operation.as_deref() == Some(operation) => Some(output),
            _ => None,
        })
    }

    fn decision(&self) -> Option<&Value> {
        self.log.iter().rev().find_map(|l| match &l.event {
            Event::PolicyDecided { decision, .. } => Some(decision),
            _ => None,
        })
    }

    /// Drift, threshold and outcome, as the run recorded them.
    fn figures(&self) -> anyhow::Result<(f64, f64, String)> {
        let drift =
            self.output("drift.compare").and_then(|o| o.get("drift")?.as_f64()).context("find the drift in the log")?;
        let decision = self.decision().context("find the decision in the log")?;
        let threshold = decision.get("parameters").and_then(|p| p.get("max_drift")?.as_f64());
        let outcome = decision.get("outcome").and_then(Value::as_str).unwrap_or("?").replace('_', " ");
        Ok((drift, threshold.context("find the threshold in the log")?, outcome))
    }
}

pub(super) fn summary(view: &View, run: RunId) -> anyhow::Result<()> {
    let story = Story::read(view, run)?;
    let (drift, threshold, outcome) = story.figures()?;
    style::line(&style::bold("=== Fraud Drift Management Workflow Summary ==="))?;
    style::line(&format!("- Drift of {drift:.2} detected (policy threshold = {threshold})"))?;
    style::line(&format!("- Policy evaluation → {outcome}"))?;
    if let Some(retrained) = story.output("atlas.retrain") {
        let part = |key: &str| retrained.get(key).map(|v| v.as_str().map_or_else(|| v.to_json(), str::to_owned));
        let (job, version) = (part("jobId").unwrap_or_default(), part("version").unwrap_or_default());
        style::line(&format!(
            "- Atlas retraining pipeline successfully initiated {}",
            style::dim(&format!("(job {job}, new version {version})"))
        ))?;
    }
    if let Some(told) = story.output("agent.run") {
        let provider = told.get("provider").and_then(Value::as_str).unwrap_or("?");
        style::line(&format!(
            "- Intelligence Agent generated human-readable summary {}",
            style::dim(&format!("(provider {provider})"))
        ))?;
        for text in told.get("text").and_then(Value::as_str).unwrap_or_default().lines() {
            style::line(&format!("    {text}"))?;
        }
    }
    let events = style::count(story.log.len() as u64, "event");
    style::line(&format!(
        "- All actions logged in RUN_LOG for full auditability {}",
        style::dim(&format!("({events}, run {run} {})", story.status))
    ))
}

pub(super) fn verdict_below(view: &View, run: RunId) -> anyhow::Result<()> {
    let story = Story::read(view, run)?;
    let (drift, threshold, outcome) = story.figures()?;
    style::line(&format!(
        "- Same workflow on steady data: drift of {drift:.2} (policy threshold = {threshold}) → {outcome}, run {}",
        story.status
    ))
}

/// The job of the run's retraining, if there was one.
pub(super) fn job(view: &View, run: RunId) -> anyhow::Result<Option<String>> {
    let story = Story::read(view, run)?;
    Ok(story.output("atlas.retrain").and_then(|o| Some(o.get("jobId")?.as_str()?.to_owned())))
}
