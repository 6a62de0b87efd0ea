//! JSON Schemas of what people write, for editors: workflows and policies from the core, agents and the configuration from here.
//!
//! The schema of the configuration is made of the reference configuration, which is complete and says what every key is for: a key
//! that is added there is in the schema as well.

use std::collections::BTreeMap;

use cpd_core::definition::form::{DIALECT, closed};
use cpd_core::{Value, json};

use crate::config::DEFAULT;

/// The schema of agents.
pub fn agent() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "number", "minimum": 0 });
    let whole = || json!({ "type": "integer", "minimum": 1 });
    let described = |what: &str, mut schema: Value| {
        insert(&mut schema, "description", Value::str(what));
        schema
    };
    let parameters = closed(
        &[],
        [
            ("temperature", json!({ "type": "number", "minimum": 0, "maximum": 2 })),
            ("maxTokens", whole()),
            ("maxTokensMember", json!({ "enum": ["max_tokens", "max_completion_tokens"] })),
            ("seed", json!({ "type": "integer" })),
        ],
    );
    let budget =
        closed(&[], [("tokens", json!({ "type": "integer", "minimum": 0 })), ("usd", number()), ("seconds", number())]);
    let prices = closed(
        &["version", "inputPerMillionUsd", "outputPerMillionUsd"],
        [
            ("version", text()),
            ("inputPerMillionUsd", number()),
            ("outputPerMillionUsd", number()),
            ("cachedInputPerMillionUsd", number()),
        ],
    );
    let endpoint = closed(&["url"], [("url", text()), ("tokenSecret", text())]);
    let mut schema = closed(
        &["name", "version", "provider", "model"],
        [
            ("name", json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" })),
            ("version", json!({ "type": "string", "pattern": "^\\d+\\.\\d+\\.\\d+([-+].*)?$" })),
            ("title", text()),
            ("description", text()),
            ("owner", described("Who answers for it.", text())),
            ("provider", described("Who answers prompts.", json!({ "enum": ["openai", "template"] }))),
            ("model", text()),
            ("endpoint", described("Where the provider is; `openai` needs it.", endpoint)),
            ("system", described("The instructions.", text())),
            ("parameters", parameters),
            ("budget", described("What one answer may take.", budget)),
            ("prices", described("What tokens cost; a budget in dollars needs it.", prices)),
        ],
    );
    insert(&mut schema, "$schema", Value::str(DIALECT));
    insert(&mut schema, "title", Value::str("cpd agent"));
    schema
}

/// The schema of `cpd.toml`.
pub fn config() -> Value {
    let mut schema = table(&reference());
    insert(&mut schema, "$schema", Value::str(DIALECT));
    insert(&mut schema, "title", Value::str("cpd configuration"));
    schema
}

/// A table of the reference configuration.
#[derive(Default)]
struct Table {
    comment: String,
    /// Whether there may be several of them: `[[name]]`.
    several: bool,
    tables: BTreeMap<String, Table>,
    keys: BTreeMap<String, Setting>,
    /// What stands behind names that users choose themselves, if it has such.
    free: Option<toml::Value>,
}

/// A key of a table.
struct Setting {
    comment: String,
    value: toml::Value,
    /// Whether the value is the default, and not only an example.
    is_default: bool,
}

/// Reads the reference configuration with everything that is commented out in it.
fn reference() -> Table {
    let (mut root, mut path, mut comment) = (Table::default(), Vec::new(), String::new());
    for line in DEFAULT.lines() {
        let (line, example) = line.strip_prefix("#:").map_or((line, false), |l| (l.trim_start(), true));
        // A key that has no default stands behind a `#`.
        let optional = line.strip_prefix("# ").filter(|l| is_setting(l));
        let setting = optional.unwrap_or(line);
        if let Some(name) = setting.strip_prefix('[').and_then(|l| l.split(']').next()) {
            path = name.trim_matches('[').split('.').map(str::to_owned).collect();
            let table = table_at(&mut root, &path);
            table.comment = std::mem::take(&mut comment);
            table.several = setting.starts_with("[[");
        } else if is_setting(setting)
            && let Some((key, _)) = setting.split_once('=')
            && let Ok(parsed) = setting.parse::<toml::Table>()
            && let Some(value) = parsed.get(key.trim())
        {
            let is_default = optional.is_none() && !example;
            let entry = Setting { comment: std::mem::take(&mut comment), value: value.clone(), is_default };
            table_at(&mut root, &path).keys.insert(key.trim().to_owned(), entry);
        } else if example
            && let Ok(parsed) = setting.parse::<toml::Table>()
            && parsed.len() == 1
        {
            // A name of the user's own choice.
            table_at(&mut root, &path).free = parsed.into_iter().next().map(|(_, value)| value);
        } else if let Some(words) = line.strip_prefix('#') {
            comment.push_str(words.trim());
            comment.push(' ');
        } else {
            comment.clear();
        }
    }
    root
}

fn is_setting(line: &str) -> bool {
    let key = line.split_once(" = ").map(|(key, _)| key);
    key.is_some_and(|k| !k.is_empty() && k.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
}

fn table_at<'t>(root: &'t mut Table, path: &[String]) -> &'t mut Table {
    path.iter().fold(root, |table, name| table.tables.entry(name.clone()).or_default())
}

fn table(table: &Table) -> Value {
    let keys = table.keys.iter().map(|(name, of)| (name.as_str(), setting(of)));
    let tables = table.tables.iter().map(|(name, inner)| (name.as_str(), self::table(inner)));
    let mut schema = closed(&[], keys.chain(tables));
    if !table.comment.trim().is_empty() {
        insert(&mut schema, "description", Value::str(table.comment.trim()));
    }
    if let Some(value) = &table.free {
        let example = Setting { comment: String::new(), value: value.clone(), is_default: false };
        insert(&mut schema, "additionalProperties", setting(&example));
    }
    if table.several { json!({ "type": "array", "items": schema }) } else { schema }
}

fn setting(Setting { comment, value, is_default }: &Setting) -> Value {
    let mut schema = match value {
        toml::Value::String(_) => json!({ "type": "string" }),
        toml::Value::Integer(_) => json!({ "type": "integer" }),
        toml::Value::Float(_) => json!({ "type": "number" }),
        toml::Value::Boolean(_) => json!({ "type": "boolean" }),
        toml::Value::Array(_) => json!({ "type": "array" }),
        toml::Value::Table(_) => json!({ "type": "object" }),
        toml::Value::Datetime(_) => Value::object(),
    };
    if !comment.trim().is_empty() {
        insert(&mut schema, "description", Value::str(comment.trim()));
    }
    match Value::from_serialize(value) {
        Ok(default) if *is_default => insert(&mut schema, "default", default),
        Ok(example) => insert(&mut schema, "examples", [example].into_iter().collect()),
        Err(_) => {}
    }
    schema
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Value::Obj(map) = object {
        std::sync::Arc::make_mut(map).insert(key.into(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// The reference configuration with nothing commented out.
    fn complete() -> toml::Table {
        let line = |l: &str| {
            let l = l.strip_prefix("#:").map_or(l, str::trim_start);
            l.strip_prefix("# ").filter(|l| is_setting(l)).unwrap_or(l).to_owned() + "\n"
        };
        DEFAULT.lines().map(line).collect::<String>().parse().expect("the reference is TOML")
    }

    /// Every table, by its way from the root; of several, the first.
    fn tables(at: &toml::Table, path: &[String], out: &mut Vec<Vec<String>>) {
        out.push(path.to_vec());
        for (key, value) in at {
            let inner = match value {
                toml::Value::Table(inner) => Some(inner),
                toml::Value::Array(items) => items.first().and_then(toml::Value::as_table),
                _ => None,
            };
            if let Some(inner) = inner {
                tables(inner, &[path, std::slice::from_ref(key)].concat(), out);
            }
        }
    }

    fn inner<'t>(table: &'t mut toml::Table, key: &str) -> &'t mut toml::Table {
        match &mut table[key] {
            toml::Value::Array(items) => items[0].as_table_mut().expect("a list of tables"),
            value => value.as_table_mut().expect("a table"),
        }
    }

    fn valid(schema: &jsonschema::Validator, config: &toml::Table) -> bool {
        schema.is_valid(&serde_json::to_value(config).expect("JSON"))
    }

    #[test]
    fn the_schema_of_the_configuration_takes_what_the_reader_takes_and_refuses_unknown_keys_where_it_does() {
        let schema = jsonschema::validator_for(&serde_json::to_value(config()).expect("JSON")).expect("a schema");
        let complete = complete();
        assert!(valid(&schema, &complete));
        let reads = |t: &toml::Table| t.clone().try_into::<Config>().map_err(|e| e.to_string());
        reads(&complete).expect("the reader takes it");
        let mut all = Vec::new();
        tables(&complete, &[], &mut all);
        assert!(all.len() > 8, "{all:?}");
        for path in all {
            let mut changed = complete.clone();
            let table = path.iter().fold(&mut changed, |t, key| inner(t, key));
            table.insert("surprise".into(), toml::Value::Boolean(true));
            assert!(reads(&changed).is_err(), "the reader takes anything in {path:?}");
            assert!(!valid(&schema, &changed), "the schema takes anything in {path:?}");
        }
        let described = config();
        let timeout = described.get("properties").and_then(|p| p.get("connectors")?.get("properties")?.get("http"));
        let timeout = timeout.and_then(|h| h.get("properties")?.get("timeout_ms")).expect("a setting");
        assert_eq!(
            (timeout.get("type"), timeout.get("default")),
            (Some(&Value::str("integer")), Some(&Value::from(60_000_i64)))
        );
    }
}
