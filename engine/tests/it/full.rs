//! An engine whose disk is full. The disk is a tmpfs of a few megabytes; where none can be mounted, the tests say so and end.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cpd_core::json;
use cpd_core::machine::RunId;
use cpd_engine::view::View;
use cpd_engine::{Engine, Error};
use cpd_journal::Status;
use tokio::sync::mpsc;

use crate::support::{LONG, World, builder, output, register};

/// A small disk, for the time of a test.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn of(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let option = format!("size={size}");
        let out =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(dir.path()).output();
        match out {
            Ok(out) if out.status.success() => Some(Self { dir }),
            other => {
                assert!(std::env::var_os("CI").is_none(), "CI mounts a tmpfs, but: {other:?}");
                drop(writeln!(std::io::stderr(), "SKIPPED: mounting a tmpfs is not allowed here: {other:?}"));
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn grow(&self, size: &str) {
        let option = format!("remount,size={size}");
        let status = std::process::Command::new("mount").args(["-o", &option]).arg(self.path()).status();
        assert!(status.expect("mount").success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(self.path()).status());
    }
}

/// An engine that tells whether its disk is full, with a workflow `w` of two steps.
async fn told(disk: &Disk, world: &Arc<World>) -> (Engine, mpsc::UnboundedReceiver<bool>) {
    let (tell, told) = mpsc::unbounded_channel();
    let engine = builder(disk.path(), world)
        .on_journal_status(move |status| tell.send(matches!(status, Status::Full)).unwrap_or_default())
        .open()
        .await
        .expect("an engine");
    register(&engine, "w", "do:\n  - a: { call: test.put, with: { x: '${ .text }' } }\n  - b: { set: { done: true } }")
        .await;
    (engine, told)
}

/// Starts runs until nothing more is taken; those whose start was acknowledged.
async fn fill(engine: &Engine, told: &mut mpsc::UnboundedReceiver<bool>) -> Vec<RunId> {
    let text = "x".repeat(50_000);
    let mut started = Vec::new();
    loop {
        let start = engine.start("w").input(json!({ "text": &*text })).go();
        tokio::select! {
            biased;
            full = told.recv() => match full {
                Some(true) => return started,
                // The room that was kept for the next segment was enough once more.
                Some(false) => {}
                None => panic!("nobody tells any more"),
            },
            run = start => started.push(run.expect("there was room").id()),
        }
        assert!(started.len() < 1_000, "the disk is full at some time");
    }
}

/// The same until the journal waits for room and gets none.
async fn fill_for_good(engine: &Engine, told: &mut mpsc::UnboundedReceiver<bool>) -> Vec<RunId> {
    let mut started = Vec::new();
    loop {
        started.extend(fill(engine, told).await);
        let stuck = engine.out_of_room(Duration::from_millis(200));
        if tokio::time::timeout(Duration::from_secs(2), stuck).await.is_ok() {
            return started;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_work_says_so_loses_nothing_and_all_goes_on_when_there_is_room() {
    let Some(disk) = Disk::of("6m") else { return };
    let world = Arc::new(World::default());
    let (engine, mut told) = told(&disk, &world).await;
    let started = fill_for_good(&engine, &mut told).await;
    assert!(!started.is_empty());
    let refused = engine.start("w").go().await.map(|run| run.id());
    assert!(matches!(refused, Err(Error::DiskFull)), "{refused:?}");
    // What was acknowledged can be looked at meanwhile.
    let view = View::open(disk.path()).unwrap();
    for id in &started {
        assert!(view.row(*id).is_some(), "{id} was acknowledged");
    }
    disk.grow("64m");
    assert_eq!(tokio::time::timeout(LONG, told.recv()).await.unwrap(), Some(false));
    engine.room().await;
    for id in &started {
        assert_eq!(output(&engine.run(*id)).await, json!({ "done": true }));
    }
    let more = engine.start("w").input(json!({ "text": "y" })).key("k").go().await.unwrap();
    assert_eq!(output(&more).await, json!({ "done": true }));
    assert_eq!(output(&engine.run(more.id())).await, json!({ "done": true }), "also if the index is behind");
    engine.stop().await.unwrap();
    let (engine, _) = self::told(&disk, &world).await;
    for id in started.iter().chain([&more.id()]) {
        assert_eq!(output(&engine.run(*id)).await, json!({ "done": true }));
    }
    assert_eq!(engine.start("w").key("k").go().await.unwrap().id(), more.id());
    engine.stop().await.unwrap();
}

/// A stop waited for the disk for ever, as what was under way could not become durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_stops_on_a_full_disk_and_keeps_what_was_acknowledged() {
    let Some(disk) = Disk::of("6m") else { return };
    let world = Arc::new(World::default());
    let (engine, mut told) = told(&disk, &world).await;
    let started = fill_for_good(&engine, &mut told).await;
    let stopped = tokio::time::timeout(LONG, engine.stop()).await.expect("it stops");
    assert!(stopped.is_err(), "what waited for room was given up");
    disk.grow("64m");
    let (engine, _) = self::told(&disk, &world).await;
    for id in started {
        assert_eq!(output(&engine.run(id)).await, json!({ "done": true }));
    }
    engine.stop().await.unwrap();
}
