//! A small real HTTP server on loopback, which answers as a test says and remembers what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cpd_connector_api::Value;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// As it came, still encoded.
    pub query: String,
    /// By name in lower case; several of one name joined.
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Path and query, as a client names its target.
    pub fn target(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    WithLength,
    /// The body so many times, in chunks.
    Chunked(usize),
    Never,
}

impl Reply {
    pub fn new(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        let headers = if kind.is_empty() { vec![] } else { vec![("content-type", kind.to_owned())] };
        Self { status, headers, body: body.into(), how: How::WithLength }
    }

    pub fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", value.to_json())
    }

    pub fn redirect(status: u16, to: impl Into<String>) -> Self {
        Self::new(status, "", "").with("location", to)
    }

    /// No answer, ever.
    pub fn never() -> Self {
        Self { how: How::Never, ..Self::new(200, "", "") }
    }

    /// The body `times` over, without saying how much is coming.
    pub fn chunked(mut self, times: usize) -> Self {
        self.how = How::Chunked(times);
        self
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The server. Stops when it is dropped.
pub struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _connections: JoinSet<()>,
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

impl Server {
    /// Listens on a free port.
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, Arc::new(answer), Arc::clone(&asked)));
        Self { url, asked, _connections: connections }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// How often something was asked at a path.
    pub fn count(&self, path: &str) -> usize {
        self.asked.lock().iter().filter(|a| a.path == path).count()
    }
}

async fn accept(listener: TcpListener, answer: Arc<Answer>, log: Arc<Mutex<Vec<Asked>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
        connections.spawn(async move {
            let service = service_fn(move |request| respond(request, Arc::clone(&answer), Arc::clone(&log)));
            // An error is a client that went away: what it wanted is in the log.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(
    request: hyper::Request<Incoming>,
    answer: Arc<Answer>,
    log: Arc<Mutex<Vec<Asked>>>,
) -> Result<hyper::Response<Content>, Infallible> {
    let (head, body) = request.into_parts();
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.to_string())
            .and_modify(|all| *all = format!("{all}, {value}"))
            .or_insert(value.into_owned());
    }
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or("").to_owned(),
        headers,
        body: body.collect().await.map(|b| b.to_bytes()).unwrap_or_default(),
    };
    log.lock().push(asked.clone());
    let reply = answer(&asked);
    let mut response = hyper::Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let body = match reply.how {
        How::WithLength => Content { length: Some(reply.body.len()), chunk: reply.body, left: 1 },
        How::Chunked(times) => Content { length: None, chunk: reply.body, left: times },
        How::Never => match std::future::pending::<Infallible>().await {},
    };
    Ok(response.body(body).expect("a reply of the test is well-formed"))
}

/// One chunk over and over.
struct Content {
    chunk: Bytes,
    left: usize,
    /// Said in advance, if there is one.
    length: Option<usize>,
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let more = self.left > 0 && !self.chunk.is_empty();
        self.left = self.left.saturating_sub(1);
        Poll::Ready(more.then(|| Ok(Frame::data(self.chunk.clone()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length as u64))
    }
}
