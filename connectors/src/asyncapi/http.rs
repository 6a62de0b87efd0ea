//! HTTP as a protocol for messages.
//!
//! Publishing is one request (`POST`, or the method of the operation's binding), and 2xx means that the message was taken; everything
//! else means what it means for `call: http`. Subscribing is one request, too (`GET`, or the binding's method), and its answer is
//! the messages: an event stream has one in each event, NDJSON one in each line, anything else is one message, or none if
//! it is empty. The end of the answer is the end of the subscription, also if `amount` has not been reached: nothing is polled, and
//! nobody connects again. A stream that breaks off instead of ending is a failure.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use cpd_connector_api::secret::Redactor;
use cpd_connector_api::{Class, Problem, Request, Standard, Value, json};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, SET_COOKIE};
use reqwest::{Method, Url};

use super::gather::Gathered;
use super::message::{Inbound, Outbound};
use crate::authentication::{Authenticator, Policy};
use crate::http::stream::{Sink, Streamed, is_event_stream};
use crate::http::{Answer, Call, Trouble, headers};
use crate::rpc::sse::Events;

/// A subscription without a span of its own ends with the request: this is only what a client has to be told.
const LONG: Duration = Duration::from_secs(366 * 86_400);
/// What can be read message by message, and everything else.
const ACCEPTED: &str = "text/event-stream, application/x-ndjson, application/json;q=0.9, */*;q=0.5";

fn method(binding: &Value, fallback: Method) -> Result<Method, Trouble> {
    let Some(name) = binding.get("method").and_then(Value::as_str) else { return Ok(fallback) };
    match Method::from_bytes(name.to_ascii_uppercase().as_bytes()) {
        Ok(method) if method != Method::CONNECT && method != Method::TRACE => Ok(method),
        _ => {
            let what =
                format!("found the method {name:?} in the HTTP binding, expected GET, POST, PUT, PATCH or DELETE");
            Err(Trouble::Refused(Problem::standard(Standard::Configuration, what)))
        }
    }
}

/// Publishes one message. What came back is for the evidence.
///
/// # Errors
/// If it was not taken, or nobody knows.
pub async fn publish(
    authenticator: &Authenticator,
    policy: Option<&Policy>,
    (url, binding, message, given): (Url, &Value, &Outbound, Option<&Value>),
    request: &Request,
    redactor: &mut Redactor,
) -> Result<Value, Trouble> {
    let mut call = Call::new(method(binding, Method::POST)?, url, Class::AtMostOnce);
    let refuse = |what: String| Trouble::Refused(Problem::standard(Standard::Validation, format!("`message`: {what}")));
    call.headers = headers(given, redactor).map_err(refuse)?;
    let kind = HeaderValue::from_str(&message.content_type)
        .map_err(|_| refuse(format!("the content type {:?} cannot stand in a header", message.content_type)))?;
    call.headers.entry(CONTENT_TYPE).or_insert(kind);
    call.body = Some(Bytes::from(message.payload.clone()));
    let answer = authenticator.send(policy, call, request, redactor).await.and_then(Answer::success)?;
    Ok(json!({"confirmation": "status", "statusCode": i64::from(answer.status)}))
}

/// Takes messages until there is enough, the span is over, or the answer ends.
///
/// # Errors
/// If there is no answer, none that is good, or one that breaks off.
pub async fn subscribe(
    authenticator: &Authenticator,
    policy: Option<&Policy>,
    (url, binding, span): (Url, &Value, Option<Duration>),
    gathered: &mut Gathered,
    request: &Request,
    redactor: &mut Redactor,
) -> Result<(), Trouble> {
    let mut call = Call::new(method(binding, Method::GET)?, url, Class::Safe);
    call.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    if let Some(policy) = policy {
        authenticator.apply(policy, &mut call.headers, request, redactor).await?;
    }
    let http = authenticator.http().with_timeout(LONG);
    let mut stream = Stream { gathered, shape: Shape::Other, trouble: None, since: 0 };
    let streaming = http.stream_into(call, request, &mut stream);
    let streamed = match span {
        None => streaming.await,
        Some(span) => match tokio::time::timeout(span, streaming).await {
            Ok(streamed) => streamed,
            // What has come until now is what was asked for.
            Err(_) => return stream.trouble.map_or(Ok(()), Err),
        },
    };
    let trouble = stream.trouble.take();
    match streamed? {
        Streamed::Whole(answer) => {
            if let (401, Some(policy)) = (answer.status, policy) {
                authenticator.forget(policy, &answer.sent);
            }
            let answer = answer.success()?;
            if answer.body.is_empty() {
                return Ok(());
            }
            gathered.take(&whole(&answer)).map(drop)
        }
        Streamed::Enough(_) => trouble.map_or(Ok(()), Err),
        // The last line may go without its end; an event may not.
        Streamed::Ended(_) => match std::mem::replace(&mut stream.shape, Shape::Other) {
            Shape::Lines(line) if !line.trim_ascii().is_empty() => gathered.take(&json_line(line)).map(drop),
            Shape::Lines(_) | Shape::Events(_) | Shape::Other => Ok(()),
        },
    }
}

fn whole(answer: &Answer) -> Inbound {
    let headers = answer.headers.iter().filter(|(name, value)| **name != SET_COOKIE && !value.is_sensitive());
    Inbound {
        payload: answer.body.to_vec(),
        content_type: answer.header(CONTENT_TYPE).map(str::to_owned),
        headers: headers.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect(),
        ..Inbound::default()
    }
}

/// How an answer is cut into messages.
#[derive(Debug)]
enum Shape {
    Events(Events),
    Lines(Vec<u8>),
    Other,
}

/// An answer that is read while it comes.
struct Stream<'a> {
    gathered: &'a mut Gathered,
    shape: Shape,
    trouble: Option<Trouble>,
    /// Bytes since the last message was whole.
    since: usize,
}

fn json_line(line: Vec<u8>) -> Inbound {
    Inbound { payload: line, content_type: Some("application/json".into()), ..Inbound::default() }
}

impl Stream<'_> {
    /// Keeps a message, or what is wrong with it; breaks when nothing more is wanted.
    fn keep(&mut self, message: &Inbound) -> ControlFlow<()> {
        self.since = 0;
        self.gathered.take(message).unwrap_or_else(|trouble| {
            self.trouble = Some(trouble);
            ControlFlow::Break(())
        })
    }

    fn messages(&mut self, piece: &[u8]) -> Vec<Inbound> {
        match &mut self.shape {
            Shape::Events(events) => {
                let message = |event: crate::rpc::sse::Event| {
                    let named = [("event", event.event), ("id", event.id)];
                    let headers = named.into_iter().filter_map(|(n, v)| Some((n.to_owned(), v?))).collect();
                    // An event without data is none.
                    Some(Inbound { payload: event.data?.into_bytes(), headers, ..Inbound::default() })
                };
                events.push(piece).into_iter().filter_map(message).collect()
            }
            Shape::Lines(line) => {
                line.extend_from_slice(piece);
                let Some(end) = line.iter().rposition(|b| *b == b'\n') else { return Vec::new() };
                let rest = line.split_off(end + 1);
                let whole = std::mem::replace(line, rest);
                let lines = whole.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty());
                lines.map(|l| json_line(l.to_vec())).collect()
            }
            Shape::Other => Vec::new(),
        }
    }
}

impl Sink for Stream<'_> {
    fn wants(&mut self, content_type: &str) -> bool {
        let media = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        self.shape = match media.as_str() {
            _ if is_event_stream(content_type) => Shape::Events(Events::default()),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Shape::Lines(Vec::new())
            }
            _ => Shape::Other,
        };
        !matches!(self.shape, Shape::Other)
    }

    fn bytes_max(&self) -> Option<usize> {
        // A stream may be endless; what is kept of it is counted here and by the messages.
        Some(usize::MAX)
    }

    fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        self.since += piece.len();
        for message in self.messages(piece) {
            self.keep(&message)?;
        }
        let most = self.gathered.message_bytes_max();
        if self.since > most {
            let what = format!("found a message of more than {most} bytes, expected at most that");
            self.trouble = Some(Trouble::Refused(Problem::standard(Standard::Runtime, what)));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
