//! Other agents as an operation: what the workflow language's `call: a2a` becomes.
//!
//! The agent is named by its card ([`card`]) or by its address. A call is one JSON-RPC 2.0 request over HTTP; the output is the
//! response's result, untouched. The streaming methods gather the results of the stream into an array ([`gather`]).
//!
//! - **A task that an agent gives back is a result, whatever its state.** `failed`, `rejected`, `input-required`: the workflow looks at
//!   `.status.state` and decides. Only an error of the protocol or the way there raises a problem, of type `runtime`.
//! - **A message has an identity.** `message.messageId`, if the author gave none, is a UUID made from the request's key: the
//!   same over all attempts, so that an agent can tell a repeat. The specification only says that agents may, so sending a
//!   message is at-most-once.
//! - **Versions 0.3 and 1.0.** The methods of the workflow language are those of 0.3; where a card offers only 1.0, they are sent
//!   under its names. Parameters are sent as written: their shape is the author's.
//!
//! Not here: gRPC and HTTP+JSON bindings, signatures of cards, the security schemes of a card (they are reported), receiving push
//! notifications.

pub mod card;
pub mod gather;

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::attachment::Planned;
use cpd_connector_api::guard::ended;
use cpd_connector_api::secret::Redactor;
use cpd_connector_api::{
    BoxFuture, Class, Connector, Map, OperationSpec, Outcome, Problem, Request, Standard, Success, Value, json, schema,
};
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::authentication::{Authenticator, Policy};
use crate::http::client::shown;
use crate::http::content::excerpt;
use crate::http::stream::Streamed;
use crate::http::{Answer, Call, Trouble};
use crate::rpc::endpoint::{self, Endpoint};
use crate::rpc::{self, RpcError};
use card::{Agent, Version};
use gather::Gathered;

/// The header that names the protocol's version.
const VERSION_HEADER: HeaderName = HeaderName::from_static("a2a-version");

/// How an agent says that it does not speak the version of the request: by that name, or because it does not know the method.
const OTHER_VERSION: [i64; 2] = [-32009, -32601];

/// Methods: the name in the workflow language and in 0.3, the name in 1.0, the class, whether it streams.
const METHODS: [(&str, &str, Class, bool); 11] = [
    ("message/send", "SendMessage", Class::AtMostOnce, false),
    ("message/stream", "SendStreamingMessage", Class::AtMostOnce, true),
    ("tasks/get", "GetTask", Class::Safe, false),
    ("tasks/list", "ListTasks", Class::Safe, false),
    ("tasks/cancel", "CancelTask", Class::Idempotent, false),
    ("tasks/resubscribe", "SubscribeToTask", Class::Safe, true),
    // Without an id of the author's, a second one may come of it.
    ("tasks/pushNotificationConfig/set", "CreateTaskPushNotificationConfig", Class::AtMostOnce, false),
    ("tasks/pushNotificationConfig/get", "GetTaskPushNotificationConfig", Class::Safe, false),
    ("tasks/pushNotificationConfig/list", "ListTaskPushNotificationConfigs", Class::Safe, false),
    ("tasks/pushNotificationConfig/delete", "DeleteTaskPushNotificationConfig", Class::Idempotent, false),
    ("agent/getAuthenticatedExtendedCard", "GetExtendedAgentCard", Class::Safe, false),
];

/// The class of a method. A method that is not known is at-most-once.
pub fn class_of(method: &str) -> Class {
    METHODS.iter().find(|m| m.0 == method).map_or(Class::AtMostOnce, |m| m.2)
}

/// `[connectors.a2a]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct A2aConfig {
    /// How long an agent may take to answer, or a stream to end. A task's own timeout may end it sooner.
    pub timeout_ms: u64,
}

impl Default for A2aConfig {
    fn default() -> Self {
        Self { timeout_ms: 300_000 }
    }
}

/// The connector `a2a`.
#[derive(Clone, Debug)]
pub struct A2a {
    authenticator: Authenticator,
    spec: Arc<OperationSpec>,
}

impl A2a {
    /// The connector over an authenticator, whose tokens and limits but the time it shares.
    pub fn new(config: &A2aConfig, authenticator: &Authenticator) -> Self {
        let client = authenticator.http().with_timeout(Duration::from_millis(config.timeout_ms));
        Self { authenticator: authenticator.with_http(client), spec: Arc::new(spec()) }
    }
}

fn spec() -> OperationSpec {
    let methods: Value = METHODS.iter().map(|m| Value::from(m.0)).collect();
    OperationSpec {
        name: "a2a.call".into(),
        version: "1.0.0".into(),
        class: Class::AtMostOnce,
        reconciles: false,
        summary: "Calls an agent by the Agent2Agent protocol; its class follows the method.".into(),
        input: json!({
            "type": "object", "additionalProperties": false, "required": ["method"],
            "anyOf": [{"required": ["agentCard"]}, {"required": ["server"]}],
            "properties": {
                "method": {"type": "string", "enum": methods},
                "agentCard": {
                    "type": "object", "additionalProperties": false, "required": ["endpoint"],
                    "properties": {"name": {"type": "string"}, "endpoint": endpoint::schema()},
                },
                "server": endpoint::schema(),
                "parameters": {"type": "object"},
            },
        }),
        output: Value::Null,
    }
}

/// What `with` asks for, taken apart.
struct Wanted {
    method: &'static str,
    method_v1: &'static str,
    class: Class,
    streams: bool,
    parameters: Map,
    agent: Whom,
}

enum Whom {
    Card(Endpoint),
    Server(Endpoint),
}

impl Whom {
    /// The credentials for the agent: those of its address, or those of its card if it lives where the card does. A card does
    /// not send credentials elsewhere.
    fn policy_for(&self, agent: &Url) -> Option<&Policy> {
        let (Whom::Card(endpoint) | Whom::Server(endpoint)) = self;
        endpoint.policy.as_ref().filter(|_| endpoint.url.origin() == agent.origin())
    }
}

impl Connector for A2a {
    fn name(&self) -> &str {
        "a2a"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        vec![(*self.spec).clone()]
    }

    fn examine(&self, planned: &Planned<'_>) -> Result<Option<Class>, Problem> {
        Ok(planned.with.get("method").and_then(Value::as_str).map(class_of))
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut redactor = Redactor::default();
            let outcome = match self.perform(&request, &mut redactor).await {
                Ok(success) => Outcome::Succeeded(success),
                Err(trouble) => rpc::runtime(trouble).into(),
            };
            redactor.outcome(outcome)
        })
    }
}

impl A2a {
    async fn perform(&self, request: &Request, redactor: &mut Redactor) -> Result<Success, Trouble> {
        let wanted = self.wanted(request).map_err(Trouble::Refused)?;
        if let Some(why) = ended(request, &**self.authenticator.http().clock()) {
            return Err(Trouble::failed(why.problem("before anything was sent")));
        }
        let mut agent = match &wanted.agent {
            Whom::Card(endpoint) => self.agent(endpoint, request, redactor).await?,
            Whom::Server(endpoint) => Agent::at(endpoint.url.clone()),
        };
        let mut answered = self.ask(&wanted, &agent, request, redactor).await?;
        // An address alone does not say which version is spoken there. The agent says that it has done nothing.
        let other = matches!(&answered, Err(error) if OTHER_VERSION.contains(&error.code));
        if other && agent.card.is_none() {
            agent.version = Version::V1_0;
            answered = self.ask(&wanted, &agent, request, redactor).await?;
        }
        match answered {
            Ok(output) => Ok(Success { output, evidence: Some(agent.evidence()) }),
            Err(error) => Err(rpc::error(&format!("{} at {}", wanted.method, shown(&agent.url)), error)),
        }
    }

    fn wanted(&self, request: &Request) -> Result<Wanted, Problem> {
        if request.operation != self.spec.name {
            let what = format!("found operation {:?}, expected {:?}", request.operation, self.spec.name);
            return Err(Problem::standard(Standard::Configuration, what));
        }
        if let Some(first) = schema::check(&self.spec.input, &request.input).first() {
            let what = format!("`with` of {} does not fit: {first}", request.operation);
            return Err(Problem::standard(Standard::Validation, what));
        }
        let name = request.input.get("method").and_then(Value::as_str).unwrap_or("");
        let found = METHODS.iter().find(|m| m.0 == name);
        let &(method, method_v1, class, streams) = found.ok_or_else(|| {
            Problem::standard(Standard::Validation, format!("`method`: found {name:?}, which is not known"))
        })?;
        let card = request.input.get("agentCard").and_then(|card| card.get("endpoint"));
        let (at, whom) = match card {
            Some(card) => ("agentCard.endpoint", card.clone()),
            None => ("server", request.input.get("server").cloned().unwrap_or_default()),
        };
        let endpoint = endpoint::read(at, &whom)?;
        let parameters = request.input.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
        let agent = if card.is_some() { Whom::Card(endpoint) } else { Whom::Server(endpoint) };
        Ok(Wanted { method, method_v1, class, streams, parameters, agent })
    }

    /// The agent of a card: the one that the definition pinned, else the one that is there now.
    async fn agent(&self, endpoint: &Endpoint, request: &Request, redactor: &mut Redactor) -> Result<Agent, Trouble> {
        if let Ok(pinned) = request.resources.get(&endpoint.uri) {
            let wrong = |what: String| {
                let what = format!("read the agent card {}: {what}", shown(&endpoint.url));
                Trouble::Refused(Problem::standard(Standard::Configuration, what))
            };
            let text = pinned.text().map_err(Trouble::Refused)?;
            let card = Value::from_json(text.as_bytes()).map_err(|e| wrong(e.to_string()))?;
            return Agent::of(&card, &endpoint.url).map_err(wrong);
        }
        let mut call = Call::new(Method::GET, endpoint.url.clone(), Class::Safe);
        call.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        call.redirect = true;
        let sent = self.authenticator.send(endpoint.policy.as_ref(), call, request, redactor).await;
        let answer = sent.and_then(Answer::success)?;
        let card = answer.json()?;
        Agent::of(&card, &answer.url).map_err(|what| answer.unusable(&format!("it is no agent card: {what}")))
    }

    async fn ask(
        &self,
        wanted: &Wanted,
        agent: &Agent,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<Result<Value, RpcError>, Trouble> {
        let id = uuid(&request.key, "request");
        let method = match agent.version {
            Version::V0_3 => wanted.method,
            Version::V1_0 => wanted.method_v1,
        };
        let parameters = filled(wanted, agent, request).map_err(Trouble::Refused)?;
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters});
        let mut call = Call::new(Method::POST, agent.url.clone(), wanted.class).with_json(&body);
        let accept = if wanted.streams { "text/event-stream, application/json" } else { "application/json" };
        call.headers.insert(ACCEPT, HeaderValue::from_static(accept));
        call.headers.insert(VERSION_HEADER, HeaderValue::from_static(agent.version.name()));
        let policy = wanted.agent.policy_for(&agent.url);
        if !wanted.streams {
            let answer = self.authenticator.send(policy, call, request, redactor).await?;
            return single(&answer, &id);
        }
        if let Some(policy) = policy {
            self.authenticator.apply(policy, &mut call.headers, request, redactor).await?;
        }
        let mut gathered = Gathered::new(&id);
        match self.authenticator.http().stream(call, request, |piece| gathered.take(piece)).await? {
            Streamed::Whole(answer) => {
                if let (401, Some(policy)) = (answer.status, policy) {
                    // The next attempt gets a fresh token.
                    self.authenticator.forget(policy, &answer.sent);
                }
                Ok(single(&answer, &id)?.map(|result| Value::from(vec![result])))
            }
            Streamed::Enough(answer) | Streamed::Ended(answer) => gathered.end().map_err(|what| answer.unusable(&what)),
        }
    }
}

/// The parameters, with what runtimes must put into a message where the author did not.
fn filled(wanted: &Wanted, agent: &Agent, request: &Request) -> Result<Value, Problem> {
    let mut parameters = wanted.parameters.clone();
    if let Some(tenant) = agent.tenant.as_ref().filter(|_| !parameters.contains_key("tenant")) {
        parameters.insert("tenant".into(), Value::from(tenant.as_str()));
    }
    if !matches!(wanted.method, "message/send" | "message/stream") {
        return Ok(Value::from(parameters));
    }
    let Some(message) = parameters.get("message").and_then(Value::as_object) else {
        let what = format!("`parameters.message`: found none, expected an object with `parts` for {}", wanted.method);
        return Err(Problem::standard(Standard::Validation, what));
    };
    let mut message = message.clone();
    if message.get("messageId").is_none_or(Value::is_null) {
        message.insert("messageId".into(), Value::from(uuid(&request.key, "message")));
    }
    if message.get("role").is_none_or(Value::is_null) {
        message.insert("role".into(), Value::from(agent.version.user()));
    }
    parameters.insert("message".into(), Value::from(message));
    Ok(Value::from(parameters))
}

/// The response in an answer. An error of the protocol counts with any status: some agents send one with a status of its own.
fn single(answer: &Answer, id: &str) -> Result<Result<Value, RpcError>, Trouble> {
    let good = (200..300).contains(&answer.status);
    let read =
        Value::from_json(&answer.body).map_err(|e| format!("the body is no JSON ({e}): {}", excerpt(&answer.body)));
    let response = read.and_then(|value| rpc::response(&value, id).map_err(|e| e.to_string()));
    match response {
        Ok(Err(error)) => Ok(Err(error)),
        Ok(Ok(result)) if good => Ok(Ok(result)),
        Err(what) if good => Err(answer.unusable(&what)),
        Ok(Ok(_)) | Err(_) => Err(match answer.clone().success() {
            Err(trouble) => trouble,
            Ok(answer) => answer.unusable("it is no response"),
        }),
    }
}

/// A UUID (version 8) made from the request's key: the same over all attempts.
fn uuid(key: &str, purpose: &str) -> String {
    let digest = Sha256::digest(format!("cpd a2a {purpose}\n{key}").as_bytes());
    let mut bytes: [u8; 16] = digest[..16].try_into().expect("a SHA-256 has 32 bytes");
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The address that a card's relative or absolute text means.
fn resolve(base: &Url, text: &str) -> Result<Url, String> {
    base.join(text.trim()).map_err(|e| format!("found the address {text:?} ({e}), expected https://host/path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_runs_at_most_once_and_reading_is_safe() {
        assert_eq!(class_of("message/send"), Class::AtMostOnce);
        assert_eq!(class_of("message/stream"), Class::AtMostOnce);
        assert_eq!(class_of("tasks/cancel"), Class::Idempotent);
        assert_eq!(class_of("tasks/get"), Class::Safe);
        assert_eq!(class_of("tasks/unheard-of"), Class::AtMostOnce);
    }

    #[test]
    fn an_identity_is_a_uuid_of_version_8_that_only_the_key_decides() {
        let one = uuid("r-1/send", "message");
        assert_eq!(one, uuid("r-1/send", "message"));
        assert_ne!(one, uuid("r-1/send", "request"));
        assert_ne!(one, uuid("r-2/send", "message"));
        assert_eq!((one.len(), &one[14..15]), (36, "8"));
        assert!("89ab".contains(&one[19..20]), "{one}");
    }
}
