//! The protocol over streamable HTTP: each message is a `POST`, answered with JSON or with an event stream.
//!
//! The sequence of messages, the session and its header are the protocol's client's above; here is one exchange at a time, under the
//! limits of the client that all connectors share, and with its verdicts ([`crate::http::verdict`]): what an end without a good
//! answer means for the request, and whether it had left. Answers are held against the request's id here, because the
//! client above would wait for the right one for ever.
//!
//! - A stream that breaks off before the answer is taken up again if the server gave its events ids, and given up otherwise.
//! - The stream for messages of the server's own is not opened: nobody would read them.
//! - Redirects are not followed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cpd_connector_api::{Class, Problem, Standard, Value, json};
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, Url};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransport, StreamableHttpClientTransportConfig,
    StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::Sse;

use super::METHODS;
use super::witness::Witness;
use crate::http::client::{refusal, shown};
use crate::http::stream::{innermost, is_event_stream};
use crate::http::verdict::{of_status, retry_after};
use crate::http::{HttpClient, Trouble, content};
use crate::rpc::sse::Events;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// How long the farewell to a session may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the client above is told; the witness knows more.
#[derive(Clone, Debug)]
pub struct Closed(String);

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Closed {}

type Failure = StreamableHttpError<Closed>;
type EventStream = BoxStream<'static, Result<Sse, SseError>>;

/// Where the messages go out and the answers come in.
#[derive(Clone)]
pub struct Door {
    client: HttpClient,
    url: Url,
    headers: Arc<HeaderMap>,
    class: Class,
    witness: Arc<Witness>,
    /// The id of the request whose response is awaited: a stream that is taken up again must bring it.
    awaited: Arc<Mutex<Option<Value>>>,
}

/// The message that an exchange is about.
struct Asked {
    /// The id that the response must have; `None` for what has no response.
    id: Option<Value>,
    /// What an uncertain end means.
    class: Class,
}

impl Door {
    /// To the server at an address; `class` is that of the request which the session is for.
    pub fn new(client: &HttpClient, url: Url, headers: HeaderMap, class: Class, witness: Arc<Witness>) -> Self {
        Self { client: client.clone(), url, headers: Arc::new(headers), class, witness, awaited: Arc::default() }
    }

    /// The transport through it.
    pub fn transport(self) -> StreamableHttpClientTransport<Self> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.url.as_str()).reinit_on_expired_session(false);
        StreamableHttpClientTransport::with_client(self, config)
    }

    fn asked(&self, message: &Value) -> Asked {
        let method = message.get("method").and_then(Value::as_str);
        let ours = method.is_some_and(|m| METHODS.contains(&m));
        Asked { id: method.and(message.get("id")).cloned(), class: if ours { self.class } else { Class::Safe } }
    }

    fn problem(&self, detail: &str, status: u16) -> Problem {
        Problem::standard(Standard::Runtime, format!("POST {} {detail}", shown(&self.url)))
            .with_status(status)
            .with_data(json!({"uri": shown(&self.url)}))
    }

    /// An answer of a good status that is of no use.
    fn unusable(&self, asked: &Asked, what: &str) -> Trouble {
        Trouble::uncertain(asked.class, self.problem(what, 502))
    }

    fn lost(&self, asked: &Asked, e: reqwest::Error) -> Trouble {
        if let Some(problem) = refusal(&e, &self.url) {
            return Trouble::Refused(problem);
        }
        let (connect, timeout) = (e.is_connect(), e.is_timeout());
        let why = innermost(&e.without_url());
        match (connect, timeout) {
            (true, _) => Trouble::failed(self.problem(&format!("could not connect: {why}"), 503)),
            (false, true) => Trouble::uncertain(asked.class, self.problem("was sent and not answered in time", 504)),
            (false, false) => {
                Trouble::uncertain(asked.class, self.problem(&format!("was sent and got no answer: {why}"), 502))
            }
        }
    }

    async fn post(
        &self,
        asked: &Asked,
        body: Vec<u8>,
        session: Option<Arc<str>>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Trouble> {
        let mut sending = self
            .client
            .library(&self.url)
            .await
            .map_err(Trouble::Refused)?
            .post(self.url.clone())
            .headers((*self.headers).clone())
            .header(ACCEPT, "application/json, text/event-stream")
            .header(CONTENT_TYPE, "application/json")
            .timeout(Duration::from_millis(self.client.config().timeout_ms));
        for (name, value) in custom {
            sending = sending.header(name, value);
        }
        if let Some(session) = session {
            sending = sending.header(SESSION, &*session);
        }
        let mut response = sending.body(body).send().await.map_err(|e| self.lost(asked, e))?;
        let status = response.status().as_u16();
        let header = |name: HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (kind, session) = (header(CONTENT_TYPE).unwrap_or_default(), header(SESSION));
        if !response.status().is_success() {
            return self.bad_status(asked, status, response).await;
        }
        let Some(id) = &asked.id else { return Ok(StreamableHttpPostResponse::Accepted) };
        if is_event_stream(&kind) {
            return Ok(StreamableHttpPostResponse::Sse(self.events(response, Some(id.clone()), asked.class), session));
        }
        let body = self.body(asked, &mut response).await?;
        let message = self.message(id, &kind, &body).map_err(|what| self.unusable(asked, &what))?;
        Ok(StreamableHttpPostResponse::Json(message, session))
    }

    /// The one message of a JSON answer, which must be the response to the request with that id.
    fn message(&self, id: &Value, kind: &str, body: &[u8]) -> Result<ServerJsonRpcMessage, String> {
        let text = content::excerpt(body);
        if !content::is_json(kind) {
            return Err(format!("answered with {kind:?}, expected application/json or text/event-stream: {text}"));
        }
        let value =
            Value::from_json(body).map_err(|e| format!("answered with a body that is no JSON ({e}): {text}"))?;
        if value.get("id") != Some(id) {
            let found = value.get("id").map_or("none".to_owned(), Value::to_json);
            return Err(format!("answered with a response to id {found}, expected id {id}: {text}", id = id.to_json()));
        }
        let message = value.to().map_err(|e| format!("answered with no JSON-RPC message ({e}): {text}"))?;
        self.witness.response(&value);
        Ok(message)
    }

    /// An error status, whose body may hold the protocol's own error.
    async fn bad_status(
        &self,
        asked: &Asked,
        status: u16,
        mut response: Response,
    ) -> Result<StreamableHttpPostResponse, Trouble> {
        let wait = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
        let wait = wait.and_then(|v| retry_after(v, self.client.clock().now()));
        let body = self.body(asked, &mut response).await.unwrap_or_default();
        if let (Some(id), Ok(value)) = (&asked.id, Value::from_json(&body)) {
            let ours = value.get("error").is_some() && value.get("id") == Some(id);
            if let Some(message) = ours.then(|| value.to().ok()).flatten() {
                return Ok(StreamableHttpPostResponse::Json(message, None));
            }
        }
        let problem = self.problem(&format!("answered {status}: {}", content::excerpt(&body)), status);
        // A session that is gone has not taken the request.
        if status == 404 && asked.class != Class::Safe {
            return Err(Trouble::Failed { problem, not_before: wait });
        }
        Err(of_status(status, asked.class, problem, wait))
    }

    async fn body(&self, asked: &Asked, response: &mut Response) -> Result<Bytes, Trouble> {
        let most = self.client.config().answer_bytes_max;
        let too_large = || {
            let problem = self.problem(&format!("answered with more than {most} bytes, expected at most that"), 502);
            match asked.class {
                Class::AtMostOnce => Trouble::Unknown(problem),
                Class::Safe | Class::Idempotent => Trouble::Refused(problem),
            }
        };
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > most => return Err(too_large()),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body.freeze()),
                Err(e) => return Err(self.lost(asked, e)),
            }
        }
    }

    /// The events of a stream. Says so to the witness if it ends before the response to `id` and cannot be taken up again.
    fn events(&self, response: Response, id: Option<Value>, class: Class) -> EventStream {
        let state = Reading {
            door: self.clone(),
            response,
            events: Events::default(),
            ready: Vec::new(),
            seen: 0,
            resumable: false,
            asked: Asked { id, class },
        };
        unfold(Some(state), |state| async move {
            let mut state = state?;
            match state.next().await {
                Ok(Some(event)) => Some((Ok(event), Some(state))),
                Ok(None) => None,
                Err(what) => Some((Err(SseError::Body(what.into())), None)),
            }
        })
        .boxed()
    }
}

/// A stream that is being read.
struct Reading {
    door: Door,
    response: Response,
    events: Events,
    /// Events that are there, the next one last.
    ready: Vec<Sse>,
    seen: usize,
    resumable: bool,
    /// Its id is taken away when the response has come.
    asked: Asked,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Sse>, String> {
        loop {
            if let Some(event) = self.ready.pop() {
                self.note(&event);
                return Ok(Some(event));
            }
            let most = self.door.client.config().answer_bytes_max;
            let what = match self.response.chunk().await {
                Ok(Some(chunk)) => {
                    self.seen += chunk.len();
                    if self.seen > most {
                        let what = format!("answered with a stream of more than {most} bytes, expected at most that");
                        self.give_up(&what);
                        return Err(what);
                    }
                    let events = self.events.push(&chunk).into_iter().rev();
                    self.ready =
                        events.map(|e| Sse { event: e.event, data: e.data, id: e.id, retry: e.retry }).collect();
                    continue;
                }
                Ok(None) => None,
                Err(e) => Some(innermost(&e.without_url())),
            };
            if self.asked.id.is_some() && !self.resumable {
                let why = what.as_deref().unwrap_or("the stream ended");
                self.give_up(&format!("was answered with a stream that broke off before the response: {why}"));
            }
            return what.map_or(Ok(None), Err);
        }
    }

    fn give_up(&self, what: &str) {
        self.door.witness.trouble(self.door.unusable(&self.asked, what));
    }

    fn note(&mut self, event: &Sse) {
        self.resumable |= event.id.as_ref().is_some_and(|id| !id.is_empty());
        let Some(data) = event.data.as_deref().filter(|d| !d.is_empty()) else { return };
        let Ok(value) = Value::from_json(data.as_bytes()) else {
            return self.give_up(&format!(
                "was answered with an event that is no JSON: {}",
                content::excerpt(data.as_bytes())
            ));
        };
        if value.get("method").is_some() {
            return;
        }
        if value.get("id") == self.asked.id.as_ref() {
            self.asked.id = None;
            *self.door.awaited.lock() = None;
            self.door.witness.response(&value);
        } else if self.asked.id.is_some() {
            let found = value.get("id").map_or("none".to_owned(), Value::to_json);
            self.give_up(&format!("was answered with a response to id {found}, which nobody asked for"));
        }
    }
}

impl StreamableHttpClient for Door {
    type Error = Closed;

    async fn post_message(
        &self,
        _: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let body = serde_json::to_vec(&message)?;
        let asked = self.asked(&Value::from_json(&body)?);
        if asked.id.is_some() {
            self.awaited.lock().clone_from(&asked.id);
        }
        self.post(&asked, body, session, custom).await.map_err(|trouble| {
            let text = trouble.problem().to_string();
            // What is only told and not asked may get lost.
            if asked.id.is_some() {
                self.witness.trouble(trouble);
            }
            Failure::Client(Closed(text))
        })
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        session: Arc<str>,
        _: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failure> {
        let closed = |what: String| Failure::Client(Closed(what));
        let library = self.client.library(&self.url).await.map_err(|p| closed(p.to_string()))?;
        let mut sending = library.delete(self.url.clone()).headers((*self.headers).clone()).timeout(FAREWELL);
        for (name, value) in custom {
            sending = sending.header(name, value);
        }
        sending.header(SESSION, &*session).send().await.map_err(|e| closed(innermost(&e.without_url())))?;
        Ok(())
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        _: Option<String>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Result<EventStream, Failure> {
        let Some(last) = last else { return Err(Failure::ServerDoesNotSupportSse) };
        let give_up = |what: String| {
            let what = format!("was answered with a stream that broke off and cannot be taken up again: {what}");
            let trouble = Trouble::uncertain(self.class, self.problem(&what, 502));
            let text = trouble.problem().to_string();
            self.witness.trouble(trouble);
            Failure::Client(Closed(text))
        };
        let library = self.client.library(&self.url).await.map_err(|p| give_up(p.to_string()))?;
        let limit = Duration::from_millis(self.client.config().timeout_ms);
        let mut sending = library
            .get(self.url.clone())
            .headers((*self.headers).clone())
            .header(ACCEPT, "text/event-stream")
            .header(LAST_EVENT, last)
            .timeout(limit);
        for (name, value) in custom {
            sending = sending.header(name, value);
        }
        if let Some(session) = session {
            sending = sending.header(SESSION, &*session);
        }
        let response = sending.send().await.map_err(|e| give_up(innermost(&e.without_url())))?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !response.status().is_success() || !is_event_stream(kind) {
            return Err(give_up(format!("answered {} with {kind:?}", response.status().as_u16())));
        }
        let awaited = self.awaited.lock().clone();
        Ok(self.events(response, awaited, self.class))
    }
}
