//! A Model Context Protocol server as an operation: what the workflow language's `call: mcp` becomes.
//!
//! A call opens a session, makes one request and closes the session. The protocol is spoken by `rmcp`, the official client; the two
//! transports are ours: [`door`] for streamable HTTP, over the client with limits that all connectors share, and [`pipe`] with
//! [`child`] for a server that is started for the call and spoken to over its standard input and output. Both keep the
//! result as it came, because the output is the JSON-RPC result, untouched.
//!
//! - **A tool that says `isError` has failed.** The call raises a `runtime` problem that carries the tool's content. It counts as
//!   failed, not as unknown: there is an answer, and an author who writes a retry for it means it.
//! - **Calling a tool is at-most-once**, because a tool may do anything; everything else reads. A tool's annotations say otherwise
//!   only where the operator trusts servers to tell the truth (`trust_annotations`): then an uncertain end of a tool that says
//!   `readOnlyHint` or `idempotentHint` is failed instead of unknown.
//! - **Programs run only if the operator allowed them** (`allow_stdio`, empty by default).
//! - The request's key goes along as the header `Idempotency-Key` and, for tools, in `_meta` as `cpd/idempotencyKey`.
//! - Lists come a page at a time, as the server gives them: `nextCursor` is in the output.
//!
//! Not here: sampling, elicitation and roots (a workflow has nobody to ask), subscriptions, tasks.

pub mod child;
pub mod door;
pub mod pipe;
pub mod session;
pub mod wanted;
pub mod witness;

use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::attachment::Planned;
use cpd_connector_api::guard::{ended, within};
use cpd_connector_api::{
    BoxFuture, Class, Connector, OperationSpec, Outcome, Problem, Request, Standard, Success, Value, json,
};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::authentication::Authenticator;
use crate::http::content::excerpt;
use crate::http::{HttpClient, Trouble};
use crate::rpc;
use child::Child;
use door::Door;
use pipe::Pipe;
use session::Session;
use wanted::{Guarded, Transport, Wanted};
use witness::Witness;

/// The methods of the workflow language.
pub const METHODS: [&str; 7] = [
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/read",
    "resources/templates/list",
];

/// The class of a method. A method that is not known is at-most-once.
pub fn class_of(method: &str) -> Class {
    match method {
        "tools/call" => Class::AtMostOnce,
        known if METHODS.contains(&known) => Class::Safe,
        _ => Class::AtMostOnce,
    }
}

/// `[connectors.mcp]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpConfig {
    /// Programs that a definition may start as a server, as it names them: `npx`, `/usr/local/bin/my-server`. Empty: none.
    pub allow_stdio: Vec<String>,
    /// How long a call may take, session included, if `with` says nothing shorter.
    pub timeout_ms: u64,
    /// Whether to believe tools that say of themselves that they only read or may be repeated.
    pub trust_annotations: bool,
}

impl Default for McpConfig {
    fn default() -> Self {
        Self { allow_stdio: Vec::new(), timeout_ms: 60_000, trust_annotations: false }
    }
}

/// The connector `mcp`.
#[derive(Clone, Debug)]
pub struct Mcp {
    config: Arc<McpConfig>,
    client: HttpClient,
    authenticator: Authenticator,
    spec: Arc<OperationSpec>,
}

impl Mcp {
    /// The connector over an authenticator, whose tokens and limits but the time it shares.
    pub fn new(config: McpConfig, authenticator: &Authenticator) -> Self {
        let client = authenticator.http().with_timeout(Duration::from_millis(config.timeout_ms));
        let spec = Arc::new(wanted::spec());
        Self { config: Arc::new(config), client, authenticator: authenticator.clone(), spec }
    }
}

impl Connector for Mcp {
    fn name(&self) -> &str {
        "mcp"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        vec![(*self.spec).clone()]
    }

    fn examine(&self, planned: &Planned<'_>) -> Result<Option<Class>, Problem> {
        Ok(planned.with.get("method").and_then(Value::as_str).map(class_of))
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut guarded = Guarded::default();
            match self.perform(&request, &mut guarded).await {
                Ok(Success { output, evidence }) => {
                    let evidence = evidence.map(|e| guarded.environment.value(&guarded.secrets.value(&e)));
                    Outcome::Succeeded(Success { output: guarded.secrets.value(&output), evidence })
                }
                Err(trouble) => guarded.environment.outcome(guarded.secrets.outcome(rpc::runtime(trouble).into())),
            }
        })
    }
}

impl Mcp {
    async fn perform(&self, request: &Request, guarded: &mut Guarded) -> Result<Success, Trouble> {
        let mut wanted = Wanted::read(request, &self.spec, guarded).map_err(Trouble::Refused)?;
        if let Transport::Stdio(program) = &wanted.transport {
            program.allowed(&self.config.allow_stdio).map_err(Trouble::Refused)?;
        }
        if let Some(why) = ended(request, &**self.client.clock()) {
            return Err(Trouble::failed(why.problem("before anything was sent")));
        }
        let first = self.authorized(&mut wanted, request, guarded).await?;
        let done = self.attempt(&wanted, request).await;
        // Turned away at the door, perhaps with a token that has run out. A fresh one is worth one more try.
        if let (Err(trouble), Transport::Http { policy: Some(policy), headers, .. }) = (&done, &wanted.transport)
            && trouble.problem().status == 401
        {
            self.authenticator.forget(policy, headers);
            if self.authorized(&mut wanted, request, guarded).await? != first {
                return self.attempt(&wanted, request).await;
            }
        }
        done
    }

    /// Puts credentials into the headers, if there is a policy. Returns what it put there.
    async fn authorized(
        &self,
        wanted: &mut Wanted,
        request: &Request,
        guarded: &mut Guarded,
    ) -> Result<Option<HeaderValue>, Trouble> {
        let Transport::Http { policy: Some(policy), headers, .. } = &mut wanted.transport else { return Ok(None) };
        self.authenticator.apply(policy, headers, request, &mut guarded.secrets).await?;
        Ok(headers.get(AUTHORIZATION).cloned())
    }

    async fn attempt(&self, wanted: &Wanted, request: &Request) -> Result<Success, Trouble> {
        let own = Duration::from_millis(self.config.timeout_ms);
        let limit = wanted.timeout.map_or(own, |asked| asked.min(own));
        let witness = Arc::new(Witness::default());
        let work = tokio::time::timeout(limit, self.exchange(wanted, &witness));
        let doing = || format!("while {} was under way with {}", wanted.method, wanted.transport.shown());
        match within(request, &**self.client.clock(), work).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => {
                let detail = format!("no answer within {} ms {}{}", limit.as_millis(), doing(), witness.remark());
                Err(witness.interrupted(wanted.class, Problem::standard(Standard::Timeout, detail)))
            }
            Err(why) => Err(witness.interrupted(wanted.class, why.problem(&doing()))),
        }
    }

    async fn exchange(&self, wanted: &Wanted, witness: &Arc<Witness>) -> Result<Success, Trouble> {
        match &wanted.transport {
            Transport::Http { url, headers, .. } => {
                let door = Door::new(&self.client, url.clone(), headers.clone(), wanted.class, witness.clone());
                let session = Session::open(door.transport(), wanted, witness).await?;
                self.converse(session, wanted, witness, None).await
            }
            Transport::Stdio(program) => {
                let (child, stdin, stdout) = Child::start(program).map_err(Trouble::Refused)?;
                let pipe = Pipe::new(stdout, stdin, self.client.config().answer_bytes_max, witness.clone());
                let session = match Session::open(pipe, wanted, witness).await {
                    Ok(session) => session,
                    Err(trouble) => return Err(child.explain(trouble).await),
                };
                self.converse(session, wanted, witness, Some(child)).await
            }
        }
    }

    async fn converse(
        &self,
        mut session: Session,
        wanted: &Wanted,
        witness: &Arc<Witness>,
        child: Option<Child>,
    ) -> Result<Success, Trouble> {
        let mut class = wanted.class;
        if class == Class::AtMostOnce && self.config.trust_annotations && session.may_repeat(&wanted.name()).await? {
            class = Class::Idempotent;
            witness.repeatable();
        }
        let answered = session.ask(wanted, class, witness).await;
        let mut evidence = session.about();
        session.close().await;
        let stderr = match child {
            None => None,
            Some(child) => Some(match answered {
                Err(trouble) => return Err(child.explain(trouble).await),
                Ok(_) => child.end().await,
            }),
        };
        if let (Value::Obj(members), Some(stderr)) = (&mut evidence, stderr.filter(|s| !s.is_empty())) {
            Arc::make_mut(members).insert("stderr".into(), Value::from(stderr));
        }
        let output = answered?;
        if output.get("isError").and_then(Value::as_bool) == Some(true) {
            return Err(Trouble::failed(tool_error(wanted, output)));
        }
        Ok(Success { output, evidence: Some(evidence) })
    }
}

/// The problem of a tool that says that it failed.
fn tool_error(wanted: &Wanted, output: Value) -> Problem {
    let said: Vec<_> = output
        .get("content")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .filter_map(|part| part.get("text").and_then(Value::as_str))
        .collect();
    let detail = format!("the tool {:?} failed: {}", wanted.name(), excerpt(said.join(" ").as_bytes()));
    let content = output.get("content").cloned().unwrap_or_default();
    let structured = output.get("structuredContent").cloned().unwrap_or_default();
    let data = json!({"tool": wanted.name(), "isError": true, "content": content, "structuredContent": structured});
    Problem::standard(Standard::Runtime, detail).with_data(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calling_a_tool_runs_at_most_once_and_everything_else_reads() {
        for method in METHODS {
            let expected = if method == "tools/call" { Class::AtMostOnce } else { Class::Safe };
            assert_eq!(class_of(method), expected, "{method}");
        }
        assert_eq!(class_of("tools/unheard-of"), Class::AtMostOnce);
    }
}
