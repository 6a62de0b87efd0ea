//! The suite that every connector is run through.
//!
//! A caller hands in the connector, one [`Sample`] per operation, and what the suite cannot know by itself: a probe
//! that counts the effects the outside saw for a key, and a switch that makes the outside fall silent. [`run`] then
//! checks, in this order:
//!
//! 1. operations are named `<connector>.<operation>`, have semantic versions and well-formed, closed schemas, no two
//!    share name and version, and every one of them has a sample;
//! 2. each sample is accepted at registration and succeeds, and its output fits the operation's output schema;
//! 3. the same key twice has one effect for idempotent operations, and none for safe ones;
//! 4. garbage for input is refused with a useful problem, without a panic and without an effect; so is an operation
//!    that does not exist;
//! 5. a deadline that has passed, and one that passes while the outside is silent, end as failed or unknown, in time;
//! 6. a cancellation ends the call promptly, before it begins and in the middle of a silence;
//! 7. `reconcile` answers for operations that say so, and never says "not happened" of what has just succeeded;
//! 8. no secret shows up in any outcome.
//!
//! Nothing sleeps: every wait is for the connector's answer and has a bound, [`Kit::patience`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::attachment::{Planned, Resources};
use crate::clock::{Clock, SystemClock};
use crate::{
    BoxFuture, CancellationToken, Class, Connector, OperationSpec, Outcome, Problem, Reconciled, Request, Value, json,
    schema,
};

/// A request that should succeed when the outside is well.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operation's full name.
    pub operation: Arc<str>,
    /// A good `with`.
    pub input: Value,
    /// How many effects the call has on the outside, as the probe counts them.
    pub effects: usize,
    /// Whether the operation talks to the outside at all, so that a silent outside makes it wait.
    pub waits: bool,
    /// Documents that come along, as the engine pins them.
    pub resources: Resources,
}

impl Sample {
    /// A sample of an operation that reads and waits for the outside.
    pub fn new(operation: &str, input: Value) -> Self {
        Self { operation: operation.into(), input, effects: 0, waits: true, resources: Resources::default() }
    }

    /// The same with a number of effects.
    #[must_use]
    pub fn with_effects(mut self, effects: usize) -> Self {
        self.effects = effects;
        self
    }

    /// The same with documents.
    #[must_use]
    pub fn with_resources(mut self, resources: Resources) -> Self {
        self.resources = resources;
        self
    }

    /// The same for an operation that needs nobody outside.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.waits = false;
        self
    }
}

/// Counts the effects that the outside saw for a (wire) key.
pub type Probe<'a> = &'a (dyn Fn(&str) -> usize + Sync);

/// Makes the outside fall silent (`true`) or speak again (`false`).
pub type Silence<'a> = &'a (dyn Fn(bool) -> BoxFuture<'static, ()> + Sync);

/// What the suite needs.
pub struct Kit<'a> {
    /// The connector under test.
    pub connector: &'a dyn Connector,
    /// At least one for each operation.
    pub samples: Vec<Sample>,
    /// Counts effects by key.
    pub probe: Probe<'a>,
    /// Silences the outside.
    pub silence: Silence<'a>,
    /// Values that must never show up.
    pub secrets: Vec<String>,
    /// How long an answer may take that should come promptly.
    pub patience: Duration,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Operation or connector.
    pub whom: String,
    /// What was found and what was expected.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.whom, self.what)
    }
}

/// What the suite found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many single checks were made.
    pub checks: usize,
    /// The promises that were broken.
    pub breaches: Vec<Breach>,
}

impl Report {
    fn check(&mut self, whom: &str, holds: bool, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.breaches.push(Breach { whom: whom.to_owned(), what: what() });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} checks, {} breaches", self.checks, self.breaches.len())?;
        self.breaches.iter().try_for_each(|b| writeln!(f, "- {b}"))
    }
}

/// Runs the whole suite.
pub async fn run(kit: Kit<'_>) -> Report {
    let mut suite = Suite { kit, report: Report::default(), keys: 0 };
    let operations = suite.kit.connector.operations();
    suite.catalog(&operations);
    for sample in suite.kit.samples.clone() {
        let Some(spec) = operations.iter().find(|o| o.name == sample.operation) else {
            suite.report.check(&sample.operation, false, || "has a sample but is not offered".into());
            continue;
        };
        suite.succeeds(spec, &sample).await;
        suite.garbage(spec).await;
        suite.deadlines(spec, &sample).await;
        suite.cancellation(spec, &sample).await;
    }
    suite.unknown_operation().await;
    suite.report
}

struct Suite<'a> {
    kit: Kit<'a>,
    report: Report,
    keys: usize,
}

impl Suite<'_> {
    /// A request with what a sample brings along.
    fn sampled(&mut self, spec: &OperationSpec, sample: &Sample) -> Request {
        let request = self.request(spec, sample.input.clone());
        Request { resources: sample.resources.clone(), ..request }
    }

    fn request(&mut self, spec: &OperationSpec, input: Value) -> Request {
        self.keys += 1;
        Request {
            operation: spec.name.clone(),
            version: spec.version.clone(),
            run: "conformance".into(),
            workflow: "conformance".into(),
            task: "/do/0/conformance".into(),
            attempt: 1,
            key: format!("conformance-{}-{}", spec.name, self.keys).into(),
            deadline: Some(SystemClock.now().plus(Duration::from_secs(120))),
            input,
            resources: Default::default(),
            conditions: Default::default(),
            cancel: CancellationToken::new(),
        }
    }

    /// The outcome, or `None` and a breach if it does not come in time.
    async fn call(&mut self, request: &Request, doing: &str) -> Option<Outcome> {
        let outcome = tokio::time::timeout(self.kit.patience, self.kit.connector.call(request.clone())).await.ok();
        let patience = self.kit.patience;
        self.report.check(&request.operation, outcome.is_some(), || format!("{doing}: no outcome within {patience:?}"));
        let shown = format!("{outcome:?}");
        for (i, secret) in self.kit.secrets.clone().iter().enumerate() {
            self.report.check(&request.operation, !shown.contains(secret.as_str()), || {
                format!("{doing}: the outcome shows secret number {i}")
            });
        }
        outcome
    }

    fn catalog(&mut self, operations: &[OperationSpec]) {
        let name = self.kit.connector.name().to_owned();
        self.report.check(&name, !operations.is_empty(), || "offers no operation".into());
        let mut seen = BTreeSet::new();
        for o in operations {
            let rest = o.name.strip_prefix(&format!("{name}.")).unwrap_or("");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            self.report.check(&o.name, !rest.is_empty() && rest.chars().all(plain), || {
                format!("expected the name {name}.<operation> in lower case")
            });
            self.report.check(&o.name, semver::Version::parse(&o.version).is_ok(), || {
                format!("found version {:?}, expected a semantic version", o.version)
            });
            self.report.check(&o.name, seen.insert((o.name.clone(), o.version.clone())), || "is offered twice".into());
            self.report.check(&o.name, !o.summary.trim().is_empty(), || "has no summary".into());
            for (which, s) in [("input", &o.input), ("output", &o.output)] {
                let defects = schema::defects(s);
                self.report.check(&o.name, defects.is_empty(), || format!("{which} schema: {defects:?}"));
            }
            let closed = o.input.is_null() || o.input.get("additionalProperties") == Some(&Value::Bool(false));
            self.report.check(&o.name, closed, || "input schema: additionalProperties must be false".into());
            let sampled = self.kit.samples.iter().any(|s| s.operation == o.name);
            self.report.check(&o.name, sampled, || "has no sample".into());
        }
    }

    async fn succeeds(&mut self, spec: &OperationSpec, sample: &Sample) {
        let misfits = schema::check(&spec.input, &sample.input);
        self.report.check(&spec.name, misfits.is_empty(), || format!("the sample does not fit: {misfits:?}"));
        let planned = Planned { operation: &spec.name, with: &sample.input, resources: &sample.resources };
        let examined = self.kit.connector.examine(&planned);
        self.report
            .check(&spec.name, examined.is_ok(), || format!("the sample is refused at registration: {examined:?}"));
        let mut request = self.sampled(spec, sample);
        let key = request.wire_key();
        self.succeeds_once(spec, &request, "first call").await;
        let once = (self.kit.probe)(&key);
        self.report.check(&spec.name, once == sample.effects, || {
            format!("first call: {once} effects, expected {}", sample.effects)
        });
        if spec.class == Class::Safe {
            self.report.check(&spec.name, once == 0, || format!("is safe and had {once} effects"));
        }
        if spec.class != Class::AtMostOnce {
            request.attempt = 2;
            self.succeeds_once(spec, &request, "same key again").await;
            let twice = (self.kit.probe)(&key);
            self.report
                .check(&spec.name, twice == once, || format!("same key again: {twice} effects, expected {once}"));
        }
        if spec.reconciles {
            let found = tokio::time::timeout(self.kit.patience, self.kit.connector.reconcile(request)).await;
            self.report.check(&spec.name, matches!(&found, Ok(Reconciled::Happened(Outcome::Succeeded(_)))), || {
                format!("reconcile after success: found {found:?}, expected that it happened")
            });
            let never = self.sampled(spec, sample);
            let found = tokio::time::timeout(self.kit.patience, self.kit.connector.reconcile(never)).await;
            self.report.check(&spec.name, matches!(&found, Ok(Reconciled::NotHappened)), || {
                format!("reconcile of a key never used: found {found:?}, expected that it did not happen")
            });
        }
    }

    async fn succeeds_once(&mut self, spec: &OperationSpec, request: &Request, doing: &str) {
        let Some(outcome) = self.call(request, doing).await else { return };
        let Outcome::Succeeded(success) = &outcome else {
            return self.report.check(&spec.name, false, || format!("{doing}: {outcome:?}, expected success"));
        };
        let misfits = schema::check(&spec.output, &success.output);
        self.report.check(&spec.name, misfits.is_empty(), || format!("{doing}: output does not fit: {misfits:?}"));
    }

    async fn garbage(&mut self, spec: &OperationSpec) {
        let long = "x".repeat(100_000);
        let garbage = [
            json!(null),
            json!([]),
            json!("text"),
            json!(-1),
            json!({"no-such-member-anywhere": 1}),
            json!({"": {"": [null]}}),
            Value::from([("model", Value::from(long.as_str())), ("prompt", json!([])), ("endpoint", json!(7))]),
        ];
        for input in garbage {
            let shown: String = input.to_json().chars().take(60).collect();
            // Whatever it says: it must not panic.
            let planned = Planned { operation: &spec.name, with: &input, resources: &Resources::default() };
            let _ = self.kit.connector.examine(&planned);
            let request = self.request(spec, input);
            let key = request.wire_key();
            let Some(outcome) = self.call(&request, &format!("garbage {shown}")).await else { continue };
            let useful = |p: &Problem| p.detail.as_ref().is_some_and(|d| d.len() > 10 && d.len() < 10_000);
            self.report.check(&spec.name, matches!(&outcome, Outcome::Refused(p) if useful(p)), || {
                format!("garbage {shown}: {outcome:?}, expected a refusal with a useful problem")
            });
            let effects = (self.kit.probe)(&key);
            self.report.check(&spec.name, effects == 0, || format!("garbage {shown}: {effects} effects"));
        }
    }

    async fn unknown_operation(&mut self) {
        let name = self.kit.connector.name().to_owned();
        let spec = OperationSpec {
            name: format!("{name}.no-such-operation").into(),
            version: "1.0.0".into(),
            class: Class::Safe,
            reconciles: false,
            summary: "".into(),
            input: Value::Null,
            output: Value::Null,
        };
        let request = self.request(&spec, Value::object());
        if let Some(outcome) = self.call(&request, "an operation that does not exist").await {
            self.report.check(&spec.name, matches!(outcome, Outcome::Refused(_)), || {
                format!("{outcome:?}, expected a refusal")
            });
        }
    }

    async fn deadlines(&mut self, spec: &OperationSpec, sample: &Sample) {
        let mut late = self.sampled(spec, sample);
        late.deadline = Some(crate::Timestamp(1));
        let key = late.wire_key();
        if let Some(outcome) = self.call(&late, "a deadline in the past").await {
            self.unfinished(spec, &outcome, "a deadline in the past");
            let effects = (self.kit.probe)(&key);
            self.report.check(&spec.name, effects == 0, || format!("a deadline in the past: {effects} effects"));
        }
        if !sample.waits {
            return;
        }
        (self.kit.silence)(true).await;
        let mut short = self.sampled(spec, sample);
        short.deadline = Some(SystemClock.now().plus(Duration::from_millis(200)));
        if let Some(outcome) = self.call(&short, "a deadline that passes in silence").await {
            self.unfinished(spec, &outcome, "a deadline that passes in silence");
            if spec.class == Class::AtMostOnce {
                self.report.check(&spec.name, matches!(outcome, Outcome::Unknown(_)), || {
                    format!("a deadline that passes in silence: {outcome:?}, expected unknown: it was sent")
                });
            }
        }
        (self.kit.silence)(false).await;
    }

    async fn cancellation(&mut self, spec: &OperationSpec, sample: &Sample) {
        let request = self.sampled(spec, sample);
        request.cancel.cancel();
        if let Some(outcome) = self.call(&request, "cancelled before it begins").await {
            self.unfinished(spec, &outcome, "cancelled before it begins");
            let effects = (self.kit.probe)(&request.wire_key());
            self.report.check(&spec.name, effects == 0, || format!("cancelled before it begins: {effects} effects"));
        }
        if !sample.waits {
            return;
        }
        (self.kit.silence)(true).await;
        let request = self.sampled(spec, sample);
        let cancel = request.cancel.clone();
        let mut call = self.kit.connector.call(request.clone());
        // Run it until it waits for the silent outside, then cancel: at the latest when nothing has come for a moment.
        let early = tokio::time::timeout(Duration::from_millis(50), &mut call).await;
        self.report.check(&spec.name, early.is_err(), || format!("answered {early:?} although the outside is silent"));
        if early.is_err() {
            cancel.cancel();
            let ended = tokio::time::timeout(self.kit.patience, call).await;
            self.report.check(&spec.name, ended.is_ok(), || "does not end when it is cancelled in a silence".into());
            if let Ok(outcome) = ended {
                self.unfinished(spec, &outcome, "cancelled in a silence");
            }
        }
        (self.kit.silence)(false).await;
    }

    fn unfinished(&mut self, spec: &OperationSpec, outcome: &Outcome, doing: &str) {
        let fits = matches!(outcome, Outcome::Failed { .. } | Outcome::Unknown(_));
        self.report.check(&spec.name, fits, || format!("{doing}: {outcome:?}, expected failed or unknown"));
    }
}

#[cfg(test)]
mod tests;
