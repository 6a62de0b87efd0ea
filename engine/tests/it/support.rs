//! What the tests share: an engine whose operations count their calls by key.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cpd_connector_api::{BoxFuture, Class, Connector, OperationSpec, Outcome, Problem, Reconciled, Request, Standard};
use cpd_core::{Value, json};
use cpd_engine::operation::{Operations, spec};
use cpd_engine::{Builder, Engine};
use cpd_journal::{Lsn, Reader};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

/// The world outside: outlives engines.
#[derive(Default)]
pub struct World {
    /// Keys of the calls of each operation, in order.
    pub calls: Mutex<Vec<(String, String, u32)>>,
    /// What a reconciliation says.
    pub reconciled: Mutex<Option<Reconciled>>,
    /// Says that a call has come.
    pub called: Notify,
    /// Lets calls of `test.gate` and `test.once` end.
    pub gate: Gate,
}

/// Closed at first.
pub struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Gate {
    pub fn open(&self) {
        self.0.add_permits(1_000_000);
    }
    async fn pass(&self) {
        self.0.acquire().await.expect("it is never closed for good").forget();
    }
}

impl World {
    fn note(&self, request: &Request) {
        self.calls.lock().push((request.operation.to_string(), request.key.to_string(), request.attempt));
        self.called.notify_waiters();
    }

    pub fn keys_of(&self, operation: &str) -> Vec<String> {
        self.calls.lock().iter().filter(|c| c.0 == operation).map(|c| c.1.clone()).collect()
    }

    /// Calls by key.
    pub fn by_key(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for (_, key, _) in self.calls.lock().iter() {
            *all.entry(key.clone()).or_insert(0) += 1;
        }
        all
    }

    /// Waits until an operation was called so often.
    pub async fn until_called(&self, operation: &str, times: usize) {
        loop {
            let next = self.called.notified();
            tokio::pin!(next);
            next.as_mut().enable();
            if self.keys_of(operation).len() >= times {
                return;
            }
            tokio::time::timeout(LONG, next)
                .await
                .unwrap_or_else(|_| panic!("{operation} is not called {times} times"));
        }
    }
}

/// The most that anything here may take.
pub const LONG: std::time::Duration = std::time::Duration::from_secs(60);

/// `asked.put`: at most once, and can be asked.
struct Asked(Arc<World>);

impl Connector for Asked {
    fn name(&self) -> &str {
        "asked"
    }
    fn operations(&self) -> Vec<OperationSpec> {
        let mut put = spec("asked.put", Class::AtMostOnce, "Puts something.");
        put.reconciles = true;
        vec![put]
    }
    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        self.0.note(&request);
        Box::pin(async move {
            self.0.gate.pass().await;
            Outcome::succeeded(json!({ "attempt": request.attempt }))
        })
    }
    fn reconcile(&self, request: Request) -> BoxFuture<'_, Reconciled> {
        let answer = self.0.reconciled.lock().clone();
        let cannot = || Reconciled::CannotTell(Problem::standard(Standard::Runtime, "no idea"));
        self.0.calls.lock().push(("asked.reconcile".to_owned(), request.key.to_string(), request.attempt));
        self.0.called.notify_waiters();
        Box::pin(async move { answer.unwrap_or_else(cannot) })
    }
}

/// Operations over the world.
pub fn builder(data: &Path, world: &Arc<World>) -> Builder {
    let answer = |world: &Arc<World>| {
        let world = world.clone();
        move |request: Request| {
            world.note(&request);
            let output = json!({ "input": request.input, "attempt": request.attempt });
            async move { Outcome::succeeded(output) }
        }
    };
    let gated = |world: &Arc<World>| {
        let world = world.clone();
        move |request: Request| {
            let world = world.clone();
            async move {
                world.note(&request);
                world.gate.pass().await;
                Outcome::succeeded(json!({ "attempt": request.attempt }))
            }
        }
    };
    let never = {
        let world = world.clone();
        move |request: Request| {
            world.note(&request);
            std::future::pending::<Outcome>()
        }
    };
    let panics = {
        let world = world.clone();
        move |request: Request| {
            world.note(&request);
            let first = request.attempt == 1;
            async move {
                assert!(!first, "the operation is broken");
                Outcome::succeeded(json!({ "attempt": request.attempt }))
            }
        }
    };
    let once_panics = {
        let world = world.clone();
        move |request: Request| {
            world.note(&request);
            async move { panic!("broken for good: {}", request.key) }
        }
    };
    let operations = Operations::new("test")
        .operation(spec("test.put", Class::Idempotent, "Puts."), answer(world))
        .operation(spec("test.gate", Class::Idempotent, "Puts, once the gate is open."), gated(world))
        .operation(spec("test.once", Class::AtMostOnce, "Does, once the gate is open."), gated(world))
        .operation(spec("test.never", Class::AtMostOnce, "Never returns."), never)
        .operation(spec("test.panics", Class::Idempotent, "Panics the first time."), panics)
        .operation(spec("test.breaks", Class::AtMostOnce, "Panics."), once_panics);
    Engine::builder(data).connector(operations).connector(Asked(world.clone())).shards(2)
}

pub async fn open(data: &Path, world: &Arc<World>) -> Engine {
    builder(data, world).open().await.expect("an engine")
}

/// Registers a workflow `t/name` of version 1.0.0 and body `do: …`.
pub async fn register(engine: &Engine, name: &str, body: &str) {
    engine.register(&workflow(name, "1.0.0", body), "w.yaml").await.unwrap_or_else(|e| panic!("{e:?}"));
}

pub fn workflow(name: &str, version: &str, body: &str) -> String {
    format!("document: {{ dsl: '1.0.3', namespace: t, name: {name}, version: '{version}' }}\n{body}\n")
}

/// The output of a run that must complete.
pub async fn output(run: &cpd_engine::RunHandle) -> Value {
    match tokio::time::timeout(LONG, run.result()).await.expect("an end in time").expect("an end") {
        cpd_engine::RunEnd::Completed { output } => output,
        other => panic!("{other:?}"),
    }
}

/// What a crash leaves: a copy of the journal as it stands now, without the index.
pub fn crashed(data: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    let journal = copy.path().join("journal");
    std::fs::create_dir(&journal).expect("a directory");
    for entry in std::fs::read_dir(data.join("journal")).expect("a journal") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            std::fs::copy(entry.path(), journal.join(entry.file_name())).expect("a copy");
        }
    }
    copy
}

/// Waits until the state of a run is as wanted: asks again and again, as nothing tells.
pub async fn until(run: &cpd_engine::RunHandle, wanted: impl Fn(&cpd_core::machine::Run) -> bool) {
    let look = async {
        while !wanted(&run.state().await.expect("a state")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, look).await.expect("the state comes in time");
}

/// Where the entries of a journal of one segment end.
pub fn ends(data: &Path) -> Vec<u64> {
    let reader = Reader::open(data.join("journal")).unwrap();
    let entries: Vec<_> = reader.scan(Lsn(1)).unwrap().map(Result::unwrap).collect();
    entries.iter().map(|e| e.position().0 + e.bytes()).collect()
}

/// A data directory whose journal ends at that byte; the rest is what was filled in ahead.
pub fn cut_at(data: &Path, end: u64) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let journal = copy.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let files = std::fs::read_dir(data.join("journal")).unwrap().map(|e| e.unwrap().path());
    let segment = files.filter(|p| p.extension().is_some_and(|e| e == "seg")).min().expect("a segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[usize::try_from(end).unwrap()..].fill(0);
    std::fs::write(journal.join(segment.file_name().unwrap()), bytes).unwrap();
    copy
}
