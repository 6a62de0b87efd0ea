//! MQTT 3.1.1 and 5, as a client of one call.
//!
//! Sessions are clean ones: what a broker keeps for a client between calls is not for a workflow, whose subscription begins and
//! ends with its task. A message goes out with the quality of the operation's binding (`qos`, 1 if it says nothing): 1 and 2
//! are confirmed by the broker; 0 is followed by a ping, whose answer means that the broker has read what came before.
//!
//! Version 5 carries headers as user properties, the content type, and the request's key as the user property
//! `Idempotency-Key`; 3.1.1 has room for none of it. A broker of 3.1.1 that does not allow a topic takes the message
//! and drops it in silence: the protocol has no answer for it.
//!
//! Not here: wills, sessions that last, shared state of topic aliases, enhanced authentication.

mod packet;

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cpd_connector_api::{BoxFuture, Class, Problem, Request, Standard, Value, json};

use self::packet::{Answer, LENGTH_MAX, Packet, Publish, Writer, decoder, words};
use super::credentials::Credentials;
use super::message::Inbound;
use super::net::{Dialer, Lost, Sent, Wire};
use super::server::Target;
use super::session::{
    IDLE, Publication, Session, Subscription, client_name, forbidden, impossible, quoted, too_large, unauthenticated,
};
use crate::http::Trouble;

/// What is promised to be said at least that often, in seconds.
const KEEP_ALIVE: u16 = 90;
/// The number of the one message or subscription of a session.
const ID: u16 = 1;

/// A session with an MQTT broker.
#[derive(Debug)]
pub struct Mqtt {
    wire: Wire,
    five: bool,
    bytes_max: usize,
    packet_max: usize,
    qos_max: u8,
    idle: Duration,
    early: VecDeque<Inbound>,
}

/// Opens a session.
///
/// # Errors
/// If there is no connection, or the broker does not let us in.
pub async fn open(
    dialer: &Dialer,
    target: &Target,
    five: bool,
    credentials: Option<&Credentials>,
    request: &Request,
    bytes_max: usize,
) -> Result<Mqtt, Trouble> {
    let mut wire = dialer.connect(target).await?;
    let (user, password) = match credentials {
        None => (None, None),
        Some(Credentials::Login { username, password }) => (Some(username.expose()), Some(password.expose())),
        // A password without a user does not exist in 3.1.1; brokers that take tokens look at the password only.
        Some(Credentials::Token(token)) => (Some(""), Some(token.expose())),
    };
    for given in [user, password].into_iter().flatten() {
        if given.len() > usize::from(u16::MAX) {
            return Err(impossible("found credentials of more than 65535 bytes, expected what fits into MQTT"));
        }
    }
    let mut flags = 0x02;
    if user.is_some() {
        flags |= 0xc0;
    }
    let mut hello = Writer::default()
        .text(b"MQTT")
        .u8(if five { 5 } else { 4 })
        .u8(flags)
        .u16(KEEP_ALIVE)
        .properties(five, Writer::default())
        .text(client_name(request).as_bytes());
    for given in [user, password].into_iter().flatten() {
        hello = hello.text(given.as_bytes());
    }
    let lost = |wire: &Wire, lost: Lost| wire.trouble(&lost, "while it was greeted", Class::Safe);
    wire.write(&hello.packet(0x10)).await.map_err(|e| lost(&wire, e))?;
    match wire.read(decoder(five, bytes_max)).await.map_err(|e| lost(&wire, e))? {
        Packet::ConnAck(answer) if answer.code == 0 => {
            let Answer { properties, .. } = answer;
            let keep = properties.keep_alive.unwrap_or(KEEP_ALIVE).max(3);
            Ok(Mqtt {
                wire,
                five,
                bytes_max,
                packet_max: properties.packet_max.map_or(LENGTH_MAX, |n| usize::try_from(n).unwrap_or(LENGTH_MAX)),
                qos_max: properties.qos_max.unwrap_or(2),
                idle: IDLE.min(Duration::from_secs(u64::from(keep)) / 3),
                early: VecDeque::new(),
            })
        }
        Packet::ConnAck(answer) => Err(turned_away(wire.whom(), &answer)),
        other => Err(lost(&wire, Lost::Garbage(format!("{} instead of an answer to CONNECT", kind(&other))))),
    }
}

fn said(answer: &Answer) -> String {
    let reason = answer.properties.reason.as_ref().map(|r| format!(": {}", quoted(r.as_bytes())));
    format!("{} (code {}){}", words(answer.code), answer.code, reason.unwrap_or_default())
}

fn turned_away(whom: &str, answer: &Answer) -> Trouble {
    let said = said(answer);
    match answer.code {
        4 | 5 | 0x86 | 0x87 | 0x8a | 0x8c => unauthenticated(whom, &said),
        1 | 2 | 0x84 | 0x85 | 0x9c | 0x9d => impossible(format!("{whom} did not accept the session: {said}")),
        _ => {
            let detail = format!("{whom} did not accept the session: {said}");
            Trouble::failed(Problem::standard(Standard::Communication, detail).with_status(503))
        }
    }
}

/// What an answer to PUBLISH means: the broker says that it did not take the message.
fn rejected(whom: &str, answer: &Answer) -> Trouble {
    let said = said(answer);
    match answer.code {
        0x87 => forbidden(whom, "the message", &said),
        0x90 | 0x9a | 0x9b => impossible(format!("{whom} did not take the message: {said}")),
        0x95 | 0x99 => Trouble::Refused(Problem::standard(
            Standard::Validation,
            format!("{whom} did not take the message: {said}"),
        )),
        _ => {
            let detail = format!("{whom} did not take the message: {said}");
            Trouble::failed(Problem::standard(Standard::Communication, detail).with_status(503))
        }
    }
}

fn kind(packet: &Packet) -> &'static str {
    match packet {
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(..) => "PUBACK",
        Packet::PubRec(..) => "PUBREC",
        Packet::PubComp(..) => "PUBCOMP",
        Packet::SubAck(..) => "SUBACK",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect(_) => "DISCONNECT",
    }
}

/// Holds a topic against the protocol's rules.
fn check(topic: &str, wildcards: bool) -> Result<(), Trouble> {
    let good = !topic.is_empty() && topic.len() <= usize::from(u16::MAX) && !topic.contains('\0');
    if good && (wildcards || !topic.contains(['+', '#'])) {
        return Ok(());
    }
    let more = if wildcards { "" } else { " and without wildcards" };
    Err(impossible(format!("found the address {topic:?}, expected a topic: 1 to 65535 bytes, without NUL{more}")))
}

impl Mqtt {
    async fn send(&mut self, bytes: &[u8], doing: &str, class: Class) -> Result<(), Trouble> {
        self.wire.write(bytes).await.map_err(|lost| self.wire.trouble(&lost, doing, class))
    }

    /// The next packet that is neither a message nor a goodbye.
    async fn answer(&mut self, doing: &str, class: Class) -> Result<Packet, Trouble> {
        loop {
            let read = self.wire.read(decoder(self.five, self.bytes_max)).await;
            match read.map_err(|lost| self.wire.trouble(&lost, doing, class))? {
                Packet::Publish(publish) => {
                    let message = self.taken(publish).await?;
                    self.early.push_back(message);
                }
                Packet::Disconnect(answer) => return Err(self.dismissed(&answer, doing, class)),
                other => return Ok(other),
            }
        }
    }

    fn dismissed(&self, answer: &Answer, doing: &str, class: Class) -> Trouble {
        let detail = format!("{} ended the session {doing}: {}", self.wire.whom(), said(answer));
        Trouble::uncertain(class, Problem::standard(Standard::Communication, detail).with_status(503))
    }

    fn unexpected(&self, packet: &Packet, doing: &str, class: Class) -> Trouble {
        self.wire.trouble(&Lost::Garbage(format!("{} where it does not belong", kind(packet))), doing, class)
    }

    /// A message, acknowledged if it wants that.
    async fn taken(&mut self, publish: Publish) -> Result<Inbound, Trouble> {
        let Publish { topic, qos, id, payload, properties } = publish;
        if qos == 1 {
            let answer = Writer::default().u16(id).packet(0x40);
            self.send(&answer, "in the middle of a subscription", Class::Safe).await?;
        }
        let correlation = properties
            .correlation
            .map(|bytes| String::from_utf8(bytes).unwrap_or_else(|e| BASE64.encode(e.into_bytes())));
        Ok(Inbound {
            payload,
            content_type: properties.content_type,
            headers: properties.user,
            correlation,
            channel: Some(topic),
        })
    }

    fn frame(&self, what: &Publication<'_>, qos: u8) -> Result<Vec<u8>, Trouble> {
        check(what.address, false)?;
        let message = what.message;
        let mut frame = Writer::default().text(what.address.as_bytes());
        if qos > 0 {
            frame = frame.u16(ID);
        }
        let mut properties = Writer::default();
        if self.five {
            properties = properties.u8(0x03).text(message.content_type.as_bytes());
            let key = ("Idempotency-Key".to_owned(), what.key.to_owned());
            for (name, value) in message.headers.iter().chain((!message.has(&key.0)).then_some(&key)) {
                if value.len() > usize::from(u16::MAX) || name.len() > usize::from(u16::MAX) {
                    let what = format!("`message.headers`: {name:?} is longer than 65535 bytes, expected less");
                    return Err(Trouble::Refused(Problem::standard(Standard::Validation, what)));
                }
                properties = properties.u8(0x26).text(name.as_bytes()).text(value.as_bytes());
            }
            let expires = what.binding.get("messageExpiryInterval").and_then(Value::as_i64);
            if let Some(seconds) = expires.and_then(|s| u32::try_from(s).ok()) {
                properties = properties.u8(0x02).u32(seconds);
            }
        }
        frame = frame.properties(self.five, properties).raw(&message.payload);
        let most = self.packet_max.min(LENGTH_MAX);
        if frame.len() > most {
            return Err(too_large(self.wire.whom(), frame.len(), most));
        }
        let retain = u8::from(what.binding.get("retain").and_then(Value::as_bool) == Some(true));
        Ok(frame.packet(0x30 | (qos << 1) | retain))
    }

    /// The quality that a binding asks for, or `fallback`.
    fn quality(&self, binding: &Value, most: u8) -> Result<u8, Trouble> {
        let asked = match binding.get("qos").filter(|q| !q.is_null()) {
            None => return Ok(1.min(self.qos_max)),
            Some(qos) => qos.as_i64().and_then(|q| u8::try_from(q).ok()).filter(|q| *q <= 2),
        };
        let asked = asked.ok_or_else(|| impossible("found another `qos` in the MQTT binding, expected 0, 1 or 2"))?;
        if asked > self.qos_max {
            let what = format!(
                "{} knows no quality of service above {}, and the binding asks for {asked}",
                self.wire.whom(),
                self.qos_max
            );
            return Err(impossible(what));
        }
        Ok(asked.min(most))
    }
}

const SENT: &str = "after the message was sent";

impl Session for Mqtt {
    fn publish<'a>(&'a mut self, what: &'a Publication<'a>, sent: &'a Sent) -> BoxFuture<'a, Result<Value, Trouble>> {
        Box::pin(async move {
            let qos = self.quality(what.binding, 2)?;
            let mut frame = self.frame(what, qos)?;
            if qos == 0 {
                frame.extend([0xc0, 0]);
            }
            sent.set();
            self.send(&frame, SENT, sent.class()).await?;
            let confirmation = loop {
                match (self.answer(SENT, sent.class()).await?, qos) {
                    (Packet::PingResp, 0) => break "pingresp",
                    (Packet::PubAck(ID, answer), 1) if answer.code < 0x80 => break "puback",
                    (Packet::PubRec(ID, answer), 2) if answer.code < 0x80 => {
                        // The broker has the message now; the rest only lets it forget the number.
                        let release = Writer::default().u16(ID).packet(0x62);
                        self.send(&release, SENT, sent.class()).await?;
                    }
                    (Packet::PubComp(ID, answer), 2) if answer.code < 0x80 => break "pubcomp",
                    (Packet::PubAck(ID, answer), 1) | (Packet::PubRec(ID, answer), 2) => {
                        return Err(rejected(self.wire.whom(), &answer));
                    }
                    (other, _) => return Err(self.unexpected(&other, SENT, sent.class())),
                }
            };
            Ok(json!({"confirmation": confirmation, "qos": i64::from(qos)}))
        })
    }

    fn subscribe<'a>(&'a mut self, to: &'a Subscription<'a>) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async move {
            check(to.address, true)?;
            // Quality 2 would only be a dance more for messages that a failed call loses all the same.
            let qos = self.quality(to.binding, 1)?;
            let doing = "while it was subscribed to";
            let frame = Writer::default()
                .u16(ID)
                .properties(self.five, Writer::default())
                .text(to.address.as_bytes())
                .u8(qos)
                .packet(0x82);
            self.send(&frame, doing, Class::Safe).await?;
            match self.answer(doing, Class::Safe).await? {
                Packet::SubAck(ID, answer) if answer.code < 0x80 => Ok(()),
                Packet::SubAck(_, answer) if answer.code == 0x8f => {
                    let what = format!(
                        "{} did not take the subscription to {:?}: {}",
                        self.wire.whom(),
                        to.address,
                        said(&answer)
                    );
                    Err(impossible(what))
                }
                Packet::SubAck(_, answer) => {
                    let what = format!("the subscription to {:?}", to.address);
                    Err(forbidden(self.wire.whom(), &what, &said(&answer)))
                }
                other => Err(self.unexpected(&other, doing, Class::Safe)),
            }
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Inbound>, Trouble>> {
        Box::pin(async move {
            if let Some(message) = self.early.pop_front() {
                return Ok(Some(message));
            }
            let doing = "in the middle of a subscription";
            let mut asked = false;
            loop {
                let read = self.wire.read_within(self.idle, decoder(self.five, self.bytes_max)).await;
                match read.map_err(|lost| self.wire.trouble(&lost, doing, Class::Safe))? {
                    Some(Packet::Publish(publish)) => return self.taken(publish).await.map(Some),
                    Some(Packet::PingResp) => asked = false,
                    Some(Packet::Disconnect(answer)) => return Err(self.dismissed(&answer, doing, Class::Safe)),
                    Some(other) => return Err(self.unexpected(&other, doing, Class::Safe)),
                    None if asked => {
                        return Err(self.wire.trouble(&Lost::Silent(self.idle * 2), doing, Class::Safe));
                    }
                    None => {
                        asked = true;
                        self.send(&[0xc0, 0], doing, Class::Safe).await?;
                    }
                }
            }
        })
    }

    fn end(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.wire.goodbye(&[0xe0, 0]))
    }
}
