//! `cpd run`, and what shows runs: `runs`, `show`, `why`, `log`.

use serde_json::json;

use super::server::Server;
use super::{FAULTY, Place, SLEEPY, SUM, detached, eventually, finish, workflow};

#[test]
fn run_takes_a_file_or_a_registered_name_with_underscores_or_hyphens() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    for name in ["add.yaml", "add-up", "add_up", "test/add-up", "test/add_up", "add-up:1.0.0"] {
        let out = place.cpd(&["run", name, "a=1", "b=2", "--json"]).exits(0);
        assert_eq!(out.json()["status"], "completed", "{name}");
        assert_eq!(out.json()["output"], json!({ "sum": 3, "a": 1 }), "{name}");
    }
}

#[test]
fn input_comes_from_json_files_standard_input_and_members() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    place.write("in.json", r#"{"a": 10, "b": 5}"#);
    let sum = |args: &[&str], stdin: &str| {
        let mut all = vec!["run", "add.yaml", "--json", "-q"];
        all.extend(args);
        place.cpd_with_stdin(&all, stdin).exits(0).json()["output"]["sum"].clone()
    };
    assert_eq!(sum(&["-i", r#"{"a":1,"b":2}"#], ""), 3);
    assert_eq!(sum(&["-i", "@in.json"], ""), 15);
    assert_eq!(sum(&["-i", "@-"], r#"{"a": 3, "b": 4}"#), 7);
    assert_eq!(sum(&["a=1.5", "b=2"], ""), 3.5);
    assert_eq!(sum(&["a=one", "b=two"], ""), "onetwo", "what is not JSON is text");
    assert_eq!(sum(&["-i", "@in.json", "b=1"], ""), 11, "members go over the input");
}

#[test]
fn input_that_cannot_be_read_is_refused_before_anything_is_made() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    let bad = |args: &[&str], says: &[&str]| {
        let mut all = vec!["run", "add.yaml"];
        all.extend(args);
        let out = place.cpd(&all).exits(1).says(says);
        assert_eq!(out.stdout, "");
    };
    bad(&["-i", "{a: 1}"], &["read the input as JSON", "because:"]);
    bad(&["-i", "@gone.json"], &["read the input from gone.json", "No such file"]);
    bad(&["-i", "@-"], &["read standard input as JSON"]);
    bad(&["a"], &["read input member \"a\"", "expected KEY=VALUE"]);
    bad(&["-i", "[1]", "a=1"], &["add members to the input", "expected an object"]);
    assert!(!place.data().exists(), "nothing is half done");
}

#[test]
fn a_key_starts_one_run() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    let start = |a: &str| place.cpd(&["run", "add.yaml", a, "b=2", "--key", "k-1", "--json"]).exits(0);
    let (first, again) = (start("a=1"), start("a=1"));
    assert_eq!(first.json(), again.json());
    again.says(&["The run with this key was started before"]);
    assert_eq!(place.cpd(&["runs", "--json"]).exits(0).lines().len(), 1);
    let other = place.cpd(&["run", "add.yaml", "a=1", "b=2", "--key", "k-2", "--json"]).exits(0);
    assert_ne!(other.json()["runId"], first.json()["runId"]);
}

#[test]
fn a_detached_run_does_nothing_until_it_is_resumed() {
    let (place, server) = (Place::new(), Server::start());
    let url = server.url("/effect/one");
    place.write(
        "call.yaml",
        workflow(
            "call",
            &format!("  - call:\n      call: http\n      with: {{ method: put, endpoint: '{url}', body: {{}} }}\n"),
        ),
    );
    let id = detached(&place, &["call.yaml"]);
    place
        .cpd(&["why", &id])
        .exits(0)
        .says(&["No process drives this data directory now", &format!("`cpd resume {id}`")]);
    assert!(server.effects().is_empty(), "nothing is called by a start that is detached");
    let out = place.cpd(&["resume", &id, "--json"]).exits(0);
    assert_eq!(out.json(), json!({ "runId": id, "status": "completed", "output": { "path": "/effect/one" } }));
    assert_eq!(server.effects().len(), 1);
    // What has ended is not driven again.
    assert_eq!(place.cpd(&["resume", &id, "--json"]).exits(0).json()["status"], "completed");
    assert_eq!(server.calls().len(), 1);
}

#[test]
fn json_is_one_object_with_the_output_or_the_error() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    place.write("faulty.yaml", FAULTY);
    let keys = |out: &super::Out| out.json().as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let good = place.cpd(&["run", "add.yaml", "a=1", "b=2", "--json"]).exits(0);
    assert_eq!(keys(&good), ["runId", "status", "output"]);
    let bad = place.cpd(&["run", "faulty.yaml", "--json"]).exits(3);
    assert_eq!(keys(&bad), ["runId", "status", "error"]);
    assert_eq!(bad.json()["status"], "faulted");
    assert_eq!(
        bad.json()["error"],
        json!({ "type": "https://example.com/errors/no-luck", "status": 418, "title": "No luck",
            "detail": "it did not work", "instance": "/do/0/giveUp" })
    );
}

#[test]
fn a_fault_says_what_and_where() {
    let place = Place::new();
    place.write("faulty.yaml", FAULTY);
    let out = place.cpd(&["run", "faulty.yaml", "-q"]).exits(3).says(&[
        "faulted: No luck (418): it did not work",
        "at task /do/0/giveUp",
        "`cpd log ",
    ]);
    assert_eq!(out.stdout, "");
    place.cpd(&["why", "last"]).exits(0).prints(&["it has faulted: No luck (418): it did not work"]);
    place.cpd(&["show", "last"]).exits(0).prints(&["faulted", "\"title\": \"No luck\""]);
}

#[test]
fn exit_codes_are_what_the_help_says() {
    let place = Place::new();
    place.cpd(&["--help"]).exits(0).prints(&[
        "0 done, 1 could not, 2 usage, 3 run faulted, 4 run cancelled, 5 replay diverged or",
        "6 still waiting",
    ]);
    place.cpd(&["--version"]).exits(0).prints(&["cpd 0.1.0"]);
    place.write("sleepy.yaml", SLEEPY);
    place.write("faulty.yaml", FAULTY);
    place.cpd(&["run", "nothing-like-it"]).exits(1).says(&["find workflow \"nothing-like-it\""]);
    place.cpd(&["fly"]).exits(2).says(&["unrecognized subcommand"]);
    place.cpd(&["run"]).exits(2).says(&["<WORKFLOW>"]);
    place.cpd(&["run", "faulty.yaml", "--colour"]).exits(2);
    place.cpd(&["runs", "--status", "happy"]).exits(2).says(&["possible values"]);
    place.cpd(&["run", "faulty.yaml"]).exits(3);
    let id = detached(&place, &["sleepy.yaml"]);
    place.cpd(&["pause", &id]).exits(0);
    place.cpd(&["run", "sleepy.yaml", "--key", "x", "--detach"]).exits(0);
    let paused = place.cpd(&["runs", "--status", "paused", "--json"]).exits(0).lines();
    assert_eq!(paused.len(), 1);
    place.cpd(&["cancel", &id]).exits(0);
    place.cpd(&["resume", &id]).exits(4).says(&["cancelled: asked by an operator"]);
    // 5 and 6 have tests of their own: a tampered bundle, a damaged journal, an effect with an unknown outcome.
}

#[test]
fn runs_are_listed_newest_first_and_filtered() {
    let place = Place::new();
    for (file, text) in [("add.yaml", SUM), ("faulty.yaml", FAULTY), ("sleepy.yaml", SLEEPY)] {
        place.write(file, text);
    }
    place.cpd(&["run", "add.yaml", "a=1", "b=2", "--key", "my-key"]).exits(0);
    place.cpd(&["run", "faulty.yaml"]).exits(3);
    let sleepy = detached(&place, &["sleepy.yaml"]);
    let list = |args: &[&str]| -> Vec<String> {
        let mut all = vec!["runs", "--json"];
        all.extend(args);
        place.cpd(&all).exits(0).lines().iter().map(|r| r["workflow"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(list(&[]), ["test/sleepy", "test/faulty", "test/add-up"]);
    assert_eq!(list(&["-n", "1"]), ["test/sleepy"]);
    assert_eq!(list(&["--status", "open"]), ["test/sleepy"]);
    assert_eq!(list(&["--status", "completed"]), ["test/add-up"]);
    assert_eq!(list(&["--status", "faulted"]), ["test/faulty"]);
    assert_eq!(list(&["--status", "cancelled"]), Vec::<String>::new());
    assert_eq!(list(&["--workflow", "add_up"]), ["test/add-up"]);
    assert_eq!(list(&["--workflow", "test/add-up"]), ["test/add-up"]);
    assert_eq!(list(&["--workflow", "add"]), Vec::<String>::new());
    let row = &place.cpd(&["runs", "--json", "--workflow", "add-up"]).exits(0).lines()[0];
    assert_eq!(row["key"], "my-key");
    assert_eq!(row["version"], "1.0.0");
    let table = place.cpd(&["runs"]).exits(0).prints(&[
        "RUN ",
        "WORKFLOW",
        "STATUS",
        "completed",
        "faulted",
        "running",
        &sleepy,
    ]);
    assert_eq!(table.stdout.lines().count(), 4);
    let none = place.cpd(&["runs", "--status", "cancelled"]).exits(0).says(&["No runs."]);
    assert_eq!(none.stdout, "", "talk is not data");
}

#[test]
fn show_and_why_say_what_an_open_run_waits_for() {
    let place = Place::new();
    place.write("sleepy.yaml", SLEEPY);
    let id = detached(&place, &["sleepy.yaml", "n=1"]);
    let shown = place.cpd(&["show", &id[..20], "--json"]).exits(0).json();
    assert_eq!(shown["runId"], *id);
    assert_eq!(shown["status"], "running");
    assert_eq!(shown["input"], json!({ "n": 1 }));
    assert_eq!(shown["waitsFor"][0]["what"], "turn");
    place.cpd(&["show", "last"]).exits(0).prints(&[
        &id,
        "running",
        "test/sleepy 1.0.0",
        "waits for",
        "something to do",
    ]);
    place.cpd(&["why", &id]).exits(0).prints(&["it has something to do at once"]);
    let why = place.cpd(&["why", &id, "--json"]).exits(0).json();
    assert_eq!(why["waitsFor"], shown["waitsFor"]);
    for command in ["show", "why", "log", "replay", "cancel", "pause", "resume"] {
        place.cpd(&[command, "zz"]).exits(1).says(&["find run \"zz\"", "there is no run whose id begins so"]);
    }
}

#[test]
fn an_ambiguous_beginning_of_an_id_is_refused() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    for _ in 0..2 {
        place.cpd(&["run", "add.yaml", "a=1", "b=2"]).exits(0);
    }
    place.cpd(&["show", "0"]).exits(1).says(&["find run \"0\""]);
}

#[test]
fn log_lines_have_one_shape() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    let id = place.cpd(&["run", "add.yaml", "a=1", "b=2", "--json"]).exits(0).json()["runId"]
        .as_str()
        .expect("an id")
        .to_owned();
    let log = place.cpd(&["log", &id, "--json"]).exits(0).lines();
    for (n, line) in log.iter().enumerate() {
        assert_eq!(line["seq"], n + 1, "seq is dense");
        assert!(line["at"].as_str().is_some_and(|at| at.ends_with('Z') && at.contains('T')), "{line}");
        assert!(line["kind"].is_string() && line["data"].is_object(), "{line}");
        let (task, name) = (line.get("task").expect("on every line"), line.get("taskName").expect("on every line"));
        assert_eq!(task.is_string(), name.is_string(), "{line}");
        assert!(task.is_null() || task.as_str().is_some_and(|t| t.starts_with('/')), "{line}");
    }
    assert_eq!(log.first().expect("a line")["kind"], "RunStarted");
    assert_eq!(log.last().expect("a line")["kind"], "RunCompleted");
    let set = log.iter().find(|l| l["kind"] == "TaskReturned").expect("the task");
    assert_eq!((&set["task"], &set["taskName"]), (&json!("/do/0/addUp"), &json!("addUp")));
    let shown = place.cpd(&["log", &id]).exits(0).prints(&[
        "test/add-up 1.0.0 started by cli",
        "addUp",
        "set {\"sum\":3,\"a\":1}",
        "completed",
    ]);
    assert_eq!(shown.stdout.lines().count(), log.len());
}

#[test]
fn log_follow_prints_until_the_run_ends() {
    let (place, server) = (Place::new(), Server::start());
    let url = server.url("/gate");
    place.write(
        "gate.yaml",
        workflow("gate", &format!("  - pass:\n      call: http\n      with: {{ method: get, endpoint: '{url}' }}\n")),
    );
    let run = place.start(&["run", "gate.yaml", "-q", "--json"]);
    eventually("the call", || (!server.calls().is_empty()).then_some(()));
    let follow = place.start(&["log", "last", "--follow", "--json"]);
    server.open_gate();
    let (ran, followed) = (run.wait().exits(0), follow.wait().exits(0));
    assert_eq!(ran.json()["output"], json!({ "passed": true }));
    let lines = followed.lines();
    assert_eq!(lines.last().expect("a line")["kind"], "RunCompleted");
    assert_eq!(lines, place.cpd(&["log", "last", "--json"]).exits(0).lines(), "nothing twice, nothing left out");
}

#[test]
fn a_closed_pipe_is_no_reason_to_complain() {
    let place = Place::new();
    // More than a pipe holds.
    place.write("loop.yaml", workflow("long", "  - loop:\n      for: { each: n, in: '[range(2000)]' }\n      do:\n        - one: { set: { n: '${ $n }' } }\n"));
    place.cpd(&["run", "loop.yaml", "-q"]).exits(0);
    for args in ["log last", "log last --json", "replay last", "journal export", "journal inspect -n 99999"] {
        let script = format!("'{}' {args} | head -1; echo \"status ${{PIPESTATUS[0]}}\"", env!("CARGO_BIN_EXE_cpd"));
        let out =
            finish(std::process::Command::new("bash").args(["-c", &script]).current_dir(place.dir.path())).exits(0);
        assert_eq!(out.stderr, "", "{args}");
        assert_eq!(out.stdout.lines().count(), 2, "{args}: {}", out.stdout);
        out.prints(&["status 0"]);
    }
}

#[test]
fn colours_come_only_when_asked_for() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    place.cpd(&["run", "add.yaml", "a=1", "b=2"]).exits(0);
    let coloured = |args: &[&str], no_color: bool| {
        let mut command = place.command(args);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        finish(&mut command).exits(0).stdout.contains('\u{1b}')
    };
    assert!(!coloured(&["runs"], false), "a pipe is no terminal");
    assert!(!coloured(&["runs", "--color", "auto"], true));
    assert!(!coloured(&["runs", "--color", "never"], false));
    assert!(coloured(&["runs", "--color", "always"], false));
    assert!(coloured(&["log", "last", "--color", "always"], true), "a flag says more than the environment");
    assert!(!coloured(&["runs", "--json", "--color", "always"], false), "JSON is for machines");
    place.cpd(&["runs", "--color", "mauve"]).exits(2).says(&["possible values"]);
}

#[test]
fn the_data_directory_comes_from_the_flag_before_the_environment() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    place.cpd(&["run", "add.yaml", "a=1", "b=2", "--data", "flag"]).exits(0);
    let from_env = |args: &[&str]| finish(place.command(args).env("CPD_DATA", "env"));
    from_env(&["run", "add.yaml", "a=1", "b=2"]).exits(0);
    assert!(place.path("flag/journal").is_dir() && place.path("env/journal").is_dir() && !place.data().exists());
    assert_eq!(from_env(&["runs", "--json"]).exits(0).lines().len(), 1);
    place.cpd(&["runs"]).exits(1).says(&["look at the data directory .cpd", "`--data` names another"]);
}

#[test]
fn completions_are_scripts() {
    let place = Place::new();
    for (shell, mark) in [("bash", "complete -F _cpd"), ("zsh", "#compdef cpd"), ("fish", "complete -c cpd")] {
        place.cpd(&["completions", shell]).exits(0).prints(&[mark, "resolve"]);
    }
    let script = place.write("c.bash", place.cpd(&["completions", "bash"]).exits(0).stdout);
    finish(std::process::Command::new("bash").arg("-n").arg(script)).exits(0);
    place.cpd(&["completions", "cmd"]).exits(2);
}

#[test]
fn the_sandbox_says_where_it_listens_and_that_it_is_one() {
    use std::io::{BufRead as _, BufReader};
    let place = Place::new();
    for json in [true, false] {
        let mut sandbox = place.start(if json { &["sandbox", "--json"] } else { &["sandbox"] });
        let stdout = sandbox.child.as_mut().and_then(|c| c.stdout.as_mut()).expect("a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let url = if json {
            let told: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(told["training"], format!("{}/training", told["url"].as_str().expect("a URL")));
            told["url"].as_str().expect("a URL").to_owned()
        } else {
            assert!(line.starts_with("This is a sandbox: nothing here is real."), "{line}");
            line.split_whitespace().last().expect("a URL").to_owned()
        };
        let address = url.strip_prefix("http://").expect("a URL");
        std::net::TcpStream::connect(address).expect("somebody listens");
        sandbox.kill();
    }
}
