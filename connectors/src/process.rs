//! The connector `process`: what the workflow language's `run` becomes for shell commands, scripts and containers.
//!
//! Nothing runs unless the operator's `allow` says so. A shell command or script is a child under guard:
//!
//! 1. `input` takes the evaluated `run` apart, `program` turns it into an order for the launcher.
//! 2. [`launch`] starts it in a session and a private directory of its own, with a clean environment and limits.
//! 3. `child` feeds and reads it; deadline and cancellation end it and all that descends from it.
//! 4. `verdict` has the table of what each end means.
//!
//! A container goes to the local engine instead, see [`container`].
//!
//! A task that does not wait (`await: false`) has the task's input for output (`input`, as the engine hands it over) as soon as the
//! process runs. The process stays bound by the same limits, and ends with the connector, so with the daemon.
//!
//! Not done here: a sandbox. Processes are limited and cleaned up after, but they are the daemon's user, see its files and its
//! network. Whoever does not trust the authors of definitions leaves `allow` empty, or at containers. Linux only.

mod child;
pub mod config;
pub mod container;
mod input;
pub mod launch;
mod program;
mod spec;
mod verdict;

use std::sync::Arc;

use cpd_connector_api::clock::Clock;
use cpd_connector_api::guard::{Interrupted, ended, within};
use cpd_connector_api::{BoxFuture, Connector, OperationSpec, Outcome, Problem, Request, Standard, Value, json};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use child::{Finish, Output, Running};
use config::Kind;
use container::Containers;
use input::Common;
use launch::protocol::{End, Order};
use program::Versions;

pub use config::ProcessConfig;
pub use launch::Launcher;

/// How many processes that nobody waits for may run at a time.
const DETACHED_MAX: usize = 64;

/// Keeps the daemon's own environment from other processes of its user: `/proc/PID/environ` shows it to them, and it may hold
/// secrets. To be called before definitions can run processes; root sees it still.
///
/// # Errors
/// If the kernel refuses.
pub fn hide_environment() -> std::io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The connector `process`.
pub struct Process {
    config: ProcessConfig,
    launcher: Launcher,
    clock: Arc<dyn Clock>,
    versions: Versions,
    containers: Containers,
    detached: Mutex<JoinSet<()>>,
}

impl Process {
    /// The connector with the operator's permissions.
    pub fn new(config: ProcessConfig, launcher: Launcher, clock: Arc<dyn Clock>) -> Self {
        let containers = Containers::new(config.clone(), clock.clone());
        Self { config, launcher, clock, versions: Versions::default(), containers, detached: Mutex::default() }
    }

    async fn perform(&self, request: &Request) -> Result<Outcome, Outcome> {
        let kind = Kind::ALL.into_iter().find(|kind| spec::operation(*kind) == &*request.operation);
        let Some(kind) = kind else {
            let names = Kind::ALL.map(spec::operation).join(", ");
            let what = format!("found operation {:?}, expected one of {names}", request.operation);
            return Err(Outcome::Refused(Problem::standard(Standard::Configuration, what)));
        };
        let (common, process) = input::read(kind, request).map_err(Outcome::Refused)?;
        program::permitted(&self.config, kind).map_err(Outcome::Refused)?;
        let order = match kind {
            Kind::Shell => program::shell(&self.config, &common, &process),
            Kind::Script => program::script(&self.config, &common, &process, request),
            Kind::Container => return self.containers.run(request, common, &process).await,
        };
        let order = order.map_err(Outcome::Refused)?;
        if let Some(why) = ended(request, &*self.clock) {
            return Err(Outcome::failed(why.problem("before the process was started")));
        }
        let version = match kind {
            Kind::Script => within(request, &*self.clock, self.versions.of(&order.program)).await,
            Kind::Shell | Kind::Container => Ok(None),
        };
        let version = version.map_err(|why| Outcome::failed(why.problem("before the process was started")))?;
        self.guarded(request, &common, &order, version).await
    }

    async fn guarded(
        &self,
        request: &Request,
        common: &Common,
        order: &Order,
        version: Option<String>,
    ) -> Result<Outcome, Outcome> {
        let begun = self.clock.now();
        let start = within(request, &*self.clock, Running::start(&self.launcher, order)).await;
        let mut running = start.map_err(|why| half_way(request, why))?.map_err(Outcome::failed)?;
        let program = Value::from(order.program.to_string_lossy().as_ref());
        let version = version.map_or(Value::Null, Value::from);
        if !common.wait {
            self.detach(request, running)?;
            return Ok(common.not_waiting(json!({"program": program, "version": version, "awaited": false})));
        }
        let most = self.config.output_bytes_max;
        let finish = match within(request, &*self.clock, running.finish(most)).await {
            Ok(finish) => finish,
            Err(why) => {
                running.end().await;
                return Err(half_way(request, why));
            }
        };
        let evidence = |output: &Output, code: i64| {
            json!({
                "program": program, "version": version, "code": code,
                "stdoutBytes": output.stdout.len() as i64, "stderrBytes": output.stderr.len() as i64,
                "milliseconds": self.clock.now().since(begun).as_millis() as i64,
            })
        };
        Ok(match finish {
            Finish::Ended(End::Over(limit), output) => verdict::over(&request.task, limit, &output.stderr),
            Finish::Ended(end, output) => match verdict::exit_of(end) {
                Some(exit) => {
                    let evidence = evidence(&output, exit.code());
                    verdict::ended(&request.task, common.returns, exit, &output, evidence)
                }
                None => verdict::lost(&request.task, "the launcher ended it although nobody wanted that"),
            },
            Finish::TooMuch { stream } => {
                running.end().await;
                verdict::too_much(&request.task, stream, most)
            }
            Finish::Lost(what) => verdict::lost(&request.task, &what),
        })
    }

    /// Lets a process run on by itself, under its limits.
    fn detach(&self, request: &Request, mut running: Running) -> Result<(), Outcome> {
        let mut detached = self.detached.lock();
        while detached.try_join_next().is_some() {}
        if detached.len() >= DETACHED_MAX {
            // Dropping it ends it.
            let detail = format!("run {}: {DETACHED_MAX} processes that nobody waits for run already", request.task);
            return Err(Outcome::failed(Problem::standard(Standard::Runtime, detail)));
        }
        let (run, task, most) = (request.run.clone(), request.task.clone(), self.config.output_bytes_max);
        detached.spawn(async move {
            let finish = running.finish(most).await;
            match finish {
                Finish::Ended(End::Exited(0), _) => tracing::debug!(%run, %task, "a process not waited for has ended"),
                Finish::Ended(end, output) => {
                    let stderr = verdict::end_of(&output.stderr);
                    tracing::warn!(%run, %task, ?end, bytes = stderr.len(), "a process not waited for ended badly");
                }
                Finish::TooMuch { stream } => {
                    tracing::warn!(%run, %task, stream, most, "a process not waited for wrote too much, and was ended");
                    running.end().await;
                }
                Finish::Lost(what) => tracing::warn!(%run, %task, what, "a process not waited for was lost"),
            }
        });
        Ok(())
    }
}

/// What an interruption means once the process may have begun.
fn half_way(request: &Request, why: Interrupted) -> Outcome {
    let doing = format!("while {} ran; the process was ended with all that it had started", request.task);
    Outcome::Unknown(why.problem(&doing))
}

impl Connector for Process {
    fn name(&self) -> &str {
        "process"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        Kind::ALL.map(spec::spec).to_vec()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            match self.perform(&request).await {
                Ok(outcome) | Err(outcome) => outcome,
            }
        })
    }
}
