//! What occurs in many places.

use super::{about, any_of, closed, list_of, map_of, object, one_of_members, part, set, typed, words};
use crate::Value;

/// A text that is wholly `${ … }`.
const WHOLE: &str = r"^\s*\$\{[\s\S]*\}\s*$";

/// Every part, by name.
pub fn parts() -> Vec<(&'static str, Value)> {
    vec![
        ("expression", about("A jq expression; `${ … }` may be left out.", text("[\\s\\S]"))),
        ("computed", about("An expression: `${ … }`.", text(WHOLE))),
        ("filter", any_of([part("expression"), typed("object")])),
        ("duration", duration(true)),
        ("fixedDuration", duration(false)),
        ("timeout", timeout()),
        ("input", closed(&[], [("schema", schema()), ("from", part("filter"))])),
        ("output", closed(&[], [("schema", schema()), ("as", part("filter"))])),
        ("problem", problem()),
        ("retry", retry()),
        ("authentication", authentication()),
        ("resource", closed(&["endpoint"], [("name", typed("string")), ("endpoint", endpoint())])),
        ("events", events()),
        ("slo", slo()),
    ]
}

pub fn text(pattern: &str) -> Value {
    object([("type", Value::str("string")), ("pattern", Value::str(pattern))])
}

fn duration(computed: bool) -> Value {
    let mut count = typed("integer");
    set(&mut count, "minimum", Value::from(0_i64));
    let units = ["days", "hours", "minutes", "seconds", "milliseconds"].map(|u| (u, count.clone()));
    let mut object = closed(&[], units);
    set(&mut object, "minProperties", Value::from(1_i64));
    let iso = text(r"^P(?=.)(\d+(\.\d+)?W)?(\d+(\.\d+)?D)?(T(?=.)(\d+(\.\d+)?H)?(\d+(\.\d+)?M)?(\d+(\.\d+)?S)?)?$");
    let forms = [Some(iso), Some(object), computed.then(|| part("computed"))];
    about("A span of time: ISO 8601 such as `PT30S`, or `{ seconds: 30 }`.", any_of(forms.into_iter().flatten()))
}

fn timeout() -> Value {
    let by_name = about("The name of a time-out in `use.timeouts`.", typed("string"));
    any_of([by_name, closed(&["after"], [("after", part("duration"))])])
}

fn schema() -> Value {
    let members = [("format", text("^json(:|$)")), ("document", Value::object()), ("resource", part("resource"))];
    let mut schema = closed(&[], members);
    let either = ["document", "resource"].map(|k| object([("required", [Value::str(k)].into_iter().collect())]));
    set(&mut schema, "anyOf", either.into_iter().collect());
    schema
}

fn status() -> Value {
    let mut status = typed("integer");
    set(&mut status, "minimum", Value::from(100_i64));
    set(&mut status, "maximum", Value::from(599_i64));
    status
}

fn problem() -> Value {
    let texts = ["type", "title", "detail", "details", "instance"].map(|k| (k, typed("string")));
    closed(&["type", "status"], texts.into_iter().chain([("status", status())]))
}

/// `catch.errors`
pub fn error_filter() -> Value {
    let texts = ["type", "title", "detail", "details", "instance"].map(|k| (k, typed("string")));
    closed(&[], [("with", closed(&[], texts.into_iter().chain([("status", status())])))])
}

fn retry() -> Value {
    let delay_max = || ("maxDelay", part("fixedDuration"));
    let mut backoff = closed(
        &[],
        [
            ("constant", closed(&[], [])),
            ("linear", closed(&[], [delay_max()])),
            ("exponential", closed(&[], [("factor", typed("number")), delay_max()])),
        ],
    );
    one_of_members(&mut backoff, &["constant", "linear", "exponential"]);
    let mut count = typed("integer");
    set(&mut count, "minimum", Value::from(0_i64));
    let attempt = closed(&[], [("count", count), ("duration", part("fixedDuration"))]);
    let limit = closed(&[], [("attempt", attempt), ("duration", part("duration"))]);
    let span = || part("duration");
    let jitter = closed(&["from", "to"], [("from", span()), ("to", span())]);
    closed(
        &[],
        [
            ("when", part("expression")),
            ("exceptWhen", part("expression")),
            ("delay", about("How long to wait before the next attempt.", span())),
            ("backoff", about("How the delay grows.", backoff)),
            ("limit", about("When to give up; without one, after 10 retries.", limit)),
            ("jitter", about("A random part of the delay.", jitter)),
        ],
    )
}

fn authentication() -> Value {
    let schemes = ["basic", "bearer", "digest", "oauth2", "oidc"];
    let mut policy = closed(&[], schemes.map(|s| (s, typed("object"))));
    one_of_members(&mut policy, &schemes);
    let by_name = about("One of `use.authentications`.", closed(&["use"], [("use", typed("string"))]));
    any_of([by_name, policy])
}

/// An address, or one with credentials.
pub fn endpoint() -> Value {
    let members = [("uri", typed("string")), ("authentication", part("authentication"))];
    any_of([typed("string"), closed(&["uri"], members)])
}

/// Which events: of `listen.to` and of `schedule.on`.
fn events() -> Value {
    let correlate = map_of(closed(&["from"], [("from", part("expression")), ("expect", Value::object())]));
    let with = about("Attributes of the event, and what they must be.", typed("object"));
    let filter = closed(&["with"], [("with", with), ("correlate", correlate)]);
    let mut all = list_of(filter.clone());
    set(&mut all, "minItems", Value::from(1_i64));
    let until = any_of([part("expression"), words_false(), part("events")]);
    let members = [
        ("one", about("One event that fits.", filter.clone())),
        (
            "any",
            about("The first event that fits any of these; with `until`, all of them until then.", list_of(filter)),
        ),
        ("all", about("One event for each of these.", all)),
        ("until", until),
    ];
    let mut schema = closed(&[], members);
    one_of_members(&mut schema, &["one", "any", "all"]);
    schema
}

fn words_false() -> Value {
    object([("enum", [Value::Bool(false)].into_iter().collect())])
}

fn slo() -> Value {
    let span = || part("fixedDuration");
    closed(&[], [("duration", span()), ("objective", typed("number")), ("window", span())])
}

/// What `read` of events may be.
pub fn read() -> Value {
    words(&["data", "envelope", "raw"])
}
