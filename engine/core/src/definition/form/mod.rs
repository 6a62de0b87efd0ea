//! The form of documents as JSON Schema, for editors: completion and squiggles while somebody types.
//!
//! The schema says what stands where and nothing about what it means; that is the compiler's to say. It is written by hand, as
//! the reader is: there are no types to derive it from, since a plan has the meaning of a definition and not its form. Tests hold both
//! against each other: what the reader takes, the schema takes; a member that the reader does not know, the schema does not
//! know either, at every place of every definition that ships.
//!
//! What stands in `${ … }` in mode `strict` is asked for in mode `loose` as well.
//!
//! Draft 7, because the YAML language server that most editors use knows no later one in full.
//!
//! - `parts`: spans of time, expressions, errors, events, authentications. `tasks`: tasks and what is in them. `calls`: calls of protocols
//!   and operations. `head`: what stands around the tasks. `policy`: policies.

mod calls;
mod head;
mod parts;
mod policy;
mod tasks;

use std::sync::Arc;

use crate::Value;
use crate::catalog::OperationSpec;
use crate::value::Map;

pub use self::policy::policy;

/// The dialect of the schemas.
pub const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// The names that definitions may refer to, for completion.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The operations of the connectors.
    pub operations: Vec<OperationSpec>,
    /// Policies.
    pub policies: Vec<String>,
    /// Agents.
    pub agents: Vec<String>,
}

/// The schema of workflows.
pub fn workflow(names: &Names) -> Value {
    head::workflow(names)
}

/// A schema of objects with these members and no others.
pub fn closed<'k>(required: &[&str], members: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    let mut schema = object([("type", Value::str("object")), ("additionalProperties", Value::Bool(false))]);
    if !required.is_empty() {
        set(&mut schema, "required", required.iter().map(Value::str).collect());
    }
    set(&mut schema, "properties", object(members));
    schema
}

fn object<'k>(members: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    Value::from(members.into_iter().map(|(k, v)| (Arc::from(k), v)).collect::<Map>())
}

fn set(schema: &mut Value, key: &str, value: Value) {
    if let Value::Obj(map) = schema {
        Arc::make_mut(map).insert(Arc::from(key), value);
    }
}

/// The same with words for people, which editors show.
fn about(text: &str, mut schema: Value) -> Value {
    set(&mut schema, "description", Value::str(text));
    schema
}

/// A reference to a part.
fn part(name: &str) -> Value {
    object([("$ref", Value::from(format!("#/definitions/{name}")))])
}

fn typed(kind: &str) -> Value {
    object([("type", Value::str(kind))])
}

fn any_of(schemas: impl IntoIterator<Item = Value>) -> Value {
    object([("anyOf", schemas.into_iter().collect())])
}

fn words(words: &[&str]) -> Value {
    object([("enum", words.iter().map(Value::str).collect())])
}

/// An object whose members are all alike.
fn map_of(schema: Value) -> Value {
    object([("type", Value::str("object")), ("additionalProperties", schema)])
}

fn list_of(schema: Value) -> Value {
    object([("type", Value::str("array")), ("items", schema)])
}

/// Exactly one of these members.
fn one_of_members(schema: &mut Value, keys: &[&str]) {
    let each = keys.iter().map(|k| object([("required", [Value::str(k)].into_iter().collect())]));
    set(schema, "oneOf", each.collect());
}

/// A list of objects with one member each.
fn named_items(schema: Value) -> Value {
    let mut item = map_of(schema);
    set(&mut item, "minProperties", Value::from(1_i64));
    set(&mut item, "maxProperties", Value::from(1_i64));
    let mut list = list_of(item);
    set(&mut list, "minItems", Value::from(1_i64));
    list
}
