//! The metrics of one engine, and their text.
//!
//! Facts come in from the engine as it works and are added to atomics; what is a state (open runs, segments, room on the
//! disk) is looked at when somebody asks. Labels come from definitions and connectors, so each has a bound: whatever is beyond it counts as one that is named `other`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use cpd_core::Value;
use cpd_core::machine::{Event, Run};
use cpd_core::time::Timestamp;
use cpd_engine::{Called, Engine, EngineStatus, Observer};
use cpd_journal::{Group, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text};
use prometheus_client::registry::Registry;

use super::bounded::Bounded;
use super::catalogue::{self as c, Described};
use super::histogram::{self, Histogram};

/// What `/metrics` is served as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The most workflows, operations and policies, each, that have figures of their own.
const NAMES_MAX: usize = 500;
/// The most outcomes of one policy.
const OUTCOMES_MAX: usize = 20;
/// What a connector's answer may be.
const OUTCOMES: [&str; 5] = ["succeeded", "refused", "failed", "unknown", "not-happened"];
/// How a run may end.
const ENDS: [&str; 3] = ["completed", "faulted", "cancelled"];
/// Microseconds of a second.
const SECOND: f64 = 1e6;

/// The metrics of one engine. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    live: Arc<Live>,
}

#[derive(Debug)]
struct Live {
    turns: AtomicU64,
    events: AtomicU64,
    workflows: Bounded<Workflow>,
    operations: Bounded<Operation>,
    policies: Bounded<Bounded<AtomicU64>>,
    late: Histogram,
    sync: Histogram,
    group: Histogram,
    group_bytes: Histogram,
}

#[derive(Debug)]
struct Workflow {
    started: AtomicU64,
    ended: [AtomicU64; ENDS.len()],
    duration: Histogram,
    try_retries: AtomicU64,
}

#[derive(Debug)]
struct Operation {
    queue: Histogram,
    effect: Histogram,
    outcomes: [AtomicU64; OUTCOMES.len()],
    retries: AtomicU64,
    parked: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of an engine that has done nothing yet.
    pub fn new() -> Self {
        let workflow = || Workflow {
            started: AtomicU64::new(0),
            ended: Default::default(),
            duration: Histogram::new(histogram::RUNS),
            try_retries: AtomicU64::new(0),
        };
        let operation = || Operation {
            queue: Histogram::new(histogram::TIMES),
            effect: Histogram::new(histogram::TIMES),
            outcomes: Default::default(),
            retries: AtomicU64::new(0),
            parked: AtomicU64::new(0),
        };
        let live = Live {
            turns: AtomicU64::new(0),
            events: AtomicU64::new(0),
            workflows: Bounded::new(NAMES_MAX, workflow),
            operations: Bounded::new(NAMES_MAX, operation),
            policies: Bounded::new(NAMES_MAX, || Bounded::new(OUTCOMES_MAX, AtomicU64::default)),
            late: Histogram::new(histogram::TIMES),
            sync: Histogram::new(histogram::TIMES),
            group: Histogram::new(histogram::ENTRIES),
            group_bytes: Histogram::new(histogram::BYTES),
        };
        Self { live: Arc::new(live) }
    }

    /// What the engine is to be built with.
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.live.clone()
    }

    /// The metrics as OpenMetrics text. Looks at files, so it is not for an async task that must not wait for a disk.
    ///
    /// # Errors
    /// If the data directory cannot be looked at.
    pub fn render(&self, engine: &Engine) -> anyhow::Result<String> {
        let status = engine.status().context("look at the journal")?;
        let disk = rustix::fs::statvfs(engine.data())
            .with_context(|| format!("look at the disk of {}", engine.data().display()))?;
        let disk = Disk { free: disk.f_bavail * disk.f_frsize, size: disk.f_blocks * disk.f_frsize };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { live: self.live.clone(), status, disk }));
        let mut out = String::new();
        text::encode(&mut out, &registry).context("write the metrics")?;
        Ok(out)
    }
}

impl Observer for Live {
    fn observe(&self, run: &Run, at: Timestamp, _seq: u64, events: &[Event]) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events.len() as u64, Ordering::Relaxed);
        for event in events {
            match event {
                Event::RunStarted { workflow, .. } => self.workflows.with(workflow, |w| one(&w.started)),
                Event::RunCompleted { .. } => self.ended(run, at, 0),
                Event::RunFaulted { .. } => self.ended(run, at, 1),
                Event::RunCancelled { .. } => self.ended(run, at, 2),
                Event::TaskRetried { act, .. } => self.of_call(run, *act, |o| &o.retries),
                Event::TaskParked { act } => self.of_call(run, *act, |o| &o.parked),
                Event::TryRetried { .. } => self.workflows.with(&run.plan.qualified_name(), |w| one(&w.try_retries)),
                Event::PolicyDecided { decision, .. } => self.decided(decision),
                _ => {}
            }
        }
    }

    fn called(&self, call: &Called) {
        self.operations.with(&call.operation, |operation| {
            operation.queue.time(call.queued);
            operation.effect.time(call.took);
            if let Some(counter) = OUTCOMES.iter().position(|o| *o == call.outcome) {
                one(&operation.outcomes[counter]);
            }
        });
    }

    fn fired(&self, late: Duration) {
        self.late.time(late);
    }

    fn synced(&self, group: &Group) {
        self.sync.time(group.took);
        self.group.observe(group.entries);
        self.group_bytes.observe(group.bytes);
    }
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Live {
    fn ended(&self, run: &Run, at: Timestamp, how: usize) {
        self.workflows.with(&run.plan.qualified_name(), |workflow| {
            one(&workflow.ended[how]);
            workflow.duration.time(at.since(run.started_at));
        });
    }

    fn of_call(&self, run: &Run, act: cpd_core::machine::ActId, counter: fn(&Operation) -> &AtomicU64) {
        if let Some(call) = run.call(act) {
            self.operations.with(&call.operation.name, |operation| one(counter(operation)));
        }
    }

    fn decided(&self, decision: &Value) {
        let text = |key: &str| decision.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
        self.policies.with(&text("policy"), |outcomes| outcomes.with(&text("outcome"), one));
    }
}

#[derive(Debug)]
struct Disk {
    free: u64,
    size: u64,
}

/// What is rendered once.
#[derive(Debug)]
struct Scrape {
    live: Arc<Live>,
    status: EngineStatus,
    disk: Disk,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Encoder(encoder);
        let Scrape { live, status, disk } = self;
        out.info(c::BUILD, &[("version", env!("CARGO_PKG_VERSION"))])?;
        out.gauges(c::OPEN, status.open.iter().map(|(wait, count)| ([("wake", wait.name())], *count)))?;
        out.gauge(c::SET_ASIDE, status.set_aside as u64)?;
        let (workflows, operations) = (live.workflows.all(), live.operations.all());
        out.counters(c::STARTED, workflows.iter().map(|(name, w)| ([("workflow", &**name)], read(&w.started))))?;
        out.counters(
            c::ENDED,
            workflows.iter().flat_map(|(name, w)| {
                let labels = ENDS.iter().map(|end| [("workflow", &**name), ("status", *end)]);
                labels.zip(w.ended.iter().map(read))
            }),
        )?;
        out.histograms(c::DURATION, SECOND, workflows.iter().map(|(name, w)| ([("workflow", &**name)], &w.duration)))?;
        out.counter(c::TURNS, read(&live.turns))?;
        out.counter(c::EVENTS, read(&live.events))?;
        let labelled = operations.iter().map(|(name, o)| ([("operation", &**name)], &**o));
        out.histograms(c::QUEUE, SECOND, labelled.clone().map(|(labels, o)| (labels, &o.queue)))?;
        out.histograms(c::EFFECT, SECOND, labelled.clone().map(|(labels, o)| (labels, &o.effect)))?;
        out.counters(
            c::CALLS,
            operations.iter().flat_map(|(name, o)| {
                let labels = OUTCOMES.iter().map(|outcome| [("operation", &**name), ("outcome", *outcome)]);
                labels.zip(o.outcomes.iter().map(read))
            }),
        )?;
        out.counters(c::RETRIES, labelled.clone().map(|(labels, o)| (labels, read(&o.retries))))?;
        out.counters(
            c::TRY_RETRIES,
            workflows.iter().map(|(name, w)| ([("workflow", &**name)], read(&w.try_retries))),
        )?;
        out.counters(c::PARKED, labelled.map(|(labels, o)| (labels, read(&o.parked))))?;
        out.histogram(c::LATE, SECOND, &live.late)?;
        let policies: Vec<_> = live.policies.all().into_iter().map(|(name, outcomes)| (name, outcomes.all())).collect();
        out.counters(
            c::DECISIONS,
            policies.iter().flat_map(|(policy, outcomes)| {
                outcomes.iter().map(|(name, n)| ([("policy", &**policy), ("outcome", &**name)], read(n)))
            }),
        )?;
        out.histogram(c::SYNC, SECOND, &live.sync)?;
        out.histogram(c::GROUP, 1.0, &live.group)?;
        out.histogram(c::GROUP_BYTES, 1.0, &live.group_bytes)?;
        out.gauge(c::PENDING, status.pending_bytes)?;
        out.gauge(c::BYTES, status.journal_bytes)?;
        out.gauge(c::SEGMENTS, status.segments as u64)?;
        out.gauge(c::FULL, u64::from(matches!(status.journal, Status::Full)))?;
        out.counter(c::FULL_ATTEMPTS, status.written.full)?;
        out.gauge(c::POISONED, u64::from(matches!(status.journal, Status::Poisoned(_))))?;
        out.gauge(c::INDEX_BEHIND, u64::from(status.index_behind))?;
        out.gauge(c::DISK_FREE, disk.free)?;
        out.gauge(c::DISK_SIZE, disk.size)
    }
}

/// Writes metrics of the catalogue.
struct Encoder<'a>(DescriptorEncoder<'a>);

impl Encoder<'_> {
    fn begin(&mut self, metric: Described) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(metric.name, metric.help, None, metric.kind)
    }

    fn info(&mut self, metric: Described, labels: &impl EncodeLabelSet) -> fmt::Result {
        self.begin(metric)?.encode_info(labels)
    }

    fn gauge(&mut self, metric: Described, value: u64) -> fmt::Result {
        self.begin(metric)?.encode_gauge(&as_gauge(value))
    }

    fn gauges<L: EncodeLabelSet>(&mut self, metric: Described, all: impl Iterator<Item = (L, u64)>) -> fmt::Result {
        let mut encoder = self.begin(metric)?;
        for (labels, value) in all {
            encoder.encode_family(&labels)?.encode_gauge(&as_gauge(value))?;
        }
        Ok(())
    }

    fn counter(&mut self, metric: Described, value: u64) -> fmt::Result {
        self.begin(metric)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<L: EncodeLabelSet>(&mut self, metric: Described, all: impl Iterator<Item = (L, u64)>) -> fmt::Result {
        let mut encoder = self.begin(metric)?;
        for (labels, value) in all {
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn histogram(&mut self, metric: Described, unit: f64, histogram: &Histogram) -> fmt::Result {
        put(&mut self.begin(metric)?, unit, histogram)
    }

    fn histograms<'h, L: EncodeLabelSet>(
        &mut self,
        metric: Described,
        unit: f64,
        all: impl Iterator<Item = (L, &'h Histogram)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(metric)?;
        for (labels, histogram) in all {
            put(&mut encoder.encode_family(&labels)?, unit, histogram)?;
        }
        Ok(())
    }
}

/// The text has no unsigned gauges; a disk beyond 8 EiB is shown as that.
fn as_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn put(encoder: &mut MetricEncoder<'_>, unit: f64, histogram: &Histogram) -> fmt::Result {
    let reading = histogram.read(unit);
    encoder.encode_histogram::<NoLabelSet>(reading.sum, reading.count, &reading.buckets, None)
}
