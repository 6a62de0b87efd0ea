//! Messages to and from the services of an AsyncAPI document: what the workflow language's `call: asyncapi` becomes.
//!
//! 1. The document was pinned when the definition was registered, and the call was looked at then (`examine`); [`document`] reads it
//!    and finds the operation or channel.
//! 2. [`server`] says where to connect and what the channel's address is there; [`protocol`] whether that is spoken.
//! 3. `asyncapi.publish`: [`payload`] holds the message against the document's schema, [`message`] writes it, a session
//!    ([`session`]: `nats`, `mqtt`, `redis`, `ws`; or `http`) sends it and waits for the broker's word.
//! 4. `asyncapi.subscribe`: a session subscribes, [`gather`] keeps what comes until there is enough.
//!
//! - Publishing is at-most-once. Not connected, not let in, refused by the broker: it did not happen. Sent, and then silence
//!   or a lost connection: *unknown*. The request's key travels where the protocol has room for it.
//! - Subscribing only reads, but what a broker has handed over it does not hand over again: a subscription that fails half-way
//!   and is tried again begins with the messages of then.
//! - A connection is made for each call and ends with it. Nothing is kept open while a workflow is elsewhere.
//!
//! Not here: fetching documents, `foreach` (the engine's), validating what comes in, security schemes of documents (the
//! call's `authentication` says who we are), replies, other protocols (see [`PROTOCOLS`]).

mod credentials;
pub mod document;
mod examine;
pub mod gather;
mod http;
pub mod message;
mod mqtt;
mod nats;
pub mod net;
pub mod payload;
pub mod protocol;
mod redis;
pub mod server;
pub mod session;
#[cfg(test)]
mod tests;
mod with;
mod ws;

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::attachment::Planned;
use cpd_connector_api::guard::{ended, within};
use cpd_connector_api::secret::Redactor;
use cpd_connector_api::{
    BoxFuture, Class, Connector, OperationSpec, Outcome, Problem, Request, Standard, Success, Value, json,
};
use serde::{Deserialize, Serialize};

use self::credentials::Credentials;
use self::document::{Direction, Document, Found};
use self::gather::{Gathered, Limits};
use self::message::{Form, Outbound};
use self::net::{Dialer, Sent};
use self::protocol::Spoken;
use self::server::Target;
use self::session::{Publication, Session, Subscription};
use self::with::{Consume, Wanted};
use crate::authentication::Authenticator;
use crate::http::Trouble;

pub use self::protocol::{PROTOCOLS, Protocol};

/// `[connectors.asyncapi]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AsyncApiConfig {
    /// How long a broker may take to let us in, to confirm a message, or to take note of a subscription.
    pub timeout_ms: u64,
    /// The most messages that one subscription keeps.
    pub messages_max: usize,
    /// The most bytes that they have together, and that one message may have.
    pub bytes_max: usize,
}

impl Default for AsyncApiConfig {
    fn default() -> Self {
        Self { timeout_ms: 30_000, messages_max: 10_000, bytes_max: 8 * 1024 * 1024 }
    }
}

/// The connector `asyncapi`.
#[derive(Clone, Debug)]
pub struct AsyncApi {
    authenticator: Authenticator,
    dialer: Dialer,
    config: AsyncApiConfig,
    operations: Arc<[OperationSpec]>,
}

/// What a call is about, once its document is read.
struct Plan<'a> {
    document: &'a Document,
    found: Found<'a>,
    target: Target,
    address: String,
    form: Form,
    binding: Value,
}

impl Plan<'_> {
    /// What the log keeps of it.
    fn evidence(&self, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
        let mut members = cpd_connector_api::Map::new();
        let known = [
            ("protocol", Value::from(self.target.spoken.name())),
            ("server", Value::from(self.target.server.as_str())),
            ("address", Value::from(self.target.shown())),
            ("channel", Value::from(self.address.as_str())),
            ("action", self.found.action.map_or(Value::Null, Value::from)),
        ];
        for (name, value) in known.into_iter().chain(more).filter(|(_, v)| !v.is_null()) {
            members.insert(name.into(), value);
        }
        Value::from(members)
    }

    /// Who messages come from, for problems.
    fn whom(&self) -> String {
        format!("{} at {}", self.address, self.target.shown())
    }
}

impl AsyncApi {
    /// The connector over an authenticator, whose tokens, limits and allowed hosts it shares.
    pub fn new(config: AsyncApiConfig, authenticator: &Authenticator) -> Self {
        let dialer = Dialer::new(authenticator.http().clone());
        Self { authenticator: authenticator.clone(), dialer, config, operations: with::operations().into() }
    }

    async fn perform(&self, request: &Request, redactor: &mut Redactor) -> Result<Success, Trouble> {
        let wanted = Wanted::read(request, &self.operations).map_err(Trouble::Refused)?;
        let resource = request.resources.get(&wanted.uri).map_err(Trouble::Refused)?;
        let document = Document::read(resource).map_err(Trouble::Refused)?;
        let plan = plan(&document, &wanted).map_err(Trouble::Refused)?;
        if let Some(why) = ended(request, &**self.authenticator.http().clock()) {
            return Err(Trouble::failed(why.problem("before anything was sent")));
        }
        match &wanted.consume {
            None => self.publish(&plan, &wanted, request, redactor).await,
            Some(consume) => self.subscribe(&plan, &wanted, consume, request, redactor).await,
        }
    }

    async fn publish(
        &self,
        plan: &Plan<'_>,
        wanted: &Wanted,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<Success, Trouble> {
        let message = &wanted.message;
        let checked = payload::check(plan.document, &plan.found, message).map_err(Trouble::Refused)?;
        let outbound = Outbound::of(message, &plan.form).map_err(Trouble::Refused)?;
        let spoken = plan.target.spoken;
        if !spoken.has_headers() && !outbound.headers.is_empty() {
            let hint =
                if spoken == Spoken::Mqtt3 { " (MQTT 5 has: `protocolVersion: '5.0'` of the server)" } else { "" };
            let name = spoken.name();
            return Err(session::impossible(format!(
                "messages of {name} have no headers, and `message.headers` has some{hint}"
            )));
        }
        let mut evidence = match spoken {
            Spoken::Http => {
                let url = plan.target.url(&plan.address).map_err(Trouble::Refused)?;
                let what = (url, &plan.binding, &outbound, message.get("headers").filter(|h| !h.is_null()));
                http::publish(&self.authenticator, wanted.policy.as_ref(), what, request, redactor).await?
            }
            Spoken::Mqtt3 | Spoken::Mqtt5 | Spoken::Nats | Spoken::Redis | Spoken::Ws => {
                let key = request.wire_key();
                let what =
                    Publication { address: &plan.address, message: &outbound, key: &key, binding: &plan.binding };
                self.publish_to_broker(plan, wanted, &what, request, redactor).await?
            }
        };
        if let Value::Obj(members) = &mut evidence {
            Arc::make_mut(members).insert("schema".into(), Value::from(checked.said()));
        }
        let more = [("publication", evidence)];
        let output = json!({
            "protocol": spoken.name(), "server": plan.target.server.as_str(), "channel": plan.address.as_str(),
        });
        Ok(Success { output, evidence: Some(plan.evidence(more)) })
    }

    async fn publish_to_broker(
        &self,
        plan: &Plan<'_>,
        wanted: &Wanted,
        what: &Publication<'_>,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<Value, Trouble> {
        let credentials = credentials::obtain(&self.authenticator, wanted.policy.as_ref(), request, redactor).await?;
        let sent = Sent::default();
        let work = async {
            let mut session = self.open(plan, credentials.as_ref(), request, &sent).await?;
            let said = self.limited(plan, "confirm the message", &sent, session.publish(what, &sent)).await?;
            Ok((session, said))
        };
        let clock = self.authenticator.http().clock().clone();
        let doing = || format!("while a message to {} was under way", plan.whom());
        let done = within(request, &*clock, work).await;
        let (mut session, said) = done.map_err(|why| Trouble::uncertain(sent.class(), why.problem(&doing())))??;
        session.end().await;
        Ok(said)
    }

    async fn subscribe(
        &self,
        plan: &Plan<'_>,
        wanted: &Wanted,
        consume: &Consume,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<Success, Trouble> {
        let limits = Limits { messages: self.config.messages_max, bytes: self.config.bytes_max };
        let conditions = request.conditions.clone();
        let mut gathered = Gathered::new(conditions, consume.amount, limits, plan.form.clone(), plan.whom());
        match plan.target.spoken {
            Spoken::Http => {
                let url = plan.target.url(&plan.address).map_err(Trouble::Refused)?;
                let from = (url, &plan.binding, consume.span);
                http::subscribe(&self.authenticator, wanted.policy.as_ref(), from, &mut gathered, request, redactor)
                    .await?;
            }
            Spoken::Mqtt3 | Spoken::Mqtt5 | Spoken::Nats | Spoken::Redis | Spoken::Ws => {
                self.subscribe_to_broker(plan, wanted, consume, &mut gathered, request, redactor).await?;
            }
        }
        let passed_over = Value::from(gathered.passed_over());
        let messages = gathered.into_messages();
        let more = [("messages", Value::from(messages.len())), ("passedOver", passed_over)];
        let evidence = Some(plan.evidence(more));
        Ok(Success { output: Value::from(messages), evidence })
    }

    async fn subscribe_to_broker(
        &self,
        plan: &Plan<'_>,
        wanted: &Wanted,
        consume: &Consume,
        gathered: &mut Gathered,
        request: &Request,
        redactor: &mut Redactor,
    ) -> Result<(), Trouble> {
        let credentials = credentials::obtain(&self.authenticator, wanted.policy.as_ref(), request, redactor).await?;
        let to = Subscription { address: &plan.address, binding: &plan.binding };
        let nothing = Sent::default();
        let work = async {
            let mut session = self.open(plan, credentials.as_ref(), request, &nothing).await?;
            self.limited(plan, "take the subscription", &nothing, session.subscribe(&to)).await?;
            let collecting = async {
                loop {
                    match session.next().await? {
                        Some(message) if gathered.take(&message)?.is_continue() => {}
                        Some(_) | None => return Ok(()),
                    }
                }
            };
            match consume.span {
                None => collecting.await?,
                // What has come until then is what was asked for.
                Some(span) => tokio::time::timeout(span, collecting).await.unwrap_or(Ok(()))?,
            }
            Ok(session)
        };
        let clock = self.authenticator.http().clock().clone();
        let done: Result<Result<Box<dyn Session>, Trouble>, _> = within(request, &*clock, work).await;
        let doing = || format!("while it waited for messages on {}", plan.whom());
        let mut session = done.map_err(|why| Trouble::failed(why.problem(&doing())))??;
        session.end().await;
        Ok(())
    }

    /// A session with the plan's broker.
    async fn open(
        &self,
        plan: &Plan<'_>,
        credentials: Option<&Credentials>,
        request: &Request,
        sent: &Sent,
    ) -> Result<Box<dyn Session>, Trouble> {
        let (dialer, target, most) = (&self.dialer, &plan.target, self.config.bytes_max);
        let opening = async {
            Ok(match target.spoken {
                Spoken::Nats => {
                    Box::new(nats::open(dialer, target, credentials, request, most).await?) as Box<dyn Session>
                }
                Spoken::Mqtt3 => Box::new(mqtt::open(dialer, target, false, credentials, request, most).await?),
                Spoken::Mqtt5 => Box::new(mqtt::open(dialer, target, true, credentials, request, most).await?),
                Spoken::Redis => Box::new(redis::open(dialer, target, credentials, most).await?),
                Spoken::Ws => {
                    Box::new(ws::open(self.authenticator.http(), target, &plan.address, credentials, most).await?)
                }
                Spoken::Http => {
                    return Err(session::impossible("found no session for HTTP, expected none to be asked for"));
                }
            })
        };
        self.limited(plan, "let us in", sent, opening).await
    }

    /// Work that a broker has to answer within the configured time.
    async fn limited<T>(
        &self,
        plan: &Plan<'_>,
        what: &str,
        sent: &Sent,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let limit = self.config.timeout_ms;
        tokio::time::timeout(Duration::from_millis(limit), work).await.unwrap_or_else(|_| {
            let detail = format!("{} did not {what} within {limit} ms", plan.target.shown());
            let problem = Problem::standard(Standard::Communication, detail).with_status(504);
            Err(Trouble::uncertain(sent.class(), problem))
        })
    }
}

/// Headers travel only where the protocol has room for them.
fn headers_fit(spoken: Spoken, some: bool) -> Result<(), Problem> {
    if spoken.has_headers() || !some {
        return Ok(());
    }
    let hint = if spoken == Spoken::Mqtt3 { " (MQTT 5 has: `protocolVersion: '5.0'` of the server)" } else { "" };
    let what = format!("messages of {} have no headers, and `message.headers` has some{hint}", spoken.name());
    Err(Problem::standard(Standard::Configuration, what))
}

fn plan<'a>(document: &'a Document, wanted: &Wanted) -> Result<Plan<'a>, Problem> {
    let direction = wanted.direction();
    let found = document.find(wanted.channel.as_deref(), wanted.operation.as_deref(), direction)?;
    let target = server::choose(document, &found, wanted.server())?;
    let sent = (direction == Direction::Publish).then_some(&wanted.message);
    let address = server::channel_address(document, &found, target.spoken, direction, sent)?;
    // Version 5 has no bindings of its own name in practice: they stand under `mqtt`.
    let names: &[&str] = match target.spoken {
        Spoken::Mqtt5 => &["mqtt5", "mqtt"],
        Spoken::Mqtt3 => &["mqtt"],
        Spoken::Http => &["http"],
        Spoken::Nats => &["nats"],
        Spoken::Redis => &["redis"],
        Spoken::Ws => &["ws"],
    };
    let of = |at: Option<&'a Value>| names.iter().find_map(|name| document.binding(at, name));
    let binding = of(found.operation).or_else(|| of(Some(found.channel))).cloned().unwrap_or_default();
    let form = Form::of(document, &found);
    Ok(Plan { document, found, target, address, form, binding })
}

impl Connector for AsyncApi {
    fn name(&self) -> &str {
        "asyncapi"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        self.operations.to_vec()
    }

    fn examine(&self, planned: &Planned<'_>) -> Result<Option<Class>, Problem> {
        examine::examine(planned)
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut redactor = Redactor::default();
            let outcome = match self.perform(&request, &mut redactor).await {
                Ok(success) => Outcome::Succeeded(success),
                Err(trouble) => trouble.into(),
            };
            redactor.outcome(outcome)
        })
    }
}
