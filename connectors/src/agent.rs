//! Agents as operations: a prompt goes out, a text comes back, and the log keeps how it came about.
//!
//! `agent.run` looks the agent up ([`document`]), puts the question together within its budget ([`question`]), and asks
//! the provider: a chat endpoint ([`openai`]) or the offline summariser ([`template`]). The workflow gets text,
//! provider, model and usage; the journal gets, as evidence, everything that was asked and answered, with tokens, cost,
//! latency, finish reason, request id, and the reasoning that the provider *states*, which is no proof of a cause.
//!
//! **Class: idempotent.** A question has no effect in the world but its price. When an answer is lost, asking again is
//! right: at worst it is paid for twice, within the budget of each attempt, and only one answer is ever journaled.
//! The key goes out as `Idempotency-Key`, for gateways that keep answers. It is not *safe*, because it costs money.
//!
//! Not done here: streaming, tools (an agent says, a workflow acts), conversations that outlive a task.

pub mod document;
pub mod openai;
pub mod question;
pub mod template;

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cpd_connector_api::guard::ended;
use cpd_connector_api::secret::{Redactor, Secrets};
use cpd_connector_api::{
    BoxFuture, Class, Connector, Map, OperationSpec, Outcome, Problem, Request, Standard, Success, Value, json, schema,
};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::http::{HttpClient, Trouble};
use document::{AgentDocument, Agents, Lookup, Provider};
use openai::Said;
pub use question::Question;

/// Models think longer than other services answer: a budget in seconds may go up to this.
const LONGEST: Duration = Duration::from_secs(900);

/// The connector `agent`.
pub struct Agent {
    agents: Arc<dyn Agents>,
    client: HttpClient,
    /// How long an answer may take when no budget says so.
    timeout: Duration,
    secrets: Arc<dyn Secrets>,
    /// Who answers when a task names nobody.
    default: Arc<AgentDocument>,
}

impl Agent {
    /// The connector over a lookup of agents. Tasks that name no agent get the offline summariser.
    pub fn new(agents: Arc<dyn Agents>, client: HttpClient, secrets: Arc<dyn Secrets>) -> Self {
        let timeout = Duration::from_millis(client.config().timeout_ms);
        let client = client.with_timeout(timeout.max(LONGEST));
        Self { agents, client, timeout, secrets, default: Arc::new(AgentDocument::summariser()) }
    }

    fn agent(&self, named: Option<&str>) -> Result<Arc<AgentDocument>, Problem> {
        let Some(named) = named else { return Ok(Arc::clone(&self.default)) };
        let (name, version) = named.split_once(':').map_or((named, None), |(n, v)| (n, Some(v)));
        match self.agents.agent(name, version) {
            Lookup::Found(agent) => Ok(agent),
            Lookup::Suspended(why) => {
                Err(Problem::standard(Standard::Authorization, format!("agent {named:?} is suspended: {why}")))
            }
            // The built-in one is there without being registered.
            Lookup::Unknown if name == self.default.name && version.is_none_or(|v| v == self.default.version) => {
                Ok(Arc::clone(&self.default))
            }
            Lookup::Unknown => {
                let mut names = self.agents.names();
                names.push(self.default.name.clone());
                names.sort();
                names.dedup();
                let what = format!("found agent {named:?}, expected one of {}", names.join(", "));
                Err(Problem::standard(Standard::Configuration, what))
            }
        }
    }

    async fn run(&self, request: &Request, redactor: &mut Redactor) -> Result<Success, Trouble> {
        check(request).map_err(Trouble::Refused)?;
        let agent = self.agent(request.input.get("agent").and_then(Value::as_str)).map_err(Trouble::Refused)?;
        let mut question = Question::new(request, agent).map_err(Trouble::Refused)?;
        question.timeout.get_or_insert(self.timeout);
        if let Some(why) = ended(request, &**self.client.clock()) {
            return Err(Trouble::failed(why.problem("before the agent was asked")));
        }
        let begun = Instant::now();
        let said = match question.agent.provider {
            Provider::OpenAi => {
                let token = self.token(&question.agent, redactor)?;
                openai::ask(&self.client, request, &question, token.as_ref()).await?
            }
            Provider::Template => summary(&question).map_err(Trouble::Refused)?,
        };
        let latency_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        let parsed = question.json.then(|| structured(&question, &said)).transpose();
        let evidence = evidence(&question, &said, latency_ms);
        match parsed {
            Ok(parsed) => Ok(Success { output: output(&question, &said, parsed), evidence: Some(evidence) }),
            // The answer was paid for: the problem keeps the evidence.
            Err(what) => {
                let data = Value::from([("answer", Value::from(said.text)), ("evidence", evidence)]);
                let problem = Problem::standard(Standard::Validation, what).with_status(422).with_data(data);
                Err(Trouble::failed(problem))
            }
        }
    }

    fn token(
        &self,
        agent: &AgentDocument,
        redactor: &mut Redactor,
    ) -> Result<Option<cpd_connector_api::secret::Secret>, Trouble> {
        let Some(name) = agent.endpoint.as_ref().and_then(|e| e.token_secret.as_ref()) else { return Ok(None) };
        let token = self.secrets.secret(name).ok_or_else(|| {
            let what = format!("found no secret {name:?}, expected one with the token for agent {:?}", agent.name);
            Trouble::Refused(Problem::standard(Standard::Configuration, what))
        })?;
        redactor.add(token.clone());
        Ok(Some(token))
    }
}

impl Connector for Agent {
    fn name(&self) -> &str {
        "agent"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        vec![SPEC.clone()]
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut redactor = Redactor::default();
            let outcome = match self.run(&request, &mut redactor).await {
                Ok(success) => Outcome::Succeeded(success),
                Err(trouble) => trouble.into(),
            };
            redactor.outcome(outcome)
        })
    }
}

fn check(request: &Request) -> Result<(), Problem> {
    if request.operation != SPEC.name {
        let what = format!("found operation {:?}, expected {:?}", request.operation, SPEC.name);
        return Err(Problem::standard(Standard::Configuration, what));
    }
    match schema::check(&SPEC.input, &request.input).first() {
        None => Ok(()),
        Some(first) => {
            let what = format!("`with` of {} does not fit: {first}", request.operation);
            Err(Problem::standard(Standard::Validation, what))
        }
    }
}

static SPEC: LazyLock<OperationSpec> = LazyLock::new(|| {
    let text = json!({"type": ["string", "null"], "maxLength": 1_000_000});
    OperationSpec {
        name: "agent.run".into(),
        version: "1.0.0".into(),
        class: Class::Idempotent,
        reconciles: false,
        summary: "Asks an agent and returns its answer.".into(),
        input: json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "agent": {"type": "string", "minLength": 1, "maxLength": 100, "description": "name, or name:version; the offline summariser if absent"},
                "prompt": text.clone(),
                "task": {"type": ["string", "null"], "maxLength": 1_000_000, "description": "the same as prompt, for use with data"},
                "messages": {"type": ["array", "null"], "minItems": 1, "maxItems": 500, "items": {
                    "type": "object", "additionalProperties": false, "required": ["role", "content"],
                    "properties": {"role": {"enum": ["system", "user", "assistant"]}, "content": {"type": "string"}},
                }},
                "data": {"description": "what the question is about; any JSON"},
                "system": text,
                "model": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
                "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
                "maxTokens": {"type": ["integer", "null"], "minimum": 1},
                "budget": {"type": ["object", "null"], "additionalProperties": false, "properties": {
                    "tokens": {"type": "integer", "minimum": 1},
                    "usd": {"type": "number", "exclusiveMinimum": 0},
                    "seconds": {"type": "number", "exclusiveMinimum": 0},
                }},
                "response": {"enum": ["text", "json"]},
                "schema": {"type": ["object", "null"], "description": "a JSON Schema for `response: json`"},
            },
        }),
        output: json!({
            "type": "object", "required": ["text", "agent", "provider", "model", "usage"],
            "properties": {
                "text": {"type": "string"}, "json": {}, "agent": {"type": "string"}, "provider": {"type": "string"},
                "model": {"type": "string"}, "usage": {"type": "object"}, "costUsd": {"type": ["number", "null"]},
                "finishReason": {"type": ["string", "null"]},
            },
        }),
    }
});

/// The offline summariser's answer: from `data`, or from the JSON in the last message.
fn summary(q: &Question) -> Result<Said, Problem> {
    let embedded = || {
        let text = &q.messages.last()?.content;
        let (start, end) = (text.find('{')?, text.rfind('}')?);
        (start < end).then(|| Value::from_json(&text.as_bytes()[start..=end]).ok()).flatten()
    };
    let data = if q.data.is_null() { embedded() } else { Some(q.data.clone()) };
    let data = data.ok_or_else(|| {
        let what = format!(
            "found no `data` for agent {:?}, expected some: its provider is the offline summariser, which tells about data and answers no questions",
            q.agent.name
        );
        Problem::standard(Standard::Validation, what)
    })?;
    let summary = template::summarise(&data);
    let text = if q.json {
        json!({"headline": summary.headline, "sentences": summary.sentences, "facts": summary.facts}).to_json()
    } else {
        summary.text()
    };
    Ok(Said {
        text,
        model: Some(template::MODEL.into()),
        finish: Some("stop".into()),
        reasoning: Some("Rules, not a model: shapes that are known are told in sentences, the rest is listed.".into()),
        input: Some(0),
        output: Some(0),
        ..Said::default()
    })
}

/// The answer as JSON, held against the schema.
fn structured(q: &Question, said: &Said) -> Result<Value, String> {
    let text = said.text.trim();
    // Models like to wrap JSON in a fence.
    let fenced = text.strip_prefix("```json").or_else(|| text.strip_prefix("```")).and_then(|t| t.strip_suffix("```"));
    let value = Value::from_json(fenced.unwrap_or(text).trim().as_bytes()).map_err(|e| {
        let cut = if said.finish.as_deref() == Some("length") { " (it was cut at the token limit)" } else { "" };
        format!("the answer is no JSON{cut}: {e}")
    })?;
    let misfits = q.schema.as_ref().map(|s| schema::check(s, &value)).unwrap_or_default();
    match misfits.first() {
        Some(first) => Err(format!("the answer does not fit the schema: {first}")),
        None => Ok(value),
    }
}

fn count(n: Option<u64>) -> Value {
    n.map_or(Value::Null, |n| Value::from(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn usage(said: &Said) -> Value {
    let total = said.input.zip(said.output).map(|(i, o)| i.saturating_add(o));
    Value::from([
        ("inputTokens", count(said.input)),
        ("outputTokens", count(said.output)),
        ("totalTokens", count(total)),
    ])
}

/// What it cost by the agent's prices; the offline summariser costs nothing; `null` if nobody knows.
fn cost(q: &Question, said: &Said) -> Option<f64> {
    match (q.agent.provider, &q.agent.prices) {
        (Provider::Template, _) => Some(0.0),
        // Prices are for the agent's own model.
        (Provider::OpenAi, Some(prices)) if q.model == q.agent.model => {
            Some(prices.cost_usd(said.input?, said.cached.unwrap_or(0), said.output?))
        }
        (Provider::OpenAi, _) => None,
    }
}

fn output(q: &Question, said: &Said, parsed: Option<Value>) -> Value {
    let mut members: Map = [
        ("text", Value::from(said.text.as_str())),
        ("agent", Value::from(format!("{}:{}", q.agent.name, q.agent.version))),
        ("provider", Value::from(q.agent.provider.name())),
        ("model", Value::from(said.model.as_deref().unwrap_or(&q.model))),
        ("usage", usage(said)),
        ("costUsd", cost(q, said).map_or(Value::Null, Value::from)),
        ("finishReason", said.finish.as_deref().map_or(Value::Null, Value::from)),
    ]
    .into_iter()
    .map(|(k, v)| (Arc::from(k), v))
    .collect();
    if let Some(parsed) = parsed {
        members.insert("json".into(), parsed);
    }
    Value::from(members)
}

fn evidence(q: &Question, said: &Said, latency_ms: i64) -> Value {
    let text = |t: Option<&str>| t.map_or(Value::Null, Value::from);
    let messages: Value = q.messages.iter().map(|m| json!({"role": m.role, "content": m.content})).collect();
    let digest = Sha256::digest(messages.to_json().as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let cost = cost(q, said);
    let used = said.input.zip(said.output).map(|(i, o)| i.saturating_add(o));
    let over =
        q.budget.tokens.zip(used).is_some_and(|(b, u)| u > b) || q.budget.usd.zip(cost).is_some_and(|(b, c)| c > b);
    Value::from([
        ("agent", json!({"name": q.agent.name, "version": q.agent.version})),
        ("provider", Value::from(q.agent.provider.name())),
        ("model", Value::from(said.model.as_deref().unwrap_or(&q.model))),
        ("modelAsked", Value::from(q.model.as_str())),
        ("prompt", text(q.prompt.as_deref())),
        ("messages", messages),
        ("messagesSha256", Value::from(digest)),
        (
            "parameters",
            json!({"temperature": q.temperature, "maxTokens": q.max_tokens, "seed": q.agent.parameters.seed}),
        ),
        ("statedReasoning", text(said.reasoning.as_deref())),
        ("finishReason", text(said.finish.as_deref())),
        (
            "tokens",
            Value::from([
                ("input", count(said.input)),
                ("cached", count(said.cached)),
                ("output", count(said.output)),
                ("reasoning", count(said.reasoning_tokens)),
                ("inputEstimated", count(Some(q.tokens))),
            ]),
        ),
        ("costUsd", cost.map_or(Value::Null, Value::from)),
        ("prices", text(q.agent.prices.as_ref().map(|p| p.version.as_str()))),
        ("budget", Value::from_serialize(&q.budget).unwrap_or_default()),
        ("overBudget", Value::from(over)),
        ("requestId", text(said.request_id.as_deref())),
        ("latencyMs", Value::from(latency_ms)),
    ])
}
