//! The outside misbehaves: data files, servers, directories, disks.

use std::path::Path;

use super::server::Server;
use super::{Place, Running, SUM, detached, eventually, finish, workflow};

const MEASURE: &str = "document: { dsl: '1.0.3', namespace: test, name: measure, version: '1.0.0' }
do:
  - measure:
      call: drift.compare
      with: { reference: { path: '${ .reference }' }, current: { path: '${ .current }' }, columns: [score], statistic: psi }
";

#[test]
fn a_data_file_that_is_not_what_it_should_be_faults_the_run_with_file_and_reason() {
    let place = Place::new();
    place.write("measure.yaml", MEASURE);
    place.write("good.csv", "score\n1\n2\n3\n4\n");
    place.write("other.csv", "other\n1\n2\n");
    place.write("empty.csv", "");
    place.write("header.csv", "score\n");
    place.write("binary.csv", [&b"\xff\xfe\x00\x01"[..], &[0x80; 3000]].concat());
    place.write("ragged.csv", "score,b\n1,2\n3\n");
    place.write("short.parquet", b"PAR1");
    std::fs::create_dir(place.path("folder.csv")).expect("a directory");
    for (file, says) in [
        ("other.csv", &["other.csv has no column `score`", "it has `other`"][..]),
        ("empty.csv", &["empty.csv has nothing in it", "expected at least one row"]),
        ("header.csv", &["header.csv"]),
        ("binary.csv", &["binary.csv", "not UTF-8"]),
        ("ragged.csv", &["ragged.csv"]),
        ("short.parquet", &["short.parquet"]),
        ("folder.csv", &["folder.csv"]),
        ("none.csv", &["no data file at `none.csv`"]),
    ] {
        let current = format!("current={file}");
        let out = place.cpd(&["run", "measure.yaml", "reference=good.csv", &current, "-q"]).exits(3).says(says);
        out.says(&["faulted:", "at task /do/0/measure", "`cpd log "]);
    }
    assert_eq!(place.cpd(&["runs", "--status", "open", "--json"]).exits(0).stdout, "");
}

fn call(server: &Server, path: &str, method: &str, more: &str) -> String {
    let url = server.url(path);
    let tasks = format!("  - ask:\n      call: http\n      with: {{ method: {method}, endpoint: '{url}' }}\n{more}");
    workflow("ask", &tasks)
}

#[test]
fn a_server_that_misbehaves_faults_the_run_with_status_and_reason() {
    let server = Server::start();
    for (path, method, says) in [
        ("/500", "get", &["500", "/500"][..]),
        ("/500", "post", &["500"]),
        ("/liar", "get", &["JSON", "/liar"]),
        ("/big", "get", &["8388608", "/big"]),
    ] {
        let place = Place::new();
        place.write("ask.yaml", call(&server, path, method, ""));
        let out = place.cpd(&["run", "ask.yaml", "-q"]).exits(3).says(says).says(&["faulted:", "at task /do/0/ask"]);
        assert!(out.stderr.len() < 4_000, "the answer is not poured out: {} bytes", out.stderr.len());
        place.cpd(&["replay", "last", "-q"]).exits(0);
        place.cpd(&["audit", "verify"]).exits(0);
    }
}

#[test]
fn html_is_text_and_not_a_crash() {
    let (place, server) = (Place::new(), Server::start());
    place.write("ask.yaml", call(&server, "/html", "get", ""));
    let out = place.cpd(&["run", "ask.yaml", "--json", "-q"]).exits(0);
    assert_eq!(out.json()["output"], "<html><body>Please log in</body></html>");
}

#[test]
fn a_server_that_never_answers_is_ended_by_the_timeout_of_the_task() {
    let (place, server) = (Place::new(), Server::start());
    let timeout = "      timeout: { after: { milliseconds: 200 } }\n";
    place.write("ask.yaml", call(&server, "/never", "get", timeout));
    place.cpd(&["run", "ask.yaml", "-q"]).exits(3).says(&["faulted:", "408", "/do/0/ask"]);
    // A POST that was sent and not answered may have happened: by default an operator is asked.
    place.write("ask.yaml", call(&server, "/never", "post", timeout).replace("'1.0.0'", "'1.0.1'"));
    let out = place.cpd(&["run", "ask.yaml", "-q"]).calm();
    assert!(matches!(out.code, Some(3 | 6)), "{out:?}");
    place.cpd(&["replay", "last", "-q"]).exits(0);
}

#[test]
fn nobody_at_the_address_faults_the_run() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let tasks =
        format!("  - ask:\n      call: http\n      with: {{ method: post, endpoint: 'http://127.0.0.1:{port}/' }}\n");
    place.write("ask.yaml", workflow("ask", &tasks));
    place.cpd(&["run", "ask.yaml", "-q"]).exits(3).says(&[&port.to_string(), "at task /do/0/ask"]);
}

#[test]
fn atlas_that_nobody_configured_is_said_with_the_way_out() {
    let place = Place::new();
    let tasks = "  - train: { call: atlas.retrain, with: { model: m, reason: r, data: d.csv } }\n";
    place.write("train.yaml", workflow("train", tasks));
    place.cpd(&["run", "train.yaml", "-q"]).exits(3).says(&[
        "nobody said where Atlas is",
        "CPD_ATLAS_MLFLOW_URL",
        "cpd sandbox",
    ]);
}

#[test]
fn a_wrong_configuration_is_refused_by_line() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    place.write("c.toml", "[connectors.htp]\n");
    place.cpd(&["run", "add.yaml", "--config", "c.toml"]).exits(1).says(&[
        "read the configuration c.toml",
        "`htp`",
        "`http`",
    ]);
    place.write("c.toml", "[connectors.http]\ntimeout_ms = \"soon\"\n");
    place.cpd(&["run", "add.yaml", "--config", "c.toml"]).exits(1).says(&["c.toml", "line 2", "timeout_ms"]);
    place
        .cpd(&["run", "add.yaml", "--config", "gone.toml"])
        .exits(1)
        .says(&["read the configuration gone.toml", "No such file"]);
    assert!(!place.data().exists(), "nothing is half done");
}

#[test]
fn a_second_process_is_refused_and_told_whose_the_directory_is() {
    let (place, server) = (Place::new(), Server::start());
    place.write("gate.yaml", call(&server, "/gate", "get", ""));
    place.write("add.yaml", SUM);
    let first: Running = place.start(&["run", "gate.yaml", "-q", "--json"]);
    let pid = first.id().to_string();
    eventually("the call", || (!server.calls().is_empty()).then_some(()));
    for args in
        [&["run", "add.yaml", "a=1", "b=2"][..], &["register", "add.yaml"], &["cancel", "last"], &["resume", "last"]]
    {
        place.cpd(args).exits(1).says(&[&pid, ".cpd"]);
    }
    // Looking is allowed.
    assert_eq!(place.cpd(&["runs", "--json"]).exits(0).lines().len(), 1);
    place.cpd(&["why", "last"]).exits(0).prints(&["the outcome of http.request at /do/0/ask"]);
    place.cpd(&["journal", "verify"]).exits(0);
    server.open_gate();
    assert_eq!(first.wait().exits(0).json()["status"], "completed");
    // A lock whose owner is gone holds nobody up.
    place.cpd(&["run", "add.yaml", "a=1", "b=2"]).exits(0);
}

#[test]
fn a_data_directory_that_is_a_file_is_refused_by_name() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    place.write("file", "I am a file");
    for args in [
        &["run", "add.yaml", "--data", "file"][..],
        &["runs", "--data", "file"],
        &["register", "add.yaml", "--data", "file"],
    ] {
        place.cpd(args).exits(1).says(&["file", "is not a directory"]);
    }
    assert_eq!(std::fs::read_to_string(place.path("file")).expect("a file"), "I am a file");
    place.cpd(&["demo", "--data", "file"]).exits(1).says(&["file"]);
}

/// Mounts a file system for the time of a test; `None`, said aloud, where that is not allowed.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn tmpfs(path: &'a Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(path).expect("a directory");
        let out = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output();
        match out {
            Ok(out) if out.status.success() => Some(Self(path)),
            other => {
                println!("SKIPPED: mounting a tmpfs is not allowed here: {other:?}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let status =
            std::process::Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0).status();
        assert!(status.expect("mount").success());
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(self.0).status());
    }
}

#[test]
fn a_read_only_data_directory_can_be_looked_at_and_not_written() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    let data = place.data();
    let Some(mount) = Mount::tmpfs(&data, "size=64m") else { return };
    place.cpd(&["run", "add.yaml", "a=1", "b=2"]).exits(0);
    mount.remount("ro");
    assert_eq!(place.cpd(&["runs", "--json"]).exits(0).lines().len(), 1);
    place.cpd(&["log", "last"]).exits(0);
    place.cpd(&["replay", "last", "-q"]).exits(0);
    place.cpd(&["audit", "verify"]).exits(0);
    for args in [&["run", "add.yaml", "a=1", "b=2"][..], &["cancel", "last"], &["demo"]] {
        place.cpd(args).exits(1).says(&["Read-only file system", ".cpd"]);
    }
    mount.remount("rw");
    place.cpd(&["run", "add.yaml", "a=1", "b=2"]).exits(0);
}

#[test]
fn a_full_disk_stops_the_work_and_loses_nothing() {
    let place = Place::new();
    let data = place.data();
    place.write("grow.yaml", "document: { dsl: '1.0.3', namespace: test, name: grow, version: '1.0.0' }\ndo:\n  - grow: { set: { text: '${ .text }' } }\n  - done: { set: { grown: true } }\n");
    // No document is so large that it is stored apart, once for all runs.
    place.write("in.json", format!("{{\"text\": \"{}\"}}", "x".repeat(60_000)));
    let Some(mount) = Mount::tmpfs(&data, "size=4m") else { return };
    let mut acknowledged = Vec::new();
    let mut full = false;
    for _ in 0..200 {
        let out = place.cpd(&["run", "grow.yaml", "-i", "@in.json", "-q", "--json"]);
        if out.code != Some(0) {
            let out = out.exits(1).says(&["No space left on device"]);
            assert_eq!(out.stdout, "", "nothing is acknowledged");
            full = true;
            break;
        }
        acknowledged.push(out.json()["runId"].as_str().expect("an id").to_owned());
    }
    assert!(full, "4 MB are full at some point");
    assert!(!acknowledged.is_empty());
    // Still full: everything can be looked at.
    for id in &acknowledged {
        assert_eq!(place.cpd(&["show", id, "--json"]).exits(0).json()["status"], "completed");
    }
    place.cpd(&["audit", "verify"]).exits(0);
    // Who asks for it waits.
    let mut waiting = place.start(&["run", "grow.yaml", "-i", "@in.json", "-q", "--json", "--wait"]);
    assert!(!waiting.ends_within(std::time::Duration::from_secs(4)), "longer than without `--wait`");
    // There is room again, and it goes on.
    mount.remount("size=64m");
    let out = waiting.wait().exits(0);
    acknowledged.push(out.json()["runId"].as_str().expect("an id").to_owned());
    for _ in 0..3 {
        let out = place.cpd(&["run", "grow.yaml", "-i", "@in.json", "-q", "--json"]).exits(0);
        acknowledged.push(out.json()["runId"].as_str().expect("an id").to_owned());
    }
    for id in &acknowledged {
        assert_eq!(place.cpd(&["show", id, "--json"]).exits(0).json()["status"], "completed");
    }
    place.cpd(&["audit", "verify"]).exits(0);
}

#[test]
fn a_full_standard_output_is_reported() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    detached(&place, &["add.yaml", "a=1", "b=2"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let out = finish(place.command(&["runs"]).stdout(full));
    out.exits(1).says(&["write to standard output", "No space left on device"]);
}
