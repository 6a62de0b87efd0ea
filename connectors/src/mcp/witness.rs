//! What the transports saw, for whoever has to say what became of a call.
//!
//! The protocol's client above the transports knows results and errors by types of its own, and a lost answer only as silence.
//! The transports know more: the result as it came, whether the request left at all, why no answer will come. They tell the
//! witness; [`Witness::troubled`] ends the wait for an answer that will not come.

use cpd_connector_api::{Class, Problem, Value};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::http::Trouble;
use crate::http::content::excerpt;

/// What was seen.
#[derive(Debug, Default)]
pub struct Witness {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sent: bool,
    repeatable: bool,
    result: Option<(String, Value)>,
    trouble: Option<Trouble>,
    garbage: Option<(usize, String)>,
}

impl Witness {
    /// The request itself, not the handshake, is about to leave.
    pub fn sending(&self) {
        self.state.lock().sent = true;
    }

    /// The tool may be repeated: its uncertain end is no harm.
    pub fn repeatable(&self) {
        self.state.lock().repeatable = true;
    }

    /// A response came; its result is kept as it came.
    pub fn response(&self, message: &Value) {
        if let (Some(id), Some(result)) = (message.get("id"), message.get("result")) {
            self.state.lock().result = Some((id.to_json(), result.clone()));
        }
    }

    /// The result of the request with that id (as JSON), if it was the last.
    pub fn result(&self, id: &str) -> Option<Value> {
        let mut state = self.state.lock();
        state.result.take_if(|(found, _)| found == id).map(|(_, result)| result)
    }

    /// No answer will come. The first reason counts.
    pub fn trouble(&self, trouble: Trouble) {
        self.state.lock().trouble.get_or_insert(trouble);
        self.changed.notify_one();
    }

    /// No answer will come, and nothing says what became of the request, if it had left.
    pub fn lost(&self, problem: Problem) {
        let sent = self.state.lock().sent;
        self.trouble(if sent { Trouble::Unknown(problem) } else { Trouble::failed(problem) });
    }

    /// A line that is no message. Returns how many there were.
    pub fn garbage(&self, line: &[u8]) -> usize {
        let mut state = self.state.lock();
        let (count, _) = state.garbage.get_or_insert_with(|| (0, excerpt(line)));
        *count += 1;
        *count
    }

    /// The reason why no answer will come, if there is one yet.
    pub fn reason(&self) -> Option<Trouble> {
        self.state.lock().trouble.clone()
    }

    /// Waits for such a reason.
    pub async fn troubled(&self) -> Trouble {
        loop {
            let changed = self.changed.notified();
            if let Some(trouble) = self.reason() {
                return trouble;
            }
            changed.await;
        }
    }

    /// What an interruption means: before the request left, nothing has happened, and some tools may be called again.
    pub fn interrupted(&self, class: Class, problem: Problem) -> Trouble {
        let state = self.state.lock();
        if state.sent && !state.repeatable { Trouble::uncertain(class, problem) } else { Trouble::failed(problem) }
    }

    /// What else is worth saying: `, after it had printed …`, or nothing.
    pub fn remark(&self) -> String {
        match &self.state.lock().garbage {
            Some((count, first)) => format!("; it printed {count} lines that are no JSON-RPC, first: {first}"),
            None => String::new(),
        }
    }
}
