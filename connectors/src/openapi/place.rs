//! Puts the values of a call where its operation wants them.
//!
//! 1. A value goes to every parameter of its name: one name in two places gets the same value in both.
//! 2. What no parameter takes makes the body, if the operation has one: `body` alone is the body itself (so is the name that
//!    Swagger gives it), otherwise the values together are its members.
//! 3. Nothing is left out in silence: a value that has no place, and a place that must have one, are refused by name.
//!
//! A path never changes its shape: an empty value, `.` and `..` are refused in it, since servers and clients resolve them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use cpd_connector_api::secret::{Redactor, Secret};
use cpd_connector_api::{Map, Problem, Standard, Value};
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue};

use super::body::{Body, Kind};
use super::find::{listed, nearest};
use super::operation::{Operation, Parameter, Place, Shape};
use super::reference::{unpercent, wrong};
use super::style::{pairs, piece};
use crate::authentication::teach;
use crate::http::content::{is_json, percent};
use crate::http::{Call, headers};

/// A cookie's value that is shorter is no secret, and searching for it would maim ordinary text.
const COOKIE_SECRET_MIN: usize = 8;

/// A call, and whether its answer has to be JSON.
#[derive(Debug)]
pub(super) struct Placed {
    pub call: Call,
    pub json: bool,
}

/// Whether values of these names can make a call, whatever they are: some may be known only later.
pub(super) fn check_names(op: &Operation, given: &Map) -> Result<(), Problem> {
    sorted(op, given).map(drop).map_err(|what| refused(op, &what))
}

/// The call that these values make.
pub(super) fn place(op: &Operation, given: &Map, key: &str, redactor: &mut Redactor) -> Result<Placed, Problem> {
    let refuse = |what: String| refused(op, &what);
    let Sorted { parameters, body } = sorted(op, given).map_err(refuse)?;
    let (mut query, mut cookies, mut fields) = (Vec::new(), Vec::new(), Map::new());
    let mut secret_headers = Vec::new();
    let mut path = PathParts::default();
    for (parameter, value) in parameters {
        let long = |text: &&str| parameter.secret || text.len() >= COOKIE_SECRET_MIN;
        if parameter.secret || parameter.place == Place::Cookie {
            value.as_str().filter(long).map(Secret::new).iter().for_each(|secret| teach(redactor, secret));
        }
        let name = &*parameter.name;
        match parameter.place {
            Place::Path => path.set(name, written(parameter, value, &encode).map_err(named(name)).map_err(refuse)?),
            Place::Query => query.extend(several(parameter, value).map_err(named(name)).map_err(refuse)?),
            Place::Cookie => cookies.extend(several(parameter, value).map_err(named(name)).map_err(refuse)?),
            Place::Header => {
                let text = written(parameter, value, &str::to_owned).map_err(named(name)).map_err(refuse)?;
                if parameter.secret {
                    secret_headers.push(name);
                }
                fields.insert(name.into(), Value::from(text));
            }
        }
    }
    let mut call = Call::new(op.method.clone(), address(op, &path, &query).map_err(refuse)?, op.class);
    call.headers = headers(Some(&Value::from(fields)), redactor)
        .map_err(|e| refuse(e.trim_start_matches("`headers`: ").to_owned()))?;
    for name in secret_headers.iter().filter_map(|n| HeaderName::from_bytes(n.as_bytes()).ok()) {
        call.headers.get_mut(&name).into_iter().for_each(|v| v.set_sensitive(true));
    }
    if !cookies.is_empty() {
        let text = cookies.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("; ");
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| refuse("found cookies that cannot stand in a header".into()))?;
        value.set_sensitive(true);
        call.headers.insert(COOKIE, value);
    }
    if let Some((body, value)) = body {
        let (bytes, media) = body.render(&value, key).map_err(|e| refuse(format!("the body: {e}")))?;
        let media = HeaderValue::from_str(&media).map_err(|_| wrong(format!("found the media type {media:?}")))?;
        call.headers.insert(CONTENT_TYPE, media);
        call.body = Some(Bytes::from(bytes));
    }
    let accept = HeaderValue::from_str(&op.accept.join(", ")).ok().filter(|v| !v.is_empty());
    if let (Some(accept), false) = (accept, call.headers.contains_key(ACCEPT)) {
        call.headers.insert(ACCEPT, accept);
    }
    let accepted = call.headers.get(ACCEPT).and_then(|v| v.to_str().ok());
    let json = accepted.is_some_and(|accept| accept.split(',').all(is_json));
    Ok(Placed { call, json })
}

fn refused(op: &Operation, what: &str) -> Problem {
    Problem::standard(Standard::Validation, format!("`parameters` of {}: {what}", op.id))
}

/// What goes where, by names alone.
struct Sorted<'a> {
    parameters: Vec<(&'a Parameter, &'a Value)>,
    body: Option<(&'a Body, Value)>,
}

fn sorted<'a>(op: &'a Operation, given: &'a Map) -> Result<Sorted<'a>, String> {
    let mut taker = Taker { given, used: BTreeSet::new() };
    let (mut parameters, mut missing) = (Vec::new(), Vec::new());
    for parameter in &op.parameters {
        match taker.take(parameter).or_else(|| parameter.default.as_ref().filter(|_| parameter.required)) {
            Some(value) => parameters.push((parameter, value)),
            None if parameter.required => missing.push(&*parameter.name),
            None => {}
        }
    }
    if !missing.is_empty() {
        return Err(format!("found no {}; {}", missing.join(", "), known(op)));
    }
    Ok(Sorted { parameters, body: body(op, taker.rest())? })
}

/// Says which parameter a complaint is about.
fn named(name: &str) -> impl FnOnce(String) -> String + '_ {
    move |what| format!("{name:?}: {what}")
}

/// Hands out the values, and remembers which.
struct Taker<'a> {
    given: &'a Map,
    used: BTreeSet<&'a str>,
}

impl<'a> Taker<'a> {
    fn take(&mut self, parameter: &Parameter) -> Option<&'a Value> {
        let exact = self.given.get_key_value(&parameter.name);
        let loose = || {
            let header = parameter.place == Place::Header;
            self.given.iter().find(|(name, _)| header && name.eq_ignore_ascii_case(&parameter.name))
        };
        let (name, value) = exact.or_else(loose)?;
        self.used.insert(name);
        Some(value).filter(|v| !v.is_null())
    }

    fn rest(&self) -> Map {
        let left = self.given.iter().filter(|(name, _)| !self.used.contains(&***name));
        left.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

#[derive(Default)]
struct PathParts(Vec<(String, String)>);

impl PathParts {
    fn set(&mut self, name: &str, text: String) {
        self.0.push((name.to_owned(), text));
    }
}

fn encode(text: &str) -> String {
    let mut out = String::new();
    percent(text, &mut out);
    out
}

/// Leaves the characters alone that mean something in an address: the author says that they are meant so.
fn encode_reserved(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if ":/?@!$'()*+,;=[]".contains(c) { out.push(c) } else { percent(c.encode_utf8(&mut [0; 4]), &mut out) }
    }
    out
}

fn written(parameter: &Parameter, value: &Value, encode: &dyn Fn(&str) -> String) -> Result<String, String> {
    match parameter.shape {
        Shape::Json => Ok(encode(&value.to_json())),
        Shape::Style { style, explode, .. } => piece(style, explode, &parameter.name, value, encode),
    }
}

fn several(parameter: &Parameter, value: &Value) -> Result<Vec<(String, String)>, String> {
    match parameter.shape {
        Shape::Json => Ok(vec![(encode(&parameter.name), encode(&value.to_json()))]),
        Shape::Style { style, explode, reserved: true } => {
            pairs(style, explode, &parameter.name, value, &encode_reserved)
        }
        Shape::Style { style, explode, reserved: false } => pairs(style, explode, &parameter.name, value, &encode),
    }
}

fn address(op: &Operation, parts: &PathParts, query: &[(String, String)]) -> Result<Url, String> {
    let (mut path, mut rest) = (String::new(), op.path.as_str());
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else { break };
        path.push_str(before);
        if let Some((_, text)) = parts.0.iter().find(|(n, _)| n == name) {
            if text.is_empty() {
                return Err(format!("{name:?}: found nothing to put into the path {:?}", op.path));
            }
            path.push_str(text);
        }
        rest = behind;
    }
    path.push_str(rest);
    // Values are encoded: a question mark that is left is the document's own.
    let (path, fixed) = path.split_once('?').unwrap_or((&path, ""));
    let path = format!("/{}", path.trim_start_matches('/')).replace('#', "%23");
    if path.split(['/', '\\']).map(unpercent).any(|segment| segment == "." || segment == "..") {
        return Err(format!("found a value that is `.` or `..`, which would lead out of the path {:?}", op.path));
    }
    let mut url = op.base.clone();
    let full = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&full);
    let given = query.iter().map(|(k, v)| format!("{k}={v}"));
    let all = [url.query().unwrap_or(""), fixed].map(str::to_owned).into_iter().chain(given);
    let query = all.filter(|q| !q.is_empty()).collect::<Vec<_>>().join("&");
    url.set_query(Some(query.as_str()).filter(|q| !q.is_empty()));
    Ok(url)
}

/// The body that is made of what no parameter took.
fn body(op: &Operation, mut rest: Map) -> Result<Option<(&Body, Value)>, String> {
    let stranger = |name: &str, all: &mut dyn Iterator<Item = &str>| match nearest(name, all) {
        Some(near) => format!("found {name:?}, did you mean {near:?}?"),
        None => format!("found {name:?}, which has no place; {}", known(op)),
    };
    // `null` means something to those who read JSON. Anywhere else it is as if it were not there.
    let json = op.body.as_ref().is_some_and(|b| b.kind == Kind::Json);
    rest.retain(|name, value| !value.is_null() || (json && !op.names_body(name)));
    let Some(body) = &op.body else {
        let mut names = op.parameters.iter().map(|p| &*p.name);
        return rest.keys().next().map_or(Ok(None), |name| Err(stranger(name, &mut names)));
    };
    let member = |name: &str| body.members.iter().any(|m| **m == *name);
    if let Some((name, value)) = rest.iter().find(|(name, _)| op.names_body(name)) {
        return match rest.keys().find(|k| *k != name) {
            None => Ok(Some((body, value.clone()))),
            Some(other) => Err(format!("found the whole body in {name:?} and {other:?} beside it, expected one way")),
        };
    }
    if body.closed
        && let Some(name) = rest.keys().find(|name| !member(name))
    {
        let mut names = op.parameters.iter().map(|p| &*p.name).chain(body.members.iter().map(|m| &**m));
        return Err(stranger(name, &mut names));
    }
    let absent: Vec<_> = body.required_fields().filter(|f| !rest.contains_key(&***f)).map(|f| &**f).collect();
    if !absent.is_empty() {
        return Err(format!("found no {}; {}", absent.join(", "), known(op)));
    }
    match (body.kind, rest.keys().next()) {
        (_, None) if body.required => Err(format!("found no body, expected `body`, or members of it; {}", known(op))),
        (_, None) => Ok(None),
        (Kind::Text | Kind::Bytes, Some(name)) => Err(format!(
            "found {name:?}, which has no place: the body is {}, give it as `body`; {}",
            body.media,
            known(op)
        )),
        (Kind::Json | Kind::Form | Kind::Multipart, Some(_)) => Ok(Some((body, Value::from(rest.clone())))),
    }
}

/// What the operation takes, for messages.
fn known(op: &Operation) -> String {
    let mut names: Vec<String> = Vec::new();
    for p in &op.parameters {
        names.push(format!("{} ({}{})", p.name, p.place.name(), if p.required { ", required" } else { "" }));
    }
    if let Some(body) = &op.body {
        let name: Arc<str> = body.name.clone().unwrap_or_else(|| "body".into());
        let members = listed(body.members.iter().map(|m| &**m), 20);
        let members = if members.is_empty() { members } else { format!(" of {members}") };
        names.push(format!("{name} (the body{}{members})", if body.required { ", required" } else { "" }));
    }
    if names.is_empty() {
        "it takes none".into()
    } else {
        format!("it takes {}", listed(names.iter().map(String::as_str), 30))
    }
}
