//! NATS: the core protocol, as a client of one call.
//!
//! The server begins with `INFO`; we go under TLS if it or the document wants that, and say `CONNECT` and `PING`. What comes
//! before the `PONG` decides whether we are in. A message goes out as `HPUB` with `Nats-Msg-Id`, followed by `PING`: the server works
//! in order, so its `PONG` means that it has the message, and an error comes before it. Where the subject belongs to a
//! stream, `Nats-Msg-Id` makes the stream take a repeat once.
//!
//! Not here: answers of streams, nkeys and JWTs, other servers of the cluster, reconnecting within a call.

mod wire;

use std::collections::VecDeque;

use cpd_connector_api::{BoxFuture, Class, Problem, Request, Standard, Value, json};

use self::wire::{Packet, decoder};
use super::credentials::Credentials;
use super::message::{Inbound, Outbound};
use super::net::{Dialer, Lost, Sent, Wire};
use super::server::Target;
use super::session::{
    IDLE, Publication, Session, Subscription, client_name, forbidden, impossible, quoted, too_large, unauthenticated,
};
use crate::http::Trouble;

/// A session with a NATS server.
#[derive(Debug)]
pub struct Nats {
    wire: Wire,
    /// Whether the server knows headers.
    headers: bool,
    /// The largest message that it takes.
    payload_max: usize,
    /// The largest message that we take.
    bytes_max: usize,
    /// Messages that came while something else was waited for.
    early: VecDeque<Inbound>,
}

/// Opens a session.
///
/// # Errors
/// If there is no connection, or the server does not let us in.
pub async fn open(
    dialer: &Dialer,
    target: &Target,
    credentials: Option<&Credentials>,
    request: &Request,
    bytes_max: usize,
) -> Result<Nats, Trouble> {
    // TLS begins after the server's first line, so the connection is made in the clear.
    let mut wire = dialer.connect(&Target { tls: false, ..target.clone() }).await?;
    let first = wire.read(decoder(bytes_max)).await.map_err(|lost| greeting(&wire, &lost))?;
    let info = match first {
        Packet::Info(info) => info,
        Packet::Error(said) => return Err(complaint(wire.whom(), &said, Class::Safe)),
        _ => return Err(greeting(&wire, &Lost::Garbage("it does not begin with INFO".into()))),
    };
    let wanted = |name: &str| info.get(name).and_then(Value::as_bool).unwrap_or(false);
    let tls = target.tls || wanted("tls_required");
    if tls {
        if !wanted("tls_required") && !wanted("tls_available") {
            return Err(impossible(format!("{} speaks no TLS, which the document asks for", wire.whom())));
        }
        wire = dialer.secure(wire, target).await?;
    }
    let mut hello = json!({
        "verbose": false, "pedantic": false, "tls_required": tls, "lang": "rust", "protocol": 1, "echo": true,
        "version": env!("CARGO_PKG_VERSION"), "name": client_name(request), "headers": true,
    });
    if let Value::Obj(members) = &mut hello {
        let members = std::sync::Arc::make_mut(members);
        match credentials {
            None => {}
            Some(Credentials::Login { username, password }) => {
                members.insert("user".into(), Value::from(username.expose()));
                members.insert("pass".into(), Value::from(password.expose()));
            }
            Some(Credentials::Token(token)) => drop(members.insert("auth_token".into(), Value::from(token.expose()))),
        }
    }
    let payload_max = info.get("max_payload").and_then(Value::as_i64).and_then(|n| usize::try_from(n).ok());
    let headers = wanted("headers");
    let mut nats =
        Nats { wire, headers, payload_max: payload_max.unwrap_or(1 << 20), bytes_max, early: VecDeque::new() };
    nats.ask(&format!("CONNECT {}\r\n", hello.to_json()).into_bytes(), "while it was greeted", &Sent::default())
        .await?;
    Ok(nats)
}

fn greeting(wire: &Wire, lost: &Lost) -> Trouble {
    wire.trouble(lost, "before it said who it is (is it a NATS server?)", Class::Safe)
}

/// What `-ERR` means.
fn complaint(whom: &str, said: &str, class: Class) -> Trouble {
    let lower = said.to_ascii_lowercase();
    let said = quoted(said.as_bytes());
    if lower.contains("authorization violation") || lower.contains("authentication") {
        unauthenticated(whom, &said)
    } else if lower.contains("permissions violation") {
        forbidden(whom, "it", &said)
    } else if lower.contains("invalid subject") || lower.contains("maximum payload") {
        Trouble::Refused(Problem::standard(Standard::Validation, format!("{whom} did not take it: {said}")))
    } else {
        let problem = Problem::standard(Standard::Communication, format!("{whom} said: {said}")).with_status(502);
        Trouble::uncertain(class, problem)
    }
}

/// Holds a subject against the protocol's rules: it is part of a line of text.
fn check(subject: &str, wildcards: bool) -> Result<(), Trouble> {
    let token = |t: &str| !t.is_empty() && (wildcards || !matches!(t, "*" | ">"));
    let plain = !subject.chars().any(|c| c.is_whitespace() || c.is_control());
    if plain && subject.split('.').all(token) {
        return Ok(());
    }
    let more = if wildcards { "" } else { " and without wildcards" };
    Err(impossible(format!(
        "found the address {subject:?}, expected a subject: levels between dots, without spaces{more}"
    )))
}

impl Nats {
    /// Sends these bytes and a `PING`, and waits for the `PONG`: the server has dealt with the bytes then.
    async fn ask(&mut self, bytes: &[u8], doing: &str, sent: &Sent) -> Result<(), Trouble> {
        let lost = |wire: &Wire, lost: Lost| wire.trouble(&lost, doing, sent.class());
        if let Err(e) = self.wire.write(&[bytes, b"PING\r\n"].concat()).await {
            // The server may have said why it hung up.
            if let Ok(Some(Packet::Error(said))) = self.wire.read_within(IDLE, decoder(self.bytes_max)).await {
                return Err(complaint(self.wire.whom(), &said, sent.class()));
            }
            return Err(lost(&self.wire, e));
        }
        loop {
            match self.wire.read(decoder(self.bytes_max)).await.map_err(|e| lost(&self.wire, e))? {
                Packet::Pong => return Ok(()),
                Packet::Ping => self.wire.write(b"PONG\r\n").await.map_err(|e| lost(&self.wire, e))?,
                Packet::Error(said) => return Err(complaint(self.wire.whom(), &said, sent.class())),
                Packet::Message(message) => self.early.push_back(message),
                Packet::Info(_) | Packet::Ok => {}
            }
        }
    }

    fn frame(&self, what: &Publication<'_>) -> Result<Vec<u8>, Trouble> {
        check(what.address, false)?;
        let Outbound { payload, content_type, headers } = what.message;
        if !self.headers {
            if !headers.is_empty() {
                let what = format!("{} knows no headers, and `message.headers` has some", self.wire.whom());
                return Err(impossible(what));
            }
            self.fits(payload.len())?;
            let line = format!("PUB {} {}\r\n", what.address, payload.len());
            return Ok([line.as_bytes(), payload, b"\r\n"].concat());
        }
        let mut block = String::from("NATS/1.0\r\n");
        headers.iter().for_each(|(name, value)| block.push_str(&format!("{name}: {value}\r\n")));
        for (name, value) in [("Nats-Msg-Id", what.key), ("Content-Type", content_type)] {
            if !what.message.has(name) {
                block.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        block.push_str("\r\n");
        let total = block.len() + payload.len();
        self.fits(total)?;
        let line = format!("HPUB {} {} {total}\r\n", what.address, block.len());
        Ok([line.as_bytes(), block.as_bytes(), payload, b"\r\n"].concat())
    }

    fn fits(&self, bytes: usize) -> Result<(), Trouble> {
        if bytes > self.payload_max { Err(too_large(self.wire.whom(), bytes, self.payload_max)) } else { Ok(()) }
    }
}

impl Session for Nats {
    fn publish<'a>(&'a mut self, what: &'a Publication<'a>, sent: &'a Sent) -> BoxFuture<'a, Result<Value, Trouble>> {
        Box::pin(async move {
            let frame = self.frame(what)?;
            sent.set();
            self.ask(&frame, "after the message was sent", sent).await?;
            Ok(json!({"confirmation": "pong"}))
        })
    }

    fn subscribe<'a>(&'a mut self, to: &'a Subscription<'a>) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async move {
            check(to.address, true)?;
            let queue = to.binding.get("queue").and_then(Value::as_str).unwrap_or("");
            if queue.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(impossible(format!("found the queue {queue:?}, expected a name without spaces")));
            }
            let line = format!("SUB {} {queue} 1\r\n", to.address).replace("  ", " ");
            self.ask(line.as_bytes(), "while it was subscribed to", &Sent::default()).await
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Inbound>, Trouble>> {
        Box::pin(async move {
            if let Some(message) = self.early.pop_front() {
                return Ok(Some(message));
            }
            let lost = |wire: &Wire, lost: Lost| wire.trouble(&lost, "in the middle of a subscription", Class::Safe);
            let mut asked = false;
            loop {
                let read = self.wire.read_within(IDLE, decoder(self.bytes_max)).await;
                match read.map_err(|e| lost(&self.wire, e))? {
                    Some(Packet::Message(message)) => return Ok(Some(message)),
                    Some(Packet::Ping) => self.wire.write(b"PONG\r\n").await.map_err(|e| lost(&self.wire, e))?,
                    Some(Packet::Error(said)) => return Err(complaint(self.wire.whom(), &said, Class::Safe)),
                    Some(Packet::Pong) => asked = false,
                    Some(Packet::Info(_) | Packet::Ok) => {}
                    None if asked => return Err(lost(&self.wire, Lost::Silent(IDLE * 2))),
                    None => {
                        asked = true;
                        self.wire.write(b"PING\r\n").await.map_err(|e| lost(&self.wire, e))?;
                    }
                }
            }
        })
    }

    fn end(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.wire.goodbye(b""))
    }
}
