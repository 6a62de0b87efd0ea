//! `cpd demo`: the main job, end to end, with a crash in the middle.
//!
//! ```text
//! this process: sandbox (Atlas and a language model on loopback), story
//!      └─ worker process: `cpd run fraud-drift-management` over the data directory; killed with SIGKILL in the middle
//!           of the retraining, started again, goes on
//! ```
//!
//! Nothing that is printed is a constant: every figure is read back from the journal of the run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cpd_connectors::drift::generate;
use cpd_connectors::sandbox::{self, Sandbox};
use cpd_core::Value;
use cpd_core::machine::{Event, RunId};
use cpd_core::time::Timestamp;
use cpd_engine::view::View;
use cpd_engine::{Logged, replay};

use super::{Global, style, timeline};
use crate::exit::Exit;
use crate::{config, wiring};

/// The definitions that the demo registers, as they are in `definitions/`.
const DEFINITIONS: [(&str, &str); 3] = [
    ("definitions/policies/fraud_max_drift.yaml", include_str!("../../definitions/policies/fraud_max_drift.yaml")),
    (
        "definitions/agents/intelligence-summariser.yaml",
        include_str!("../../definitions/agents/intelligence-summariser.yaml"),
    ),
    (
        "definitions/workflows/fraud_drift_management.yaml",
        include_str!("../../definitions/workflows/fraud_drift_management.yaml"),
    ),
];

/// How long a training takes in the demo: long enough to be killed in.
const TRAINING: Duration = Duration::from_millis(1_500);
/// How long the demo waits for a step before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the demo looks at the worker's journal. It is another process's: there is nobody to tell this one.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `cpd demo`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The seed of the two data sets.
    #[arg(long, default_value_t = generate::DEMO_SEED)]
    seed: u64,
    /// How far the current data has moved away; the second run always uses a small shift.
    #[arg(long, default_value_t = generate::SHIFT_DEMO)]
    shift: f64,
    /// Rows in each data set.
    #[arg(long, default_value_t = generate::DEMO_ROWS)]
    rows: usize,
    /// Do not kill the worker.
    #[arg(long)]
    no_crash: bool,
}

pub(crate) fn demo(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    super::runtime()?.block_on(tell(global, args))
}

async fn tell(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    let data = &global.data;
    std::fs::create_dir_all(data).with_context(|| format!("create the data directory {}", data.display()))?;
    let began = Instant::now();
    let state = data.join("sandbox.json");
    let sandbox =
        sandbox::serve(sandbox::Config { state: Some(state), training: TRAINING, ..Default::default() }).await?;
    let sets = write_data(&data.join("demo"), args)?;
    register(global, &sandbox).await?;
    let step = |text: &str| style::line(&format!("{} {text}", style::bold("▸")));
    step(&format!("data directory {}", style::name(&data.display().to_string())))?;
    step(&format!("{} registered: workflow, policy, agent", style::count(DEFINITIONS.len() as u64, "definition")))?;
    step(&format!("sandbox on {} answers as Atlas and as the agent's model; nothing there is real", sandbox.url()))?;
    step(&format!("two data sets of {} rows from seed {}: {}", args.rows, args.seed, sets.reference.display()))?;
    // A new key every time: each demo is a new run, and a worker that comes back finds the one that it left.
    let stamp = format!("{:x}", std::process::id() as u128 ^ u128::from(elapsed_nanos()));
    style::line("")?;
    let worker = Worker { global, sandbox: &sandbox, sets: &sets };
    let above = worker.run(&format!("demo-{stamp}-above"), &sets.drifted, !args.no_crash).await?;
    style::line("")?;
    summary(&worker.view()?, above)?;
    style::line("")?;
    let below = worker.run(&format!("demo-{stamp}-below"), &sets.steady, false).await?;
    verdict_below(&worker.view()?, below)?;
    style::line("")?;
    let replayed = replay::replay(&worker.view()?.history(above)?, None, |_| {})?;
    if replayed.divergence.is_some() || replayed.chain.is_err() {
        bail!("replay run {above}: it differs from the record; `cpd replay {above}` says where");
    }
    step(&format!(
        "replayed {} of the first run without effects: identical, chain of digests whole",
        style::count(replayed.events, "event")
    ))?;
    let effects = sandbox.effects();
    let trainings = effects.iter().filter(|e| e.kind.contains("job") || e.kind.contains("train")).count();
    step(&format!(
        "the sandbox counts {} for {} of the worker",
        style::count(trainings as u64, "training"),
        if args.no_crash { "one life" } else { "two lives" }
    ))?;
    step(&format!("done in {}", style::span(i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX))))?;
    style::line("")?;
    let flag = if data == Path::new(".cpd") { String::new() } else { format!(" --data {}", data.display()) };
    style::line("What to type next:")?;
    let program = std::env::args().next().filter(|a| !a.is_empty()).unwrap_or_else(|| "cpd".to_owned());
    for (command, what) in [
        (format!("{program}{flag} log {above}"), "every event of the run"),
        (format!("{program}{flag} replay {above} --step"), "every state of it, turn by turn"),
        (format!("{program}{flag} runs"), "the runs of this directory"),
        (
            format!("{program}{flag} policy eval fraud_max_drift --facts '{{\"drift\": 0.3}}'"),
            "ask the policy yourself",
        ),
        (format!("{program}{flag} audit verify"), "prove that the log is complete"),
    ] {
        style::line(&format!("  {}  {}", style::name(&format!("{command:<64}")), style::dim(what)))?;
    }
    sandbox.shutdown().await;
    Ok(Exit::Done)
}

fn elapsed_nanos() -> u64 {
    cpd_engine::Clock::now(&cpd_engine::SystemClock::default()).as_micros().unsigned_abs()
}

/// The generated data sets.
struct Sets {
    reference: PathBuf,
    drifted: PathBuf,
    steady: PathBuf,
}

fn write_data(dir: &Path, args: &Args) -> anyhow::Result<Sets> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let (reference, drifted) = generate::generate(args.seed, args.rows, args.shift);
    let (_, steady) = generate::generate(args.seed, args.rows, generate::SHIFT_SMALL);
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        path.canonicalize().with_context(|| format!("find {}", path.display()))
    };
    Ok(Sets {
        reference: write("reference.csv", &reference)?,
        drifted: write("current-drifted.csv", &drifted)?,
        steady: write("current-steady.csv", &steady)?,
    })
}

async fn register(global: &Global, sandbox: &Sandbox) -> anyhow::Result<()> {
    let mut config = global.config()?;
    config.connectors.atlas = Some(config::atlas(&sandbox.url(), &format!("{}/training", sandbox.url())));
    let engine = wiring::open(&global.data, &config, |b| b.dispatching(false)).await?;
    super::with_engine(&engine, false, async {
        for (file, source) in DEFINITIONS {
            engine.register(source, file).await?;
        }
        Ok(())
    })
    .await
}

struct Worker<'a> {
    global: &'a Global,
    sandbox: &'a Sandbox,
    sets: &'a Sets,
}

impl Worker<'_> {
    fn view(&self) -> anyhow::Result<View> {
        self.global.view()
    }

    fn spawn(&self, key: &str, current: &Path) -> anyhow::Result<Child> {
        let input = cpd_core::json!({
            "model": "card-fraud",
            "reference": self.sets.reference.display().to_string(),
            "current": current.display().to_string(),
        });
        let exe = std::env::current_exe().context("find the cpd binary")?;
        let mut command = Command::new(exe);
        command.arg("--data").arg(&self.global.data);
        if let Some(config) = &self.global.config {
            command.arg("--config").arg(config);
        }
        command.args(["run", "fraud-drift-management", "--quiet", "--key", key, "--input"]).arg(input.to_json());
        command.env("CPD_ATLAS_MLFLOW_URL", self.sandbox.url());
        command.env("CPD_ATLAS_TRAINING_URL", format!("{}/training", self.sandbox.url()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().context("start the worker")
    }

    /// Runs the workflow in a process of its own, printing what it does as it becomes durable.
    async fn run(&self, key: &str, current: &Path, crash: bool) -> anyhow::Result<RunId> {
        let mut child = self.spawn(key, current)?;
        let mut printer = Printer::default();
        let mut crash = crash;
        let deadline = Instant::now() + PATIENCE;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let run = printer.look(self, key)?;
            if crash && printer.retraining && self.training_begun(run) {
                // SIGKILL: the worker gets no chance to say goodbye.
                child.kill().context("kill the worker")?;
                child.wait().context("wait for the worker")?;
                crash = false;
                style::line(&format!(
                    "{} {}",
                    style::bad("⚡"),
                    style::bold("SIGKILL: the worker dies in the middle of the retraining")
                ))?;
                child = self.spawn(key, current)?;
                style::line(&format!(
                    "{} {}",
                    style::good("⟳"),
                    style::bold("the worker starts again over the same data directory")
                ))?;
                continue;
            }
            if let Some(status) = child.try_wait().context("look at the worker")? {
                printer.look(self, key)?;
                let Some(run) = printer.run else { bail!("start a run: {}", stderr(&mut child)) };
                if !status.success() {
                    bail!("finish run {run}: the worker ended with {status}: {}", stderr(&mut child));
                }
                return Ok(run);
            }
            if Instant::now() > deadline {
                child.kill().context("kill the worker")?;
                bail!("finish the run within {} s", PATIENCE.as_secs());
            }
        }
    }

    fn training_begun(&self, run: Option<RunId>) -> bool {
        run.is_some() && self.sandbox.effects().iter().any(|e| e.kind.contains("job") || e.kind.contains("train"))
    }
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        drop(std::io::Read::read_to_string(&mut stderr, &mut text));
    }
    text.trim().to_owned()
}

/// Follows the run of a key in the journal and prints what is new.
#[derive(Default)]
struct Printer {
    run: Option<RunId>,
    seen: usize,
    retraining: bool,
}

impl Printer {
    fn look(&mut self, worker: &Worker<'_>, key: &str) -> anyhow::Result<Option<RunId>> {
        let view = worker.view()?;
        if self.run.is_none() {
            self.run = view.runs().find(|(_, row)| row.key.as_deref() == Some(key)).map(|(id, _)| id);
        }
        let Some(run) = self.run else { return Ok(None) };
        let log = view.history(run)?.log()?;
        let started = log.first().map_or(Timestamp(0), |l| l.at);
        for logged in log.iter().skip(self.seen) {
            if worth_telling(&logged.event) {
                style::line(&timeline::line(logged, started, style::width().min(140)))?;
            }
            let retrain = logged.operation.as_deref() == Some("atlas.retrain");
            self.retraining |= retrain && matches!(logged.event, Event::TaskStarted { .. });
            if retrain && matches!(logged.event, Event::TaskSucceeded { .. }) {
                self.retraining = false;
            }
        }
        self.seen = log.len();
        Ok(Some(run))
    }
}

fn worth_telling(event: &Event) -> bool {
    !matches!(event, Event::TaskEntered { .. } | Event::TaskCompleted { .. } | Event::TaskReturned { .. })
}

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

fn summary(view: &View, run: RunId) -> anyhow::Result<()> {
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

fn verdict_below(view: &View, run: RunId) -> anyhow::Result<()> {
    let story = Story::read(view, run)?;
    let (drift, threshold, outcome) = story.figures()?;
    style::line(&format!(
        "- Same workflow on steady data: drift of {drift:.2} (policy threshold = {threshold}) → {outcome}, run {}",
        story.status
    ))
}
