//! A chat endpoint that is compatible with OpenAI's, as most providers offer one.
//!
//! One `POST {url}/chat/completions`, not streamed. The answer's text, finish reason, tokens, model, request id and, if
//! the provider returns it, reasoning are read from where the common dialects put them; what is missing is `None`.

use bytes::Bytes;
use cpd_connector_api::secret::Secret;
use cpd_connector_api::{Class, Map, Problem, Request, Standard, Value, json};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::Question;
use crate::http::{Answer, Call, HttpClient, Trouble};

/// What a model said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// The text.
    pub text: String,
    /// The model that answered.
    pub model: Option<String>,
    /// Why it stopped: `stop`, `length`.
    pub finish: Option<String>,
    /// The reasoning that the provider states.
    pub reasoning: Option<String>,
    /// Tokens of the question, and how many of them were cached.
    pub input: Option<u64>,
    /// Of these, cached.
    pub cached: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub output: Option<u64>,
    /// Of these, reasoning.
    pub reasoning_tokens: Option<u64>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
}

/// Asks.
///
/// # Errors
/// If there is no answer, or none that can be used.
pub async fn ask(
    client: &HttpClient,
    request: &Request,
    q: &Question,
    token: Option<&Secret>,
) -> Result<Said, Trouble> {
    let refuse = |what: String| Trouble::Refused(Problem::standard(Standard::Configuration, what));
    let base = q.agent.endpoint.as_ref().map(|e| e.url.trim_end_matches('/')).unwrap_or("");
    let url: Url = format!("{base}/chat/completions")
        .parse()
        .map_err(|e| refuse(format!("`endpoint.url` of agent {:?}: {e}", q.agent.name)))?;
    let mut call = Call::new(Method::POST, url, Class::Idempotent);
    call.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    call.body = Some(Bytes::from(body(q).to_json()));
    call.timeout = q.timeout;
    if let Some(token) = token {
        call = call.with_bearer(token).map_err(Trouble::Refused)?;
    }
    let answer = client.send(call, request).await?.success()?;
    said(&answer)
}

fn body(q: &Question) -> Value {
    let messages: Value = q.messages.iter().map(|m| json!({"role": m.role, "content": m.content})).collect();
    let mut members = Map::new();
    members.insert("model".into(), Value::from(q.model.as_str()));
    members.insert("messages".into(), messages);
    members.insert("stream".into(), Value::from(false));
    if let Some(temperature) = q.temperature {
        members.insert("temperature".into(), Value::from(temperature));
    }
    if let Some(seed) = q.agent.parameters.seed {
        members.insert("seed".into(), Value::from(seed));
    }
    if let Some(most) = q.max_tokens {
        let name = q.agent.parameters.max_tokens_member.as_deref().unwrap_or("max_tokens");
        members.insert(name.into(), Value::from(i64::try_from(most).unwrap_or(i64::MAX)));
    }
    if q.json {
        let format = match &q.schema {
            Some(schema) => Value::from([
                ("type", Value::from("json_schema")),
                ("json_schema", Value::from([("name", Value::from("answer")), ("schema", schema.clone())])),
            ]),
            None => json!({"type": "json_object"}),
        };
        members.insert("response_format".into(), format);
    }
    Value::from(members)
}

fn said(answer: &Answer) -> Result<Said, Trouble> {
    let body = answer.json()?;
    let choice = body.get("choices").and_then(Value::as_array).and_then(<[Value]>::first);
    let message = choice.and_then(|c| c.get("message")).ok_or_else(|| {
        answer.unusable("has no \"choices\" with a \"message\", expected an OpenAI-compatible completion")
    })?;
    let string =
        |v: &Value, name: &str| v.get(name).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
    if let Some(refusal) = string(message, "refusal") {
        let what = format!("the model refused: {refusal}");
        return Err(Trouble::Refused(Problem::standard(Standard::Runtime, what).with_status(422)));
    }
    let finish = choice.and_then(|c| string(c, "finish_reason"));
    if finish.as_deref() == Some("content_filter") {
        let what = "the provider's content filter stopped the answer";
        return Err(Trouble::Refused(Problem::standard(Standard::Runtime, what).with_status(422)));
    }
    let text = match message.get("content") {
        Some(Value::Str(text)) => text.to_string(),
        // Some dialects answer in parts.
        Some(Value::Arr(parts)) => parts.iter().filter_map(|p| p.get("text")?.as_str()).collect(),
        _ => String::new(),
    };
    if text.is_empty() {
        let why = finish.map(|f| format!(" (it finished with {f:?})")).unwrap_or_default();
        return Err(answer.unusable(&format!("has no text in it{why}")));
    }
    let usage = body.get("usage");
    let count = |name: &str| usage?.get(name)?.as_i64().and_then(|n| u64::try_from(n).ok());
    let detail = |of: &str, name: &str| usage?.get(of)?.get(name)?.as_i64().and_then(|n| u64::try_from(n).ok());
    Ok(Said {
        text,
        model: string(&body, "model"),
        finish,
        reasoning: string(message, "reasoning_content").or_else(|| string(message, "reasoning")),
        input: count("prompt_tokens"),
        cached: detail("prompt_tokens_details", "cached_tokens"),
        output: count("completion_tokens"),
        reasoning_tokens: detail("completion_tokens_details", "reasoning_tokens"),
        request_id: answer
            .header(HeaderName::from_static("x-request-id"))
            .map(str::to_owned)
            .or_else(|| string(&body, "id")),
    })
}
