//! What the operations need from an ML platform, whichever it is.
//!
//! The operations of Atlas are written against [`Backend`]; [`mlflow`](super::mlflow) is the one that ships. A second
//! one, over a warehouse's stored procedures, implements the same methods: it has models, versions with tags,
//! aliases, figures, and a way to start a training under a key and to ask what became of it.
//!
//! The rules for an implementor:
//! - every method makes the calls it needs under the request's deadline and cancellation, and keeps nothing;
//! - a trouble says what is known about the effect (see [`crate::http::verdict`]);
//! - [`Backend::start_training`] with the same key starts at most one job; [`Backend::register`] need not be
//!   idempotent: the caller searches by tag before it registers;
//! - what is not there is `None`, not a trouble, where the signature has an `Option`.

use std::collections::BTreeMap;

use cpd_connector_api::{BoxFuture, Request, Value};

use crate::http::Trouble;

/// The tag that carries the idempotency key of the effect that made a version.
pub const KEY_TAG: &str = "cpd.idempotency_key";
/// The tag that carries the run's id.
pub const RUN_TAG: &str = "cpd.run_id";
/// The tag that carries the task's reference.
pub const TASK_TAG: &str = "cpd.task";

/// A registered model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Alias to version.
    pub aliases: BTreeMap<String, String>,
}

/// A version of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Version {
    /// The model's name.
    pub model: String,
    /// The version, as the platform counts.
    pub version: String,
    /// Whether it can be used: `READY`.
    pub status: Option<String>,
    /// Where the artifact lies.
    pub source: Option<String>,
    /// The tracked run that made it.
    pub run_id: Option<String>,
    /// Milliseconds since 1970.
    pub created_ms: Option<i64>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Its aliases.
    pub aliases: Vec<String>,
}

/// Figures of a tracked run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// The run.
    pub run_id: String,
    /// Metrics, the last of each.
    pub metrics: BTreeMap<String, f64>,
    /// Parameters.
    pub params: BTreeMap<String, String>,
}

/// How far a training job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for a place.
    Queued,
    /// It runs.
    Running,
    /// It is done.
    Succeeded,
    /// It ended without a model.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl Stage {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Queued => "queued",
            Stage::Running => "running",
            Stage::Succeeded => "succeeded",
            Stage::Failed => "failed",
            Stage::Cancelled => "cancelled",
        }
    }
}

/// A training job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub stage: Stage,
    /// The version, if the training service registered it.
    pub version: Option<String>,
    /// The tracked run.
    pub run_id: Option<String>,
    /// Where the artifact lies.
    pub source: Option<String>,
    /// The logged model that it made, if the platform has such (MLflow 3: `m-…`).
    pub model_id: Option<String>,
    /// Metrics.
    pub metrics: Value,
    /// Why it failed.
    pub error: Option<String>,
    /// When the service wants to be asked again.
    pub retry_after_ms: Option<u64>,
}

/// What to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The model.
    pub model: String,
    /// Why; for the service's own log.
    pub reason: Option<String>,
    /// Hyperparameters and the like.
    pub parameters: Value,
    /// What to train on, in the service's own terms.
    pub data: Value,
    /// Whether the service should report the end by itself.
    pub callback: bool,
}

/// Which versions are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only those with this tag.
    pub tag: Option<(String, String)>,
    /// At most so many, the newest first.
    pub limit: u32,
}

/// A future of a backend.
pub type Done<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// An ML platform. See the module's rules.
pub trait Backend: Send + Sync + 'static {
    /// The registered model of that name.
    fn model<'a>(&'a self, request: &'a Request, name: &'a str) -> Done<'a, Option<Model>>;
    /// A version by number.
    fn version<'a>(&'a self, request: &'a Request, model: &'a str, version: &'a str) -> Done<'a, Option<Version>>;
    /// Versions of a model, the newest first.
    fn versions<'a>(&'a self, request: &'a Request, model: &'a str, filter: &'a Filter) -> Done<'a, Vec<Version>>;
    /// Figures of a tracked run.
    fn figures<'a>(&'a self, request: &'a Request, run_id: &'a str) -> Done<'a, Option<Figures>>;
    /// Registers what a job made as a new version with these tags. Not idempotent.
    fn register<'a>(
        &'a self,
        request: &'a Request,
        model: &'a str,
        job: &'a Job,
        tags: &'a BTreeMap<String, String>,
    ) -> Done<'a, Version>;
    /// Deletes a version. Says whether it was there.
    fn delete_version<'a>(&'a self, request: &'a Request, model: &'a str, version: &'a str) -> Done<'a, bool>;
    /// Points an alias to a version.
    fn set_alias<'a>(&'a self, request: &'a Request, model: &'a str, alias: &'a str, version: &'a str) -> Done<'a, ()>;
    /// Sets a tag of a version, or of the model itself.
    fn set_tag<'a>(
        &'a self,
        request: &'a Request,
        model: &'a str,
        version: Option<&'a str>,
        tag: (&'a str, &'a str),
    ) -> Done<'a, ()>;
    /// Starts a training under the request's key, or finds the one that was started under it.
    fn start_training<'a>(&'a self, request: &'a Request, training: &'a Training) -> Done<'a, Job>;
    /// A job by id.
    fn job<'a>(&'a self, request: &'a Request, id: &'a str) -> Done<'a, Option<Job>>;
    /// The job that was started under a (wire) key.
    fn job_by_key<'a>(&'a self, request: &'a Request, key: &'a str) -> Done<'a, Option<Job>>;
    /// Stops a job. Returns it as it is then; `None` if there is none.
    fn cancel_job<'a>(&'a self, request: &'a Request, id: &'a str) -> Done<'a, Option<Job>>;
}
