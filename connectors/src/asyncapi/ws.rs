//! WebSocket (RFC 6455), as a client of one call.
//!
//! The handshake is a request of the HTTP client that all connectors share, so egress rules, proxies and authorities are the same;
//! what follows are frames. A message is one text frame, or a binary one if it is no UTF-8. The protocol confirms nothing; after
//! the message we say goodbye, and the server's own goodbye, with a good code, means that it has read what came before.
//! For a subscription that goodbye is the end of the messages.
//!
//! Messages have no headers, so the request's key does not travel. Not here: extensions, sub-protocols.

mod frame;

use std::error::Error as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cpd_connector_api::{BoxFuture, Class, Problem, Standard, Value, json};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom, SystemRandom};

use self::frame::{Frame, Kind, Message};
use super::credentials::Credentials;
use super::message::Inbound;
use super::net::{Lost, Sent, Wire};
use super::server::Target;
use super::session::{IDLE, Publication, Session, Subscription, quoted};
use crate::http::client::{refusal, sensitive};
use crate::http::verdict::of_status;
use crate::http::{HttpClient, Trouble};

/// What the two sides put behind a key, by the protocol.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A session over a WebSocket.
#[derive(Debug)]
pub struct Ws {
    wire: Wire,
    random: SystemRandom,
    message: Message,
}

fn problem(detail: String, status: u16) -> Problem {
    Problem::standard(Standard::Communication, detail).with_status(status)
}

fn random<const N: usize>(source: &SystemRandom) -> Result<[u8; N], Trouble> {
    let mut bytes = [0; N];
    source.fill(&mut bytes).map_err(|_| {
        Trouble::failed(Problem::standard(Standard::Runtime, "draw random bytes: the system has none to give"))
    })?;
    Ok(bytes)
}

/// Opens a session.
///
/// # Errors
/// If there is no connection, or the server does not speak WebSocket there.
pub async fn open(
    http: &HttpClient,
    target: &Target,
    address: &str,
    credentials: Option<&Credentials>,
    bytes_max: usize,
) -> Result<Ws, Trouble> {
    let source = SystemRandom::new();
    let url = target.url(address).map_err(Trouble::Refused)?;
    let client = http.library(&url).await.map_err(Trouble::Refused)?;
    let key = BASE64.encode(random::<16>(&source)?);
    let mut headers = HeaderMap::new();
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("sec-websocket-key", HeaderValue::from_str(&key).expect("base64 is ASCII"));
    let authorization = credentials.map(|credentials| match credentials {
        Credentials::Token(token) => format!("Bearer {}", token.expose()),
        Credentials::Login { username, password } => {
            format!("Basic {}", BASE64.encode(format!("{}:{}", username.expose(), password.expose())))
        }
    });
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, sensitive(&value).map_err(Trouble::Refused)?);
    }
    let whom = format!("{}{}", target.shown(), url.path());
    let response = client.get(url.clone()).headers(headers).send().await.map_err(|e| {
        if let Some(problem) = refusal(&e, &url) {
            return Trouble::Refused(problem);
        }
        let e = e.without_url();
        let mut why = e.to_string();
        let mut next = e.source();
        while let Some(inner) = next {
            why = inner.to_string();
            next = inner.source();
        }
        Trouble::failed(problem(format!("{whom} could not be connected to: {why}"), 503))
    })?;
    let status = response.status().as_u16();
    if status != 101 {
        let detail = format!("{whom} answered {status}, expected 101 (does it speak WebSocket there?)");
        let problem = problem(detail, if (200..300).contains(&status) { 502 } else { status });
        return Err(of_status(status, Class::Safe, problem, None));
    }
    let expected = BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes()));
    let accepted = response.headers().get("sec-websocket-accept").and_then(|v| v.to_str().ok());
    if accepted != Some(expected.as_str()) {
        let detail = format!("{whom} answered 101 without the proof that it speaks WebSocket");
        return Err(Trouble::failed(problem(detail, 502)));
    }
    let io = response
        .upgrade()
        .await
        .map_err(|e| Trouble::failed(problem(format!("{whom} broke the handshake off: {}", e.without_url()), 502)))?;
    Ok(Ws { wire: Wire::over(Box::new(io), whom), random: source, message: Message::new(bytes_max) })
}

impl Ws {
    async fn send(&mut self, kind: Kind, payload: &[u8], doing: &str, class: Class) -> Result<(), Trouble> {
        let mask = random::<4>(&self.random)?;
        let bytes = frame::encode(kind, payload, mask);
        self.wire.write(&bytes).await.map_err(|lost| self.wire.trouble(&lost, doing, class))
    }
}

const SENT: &str = "after the message was sent";
/// The goodbye of somebody who is done.
const DONE: [u8; 2] = 1000u16.to_be_bytes();

/// The code and words of a goodbye; 1005 if it has none.
fn goodbye(payload: &[u8]) -> (u16, String) {
    match payload {
        [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), quoted(reason)),
        _ => (1005, String::new()),
    }
}

impl Session for Ws {
    fn publish<'a>(&'a mut self, what: &'a Publication<'a>, sent: &'a Sent) -> BoxFuture<'a, Result<Value, Trouble>> {
        Box::pin(async move {
            let payload = &what.message.payload;
            let kind = if std::str::from_utf8(payload).is_ok() { Kind::Text } else { Kind::Binary };
            sent.set();
            self.send(kind, payload, SENT, sent.class()).await?;
            self.send(Kind::Close, &DONE, SENT, sent.class()).await?;
            loop {
                let read = self.wire.read(|buffer| self.message.decode(buffer)).await;
                let frame = read.map_err(|lost| self.wire.trouble(&lost, SENT, sent.class()))?;
                if frame.kind != Kind::Close {
                    continue;
                }
                return match goodbye(&frame.payload) {
                    (1000 | 1001 | 1005, _) => Ok(json!({"confirmation": "close"})),
                    (code, reason) => {
                        let detail =
                            format!("{} said goodbye to the message with code {code} {reason}", self.wire.whom());
                        Err(Trouble::uncertain(sent.class(), problem(detail, 502)))
                    }
                };
            }
        })
    }

    fn subscribe<'a>(&'a mut self, _: &'a Subscription<'a>) -> BoxFuture<'a, Result<(), Trouble>> {
        // The address of the connection is the channel.
        Box::pin(async { Ok(()) })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Inbound>, Trouble>> {
        Box::pin(async move {
            let doing = "in the middle of a subscription";
            let mut asked = false;
            loop {
                let read = self.wire.read_within(IDLE, |buffer| self.message.decode(buffer)).await;
                let frame = read.map_err(|lost| self.wire.trouble(&lost, doing, Class::Safe))?;
                let Some(Frame { kind, payload }) = frame else {
                    if asked {
                        return Err(self.wire.trouble(&Lost::Silent(IDLE * 2), doing, Class::Safe));
                    }
                    asked = true;
                    self.send(Kind::Ping, b"cpd", doing, Class::Safe).await?;
                    continue;
                };
                match kind {
                    Kind::Text | Kind::Binary => return Ok(Some(Inbound { payload, ..Inbound::default() })),
                    Kind::Ping => self.send(Kind::Pong, &payload, doing, Class::Safe).await?,
                    Kind::Pong => asked = false,
                    Kind::Close => {
                        return match goodbye(&payload) {
                            (1000 | 1001 | 1005, _) => Ok(None),
                            (code, reason) => {
                                let detail =
                                    format!("{} ended the subscription with code {code} {reason}", self.wire.whom());
                                Err(Trouble::failed(problem(detail, 502)))
                            }
                        };
                    }
                }
            }
        })
    }

    fn end(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mask = random::<4>(&self.random).unwrap_or_default();
            self.wire.goodbye(&frame::encode(Kind::Close, &DONE, mask)).await;
        })
    }
}
