//! What a process may not do, and how it is ended: limits, deadlines, cancellations, and the death of those who watch it.

use std::time::Duration;

use cpd_connector_api::clock::{Clock, SystemClock};
use cpd_connector_api::{Value, json};
use cpd_connectors::process::ProcessConfig;
use cpd_connectors::process::config::Kind;

use super::{World, alive, until, written};
use crate::support::*;

fn limited(change: impl FnOnce(&mut ProcessConfig)) -> World {
    let mut config = ProcessConfig { allow: Kind::ALL.into(), ..ProcessConfig::default() };
    change(&mut config);
    World::with(config)
}

/// Waits until none of the processes is there.
async fn gone(pids: &[String]) {
    assert!(!pids.is_empty());
    until(&format!("{pids:?} have ended"), || !pids.iter().any(|pid| alive(pid))).await;
}

/// A command that starts two grandchildren, one of them in a session of its own, that heed no signal but the last; writes the
/// numbers of all three and its guardian's into a file, and waits.
fn family(world: &World) -> Value {
    let script = "import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def idle():
    while True: time.sleep(1000)
first = os.fork()
if first == 0: idle()
read, write = os.pipe()
second = os.fork()
if second == 0:
    os.setsid()
    os.write(write, b'.')
    idle()
os.read(read, 1)
with open(sys.argv[1], 'w') as f: f.write(f'{os.getpid()} {first} {second} {os.getppid()}\\n')
idle()";
    let file = world.file("pids");
    json!({"script": {"language": "python", "code": script, "arguments": [&*file.to_string_lossy()]}})
}

#[tokio::test]
async fn a_cancelled_call_takes_everybody_along_also_those_who_left_the_session() {
    let world = World::new();
    let asked = request("process.script", "k", family(&world));
    let (cancel, connector) = (asked.cancel.clone(), world.connector.clone());
    let calling = tokio::spawn(async move { cpd_connector_api::Connector::call(&*connector, asked).await });
    let pids = written(&world.file("pids")).await;
    assert!(pids.len() == 4 && pids.iter().all(|pid| alive(pid)), "{pids:?}");
    assert_eq!(world.directories(), 1);
    cancel.cancel();
    let outcome = calling.await.unwrap();
    // Nothing is left when the call has answered: no waiting here.
    assert!(!pids[..3].iter().any(|pid| alive(pid)), "{pids:?}");
    assert_eq!(world.directories(), 0);
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "unknown", "{problem}");
    assert!(detail(problem).contains("cancelled while /do/0/t ran"), "{problem}");
}

#[tokio::test]
async fn a_deadline_ends_it_in_time_and_the_outcome_is_unknown() {
    let world = World::new();
    let mut asked = request("process.shell", "k", json!({"shell": {"command": "sleep 1000 & sleep 1000"}}));
    asked.deadline = Some(SystemClock.now().plus(Duration::from_secs(2)));
    let outcome = world.call(asked).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "unknown", "{problem}");
    assert!(problem.kind.ends_with("/timeout"), "{problem}");
    assert_eq!(world.directories(), 0);
}

#[tokio::test]
async fn a_call_that_is_dropped_in_the_middle_leaves_nothing() {
    // A panic, or the end of the daemon's runtime: the socket closes, as the kernel closes it for a daemon that was killed.
    let world = World::new();
    let (asked, connector) = (request("process.script", "k", family(&world)), world.connector.clone());
    let calling = tokio::spawn(async move { cpd_connector_api::Connector::call(&*connector, asked).await });
    let pids = written(&world.file("pids")).await;
    calling.abort();
    gone(&pids).await;
    until("the directory is gone", || world.directories() == 0).await;
}

#[tokio::test]
async fn a_guardian_that_is_killed_takes_the_process_along_and_the_outcome_is_unknown() {
    let world = World::new();
    let script = format!("echo $$ $PPID > {}; exec sleep 1000", world.file("pids").display());
    let asked = request("process.shell", "k", json!({"shell": {"command": script}}));
    let connector = world.connector.clone();
    let calling = tokio::spawn(async move { cpd_connector_api::Connector::call(&*connector, asked).await });
    let pids = written(&world.file("pids")).await;
    let killed = std::process::Command::new("kill").args(["-KILL", &pids[1]]).status().unwrap();
    assert!(killed.success());
    let outcome = calling.await.unwrap();
    assert_eq!(trouble(&outcome).0, "unknown", "{outcome:?}");
    gone(&pids[..1]).await;
    assert_eq!(world.directories(), 0);
}

#[tokio::test]
async fn what_a_process_leaves_behind_ends_with_it() {
    let world = World::new();
    let script = format!("sleep 1000 >/dev/null 2>&1 & echo $! > {}; echo done", world.file("pid").display());
    assert_eq!(output(world.run("shell", json!({"shell": {"command": script}})).await), json!("done\n"));
    let pids = written(&world.file("pid")).await;
    assert!(!alive(&pids[0]));
    // Also one that holds the output open.
    let script = "sleep 1000 & echo done";
    assert_eq!(output(world.run("shell", json!({"shell": {"command": script}})).await), json!("done\n"));
}

#[tokio::test]
async fn a_fork_bomb_is_ended_with_all_that_it_became() {
    let world = limited(|c| c.processes_max = 20);
    // Each writes its number: none of them may be there afterwards.
    let file = world.file("pids");
    let bomb = format!("b() {{ sh -c 'echo $PPID' >> {}; b | b & }}; b; sleep 1000", file.display());
    let outcome = world.run("shell", json!({"shell": {"command": bomb}})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused", "{problem}");
    assert!(detail(problem).contains("processes at a time, more than 20 (`processes_max` of"), "{problem}");
    let pids: Vec<_> = std::fs::read_to_string(&file).unwrap().split_whitespace().map(str::to_owned).collect();
    assert!(!pids.is_empty() && !pids.iter().any(|pid| alive(pid)), "{} of them", pids.len());
    assert_eq!(world.directories(), 0);
}

#[tokio::test]
async fn endless_output_is_cut_off_on_either_stream() {
    let world = limited(|c| c.output_bytes_max = 100_000);
    for (command, stream) in [("yes", "stdout"), ("yes >&2", "stderr"), ("head -c 100001 /dev/zero", "stdout")] {
        let outcome = world.run("shell", json!({"shell": {"command": command}, "return": "code"})).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused", "{command}: {problem}");
        let expected = format!("more than 100000 bytes to {stream} (`output_bytes_max` of [connectors.process])");
        assert!(detail(problem).contains(&expected), "{command}: {problem}");
    }
    let just = json!({"shell": {"command": "head -c 100000 /dev/zero | tr '\\0' x"}});
    assert_eq!(output(world.run("shell", just).await).as_str().unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_memory_hog_is_ended_and_told_why() {
    let world = limited(|c| c.memory_bytes_max = 100 << 20);
    let hog = "import time\nhold = []\nwhile True:\n    hold.append(b'x' * (4 << 20))\n    time.sleep(0.01)";
    let outcome = world.run("script", json!({"script": {"language": "python", "code": hog}})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused", "{problem}");
    assert!(detail(problem).contains("bytes of memory, more than 104857600 (`memory_bytes_max` of"), "{problem}");
    // What leaps past the limit in one go does not get it.
    let leap = "hold = bytearray(8 << 30)";
    let outcome = world.run("script", json!({"script": {"language": "python", "code": leap}})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "failed", "{problem}");
    assert!(detail(problem).contains("MemoryError"), "{problem}");
}

#[tokio::test]
async fn memory_is_counted_over_the_whole_family() {
    let world = limited(|c| c.memory_bytes_max = 150 << 20);
    let family = "import os, time
for _ in range(4):
    if os.fork() == 0: break
hold = b'x' * (60 << 20)
while True: time.sleep(1000)";
    let outcome = world.run("script", json!({"script": {"language": "python", "code": family}})).await;
    assert!(detail(trouble(&outcome).1).contains("`memory_bytes_max`"), "{outcome:?}");
}

#[tokio::test]
async fn the_operators_time_is_the_most_there_is() {
    let world = limited(|c| c.time_ms_max = 300);
    for command in ["sleep 1000", "while :; do :; done"] {
        let outcome = world.run("shell", json!({"shell": {"command": command}, "return": "all"})).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused", "{problem}");
        assert!(problem.kind.ends_with("/timeout"), "{problem}");
        assert!(detail(problem).contains("longer than 300 ms (`time_ms_max` of"), "{problem}");
    }
}

#[tokio::test]
async fn a_file_that_grows_too_large_ends_the_one_who_writes_it() {
    let world = limited(|c| c.file_bytes_max = 100_000);
    let outcome = world.run("shell", json!({"shell": {"command": "exec head -c 200000 /dev/zero >large"}})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "failed", "{problem}");
    assert!(detail(problem).contains("`file_bytes_max` of [connectors.process]"), "{problem}");
}

#[tokio::test]
async fn a_process_that_nobody_waits_for_goes_on_and_ends_with_the_connector() {
    let World { connector, root } = World::new();
    let world = World { connector, root };
    let script = format!("echo $$ > {}; exec sleep 1000", world.file("pid").display());
    let with = json!({"shell": {"command": script}, "await": false, "return": "code", "input": {"n": 1}});
    assert_eq!(output(world.run("shell", with).await), json!({"n": 1}), "the task's input, at once");
    let pids = written(&world.file("pid")).await;
    assert!(alive(&pids[0]));
    let World { connector, root } = world;
    drop(connector);
    gone(&pids).await;
    let work = root.path().join("work");
    until("the directory is gone", || std::fs::read_dir(&work).unwrap().count() == 0).await;
}

#[tokio::test]
async fn a_process_that_nobody_waits_for_is_bound_by_the_limits() {
    let world = limited(|c| c.time_ms_max = 500);
    let script = format!("echo $$ > {}; exec sleep 1000", world.file("pid").display());
    output(world.run("shell", json!({"shell": {"command": script}, "await": false})).await);
    gone(&written(&world.file("pid")).await).await;
    until("the directory is gone", || world.directories() == 0).await;
}
