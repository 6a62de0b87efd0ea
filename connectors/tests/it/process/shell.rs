//! Shell commands: what they are given, what comes back, and what is refused.

use cpd_connector_api::{Outcome, Value, json};
use cpd_connectors::process::ProcessConfig;
use cpd_connectors::process::config::Kind;

use super::World;
use crate::support::*;

#[tokio::test]
async fn nothing_runs_unless_the_operator_allows_it() {
    let world = World::with(ProcessConfig::default());
    let trace = world.file("ran");
    let command = format!("touch {}", trace.display());
    for (kind, with) in [
        ("shell", json!({"shell": {"command": command}})),
        ("script", json!({"script": {"language": "js", "code": "1"}})),
        ("container", json!({"container": {"image": "alpine"}})),
    ] {
        let outcome = world.run(kind, with).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!((name, problem.status), ("refused", 403), "{problem}");
        assert!(problem.kind.ends_with("/authorization"), "{problem}");
        assert!(
            detail(problem).contains("`allow` of [connectors.process]") && detail(problem).contains(kind),
            "{problem}"
        );
    }
    assert!(!trace.exists());
    // One permission is not another.
    let world = World::with(ProcessConfig { allow: [Kind::Script].into(), ..ProcessConfig::default() });
    let outcome = world.run("shell", json!({"shell": {"command": "true"}})).await;
    assert_eq!(trouble(&outcome).1.status, 403);
}

#[tokio::test]
async fn stdout_is_the_output_as_it_was_written() {
    let with = json!({"shell": {"command": r#"echo '{"a": 1}'; echo oh >&2"#}});
    let Outcome::Succeeded(success) = World::new().run("shell", with).await else { panic!("expected success") };
    assert_eq!(success.output, json!("{\"a\": 1}\n"));
    let evidence = success.evidence.unwrap();
    assert_eq!(evidence.get("stderrBytes"), Some(&json!(3)));
    assert_eq!(text(&evidence, &["program"]), "/bin/sh");
}

#[tokio::test]
async fn each_return_gives_what_it_says() {
    let world = World::new();
    for (returns, expected) in [
        ("stdout", json!("out\n")),
        ("stderr", json!("err\n")),
        ("code", json!(0)),
        ("all", json!({"code": 0, "stdout": "out\n", "stderr": "err\n"})),
        ("none", Value::Null),
    ] {
        let with = json!({"shell": {"command": "echo out; echo err >&2"}, "return": returns});
        assert_eq!(output(world.run("shell", with).await), expected, "{returns}");
    }
}

#[tokio::test]
async fn a_bad_end_fails_with_its_code_unless_the_code_was_asked_for() {
    let world = World::new();
    let with = |command: &str, returns: &str| json!({"shell": {"command": command}, "return": returns});
    let outcome = world.run("shell", with("echo no such model >&2; exit 7", "stdout")).await;
    let (name, problem) = trouble(&outcome);
    assert_eq!(name, "failed");
    assert!(problem.kind.ends_with("/runtime"), "{problem}");
    assert_eq!(detail(problem), "run /do/0/t: it exited with code 7; stderr ends: no such model");
    assert_eq!(problem.data.as_ref().unwrap(), &json!({"code": 7, "stderr": "no such model"}));
    assert_eq!(output(world.run("shell", with("exit 7", "code")).await), json!(7));
    let all = json!({"code": 143, "stdout": "", "stderr": ""});
    assert_eq!(output(world.run("shell", with("kill -TERM $$", "all")).await), all);
    let outcome = world.run("shell", with("no-such-command-anywhere", "stdout")).await;
    assert!(detail(trouble(&outcome).1).contains("code 127"), "{outcome:?}");
}

#[tokio::test]
async fn arguments_arrive_as_they_are_whatever_they_hold() {
    let world = World::new();
    let trace = world.file("injected");
    let touch = format!("$(touch {0}) `touch {0}`; touch {0} #", trace.display());
    let odd =
        [touch.as_str(), "", " ", "it's \"quoted\"", "two\nlines\n", "*", "$HOME", "-n", "\\", "é✓", "${x:-y}", "%s"];
    let arguments: Value = odd.into_iter().map(Value::from).collect();
    let with = json!({"shell": {"command": r#"printf '%s\001' "$0" "$@""#, "arguments": arguments}});
    let got = output(world.run("shell", with).await);
    let got: Vec<_> = got.as_str().unwrap().strip_suffix('\u{1}').unwrap().split('\u{1}').collect();
    assert_eq!(got[0], "sh");
    assert_eq!(got[1..], odd);
    assert!(!trace.exists());
}

#[tokio::test]
async fn a_map_of_arguments_becomes_one_argument_a_member() {
    let arguments = json!({"--user": "john doe", "--all": null, "n": 3});
    let with = json!({"shell": {"command": r#"printf '<%s>' "$@""#, "arguments": arguments}});
    assert_eq!(output(World::new().run("shell", with).await), json!("<--user=john doe><--all><n=3>"));
}

#[tokio::test]
async fn stdin_arrives_whole_and_may_be_left_unread() {
    let world = World::new();
    let large = "line of text\n".repeat(100_000);
    let with = json!({"shell": {"command": "cat", "stdin": large.as_str()}});
    assert!(output(world.run("shell", with).await) == Value::from(large.as_str()));
    let with = json!({"shell": {"command": "echo done", "stdin": large}});
    assert_eq!(output(world.run("shell", with).await), json!("done\n"));
    let with = json!({"shell": {"command": "cat", "stdin": {"a": [1, null]}}});
    assert_eq!(output(world.run("shell", with).await), json!(r#"{"a":[1,null]}"#));
    assert_eq!(output(world.run("shell", json!({"shell": {"command": "cat"}})).await), json!(""));
}

#[tokio::test]
async fn the_environment_of_the_daemon_stays_its_own() {
    // cargo has set this one for the daemon of this test.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok());
    let with = json!({"shell": {"command": "env; cat /proc/$PPID/environ", "environment": {"GREETING": "hello"}}});
    let all = output(World::new().run("shell", with).await);
    let mut names: Vec<_> = all.as_str().unwrap().lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !["OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["CPD_IDEMPOTENCY_KEY", "GREETING", "HOME", "LANG", "PATH", "PWD", "TMPDIR"], "{all}");
    assert!(all.as_str().unwrap().contains("GREETING=hello\n"), "{all}");
    assert!(all.as_str().unwrap().contains("CPD_IDEMPOTENCY_KEY=r/t\n"), "{all}");
}

#[tokio::test]
async fn it_works_in_a_directory_of_its_own_which_is_removed() {
    let world = World::new();
    let command = "pwd; stat -c %a .; ls -A; echo $HOME; umask; mkdir -p a/b; touch a/b/c; ln -s / a/root; chmod 0 a";
    let all = output(world.run("shell", json!({"shell": {"command": command}})).await);
    let lines: Vec<_> = all.as_str().unwrap().lines().collect();
    assert!(lines[0].starts_with(&format!("{}/work/cpd-", world.root.path().display())), "{all}");
    assert_eq!(lines[1..], ["700", lines[0], "0077"], "empty, private and home");
    assert_eq!(world.directories(), 0);
    assert!(std::path::Path::new("/bin/sh").exists(), "links are not followed");
}

#[tokio::test]
async fn it_leads_a_session_of_its_own_without_a_terminal_cores_or_new_privileges() {
    let command = "read -r _ _ _ _ group session terminal _ </proc/self/stat; echo $((group == session)) $terminal
        ulimit -c; ulimit -n; grep NoNewPrivs /proc/self/status";
    let all = output(World::new().run("shell", json!({"shell": {"command": command}})).await);
    assert_eq!(all, json!("1 0\n0\n512\nNoNewPrivs:\t1\n"));
}

#[tokio::test]
async fn a_list_of_commands_leaves_no_shell() {
    let config =
        ProcessConfig { allow: [Kind::Shell].into(), commands: vec!["printf".into()], ..ProcessConfig::default() };
    let world = World::with(config);
    let with = json!({"shell": {"command": "printf <%s>", "arguments": ["$(id)"]}});
    let outcome = world.run("shell", with).await;
    assert!(detail(trouble(&outcome).1).contains("found '<'"), "{outcome:?}");
    let with = json!({"shell": {"command": "printf %s,", "arguments": ["$(id)", "b c"]}});
    assert_eq!(output(world.run("shell", with).await), json!("$(id),b c,"));
    for command in ["sh -c id", "printf x; id", "printf x | id", "printf $(id)", "PATH=/tmp printf x"] {
        let outcome = world.run("shell", json!({"shell": {"command": command}})).await;
        let (name, problem) = trouble(&outcome);
        assert_eq!((name, problem.status), ("refused", 403), "{command}: {problem}");
        assert!(detail(problem).contains("`commands` of [connectors.process]"), "{command}: {problem}");
    }
}
