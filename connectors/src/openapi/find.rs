//! Where in a document an operation stands, and what kind of document it is.

use cpd_connector_api::{Problem, Value};

use super::reference::{resolve, wrong};

/// The methods that a path can have.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0
    Swagger,
    /// OpenAPI 3.x
    OpenApi,
}

/// Where an operation stands in its document.
pub(super) struct Found<'a> {
    pub method: &'static str,
    pub path: &'a str,
    /// The path's own members, and those that it refers to.
    pub items: [&'a Value; 2],
    pub operation: &'a Value,
}

impl<'a> Found<'a> {
    /// The first of operation and path that has this member.
    pub fn nearest(&self, name: &str) -> Option<&'a Value> {
        [self.operation, self.items[0], self.items[1]].into_iter().find_map(|at| at.get(name))
    }
}

/// The dialect of a document.
pub(super) fn dialect(root: &Value) -> Result<Dialect, Problem> {
    // A version without quotes is a number.
    let version = |name: &str| root.get(name).map(|v| v.as_str().map_or_else(|| v.to_json(), str::to_owned));
    match (version("openapi"), version("swagger")) {
        (Some(v), _) if v == "3" || v.starts_with("3.") => Ok(Dialect::OpenApi),
        (None, Some(v)) if v == "2" || v.starts_with("2.") => Ok(Dialect::Swagger),
        (Some(v), _) => Err(wrong(format!("found `openapi: {v}`, expected 3.0 or 3.1"))),
        (None, Some(v)) => Err(wrong(format!("found `swagger: {v}`, expected 2.0"))),
        (None, None) => {
            let found = match root {
                Value::Obj(members) if members.is_empty() => "an empty object".into(),
                Value::Obj(members) => format!("an object with {}", listed(members.keys().map(|k| &**k), 5)),
                Value::Str(text) => format!("the text {:?}", crate::http::content::excerpt(text.as_bytes())),
                other => other.kind().to_owned(),
            };
            Err(wrong(format!("found {found}, expected `openapi: 3.x` or `swagger: \"2.0\"` at its top")))
        }
    }
}

/// The first names of many.
pub(super) fn listed<'n>(names: impl Iterator<Item = &'n str>, most: usize) -> String {
    let names: Vec<_> = names.collect();
    let shown = names.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}

/// The operation of that id.
pub(super) fn find<'a>(root: &'a Value, id: &str) -> Result<Found<'a>, Problem> {
    let paths = root.get("paths").and_then(Value::as_object).ok_or_else(|| wrong("it has no `paths`"))?;
    let (mut found, mut ids) = (None, Vec::new());
    for (path, item) in paths {
        // A path that lies in another document cannot be the one; others may well be.
        let referred = resolve(root, item).unwrap_or(item);
        for method in METHODS {
            let Some(operation) = item.get(method).or_else(|| referred.get(method)) else { continue };
            let Some(its) = operation.get("operationId").and_then(Value::as_str) else { continue };
            ids.push(its);
            if its != id {
                continue;
            }
            let here = Found { method, path, items: [item, referred], operation };
            if let Some(Found { method: other, path: first, .. }) = found.replace(here) {
                let what = format!("{id:?} is the operationId of {other} {first} and of {method} {path}, expected one");
                return Err(wrong(what));
            }
        }
    }
    found.ok_or_else(|| match nearest(id, ids.iter().copied()) {
        _ if ids.is_empty() => wrong(format!("found no operation {id:?}: none has an `operationId`")),
        Some(near) => wrong(format!("found no operation {id:?}, did you mean {near:?}?")),
        None => wrong(format!("found no operation {id:?}, expected one of {}", listed(ids.into_iter(), 20))),
    })
}

/// The name that was probably meant.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let close = |a: &str, b: &str| strsim::jaro_winkler(&a.to_lowercase(), &b.to_lowercase());
    let best = known.map(|k| (close(name, k), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > 0.85).map(|(_, k)| k)
}
