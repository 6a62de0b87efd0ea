//! Calls of gRPC services that a proto file describes: what the workflow language's `call: grpc` becomes.
//!
//! 1. The proto file comes with the request: it was pinned when the definition was registered, and is never fetched here.
//!    [`proto`] compiles it in this process, and it is kept: the next call does not compile it again.
//! 2. [`message`] turns `arguments` into messages by the canonical JSON mapping, and the answer back.
//! 3. [`target`] says where to, and whether TLS is spoken there; [`connection`] connects, with the allowed hosts, the time limits and
//!    the authorities of `[connectors.http]`.
//! 4. [`exchange`] makes the call; [`status`] has the table of what each kind of end means.
//!
//! - The catalog's `grpc.call` says at-most-once, the strictest; the option `idempotency_level` of the method says better. When a
//!   definition is registered, its calls are held against the proto file as far as they can be.
//! - A method whose answer is a stream gives an array. One whose request is a stream takes an array. A stream both ways is sent
//!   whole before the answer counts: what is sent cannot depend on what came.
//! - The key of a call travels as `idempotency-key`, unless the method has no side effects.
//! - A call that ends by the other side's `UNAUTHENTICATED` is made once more if there is a fresher token.
//!
//! Not done here: imports of other files, compression, metadata of the caller's own, reading `grpc-status-details-bin`, balancing,
//! proxies, keeping connections.

pub mod connection;
pub mod exchange;
pub mod message;
pub mod proto;
pub mod status;
pub mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cpd_connector_api::attachment::{Planned, Resource, Resources};
use cpd_connector_api::guard::{Interrupted, allowance, within};
use cpd_connector_api::secret::Redactor;
use cpd_connector_api::{
    BoxFuture, Class, Connector, OperationSpec, Outcome, Problem, Request, Standard, Success, Value, json, schema,
};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use prost_reflect::MethodDescriptor;

use self::connection::Dialer;
use self::exchange::{Call, Limits};
use self::proto::Proto;
use self::target::Target;
use crate::authentication::{self, Authenticator, Policy};
use crate::document::Kept;
use crate::http::Trouble;
use crate::http::client::IDEMPOTENCY_KEY;

/// The most messages of one answer.
pub const MESSAGES_MAX: usize = 10_000;
/// A proto file of this size is compiled on a thread of its own.
const ASIDE_BYTES_MIN: usize = 16 * 1024;
/// Answers are decoded on a thread of their own from this size on.
const DECODE_ASIDE_BYTES_MIN: usize = 256 * 1024;

/// The connector `grpc`.
#[derive(Clone, Debug)]
pub struct Grpc {
    authenticator: Authenticator,
    dialer: Dialer,
    spec: Arc<OperationSpec>,
    protos: Kept<Proto>,
}

impl Grpc {
    /// The connector over an authenticator, whose tokens, limits and allowed hosts it shares.
    pub fn new(authenticator: Authenticator) -> Self {
        let dialer = Dialer::new(authenticator.http().clone());
        Self { authenticator, dialer, spec: Arc::new(spec()), protos: Kept::default() }
    }
}

/// The class of a method, by its option `idempotency_level`; `None` if the proto file does not read or does not have it. Pure.
pub fn class_of(proto: &str, service: &str, method: &str) -> Option<Class> {
    let proto = Proto::read("the document", proto).ok()?;
    proto.method(service, method).ok().map(|m| proto::class(&m))
}

fn spec() -> OperationSpec {
    let text = json!({"type": "string", "minLength": 1});
    OperationSpec {
        name: "grpc.call".into(),
        version: "1.0.0".into(),
        class: Class::AtMostOnce,
        reconciles: false,
        summary: "Calls a method of a gRPC service; its class follows the method's idempotency_level.".into(),
        input: json!({
            "type": "object", "additionalProperties": false, "required": ["proto", "service", "method"],
            "properties": {
                "proto": {
                    "type": "object", "additionalProperties": false, "required": ["endpoint"],
                    "properties": {
                        "name": {"type": "string"},
                        "endpoint": {"oneOf": [
                            text,
                            {
                                "type": "object", "additionalProperties": false, "required": ["uri"],
                                // For loading the file, which was done; it may name a policy.
                                "properties": {"uri": text, "authentication": {"writeOnly": true}},
                            },
                        ]},
                    },
                },
                "service": {
                    "type": "object", "additionalProperties": false, "required": ["name", "host"],
                    "properties": {
                        "name": text,
                        "host": text,
                        "port": {"type": "integer", "minimum": 0, "maximum": 65535},
                        "authentication": authentication::schema(),
                    },
                },
                "method": text,
                "arguments": {"type": ["object", "array"]},
            },
        }),
        output: Value::Null,
    }
}

/// The pinned proto file that `with` names.
fn pinned<'a>(with: &Value, resources: &'a Resources) -> Result<&'a Resource, Problem> {
    let endpoint = with.get("proto").and_then(|d| d.get("endpoint"));
    let uri = endpoint.and_then(|e| e.as_str().or_else(|| e.get("uri")?.as_str())).unwrap_or("");
    resources.get(uri)
}

/// Whether anything in a value of a definition is only known when the call is made.
fn computed(value: &Value) -> bool {
    match value {
        Value::Str(text) => text.contains("${"),
        Value::Arr(items) => items.iter().any(computed),
        Value::Obj(members) => members.values().any(computed),
        Value::Null | Value::Bool(_) | Value::Num(_) => false,
    }
}

/// A member that is there and not null.
fn member<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |v, name| v.get(name)).filter(|v| !v.is_null())
}

/// The address of `service`.
fn target(with: &Value) -> Result<Target, Problem> {
    let host = member(with, &["service", "host"]).and_then(Value::as_str).unwrap_or("");
    let port = member(with, &["service", "port"]).and_then(Value::as_i64).and_then(|p| u16::try_from(p).ok());
    Target::read(host, port)
}

/// A name in `with`; nothing if it is computed or not there.
fn known<'a>(with: &'a Value, path: &[&str]) -> Option<&'a str> {
    member(with, path).filter(|v| !computed(v)).and_then(Value::as_str)
}

impl Connector for Grpc {
    fn name(&self) -> &str {
        "grpc"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        vec![(*self.spec).clone()]
    }

    fn examine(&self, planned: &Planned<'_>) -> Result<Option<Class>, Problem> {
        let with = planned.with;
        if planned.operation != &*self.spec.name {
            return Ok(None);
        }
        let proto = self.kept(pinned(with, planned.resources)?)?;
        let address = |path: &[&str]| member(with, path).is_none_or(|v| !computed(v));
        if known(with, &["service", "host"]).is_some() && address(&["service", "port"]) {
            target(with)?;
        }
        let names = (known(with, &["service", "name"]), known(with, &["method"]));
        let (Some(service), Some(method)) = names else { return Ok(None) };
        let method = proto.method(service, method)?;
        let arguments = member(with, &["arguments"]);
        if arguments.is_none_or(|a| !computed(a)) {
            message::frames(&method.input(), method.is_client_streaming(), arguments)?;
        }
        Ok(Some(proto::class(&method)))
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut redactor = Redactor::default();
            let outcome = match self.perform(&request, &mut redactor).await {
                Ok(success) => Outcome::Succeeded(success),
                Err(trouble) => trouble.into(),
            };
            redactor.outcome(outcome)
        })
    }
}

impl Grpc {
    async fn perform(&self, request: &Request, redactor: &mut Redactor) -> Result<Success, Trouble> {
        let refused = Trouble::Refused;
        self.admitted(request).map_err(refused)?;
        let with = &request.input;
        let text = |path: &[&str]| member(with, path).and_then(Value::as_str).unwrap_or("");
        let policy = member(with, &["service", "authentication"]).map(Policy::read).transpose().map_err(refused)?;
        let target = target(with).map_err(refused)?;
        // Before anything else is done for the call; the address that the name leads to is checked when it is connected to.
        let admitted = self.authenticator.http().egress().admit(&target.host, target.port);
        admitted.map_err(|why| refused(why.problem()))?;
        let proto = self.proto(pinned(with, &request.resources).map_err(refused)?).await.map_err(refused)?;
        let method = proto.method(text(&["service", "name"]), text(&["method"])).map_err(refused)?;
        let arguments = member(with, &["arguments"]);
        let body = message::frames(&method.input(), method.is_client_streaming(), arguments).map_err(refused)?;
        let most = self.authenticator.http().config().body_bytes_max;
        if body.len() > most {
            let what = format!("`arguments`: found {} bytes of messages, expected at most {most}", body.len());
            return Err(refused(Problem::standard(Standard::Validation, what)));
        }
        let mut call = Call {
            path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
            class: proto::class(&method),
            streams: method.is_server_streaming(),
            headers: HeaderMap::new(),
            limits: Limits { bytes: self.authenticator.http().config().answer_bytes_max, messages: MESSAGES_MAX },
            sent: AtomicBool::new(false),
            target,
            body,
        };
        let answers = self.send(&mut call, policy.as_ref(), request, redactor).await?;
        let count = answers.len();
        let decoded = decode(&method, answers, redactor).await;
        let mut values = decoded.map_err(|what| call.unusable(&what, count))?;
        let output = if call.streams { Value::from(values) } else { values.pop().unwrap_or_default() };
        let evidence = json!({"method": call.path.as_str(), "address": call.target.shown(), "messages": count});
        Ok(Success { output, evidence: Some(evidence) })
    }

    /// Checks the operation's name and the shape of `with`.
    fn admitted(&self, request: &Request) -> Result<(), Problem> {
        if request.operation != self.spec.name {
            let what = format!("found operation {:?}, expected {:?}", request.operation, self.spec.name);
            return Err(Problem::standard(Standard::Configuration, what));
        }
        match schema::check(&self.spec.input, &request.input).first() {
            None => Ok(()),
            Some(first) => {
                let what = format!("`with` of {} does not fit: {first}", request.operation);
                Err(Problem::standard(Standard::Validation, what))
            }
        }
    }

    /// The proto file, compiled aside if it is large, so that other calls go on meanwhile.
    async fn proto(&self, resource: &Resource) -> Result<Arc<Proto>, Problem> {
        if resource.content.len() < ASIDE_BYTES_MIN {
            return self.kept(resource);
        }
        let (connector, resource) = (self.clone(), resource.clone());
        let read = tokio::task::spawn_blocking(move || connector.kept(&resource));
        read.await.map_err(|e| Problem::standard(Standard::Runtime, format!("compile the proto file: {e}")))?
    }

    /// The proto file, as it was compiled before or is now.
    fn kept(&self, resource: &Resource) -> Result<Arc<Proto>, Problem> {
        // Problems say the address.
        if let Some(kept) = self.protos.get(&resource.content, &resource.uri) {
            return Ok(kept);
        }
        let proto = Proto::read(&resource.uri, resource.text()?)?;
        Ok(self.protos.put(&resource.content, &resource.uri, proto))
    }

    /// Makes the call as the policy says, a second time if the first was turned away for a token that was not the newest.
    async fn send(
        &self,
        call: &mut Call,
        policy: Option<&Policy>,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<Vec<bytes::Bytes>, Trouble> {
        let mut turned_away: Option<(Option<HeaderValue>, Trouble)> = None;
        loop {
            let mut credentials = HeaderMap::new();
            if let Some(policy) = policy {
                self.authenticator.apply(policy, &mut credentials, request, redactor).await?;
            }
            let value = credentials.get(AUTHORIZATION).cloned();
            if let Some((_, trouble)) = turned_away.as_ref().filter(|(shown, _)| *shown == value) {
                return Err(trouble.clone());
            }
            call.headers = self.headers(call.class, value.clone(), request);
            call.sent.store(false, Ordering::Relaxed);
            match (self.send_once(call, request).await, policy) {
                (Err(Trouble::Refused(problem)), Some(policy)) if problem.status == 401 && turned_away.is_none() => {
                    self.authenticator.forget(policy, &credentials);
                    turned_away = Some((value, Trouble::Refused(problem)));
                }
                (done, _) => return done,
            }
        }
    }

    async fn send_once(&self, call: &Call, request: &Request) -> Result<Vec<bytes::Bytes>, Trouble> {
        let clock = self.authenticator.http().clock().clone();
        let unsent = |why: Interrupted| Trouble::failed(why.problem("before anything was sent"));
        let doing = format!("while {} was under way", call.what());
        let mut connection = within(request, &*clock, self.dialer.connect(&call.target)).await.map_err(unsent)??;
        let sender = connection.sender();
        let limit = Duration::from_millis(self.authenticator.http().config().timeout_ms);
        let work = tokio::time::timeout(limit, connection.drive(call.perform(sender)));
        let done = within(request, &*clock, work).await;
        connection.end().await;
        match done {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => {
                let detail = format!("{} did not answer within {} ms", call.what(), limit.as_millis());
                let problem = Problem::standard(Standard::Communication, detail).with_status(504);
                Err(Trouble::uncertain(call.class, problem))
            }
            Err(why) if !call.sent.load(Ordering::Relaxed) => Err(unsent(why)),
            Err(why) => Err(Trouble::uncertain(call.class, why.problem(&doing))),
        }
    }

    /// The headers of a call.
    fn headers(&self, class: Class, authorization: Option<HeaderValue>, request: &Request) -> HeaderMap {
        let http = self.authenticator.http();
        let limit = Duration::from_millis(http.config().timeout_ms);
        let left = request.remaining(http.clock().now()).map_or(limit, |left| allowance(left).min(limit));
        let mut headers = HeaderMap::new();
        let fixed = |text: &'static str| HeaderValue::from_static(text);
        headers.insert(TE, fixed("trailers"));
        headers.insert(CONTENT_TYPE, fixed("application/grpc"));
        headers.insert(USER_AGENT, fixed(concat!("cpd/", env!("CARGO_PKG_VERSION"))));
        headers.insert(HeaderName::from_static("grpc-accept-encoding"), fixed("identity"));
        let plain = |text: String| HeaderValue::from_str(&text).expect("digits, letters and plain signs");
        headers.insert(HeaderName::from_static("grpc-timeout"), plain(status::timeout(left)));
        if class != Class::Safe {
            headers.insert(IDEMPOTENCY_KEY, plain(request.wire_key()));
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        headers
    }
}

/// The JSON of the messages, made aside if there is much of them.
async fn decode(
    method: &MethodDescriptor,
    answers: Vec<bytes::Bytes>,
    redactor: &Redactor,
) -> Result<Vec<Value>, String> {
    let kind = method.output();
    let bytes: usize = answers.iter().map(bytes::Bytes::len).sum();
    if bytes < DECODE_ASIDE_BYTES_MIN {
        return answers.iter().map(|answer| message::decode(&kind, answer, redactor)).collect();
    }
    let redactor = redactor.clone();
    let aside = move || answers.iter().map(|answer| message::decode(&kind, answer, &redactor)).collect();
    tokio::task::spawn_blocking(aside).await.map_err(|e| format!("its messages could not be read: {e}"))?
}
