//! The history of a run, for people and for replay: entries, events, and what each was about.
//!
//! A history comes from a journal or from a bundle: a file with everything that is needed to replay one run on another
//! machine (its records, and the definitions, policies and agents that it is pinned to).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cpd_core::Value;
use cpd_core::definition::plan::{Digest, PinKind, Plan};
use cpd_core::json;
use cpd_core::machine::{ActId, Event, Export, Handling, Piece, Resolution, Run, RunId};
use cpd_core::time::Timestamp;
use cpd_journal::payloads::Payloads;
use cpd_journal::record::Kind;
use cpd_journal::{Chain, EntryBuilder, StoredEntry, StreamId};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::Error;
use crate::load;
use crate::registry::Registry;

/// One entry of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// When it was written.
    pub at: Timestamp,
    /// The first record's global number; 0 if it is not known (from a bundle it is).
    pub lsn: u64,
    /// The first record's number in the run.
    pub seq: u64,
    /// Digest of the chain after the last record, in hexadecimal.
    pub digest: String,
    /// The records.
    pub records: Vec<RawRecord>,
}

/// One record as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawRecord {
    /// Number of its kind.
    pub kind: u16,
    /// Version of its payload.
    pub version: u8,
    /// The payload, in base 64 when serialised.
    #[serde(with = "payload")]
    pub payload: Vec<u8>,
}

mod payload {
    use super::BASE64;
    use base64::Engine as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64.encode(bytes))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        BASE64.decode(text).map_err(serde::de::Error::custom)
    }
}

impl HistoryEntry {
    pub(crate) fn of(entry: &StoredEntry) -> Self {
        let records = entry.records();
        Self {
            at: Timestamp(entry.at()),
            lsn: entry.lsn().0,
            seq: entry.seq(),
            digest: hex(&entry.digest().0),
            records: records
                .map(|r| RawRecord { kind: r.kind, version: r.version, payload: r.payload.to_vec() })
                .collect(),
        }
    }

    /// The events of the entry.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn events(&self, run: RunId, payloads: &Payloads) -> Result<Vec<Event>, Error> {
        let decoded = self.records.iter().map(|r| codec::decode(Kind(r.kind), r.version, &r.payload, payloads));
        decoded.collect::<Result<_, _>>().map_err(|e| Error::Unreadable { run, source: Arc::new(e) })
    }
}

/// The whole history of a run and what is needed to understand it.
pub struct History {
    /// The run.
    pub run: RunId,
    /// Its entries, oldest first.
    pub entries: Vec<HistoryEntry>,
    /// The registry that knows its plan.
    pub registry: Arc<Registry>,
    /// The registrations that it needs, as they stand in the journal.
    pub registrations: Vec<RawRecord>,
    /// Where its large documents are.
    pub payloads: Arc<Payloads>,
}

/// One event of a run, with what it was about.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its number in the run, from 1.
    pub seq: u64,
    /// Its number in the journal.
    pub lsn: u64,
    /// When.
    pub at: Timestamp,
    /// Reference of its task, as `/do/0/name`.
    pub task: Option<Arc<str>>,
    /// Name of its task.
    pub task_name: Option<Arc<str>>,
    /// What kind of task: `call`, `set` …
    pub keyword: Option<&'static str>,
    /// The operation, for calls.
    pub operation: Option<Arc<str>>,
    /// Which iteration of the loops around it.
    pub iteration: Option<Arc<str>>,
    /// What happened.
    pub event: Event,
}

impl Logged {
    /// An event as an observer sees it: `run` is the state after its entry, so the task of an act that is gone by then
    /// is looked up by what is left of it.
    pub fn live(run: &Run, at: Timestamp, seq: u64, event: &Event) -> Self {
        let subject = event.act().and_then(|act| Subject::of(run, act)).unwrap_or_default();
        let Subject { task, task_name, keyword, operation, iteration } = subject;
        Self { seq, lsn: 0, at, task, task_name, keyword, operation, iteration, event: event.clone() }
    }

    /// What happened, as an object for `--json`; values are whole.
    pub fn data(&self) -> Value {
        data(&self.event)
    }
}

impl History {
    /// Every event with its task.
    ///
    /// # Errors
    /// If a record cannot be read or does not fold.
    pub fn log(&self) -> Result<Vec<Logged>, Error> {
        let mut run: Option<Run> = None;
        let mut commands = Vec::new();
        let mut logged = Vec::new();
        for entry in &self.entries {
            for (offset, event) in (0u64..).zip(entry.events(self.run, &self.payloads)?) {
                let subject = run.as_ref().and_then(|run| Subject::of(run, event.act()?));
                match &mut run {
                    None => {
                        run = Some(load::begin(&self.registry, self.run, &event, entry.at, migrated(&self.entries))?)
                    }
                    Some(run) => run
                        .apply(&event, entry.at, &mut commands)
                        .map_err(|misfit| Error::Unfoldable { run: self.run, detail: misfit.to_string() })?,
                }
                commands.clear();
                if let Some(run) = &mut run {
                    run.departed.clear();
                }
                let (seq, lsn) = (entry.seq + offset, entry.lsn + offset);
                let Subject { task, task_name, keyword, operation, iteration } = subject.unwrap_or_default();
                let at = entry.at;
                logged.push(Logged { seq, lsn, at, task, task_name, keyword, operation, iteration, event });
            }
        }
        Ok(logged)
    }

    /// The state after the last entry.
    ///
    /// # Errors
    /// If a record cannot be read or does not fold.
    pub fn fold(&self) -> Result<Run, Error> {
        self.each(|_, _, _| {})
    }

    /// Shows every event with its time and the state after it, in which [`Run::departed`] is what this event ended. Returns
    /// the state after the last entry.
    ///
    /// # Errors
    /// If a record cannot be read or does not fold.
    pub fn each(&self, mut see: impl FnMut(&Run, &Event, Timestamp)) -> Result<Run, Error> {
        let mut run: Option<Run> = None;
        let mut commands = Vec::new();
        for entry in &self.entries {
            for event in entry.events(self.run, &self.payloads)? {
                let run = match &mut run {
                    None => {
                        let begun = load::begin(&self.registry, self.run, &event, entry.at, migrated(&self.entries))?;
                        run.insert(begun)
                    }
                    Some(run) => {
                        run.apply(&event, entry.at, &mut commands)
                            .map_err(|misfit| Error::Unfoldable { run: self.run, detail: misfit.to_string() })?;
                        run
                    }
                };
                see(run, &event, entry.at);
                commands.clear();
                run.departed.clear();
            }
        }
        run.ok_or(Error::NoOpenRun { run: self.run })
    }

    /// Checks the chain of digests and the numbers; says what is wrong, if anything is.
    pub fn check_chain(&self) -> Result<(), String> {
        let mut chain = Chain::start(StreamId(self.run.0));
        for entry in &self.entries {
            if entry.seq != chain.next_seq() {
                return Err(format!(
                    "entry at seq {}: expected seq {}: records are missing",
                    entry.seq,
                    chain.next_seq()
                ));
            }
            let mut builder = EntryBuilder::new(&chain, entry.at.as_micros());
            for record in &entry.records {
                builder.push(record.kind, record.version, &record.payload);
            }
            let (_, next) = builder.finish().map_err(|e| format!("entry at seq {}: {e}", entry.seq))?;
            let (found, expected) = (&entry.digest, hex(&next.digest().0));
            if *found != expected {
                return Err(format!("entry at seq {}: digest {found}, expected {expected}: it was changed", entry.seq));
            }
            chain = next;
        }
        Ok(())
    }

    // ---- bundles --------------------------------------------------------------------------------------------------

    /// The history as the text of a bundle.
    pub fn to_bundle(&self) -> String {
        let entries = self.entries.iter().map(|e| BundleEntry {
            at: e.at.0,
            lsn: e.lsn,
            seq: e.seq,
            digest: e.digest.clone(),
            records: e.records.clone(),
        });
        let bundle = Bundle {
            cpd_bundle: 1,
            run: self.run.to_string(),
            registrations: self.registrations.clone(),
            entries: entries.collect(),
            payloads: self.large_documents().iter().map(|bytes| BASE64.encode(bytes)).collect(),
        };
        let mut text = serde_json::to_string_pretty(&bundle).expect("a bundle is JSON");
        text.push('\n');
        text
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// What is wrong with it, as a text with the position.
    pub fn from_bundle(text: &str) -> Result<Self, String> {
        let bundle: Bundle = serde_json::from_str(text).map_err(|e| format!("it is not a bundle: {e}"))?;
        if bundle.cpd_bundle != 1 {
            return Err(format!("it is a bundle of version {}, expected 1: use a newer cpd", bundle.cpd_bundle));
        }
        let run: RunId = bundle.run.parse().map_err(|e: cpd_core::machine::ids::BadRunId| e.to_string())?;
        let registry = Registry::from_records(&bundle.registrations).map_err(|e| e.to_string())?;
        let entries = bundle.entries.into_iter().map(|e| HistoryEntry {
            at: Timestamp(e.at),
            lsn: e.lsn,
            seq: e.seq,
            digest: e.digest,
            records: e.records,
        });
        let entries = entries.collect();
        let decoded = bundle.payloads.iter().map(|text| BASE64.decode(text));
        let decoded = decoded.collect::<Result<Vec<_>, _>>().map_err(|e| format!("read a payload: {e}"))?;
        let (registry, payloads) = (Arc::new(registry), Arc::new(Payloads::in_memory(decoded)));
        Ok(Self { run, entries, registry, registrations: bundle.registrations, payloads })
    }

    /// The documents that its records refer to. What cannot be read is left to whoever replays it to say.
    fn large_documents(&self) -> Vec<Vec<u8>> {
        let found = Payloads::in_memory([]);
        let mut scratch = Vec::new();
        for event in self.entries.iter().filter_map(|e| e.events(self.run, &self.payloads).ok()).flatten() {
            scratch.clear();
            codec::encode(&event, &mut scratch, &found);
        }
        let digests = found.all().unwrap_or_default();
        digests.iter().filter_map(|digest| found.get(digest).ok()).collect()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    cpd_bundle: u32,
    run: String,
    registrations: Vec<RawRecord>,
    entries: Vec<BundleEntry>,
    /// Large documents, in base 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    payloads: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleEntry {
    at: i64,
    lsn: u64,
    seq: u64,
    digest: String,
    records: Vec<RawRecord>,
}

/// The plan to which the run was moved last, if it was.
pub(crate) fn migrated(entries: &[HistoryEntry]) -> Option<Digest> {
    let records = entries.iter().rev().flat_map(|e| e.records.iter().rev());
    load::migrated(records.map(|r| (r.kind, &*r.payload)))
}

/// Whether a plan needs that registration.
pub(crate) fn needs(plan: &Plan, what: u8, name: &str, version: &str, digest: &[u8; 32]) -> bool {
    let pinned = |kind| plan.pins.iter().any(|p| p.kind == kind && &*p.name == name && &*p.version == version);
    match what {
        1 => plan.digest.0 == *digest,
        2 => pinned(PinKind::Policy),
        3 => pinned(PinKind::Agent),
        _ => false,
    }
}

#[derive(Default)]
struct Subject {
    task: Option<Arc<str>>,
    task_name: Option<Arc<str>>,
    keyword: Option<&'static str>,
    operation: Option<Arc<str>>,
    iteration: Option<Arc<str>>,
}

impl Subject {
    fn of(run: &Run, act: ActId) -> Option<Self> {
        use cpd_core::definition::plan::Action;
        let (node, iteration) = match run.act(act) {
            Some(act) => (run.node_of(act), Some(act.iteration.clone()).filter(|i| !i.is_empty())),
            None => {
                let ended = run.departed.iter().rev().find(|d| d.act == act);
                let given_up = || run.abandoned.iter().find(|a| a.act == act);
                match ended {
                    Some(d) => (run.plan.node(d.node), Some(d.iteration.clone()).filter(|i| !i.is_empty())),
                    None => (run.plan.node(given_up()?.node), None),
                }
            }
        };
        if node.id == Plan::ROOT {
            return None;
        }
        let operation = match &node.action {
            Action::Call(call) => Some(call.operation.name.clone()),
            Action::Decide(_) => Some(Arc::from("policy.evaluate")),
            Action::Approve(_) => Some(Arc::from("approval.request")),
            _ => None,
        };
        Some(Self {
            task: Some(node.pointer.clone()),
            task_name: Some(node.name.clone()),
            keyword: Some(node.action.keyword()),
            operation,
            iteration,
        })
    }
}

/// An event as an object.
fn data(event: &Event) -> Value {
    let opt = |v: &Option<Value>| v.clone().unwrap_or_default();
    let time = |t: &Option<Timestamp>| t.map_or(Value::Null, |t| Value::from(t.to_string()));
    let problem = |p: &cpd_core::problem::Problem| Value::from_serialize(p).expect("a problem is JSON");
    let text = |t: &Option<Arc<str>>| t.as_ref().map_or(Value::Null, |t| Value::Str(t.clone()));
    let members: Vec<(&str, Value)> = match event {
        Event::RunStarted { plan, workflow, version, input, key, actor, behaviour } => vec![
            ("workflow", Value::Str(workflow.clone())),
            ("version", Value::Str(version.clone())),
            ("input", input.clone()),
            ("key", text(key)),
            ("actor", Value::Str(actor.clone())),
            ("plan", Value::from(plan.to_string())),
            ("behaviour", Value::from(u32::from(*behaviour))),
        ],
        Event::TaskEntered { input, deadline, items, .. } => {
            vec![("input", opt(input)), ("deadline", time(deadline)), ("items", opt(items))]
        }
        Event::TaskSkipped { .. }
        | Event::ApprovalEscalated { .. }
        | Event::TaskQuestioned { .. }
        | Event::TaskParked { .. }
        | Event::LoopEnded { .. }
        | Event::EventPublished { .. }
        | Event::TimerFired { .. } => Vec::new(),
        Event::TaskReturned { input, output, .. } => vec![("input", opt(input)), ("output", output.clone())],
        Event::EventEmitted { input, event, .. } => vec![("input", opt(input)), ("event", event.clone())],
        Event::ListenStarted { input, deadline, .. } => vec![("input", opt(input)), ("deadline", time(deadline))],
        Event::ApprovalRequested { input, deadline, request, .. } => {
            vec![("input", opt(input)), ("deadline", time(deadline)), ("request", request.clone())]
        }
        Event::ApprovalVoted { by, on_behalf_of, approves, comment, last, .. } => vec![
            ("actor", Value::Str(by.clone())),
            ("onBehalfOf", text(on_behalf_of)),
            ("decision", Value::str(if *approves { "approved" } else { "rejected" })),
            ("comment", Value::Str(comment.clone())),
            ("last", Value::from(*last)),
        ],
        Event::ApprovalDelegated { by, to, reason, .. } => vec![
            ("actor", Value::Str(by.clone())),
            ("to", Value::Str(to.clone())),
            ("reason", Value::Str(reason.clone())),
        ],
        Event::EventReceived { event, displaces } => {
            vec![("event", event.clone()), ("displaces", Value::from(*displaces))]
        }
        Event::EventTaken { number, filter, until, keys, last, .. } => vec![
            ("number", Value::from(i64::try_from(*number).unwrap_or(i64::MAX))),
            ("filter", filter.map_or(Value::Null, Value::from)),
            ("until", Value::from(*until)),
            ("correlation", opt(keys)),
            ("last", Value::from(*last)),
        ],
        Event::EventsPassed { upto, .. } => vec![("upto", Value::from(i64::try_from(*upto).unwrap_or(i64::MAX)))],
        Event::CaseTaken { input, case, .. } => {
            vec![("input", opt(input)), ("case", case.map_or(Value::Null, Value::from))]
        }
        Event::PolicyDecided { input, decision, micros, .. } => {
            vec![("input", opt(input)), ("decision", decision.clone()), ("micros", Value::from(*micros))]
        }
        Event::TaskStarted { input, deadline, args, key, .. } => {
            vec![("input", opt(input)), ("deadline", time(deadline)), ("with", args.clone()), ("key", text(key))]
        }
        Event::WaitStarted { input, deadline, until, .. } => {
            vec![("input", opt(input)), ("deadline", time(deadline)), ("until", Value::from(until.to_string()))]
        }
        Event::TaskSucceeded { attempt, output, evidence, .. } => {
            vec![("attempt", Value::from(*attempt)), ("output", output.clone()), ("evidence", opt(evidence))]
        }
        Event::TaskRefused { attempt, problem: p, .. } => {
            vec![("attempt", Value::from(*attempt)), ("problem", problem(p))]
        }
        Event::TaskFailed { attempt, problem: p, not_before, .. } => {
            vec![("attempt", Value::from(*attempt)), ("problem", problem(p)), ("notBefore", time(not_before))]
        }
        Event::TaskUnknown { attempt, problem: p, interrupted, .. } => vec![
            ("attempt", Value::from(*attempt)),
            ("problem", problem(p)),
            ("interrupted", Value::from(*interrupted)),
        ],
        Event::TaskDelayed { until, .. } => vec![("until", Value::from(until.to_string()))],
        Event::TaskRetried { attempt, .. } | Event::TryRetried { attempt, .. } => {
            vec![("attempt", Value::from(*attempt))]
        }
        Event::TaskResolved { resolution, actor, .. } => {
            let (how, what) = match resolution {
                Resolution::Succeeded(output) => ("succeeded", output.clone()),
                Resolution::Retry => ("retry", Value::Null),
                Resolution::Failed(p) => ("failed", problem(p)),
            };
            vec![("resolution", Value::str(how)), ("value", what), ("actor", Value::Str(actor.clone()))]
        }
        Event::LateOutcome { attempt, outcome, detail, .. } => vec![
            ("attempt", Value::from(*attempt)),
            ("outcome", Value::Str(outcome.clone())),
            ("detail", detail.clone()),
        ],
        Event::TaskCompleted { output, export, .. } => {
            let piece = |p: &Piece| match p {
                Piece::Output => json!({ "$ref": "output" }),
                Piece::Value(v) => v.clone(),
            };
            let export = match export {
                None => Value::Null,
                Some(Export::Replace(p)) => json!({ "replace": piece(p) }),
                Some(Export::Merge(members)) => {
                    let members = members.iter().map(|(k, p)| (k.clone(), piece(p)));
                    json!({ "merge": Value::from(members.collect::<cpd_core::value::Map>()) })
                }
            };
            vec![("output", opt(output)), ("export", export)]
        }
        Event::TaskFaulted { problem: p, .. } | Event::RunFaulted { problem: p } => vec![("problem", problem(p))],
        Event::ErrorCaught { handling, .. } => match handling {
            Handling::Retry { attempt, until } => vec![
                ("handling", Value::str("retry")),
                ("attempt", Value::from(*attempt)),
                ("until", Value::from(until.to_string())),
            ],
            Handling::Handle => vec![("handling", Value::str("handle"))],
            Handling::Swallow => vec![("handling", Value::str("swallow"))],
        },
        Event::IterationStarted { index, .. } => vec![("index", Value::from(*index))],
        Event::DeadlinePassed { attempt, .. } => vec![("ofAttempt", Value::from(*attempt))],
        Event::RunPaused { actor, reason }
        | Event::RunResumed { actor, reason }
        | Event::RunCancelled { actor, reason } => {
            vec![("actor", Value::Str(actor.clone())), ("reason", Value::Str(reason.clone()))]
        }
        Event::RunForked { origin, seq, input, actor, run: _ } => vec![
            ("origin", Value::from(origin.to_string())),
            ("sharedEvents", Value::from(i64::try_from(*seq).unwrap_or(i64::MAX))),
            ("input", opt(input)),
            ("actor", Value::Str(actor.clone())),
        ],
        Event::RunMigrated { plan, version, actor } => vec![
            ("version", Value::Str(version.clone())),
            ("plan", Value::from(plan.to_string())),
            ("actor", Value::Str(actor.clone())),
        ],
        Event::RunCompleted { output } => vec![("output", opt(output))],
    };
    let members = members.into_iter().filter(|(_, v)| !v.is_null());
    Value::from(members.map(|(k, v)| (Arc::from(k), v)).collect::<cpd_core::value::Map>())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
        write!(text, "{b:02x}").expect("writing to a string does not fail");
        text
    })
}
