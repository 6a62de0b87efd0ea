//! Channels of Redis, over RESP 2, as a client of one call.
//!
//! `PUBLISH` is answered with the number of those who got the message, which the evidence keeps: Redis holds nothing for those
//! who are not there. Messages have no headers, so the request's key does not travel.
//!
//! Not here: streams, patterns, sharded channels, clusters, RESP 3.

use bytes::{Buf as _, BytesMut};
use cpd_connector_api::{BoxFuture, Class, Problem, Standard, Value, json};

use super::credentials::Credentials;
use super::message::Inbound;
use super::net::{Dialer, Lost, Sent, Wire};
use super::server::Target;
use super::session::{IDLE, Publication, Session, Subscription, forbidden, quoted, unauthenticated};
use crate::http::Trouble;

/// The longest line; what is longer than that is told by its length.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most parts of an answer: those to a subscription have three.
const PARTS_MAX: usize = 64;
/// The deepest answer within an answer.
const DEPTH_MAX: usize = 4;

/// What a server answers.
#[derive(Clone, Debug, PartialEq)]
enum Reply {
    Simple(String),
    Error(String),
    Number(i64),
    Bytes(Option<Vec<u8>>),
    List(Vec<Reply>),
}

impl Reply {
    fn text(&self) -> Option<&str> {
        match self {
            Reply::Simple(text) => Some(text),
            Reply::Bytes(Some(bytes)) => std::str::from_utf8(bytes).ok(),
            Reply::Error(_) | Reply::Number(_) | Reply::Bytes(None) | Reply::List(_) => None,
        }
    }

    /// The first word and the rest of what a server says to a subscriber.
    fn push(&self) -> Option<(&str, &[Reply])> {
        match self {
            Reply::List(parts) => parts.first()?.text().map(|word| (word, &parts[1..])),
            Reply::Simple(_) | Reply::Error(_) | Reply::Number(_) | Reply::Bytes(_) => None,
        }
    }
}

fn decoder(bytes_max: usize) -> impl FnMut(&mut BytesMut) -> Result<Option<Reply>, String> {
    move |buffer| {
        let Some((reply, used)) = reply(buffer, bytes_max, 0)? else { return Ok(None) };
        buffer.advance(used);
        Ok(Some(reply))
    }
}

/// The reply at the front of the bytes and how many it takes; `None` if it is not whole.
fn reply(bytes: &[u8], bytes_max: usize, depth: usize) -> Result<Option<(Reply, usize)>, String> {
    let Some(end) = bytes.iter().take(LINE_BYTES_MAX).position(|b| *b == b'\n') else {
        return if bytes.len() >= LINE_BYTES_MAX { Err("a line without an end".into()) } else { Ok(None) };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let odd = || format!("the line {:?} (is it a Redis server?)", quoted(line));
    let (kind, rest) = line.split_first().ok_or_else(odd)?;
    let text = std::str::from_utf8(rest).map_err(|_| odd())?;
    let number = || text.parse::<i64>().map_err(|_| odd());
    let simple = |reply| Ok(Some((reply, end + 1)));
    match kind {
        b'+' => simple(Reply::Simple(text.to_owned())),
        b'-' => simple(Reply::Error(text.to_owned())),
        b':' => simple(Reply::Number(number()?)),
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else { return simple(Reply::Bytes(None)) };
            if length > bytes_max {
                return Err(format!("a message of {length} bytes, where at most {bytes_max} are taken"));
            }
            let Some(body) = bytes.get(end + 1..end + 1 + length + 2) else { return Ok(None) };
            Ok(Some((Reply::Bytes(Some(body[..length].to_vec())), end + 1 + length + 2)))
        }
        b'*' => {
            let count = usize::try_from(number()?).unwrap_or(0);
            if count > PARTS_MAX || depth >= DEPTH_MAX {
                return Err(odd());
            }
            let (mut parts, mut used) = (Vec::new(), end + 1);
            for _ in 0..count {
                let Some((part, more)) = reply(&bytes[used..], bytes_max, depth + 1)? else { return Ok(None) };
                used += more;
                parts.push(part);
            }
            Ok(Some((Reply::List(parts), used)))
        }
        _ => Err(odd()),
    }
}

/// A command, as an array of its words.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// What an error says of a command: it was not carried out.
fn complaint(whom: &str, doing: &str, said: &str) -> Trouble {
    let code = said.split(' ').next().unwrap_or("");
    let shown = quoted(said.as_bytes());
    match code {
        "WRONGPASS" | "NOAUTH" => unauthenticated(whom, &shown),
        "ERR" if said.contains("AUTH") => unauthenticated(whom, &shown),
        "NOPERM" => forbidden(whom, doing, &shown),
        _ => {
            let detail = format!("{whom} did not carry out {doing}: {shown}");
            Trouble::failed(Problem::standard(Standard::Communication, detail).with_status(502))
        }
    }
}

/// A session with a Redis server.
#[derive(Debug)]
pub struct Redis {
    wire: Wire,
    bytes_max: usize,
}

/// Opens a session.
///
/// # Errors
/// If there is no connection, or the server does not let us in.
pub async fn open(
    dialer: &Dialer,
    target: &Target,
    credentials: Option<&Credentials>,
    bytes_max: usize,
) -> Result<Redis, Trouble> {
    let wire = dialer.connect(target).await?;
    let mut redis = Redis { wire, bytes_max };
    let hello = match credentials {
        None => return Ok(redis),
        Some(Credentials::Login { username, password }) => {
            command(&[b"AUTH", username.expose().as_bytes(), password.expose().as_bytes()])
        }
        Some(Credentials::Token(token)) => command(&[b"AUTH", token.expose().as_bytes()]),
    };
    redis.ask(&hello, "the login", Class::Safe).await?;
    Ok(redis)
}

impl Redis {
    /// Sends a command; the answer, unless it is an error.
    async fn ask(&mut self, command: &[u8], doing: &str, class: Class) -> Result<Reply, Trouble> {
        let after = format!("after {doing} was sent");
        self.wire.write(command).await.map_err(|lost| self.wire.trouble(&lost, &after, class))?;
        let read = self.wire.read(decoder(self.bytes_max)).await;
        match read.map_err(|lost| self.wire.trouble(&lost, &after, class))? {
            Reply::Error(said) => Err(complaint(self.wire.whom(), doing, &said)),
            other => Ok(other),
        }
    }

    fn odd(&self, reply: &Reply, doing: &str, class: Class) -> Trouble {
        let shown: String = format!("{reply:?}").chars().take(100).collect();
        self.wire.trouble(&Lost::Garbage(format!("the answer {shown}")), doing, class)
    }
}

impl Session for Redis {
    fn publish<'a>(&'a mut self, what: &'a Publication<'a>, sent: &'a Sent) -> BoxFuture<'a, Result<Value, Trouble>> {
        Box::pin(async move {
            let bytes = command(&[b"PUBLISH", what.address.as_bytes(), &what.message.payload]);
            sent.set();
            match self.ask(&bytes, "the message", sent.class()).await? {
                Reply::Number(receivers) => Ok(json!({"confirmation": "count", "receivers": receivers})),
                other => Err(self.odd(&other, "after the message was sent", sent.class())),
            }
        })
    }

    fn subscribe<'a>(&'a mut self, to: &'a Subscription<'a>) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(async move {
            let bytes = command(&[b"SUBSCRIBE", to.address.as_bytes()]);
            let answer = self.ask(&bytes, "the subscription", Class::Safe).await?;
            match answer.push() {
                Some(("subscribe", _)) => Ok(()),
                _ => Err(self.odd(&answer, "while it was subscribed to", Class::Safe)),
            }
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Inbound>, Trouble>> {
        Box::pin(async move {
            let doing = "in the middle of a subscription";
            let mut asked = false;
            loop {
                let read = self.wire.read_within(IDLE, decoder(self.bytes_max)).await;
                let Some(reply) = read.map_err(|lost| self.wire.trouble(&lost, doing, Class::Safe))? else {
                    if asked {
                        return Err(self.wire.trouble(&Lost::Silent(IDLE * 2), doing, Class::Safe));
                    }
                    asked = true;
                    let ping = self.wire.write(&command(&[b"PING"])).await;
                    ping.map_err(|lost| self.wire.trouble(&lost, doing, Class::Safe))?;
                    continue;
                };
                match reply.push() {
                    Some(("message", [channel, Reply::Bytes(Some(payload))])) => {
                        let channel = channel.text().map(str::to_owned);
                        return Ok(Some(Inbound { payload: payload.clone(), channel, ..Inbound::default() }));
                    }
                    Some(("pong", _)) => asked = false,
                    _ => return Err(self.odd(&reply, doing, Class::Safe)),
                }
            }
        })
    }

    fn end(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.wire.goodbye(b""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replies_are_read_whole_or_not_at_all() {
        let said = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\na\r\nb!\r\n:3\r\n+OK\r\n-NOAUTH x\r\n$-1\r\n";
        let mut buffer = BytesMut::from(&said[..]);
        let mut decode = decoder(100);
        let bytes = |b: &[u8]| Reply::Bytes(Some(b.to_vec()));
        let message = Reply::List(vec![bytes(b"message"), bytes(b"c"), bytes(b"a\r\nb!")]);
        let expected = [
            message,
            Reply::Number(3),
            Reply::Simple("OK".into()),
            Reply::Error("NOAUTH x".into()),
            Reply::Bytes(None),
        ];
        for reply in expected {
            assert_eq!(decode(&mut buffer), Ok(Some(reply)));
        }
        assert!(buffer.is_empty());
        for cut in 0..35 {
            assert_eq!(decode(&mut BytesMut::from(&said[..cut])), Ok(None), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in "[*$:+-]{0,2}[0-9-]{0,20}\r?\n?[*$0-9\r\n]{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decoder(100)(&mut BytesMut::from(text.as_bytes()));
            let _ = decoder(100)(&mut BytesMut::from(&bytes[..]));
        }
    }
}
