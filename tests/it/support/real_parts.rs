//! The real parts of the tests: an MLflow server, a training service that trains, the German credit data, an MCP server, an A2A agent,
//! a service with an OpenAPI document. The programs are in `tests/real/`; this starts and stops them.
//!
//! `CPD_REAL_PARTS` says what to do:
//!
//! | value | when `.venv` is there | when it is not |
//! |---|---|---|
//! | `require` | uses them | fails |
//! | (not set) | uses them | skips, in a line on standard error |
//! | `skip` | skips, in a line on standard error | the same |
//!
//! `tests/real/setup.sh` makes `.venv`. MLflow takes ten seconds to start, and every test may be a process of its own: if
//! `CPD_TEST_MLFLOW_URL` names a server that runs already, that one is used. So tests share a server, and must use names that are theirs alone.
//!
//! A part lives no longer than its [`Part`]: it holds the other end of the part's standard input, which a killed test lets go, too.
//! Nothing here waits by sleeping: a part that is up says so in a line, a part that has ended closes its output.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

/// The programs of `tests/real/` and the Python that runs them.
#[derive(Debug)]
pub struct RealParts {
    python: PathBuf,
    scripts: PathBuf,
}

impl RealParts {
    /// The real parts, or `None` after a line that says loudly why `test` is skipped.
    ///
    /// # Panics
    /// If they are required and not there.
    pub fn find(test: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let venv = std::env::var_os("CPD_VENV").map_or_else(|| root.join(".venv"), PathBuf::from);
        let wish = std::env::var("CPD_REAL_PARTS").unwrap_or_default();
        match plan(&wish, venv.join(".requirements").is_file()) {
            Ok(()) => Some(Self { python: venv.join("bin/python"), scripts: root.join("tests/real") }),
            Err(Refusal::Skip(why)) => {
                // Straight to the stream: a captured line would not be seen.
                let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
                None
            }
            Err(Refusal::Fail(why)) => panic!("{test}: {why}"),
        }
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(script));
        command
    }

    /// Writes the German credit data into `dir`, split by `age` or `order`, and returns what the public tool says about it.
    pub fn data(&self, dir: &Path, split: &str) -> Value {
        let output = self.command("data.py").arg(dir).args(["--split", split]).output().expect("data.py can be run");
        assert!(output.status.success(), "data.py: {}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read(dir.join("psi.json")).expect("data.py has written psi.json");
        serde_json::from_slice(&text).expect("psi.json is JSON")
    }

    /// An MLflow server: the one that runs for all tests, or one of our own that lives in `dir`.
    pub fn mlflow(&self, dir: &Path) -> Mlflow {
        if let Ok(url) = std::env::var("CPD_TEST_MLFLOW_URL") {
            return Mlflow { url, _part: None };
        }
        let mut command = self.command("mlflow_server.py");
        command.arg("--dir").arg(dir);
        let part = Part::start(command, &dir.join("launcher.log"));
        Mlflow { url: part.url.clone(), _part: Some(part) }
    }

    /// The training service. With `crash_at` it kills itself when a job comes to that stage.
    pub fn training(&self, mlflow: &Mlflow, data: &Path, state: &Path, crash_at: Option<&str>) -> Part {
        let mut command = self.command("training_service.py");
        command.args(["--mlflow", &mlflow.url]).arg("--data").arg(data).arg("--state").arg(state);
        if let Some(stage) = crash_at {
            command.args(["--crash-at", stage]);
        }
        Part::start(command, &state.join("training.log"))
    }
}

impl RealParts {
    /// An MCP server over streamable HTTP; with `json` it answers with JSON instead of event streams.
    pub fn mcp_server(&self, dir: &Path, json: bool) -> Part {
        let mut command = self.command("mcp_server.py");
        command.args(json.then_some("--json"));
        Part::start(command, &dir.join("mcp.log"))
    }

    /// The command and the arguments of the same server over standard input and output.
    pub fn mcp_stdio(&self) -> (String, [String; 2]) {
        let script = self.scripts.join("mcp_server.py");
        (self.python.to_string_lossy().into_owned(), [script.to_string_lossy().into_owned(), "--stdio".into()])
    }

    /// A service whose framework writes its OpenAPI document, at `/api/openapi.json`.
    pub fn openapi_service(&self, dir: &Path) -> Part {
        Part::start(self.command("openapi_service.py"), &dir.join("openapi.log"))
    }

    /// An A2A agent; with a version its card offers only that one.
    pub fn a2a_agent(&self, dir: &Path, version: Option<&str>) -> Part {
        let mut command = self.command("a2a_agent.py");
        if let Some(version) = version {
            command.args(["--version", version]);
        }
        Part::start(command, &dir.join("a2a.log"))
    }
}

/// Why there are no real parts for this test.
#[derive(Debug, PartialEq)]
enum Refusal {
    Skip(&'static str),
    Fail(&'static str),
}

fn plan(wish: &str, installed: bool) -> Result<(), Refusal> {
    match (wish, installed) {
        ("skip", _) => Err(Refusal::Skip("CPD_REAL_PARTS=skip")),
        ("require" | "", true) => Ok(()),
        ("", false) => Err(Refusal::Skip("the real parts are not installed; tests/real/setup.sh does it")),
        ("require", false) => {
            Err(Refusal::Fail("the real parts are required and not installed: run tests/real/setup.sh"))
        }
        _ => Err(Refusal::Fail("CPD_REAL_PARTS is neither `require` nor `skip`")),
    }
}

/// A real MLflow server.
#[derive(Debug)]
pub struct Mlflow {
    /// Its base address.
    pub url: String,
    _part: Option<Part>,
}

/// A running program of `tests/real/`. It ends when this is dropped.
#[derive(Debug)]
pub struct Part {
    /// Where it listens.
    pub url: String,
    child: Child,
    // Open as long as the part shall live.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Part {
    /// Starts a part and waits for its first line. What it says on standard error goes into `log`.
    fn start(mut command: Command, log: &Path) -> Self {
        std::fs::create_dir_all(log.parent().expect("a log lies in a directory"))
            .expect("the part's directory can be made");
        let errors = File::options().create(true).append(true).open(log).expect("the part's log can be opened");
        command.arg("--with-stdin").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().expect("the venv's python can be run");
        let stdin = child.stdin.take();
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is a pipe");
        // Its one line or its end, whichever comes first: the part sets itself a limit.
        BufReader::new(output).read_line(&mut line).expect("a part's output is text");
        let mut part = Self { url: String::new(), child, stdin, log: log.to_owned() };
        match serde_json::from_str::<Value>(&line) {
            Ok(up) if up["url"].is_string() => part.url = up["url"].as_str().unwrap_or_default().to_owned(),
            _ => panic!("{command:?} did not come up: {line:?}\n{}", part.said()),
        }
        part
    }

    /// What it has said on standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it the way the machine would, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Waits until it has ended by itself; returns the signal that ended it, if one did.
    pub fn ended(mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        self.child.wait().expect("it is our child").signal()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The part takes its own children along; killed outright it could not.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_parts_are_used_required_or_skipped_as_asked() {
        assert_eq!(plan("", true), Ok(()));
        assert_eq!(plan("require", true), Ok(()));
        assert!(matches!(plan("", false), Err(Refusal::Skip(_))));
        assert!(matches!(plan("skip", true), Err(Refusal::Skip(_))));
        assert!(matches!(plan("skip", false), Err(Refusal::Skip(_))));
        assert!(matches!(plan("require", false), Err(Refusal::Fail(_))));
        assert!(matches!(plan("requires", true), Err(Refusal::Fail(_))));
    }
}
