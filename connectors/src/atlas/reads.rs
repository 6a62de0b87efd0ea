//! The operations that only read, and `atlas.tag`.

use std::collections::BTreeMap;

use cpd_connector_api::{Map, Problem, Request, Standard, Value};

use super::backend::{Filter, Version};
use super::{Atlas, Done, alias, input, missing, model, or_null};
use crate::http::Trouble;

fn strings(map: &BTreeMap<String, String>) -> Value {
    Value::from(map.iter().map(|(k, v)| (k.as_str().into(), Value::from(v.as_str()))).collect::<Map>())
}

fn version_value(version: &Version) -> Value {
    Value::from([
        ("version", Value::from(version.version.as_str())),
        ("status", or_null(version.status.as_deref())),
        ("source", or_null(version.source.as_deref())),
        ("runId", or_null(version.run_id.as_deref())),
        ("createdMs", version.created_ms.map_or(Value::Null, Value::from)),
        ("tags", strings(&version.tags)),
        ("aliases", version.aliases.iter().map(|a| Value::from(a.as_str())).collect()),
    ])
}

impl Atlas {
    pub(super) async fn model(&self, request: &Request) -> Done {
        let name = model(request)?;
        let found = self.backend.model(request, &name).await?.ok_or_else(|| missing(format!("model {name:?}")))?;
        Ok(Value::from([
            ("model", Value::from(found.name)),
            ("description", or_null(found.description.as_deref())),
            ("tags", strings(&found.tags)),
            ("aliases", strings(&found.aliases)),
        ]))
    }

    pub(super) async fn versions(&self, request: &Request) -> Done {
        let name = model(request)?;
        let member = |tag: &Value, which: &str| tag.get(which).and_then(Value::as_str).map(str::to_owned);
        let tag = request.input.get("tag").and_then(|tag| Some((member(tag, "key")?, member(tag, "value")?)));
        let limit =
            request.input.get("limit").and_then(Value::as_i64).and_then(|n| u32::try_from(n).ok()).unwrap_or(20);
        let found = self.backend.versions(request, &name, &Filter { tag, limit }).await?;
        Ok(Value::from([("model", Value::from(name)), ("versions", found.iter().map(version_value).collect())]))
    }

    pub(super) async fn metrics(&self, request: &Request) -> Done {
        let (run_id, name, number) = match input(request, "runId") {
            Some(run_id) => (run_id, None, None),
            None => {
                let version = self.wanted_version(request).await?;
                let run_id = version.run_id.ok_or_else(|| {
                    missing(format!("a tracked run behind version {} of {:?}", version.version, version.model))
                })?;
                (run_id, Some(version.model), Some(version.version))
            }
        };
        let figures = self.backend.figures(request, &run_id).await?;
        let figures = figures.ok_or_else(|| missing(format!("tracked run {run_id:?}")))?;
        let metrics: Map = figures.metrics.iter().map(|(k, v)| (k.as_str().into(), Value::from(*v))).collect();
        Ok(Value::from([
            ("model", or_null(name.as_deref())),
            ("version", or_null(number.as_deref())),
            ("runId", Value::from(figures.run_id)),
            ("metrics", Value::from(metrics)),
            ("params", strings(&figures.params)),
        ]))
    }

    /// The version by number, or by alias; the champion if nothing is said.
    async fn wanted_version(&self, request: &Request) -> Result<Version, Trouble> {
        if input(request, "model").is_none() {
            let what = "`with` of atlas.metrics has neither `model` nor `runId`, expected one of them";
            return Err(Trouble::Refused(Problem::standard(Standard::Validation, what)));
        }
        let name = model(request)?;
        let number = match input(request, "version") {
            Some(number) => number,
            None => {
                let by = input(request, "alias").unwrap_or_else(|| "champion".to_owned());
                let by = alias(&by)?;
                let found =
                    self.backend.model(request, &name).await?.ok_or_else(|| missing(format!("model {name:?}")))?;
                found.aliases.get(by).cloned().ok_or_else(|| missing(format!("alias {by:?} of model {name:?}")))?
            }
        };
        let version = self.backend.version(request, &name, &number).await?;
        version.ok_or_else(|| missing(format!("version {number} of model {name:?}")))
    }

    pub(super) async fn job(&self, request: &Request) -> Done {
        let id = input(request, "jobId").unwrap_or_default();
        let job = self.backend.job(request, &id).await?.ok_or_else(|| missing(format!("training job {id:?}")))?;
        Ok(Value::from([
            ("jobId", Value::from(job.id)),
            ("status", Value::from(job.stage.name())),
            ("version", or_null(job.version.as_deref())),
            ("runId", or_null(job.run_id.as_deref())),
            ("metrics", job.metrics),
            ("error", or_null(job.error.as_deref())),
        ]))
    }

    pub(super) async fn tag(&self, request: &Request) -> Done {
        let name = model(request)?;
        let number = input(request, "version");
        let tags: BTreeMap<String, String> = request
            .input
            .get("tags")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.to_string(), v.as_str().map_or_else(|| v.to_json(), str::to_owned)))
            .collect();
        if let Some(own) = tags.keys().find(|k| k.starts_with("cpd.")) {
            let what = format!(
                "`tags`: found {own:?}, expected names that do not begin with \"cpd.\", which are the engine's own"
            );
            return Err(Trouble::Refused(Problem::standard(Standard::Validation, what)));
        }
        for (key, value) in &tags {
            self.backend.set_tag(request, &name, number.as_deref(), (key, value)).await?;
        }
        Ok(Value::from([
            ("model", Value::from(name)),
            ("version", or_null(number.as_deref())),
            ("tags", strings(&tags)),
        ]))
    }
}
