//! The machine under a world that the test plays: a run is started, calls are answered by hand, time moves by hand, and
//! every recorded entry is folded and verified again at the end of each test.

mod approvals;
mod calls;
mod data;
mod errors;
mod extensions;
mod flow;
mod forks;
mod listen;
mod loops;
mod operate;
mod properties;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use super::turn::{CallOutcome, Env, Input, Rejected, Start, Turn, start};
use super::{ActId, Command, Event, Export, Handling, Phase, Piece, Resolution, Run, RunId, WakeSource};
use crate::Value;
use crate::catalog::{Class, OperationSpec};
use crate::definition::diagnostic::Diagnostic;
use crate::definition::plan::{Pin, Plan};
use crate::definition::{Environment, compile};
use crate::expression::Limits;
use crate::json;
use crate::policy::Policy;
use crate::problem::{Problem, Standard};
use crate::time::Timestamp;

const BEGIN: Timestamp = Timestamp(1_795_392_000_000_000);

/// One operation of each class, and one that can be asked what became of a call.
struct World;

impl World {
    fn operations() -> Vec<OperationSpec> {
        let spec = |name: &str, class, reconciles| OperationSpec {
            name: name.into(),
            version: "1.0.0".into(),
            class,
            reconciles,
            summary: "Something of the test's own.".into(),
            input: Value::Null,
            output: Value::Null,
        };
        vec![
            spec("test.read", Class::Safe, false),
            spec("test.put", Class::Idempotent, false),
            spec("test.once", Class::AtMostOnce, false),
            spec("test.asked", Class::AtMostOnce, true),
        ]
    }
}

impl Environment for World {
    fn workflow(&self, _name: &str, _version: Option<&str>) -> Option<Pin> {
        None
    }
    fn workflow_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn operation(&self, name: &str, _: Option<&str>) -> Option<OperationSpec> {
        Self::operations().into_iter().find(|o| &*o.name == name)
    }
    fn operation_names(&self) -> Vec<Arc<str>> {
        Self::operations().into_iter().map(|o| o.name).collect()
    }
    fn policy(&self, _: &str, _: Option<&str>) -> Option<Arc<Policy>> {
        None
    }
    fn policy_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn agent(&self, _: &str, _: Option<&str>) -> Option<Pin> {
        None
    }
    fn agent_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
}

/// The plan of a workflow whose body (everything below `document`) is this.
pub(crate) fn plan(body: &str) -> Arc<Plan> {
    let source = format!("document: {{ dsl: '1.0.3', namespace: t, name: w, version: '1.0.0' }}\n{body}");
    let compiled = compile(&source, "w.yaml", &World);
    let rendered = |e: Vec<Diagnostic>| e.iter().map(Diagnostic::render).collect::<String>();
    Arc::new(compiled.unwrap_or_else(|e| panic!("{}\n{source}", rendered(e))).plan)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The state of a run without its plan, to compare.
fn shown(run: &Run) -> String {
    let Run { id, phase, behaviour, started_at, input, context, acts, next_act, agenda, abandoned, events, .. } = run;
    format!(
        "{id} {phase:?} {behaviour} {started_at:?} {input:?} {context:?} {acts:#?} {next_act} {agenda:?} {abandoned:?} {events}"
    )
}

fn communication(status: u16) -> Problem {
    Problem::standard(Standard::Communication, "the other side failed").with_status(status)
}

fn ok(output: Value) -> CallOutcome {
    CallOutcome::Succeeded { output, evidence: None }
}

fn failed(status: u16) -> CallOutcome {
    CallOutcome::Failed { problem: communication(status), not_before: None }
}

fn unknown() -> CallOutcome {
    CallOutcome::Unknown(Problem::standard(Standard::Communication, "the connection broke"))
}

/// A call that waits for its answer.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    act: ActId,
    attempt: u32,
    task: String,
    key: String,
    args: Value,
    reconcile: bool,
}

/// A run and the world around it.
struct Sim {
    run: Run,
    now: Timestamp,
    limits: Limits,
    entries: Vec<(Timestamp, Vec<Event>)>,
    commands: Vec<Command>,
    /// Calls in flight, in the order in which they were made.
    asked: Vec<Asked>,
    /// Every call that was ever made.
    history: Vec<Asked>,
    /// Acts whose events are on their way.
    published: Vec<ActId>,
}

impl Sim {
    fn start(body: &str) -> Self {
        Self::start_with(body, json!({}))
    }

    fn start_with(body: &str, input: Value) -> Self {
        Self::start_plan(plan(body), input, RunId::new(BEGIN, [7; 10]))
    }

    fn start_plan(plan: Arc<Plan>, input: Value, id: RunId) -> Self {
        let limits = Limits::default();
        let env = Env { at: BEGIN, limits: &limits, runtime: &Value::Null, stopwatch: || 0 };
        let what = Start { input, key: None, actor: Arc::from("test") };
        let (run, turn) = start(id, plan, what, &env);
        let mut sim = Self {
            run,
            now: BEGIN,
            limits,
            entries: Vec::new(),
            commands: Vec::new(),
            asked: Vec::new(),
            history: Vec::new(),
            published: Vec::new(),
        };
        sim.record(turn);
        sim
    }

    fn env<'a>(limits: &'a Limits, at: Timestamp) -> Env<'a> {
        Env { at, limits, runtime: &Value::Null, stopwatch: || 0 }
    }

    fn record(&mut self, turn: Turn) {
        for command in &turn.commands {
            match command {
                Command::Call { act, attempt } | Command::Reconcile { act, attempt } => {
                    let reconcile = matches!(command, Command::Reconcile { .. });
                    // The call may have been given up in the very turn that made it.
                    let Some(call) = self.run.call(*act) else { continue };
                    let asked = Asked {
                        act: *act,
                        attempt: *attempt,
                        task: call.node.name.to_string(),
                        key: call.key.to_string(),
                        args: call.args.clone(),
                        reconcile,
                    };
                    self.history.push(asked.clone());
                    self.asked.push(asked);
                }
                Command::Publish { act } => self.published.push(*act),
                Command::CancelCall { act, attempt, .. } => {
                    self.asked.retain(|a| !(a.act == *act && a.attempt == *attempt));
                }
            }
        }
        self.commands.extend(turn.commands);
        if !turn.events.is_empty() {
            self.entries.push((self.now, turn.events));
        }
        if self.run.is_open() {
            assert!(!self.run.wake_sources().is_empty(), "an open run that nothing wakes: {}", shown(&self.run));
        } else {
            assert!(self.run.wake_sources().is_empty());
            assert_eq!(self.run.next_wake(), None);
        }
    }

    fn input(&mut self, input: Input) -> Result<(), Rejected> {
        let before = shown(&self.run);
        match self.run.turn(input, &Self::env(&self.limits, self.now)) {
            Ok(turn) => {
                self.record(turn);
                Ok(())
            }
            Err(rejected) => {
                assert_eq!(shown(&self.run), before, "a refused input changed the state: {rejected}");
                Err(rejected)
            }
        }
    }

    /// Goes on after yields.
    fn settle(&mut self) -> &mut Self {
        while self.run.has_more() {
            self.input(Input::Continue).expect("an open run goes on");
        }
        self
    }

    /// Names of the tasks whose calls are in flight.
    fn in_flight(&self) -> Vec<&str> {
        self.asked.iter().map(|a| &*a.task).collect()
    }

    /// Answers the oldest call of that task.
    fn answer(&mut self, task: &str, outcome: CallOutcome) -> &mut Self {
        let place = self.asked.iter().position(|a| a.task == task);
        let place = place.unwrap_or_else(|| panic!("{task} is not called, only {:?}", self.in_flight()));
        let Asked { act, attempt, reconcile, .. } = self.asked.remove(place);
        let input = if reconcile {
            Input::Reconciled { act, attempt, outcome: Some(outcome) }
        } else {
            Input::Outcome { act, attempt, outcome }
        };
        self.input(input).expect("a call in flight takes its outcome");
        self
    }

    /// The connector says that the call which it is asked about had not happened.
    fn not_happened(&mut self, task: &str) -> &mut Self {
        let place = self.asked.iter().position(|a| a.task == task && a.reconcile).expect("it is asked");
        let Asked { act, attempt, .. } = self.asked.remove(place);
        self.input(Input::Reconciled { act, attempt, outcome: None }).expect("the answer is waited for");
        self
    }

    /// Answers every call, until none is in flight.
    fn serve(&mut self, mut world: impl FnMut(&Asked) -> CallOutcome) -> &mut Self {
        while let Some(asked) = self.asked.first().cloned() {
            let outcome = world(&asked);
            self.answer(&asked.task, outcome);
        }
        self
    }

    /// Everybody who listens has every event that was emitted.
    fn hear(&mut self) -> &mut Self {
        for act in std::mem::take(&mut self.published) {
            // An act that was given up waits for nobody.
            drop(self.input(Input::Published { act }));
        }
        self
    }

    /// Moves time forward, firing every timer at its time.
    fn advance(&mut self, by: Duration) -> &mut Self {
        let end = self.now.plus(by);
        while let Some(wake) = self.run.next_wake().filter(|w| *w <= end) {
            self.now = self.now.max(wake);
            self.input(Input::Tick).expect("a timer is due");
        }
        self.now = end;
        self
    }

    /// Moves time to the next timer and fires it; how far that was.
    fn next_timer(&mut self) -> Duration {
        let wake = self.run.next_wake().expect("a timer");
        let by = wake.since(self.now);
        self.now = self.now.max(wake);
        self.input(Input::Tick).expect("a timer is due");
        by
    }

    fn cancel(&mut self) -> Result<(), Rejected> {
        self.input(Input::Cancel { actor: "me".into(), reason: "enough".into() })
    }

    fn pause(&mut self) -> Result<(), Rejected> {
        self.input(Input::Pause { actor: "me".into(), reason: "a moment".into() })
    }

    fn resume(&mut self) -> Result<(), Rejected> {
        self.input(Input::Resume { actor: "me".into(), reason: "go on".into() })
    }

    fn resolve(&mut self, task: Option<&str>, resolution: Resolution) -> Result<(), Rejected> {
        self.input(Input::Resolve { task: task.map(Arc::from), resolution, actor: "me".into() })
    }

    /// What recovery says of every call in flight.
    fn crash(&mut self) -> &mut Self {
        for Asked { act, attempt, .. } in std::mem::take(&mut self.asked) {
            self.input(Input::Interrupted { act, attempt }).expect("it was in flight");
        }
        self
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.entries.iter().flat_map(|(_, events)| events)
    }

    fn names(&self) -> Vec<&'static str> {
        self.events().map(Event::name).collect()
    }

    fn count(&self, name: &str) -> usize {
        self.events().filter(|e| e.name() == name).count()
    }

    /// The output of a run that completed, once its record was checked.
    fn output(&self) -> Value {
        self.check();
        match &self.run.phase {
            Phase::Completed { output } => output.clone(),
            other => panic!("it is {other:?}; {:?}", self.names()),
        }
    }

    /// The error of a run that faulted, once its record was checked.
    fn problem(&self) -> Problem {
        self.check();
        match &self.run.phase {
            Phase::Faulted { problem } => problem.clone(),
            other => panic!("it is {other:?}; {:?}", self.names()),
        }
    }

    fn detail(&self) -> String {
        self.problem().detail.expect("a detail").to_string()
    }

    /// Folds what was recorded, and verifies it: both must lead to the state of now.
    fn check(&self) {
        let live = shown(&self.run);
        assert_eq!(shown(&fold(&self.run, &self.entries)), live, "the fold differs from the live state");
        let (verified, commands) = verified(&self.run, &self.entries);
        assert_eq!(shown(&verified), live, "the verified state differs from the live state");
        assert_eq!(commands, self.commands, "replay releases other commands");
    }
}

/// Folds entries from nothing.
fn fold(of: &Run, entries: &[(Timestamp, Vec<Event>)]) -> Run {
    let (at, first) = &entries[0];
    let mut run = Run::begin(of.id, of.plan.clone(), &first[0], *at).expect("RunStarted begins a run");
    for (at, event) in entries.iter().flat_map(|(at, events)| events.iter().map(move |e| (at, e))).skip(1) {
        run.apply(event, *at, &mut Vec::new()).expect("a recorded event fits");
    }
    run
}

/// Verifies entries from nothing.
fn verified(of: &Run, entries: &[(Timestamp, Vec<Event>)]) -> (Run, Vec<Command>) {
    let limits = Limits::default();
    let mut commands = Vec::new();
    let (at, first) = &entries[0];
    let mut run = Run::begin(of.id, of.plan.clone(), &first[0], *at).expect("RunStarted begins a run");
    for (index, (at, events)) in entries.iter().enumerate() {
        let skip = usize::from(index == 0);
        run.verify_part(&events[skip..], skip > 0, &Sim::env(&limits, *at), &mut commands)
            .unwrap_or_else(|d| panic!("entry {index} diverges: {d}"));
    }
    (run, commands)
}
