//! Which program runs, and with which arguments: the operator's permission turned into an order for the launcher.
//!
//! A shell command goes to `/bin/sh -c` with the arguments as `$1`, `$2`, …: they are never pasted into its text. With a list of
//! `commands` there is no shell at all: the command has to be one program of the list and plain words, and the program is
//! started with them and the arguments. A list of words in front of a shell would be no list.
//!
//! Scripts are files in the private directory, so that errors name them and stdin is free. Python runs isolated (`-I`: no
//! variables, user packages or current directory in its path), JavaScript as a module.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cpd_connector_api::{Problem, Request, Standard, Value};
use parking_lot::Mutex;
use tokio::process::Command;
use tokio::time::timeout;

use super::config::{Kind, ProcessConfig};
use super::input::{Common, invalid, plain};
use super::launch::protocol::{Limits, Order, Script};

/// Where programs are looked up if the daemon was started without a `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long an interpreter may take to say its version.
const VERSION_PATIENCE: Duration = Duration::from_secs(10);

/// Refuses what the operator does not allow.
///
/// # Errors
/// An `authorization` problem that names the setting.
pub(super) fn permitted(config: &ProcessConfig, kind: Kind) -> Result<(), Problem> {
    if config.allow.contains(&kind) {
        return Ok(());
    }
    let detail = format!(
        "run a {kind}: the operator does not allow it; `allow` of [connectors.process] in cpd.toml would have to list \
         {:?}",
        kind.name()
    );
    Err(Problem::standard(Standard::Authorization, detail))
}

/// The order for a shell command.
///
/// # Errors
/// If the command is not on the list of commands, or cannot be handed to a program.
pub(super) fn shell(config: &ProcessConfig, common: &Common, process: &Value) -> Result<Order, Problem> {
    let command = process.get("command").and_then(Value::as_str).unwrap_or("");
    plain("`command`", command)?;
    if config.commands.is_empty() {
        let flags = vec!["-c".to_owned(), command.to_owned(), "sh".to_owned()];
        return Ok(order(config, common, "/bin/sh".into(), flags, None));
    }
    let mut words = command.split_ascii_whitespace().map(str::to_owned);
    let name = words.next().unwrap_or_default();
    let refuse = |what: String| Err(Problem::standard(Standard::Authorization, what));
    if !config.commands.contains(&name) {
        let listed = config.commands.join(", ");
        return refuse(format!(
            "run a shell: found the command {name:?}, expected one of `commands` of [connectors.process]: {listed}"
        ));
    }
    if let Some(odd) = command.chars().find(|c| !(c.is_ascii_alphanumeric() || " \t\n_./:=@%+,-".contains(*c))) {
        return refuse(format!(
            "run a shell: found {odd:?} in the command; with `commands` of [connectors.process] there is no shell, only a \
             program and plain words; put the rest into `arguments`"
        ));
    }
    if let Some((name, _)) = common.environment.iter().find(|(name, _)| name == "PATH" || name.starts_with("LD_")) {
        return refuse(format!(
            "run a shell: found the variable {name}; with `commands` of [connectors.process] it cannot be set"
        ));
    }
    let program = find(Path::new(&name), "commands")?;
    Ok(order(config, common, program, words.collect(), None))
}

/// The order for a script.
///
/// # Errors
/// If there is no text, both texts, or no interpreter.
pub(super) fn script(
    config: &ProcessConfig,
    common: &Common,
    process: &Value,
    request: &Request,
) -> Result<Order, Problem> {
    let text = match (process.get("code"), process.get("source")) {
        (Some(code), None) => code.as_str().unwrap_or("").to_owned(),
        (None, Some(source)) => request.resources.get(uri(source))?.text()?.to_owned(),
        (None, None) => return Err(invalid("`script`: found neither `code` nor `source`, expected one of them")),
        (Some(_), Some(_)) => return Err(invalid("`script`: found `code` and `source`, expected one of them")),
    };
    let (interpreter, setting, flags, name) = match process.get("language").and_then(Value::as_str) {
        Some("python") => {
            let flags: &[&str] = &["-I", "-B", "-X", "utf8"];
            (&config.interpreters.python, "interpreters.python", flags, "script.py")
        }
        _ => (&config.interpreters.js, "interpreters.js", &["--no-warnings"][..], "script.mjs"),
    };
    let program = find(interpreter, setting)?;
    let flags = flags.iter().map(|f| (*f).to_owned()).collect();
    Ok(order(config, common, program, flags, Some(Script { name: name.to_owned(), text })))
}

/// The address of an external script, as the definition writes it.
fn uri(source: &Value) -> &str {
    let endpoint = source.get("endpoint").unwrap_or(source);
    endpoint.as_str().or_else(|| endpoint.get("uri").and_then(Value::as_str)).unwrap_or("")
}

fn order(
    config: &ProcessConfig,
    common: &Common,
    program: PathBuf,
    flags: Vec<String>,
    script: Option<Script>,
) -> Order {
    // The definition's variables come last: they may say another language, and other programs unless those are listed.
    let mut environment =
        vec![("PATH".to_owned(), path().to_string_lossy().into_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())];
    environment.extend(common.environment.iter().cloned());
    Order {
        program,
        flags,
        script,
        arguments: common.arguments.clone(),
        environment,
        stdin: common.stdin.clone(),
        work_dir: config.work_dir.clone().unwrap_or_else(env::temp_dir),
        limits: Limits {
            time_ms: config.time_ms_max,
            memory_bytes: config.memory_bytes_max,
            file_bytes: config.file_bytes_max,
            processes: config.processes_max,
        },
    }
}

/// Where programs are: the daemon's `PATH` is the one variable that processes have in common with it.
fn path() -> OsString {
    env::var_os("PATH").filter(|p| !p.is_empty()).unwrap_or_else(|| PATH.into())
}

/// The file of a program: a path as it is, a name by the daemon's `PATH`.
fn find(program: &Path, setting: &str) -> Result<PathBuf, Problem> {
    let runs = |p: &Path| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let found = if program.components().count() > 1 {
        Some(program.to_owned()).filter(|p| p.is_absolute() && runs(p))
    } else {
        env::split_paths(&path()).filter(|d| d.is_absolute()).map(|d| d.join(program)).find(|p| runs(p))
    };
    found.ok_or_else(|| {
        let detail = format!(
            "find the program {}: it is neither an absolute path to a program nor in the PATH of cpd; it comes from \
             `{setting}` of [connectors.process]",
            program.display()
        );
        Problem::standard(Standard::Configuration, detail)
    })
}

/// What interpreters say that they are, asked once each.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<BTreeMap<PathBuf, Option<String>>>);

impl Versions {
    /// The version of a program; `None` if it does not say one.
    pub(super) async fn of(&self, program: &Path) -> Option<String> {
        if let Some(known) = self.0.lock().get(program) {
            return known.clone();
        }
        let mut command = Command::new(program);
        command
            .arg("--version")
            .env_clear()
            .env("PATH", path())
            .current_dir("/")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let said = timeout(VERSION_PATIENCE, command.output()).await.ok().and_then(Result::ok);
        let version = said.and_then(|output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().map(|line| line.trim().chars().take(100).collect())
        });
        self.0.lock().insert(program.to_owned(), version.clone());
        version
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;

    use super::*;
    use crate::process::input::Return;

    fn common() -> Common {
        Common {
            wait: true,
            returns: Return::Stdout,
            input: Value::Null,
            stdin: String::new(),
            arguments: vec!["$(id)".into()],
            environment: Vec::new(),
        }
    }

    fn listed() -> ProcessConfig {
        ProcessConfig { commands: vec!["ls".into()], ..ProcessConfig::default() }
    }

    #[test]
    fn arguments_are_never_part_of_the_command_text() {
        let order = shell(&ProcessConfig::default(), &common(), &json!({"command": "echo \"$1\""})).unwrap();
        assert_eq!(order.program, Path::new("/bin/sh"));
        assert_eq!(order.flags, ["-c", "echo \"$1\"", "sh"]);
        assert_eq!(order.arguments, ["$(id)"]);
    }

    #[test]
    fn with_a_list_of_commands_there_is_no_shell() {
        let order = shell(&listed(), &common(), &json!({"command": " ls -l\t/tmp "})).unwrap();
        assert!(order.program.is_absolute() && order.program.ends_with("ls"), "{order:?}");
        assert_eq!((order.flags, order.arguments), (vec!["-l".into(), "/tmp".into()], vec!["$(id)".to_owned()]));
        for (command, what) in [
            ("rm -rf /", "found the command \"rm\""),
            ("ls; rm x", "found the command \"ls;\""),
            ("ls $(rm x)", "found '$'"),
            ("ls | sh", "found '|'"),
            ("ls\n rm `x`", "found '`'"),
            ("/bin/ls", "found the command \"/bin/ls\""),
            ("PATH=. ls", "found the command"),
        ] {
            let problem = shell(&listed(), &common(), &json!({"command": command})).unwrap_err();
            assert_eq!(problem.status, 403, "{command}");
            assert!(problem.detail.as_deref().unwrap().contains(what), "{command}: {problem:?}");
        }
        let preloaded = Common { environment: vec![("LD_PRELOAD".into(), "x".into())], ..common() };
        assert!(shell(&listed(), &preloaded, &json!({"command": "ls"})).is_err());
    }

    #[test]
    fn a_program_that_is_not_there_is_told_with_its_setting() {
        let problem = find(Path::new("no-such-program-anywhere"), "interpreters.js").unwrap_err();
        assert!(problem.detail.unwrap().contains("`interpreters.js` of [connectors.process]"));
        assert!(find(Path::new("bin/sh"), "x").is_err(), "relative to nothing in particular");
        assert!(find(Path::new("/etc/passwd"), "x").is_err(), "no program");
    }
}
