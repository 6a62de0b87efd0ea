//! Runs a case: undisturbed, replayed, and from every entry of its record at which a crash may leave it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpd_connectors::authentication::Authenticator;
use cpd_connectors::http::{Http, HttpClient, HttpConfig};
use cpd_core::Value;
use cpd_core::machine::{CallPhase, Event, Phase, Rejected, Resolution, RunId, WakeSource};
use cpd_core::problem::Problem;
use cpd_core::time::Timestamp;
use cpd_engine::view::View;
use cpd_engine::{Clock, Engine, Error, History, RunHandle, SeededEntropy, replay};
use cpd_journal::{Lsn, Options, Reader};

use crate::case::{Case, Fault};
use crate::drawn::drawn;
use crate::world::{Known, Shelf, World};

/// The most that any run may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// 2026-11-23T00:00:00Z
const EPOCH: Timestamp = Timestamp(1_795_392_000_000_000);

/// A clock that goes on from where a record ends, as if no time had passed since the crash.
struct Since {
    begin: Instant,
    base: Timestamp,
}

impl Clock for Since {
    fn now(&self) -> Timestamp {
        self.base.plus(self.begin.elapsed())
    }
}

async fn open(data: &Path, case: &Case, world: &Arc<World>, base: Timestamp) -> Engine {
    let secrets = Arc::new(Known(case.secrets.clone()));
    let clock = Arc::new(cpd_connector_api::clock::SystemClock);
    let client = HttpClient::new(HttpConfig::default(), clock).expect("a client");
    Engine::builder(data)
        .connector(world.operations())
        .connector(Http::over(Authenticator::new(client, secrets.clone())))
        .secrets(secrets)
        .loader(Arc::new(Shelf(case.documents.clone())))
        .clock(Arc::new(Since { begin: Instant::now(), base }))
        .entropy(Arc::new(SeededEntropy::new(7)))
        .shards(1)
        .index(cpd_journal::index::Driver::Memory)
        .journal(Options { first_segment_bytes: 1 << 20, ..Options::default() })
        .open()
        .await
        .expect("an engine opens")
}

/// How a run came to its end.
struct Ended {
    phase: Phase,
    context: Value,
}

/// Runs a case in every way; the number of crash points, or what is wrong.
///
/// # Errors
/// What does not conform.
pub async fn run(case: &Case, world: &Arc<World>) -> Result<usize, String> {
    let dir = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" });
    let dir = dir.map_err(|e| e.to_string())?;
    world.begin_with(Vec::new());
    let engine = open(dir.path(), case, world, EPOCH).await;
    for other in &case.others {
        engine.register(&other.to_string(), "other.json").await.map_err(|e| explain(&e))?;
    }
    let registered = engine.register(&case.source(), "case.json").await;
    if let Some(refusal) = &case.expect.refused {
        let Err(Error::Invalid { diagnostics, .. }) = &registered else {
            return Err(format!("it was registered, expected `{}`: {registered:?}", refusal.code));
        };
        let fits = |d: &cpd_core::definition::Diagnostic| {
            d.code == refusal.code && refusal.at.as_ref().is_none_or(|at| *at == d.pointer)
        };
        let said: Vec<_> = diagnostics.iter().map(|d| format!("{} at {}", d.code, d.pointer)).collect();
        engine.stop().await.map_err(|e| e.to_string())?;
        return if diagnostics.iter().any(fits) { Ok(0) } else { Err(format!("refused with {said:?}")) };
    }
    let registered = registered.map_err(|e| explain(&e))?;
    let input = case.input.as_ref().map_or_else(Value::object, value);
    let started = engine.start(&format!("{}:{}", registered.name, registered.version)).input(input).go().await;
    let run = started.map_err(|e| e.to_string())?;
    let ended = drive(case, &run, 0).await?;
    engine.stop().await.map_err(|e| e.to_string())?;
    let (effects, flaky) = (world.keys(), world.flaky());
    let history = replayed(dir.path(), run.id())?;
    check(case, &ended, &history, &effects)?;

    let (name, journal) = only_segment(dir.path())?;
    let reader = Reader::open(dir.path().join("journal")).map_err(|e| e.to_string())?;
    let (mut begun, mut points) = (false, 0);
    let entries: Vec<_> = reader.scan(Lsn(1)).map_err(|e| e.to_string())?.map(|e| e.expect("an entry")).collect();
    for entry in &entries {
        begun |= entry.stream().0 == run.id().0;
        if !begun {
            continue;
        }
        let end = usize::try_from(entry.position().0 + entry.bytes()).expect("a small file");
        let cut = crashed(&name, &journal, end)?;
        let (given, tried) = before(cut.path(), run.id())?;
        world.begin_with(flaky.iter().take(tried).cloned().collect());
        let engine = open(cut.path(), case, world, Timestamp(entry.at())).await;
        let again = drive(case, &engine.run(run.id()), given).await;
        let again = again.map_err(|e| format!("from record {}: {e}", entry.lsn()))?;
        engine.stop().await.map_err(|e| e.to_string())?;
        if !same_end(&again.phase, &ended.phase) {
            return Err(format!("from record {}: {:?}, expected {:?}", entry.lsn(), again.phase, ended.phase));
        }
        if let Some(new) = world.keys().iter().find(|k| !effects.contains(k)) {
            return Err(format!("from record {}: an effect of another key, {new}", entry.lsn()));
        }
        replayed(cut.path(), run.id()).map_err(|e| format!("from record {}: {e}", entry.lsn()))?;
        points += 1;
    }
    Ok(points)
}

/// Takes a run to its end: gives it events when it waits for them, and calls again what nobody knows the outcome of.
async fn drive(case: &Case, run: &RunHandle, given: usize) -> Result<Ended, String> {
    let begin = Instant::now();
    let events = case.events();
    let mut rest = events.iter().skip(if case.early { 0 } else { given });
    if case.early {
        for event in rest.by_ref() {
            // One that the run has already is taken once, and one that has ended takes none.
            drop(run.signal_event(value(event)).await);
        }
    }
    loop {
        let state = run.state().await.map_err(|e| e.to_string())?;
        if !state.is_open() {
            return Ok(Ended { phase: state.phase.clone(), context: state.context.clone() });
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("it does not end; it waits for {:?}", state.wake_sources()));
        }
        let parked = state.calls().find(|(_, c)| matches!(c.phase, CallPhase::Parked(_))).map(|(act, _)| act.id);
        if let Some(call) = parked.and_then(|act| state.call(act)) {
            // An operator who looked, and found that it had not happened.
            drop(run.resolve(Some(&call.node.pointer), Resolution::Retry, "operator").await);
        } else if state.wake_sources().iter().any(|s| matches!(s, WakeSource::Event { .. }))
            && let Some(event) = rest.next()
        {
            match run.signal_event(value(event)).await {
                // One that no filter can want is refused, which is as good as not being there.
                Ok(()) | Err(Error::Rejected(Rejected::NotListening { .. })) => {}
                Err(other) => return Err(other.to_string()),
            }
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Replays the record of a run.
fn replayed(data: &Path, run: RunId) -> Result<History, String> {
    let view = View::open(data).map_err(|e| e.to_string())?;
    let history = view.history(run).map_err(|e| e.to_string())?;
    let replayed = replay::replay(&history, None, |_| {}).map_err(|e| e.to_string())?;
    if let Some(found) = replayed.divergence {
        return Err(format!("the replay differs at event {}: {}", found.seq, found.divergence));
    }
    replayed.chain?;
    drawn(&history).map_err(|e| format!("the drawing: {e}"))?;
    Ok(history)
}

/// How many events the record has, and how many outcomes of `test.flaky`.
fn before(data: &Path, run: RunId) -> Result<(usize, usize), String> {
    let view = View::open(data).map_err(|e| e.to_string())?;
    let log = view.history(run).and_then(|h| h.log()).map_err(|e| e.to_string())?;
    let given = log.iter().filter(|l| matches!(l.event, Event::EventReceived { .. })).count();
    let outcome = |e: &Event| matches!(e, Event::TaskFailed { .. } | Event::TaskSucceeded { .. });
    let tried = log.iter().filter(|l| outcome(&l.event) && l.operation.as_deref() == Some("test.flaky")).count();
    Ok((given, tried))
}

/// Holds the end of a run against what the case expects.
fn check(case: &Case, ended: &Ended, history: &History, effects: &[String]) -> Result<(), String> {
    let expect = &case.expect;
    match (&ended.phase, &expect.output, &expect.error) {
        (Phase::Completed { output }, Some(wanted), _) if *output == value(wanted) => {}
        (Phase::Faulted { problem }, _, Some(fault)) => fits(problem, fault)?,
        (phase, Some(wanted), _) => return Err(format!("expected the output {wanted}, found {}", shown(phase))),
        (phase, _, wanted) => return Err(format!("expected {wanted:?}, found {}", shown(phase))),
    }
    if let Some(wanted) = &expect.context
        && ended.context != value(wanted)
    {
        return Err(format!("expected the context {wanted}, found {}", ended.context));
    }
    if let Some(wanted) = &expect.tasks {
        let mut seen = Vec::new();
        let mut ran = Vec::new();
        for logged in history.log().map_err(|e| e.to_string())? {
            if let (Some(act), Some(name)) = (logged.event.act(), &logged.task_name)
                && !seen.contains(&act)
            {
                seen.push(act);
                if !matches!(logged.event, Event::TaskSkipped { .. }) {
                    ran.push(name.to_string());
                }
            }
        }
        if ran != *wanted {
            return Err(format!("expected the tasks {wanted:?}, found {ran:?}"));
        }
    }
    match expect.effects {
        Some(wanted) if wanted != effects.len() => {
            Err(format!("expected {wanted} effects, found {}: {effects:?}", effects.len()))
        }
        _ => Ok(()),
    }
}

fn fits(problem: &Problem, fault: &Fault) -> Result<(), String> {
    let kind = |k: &String| *problem.kind == **k || problem.kind.rsplit('/').next() == Some(k);
    let all = fault.r#type.as_ref().is_none_or(kind)
        && fault.status.is_none_or(|s| s == problem.status)
        && fault.title.as_ref().is_none_or(|t| *problem.title == **t)
        && fault.detail.as_ref().is_none_or(|d| problem.detail.as_deref().unwrap_or("").contains(d.as_str()))
        && fault.instance.as_ref().is_none_or(|i| problem.instance.as_deref() == Some(i));
    if all { Ok(()) } else { Err(format!("expected {fault:?}, found {problem:?}")) }
}

fn shown(phase: &Phase) -> String {
    match phase {
        Phase::Completed { output } => format!("the output {output}"),
        Phase::Faulted { problem } => format!("{problem:?}"),
        other => other.name().to_owned(),
    }
}

fn same_end(a: &Phase, b: &Phase) -> bool {
    match (a, b) {
        (Phase::Completed { output: a }, Phase::Completed { output: b }) => a == b,
        // Details may say how long something took.
        (Phase::Faulted { problem: a }, Phase::Faulted { problem: b }) => {
            (&a.kind, a.status, &a.title, &a.instance) == (&b.kind, b.status, &b.title, &b.instance)
        }
        (a, b) => a.name() == b.name(),
    }
}

/// The name and bytes of the only segment: these runs are short.
fn only_segment(data: &Path) -> Result<(String, Vec<u8>), String> {
    let files = std::fs::read_dir(data.join("journal")).map_err(|e| e.to_string())?.flatten().map(|e| e.path());
    let segments: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    let [segment] = &segments[..] else { return Err(format!("{} segments, expected one", segments.len())) };
    let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
    Ok((name, std::fs::read(segment).map_err(|e| e.to_string())?))
}

/// A data directory whose journal ends at byte `end`, as a crash leaves it: the rest is what was filled in ahead.
fn crashed(name: &str, journal: &[u8], end: usize) -> Result<tempfile::TempDir, String> {
    let dir = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" });
    let dir = dir.map_err(|e| e.to_string())?;
    std::fs::create_dir(dir.path().join("journal")).map_err(|e| e.to_string())?;
    let mut bytes = journal.to_vec();
    bytes[end..].fill(0);
    std::fs::write(dir.path().join("journal").join(name), bytes).map_err(|e| e.to_string())?;
    Ok(dir)
}

fn value(plain: &serde_json::Value) -> Value {
    Value::from_serialize(plain).expect("JSON is a value")
}

fn explain(error: &Error) -> String {
    match error {
        Error::Invalid { diagnostics, .. } => {
            diagnostics.iter().map(cpd_core::definition::Diagnostic::render).collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}
