//! Tasks.

use super::parts::{error_filter, read};
use super::{
    Names, about, any_of, calls, closed, list_of, named_items, object, one_of_members, part, set, typed, words,
};
use crate::Value;

/// The kinds of tasks, with words for people.
const KINDS: [(&str, &str); 12] = [
    ("call", "Calls an operation of a connector, a function or a protocol."),
    ("do", "Runs tasks one after the other; in a `for`, for each item."),
    ("emit", "Publishes an event."),
    ("for", "Runs tasks for each item of a list."),
    ("fork", "Runs branches side by side."),
    ("listen", "Waits for events."),
    ("raise", "Raises an error."),
    ("run", "Runs a workflow or a process."),
    ("set", "Sets the data."),
    ("switch", "Goes on by the first case that holds."),
    ("try", "Guards tasks against errors."),
    ("wait", "Waits for a span of time."),
];

/// A list of tasks.
pub fn list() -> Value {
    named_items(part("task"))
}

/// A task.
pub fn task(names: &Names) -> Value {
    let actions = [
        ("call", calls::name(names)),
        ("do", part("tasks")),
        ("emit", emit()),
        ("for", each()),
        ("fork", closed(&["branches"], [("branches", part("tasks")), ("compete", typed("boolean"))])),
        ("listen", closed(&["to"], [("to", part("events")), ("read", read())])),
        ("raise", closed(&["error"], [("error", any_of([typed("string"), part("problem")]))])),
        ("run", run()),
        ("set", set_()),
        ("switch", named_items(closed(&["then"], [("when", part("expression")), ("then", typed("string"))]))),
        ("try", part("tasks")),
        ("wait", part("duration")),
    ];
    let actions = actions.into_iter().zip(KINDS).map(|((key, schema), (_, text))| (key, about(text, schema)));
    let more = [
        ("if", about("Whether the task is run at all.", part("expression"))),
        ("input", about("What the task gets.", part("input"))),
        ("output", about("What the task gives.", part("output"))),
        ("export", about("What `$context` becomes.", part("output"))),
        ("timeout", about("How long the task may take.", part("timeout"))),
        ("then", about("`continue`, `exit`, `end`, or a task of the same list.", typed("string"))),
        ("metadata", metadata()),
        ("with", about("The arguments of the call.", typed("object"))),
        ("while", about("Whether there is another round.", part("expression"))),
        ("catch", about("What is done about errors.", catch())),
        ("foreach", about("What is done with each event.", foreach())),
    ];
    let mut schema = closed(&[], actions.chain(more));
    // `do` is the body of a loop where there is a `for`.
    let alone = |key: &str| {
        let required = object([("required", [Value::str(key)].into_iter().collect())]);
        if key != "do" {
            return required;
        }
        let not_for = object([("required", [Value::str("for")].into_iter().collect())]);
        let mut schema = required;
        set(&mut schema, "not", not_for);
        schema
    };
    set(&mut schema, "oneOf", KINDS.iter().map(|(key, _)| alone(key)).collect());
    let needs = [
        ("with", &["call"][..]),
        ("while", &["for"]),
        ("for", &["do"]),
        ("catch", &["try"]),
        ("try", &["catch"]),
        ("foreach", &["listen"]),
    ];
    let needs = needs.map(|(key, others)| (key, others.iter().map(Value::str).collect()));
    set(&mut schema, "dependencies", object(needs));
    set(&mut schema, "allOf", calls::arguments(names));
    schema
}

fn emit() -> Value {
    let mut with = typed("object");
    set(&mut with, "required", [Value::str("type")].into_iter().collect());
    let texts = ["id", "source", "type", "time", "subject", "datacontenttype", "dataschema"];
    set(&mut with, "properties", object(texts.map(|k| (k, typed("string")))));
    closed(&["event"], [("event", closed(&["with"], [("with", with)]))])
}

fn each() -> Value {
    let items = any_of([part("expression"), list_of(Value::object())]);
    closed(&["in"], [("each", typed("string")), ("in", items), ("at", typed("string"))])
}

/// What is done with each event of a listen.
pub fn foreach() -> Value {
    let members = [
        ("item", typed("string")),
        ("at", typed("string")),
        ("do", part("tasks")),
        ("output", part("output")),
        ("export", part("output")),
    ];
    closed(&[], members)
}

fn run() -> Value {
    let texts = ["namespace", "name", "version"].map(|k| (k, typed("string")));
    let input = any_of([part("computed"), typed("object")]);
    let workflow = closed(&["namespace", "name", "version"], texts.into_iter().chain([("input", input)]));
    let kinds = ["container", "script", "shell", "workflow"];
    let members = kinds.map(|k| (k, if k == "workflow" { workflow.clone() } else { typed("object") }));
    let more = [("await", typed("boolean")), ("return", words(&["stdout", "stderr", "code", "all", "none"]))];
    let mut schema = closed(&[], members.into_iter().chain(more));
    one_of_members(&mut schema, &kinds);
    schema
}

fn set_() -> Value {
    let mut members = typed("object");
    set(&mut members, "minProperties", Value::from(1_i64));
    any_of([members, part("computed")])
}

fn catch() -> Value {
    let members = [
        ("errors", about("Which errors are caught; without it, all.", error_filter())),
        ("as", typed("string")),
        ("when", part("expression")),
        ("exceptWhen", part("expression")),
        ("retry", any_of([about("The name of one of `use.retries`.", typed("string")), part("retry")])),
        ("do", part("tasks")),
        ("then", about("Where to go after an error was caught.", typed("string"))),
    ];
    closed(&[], members)
}

fn metadata() -> Value {
    let members = [
        ("idempotencyKey", typed("string")),
        ("onUnknown", words(&["ask", "retry", "fault"])),
        ("slo", part("slo")),
        ("risk", typed("string")),
    ];
    let mut schema = typed("object");
    set(&mut schema, "properties", object([("cpd", closed(&[], members))]));
    schema
}
