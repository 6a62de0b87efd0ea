//! One operation of a document, read into what a call needs: OpenAPI 3.0, 3.1 and later 3.x, and Swagger 2.0.
//!
//! [`Operation::read`] finds the `operationId`, follows references within the document, and puts together what stands at the
//! path, at the operation and at the root. What is not asked for is not read: a mistake elsewhere in a large document does
//! no harm. Nothing here knows values of a call; [`super::place`] does.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpd_connector_api::{Class, Map, Problem, Value};
use reqwest::{Method, Url};

use super::body::{Body, Kind};
use super::reference::{resolve, wrong};
use super::server;
use super::style::Style;
use crate::http::class_of;
use crate::http::content::is_json;

/// The methods that a path can have.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The most media types that `Accept` names.
const ACCEPT_MAX: usize = 10;

/// The kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0
    Swagger,
    /// OpenAPI 3.x
    OpenApi,
}

/// An operation, ready for values.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub id: Arc<str>,
    pub method: Method,
    pub class: Class,
    /// Where the paths begin.
    pub base: Url,
    /// The path with its `{name}`s.
    pub path: String,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    /// What it answers with when all is well.
    pub accept: Vec<String>,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub name: Arc<str>,
    pub place: Place,
    pub required: bool,
    pub shape: Shape,
    /// The key of a security scheme.
    pub secret: bool,
}

/// Where a parameter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

impl Place {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "path" => Place::Path,
            "query" => Place::Query,
            "header" => Place::Header,
            "cookie" => Place::Cookie,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
            Place::Cookie => "cookie",
        }
    }
}

/// How a parameter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Style {
        style: Style,
        explode: bool,
        reserved: bool,
    },
    /// As JSON: a parameter with `content`.
    Json,
}

/// Where an operation stands in its document.
pub(super) struct Found<'a> {
    pub method: &'static str,
    path: &'a str,
    /// The path's own members, and those that it refers to.
    items: [&'a Value; 2],
    operation: &'a Value,
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

impl Operation {
    /// Reads the operation of that id. `uri` is where the document came from.
    ///
    /// # Errors
    /// A `configuration` problem that says what about the document, or of the id, is wrong.
    pub fn read(root: &Value, uri: &str, id: &str) -> Result<Self, Problem> {
        let dialect = dialect(root)?;
        let found = find(root, id)?;
        let at = |e: Problem| match e.detail {
            Some(detail) => wrong(
                detail.trim_start_matches("read the OpenAPI document: ").to_owned() + &format!(" (operation {id})"),
            ),
            None => e,
        };
        let reader = Reader { root, dialect, found: &found };
        let mut parameters = Vec::new();
        let body = reader.parameters(&mut parameters).map_err(at)?;
        reader.keys(&mut parameters);
        let body = match dialect {
            Dialect::Swagger => body,
            Dialect::OpenApi => reader.request_body().map_err(at)?,
        };
        let base = match dialect {
            Dialect::Swagger => server::swagger(root, &found, uri),
            Dialect::OpenApi => server::openapi(root, &found, uri),
        };
        if found.method == "trace" {
            return Err(at(wrong("found the method trace, expected one that is safe to send through proxies")));
        }
        let method = found.method.to_ascii_uppercase();
        Ok(Self {
            id: id.into(),
            class: class_of(&method),
            method: Method::from_bytes(method.as_bytes()).expect("the methods of a path are methods"),
            base: base.map_err(at)?,
            path: found.path.to_owned(),
            parameters,
            body,
            accept: reader.accept(),
        })
    }
}

struct Reader<'a> {
    root: &'a Value,
    dialect: Dialect,
    found: &'a Found<'a>,
}

impl Reader<'_> {
    /// Gathers the parameters of the operation and of its path; of Swagger's, those of the body become one.
    fn parameters(&self, out: &mut Vec<Parameter>) -> Result<Option<Body>, Problem> {
        let mut raw: Vec<(&Value, &str, &str)> = Vec::new();
        for at in [self.found.operation, self.found.items[0], self.found.items[1]] {
            for parameter in at.get("parameters").and_then(Value::as_array).unwrap_or_default() {
                let parameter = resolve(self.root, parameter)?;
                let text = |name: &str| parameter.get(name).and_then(Value::as_str);
                let (Some(name), Some(place)) = (text("name"), text("in")) else {
                    return Err(wrong("found a parameter without `name` or `in`"));
                };
                // What stands at the operation goes before what stands at the path.
                if !raw.iter().any(|(_, n, p)| *n == name && *p == place) {
                    raw.push((parameter, name, place));
                }
            }
        }
        let (mut whole, mut fields) = (None, Vec::new());
        for (parameter, name, place) in raw {
            match (self.dialect, place, Place::of(place)) {
                (Dialect::Swagger, "body", _) => whole = Some((parameter, name)),
                (Dialect::Swagger, "formData", _) => fields.push((parameter, name)),
                (_, _, Some(place)) => out.push(self.parameter(parameter, name, place)?),
                (_, _, None) => {
                    return Err(wrong(format!(
                        "found `in: {place}` of parameter {name:?}, expected path, query, header or cookie"
                    )));
                }
            }
        }
        if self.dialect == Dialect::OpenApi || (whole.is_none() && fields.is_empty()) {
            return Ok(None);
        }
        let consumes = self.media("consumes");
        if let Some((parameter, name)) = whole {
            let schema = self.schema(parameter.get("schema"))?;
            let media = Kind::choose(consumes.iter().copied()).unwrap_or(("application/json", Kind::Json));
            return Ok(Some(Body::new(media, required(parameter), Some(name), schema)));
        }
        let file = |p: &Value| p.get("type").and_then(Value::as_str) == Some("file");
        let multipart =
            fields.iter().any(|(p, _)| file(p)) || consumes.iter().all(|m| Kind::of(m) == Some(Kind::Multipart));
        let media = if multipart && !consumes.is_empty() || fields.iter().any(|(p, _)| file(p)) {
            ("multipart/form-data", Kind::Multipart)
        } else {
            ("application/x-www-form-urlencoded", Kind::Form)
        };
        let mut body = Body::new(media, false, None, None);
        for (parameter, name) in fields {
            let (style, explode) = self.collection(parameter, name)?;
            body.field(name, style, explode, file(parameter), required(parameter));
        }
        body.closed = true;
        Ok(Some(body))
    }

    fn parameter(&self, parameter: &Value, name: &str, place: Place) -> Result<Parameter, Problem> {
        // By the specification these three are not parameters; two are ours, and one may be given all the same.
        let ours = place == Place::Header
            && ["accept", "content-type", "authorization"].contains(&&*name.to_ascii_lowercase());
        let shape = match self.dialect {
            Dialect::Swagger => {
                let (style, explode) = self.collection(parameter, name)?;
                let style = if style == Style::Form && matches!(place, Place::Path | Place::Header) {
                    Style::Simple
                } else {
                    style
                };
                Shape::Style { style, explode, reserved: false }
            }
            Dialect::OpenApi if parameter.get("content").is_some() => Shape::Json,
            Dialect::OpenApi => {
                let common = if matches!(place, Place::Path | Place::Header) { Style::Simple } else { Style::Form };
                let style = match parameter.get("style").and_then(Value::as_str) {
                    None => common,
                    Some(named) => Style::of(named)
                        .ok_or_else(|| wrong(format!("found `style: {named}` of parameter {name:?}")))?,
                };
                let fits = match place {
                    Place::Path => matches!(style, Style::Simple | Style::Label | Style::Matrix),
                    Place::Query => matches!(style, Style::Form | Style::Space | Style::Pipe | Style::Deep),
                    Place::Header => style == Style::Simple,
                    Place::Cookie => style == Style::Form,
                };
                if !fits {
                    return Err(wrong(format!(
                        "found a style of parameter {name:?} that `in: {}` does not have",
                        place.name()
                    )));
                }
                let explode = parameter.get("explode").and_then(Value::as_bool).unwrap_or(style == Style::Form);
                let reserved = parameter.get("allowReserved").and_then(Value::as_bool).unwrap_or(false);
                Shape::Style { style, explode, reserved }
            }
        };
        let required = (required(parameter) || place == Place::Path) && !ours;
        Ok(Parameter { name: name.into(), place, required, shape, secret: false })
    }

    fn collection(&self, parameter: &Value, name: &str) -> Result<(Style, bool), Problem> {
        let named = parameter.get("collectionFormat").and_then(Value::as_str).unwrap_or("csv");
        Style::of_collection(named)
            .ok_or_else(|| wrong(format!("found `collectionFormat: {named}` of parameter {name:?}")))
    }

    /// Keys that the operation's security asks for are parameters that may be given, too.
    fn keys(&self, out: &mut Vec<Parameter>) {
        let schemes = match self.dialect {
            Dialect::Swagger => self.root.get("securityDefinitions"),
            Dialect::OpenApi => self.root.get("components").and_then(|c| c.get("securitySchemes")),
        };
        let needs = self.found.operation.get("security").or_else(|| self.root.get("security"));
        for need in needs.and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_object) {
            for scheme in need.keys().filter_map(|name| resolve(self.root, schemes?.get(name)?).ok()) {
                let text = |name: &str| scheme.get(name).and_then(Value::as_str);
                let (Some("apiKey"), Some(name), Some(place)) =
                    (text("type"), text("name"), text("in").and_then(Place::of))
                else {
                    continue;
                };
                if place != Place::Path && !out.iter().any(|p| p.place == place && p.name.eq_ignore_ascii_case(name)) {
                    let style = if place == Place::Header { Style::Simple } else { Style::Form };
                    let shape = Shape::Style { style, explode: false, reserved: false };
                    out.push(Parameter { name: name.into(), place, required: false, shape, secret: true });
                }
            }
        }
    }

    fn request_body(&self) -> Result<Option<Body>, Problem> {
        let Some(body) = self.found.operation.get("requestBody") else { return Ok(None) };
        let body = resolve(self.root, body)?;
        let content = body.get("content").and_then(Value::as_object).filter(|c| !c.is_empty());
        let content = content.ok_or_else(|| wrong("found a `requestBody` without `content`"))?;
        let media = Kind::choose(content.keys().map(|k| &**k)).ok_or_else(|| {
            let found = listed(content.keys().map(|k| &**k), 5);
            wrong(format!(
                "found a `requestBody` of {found}, expected JSON, a form, multipart/form-data, text or bytes"
            ))
        })?;
        let described = content.get(media.0).map(|d| resolve(self.root, d)).transpose()?;
        let schema = self.schema(described.and_then(|d| d.get("schema")))?;
        let mut out = Body::new(media, required(body), None, schema);
        if matches!(media.1, Kind::Form | Kind::Multipart) {
            self.form_fields(&mut out, schema, described.and_then(|d| d.get("encoding")))?;
        }
        Ok(Some(out))
    }

    fn form_fields(&self, out: &mut Body, schema: Option<&Value>, encoding: Option<&Value>) -> Result<(), Problem> {
        let none = Map::new();
        let properties = schema.and_then(|s| s.get("properties")).and_then(Value::as_object).unwrap_or(&none);
        for (name, property) in properties {
            let property = resolve(self.root, property)?;
            let binary = |p: &Value| {
                let text = |name: &str| p.get(name).and_then(Value::as_str);
                matches!(text("format"), Some("binary" | "base64" | "byte")) || p.get("contentMediaType").is_some()
            };
            let file = binary(property) || property.get("items").is_some_and(binary);
            let how = encoding.and_then(|e| e.get(name));
            let style = how.and_then(|h| h.get("style")).and_then(Value::as_str).map_or(Some(Style::Form), Style::of);
            let style = style.filter(|s| !matches!(s, Style::Simple | Style::Label | Style::Matrix));
            let style =
                style.ok_or_else(|| wrong(format!("found a style of the form's {name:?} that forms do not have")))?;
            let explode = how.and_then(|h| h.get("explode")).and_then(Value::as_bool).unwrap_or(style == Style::Form);
            out.field(name, style, explode, file, false);
            if let Some(kind) = how.and_then(|h| h.get("contentType")).and_then(Value::as_str) {
                out.content_type(name, kind);
            }
        }
        Ok(())
    }

    fn schema<'s>(&'s self, schema: Option<&'s Value>) -> Result<Option<&'s Value>, Problem> {
        schema.map(|s| resolve(self.root, s)).transpose()
    }

    /// `consumes` or `produces` of Swagger.
    fn media(&self, name: &str) -> Vec<&str> {
        let list = self.found.operation.get(name).or_else(|| self.root.get(name));
        list.and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_str).collect()
    }

    /// The media types of good answers, JSON first.
    fn accept(&self) -> Vec<String> {
        let mut kinds: Vec<String> = match self.dialect {
            Dialect::Swagger => self.media("produces").into_iter().map(str::to_owned).collect(),
            Dialect::OpenApi => {
                let none = Map::new();
                let responses = self.found.operation.get("responses").and_then(Value::as_object).unwrap_or(&none);
                let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
                    let good = responses.iter().filter(|(status, _)| wanted(status));
                    let described = good.filter_map(|(_, r)| resolve(self.root, r).ok()?.get("content")?.as_object());
                    described.flat_map(|content| content.keys().map(ToString::to_string)).collect()
                };
                let good = of(&|status| status.starts_with('2'));
                if good.is_empty() { of(&|status| status == "default") } else { good }
            }
        };
        // A list that cannot stand in a header is no use to anybody.
        kinds.retain(|k| !k.is_empty() && k.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b','));
        let mut seen = BTreeMap::new();
        kinds.retain(|k| seen.insert(k.to_ascii_lowercase(), ()).is_none());
        kinds.sort_by_key(|k| !is_json(k));
        kinds.truncate(ACCEPT_MAX);
        kinds
    }
}

fn required(at: &Value) -> bool {
    at.get("required").and_then(Value::as_bool).unwrap_or(false)
}
