//! One HTTP request as an operation: what the workflow language's `call: http` becomes.
//!
//! The engine has filled in templates and expressions and resolved `use` references; here the address is final.
//! `with` is checked against the schema, the request is made by the [`client`] that all connectors share with the
//! credentials of [`authentication`], and the answer is read by its content type ([`content`]).
//! [`verdict`] has the table of what each kind of end means; [`resource`] loads documents that definitions refer to.
//!
//! The class of a call depends on its method, so the catalog's `http.request` says at-most-once, the strictest, and
//! the engine asks [`class_of`] for the call at hand.
//!
//! Without `redirect` anything but 2xx is an error. With it, redirects are followed, and what cannot be followed (304, or a
//! 302 without a target) is an answer like any other, as the specification says.
//!
//! Not done here: URI templates, OpenAPI documents, retries, cookies between calls.

pub mod answer;
pub mod client;
pub mod content;
pub mod exchange;
pub mod resource;
pub mod stream;
pub mod tls;
pub mod verdict;

use std::sync::Arc;

use bytes::Bytes;
use cpd_connector_api::secret::{Redactor, Secret, Secrets};
use cpd_connector_api::{
    BoxFuture, Class, Connector, Map, OperationSpec, Outcome, Problem, Request, Standard, Value, json, schema,
};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::authentication::{self, Authenticator, Policy};

pub use answer::Answer;
pub use client::{BuildError, Call, HttpClient, HttpConfig};
pub use verdict::{Trouble, class_of};

/// Request headers whose values are secrets wherever they come from.
const SECRET_HEADERS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-amz-security-token",
    "private-token",
];

/// The connector `http`.
#[derive(Clone, Debug)]
pub struct Http {
    authenticator: Authenticator,
    spec: Arc<OperationSpec>,
}

impl Http {
    /// The connector over a client, with tokens of its own.
    pub fn new(client: HttpClient, secrets: Arc<dyn Secrets>) -> Self {
        Self::over(Authenticator::new(client, secrets))
    }

    /// The connector over an authenticator, whose tokens it shares.
    pub fn over(authenticator: Authenticator) -> Self {
        Self { authenticator, spec: Arc::new(spec()) }
    }
}

fn spec() -> OperationSpec {
    OperationSpec {
        name: "http.request".into(),
        version: "1.0.0".into(),
        class: Class::AtMostOnce,
        reconciles: false,
        summary: "Makes one HTTP request; its class follows the method.".into(),
        input: json!({
            "type": "object", "additionalProperties": false, "required": ["method", "endpoint"],
            "properties": {
                "method": {"type": "string", "minLength": 1, "maxLength": 20},
                "endpoint": {"oneOf": [
                    {"type": "string", "minLength": 1},
                    {
                        "type": "object", "additionalProperties": false, "required": ["uri"],
                        "properties": {
                            "uri": {"type": "string", "minLength": 1},
                            "authentication": authentication::schema(),
                        },
                    },
                ]},
                "headers": {"type": "object", "additionalProperties": {"writeOnly": true, "type": ["string", "number", "boolean"]}},
                "query": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "number", "boolean", "array", "null"]},
                },
                "body": {},
                "output": {"enum": ["content", "raw", "response"]},
                "redirect": {"type": "boolean"},
            },
        }),
        output: Value::Null,
    }
}

/// What `with` asks for, taken apart.
struct Wanted {
    call: Call,
    policy: Option<Policy>,
    output: Output,
    json: bool,
    redactor: Redactor,
}

/// What of an answer a workflow wants: `output` of the calls that go over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The content by its media type.
    Content,
    /// The content as base64.
    Raw,
    /// The request, the status, the headers and the content.
    Response,
}

impl Output {
    /// The mode of that name; `content` for anything else, which schemas do not let through.
    pub fn of(name: Option<&str>) -> Self {
        match name {
            Some("raw") => Output::Raw,
            Some("response") => Output::Response,
            _ => Output::Content,
        }
    }

    /// The answer in this mode, without the secrets that the redactor knows.
    ///
    /// # Errors
    /// If the content is not what its media type, or `json_wanted`, says.
    pub fn read(self, answer: &Answer, json_wanted: bool, redactor: &Redactor) -> Result<Value, Trouble> {
        // What becomes base64 is searched before: nobody finds a secret in it after.
        if self == Output::Raw {
            return Ok(content::raw(&redactor.bytes(&answer.body)));
        }
        let content = match std::str::from_utf8(&answer.body) {
            Ok(_) => answer.content(json_wanted)?,
            Err(_) => Answer { body: redactor.bytes(&answer.body).into(), ..answer.clone() }.content(json_wanted)?,
        };
        if self == Output::Content {
            return Ok(redactor.value(&content));
        }
        let request = json!({
            "method": answer.method.as_str(), "uri": answer.url.as_str(), "headers": shown_headers(&answer.sent),
        });
        Ok(redactor.value(&Value::from([
            ("request", request),
            ("statusCode", Value::from(i64::from(answer.status))),
            ("headers", shown_headers(&answer.headers)),
            ("content", content),
        ])))
    }
}

impl Connector for Http {
    fn name(&self) -> &str {
        "http"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        vec![(*self.spec).clone()]
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            match self.perform(&request).await {
                Ok(outcome) | Err(outcome) => outcome,
            }
        })
    }
}

impl Http {
    async fn perform(&self, request: &Request) -> Result<Outcome, Outcome> {
        let wanted = self.wanted(request).map_err(Outcome::Refused)?;
        let Wanted { call, policy, output, json, mut redactor } = wanted;
        let redirect = call.redirect;
        let answer = self.authenticator.send(policy.as_ref(), call, request, &mut redactor).await;
        let answer = answer.and_then(|a| if redirect { a.success_or_redirect() } else { a.success() });
        let outcome = match answer.and_then(|answer| output.read(&answer, json, &redactor)) {
            Ok(value) => Outcome::succeeded(value),
            Err(trouble) => trouble.into(),
        };
        Ok(redactor.outcome(outcome))
    }

    fn wanted(&self, request: &Request) -> Result<Wanted, Problem> {
        let refuse = |what: String| Problem::standard(Standard::Validation, what);
        if request.operation != self.spec.name {
            let what = format!("found operation {:?}, expected {:?}", request.operation, self.spec.name);
            return Err(Problem::standard(Standard::Configuration, what));
        }
        let misfits = schema::check(&self.spec.input, &request.input);
        if let Some(first) = misfits.first() {
            return Err(refuse(format!("`with` of {} does not fit: {first}", request.operation)));
        }
        let input = |name: &str| request.input.get(name).filter(|v| !v.is_null());
        let method = method(input("method").and_then(Value::as_str).unwrap_or(""))?;
        let endpoint = input("endpoint").cloned().unwrap_or_default();
        let uri = endpoint.as_str().or_else(|| endpoint.get("uri").and_then(Value::as_str)).unwrap_or("");
        let mut url: Url = uri.trim().parse().map_err(|e| {
            refuse(format!(
                "`endpoint`: found an address that is not absolute or not well-formed ({e}), expected https://host/path"
            ))
        })?;
        url.set_fragment(None);
        let mut redactor = Redactor::default();
        let mut headers = headers(input("headers"), &mut redactor).map_err(refuse)?;
        let policy = endpoint.get("authentication").filter(|v| !v.is_null()).map(Policy::read).transpose()?;
        query(&mut url, input("query")).map_err(refuse)?;
        let mut call = Call::new(method, url, Class::AtMostOnce);
        call.class = class_of(call.method.as_str());
        call.redirect = input("redirect").and_then(Value::as_bool).unwrap_or(false);
        if let Some(body) = input("body") {
            let given = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
            let (bytes, kind) = content::render(body, given).map_err(|e| refuse(format!("`body`: {e}")))?;
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
            call.body = Some(Bytes::from(bytes));
        }
        let json = headers
            .get(ACCEPT)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|accept| accept.split(',').all(content::is_json));
        call.headers = headers;
        let output = Output::of(input("output").and_then(Value::as_str));
        Ok(Wanted { call, policy, output, json, redactor })
    }
}

fn method(name: &str) -> Result<Method, Problem> {
    let name = name.to_ascii_uppercase();
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if !matches!(name.as_str(), "CONNECT" | "TRACE") => Ok(method),
        _ => {
            let what = format!("`method`: found {name:?}, expected GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE");
            Err(Problem::standard(Standard::Validation, what))
        }
    }
}

/// Headers from `with`; the values of secret ones are marked, and taught to the redactor.
pub(crate) fn headers(given: Option<&Value>, redactor: &mut Redactor) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given.and_then(Value::as_object).into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
        let bad = |what: &str| format!("`headers`: {name:?} {what}");
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("is no header name"))?;
        if matches!(parsed.as_str(), "host" | "content-length" | "transfer-encoding" | "connection" | "upgrade") {
            return Err(bad("is set by the client and cannot be given"));
        }
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| bad("has a value with characters that cannot stand in a header"))?;
        if SECRET_HEADERS.contains(&parsed.as_str()) {
            value.set_sensitive(true);
            let bare = text.split_once(' ').filter(|_| parsed == AUTHORIZATION).map_or(text.as_str(), |(_, rest)| rest);
            redactor.add(Secret::new(bare));
            redactor.add(Secret::new(&text));
        }
        headers.append(parsed, value);
    }
    Ok(headers)
}

fn query(url: &mut Url, given: Option<&Value>) -> Result<(), String> {
    let mut form = content::Form { text: url.query().unwrap_or("").to_owned() };
    for (name, value) in given.and_then(Value::as_object).into_iter().flatten() {
        form.add(name, value).map_err(|e| format!("`query`: {e}"))?;
    }
    url.set_query(Some(form.text.as_str()).filter(|q| !q.is_empty()));
    Ok(())
}

/// Headers as an object: names in lower case, several values joined, secret ones left out of sight.
fn shown_headers(headers: &HeaderMap) -> Value {
    let members = headers.keys().map(|name| {
        let secret = SECRET_HEADERS.contains(&name.as_str()) || name == "set-cookie";
        let values: Vec<_> =
            headers
                .get_all(name)
                .iter()
                .map(|v| {
                    if secret || v.is_sensitive() {
                        Redactor::MARK.into()
                    } else {
                        String::from_utf8_lossy(v.as_bytes())
                    }
                })
                .collect();
        (Arc::from(name.as_str()), Value::from(values.join(", ")))
    });
    Value::from(members.collect::<Map>())
}
