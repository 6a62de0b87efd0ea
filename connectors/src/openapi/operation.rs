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
use super::find::{Dialect, Found, dialect, find, listed};
use super::reference::{resolve, wrong};
use super::server;
use super::style::Style;
use crate::http::class_of;
use crate::http::content::is_json;

/// The most media types that `Accept` names.
const ACCEPT_MAX: usize = 10;

/// The most schemas that are looked at for one. They may go in circles.
const SCHEMAS_MAX: usize = 100;

/// Headers that the call has without anybody giving them. A document may describe them as required.
const OURS: [&str; 6] = ["accept", "content-type", "authorization", "idempotency-key", "user-agent", "host"];

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
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub name: Arc<str>,
    pub place: Place,
    pub required: bool,
    /// What a required parameter that is not given stands for.
    pub default: Option<Value>,
    pub shape: Shape,
    /// The key of a security scheme.
    pub secret: bool,
}

impl Parameter {
    fn new(name: &str, place: Place, shape: Shape) -> Self {
        Self { name: name.into(), place, required: place == Place::Path, default: None, shape, secret: false }
    }
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
    /// As JSON: a parameter with such a `content`.
    Json,
}

impl Style {
    /// The style of a parameter that names none.
    fn common(place: Place) -> Self {
        if matches!(place, Place::Path | Place::Header) { Style::Simple } else { Style::Form }
    }
}

impl Shape {
    /// What a parameter has that says nothing about it.
    fn plain(place: Place) -> Self {
        let style = Style::common(place);
        Shape::Style { style, explode: style == Style::Form, reserved: false }
    }
}

/// The names in braces of a path.
fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
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
        // A name in the path that nothing describes is a parameter all the same.
        for name in variables(found.path) {
            if !parameters.iter().any(|p| p.place == Place::Path && *p.name == *name) {
                parameters.push(Parameter::new(name, Place::Path, Shape::plain(Place::Path)));
            }
        }
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

impl Operation {
    /// Whether a value of this name is the whole body.
    pub fn names_body(&self, name: &str) -> bool {
        let Some(body) = &self.body else { return false };
        body.name.as_deref() == Some(name) || (name == "body" && !body.members.iter().any(|m| **m == *name))
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
            let properties = self.properties(schema);
            let body = Body::new(media, required(parameter), Some(name), schema);
            return Ok(Some(body.with_members(properties.into_keys())));
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
        // These are sent anyway, though some of them may be given all the same.
        let ours = place == Place::Header && OURS.iter().any(|header| name.eq_ignore_ascii_case(header));
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
            Dialect::OpenApi if parameter.get("content").is_some() => {
                let media = parameter.get("content").and_then(Value::as_object).and_then(|c| c.keys().next());
                let text = media.is_some_and(|media| Kind::of(media) == Some(Kind::Text));
                if text { Shape::plain(place) } else { Shape::Json }
            }
            Dialect::OpenApi => {
                let style = match parameter.get("style").and_then(Value::as_str) {
                    None => Style::common(place),
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
        let schema = match self.dialect {
            Dialect::Swagger => Some(parameter),
            Dialect::OpenApi => self.schema(parameter.get("schema"))?,
        };
        let default = schema.and_then(|s| s.get("default")).filter(|v| !v.is_null()).cloned();
        let required = (required(parameter) || place == Place::Path) && !ours;
        Ok(Parameter { required, default, ..Parameter::new(name, place, shape) })
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
                match out.iter_mut().find(|p| p.place == place && p.name.eq_ignore_ascii_case(name)) {
                    Some(described) => described.secret = true,
                    None if place == Place::Path => {}
                    None => out.push(Parameter { secret: true, ..Parameter::new(name, place, Shape::plain(place)) }),
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
        // OpenAPI 3 has no name for a body, but documents that were made from Swagger's keep it so.
        let name = ["x-bodyName", "x-body-name"].into_iter().find_map(|key| body.get(key)?.as_str());
        let properties = self.properties(schema);
        let mut out = Body::new(media, required(body), name, schema).with_members(properties.keys().cloned());
        if matches!(media.1, Kind::Form | Kind::Multipart) {
            self.form_fields(&mut out, &properties, described.and_then(|d| d.get("encoding")))?;
        }
        Ok(Some(out))
    }

    fn form_fields(
        &self,
        out: &mut Body,
        properties: &BTreeMap<Arc<str>, Value>,
        encoding: Option<&Value>,
    ) -> Result<(), Problem> {
        for (name, property) in properties {
            let file = self.binary(property);
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

    /// A schema. One that lies in another document is as if there were none: values are not held against it anyway.
    fn schema<'s>(&'s self, schema: Option<&'s Value>) -> Result<Option<&'s Value>, Problem> {
        let elsewhere = |s: &&Value| s.get("$ref").and_then(Value::as_str).is_some_and(|to| !to.starts_with('#'));
        schema.filter(|s| !elsewhere(s)).map(|s| resolve(self.root, s)).transpose()
    }

    /// The properties that a schema names, those of the schemas that it is made of among them.
    fn properties(&self, schema: Option<&Value>) -> BTreeMap<Arc<str>, Value> {
        let mut found = BTreeMap::new();
        self.made_of(schema, &["allOf", "anyOf", "oneOf"], &mut |schema| {
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                found.entry(name.clone()).or_insert_with(|| property.clone());
            }
        });
        found
    }

    /// Whether a schema is that of bytes, or of a list of them.
    fn binary(&self, schema: &Value) -> bool {
        let mut found = false;
        self.made_of(Some(schema), &["allOf", "anyOf", "oneOf", "items"], &mut |schema| {
            let format = schema.get("format").and_then(Value::as_str);
            found |= matches!(format, Some("binary" | "base64" | "byte")) || schema.get("contentMediaType").is_some();
        });
        found
    }

    /// Shows a schema and those that it is made of.
    fn made_of(&self, schema: Option<&Value>, of: &[&str], look: &mut dyn FnMut(&Value)) {
        let mut waiting: Vec<&Value> = schema.into_iter().collect();
        for _ in 0..SCHEMAS_MAX {
            let Some(next) = waiting.pop() else { return };
            let Ok(Some(schema)) = self.schema(Some(next)) else { continue };
            look(schema);
            for part in of.iter().filter_map(|key| schema.get(key)) {
                waiting.extend(part.as_array().unwrap_or(std::slice::from_ref(part)).iter().take(SCHEMAS_MAX));
            }
        }
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
