//! The engine: opening a data directory, starting runs, talking to them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cpd_connector_api::Connector;
use cpd_connector_api::attachment::Loader;
use cpd_connector_api::secret::{NoSecrets, Secrets};
use cpd_core::Value;
use cpd_core::expression::Limits;
use cpd_core::json;
use cpd_core::machine::turn::{Env, Start};
use cpd_core::machine::{Input, Phase, Resolution, Run, RunId, Voter};
use cpd_core::problem::Problem;
use cpd_core::time::Timestamp;
use cpd_journal::index::{Direction, Driver, Index, Range};
use cpd_journal::payloads::Payloads;
use cpd_journal::{DirLock, Hook, LockError, Log, Reader, Status, Writer, WriterOptions};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aside::Asides;
use crate::clock::{Clock, SystemClock, stopwatch};
use crate::control::{Control, ControlState};
use crate::entropy::{Entropy, SystemEntropy};
use crate::error::Error;
use crate::index::{self, Indexer, RunRow};
use crate::keys::{self, StartKeys};
use crate::migrate::Migrated;
use crate::observe::{self, Census, Observer, Several};
use crate::publish::{self, Published};
use crate::recovery;
use crate::registry::Registry;
use crate::shard::{Message, Reply, Shard};

/// New work is refused while more than this waits to be synced.
const PENDING_MAX: usize = 64 << 20;
/// How long an owner of the directory that is closing is waited for, and how long a call in flight that does not end.
const CLOSING_MAX: Duration = Duration::from_secs(10);
/// How long a stop waits for room on the disk: for a rotation that is just going on, not for a person.
const ROOM_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether it has: the lock is the system's, which tells nobody.
const CLOSING_LOOK: Duration = Duration::from_millis(2);

/// What every part of an engine shares.
pub(crate) struct Shared {
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
    pub runtime: Value,
    pub connectors: HashMap<Arc<str>, Arc<dyn Connector>>,
    pub registry: Arc<Registry>,
    pub control: ControlState,
    pub writer: Writer,
    pub reader: Reader,
    pub payloads: Payloads,
    pub indexer: Arc<Indexer>,
    pub observer: Option<Arc<dyn Observer>>,
    /// Open runs by what they wait for.
    pub census: Census,
    pub tracker: TaskTracker,
    /// Whether the journal waits for room on its disk.
    pub full: watch::Receiver<bool>,
    /// Ends every call in flight.
    pub ended: CancellationToken,
    pub dispatching: bool,
    pub secrets: Arc<dyn Secrets>,
    pub development: bool,
    pub data_limits: DataLimits,
    pub router: std::sync::OnceLock<Shards>,
    /// The engine that this belongs to, for runs that run others; set when every open run is with its shard.
    pub engine: tokio::sync::SetOnce<std::sync::Weak<Inner>>,
    /// Until the engine stops: then the next engine may open it, though handles to this one are still around.
    pub index: Mutex<Option<Arc<dyn Index>>>,
    pub lock: Mutex<Option<DirLock>>,
    pub asides: Asides,
    #[cfg(test)]
    pub hooks: crate::tests::Hooks,
}

impl Shared {
    pub(crate) fn env(&self, at: Timestamp) -> Env<'_> {
        Env { at, limits: &self.limits, runtime: &self.runtime, stopwatch }
    }

    /// The index. To be dropped before the share of this is, so that the next engine finds it free.
    pub(crate) fn index(&self) -> Result<Arc<dyn Index>, Error> {
        self.index.lock().clone().ok_or(Error::Stopped)
    }

    /// Writes what is pending and lets go of the directory. Blocks.
    fn close(&self) -> Result<(), cpd_journal::Error> {
        self.indexer.stop();
        drop(self.index.lock().take());
        let closed = self.writer.close();
        drop(self.lock.lock().take());
        closed
    }
}

/// Shards and calls in flight each hold their share, so the directory is let go of when the last of them has ended,
/// whoever that is: an engine that was dropped may be opened again, and there are never two that act.
impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(error = %error, "the journal was not closed in order; nothing acknowledged is lost");
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEnd {
    /// It reached its end.
    Completed {
        /// Its output.
        output: Value,
    },
    /// An error reached the top.
    Faulted {
        /// The error.
        problem: Problem,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// Why.
        reason: Arc<str>,
    },
}

impl RunEnd {
    pub(crate) fn of(run: &Run) -> Self {
        match &run.phase {
            Phase::Completed { output } => RunEnd::Completed { output: output.clone() },
            Phase::Faulted { problem } => RunEnd::Faulted { problem: problem.clone() },
            Phase::Cancelled { reason } => RunEnd::Cancelled { reason: reason.clone() },
            Phase::Running | Phase::Paused => unreachable!("asked only of runs that have ended"),
        }
    }

    /// `completed`, `faulted` or `cancelled`.
    pub fn status(&self) -> &'static str {
        match self {
            RunEnd::Completed { .. } => "completed",
            RunEnd::Faulted { .. } => "faulted",
            RunEnd::Cancelled { .. } => "cancelled",
        }
    }
}

/// Limits of the data that come from outside. What expressions make of them is bounded by [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataLimits {
    /// The most bytes of JSON that the input of a run may have.
    pub input_bytes: usize,
    /// The most bytes of JSON that the output of an operation may have.
    pub output_bytes: usize,
}

impl Default for DataLimits {
    /// 16 MiB each.
    fn default() -> Self {
        Self { input_bytes: 16 << 20, output_bytes: 16 << 20 }
    }
}

/// Opens an [`Engine`].
pub struct Builder {
    data: PathBuf,
    connectors: Vec<Arc<dyn Connector>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    observers: Vec<Arc<dyn Observer>>,
    secrets: Arc<dyn Secrets>,
    loader: Option<Arc<dyn Loader>>,
    development: bool,
    data_limits: DataLimits,
    shards: usize,
    dispatching: bool,
    limits: Limits,
    log: cpd_journal::Options,
    driver: Driver,
    on_status: Option<Hook<Status>>,
    #[cfg(test)]
    pub(crate) hooks: crate::tests::Hooks,
}

impl Builder {
    /// Adds a connector; its operations stand in the default catalog.
    #[must_use]
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connectors.push(Arc::new(connector));
        self
    }

    /// Adds connectors.
    #[must_use]
    pub fn connectors(mut self, connectors: impl IntoIterator<Item = Arc<dyn Connector>>) -> Self {
        self.connectors.extend(connectors);
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of randomness, for tests.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Somebody who sees what happens; there may be several.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// The number of shards; by default the number of cores, at most 8.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// Without dispatch the engine takes inputs from operators but calls nobody and fires no timers: what is under way
    /// waits for the next process.
    #[must_use]
    pub fn dispatching(mut self, dispatching: bool) -> Self {
        self.dispatching = dispatching;
        self
    }

    /// Limits of expressions.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Told of each change of the journal's status, such as a full disk; called on the writer's thread.
    #[must_use]
    pub fn on_journal_status(mut self, told: impl Fn(Status) + Send + Sync + 'static) -> Self {
        self.on_status = Some(Arc::new(told));
        self
    }

    /// Where the secrets come from that definitions mention; by default there are none.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn Secrets>) -> Self {
        self.secrets = secrets;
        self
    }

    /// What loads the documents that definitions refer to by an address; by default nothing does.
    #[must_use]
    pub fn loader(mut self, loader: Arc<dyn Loader>) -> Self {
        self.loader = Some(loader);
        self
    }

    /// Whether versions may be replaced by other content ([`Engine::register_anew`]); by default they may not.
    #[must_use]
    pub fn development(mut self, development: bool) -> Self {
        self.development = development;
        self
    }

    /// Limits of the data that come from outside.
    #[must_use]
    pub fn data_limits(mut self, limits: DataLimits) -> Self {
        self.data_limits = limits;
        self
    }

    /// The driver of the index; by default the first of fjall, sled and memory that is built in.
    #[must_use]
    pub fn index(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// Options of the journal.
    #[must_use]
    pub fn journal(mut self, log: cpd_journal::Options) -> Self {
        self.log = log;
        self
    }

    /// Opens the data directory, recovers, and begins to serve on the current tokio runtime.
    ///
    /// # Errors
    /// If another process owns the directory, the journal is damaged, or files cannot be used.
    pub async fn open(mut self) -> Result<Engine, Error> {
        let file = |action: &'static str, path: &Path| {
            let path = path.display().to_string();
            move |source: std::io::Error| Error::File { action, path, source: Arc::new(source) }
        };
        std::fs::create_dir_all(&self.data).map_err(file("create the data directory", &self.data))?;
        let lock = lock(&self.data, &*self.clock).await?;
        let journal = self.data.join("journal");
        if self.log.journal == [0; 16] {
            // Only a journal that is created takes it: by it the segments and the index of another one are told apart.
            self.log.journal = RunId::new(self.clock.now(), self.entropy.run_id_bytes()).0;
        }
        let (log, recovered) = Log::open(&journal, self.log)?;
        let reader = log.reader();
        let index = self.data.join("index").join(self.driver.name());
        let (index, recovery) = recovery::open(self.driver, &index, &reader, recovered)?;
        let registry = Registry::load(&reader, recovery.registry)?.with_connectors(self.connectors.iter().cloned());
        let registry = Arc::new(match self.loader {
            Some(loader) => registry.with_loader(loader),
            None => registry,
        });
        let control = ControlState::load(&reader, recovery.tokens, recovery.audit)?;
        let (tell, full) = watch::channel(false);
        let told = self.on_status;
        let on_status: Hook<Status> = Arc::new(move |status| {
            tell.send_replace(matches!(status, Status::Full));
            if let Some(told) = &told {
                told(status);
            }
        });
        let observer = Several::of(self.observers);
        let on_group = observe::on_group(observer.as_ref());
        let options = WriterOptions { on_status: Some(on_status), on_group, ..WriterOptions::default() };
        let writer = Writer::spawn_with(log, options)?;
        let indexer =
            Indexer::spawn(index.clone(), recovery.applied).map_err(file("start the index writer for", &self.data))?;
        let indexer = Arc::new(indexer);
        let connectors = self.connectors.into_iter().map(|c| (Arc::from(c.name()), c)).collect();
        let runtime = json!({ "name": "cpd", "version": env!("CARGO_PKG_VERSION"), "metadata": {} });
        let shared = Arc::new(Shared {
            clock: self.clock,
            limits: self.limits,
            runtime,
            connectors,
            registry,
            control,
            writer,
            reader,
            payloads: Payloads::of(&journal),
            indexer,
            observer,
            census: Census::default(),
            tracker: TaskTracker::new(),
            full,
            ended: CancellationToken::new(),
            index: Mutex::new(Some(index)),
            lock: Mutex::new(Some(lock)),
            dispatching: self.dispatching,
            secrets: self.secrets,
            development: self.development,
            data_limits: self.data_limits,
            router: std::sync::OnceLock::new(),
            engine: tokio::sync::SetOnce::new(),
            asides: Asides::begin(&self.data, self.dispatching),
            #[cfg(test)]
            hooks: self.hooks,
        });
        let mut shards = Vec::with_capacity(self.shards);
        for _ in 0..self.shards {
            let (tx, rx) = mpsc::unbounded_channel();
            let shard = Shard::new(shared.clone(), tx.clone());
            shared.tracker.spawn(shard.serve(rx));
            shards.push(tx);
        }
        let engine = Engine {
            inner: Arc::new(Inner {
                shared,
                shards: Shards(shards.into()),
                entropy: self.entropy,
                keys: Arc::new(StartKeys::new()),
                recovered: recovery.summary(),
                data: self.data,
                stopped: AtomicUsize::new(0),
            }),
        };
        drop(engine.inner.shared.router.set(engine.inner.shards.clone()));
        let registry = engine.registry();
        recovery::execute(recovery, registry, |message, run| engine.inner.shards.send(run, message))?;
        drop(engine.inner.shared.engine.set(Arc::downgrade(&engine.inner)));
        Ok(engine)
    }
}

/// Takes the lock of the data directory. An owner that is closing, such as an engine of this process that was dropped a
/// moment ago, is waited for.
async fn lock(data: &Path, clock: &dyn Clock) -> Result<DirLock, Error> {
    let begin = tokio::time::Instant::now();
    loop {
        match DirLock::acquire(data, env!("CARGO_PKG_VERSION"), &clock.now().to_string()) {
            Err(LockError::Held { held, .. }) if held.closing && begin.elapsed() < CLOSING_MAX => {
                tokio::time::sleep(CLOSING_LOOK).await;
            }
            taken => return Ok(taken?),
        }
    }
}

/// A durable workflow engine over one data directory. Cheap to clone; every clone is the same engine.
///
/// [`Engine::stop`] ends it in order. When the last handle ([`Engine`] or [`RunHandle`]) is dropped without that, its shards
/// end, calls in flight are dropped as by a crash, what was submitted is written, and then the directory is free; opening it
/// again waits for that. A connector must not hold a handle to the engine that holds it: that one never ends by itself.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shards: Shards,
    entropy: Arc<dyn Entropy>,
    pub(crate) keys: Arc<StartKeys>,
    recovered: recovery::Summary,
    data: PathBuf,
    stopped: AtomicUsize,
}

impl Inner {
    /// Tells whoever wants the directory that it will be free soon.
    fn closing(&self) {
        if let Some(lock) = &*self.shared.lock.lock() {
            lock.closing();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closing();
        self.shared.ended.cancel();
        for shard in &*self.shards.0 {
            // One that is gone has nothing to leave.
            drop(shard.send(Message::Leave));
        }
    }
}

/// The ways to the shards. Whoever holds only these does not keep the engine.
#[derive(Clone)]
pub(crate) struct Shards(Arc<[mpsc::UnboundedSender<Message>]>);

impl Shards {
    pub(crate) fn all(&self) -> &[mpsc::UnboundedSender<Message>] {
        &self.0
    }

    pub(crate) fn send(&self, run: RunId, message: Message) -> Result<(), Error> {
        let shard = usize::from(run.0[15]) % self.0.len();
        self.0[shard].send(message).map_err(|_| Error::Stopped)
    }

    pub(crate) async fn ask<T>(
        &self,
        run: RunId,
        message: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Message,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(run, message(reply))?;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(self.fate(run).await),
        }
    }

    /// Why a shard did not answer: it panicked over it, or it is gone.
    async fn fate(&self, run: RunId) -> Error {
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.send(run, Message::Fate { run, reply }) {
            return error;
        }
        answer.await.ok().flatten().unwrap_or(Error::Stopped)
    }
}

impl Engine {
    /// An engine over the data directory `data`, which is created if it is not there.
    pub fn builder(data: impl Into<PathBuf>) -> Builder {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Builder {
            data: data.into(),
            connectors: Vec::new(),
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy::default()),
            observers: Vec::new(),
            secrets: Arc::new(NoSecrets),
            loader: None,
            development: false,
            data_limits: DataLimits::default(),
            shards: cores.clamp(1, 8),
            dispatching: true,
            limits: Limits::default(),
            log: cpd_journal::Options::default(),
            on_status: None,
            #[cfg(test)]
            hooks: crate::tests::Hooks::default(),
            driver: if cfg!(feature = "index-fjall") {
                Driver::Fjall
            } else if cfg!(feature = "index-sled") {
                Driver::Sled
            } else {
                Driver::Memory
            },
        }
    }

    /// What opening found and did.
    pub fn recovered(&self) -> &recovery::Summary {
        &self.inner.recovered
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.inner.data
    }

    /// Workflows, policies, agents and operations.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.inner.shared.registry
    }

    /// Tokens, and the record of who administered what.
    pub fn control(&self) -> Control {
        Control::of(self)
    }

    /// Registers a workflow, a policy or an agent from its source text. The same content again changes nothing.
    ///
    /// # Errors
    /// If the source is wrong, or the version is taken by other content.
    pub async fn register(&self, source: &str, file: &str) -> Result<crate::registry::Registration, Error> {
        self.register_by(source, file, "library").await
    }

    /// The same, with who does it, for the audit.
    ///
    /// # Errors
    /// If the source is wrong, or the version is taken by other content.
    pub async fn register_by(
        &self,
        source: &str,
        file: &str,
        actor: &str,
    ) -> Result<crate::registry::Registration, Error> {
        self.registering(source, file, actor, false).await
    }

    /// The same, but a version that is registered with other content is replaced: runs that are under way keep what they
    /// started with, new ones get this. Only for data directories that are for development.
    ///
    /// # Errors
    /// If the source is wrong, or the engine was not built with [`Builder::development`].
    pub async fn register_anew(&self, source: &str, file: &str) -> Result<crate::registry::Registration, Error> {
        self.register_anew_by(source, file, "library").await
    }

    /// The same, with who does it, for the audit.
    ///
    /// # Errors
    /// If the source is wrong, or the engine was not built with [`Builder::development`].
    pub async fn register_anew_by(
        &self,
        source: &str,
        file: &str,
        actor: &str,
    ) -> Result<crate::registry::Registration, Error> {
        if !self.inner.shared.development {
            return Err(Error::NotDevelopment);
        }
        self.registering(source, file, actor, true).await
    }

    /// Registers in a task of its own: a caller who stops waiting must not leave a registration half made.
    async fn registering(
        &self,
        source: &str,
        file: &str,
        actor: &str,
        replace: bool,
    ) -> Result<crate::registry::Registration, Error> {
        let shared = self.inner.shared.clone();
        let (source, file, actor) = (source.to_owned(), file.to_owned(), actor.to_owned());
        let registering = async move { shared.registry.register(&shared, &source, &file, &actor, replace).await };
        self.inner.shared.tracker.spawn(registering).await.map_err(|_| Error::Stopped)?
    }

    /// Starts a run of a workflow: `name`, `namespace/name`, either with `:version`. Await the result of
    /// [`Starting::go`].
    pub fn start(&self, workflow: &str) -> Starting<'_> {
        Starting { engine: self, workflow: workflow.to_owned(), input: None, key: None, actor: Arc::from("library") }
    }

    /// Publishes an event: every open run that listens to such events gets it. Its `type` must be there; what is missing of
    /// `specversion`, `id`, `source` and `time` is added. When this returns, every one of them has it for good. The same event
    /// again (by `source` and `id`) changes nothing.
    ///
    /// # Errors
    /// If it is no event, or the engine stops before everybody has it: publish it again then, with the same `id`.
    pub async fn publish(&self, event: impl Into<Value>) -> Result<Published, Error> {
        let event = self.event(&event.into(), "/cpd/library")?;
        publish::publish(&self.inner.shards, event).await
    }

    fn event(&self, event: &Value, source: &str) -> Result<Value, Error> {
        let now = self.inner.shared.clock.now();
        let id = RunId::new(now, self.inner.entropy.run_id_bytes()).to_string();
        publish::completed(event, &id, source, &now.to_string())
    }

    /// Moves an open run to another version of its workflow, if its history leads to the same there.
    ///
    /// # Errors
    /// If there is no such run or version, the run has ended, or its history does not replay with that version.
    pub async fn migrate(&self, run: RunId, version: &str, actor: &str) -> Result<Migrated, Error> {
        let (plan, events) = self.migration(run, version)?;
        let from = self.inner.shards.ask(run, |reply: Reply| Message::Migrate {
            run,
            plan: plan.clone(),
            events,
            actor: Arc::from(actor),
            reply,
        });
        from.await?;
        Ok(Migrated { run, version: plan.version.clone(), events })
    }

    /// Whether a run can be moved to another version of its workflow, without moving it.
    ///
    /// # Errors
    /// As for [`Engine::migrate`].
    pub fn migratable(&self, run: RunId, version: &str) -> Result<Migrated, Error> {
        let (plan, events) = self.migration(run, version)?;
        Ok(Migrated { run, version: plan.version.clone(), events })
    }

    /// A handle to a run.
    pub fn run(&self, id: RunId) -> RunHandle {
        RunHandle { engine: self.clone(), id, existing: true }
    }

    /// Stops: takes nothing new, waits until what is under way is durable (but not for room on a full disk), tells calls in flight to stop, writes the index.
    /// Calls in flight are taken up by the next process.
    ///
    /// # Errors
    /// If the journal could not be closed in order; nothing acknowledged is lost by it.
    pub async fn stop(&self) -> Result<(), Error> {
        if self.inner.stopped.fetch_add(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.inner.closing();
        let mut rested = std::pin::pin!(async {
            for shard in &*self.inner.shards.0 {
                let (reply, done) = oneshot::channel();
                if shard.send(Message::Stop { reply }).is_ok() {
                    // A shard that is gone has nothing under way.
                    drop(done.await);
                }
            }
        });
        let mut unwritten = Ok(());
        tokio::select! {
            () = &mut rested => {}
            () = self.out_of_room(ROOM_MAX) => {
                // What waits for room was acknowledged to nobody, and nothing that follows from it was done: it is given up.
                let writer = self.inner.shared.writer.clone();
                let closing = tokio::task::spawn_blocking(move || writer.close());
                unwritten = closing.await.map_err(|_| Error::Stopped)?.map_err(Error::from);
                rested.await;
            }
        }
        // Nobody would take an outcome now: the calls end here, and no later than the lock.
        let shared = self.inner.shared.clone();
        shared.ended.cancel();
        shared.tracker.close();
        if tokio::time::timeout(CLOSING_MAX, shared.tracker.wait()).await.is_err() {
            tracing::warn!("a call in flight does not end; the engine stops without it");
        }
        let stop = tokio::task::spawn_blocking(move || shared.close());
        stop.await.map_err(|_| Error::Stopped)?.map_err(Error::from).and(unwritten)
    }

    /// Returns when the journal has waited that long for room on its disk, and still does.
    pub async fn out_of_room(&self, patience: Duration) {
        let mut full = self.inner.shared.full.clone();
        loop {
            if full.wait_for(|full| *full).await.is_err() {
                // The writer has ended, and waits for nothing.
                return std::future::pending().await;
            }
            match tokio::time::timeout(patience, full.wait_for(|full| !*full)).await {
                Err(_) => return,
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return std::future::pending().await,
            }
        }
    }

    /// Returns when the journal does not wait for room on its disk.
    pub async fn room(&self) {
        // A writer that has ended waits for nothing.
        drop(self.inner.shared.full.clone().wait_for(|full| !*full).await);
    }

    /// The row of a run.
    ///
    /// # Errors
    /// If there is no such run, or the index cannot be read.
    pub fn row(&self, run: RunId) -> Result<index::RunRow, Error> {
        let shared = &self.inner.shared;
        shared.indexer.flush();
        let row = shared.indexer.row(&*shared.index()?, &shared.reader, run)?;
        row.filter(RunRow::is_there).ok_or(Error::NoOpenRun { run })
    }

    /// The history of a run, as far as it is durable, without the registrations that a bundle needs
    /// ([`crate::view::View::history`] has them).
    ///
    /// # Errors
    /// If there is no such run, or it cannot be read.
    pub fn history(&self, run: RunId) -> Result<crate::History, Error> {
        let row = self.row(run)?;
        let shared = &self.inner.shared;
        let entries = shared.reader.history(cpd_journal::Position(row.last))?;
        let entries = entries.iter().map(crate::HistoryEntry::of).collect();
        let payloads = Arc::new(Payloads::of(&self.inner.data.join("journal")));
        Ok(crate::History { run, entries, registry: shared.registry.clone(), registrations: Vec::new(), payloads })
    }

    /// How the journal is.
    pub fn journal_status(&self) -> Status {
        self.inner.shared.writer.status()
    }

    /// Rows of runs, newest first, that lie in the index, from the one that began before `run` on.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn runs_before(&self, run: Option<RunId>, limit: usize) -> Result<Vec<(RunId, index::RunRow)>, Error> {
        let Some(run) = run else { return self.runs(limit) };
        self.inner.shared.indexer.flush();
        let rows =
            self.inner.shared.index()?.scan(index::RUNS, &Range::all().before(&run.0), Direction::Descending, limit)?;
        let rows = rows.into_iter().filter_map(|(k, v)| Some((RunId(k.try_into().ok()?), index::read_row(&v)?)));
        Ok(rows.filter(|(_, row)| row.is_there()).collect())
    }

    /// Rows of runs, newest first, that lie in the index. Flushes it first.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn runs(&self, limit: usize) -> Result<Vec<(RunId, index::RunRow)>, Error> {
        self.inner.shared.indexer.flush();
        let rows = self.inner.shared.index()?.scan(index::RUNS, &Range::all(), Direction::Descending, limit)?;
        let rows = rows.into_iter().filter_map(|(k, v)| Some((RunId(k.try_into().ok()?), index::read_row(&v)?)));
        Ok(rows.filter(|(_, row)| row.is_there()).collect())
    }

    /// Runs that are set aside because a bug in this program stopped them, with what the panic said; the next process tries
    /// them again.
    pub fn set_aside(&self) -> BTreeMap<RunId, Arc<str>> {
        self.inner.shared.asides.all()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn run_id_bytes(&self) -> [u8; 10] {
        self.inner.entropy.run_id_bytes()
    }

    pub(crate) fn tell(&self, run: RunId, message: Message) -> Result<(), Error> {
        self.inner.shards.send(run, message)
    }

    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.inner.stopped.load(Ordering::SeqCst) > 0
    }

    pub(crate) async fn ask<T>(
        &self,
        run: RunId,
        message: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Message,
    ) -> Result<T, Error> {
        self.inner.shards.ask(run, message).await
    }
}

/// A run about to be started.
pub struct Starting<'a> {
    engine: &'a Engine,
    workflow: String,
    input: Option<Value>,
    key: Option<Arc<str>>,
    actor: Arc<str>,
}

impl Starting<'_> {
    /// The input; without one, the definition's default input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Value>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// The key that makes starting idempotent: a second start of the workflow with the same key gives the same run.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.key = Some(Arc::from(key.as_ref()));
        self
    }

    /// Who starts it, for the log.
    #[must_use]
    pub fn actor(mut self, actor: impl AsRef<str>) -> Self {
        self.actor = Arc::from(actor.as_ref());
        self
    }

    /// Starts it. When this returns, the start is durable.
    ///
    /// # Errors
    /// If there is no such workflow, or the engine takes no work now.
    pub async fn go(self) -> Result<RunHandle, Error> {
        let engine = self.engine;
        let inner = &engine.inner;
        let shared = &inner.shared;
        if matches!(shared.writer.status(), Status::Full) {
            return Err(Error::DiskFull);
        }
        let pending = usize::try_from(shared.writer.pending_bytes()).unwrap_or(usize::MAX);
        if pending > PENDING_MAX {
            return Err(Error::Busy { pending });
        }
        let plan = shared.registry.workflow(&self.workflow)?;
        let input = self.input.unwrap_or_else(|| plan.default_input.clone());
        let limit = shared.data_limits.input_bytes;
        if let Some(found) = input.beyond(limit) {
            return Err(Error::TooLarge { found, limit });
        }
        let now = shared.clock.now();
        let key = match self.key {
            Some(key) => Some(key),
            None => cpd_core::machine::start_key(&plan, &input, &shared.env(now))
                .map_err(|p| Error::StartKey(p.to_string()))?,
        };
        let id = RunId::new(now, inner.entropy.run_id_bytes());
        let hash = key.as_ref().map(|key| index::start_key(&plan.qualified_name(), key));
        let start = Start { input, key, actor: self.actor };
        let begin = {
            let shards = inner.shards.clone();
            move || async move { shards.ask(id, |reply: Reply| Message::Start { id, plan, start, reply }).await }
        };
        let Some(hash) = hash else {
            begin().await?;
            return Ok(RunHandle { engine: engine.clone(), id, existing: false });
        };
        // Whoever comes second waits until the first one's start is durable, or tries itself if that failed. In a task of
        // its own, so that a caller who stops waiting does not leave a run that its key does not know.
        let cell = inner.keys.cell(hash);
        let (keys, shared) = (inner.keys.clone(), shared.clone());
        let starting = inner.shared.tracker.spawn(async move {
            let started = cell.get_or_try_init(async || {
                if let Some(known) = keys::known(&*shared.index()?, &hash)? {
                    return Ok(known);
                }
                begin().await.map(|()| id)
            });
            let started = started.await.copied();
            drop(cell);
            if keys.is_time() {
                let (shared, tracker) = (shared.clone(), shared.tracker.clone());
                tracker.spawn_blocking(move || {
                    // If there is no index the engine has stopped, and the keys go with it.
                    if let Ok(index) = shared.index() {
                        keys.prune(&shared.indexer, &*index);
                    }
                });
            }
            started
        });
        let started: Result<RunId, Error> = starting.await.map_err(|_| Error::Stopped)?;
        let started = started?;
        Ok(RunHandle { engine: engine.clone(), id: started, existing: started != id })
    }
}

/// A run of an engine: await it, operate it, look at it.
#[derive(Clone)]
pub struct RunHandle {
    engine: Engine,
    id: RunId,
    existing: bool,
}

impl RunHandle {
    /// Its id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Whether it was there before (a start with a known key, or a handle by id).
    pub fn existed(&self) -> bool {
        self.existing
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the engine stops first, or there is no such run.
    pub async fn result(&self) -> Result<RunEnd, Error> {
        match self.engine.ask(self.id, |reply| Message::Await { run: self.id, reply }).await {
            Err(Error::NoOpenRun { .. }) => Ok(RunEnd::of(&self.closed()?)),
            other => other,
        }
    }

    /// A copy of its state.
    ///
    /// # Errors
    /// If there is no such run.
    pub async fn state(&self) -> Result<Run, Error> {
        match self.engine.ask(self.id, |reply| Message::Inspect { run: self.id, reply }).await {
            Err(Error::NoOpenRun { .. }) => self.closed(),
            other => other,
        }
    }

    /// Gives it, and no other run, an event of that type: what a `listen` of its definition waits for.
    ///
    /// # Errors
    /// If it has ended, or nothing in its definition listens to such an event.
    pub async fn signal(&self, kind: &str, data: impl Into<Value>) -> Result<(), Error> {
        self.signal_event(json!({ "type": kind, "data": data.into() })).await
    }

    /// The same with a whole CloudEvent; what is missing but its `type` is added.
    ///
    /// # Errors
    /// If it is no event, the run has ended, or nothing in its definition listens to such an event.
    pub async fn signal_event(&self, event: impl Into<Value>) -> Result<(), Error> {
        let event = self.engine.event(&event.into(), "/cpd/signal")?;
        self.input(Input::Event(event)).await
    }

    /// Cancels it.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn cancel(&self, actor: &str, reason: &str) -> Result<(), Error> {
        self.input(Input::Cancel { actor: actor.into(), reason: reason.into() }).await
    }

    /// Stops it for a while: outcomes are still recorded, nothing new begins.
    ///
    /// # Errors
    /// If it has ended or is paused.
    pub async fn pause(&self, actor: &str, reason: &str) -> Result<(), Error> {
        self.input(Input::Pause { actor: actor.into(), reason: reason.into() }).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it has ended or is not paused.
    pub async fn resume(&self, actor: &str, reason: &str) -> Result<(), Error> {
        self.input(Input::Resume { actor: actor.into(), reason: reason.into() }).await
    }

    /// Votes on an approval. `task` may be left out if only one waits. Who the voter is, is for the caller to make sure.
    ///
    /// # Errors
    /// If no approval waits there, or the voter may not vote on it.
    pub async fn vote(&self, task: Option<&str>, voter: Voter, approves: bool, comment: &str) -> Result<(), Error> {
        self.input(Input::Vote { task: task.map(Arc::from), voter, approves, comment: comment.into() }).await
    }

    /// Lets somebody else vote on an approval in the stead of one who may. `task` may be left out if only one waits.
    ///
    /// # Errors
    /// If no approval waits there, or the vote is not the voter's to hand over.
    pub async fn delegate(&self, task: Option<&str>, voter: Voter, to: &str, reason: &str) -> Result<(), Error> {
        self.input(Input::Delegate { task: task.map(Arc::from), voter, to: to.into(), reason: reason.into() }).await
    }

    /// Says what became of an effect whose outcome is unknown. `task` may be left out if only one waits.
    ///
    /// # Errors
    /// If no effect waits there.
    pub async fn resolve(&self, task: Option<&str>, resolution: Resolution, actor: &str) -> Result<(), Error> {
        self.input(Input::Resolve { task: task.map(Arc::from), resolution, actor: actor.into() }).await
    }

    async fn input(&self, input: Input) -> Result<(), Error> {
        let run = self.id;
        let answer =
            self.engine.ask(run, |reply| Message::Input { run, input: input.clone(), reply: Some(reply) }).await;
        match answer {
            Err(Error::NoOpenRun { .. }) => {
                // It has ended, or there never was one: say which.
                let mut closed = self.closed()?;
                let shared = &self.engine.inner.shared;
                let now = shared.clock.now();
                closed.turn(input, &shared.env(now)).map(drop).map_err(Error::Rejected)
            }
            other => other,
        }
    }

    fn closed(&self) -> Result<Run, Error> {
        let inner = &self.engine.inner;
        inner.shared.indexer.flush();
        let row = inner.shared.indexer.row(&*inner.shared.index()?, &inner.shared.reader, self.id)?;
        let row = row.filter(RunRow::is_there).ok_or(Error::NoOpenRun { run: self.id })?;
        crate::load::run(&inner.shared, self.id, cpd_journal::Position(row.last)).map(|loaded| loaded.run)
    }
}
