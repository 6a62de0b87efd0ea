//! Every metric: its name, what it is, and what it means. The text that is rendered and the page
//! `docs/operations/metrics.md` both follow this table.

use prometheus_client::metrics::MetricType;

/// What is said of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Its name, without what counters and histograms add.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricType,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means, in a sentence without a full stop: the text adds one.
    pub help: &'static str,
}

impl Described {
    /// The names of its samples, as a query writes them.
    pub fn samples(&self) -> Vec<String> {
        match self.kind {
            MetricType::Counter => vec![format!("{}_total", self.name)],
            MetricType::Histogram => {
                ["_bucket", "_sum", "_count"].iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
            }
            MetricType::Info => vec![format!("{}_info", self.name)],
            _ => vec![self.name.to_owned()],
        }
    }

    /// The name of the page: a counter's with `_total`.
    pub fn title(&self) -> String {
        match self.kind {
            MetricType::Counter | MetricType::Info => self.samples().remove(0),
            _ => self.name.to_owned(),
        }
    }
}

macro_rules! catalogue {
    ($($id:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $(pub(super) const $id: Described =
            Described { name: $name, kind: MetricType::$kind, labels: &[$($label),*], help: $help };)*
        /// Every metric, in the order in which they are rendered.
        pub const CATALOGUE: &[Described] = &[$($id),*];
    };
}

catalogue! {
    BUILD = "cpd_build", Info, ["version"], "The version of cpd";
    OPEN = "cpd_open_runs", Gauge, ["wake"], "Open runs by what they wait for; `nothing` is a bug";
    SET_ASIDE = "cpd_runs_set_aside", Gauge, [], "Runs that a bug in cpd has stopped until the next start";
    STARTED = "cpd_runs_started", Counter, ["workflow"], "Runs that were started";
    ENDED = "cpd_runs_ended", Counter, ["workflow", "status"], "Runs that ended, as completed, faulted or cancelled";
    DURATION = "cpd_run_duration_seconds", Histogram, ["workflow"], "From the start of a run to its end";
    TURNS = "cpd_turns", Counter, [], "Turns of runs that are durable; each is an entry of the journal";
    EVENTS = "cpd_run_events", Counter, [], "Events of runs that are durable";
    QUEUE = "cpd_call_queue_seconds", Histogram, ["operation"],
        "From the decision to call an operation to the call: the sync, and the shard's queue";
    EFFECT = "cpd_call_duration_seconds", Histogram, ["operation"], "How long calls of an operation took";
    CALLS = "cpd_calls", Counter, ["operation", "outcome"],
        "Calls of an operation that came back, as succeeded, refused, failed, unknown or not-happened";
    RETRIES = "cpd_call_retries", Counter, ["operation"], "Calls that were made again with the same key";
    TRY_RETRIES = "cpd_try_retries", Counter, ["workflow"], "Bodies of a `try` that began anew";
    PARKED = "cpd_calls_parked", Counter, ["operation"], "Effects that were left to an operator, because nobody knows their outcome";
    LATE = "cpd_timer_lateness_seconds", Histogram, [], "How much later than it was set for a timer fired";
    DECISIONS = "cpd_policy_decisions", Counter, ["policy", "outcome"], "Decisions of policies; `ERROR` is a policy that failed";
    SYNC = "cpd_journal_sync_seconds", Histogram, [], "How long a group took to be written and synced, waits for room included";
    GROUP = "cpd_journal_group_entries", Histogram, [], "Entries that were made durable with one sync";
    GROUP_BYTES = "cpd_journal_group_bytes", Histogram, [], "Bytes that were made durable with one sync";
    PENDING = "cpd_journal_pending_bytes", Gauge, [], "Bytes that were handed to the journal and are not durable yet";
    BYTES = "cpd_journal_bytes", Gauge, [], "Bytes of the journal's segments, zeros that are filled ahead included";
    SEGMENTS = "cpd_journal_segments", Gauge, [], "Segments of the journal";
    FULL = "cpd_journal_full", Gauge, [], "1 while the journal waits for room on its disk";
    FULL_ATTEMPTS = "cpd_journal_full_attempts", Counter, [], "Attempts to write that found no room on the disk";
    POISONED = "cpd_journal_poisoned", Gauge, [], "1 after the journal has failed: nothing is written until a restart";
    INDEX_BEHIND = "cpd_index_behind", Gauge, [], "1 if the index could not be written; the next start catches up";
    DISK_FREE = "cpd_disk_free_bytes", Gauge, [], "Bytes that are free on the disk of the data directory";
    DISK_SIZE = "cpd_disk_size_bytes", Gauge, [], "Bytes of the disk of the data directory";
}
