//! Messages as workflows see them, and as they travel.
//!
//! Outbound: `{payload, headers}`. The payload is written as the document's `contentType` says: JSON, or a text as it is. Inbound:
//! `{payload, headers, correlationId}` and `channel`, the address that it came on, which a subscription with a wildcard
//! does not know otherwise. A payload that says it is JSON and is none is an error; one that says nothing becomes what it can
//! be: JSON, else text, else base64.

use cpd_connector_api::{Map, Problem, Standard, Value};

use super::document::{Document, Found};
use crate::http::content;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// What they are.
    pub content_type: String,
    /// Headers, in the order of the definition.
    pub headers: Vec<(String, String)>,
}

/// What has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// What the other side says that they are.
    pub content_type: Option<String>,
    /// Headers; of several with one name, all.
    pub headers: Vec<(String, String)>,
    /// The correlation id, where the protocol itself has one.
    pub correlation: Option<String>,
    /// The address that it came on, where the protocol says it.
    pub channel: Option<String>,
}

/// What the document says about the messages of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Their content type.
    pub content_type: Option<String>,
    /// Where in a message its correlation id stands: `$message.header#/correlationId`.
    pub correlation: Option<String>,
}

impl Form {
    /// What the document says. Messages of several content types say nothing.
    pub fn of(document: &Document, found: &Found<'_>) -> Self {
        let types: Vec<_> = found
            .messages
            .iter()
            .map(|m| document.member(m, "contentType").and_then(Value::as_str))
            .map(|own| own.or_else(|| document.text("defaultContentType")))
            .collect();
        let content_type = match types.as_slice() {
            [] => document.text("defaultContentType"),
            [first, rest @ ..] => first.filter(|_| rest.iter().all(|t| t == first)),
        };
        let correlation = found.messages.iter().find_map(|m| {
            let id = document.resolve(document.member(m, "correlationId")?).ok()?;
            id.get("location").and_then(Value::as_str).map(str::to_owned)
        });
        Self { content_type: content_type.map(str::to_owned), correlation }
    }
}

/// A scalar as text; `None` for anything else, and for `null`.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.to_string()),
        Value::Bool(_) | Value::Num(_) => Some(value.to_json()),
        Value::Null | Value::Arr(_) | Value::Obj(_) => None,
    }
}

/// What a location of the document (`$message.payload#/user/id`) points to in a message.
pub fn locate<'a>(location: &str, message: &'a Value) -> Option<&'a Value> {
    let (part, pointer) = location.trim().strip_prefix("$message.")?.split_once('#')?;
    let root = match part {
        "payload" => message.get("payload")?,
        "header" | "headers" => message.get("headers")?,
        _ => return None,
    };
    pointer.split('/').skip(1).try_fold(root, |at, name| match at {
        Value::Arr(items) => items.get(name.parse::<usize>().ok()?),
        other => other.get(&name.replace("~1", "/").replace("~0", "~")),
    })
}

impl Outbound {
    /// The message of `with`, as it will travel.
    ///
    /// # Errors
    /// A `validation` problem if the payload cannot be written as the document says, or a header is no scalar.
    pub fn of(message: &Value, form: &Form) -> Result<Self, Problem> {
        let refuse = |what: String| Problem::standard(Standard::Validation, what);
        let payload = message.get("payload").unwrap_or(&Value::Null);
        let stated = form.content_type.as_deref();
        let textual = stated.is_some_and(|t| t.trim().to_ascii_lowercase().starts_with("text/"));
        let json = stated.is_none_or(content::is_json);
        let payload = match payload {
            Value::Null if message.get("payload").is_none() => Vec::new(),
            Value::Str(text) if !json => text.as_bytes().to_vec(),
            scalar if textual && self::scalar(scalar).is_some() => scalar.to_json().into_bytes(),
            value if json => value.to_json().into_bytes(),
            value => {
                let (found, wanted) = (value.kind(), stated.unwrap_or(""));
                let what = "which can only be given as a text: expected a string";
                return Err(refuse(format!(
                    "`message.payload`: found {found} for the content type {wanted:?}, {what}"
                )));
            }
        };
        let mut headers = Vec::new();
        for (name, value) in message.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let at = format!("`message.headers`: {name:?}");
            let text = match value {
                Value::Null => continue,
                value => scalar(value).ok_or_else(|| refuse(format!("{at} is {}, expected a scalar", value.kind())))?,
            };
            let plain = |c: char| c.is_ascii_graphic() && c != ':';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(refuse(format!("{at} cannot be a header's name: expected visible ASCII without a colon")));
            }
            if text.chars().any(|c| c.is_control()) {
                return Err(refuse(format!("{at} has a value with control characters, expected one line of text")));
            }
            headers.push((name.to_string(), text));
        }
        let content_type = stated.unwrap_or("application/json").to_owned();
        Ok(Self { payload, content_type, headers })
    }

    /// Whether there is a header of that name, in any case.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

impl Inbound {
    /// The message as the workflow sees it.
    ///
    /// # Errors
    /// Says what is wrong with a payload that is not what it says it is.
    pub fn value(&self, form: &Form) -> Result<Value, String> {
        let own = self.content_type.as_deref().or_else(|| {
            let header = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            header.map(|(_, value)| value.as_str())
        });
        let payload = content::parse(own.or(form.content_type.as_deref()), &self.payload, false)?;
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            let joined = match headers.get(name.as_str()).and_then(Value::as_str) {
                Some(before) => format!("{before}, {value}"),
                None => value.clone(),
            };
            headers.insert(name.as_str().into(), Value::from(joined));
        }
        let mut message = Map::new();
        message.insert("payload".into(), payload);
        message.insert("headers".into(), Value::from(headers));
        let mut message = Value::from(message);
        let located = form.correlation.as_deref().and_then(|at| locate(at, &message)).and_then(scalar);
        let more = [("correlationId", located.or_else(|| self.correlation.clone())), ("channel", self.channel.clone())];
        if let Value::Obj(members) = &mut message {
            let members = std::sync::Arc::make_mut(members);
            for (name, text) in more {
                if let Some(text) = text {
                    members.insert(name.into(), Value::from(text));
                }
            }
        }
        Ok(message)
    }

    /// How many bytes it is counted as.
    pub fn bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.payload.len()
    }
}
