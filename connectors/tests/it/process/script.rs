//! Scripts, with the Python and the JavaScript of this machine.

use std::sync::Arc;

use cpd_connector_api::attachment::Resource;
use cpd_connector_api::{Outcome, Success, json};
use cpd_connectors::process::ProcessConfig;
use cpd_connectors::process::config::{Interpreters, Kind};

use super::World;
use crate::support::*;

const PYTHON: &str = "import json, os, sys
print(json.dumps([sys.argv[1:], sys.stdin.read(), os.environ['GREETING'], os.path.basename(sys.argv[0])]))";
const JS: &str = "import { basename } from 'node:path';
let stdin = '';
for await (const chunk of process.stdin) stdin += chunk;
console.log(JSON.stringify([process.argv.slice(2), stdin, process.env.GREETING, basename(process.argv[1])]));";

#[tokio::test]
async fn scripts_see_stdin_arguments_and_environment() {
    let world = World::new();
    for (language, code, name) in
        [("python", PYTHON, "script.py"), ("js", JS, "script.mjs"), ("javascript", JS, "script.mjs")]
    {
        let with = json!({"script": {
            "language": language, "code": code, "stdin": "é\n", "arguments": ["--help", "$(id) 'x'", "a\nb"],
            "environment": {"GREETING": "hello"},
        }});
        let outcome = world.run("script", with).await;
        let Outcome::Succeeded(Success { output, evidence }) = outcome else { panic!("{language}: {outcome:?}") };
        let got = cpd_connector_api::Value::from_json(output.as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(got, json!([["--help", "$(id) 'x'", "a\nb"], "é\n", "hello", name]), "{language}");
        let evidence = evidence.unwrap();
        let version = text(&evidence, &["version"]);
        assert!(version.starts_with(if language == "python" { "Python 3." } else { "v" }), "{version}");
    }
    assert_eq!(world.directories(), 0);
}

#[tokio::test]
async fn an_external_script_is_the_one_that_was_pinned() {
    let world = World::new();
    let uri = "https://scripts.example.com/greet.py";
    let source = json!({"endpoint": {"uri": uri}});
    let mut asked = request("process.script", "k", json!({"script": {"language": "python", "source": source}}));
    let outcome = world.call(asked.clone()).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(detail(problem).contains(uri), "{problem}");
    let pinned = Resource { uri: uri.into(), media_type: None, content: b"print('pinned')"[..].into() };
    asked.resources = [Arc::new(pinned)].into_iter().collect();
    assert_eq!(output(world.call(asked.clone()).await), json!("pinned\n"));
    for source in [json!({"endpoint": uri, "name": "greet"}), json!(uri)] {
        asked.input = json!({"script": {"language": "python", "source": source}});
        assert_eq!(output(world.call(asked.clone()).await), json!("pinned\n"));
    }
    for with in [
        json!({"script": {"language": "python"}}),
        json!({"script": {"language": "python", "code": "1", "source": {"endpoint": uri}}}),
    ] {
        asked.input = with;
        let outcome = world.call(asked.clone()).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "refused");
        assert!(detail(problem).contains("expected one of them"), "{problem}");
    }
}

#[tokio::test]
async fn a_script_that_fails_says_where() {
    let world = World::new();
    for (language, code, said) in [
        ("python", "print(1)\nraise ValueError('no such model')", "ValueError: no such model"),
        ("python", "def (", "script.py\", line 1"),
        ("js", "console.log(1);\nthrow new Error('no such model');", "script.mjs:2"),
        ("js", "const = 1", "SyntaxError"),
    ] {
        let outcome = world.run("script", json!({"script": {"language": language, "code": code}})).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!(name, "failed", "{problem}");
        assert!(detail(problem).contains("code 1") && detail(problem).contains(said), "{problem}");
    }
}

#[tokio::test]
async fn python_is_isolated_from_the_users_packages_and_variables() {
    let world = World::new();
    let code = "import os, sys
print(sys.flags.isolated, sys.flags.ignore_environment, sys.flags.no_user_site, os.getcwd() in sys.path, '' in sys.path)";
    let with = json!({"script": {
        "language": "python", "code": code, "environment": {"PYTHONPATH": "/tmp", "PYTHONSTARTUP": "/tmp/x"},
    }});
    assert_eq!(output(world.run("script", with).await), json!("1 1 1 False False\n"));
}

#[tokio::test]
async fn an_interpreter_that_is_not_there_is_refused_with_its_setting() {
    let interpreters = Interpreters { python: "/opt/no-python/bin/python3".into(), ..Interpreters::default() };
    let config = ProcessConfig { allow: [Kind::Script].into(), interpreters, ..ProcessConfig::default() };
    let outcome = World::with(config).run("script", json!({"script": {"language": "python", "code": "1"}})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(problem.kind.ends_with("/configuration"), "{problem}");
    assert!(detail(problem).contains("`interpreters.python` of [connectors.process]"), "{problem}");
}

#[tokio::test]
async fn a_language_that_is_not_known_is_refused() {
    let outcome = World::new().run("script", json!({"script": {"language": "perl", "code": "1"}})).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(detail(problem).contains("language"), "{problem}");
}
