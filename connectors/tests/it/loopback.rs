//! A server of the tests' own on loopback, for answers that no well-behaved server gives.
//!
//! It reads one request per connection and answers what a function says: a whole answer, pieces of one, silence, or nothing at all. It keeps what
//! it was asked. It speaks just enough HTTP/1.1; what the protocols above say is the tests' business, after their specifications.

use std::sync::Arc;

use cpd_connector_api::{Value, json};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    head: String,
    pub body: Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).next()
    }

    /// The JSON-RPC method.
    pub fn rpc(&self) -> &str {
        self.body.get("method").and_then(Value::as_str).unwrap_or("")
    }

    pub fn id(&self) -> Value {
        self.body.get("id").cloned().unwrap_or_default()
    }

    pub fn params(&self) -> Value {
        self.body.get("params").cloned().unwrap_or_default()
    }
}

/// What to do about it.
pub enum Reply {
    /// Answer: status, further header lines, body.
    Whole(u16, String, Vec<u8>),
    /// Answer with these events, then end as told.
    Events(Vec<String>, End),
    /// 40 MB in pieces, of that content type.
    Huge(&'static str),
    /// Keep the connection open and say nothing.
    Never,
    /// Close it.
    Drop,
}

/// How a stream ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As HTTP wants.
    Properly,
    /// In the middle.
    Broken,
    /// Not at all.
    Open,
}

pub fn json_body(body: Value) -> Reply {
    Reply::Whole(200, "content-type: application/json\r\n".into(), body.to_json().into_bytes())
}

/// A JSON-RPC result for a request.
pub fn result(asked: &Asked, result: Value) -> Reply {
    json_body(json!({"jsonrpc": "2.0", "id": asked.id(), "result": result}))
}

pub fn error(asked: &Asked, code: i64, message: &str) -> Reply {
    json_body(json!({"jsonrpc": "2.0", "id": asked.id(), "error": {"code": code, "message": message}}))
}

pub fn html(status: u16) -> Reply {
    Reply::Whole(status, "content-type: text/html\r\n".into(), b"<!doctype html><p>Welcome</p>".to_vec())
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The server. Its connections end with it.
pub struct Loopback {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Loopback {
    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

pub async fn loopback(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Loopback {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (handler, seen): (Arc<Handler>, _) = (Arc::new(handler), asked.clone());
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, handler.clone(), seen.clone()));
        }
    });
    Loopback { url, asked, task }
}

async fn answer(mut stream: TcpStream, handler: Arc<Handler>, seen: Arc<Mutex<Vec<Asked>>>) {
    let Some(asked) = read(&mut stream).await else { return };
    seen.lock().push(asked.clone());
    // The other side may have gone; that is its affair.
    let _ = write(&mut stream, handler(&asked)).await;
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut words = head.split(' ');
            let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
            let mut asked = Asked { method, path, head, body: Value::Null };
            let length: usize = asked.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                asked.body = Value::from_json(&bytes[end + 4..]).unwrap_or_default();
                return Some(asked);
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

async fn write(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    let chunked = |kind: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
    match reply {
        Reply::Whole(status, headers, body) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.shutdown().await
        }
        Reply::Events(events, end) => {
            stream.write_all(chunked("text/event-stream").as_bytes()).await?;
            for event in events {
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
            }
            match end {
                End::Properly => stream.write_all(b"0\r\n\r\n").await?,
                End::Broken => {}
                End::Open => std::future::pending().await,
            }
            stream.shutdown().await
        }
        Reply::Huge(kind) => {
            stream.write_all(chunked(kind).as_bytes()).await?;
            let piece = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
            for _ in 0..40 {
                stream.write_all(piece.as_bytes()).await?;
            }
            stream.write_all(b"0\r\n\r\n").await
        }
        Reply::Never => std::future::pending().await,
        Reply::Drop => Ok(()),
    }
}
