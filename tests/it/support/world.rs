//! A world for tests: every operation of the real connectors, answered from memory, with every effect written down by its
//! idempotency key. It outlives engines, as the real world does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use cpd_connector_api::{BoxFuture, Class, Connector, OperationSpec, Outcome, Request, Timestamp, Value, json};
use cpd_engine::{Clock, Engine, SeededEntropy};
use parking_lot::Mutex;

/// What has happened in the world.
#[derive(Default)]
pub struct World {
    /// Effects by key: which operation.
    effects: Mutex<BTreeMap<String, String>>,
}

impl World {
    /// Effects by key: which operation.
    pub fn effects(&self) -> BTreeMap<String, String> {
        self.effects.lock().clone()
    }

    /// A copy: another branch of what could have happened.
    pub fn copy(&self) -> Arc<Self> {
        Arc::new(Self { effects: Mutex::new(self.effects.lock().clone()) })
    }

    fn answer(&self, request: &Request) -> Outcome {
        self.effects.lock().insert(request.key.to_string(), request.operation.to_string());
        Outcome::succeeded(output(&request.operation, &request.input))
    }
}

/// What an operation gives; the same for the same input, as a run must not depend on when it is called.
pub fn output(operation: &str, input: &Value) -> Value {
    match operation {
        "drift.compare" => json!({
            "drift": 0.22, "statistic": "psi", "worst": "score", "rows": { "reference": 10, "current": 10 },
        }),
        "atlas.retrain" => json!({
            "model": input.get("model"), "jobId": "job-1", "status": "succeeded", "version": "2", "metrics": { "auc": 0.9 },
        }),
        "agent.run" => {
            json!({ "text": "All is well.", "provider": "template", "model": "none", "usage": { "tokens": 0 } })
        }
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
    let real =
        cpd::wiring::operations(&cpd::config::Config::default()).expect("the real connectors say what they offer");
    let mut parts: BTreeMap<String, Vec<OperationSpec>> = BTreeMap::new();
    for operation in real {
        let name = operation.name.split('.').next().expect("a name").to_owned();
        parts.entry(name).or_default().push(operation);
    }
    for (name, class) in [("test.read", Class::Safe), ("test.put", Class::Idempotent), ("test.once", Class::AtMostOnce)]
    {
        let spec = cpd_engine::operation::spec(name, class, "Something of the test's own.");
        parts.entry("test".to_owned()).or_default().push(spec);
    }
    let part = |(name, operations)| Arc::new(Part { name, operations, world: world.clone() }) as Arc<dyn Connector>;
    parts.into_iter().map(part).collect()
}

/// A clock that runs faster than the world: at a million, a wait of a day is over at once.
pub struct FastClock {
    begin: Instant,
    latest: AtomicI64,
    speed: u32,
}

/// As fast as it goes.
pub const FAST: u32 = 1_000_000;

impl FastClock {
    /// 2026-11-23T00:00:00Z
    const EPOCH: i64 = 1_795_392_000_000_000;

    /// A clock that begins now.
    pub fn new(speed: u32) -> Arc<Self> {
        Arc::new(Self { begin: Instant::now(), latest: AtomicI64::new(Self::EPOCH), speed })
    }
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from((self.begin.elapsed() * self.speed).as_micros()).unwrap_or(i64::MAX);
        let now = Self::EPOCH.saturating_add(micros);
        Timestamp(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    fn lasts(&self, span: Duration) -> Duration {
        span / self.speed
    }
}

/// An engine over `data` in the world, with a fast clock and ids from a seed.
pub async fn open(data: &Path, world: &Arc<World>, speed: u32) -> Engine {
    Engine::builder(data)
        .connectors(connectors(world))
        .clock(FastClock::new(speed))
        .entropy(Arc::new(SeededEntropy::new(7)))
        .shards(1)
        .index(cpd_journal::index::Driver::Memory)
        .journal(cpd_journal::Options { first_segment_bytes: 64 << 10, ..Default::default() })
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
