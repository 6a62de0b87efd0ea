//! `with` of the two operations: its schema, and what it asks for.

use std::time::Duration;

use cpd_connector_api::attachment::Planned;
use cpd_connector_api::{Class, OperationSpec, Problem, Request, Standard, Value, duration, json, schema};

use super::document::Direction;
use super::server::Asked;
use crate::authentication::{self, Policy};

const PUBLISH: &str = "asyncapi.publish";
const SUBSCRIBE: &str = "asyncapi.subscribe";

/// The two operations.
pub fn operations() -> Vec<OperationSpec> {
    let operation = |name: &str, class, summary: &str, direction: Direction, output| OperationSpec {
        name: name.into(),
        version: "1.0.0".into(),
        class,
        reconciles: false,
        summary: summary.into(),
        input: input(direction),
        output,
    };
    let message = json!({
        "type": "object", "required": ["payload", "headers"],
        "properties": {
            "payload": {}, "headers": {"type": "object"}, "correlationId": {"type": "string"}, "channel": {"type": "string"},
        },
    });
    let published = json!({
        "type": "object", "required": ["protocol", "server", "channel"],
        "properties": {"protocol": {"type": "string"}, "server": {"type": "string"}, "channel": {"type": "string"}},
    });
    vec![
        operation(
            PUBLISH,
            Class::AtMostOnce,
            "Publishes one message to a channel of an AsyncAPI document.",
            Direction::Publish,
            published,
        ),
        operation(
            SUBSCRIBE,
            Class::Safe,
            "Gathers messages from a channel of an AsyncAPI document.",
            Direction::Subscribe,
            json!({"type": "array", "items": message}),
        ),
    ]
}

fn input(direction: Direction) -> Value {
    let name = json!({"type": "string", "minLength": 1});
    let object = |required: Value, properties: Value| json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties});
    // How the document was loaded is behind us; its authentication may still name a policy, and is not looked at.
    let endpoint = object(json!(["uri"]), json!({"uri": name, "authentication": {"writeOnly": true}}));
    let endpoint = json!({"oneOf": [name, endpoint]});
    let document = object(json!(["endpoint"]), json!({"name": {"type": "string"}, "endpoint": endpoint}));
    let scalar = json!({"type": ["string", "number", "boolean"]});
    let server =
        object(json!(["name"]), json!({"name": name, "variables": {"type": "object", "additionalProperties": scalar}}));
    let header = json!({"type": ["string", "number", "boolean", "null"]});
    let mut properties = json!({
        "document": document, "channel": name, "operation": name, "server": server, "protocol": name,
        "authentication": authentication::schema(),
    });
    let asked = match direction {
        Direction::Publish => {
            let headers = json!({"type": "object", "additionalProperties": header});
            object(json!([]), json!({"payload": {}, "headers": headers}))
        }
        Direction::Subscribe => {
            let consume = json!({
                "amount": {"type": "integer", "minimum": 1}, "for": {"type": ["string", "object"]}, "while": {}, "until": {},
            });
            let consume = object(json!([]), consume);
            // `foreach` is the engine's; `filter`, `while` and `until` come as conditions.
            object(json!(["consume"]), json!({"filter": {}, "consume": consume, "foreach": {}}))
        }
    };
    if let Value::Obj(members) = &mut properties {
        std::sync::Arc::make_mut(members).insert(direction.asked_by().into(), asked);
    }
    json!({
        "type": "object", "additionalProperties": false, "required": ["document", direction.asked_by()],
        "anyOf": [{"required": ["operation"]}, {"required": ["channel"]}],
        "properties": properties,
    })
}

/// When a subscription has enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consume {
    /// After so many messages.
    pub amount: Option<usize>,
    /// After that time.
    pub span: Option<Duration>,
}

/// What `with` asks for, taken apart.
#[derive(Debug)]
pub struct Wanted {
    /// Where the document was.
    pub uri: String,
    /// `channel`.
    pub channel: Option<String>,
    /// `operation`.
    pub operation: Option<String>,
    /// `server`.
    server: Value,
    /// `protocol`.
    protocol: Option<String>,
    /// `authentication`.
    pub policy: Option<Policy>,
    /// `message`; an empty one for a subscription.
    pub message: Value,
    /// `subscription.consume`; `None` for a publication.
    pub consume: Option<Consume>,
}

impl Wanted {
    /// Reads the input of a request for one of the operations.
    ///
    /// # Errors
    /// A problem that says what does not fit.
    pub fn read(request: &Request, operations: &[OperationSpec]) -> Result<Self, Problem> {
        let refuse = |what: String| Problem::standard(Standard::Validation, what);
        let Some(spec) = operations.iter().find(|o| o.name == request.operation) else {
            let what = format!("found operation {:?}, expected {PUBLISH:?} or {SUBSCRIBE:?}", request.operation);
            return Err(Problem::standard(Standard::Configuration, what));
        };
        if let Some(first) = schema::check(&spec.input, &request.input).first() {
            return Err(refuse(format!("`with` of {} does not fit: {first}", request.operation)));
        }
        let consume = match request.input.get("subscription").filter(|_| *request.operation == *SUBSCRIBE) {
            Some(subscription) => Some(consume(subscription, request)?),
            None => None,
        };
        let policy = request.input.get("authentication").filter(|v| !v.is_null());
        Ok(Self { policy: policy.map(Policy::read).transpose()?, consume, ..Self::of(&request.input) })
    }

    /// What stands in a definition; `None` if an expression decides what it is about. Expressions elsewhere are still in it.
    pub fn planned(planned: &Planned<'_>) -> Option<Self> {
        let deciding = ["document", "channel", "operation", "protocol"].map(|name| planned.with.get(name));
        let server = planned.with.get("server").and_then(|s| s.get("name"));
        if !deciding.into_iter().chain([server]).flatten().all(literal) {
            return None;
        }
        let subscribes = planned.operation == SUBSCRIBE;
        let consume = subscribes.then_some(Consume { amount: None, span: None });
        Some(Self { consume, ..Self::of(planned.with) })
    }

    fn of(with: &Value) -> Self {
        let input = |name: &str| with.get(name).filter(|v| !v.is_null());
        let text = |name: &str| input(name).and_then(Value::as_str).map(str::to_owned);
        let endpoint = input("document").and_then(|d| d.get("endpoint")).cloned().unwrap_or_default();
        let uri = endpoint.as_str().or_else(|| endpoint.get("uri").and_then(Value::as_str)).unwrap_or("");
        Self {
            uri: uri.to_owned(),
            channel: text("channel"),
            operation: text("operation"),
            server: input("server").cloned().unwrap_or_default(),
            protocol: text("protocol"),
            policy: None,
            message: input("message").cloned().unwrap_or_else(Value::object),
            consume: None,
        }
    }

    /// Which way messages go.
    pub fn direction(&self) -> Direction {
        if self.consume.is_some() { Direction::Subscribe } else { Direction::Publish }
    }

    /// What it says about the server.
    pub fn server(&self) -> Asked<'_> {
        Asked {
            name: self.server.get("name").and_then(Value::as_str),
            variables: self.server.get("variables").filter(|v| !v.is_null()),
            protocol: self.protocol.as_deref(),
        }
    }
}

/// Whether there is no expression in it.
pub fn literal(value: &Value) -> bool {
    match value {
        Value::Str(text) => !text.contains("${"),
        Value::Arr(items) => items.iter().all(literal),
        Value::Obj(members) => members.values().all(literal),
        Value::Null | Value::Bool(_) | Value::Num(_) => true,
    }
}

/// The span of `subscription.consume.for`.
///
/// # Errors
/// A `validation` problem if it is none.
pub fn span(consume: &Value) -> Result<Option<Duration>, Problem> {
    let span = consume.get("for").filter(|v| !v.is_null()).map(duration::from_value).transpose();
    span.map_err(|e| {
        let hint = e.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
        Problem::standard(Standard::Validation, format!("`subscription.consume.for`: {e}{hint}"))
    })
}

fn consume(subscription: &Value, request: &Request) -> Result<Consume, Problem> {
    let refuse = |what: String| Problem::standard(Standard::Validation, what);
    let consume = subscription.get("consume").cloned().unwrap_or_default();
    let conditions = &request.conditions;
    // An expression that nobody asks would be a message too many, in silence.
    for (name, at, condition) in [
        ("subscription.filter", subscription.get("filter"), &conditions.filter),
        ("subscription.consume.while", consume.get("while"), &conditions.proceed),
        ("subscription.consume.until", consume.get("until"), &conditions.until),
    ] {
        if at.is_some_and(|v| !v.is_null()) && condition.is_none() {
            let what = format!(
                "`{name}`: found an expression that did not come as a condition, expected the engine to make one of it"
            );
            return Err(Problem::standard(Standard::Configuration, what));
        }
    }
    let amount = consume.get("amount").and_then(Value::as_i64).and_then(|n| usize::try_from(n).ok());
    let span = span(&consume)?;
    if amount.is_none() && span.is_none() && conditions.proceed.is_none() && conditions.until.is_none() {
        let what = "`subscription.consume`: found nothing that ends it, expected `amount`, `while`, `until` or `for`";
        return Err(refuse(what.into()));
    }
    Ok(Consume { amount, span })
}
