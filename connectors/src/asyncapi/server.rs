//! Where a call goes: the server of the document, its variables filled in, and the address within it.
//!
//! A call may name a server, or a protocol; else it is the first server that the channel is available at. No other one is tried if
//! that one cannot be reached: a message that may have gone to one must not go to another.
//!
//! The language has no place for a channel's parameters. A parameter of an outbound address comes from where the document says
//! that it stands in the message (`location`), else from its default. In a subscription a parameter without a default stands
//! for anything, where the protocol has a wildcard for one level and the parameter is a whole level.

use cpd_connector_api::{Problem, Standard, Value};
use reqwest::Url;

use super::document::{Direction, Document, Found, one_of};
use super::message;
use super::protocol::{self, Spoken};

/// What `with` says about the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// `server.name`.
    pub name: Option<&'a str>,
    /// `server.variables`.
    pub variables: Option<&'a Value>,
    /// `protocol`.
    pub protocol: Option<&'a str>,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server's name in the document.
    pub server: String,
    /// What to speak.
    pub spoken: Spoken,
    /// Whether under TLS.
    pub tls: bool,
    /// The host; an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path of the server, which begins with a slash or is empty.
    pub path: String,
}

impl Target {
    /// Host and port as they are written together.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// How it stands in messages: `nats://broker:4222`.
    pub fn shown(&self) -> String {
        let secure = if self.tls { "s" } else { "" };
        let name = match self.spoken {
            Spoken::Mqtt3 | Spoken::Mqtt5 => "mqtt",
            Spoken::Nats if self.tls => return format!("tls://{}", self.authority()),
            other => other.name(),
        };
        format!("{name}{secure}://{}", self.authority())
    }

    /// The web address of a channel, for protocols that have one.
    ///
    /// # Errors
    /// If the channel's address cannot stand in one.
    pub fn url(&self, address: &str) -> Result<Url, Problem> {
        let secure = if self.tls { "s" } else { "" };
        let path = format!("{}/{}", self.path.trim_end_matches('/'), address.trim_start_matches('/'));
        let text = format!("http{secure}://{}{}", self.authority(), path);
        let mut url: Url = text.parse().map_err(|e| {
            Problem::standard(Standard::Configuration, format!("found the address {text:?}, which is none: {e}"))
        })?;
        url.set_fragment(None);
        Ok(url)
    }
}

/// The server for a call.
///
/// # Errors
/// A `configuration` problem if there is none, its protocol is not spoken, or its address is none.
pub fn choose(document: &Document, found: &Found<'_>, asked: Asked<'_>) -> Result<Target, Problem> {
    let (name, server, spoken) = select(document, found, asked)?;
    address(document, name, server, spoken, asked.variables)
}

/// The server for a call: its name, what the document says of it, and what is spoken there.
///
/// # Errors
/// A `configuration` problem if there is none, or its protocol is not spoken.
pub fn select<'a>(
    document: &'a Document,
    found: &Found<'_>,
    asked: Asked<'_>,
) -> Result<(&'a str, &'a Value, Spoken), Problem> {
    let available = available(document, found)?;
    let server = match (asked.name, asked.protocol) {
        (Some(name), _) => {
            let (name, server) = document.named("servers", "server", name)?;
            if !available.iter().any(|(known, _)| *known == name) {
                let at = one_of(available.iter().map(|a| a.0), name);
                return Err(
                    document.wrong(format!("{} is not available at the server {name:?}, expected {at}", found.name))
                );
            }
            (name, document.resolve(server)?)
        }
        (None, Some(wanted)) => {
            protocol::check(wanted)?;
            let serves = |server: &Value| {
                let (name, version) = named(server);
                Spoken::of(name, version).is_ok_and(|spoken| spoken.serves(wanted))
            };
            let Some((name, server)) = available.iter().find(|(_, server)| serves(server)) else {
                let there = one_of(available.iter().map(|(_, server)| named(server).0), wanted);
                let what = format!("{} has no server with the protocol {wanted:?}, expected {there}", found.name);
                return Err(document.wrong(what));
            };
            (*name, *server)
        }
        (None, None) => *available
            .first()
            .ok_or_else(|| document.wrong(format!("found no server for {}, expected one in `servers`", found.name)))?,
    };
    let (name, server) = server;
    let (protocol, version) = named(server);
    let spoken = Spoken::of(protocol, version).map_err(|problem| {
        let other = available.iter().find(|(_, s)| Spoken::of(named(s).0, named(s).1).is_ok());
        let hint = other.map_or_else(String::new, |(n, _)| format!(" (set `server: {{name: {n}}}` for one that is)"));
        document.wrong(format!("the server {name:?}: {}{hint}", problem.detail.as_deref().unwrap_or("")))
    })?;
    Ok((name, server, spoken))
}

/// `protocol` and `protocolVersion`, which YAML may read as a number.
fn named(server: &Value) -> (&str, Option<&str>) {
    let version = match server.get("protocolVersion") {
        Some(Value::Str(text)) => Some(&**text),
        Some(number) if number.as_f64().is_some_and(|n| (5.0..6.0).contains(&n)) => Some("5"),
        _ => None,
    };
    (server.get("protocol").and_then(Value::as_str).unwrap_or(""), version)
}

/// The servers that the channel is available at, in the order of the document.
fn available<'a>(document: &'a Document, found: &Found<'_>) -> Result<Vec<(&'a str, &'a Value)>, Problem> {
    let listed = found.channel.get("servers").and_then(Value::as_array).filter(|l| !l.is_empty());
    let name_of = |entry: &Value| {
        // Version 3 refers (`#/servers/production`), version 2 names.
        let target = entry.get("$ref").or(Some(entry)).and_then(Value::as_str)?;
        Some(target.rsplit('/').next().unwrap_or(target).replace("~1", "/").replace("~0", "~"))
    };
    let wanted: Option<Vec<String>> = listed.map(|l| l.iter().filter_map(name_of).collect());
    let servers = document.section("servers").into_iter().flatten();
    servers
        .filter(|(name, _)| wanted.as_ref().is_none_or(|w| w.iter().any(|n| **n == ***name)))
        .map(|(name, server)| Ok((&**name, document.resolve(server)?)))
        .collect()
}

fn address(
    document: &Document,
    name: &str,
    server: &Value,
    spoken: Spoken,
    variables: Option<&Value>,
) -> Result<Target, Problem> {
    let fill = |template: &str| filled(document, name, server, template, variables);
    let own = |member: &str| server.get(member).and_then(Value::as_str).map(str::trim);
    let (text, path) = match (own("host"), own("url")) {
        (Some(host), _) if document.is_three() => (fill(host)?, fill(own("pathname").unwrap_or(""))?),
        (_, Some(url)) if !document.is_three() => (fill(url)?, String::new()),
        _ => {
            let expected = if document.is_three() { "`host`" } else { "`url`" };
            return Err(document.wrong(format!("the server {name:?} has no {expected}")));
        }
    };
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    let secure = |word: &str| {
        let word = word.to_ascii_lowercase();
        let known = ["https", "mqtts", "secure-mqtt", "mqtts5", "wss", "rediss", "nats-tls", "tls", "ssl"];
        known.contains(&word.as_str())
    };
    let none = |what: &str| document.wrong(format!("the server {name:?}: found the address {text:?}, {what}"));
    let url: Url = format!("cpd://{rest}").parse().map_err(|_| none("expected host:port"))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: there are credentials in it.
        let what = "found credentials in its address, which is logged; use `authentication` instead";
        return Err(document.wrong(format!("the server {name:?}: {what}")));
    }
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| none("which has no host"))?;
    let tls = secure(named(server).0) || secure(scheme);
    let path = format!("{}{}", url.path().trim_end_matches('/'), slashed(&path));
    Ok(Target {
        server: name.to_owned(),
        spoken,
        tls,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(spoken.port(tls)),
        path,
    })
}

fn slashed(path: &str) -> String {
    let bare = path.trim_matches('/');
    if bare.is_empty() { String::new() } else { format!("/{bare}") }
}

/// A server's text with its variables.
fn filled(
    document: &Document,
    name: &str,
    server: &Value,
    template: &str,
    given: Option<&Value>,
) -> Result<String, Problem> {
    each_parameter(template, |variable, _| {
        let known = server.get("variables").and_then(|v| v.get(variable));
        let known = known.map(|v| document.resolve(v)).transpose()?;
        let value = given.and_then(|v| v.get(variable)).filter(|v| !v.is_null());
        let value = value.or_else(|| known.and_then(|k| k.get("default"))).and_then(message::scalar);
        let shown = format!("the variable {variable:?} of the server {name:?}");
        let Some(value) = value else {
            return Err(document.wrong(format!("{shown} has no default, expected a value in `server.variables`")));
        };
        in_enum(known, &value).map_err(|what| document.wrong(format!("{shown}: {what}")))?;
        Ok(value)
    })
    .map_err(|e| {
        e.unwrap_or_else(|| document.wrong(format!("the server {name:?}: found {template:?} without a closing brace")))
    })
}

fn in_enum(known: Option<&Value>, value: &str) -> Result<(), String> {
    let Some(allowed) = known.and_then(|k| k.get("enum")).and_then(Value::as_array) else { return Ok(()) };
    let names: Vec<String> = allowed.iter().filter_map(message::scalar).collect();
    if names.iter().any(|n| n == value) {
        return Ok(());
    }
    Err(format!("found {value:?}, expected {}", one_of(names.iter().map(String::as_str), value)))
}

/// The channel's address with its parameters. `sent` is the outbound message; without one it is a subscription's.
///
/// # Errors
/// If a parameter has no value, or one that cannot stand in an address.
pub fn channel_address(
    document: &Document,
    found: &Found<'_>,
    spoken: Spoken,
    direction: Direction,
    sent: Option<&Value>,
) -> Result<String, Problem> {
    let template = &found.address;
    let filled = each_parameter(template, |name, place| {
        let known = found.channel.get("parameters").and_then(|p| p.get(name));
        let known = known.map(|k| document.resolve(k)).transpose()?;
        let schema = known.and_then(|k| k.get("schema")).map(|s| document.resolve(s)).transpose()?.or(known);
        let located = || message::locate(known?.get("location")?.as_str()?, sent?);
        let fixed = || {
            let schema = schema?;
            let only = schema.get("enum").and_then(Value::as_array).filter(|e| e.len() == 1).map(|e| &e[0]);
            schema.get("default").or_else(|| schema.get("const")).or(only)
        };
        let value = located().or_else(fixed).and_then(message::scalar);
        let shown = format!("the parameter {name:?} of the address {template:?}");
        let Some(value) = value else {
            return match spoken.wildcard() {
                Some((any, level)) if direction == Direction::Subscribe && place.is_level(level) => Ok(any.to_owned()),
                _ => {
                    let what = "expected a default, or a `location` within the message that has it";
                    Err(document.wrong(format!("{shown} has no value, {what}")))
                }
            };
        };
        in_enum(schema, &value).map_err(|what| document.wrong(format!("{shown}: {what}")))?;
        part(spoken, &value)
            .map_err(|what| Problem::standard(Standard::Validation, format!("{shown}: found {value:?}, {what}")))
    });
    filled.map_err(|e| {
        e.unwrap_or_else(|| document.wrong(format!("found the address {template:?} without a closing brace")))
    })
}

/// A parameter's value as it may stand in an address: it never makes more levels of it, nor a wildcard.
fn part(spoken: Spoken, value: &str) -> Result<String, &'static str> {
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err("expected a text of printable characters");
    }
    match spoken {
        Spoken::Http | Spoken::Ws => {
            let mut encoded = String::new();
            crate::http::content::percent(value, &mut encoded);
            Ok(encoded)
        }
        Spoken::Nats if value.contains(['.', '*', '>']) || value.contains(char::is_whitespace) => {
            Err("which has a dot, a wildcard or a space in it")
        }
        Spoken::Mqtt3 | Spoken::Mqtt5 if value.contains(['/', '+', '#']) => {
            Err("which has a slash or a wildcard in it")
        }
        Spoken::Nats | Spoken::Mqtt3 | Spoken::Mqtt5 | Spoken::Redis => Ok(value.to_owned()),
    }
}

/// What stands around a parameter.
#[derive(Clone, Copy, Debug)]
struct Place {
    before: Option<char>,
    after: Option<char>,
}

impl Place {
    /// Whether the parameter is a whole level of the address.
    fn is_level(self, separator: char) -> bool {
        self.before.is_none_or(|c| c == separator) && self.after.is_none_or(|c| c == separator)
    }
}

/// The template with each `{name}` replaced. `Err(None)` if a brace is not closed.
fn each_parameter(
    template: &str,
    mut value: impl FnMut(&str, Place) -> Result<String, Problem>,
) -> Result<String, Option<Problem>> {
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or(None)?;
        text.push_str(before);
        let place = Place { before: text.chars().next_back(), after: behind.chars().next() };
        text.push_str(&value(name, place).map_err(Some)?);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}
