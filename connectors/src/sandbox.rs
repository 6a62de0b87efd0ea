//! A loopback server that answers as the outside world, for demonstrations and tests.
//!
//! [`serve`] binds `127.0.0.1` and answers as Atlas (`/api/2.0/mlflow/…`, `/training/jobs…`), as a language model
//! (`/v1/chat/completions`), and as a service that says what it was sent (`/sandbox/echo`). It is never mistaken for
//! the real thing: every answer carries `x-cpd-sandbox: 1`, ids begin with `sandbox-`, texts with `[sandbox]`.
//!
//! | control | what it does |
//! |---|---|
//! | `GET /sandbox/effects` | every effect in order, and counts by key and kind: was it done exactly once? |
//! | `GET`, `POST`, `DELETE /sandbox/faults` | lists, adds ([`Fault`]) and clears faults |
//! | `?fault=<kind>` on any request | one fault, for this request |
//!
//! A request is one step under one lock: work, record the effect, write the state file, answer. With a state file a
//! killed sandbox goes on where it was. Connections are tasks that [`Sandbox::shutdown`] ends and waits for.
//! Nothing here checks credentials, and nothing leaves the machine.

mod agent;
mod atlas;
mod body;
pub mod faults;
pub mod state;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cpd_connector_api::clock::{Clock, SystemClock};
use cpd_connector_api::{CancellationToken, Map, Value, json};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use body::Body;
use faults::{Fault, Faults, Kind};
use state::{Effect, State};

/// The most that a request may carry.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a [`Kind::Huge`] answer weighs.
const HUGE_BYTES: usize = 40 * 1024 * 1024;

/// The sandbox's set-up.
#[derive(Clone)]
pub struct Config {
    /// The port on `127.0.0.1`; 0 picks a free one.
    pub port: u16,
    /// Where the state is kept; in memory only if absent.
    pub state: Option<PathBuf>,
    /// How long a training job takes.
    pub training: Duration,
    /// The `Retry-After`, in seconds, of a job's status.
    pub retry_after_s: u64,
    /// Whether the training service registers the model version itself.
    pub registers: bool,
    /// Models that are there from the start, each with a version 1 that is `champion`.
    pub models: Vec<String>,
    /// The time by which jobs end.
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 0,
            state: None,
            training: Duration::from_secs(2),
            retry_after_s: 0,
            registers: false,
            models: vec!["card-fraud".into()],
            clock: Arc::new(SystemClock),
        }
    }
}

/// Why the sandbox did not come up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, say.
    #[error("listen on {addr} for the sandbox")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The state file is of no use.
    #[error("open the sandbox's state")]
    State(#[from] state::Error),
}

/// A running sandbox. Dropping it ends it; [`Sandbox::shutdown`] also waits.
pub struct Sandbox {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    config: Config,
    world: Mutex<World>,
}

struct World {
    state: State,
    faults: Faults,
}

/// A request, taken apart.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    key: String,
    body: Bytes,
    json: Value,
}

/// A reply to be.
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, body: Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Self { status, headers, body: body.to_json().into_bytes() }
    }

    fn text(status: u16, body: &str) -> Self {
        let headers = vec![("content-type".into(), "text/plain; charset=utf-8".into())];
        Self { status, headers, body: body.as_bytes().to_vec() }
    }

    fn html(status: u16) -> Self {
        let page = "<!doctype html><html><head><title>Sandbox</title></head><body><h1>A page where JSON was expected</h1></body></html>";
        Self { headers: vec![("content-type".into(), "text/html".into())], ..Self::text(status, page) }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Starts a sandbox.
///
/// # Errors
/// If the port is taken or the state file is of no use.
pub async fn serve(config: Config) -> Result<Sandbox, Error> {
    let mut state = config.state.as_deref().map(State::load).transpose()?.unwrap_or_default();
    seed(&mut state, &config);
    if let Some(path) = &config.state {
        state.save(path)?;
    }
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
    let fail = |source| Error::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(fail)?;
    let addr = listener.local_addr().map_err(fail)?;
    let shared = Arc::new(Shared { config, world: Mutex::new(World { state, faults: Faults::default() }) });
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(accept(listener, Arc::clone(&shared), stop.clone(), tasks.clone()));
    Ok(Sandbox { addr, shared, stop, tasks })
}

fn seed(state: &mut State, config: &Config) {
    let created_ms = config.clock.now().as_millis();
    for name in &config.models {
        if state.models.contains_key(name) {
            continue;
        }
        let run_id = format!("sandbox-run-{name}-1");
        let source = format!("runs:/{run_id}/model");
        let version = state::Version { created_ms, source, run_id: run_id.clone(), tags: BTreeMap::new() };
        let run = state::Run {
            started_ms: created_ms,
            metrics: BTreeMap::from([("auc".into(), 0.93), ("logLoss".into(), 0.24)]),
            ..state::Run::default()
        };
        let model = state::Model {
            created_ms,
            tags: BTreeMap::from([("sandbox".into(), "true".into())]),
            aliases: BTreeMap::from([("champion".into(), "1".into())]),
            versions: BTreeMap::from([(1, version)]),
            last: 1,
        };
        state.runs.insert(run_id, run);
        state.models.insert(name.clone(), model);
    }
}

impl Sandbox {
    /// `http://127.0.0.1:<port>`, to put paths behind.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.shared.world.lock().faults.add(fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.shared.world.lock().faults.clear();
    }

    /// How many effects requests with this key have had.
    pub fn effects_of(&self, key: &str) -> usize {
        self.shared.world.lock().state.effects_of(key)
    }

    /// Every effect, in order.
    pub fn effects(&self) -> Vec<Effect> {
        self.shared.world.lock().state.effects.clone()
    }

    /// A handle for closures that look in from the side.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Ends it: no more connections, open ones are closed.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}

/// Faults and effects of a running sandbox, to hand around.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.0.world.lock().faults.add(fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.0.world.lock().faults.clear();
    }

    /// How many effects requests with this key have had.
    pub fn effects_of(&self, key: &str) -> usize {
        self.0.world.lock().state.effects_of(key)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(connection(stream, Arc::clone(&shared), stop.clone()));
            }
            Err(e) => {
                // Out of descriptors, or a connection that was gone again: the next one may do.
                tracing::warn!(error = %e, "the sandbox could not accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(&shared, request).await }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // An error here is a client that went away, or a fault that closes the connection on purpose.
        _ = served => {}
    }
}

/// The connection is to be closed without a word.
#[derive(Debug, thiserror::Error)]
#[error("close the connection, as the fault says")]
struct Closed;

async fn answer(shared: &Shared, request: hyper::Request<Incoming>) -> Result<Response<Body>, Closed> {
    let Some(asked) = read(request).await else {
        return Ok(respond(Reply::json(400, json!({"error": "found a body that broke off or is too large"})), None));
    };
    let control = asked.path.starts_with("/sandbox/") && asked.path != "/sandbox/echo";
    let fault = if control { None } else { strike(shared, &asked) };
    match fault.as_ref().map(|f| f.fault) {
        Some(Kind::Drop) => return Err(Closed),
        Some(Kind::Never) => match std::future::pending::<Infallible>().await {},
        Some(Kind::Unauthorized) => {
            return Ok(respond(Reply::json(401, json!({"error": "the sandbox was told to refuse credentials"})), None));
        }
        Some(Kind::RedirectLoop) => {
            let own = format!("{}?fault=redirect-loop", asked.path);
            return Ok(respond(Reply::text(302, "").with("location", &own), None));
        }
        Some(Kind::Status) => {
            let fault = fault.unwrap_or_else(|| Fault::new(Kind::Status));
            let reply = Reply::json(fault.status, json!({"error": "the sandbox was told to fail"}));
            let reply = fault.retry_after.iter().fold(reply, |r, after| r.with("retry-after", after));
            return Ok(respond(reply, None));
        }
        _ => {}
    }
    let reply = work(shared, &asked);
    match fault.map(|f| f.fault) {
        Some(Kind::LoseReply) => Err(Closed),
        Some(Kind::NeverReply) => match std::future::pending::<Infallible>().await {},
        Some(Kind::Html) => Ok(respond(Reply::html(200), None)),
        Some(Kind::WrongJson) => Ok(respond(Reply::json(200, json!(["nothing", "of", "use"])), None)),
        Some(Kind::BadJson) => {
            let reply = Reply { body: b"{\"jobId\": \"sandb".to_vec(), ..Reply::json(200, Value::Null) };
            Ok(respond(reply, None))
        }
        Some(Kind::ResetMidBody) => {
            let body = Body::broken(&reply.body);
            Ok(respond(reply, Some(body)))
        }
        Some(Kind::Huge) => Ok(respond(Reply::json(200, Value::Null), Some(Body::huge(HUGE_BYTES, true)))),
        Some(Kind::HugeChunked) => Ok(respond(Reply::json(200, Value::Null), Some(Body::huge(HUGE_BYTES, false)))),
        Some(Kind::Drop | Kind::Never | Kind::Unauthorized | Kind::RedirectLoop | Kind::Status) | None => {
            Ok(respond(reply, None))
        }
    }
}

async fn read(request: hyper::Request<Incoming>) -> Option<Asked> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, REQUEST_BYTES_MAX).collect().await.ok()?.to_bytes();
    let text = |v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    let headers: BTreeMap<String, String> =
        head.headers.iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect();
    Some(Asked {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: query(head.uri.query().unwrap_or("")),
        key: headers.get("idempotency-key").cloned().unwrap_or_default(),
        headers,
        json: Value::from_json(&body).unwrap_or_default(),
        body,
    })
}

/// The members of a query string, decoded.
fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |part: &str| {
        let (mut out, bytes) = (Vec::new(), part.as_bytes());
        let mut i = 0;
        while i < bytes.len() {
            let hex = bytes.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
            match (bytes[i], hex) {
                (b'%', Some(byte)) => {
                    out.push(byte);
                    i += 2;
                }
                (b'+', _) => out.push(b' '),
                (byte, _) => out.push(byte),
            }
            i += 1;
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let members = text.split('&').filter(|p| !p.is_empty());
    members.map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

fn strike(shared: &Shared, asked: &Asked) -> Option<Fault> {
    let named =
        asked.query.get("fault").and_then(|name| serde_json::from_value(serde_json::Value::from(name.as_str())).ok());
    named.map(Fault::new).or_else(|| shared.world.lock().faults.strike(&asked.method, &asked.path))
}

fn work(shared: &Shared, asked: &Asked) -> Reply {
    let mut world = shared.world.lock();
    let now_ms = shared.config.clock.now().as_millis();
    let reply = control(&mut world, asked)
        .or_else(|| atlas::reply(&mut world.state, &shared.config, now_ms, asked))
        .or_else(|| agent::reply(&mut world.state, now_ms, asked))
        .unwrap_or_else(|| Reply::json(404, json!({"error": format!("the sandbox has nothing at {}", asked.path)})));
    if let Some(path) =
        shared.config.state.as_deref().filter(|_| asked.method != "GET" || asked.path.starts_with("/training"))
        && let Err(e) = world.state.save(path)
    {
        return Reply::json(500, json!({"error": e.to_string()}));
    }
    reply
}

/// The sandbox's own endpoints.
fn control(world: &mut World, asked: &Asked) -> Option<Reply> {
    Some(match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/sandbox/effects") => Reply::json(200, effects(&world.state)),
        ("GET", "/sandbox/faults") => match Value::from_serialize(&world.faults.list()) {
            Ok(list) => Reply::json(200, list),
            Err(e) => Reply::json(500, json!({"error": e.to_string()})),
        },
        ("POST", "/sandbox/faults") => match asked.json.to::<Fault>() {
            Ok(fault) => {
                world.faults.add(fault);
                Reply::json(201, json!({"sandbox": true}))
            }
            Err(e) => Reply::json(400, json!({"error": format!("this is no fault: {e}")})),
        },
        ("DELETE", "/sandbox/faults") => {
            world.faults.clear();
            Reply::json(200, json!({"sandbox": true}))
        }
        (method, "/sandbox/echo") => {
            if !matches!(method, "GET" | "HEAD" | "OPTIONS") && world.state.effects_of(&asked.key) == 0 {
                let effect =
                    Effect { kind: "echo".into(), key: asked.key.clone(), target: asked.path.clone(), at_ms: 0 };
                world.state.effects.push(effect);
            }
            let object = |m: &BTreeMap<String, String>| {
                Value::from(m.iter().map(|(k, v)| (k.as_str().into(), Value::from(v.as_str()))).collect::<Map>())
            };
            let body = Value::from([
                ("sandbox", Value::from(true)),
                ("method", Value::from(method)),
                ("query", object(&asked.query)),
                ("headers", object(&asked.headers)),
                ("body", Value::str(String::from_utf8_lossy(&asked.body))),
            ]);
            Reply::json(200, body)
        }
        _ => return None,
    })
}

fn effects(state: &State) -> Value {
    let mut counts: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for effect in &state.effects {
        *counts.entry(&effect.key).or_default().entry(&effect.kind).or_default() += 1;
    }
    let counts = Value::from_serialize(&counts).unwrap_or_default();
    let log = Value::from_serialize(&state.effects).unwrap_or_default();
    Value::from([("sandbox", Value::from(true)), ("counts", counts), ("log", log)])
}

fn respond(reply: Reply, body: Option<Body>) -> Response<Body> {
    let mut response = Response::new(body.unwrap_or_else(|| Body::whole(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-cpd-sandbox", HeaderValue::from_static("1"));
    response
}
