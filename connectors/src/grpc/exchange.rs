//! One call: a request with all its messages, and the answer's messages up to its status.
//!
//! - All messages of the client go out at once, then its side is closed. The answer is read meanwhile, so a server that says no
//!   early is heard.
//! - The size and the number of messages are bounded together; what is too much is given up as soon as that is known.
//! - An answer that is not gRPC's (a gateway's HTML, an HTTP status) is judged as `call: http` judges it.
//! - [`Call::sent`] says whether anything may have reached the service, for an end that comes from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use cpd_connector_api::{Class, Problem, Standard, Value, json};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use http::{Method, Request, Response, Version};

use super::message::HEAD_BYTES;
use super::status::{self, Status};
use super::target::Target;
use crate::http::Trouble;
use crate::http::content::excerpt;
use crate::http::verdict::of_status;

/// Of a body that is only good for an error message, this much is read.
const ERROR_BODY_BYTES_MAX: usize = 16 * 1024;

/// The bounds of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What all messages may have together.
    pub bytes: usize,
    /// How many there may be.
    pub messages: usize,
}

/// One call to make.
#[derive(Debug)]
pub struct Call {
    /// Where to.
    pub target: Target,
    /// `/pets.v1.Store/Get`
    pub path: String,
    /// How it may be repeated.
    pub class: Class,
    /// Whether the answer is a stream.
    pub streams: bool,
    /// Beside those of gRPC itself.
    pub headers: HeaderMap,
    /// The frames of the messages.
    pub body: Bytes,
    /// The bounds of the answer.
    pub limits: Limits,
    /// Whether something may have reached the service and not been turned away.
    pub sent: AtomicBool,
}

impl Call {
    /// Makes the call.
    ///
    /// # Errors
    /// What became of it, if it is not a good answer.
    pub async fn perform(&self, sender: Option<SendRequest<Bytes>>) -> Result<Vec<Bytes>, Trouble> {
        let unsent = |why: &str| {
            let detail = format!("{} could not be sent: {why}", self.what());
            Trouble::failed(self.problem(&detail, 503, &[]))
        };
        let sender = sender.ok_or_else(|| unsent("the connection was used"))?;
        let mut sender = sender.ready().await.map_err(|e| unsent(&e.to_string()))?;
        let request = self.request().map_err(Trouble::Refused)?;
        let (answer, mut stream) = sender.send_request(request, false).map_err(|e| unsent(&e.to_string()))?;
        self.sent.store(true, Ordering::Relaxed);
        stream.send_data(self.body.clone(), true).map_err(|e| self.broken(&e, 0))?;
        let answer = answer.await.map_err(|e| self.broken(&e, 0))?;
        let (head, mut body) = answer.into_parts();
        if let Some(status) = head.headers.get("grpc-status") {
            let ended = self.end(status.as_bytes(), &head.headers, 0);
            return ended.and_then(|()| self.counted(Vec::new()));
        }
        let head = Response::from_parts(head, ());
        if let Some(trouble) = self.stranger(&head, &mut body).await {
            return Err(trouble);
        }
        let messages = self.messages(&mut body).await?;
        let count = messages.len();
        let trailers = body.trailers().await.map_err(|e| self.broken(&e, count))?.unwrap_or_default();
        let Some(status) = trailers.get("grpc-status") else {
            return Err(self.unusable("it ended without a status", count));
        };
        self.end(status.as_bytes(), &trailers, count)?;
        self.counted(messages)
    }

    fn request(&self) -> Result<Request<()>, Problem> {
        let uri = format!("{}://{}{}", self.target.scheme(), self.target.authority(), self.path);
        let builder = Request::builder().method(Method::POST).uri(uri).version(Version::HTTP_2);
        let mut request = builder
            .body(())
            .map_err(|e| Problem::standard(Standard::Configuration, format!("{} is no request: {e}", self.what())))?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    /// The trouble of an answer that is not gRPC's, if it is such.
    async fn stranger(&self, head: &Response<()>, body: &mut RecvStream) -> Option<Trouble> {
        let kind = head.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("none");
        let status = head.status().as_u16();
        if status == 200 && kind.to_ascii_lowercase().starts_with("application/grpc") {
            return None;
        }
        let mut seen = BytesMut::new();
        while let Some(Ok(chunk)) = body.data().await {
            let _ = body.flow_control().release_capacity(chunk.len());
            seen.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY_BYTES_MAX - seen.len())]);
            if seen.len() == ERROR_BODY_BYTES_MAX {
                break;
            }
        }
        let excerpt = excerpt(&seen);
        let detail = format!(
            "{} answered HTTP {status} with content of the type {kind}, expected application/grpc: {excerpt}",
            self.what()
        );
        let data = [("statusCode", Value::from(i64::from(status))), ("excerpt", Value::from(excerpt))];
        if status == 200 {
            return Some(Trouble::uncertain(self.class, self.problem(&detail, 502, &data)));
        }
        let seconds = head.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let problem = self.problem(&detail, status, &data);
        // What HTTP counts as good is no answer to a call of gRPC.
        if status < 300 {
            return Some(Trouble::uncertain(self.class, problem.with_status(502)));
        }
        Some(of_status(status, self.class, problem, seconds.map(Duration::from_secs)))
    }

    /// The messages up to the end of the stream.
    async fn messages(&self, body: &mut RecvStream) -> Result<Vec<Bytes>, Trouble> {
        let (mut buffer, mut messages, mut total) = (BytesMut::new(), Vec::new(), 0_usize);
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(|e| self.broken(&e, messages.len()))?;
            let _ = body.flow_control().release_capacity(chunk.len());
            buffer.extend_from_slice(&chunk);
            while let Some(&[flag, a, b, c, d]) = buffer.first_chunk::<HEAD_BYTES>() {
                if flag != 0 {
                    let what = "a message is compressed, although nobody asked for it";
                    return Err(self.unusable(what, messages.len()));
                }
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                // Where the other side says how much is coming, nothing of it is waited for.
                let room = self.limits.bytes.saturating_sub(total);
                if length > room {
                    let most = self.limits.bytes;
                    let what = format!("found {} bytes of messages or more, expected at most {most}", total + length);
                    return Err(self.too_large(&what, messages.len()));
                }
                if buffer.len() < HEAD_BYTES + length {
                    break;
                }
                if messages.len() == self.limits.messages {
                    let most = self.limits.messages;
                    return Err(self.too_large(&format!("found more than {most} messages"), messages.len()));
                }
                total += length;
                buffer.advance(HEAD_BYTES);
                messages.push(buffer.split_to(length).freeze());
            }
        }
        if buffer.is_empty() { Ok(messages) } else { Err(self.unusable("it ended within a message", messages.len())) }
    }

    /// Whether there are as many messages as the method has.
    fn counted(&self, messages: Vec<Bytes>) -> Result<Vec<Bytes>, Trouble> {
        let count = messages.len();
        if self.streams || count == 1 {
            return Ok(messages);
        }
        Err(self.unusable(&format!("found {count} messages, expected one"), count))
    }

    /// What the status at the end says.
    fn end(&self, number: &[u8], trailers: &HeaderMap, messages: usize) -> Result<(), Trouble> {
        let number = String::from_utf8_lossy(number);
        let status = Status::of(&number);
        if status.verdict == status::Verdict::Done {
            return Ok(());
        }
        let said = trailers.get("grpc-message").map(|m| status::message(m.as_bytes())).unwrap_or_default();
        let said = excerpt(said.as_bytes());
        let mut detail = format!("{} answered {}", self.what(), status.name);
        if !said.is_empty() {
            detail.push_str(": ");
            detail.push_str(&said);
        }
        if messages > 0 {
            detail.push_str(&format!(" (after {messages} messages)"));
        }
        let data = [("grpcStatus", Value::from(status.name)), ("grpcMessage", Value::from(said))];
        // How long to wait, where servers say so; less than nothing means never.
        let pushback = trailers.get("grpc-retry-pushback-ms").and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let problem = self.problem(&detail, status.http, &data);
        Err(status.trouble(self.class, messages, problem, pushback.map(Duration::from_millis)))
    }

    /// The trouble of an answer that cannot be used.
    pub fn unusable(&self, what: &str, messages: usize) -> Trouble {
        let detail = format!("{} answered, but {what}", self.what());
        Trouble::uncertain(self.class, self.problem(&detail, 502, &[("messages", Value::from(messages))]))
    }

    fn too_large(&self, what: &str, messages: usize) -> Trouble {
        let detail = format!("{} answered, but {what}", self.what());
        let problem = self.problem(&detail, 502, &[("messages", Value::from(messages))]);
        match self.class {
            Class::AtMostOnce => Trouble::Unknown(problem),
            Class::Safe | Class::Idempotent => Trouble::Refused(problem),
        }
    }

    /// The trouble of a stream that broke.
    fn broken(&self, e: &h2::Error, messages: usize) -> Trouble {
        let problem = |detail: String| self.problem(&detail, 502, &[("messages", Value::from(messages))]);
        // The one reason that says for certain that nobody has looked at the request.
        if e.reason() == Some(Reason::REFUSED_STREAM) && e.is_remote() {
            return Trouble::failed(problem(format!("{} was turned away before it was looked at", self.what())));
        }
        Trouble::uncertain(self.class, problem(format!("{} was sent and got no whole answer: {e}", self.what())))
    }

    /// The call, for people.
    pub fn what(&self) -> String {
        format!("{} at {}", self.path.trim_start_matches('/'), self.target.shown())
    }

    fn problem(&self, detail: &str, status: u16, more: &[(&'static str, Value)]) -> Problem {
        let mut data = json!({"method": self.path.as_str(), "address": self.target.shown()});
        if let Value::Obj(members) = &mut data {
            let members = std::sync::Arc::make_mut(members);
            more.iter().for_each(|(name, value)| drop(members.insert((*name).into(), value.clone())));
        }
        Problem::standard(Standard::Communication, detail).with_status(status).with_data(data)
    }
}
