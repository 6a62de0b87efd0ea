//! `atlas.discard`: takes a retraining back.
//!
//! The job is stopped if it still runs, the version deleted if it is there; what is gone already is no error, so the
//! operation can be repeated. A version that an alias points to serves somebody: it is refused unless forced. To take
//! a promotion back, promote the version that `atlas.promote` returned as `previousVersion`, then discard.

use cpd_connector_api::{Problem, Request, Standard, Value};

use super::{Atlas, Done, input, model, or_null};
use crate::http::Trouble;

impl Atlas {
    pub(super) async fn discard(&self, request: &Request) -> Done {
        let model = model(request)?;
        let (mut number, job_id) = (input(request, "version"), input(request, "jobId"));
        if number.is_none() && job_id.is_none() {
            let what = "`with` of atlas.discard has neither `version` nor `jobId`, expected at least one of them";
            return Err(Trouble::Refused(Problem::standard(Standard::Validation, what)));
        }
        let version = match &number {
            Some(number) => self.backend.version(request, &model, number).await?,
            None => None,
        };
        let force = request.input.get("force").and_then(Value::as_bool).unwrap_or(false);
        if let Some(serving) = version.as_ref().filter(|v| !v.aliases.is_empty() && !force) {
            let (n, aliases) = (&serving.version, serving.aliases.join(", "));
            let what = format!(
                "version {n} of {model:?} serves as {aliases}; promote another version first, or say `force: true`"
            );
            return Err(Trouble::Refused(Problem::standard(Standard::Runtime, what).with_status(409)));
        }
        let job = match &job_id {
            Some(id) => self.backend.cancel_job(request, id).await?,
            None => None,
        };
        if number.is_none() {
            // The job may have ended before it could be stopped; its version, if the service registered one, goes too.
            number = job.as_ref().and_then(|j| j.version.clone());
        }
        let discarded = match &number {
            Some(n) => self.backend.delete_version(request, &model, n).await?,
            None => false,
        };
        Ok(Value::from([
            ("model", Value::from(model)),
            ("version", or_null(number.as_deref())),
            ("jobId", or_null(job_id.as_deref())),
            ("jobStatus", or_null(job.map(|j| j.stage.name()))),
            ("discarded", Value::from(discarded)),
        ]))
    }
}
