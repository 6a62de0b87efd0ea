//! A gRPC service of the tests' own on loopback, over HTTP/2 alone: no code of the connector and no library for gRPC or protobuf
//! writes its answers, which may be as bad as a test wants. It keeps what it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The proto file of the service, with a method of each kind and class.
pub const PETS: &str = r#"
    syntax = "proto3";
    package pets.v1;
    message Pet { string name = 1; int64 legs = 2; bytes photo = 3; }
    service Store {
      rpc Add(Pet) returns (Pet);
      rpc Get(Pet) returns (Pet) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Put(Pet) returns (Pet) { option idempotency_level = IDEMPOTENT; }
      rpc List(Pet) returns (stream Pet) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Walk(Pet) returns (stream Pet);
      rpc Herd(stream Pet) returns (Pet);
      rpc Swap(stream Pet) returns (stream Pet);
    }
"#;

/// One call, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: HeaderMap,
    /// The messages, out of their frames.
    pub messages: Vec<Vec<u8>>,
}

impl Asked {
    pub fn method(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or("")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// What to do about it.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answer with these messages, and OK.
    Messages(Vec<Vec<u8>>),
    /// Answer with these messages, and then this status and text.
    Status(Vec<Vec<u8>>, u16, &'static str),
    /// The status alone, in the only headers that there are, and with what else stands there.
    Only(u16, &'static str, Vec<(&'static str, &'static str)>),
    /// An answer of HTTP's: status, content type, body.
    Http(u16, &'static str, &'static str),
    /// These bytes as they are, and OK.
    Raw(Vec<u8>),
    /// A good message and no status.
    NoStatus,
    /// A message that says that it has 40 MB, and then all of them.
    Huge,
    /// Good small messages for as long as anybody takes them.
    Endless,
    /// Keep the stream open and say nothing.
    Never,
    /// End the stream with this reason.
    Reset(Reason),
    /// Close the connection.
    Drop,
}

/// A pet in the wire format of protobuf.
pub fn pet(name: &str, legs: u8) -> Vec<u8> {
    let mut bytes = vec![0x0a, u8::try_from(name.len()).expect("a short name")];
    bytes.extend_from_slice(name.as_bytes());
    if legs > 0 {
        bytes.extend_from_slice(&[0x10, legs]);
    }
    bytes
}

/// A message in its frame.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).expect("a small message").to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// How the service hears that nobody waits for an answer any more.
type GivenUp = Result<Reason, String>;
type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

struct Shared {
    asked: Mutex<Vec<Asked>>,
    silent: AtomicBool,
    answer: Box<Answer>,
    given_up: mpsc::UnboundedSender<GivenUp>,
}

/// The service; it ends when it is dropped.
pub struct Service {
    pub port: u16,
    shared: Arc<Shared>,
    given_up: tokio::sync::Mutex<mpsc::UnboundedReceiver<GivenUp>>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(None, answer).await
    }

    pub async fn start_tls(config: ServerConfig, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), answer).await
    }

    async fn listen(tls: Option<TlsAcceptor>, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (tell, given_up) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            silent: AtomicBool::new(false),
            answer: Box::new(answer),
            given_up: tell,
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (serving.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, shared, given_up: tokio::sync::Mutex::new(given_up), task }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().clone()
    }

    /// How many calls with that key have come.
    pub fn effects_of(&self, key: &str) -> usize {
        self.asked().iter().filter(|asked| asked.header("idempotency-key") == Some(key)).count()
    }

    pub fn silencer(&self) -> impl Fn(bool) + Send + Sync + Clone + 'static {
        let shared = self.shared.clone();
        move |on| shared.silent.store(on, Ordering::SeqCst)
    }

    /// Why a call that was never answered was given up.
    pub async fn given_up(&self) -> Option<GivenUp> {
        let hearing = async { self.given_up.lock().await.recv().await };
        tokio::time::timeout(Duration::from_secs(10), hearing).await.expect("the service hears of it")
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, shared: &Arc<Shared>) {
    let Ok(mut connection) = server::handshake(io).await else { return };
    let mut streams = JoinSet::new();
    // Nothing but the end of the task closes the socket, so a stream that wants that says so.
    let (close, mut closing) = mpsc::channel::<()>(1);
    loop {
        let next = tokio::select! {
            next = connection.accept() => next,
            _ = closing.recv() => return,
        };
        let Some(Ok((request, respond))) = next else {
            // What the streams have heard last, they still tell.
            while streams.join_next().await.is_some() {}
            return;
        };
        let (shared, close) = (shared.clone(), close.clone());
        streams.spawn(async move {
            if answered(request, respond, &shared).await.is_none() {
                let _ = close.send(()).await;
            }
        });
    }
}

/// Answers one call; `None` if the connection is to be closed.
async fn answered(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, shared: &Shared) -> Option<()> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    let asked = Asked { path: head.uri.path().to_owned(), headers: head.headers, messages: unframed(&bytes) };
    let reply = if shared.silent.load(Ordering::SeqCst) { Reply::Never } else { (shared.answer)(&asked) };
    shared.asked.lock().push(asked);
    match reply {
        Reply::Messages(messages) => whole(&mut respond, &messages, Some((0, ""))),
        Reply::Status(messages, status, text) => whole(&mut respond, &messages, Some((status, text))),
        Reply::NoStatus => whole(&mut respond, &[pet("rex", 4)], None),
        Reply::Only(status, text, more) => {
            let mut headers = trailers(status, text);
            headers.insert("content-type", "application/grpc".parse().unwrap());
            for (name, value) in more {
                headers.insert(name, value.parse().unwrap());
            }
            let mut head = Response::new(());
            *head.headers_mut() = headers;
            let _ = respond.send_response(head, true);
        }
        Reply::Http(status, kind, body) => {
            let head = Response::builder().status(status).header("content-type", kind).body(()).unwrap();
            if let Ok(mut stream) = respond.send_response(head, false) {
                let _ = stream.send_data(Bytes::from_static(body.as_bytes()), true);
            }
        }
        Reply::Raw(bytes) => {
            if let Ok(mut stream) = respond.send_response(good(), false) {
                let _ = stream.send_data(bytes.into(), false);
                let _ = stream.send_trailers(trailers(0, ""));
            }
        }
        Reply::Huge => {
            let mut head = vec![0];
            head.extend_from_slice(&40_000_000_u32.to_be_bytes());
            pour(&mut respond, head, vec![b'x'; 16 * 1024]).await;
        }
        Reply::Endless => pour(&mut respond, Vec::new(), framed(&pet("rex", 4)).repeat(500)).await,
        Reply::Never => {
            let reason = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            let _ = shared.given_up.send(reason.map_err(|e| e.to_string()));
        }
        Reply::Reset(reason) => respond.send_reset(reason),
        Reply::Drop => return None,
    }
    Some(())
}

/// Sends the piece again and again, as fast as the other side takes it and until it does no more.
async fn pour(respond: &mut SendResponse<Bytes>, head: Vec<u8>, piece: Vec<u8>) {
    let Ok(mut stream) = respond.send_response(good(), false) else { return };
    let _ = stream.send_data(head.into(), false);
    let piece = Bytes::from(piece);
    loop {
        stream.reserve_capacity(piece.len());
        while stream.capacity() < piece.len() {
            match std::future::poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
        if stream.send_data(piece.clone(), false).is_err() {
            return;
        }
    }
}

fn good() -> Response<()> {
    Response::builder().header("content-type", "application/grpc+proto").body(()).unwrap()
}

fn trailers(status: u16, text: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.to_string().parse().unwrap());
    if !text.is_empty() {
        trailers.insert("grpc-message", text.parse().unwrap());
    }
    trailers
}

fn whole(respond: &mut SendResponse<Bytes>, messages: &[Vec<u8>], status: Option<(u16, &str)>) {
    let Ok(mut stream) = respond.send_response(good(), false) else { return };
    for message in messages {
        // In two pieces, neither of which is a frame.
        let bytes = Bytes::from(framed(message));
        let _ = stream.send_data(bytes.slice(..3), false);
        let _ = stream.send_data(bytes.slice(3..), false);
    }
    match status {
        Some((status, text)) => drop(stream.send_trailers(trailers(status, text))),
        None => drop(stream.send_data(Bytes::new(), true)),
    }
}

/// Messages out of their frames.
fn unframed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        assert_eq!(head[0], 0, "nothing is compressed");
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        messages.push(rest[..length].to_vec());
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "frames are whole");
    messages
}
