//! Containers of the local Docker or Podman, over its socket.
//!
//! 1. `plan` turns the definition into what the engine is asked for.
//! 2. `engine` finds the engine, fetches the image by policy, creates the container and attaches to it. Nothing has happened yet:
//!    trouble up to here is a failure or a refusal, and a container that was created is removed.
//! 3. It is started. From here on the outcome is the container's end, or unknown: no answer may mean that it runs.
//! 4. `frames` reads what it writes while stdin is written and its end is waited for.
//! 5. It is ended if need be, and removed as `lifetime` says: at once, after a time, or never (the default of the language).
//!
//! A container is not a child: when the daemon dies it runs on. It carries the labels `io.cpd.run`, `io.cpd.task`, `io.cpd.key`, so an
//! operator who has to decide what became of the task finds it. It is not reconciled: that no container with the key is
//! there may also mean that it was removed.
//!
//! Not run against a real engine by the tests of this project: they bring a server that follows the interface's documents.

mod engine;
mod frames;
mod plan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::clock::Clock;
use cpd_connector_api::guard::{ended, within};
use cpd_connector_api::{Outcome, Problem, Request, Standard, Value, json};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::child::Output;
use super::config::ProcessConfig;
use super::input::Common;
use super::launch::protocol::Limit;
use super::verdict::{self, Exit};
use engine::{Attached, Engine, Trouble};
use frames::Stop;
use plan::{Cleanup, Plan, Pull};

/// How long ending or removing a container may take before the call answers without it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long output may lag behind the end of the container.
const LAG: Duration = Duration::from_secs(5);
/// How many containers may be waited for in the background: those not awaited, and those to be removed later.
const BACKGROUND_MAX: usize = 256;

/// The part of the connector that runs containers.
pub(super) struct Containers {
    config: ProcessConfig,
    clock: Arc<dyn Clock>,
    background: Mutex<JoinSet<()>>,
}

/// A container that was created.
struct Created {
    engine: Engine,
    id: String,
    attached: Attached,
}

/// How watching a container came to an end.
enum Watched {
    Exited(i64, Output),
    TooLong,
    TooMuch(&'static str),
    Lost(String),
}

impl Containers {
    pub(super) fn new(config: ProcessConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, background: Mutex::default() }
    }

    /// Runs one.
    pub(super) async fn run(&self, request: &Request, common: Common, container: &Value) -> Result<Outcome, Outcome> {
        let plan = Plan::read(&self.config, request, &common, container).map_err(Outcome::Refused)?;
        if let Some(why) = ended(request, &*self.clock) {
            return Err(Outcome::failed(why.problem("before the container was created")));
        }
        let begun = self.clock.now();
        let engine = within(request, &*self.clock, Engine::find(&self.sockets())).await;
        let engine = engine
            .map_err(|why| Outcome::failed(why.problem("before the container was created")))?
            .map_err(Outcome::Refused)?;
        let prepared = within(request, &*self.clock, prepare(&engine, &plan, &common)).await;
        let Created { engine, id, attached } = match prepared {
            Ok(prepared) => prepared?,
            Err(why) => {
                // Whether it was created is not known, its name is.
                self.tidy(&engine, &plan.name).await;
                return Err(Outcome::failed(why.problem("before the container was started")));
            }
        };
        match within(request, &*self.clock, engine.start(&id)).await {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => return Err(self.not_started(request, &engine, &id, &trouble).await),
            Err(why) => {
                self.end(&engine, &id, plan.cleanup).await;
                return Err(Outcome::Unknown(why.problem("while the container was started; it was ended")));
            }
        }
        let evidence = |code: Value| {
            let took = self.clock.now().since(begun).as_millis() as i64;
            json!({"image": plan.image, "container": id, "name": plan.name, "code": code, "milliseconds": took})
        };
        if !common.wait {
            let outcome = common.not_waiting(evidence(Value::Null));
            self.leave(request, engine.clone(), id.clone(), attached, common, plan.cleanup);
            return Ok(outcome);
        }
        let watch = watch(&engine, &id, attached, &common.stdin, &self.config);
        let watched = match within(request, &*self.clock, watch).await {
            Ok(watched) => watched,
            Err(why) => {
                self.end(&engine, &id, plan.cleanup).await;
                let doing = format!("while {} ran in container {}; it was ended", request.task, plan.name);
                return Err(Outcome::Unknown(why.problem(&doing)));
            }
        };
        let outcome = match watched {
            Watched::Exited(code, output) => {
                // An engine that does not say is taken to say no: the code is there all the same.
                if code == 137 && engine.ran_out_of_memory(&id).await.unwrap_or(false) {
                    let max = self.config.memory_bytes_max;
                    let limit = Limit::Memory { bytes: max, max };
                    self.clean(&engine, &id, plan.cleanup).await;
                    return Ok(verdict::over(&request.task, limit, &output.stderr));
                }
                verdict::ended(&request.task, common.returns, Exit::Code(code), &output, evidence(Value::from(code)))
            }
            Watched::TooLong => verdict::over(&request.task, Limit::Time { ms: self.config.time_ms_max }, b""),
            Watched::TooMuch(stream) => verdict::too_much(&request.task, stream, self.config.output_bytes_max),
            Watched::Lost(what) => verdict::lost(&request.task, &what),
        };
        match outcome {
            Outcome::Succeeded(_) | Outcome::Failed { .. } => self.clean(&engine, &id, plan.cleanup).await,
            Outcome::Refused(_) | Outcome::Unknown(_) => self.end(&engine, &id, plan.cleanup).await,
        }
        Ok(outcome)
    }

    /// Where an engine may be.
    fn sockets(&self) -> Vec<PathBuf> {
        let user = rustix::process::getuid().as_raw();
        self.config.docker_socket.clone().map_or_else(
            || {
                let usual = [
                    "/var/run/docker.sock",
                    "/run/podman/podman.sock",
                    &format!("/run/user/{user}/podman/podman.sock"),
                ];
                usual.iter().map(PathBuf::from).collect()
            },
            |socket| vec![socket],
        )
    }

    /// What it means that the engine did not say that it had started the container.
    async fn not_started(&self, request: &Request, engine: &Engine, id: &str, trouble: &Trouble) -> Outcome {
        let problem = trouble.problem(&format!("start the container of {}", request.task));
        self.tidy(engine, id).await;
        match trouble {
            Trouble::Unsent(_) => Outcome::failed(problem),
            Trouble::Answered(400..=499, _) => Outcome::Refused(problem),
            Trouble::Answered(..) => Outcome::failed(problem),
            Trouble::Broken(_) => Outcome::Unknown(problem),
        }
    }

    /// Removes one that has not run, or ends one of which that is not known. What remains can be found by its labels.
    async fn tidy(&self, engine: &Engine, id: &str) {
        tidy(engine, id).await;
    }

    /// Ends one, then removes it as its lifetime says.
    async fn end(&self, engine: &Engine, id: &str, cleanup: Cleanup) {
        kill(engine, id).await;
        self.clean(engine, id, cleanup).await;
    }

    async fn clean(&self, engine: &Engine, id: &str, cleanup: Cleanup) {
        match cleanup {
            Cleanup::Always => tidy(engine, id).await,
            Cleanup::Never => {}
            Cleanup::After(span) => {
                let (engine, id) = (engine.clone(), id.to_owned());
                self.behind(async move {
                    tokio::time::sleep(span).await;
                    tidy(&engine, &id).await;
                });
            }
        }
    }

    /// Watches one that nobody waits for.
    fn leave(
        &self,
        request: &Request,
        engine: Engine,
        id: String,
        attached: Attached,
        common: Common,
        cleanup: Cleanup,
    ) {
        let (config, run, task) = (self.config.clone(), request.run.clone(), request.task.clone());
        self.behind(async move {
            match watch(&engine, &id, attached, &common.stdin, &config).await {
                Watched::Exited(code, _) => tracing::debug!(%run, %task, code, "a container not waited for has ended"),
                Watched::TooLong | Watched::TooMuch(_) | Watched::Lost(_) => {
                    tracing::warn!(%run, %task, id, "a container not waited for went past its limits, or was lost");
                    kill(&engine, &id).await;
                }
            }
            match cleanup {
                Cleanup::Always => tidy(&engine, &id).await,
                Cleanup::Never => {}
                Cleanup::After(span) => {
                    tokio::time::sleep(span).await;
                    tidy(&engine, &id).await;
                }
            }
        });
    }

    /// Does something in the background, until the connector ends.
    fn behind(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut background = self.background.lock();
        while background.try_join_next().is_some() {}
        if background.len() < BACKGROUND_MAX {
            background.spawn(work);
        } else {
            tracing::warn!(BACKGROUND_MAX, "too many containers are watched; one is left to itself");
        }
    }
}

async fn kill(engine: &Engine, id: &str) {
    match timeout(PATIENCE, engine.kill(id)).await {
        Ok(Ok(())) => {}
        other => tracing::warn!(id, ?other, "cannot end a container"),
    }
}

async fn tidy(engine: &Engine, id: &str) {
    match timeout(PATIENCE, engine.remove(id)).await {
        Ok(Ok(())) => {}
        other => tracing::warn!(id, ?other, "cannot remove a container"),
    }
}

/// Everything before the start.
async fn prepare(engine: &Engine, plan: &Plan, common: &Common) -> Result<Created, Outcome> {
    image(engine, plan).await?;
    let created = engine.create(&plan.name, &plan.body).await;
    let id = created.map_err(|trouble| before(&trouble, &format!("create the container {}", plan.name)))?;
    match engine.attach(&id, !common.stdin.is_empty()).await {
        Ok(attached) => Ok(Created { engine: engine.clone(), id, attached }),
        Err(trouble) => {
            tidy(engine, &id).await;
            Err(before(&trouble, &format!("attach to the container {}", plan.name)))
        }
    }
}

async fn image(engine: &Engine, plan: &Plan) -> Result<(), Outcome> {
    let doing = format!("find the image {}", plan.image);
    let there = match plan.pull {
        Pull::Always => false,
        Pull::IfNotPresent | Pull::Never => engine.has_image(&plan.image).await.map_err(|t| before(&t, &doing))?,
    };
    match (there, plan.pull) {
        (true, _) => Ok(()),
        (false, Pull::Never) => {
            let detail = format!("{doing}: it is not on this machine, and `pullPolicy` is `never`");
            Err(Outcome::Refused(Problem::standard(Standard::Configuration, detail)))
        }
        (false, Pull::Always | Pull::IfNotPresent) => {
            engine.pull(&plan.image).await.map_err(|t| before(&t, &format!("pull the image {}", plan.image)))
        }
    }
}

/// What trouble means while nothing has been started.
fn before(trouble: &Trouble, doing: &str) -> Outcome {
    let problem = trouble.problem(doing);
    match trouble {
        Trouble::Answered(400..=499, _) => Outcome::Refused(problem),
        Trouble::Answered(..) | Trouble::Unsent(_) | Trouble::Broken(_) => Outcome::failed(problem),
    }
}

/// Feeds, reads and waits, as long as the operator allows.
async fn watch(engine: &Engine, id: &str, attached: Attached, stdin: &str, config: &ProcessConfig) -> Watched {
    let limit = Duration::from_millis(config.time_ms_max);
    timeout(limit, to_the_end(engine, id, attached, stdin, config.output_bytes_max)).await.unwrap_or(Watched::TooLong)
}

async fn to_the_end(engine: &Engine, id: &str, mut attached: Attached, stdin: &str, most: usize) -> Watched {
    let mut output = Output::default();
    let code = {
        let (mut from, mut to) = tokio::io::split(&mut attached.stream);
        let read = frames::read(&mut from, most, &mut output);
        let feed = async {
            // An engine may take the end of a stdin that it does not have for the end of the whole conversation.
            if !stdin.is_empty() {
                // A container that does not read its stdin to the end has decided so.
                drop(to.write_all(stdin.as_bytes()).await);
                drop(to.shutdown().await);
            }
        };
        let talk = async { tokio::join!(read, feed).0 };
        let end = engine.wait(id);
        tokio::pin!(talk, end);
        // Output may end first (a container can close it) or last.
        tokio::select! {
            said = &mut talk => match said {
                Ok(()) => end.await,
                Err(Stop::TooMuch(stream)) => return Watched::TooMuch(stream),
                Err(Stop::Broken(what)) => return Watched::Lost(format!("its output breaks off: {what}")),
            },
            code = &mut end => match timeout(LAG, &mut talk).await {
                Ok(Err(Stop::TooMuch(stream))) => return Watched::TooMuch(stream),
                Ok(Err(Stop::Broken(what))) => return Watched::Lost(format!("its output breaks off: {what}")),
                Ok(Ok(())) | Err(_) => code,
            },
        }
    };
    match code {
        Ok(code) => Watched::Exited(code, output),
        Err(trouble) => {
            let problem = trouble.problem("wait for the container");
            Watched::Lost(problem.detail.map_or_else(String::new, |d| d.to_string()))
        }
    }
}
