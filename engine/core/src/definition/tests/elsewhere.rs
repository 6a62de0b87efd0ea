//! Documents that a definition refers to: what is wanted, what is pinned, and what is said when they are wrong.

use std::cell::RefCell;

use super::*;
use crate::problem::{Problem, Standard};
use crate::resource::{Loaded, Resource, Resources, Wanted};

/// An environment with documents.
struct Net {
    documents: Vec<(&'static str, &'static str)>,
    wanted: RefCell<Vec<Wanted>>,
}

impl Net {
    fn of(documents: &[(&'static str, &'static str)]) -> Self {
        Self { documents: documents.to_vec(), wanted: RefCell::default() }
    }

    fn compile(&self, body: &str) -> Result<Compiled, Vec<Diagnostic>> {
        compile(&format!("{HEAD}{body}"), "w.yaml", self)
    }

    fn plan(&self, body: &str) -> Plan {
        let rendered = |e: Vec<Diagnostic>| e.iter().map(Diagnostic::render).collect::<String>();
        self.compile(body).unwrap_or_else(|e| panic!("{}", rendered(e))).plan
    }

    fn error(&self, body: &str) -> Diagnostic {
        let errors = self.compile(body).expect_err("this definition is broken");
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors[0].clone()
    }
}

impl Environment for Net {
    fn workflow(&self, _: &str, _: Option<&str>) -> Option<Pin> {
        None
    }
    fn workflow_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn operation(&self, name: &str, version: Option<&str>) -> Option<OperationSpec> {
        let protocols = ["openapi.call", "grpc.call", "asyncapi.publish", "asyncapi.subscribe", "mcp.call", "a2a.call"];
        let spec = || OperationSpec {
            name: name.into(),
            version: "1.0.0".into(),
            class: Class::AtMostOnce,
            reconciles: false,
            summary: "speaks a protocol".into(),
            input: Value::Null,
            output: Value::Null,
        };
        protocols.contains(&name).then(spec).or_else(|| WORLD.operation(name, version))
    }
    fn operation_names(&self) -> Vec<Arc<str>> {
        WORLD.operation_names()
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
    fn class_of(
        &self,
        _: &str,
        operation: &OperationSpec,
        with: &Value,
        resources: &Resources,
    ) -> Result<Option<Class>, Problem> {
        if &*operation.name != "openapi.call" {
            return Ok(None);
        }
        let uri = with.get("document").and_then(|d| d.get("endpoint")).and_then(Value::as_str).unwrap_or("");
        let text = resources.get(uri)?.text()?.to_owned();
        let wanted = with.get("operationId").and_then(Value::as_str).unwrap_or("");
        let refused = || Problem::standard(Standard::Configuration, format!("there is no {wanted}"));
        text.contains(wanted).then_some(Some(Class::Safe)).ok_or_else(refused)
    }
    fn resource(&self, wanted: &Wanted) -> Loaded {
        self.wanted.borrow_mut().push(wanted.clone());
        match self.documents.iter().find(|(uri, _)| *uri == &*wanted.uri) {
            Some((uri, text)) if *text == "!" => Loaded::Failed(format!("GET {uri} answered 404").into()),
            Some((uri, text)) => Loaded::Found(Arc::new(Resource {
                uri: Arc::from(*uri),
                media_type: Some(Arc::from("text/yaml")),
                content: Arc::from(text.as_bytes()),
            })),
            None => Loaded::Absent,
        }
    }
}

#[test]
fn a_function_is_any_task_and_gets_with_as_its_input() {
    let plan = Net::of(&[]).plan(
        "use:
  functions:
    loud: { set: '${ .text | ascii_upcase }' }
    careful: { input: { from: .inner }, do: [ { again: { call: loud, with: { text: '${ .text }' } } } ] }
do:
  - a: { call: loud, with: { text: hi } }
  - b: { call: careful, with: { inner: { text: hi } } }
",
    );
    let pointers: Vec<&str> = plan.nodes.iter().map(|n| &*n.pointer).collect();
    assert_eq!(
        pointers,
        [
            "",
            "/do/0/a",
            "/do/0/a/call/loud",
            "/do/1/b",
            "/do/1/b/with/careful",
            "/do/1/b/call/careful",
            "/do/1/b/call/careful/do/0/again",
            "/do/1/b/call/careful/do/0/again/call/loud",
        ]
    );
}

#[test]
fn functions_that_call_each_other_for_ever_are_refused() {
    let d = Net::of(&[]).error(
        "use:
  functions:
    a: { call: b }
    b: { call: a }
do:
  - t: { call: a }
",
    );
    assert_eq!((&*d.code, d.message.contains("a → b → a")), ("nested-function", true), "{d:?}");
}

#[test]
fn a_function_sees_none_of_the_variables_around_its_call() {
    let d = Net::of(&[]).error(
        "use: { functions: { f: { set: { x: '${ $item }' } } } }
do:
  - l: { for: { in: '[1]' }, do: [ { t: { call: f } } ] }
",
    );
    assert_eq!(&*d.code, "invalid-expression");
}

#[test]
fn functions_of_catalogs_and_at_addresses_are_pinned_by_their_content() {
    let net = Net::of(&[
        ("https://example.com/cat/functions/log/1.2.0/function.yaml", "call: test.echo\nwith: { text: '${ .m }' }\n"),
        ("https://example.com/f.yaml", "set: { y: 2 }\n"),
    ]);
    let body = "use:
  catalogs: { mine: { endpoint: { uri: https://example.com/cat/ } } }
do:
  - a: { call: 'log:1.2.0@mine', with: { m: hi } }
  - b: { call: https://example.com/f.yaml }
";
    let plan = net.plan(body);
    let pins: Vec<_> = plan.pins.iter().filter(|p| p.kind == PinKind::Resource).map(|p| &*p.name).collect();
    assert_eq!(pins, ["https://example.com/cat/functions/log/1.2.0/function.yaml", "https://example.com/f.yaml"]);
    assert_eq!(plan.resources.iter().count(), 2);
    let other = Net::of(&[net.documents[0], ("https://example.com/f.yaml", "set: { y: 3 }\n")]);
    assert_ne!(other.plan(body).digest, plan.digest);
}

#[test]
fn what_is_wrong_in_a_function_from_elsewhere_is_said_at_its_call_with_its_own_line() {
    let net = Net::of(&[("https://example.com/f.yaml", "set:\n  x: '${ .a | nope }'\n")]);
    let d = net.error("do:\n  - t: { call: https://example.com/f.yaml }\n");
    assert_eq!((&*d.code, d.span.map(|s| s.line)), ("invalid-expression", Some(3)));
    assert!(d.message.starts_with("https://example.com/f.yaml:2:"), "{}", d.message);
    let net = Net::of(&[("https://example.com/f.yaml", "{ set: [")]);
    assert!(net.error("do:\n  - t: { call: https://example.com/f.yaml }\n").message.contains("f.yaml:1:"));
    let net = Net::of(&[("https://example.com/f.yaml", "{ call: nobody.there }")]);
    assert_eq!(net.error("do:\n  - t: { call: https://example.com/f.yaml }\n").code, "unknown-operation");
}

#[test]
fn a_document_that_cannot_be_had_is_an_error_at_its_place() {
    let net = Net::of(&[("https://example.com/gone.yaml", "!")]);
    let d = net.error("do:\n  - t: { call: https://example.com/gone.yaml }\n");
    assert_eq!((&*d.code, &*d.message), ("resource-unavailable", "GET https://example.com/gone.yaml answered 404"));
    assert_eq!(net.error("do:\n  - t: { call: https://example.com/never.yaml }\n").code, "resource-unavailable");
}

#[test]
fn unknown_catalogs_and_catalog_functions_without_a_version_are_refused() {
    let net = Net::of(&[]);
    let d = net.error("use: { catalogs: {} }\ndo:\n  - t: { call: 'f:1.0.0@mine' }\n");
    assert_eq!(&*d.code, "unknown-catalog");
    let d = net.error("use: { catalogs: { mine: { endpoint: https://x } } }\ndo:\n  - t: { call: f@mine }\n");
    assert_eq!(&*d.code, "missing-version");
}

#[test]
fn a_schema_may_stand_in_a_document_of_its_own() {
    let body = "input: { schema: { format: json, resource: { name: in, endpoint: https://example.com/s.json } } }
do: [ { t: { set: { x: 1 } } } ]
";
    let net = Net::of(&[("https://example.com/s.json", r#"{ "type": "object" }"#)]);
    assert!(net.plan(body).nodes[0].input_schema.is_some());
    let net = Net::of(&[("https://example.com/s.json", r#"{ "type": "objct" }"#)]);
    assert_eq!(net.error(body).code, "invalid-schema");
}

#[test]
fn an_address_is_literal_and_says_how_to_authenticate() {
    let net = Net::of(&[("https://example.com/s.json", "{}")]);
    let body = "use: { secrets: [ token ], authentications: { a: { bearer: { use: token } } } }
input: { schema: { resource: { endpoint: { uri: https://example.com/s.json, authentication: { use: a } } } } }
do: [ { t: { set: { x: 1 } } } ]
";
    net.plan(body);
    let wanted = net.wanted.borrow()[0].clone();
    assert_eq!(wanted.authentication, Some(json!({ "bearer": { "use": "token" } })));
    let d = net.error("input: { schema: { resource: { endpoint: '${ .x }' } } }\ndo: [ { t: { set: { x: 1 } } } ]\n");
    assert_eq!(&*d.code, "computed-resource");
}

#[test]
fn the_connector_says_how_a_call_may_be_repeated_and_what_can_never_work() {
    let net = Net::of(&[("https://example.com/api.json", "{ getPet: 1 }")]);
    let call = |operation: &str| {
        format!(
            "do:\n  - t: {{ call: openapi, with: {{ document: {{ endpoint: https://example.com/api.json }}, operationId: {operation} }} }}\n"
        )
    };
    let plan = net.plan(&call("getPet"));
    let Action::Call(found) = &node(&plan, "/do/0/t").action else { panic!("a call") };
    assert_eq!(found.operation.class, Class::Safe);
    assert!(plan.pins.iter().any(|p| p.kind == PinKind::Class && &*p.name == "/do/0/t" && &*p.version == "safe"));
    let d = net.error(&call("getDog"));
    assert_eq!((&*d.code, &*d.message), ("invalid-argument", "`openapi.call`: there is no getDog"));
}

#[test]
fn a_subscription_keeps_its_expressions_and_each_message_gets_its_foreach() {
    let net = Net::of(&[("https://example.com/a.yaml", "asyncapi: 3.0.0")]);
    let plan = net.plan(
        "do:
  - t:
      call: asyncapi
      with:
        document: { endpoint: https://example.com/a.yaml }
        operation: inbox
        subscription:
          filter: ${ .payload.n > 1 }
          consume: { amount: 2, while: '${ .payload.n < 9 }' }
          foreach: { item: m, at: i, do: [ { s: { set: { n: '${ $m.payload.n }' } } } ], output: { as: .n } }
",
    );
    let Action::Call(call) = &node(&plan, "/do/0/t/subscribe").action else { panic!("a call") };
    assert!(call.conditions.filter.is_some() && call.conditions.proceed.is_some() && call.conditions.until.is_none());
    let with = call.with.constant().expect("nothing of it is evaluated");
    assert_eq!(with.get("subscription"), Some(&json!({ "consume": { "amount": 2 } })));
    let Action::For(each) = &node(&plan, "/do/0/t/messages").action else { panic!("a loop") };
    assert!(each.gather);
}

#[test]
fn a_subscription_that_nothing_ends_and_a_call_both_ways_are_refused() {
    let net = Net::of(&[("https://example.com/a.yaml", "asyncapi: 3.0.0")]);
    let with = |rest: &str| {
        format!(
            "do:\n  - t: {{ call: asyncapi, with: {{ document: {{ endpoint: https://example.com/a.yaml }}, operation: o, {rest} }} }}\n"
        )
    };
    assert_eq!(net.error(&with("subscription: { consume: {} }")).code, "endless-subscription");
    assert_eq!(net.error(&with("protocol: http")).code, "wrong-shape");
    assert_eq!(
        net.error(&with("message: { payload: 1 }, subscription: { consume: { amount: 1 } }")).code,
        "wrong-shape"
    );
}

#[test]
fn extensions_are_held_against_their_form() {
    let extension =
        |text: &str| format!("use: {{ extensions: [ {{ x: {text} }} ] }}\ndo: [ {{ t: {{ set: {{ x: 1 }} }} }} ]\n");
    let net = Net::of(&[]);
    assert_eq!(net.error(&extension("{ extend: sets, before: [ { b: { set: { x: 1 } } } ] }")).code, "unknown-value");
    assert_eq!(net.error(&extension("{ before: [ { b: { set: { x: 1 } } } ] }")).code, "missing-property");
    let d = net.error(&extension("{ extend: set, before: [ { b: { set: { x: 1 }, then: nowhere } } ] }"));
    assert_eq!(&*d.code, "unknown-target");
    net.plan(&extension(
        "{ extend: set, when: '$task.name == \"t\"', before: [ { b: { set: { x: 1 }, then: exit } } ] }",
    ));
}
