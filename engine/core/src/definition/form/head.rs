//! What stands around the tasks: the document's head, `use`, `schedule`.

use super::parts::{parts, read, text};
use super::{
    DIALECT, Names, about, any_of, closed, list_of, map_of, named_items, object, part, set, tasks, typed, words,
};
use crate::Value;
use crate::definition::form::parts::endpoint;

pub fn workflow(names: &Names) -> Value {
    let members = [
        ("document", document()),
        ("input", about("What the workflow gets.", part("input"))),
        ("use", components()),
        ("do", about("The tasks.", part("tasks"))),
        ("timeout", about("How long a run may take.", part("timeout"))),
        ("output", about("What the workflow gives.", part("output"))),
        ("schedule", schedule()),
        ("evaluate", closed(&[], [("language", words(&["jq"])), ("mode", words(&["strict", "loose"]))])),
    ];
    let mut schema = closed(&["document", "do"], members);
    set(&mut schema, "$schema", Value::str(DIALECT));
    set(&mut schema, "title", Value::str("cpd workflow"));
    let more = [("tasks", tasks::list()), ("task", tasks::task(names))];
    set(&mut schema, "definitions", object(parts().into_iter().chain(more)));
    schema
}

fn document() -> Value {
    let label = || text("^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$");
    let members = [
        ("dsl", about("The version of the language.", text(r"^1\.0\.\d+"))),
        ("namespace", label()),
        ("name", about("A DNS label; people may type `_` for `-`.", label())),
        ("version", about("A semantic version.", text(r"^\d+\.\d+\.\d+([-+].*)?$"))),
        ("title", typed("string")),
        ("summary", typed("string")),
        ("tags", typed("object")),
        ("metadata", metadata()),
    ];
    closed(&["dsl", "namespace", "name", "version"], members)
}

fn metadata() -> Value {
    let span = || part("fixedDuration");
    let catch_up = closed(&[], [("mode", words(&["none", "latest", "all"])), ("window", span())]);
    let schedule = closed(
        &[],
        [
            ("timeZone", typed("string")),
            ("overlap", words(&["skip", "queue", "cancel", "allow"])),
            ("catchUp", catch_up),
            ("jitter", span()),
            ("input", about("The input of runs that are started without one.", Value::object())),
        ],
    );
    let members = [
        ("id", about("Another name to type.", text("^[A-Za-z0-9_-]{1,100}$"))),
        ("owner", typed("string")),
        ("idempotency", closed(&["key"], [("key", part("expression"))])),
        ("schedule", schedule),
        ("slo", part("slo")),
    ];
    let mut schema = typed("object");
    set(&mut schema, "properties", object([("cpd", closed(&[], members))]));
    schema
}

fn components() -> Value {
    let extension = closed(
        &["extend"],
        [
            ("extend", typed("string")),
            ("when", part("expression")),
            ("before", part("tasks")),
            ("after", part("tasks")),
        ],
    );
    let members = [
        ("authentications", map_of(part("authentication"))),
        ("catalogs", map_of(closed(&["endpoint"], [("endpoint", endpoint())]))),
        ("errors", map_of(part("problem"))),
        ("extensions", any_of([named_items(extension.clone()), map_of(extension)])),
        ("functions", map_of(part("task"))),
        ("retries", map_of(part("retry"))),
        ("secrets", about("The secrets that calls may mention.", list_of(typed("string")))),
        ("timeouts", map_of(closed(&["after"], [("after", part("duration"))]))),
    ];
    about("Parts that tasks refer to by name.", closed(&[], members))
}

fn schedule() -> Value {
    let members = [
        ("every", part("fixedDuration")),
        ("cron", about("Minute, hour, day of the month, month, day of the week.", typed("string"))),
        ("after", part("fixedDuration")),
        ("on", part("events")),
        ("read", read()),
    ];
    let mut schema = closed(&[], members);
    set(&mut schema, "minProperties", Value::from(1_i64));
    schema
}
