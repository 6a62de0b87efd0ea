//! The graph as data.

use super::{Graph, Kind, List, Marks, Place};
use crate::value::Map;
use crate::{Value, json};

/// The graph as an object: `title`, `tasks` (each with the references of those inside) and `ways`.
pub fn to_json(graph: &Graph, marks: Option<&Marks>) -> Value {
    let place = |place: Place| match place {
        Place::Start => Value::str("start"),
        Place::End => Value::str("end"),
        Place::Block(index) => Value::Str(graph.blocks[index].pointer.clone()),
    };
    let list = |list: &List| {
        let inside = list.blocks.iter().map(|b| Value::Str(graph.blocks[*b].pointer.clone())).collect::<Value>();
        json!({ "label": list.label.as_str(), "tasks": inside })
    };
    let tasks = graph.blocks.iter().enumerate().map(|(index, block)| {
        let mut members = Map::new();
        let mut put = |key: &str, value: Value| drop(members.insert(key.into(), value));
        put("task", Value::Str(block.pointer.clone()));
        put("name", Value::Str(block.name.clone()));
        put("keyword", Value::str(block.keyword));
        put("detail", Value::from(block.detail.clone()));
        put("remarks", block.remarks.iter().map(|r| Value::from(r.clone())).collect());
        put("lists", block.lists.iter().map(list).collect());
        if let Some(marks) = marks {
            let mark = marks.of(index);
            put("state", Value::str(mark.state.name()));
            for (key, n) in [
                ("taken", mark.taken),
                ("skipped", mark.skipped),
                ("retried", mark.retried),
                ("failed", mark.failed),
                ("caught", mark.caught),
                ("cancelled", mark.cancelled),
            ] {
                put(key, Value::from(n));
            }
            put("tookMs", Value::from(i64::try_from(mark.took.as_millis()).unwrap_or(i64::MAX)));
            for (key, text) in [("error", &mark.problem), ("now", &mark.now)] {
                if let Some(text) = text {
                    put(key, Value::from(text.clone()));
                }
            }
        }
        Value::from(members)
    });
    let ways = graph.ways.iter().enumerate().map(|(number, way)| {
        let kind = match way.kind {
            Kind::Next => "next",
            Kind::Case(_) => "case",
            Kind::Skip => "skip",
            Kind::Into => "into",
            Kind::Back => "back",
            Kind::Error => "error",
        };
        let mut members = Map::new();
        let mut put = |key: &str, value: Value| drop(members.insert(key.into(), value));
        put("from", place(way.from));
        put("to", place(way.to));
        put("kind", Value::str(kind));
        put("label", Value::from(way.label.clone()));
        if let Some(marks) = marks {
            put("taken", Value::from(marks.went(number) > 0));
            put("times", Value::from(marks.went(number)));
        }
        Value::from(members)
    });
    let mut members = Map::new();
    members.insert("title".into(), Value::from(graph.title.clone()));
    if let Some(marks) = marks {
        let mut put = |key: &str, value: Value| drop(members.insert(key.into(), value));
        put("runId", Value::from(marks.run.to_string()));
        put("status", Value::str(marks.phase));
        put("startedAt", Value::from(marks.started.to_string()));
        put("updatedAt", Value::from(marks.last.to_string()));
    }
    members.insert("tasks".into(), tasks.collect());
    members.insert("ways".into(), ways.collect());
    Value::from(members)
}
