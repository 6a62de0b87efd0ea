//! Calls: which there are, and what `with` of each is.

use super::parts::{endpoint, text};
use super::{Names, about, any_of, closed, object, one_of_members, part, set, tasks, typed, words};
use crate::Value;
use crate::value::Map;

/// The protocols of the language other than HTTP, with the members of `with`.
const PROTOCOLS: [(&str, &[&str]); 5] = [
    ("openapi", &["document", "operationId", "parameters", "authentication", "output", "redirect"]),
    ("grpc", &["proto", "service", "method", "arguments"]),
    (
        "asyncapi",
        &["document", "channel", "operation", "server", "protocol", "message", "subscription", "authentication"],
    ),
    ("mcp", &["method", "parameters", "timeout", "transport", "client", "protocolVersion"]),
    ("a2a", &["agentCard", "server", "method", "parameters"]),
];

const METHODS: [&str; 7] = ["get", "head", "options", "put", "delete", "post", "patch"];

/// Schemas deeper than this are not followed.
const DEEPEST: usize = 16;

/// What `call` may be: the names that are known for completion, and any other.
pub fn name(names: &Names) -> Value {
    let known = ["approval.request", "http", "policy.evaluate"].into_iter().chain(PROTOCOLS.iter().map(|(p, _)| *p));
    let known: Vec<&str> = known.chain(names.operations.iter().map(|o| &*o.name)).collect();
    any_of([words(&known), about("An operation, perhaps with `:version`; or a function.", typed("string"))])
}

/// What `with` is for each call.
pub fn arguments(names: &Names) -> Value {
    let mut out = vec![
        when("^(http|http\\.request(:.*)?)$", Some(http()), true),
        when("^policy\\.evaluate(:.*)?$", Some(decide(names)), true),
        when("^approval\\.request(:.*)?$", Some(approve()), true),
    ];
    for (protocol, known) in PROTOCOLS {
        let members = known.iter().map(|key| match (protocol, *key) {
            ("asyncapi", "subscription") => (*key, subscription()),
            (_, "document" | "proto") => (*key, part("resource")),
            _ => (*key, Value::object()),
        });
        let mut with = closed(&[], members);
        if protocol == "asyncapi" {
            one_of_members(&mut with, &["message", "subscription"]);
        }
        out.push(when(&format!("^{protocol}$"), Some(with), true));
    }
    for operation in names.operations.iter().filter(|o| &*o.name != "http.request" && !o.input.is_null()) {
        let pattern = format!("^{}([:@].*)?$", operation.name.replace('.', "\\."));
        let mut with = soft(&operation.input, &operation.input, 0);
        if &*operation.name == "agent.run" && !names.agents.is_empty() {
            suggest(&mut with, "agent", &names.agents);
        }
        let needed = operation.input.get("required").and_then(Value::as_array).is_some_and(|r| !r.is_empty());
        out.push(when(&pattern, Some(about(&operation.summary, with)), needed));
    }
    Value::from(out)
}

/// For calls whose name fits a pattern: what `with` is, and whether it must be there.
fn when(pattern: &str, with: Option<Value>, needed: bool) -> Value {
    let required = |key: &str| [Value::str(key)].into_iter().collect::<Value>();
    let condition = object([("required", required("call")), ("properties", object([("call", text(pattern))]))]);
    let mut then = Value::object();
    if let Some(with) = with {
        set(&mut then, "properties", object([("with", with)]));
    }
    if needed {
        set(&mut then, "required", required("with"));
    }
    object([("if", condition), ("then", then)])
}

fn http() -> Value {
    let either = |m: &str| -> String {
        m.chars().map(|c| format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase())).collect()
    };
    let any_case = METHODS.map(either).join("|");
    let members = [
        ("method", any_of([words(&METHODS), text(&format!("^({any_case})$"))])),
        ("endpoint", endpoint()),
        ("headers", any_of([typed("object"), part("computed")])),
        ("query", any_of([typed("object"), part("computed")])),
        ("body", Value::object()),
        ("output", any_of([words(&["content", "raw", "response"]), part("computed")])),
        ("redirect", any_of([typed("boolean"), part("computed")])),
    ];
    closed(&["method", "endpoint"], members)
}

fn decide(names: &Names) -> Value {
    let data = || any_of([part("computed"), typed("object")]);
    let known: Vec<&str> = names.policies.iter().map(String::as_str).collect();
    let policy = if known.is_empty() { typed("string") } else { any_of([words(&known), typed("string")]) };
    closed(&["policy"], [("policy", policy), ("input", data()), ("parameters", data())])
}

fn approve() -> Value {
    let names = || any_of([typed("string"), typed("array")]);
    let people = || ["user", "users", "group", "groups"].map(|key| (key, names()));
    let computed = |schema: Value| any_of([part("computed"), schema]);
    let more = [("quorum", Value::object()), ("excludeInitiator", Value::object())];
    let members = [
        ("title", about("What is to be approved, in one line.", typed("string"))),
        ("description", Value::object()),
        ("evidence", about("What those who decide should see.", Value::object())),
        ("approvers", computed(closed(&[], people().into_iter().chain(more)))),
        (
            "escalate",
            computed(closed(&["after", "to"], [("after", Value::object()), ("to", computed(closed(&[], people())))])),
        ),
    ];
    closed(&["title"], members)
}

fn subscription() -> Value {
    let members = [
        ("amount", Value::object()),
        ("for", Value::object()),
        ("while", part("expression")),
        ("until", part("expression")),
    ];
    let mut consume = closed(&[], members);
    set(&mut consume, "minProperties", Value::from(1_i64));
    let members = [("filter", part("expression")), ("consume", consume), ("foreach", tasks::foreach())];
    closed(&["consume"], members)
}

fn suggest(schema: &mut Value, key: &str, names: &[String]) {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some(mut properties) = schema.get("properties").cloned()
        && properties.get(key).is_some()
    {
        set(&mut properties, key, any_of([words(&known), typed("string")]));
        set(schema, "properties", properties);
    }
}

/// An operation's schema as it holds for what is written: anything may be an expression instead. Parts that it refers to by name
/// are written out.
fn soft(root: &Value, schema: &Value, depth: usize) -> Value {
    let Some(members) = schema.as_object() else { return Value::object() };
    if depth > DEEPEST {
        return Value::object();
    }
    if let Some(target) = members.get("$ref") {
        let named = target.as_str().and_then(|t| t.strip_prefix("#/")).and_then(|path| {
            path.split('/').try_fold(root, |at, name| at.get(&name.replace("~1", "/").replace("~0", "~")))
        });
        return named.map_or_else(Value::object, |named| soft(root, named, depth + 1));
    }
    let inner = |v: &Value| loose(root, v, depth + 1);
    let mut out = Map::new();
    for (key, value) in members {
        let value = match (&**key, value) {
            ("properties", Value::Obj(map)) => {
                Value::from(map.iter().map(|(k, v)| (k.clone(), inner(v))).collect::<Map>())
            }
            ("items" | "additionalProperties", Value::Obj(_)) => inner(value),
            // What is computed may fit several of them.
            ("anyOf" | "oneOf", Value::Arr(items)) => {
                out.insert("anyOf".into(), items.iter().map(|v| soft(root, v, depth + 1)).collect());
                continue;
            }
            ("allOf", Value::Arr(items)) => items.iter().map(|v| soft(root, v, depth + 1)).collect(),
            (
                "type"
                | "enum"
                | "const"
                | "required"
                | "additionalProperties"
                | "description"
                | "minimum"
                | "maximum"
                | "exclusiveMinimum"
                | "exclusiveMaximum"
                | "minLength"
                | "maxLength"
                | "minItems"
                | "maxItems"
                | "minProperties"
                | "maxProperties"
                | "pattern",
                _,
            ) => value.clone(),
            _ => continue,
        };
        out.insert(key.clone(), value);
    }
    Value::from(out)
}

/// A part of it, or an expression.
fn loose(root: &Value, schema: &Value, depth: usize) -> Value {
    match soft(root, schema, depth) {
        Value::Obj(map) if map.is_empty() => Value::object(),
        soft => {
            let description = soft.get("description").and_then(Value::as_str).map(str::to_owned);
            let either = any_of([soft, text(r"\$\{")]);
            match description {
                Some(description) => about(&description, either),
                None => either,
            }
        }
    }
}
