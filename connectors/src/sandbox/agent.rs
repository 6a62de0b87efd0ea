//! The sandbox as a language model: an OpenAI-compatible chat endpoint that answers the same for the same question.
//!
//! It is no model. The text begins with `[sandbox]` and is what the offline summariser makes of the data in the last
//! message; tokens are counted as four characters each.

use cpd_connector_api::{Value, json};
use sha2::{Digest, Sha256};

use super::state::{Effect, State};
use super::{Asked, Reply};
use crate::agent::template;

/// The name that the sandbox's model goes by.
pub const MODEL: &str = "cpd-sandbox-model";

/// The reply, if the path is the chat endpoint's.
pub fn reply(state: &mut State, now_ms: i64, asked: &Asked) -> Option<Reply> {
    if asked.path != "/v1/chat/completions" {
        return None;
    }
    if asked.method != "POST" {
        return Some(Reply::json(405, json!({"error": {"message": "expected POST", "type": "invalid_request_error"}})));
    }
    let messages = asked.json.get("messages").and_then(Value::as_array).unwrap_or_default();
    let Some(last) = messages.last().and_then(|m| m.get("content")).and_then(Value::as_str) else {
        let message = "found no message with a text, expected messages: [{role, content}]";
        return Some(Reply::json(400, json!({"error": {"message": message, "type": "invalid_request_error"}})));
    };
    let data = embedded_json(last);
    let wants_json = asked.json.get("response_format").and_then(|f| f.get("type")).and_then(Value::as_str);
    let text = match wants_json {
        Some("json_object" | "json_schema") => {
            let summary = data.as_ref().map(template::summarise);
            let headline = summary.as_ref().map_or_else(|| echo(last), |s| s.headline.clone());
            json!({"sandbox": true, "headline": headline}).to_json()
        }
        _ => match &data {
            Some(data) => format!("[sandbox] {}", template::summarise(data).text()),
            None => format!("[sandbox] {}", echo(last)),
        },
    };
    let prompt: usize = messages.iter().filter_map(|m| m.get("content")?.as_str()).map(tokens).sum();
    let completion = tokens(&text);
    let id = format!("sandbox-chat-{}", hex(last));
    state.effects.push(Effect { kind: "completion".into(), key: asked.key.clone(), target: id.clone(), at_ms: now_ms });
    let body = json!({
        "id": id,
        "object": "chat.completion",
        "created": now_ms / 1_000,
        "model": MODEL,
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant",
                "content": text,
                "reasoning_content": "The sandbox does not reason: it restates the figures that it was given.",
            },
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    });
    Some(Reply::json(200, body).with("x-request-id", &id))
}

fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4)
}

fn echo(text: &str) -> String {
    let head: String = text.chars().take(200).collect();
    format!("You asked: {head}")
}

/// The widest JSON object in a text, if there is one.
fn embedded_json(text: &str) -> Option<Value> {
    let (start, end) = (text.find('{')?, text.rfind('}')?);
    (start < end).then(|| Value::from_json(&text.as_bytes()[start..=end]).ok()).flatten()
}

fn hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(6).map(|b| format!("{b:02x}")).collect()
}
