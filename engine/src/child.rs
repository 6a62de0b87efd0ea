//! `run: workflow`: a run that another run starts and waits for.
//!
//! The engine performs the operation `workflow.run` itself. The new run's id follows from the effect's idempotency key and the
//! time at which its parent started, so it is there once however often the effect is tried: after a crash the parent finds
//! it again and goes on waiting. It is a run like any other: it has its own history, and can be paused, resolved and replayed.

use std::sync::{Arc, Weak};

use cpd_connector_api::Request;
use cpd_core::Value;
use cpd_core::json;
use cpd_core::machine::turn::{CallOutcome, Start};
use cpd_core::machine::{Run, RunId};
use cpd_core::problem::{Problem, Standard};
use cpd_journal::StoredEntry;
use cpd_journal::record::{Kind, v1};
use sha2::{Digest as _, Sha256};

use crate::codec::PAYLOAD_MAX;
use crate::engine::{Engine, Inner, RunEnd};
use crate::error::Error;
use crate::shard::Message;

/// The operation behind `run: workflow`.
pub(crate) const OPERATION: &str = "workflow.run";

/// How the actor of a run that another one started begins; the rest is that one's id.
const ACTOR: &str = "run:";

/// Whether a run with that first entry was started by another one.
pub(crate) fn is_child(first: &StoredEntry) -> bool {
    let start = first.records().next().filter(|r| Kind(r.kind) == Kind::RUN_STARTED && r.version == v1::VERSION);
    start.is_some_and(|r| {
        let start = cpd_journal::codec::decode::<v1::RunStarted<'_>>(r.payload, PAYLOAD_MAX);
        start.is_ok_and(|s| s.actor.starts_with(ACTOR))
    })
}

/// What a call of it needs beside its request.
pub(crate) struct Child {
    id: RunId,
    parent: RunId,
    /// The parent task's input: the output, if nobody waits.
    input: Value,
}

impl Child {
    pub(crate) fn of(parent: &Run, key: &str, input: Value) -> Self {
        let digest = Sha256::digest(format!("cpd child 1\n{}\n{key}", parent.id));
        let random = digest[..10].try_into().expect("32 bytes have 10");
        Self { id: RunId::new(parent.started_at, random), parent: parent.id, input }
    }

    /// Starts it, unless it is there, and waits for its end. Nothing, if the engine ends first: the next process goes on.
    pub(crate) async fn perform(self, engine: Weak<Inner>, request: Request) -> Option<CallOutcome> {
        let engine = Engine::of(engine.upgrade()?);
        let part = |key: &str| request.input.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{}:{}", part("workflow"), part("version"));
        let handle = engine.run(self.id);
        match handle.state().await {
            Ok(_) => {}
            Err(Error::NoOpenRun { .. }) => {
                let plan = match engine.registry().workflow(&name) {
                    Ok(plan) if plan.digest.to_string() == part("digest") => plan,
                    _ => {
                        let detail = format!("run {name}: the registry does not have it as it was pinned");
                        return Some(CallOutcome::Refused(Problem::standard(Standard::Configuration, detail)));
                    }
                };
                let start = Start {
                    input: request.input.get("input").cloned().unwrap_or_default(),
                    key: None,
                    actor: Arc::from(format!("{ACTOR}{}", self.parent)),
                };
                let id = self.id;
                engine.ask(id, |reply| Message::Start { id, plan, start, reply }).await.ok()?;
            }
            Err(_) => return None,
        }
        let evidence = Some(json!({ "runId": self.id.to_string() }));
        if request.input.get("await") == Some(&Value::Bool(false)) {
            return Some(CallOutcome::Succeeded { output: self.input, evidence });
        }
        // Whoever waits, perhaps for days, holds no handle: the engine ends when its last owner drops it.
        let (shards, id, weak) = (engine.inner.shards.clone(), self.id, Arc::downgrade(&engine.inner));
        drop((handle, engine));
        let ended = async {
            match shards.ask(id, |reply| Message::Await { run: id, reply }).await {
                Err(Error::NoOpenRun { .. }) => Engine::of(weak.upgrade()?).run(id).result().await.ok(),
                other => other.ok(),
            }
        };
        let end = tokio::select! {
            end = ended => end?,
            () = request.cancel.cancelled() => {
                // The process ends, or the parent does: only then does the child.
                let engine = Engine::of(weak.upgrade()?);
                if engine.is_stopping() {
                    return None;
                }
                let actor = format!("{ACTOR}{}", self.parent);
                // It may have ended in this very moment.
                drop(engine.run(id).cancel(&actor, "the run that started it gave it up").await);
                let detail = format!("run {} of {name} was given up", self.id);
                return Some(CallOutcome::Refused(Problem::standard(Standard::Runtime, detail)));
            }
        };
        Some(match end {
            RunEnd::Completed { output } => CallOutcome::Succeeded { output, evidence },
            RunEnd::Faulted { mut problem } => {
                // The place of the error is the task that ran it; where it was in there, the other run's history says.
                problem.instance = None;
                CallOutcome::Refused(problem)
            }
            RunEnd::Cancelled { reason } => {
                let detail = format!("run {} of {name} was cancelled: {reason}", self.id);
                CallOutcome::Refused(Problem::standard(Standard::Runtime, detail))
            }
        })
    }
}
