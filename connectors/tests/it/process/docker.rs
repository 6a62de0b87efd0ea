//! A container engine of the tests' own, on a unix socket: it follows the documents of the Docker Engine API for the calls that
//! the connector makes, runs nothing, and misbehaves as it is told.
//!
//! A container's life is that of the documents: created, attached to (101, then frames both ways), started, waited for, removed. What
//! it writes and how it ends says [`Script`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cpd_connector_api::{CancellationToken, Value, json};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// What a container does once it is started.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its frames, as they are sent.
    pub output: Vec<u8>,
    /// Whether it writes its output again and again.
    pub endless: bool,
    /// Whether it runs until it is killed.
    pub hangs: bool,
    pub code: i64,
    pub out_of_memory: bool,
}

impl Script {
    pub fn says(text: &str) -> Self {
        Self { output: frame(1, text), endless: false, hangs: false, code: 0, out_of_memory: false }
    }
}

/// What the engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// `/_ping` is answered by something else.
    NotDocker,
    /// The progress of a pull ends with an error.
    PullFails,
    /// Closes the connection instead of an answer to a call whose path ends so.
    HangsUpAt(&'static str),
    /// Answers such a call with this status.
    Answers(&'static str, u16),
    /// Answers such a call with 200 and no JSON.
    Garbage(&'static str),
}

pub fn frame(stream: u8, text: &str) -> Vec<u8> {
    [&[stream, 0, 0, 0][..], &u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

struct Container {
    name: String,
    body: Value,
    started: CancellationToken,
    /// By itself or by a kill.
    ended: CancellationToken,
    code: i64,
}

struct Shared {
    script: Script,
    wrong: Option<Wrong>,
    images: BTreeSet<String>,
    containers: BTreeMap<String, Container>,
    made: Vec<Value>,
    asked: Vec<String>,
    stdin: Vec<String>,
    effects: BTreeMap<String, usize>,
}

/// The engine. Stops when it is dropped.
pub struct Docker {
    socket: PathBuf,
    shared: Arc<Mutex<Shared>>,
    _connections: JoinSet<()>,
}

impl Docker {
    /// One with the image `alpine:latest`, at `engine.sock` in the directory.
    pub fn start(directory: &Path, script: Script) -> Self {
        let socket = directory.join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("the socket is free");
        let shared = Arc::new(Mutex::new(Shared {
            script,
            wrong: None,
            images: BTreeSet::from(["alpine:latest".to_owned()]),
            containers: BTreeMap::new(),
            made: Vec::new(),
            asked: Vec::new(),
            stdin: Vec::new(),
            effects: BTreeMap::new(),
        }));
        let mut connections = JoinSet::new();
        connections.spawn(serve(listener, shared.clone()));
        Self { socket, shared, _connections: connections }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn misbehave(&self, wrong: impl Into<Option<Wrong>>) {
        self.shared.lock().wrong = wrong.into();
    }

    pub fn play(&self, script: Script) {
        self.shared.lock().script = script;
    }

    /// Falls silent: containers run for ever.
    pub fn hang(shared: &Handle, on: bool) {
        shared.0.lock().script.hangs = on;
    }

    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// The calls so far, without the version in their paths.
    pub fn asked(&self) -> Vec<String> {
        self.shared.lock().asked.clone()
    }

    /// Whether a call that ends so was made.
    pub fn was_asked(&self, end: &str) -> bool {
        self.shared.lock().asked.iter().any(|call| call.contains(end))
    }

    /// The last container's description as it was asked for.
    pub fn made(&self) -> Value {
        self.shared.lock().made.last().cloned().expect("a container was created")
    }

    /// What the last container read.
    pub fn stdin(&self) -> String {
        self.shared.lock().stdin.last().cloned().unwrap_or_default()
    }

    /// The names of the containers that are there.
    pub fn containers(&self) -> Vec<String> {
        self.shared.lock().containers.values().map(|c| c.name.clone()).collect()
    }

    /// How many of them run.
    pub fn running(&self) -> usize {
        let shared = self.shared.lock();
        shared.containers.values().filter(|c| c.started.is_cancelled() && !c.ended.is_cancelled()).count()
    }
}

/// The engine for closures that outlive a borrow.
#[derive(Clone)]
pub struct Handle(Arc<Mutex<Shared>>);

impl Handle {
    /// How many containers were started with this key.
    pub fn effects_of(&self, key: &str) -> usize {
        self.0.lock().effects.get(key).copied().unwrap_or(0)
    }
}

async fn serve(listener: UnixListener, shared: Arc<Mutex<Shared>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, shared.clone()));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away, and an answer that is never given, end it.
            drop(connection.with_upgrades().await);
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn reply(status: u16, body: &Value) -> Answer {
    let body = if status == 204 { Bytes::new() } else { Bytes::from(body.to_json()) };
    Response::builder()
        .status(status)
        .header("api-version", "1.50")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap()
}

/// The documents' form of an error.
fn error(status: u16, message: &str) -> Answer {
    reply(status, &json!({"message": message}))
}

#[derive(Debug, thiserror::Error)]
#[error("hung up")]
struct HungUp;

async fn answer(mut request: Request<Incoming>, shared: Arc<Mutex<Shared>>) -> Result<Answer, HungUp> {
    let path = request.uri().path().strip_prefix("/v1.50").unwrap_or(request.uri().path()).to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    let wrong = {
        let mut shared = shared.lock();
        shared.asked.push(format!("{} {path}?{query}", request.method()));
        shared.wrong
    };
    match wrong {
        Some(Wrong::HangsUpAt(end)) if path.ends_with(end) => return Err(HungUp),
        Some(Wrong::Answers(end, status)) if path.ends_with(end) => return Ok(error(status, "no such luck")),
        Some(Wrong::Garbage(end)) if path.ends_with(end) => {
            return Ok(Response::new(Full::new("<html>hello</html>".into())));
        }
        Some(Wrong::NotDocker) if path == "/_ping" => return Ok(Response::new(Full::new("welcome to nginx".into()))),
        Some(_) | None => {}
    }
    let parts: Vec<_> = path.split('/').skip(1).collect();
    let method = request.method().as_str().to_owned();
    Ok(match (method.as_str(), parts.as_slice()) {
        ("GET", ["_ping"]) => reply(200, &json!("OK")),
        ("GET", ["images", image, "json"]) => {
            let there = shared.lock().images.contains(&decoded(image));
            if there { reply(200, &json!({})) } else { error(404, "No such image") }
        }
        ("POST", ["images", "create"]) => {
            let image = decoded(query.strip_prefix("fromImage=").expect("the image is named"));
            let last = if wrong == Some(Wrong::PullFails) {
                json!({"errorDetail": {"message": "manifest unknown"}, "error": "manifest unknown"})
            } else {
                shared.lock().images.insert(image);
                json!({"status": "Status: Downloaded newer image"})
            };
            let lines = format!("{}\r\n{}\r\n", json!({"status": "Pulling"}).to_json(), last.to_json());
            Response::new(Full::new(lines.into()))
        }
        ("POST", ["containers", "create"]) => {
            let body = request.body_mut().collect().await.map_err(|_| HungUp)?.to_bytes();
            create(&shared, &decoded(query.strip_prefix("name=").expect("it is named")), &body)
        }
        ("POST", ["containers", id, "attach"]) => attach(&shared, id, &query, request),
        (_, ["containers", id, rest @ ..]) => of_container(&shared, &method, id, rest).await,
        _ => error(404, "page not found"),
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex: Vec<u8> = rest.by_ref().take(2).collect();
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn create(shared: &Mutex<Shared>, name: &str, body: &[u8]) -> Answer {
    let mut shared = shared.lock();
    let body = Value::from_json(body).expect("the description is JSON");
    if !shared.images.contains(body.get("Image").and_then(Value::as_str).unwrap_or("")) {
        return error(404, "No such image");
    }
    if shared.containers.values().any(|c| c.name == name) {
        return error(409, &format!("Conflict. The container name \"/{name}\" is already in use"));
    }
    let id = format!("{:064x}", shared.made.len() + 1);
    shared.made.push(body.clone());
    let (started, ended) = (CancellationToken::new(), CancellationToken::new());
    let container = Container { name: name.to_owned(), body, started, ended, code: 0 };
    shared.containers.insert(id.clone(), container);
    reply(201, &json!({"Id": id, "Warnings": []}))
}

/// A container by its id or name.
fn find<'a>(shared: &'a mut Shared, id: &str) -> Option<&'a mut Container> {
    shared.containers.iter_mut().find(|(known, c)| *known == id || c.name == id).map(|(_, c)| c)
}

async fn of_container(shared: &Mutex<Shared>, method: &str, id: &str, rest: &[&str]) -> Answer {
    let (started, ended) = match find(&mut shared.lock(), id) {
        Some(container) => (container.started.clone(), container.ended.clone()),
        None => return error(404, &format!("No such container: {id}")),
    };
    match (method, rest) {
        ("POST", ["start"]) if started.is_cancelled() => reply(304, &json!(null)),
        ("POST", ["start"]) => {
            {
                let mut shared = shared.lock();
                let key = find(&mut shared, id)
                    .and_then(|c| c.body.get("Labels")?.get("io.cpd.key")?.as_str().map(str::to_owned));
                *shared.effects.entry(key.expect("it is labelled")).or_default() += 1;
            }
            started.cancel();
            reply(204, &json!(null))
        }
        ("POST", ["wait"]) => {
            ended.cancelled().await;
            reply(200, &json!({"StatusCode": find(&mut shared.lock(), id).map_or(0, |c| c.code)}))
        }
        ("POST", ["kill"]) if !started.is_cancelled() || ended.is_cancelled() => error(409, "is not running"),
        ("POST", ["kill"]) => {
            if let Some(container) = find(&mut shared.lock(), id) {
                container.code = 137;
            }
            ended.cancel();
            reply(204, &json!(null))
        }
        ("GET", ["json"]) => reply(200, &json!({"State": {"OOMKilled": shared.lock().script.out_of_memory}})),
        ("DELETE", []) => {
            ended.cancel();
            shared.lock().containers.retain(|known, c| known != id && c.name != id);
            reply(204, &json!(null))
        }
        _ => error(404, "page not found"),
    }
}

fn attach(shared: &Arc<Mutex<Shared>>, id: &str, query: &str, request: Request<Incoming>) -> Answer {
    let (started, ended, script) = {
        let mut shared = shared.lock();
        let script = shared.script.clone();
        let Some(container) = find(&mut shared, id) else { return error(404, "No such container") };
        (container.started.clone(), container.ended.clone(), script)
    };
    let (shared, id, reads) = (shared.clone(), id.to_owned(), query.contains("stdin=1"));
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
        started.cancelled().await;
        let run = async {
            if reads {
                let mut stdin = Vec::new();
                drop(from.read_to_end(&mut stdin).await);
                shared.lock().stdin.push(String::from_utf8_lossy(&stdin).into_owned());
            }
            while to.write_all(&script.output).await.is_ok() && script.endless {}
            if script.hangs {
                std::future::pending::<()>().await;
            }
            if let Some(container) = find(&mut shared.lock(), &id) {
                container.code = script.code;
            }
        };
        tokio::select! {
            () = run => {}
            () = ended.cancelled() => {}
        }
        drop(to.shutdown().await);
        ended.cancel();
    });
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, "Upgrade".parse().unwrap());
    answer.headers_mut().insert(UPGRADE, "tcp".parse().unwrap());
    answer
}
