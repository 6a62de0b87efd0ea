//! A session with a broker: what every protocol but HTTP can do for a call.
//!
//! A session is opened for one call and ends with it. It publishes one message and waits until the broker has it, or it
//! subscribes once and hands over messages as they come. It keeps itself alive while it waits, and notices when the other side
//! has gone without a word.

use std::time::Duration;

use cpd_connector_api::{BoxFuture, Problem, Request, Standard, Value};
use sha2::{Digest, Sha256};

use super::message::{Inbound, Outbound};
use super::net::Sent;
use crate::http::Trouble;

/// After this long without a word a broker is asked whether it is there; after as long again it is not.
pub const IDLE: Duration = Duration::from_secs(30);

/// One message to publish.
#[derive(Debug)]
pub struct Publication<'a> {
    /// The channel's address.
    pub address: &'a str,
    /// The message.
    pub message: &'a Outbound,
    /// The request's key, as it travels.
    pub key: &'a str,
    /// The operation's binding for the protocol; null if there is none.
    pub binding: &'a Value,
}

/// What to subscribe to.
#[derive(Debug)]
pub struct Subscription<'a> {
    /// The channel's address, perhaps with wildcards.
    pub address: &'a str,
    /// The operation's binding for the protocol; null if there is none.
    pub binding: &'a Value,
}

/// A session with a broker.
pub trait Session: Send {
    /// Publishes, and waits until the broker says that it has the message. What it said beside that is for the evidence. Sets
    /// `sent` before the first byte of the message goes out.
    fn publish<'a>(&'a mut self, what: &'a Publication<'a>, sent: &'a Sent) -> BoxFuture<'a, Result<Value, Trouble>>;

    /// Subscribes, and waits until the broker has taken note.
    fn subscribe<'a>(&'a mut self, to: &'a Subscription<'a>) -> BoxFuture<'a, Result<(), Trouble>>;

    /// The next message of the subscription; `None` if the other side has said that there are no more.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Inbound>, Trouble>>;

    /// Takes leave. Trouble on the way is of no interest any more.
    fn end(&mut self) -> BoxFuture<'_, ()>;
}

/// A name for the session that is the same for every attempt of an effect: a new attempt takes the place of an old one that a broker
/// still believes to be there. At most 23 characters, which every MQTT broker takes.
pub fn client_name(request: &Request) -> String {
    let digest = Sha256::digest(request.key.as_bytes());
    let hex: String = digest.iter().take(9).map(|byte| format!("{byte:02x}")).collect();
    format!("cpd-{hex}")
}

/// The broker does not take the credentials.
pub fn unauthenticated(whom: &str, said: &str) -> Trouble {
    let detail = format!("{whom} did not take the credentials of `authentication`: {said}");
    Trouble::Refused(Problem::standard(Standard::Authentication, detail))
}

/// The broker does not allow it.
pub fn forbidden(whom: &str, doing: &str, said: &str) -> Trouble {
    Trouble::Refused(Problem::standard(Standard::Authorization, format!("{whom} does not allow {doing}: {said}")))
}

/// The call asks for what the protocol, or this server, does not have.
pub fn impossible(what: impl AsRef<str>) -> Trouble {
    Trouble::Refused(Problem::standard(Standard::Configuration, what))
}

/// A payload that the broker will not take.
pub fn too_large(whom: &str, bytes: usize, most: usize) -> Trouble {
    let detail = format!("`message`: found {bytes} bytes, expected at most {most}, the limit of {whom}");
    Trouble::Refused(Problem::standard(Standard::Validation, detail))
}

/// Text from the other side as it may stand in a problem: one short line.
pub fn quoted(said: &[u8]) -> String {
    crate::http::content::excerpt(said)
}
