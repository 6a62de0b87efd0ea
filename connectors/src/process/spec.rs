//! The operations as the catalog lists them: what their `with` looks like and what comes back.

use cpd_connector_api::{Class, OperationSpec, Value, json};

use super::config::Kind;

/// The version of the contract.
pub(super) const VERSION: &str = "1.0.0";

/// The name of the operation for a kind.
pub(super) fn operation(kind: Kind) -> &'static str {
    match kind {
        Kind::Shell => "process.shell",
        Kind::Script => "process.script",
        Kind::Container => "process.container",
    }
}

/// The operation for a kind.
pub(super) fn spec(kind: Kind) -> OperationSpec {
    let summary = match kind {
        Kind::Shell => "Runs a shell command, if the operator allows it.",
        Kind::Script => "Runs a script in JavaScript or Python, if the operator allows it.",
        Kind::Container => "Runs a container of the local engine, if the operator allows it.",
    };
    let what = match kind {
        Kind::Shell => shell(),
        Kind::Script => script(),
        Kind::Container => container(),
    };
    OperationSpec {
        name: operation(kind).into(),
        version: VERSION.into(),
        class: Class::AtMostOnce,
        reconciles: false,
        summary: summary.into(),
        input: with(kind, what),
        output: Value::Null,
    }
}

fn with(kind: Kind, what: Value) -> Value {
    let properties = Value::from([
        (kind.name(), what),
        ("await", json!({"type": "boolean"})),
        ("return", json!({"enum": ["stdout", "stderr", "code", "all", "none"]})),
        // The task's own input, which is its output if it does not wait.
        ("input", json!({})),
    ]);
    Value::from([
        ("type", json!("object")),
        ("additionalProperties", json!(false)),
        ("required", [kind.name()].into_iter().map(Value::from).collect()),
        ("properties", properties),
    ])
}

fn shell() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["command"],
        "properties": {
            "command": {"type": "string", "minLength": 1}, "stdin": stdin(), "arguments": arguments(),
            "environment": environment(),
        },
    })
}

fn script() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["language"],
        "properties": {
            "language": {"enum": ["js", "javascript", "python"]},
            "code": {"type": "string"},
            "source": {"oneOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object", "required": ["endpoint"],
                    "properties": {
                        "name": {"type": "string"},
                        "endpoint": {"oneOf": [
                            {"type": "string", "minLength": 1},
                            {
                                "type": "object", "required": ["uri"],
                                "properties": {"uri": {"type": "string", "minLength": 1}},
                            },
                        ]},
                    },
                },
            ]},
            "stdin": stdin(), "arguments": arguments(), "environment": environment(),
        },
    })
}

fn container() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["image"],
        "properties": {
            "image": {"type": "string", "minLength": 1},
            "name": {"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]+$", "maxLength": 200},
            "command": {"type": "string"},
            "ports": {"type": "object", "additionalProperties": {"type": ["integer", "string"]}},
            "volumes": {"type": "object", "additionalProperties": {"type": "string"}},
            "environment": environment(), "stdin": stdin(), "arguments": arguments(),
            "lifetime": {
                "type": "object", "additionalProperties": false, "required": ["cleanup"],
                "properties": {"cleanup": {"enum": ["always", "never", "eventually"]}, "after": duration()},
            },
            "pullPolicy": {"enum": ["ifNotPresent", "always", "never"]},
        },
    })
}

fn stdin() -> Value {
    json!({"writeOnly": true})
}

fn arguments() -> Value {
    json!({"writeOnly": true, "oneOf": [
        {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
    ]})
}

fn environment() -> Value {
    json!({"type": "object", "additionalProperties": {"writeOnly": true, "type": ["string", "number", "boolean"]}})
}

fn duration() -> Value {
    let part = json!({"type": "integer", "minimum": 0});
    json!({"oneOf": [
        {"type": "string"},
        {
            "type": "object", "additionalProperties": false, "minProperties": 1,
            "properties": {
                "days": part, "hours": part, "minutes": part, "seconds": part, "milliseconds": part,
            },
        },
    ]})
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::schema;

    use super::*;

    #[test]
    fn the_schemas_are_well_formed_and_accept_what_the_specification_shows() {
        for kind in Kind::ALL {
            assert_eq!(schema::defects(&spec(kind).input), []);
        }
        let good = [
            (
                Kind::Shell,
                json!({"shell": {"command": "echo $1", "stdin": "x", "arguments": ["Foo"]}, "return": "all"}),
            ),
            (Kind::Shell, json!({"shell": {"command": "ls", "arguments": {"--all": null}}, "await": false})),
            (Kind::Script, json!({"script": {"language": "javascript", "code": "1", "environment": {"foo": "bar"}}})),
            (Kind::Script, json!({"script": {"language": "python", "source": {"endpoint": "https://x/y.py"}}})),
            (
                Kind::Container,
                json!({"container": {"image": "a", "lifetime": {"cleanup": "eventually", "after": {"minutes": 30}}}}),
            ),
        ];
        for (kind, with) in good {
            assert_eq!(schema::check(&spec(kind).input, &with), [], "{with}");
        }
        let bad = json!({"shell": {"command": "x", "environment": {"A": ["hunter2"]}}});
        let said = schema::check(&spec(Kind::Shell).input, &bad);
        assert!(!said.is_empty() && said.iter().all(|v| !v.to_string().contains("hunter2")), "{said:?}");
    }
}
