//! Crash enumeration: for every workflow that ships, stop at every frame boundary and at every byte of the last frame,
//! recover, finish. The end must be the undisturbed run's, and so must the set of distinct effects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cpd_core::catalog::Class;
use cpd_core::definition::plan::Action;
use cpd_core::machine::{CallPhase, Phase, Resolution, RunId};
use cpd_core::{Value, json};
use cpd_engine::view::View;
use cpd_journal::{Log, Lsn, Options, Reader};

use crate::support::world::{FAST, World, open, output, register_all};

/// Input that takes every shipped workflow along its longest way.
fn input() -> Value {
    json!({
        "model": "card-fraud", "reference": "reference.csv", "current": "current.csv", "items": [1, 2, 3],
        "urls": ["http://a.invalid", "http://b.invalid"], "id": "x-1", "amount": 3, "drift": 0.3, "labels": 900,
    })
}

struct Undisturbed {
    journal: Vec<u8>,
    name: String,
    /// Offsets at which a frame ends; the first is before the run's first frame.
    boundaries: Vec<(u64, Lsn)>,
    phase: Phase,
    world: Arc<World>,
    run: RunId,
    /// Whether it has effects that must not happen twice.
    asks: bool,
}

async fn undisturbed(workflow: &str) -> Undisturbed {
    let dir = tempfile::tempdir().expect("a directory");
    let world = Arc::new(World::default());
    let engine = open(dir.path(), &world, FAST).await;
    register_all(&engine).await;
    let run = engine.start(workflow).input(input()).go().await.expect("a start");
    run.result().await.expect("an end");
    let state = run.state().await.expect("a state");
    let once = |a: &Action| matches!(a, Action::Call(c) if c.operation.class == Class::AtMostOnce);
    let asks = state.plan.nodes.iter().any(|n| once(&n.action));
    let phase = state.phase;
    engine.stop().await.expect("a stop");
    let journal = dir.path().join("journal");
    let reader = Reader::open(&journal).expect("a reader");
    let mut boundaries = Vec::new();
    for entry in reader.scan(Lsn(1)).expect("a scan") {
        let entry = entry.expect("an entry");
        if entry.stream().0 == run.id().0 {
            if boundaries.is_empty() {
                boundaries.push((entry.position().0, entry.lsn()));
            }
            boundaries.push((entry.position().0 + entry.bytes(), entry.next_lsn()));
        }
    }
    let (name, journal) = only_segment(&journal);
    Undisturbed { journal, name, boundaries, phase, world, run: run.id(), asks }
}

/// The name and bytes of the only segment: these runs are short.
fn only_segment(journal: &Path) -> (String, Vec<u8>) {
    let segments: Vec<PathBuf> = std::fs::read_dir(journal)
        .expect("a journal")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    assert_eq!(segments.len(), 1, "these runs fit into one segment");
    let name = segments[0].file_name().expect("a name").to_string_lossy().into_owned();
    (name, std::fs::read(&segments[0]).expect("a segment"))
}

/// A data directory whose journal ends at byte `end`, as a crash leaves it: the rest is what was filled in ahead.
fn crashed(undisturbed: &Undisturbed, end: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = dir.path().join("journal");
    std::fs::create_dir(&journal).expect("a directory");
    let mut bytes = undisturbed.journal.clone();
    bytes[end..].fill(0);
    std::fs::write(journal.join(&undisturbed.name), bytes).expect("a segment");
    dir
}

/// Effects of the world as far as they can have happened when the journal ends there: those whose intent is durable.
/// `reached` says whether the calls in flight had their effect before the crash.
async fn finish(undisturbed: &Undisturbed, dir: &Path, world: &Arc<World>) -> Phase {
    // Where an operator may be asked, timeouts must not race with the answer.
    let engine = open(dir, world, if undisturbed.asks { 1 } else { FAST }).await;
    let run = engine.run(undisturbed.run);
    if undisturbed.asks {
        answer_as_operator(&run).await;
    }
    run.result().await.unwrap_or_else(|error| panic!("run {} does not end: {error}", undisturbed.run));
    let phase = run.state().await.expect("a state").phase;
    engine.stop().await.expect("a stop");
    let view = View::open(dir).expect("a view");
    let history = view.history(undisturbed.run).expect("a history");
    let replayed = cpd_engine::replay::replay(&history, None, |_| {}).expect("a replay");
    assert!(replayed.divergence.is_none(), "{:?}", replayed.divergence);
    assert_eq!(replayed.chain, Ok(()));
    phase
}

/// Says of every parked effect that it happened, with the outcome that the world gives: an operator who looked.
async fn answer_as_operator(run: &cpd_engine::RunHandle) {
    while let Ok(state) = run.state().await {
        if !state.is_open() {
            return;
        }
        let parked = state.calls().find(|(_, c)| matches!(c.phase, CallPhase::Parked(_))).map(|(act, _)| act.id);
        if let Some(call) = parked.and_then(|act| state.call(act)) {
            let answer = Resolution::Succeeded(output(&call.operation.name, call.args));
            run.resolve(Some(&call.node.pointer), answer, "operator").await.expect("a resolution");
        }
        tokio::task::yield_now().await;
    }
}

fn same_end(a: &Phase, b: &Phase) -> bool {
    match (a, b) {
        (Phase::Completed { output: a }, Phase::Completed { output: b }) => a == b,
        (Phase::Faulted { problem: a }, Phase::Faulted { problem: b }) => a == b,
        (a, b) => a.name() == b.name(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shipped_workflow_comes_to_the_same_end_from_every_crash_point() {
    let dir = tempfile::tempdir().expect("a directory");
    let workflows = {
        let engine = open(dir.path(), &Arc::default(), FAST).await;
        let workflows = register_all(&engine).await;
        engine.stop().await.expect("a stop");
        workflows
    };
    assert!(workflows.iter().any(|w| w == "fraud/fraud-drift-management"));
    let (mut boundaries, mut bytes) = (0, 0);
    for workflow in &workflows {
        let undisturbed = undisturbed(workflow).await;
        let effects = undisturbed.world.effects();
        // At every boundary: once the world had every effect that the journal intends, once it had none of those in flight.
        for (end, lsn) in undisturbed.boundaries.iter().skip(1) {
            let end = usize::try_from(*end).expect("a small file");
            for happened in [true, false] {
                let dir = crashed(&undisturbed, end);
                let world = if happened { undisturbed.world.copy() } else { Arc::new(World::default()) };
                let phase = finish(&undisturbed, dir.path(), &world).await;
                assert!(
                    same_end(&phase, &undisturbed.phase),
                    "{workflow} from lsn {lsn:?}: {phase:?}, expected {:?}",
                    undisturbed.phase
                );
                let after = world.effects();
                // Effects whose outcome is in the journal are not called again, so a world that had none misses them.
                assert!(
                    after.iter().all(|(k, op)| effects.get(k) == Some(op)),
                    "{workflow} from lsn {lsn:?}: other effects"
                );
                if happened {
                    assert_eq!(after, effects, "{workflow} from lsn {lsn:?}");
                }
                boundaries += 1;
            }
        }
        // At every byte of the last frame: the tail is cut, and what was before it is all there.
        let [.., (before, lsn), (end, whole)] = undisturbed.boundaries[..] else { panic!("a run has frames") };
        for cut in before + 1..end {
            let cut = usize::try_from(cut).expect("a small file");
            let dir = crashed(&undisturbed, cut);
            let (log, recovered) = Log::open(dir.path().join("journal"), Options::default()).expect("a log");
            // What was cut may have been zeros: then the frame is whole.
            let zeros = undisturbed.journal[cut..usize::try_from(end).expect("a small file")].iter().all(|b| *b == 0);
            let expected = if zeros { whole } else { lsn };
            assert_eq!(recovered.next, expected, "{workflow} cut at byte {cut}");
            assert_eq!(recovered.cut.is_some(), !zeros, "{workflow} cut at byte {cut}: a torn tail is reported");
            drop(log);
            bytes += 1;
        }
    }
    println!("{} workflows, {boundaries} recoveries at frame boundaries, {bytes} cuts inside frames", workflows.len());
}
