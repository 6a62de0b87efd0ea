//! `cpd demo`: the main job, end to end, with a crash in the middle.
//!
//! ```text
//! this process: sandbox (Atlas and a language model on loopback), story
//!      └─ worker process: `cpd run fraud-drift-management` over the data directory; killed with SIGKILL in the middle
//!           of the retraining, started again, goes on
//! ```
//!
//! However the demo itself ends, its worker ends with it: without the sandbox it could only wait. The next demo over the
//! same directory takes up the run that was left open.
//!
//! Nothing that is printed is a constant: every figure is read back from the journal of the run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cpd_connectors::drift::generate;
use cpd_connectors::sandbox::{self, Sandbox};
use cpd_core::machine::{Event, RunId};
use cpd_core::time::Timestamp;
use cpd_engine::replay;
use cpd_engine::view::View;

mod story;

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
/// What the sandbox calls a training in its books.
const TRAINING_EFFECT: &str = "training";
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
    let left = left_open(&global.view()?);
    if let Some(left) = &left {
        step(&format!("an earlier demo was ended in the middle of run {}: it goes on", left.run))?;
    }
    style::line("")?;
    let mut worker = Worker { global, sandbox: &sandbox, sets: &sets, books: sandbox.effects().len(), lives: 0 };
    // A run that was left has had one life already, which was the crash that the others are given.
    worker.lives = left.as_ref().map_or(0, |_| 1);
    let crash = !args.no_crash && left.is_none();
    // Otherwise a new key every time: each demo is a new run, and a worker that comes back finds the one that it left.
    let stamp = left.map_or_else(|| format!("{:x}", u64::from(std::process::id()) ^ micros_now()), |left| left.stamp);
    let above = worker.run(&format!("{KEY}{stamp}{ABOVE}"), &sets.drifted, crash).await?;
    let lives = worker.lives;
    style::line("")?;
    story::summary(&worker.view()?, above)?;
    style::line("")?;
    let below = worker.run(&format!("{KEY}{stamp}{BELOW}"), &sets.steady, false).await?;
    story::verdict_below(&worker.view()?, below)?;
    style::line("")?;
    let replayed = replay::replay(&worker.view()?.history(above)?, None, |_| {})?;
    if replayed.divergence.is_some() || replayed.chain.is_err() {
        bail!("replay run {above}: it differs from the record; `cpd replay {above}` says where");
    }
    step(&format!(
        "replayed {} of the first run without effects: identical, chain of digests whole",
        style::count(replayed.events, "event")
    ))?;
    let lives = match lives {
        1 => "one life".to_owned(),
        2 => "two lives".to_owned(),
        n => format!("{n} lives"),
    };
    let trainings = style::count(worker.trainings(above)?, "training");
    step(&format!("the sandbox counts {trainings} for {lives} of the worker"))?;
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

fn micros_now() -> u64 {
    cpd_engine::Clock::now(&cpd_engine::SystemClock::default()).as_micros().unsigned_abs()
}

/// What the keys of the demo's runs begin and end with; between stands the demo's own stamp.
const KEY: &str = "demo-";
const ABOVE: &str = "-above";
const BELOW: &str = "-below";

/// A run that an earlier demo left open.
struct Left {
    run: RunId,
    stamp: String,
}

fn left_open(view: &View) -> Option<Left> {
    view.runs().filter(|(_, row)| row.phase == cpd_engine::RowPhase::Running).find_map(|(run, row)| {
        let key = row.key.as_deref()?.strip_prefix(KEY)?;
        let stamp = key.strip_suffix(ABOVE).or_else(|| key.strip_suffix(BELOW))?;
        Some(Left { run, stamp: stamp.to_owned() })
    })
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
    /// How many effects the sandbox had in its books when this demo began.
    books: usize,
    /// How often it was started.
    lives: u64,
}

impl Worker<'_> {
    fn view(&self) -> anyhow::Result<View> {
        self.global.view()
    }

    fn spawn(&mut self, key: &str, current: &Path) -> anyhow::Result<Child> {
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
        command.args(["run", "fraud-drift-management", "--quiet", "--tethered", "--key", key, "--input"]);
        command.arg(input.to_json());
        command.env("CPD_ATLAS_MLFLOW_URL", self.sandbox.url());
        command.env("CPD_ATLAS_TRAINING_URL", format!("{}/training", self.sandbox.url()));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        self.lives += 1;
        command.spawn().context("start the worker")
    }

    /// Runs the workflow in a process of its own, printing what it does as it becomes durable.
    async fn run(&mut self, key: &str, current: &Path, crash: bool) -> anyhow::Result<RunId> {
        let mut child = self.spawn(key, current)?;
        let mut printer = Printer::default();
        let mut crash = crash;
        let deadline = Instant::now() + PATIENCE;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let run = printer.look(self, key)?;
            if crash && printer.retraining && run.is_some() && self.training_begun() {
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

    /// Whether a training has begun since this demo began.
    fn training_begun(&self) -> bool {
        self.sandbox.effects().iter().skip(self.books).any(|e| e.kind == TRAINING_EFFECT)
    }

    /// The trainings in the sandbox's books: all since this demo began, and those before it for the same job as the run's.
    fn trainings(&self, run: RunId) -> anyhow::Result<u64> {
        let job = story::job(&self.view()?, run)?;
        let effects = self.sandbox.effects();
        let key = effects.iter().find(|e| job.as_deref() == Some(&*e.target)).map(|e| e.key.clone());
        let counted = effects.iter().enumerate().filter(|(n, effect)| {
            effect.kind == TRAINING_EFFECT && (*n >= self.books || Some(&effect.key) == key.as_ref())
        });
        Ok(counted.count() as u64)
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
