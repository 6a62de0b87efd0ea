//! The conformance suite.

use cpd_connector_api::conformance::{Kit, Sample, run};
use cpd_connector_api::{BoxFuture, json};
use cpd_connectors::process::ProcessConfig;
use cpd_connectors::process::config::Kind;

use super::docker::{Docker, Script};
use super::{PATIENCE, World};
use crate::support::TOKEN;

#[tokio::test]
async fn process_conforms() {
    let outside = tempfile::tempdir().unwrap();
    let docker = Docker::start(outside.path(), Script::says("done"));
    let config = ProcessConfig {
        allow: Kind::ALL.into(),
        docker_socket: Some(docker.socket().to_owned()),
        ..ProcessConfig::default()
    };
    let world = World::with(config);
    // What the processes do to the outside: a line each, with the key; and a file that makes them silent.
    let (effects, silent) = (outside.path().join("effects"), outside.path().join("silent"));
    let environment = json!({"EFFECTS": &*effects.to_string_lossy(), "SILENT": &*silent.to_string_lossy(), "T": TOKEN});
    let command = "if test -e \"$SILENT\"; then sleep 1000; fi; echo \"$CPD_IDEMPOTENCY_KEY\" >>\"$EFFECTS\"";
    let code = "import os, time
if os.path.exists(os.environ['SILENT']): time.sleep(1000)
with open(os.environ['EFFECTS'], 'a') as f: f.write(os.environ['CPD_IDEMPOTENCY_KEY'] + '\\n')";
    let samples = vec![
        Sample::new("process.shell", json!({"shell": {"command": command, "environment": environment}}))
            .with_effects(1),
        Sample::new(
            "process.script",
            json!({"script": {"language": "python", "code": code, "environment": environment}}),
        )
        .with_effects(1),
        Sample::new("process.container", json!({"container": {"image": "alpine", "environment": {"T": TOKEN}}}))
            .with_effects(1),
    ];
    let handle = docker.handle();
    let silence = |on: bool| -> BoxFuture<'static, ()> {
        let (handle, silent) = (docker.handle(), silent.clone());
        Box::pin(async move {
            Docker::hang(&handle, on);
            if on {
                std::fs::write(&silent, "").unwrap();
            } else {
                std::fs::remove_file(&silent).unwrap();
            }
        })
    };
    let report = run(Kit {
        connector: &*world.connector,
        samples,
        probe: &|key| {
            let lines = std::fs::read_to_string(&effects).unwrap_or_default();
            lines.lines().filter(|line| *line == key).count() + handle.effects_of(key)
        },
        silence: &silence,
        secrets: vec![TOKEN.into()],
        patience: PATIENCE,
    })
    .await;
    assert!(report.breaches.is_empty(), "{report}");
    assert!(report.checks > 60, "{report}");
    assert_eq!(world.directories(), 0);
}
