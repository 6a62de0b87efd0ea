//! Atlas over MLflow's REST API and the training hook.
//!
//! MLflow keeps models, versions, tags, aliases and the figures of tracked runs; it does not train. Training is
//! started at the hook (see the connectors' README), which is idempotent by key. Calls that write to MLflow are
//! idempotent in effect (an alias or a tag is set to the same value again) but for `model-versions/create`, which the
//! operations guard by a search.
//!
//! Names that end up in a search filter are checked first: MLflow's filter language has no escape for quotes.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpd_connector_api::secret::Secrets;
use cpd_connector_api::{Class, Map, Problem, Request, Standard, Value, json};
use reqwest::header::{ACCEPT, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};

use super::backend::{
    Backend, Done, Figures, Filter, Job, KEY_TAG, Model, RUN_TAG, Stage, TASK_TAG, Training, Version,
};
use super::config::{AtlasConfig, TrainingConfig};
use crate::http::content::{Form, percent};
use crate::http::verdict::retry_after;
use crate::http::{Answer, Call, HttpClient, Trouble};

/// Atlas over MLflow and a training hook.
pub struct Mlflow {
    client: HttpClient,
    mlflow: Side,
    hook: Side,
    training: TrainingConfig,
    secrets: Arc<dyn Secrets>,
}

/// One of the two servers.
struct Side {
    base: Url,
    token_secret: Option<String>,
}

/// Why the configuration is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An address is none.
    #[error("read `{key}`: found {found:?}, expected an address such as https://host")]
    Url {
        /// The setting.
        key: &'static str,
        /// What stands there.
        found: String,
    },
}

fn base(key: &'static str, text: &str) -> Result<Url, ConfigError> {
    let fail = || ConfigError::Url { key, found: text.to_owned() };
    let url: Url = format!("{}/", text.trim_end_matches('/')).parse().map_err(|_| fail())?;
    let plain = url.has_host() && matches!(url.scheme(), "http" | "https") && url.query().is_none();
    if plain { Ok(url) } else { Err(fail()) }
}

impl Mlflow {
    /// The backend over a client.
    ///
    /// # Errors
    /// If an address in the configuration is none.
    pub fn new(config: &AtlasConfig, client: HttpClient, secrets: Arc<dyn Secrets>) -> Result<Self, ConfigError> {
        let side = |key, url: &str, secret: &Option<String>| {
            base(key, url).map(|base| Side { base, token_secret: secret.clone() })
        };
        Ok(Self {
            client,
            mlflow: side("connectors.atlas.mlflow.url", &config.mlflow.url, &config.mlflow.token_secret)?,
            hook: side("connectors.atlas.training.url", &config.training.url, &config.training.token_secret)?,
            training: config.training.clone(),
            secrets,
        })
    }

    async fn send(
        &self,
        request: &Request,
        side: &Side,
        (method, path): (Method, &str),
        query: &[(&str, &str)],
        body: Option<&Value>,
        class: Class,
    ) -> Result<Answer, Trouble> {
        let mut url = side.base.join(path).map_err(|e| {
            Trouble::Refused(Problem::standard(Standard::Configuration, format!("{path:?} makes no address: {e}")))
        })?;
        let mut form = Form::default();
        for (name, value) in query {
            form.add(name, &Value::from(*value))
                .map_err(|e| Trouble::Refused(Problem::standard(Standard::Validation, e)))?;
        }
        url.set_query(Some(form.text.as_str()).filter(|q| !q.is_empty()));
        let mut call = Call::new(method, url, class);
        call.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(body) = body {
            call = call.with_json(body);
        }
        if let Some(name) = &side.token_secret {
            let token = self.secrets.secret(name).ok_or_else(|| {
                let what = format!("found no secret {name:?}, expected one with the token for {}", side.base);
                Trouble::Refused(Problem::standard(Standard::Configuration, what))
            })?;
            call = call.with_bearer(&token).map_err(Trouble::Refused)?;
        }
        self.client.send(call, request).await
    }

    /// A call to MLflow whose answer is an object; `None` if the thing does not exist.
    async fn mlflow(
        &self,
        request: &Request,
        (method, path): (Method, &str),
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Option<Value>, Trouble> {
        let class = if method == Method::GET { Class::Safe } else { Class::Idempotent };
        let path = format!("api/2.0/mlflow/{path}");
        let answer = self.send(request, &self.mlflow, (method, &path), query, body, class).await?;
        if answer.status == 404 && error_code(&answer).as_deref() == Some("RESOURCE_DOES_NOT_EXIST") {
            return Ok(None);
        }
        object(&answer.success()?).map(Some)
    }
}

/// MLflow's name for an error.
fn error_code(answer: &Answer) -> Option<String> {
    Value::from_json(&answer.body).ok()?.get("error_code")?.as_str().map(str::to_owned)
}

/// The answer as an object, which every answer of both servers is.
fn object(answer: &Answer) -> Result<Value, Trouble> {
    let value = answer.json()?;
    match value {
        Value::Obj(_) => Ok(value),
        other => Err(answer.unusable(&format!("found {} in the body, expected an object", other.kind()))),
    }
}

fn unusable(what: &str, value: &Value) -> Trouble {
    let mut shown = value.to_json();
    if let Some((end, _)) = shown.char_indices().nth(200) {
        shown.truncate(end);
    }
    // Both servers answer all calls idempotently, or were guarded by a search: asking again is safe.
    Trouble::failed(Problem::standard(Standard::Communication, format!("{what}; found {shown}")).with_status(502))
}

fn gone(what: String) -> Trouble {
    Trouble::Refused(Problem::standard(Standard::Communication, format!("{what} does not exist")).with_status(404))
}

/// A member as text, whether it is a string or a number.
fn text(value: &Value, name: &str) -> Option<String> {
    match value.get(name)? {
        Value::Str(s) if s.is_empty() => None,
        Value::Str(s) => Some(s.to_string()),
        n @ Value::Num(_) => Some(n.to_json()),
        _ => None,
    }
}

/// `[{key, value}]` as a map.
fn pairs(value: Option<&Value>, key: &str, of: &str) -> BTreeMap<String, String> {
    let items = value.and_then(Value::as_array).unwrap_or_default();
    items.iter().filter_map(|item| Some((text(item, key)?, text(item, of).unwrap_or_default()))).collect()
}

fn version(value: &Value) -> Result<Version, Trouble> {
    let whole =
        |name| text(value, name).ok_or_else(|| unusable(&format!("expected a model version with {name:?}"), value));
    let aliases = value.get("aliases").and_then(Value::as_array).unwrap_or_default();
    Ok(Version {
        model: whole("name")?,
        version: whole("version")?,
        status: text(value, "status"),
        source: text(value, "source"),
        run_id: text(value, "run_id"),
        created_ms: text(value, "creation_timestamp").and_then(|t| t.parse().ok()),
        tags: pairs(value.get("tags"), "key", "value"),
        aliases: aliases.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect(),
    })
}

fn job(value: &Value, retry_after_ms: Option<u64>) -> Result<Job, Trouble> {
    let id = text(value, "jobId").ok_or_else(|| unusable("expected a training job with \"jobId\"", value))?;
    let stage = match text(value, "status").unwrap_or_default().to_ascii_lowercase().as_str() {
        "queued" | "pending" => Stage::Queued,
        "running" => Stage::Running,
        "succeeded" => Stage::Succeeded,
        "failed" => Stage::Failed,
        "cancelled" | "canceled" => Stage::Cancelled,
        _ => {
            let expected = "expected a training job with \"status\" queued, running, succeeded, failed or cancelled";
            return Err(unusable(expected, value));
        }
    };
    Ok(Job {
        id,
        stage,
        version: text(value, "version"),
        run_id: text(value, "runId"),
        source: text(value, "source"),
        model_id: text(value, "modelId"),
        metrics: value.get("metrics").filter(|m| m.as_object().is_some()).cloned().unwrap_or_else(Value::object),
        error: text(value, "error"),
        retry_after_ms,
    })
}

/// `key='value'` parts of a filter; refuses what the filter language cannot hold.
fn quoted(what: &str, text: &str) -> Result<String, Trouble> {
    if text.is_empty() || text.chars().any(|c| matches!(c, '\'' | '"' | '`' | '\\') || c.is_control()) {
        let what =
            format!("{what}: found {text:?}, expected a name without quotes, backslashes and control characters");
        return Err(Trouble::Refused(Problem::standard(Standard::Validation, what)));
    }
    Ok(format!("'{text}'"))
}

/// What is asked for when a version is made of what a job left.
///
/// MLflow 3 keeps models as things of their own, `models:/m-…`; it makes a version of one only if its id is given, too.
fn creation(model: &str, job: &Job, tags: &BTreeMap<String, String>) -> Result<Value, Trouble> {
    let of_source = job.source.as_deref().and_then(logged_model);
    let model_id = job.model_id.as_deref().or(of_source);
    let from_model = || model_id.map(|id| format!("models:/{id}"));
    let from_run = || job.run_id.as_ref().map(|run| format!("runs:/{run}/model"));
    let source = job.source.clone().or_else(from_model).or_else(from_run).ok_or_else(|| {
        let what = format!(
            "training job {} ended without \"version\", \"source\", \"modelId\" or \"runId\": there is nothing to register",
            job.id
        );
        Trouble::Refused(Problem::standard(Standard::Communication, what).with_status(502))
    })?;
    let tags: Value = tags.iter().map(|(k, v)| json!({"key": k, "value": v})).collect();
    let mut members = vec![
        ("name", Value::from(model)),
        ("source", Value::from(source)),
        ("run_id", job.run_id.as_deref().map_or(Value::Null, Value::from)),
        ("tags", tags),
    ];
    // A server of before 3.0 does not know the member: it is there only when it says something.
    members.extend(model_id.map(|id| ("model_id", Value::from(id))));
    Ok(Value::from(members.into_iter().map(|(name, value)| (Arc::from(name), value)).collect::<Map>()))
}

/// The id in `models:/m-…`. `models:/name/3` and `models:/name@alias` are versions, not logged models.
fn logged_model(source: &str) -> Option<&str> {
    let id = source.strip_prefix("models:/")?.trim_matches('/');
    (id.starts_with("m-") && !id.contains(['/', '@'])).then_some(id)
}

impl Backend for Mlflow {
    fn model<'a>(&'a self, request: &'a Request, name: &'a str) -> Done<'a, Option<Model>> {
        Box::pin(async move {
            let Some(body) =
                self.mlflow(request, (Method::GET, "registered-models/get"), &[("name", name)], None).await?
            else {
                return Ok(None);
            };
            let model = body.get("registered_model").ok_or_else(|| unusable("expected \"registered_model\"", &body))?;
            Ok(Some(Model {
                name: text(model, "name").unwrap_or_else(|| name.to_owned()),
                description: text(model, "description"),
                tags: pairs(model.get("tags"), "key", "value"),
                aliases: pairs(model.get("aliases"), "alias", "version"),
            }))
        })
    }

    fn version<'a>(&'a self, request: &'a Request, model: &'a str, number: &'a str) -> Done<'a, Option<Version>> {
        Box::pin(async move {
            let query = [("name", model), ("version", number)];
            let Some(body) = self.mlflow(request, (Method::GET, "model-versions/get"), &query, None).await? else {
                return Ok(None);
            };
            let found = body.get("model_version").ok_or_else(|| unusable("expected \"model_version\"", &body))?;
            version(found).map(Some)
        })
    }

    fn versions<'a>(&'a self, request: &'a Request, model: &'a str, filter: &'a Filter) -> Done<'a, Vec<Version>> {
        Box::pin(async move {
            let mut conditions = format!("name={}", quoted("model", model)?);
            if let Some((key, value)) = &filter.tag {
                let key = quoted("tag", key)?;
                conditions.push_str(&format!(" and tags.`{}`={}", key.trim_matches('\''), quoted("tag value", value)?));
            }
            let limit = filter.limit.to_string();
            let query = [("filter", conditions.as_str()), ("max_results", &limit), ("order_by", "version_number DESC")];
            let body =
                self.mlflow(request, (Method::GET, "model-versions/search"), &query, None).await?.unwrap_or_default();
            let found = body.get("model_versions").and_then(Value::as_array).unwrap_or_default();
            let mut found = found.iter().map(version).collect::<Result<Vec<_>, _>>()?;
            // A search leaves aliases out; the model has them.
            let aliases = match found.is_empty() {
                true => BTreeMap::new(),
                false => self.model(request, model).await?.unwrap_or_default().aliases,
            };
            for version in &mut found {
                let own = aliases.iter().filter(|(_, number)| **number == version.version);
                version.aliases = own.map(|(alias, _)| alias.clone()).collect();
            }
            Ok(found)
        })
    }

    fn figures<'a>(&'a self, request: &'a Request, run_id: &'a str) -> Done<'a, Option<Figures>> {
        Box::pin(async move {
            let Some(body) = self.mlflow(request, (Method::GET, "runs/get"), &[("run_id", run_id)], None).await? else {
                return Ok(None);
            };
            let data = body.get("run").and_then(|r| r.get("data")).cloned().unwrap_or_default();
            let metrics = data.get("metrics").and_then(Value::as_array).unwrap_or_default();
            let metrics = metrics.iter().filter_map(|m| Some((text(m, "key")?, m.get("value")?.as_f64()?))).collect();
            Ok(Some(Figures { run_id: run_id.to_owned(), metrics, params: pairs(data.get("params"), "key", "value") }))
        })
    }

    fn register<'a>(
        &'a self,
        request: &'a Request,
        model: &'a str,
        job: &'a Job,
        tags: &'a BTreeMap<String, String>,
    ) -> Done<'a, Version> {
        Box::pin(async move {
            let body = creation(model, job, tags)?;
            let answered = self.mlflow(request, (Method::POST, "model-versions/create"), &[], Some(&body)).await?;
            let Some(body) = answered else { return Err(gone(format!("registered model {model:?}"))) };
            version(body.get("model_version").ok_or_else(|| unusable("expected \"model_version\"", &body))?)
        })
    }

    fn delete_version<'a>(&'a self, request: &'a Request, model: &'a str, number: &'a str) -> Done<'a, bool> {
        Box::pin(async move {
            let body = json!({"name": model, "version": number});
            let deleted = self.mlflow(request, (Method::DELETE, "model-versions/delete"), &[], Some(&body)).await?;
            Ok(deleted.is_some())
        })
    }

    fn set_alias<'a>(&'a self, request: &'a Request, model: &'a str, alias: &'a str, number: &'a str) -> Done<'a, ()> {
        Box::pin(async move {
            let body = json!({"name": model, "alias": alias, "version": number});
            let set = self.mlflow(request, (Method::POST, "registered-models/alias"), &[], Some(&body)).await?;
            set.map(drop).ok_or_else(|| gone(format!("version {number} of model {model:?}")))
        })
    }

    fn set_tag<'a>(
        &'a self,
        request: &'a Request,
        model: &'a str,
        number: Option<&'a str>,
        (key, value): (&'a str, &'a str),
    ) -> Done<'a, ()> {
        Box::pin(async move {
            let (path, body) = match number {
                Some(n) => ("model-versions/set-tag", json!({"name": model, "version": n, "key": key, "value": value})),
                None => ("registered-models/set-tag", json!({"name": model, "key": key, "value": value})),
            };
            let set = self.mlflow(request, (Method::POST, path), &[], Some(&body)).await?;
            set.map(drop).ok_or_else(|| gone(format!("model {model:?} or its version {}", number.unwrap_or("(any)"))))
        })
    }

    fn start_training<'a>(&'a self, request: &'a Request, training: &'a Training) -> Done<'a, Job> {
        Box::pin(async move {
            let tags = json!({KEY_TAG: request.wire_key(), RUN_TAG: &*request.run, TASK_TAG: &*request.task});
            let mut members: Vec<(Arc<str>, Value)> = vec![
                ("model".into(), Value::from(training.model.as_str())),
                ("parameters".into(), training.parameters.clone()),
                ("data".into(), training.data.clone()),
                ("reason".into(), training.reason.as_deref().map_or(Value::Null, Value::from)),
                ("tags".into(), tags),
            ];
            if training.callback {
                let url = self.training.callback_url.as_deref().ok_or_else(|| {
                    let what = "found `completion: callback` without connectors.atlas.training.callback_url, expected an address for the service to report to";
                    Trouble::Refused(Problem::standard(Standard::Configuration, what))
                })?;
                members.push(("callback".into(), json!({"url": url})));
            }
            members.retain(|(_, v)| !v.is_null());
            let body = Value::from(members.into_iter().collect::<Map>());
            let path = (Method::POST, "jobs");
            let answer = self.send(request, &self.hook, path, &[], Some(&body), Class::Idempotent).await?.success()?;
            job(&object(&answer)?, None)
        })
    }

    fn job<'a>(&'a self, request: &'a Request, id: &'a str) -> Done<'a, Option<Job>> {
        Box::pin(async move { self.one_job(request, Method::GET, id, Class::Safe).await })
    }

    fn job_by_key<'a>(&'a self, request: &'a Request, key: &'a str) -> Done<'a, Option<Job>> {
        Box::pin(async move {
            let path = (Method::GET, "jobs");
            let answer = self.send(request, &self.hook, path, &[("key", key)], None, Class::Safe).await?.success()?;
            let body = object(&answer)?;
            let jobs =
                body.get("jobs").and_then(Value::as_array).ok_or_else(|| unusable("expected \"jobs\"", &body))?;
            jobs.first().map(|found| job(found, None)).transpose()
        })
    }

    fn cancel_job<'a>(&'a self, request: &'a Request, id: &'a str) -> Done<'a, Option<Job>> {
        Box::pin(async move { self.one_job(request, Method::DELETE, id, Class::Idempotent).await })
    }
}

impl Mlflow {
    async fn one_job(&self, request: &Request, method: Method, id: &str, class: Class) -> Result<Option<Job>, Trouble> {
        let mut path = String::from("jobs/");
        percent(id, &mut path);
        let answer = self.send(request, &self.hook, (method, &path), &[], None, class).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let answer = answer.success()?;
        let wait = answer.header(RETRY_AFTER).and_then(|v| retry_after(v, self.client.clock().now()));
        let wait = wait.map(|w| u64::try_from(w.as_millis()).unwrap_or(u64::MAX));
        job(&object(&answer)?, wait).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_filter_are_refused() {
        assert_eq!(quoted("model", "card-fraud").unwrap(), "'card-fraud'");
        for bad in ["", "a' or name!='", "`x`", "a\nb", "a\\b"] {
            assert!(matches!(quoted("model", bad), Err(Trouble::Refused(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_job_without_id_or_with_an_unknown_status_is_no_job() {
        assert!(job(&json!({"status": "running"}), None).is_err());
        let trouble = job(&json!({"jobId": 7, "status": "sleeping"}), None).unwrap_err();
        assert!(trouble.problem().to_string().contains("sleeping"), "{trouble:?}");
        assert_eq!(job(&json!({"jobId": 7, "status": "RUNNING"}), None).unwrap().id, "7");
    }

    #[test]
    fn a_version_of_a_logged_model_is_made_with_its_id() {
        let tags = BTreeMap::from([("cpd.run_id".to_owned(), "r-1".to_owned())]);
        let asked = |members: Value| {
            let mut members = members.as_object().cloned().unwrap();
            members.insert("jobId".into(), Value::from("j"));
            members.insert("status".into(), Value::from("succeeded"));
            creation("card-fraud", &job(&Value::from(members), None).unwrap(), &tags)
        };
        let of = |body: &Value, name: &str| text(body, name);
        for (members, source, model_id) in [
            (json!({"source": "models:/m-0a1b", "runId": "r"}), "models:/m-0a1b", Some("m-0a1b")),
            (json!({"modelId": "m-0a1b", "runId": "r"}), "models:/m-0a1b", Some("m-0a1b")),
            (json!({"source": "s3://b/x", "modelId": "m-0a1b"}), "s3://b/x", Some("m-0a1b")),
            (json!({"source": "models:/m-other/3"}), "models:/m-other/3", None),
            (json!({"source": "models:/m-other@champion"}), "models:/m-other@champion", None),
            (json!({"source": "s3://b/x"}), "s3://b/x", None),
            (json!({"runId": "r"}), "runs:/r/model", None),
        ] {
            let body = asked(members).unwrap();
            assert_eq!(of(&body, "source").as_deref(), Some(source), "{body:?}");
            assert_eq!(of(&body, "model_id").as_deref(), model_id, "{body:?}");
            assert_eq!(body.get("model_id").is_some(), model_id.is_some(), "{body:?}");
            assert_eq!(body.get("tags"), Some(&json!([{"key": "cpd.run_id", "value": "r-1"}])));
        }
        assert!(asked(json!({})).unwrap_err().problem().to_string().contains("modelId"));
    }

    #[test]
    fn base_addresses_are_checked_when_the_connector_is_built() {
        assert_eq!(base("k", "https://h/a").unwrap().join("jobs").unwrap().as_str(), "https://h/a/jobs");
        for bad in ["", "mlflow", "ftp://h", "https://h/?q=1"] {
            let text = base("connectors.atlas.mlflow.url", bad).unwrap_err().to_string();
            assert!(text.contains("connectors.atlas.mlflow.url"), "{text}");
        }
    }
}
