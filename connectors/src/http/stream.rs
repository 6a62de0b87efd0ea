//! An answer that is read while it comes: server-sent events.
//!
//! [`HttpClient::stream`] is [`HttpClient::send`] for an answer that may be an event stream: its pieces go to the caller, who says when
//! there was enough. The limits are the same: time to connect, time in all, bytes in all. Any other answer is gathered
//! as usual. Redirects are not followed. [`HttpClient::library`] lends the client below to a protocol that sends for itself.

use std::error::Error as _;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cpd_connector_api::guard::{ended, within};
use cpd_connector_api::{Class, Request};
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use super::answer::Answer;
use super::client::{Call, HttpClient, IDEMPOTENCY_KEY, shown};
use super::exchange::no_answer;
use super::verdict::Trouble;

/// What came back.
#[derive(Debug)]
pub enum Streamed {
    /// A stream, of which the caller took what it wanted.
    Enough(Answer),
    /// A stream that ended before the caller had enough.
    Ended(Answer),
    /// Something else, whole.
    Whole(Answer),
}

/// Whoever takes the pieces of an answer as they come.
pub trait Sink: Send {
    /// Whether an answer of that content type is taken in pieces; any other is gathered.
    fn wants(&mut self, content_type: &str) -> bool;

    /// The most bytes of it in all, if it is not the client's own limit.
    fn bytes_max(&self) -> Option<usize> {
        None
    }

    /// Takes a piece; breaks when there was enough.
    fn take(&mut self, piece: &[u8]) -> ControlFlow<()>;
}

/// The pieces of an event stream, for a function.
struct EventStream<F>(F);

impl<F: FnMut(&[u8]) -> ControlFlow<()> + Send> Sink for EventStream<F> {
    fn wants(&mut self, content_type: &str) -> bool {
        is_event_stream(content_type)
    }

    fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        self.0(piece)
    }
}

impl HttpClient {
    /// Makes one exchange and hands the pieces of an event stream to `take` until it says that there was enough.
    ///
    /// # Errors
    /// If there is no answer, or none that may be taken, or a stream that breaks off.
    pub async fn stream(
        &self,
        call: Call,
        request: &Request,
        take: impl FnMut(&[u8]) -> ControlFlow<()> + Send,
    ) -> Result<Streamed, Trouble> {
        self.stream_into(call, request, &mut EventStream(take)).await
    }

    /// The same for an answer that `sink` says it wants in pieces.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn stream_into(
        &self,
        mut call: Call,
        request: &Request,
        sink: &mut impl Sink,
    ) -> Result<Streamed, Trouble> {
        if !call.headers.contains_key(IDEMPOTENCY_KEY) {
            let key = HeaderValue::from_str(&request.wire_key()).expect("a wire key is plain ASCII");
            call.headers.insert(IDEMPOTENCY_KEY, key);
        }
        self.check(&call).map_err(Trouble::Refused)?;
        if let Some(why) = ended(request, &**self.clock()) {
            return Err(Trouble::failed(why.problem("before anything was sent")));
        }
        let (class, doing) = (call.class, format!("while {} {} was under way", call.method, shown(&call.url)));
        match within(request, &**self.clock(), self.streamed(call, sink)).await {
            Ok(done) => done,
            Err(why) => Err(Trouble::uncertain(class, why.problem(&doing))),
        }
    }

    async fn streamed(&self, call: Call, sink: &mut impl Sink) -> Result<Streamed, Trouble> {
        let limit = Duration::from_millis(self.config().timeout_ms);
        let mut sending = self
            .library(&call.url)
            .await
            .map_err(Trouble::Refused)?
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone())
            .timeout(call.timeout.map_or(limit, |own| own.min(limit)));
        if let Some(body) = &call.body {
            sending = sending.body(body.clone());
        }
        let mut response = sending.send().await.map_err(|e| no_answer(&call, e))?;
        let mut answer = Answer {
            method: call.method.clone(),
            url: call.url.clone(),
            status: response.status().as_u16(),
            sent: call.headers.clone(),
            headers: std::mem::take(response.headers_mut()),
            body: Bytes::new(),
            class: call.class,
            took_effect: false,
            received: self.clock().now(),
        };
        let good = (200..300).contains(&answer.status);
        let events = good && answer.header(CONTENT_TYPE).is_some_and(|kind| sink.wants(kind));
        let most = sink.bytes_max().filter(|_| events).unwrap_or(self.config().answer_bytes_max);
        let (mut body, mut seen) = (BytesMut::new(), 0usize);
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(_) if !good => break,
                Err(e) => {
                    let why = if e.is_timeout() { "time ran out".to_owned() } else { innermost(&e.without_url()) };
                    return Err(answer.unusable(&format!("the body broke off after {seen} bytes: {why}")));
                }
            };
            seen += chunk.len();
            if seen > most && good {
                return Err(too_large(&answer, most));
            }
            if events {
                if sink.take(&chunk).is_break() {
                    return Ok(Streamed::Enough(answer));
                }
            } else {
                body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
                if body.len() == most && !good {
                    break;
                }
            }
        }
        if events {
            return Ok(Streamed::Ended(answer));
        }
        answer.body = body.freeze();
        Ok(Streamed::Whole(answer))
    }
}

/// The trouble of an answer that is too large: the request took effect.
fn too_large(answer: &Answer, most: usize) -> Trouble {
    let problem = answer.problem(&format!(
        "{} {} answered {} with more than {most} bytes, expected at most that",
        answer.method,
        shown(&answer.url),
        answer.status,
    ));
    match answer.class {
        Class::AtMostOnce => Trouble::Unknown(problem),
        Class::Safe | Class::Idempotent => Trouble::Refused(problem),
    }
}

/// Whether the content type is that of server-sent events.
pub fn is_event_stream(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("text/event-stream")
}

/// The innermost reason of a library's error.
pub fn innermost(e: &reqwest::Error) -> String {
    let mut last = e.to_string();
    let mut next = e.source();
    while let Some(inner) = next {
        last = inner.to_string();
        next = inner.source();
    }
    last
}
