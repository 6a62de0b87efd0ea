//! Calls of the language's protocols other than HTTP: `openapi`, `grpc`, `asyncapi`, `mcp`, `a2a`.
//!
//! Each is an operation of the connector of that name. What such a call refers to (a description, a proto file, an agent's
//! card) is loaded and pinned at registration, references to authentications are written out, and the connector is shown
//! the call, so that it can refuse what can never work and say how the call may be repeated.

use std::sync::Arc;

use super::call::has_expression;
use super::{Reader, Within};
use crate::Value;
use crate::catalog::OperationSpec;
use crate::definition::plan::{Action, Call, Conditions, For, NodeId};
use crate::definition::resolve::{self, Reference};
use crate::definition::yaml::Yaml;
use crate::expression::{Program, Template};

/// A protocol of the language.
pub struct Protocol {
    /// Its name in `call`.
    pub name: &'static str,
    /// The members of `with`.
    known: &'static [&'static str],
    /// Where in `with` documents are referred to.
    documents: &'static [&'static [&'static str]],
    /// Where in `with` authentications stand.
    authentications: &'static [&'static [&'static str]],
    /// What to use where no connector speaks it.
    instead: &'static str,
}

/// All of them but `http`.
pub static PROTOCOLS: [Protocol; 5] = [
    Protocol {
        name: "openapi",
        known: &["document", "operationId", "parameters", "authentication", "output", "redirect"],
        documents: &[&["document"]],
        authentications: &[&["authentication"]],
        instead: "use `call: http` with the method and path of the operation",
    },
    Protocol {
        name: "grpc",
        known: &["proto", "service", "method", "arguments"],
        documents: &[&["proto"]],
        authentications: &[&["service", "authentication"]],
        instead: "put the call behind an operation of a connector, or use `call: http` where there is a JSON gateway",
    },
    Protocol {
        name: "asyncapi",
        known: &["document", "channel", "operation", "server", "protocol", "message", "subscription", "authentication"],
        documents: &[&["document"]],
        authentications: &[&["authentication"]],
        instead: "use `call: http`, or an operation of a connector",
    },
    Protocol {
        name: "mcp",
        known: &["method", "parameters", "timeout", "transport", "client", "protocolVersion"],
        documents: &[],
        authentications: &[&["transport", "http", "endpoint", "authentication"]],
        instead: "use `call: agent.run`, or `call: http`",
    },
    Protocol {
        name: "a2a",
        known: &["agentCard", "server", "method", "parameters"],
        documents: &[&["agentCard"]],
        authentications: &[&["agentCard", "endpoint", "authentication"], &["server", "authentication"]],
        instead: "use `call: agent.run`, or `call: http`",
    },
];

impl<'a> Reader<'a> {
    /// A call of a protocol.
    pub fn protocol(
        &mut self,
        id: NodeId,
        protocol: &Protocol,
        call: &'a Yaml,
        with: Option<&'a Yaml>,
        within: &Within,
    ) -> Option<Action> {
        let name = protocol.name;
        let verb = match with {
            Some(with) if name == "asyncapi" => self.direction(with)?,
            _ => "call",
        };
        let operation = format!("{name}.{verb}");
        if self.env.operation(&operation, None).is_none() {
            self.not_yet(call.mark, &format!("`call: {name}`"), protocol.instead);
            return None;
        }
        let what = format!("`with` of `call: {name}`");
        let Some(with) = with else {
            self.error("missing-property", call.mark, format!("`call: {name}` has no `with`"));
            return None;
        };
        let before = self.errors;
        let fields = self.fields(with, &what, protocol.known)?;
        let mut value = with.value.clone();
        for path in protocol.documents {
            // An agent's card may be at an address that is only known when it is called: then it is fetched then.
            let later = |y: &&'a Yaml| name == "a2a" && has_expression(y);
            if let Some(resource) = path.iter().try_fold(with, |y, key| y.get(key)).filter(|y| !later(y)) {
                self.resource(resource, &format!("`with.{}`", path.join(".")));
            }
        }
        for path in protocol.authentications {
            if let Some(policy) = path.iter().try_fold(with, |y, key| y.get(key))
                && let Some(written_out) = self.authentication(policy)
            {
                value = replaced(&value, path, written_out);
            }
        }
        let (conditions, foreach) = match fields.get("subscription") {
            Some(subscription) => self.subscription(subscription, &mut value, within),
            None => (Conditions::default(), None),
        };
        if self.errors > before {
            return None;
        }
        let spec = self.operation(call, Reference { name: &operation, version: None, catalog: None })?;
        self.arguments(&spec, Some(with), &value, call);
        if self.errors > before {
            return None;
        }
        let Some(foreach) = foreach else {
            return self.performed(id, spec, Some(with), &value, conditions, call, within).map(Action::Call);
        };
        // First all messages, then what is done with each.
        let outer = self.node(id).pointer.clone();
        let pointer = Arc::from(format!("{outer}/subscribe"));
        let inner = self.reserve(Arc::from("subscribe"), pointer, (Some(id), 0), with, call.mark.line);
        self.node(inner).locals = within.locals.clone();
        let key = self.node(id).key.take();
        self.node(inner).key = key;
        let performed = self.performed(inner, spec, Some(with), &value, conditions, call, within)?;
        self.node(inner).action = Action::Call(performed);
        let pointer = Arc::from(format!("{outer}/messages"));
        let each = self.reserve(Arc::from("messages"), pointer, (Some(id), 1), foreach, foreach.mark.line);
        self.node(each).locals = within.locals.clone();
        let body = self.foreach(each, foreach, within);
        let items = Program::compile(".", &[]).ok()?;
        self.node(each).action = Action::For(For { items, condition: None, body, gather: true });
        Some(Action::Do(vec![inner, each]))
    }

    /// Which way messages go.
    fn direction(&mut self, with: &'a Yaml) -> Option<&'static str> {
        match (with.get("message"), with.get("subscription")) {
            (Some(_), None) => Some("publish"),
            (None, Some(_)) => Some("subscribe"),
            _ => {
                let message = "`with` of `call: asyncapi`: expected exactly one of `message` and `subscription`";
                self.error("wrong-shape", with.mark, message);
                None
            }
        }
    }

    /// `subscription`: its expressions are asked about each message, so they stay behind when `with` is evaluated.
    fn subscription(&mut self, yaml: &'a Yaml, value: &mut Value, within: &Within) -> (Conditions, Option<&'a Yaml>) {
        let what = "`with.subscription`";
        let Some(fields) = self.fields(yaml, what, &["filter", "consume", "foreach"]) else {
            return Default::default();
        };
        let condition = |reader: &mut Self, yaml: Option<&'a Yaml>, key: &str| {
            yaml.and_then(|y| reader.condition(y, &format!("`subscription.{key}`"), within)).map(Arc::new)
        };
        let mut conditions =
            Conditions { filter: condition(self, fields.get("filter"), "filter"), ..Conditions::default() };
        if let Some(consume) = self.required(fields, "consume", what) {
            let known = ["amount", "for", "while", "until"];
            let found = self.fields(consume, "`subscription.consume`", &known);
            conditions.proceed = condition(self, found.and_then(|f| f.get("while")), "consume.while");
            conditions.until = condition(self, found.and_then(|f| f.get("until")), "consume.until");
            if found.is_some_and(|f| known.iter().all(|key| f.get(key).is_none())) {
                let message = "`subscription.consume` is empty: nothing would ever end the subscription";
                self.error("endless-subscription", consume.mark, message).hint =
                    Some("give `amount`, `for`, `while` or `until`".into());
            }
        }
        for path in [
            &["subscription", "filter"][..],
            &["subscription", "foreach"],
            &["subscription", "consume", "while"],
            &["subscription", "consume", "until"],
        ] {
            *value = without(value, path);
        }
        (conditions, fields.get("foreach"))
    }

    /// The call of an operation whose arguments are known: the connector may look at it now.
    #[expect(clippy::too_many_arguments, reason = "all that a call is made of")]
    pub fn performed(
        &mut self,
        id: NodeId,
        mut operation: OperationSpec,
        with: Option<&'a Yaml>,
        value: &Value,
        conditions: Conditions,
        call: &'a Yaml,
        within: &Within,
    ) -> Option<Call> {
        let resources = self.resources.values().cloned().collect();
        let pointer = self.node(id).pointer.clone();
        match self.env.class_of(&pointer, &operation, value, &resources) {
            Ok(None) => {}
            Ok(Some(class)) => {
                self.pin(resolve::class_pin(&pointer, class));
                operation.class = class;
            }
            Err(problem) => {
                let what = problem.detail.unwrap_or(problem.title);
                self.error("invalid-argument", with.unwrap_or(call).mark, format!("`{}`: {what}", operation.name));
                return None;
            }
        }
        let with = match with {
            Some(with) => self.arguments_of(with, value, within)?,
            None => Template::compile(value, &[]).ok()?,
        };
        Some(Call { operation, with, conditions })
    }
}

/// The value with another member at a path that is there.
fn replaced(value: &Value, path: &[&str], with: Value) -> Value {
    edited(value, path, Some(with))
}

/// The value without the member at a path.
fn without(value: &Value, path: &[&str]) -> Value {
    edited(value, path, None)
}

fn edited(value: &Value, path: &[&str], with: Option<Value>) -> Value {
    let (Value::Obj(members), [key, rest @ ..]) = (value, path) else { return value.clone() };
    let Some(inner) = members.get(*key) else { return value.clone() };
    let mut members = (**members).clone();
    match (rest.is_empty(), with) {
        (true, None) => {
            members.shift_remove(*key);
        }
        (true, Some(with)) => {
            members.insert(Arc::from(*key), with);
        }
        (false, with) => {
            let inner = edited(inner, rest, with);
            members.insert(Arc::from(*key), inner);
        }
    }
    Value::from(members)
}
