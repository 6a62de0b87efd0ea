//! `call: mcp` over standard input and output, with programs that misbehave: shell scripts, after the protocol's specification.

use std::path::Path;
use std::time::{Duration, Instant};

use cpd_connector_api::{Connector, Outcome, Value, json};
use cpd_connectors::http::HttpConfig;
use cpd_connectors::mcp::{Mcp, McpConfig};

use crate::support::*;

fn mcp(timeout_ms: u64) -> Mcp {
    let config =
        McpConfig { allow_stdio: vec!["sh".into(), "no-such-program".into()], timeout_ms, ..McpConfig::default() };
    Mcp::new(config, &authenticator(HttpConfig { answer_bytes_max: 100_000, ..HttpConfig::default() }))
}

/// Answers the handshake, then does `then` with the request in `$line`.
fn shaking_hands(then: &str) -> String {
    format!(
        r#"read -r line
printf '%s\n' '{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"2025-06-18","capabilities":{{}},"serverInfo":{{"name":"sh","version":"1"}}}}}}'
read -r initialized
read -r line
id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
{then}"#
    )
}

fn with(script: &str, method: &str) -> Value {
    json!({
        "method": method, "parameters": {"name": "echo"},
        "transport": {"stdio": {
            "command": "sh", "arguments": ["-c", script], "environment": {"GREETING": "hello", "API_TOKEN": TOKEN},
        }},
    })
}

async fn ask(script: &str, method: &str, timeout_ms: u64) -> Outcome {
    mcp(timeout_ms).call(request("mcp.call", "r/t", with(script, method))).await
}

const ANSWER: &str = r#"printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[],"said":"%s"}}\n' "$id" "$GREETING""#;

#[tokio::test]
async fn a_program_is_asked_and_what_it_says_on_the_side_is_kept() {
    let script = shaking_hands(&format!("echo starting >&2\necho 'Welcome to this server'\n{ANSWER}"));
    let Outcome::Succeeded(success) = ask(&script, "tools/call", 10_000).await else { panic!("expected success") };
    assert_eq!(success.output, json!({"content": [], "said": "hello"}));
    let evidence = success.evidence.unwrap();
    assert_eq!(text(&evidence, &["server", "name"]), "sh");
    assert_eq!(text(&evidence, &["stderr"]), "starting");
}

#[tokio::test]
async fn the_environment_is_the_path_and_what_the_definition_gives_and_secrets_stay_inside() {
    let script = format!("env >&2\n{}", shaking_hands(ANSWER));
    let Outcome::Succeeded(success) = ask(&script, "tools/call", 10_000).await else { panic!("expected success") };
    let evidence = success.evidence.unwrap();
    let stderr = text(&evidence, &["stderr"]).to_owned();
    let mut names: Vec<_> = stderr.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["API_TOKEN", "GREETING", "PATH"], "{stderr}");
    assert!(stderr.contains("API_TOKEN=[redacted]") && !stderr.contains(TOKEN), "{stderr}");
}

#[tokio::test]
async fn a_program_that_nobody_allowed_does_not_run() {
    let none = Mcp::new(McpConfig::default(), &authenticator(HttpConfig::default()));
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("ran");
    let script = format!("touch {}", trace.display());
    let outcome = none.call(request("mcp.call", "k", with(&script, "tools/list"))).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(problem.kind.ends_with("/configuration") && detail(problem).contains("`allow_stdio`"), "{problem}");
    assert!(!trace.exists());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_refused_by_name() {
    let transport = json!({"stdio": {"command": "no-such-program"}});
    let outcome =
        mcp(1_000).call(request("mcp.call", "k", json!({"method": "tools/list", "transport": transport}))).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "refused");
    assert!(detail(problem).contains("\"no-such-program\"") && detail(problem).contains("PATH"), "{problem}");
}

#[tokio::test]
async fn every_bad_program_ends_the_call_and_says_what_is_known() {
    let asked = |then: &str| shaking_hands(then);
    for (what, script, reading, calling, said) in [
        ("exits at once", "echo no licence >&2; exit 3".to_owned(), "failed", "failed", "exit status: 3"),
        ("exits when asked", asked("exit 4"), "failed", "unknown", "exit status: 4"),
        (
            "prints garbage",
            "while :; do echo garbage; done".into(),
            "failed",
            "failed",
            "1000 lines that are no JSON-RPC",
        ),
        ("prints garbage when asked", asked("while :; do echo garbage; done"), "failed", "unknown", "garbage"),
        ("prints no line's end", asked("head -c 40000000 /dev/zero"), "failed", "unknown", "more than 100000 bytes"),
        ("says nothing", "cat >/dev/null".into(), "failed", "failed", "no answer within 1500 ms"),
        ("says nothing when asked", asked("cat >/dev/null"), "failed", "unknown", "no answer within 1500 ms"),
        (
            "answers someone else",
            asked(r#"echo '{"jsonrpc":"2.0","id":77,"result":{}}'; cat >/dev/null"#),
            "failed",
            "unknown",
            "no answer within 1500 ms",
        ),
    ] {
        for (method, expected) in [("prompts/get", reading), ("tools/call", calling)] {
            let outcome = ask(&script, method, 1_500).await;
            let (name, problem) = trouble(&outcome);
            assert_eq!(name, expected, "{what}: {problem}");
            assert!(detail(problem).contains(said), "{what}: {problem}");
            assert!(detail(problem).len() < 1_000, "{what}: {problem}");
        }
    }
}

#[tokio::test]
async fn what_a_program_said_before_it_ended_is_in_the_problem() {
    let outcome = ask("echo no licence >&2; exit 3", "tools/list", 5_000).await;
    let data = trouble(&outcome).1.data.clone().unwrap();
    assert_eq!(text(&data, &["stderr"]), "no licence");
}

/// Whether a process is there and has not ended: a zombie nobody has reaped yet counts as ended.
fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

/// The number that a script has written into a file, once it has.
async fn written(file: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(Instant::now() < end, "{} was never written", file.display()),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cancelled_call_takes_its_program_and_what_that_started_along() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    // A grandchild that heeds no signal but the last.
    let script = format!("trap '' TERM; (trap '' TERM; exec tail -f /dev/null) & echo $! > {}; wait", file.display());
    let asked = request("mcp.call", "k", with(&script, "tools/list"));
    let cancel = asked.cancel.clone();
    let calling = tokio::spawn(async move { mcp(60_000).call(asked).await });
    let pid = written(&file).await;
    assert!(alive(&pid));
    cancel.cancel();
    let outcome = tokio::time::timeout(Duration::from_secs(10), calling).await.expect("ends soon").unwrap();
    assert_eq!(trouble(&outcome).0, "failed", "{outcome:?}");
    let end = Instant::now() + Duration::from_secs(10);
    while alive(&pid) {
        assert!(Instant::now() < end, "the grandchild {pid} lives on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_that_is_done_leaves_no_process_behind() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = shaking_hands(&format!("tail -f /dev/null & echo $! > {}\n{ANSWER}\nwait", file.display()));
    output(ask(&script, "tools/call", 10_000).await);
    let pid = written(&file).await;
    let end = Instant::now() + Duration::from_secs(10);
    while alive(&pid) {
        assert!(Instant::now() < end, "the grandchild {pid} lives on");
        tokio::task::yield_now().await;
    }
}
