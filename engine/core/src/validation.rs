//! Data against the JSON Schemas of definitions: `input.schema`, `output.schema`, `export.schema`.
//!
//! JSON Schema draft 2020-12, or the draft that the schema's `$schema` names, by the crate `jsonschema`. A schema is compiled when
//! its definition is; it may refer to parts of itself and to nothing else, so a check is a function of schema and value.
//! Patterns are matched in linear time. Formats are annotations, as the draft says. (Operations describe their inputs in a smaller
//! language of schemas, [`crate::schema`], of which parts can be checked before all values are known.)

use std::fmt;

use crate::Value;

/// The most violations that a problem names.
const MOST: usize = 10;

/// A compiled schema.
pub struct Schema {
    validator: jsonschema::Validator,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema(…)")
    }
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it, and the JSON pointer at which it stands.
    pub fn compile(document: &Value) -> Result<Self, (String, String)> {
        let plain = json_of(document);
        jsonschema::options()
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .should_validate_formats(false)
            .build(&plain)
            .map(|validator| Self { validator })
            .map_err(|e| (e.instance_path().as_str().to_owned(), e.to_string()))
    }

    /// Holds a value against the schema.
    ///
    /// # Errors
    /// What does not fit, each with its JSON pointer; at most ten.
    pub fn check(&self, value: &Value) -> Result<(), Vec<String>> {
        let plain = json_of(value);
        let violations: Vec<String> = self
            .validator
            .iter_errors(&plain)
            .take(MOST)
            .map(|e| match e.instance_path().as_str() {
                "" => e.to_string(),
                at => format!("{at}: {e}"),
            })
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

fn json_of(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn violations_say_where_and_what() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "required": ["a"],
            "properties": { "a": { "type": "integer", "minimum": 3 }, "b": { "$ref": "#/$defs/short" } },
            "$defs": { "short": { "type": "string", "maxLength": 2, "pattern": "^x+$" } }
        }))
        .unwrap();
        assert_eq!(schema.check(&json!({ "a": 3, "b": "xx" })), Ok(()));
        let found = schema.check(&json!({ "a": 1, "b": "yyy" })).unwrap_err();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|f| f.starts_with("/a: ")), "{found:?}");
        assert_eq!(schema.check(&json!({})).unwrap_err().len(), 1);
    }

    #[test]
    fn a_wrong_schema_is_refused_and_so_is_one_that_refers_elsewhere() {
        assert!(Schema::compile(&json!({ "type": "integr" })).is_err());
        assert!(Schema::compile(&json!({ "$ref": "https://example.com/other.json" })).is_err());
        assert!(Schema::compile(&json!({ "pattern": "(" })).is_err());
    }
}
