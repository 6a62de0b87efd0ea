//! Secrets that definitions mention: there at the moment of a call, and in no record.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpd_connector_api::secret::Secret;
use cpd_core::json;
use cpd_engine::RunEnd;

use crate::support::{World, builder, output, register};

const BODY: &str = "use: { secrets: [ token, login ] }
do:
  - a:
      call: test.put
      with:
        bearer: '${ \"Bearer \\($secrets.token)\" }'
        basic: '${ \"\\($secrets.login.user):\\($secrets.login.password)\" | @base64 }'
        data: '${ .n }'
        told: '${ \"\\(.n)-\\($secrets.token)\" }'";

fn secrets() -> Arc<BTreeMap<String, Secret>> {
    let pairs = [("token", "tok-4711"), ("login", r#"{"user":"someone","password":"pass-0815"}"#)];
    Arc::new(pairs.into_iter().map(|(k, v)| (k.to_owned(), Secret::new(v))).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_in_the_call_and_in_no_record() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = builder(dir.path(), &world).secrets(secrets()).open().await.unwrap();
    register(&engine, "w", BODY).await;
    // Data that look like something sealed stay data.
    let fake = json!({ "$sealed": { ".": 1 } });
    let run = engine.start("w").input(json!({ "n": fake })).go().await.unwrap();
    // The operation echoes what it got; what was secret in it is gone from the outcome.
    let echoed = output(&run).await;
    let input = echoed.get("input").unwrap();
    assert_eq!(input.get("bearer"), Some(&json!("Bearer [redacted]")));
    assert_eq!(input.get("data"), Some(&fake));
    assert_eq!(input.get("basic"), Some(&json!("[redacted][redacted]=")), "base64 is no disguise");
    assert!(input.get("told").unwrap().to_json().ends_with("-[redacted]\""));
    engine.stop().await.unwrap();
    for entry in std::fs::read_dir(dir.path().join("journal")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            for secret in ["tok-4711", "pass-0815"] {
                assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} in {}", path.display());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_not_there_is_an_error_of_the_task() {
    let (dir, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
    let engine = builder(dir.path(), &world).open().await.unwrap();
    register(&engine, "w", BODY).await;
    let run = engine.start("w").input(json!({ "n": 1 })).go().await.unwrap();
    let RunEnd::Faulted { problem } = run.result().await.unwrap() else { panic!("it ended well") };
    assert!(problem.kind.ends_with("/authorization") && problem.to_string().contains("token"), "{problem}");
    assert!(world.keys_of("test.put").is_empty());
    engine.stop().await.unwrap();
}
