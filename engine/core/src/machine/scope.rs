//! What an expression can see at its place: `$context`, `$input`, `$output`, `$task`, `$workflow`, `$runtime` and the
//! variables of loops and catches. Descriptors are built only for expressions that mention them.

use std::cell::OnceCell;

use crate::Value;
use crate::definition::plan::{Node, NodeId};
use crate::expression::{EvalError, Global, Limits, Program, Scope, Uses};
use crate::json;
use crate::time::Timestamp;
use crate::value::Map;

use super::state::{Act, Binding, Run};
use super::turn::Env;

/// A place in a definition where expressions are evaluated, during a run.
pub struct Place<'a> {
    run: &'a Run,
    act: &'a Act,
    node: &'a Node,
    env: &'a Env<'a>,
    locals: &'a [Value],
    input: Option<&'a Value>,
    output: Option<&'a Value>,
    task: OnceCell<Value>,
    workflow: OnceCell<Value>,
}

impl<'a> Place<'a> {
    pub(super) fn new(run: &'a Run, act: &'a Act, node: &'a Node, env: &'a Env<'a>, locals: &'a [Value]) -> Self {
        let (task, workflow) = (OnceCell::new(), OnceCell::new());
        Self { run, act, node, env, locals, input: None, output: None, task, workflow }
    }

    /// `$input` here.
    pub(super) fn input(mut self, input: &'a Value) -> Self {
        self.input = Some(input);
        self
    }

    /// `$output` here.
    pub(super) fn output(mut self, output: &'a Value) -> Self {
        self.output = Some(output);
        self
    }

    pub(super) fn node(&self) -> &'a Node {
        self.node
    }

    pub(super) fn run(&self) -> &'a Run {
        self.run
    }

    pub(super) fn act(&self) -> &'a Act {
        self.act
    }

    /// Evaluates with `.` being `dot`.
    pub(super) fn with<T>(&self, uses: &Uses, dot: &Value, f: impl FnOnce(&Scope<'_>) -> T) -> T {
        let mut scope = Scope::new(dot, self.env.limits).locals(self.locals).now(self.env.at);
        for global in Global::ALL.into_iter().filter(|g| uses.global(*g)) {
            scope = scope.with(global, self.value(global));
        }
        f(&scope)
    }

    fn value(&self, global: Global) -> &Value {
        static NULL: Value = Value::Null;
        match global {
            Global::Context => &self.run.context,
            Global::Input => self.input.unwrap_or(&NULL),
            Global::Output => self.output.unwrap_or(&NULL),
            Global::Task => self.task.get_or_init(|| self.describe_task()),
            Global::Workflow => self.workflow.get_or_init(|| self.describe_workflow()),
            Global::Runtime => self.env.runtime,
            // Secrets are looked up at the moment of a call; callers have no claims yet.
            Global::Secrets | Global::Authorization => &NULL,
        }
    }

    fn describe_task(&self) -> Value {
        if let Some(subject) = self.node.subject {
            return self.describe_subject(subject);
        }
        json!({
            "name": *self.node.name,
            "reference": *self.node.pointer,
            "definition": self.node.definition,
            "input": self.input.cloned().unwrap_or_default(),
            "output": self.output.cloned().unwrap_or_default(),
            "startedAt": date(self.act.started_at),
        })
    }

    /// In an extension `$task` is the extended task. Examples of the specification read its definition as if it were the
    /// descriptor itself (`$task.with`), so it is that as well.
    fn describe_subject(&self, subject: NodeId) -> Value {
        let node = self.run.plan.node(subject);
        let (act, output) = self.run.subject_of(self.act, subject);
        let mut members: Map = node.definition.as_object().cloned().unwrap_or_default();
        let descriptor = json!({
            "name": *node.name,
            "reference": *node.pointer,
            "definition": node.definition,
            "input": act.input,
            "output": output.cloned().unwrap_or_default(),
            "startedAt": date(act.started_at),
        });
        members.extend(descriptor.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        Value::from(members)
    }

    fn describe_workflow(&self) -> Value {
        json!({
            "id": self.run.id.to_string(),
            "definition": self.run.plan.document,
            "input": self.run.input,
            "startedAt": date(self.run.started_at),
        })
    }
}

fn date(at: Timestamp) -> Value {
    json!({
        "iso8601": at.to_string(),
        "epoch": { "seconds": at.as_secs(), "milliseconds": at.as_millis() },
    })
}

/// What an expression saw at its place when this was made, to be asked again about other data.
#[derive(Clone, Debug)]
pub struct Frozen {
    globals: Vec<(Global, Value)>,
    locals: Vec<Value>,
    at: Timestamp,
    limits: Limits,
}

impl Frozen {
    /// What an expression in the arguments of that act's call can see.
    pub fn of_call(run: &Run, act: &Act, uses: &Uses, env: &Env<'_>) -> Self {
        let locals = Binding::flatten(act.bindings.as_ref());
        let place = Place::new(run, act, run.node_of(act), env, &locals).input(&act.input);
        let globals = Global::ALL.into_iter().filter(|g| uses.global(*g));
        let globals = globals.map(|g| (g, place.value(g).clone())).collect();
        Self { globals, locals: locals.clone(), at: env.at, limits: env.limits.clone() }
    }

    /// Whether `program` holds with `.` being `dot`.
    ///
    /// # Errors
    /// If the expression fails.
    pub fn holds(&self, program: &Program, dot: &Value) -> Result<bool, EvalError> {
        let scope = Scope::new(dot, &self.limits).locals(&self.locals).now(self.at);
        program.test(&self.globals.iter().fold(scope, |scope, (global, value)| scope.with(*global, value)))
    }
}
