//! `cpd runs`, `cpd show`, `cpd why`.

use cpd_core::machine::{Phase, Run, RunId, WakeSource};
use cpd_core::time::Timestamp;
use cpd_core::{Value, json};
use cpd_engine::RunRow;

use super::{Global, style};
use crate::exit::Exit;

/// `cpd runs`
#[derive(clap::Args)]
pub(crate) struct RunsArgs {
    /// Only runs of this workflow.
    #[arg(long)]
    workflow: Option<String>,
    /// Only runs with this status.
    #[arg(long, value_parser = ["running", "paused", "completed", "faulted", "cancelled", "open"])]
    status: Option<String>,
    /// At most so many.
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: usize,
}

pub(crate) fn runs(global: &Global, args: &RunsArgs) -> anyhow::Result<Exit> {
    let view = global.view()?;
    let normal = |name: &str| name.to_lowercase().replace('_', "-");
    let wanted = args.workflow.as_deref().map(normal);
    let fits = |row: &RunRow| {
        let full = normal(&row.workflow);
        let named = wanted.as_ref().is_none_or(|w| full == *w || full.rsplit('/').next() == Some(w));
        let status = match args.status.as_deref() {
            None => true,
            Some("open") => row.phase.is_open(),
            Some(status) => row.phase.name() == status,
        };
        named && status
    };
    let rows: Vec<(RunId, &RunRow)> = view.runs().filter(|(_, row)| fits(row)).take(args.limit).collect();
    if global.json {
        for (id, row) in rows {
            style::line(&row_json(id, row, view.set_aside(id)).to_json())?;
        }
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        style::say("No runs.");
        return Ok(Exit::Done);
    }
    let longest = rows.iter().map(|(_, r)| r.workflow.chars().count()).max().unwrap_or(8).max(8);
    let columns = Columns::fitting(style::width(), longest);
    style::line(&style::dim(
        &columns.line("RUN", "WORKFLOW", "STATUS", "STARTED (UTC)", "TOOK", &|_, text| text.to_owned()),
    ))?;
    for (id, row) in rows {
        let status = view.set_aside(id).map_or(row.phase.name(), |_| "set aside");
        let took = style::span(row.updated_at - row.started_at);
        let started = style::date(Timestamp(row.started_at));
        let paint = |what: &str, text: &str| match what {
            "workflow" => style::name(text),
            _ => text.replacen(status, &style::status(status), 1),
        };
        style::line(&columns.line(&id.to_string(), &row.workflow, status, &started, &took, &paint))?;
    }
    Ok(Exit::Done)
}

/// The columns of the table of runs, as a terminal has room for them.
#[derive(Debug, PartialEq, Eq)]
struct Columns {
    /// Width of the workflow's name; zero if there is no room for it.
    workflow: usize,
    /// Width of the time of the start: all of it, month to minute, or nothing.
    started: usize,
    took: bool,
}

impl Columns {
    /// The most that fits: what is last in the table is left out first, and the name of the workflow is cut at last.
    fn fitting(width: usize, longest: usize) -> Self {
        let room = |started: usize, took: bool| {
            let fixed = 26 + 2 + 9 + 2 + if started > 0 { started + 2 } else { 0 } + if took { 8 + 2 } else { 0 };
            width.saturating_sub(fixed)
        };
        let steps = [(19, true), (11, true), (11, false), (0, false)];
        let step = steps.into_iter().find(|(started, took)| room(*started, *took) >= longest.min(28));
        let (started, took) = step.unwrap_or((0, false));
        let workflow = room(started, took).min(longest);
        Self { workflow: if workflow < 4 { 0 } else { workflow }, started, took }
    }

    fn line(
        &self,
        id: &str,
        workflow: &str,
        status: &str,
        started: &str,
        took: &str,
        paint: &dyn Fn(&str, &str) -> String,
    ) -> String {
        let mut line = format!("{id:<26}");
        if self.workflow > 0 {
            let name = format!("{:<1$}", style::cut(workflow, self.workflow), self.workflow);
            line.push_str(&format!("  {}", paint("workflow", &name)));
        }
        line.push_str(&format!("  {}", paint("status", &format!("{status:<9}"))));
        // `2026-11-23 20:21:13` is cut to `11-23 20:21`.
        let started = if self.started < 19 { started.get(5..16).unwrap_or("STARTED") } else { started };
        if self.started > 0 {
            line.push_str(&format!("  {started:<0$}", self.started));
        }
        if self.took {
            line.push_str(&format!("  {took:>8}"));
        }
        line
    }
}

pub(crate) fn row_json(id: RunId, row: &RunRow, aside: Option<&str>) -> Value {
    json!({
        "runId": id.to_string(),
        "workflow": *row.workflow,
        "version": *row.version,
        "status": row.phase.name(),
        "startedAt": Timestamp(row.started_at).to_string(),
        "updatedAt": Timestamp(row.updated_at).to_string(),
        "key": row.key,
        "setAside": aside,
    })
}

/// `cpd show`
#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    /// The run: its id, the beginning of it, or `last`.
    run: String,
}

pub(crate) fn show(global: &Global, args: &ShowArgs) -> anyhow::Result<Exit> {
    let view = global.view()?;
    let id = view.find(&args.run)?;
    let history = view.history(id)?;
    let run = history.fold()?;
    if global.json {
        style::line(&state_json(&run).to_json())?;
        return Ok(Exit::Done);
    }
    let plan = &run.plan;
    style::line(&format!("{}  {}", style::bold(&id.to_string()), style::status(run.phase.name())))?;
    let field = |name: &str, value: &str| style::line(&format!("{} {value}", style::dim(&format!("{name:<10}"))));
    field("workflow", &format!("{} {}", plan.qualified_name(), plan.version))?;
    field("plan", &style::cut(&plan.digest.to_string(), style::width().saturating_sub(11)))?;
    field("started", &run.started_at.to_string())?;
    if let Some(last) = history.entries.last() {
        let took = style::span(last.at.0 - run.started_at.0);
        field(if run.is_open() { "last event" } else { "ended" }, &format!("{} ({took})", last.at))?;
    }
    field("events", &run.events.to_string())?;
    field("input", &pretty(&run.input)?)?;
    match &run.phase {
        Phase::Completed { output } => field("output", &pretty(output)?)?,
        Phase::Faulted { problem } => field("error", &pretty(&Value::from_serialize(problem)?)?)?,
        Phase::Cancelled { reason } => field("reason", reason)?,
        Phase::Running | Phase::Paused => {
            field("context", &pretty(&run.context)?)?;
            for source in run.wake_sources() {
                field("waits for", &sentence(&source))?;
            }
        }
    }
    style::say(&format!("`cpd log {id}` prints every event, `cpd replay {id}` proves them."));
    Ok(Exit::Done)
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)?.replace('\n', "\n           "))
}

pub(crate) fn state_json(run: &Run) -> Value {
    let mut object = json!({
        "runId": run.id.to_string(),
        "workflow": *run.plan.qualified_name(),
        "version": *run.plan.version,
        "plan": run.plan.digest.to_string(),
        "status": run.phase.name(),
        "startedAt": run.started_at.to_string(),
        "events": run.events,
        "input": run.input,
        "context": run.context,
        "waitsFor": run.wake_sources().iter().map(wake_json).collect::<Vec<_>>(),
    });
    let more = match &run.phase {
        Phase::Completed { output } => Some(("output", output.clone())),
        Phase::Faulted { problem } => Some(("error", Value::from_serialize(problem).unwrap_or_default())),
        Phase::Cancelled { reason } => Some(("reason", Value::Str(reason.clone()))),
        Phase::Running | Phase::Paused => None,
    };
    if let (Value::Obj(map), Some((key, value))) = (&mut object, more) {
        std::sync::Arc::make_mut(map).insert(key.into(), value);
    }
    object
}

/// `cpd why`
#[derive(clap::Args)]
pub(crate) struct WhyArgs {
    /// The run: its id, the beginning of it, or `last`.
    run: String,
}

pub(crate) fn why(global: &Global, args: &WhyArgs) -> anyhow::Result<Exit> {
    let view = global.view()?;
    let id = view.find(&args.run)?;
    let run = view.history(id)?.fold()?;
    let sources = run.wake_sources();
    if global.json {
        let sources = sources.iter().map(wake_json).collect::<Vec<_>>();
        let status = run.phase.name();
        let why =
            json!({ "runId": id.to_string(), "status": status, "waitsFor": sources, "setAside": view.set_aside(id) });
        style::line(&why.to_json())?;
        return Ok(Exit::Done);
    }
    if let Some(detail) = view.set_aside(id) {
        style::line(&format!("the next start of cpd: a bug stopped it, and it is set aside ({detail})"))?;
        style::say(&format!("Its record is intact: `cpd replay {id}` checks it, `cpd resume {id}` tries again."));
        return Ok(Exit::Done);
    }
    let line = match &run.phase {
        Phase::Completed { .. } => "it has completed".to_owned(),
        Phase::Faulted { problem } => format!("it has faulted: {problem}"),
        Phase::Cancelled { reason } => format!("it was cancelled: {reason}"),
        Phase::Running | Phase::Paused => sources.iter().map(sentence).collect::<Vec<_>>().join("; "),
    };
    style::line(&line)?;
    let version = env!("CARGO_PKG_VERSION");
    // If the lock can be had, nobody drives the directory; it is given back at once.
    if run.is_open() && cpd_journal::DirLock::acquire(&global.data, version, "looking").is_ok() {
        style::say(&format!("No process drives this data directory now: `cpd resume {id}` does."));
    }
    Ok(Exit::Done)
}

/// A wake-source in a sentence.
pub(crate) fn sentence(source: &WakeSource) -> String {
    match source {
        WakeSource::Agenda => "it has something to do at once".to_owned(),
        // The reference of the workflow itself is empty.
        WakeSource::Timer { at, task, what } if task.is_empty() => format!("{what} of the workflow at {at}"),
        WakeSource::Timer { at, task, what } => format!("{what} of {task} at {at}"),
        WakeSource::Call { task, operation, attempt, since } => {
            format!("the outcome of {operation} at {task} (attempt {attempt}, since {since})")
        }
        WakeSource::Reconciliation { task } => format!("the connector's answer to what became of {task}"),
        WakeSource::Operator { task, problem } => format!(
            "an operator to say what became of {task} ({problem}): `cpd resolve <run> {task} --succeeded JSON | --retry | --failed`"
        ),
        WakeSource::Approval { task, title, asked, missing } => {
            let many = if *missing > 1 { format!("{missing} approvals") } else { "an approval".to_owned() };
            format!("{many} of {asked}, at {task} ({title}): `cpd approvals approve <run> {task}` or `reject`")
        }
        WakeSource::Event { task, types } if types.is_empty() => format!("an event, at {task}"),
        WakeSource::Event { task, types } => {
            format!("an event of type {}, at {task}: `cpd signal <run> TYPE` gives it one", types.join(" or "))
        }
        WakeSource::Publication { task } => format!("the event of {task} to reach everybody who listens"),
        WakeSource::Resume => "an operator to resume it: it is paused".to_owned(),
    }
}

pub(crate) fn wake_json(source: &WakeSource) -> Value {
    match source {
        WakeSource::Agenda => json!({ "what": "turn" }),
        WakeSource::Timer { at, task, what } => {
            json!({ "what": "timer", "for": what, "task": &**task, "at": at.to_string() })
        }
        WakeSource::Call { task, operation, attempt, since } => json!({
            "what": "call", "task": &**task, "operation": &**operation, "attempt": attempt, "since": since.to_string(),
        }),
        WakeSource::Reconciliation { task } => json!({ "what": "reconciliation", "task": &**task }),
        WakeSource::Operator { task, problem } => {
            json!({ "what": "operator", "task": &**task, "problem": problem.to_string() })
        }
        WakeSource::Approval { task, title, asked, missing } => json!({
            "what": "approval", "task": &**task, "title": &**title, "asked": &**asked, "missing": missing,
        }),
        WakeSource::Event { task, types } => {
            let types: Value = types.iter().map(|t| Value::Str(t.clone())).collect();
            json!({ "what": "event", "task": &**task, "types": types })
        }
        WakeSource::Publication { task } => json!({ "what": "publication", "task": &**task }),
        WakeSource::Resume => json!({ "what": "resume" }),
    }
}

#[cfg(test)]
mod tests {
    use cpd_core::machine::WakeSource;
    use cpd_core::time::Timestamp;

    use super::{Columns, sentence};

    #[test]
    fn the_timeout_of_the_workflow_itself_is_called_so() {
        let timer = |task: &str| WakeSource::Timer { at: Timestamp(0), task: task.into(), what: "timeout" };
        assert_eq!(sentence(&timer("")), "timeout of the workflow at 1970-01-01T00:00:00.000Z");
        assert_eq!(sentence(&timer("/do/0/a")), "timeout of /do/0/a at 1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_table_of_runs_fits_into_the_terminal_and_keeps_what_matters_longest() {
        let name = "fraud/fraud-drift-management";
        let line = |columns: &Columns| {
            columns
                .line("01m8513mx9adz6brx1sqr9k5sf", name, "completed", "2026-11-23 20:21:13", "3.0 s", &|_, t| t.into())
        };
        for width in 40..200 {
            let columns = Columns::fitting(width, name.len());
            let line = line(&columns);
            assert!(line.chars().count() <= width, "{width}: {line}");
            assert!(line.contains("01m8513mx9adz6brx1sqr9k5sf") && line.contains("completed"), "{width}: {line}");
            assert_eq!(line.contains(name), width >= 67, "{width}: {line}");
        }
        assert_eq!(Columns::fitting(98, name.len()), Columns { workflow: 28, started: 19, took: true });
        assert_eq!(Columns::fitting(80, name.len()), Columns { workflow: 28, started: 11, took: false });
        assert!(line(&Columns::fitting(80, name.len())).contains("11-23 20:21"));
    }
}
