//! Secrets as people and scripts meet them: named and not shown, from everywhere, and in nothing that is written or printed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;

/// What nobody may read: it looks different in each form.
const SECRET: &str = "t0k/en+\"sé~cret 42";

const ECHOED: &str = "document: { dsl: '1.0.3', namespace: test, name: echoed, version: '1.0.0' }
use: { secrets: [ token ] }
do:
  - ask:
      call: http
      with:
        method: post
        endpoint: '${ .address }'
        body: { token: '${ $secrets.token }' }
  - fail:
      call: http
      with:
        method: post
        endpoint: '${ $workflow.input.address }'
        body: { token: '${ $secrets.token }', fail: true }
";

fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// All forms in which the service repeats what it was told.
fn forms() -> Vec<String> {
    let json = serde_json::to_string(SECRET).unwrap();
    vec![
        SECRET.to_owned(),
        json[1..json.len() - 1].to_owned(),
        percent(SECRET),
        percent(SECRET).to_lowercase().replace("%20", "+"),
        STANDARD.encode(SECRET),
        URL_SAFE_NO_PAD.encode(SECRET),
        STANDARD.encode(format!("a:{SECRET}")),
        STANDARD.encode(format!("ab:{SECRET}!")),
    ]
}

/// A service that repeats everything, in every form, in its answers and in its errors.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            std::io::Read::read_exact(&mut reader, &mut body).unwrap();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(asked["token"], SECRET, "the call has the secret");
            let (status, kind) =
                if asked["fail"] == true { ("500 No", "text/plain") } else { ("200 OK", "application/json") };
            let said = serde_json::to_string(&forms()).unwrap();
            let head = format!(
                "HTTP/1.1 {status}\r\nx-echo: {}\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                percent(SECRET),
                said.len()
            );
            drop((&stream).write_all(format!("{head}{said}").as_bytes()));
        }
    });
    address
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle.as_bytes())
}

fn files_of(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() { files_of(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

#[test]
fn what_a_service_echoes_is_in_no_answer_no_log_and_no_file() {
    let place = Place::new();
    place.write("w.yaml", ECHOED);
    place.write("secret.txt", SECRET);
    place.write(".cpd/cpd.toml", format!("[secrets.commands]\ntoken = [\"cat\", {:?}]\n", place.path("secret.txt")));
    let input = serde_json::json!({ "address": echo() }).to_string();
    let run = place.cpd(&["--log", "trace", "run", "w.yaml", "--input", &input]).exits(3);
    let id = place.cpd(&["--json", "runs"]).exits(0).lines()[0]["runId"].as_str().unwrap().to_owned();
    let mut shown = run.stdout.clone() + &run.stderr;
    for args in [vec!["log", &id], vec!["--json", "log", &id], vec!["--json", "show", &id], vec!["secrets", "list"]] {
        let out = place.cpd(&args).exits(0);
        shown += &(out.stdout + &out.stderr);
    }
    assert!(shown.contains("[redacted]") && shown.contains("500"), "both answers are in there:\n{shown}");
    let mut files = Vec::new();
    files_of(&place.data().join("journal"), &mut files);
    for form in forms() {
        assert!(!shown.contains(&form), "{form} is in:\n{shown}");
        for file in &files {
            assert!(!contains(&std::fs::read(file).unwrap(), &form), "{form} is in {}", file.display());
        }
    }
}

#[test]
fn secrets_are_listed_with_where_they_come_from_and_without_their_values() {
    let place = Place::new();
    place.cpd(&["secrets", "list"]).exits(0).says(&["No secrets."]);
    place.write("secrets/from-file", "hunter2-file\n");
    place.write("secrets/.hidden", "hunter2-hidden\n");
    place.write("secrets/binary", [0xff, 0xfe]);
    let toml = format!(
        "[secrets]\ndirectory = {:?}\ncommand_timeout_ms = 300\n[secrets.commands]\nprinted = [\"echo\", \"hunter2-command\"]\n\
         slow = [\"sleep\", \"600\"]\nbroken = [\"sh\", \"-c\", \"echo hunter2-broken; exit 7\"]\n",
        place.path("secrets")
    );
    place.write(".cpd/cpd.toml", toml);
    let registered = "document: { dsl: '1.0.3', namespace: test, name: asks, version: '1.0.0' }\nuse: { secrets: [ printed, nobody-has-it ] }\n\
                      do:\n  - ask:\n      call: http\n      with: { method: get, endpoint: 'http://a.example/', headers: { a: '${ $secrets.printed + $secrets[\"nobody-has-it\"] }' } }\n";
    place.write("asks.yaml", registered);
    place.cpd(&["register", "asks.yaml"]).exits(0);
    let mut command = place.command(&["--json", "secrets", "list"]);
    let out = finish(command.env("CPD_SECRET_BY_VARIABLE", "hunter2-variable")).exits(1);
    assert!(!out.stdout.contains("hunter2") && !out.stderr.contains("hunter2"), "{out:?}");
    let of = |name: &str| {
        let found = out.lines().into_iter().find(|row| row["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {out:?}"))
    };
    assert_eq!(
        (&of("by-variable")["source"], &of("by-variable")["place"]),
        (&"environment".into(), &"CPD_SECRET_BY_VARIABLE".into())
    );
    assert_eq!((&of("from-file")["source"], &of("from-file")["resolves"]), (&"file".into(), &true.into()));
    assert_eq!((&of("printed")["source"], &of("printed")["resolves"]), (&"command".into(), &true.into()));
    assert_eq!(of("printed")["usedBy"], serde_json::json!(["test/asks:1.0.0"]));
    for (name, source, problem) in [
        ("slow", "command", "within 300 ms"),
        ("broken", "command", "exit status: 7"),
        ("binary", "file", "does not read"),
        ("nobody-has-it", "nowhere", "no variable"),
    ] {
        let row = of(name);
        assert_eq!((&row["source"], &row["resolves"]), (&source.into(), &false.into()), "{row}");
        assert!(row["problem"].as_str().unwrap().contains(problem), "{row}");
    }
    assert_eq!(out.lines().len(), 7);
    place.cpd(&["secrets", "list"]).exits(1).prints(&["SECRET", "printed", "RESOLVES", "no: "]);
    place.write(".cpd/cpd.toml", "[secrets.commands]\nempty = []\n");
    place.cpd(&["secrets", "list"]).exits(1).says(&["\"empty\"", "expected a program"]);
}
