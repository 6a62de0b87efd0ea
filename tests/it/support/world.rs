//! A world for tests: every operation of the real connectors, answered from memory, with every effect written down by its
//! idempotency key. It outlives engines, as the real world does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use cpd_connector_api::{BoxFuture, Class, Connector, OperationSpec, Outcome, Problem, Request, Standard, Timestamp, Value, json};
use cpd_engine::{Clock, Engine, SeededEntropy};
use parking_lot::Mutex;

/// What has happened in the world.
#[derive(Default)]
pub struct World {
    /// Effects by key: operation, and how often it was called.
    effects: Mutex<BTreeMap<String, (String, u32)>>,
    /// Operations that fail so many more times before they succeed.
    failures: Mutex<BTreeMap<String, (u32, u16)>>,
}

impl World {
    /// Effects by key: which operation.
    pub fn effects(&self) -> BTreeMap<String, String> {
        self.effects.lock().iter().map(|(k, (op, _))| (k.clone(), op.clone())).collect()
    }

    /// How often anything was called with a key.
    pub fn calls_of(&self, key: &str) -> u32 {
        self.effects.lock().get(key).map_or(0, |e| e.1)
    }

    /// A copy: another branch of what could have happened.
    pub fn copy(&self) -> Arc<Self> {
        Arc::new(Self {
            effects: Mutex::new(self.effects.lock().clone()),
            failures: Mutex::new(self.failures.lock().clone()),
        })
    }

    /// Lets an operation fail with a status before it succeeds.
    pub fn fail(&self, operation: &str, times: u32, status: u16) {
        self.failures.lock().insert(operation.to_owned(), (times, status));
    }

    fn answer(&self, request: &Request) -> Outcome {
        if let Some((left, status)) = self.failures.lock().get_mut(&*request.operation)
            && *left > 0
        {
            *left -= 1;
            let problem = Problem::standard(Standard::Communication, "the world says no").with_status(*status);
            return Outcome::failed(problem);
        }
        let mut effects = self.effects.lock();
        let seen = effects.entry(request.key.to_string()).or_insert_with(|| (request.operation.to_string(), 0));
        seen.1 += 1;
        Outcome::succeeded(output(&request.operation, &request.input))
    }
}

/// What an operation gives; the same for the same input, as a run must not depend on when it is called.
fn output(operation: &str, input: &Value) -> Value {
    match operation {
        "drift.compare" => json!({
            "drift": 0.22, "statistic": "psi", "worst": "score", "rows": { "reference": 10, "current": 10 },
        }),
        "atlas.retrain" => json!({
            "model": input.get("model"), "jobId": "job-1", "status": "succeeded", "version": "2", "metrics": { "auc": 0.9 },
        }),
        "agent.run" => json!({ "text": "All is well.", "provider": "template", "model": "none", "usage": { "tokens": 0 } }),
        _ => json!({ "operation": operation, "input": input }),
    }
}

/// One connector of the world, with the specifications of the real one.
struct Part {
    name: String,
    operations: Vec<OperationSpec>,
    world: Arc<World>,
}

impl Connector for Part {
    fn name(&self) -> &str {
        &self.name
    }

    fn operations(&self) -> Vec<OperationSpec> {
        self.operations.clone()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        let outcome = self.world.answer(&request);
        Box::pin(async move { outcome })
    }
}

/// Connectors of the world for every operation of the real ones, and `test.*` of each class.
pub fn connectors(world: &Arc<World>) -> Vec<Arc<dyn Connector>> {
    let real = cpd::wiring::operations(&cpd::config::Config::default()).expect("the real connectors say what they offer");
    let mut parts: BTreeMap<String, Vec<OperationSpec>> = BTreeMap::new();
    for operation in real {
        let name = operation.name.split('.').next().expect("a name").to_owned();
        parts.entry(name).or_default().push(operation);
    }
    for (name, class) in
        [("test.read", Class::Safe), ("test.put", Class::Idempotent), ("test.once", Class::AtMostOnce)]
    {
        let spec = cpd_engine::operation::spec(name, class, "Something of the test's own.");
        parts.entry("test".to_owned()).or_default().push(spec);
    }
    let part = |(name, operations)| Arc::new(Part { name, operations, world: world.clone() }) as Arc<dyn Connector>;
    parts.into_iter().map(part).collect()
}

/// A clock that runs a million times as fast: a wait of a day is over at once.
pub struct FastClock {
    begin: Instant,
    latest: AtomicI64,
}

impl FastClock {
    const SPEED: u32 = 1_000_000;
    /// 2026-11-23T00:00:00Z
    const EPOCH: i64 = 1_795_392_000_000_000;

    /// A clock that begins now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { begin: Instant::now(), latest: AtomicI64::new(Self::EPOCH) })
    }
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from((self.begin.elapsed() * Self::SPEED).as_micros()).unwrap_or(i64::MAX);
        let now = Self::EPOCH.saturating_add(micros);
        Timestamp(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    fn lasts(&self, span: Duration) -> Duration {
        span / Self::SPEED
    }
}

/// An engine over `data` in the world, with a fast clock and ids from a seed.
pub async fn open(data: &Path, world: &Arc<World>) -> Engine {
    Engine::builder(data)
        .connectors(connectors(world))
        .clock(FastClock::new())
        .entropy(Arc::new(SeededEntropy::new(7)))
        .shards(1)
        .open()
        .await
        .expect("an engine opens")
}

/// Registers every definition below `definitions/` but the invalid ones.
pub async fn register_all(engine: &Engine) -> Vec<String> {
    let mut workflows = Vec::new();
    for folder in ["policies", "agents", "workflows"] {
        let mut files = Vec::new();
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("definitions").join(folder), &mut files);
        for file in files {
            let source = std::fs::read_to_string(&file).expect("a definition");
            let registered = engine.register(&source, &file.display().to_string()).await;
            let registered = registered.unwrap_or_else(|e| panic!("register {}: {}", file.display(), explain(&e)));
            if registered.what == "workflow" {
                workflows.push(registered.name.to_string());
            }
        }
    }
    workflows
}

/// An error with its diagnostics.
pub fn explain(error: &cpd_engine::Error) -> String {
    match error {
        cpd_engine::Error::Invalid { diagnostics, .. } => {
            diagnostics.iter().map(cpd_core::definition::Diagnostic::render).collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}

fn walk(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            files.push(path);
        }
    }
}
