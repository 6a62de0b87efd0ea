//! The engine's HTTP interface over its unix socket: the few calls that running a container takes.
//!
//! One connection a call; nothing is retried. An answer is read up to [`ANSWER_MAX`]. What matters for the outcome is whether the
//! engine may have got the request: [`Trouble`] says so. The version in the paths is the one that the engine itself names in its
//! answer to `/_ping`; the members that are used here are older than any engine in use.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cpd_connector_api::{Problem, Standard, Value};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

/// Answers are small, but for the progress of a pull.
const ANSWER_MAX: usize = 16 << 20;

/// A call of the engine that did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It never got the request.
    Unsent(String),
    /// It got it, or may have, and did not answer as the interface says.
    Broken(String),
    /// It answered with this status and these words.
    Answered(u16, String),
}

impl Trouble {
    /// As a problem of what was being done.
    pub(super) fn problem(&self, doing: &str) -> Problem {
        let communication = |what: &str| Problem::standard(Standard::Communication, format!("{doing}: {what}"));
        match self {
            Trouble::Unsent(what) | Trouble::Broken(what) => communication(what),
            Trouble::Answered(status, said) => {
                communication(&format!("the container engine answered {status}: {said}")).with_status(*status)
            }
        }
    }
}

/// What a socket answered.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Result<Value, Trouble> {
        Value::from_json(&self.body)
            .map_err(|e| Trouble::Broken(format!("the container engine's answer is no JSON: {e}")))
    }

    /// The words of a bad answer.
    fn said(&self) -> String {
        let message = self.json().ok().and_then(|v| v.get("message").and_then(Value::as_str).map(str::to_owned));
        let text = message.unwrap_or_else(|| String::from_utf8_lossy(&self.body).trim().to_owned());
        text.chars().take(500).collect()
    }

    fn expect(self, good: &[u16]) -> Result<Self, Trouble> {
        let status = self.status.as_u16();
        if good.contains(&status) { Ok(self) } else { Err(Trouble::Answered(status, self.said())) }
    }
}

/// A connection and the task that drives it, which ends with it.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: AbortOnDropHandle<()>,
}

/// A container's input and output, and the task behind it.
pub(super) struct Attached {
    pub stream: TokioIo<Upgraded>,
    _driver: AbortOnDropHandle<()>,
}

/// An engine that answers.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    socket: PathBuf,
    version: String,
}

impl Engine {
    /// The first engine that answers on one of the sockets.
    ///
    /// # Errors
    /// A `configuration` problem that says where was looked, and what was found there.
    pub(super) async fn find(sockets: &[PathBuf]) -> Result<Self, Problem> {
        let mut looked = Vec::new();
        for socket in sockets {
            let mut engine = Self { socket: socket.clone(), version: String::new() };
            match engine.ping().await {
                Ok(version) => {
                    engine.version = version;
                    return Ok(engine);
                }
                Err(Trouble::Unsent(what) | Trouble::Broken(what)) => {
                    looked.push(format!("{}: {what}", socket.display()))
                }
                Err(Trouble::Answered(status, said)) => looked.push(format!("{}: {status} {said}", socket.display())),
            }
        }
        let detail = format!(
            "find Docker or Podman: looked at {}; `docker_socket` of [connectors.process] names another",
            looked.join(", ")
        );
        Err(Problem::standard(Standard::Configuration, detail))
    }

    async fn ping(&self) -> Result<String, Trouble> {
        let mut connection = connect(&self.socket).await?;
        let response = send(&mut connection, Method::GET, "/_ping", None, false).await?;
        let version = response.headers().get("api-version").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let answer = read(response).await?.expect(&[200])?;
        match version {
            Some(v) if !v.is_empty() && v.chars().all(|c| c.is_ascii_digit() || c == '.') => Ok(v),
            _ => Err(Trouble::Broken(format!(
                "its answer to /_ping, {:?}, names no Api-Version: this is no container engine",
                answer.said()
            ))),
        }
    }

    /// Whether the image is there.
    pub(super) async fn has_image(&self, image: &str) -> Result<bool, Trouble> {
        let answer = self.call(Method::GET, &format!("/images/{}/json", encoded(image)), None).await?;
        Ok(answer.expect(&[200, 404])?.status == StatusCode::OK)
    }

    /// Pulls an image that is named with its tag or digest.
    pub(super) async fn pull(&self, image: &str) -> Result<(), Trouble> {
        let path = format!("/images/create?fromImage={}", encoded(image));
        let answer = self.call(Method::POST, &path, None).await?.expect(&[200])?;
        // The status was sent before the work began: what went wrong stands in the last lines.
        let lines = answer.body.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
        for line in lines {
            let said = Value::from_json(line).map_err(|e| Trouble::Broken(format!("the progress of the pull: {e}")))?;
            if let Some(error) = said.get("error").and_then(Value::as_str) {
                return Err(Trouble::Answered(500, error.chars().take(500).collect()));
            }
        }
        Ok(())
    }

    /// Creates a container and returns its id.
    pub(super) async fn create(&self, name: &str, body: &Value) -> Result<String, Trouble> {
        let path = format!("/containers/create?name={}", encoded(name));
        let answer = self.call(Method::POST, &path, Some(body)).await?.expect(&[201])?.json()?;
        let id = answer.get("Id").and_then(Value::as_str).filter(|id| !id.is_empty() && id.len() < 200);
        let id = id.filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric()));
        id.map(str::to_owned)
            .ok_or_else(|| Trouble::Broken("the container engine created a container without an id".into()))
    }

    /// Takes the container's input and output over.
    pub(super) async fn attach(&self, id: &str, stdin: bool) -> Result<Attached, Trouble> {
        let path =
            format!("/v{}/containers/{id}/attach?stream=1&stdout=1&stderr=1&stdin={}", self.version, u8::from(stdin));
        let mut connection = connect(&self.socket).await?;
        let response = send(&mut connection, Method::POST, &path, None, true).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let answer = read(response).await?;
            return Err(Trouble::Answered(answer.status.as_u16(), answer.said()));
        }
        let upgraded = hyper::upgrade::on(response).await;
        let upgraded = upgraded.map_err(|e| Trouble::Broken(format!("attach to the container: {e}")))?;
        Ok(Attached { stream: TokioIo::new(upgraded), _driver: connection.driver })
    }

    /// Starts it; one that runs already is fine.
    pub(super) async fn start(&self, id: &str) -> Result<(), Trouble> {
        self.call(Method::POST, &format!("/containers/{id}/start"), None).await?.expect(&[204, 304]).map(drop)
    }

    /// Waits for its end and returns its code.
    pub(super) async fn wait(&self, id: &str) -> Result<i64, Trouble> {
        let answer = self.call(Method::POST, &format!("/containers/{id}/wait"), None).await?.expect(&[200])?.json()?;
        if let Some(error) = answer.get("Error").and_then(|e| e.get("Message")).and_then(Value::as_str) {
            return Err(Trouble::Broken(format!("the container engine cannot wait: {error}")));
        }
        let code = answer.get("StatusCode").and_then(Value::as_i64);
        code.ok_or_else(|| Trouble::Broken("the container engine told an end without a code".into()))
    }

    /// Whether it was ended because it used more memory than it may.
    pub(super) async fn ran_out_of_memory(&self, id: &str) -> Result<bool, Trouble> {
        let answer = self.call(Method::GET, &format!("/containers/{id}/json"), None).await?.expect(&[200])?.json()?;
        Ok(answer.get("State").and_then(|s| s.get("OOMKilled")).and_then(Value::as_bool).unwrap_or(false))
    }

    /// Ends it; one that has ended already, or is gone, is fine.
    pub(super) async fn kill(&self, id: &str) -> Result<(), Trouble> {
        self.call(Method::POST, &format!("/containers/{id}/kill"), None).await?.expect(&[204, 404, 409]).map(drop)
    }

    /// Removes it with its unnamed volumes, running or not; one that is gone is fine.
    pub(super) async fn remove(&self, id: &str) -> Result<(), Trouble> {
        let path = format!("/containers/{id}?force=1&v=1");
        self.call(Method::DELETE, &path, None).await?.expect(&[204, 404]).map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Trouble> {
        let mut connection = connect(&self.socket).await?;
        let path = format!("/v{}{path}", self.version);
        read(send(&mut connection, method, &path, body, false).await?).await
    }
}

async fn connect(socket: &Path) -> Result<Connection, Trouble> {
    let stream = UnixStream::connect(socket).await.map_err(|e| Trouble::Unsent(e.to_string()))?;
    let shake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shake.map_err(|e| Trouble::Unsent(e.to_string()))?;
    let driver = tokio::spawn(async move {
        // What breaks shows at the request.
        drop(connection.with_upgrades().await);
    });
    Ok(Connection { sender, driver: AbortOnDropHandle::new(driver) })
}

async fn send(
    connection: &mut Connection,
    method: Method,
    path: &str,
    body: Option<&Value>,
    upgrade: bool,
) -> Result<Response<Incoming>, Trouble> {
    let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    if upgrade {
        request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let bytes = body.map_or_else(Bytes::new, |b| Bytes::from(b.to_json()));
    let request = request.body(Full::new(bytes)).map_err(|e| Trouble::Unsent(e.to_string()))?;
    let response = connection.sender.send_request(request).await;
    response.map_err(|e| Trouble::Broken(format!("no answer from the container engine: {e}")))
}

async fn read(response: Response<Incoming>) -> Result<Answer, Trouble> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|e| Trouble::Broken(format!("the container engine's answer breaks off: {e}")))?;
    Ok(Answer { status, body: body.to_bytes() })
}

/// A text as it may stand in a path or a query.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().fold(String::new(), |mut out, b| {
        if plain(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}
