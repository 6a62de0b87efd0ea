//! Events on their way from whoever emits them to the runs that listen.
//!
//! Every shard gives the event to its runs whose definition may want it; each of them makes an entry of it. When all those are
//! durable the event is published. Publishing is idempotent, since a run takes an event once: after a crash in the middle it is
//! done again from the start.

use cpd_core::machine::{Rejected, RunId};
use cpd_core::value::Map;
use cpd_core::{Value, json};
use tokio::sync::oneshot;

use crate::engine::Shards;
use crate::error::Error;
use crate::shard::Message;

/// Who has got an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The event's `id`.
    pub id: String,
    /// The runs that have it now, or had it already.
    pub runs: Vec<RunId>,
}

/// Gives an event to every run that may want it, and returns when all have it.
pub(crate) async fn publish(shards: &Shards, event: Value) -> Result<Published, Error> {
    let mut published =
        Published { id: event.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(), runs: Vec::new() };
    let mut deliveries = Vec::new();
    for shard in shards.all() {
        let (reply, answer) = oneshot::channel();
        shard.send(Message::Event { event: event.clone(), reply }).map_err(|_| Error::Stopped)?;
        deliveries.push(answer);
    }
    for answer in deliveries {
        for (run, done) in answer.await.map_err(|_| Error::Stopped)? {
            match done.await.map_err(|_| Error::Stopped)? {
                Ok(()) => published.runs.push(run),
                // It has ended meanwhile, or is set aside and takes nothing.
                Err(Error::Rejected(Rejected::Ended { .. }) | Error::NoOpenRun { .. } | Error::SetAside { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    published.runs.sort();
    Ok(published)
}

/// Completes a CloudEvent 1.0: what is missing of `specversion`, `id`, `source` and `time` is added.
///
/// # Errors
/// If it is no object, or has no `type`.
pub(crate) fn completed(event: &Value, id: &str, source: &str, time: &str) -> Result<Value, Error> {
    let given = event.as_object().ok_or(Error::NoEvent {
        what: "it is no object, expected a CloudEvent such as {\"type\": \"com.example.done\", \"data\": {}}",
    })?;
    if given.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(Error::NoEvent { what: "it has no `type`, expected a text such as com.example.done" });
    }
    for key in ["id", "source"] {
        if given.get(key).is_some_and(|v| v.as_str().is_none_or(str::is_empty)) {
            return Err(Error::NoEvent { what: "its `id` or `source` is no text; leave it out and it is made" });
        }
    }
    let added = json!({ "specversion": "1.0", "id": id, "source": source, "time": time });
    let mut members: Map = added.as_object().cloned().unwrap_or_default();
    members.extend(given.iter().map(|(k, v)| (k.clone(), v.clone())));
    Ok(Value::from(members).as_journaled())
}
