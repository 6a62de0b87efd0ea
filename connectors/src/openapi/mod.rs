//! Calls of operations that an OpenAPI document describes: what the workflow language's `call: openapi` becomes.
//!
//! 1. The document comes with the request: it was pinned when the definition was registered, and is never fetched here.
//! 2. `operation` reads the one operation that is asked for, and keeps it: the next call of it does not read again.
//! 3. `place` puts the parameters where they belong and makes the body.
//! 4. The call goes out as one of `call: http` does: the same client, limits, authentication, verdicts and outputs.
//!
//! The catalog's `openapi.call` says at-most-once, the strictest; [`class_of`] and [`check`] tell the class of the operation
//! at hand from the document alone. When a definition is registered, its calls are held against the document as far as they
//! can be: the operation, the names of parameters, and values that are no expressions.
//!
//! Not done here: checking values against the document's schemas (the server does), following references to other
//! documents, a second server of a list, XML from objects.

mod body;
mod find;
mod operation;
mod place;
mod reference;
mod server;
mod style;

use std::sync::Arc;

use cpd_connector_api::attachment::{Planned, Resource, Resources};
use cpd_connector_api::secret::Redactor;
use cpd_connector_api::{
    BoxFuture, Class, Connector, Map, OperationSpec, Outcome, Problem, Request, Standard, Value, json, schema,
};

use self::operation::Operation;
use self::place::{Placed, place};
use self::reference::wrong;
use crate::authentication::{self, Authenticator, Policy};
use crate::document::{self, Kept};
use crate::http::{Output, class_of as class_of_method};

/// A document of this size is read on a thread of its own.
const ASIDE_BYTES_MIN: usize = 64 * 1024;

/// The connector `openapi`.
#[derive(Clone, Debug)]
pub struct OpenApi {
    authenticator: Authenticator,
    spec: Arc<OperationSpec>,
    operations: Kept<Operation>,
}

impl OpenApi {
    /// The connector over an authenticator, whose client and tokens it shares.
    pub fn new(authenticator: Authenticator) -> Self {
        Self { authenticator, spec: Arc::new(spec()), operations: Kept::default() }
    }
}

/// The class of an operation, by its method; `None` if the document does not read or does not have it.
pub fn class_of(document: &str, operation_id: &str) -> Option<Class> {
    check(document, operation_id).ok()
}

/// The same, with the reason. Pure: it looks at nothing but its arguments.
///
/// # Errors
/// A `configuration` problem that says what is wrong with the document or the id.
pub fn check(document: &str, operation_id: &str) -> Result<Class, Problem> {
    let root = document::parse(document).map_err(wrong)?;
    find::dialect(&root)?;
    find::find(&root, operation_id).map(|found| class_of_method(found.method))
}

fn spec() -> OperationSpec {
    let text = json!({"type": "string", "minLength": 1});
    OperationSpec {
        name: "openapi.call".into(),
        version: "1.0.0".into(),
        class: Class::AtMostOnce,
        reconciles: false,
        summary: "Calls an operation that an OpenAPI document describes; its class follows the method.".into(),
        input: json!({
            "type": "object", "additionalProperties": false, "required": ["document", "operationId"],
            "properties": {
                "document": external(),
                "operationId": text,
                "parameters": {"type": "object"},
                "authentication": authentication::schema(),
                "output": {"enum": ["content", "raw", "response"]},
                "redirect": {"type": "boolean"},
            },
        }),
        output: Value::Null,
    }
}

/// The schema of a document that a definition refers to.
fn external() -> Value {
    let text = json!({"type": "string", "minLength": 1});
    json!({
        "type": "object", "additionalProperties": false, "required": ["endpoint"],
        "properties": {
            "name": {"type": "string"},
            "endpoint": {"oneOf": [
                text,
                {
                    "type": "object", "additionalProperties": false, "required": ["uri"],
                    // For loading the document, which was done; it may name a policy.
                    "properties": {"uri": text, "authentication": {"writeOnly": true}},
                },
            ]},
        },
    })
}

/// The pinned document that `with` names.
fn pinned<'a>(with: &Value, resources: &'a Resources) -> Result<&'a Resource, Problem> {
    let endpoint = with.get("document").and_then(|d| d.get("endpoint"));
    let uri = endpoint.and_then(|e| e.as_str().or_else(|| e.get("uri")?.as_str())).unwrap_or("");
    resources.get(uri)
}

/// Whether a text of a definition is only known when the call is made.
fn computed(text: &str) -> bool {
    text.contains("${")
}

/// Whether anything in a value of a definition is only known when the call is made.
fn mentions(value: &Value) -> bool {
    match value {
        Value::Str(text) => computed(text),
        Value::Arr(items) => items.iter().any(mentions),
        Value::Obj(members) => members.values().any(mentions),
        Value::Null | Value::Bool(_) | Value::Num(_) => false,
    }
}

/// Checks the operation's name and the shape of `with`.
fn admitted(spec: &OperationSpec, request: &Request) -> Result<(), Problem> {
    if request.operation != spec.name {
        let what = format!("found operation {:?}, expected {:?}", request.operation, spec.name);
        return Err(Problem::standard(Standard::Configuration, what));
    }
    match schema::check(&spec.input, &request.input).first() {
        None => Ok(()),
        Some(first) => {
            let what = format!("`with` of {} does not fit: {first}", request.operation);
            Err(Problem::standard(Standard::Validation, what))
        }
    }
}

impl Connector for OpenApi {
    fn name(&self) -> &str {
        "openapi"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        vec![(*self.spec).clone()]
    }

    fn examine(&self, planned: &Planned<'_>) -> Result<Option<Class>, Problem> {
        let member = |name: &str| planned.with.get(name).filter(|v| !v.is_null());
        let Some(id) = member("operationId").and_then(Value::as_str).filter(|id| !computed(id)) else {
            return Ok(None);
        };
        let operation = self.kept(pinned(planned.with, planned.resources)?, id)?;
        let none = Map::new();
        match member("parameters") {
            None => drop(place(&operation, &none, "examined", &mut Redactor::default())?),
            Some(Value::Obj(given)) if given.values().any(mentions) => place::check_names(&operation, given)?,
            Some(Value::Obj(given)) => drop(place(&operation, given, "examined", &mut Redactor::default())?),
            // An expression, or what the schema does not let through.
            Some(_) => {}
        }
        Ok(Some(operation.class))
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut redactor = Redactor::default();
            let outcome = match self.prepare(&request, &mut redactor).await {
                Ok(wanted) => self.perform(wanted, &request, &mut redactor).await,
                Err(problem) => Outcome::Refused(problem),
            };
            redactor.outcome(outcome)
        })
    }
}

/// What `with` asks for, taken apart.
struct Wanted {
    placed: Placed,
    policy: Option<Policy>,
    output: Output,
}

impl OpenApi {
    async fn prepare(&self, request: &Request, redactor: &mut Redactor) -> Result<Wanted, Problem> {
        admitted(&self.spec, request)?;
        let input = |name: &str| request.input.get(name).filter(|v| !v.is_null());
        let policy = input("authentication").map(Policy::read).transpose()?;
        let resource = pinned(&request.input, &request.resources)?;
        let operation = self.operation(resource, input("operationId").and_then(Value::as_str).unwrap_or("")).await?;
        let none = Map::new();
        let given = input("parameters").and_then(Value::as_object).unwrap_or(&none);
        let mut placed = place(&operation, given, &request.wire_key(), redactor)?;
        placed.call.redirect = input("redirect").and_then(Value::as_bool).unwrap_or(false);
        Ok(Wanted { placed, policy, output: Output::of(input("output").and_then(Value::as_str)) })
    }

    /// The operation, read aside if the document is large, so that other calls go on meanwhile.
    async fn operation(&self, resource: &Resource, id: &str) -> Result<Arc<Operation>, Problem> {
        if resource.content.len() < ASIDE_BYTES_MIN {
            return self.kept(resource, id);
        }
        let (connector, resource, id) = (self.clone(), resource.clone(), id.to_owned());
        let read = tokio::task::spawn_blocking(move || connector.kept(&resource, &id));
        read.await.map_err(|e| Problem::standard(Standard::Runtime, format!("read the OpenAPI document: {e}")))?
    }

    /// The operation, as it was read before or is now.
    fn kept(&self, resource: &Resource, id: &str) -> Result<Arc<Operation>, Problem> {
        // The address is part of what was read: servers may be relative to it.
        let key = format!("{id}\n{}", resource.uri);
        if let Some(kept) = self.operations.get(&resource.content, &key) {
            return Ok(kept);
        }
        let root = document::parse(resource.text()?).map_err(wrong)?;
        let operation = Operation::read(&root, &resource.uri, id)?;
        Ok(self.operations.put(&resource.content, &key, operation))
    }

    async fn perform(&self, wanted: Wanted, request: &Request, redactor: &mut Redactor) -> Outcome {
        let Wanted { placed: Placed { call, json }, policy, output } = wanted;
        let redirect = call.redirect;
        let answer = self.authenticator.send(policy.as_ref(), call, request, redactor).await;
        let answer = answer.and_then(|a| if redirect { a.success_or_redirect() } else { a.success() });
        match answer.and_then(|answer| output.read(&answer, json, redactor)) {
            Ok(value) => Outcome::succeeded(value),
            Err(trouble) => trouble.into(),
        }
    }
}

#[cfg(test)]
mod tests;
