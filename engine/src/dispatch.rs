//! Performing commands: a durable intent becomes a connector's call, and its outcome an input.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cpd_connector_api::attachment::{Condition, Conditions};
use cpd_connector_api::secret::{Redactor, Secret};
use cpd_connector_api::{Connector, Outcome, Reconciled, Request};
use cpd_core::Value;
use cpd_core::definition::plan::{Action, Call};
use cpd_core::expression::{Program, Template};
use cpd_core::machine::state::CallView;
use cpd_core::machine::turn::CallOutcome;
use cpd_core::machine::{ActId, Env, Frozen, Input, Run};
use cpd_core::problem::{Problem, Standard};
use cpd_core::value::Map;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::engine::Shared;
use crate::observe::Watch;

/// What became of a command.
pub(crate) enum Performed {
    /// The operation was ready at once.
    Now(Input),
    /// It needs a task of its own.
    Later(Pin<Box<dyn Future<Output = Input> + Send>>),
}

/// A call that goes on in a task of its own. It ends with its engine, and the engine's directory is not free before the
/// call is gone: the fields are dropped in this order.
pub(crate) struct InFlight {
    future: Pin<Box<dyn Future<Output = Input> + Send>>,
    shared: Arc<Shared>,
}

impl InFlight {
    pub(crate) fn new(future: Pin<Box<dyn Future<Output = Input> + Send>>, shared: Arc<Shared>) -> Self {
        Self { future, shared }
    }

    /// Tells the outcome, unless the engine ends first.
    pub(crate) async fn outcome(mut self, tell: impl FnOnce(Input)) {
        let ended = self.shared.ended.clone();
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            input = &mut self.future => tell(input),
        }
    }
}

/// The request for the call of an act.
pub(crate) fn request(
    shared: &Shared,
    run: &Run,
    act: ActId,
    call: &CallView<'_>,
    cancel: CancellationToken,
) -> Request {
    Request {
        operation: call.operation.name.clone(),
        version: call.operation.version.clone(),
        run: Arc::from(run.id.to_string()),
        workflow: run.plan.name.clone(),
        task: call.node.pointer.clone(),
        attempt: call.attempt,
        key: call.key.clone(),
        deadline: call.deadline,
        input: call.args.clone(),
        resources: run.plan.resources.clone(),
        conditions: conditions(shared, run, act),
        cancel,
    }
}

/// The expressions that a subscription asks about messages, each with what it can see now.
fn conditions(shared: &Shared, run: &Run, act: ActId) -> Conditions {
    let Some(act) = run.act(act) else { return Conditions::default() };
    let Action::Call(Call { conditions, .. }) = &run.node_of(act).action else { return Conditions::default() };
    let node = run.node_of(act);
    let env = Env { at: shared.clock.now(), limits: &shared.limits, runtime: &shared.runtime, stopwatch: || 0 };
    let condition = |program: &Option<Arc<Program>>, what: &'static str| {
        let program = program.clone()?;
        let frozen = Frozen::of_call(run, act, program.uses(), &env);
        let place = format!("evaluate `subscription.{what}` of task {} (line {})", node.name, node.line);
        Some(Condition::new(move |message| {
            let failed = |e| Problem::standard(Standard::Expression, format!("{place}: {e}"));
            frozen.holds(&program, message).map_err(failed)
        }))
    };
    Conditions {
        filter: condition(&conditions.filter, "filter"),
        proceed: condition(&conditions.proceed, "consume.while"),
        until: condition(&conditions.until, "consume.until"),
    }
}

/// Arguments of a call that mention secrets: what has to be known to evaluate what is sealed until then.
pub(crate) struct Sealed {
    with: Template,
    names: Vec<Arc<str>>,
    task: Arc<str>,
}

/// What is sealed in the arguments of a call, if anything is.
pub(crate) fn sealed(run: &Run, call: &CallView<'_>) -> Option<Sealed> {
    let Action::Call(Call { with, .. }) = &call.node.action else { return None };
    let names = || run.plan.secrets.iter().map(|name| Arc::from(&**name)).collect();
    with.is_sealed().then(|| Sealed { with: with.clone(), names: names(), task: Arc::from(&*call.node.name) })
}

impl Sealed {
    /// Whether looking the secrets up may keep others waiting.
    fn takes_time(&self, shared: &Shared) -> bool {
        self.names.iter().any(|name| shared.secrets.takes_time(name))
    }

    /// Looks up the secrets that the arguments mention and evaluates what is sealed; teaches them to the redactor that what comes
    /// back goes through. Neither leaves this process but in the call.
    ///
    /// # Errors
    /// If a secret is not there, or an expression fails.
    pub(crate) fn open(&self, shared: &Shared, request: &mut Request) -> Result<Redactor, Problem> {
        let mut redactor = Redactor::default();
        let mut secrets = Map::new();
        for name in &self.names {
            let Some(secret) = shared.secrets.secret(name) else {
                let detail = format!("call {}: there is no secret {name:?} in this process", request.operation);
                return Err(Problem::standard(Standard::Authorization, detail));
            };
            let value = match Value::from_json(secret.expose().as_bytes()) {
                Ok(value @ Value::Obj(_)) => value,
                Ok(_) | Err(_) => Value::str(secret.expose()),
            };
            teach(&mut redactor, &value);
            secrets.insert(name.clone(), value);
        }
        let unsealed = self.with.unseal(&request.input, &Value::from(secrets), &shared.limits);
        request.input = unsealed.map_err(|e| {
            let detail = format!("evaluate `with` of task {}: {e}", self.task);
            redactor.problem(Problem::standard(Standard::Expression, detail))
        })?;
        Ok(redactor)
    }
}

fn teach(redactor: &mut Redactor, value: &Value) {
    match value {
        Value::Str(text) => redactor.add(Secret::new(text)),
        Value::Arr(items) => items.iter().for_each(|v| teach(redactor, v)),
        Value::Obj(members) => members.values().for_each(|v| teach(redactor, v)),
        // An echo writes it as it stands here.
        Value::Num(_) => redactor.add(Secret::new(value.to_json())),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Calls (or questions) the connector of a request. The future is polled once in place: operations that are ready at once
/// cost no task.
pub(crate) fn perform(
    shared: &Arc<Shared>,
    mut request: Request,
    sealed: Option<Sealed>,
    reconcile: bool,
    (act, attempt): (ActId, u32),
    watch: Option<Watch>,
) -> Performed {
    let name = request.operation.split('.').next().unwrap_or_default();
    let Some(connector) = shared.connectors.get(name).cloned() else {
        let problem = missing(&request, "no such connector is configured in this process");
        return Performed::Now(Input::Outcome { act, attempt, outcome: CallOutcome::Refused(problem) });
    };
    let outside = Outside { clock: shared.clock.clone(), most: shared.data_limits.output_bytes };
    let asked = move |request, redactor| -> Pin<Box<dyn Future<Output = Input> + Send>> {
        if reconcile {
            Box::pin(watched(question(connector, request, redactor, act, attempt, outside), watch))
        } else {
            Box::pin(watched(call(connector, request, redactor, act, attempt, outside), watch))
        }
    };
    let refused = move |problem| Input::Outcome { act, attempt, outcome: CallOutcome::Refused(problem) };
    let redactor = match sealed {
        None => Redactor::default(),
        // A command that prints a secret may take seconds; the shard has other runs.
        Some(sealed) if sealed.takes_time(shared) => {
            let shared = shared.clone();
            return Performed::Later(Box::pin(async move {
                let opening = tokio::task::spawn_blocking(move || {
                    let redactor = sealed.open(&shared, &mut request);
                    redactor.map(|redactor| (request, redactor))
                });
                match opening.await {
                    Ok(Ok((request, redactor))) => asked(request, redactor).await,
                    Ok(Err(problem)) => refused(problem),
                    // Nothing was sent.
                    Err(e) => {
                        refused(Problem::standard(Standard::Runtime, format!("look up the secrets of a call: {e}")))
                    }
                }
            }));
        }
        Some(sealed) => match sealed.open(shared, &mut request) {
            Ok(redactor) => redactor,
            Err(problem) => return Performed::Now(refused(problem)),
        },
    };
    let mut future = asked(request, redactor);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(input) => Performed::Now(input),
        // A task polls it again at once, so the waker that this poll was given is never needed.
        Poll::Pending => Performed::Later(future),
    }
}

async fn watched(call: impl Future<Output = Input>, watch: Option<Watch>) -> Input {
    let input = call.await;
    if let Some(watch) = watch {
        watch.ended(&input);
    }
    input
}

async fn call(
    connector: Arc<dyn Connector>,
    request: Request,
    redactor: Redactor,
    act: ActId,
    attempt: u32,
    outside: Outside,
) -> Input {
    let operation = request.operation.clone();
    let outcome = AssertUnwindSafe(async { connector.call(request).await }).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|panic| Outcome::Unknown(panicked(&operation, panic.as_ref())));
    Input::Outcome { act, attempt, outcome: outside.converted(&operation, redactor.outcome(outcome)) }
}

async fn question(
    connector: Arc<dyn Connector>,
    request: Request,
    redactor: Redactor,
    act: ActId,
    attempt: u32,
    outside: Outside,
) -> Input {
    let operation = request.operation.clone();
    let answer = AssertUnwindSafe(async { connector.reconcile(request).await }).catch_unwind().await;
    let outcome = match answer {
        Ok(Reconciled::Happened(outcome)) => Some(outside.converted(&operation, redactor.outcome(outcome))),
        Ok(Reconciled::NotHappened) => None,
        Ok(Reconciled::CannotTell(problem)) => Some(CallOutcome::Unknown(redactor.problem(problem))),
        Err(panic) => Some(CallOutcome::Unknown(panicked(&operation, panic.as_ref()))),
    };
    Input::Reconciled { act, attempt, outcome }
}

/// How what comes back is taken in.
struct Outside {
    clock: Arc<dyn Clock>,
    /// The most bytes that an output may have.
    most: usize,
}

impl Outside {
    fn converted(&self, operation: &str, outcome: Outcome) -> CallOutcome {
        match outcome {
            Outcome::Succeeded(success) => match success.output.beyond(self.most) {
                // It happened, but its output is not one that a run can go on with.
                Some(found) => {
                    let detail = format!("the output of {operation} has {found} bytes, expected at most {}", self.most);
                    CallOutcome::Refused(Problem::standard(Standard::Validation, detail))
                }
                None => CallOutcome::Succeeded {
                    output: success.output.as_journaled(),
                    evidence: success.evidence.map(Value::as_journaled),
                },
            },
            Outcome::Refused(problem) => CallOutcome::Refused(problem),
            Outcome::Failed { problem, not_before } => {
                CallOutcome::Failed { problem, not_before: not_before.map(|d| self.clock.now().plus(d)) }
            }
            Outcome::Unknown(problem) => CallOutcome::Unknown(problem),
        }
    }
}

fn missing(request: &Request, why: &str) -> Problem {
    Problem::standard(Standard::Configuration, format!("call {} {}: {why}", request.operation, request.version))
}

fn panicked(operation: &str, panic: &(dyn std::any::Any + Send)) -> Problem {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let detail = format!("{operation} panicked: {}", text.unwrap_or("no message"));
    Problem::standard(Standard::Runtime, detail)
}
