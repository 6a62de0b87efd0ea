//! Compiling whole definitions: what the plan is, where errors point, and that nothing makes the compiler panic.

mod elsewhere;
mod lint;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::plan::{Action, Backoff, Digest, NodeId, OnUnknown, Pin, PinKind, Plan, RETRIES_DEFAULT, Span, Then};
use super::*;
use crate::catalog::Class;
use crate::expression::{Limits, Scope};
use crate::json;

/// An environment of three operations and one agent.
struct World {
    version: &'static str,
}

const WORLD: World = World { version: "1.0.0" };

impl World {
    fn operations(&self) -> Vec<OperationSpec> {
        let spec = |name: &str, input: Value| OperationSpec {
            name: name.into(),
            version: self.version.into(),
            class: Class::AtMostOnce,
            reconciles: false,
            summary: "does what it does".into(),
            input,
            output: Value::Null,
        };
        let echo = json!({
            "type": "object", "additionalProperties": false, "required": ["text"],
            "properties": {"text": {"type": "string"}, "times": {"type": "integer"}},
        });
        vec![spec("test.echo", echo), spec("http.request", Value::Null), spec("agent.run", Value::Null)]
    }
}

impl Environment for World {
    fn workflow(&self, _name: &str, _version: Option<&str>) -> Option<Pin> {
        None
    }
    fn workflow_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn operation(&self, name: &str, version: Option<&str>) -> Option<OperationSpec> {
        self.operations().into_iter().find(|o| &*o.name == name && version.is_none_or(|v| v == &*o.version))
    }
    fn operation_names(&self) -> Vec<Arc<str>> {
        self.operations().into_iter().map(|o| o.name).collect()
    }
    fn policy(&self, _: &str, _: Option<&str>) -> Option<Arc<Policy>> {
        None
    }
    fn policy_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn agent(&self, name: &str, version: Option<&str>) -> Option<Pin> {
        let known = name == "helper" && version.is_none_or(|v| v == "2.1.0");
        let (name, version) = (Arc::from("helper"), Arc::from("2.1.0"));
        known.then_some(Pin { kind: PinKind::Agent, name, version, digest: Digest([9; 32]) })
    }
    fn agent_names(&self) -> Vec<Arc<str>> {
        vec!["helper".into()]
    }
}

const HEAD: &str = "document: { dsl: '1.0.3', namespace: t, name: w, version: '1.0.0' }\n";

fn compiled(body: &str) -> Compiled {
    let source = format!("{HEAD}{body}");
    compile(&source, "w.yaml", &WORLD)
        .unwrap_or_else(|e| panic!("{}", e.iter().map(Diagnostic::render).collect::<String>()))
}

fn plan(body: &str) -> Plan {
    compiled(body).plan
}

fn errors(body: &str) -> Vec<Diagnostic> {
    compile(&format!("{HEAD}{body}"), "w.yaml", &WORLD).expect_err("this definition is broken")
}

fn codes(body: &str) -> Vec<String> {
    errors(body).iter().map(|d| d.code.to_string()).collect()
}

fn node<'p>(plan: &'p Plan, pointer: &str) -> &'p plan::Node {
    plan.nodes.iter().find(|n| &*n.pointer == pointer).unwrap_or_else(|| panic!("no node at {pointer}"))
}

#[test]
fn nodes_stand_in_document_order_with_their_references() {
    let plan = plan(
        "do:
  - outer:
      do:
        - inner: { set: { x: 1 } }
  - x:
      try:
        - y: { set: { x: 1 } }
      catch:
        do:
          - z: { set: { x: 1 } }
  - f:
      fork:
        branches:
          - a: { set: { x: 1 } }
          - b: { set: { x: 1 } }
  - loop:
      for: { in: .items }
      do:
        - 'odd/na~me': { set: { x: 1 } }
",
    );
    let pointers: Vec<&str> = plan.nodes.iter().map(|n| &*n.pointer).collect();
    assert_eq!(
        pointers,
        [
            "",
            "/do/0/outer",
            "/do/0/outer/do/0/inner",
            "/do/1/x",
            "/do/1/x/try/0/y",
            "/do/1/x/catch/do/0/z",
            "/do/2/f",
            "/do/2/f/fork/branches/0/a",
            "/do/2/f/fork/branches/1/b",
            "/do/3/loop",
            "/do/3/loop/do/0/odd~1na~0me",
        ]
    );
    for (i, node) in plan.nodes.iter().enumerate() {
        assert_eq!(node.id.0 as usize, i);
        assert_eq!(node.parent.is_none(), i == 0);
    }
    let lines: Vec<u32> = plan.nodes.iter().map(|n| n.line).collect();
    assert!(lines.is_sorted() && lines[10] == 20, "{lines:?}");
    assert_eq!(node(&plan, "/do/0/outer").definition, json!({"do": [{"inner": {"set": {"x": 1}}}]}));
    assert_eq!((node(&plan, "/do/2/f/fork/branches/1/b").index, node(&plan, "/do/3/loop").index), (1, 3));
}

#[test]
fn loops_and_catches_bind_variables_for_what_is_inside() {
    let plan = plan(
        "do:
  - loop:
      for: { each: pet, in: .pets }
      while: $index < 3 and $pet != null
      do:
        - guarded:
            try:
              - say: { call: test.echo, with: { text: '${ $pet.name }' } }
            catch:
              as: failure
              when: $failure.status > 400 and $pet
              retry: { when: $failure.status != 404, delay: PT1S }
              do:
                - tell: { set: { was: '${ [$pet, $index, $failure] }' } }
",
    );
    let locals = |pointer: &str| -> Vec<String> { node(&plan, pointer).locals.iter().map(|l| l.to_string()).collect() };
    assert!(locals("/do/0/loop").is_empty());
    assert_eq!(locals("/do/0/loop/do/0/guarded"), ["$pet", "$index"]);
    assert_eq!(locals("/do/0/loop/do/0/guarded/try/0/say"), ["$pet", "$index"]);
    assert_eq!(locals("/do/0/loop/do/0/guarded/catch/do/0/tell"), ["$pet", "$index", "$failure"]);
    let Action::Try { catch, .. } = &node(&plan, "/do/0/loop/do/0/guarded").action else { panic!("a try") };
    let retry = catch.retry.as_ref().unwrap();
    assert_eq!(retry.retries_max, RETRIES_DEFAULT);
    assert!(matches!(retry.delay, Span::Fixed(d) if d == Duration::from_secs(1)));
    assert!(retry.when.as_ref().unwrap().uses().local(2), "the error is the last local");
}

#[test]
fn jumps_lead_to_tasks_of_the_same_list_ahead_and_back() {
    let plan = plan(
        "do:
  - a: { switch: [ { other: { then: c } }, { big: { when: .n > 1, then: b } } ], then: exit }
  - b: { if: .again, wait: PT1S, then: a }
  - c: { set: { x: 1 }, then: end }
",
    );
    let Action::Switch(cases) = &plan.nodes[1].action else { panic!("a switch") };
    let seen: Vec<_> = cases.iter().map(|c| (&*c.name, c.when.is_some(), c.then)).collect();
    assert_eq!(
        seen,
        [("big", true, Then::To(NodeId(2))), ("other", false, Then::To(NodeId(3)))],
        "the default comes last, wherever it was written"
    );
    assert_eq!(plan.nodes[1].then, Then::Exit);
    assert_eq!((plan.nodes[2].then, plan.nodes[3].then), (Then::To(NodeId(1)), Then::End));
}

#[test]
fn times_are_fixed_or_computed() {
    let plan = plan(
        "use: { timeouts: { short: { after: { seconds: 5 } } } }
timeout: { after: PT1H }
do:
  - a: { wait: PT0.5S, timeout: short }
  - b: { wait: '${ .delay }', timeout: { after: '${ .limit }' } }
",
    );
    assert!(matches!(plan.nodes[0].timeout, Some(Span::Fixed(d)) if d == Duration::from_secs(3600)));
    assert!(matches!(plan.nodes[1].timeout, Some(Span::Fixed(d)) if d == Duration::from_secs(5)));
    assert!(matches!(plan.nodes[1].action, Action::Wait(Span::Fixed(d)) if d == Duration::from_millis(500)));
    assert!(matches!(plan.nodes[2].timeout, Some(Span::Computed(_))));
    assert!(matches!(plan.nodes[2].action, Action::Wait(Span::Computed(_))));
}

#[test]
fn the_class_of_a_request_follows_its_method() {
    for (method, class) in
        [("get", Class::Safe), ("PUT", Class::Idempotent), ("Delete", Class::Idempotent), ("post", Class::AtMostOnce)]
    {
        let plan = plan(&format!(
            "do:\n  - a:\n      call: http\n      with: {{ method: {method}, endpoint: 'https://h/' }}\n"
        ));
        let Action::Call(call) = &plan.nodes[1].action else { panic!("a call") };
        assert_eq!(call.operation.class, class, "{method}");
        let with = call.with.constant().expect("nothing to compute");
        assert_eq!(with, &json!({"method": method.to_uppercase(), "endpoint": "https://h/"}));
    }
}

#[test]
fn variables_of_an_endpoint_are_encoded_and_must_be_there() {
    let plan = plan(
        "do:\n  - a:\n      call: http\n      with: { method: get, endpoint: 'https://h/m/{model}/v/{version-no}?q=\"\\' }\n",
    );
    let Action::Call(call) = &plan.nodes[1].action else { panic!("a call") };
    let limits = Limits::default();
    let input = json!({"model": "a b/ü", "version-no": 7});
    let made = call.with.eval(&Scope::new(&input, &limits)).unwrap();
    assert_eq!(made.get("endpoint"), Some(&json!("https://h/m/a%20b%2F%C3%BC/v/7?q=\"\\")));
    let lacking = json!({"model": "m"});
    let error = call.with.eval(&Scope::new(&lacking, &limits)).unwrap_err().to_string();
    assert!(error.contains("the endpoint needs `version-no`"), "{error}");
}

#[test]
fn agents_are_pinned_and_the_call_names_the_pinned_version() {
    let plan = plan("do:\n  - a: { call: agent.run, with: { agent: helper, prompt: '${ .q }' } }\n");
    let Action::Call(call) = &plan.nodes[1].action else { panic!("a call") };
    let limits = Limits::default();
    let input = json!({"q": "why?"});
    let made = call.with.eval(&Scope::new(&input, &limits)).unwrap();
    assert_eq!(made, json!({"agent": "helper:2.1.0", "prompt": "why?"}));
    let pins: Vec<_> = plan.pins.iter().map(|p| (p.kind, &*p.name, &*p.version)).collect();
    assert_eq!(pins, [(PinKind::Operation, "agent.run", "1.0.0"), (PinKind::Agent, "helper", "2.1.0")]);
    assert_eq!(
        plan.nodes[1].definition,
        json!({"call": "agent.run", "with": {"agent": "helper", "prompt": "${ .q }"}})
    );
}

#[test]
fn a_function_is_a_call_whose_input_is_the_evaluated_with() {
    let plan = plan(
        "use:
  functions:
    greet: { call: test.echo, with: { text: '${ \"hello \\(.who)\" }' } }
do:
  - a:
      call: greet
      with: { who: '${ .name }' }
      metadata: { cpd: { idempotencyKey: k, onUnknown: fault } }
",
    );
    let Action::Do(inner) = &plan.nodes[1].action else { panic!("a list of one") };
    let inner = plan.node(inner[0]);
    assert_eq!((&*inner.pointer, inner.parent), ("/do/0/a/call/greet", Some(NodeId(1))));
    assert_eq!((inner.on_unknown, inner.key.is_some(), plan.nodes[1].key.is_none()), (OnUnknown::Fault, true, true));
    let limits = Limits::default();
    let input = json!({"name": "Ada"});
    let seen = inner.input_from.as_ref().unwrap().eval(&Scope::new(&input, &limits)).unwrap();
    assert_eq!(seen, json!({"who": "Ada"}));
    let Action::Call(call) = &inner.action else { panic!("a call") };
    assert_eq!(call.with.eval(&Scope::new(&seen, &limits)).unwrap(), json!({"text": "hello Ada"}));
}

#[test]
fn the_digest_covers_the_source_and_what_it_was_resolved_to() {
    let source = format!("{HEAD}do:\n  - a: {{ call: test.echo, with: {{ text: x }} }}\n");
    let digest = |source: &str, world: World| compile(source, "w.yaml", &world).unwrap().plan.digest;
    let first = digest(&source, WORLD);
    assert_eq!(first, digest(&source, WORLD));
    assert_ne!(first, digest(&source.replace("text: x", "text: y"), WORLD));
    assert_ne!(first, digest(&source, World { version: "1.0.1" }));
    assert_eq!(first.to_string().len(), 64);
}

#[test]
fn the_head_of_a_document_is_typed() {
    let source = "document:
  dsl: 1.0.0
  namespace: fraud
  name: drift-management
  version: 2.0.1-rc.1
  title: T
  summary: S
  tags: { a: 1 }
  metadata:
    team: anything
    cpd:
      id: drift_management
      owner: me
      slo: { duration: PT8H, objective: 0.99, window: P30D }
      idempotency: { key: '${ .alert }' }
      schedule: { timeZone: Europe/Amsterdam, overlap: skip, catchUp: { mode: latest, window: PT6H }, jitter: PT2M, input: { model: m } }
schedule: { cron: '*/5 6-18/2 1,15 JAN-MAR MON-FRI', on: { one: { with: { type: x } } } }
do: [ { a: { set: { x: 1 } } } ]
";
    let Compiled { plan, warnings } = compile(source, "w.yaml", &WORLD).unwrap();
    assert_eq!((&*plan.namespace, &*plan.name, &*plan.version), ("fraud", "drift-management", "2.0.1-rc.1"));
    assert_eq!(
        (plan.title.as_deref(), plan.summary.as_deref(), plan.alias.as_deref()),
        (Some("T"), Some("S"), Some("drift_management"))
    );
    assert_eq!(plan.default_input, json!({"model": "m"}));
    assert_eq!(plan.start_key.as_ref().map(|k| k.source()), Some(".alert"));
    assert_eq!(plan.document.get("document").and_then(|d| d.get("dsl")), Some(&json!("1.0.0")));
    let said: Vec<&str> = warnings.iter().map(|w| &*w.code).collect();
    assert_eq!(said, ["schedule-not-fired"]);
    assert_eq!(alias_of(source).as_deref(), Some("drift_management"));
}

#[test]
fn retries_are_resolved_by_name_and_in_full() {
    let plan = plan(
        "use:
  retries:
    patient:
      delay: { seconds: 2 }
      backoff: { exponential: { factor: 3, maxDelay: PT1M } }
      jitter: { from: PT0S, to: PT1S }
      limit: { attempt: { count: 6, duration: PT30S }, duration: PT20M }
    hours: { delay: PT1M, backoff: { linear: {} }, limit: { duration: PT5H } }
do:
  - a: { try: [ { x: { set: { y: 1 } } } ], catch: { errors: { with: { status: 503, details: d } }, retry: patient } }
  - b: { try: [ { x: { set: { y: 1 } } } ], catch: { retry: hours } }
",
    );
    let retry = |i: usize| match &plan.nodes[i].action {
        Action::Try { catch, .. } => (&catch.filter, catch.retry.as_ref().unwrap()),
        other => panic!("{other:?}"),
    };
    let (filter, patient) = retry(1);
    assert_eq!((filter.status, filter.detail.as_deref(), &filter.kind), (Some(503), Some("d"), &None));
    assert_eq!(patient.backoff, Backoff::Exponential { factor: 3.0, delay_max: Some(Duration::from_secs(60)) });
    assert!(
        matches!(&patient.jitter, Some((Span::Fixed(Duration::ZERO), Span::Fixed(to))) if *to == Duration::from_secs(1))
    );
    assert_eq!((patient.retries_max, patient.attempt_max), (6, Some(Duration::from_secs(30))));
    assert!(matches!(patient.total_max, Some(Span::Fixed(d)) if d == Duration::from_secs(1200)));
    let (_, hours) = retry(3);
    assert_eq!((hours.retries_max, hours.backoff), (u32::MAX, Backoff::Linear { delay_max: None }));
}

#[test]
fn literal_lists_can_be_looped_over() {
    let plan = plan(
        "do:\n  - a:\n      for: { in: [ 1, 'a\\(.x)', { k: [ null, \"\\n\" ] } ] }\n      do: [ { b: { set: { x: 1 } } } ]\n",
    );
    let Action::For(looped) = &plan.nodes[1].action else { panic!("a loop") };
    let limits = Limits::default();
    let items = looped.items.eval(&Scope::new(&Value::Null, &limits)).unwrap();
    assert_eq!(items, json!([1, "a\\(.x)", {"k": [null, "\n"]}]));
}

#[test]
fn json_and_yaml_give_the_same_plan() {
    let yaml = compiled("do:\n  - a: { set: { x: '${ .y }' }, then: end }\n").plan;
    let text = yaml.document.to_json();
    let json = compile(&text, "w.json", &WORLD).unwrap().plan;
    assert_eq!(format!("{:?}", json.nodes[1].action), format!("{:?}", yaml.nodes[1].action));
    assert_eq!((json.document, json.nodes[1].then), (yaml.document, yaml.nodes[1].then));
}

#[test]
fn errors_carry_pointer_line_and_column() {
    let found = errors("do:\n  - a:\n      set:\n        total: '${ .items | smu }'\n  - b: { call: test.ecko }\n");
    let seen: Vec<_> = found.iter().map(|d| (&*d.code, &*d.pointer, d.span.map(|s| (s.line, s.column)))).collect();
    assert_eq!(
        seen,
        [
            ("invalid-expression", "/do/0/a/set/total", Some((5, 29))),
            ("unknown-operation", "/do/1/b/call", Some((6, 16)))
        ]
    );
    assert_eq!(&*found[0].file, "w.yaml");
}

#[test]
fn every_error_of_a_document_is_found_in_one_go() {
    let body = "do:
  - a: { call: test.echo, with: { txt: 1, times: many } }
  - a: { set: {} }
  - c: { then: nowhere, wait: P1M }
  - d: { for: { in: '.x |' }, do: [ { e: { raise: { error: unknown } } } ] }
";
    assert_eq!(
        codes(body),
        [
            "invalid-argument",
            "invalid-argument",
            "invalid-argument",
            "duplicate-task",
            "empty-object",
            "unknown-target",
            "invalid-duration",
            "invalid-expression",
            "unknown-error"
        ]
    );
}

#[test]
fn a_shared_component_is_blamed_once_however_often_it_is_used() {
    let body = "use: { timeouts: { t: { after: soon } } }\ndo:\n  - a: { set: { x: 1 }, timeout: t }\n  - b: { set: { x: 1 }, timeout: t }\n";
    assert_eq!(codes(body), ["invalid-duration"]);
}

#[test]
fn what_nothing_refers_to_is_checked_all_the_same() {
    let body = "use:\n  retries: { r: { when: '$error.status >' } }\n  functions: { f: { call: nothing.at.all } }\ndo: [ { a: { set: { x: 1 } } } ]\n";
    assert_eq!(codes(body), ["invalid-expression", "unknown-operation"]);
}

#[test]
fn kinds_of_documents_are_told_apart() {
    assert_eq!(kind_of("document: {}", "f"), Ok(DocumentKind::Workflow));
    assert_eq!(kind_of("cpd: policy/v1\nname: x", "f"), Ok(DocumentKind::Policy));
    assert_eq!(kind_of("name: x\nprovider: template", "f"), Ok(DocumentKind::Agent));
    assert_eq!(kind_of("a: 1", "f").unwrap_err()[0].code, "unknown-document");
    assert_eq!(kind_of("[", "f").unwrap_err()[0].code, "invalid-yaml");
}

/// Words of the language, so that random trees come near to definitions.
const WORDS: [&str; 48] = [
    "document",
    "dsl",
    "namespace",
    "name",
    "version",
    "metadata",
    "cpd",
    "id",
    "do",
    "call",
    "with",
    "http",
    "method",
    "endpoint",
    "set",
    "switch",
    "when",
    "then",
    "for",
    "each",
    "in",
    "at",
    "while",
    "fork",
    "branches",
    "compete",
    "try",
    "catch",
    "errors",
    "retry",
    "as",
    "raise",
    "error",
    "type",
    "status",
    "emit",
    "event",
    "wait",
    "timeout",
    "after",
    "input",
    "output",
    "export",
    "from",
    "if",
    "use",
    "retries",
    "functions",
];

fn any_document() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(WORDS.to_vec());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..700).prop_map(Value::from),
        word.clone().prop_map(Value::from),
        prop::sample::select(vec![
            "1.0.3",
            "PT1S",
            "${ .x }",
            "${",
            "${ $error }",
            ".x",
            "test.echo",
            "test.echo:1.0.0@default",
            "policy.evaluate",
            "agent.run",
            "https://h/{x}",
            "end",
            "a",
            "${ | }",
            "x ${ y } z",
            "é${ .ü | zü }",
        ])
        .prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(7, 60, 5, move |inner| {
        let members = prop::collection::vec((word.clone(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members.clone().prop_map(object),
            (prop::sample::select(vec!["a", "b", "end"]), members).prop_map(|(n, m)| object(vec![(n, object(m))])),
        ]
    });
    (
        prop::collection::vec((prop::sample::select(WORDS.to_vec()), tree.clone()), 0..4),
        prop::collection::vec(tree, 0..5),
    )
        .prop_map(|(members, tasks)| {
            let head = json!({"dsl": "1.0.3", "namespace": "t", "name": "w", "version": "1.0.0"});
            let named = tasks.into_iter().enumerate().map(|(i, t)| object(vec![(["a", "b", "c", "d", "e"][i % 5], t)]));
            let mut all = vec![("document", head), ("do", Value::from(named.collect::<Vec<_>>()))];
            all.extend(members);
            object(all)
        })
}

fn object(members: Vec<(&str, Value)>) -> Value {
    Value::from(members.into_iter().map(|(k, v)| (Arc::from(k), v)).collect::<crate::value::Map>())
}

/// Whatever comes out must be fit to be shown, and an error must say where it is.
fn holds(source: &str) {
    let found = match compile(source, "w.yaml", &WORLD) {
        Ok(compiled) => compiled.warnings,
        Err(found) => {
            assert!(!found.is_empty());
            found
        }
    };
    for d in found {
        if let Some(span) = d.span {
            assert!(source.get(span.start..span.end).is_some(), "{d:?}");
        }
        assert!(!d.message.is_empty() && !d.message.ends_with('.'), "{d:?}");
        let _ = (d.render(), serde_json::to_string(&d).unwrap());
    }
}

const SAMPLE: &str = include_str!("../../../../../definitions/workflows/fraud_drift_management.yaml");

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_compiler_panic(text in "\\PC{0,200}") {
        holds(&text);
        let _ = (kind_of(&text, "f"), read_value(&text, "f"), alias_of(&text));
    }

    #[test]
    fn no_tree_makes_the_compiler_panic(document in any_document()) {
        holds(&document.to_json());
    }

    #[test]
    fn no_change_of_a_good_definition_makes_the_compiler_panic(
        at in 0..SAMPLE.len(), length in 0usize..60, put in "[ \\n:{}\\[\\]$.|'\"a-z-]{0,6}",
    ) {
        let start = SAMPLE.floor_char_boundary(at);
        let end = SAMPLE.floor_char_boundary((at + length).min(SAMPLE.len())).max(start);
        holds(&format!("{}{put}{}", &SAMPLE[..start], &SAMPLE[end..]));
    }
}
