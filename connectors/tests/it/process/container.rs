//! Containers, against an engine of the tests' own that follows the documents of the Docker Engine API.

use std::time::Duration;

use cpd_connector_api::clock::{Clock, SystemClock};
use cpd_connector_api::{Outcome, Value, json};
use cpd_connectors::process::ProcessConfig;
use cpd_connectors::process::config::Kind;

use super::docker::{Docker, Script, Wrong, frame};
use super::{World, until};
use crate::support::*;

/// An engine and a connector that knows it.
fn engine(script: Script) -> (World, Docker, tempfile::TempDir) {
    with(script, |_| {})
}

fn with(script: Script, change: impl FnOnce(&mut ProcessConfig)) -> (World, Docker, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let docker = Docker::start(directory.path(), script);
    let mut config = ProcessConfig {
        allow: [Kind::Container].into(),
        docker_socket: Some(docker.socket().to_owned()),
        ..ProcessConfig::default()
    };
    change(&mut config);
    (World::with(config), docker, directory)
}

fn alpine() -> Value {
    json!({"container": {"image": "alpine", "lifetime": {"cleanup": "always"}}})
}

#[tokio::test]
async fn a_container_runs_and_its_output_comes_back() {
    let mut script = Script::says("hello\n");
    script.output.extend(frame(2, "oh\n"));
    let (world, docker, _directory) = engine(script);
    let with = json!({"container": {
        "image": "alpine", "command": "cat; echo \"$1\"", "stdin": "from the workflow", "arguments": ["$(id) 'x'"],
        "environment": {"GREETING": "hello"}, "ports": {"8080": 80}, "lifetime": {"cleanup": "always"},
    }, "return": "all"});
    let Outcome::Succeeded(success) = world.run("container", with).await else { panic!("expected success") };
    assert_eq!(success.output, json!({"code": 0, "stdout": "hello\n", "stderr": "oh\n"}));
    assert_eq!(text(&success.evidence.unwrap(), &["image"]), "alpine:latest");
    assert_eq!(docker.stdin(), "from the workflow");
    let made = docker.made();
    let of = |path: &[&str]| path.iter().try_fold(&made, |v, name| v.get(name)).cloned().unwrap_or_default();
    assert_eq!(of(&["Entrypoint"]), json!(["sh", "-c", "cat; echo \"$1\"", "sh"]));
    assert_eq!(of(&["Cmd"]), json!(["$(id) 'x'"]), "beside the command, never in it");
    assert_eq!(of(&["Env"]), json!(["CPD_IDEMPOTENCY_KEY=r/t", "GREETING=hello"]));
    assert_eq!(of(&["Labels", "io.cpd.run"]), json!("r-1"));
    assert_eq!(of(&["HostConfig", "PortBindings"]), json!({"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]}));
    assert_eq!(of(&["HostConfig", "Memory"]), json!(1_i64 << 30));
    assert_eq!(of(&["HostConfig", "Privileged"]), json!(false));
    let calls: Vec<_> = docker.asked().iter().map(|call| call.split(['?', ' ']).nth(1).unwrap().to_owned()).collect();
    let last = |n: usize| calls[n].rsplit('/').next().unwrap();
    assert_eq!([last(1), last(2), last(3), last(4), last(5)], ["json", "create", "attach", "start", "wait"]);
    assert!(docker.containers().is_empty(), "removed, as its lifetime says");
}

#[tokio::test]
async fn a_container_stays_unless_its_lifetime_says_otherwise() {
    let (world, docker, _directory) = engine(Script::says(""));
    output(world.run("container", json!({"container": {"image": "alpine", "name": "kept"}})).await);
    assert_eq!((docker.containers(), docker.running()), (vec!["kept".to_owned()], 0));
    let outcome = world.run("container", json!({"container": {"image": "alpine", "name": "kept"}})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("refused", 409), "{problem}");
    let soon = json!({"container": {"image": "alpine", "name": "soon", "lifetime": {
        "cleanup": "eventually", "after": {"milliseconds": 1},
    }}});
    output(world.run("container", soon).await);
    until("it is removed", || docker.containers() == ["kept"]).await;
}

#[tokio::test]
async fn images_are_pulled_by_policy() {
    let (world, docker, _directory) = engine(Script::says("x"));
    let with = |image: &str, policy: &str| {
        json!({"container": {
            "image": image, "pullPolicy": policy, "lifetime": {"cleanup": "always"},
        }})
    };
    let outcome = world.run("container", with("registry:5000/a/b:1", "never")).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(problem.kind.ends_with("/configuration") && detail(problem).contains("registry:5000/a/b:1"), "{problem}");
    output(world.run("container", with("alpine", "ifNotPresent")).await);
    assert!(!docker.was_asked("/images/create"));
    output(world.run("container", with("registry:5000/a/b:1", "ifNotPresent")).await);
    assert!(docker.was_asked("/images/create?fromImage=registry%3A5000%2Fa%2Fb%3A1"), "{:?}", docker.asked());
    output(world.run("container", with("alpine", "always")).await);
    assert!(docker.was_asked("/images/create?fromImage=alpine%3Alatest"));
    docker.misbehave(Wrong::PullFails);
    let outcome = world.run("container", with("alpine", "always")).await;
    assert_eq!(trouble(&outcome).0, "failed");
    assert!(detail(trouble(&outcome).1).contains("manifest unknown"), "{outcome:?}");
}

#[tokio::test]
async fn without_an_engine_it_is_refused_with_the_places() {
    let (world, docker, directory) = engine(Script::says(""));
    docker.misbehave(Wrong::NotDocker);
    let outcome = world.run("container", alpine()).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(detail(problem).contains("this is no container engine"), "{problem}");
    let nowhere = directory.path().join("nowhere.sock");
    let config = ProcessConfig {
        allow: [Kind::Container].into(),
        docker_socket: Some(nowhere.clone()),
        ..ProcessConfig::default()
    };
    let outcome = World::with(config).run("container", alpine()).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(problem.kind.ends_with("/configuration"), "{problem}");
    let said = detail(problem);
    assert!(said.contains(&*nowhere.to_string_lossy()) && said.contains("`docker_socket`"), "{problem}");
}

#[tokio::test]
async fn a_bad_end_fails_unless_its_code_was_asked_for() {
    let (world, docker, _directory) = engine(Script { code: 3, output: frame(2, "no model\n"), ..Script::says("") });
    let outcome = world.run("container", alpine()).await;
    assert_eq!(trouble(&outcome).0, "failed");
    assert_eq!(detail(trouble(&outcome).1), "run /do/0/t: it exited with code 3; stderr ends: no model");
    let mut with = alpine().to_json();
    with.insert_str(with.len() - 1, r#","return":"code""#);
    assert_eq!(output(world.run("container", Value::from_json(with.as_bytes()).unwrap()).await), json!(3));
    docker.play(Script { code: 137, out_of_memory: true, ..Script::says("") });
    let outcome = world.run("container", alpine()).await;
    assert_eq!(trouble(&outcome).0, "refused");
    assert!(detail(trouble(&outcome).1).contains("`memory_bytes_max`"), "{outcome:?}");
    assert!(docker.containers().is_empty());
}

#[tokio::test]
async fn an_engine_that_misbehaves_gives_an_outcome_that_says_what_is_known() {
    let cut = frame(1, "hello")[..10].to_vec();
    let well = || Script::says("hello");
    for (what, wrong, script, expected, said) in [
        ("hangs up at create", Some(Wrong::HangsUpAt("/create")), well(), "failed", "no answer"),
        ("garbage at create", Some(Wrong::Garbage("/create")), well(), "failed", "200"),
        ("refuses at create", Some(Wrong::Answers("/create", 400)), well(), "refused", "no such luck"),
        ("is ill at create", Some(Wrong::Answers("/create", 500)), well(), "failed", "no such luck"),
        ("refuses to attach", Some(Wrong::Answers("/attach", 404)), well(), "refused", "404"),
        ("garbage at attach", Some(Wrong::Garbage("/attach")), well(), "failed", "200"),
        ("hangs up at start", Some(Wrong::HangsUpAt("/start")), well(), "unknown", "no answer"),
        ("refuses to start", Some(Wrong::Answers("/start", 400)), well(), "refused", "no such luck"),
        ("cannot start", Some(Wrong::Answers("/start", 500)), well(), "failed", "no such luck"),
        ("hangs up at wait", Some(Wrong::HangsUpAt("/wait")), well(), "unknown", "no answer"),
        ("garbage at wait", Some(Wrong::Garbage("/wait")), well(), "unknown", "no JSON"),
        ("is ill at wait", Some(Wrong::Answers("/wait", 500)), well(), "unknown", "no such luck"),
        ("half a frame", None, Script { output: cut, ..well() }, "unknown", "breaks off"),
        ("no frames", None, Script { output: b"plain text".to_vec(), ..well() }, "unknown", "breaks off"),
        ("endless output", None, Script { endless: true, ..well() }, "refused", "`output_bytes_max`"),
        (
            "a frame of four gigabytes",
            None,
            Script { output: vec![1, 0, 0, 0, 255, 255, 255, 255], ..well() },
            "refused",
            "`output_bytes_max`",
        ),
    ] {
        let (world, docker, _directory) = with(script, |c| c.output_bytes_max = 100_000);
        docker.misbehave(wrong);
        let outcome = world.run("container", alpine()).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, expected, "{what}: {problem}");
        assert!(detail(problem).contains(said), "{what}: {problem}");
        assert_eq!(docker.containers(), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_deadline_and_a_cancellation_end_the_container() {
    let (world, docker, _directory) = engine(Script { hangs: true, ..Script::says("x") });
    let mut asked = request("process.container", "k", alpine());
    asked.deadline = Some(SystemClock.now().plus(Duration::from_millis(800)));
    let outcome = world.call(asked).await;
    assert_eq!(trouble(&outcome).0, "unknown", "{outcome:?}");
    assert!(docker.was_asked("/kill") && docker.containers().is_empty());
    let asked = request("process.container", "k", json!({"container": {"image": "alpine"}}));
    let (cancel, connector) = (asked.cancel.clone(), world.connector.clone());
    let calling = tokio::spawn(async move { cpd_connector_api::Connector::call(&*connector, asked).await });
    until("it runs", || docker.running() == 1).await;
    cancel.cancel();
    let outcome = calling.await.unwrap();
    assert_eq!(trouble(&outcome).0, "unknown", "{outcome:?}");
    assert_eq!((docker.running(), docker.containers().len()), (0, 1), "ended, and kept as the language has it");
}

#[tokio::test]
async fn the_operators_time_is_the_most_there_is() {
    let (world, docker, _directory) = with(Script { hangs: true, ..Script::says("x") }, |c| c.time_ms_max = 200);
    let outcome = world.run("container", alpine()).await;
    assert_eq!(trouble(&outcome).0, "refused", "{outcome:?}");
    assert!(detail(trouble(&outcome).1).contains("`time_ms_max`"), "{outcome:?}");
    assert!(docker.containers().is_empty());
}

#[tokio::test]
async fn a_container_that_nobody_waits_for_is_watched_and_cleaned_up() {
    let (world, docker, _directory) = with(Script { hangs: true, ..Script::says("x") }, |c| c.time_ms_max = 500);
    let with = Value::from([
        ("container", alpine().get("container").cloned().unwrap()),
        ("await", json!(false)),
        ("input", json!({"n": 1})),
    ]);
    assert_eq!(output(world.run("container", with).await), json!({"n": 1}));
    until("it is ended and removed", || docker.was_asked("/kill") && docker.containers().is_empty()).await;
}

#[tokio::test]
async fn only_open_directories_are_mounted() {
    let (world, docker, directory) = engine(Script::says(""));
    let with = json!({"container": {"image": "alpine", "volumes": {"/etc": "/etc-of-the-machine"}}});
    let outcome = world.run("container", with.clone()).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!((name, problem.status), ("refused", 403), "{problem}");
    assert!(detail(problem).contains("`volumes` of [connectors.process]"), "{problem}");
    assert_eq!(docker.asked(), Vec::<String>::new());
    drop(directory);
}
