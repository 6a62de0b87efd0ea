//! What the operations of Atlas are called, promise, take and return.

use std::sync::LazyLock;

use cpd_connector_api::{Class, OperationSpec, Value, json};

/// Every operation, in the order of the documentation.
pub static OPERATIONS: LazyLock<Vec<OperationSpec>> = LazyLock::new(|| {
    vec![
        spec(
            ("atlas.retrain", Class::Idempotent, true),
            "Trains a model and registers the result as a new version.",
            object(
                &["model"],
                json!({
                    "model": name(),
                    "reason": {"type": ["string", "null"], "description": "why; kept with the job"},
                    "parameters": {"type": ["object", "null"], "description": "hyperparameters, for the training service"},
                    "data": {"description": "what to train on, in the training service's own terms"},
                    "alias": {"type": ["string", "null"], "description": "an alias to point to the new version"},
                    "completion": {"enum": ["poll", "callback"], "description": "wait here (the default), or let the service report the end as an event"},
                }),
            ),
            object(
                &["model", "jobId", "status"],
                json!({
                    "model": name(), "jobId": text(), "status": text(),
                    "version": {"type": ["string", "null"]}, "runId": {"type": ["string", "null"]},
                    "metrics": {"type": "object"}, "alias": {"type": ["string", "null"]},
                }),
            ),
        ),
        spec(
            ("atlas.promote", Class::Idempotent, false),
            "Points an alias of a model (champion, unless told otherwise) to a version.",
            object(
                &["model", "version"],
                json!({
                    "model": name(), "version": version(), "alias": {"type": ["string", "null"]},
                }),
            ),
            object(
                &["model", "version", "alias", "previousVersion", "changed"],
                json!({
                    "model": name(), "version": text(), "alias": text(),
                    "previousVersion": {"type": ["string", "null"]}, "changed": {"type": "boolean"},
                }),
            ),
        ),
        spec(
            ("atlas.discard", Class::Idempotent, false),
            "Takes a retraining back: stops its job and deletes its version, unless an alias points to it.",
            object(
                &["model"],
                json!({
                    "model": name(),
                    "version": {"type": ["string", "integer", "null"]},
                    "jobId": {"type": ["string", "null"]},
                    "force": {"type": "boolean", "description": "delete the version even if an alias points to it"},
                }),
            ),
            object(
                &["model", "discarded"],
                json!({
                    "model": name(), "version": {"type": ["string", "null"]}, "jobId": {"type": ["string", "null"]},
                    "jobStatus": {"type": ["string", "null"]},
                    "discarded": {"type": "boolean", "description": "whether there was a version to delete"},
                }),
            ),
        ),
        spec(
            ("atlas.tag", Class::Idempotent, false),
            "Sets tags of a version, or of the model itself.",
            object(
                &["model", "tags"],
                json!({
                    "model": name(), "version": {"type": ["string", "integer", "null"]},
                    "tags": {"type": "object", "minProperties": 1, "maxProperties": 50,
                        "additionalProperties": {"type": ["string", "number", "boolean"]}},
                }),
            ),
            object(
                &["model", "tags"],
                json!({
                    "model": name(), "version": {"type": ["string", "null"]}, "tags": {"type": "object"},
                }),
            ),
        ),
        spec(
            ("atlas.model", Class::Safe, false),
            "Reads a registered model with its tags and aliases.",
            object(&["model"], json!({"model": name()})),
            object(
                &["model", "aliases", "tags"],
                json!({
                    "model": name(), "description": {"type": ["string", "null"]},
                    "tags": {"type": "object"}, "aliases": {"type": "object"},
                }),
            ),
        ),
        spec(
            ("atlas.versions", Class::Safe, false),
            "Lists versions of a model, the newest first.",
            object(
                &["model"],
                json!({
                    "model": name(),
                    "tag": {"type": ["object", "null"], "required": ["key", "value"], "additionalProperties": false,
                        "properties": {"key": name(), "value": text()}},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 200},
                }),
            ),
            object(
                &["model", "versions"],
                json!({
                    "model": name(), "versions": {"type": "array", "items": {"type": "object"}},
                }),
            ),
        ),
        spec(
            ("atlas.metrics", Class::Safe, false),
            "Reads the figures of the run behind a version (by number or alias; champion by default), or of a run.",
            object(
                &[],
                json!({
                    "model": name(), "version": {"type": ["string", "integer", "null"]},
                    "alias": {"type": ["string", "null"]}, "runId": name(),
                }),
            ),
            object(
                &["runId", "metrics", "params"],
                json!({
                    "model": {"type": ["string", "null"]}, "version": {"type": ["string", "null"]},
                    "runId": text(), "metrics": {"type": "object"}, "params": {"type": "object"},
                }),
            ),
        ),
        spec(
            ("atlas.job", Class::Safe, false),
            "Reads how far a training job is.",
            object(&["jobId"], json!({"jobId": name()})),
            object(
                &["jobId", "status"],
                json!({
                    "jobId": text(), "status": text(), "version": {"type": ["string", "null"]},
                    "runId": {"type": ["string", "null"]}, "metrics": {"type": "object"}, "error": {"type": ["string", "null"]},
                }),
            ),
        ),
    ]
});

fn spec((name, class, reconciles): (&str, Class, bool), summary: &str, input: Value, output: Value) -> OperationSpec {
    OperationSpec {
        name: name.into(),
        version: "1.0.0".into(),
        class,
        reconciles,
        summary: summary.into(),
        input,
        output,
    }
}

fn object(required: &[&str], properties: Value) -> Value {
    let required: Value = required.iter().map(|r| Value::from(*r)).collect();
    Value::from([
        ("type", Value::from("object")),
        ("additionalProperties", Value::from(false)),
        ("required", required),
        ("properties", properties),
    ])
}

/// A name of something: short, and not empty.
fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 250})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn version() -> Value {
    json!({"type": ["string", "integer"]})
}
