//! What the end of a process means for its task.
//!
//! | the process | `return` | outcome |
//! |---|---|---|
//! | exited with 0 | any | succeeded |
//! | exited with another code, or died of a signal (128 + its number, as shells have it) | `code`, `all` | succeeded: the workflow asked for the code |
//! | the same | `stdout`, `stderr`, `none` | failed: `runtime`, with the code and the end of stderr; retried by policy |
//! | passed a limit of the operator | any | refused: it would again; `timeout` or `runtime` |
//! | was not started | – | failed: nothing happened |
//! | deadline, cancellation, launcher or container engine lost | – | unknown: it was ended half-way, or nobody can say |
//!
//! The specification says nothing of codes other than 0. sdk-java lets a shell command pass whatever its code, and fails a
//! container; we fail both, because a task that failed without a word is found too late, and whoever expects a code asks for it.

use cpd_connector_api::{Outcome, Problem, Standard, Success, Value, json};

use super::child::Output;
use super::input::Return;
use super::launch::protocol::{End, Limit};

/// How much of stderr goes into a problem.
const EXCERPT: usize = 1000;

/// How a process ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i64),
    Signal(i32),
}

impl Exit {
    /// The code as shells have it.
    pub(super) fn code(self) -> i64 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + i64::from(signal),
        }
    }

    fn says(self) -> String {
        match self {
            Exit::Code(code) => format!("it exited with code {code}"),
            Exit::Signal(24) => "it was ended by SIGXCPU: it used up its processor time".into(),
            Exit::Signal(25) => {
                "it was ended by SIGXFSZ: it wrote a file larger than `file_bytes_max` of [connectors.process]".into()
            }
            Exit::Signal(signal) => format!("it was ended by signal {signal}"),
        }
    }
}

/// The outcome of a process that ended by itself.
pub(super) fn ended(task: &str, returns: Return, exit: Exit, output: &Output, evidence: Value) -> Outcome {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).as_ref());
    let output = match (returns, exit) {
        (Return::Code, _) => Value::from(exit.code()),
        (Return::All, _) => Value::from([
            ("code", Value::from(exit.code())),
            ("stdout", text(&output.stdout)),
            ("stderr", text(&output.stderr)),
        ]),
        (Return::Stdout, Exit::Code(0)) => text(&output.stdout),
        (Return::Stderr, Exit::Code(0)) => text(&output.stderr),
        (Return::None, Exit::Code(0)) => Value::Null,
        (Return::Stdout | Return::Stderr | Return::None, _) => return Outcome::failed(unwell(task, exit, output)),
    };
    Outcome::Succeeded(Success { output, evidence: Some(evidence) })
}

fn unwell(task: &str, exit: Exit, output: &Output) -> Problem {
    let excerpt = end_of(&output.stderr);
    let detail = format!("run {task}: {}{}", exit.says(), behind(&excerpt));
    Problem::standard(Standard::Runtime, detail).with_data(json!({"code": exit.code(), "stderr": excerpt}))
}

fn behind(excerpt: &str) -> String {
    if excerpt.is_empty() { String::new() } else { format!("; stderr ends: {excerpt}") }
}

/// The outcome of a process that was ended at a limit.
pub(super) fn over(task: &str, limit: Limit, stderr: &[u8]) -> Outcome {
    let kind = match limit {
        Limit::Time { .. } => Standard::Timeout,
        Limit::Memory { .. } | Limit::Processes { .. } => Standard::Runtime,
    };
    let setting = limit.setting();
    let behind = behind(&end_of(stderr));
    let detail = format!("run {task}: {limit} (`{setting}` of [connectors.process]), and was ended{behind}");
    Outcome::Refused(Problem::standard(kind, detail))
}

/// The outcome of a process that was ended because it wrote too much.
pub(super) fn too_much(task: &str, stream: &str, most: usize) -> Outcome {
    let detail = format!(
        "run {task}: it wrote more than {most} bytes to {stream} (`output_bytes_max` of [connectors.process]), and was \
         ended; write large results to a place of their own"
    );
    Outcome::Refused(Problem::standard(Standard::Runtime, detail))
}

/// The outcome of a process of which nobody knows what became.
pub(super) fn lost(task: &str, what: &str) -> Outcome {
    Outcome::Unknown(Problem::standard(Standard::Runtime, format!("run {task}: {what}")))
}

/// What the end of the guardian's watch means, if the process ended by itself.
pub(super) fn exit_of(end: End) -> Option<Exit> {
    match end {
        End::Exited(code) => Some(Exit::Code(code.into())),
        End::Signalled(signal) => Some(Exit::Signal(signal)),
        End::Over(_) | End::Ordered => None,
    }
}

/// The end of stderr, whole lines. A first line that was cut is left out: half a secret would not be recognised as one.
pub(super) fn end_of(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim_end();
    if text.len() <= EXCERPT {
        return text.trim_start().to_owned();
    }
    let from = (text.len() - EXCERPT..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text[from..].split_once('\n').map_or(String::new(), |(_, lines)| format!("… {lines}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output {
        Output { stdout: b"out\n".to_vec(), stderr: b"oh\nno\n".to_vec() }
    }

    fn of(returns: Return, exit: Exit) -> Outcome {
        ended("/do/0/x", returns, exit, &output(), Value::Null)
    }

    #[test]
    fn each_return_has_its_output() {
        let got = |returns| match of(returns, Exit::Code(0)) {
            Outcome::Succeeded(s) => s.output.to_json(),
            other => panic!("{other:?}"),
        };
        assert_eq!(got(Return::Stdout), r#""out\n""#);
        assert_eq!(got(Return::Stderr), r#""oh\nno\n""#);
        assert_eq!(got(Return::Code), "0");
        assert_eq!(got(Return::All), r#"{"code":0,"stdout":"out\n","stderr":"oh\nno\n"}"#);
        assert_eq!(got(Return::None), "null");
    }

    #[test]
    fn a_code_other_than_0_fails_unless_the_code_was_asked_for() {
        for returns in [Return::Stdout, Return::Stderr, Return::None] {
            let Outcome::Failed { problem, .. } = of(returns, Exit::Code(3)) else { panic!("{returns:?}") };
            assert_eq!(problem.detail.as_deref(), Some("run /do/0/x: it exited with code 3; stderr ends: oh\nno"));
            assert_eq!(problem.data.unwrap().to_json(), r#"{"code":3,"stderr":"oh\nno"}"#);
        }
        for returns in [Return::Code, Return::All] {
            assert_eq!(of(returns, Exit::Signal(9)).name(), "succeeded");
        }
        let Outcome::Succeeded(s) = of(Return::Code, Exit::Signal(9)) else { panic!("failed") };
        assert_eq!(s.output, Value::from(137_i64));
    }

    #[test]
    fn an_excerpt_never_begins_within_a_line() {
        let long = format!("token={}\n{}\nlast", "s".repeat(2000), "é".repeat(400));
        assert_eq!(end_of(long.as_bytes()), format!("… {}\nlast", "é".repeat(400)));
        assert_eq!(end_of("s".repeat(5000).as_bytes()), "", "one long line may be half a secret");
        assert_eq!(end_of(b"\n"), "");
    }
}
