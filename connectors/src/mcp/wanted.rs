//! What `with` of a call asks for, taken apart and checked before anything is started or sent.

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::secret::{Redactor, Secret};
use cpd_connector_api::{Class, Map, OperationSpec, Problem, Request, Standard, Value, duration, json, schema};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use rmcp::model::{
    CallToolRequest, ClientRequest, GetPromptRequest, ListPromptsRequest, ListResourceTemplatesRequest,
    ListResourcesRequest, ListToolsRequest, ReadResourceRequest, Request as RpcRequest, RequestOptionalParam,
};
use serde::de::DeserializeOwned;

use super::{METHODS, class_of};
use crate::authentication::Policy;
use crate::http;
use crate::http::client::{IDEMPOTENCY_KEY, shown};
use crate::rpc::endpoint;

/// The version of the protocol that the workflow language defaults to.
const VERSION: &str = "2025-06-18";

/// Where a tool's call carries the request's key.
const KEY: &str = "cpd/idempotencyKey";

/// Headers that the protocol sets.
const RESERVED: [&str; 5] = ["accept", "content-type", "mcp-session-id", "mcp-protocol-version", "last-event-id"];

/// The operation.
pub fn spec() -> OperationSpec {
    let methods: Value = METHODS.into_iter().map(Value::from).collect();
    let text = json!({"type": "string", "minLength": 1});
    let secrets = json!({
        "writeOnly": true, "type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]},
    });
    OperationSpec {
        name: "mcp.call".into(),
        version: "1.0.0".into(),
        class: Class::AtMostOnce,
        reconciles: false,
        summary: "Makes one request to a Model Context Protocol server; its class follows the method.".into(),
        input: json!({
            "type": "object", "additionalProperties": false, "required": ["method", "transport"],
            "properties": {
                "method": {"type": "string", "enum": methods},
                "protocolVersion": {"type": "string", "minLength": 1, "maxLength": 40},
                "parameters": {"type": "object"},
                "timeout": {"type": ["string", "object"]},
                "transport": {
                    "type": "object", "additionalProperties": false,
                    "oneOf": [{"required": ["http"]}, {"required": ["stdio"]}],
                    "properties": {
                        "http": {
                            "type": "object", "additionalProperties": false, "required": ["endpoint"],
                            "properties": {"endpoint": endpoint::schema(), "headers": secrets.clone()},
                        },
                        "stdio": {
                            "type": "object", "additionalProperties": false, "required": ["command"],
                            "properties": {
                                "command": text.clone(),
                                "arguments": {"type": "array", "items": {"type": "string"}},
                                "environment": secrets,
                            },
                        },
                        "options": {"type": "object"},
                    },
                },
                "client": {
                    "type": "object", "additionalProperties": false, "required": ["name", "version"],
                    "properties": {"name": text.clone(), "version": text, "description": {"type": "string"}},
                },
            },
        }),
        output: Value::Null,
    }
}

/// What must not leave a call.
#[derive(Clone, Debug, Default)]
pub struct Guarded {
    /// Headers and variables that are secrets by their name: taken out of everything.
    pub secrets: Redactor,
    /// The value of every variable: taken out of what people read. Not of the output, where `LOG_LEVEL: info` would maim it.
    pub environment: Redactor,
}

/// Parts of the names of variables that hold secrets.
const SECRET_NAMES: [&str; 8] = ["TOKEN", "SECRET", "KEY", "PASS", "PWD", "CREDENTIAL", "AUTH", "COOKIE"];

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// More about it.
    pub description: Option<String>,
}

/// A program to start, as `with` names it.
#[derive(Clone)]
pub struct Program {
    /// The command.
    pub command: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, beside `PATH`.
    pub environment: Vec<(String, String)>,
}

impl Program {
    /// Whether the operator allowed it.
    ///
    /// # Errors
    /// A `configuration` problem that names the setting.
    pub fn allowed(&self, allowed: &[String]) -> Result<(), Problem> {
        if allowed.contains(&self.command) {
            return Ok(());
        }
        let known =
            if allowed.is_empty() { "no command is".to_owned() } else { format!("only {} are", allowed.join(", ")) };
        let what = format!(
            "start the MCP server {:?}: {known} allowed; the operator allows one with `allow_stdio` under \
             [connectors.mcp] in cpd.toml",
            self.command
        );
        Err(Problem::standard(Standard::Configuration, what))
    }
}

/// How to reach the server.
pub enum Transport {
    /// Streamable HTTP.
    Http {
        /// Where it is.
        url: Url,
        /// Headers of every request.
        headers: HeaderMap,
        /// How to authenticate.
        policy: Option<Policy>,
    },
    /// A program of our own.
    Stdio(Program),
}

impl Transport {
    /// Its name for people.
    pub fn shown(&self) -> String {
        match self {
            Transport::Http { url, .. } => shown(url),
            Transport::Stdio(program) => format!("the program {:?}", program.command),
        }
    }
}

/// What is asked for.
pub struct Wanted {
    /// One of [`METHODS`].
    pub method: &'static str,
    /// Its class.
    pub class: Class,
    /// The version of the protocol to ask for.
    pub version: String,
    /// The parameters.
    pub parameters: Map,
    /// A shorter limit than the configured one.
    pub timeout: Option<Duration>,
    /// How to reach the server.
    pub transport: Transport,
    /// Who asks.
    pub client: Client,
    /// The request itself.
    pub rpc: ClientRequest,
}

impl Wanted {
    /// Reads `with`. Values of headers and of the environment are remembered as guarded.
    ///
    /// # Errors
    /// A `validation` problem that says what was found and expected.
    pub fn read(request: &Request, spec: &OperationSpec, guarded: &mut Guarded) -> Result<Self, Problem> {
        if request.operation != spec.name {
            let what = format!("found operation {:?}, expected {:?}", request.operation, spec.name);
            return Err(Problem::standard(Standard::Configuration, what));
        }
        if let Some(first) = schema::check(&spec.input, &request.input).first() {
            return Err(refuse(format!("`with` of {} does not fit: {first}", request.operation)));
        }
        let input = |name: &str| request.input.get(name).filter(|v| !v.is_null());
        let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
        let named = input("method").and_then(Value::as_str).unwrap_or("");
        let method = METHODS.into_iter().find(|m| *m == named);
        let method = method.ok_or_else(|| refuse(format!("`method`: found {named:?}, which is not known")))?;
        let mut parameters = input("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
        if method == "tools/call" {
            let meta = parameters.get("_meta").and_then(Value::as_object).cloned();
            let mut meta = meta.unwrap_or_default();
            meta.insert(KEY.into(), Value::from(request.wire_key()));
            parameters.insert("_meta".into(), Value::from(meta));
        }
        let timeout = input("timeout").map(duration::from_value).transpose();
        let timeout = timeout.map_err(|e| refuse(format!("`timeout`: {e}")))?;
        let client = match input("client") {
            Some(client) => Client {
                name: text(client, "name").unwrap_or_default(),
                version: text(client, "version").unwrap_or_default(),
                description: text(client, "description"),
            },
            None => Client { name: "cpd".into(), version: env!("CARGO_PKG_VERSION").into(), description: None },
        };
        Ok(Self {
            method,
            class: class_of(method),
            version: input("protocolVersion").and_then(Value::as_str).unwrap_or(VERSION).to_owned(),
            timeout,
            transport: transport(input("transport").unwrap_or(&Value::Null), request, guarded)?,
            client,
            rpc: rpc(method, &parameters)?,
            parameters,
        })
    }

    /// What the parameters name: a tool, a prompt.
    pub fn name(&self) -> String {
        self.parameters.get("name").and_then(Value::as_str).unwrap_or("").to_owned()
    }
}

fn refuse(what: String) -> Problem {
    Problem::standard(Standard::Validation, what)
}

fn transport(given: &Value, request: &Request, guarded: &mut Guarded) -> Result<Transport, Problem> {
    if let Some(http) = given.get("http") {
        let endpoint = endpoint::read("transport.http.endpoint", http.get("endpoint").unwrap_or(&Value::Null))?;
        let mut headers = http::headers(http.get("headers"), &mut guarded.secrets).map_err(refuse)?;
        if let Some(name) = RESERVED.iter().find(|name| headers.contains_key(**name)) {
            return Err(refuse(format!("`headers`: {name:?} is set by the protocol and cannot be given")));
        }
        let key = HeaderValue::from_str(&request.wire_key()).expect("a wire key is plain ASCII");
        headers.entry(IDEMPOTENCY_KEY).or_insert(key);
        return Ok(Transport::Http { url: endpoint.url, headers, policy: endpoint.policy });
    }
    let stdio = given.get("stdio").unwrap_or(&Value::Null);
    let mut environment = Vec::new();
    for (name, value) in stdio.get("environment").and_then(Value::as_object).into_iter().flatten() {
        let bad = |what: &str| refuse(format!("`environment`: {name:?} {what}"));
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(bad("is no name of a variable"));
        }
        // They decide which program runs, and that is the operator's to decide.
        if &**name == "PATH" || name.starts_with("LD_") || name.starts_with("DYLD_") {
            return Err(bad("is set by the operator and cannot be given"));
        }
        let value = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
        if value.contains('\0') {
            return Err(bad("has a value with a NUL in it"));
        }
        let upper = name.to_ascii_uppercase();
        if SECRET_NAMES.iter().any(|part| upper.contains(part)) {
            guarded.secrets.add(Secret::new(&value));
        }
        guarded.environment.add(Secret::new(&value));
        environment.push((name.to_string(), value));
    }
    let arguments = stdio.get("arguments").and_then(Value::as_array).unwrap_or_default();
    let arguments: Vec<_> = arguments.iter().map(|a| a.as_str().unwrap_or("").to_owned()).collect();
    let command = stdio.get("command").and_then(Value::as_str).unwrap_or("").to_owned();
    if arguments.iter().chain([&command]).any(|part| part.contains('\0')) {
        return Err(refuse("`command`, `arguments`: found a NUL, which cannot stand in a command".into()));
    }
    Ok(Transport::Stdio(Program { command, arguments, environment }))
}

/// The request, its parameters read as the protocol has them.
fn rpc(method: &str, parameters: &Map) -> Result<ClientRequest, Problem> {
    fn read<T: DeserializeOwned>(parameters: &Map) -> Result<T, Problem> {
        let read = Value::Obj(Arc::new(parameters.clone())).to();
        read.map_err(|e| refuse(format!("`parameters`: {e}")))
    }
    fn page<M: Default, P: DeserializeOwned>(parameters: &Map) -> Result<RequestOptionalParam<M, P>, Problem> {
        let mut request = RequestOptionalParam { method: M::default(), params: None, extensions: Default::default() };
        if !parameters.is_empty() {
            request.params = Some(read(parameters)?);
        }
        Ok(request)
    }
    fn full<M: Default, P: DeserializeOwned>(parameters: &Map) -> Result<RpcRequest<M, P>, Problem> {
        Ok(RpcRequest::new(read(parameters)?))
    }
    Ok(match method {
        "tools/list" => ClientRequest::ListToolsRequest(page(parameters)? as ListToolsRequest),
        "tools/call" => ClientRequest::CallToolRequest(full(parameters)? as CallToolRequest),
        "prompts/list" => ClientRequest::ListPromptsRequest(page(parameters)? as ListPromptsRequest),
        "prompts/get" => ClientRequest::GetPromptRequest(full(parameters)? as GetPromptRequest),
        "resources/list" => ClientRequest::ListResourcesRequest(page(parameters)? as ListResourcesRequest),
        "resources/read" => ClientRequest::ReadResourceRequest(full(parameters)? as ReadResourceRequest),
        _ => ClientRequest::ListResourceTemplatesRequest(page(parameters)? as ListResourceTemplatesRequest),
    })
}

#[cfg(test)]
mod tests;
