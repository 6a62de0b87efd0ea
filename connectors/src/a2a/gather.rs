//! The results of a stream, gathered into an array.
//!
//! A stream has enough with its final event: a message, a status update that says `final` (0.3), or one with a state that ends
//! the task (1.0, which has no `final`). Agents may leave the connection open after it; nobody waits for that.
//! A stream that ends by itself counts as whole if the last state that it told ends the task or waits for somebody; else
//! it broke off.

use std::ops::ControlFlow;

use cpd_connector_api::Value;

use crate::rpc::sse::Events;
use crate::rpc::{self, RpcError};

/// States that a task does not leave.
const TERMINAL: [&str; 4] = ["completed", "canceled", "failed", "rejected"];
/// States in which the agent waits for whoever asked.
const INTERRUPTED: [&str; 2] = ["input-required", "auth-required"];

/// Gathers the results of one stream.
#[derive(Debug)]
pub struct Gathered {
    id: String,
    events: Events,
    results: Vec<Value>,
    settled: bool,
    end: Option<Result<(), End>>,
}

/// Why a stream is of no more use.
#[derive(Debug)]
enum End {
    Error(RpcError),
    Unusable(String),
}

impl Gathered {
    /// Results of the request with that id.
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), events: Events::default(), results: Vec::new(), settled: false, end: None }
    }

    /// Takes the next bytes of the stream; breaks when there is enough.
    pub fn take(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        for event in self.events.push(bytes) {
            let Some(data) = event.data else { continue };
            self.end = self.event(&data);
            if self.end.is_some() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn event(&mut self, data: &str) -> Option<Result<(), End>> {
        let value = match Value::from_json(data.as_bytes()) {
            Ok(value) => value,
            Err(e) => return Some(Err(End::Unusable(format!("event {} is no JSON ({e})", self.results.len() + 1)))),
        };
        match rpc::response(&value, &self.id) {
            Ok(Ok(result)) => {
                let (last, settled) = standing(&result);
                self.settled = settled.unwrap_or(self.settled);
                self.results.push(result);
                last.then_some(Ok(()))
            }
            Ok(Err(error)) => Some(Err(End::Error(error))),
            Err(what) => Some(Err(End::Unusable(format!("event {}: {what}", self.results.len() + 1)))),
        }
    }

    /// The array, or the error that the agent ended the stream with.
    ///
    /// # Errors
    /// Says what is wrong with the stream, if it broke off or brought something else.
    pub fn end(self) -> Result<Result<Value, RpcError>, String> {
        let count = self.results.len();
        match self.end {
            Some(Ok(())) => {}
            Some(Err(End::Error(error))) => return Ok(Err(error)),
            Some(Err(End::Unusable(what))) => return Err(what),
            None if self.settled => {}
            None => return Err(format!("the stream ended after {count} events without a final one")),
        }
        Ok(Ok(Value::from(self.results)))
    }
}

/// Whether a result ends the stream, and whether the task has come to rest, if it says.
fn standing(result: &Value) -> (bool, Option<bool>) {
    let state = |of: &Value| {
        let state = of.get("status")?.get("state")?.as_str()?.to_ascii_lowercase().replace('_', "-");
        Some(state.strip_prefix("task-state-").unwrap_or(&state).to_owned())
    };
    let terminal = |s: &Option<String>| s.as_deref().is_some_and(|s| TERMINAL.contains(&s));
    let rest = |s: &Option<String>| terminal(s) || s.as_deref().is_some_and(|s| INTERRUPTED.contains(&s));
    let kind = result.get("kind").and_then(Value::as_str);
    if kind == Some("message") || result.get("message").is_some_and(|m| m.as_object().is_some()) {
        return (true, Some(true));
    }
    if kind == Some("status-update") {
        let last = result.get("final").and_then(Value::as_bool).unwrap_or(false);
        return (last, Some(last || rest(&state(result))));
    }
    if let Some(update) = result.get("statusUpdate") {
        let state = state(update);
        return (terminal(&state), Some(rest(&state)));
    }
    match result.get("task").or_else(|| (kind == Some("task")).then_some(result)) {
        Some(task) => (false, Some(rest(&state(task)))),
        None => (false, None),
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;

    use super::*;

    fn gather(results: &[Value]) -> (bool, Result<Result<Value, RpcError>, String>) {
        let mut gathered = Gathered::new("a");
        let enough = results.iter().any(|result| {
            let event = json!({"jsonrpc": "2.0", "id": "a", "result": result});
            gathered.take(format!("data: {event}\n\n").as_bytes()).is_break()
        });
        (enough, gathered.end())
    }

    #[test]
    fn a_final_event_is_enough_in_both_versions() {
        let working = json!({"kind": "status-update", "final": false, "status": {"state": "working"}});
        let last = json!({"kind": "status-update", "final": true, "status": {"state": "input-required"}});
        let expected = Value::from(vec![working.clone(), last.clone()]);
        assert_eq!(gather(&[working.clone(), last]), (true, Ok(Ok(expected))));
        assert!(gather(&[json!({"kind": "message", "parts": []})]).0);
        assert!(gather(&[json!({"message": {"parts": []}})]).0);
        assert!(gather(&[json!({"statusUpdate": {"status": {"state": "TASK_STATE_COMPLETED"}}})]).0);
        assert!(!gather(&[json!({"statusUpdate": {"status": {"state": "TASK_STATE_WORKING"}}})]).0);
    }

    #[test]
    fn a_stream_that_ends_by_itself_is_whole_only_if_the_task_rests() {
        let task = |state: &str| json!({"task": {"status": {"state": state}}});
        assert!(gather(&[task("TASK_STATE_INPUT_REQUIRED")]).1.is_ok());
        assert!(gather(&[json!({"kind": "task", "status": {"state": "completed"}})]).1.is_ok());
        let text = gather(&[task("TASK_STATE_WORKING"), json!({"artifactUpdate": {}})]).1.unwrap_err();
        assert!(text.contains("after 2 events without a final one"), "{text}");
        assert!(gather(&[]).1.is_err());
    }

    #[test]
    fn an_error_ends_a_stream_and_a_foreign_id_spoils_it() {
        let mut gathered = Gathered::new("a");
        let error = json!({"jsonrpc": "2.0", "id": "a", "error": {"code": -32001, "message": "no such task"}});
        assert!(gathered.take(format!("data: {error}\n\n").as_bytes()).is_break());
        assert_eq!(gathered.end().unwrap().unwrap_err().code, -32001);
        let mut gathered = Gathered::new("a");
        assert!(gathered.take(b"data: {\"id\": \"b\", \"result\": {}}\n\n").is_break());
        assert!(gathered.end().unwrap_err().contains("expected id \"a\""));
    }
}
