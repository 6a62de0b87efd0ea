//! A session with a server: the handshake, one request, the end. Above the transports, below the operation.

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::{Class, Problem, Standard, Value, json};
use rmcp::RoleClient;
use rmcp::model::{
    ClientConfig, ClientRequest, Implementation, ListToolsRequest, PaginatedRequestParams, ProtocolVersion,
    RequestOptionalParam, ServerResult,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, PeerRequestOptions, RunningService, ServiceError,
    serve_client_with_lifecycle,
};
use rmcp::transport::IntoTransport;

use super::wanted::Wanted;
use super::witness::Witness;
use crate::http::Trouble;
use crate::http::content::excerpt;
use crate::rpc::{self, RpcError};

/// How long the end of a session may take: what there was to know is known by then.
const CLOSING: Duration = Duration::from_secs(2);

/// The most pages of tools that are looked through for one.
const PAGES_MAX: usize = 20;

/// An open session.
pub struct Session {
    service: RunningService<RoleClient, ClientConfig>,
    witness: Arc<Witness>,
    whom: String,
}

impl Session {
    /// Shakes hands: with `initialize`, or, for versions that have no handshake, by asking what the server can do.
    ///
    /// # Errors
    /// If no session comes about. Nothing has been asked for then: nothing is in doubt.
    pub async fn open<T, E, A>(transport: T, wanted: &Wanted, witness: &Arc<Witness>) -> Result<Self, Trouble>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let version: ProtocolVersion = Value::from(wanted.version.as_str()).to().map_err(|e| {
            Trouble::Refused(Problem::standard(Standard::Validation, format!("`protocolVersion`: {e}")))
        })?;
        let mut client = Implementation::new(&wanted.client.name, &wanted.client.version);
        client.description.clone_from(&wanted.client.description);
        let mut about = ClientConfig::new(Default::default(), client);
        about.protocol_version = version.clone();
        let mode = if version.has_initialize() {
            ClientLifecycleMode::Initialize
        } else {
            ClientLifecycleMode::Discover { preferred_versions: vec![version] }
        };
        let whom = wanted.transport.shown();
        let opened = tokio::select! {
            biased;
            trouble = witness.troubled() => return Err(trouble),
            opened = serve_client_with_lifecycle(about, transport, mode) => opened,
        };
        match opened {
            Ok(service) => Ok(Self { service, witness: witness.clone(), whom }),
            Err(e) => Err(witness.reason().unwrap_or_else(|| no_session(&whom, e))),
        }
    }

    /// Makes the request and returns its result as it came.
    ///
    /// # Errors
    /// What the server says, or what became of the request without an answer.
    pub async fn ask(&self, wanted: &Wanted, class: Class, witness: &Witness) -> Result<Value, Trouble> {
        witness.sending();
        let asked = async {
            let handle =
                self.service.send_cancellable_request(wanted.rpc.clone(), PeerRequestOptions::no_options()).await?;
            let id = serde_json::to_string(&handle.id).unwrap_or_default();
            handle.await_response().await.map(|result| (id, result))
        };
        let answered = tokio::select! {
            biased;
            answered = asked => answered,
            trouble = witness.troubled() => return Err(weigh(trouble, class)),
        };
        let doing = format!("{} at {}", wanted.method, self.whom);
        match answered {
            Ok((_, ServerResult::InputRequiredResult(_))) => {
                let what = format!("{doing} asks for more input, which a workflow does not have");
                Err(Trouble::Refused(Problem::standard(Standard::Runtime, what)))
            }
            Ok((id, typed)) => {
                let raw = witness.result(&id).map(Ok);
                raw.unwrap_or_else(|| Value::from_serialize(&typed)).map_err(|e| {
                    let what = format!("{doing} answered, but the result does not read: {e}");
                    Trouble::uncertain(class, Problem::standard(Standard::Runtime, what))
                })
            }
            Err(ServiceError::McpError(e)) => {
                let data = e.data.map(Value::from);
                Err(rpc::error(&doing, RpcError { code: e.code.0.into(), message: e.message.into_owned(), data }))
            }
            Err(e) => Err(witness.reason().map_or_else(
                || {
                    let what = format!("{doing} got no answer: {}{}", said(&e.to_string()), witness.remark());
                    Trouble::uncertain(class, Problem::standard(Standard::Runtime, what).with_status(502))
                },
                |trouble| weigh(trouble, class),
            )),
        }
    }

    /// Whether a tool says of itself that it only reads, or that a repeat changes nothing.
    ///
    /// # Errors
    /// If the server does not list its tools.
    pub async fn may_repeat(&mut self, tool: &str) -> Result<bool, Trouble> {
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let request: ListToolsRequest =
                RequestOptionalParam { method: Default::default(), params, extensions: Default::default() };
            let listed = tokio::select! {
                biased;
                listed = self.service.send_request(ClientRequest::ListToolsRequest(request)) => listed,
                // The tool has not been called yet: nothing is in doubt.
                trouble = self.witness.troubled() => return Err(weigh(trouble, Class::Safe)),
            };
            let page = match listed {
                Ok(ServerResult::ListToolsResult(page)) => page,
                // Without a list nobody says that it may be repeated.
                Ok(_) => return Ok(false),
                Err(_) => return self.witness.reason().map_or(Ok(false), |t| Err(weigh(t, Class::Safe))),
            };
            if let Some(found) = page.tools.iter().find(|t| t.name == tool) {
                let hints = found.annotations.as_ref();
                return Ok(hints.is_some_and(|h| h.read_only_hint == Some(true) || h.idempotent_hint == Some(true)));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(false)
    }

    /// What the log keeps of the server.
    pub fn about(&self) -> Value {
        let info = self.service.peer().peer_info();
        let server = info.as_ref().and_then(|i| i.server_info.as_ref());
        json!({
            "server": server.map(|s| json!({"name": s.name.as_str(), "version": s.version.as_str()})),
            "protocolVersion": info.as_ref().map(|i| i.protocol_version.as_str().to_owned()),
            "transport": self.whom.as_str(),
        })
    }

    /// Ends it, as far as the server lets go in time.
    pub async fn close(mut self) {
        if !matches!(self.service.close_with_timeout(CLOSING).await, Ok(Some(_))) {
            tracing::debug!(server = %self.whom, "a session did not end in time and is left to itself");
        }
    }
}

/// What the transport saw, where the operator trusts the tool more than its class.
fn weigh(trouble: Trouble, class: Class) -> Trouble {
    match trouble {
        Trouble::Unknown(problem) => Trouble::uncertain(class, problem),
        other => other,
    }
}

fn no_session(whom: &str, e: ClientInitializeError) -> Trouble {
    match e {
        ClientInitializeError::JsonRpcError(e) => {
            let data = e.data.map(Value::from);
            let error = RpcError { code: e.code.0.into(), message: e.message.into_owned(), data };
            rpc::error(&format!("the handshake with {whom}"), error)
        }
        other => {
            let refused = matches!(other, ClientInitializeError::NoCompatibleProtocolVersion { .. });
            let what = format!("shake hands with {whom}: {}", said(&other.to_string()));
            let problem = Problem::standard(Standard::Runtime, what).with_status(502);
            if refused { Trouble::Refused(problem) } else { Trouble::failed(problem) }
        }
    }
}

/// A library's sentence, cut short: it may quote whole messages.
fn said(text: &str) -> String {
    excerpt(text.as_bytes())
}
