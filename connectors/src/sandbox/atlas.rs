//! The sandbox as Atlas: the part of MLflow's REST API that the connector speaks, and the training hook.
//!
//! Statuses, error codes and shapes are MLflow 3's own, as tried out against a real server, including what is
//! inconvenient: `model-versions/create` makes a new version every time it is called, and a missing alias is a 400.
//! The hook follows the contract in the connectors' README: the same key starts one job.

use std::collections::BTreeMap;

use cpd_connector_api::{Map, Value, json};

use super::state::{Effect, Job, Model, Run, State, Version};
use super::{Asked, Config, Reply};

const MLFLOW: &str = "/api/2.0/mlflow/";

/// The reply, if the path is one of Atlas'.
pub fn reply(state: &mut State, config: &Config, now_ms: i64, asked: &Asked) -> Option<Reply> {
    let method = asked.method.as_str();
    if asked.path == "/health" {
        return Some(Reply::text(200, "OK"));
    }
    if let Some(rest) = asked.path.strip_prefix("/training/jobs") {
        return Some(hook(state, config, now_ms, asked, rest.trim_start_matches('/')));
    }
    let rest = asked.path.strip_prefix(MLFLOW)?;
    let mut atlas = Atlas { state, now_ms, asked };
    let done = match (method, rest) {
        ("POST", "registered-models/create") => atlas.create_model(),
        ("GET", "registered-models/get") => {
            atlas.model_named().map(|(name, m)| json!({"registered_model": model_json(&name, &m)}))
        }
        ("POST", "registered-models/set-tag") => atlas.tag_model(),
        ("POST", "registered-models/alias") => atlas.set_alias(),
        ("GET", "registered-models/alias") => atlas.by_alias(),
        ("DELETE", "registered-models/alias") => atlas.drop_alias(),
        ("POST", "model-versions/create") => atlas.create_version(),
        ("GET", "model-versions/get") => {
            atlas.version_named().map(|(name, n, m)| json!({"model_version": version_json(&name, n, &m)}))
        }
        ("GET", "model-versions/search") => atlas.search(),
        ("POST", "model-versions/set-tag") => atlas.tag_version(),
        ("DELETE", "model-versions/delete") => atlas.delete_version(),
        ("GET", "runs/get") => atlas.run(),
        _ => Err(Reply::json(
            404,
            json!({"error_code": "ENDPOINT_NOT_FOUND", "message": format!("No API found for {method} {rest}")}),
        )),
    };
    Some(done.map_or_else(|e| e, |body| Reply::json(200, body)))
}

/// The name an error has, and its text, as MLflow answers.
fn error(status: u16, code: &str, message: String) -> Reply {
    Reply::json(status, json!({"error_code": code, "message": message}))
}

struct Atlas<'a> {
    state: &'a mut State,
    now_ms: i64,
    asked: &'a Asked,
}

type Answered = Result<Value, Reply>;

impl Atlas<'_> {
    /// A parameter from the body, or from the query of a `GET`.
    fn text(&self, name: &str) -> Result<String, Reply> {
        let given = self.asked.query.get(name).cloned().or_else(|| self.asked.json.get(name).map(plain));
        given.filter(|v| !v.is_empty()).ok_or_else(|| {
            error(400, "INVALID_PARAMETER_VALUE", format!("Missing value for required parameter '{name}'."))
        })
    }

    fn effect(&mut self, kind: &str, target: String) {
        let (key, at_ms) = (self.asked.key.clone(), self.now_ms);
        self.state.effects.push(Effect { kind: kind.into(), key, target, at_ms });
    }

    fn model(&mut self, name: &str) -> Result<&mut Model, Reply> {
        self.state.models.get_mut(name).ok_or_else(|| {
            error(404, "RESOURCE_DOES_NOT_EXIST", format!("Registered Model with name={name} not found"))
        })
    }

    fn version(&mut self, name: &str, number: &str) -> Result<(u32, &mut Version), Reply> {
        let gone =
            error(404, "RESOURCE_DOES_NOT_EXIST", format!("Model Version (name={name}, version={number}) not found"));
        let n: u32 = number.parse().map_err(|_| {
            error(400, "INVALID_PARAMETER_VALUE", format!("Parameter 'version' must be an integer, got '{number}'."))
        })?;
        self.model(name)?.versions.get_mut(&n).map(|v| (n, v)).ok_or(gone)
    }

    fn create_model(&mut self) -> Answered {
        let name = self.text("name")?;
        if self.state.models.contains_key(&name) {
            let message = format!("Registered Model (name={name}) already exists.");
            return Err(error(400, "RESOURCE_ALREADY_EXISTS", message));
        }
        let model = Model { created_ms: self.now_ms, ..Model::default() };
        let body = json!({"registered_model": model_json(&name, &model)});
        self.state.models.insert(name, model);
        Ok(body)
    }

    fn model_named(&mut self) -> Result<(String, Model), Reply> {
        let name = self.text("name")?;
        let model = self.model(&name)?.clone();
        Ok((name, model))
    }

    fn version_named(&mut self) -> Result<(String, u32, Model), Reply> {
        let (name, number) = (self.text("name")?, self.text("version")?);
        let n = self.version(&name, &number)?.0;
        let model = self.model(&name)?.clone();
        Ok((name, n, model))
    }

    fn tag_model(&mut self) -> Answered {
        let (name, key, value) = (self.text("name")?, self.text("key")?, self.text("value").unwrap_or_default());
        if self.model(&name)?.tags.insert(key.clone(), value.clone()) != Some(value) {
            self.effect("tag", format!("{name}#{key}"));
        }
        Ok(json!({}))
    }

    fn tag_version(&mut self) -> Answered {
        let (name, number) = (self.text("name")?, self.text("version")?);
        let (key, value) = (self.text("key")?, self.text("value").unwrap_or_default());
        if self.version(&name, &number)?.1.tags.insert(key.clone(), value.clone()) != Some(value) {
            self.effect("tag", format!("{name}/{number}#{key}"));
        }
        Ok(json!({}))
    }

    fn set_alias(&mut self) -> Answered {
        let (name, alias, number) = (self.text("name")?, self.text("alias")?, self.text("version")?);
        let reserved = alias == "latest" || alias.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok());
        if reserved {
            let message = format!("Version alias name '{alias}' is reserved.");
            return Err(error(400, "INVALID_PARAMETER_VALUE", message));
        }
        let n = self.version(&name, &number)?.0.to_string();
        if self.model(&name)?.aliases.insert(alias.clone(), n.clone()) != Some(n) {
            self.effect("alias", format!("{name}@{alias}={number}"));
        }
        Ok(json!({}))
    }

    fn by_alias(&mut self) -> Answered {
        let (name, alias) = (self.text("name")?, self.text("alias")?);
        let model = self.model(&name)?.clone();
        let number = model.aliases.get(&alias).and_then(|v| v.parse().ok()).ok_or_else(|| {
            error(400, "INVALID_PARAMETER_VALUE", format!("Registered model alias {alias} not found."))
        })?;
        Ok(json!({"model_version": version_json(&name, number, &model)}))
    }

    fn drop_alias(&mut self) -> Answered {
        let (name, alias) = (self.text("name")?, self.text("alias")?);
        if self.model(&name)?.aliases.remove(&alias).is_some() {
            self.effect("alias", format!("{name}@{alias}=none"));
        }
        Ok(json!({}))
    }

    fn create_version(&mut self) -> Answered {
        let (name, source) = (self.text("name")?, self.text("source")?);
        let tags = self.asked.json.get("tags").and_then(Value::as_array).unwrap_or_default();
        let tags = tags.iter().filter_map(|t| Some((plain(t.get("key")?), plain(t.get("value")?)))).collect();
        let run_id = self.text("run_id").unwrap_or_default();
        let version = Version { created_ms: self.now_ms, source, run_id, tags };
        let model = self.model(&name)?;
        model.last += 1;
        let n = model.last;
        model.versions.insert(n, version);
        let body = json!({"model_version": version_json(&name, n, model)});
        self.effect("version", format!("{name}/{n}"));
        Ok(body)
    }

    fn delete_version(&mut self) -> Answered {
        let (name, number) = (self.text("name")?, self.text("version")?);
        let n = self.version(&name, &number)?.0;
        let model = self.model(&name)?;
        model.versions.remove(&n);
        model.aliases.retain(|_, v| *v != number);
        self.effect("delete-version", format!("{name}/{n}"));
        Ok(json!({}))
    }

    fn search(&mut self) -> Answered {
        let filter = self.asked.query.get("filter").cloned().unwrap_or_default();
        let wanted = conditions(&filter)
            .ok_or_else(|| error(400, "INVALID_PARAMETER_VALUE", format!("Invalid filter '{filter}'")))?;
        let most = self.asked.query.get("max_results").and_then(|n| n.parse().ok()).unwrap_or(200);
        let mut found = Vec::new();
        for (name, model) in &self.state.models {
            // Newest first, as MLflow orders them.
            for (n, version) in model.versions.iter().rev() {
                let fits = wanted.iter().all(|(what, value)| match what.as_str() {
                    "name" => value == name,
                    "run_id" => *value == version.run_id,
                    tag => version.tags.get(tag.strip_prefix("tags.").unwrap_or("")) == Some(value),
                });
                if fits && found.len() < most {
                    found.push(listed_json(name, *n, model));
                }
            }
        }
        // An empty list is left out, as protobuf's JSON does.
        Ok(if found.is_empty() { json!({}) } else { Value::from([("model_versions", Value::from(found))]) })
    }

    fn run(&mut self) -> Answered {
        let id = self.text("run_id")?;
        let run = self
            .state
            .runs
            .get(&id)
            .ok_or_else(|| error(404, "RESOURCE_DOES_NOT_EXIST", format!("Run with id={id} not found")))?;
        let metrics: Value = run
            .metrics
            .iter()
            .map(|(k, v)| json!({"key": k, "value": v, "timestamp": run.started_ms, "step": 0}))
            .collect();
        Ok(Value::from([(
            "run",
            Value::from([
                ("info", json!({"run_id": id, "status": "FINISHED", "start_time": run.started_ms})),
                (
                    "data",
                    Value::from([("metrics", metrics), ("params", pairs(&run.params)), ("tags", pairs(&run.tags))]),
                ),
            ]),
        )]))
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_json(), str::to_owned)
}

fn pairs(map: &BTreeMap<String, String>) -> Value {
    map.iter().map(|(k, v)| json!({"key": k, "value": v})).collect()
}

fn model_json(name: &str, model: &Model) -> Value {
    let latest: Value = model.versions.keys().next_back().map(|n| listed_json(name, *n, model)).into_iter().collect();
    let aliases: Value = model.aliases.iter().map(|(a, v)| json!({"alias": a, "version": v})).collect();
    Value::from([
        ("name", Value::from(name)),
        ("creation_timestamp", Value::from(model.created_ms)),
        ("description", Value::from("a model of the sandbox")),
        ("latest_versions", latest),
        ("tags", pairs(&model.tags)),
        ("aliases", aliases),
    ])
}

/// A version as it stands in lists: without its aliases.
fn listed_json(name: &str, n: u32, model: &Model) -> Value {
    version_json(name, n, &Model { aliases: BTreeMap::new(), ..model.clone() })
}

fn version_json(name: &str, n: u32, model: &Model) -> Value {
    let version = model.versions.get(&n).cloned().unwrap_or_default();
    let aliases: Value =
        model.aliases.iter().filter(|(_, v)| **v == n.to_string()).map(|(a, _)| Value::from(a.as_str())).collect();
    Value::from([
        ("name", Value::from(name)),
        ("version", Value::from(n.to_string())),
        ("creation_timestamp", Value::from(version.created_ms)),
        ("current_stage", Value::from("None")),
        ("source", Value::from(version.source)),
        ("run_id", Value::from(version.run_id)),
        ("status", Value::from("READY")),
        ("tags", pairs(&version.tags)),
        ("aliases", aliases),
    ])
}

/// The conditions of a search filter such as ``name='m' and tags.`k`='v'``; `None` if it is none.
fn conditions(filter: &str) -> Option<Vec<(String, String)>> {
    let parts = filter.split(" and ").map(str::trim).filter(|p| !p.is_empty());
    parts
        .map(|part| {
            let (what, value) = part.split_once('=')?;
            let value = value.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            let what = what.trim().replace('`', "");
            (what == "name" || what == "run_id" || what.starts_with("tags.")).then(|| (what, value.to_owned()))
        })
        .collect()
}

/// The training hook.
fn hook(state: &mut State, config: &Config, now_ms: i64, asked: &Asked, id: &str) -> Reply {
    match (asked.method.as_str(), id) {
        ("POST", "") => start(state, config, now_ms, asked),
        ("GET", "") => {
            let key = asked.query.get("key").cloned().unwrap_or_default();
            let jobs: Vec<String> = state.jobs.iter().filter(|(_, j)| j.key == key).map(|(id, _)| id.clone()).collect();
            let jobs: Value = jobs.iter().filter_map(|id| settle(state, config, now_ms, id)).collect();
            Reply::json(200, Value::from([("jobs", jobs)]))
        }
        ("GET", id) => match settle(state, config, now_ms, id) {
            Some(job) => Reply::json(200, job).with("retry-after", &config.retry_after_s.to_string()),
            None => no_job(id),
        },
        ("DELETE", id) => {
            let Some(job) = state.jobs.get_mut(id) else { return no_job(id) };
            let running = !job.cancelled && now_ms < job.ends_ms;
            if running {
                job.cancelled = true;
                let effect =
                    Effect { kind: "cancel-training".into(), key: asked.key.clone(), target: id.into(), at_ms: now_ms };
                state.effects.push(effect);
            }
            settle(state, config, now_ms, id).map_or_else(|| no_job(id), |job| Reply::json(200, job))
        }
        _ => Reply::json(405, json!({"error": "expected GET, POST or DELETE"})),
    }
}

fn no_job(id: &str) -> Reply {
    Reply::json(404, json!({"error": format!("no job {id}")}))
}

fn start(state: &mut State, config: &Config, now_ms: i64, asked: &Asked) -> Reply {
    let Some(model) = asked.json.get("model").and_then(Value::as_str) else {
        return Reply::json(
            400,
            json!({"error": "found no member \"model\", expected the name of a registered model"}),
        );
    };
    if asked.key.is_empty() {
        return Reply::json(400, json!({"error": "found no Idempotency-Key header, expected one"}));
    }
    if let Some((id, job)) = state.jobs.iter().find(|(_, j)| j.key == asked.key) {
        if job.body != asked.json {
            return Reply::json(
                409,
                json!({"error": format!("the key belongs to job {id}, which was started with another body")}),
            );
        }
        let id = id.clone();
        return settle(state, config, now_ms, &id).map_or_else(|| no_job(&id), |job| Reply::json(200, job));
    }
    let n = state.jobs.len() + 1;
    let id = format!("sandbox-job-{n}");
    let run_id = format!("sandbox-run-{n}");
    let parameters = asked.json.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    let fails = parameters.get("sandboxFail").is_some_and(Value::truthy);
    let job = Job {
        key: asked.key.clone(),
        model: model.to_owned(),
        body: asked.json.clone(),
        started_ms: now_ms,
        ends_ms: now_ms.saturating_add(i64::try_from(config.training.as_millis()).unwrap_or(i64::MAX)),
        run_id: run_id.clone(),
        fails,
        cancelled: false,
        version: None,
    };
    // Figures that look like figures and are the same every time.
    let auc = 0.91 + f64::from(u32::try_from(n % 7).unwrap_or(0)) / 100.0;
    let run = Run {
        started_ms: now_ms,
        metrics: BTreeMap::from([("auc".into(), auc), ("logLoss".into(), 0.21), ("rows".into(), 120_000.0)]),
        params: parameters.iter().map(|(k, v)| (k.to_string(), plain(v))).collect(),
        tags: BTreeMap::from([("sandbox".into(), "true".into())]),
    };
    state.runs.insert(run_id, run);
    state.jobs.insert(id.clone(), job);
    state.effects.push(Effect { kind: "training".into(), key: asked.key.clone(), target: id.clone(), at_ms: now_ms });
    settle(state, config, now_ms, &id).map_or_else(|| no_job(&id), |job| Reply::json(201, job))
}

/// The job as it stands now; registers its version when it has ended and the service does that itself.
fn settle(state: &mut State, config: &Config, now_ms: i64, id: &str) -> Option<Value> {
    let job = state.jobs.get_mut(id)?;
    let status = match (job.cancelled, now_ms >= job.ends_ms, job.fails) {
        (true, _, _) => "cancelled",
        (false, false, _) => "running",
        (false, true, true) => "failed",
        (false, true, false) => "succeeded",
    };
    let source = format!("runs:/{}/model", job.run_id);
    if status == "succeeded" && config.registers && job.version.is_none() {
        let tags = job.body.get("tags").and_then(Value::as_object).cloned().unwrap_or_default();
        let tags = tags.iter().map(|(k, v)| (k.to_string(), plain(v))).collect();
        let version = Version { created_ms: now_ms, source: source.clone(), run_id: job.run_id.clone(), tags };
        let model = state.models.entry(job.model.clone()).or_default();
        model.last += 1;
        model.versions.insert(model.last, version);
        job.version = Some(model.last.to_string());
    }
    let mut members = vec![
        ("jobId", Value::from(id)),
        ("status", Value::from(status)),
        ("model", Value::from(job.model.as_str())),
        ("sandbox", Value::from(true)),
    ];
    match status {
        "succeeded" => {
            let metrics = state.runs.get(&job.run_id).map(|r| &r.metrics);
            members.push(("runId", Value::from(job.run_id.as_str())));
            members.push(("source", Value::from(source)));
            members.push((
                "metrics",
                metrics
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| (k.as_str().into(), Value::from(*v)))
                    .collect::<Map>()
                    .into(),
            ));
            if let Some(version) = &job.version {
                members.push(("version", Value::from(version.as_str())));
            }
        }
        "failed" => members.push(("error", Value::from("the sandbox was told to fail this training"))),
        _ => {}
    }
    Some(Value::from(members.into_iter().map(|(k, v)| (k.into(), v)).collect::<Map>()))
}
