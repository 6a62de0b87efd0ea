//! `atlas.retrain`: train once per key, whatever happens on the way.
//!
//! 1. Look for a version with the tag `cpd.idempotency_key` = key: if there is one, that is the result.
//! 2. See that the model is registered, then start a job under the key. The hook starts one job per key, so a repeat finds the first one's.
//! 3. Ask for the job until it has ended. A poll that fails is asked again, a few times; giving up leaves the job
//!    running, and the next attempt, with the same key, goes on at 1.
//! 4. If the training service registered the version itself, tag it; else search again and register it here.
//! 5. Point the alias to it, if one was asked for.
//!
//! A cancellation or the deadline ends the wait, not the job: a process that stops is no reason to throw hours of
//! training away. `atlas.discard` stops the job.
//!
//! `model-versions/create` is not idempotent. Between the search in step 4 and the creation nobody else may work under
//! the same key; the engine sees to that: one call at a time per effect.

use std::collections::BTreeMap;
use std::time::Duration;

use cpd_connector_api::guard::{Interrupted, within};
use cpd_connector_api::{Outcome, Problem, Reconciled, Request, Standard, Value, json};

use super::backend::{Filter, Job, KEY_TAG, RUN_TAG, Stage, TASK_TAG, Training, Version};
use super::{Atlas, Done, alias, input, missing, model, or_null};
use crate::http::Trouble;

impl Atlas {
    pub(super) async fn retrain(&self, request: &Request) -> Done {
        let model = model(request)?;
        let wanted_alias = input(request, "alias");
        if let Some(name) = &wanted_alias {
            alias(name)?;
        }
        if let Some(version) = self.version_of_key(request, &model).await? {
            return self.finish(request, version, None, wanted_alias).await;
        }
        // A misspelt name must not cost a training.
        if self.backend.model(request, &model).await?.is_none() {
            return Err(missing(format!("model {model:?}, which has to be registered before it is trained again,")));
        }
        let member = |name: &str| request.input.get(name).cloned().unwrap_or_default();
        let callback = request.input.get("completion").and_then(Value::as_str) == Some("callback");
        let reason = input(request, "reason");
        let (parameters, data) = (member("parameters"), member("data"));
        let training = Training { model: model.clone(), reason, parameters, data, callback };
        let job = self.backend.start_training(request, &training).await?;
        if callback && matches!(job.stage, Stage::Queued | Stage::Running) {
            return Ok(json!({
                "model": model, "jobId": job.id, "status": job.stage.name(),
                "version": null, "runId": job.run_id, "metrics": {}, "alias": null,
            }));
        }
        let job = self.await_job(request, job).await?;
        let version = self.registered(request, &model, &job).await?;
        self.finish(request, version, Some(job), wanted_alias).await
    }

    /// The version that an earlier attempt under this key left.
    async fn version_of_key(&self, request: &Request, model: &str) -> Result<Option<Version>, Trouble> {
        let filter = Filter { tag: Some((KEY_TAG.to_owned(), request.wire_key())), limit: 1 };
        Ok(self.backend.versions(request, model, &filter).await?.into_iter().next())
    }

    /// Waits until the job has ended.
    async fn await_job(&self, request: &Request, mut job: Job) -> Result<Job, Trouble> {
        let (mut polls, mut failures) = (0, 0);
        loop {
            match job.stage {
                Stage::Succeeded => return Ok(job),
                Stage::Failed => {
                    let why = job.error.as_deref().unwrap_or("the training service gives no reason");
                    return Err(Trouble::Refused(ended(&job, &format!("training job {} failed: {why}", job.id))));
                }
                Stage::Cancelled => {
                    return Err(Trouble::Refused(ended(&job, &format!("training job {} was cancelled", job.id))));
                }
                Stage::Queued | Stage::Running => {}
            }
            self.pause(request, self.poll.wait_ms(polls, job.retry_after_ms), &job).await?;
            polls += 1;
            match self.backend.job(request, &job.id).await {
                Ok(Some(now)) => (job, failures) = (now, 0),
                Ok(None) => return Err(missing(format!("training job {}", job.id))),
                Err(Trouble::Failed { problem, not_before }) => {
                    failures += 1;
                    if failures >= self.poll.failures_max {
                        return Err(Trouble::Failed { problem, not_before });
                    }
                    job.retry_after_ms = not_before.map(|w| u64::try_from(w.as_millis()).unwrap_or(u64::MAX));
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Waits between two polls; ends early when the request does.
    async fn pause(&self, request: &Request, wait_ms: u64, job: &Job) -> Result<(), Trouble> {
        let wait = tokio::time::sleep(Duration::from_millis(wait_ms));
        within(request, &*self.clock, wait).await.map_err(|why| waiting(why, job))
    }

    /// The version of a job that succeeded: the service's own, or one that is registered now.
    async fn registered(&self, request: &Request, model: &str, job: &Job) -> Result<Version, Trouble> {
        if let Some(number) = &job.version {
            let version = self.backend.version(request, model, number).await?;
            let mut version = version
                .ok_or_else(|| missing(format!("version {number} of {model:?}, which job {} reports,", job.id)))?;
            for (key, value) in tags(request) {
                if version.tags.get(&key) != Some(&value) {
                    self.backend.set_tag(request, model, Some(number), (&key, &value)).await?;
                    version.tags.insert(key, value);
                }
            }
            return Ok(version);
        }
        // An attempt whose answer was lost may have registered it since the first search.
        if let Some(version) = self.version_of_key(request, model).await? {
            return Ok(version);
        }
        let mut tags = tags(request);
        tags.insert("cpd.job_id".into(), job.id.clone());
        self.backend.register(request, model, job, &tags).await
    }

    /// Sets the alias and tells the result. An attempt that only found the version asks for the job by its tag.
    async fn finish(&self, request: &Request, version: Version, job: Option<Job>, alias: Option<String>) -> Done {
        if let Some(alias) = &alias
            && !version.aliases.contains(alias)
        {
            self.backend.set_alias(request, &version.model, alias, &version.version).await?;
        }
        self.told(request, &version, job, alias.as_deref()).await
    }

    async fn told(&self, request: &Request, version: &Version, job: Option<Job>, alias: Option<&str>) -> Done {
        let job = match job {
            Some(job) => Some(job),
            None => self.backend.job_by_key(request, &request.wire_key()).await?,
        };
        let tagged = || version.tags.get("cpd.job_id").cloned();
        let job_id = job.as_ref().map(|j| j.id.clone()).or_else(tagged).unwrap_or_default();
        let run_id = version.run_id.clone().or_else(|| job.as_ref().and_then(|j| j.run_id.clone()));
        Ok(Value::from([
            ("model", Value::from(version.model.as_str())),
            ("version", Value::from(version.version.as_str())),
            ("jobId", Value::from(job_id)),
            ("status", Value::from(Stage::Succeeded.name())),
            ("runId", or_null(run_id.as_deref())),
            ("metrics", job.map_or_else(Value::object, |j| j.metrics)),
            ("alias", or_null(alias)),
        ]))
    }

    /// What became of a retraining: by its version, else by its job.
    pub(super) async fn reconcile_retrain(&self, request: &Request) -> Reconciled {
        match self.found(request).await {
            Ok(found) => found,
            Err(trouble) => Reconciled::CannotTell(trouble.into_problem()),
        }
    }

    async fn found(&self, request: &Request) -> Result<Reconciled, Trouble> {
        let model = model(request)?;
        let wanted_alias = input(request, "alias");
        if let Some(version) = self.version_of_key(request, &model).await? {
            // Without the alias it is not all done; the next attempt finds the version and sets it.
            if wanted_alias.as_ref().is_some_and(|a| !version.aliases.contains(a)) {
                return Ok(Reconciled::NotHappened);
            }
            let output = self.told(request, &version, None, wanted_alias.as_deref()).await?;
            return Ok(Reconciled::Happened(Outcome::succeeded(output)));
        }
        Ok(match self.backend.job_by_key(request, &request.wire_key()).await? {
            // Started and perhaps ended, but not registered: the same key again goes on from there.
            None | Some(Job { stage: Stage::Queued | Stage::Running | Stage::Succeeded, .. }) => {
                Reconciled::NotHappened
            }
            Some(job) => {
                let what = format!("training job {} {}", job.id, job.error.as_deref().unwrap_or(job.stage.name()));
                Reconciled::Happened(Outcome::Refused(ended(&job, &what)))
            }
        })
    }
}

fn tags(request: &Request) -> BTreeMap<String, String> {
    BTreeMap::from([
        (KEY_TAG.to_owned(), request.wire_key()),
        (RUN_TAG.to_owned(), request.run.to_string()),
        (TASK_TAG.to_owned(), request.task.to_string()),
    ])
}

fn ended(job: &Job, what: &str) -> Problem {
    Problem::standard(Standard::Runtime, what).with_data(json!({"jobId": job.id, "status": job.stage.name()}))
}

/// The wait was cut short; the job goes on.
fn waiting(why: Interrupted, job: &Job) -> Trouble {
    let problem = why.problem(&format!("while training job {} was {}; it goes on", job.id, job.stage.name()));
    Trouble::Unknown(problem.with_data(json!({"jobId": job.id, "status": job.stage.name()})))
}
