//! The connector `drift`: has data moved away from what it was?
//!
//! One operation, `drift.compare`, which only reads:
//!
//! 1. `input` says what may be asked for; `paths` which files may be opened.
//! 2. [`source`] reads the columns of the reference and of the current file, and hashes both.
//! 3. [`stats`] computes; `compare` puts the answer together: one number, `drift`, and everything it came from.
//!
//! ```text
//! call (async) ── permit ── blocking thread: read reference, read current, compare ──┐
//!      └──────── waits for the answer, the cancellation or the deadline ◄────────────┘
//! ```
//!
//! The thread looks at cancellation and deadline every few thousand rows. If it is stuck in the file system, the call ends
//! without it, and it keeps its permit until it comes back: hung disks do not pile up threads.
//!
//! The kind of a column is decided by the reference and then holds for the current file: a number that became text is an error
//! with its line, not a silent change of kind.
//!
//! What it does not do: it draws no conclusion (policies do), keeps nothing between calls, and writes nothing.
//! [`generate`] makes data to try it with.

mod compare;
pub mod generate;
mod input;
mod paths;
mod schema;
pub mod source;
pub mod stats;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cpd_connector_api::{
    BoxFuture, CancellationToken, Class, Connector, OperationSpec, Outcome, Problem, Request, Standard, Timestamp, json,
};
use tokio::sync::Semaphore;

use compare::Named;
use input::{FileInput, Input};
use source::{Kind, Limits, Source, Stop, Stopped, Table, Wanted};

/// The name of the operation.
pub const COMPARE: &str = "drift.compare";
/// The version of its contract.
pub const VERSION: &str = "1.0.0";

/// What a deployment decides.
#[derive(Clone, Debug)]
pub struct DriftConfig {
    /// Where data files are; paths in the input are relative to it.
    pub base_dir: PathBuf,
    /// Whether an input may name any file of the machine.
    pub allow_absolute: bool,
    /// How much of a file may be kept in memory.
    pub limits: Limits,
    /// How many comparisons may run at once; others wait. Each may take twice the memory of [`Limits`].
    pub concurrent_max: usize,
}

impl DriftConfig {
    /// Files of `base_dir` only, with the default limits, two comparisons at once.
    pub fn new(base_dir: impl Into<PathBuf>) -> Self {
        Self { base_dir: base_dir.into(), allow_absolute: false, limits: Limits::default(), concurrent_max: 2 }
    }
}

/// Tells the time.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The connector.
pub struct DriftConnector {
    config: DriftConfig,
    permits: Arc<Semaphore>,
    clock: Clock,
}

impl DriftConnector {
    /// A connector for the files that `config` allows.
    pub fn new(config: DriftConfig) -> Self {
        Self::with_clock(config, Arc::new(wall_clock))
    }

    /// The same with another clock. The time is read once a call, to turn its deadline into a span, and reaches no output.
    pub fn with_clock(config: DriftConfig, clock: Clock) -> Self {
        let permits = Arc::new(Semaphore::new(config.concurrent_max.clamp(1, Semaphore::MAX_PERMITS)));
        Self { config, permits, clock }
    }

    async fn compare(&self, request: Request) -> Outcome {
        let input: Input = match request.input() {
            Ok(input) => input,
            Err(problem) => return Outcome::Refused(problem),
        };
        let until = request.deadline.and_then(|deadline| {
            let left = deadline.since((self.clock)());
            // A tenth early, but no more than a quarter of a second: the answer has a way to go.
            Instant::now().checked_add(left.saturating_sub((left / 10).min(Duration::from_millis(250))))
        });
        let cancel = request.cancel;
        let work = async {
            let Ok(permit) = self.permits.clone().acquire_owned().await else {
                return stopped(Stopped::Cancelled);
            };
            let (config, cancel) = (self.config.clone(), cancel.clone());
            let job = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let outcome = work(&config, &input, &|| look(&cancel, until));
                outcome.unwrap_or_else(|e| e.outcome())
            });
            job.await.unwrap_or_else(|_| {
                let detail = format!("{COMPARE} broke off on its input; this is a bug of the connector");
                Outcome::Refused(Problem::standard(Standard::Runtime, detail))
            })
        };
        tokio::select! {
            // In this order: an answer that is there counts, even if the time is up as well.
            biased;
            outcome = work => outcome,
            () = cancel.cancelled() => stopped(Stopped::Cancelled),
            () = sleep_until(until) => stopped(Stopped::TimedOut),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a deadline is wall time; the reading only tells how long a call may take"
)]
fn wall_clock() -> Timestamp {
    Timestamp::default().plus(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn look(cancel: &CancellationToken, until: Option<Instant>) -> Option<Stopped> {
    if cancel.is_cancelled() {
        Some(Stopped::Cancelled)
    } else {
        until.is_some_and(|at| Instant::now() >= at).then_some(Stopped::TimedOut)
    }
}

impl Connector for DriftConnector {
    fn name(&self) -> &str {
        "drift"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        vec![OperationSpec {
            name: COMPARE.into(),
            version: VERSION.into(),
            class: Class::Safe,
            reconciles: false,
            summary: "Measures how far the columns of a data file have moved from those of a reference file.".into(),
            input: schema::input(),
            output: schema::output(),
        }]
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        if &*request.operation == COMPARE {
            return Box::pin(self.compare(request));
        }
        let detail = format!("connector drift has no operation `{}`, it has `{COMPARE}`", request.operation);
        Box::pin(async { Outcome::Refused(Problem::standard(Standard::Configuration, detail)) })
    }
}

/// What became of a comparison that gave no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Input(#[from] input::Error),
    #[error(transparent)]
    Path(#[from] paths::Error),
    #[error(transparent)]
    Source(#[from] source::Error),
    #[error(transparent)]
    Compare(#[from] compare::Error),
}

impl Error {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Input(_) => None,
            Error::Path(e) => e.hint(),
            Error::Source(e) => e.hint(),
            Error::Compare(e) => e.hint(),
        }
    }

    fn outcome(&self) -> Outcome {
        let mut detail = self.to_string();
        let mut cause = self.source();
        while let Some(e) = cause {
            detail = format!("{detail}: {e}");
            cause = e.source();
        }
        let problem = |kind| {
            let problem = Problem::standard(kind, detail.replace('\0', "\\0"));
            match self.hint() {
                Some(hint) => problem.with_data(json!({ "hint": hint })),
                None => problem,
            }
        };
        let again = |problem| Outcome::Failed { problem, not_before: None };
        match self {
            Error::Source(source::Error::Stopped(s)) | Error::Compare(compare::Error::Stopped(s)) => stopped(*s),
            // The file may be there, whole and readable next time.
            Error::Source(source::Error::Io { .. } | source::Error::Changed { .. })
            | Error::Path(paths::Error::Io { .. }) => again(problem(Standard::Communication)),
            Error::Source(source::Error::NotFound { .. }) | Error::Path(paths::Error::NotFound { .. }) => {
                Outcome::Refused(problem(Standard::Validation).with_status(404))
            }
            Error::Path(paths::Error::Absolute { .. } | paths::Error::Escape { .. }) => {
                Outcome::Refused(problem(Standard::Authorization))
            }
            Error::Path(paths::Error::Base { .. }) => Outcome::Refused(problem(Standard::Configuration)),
            _ => Outcome::Refused(problem(Standard::Validation)),
        }
    }
}

fn stopped(why: Stopped) -> Outcome {
    let problem = match why {
        Stopped::Cancelled => Problem::standard(Standard::Runtime, format!("{COMPARE} was cancelled")),
        Stopped::TimedOut => Problem::standard(Standard::Timeout, format!("{COMPARE} ran out of time")),
    };
    Outcome::Failed { problem, not_before: None }
}

/// The whole comparison; blocks.
fn work(config: &DriftConfig, input: &Input, stop: Stop<'_>) -> Result<Outcome, Error> {
    input.check()?;
    let open = |file: &FileInput| -> Result<Source, Error> {
        let path = paths::resolve(&config.base_dir, config.allow_absolute, &file.path)?;
        Ok(Source::new(path, file.format()?, config.limits)?)
    };
    // Both, before the first is read: a wrong name should not cost the reading of the other.
    let (reference, current) = (open(&input.reference)?, open(&input.current)?);
    let wanted = input.columns.as_ref().map(|columns| {
        let wanted = |c: &input::ColumnInput| Wanted { name: c.name.clone(), kind: c.kind };
        columns.iter().map(wanted).collect::<Vec<_>>()
    });
    let reference = reference.read(wanted.as_deref(), stop)?;
    if let Some(first) = reference.columns.iter().find(|c| c.missing >= reference.rows) {
        // Its kind is not known, and the current file would be read in vain.
        let column = first.name.clone();
        return Err(compare::Error::NoValues { column, side: "reference", rows: reference.rows }.into());
    }
    let current = current.read(Some(&as_in(&reference)), stop)?;
    let answer = compare::compare(
        input,
        Named { path: &input.reference.path, table: reference },
        Named { path: &input.current.path, table: current },
        stop,
    )?;
    Ok(Outcome::succeeded(answer))
}

/// The columns of the reference with the kinds that they have there.
fn as_in(reference: &Table) -> Vec<Wanted> {
    let kind = |c: &source::Column| -> Kind { c.data.kind() };
    reference.columns.iter().map(|c| Wanted { name: c.name.clone(), kind: Some(kind(c)) }).collect()
}
