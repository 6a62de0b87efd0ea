//! An AsyncAPI document: version 2 or 3, JSON or YAML, and what a call finds in it.
//!
//! - In version 2 a call names a channel, and whether it brings a message or a subscription says which of the channel's two
//!   operations is meant: `publish` is what clients send, `subscribe` what they get. The names are already the client's view.
//! - In version 3 a call names an operation. `send` and `receive` are the view of the application that the document
//!   describes; whether that is the service or the workflow itself no document says. So `message` and `subscription` decide the
//!   direction here, too, and the action is only reported.
//! - Either way the other name is accepted as well: an `operationId` in version 2, a channel in version 3.
//! - `$ref` is followed within the document, over a bounded number of steps. Another document is never loaded.
//! - Traits are looked at where a message or an operation lacks a member itself.

use cpd_connector_api::attachment::Resource;
use cpd_connector_api::{Map, Problem, Standard, Value, read_value};

/// The longest chain of references that point to references.
const CHAIN_MAX: usize = 32;
/// Of a list of names in a message, this many are shown.
const NAMES_MAX: usize = 10;

/// Which way messages go, as the workflow sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The workflow sends one.
    Publish,
    /// The workflow gets some.
    Subscribe,
}

impl Direction {
    /// The operation of a channel in version 2.
    fn member(self) -> &'static str {
        match self {
            Direction::Publish => "publish",
            Direction::Subscribe => "subscribe",
        }
    }

    /// The member of `with` that asks for it.
    pub fn asked_by(self) -> &'static str {
        match self {
            Direction::Publish => "message",
            Direction::Subscribe => "subscription",
        }
    }
}

/// A document, read.
#[derive(Debug)]
pub struct Document {
    uri: String,
    root: Value,
    three: bool,
}

/// What a call is about.
#[derive(Debug)]
pub struct Found<'a> {
    /// What to call it in messages: `the operation "greet"`.
    pub name: String,
    /// The channel's address, parameters unfilled.
    pub address: String,
    /// The channel.
    pub channel: &'a Value,
    /// The operation, if there is one.
    pub operation: Option<&'a Value>,
    /// The action of version 3: `send` or `receive`.
    pub action: Option<&'a str>,
    /// The messages that it is for; empty if the document does not say.
    pub messages: Vec<&'a Value>,
}

impl Document {
    /// Reads a pinned document.
    ///
    /// # Errors
    /// A `configuration` problem if it is neither JSON nor YAML, or no AsyncAPI document of version 2 or 3.
    pub fn read(resource: &Resource) -> Result<Self, Problem> {
        let wrong = |what: String| {
            Problem::standard(Standard::Configuration, format!("read the AsyncAPI document {}: {what}", resource.uri))
        };
        let text = resource.text()?;
        let json = text.trim_start().starts_with('{').then(|| Value::from_json(text.as_bytes()).ok()).flatten();
        let root = match json {
            Some(root) => root,
            None => read_value(text, &resource.uri).map_err(|found| {
                let first = found.first().map(|d| match &d.span {
                    Some(span) => format!("line {}: {}", span.line, d.message),
                    None => d.message.clone(),
                });
                wrong(first.unwrap_or_else(|| "it is neither JSON nor YAML".into()))
            })?,
        };
        let version = root.get("asyncapi").and_then(Value::as_str).map(str::to_owned);
        let three = match version.as_deref().and_then(|v| v.split('.').next()) {
            Some("2") => false,
            Some("3") => true,
            _ => {
                let found = version.map_or_else(|| "no `asyncapi`".to_owned(), |v| format!("`asyncapi: {v}`"));
                return Err(wrong(format!("found {found}, expected a document of version 2.x or 3.x")));
            }
        };
        Ok(Self { uri: resource.uri.to_string(), root, three })
    }

    /// Whether it is of version 3.
    pub fn is_three(&self) -> bool {
        self.three
    }

    /// A problem of this document.
    pub fn wrong(&self, what: impl AsRef<str>) -> Problem {
        let what = format!("read the AsyncAPI document {}: {}", self.uri, what.as_ref());
        Problem::standard(Standard::Configuration, what)
    }

    /// The members of a section of the document, such as `servers`.
    pub fn section(&self, name: &str) -> Option<&Map> {
        self.root.get(name).and_then(Value::as_object)
    }

    /// A text at the top of the document.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.root.get(name).and_then(Value::as_str)
    }

    /// What stands there, references followed.
    ///
    /// # Errors
    /// If a reference leads out of the document, to nothing, or in circles.
    pub fn resolve<'a>(&'a self, at: &'a Value) -> Result<&'a Value, Problem> {
        let mut here = at;
        for _ in 0..CHAIN_MAX {
            let Some(target) = here.get("$ref").and_then(Value::as_str) else { return Ok(here) };
            here = self.pointed(target)?;
        }
        let first = at.get("$ref").and_then(Value::as_str).unwrap_or("");
        Err(self.wrong(format!("`$ref: {first}` goes in circles, or over more than {CHAIN_MAX} references")))
    }

    /// What a reference points to, other references unfollowed.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn pointed(&self, target: &str) -> Result<&Value, Problem> {
        let Some(pointer) = target.strip_prefix('#') else {
            let what = "points to another document, expected one within it (#/…): bundle them into one";
            return Err(self.wrong(format!("`$ref: {target}` {what}")));
        };
        pointer
            .split('/')
            .skip(1)
            .try_fold(&self.root, |at, part| match at {
                Value::Arr(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
                other => other.get(&unescaped(part)),
            })
            .ok_or_else(|| self.wrong(format!("`$ref: {target}` points to nothing")))
    }

    /// A member of a message or an operation: its own, or the first of its traits that has it.
    pub fn member<'a>(&'a self, of: &'a Value, name: &str) -> Option<&'a Value> {
        let own = of.get(name).filter(|v| !v.is_null());
        own.or_else(|| {
            let traits = of.get("traits").and_then(Value::as_array)?;
            traits.iter().filter_map(|t| self.resolve(t).ok()?.get(name)).find(|v| !v.is_null())
        })
    }

    /// The binding of a protocol, of an operation or a channel: `bindings.http`.
    pub fn binding<'a>(&'a self, of: Option<&'a Value>, protocol: &str) -> Option<&'a Value> {
        let bindings = self.resolve(self.member(of?, "bindings")?).ok()?;
        self.resolve(bindings.get(protocol)?).ok()
    }

    /// What a call that names a channel or an operation is about.
    ///
    /// # Errors
    /// If the document does not have it.
    pub fn find(
        &self,
        channel: Option<&str>,
        operation: Option<&str>,
        direction: Direction,
    ) -> Result<Found<'_>, Problem> {
        match (operation, channel) {
            (Some(id), _) if self.three => self.operation_of_three(id),
            (Some(id), _) => self.operation_of_two(id, direction),
            (None, Some(name)) if self.three => self.channel_of_three(name),
            (None, Some(name)) => {
                let (address, channel) = self.named("channels", "channel", name)?;
                self.of_two(address, self.resolve(channel)?, direction)
            }
            (None, None) => {
                let what = "`with`: found neither `operation` nor `channel`, expected one of them";
                Err(Problem::standard(Standard::Validation, what))
            }
        }
    }

    fn of_two<'a>(&'a self, name: &str, channel: &'a Value, direction: Direction) -> Result<Found<'a>, Problem> {
        let member = direction.member();
        let Some(operation) = channel.get(member).filter(|v| !v.is_null()) else {
            let asked = direction.asked_by();
            let what = format!("the channel {name:?} has no operation `{member}`, which `{asked}` asks for");
            return Err(self.wrong(what));
        };
        let operation = self.resolve(operation)?;
        let messages = match self.member(operation, "message") {
            None => Vec::new(),
            Some(message) => match self.resolve(message)?.get("oneOf").and_then(Value::as_array) {
                Some(several) => several.iter().map(|m| self.resolve(m)).collect::<Result<_, _>>()?,
                None => vec![self.resolve(message)?],
            },
        };
        let shown = format!("`{member}` of the channel {name:?}");
        Ok(Found { name: shown, address: name.to_owned(), channel, operation: Some(operation), action: None, messages })
    }

    fn operation_of_two(&self, id: &str, direction: Direction) -> Result<Found<'_>, Problem> {
        let mut known = Vec::new();
        for (name, channel) in self.section("channels").into_iter().flatten() {
            let channel = self.resolve(channel)?;
            for way in [Direction::Publish, Direction::Subscribe] {
                let Some(operation) = channel.get(way.member()) else { continue };
                let Some(found) = self.resolve(operation)?.get("operationId").and_then(Value::as_str) else { continue };
                if found != id {
                    known.push(found);
                } else if way == direction {
                    return self.of_two(name, channel, direction);
                } else {
                    let (is, asked) = (way.member(), direction.asked_by());
                    let expected = direction.member();
                    let what = format!("the operation {id:?} is a `{is}`, and `{asked}` asks for a `{expected}`");
                    return Err(self.wrong(what));
                }
            }
        }
        Err(self.wrong(format!("found no operation {id:?}, expected {}", one_of(known.into_iter(), id))))
    }

    fn operation_of_three(&self, id: &str) -> Result<Found<'_>, Problem> {
        let (_, operation) = self.named("operations", "operation", id)?;
        let operation = self.resolve(operation)?;
        let Some(channel) = operation.get("channel").filter(|c| !c.is_null()) else {
            return Err(self.wrong(format!("the operation {id:?} has no `channel`")));
        };
        let mut found = self.of_three(self.resolve(channel)?, &format!("the channel of the operation {id:?}"))?;
        if let Some(messages) = operation.get("messages").and_then(Value::as_array).filter(|m| !m.is_empty()) {
            found.messages = messages.iter().map(|m| self.resolve(m)).collect::<Result<_, _>>()?;
        }
        found.name = format!("the operation {id:?}");
        found.operation = Some(operation);
        found.action = operation.get("action").and_then(Value::as_str);
        Ok(found)
    }

    fn channel_of_three(&self, name: &str) -> Result<Found<'_>, Problem> {
        let by_address = || {
            let channels = self.section("channels")?.values();
            channels
                .filter_map(|c| self.resolve(c).ok())
                .find(|c| c.get("address").and_then(Value::as_str) == Some(name))
        };
        let channel = match self.section("channels").and_then(|c| c.get(name)).or_else(by_address) {
            Some(channel) => channel,
            None => self.named("channels", "channel", name)?.1,
        };
        self.of_three(self.resolve(channel)?, &format!("the channel {name:?}"))
    }

    fn of_three<'a>(&'a self, channel: &'a Value, name: &str) -> Result<Found<'a>, Problem> {
        let Some(address) = channel.get("address").and_then(Value::as_str) else {
            let what = format!("{name} has no `address`: it is not known before run time, and a call cannot say it");
            return Err(self.wrong(what));
        };
        let messages = channel.get("messages").and_then(Value::as_object);
        let messages = messages.into_iter().flatten().map(|(_, m)| self.resolve(m)).collect::<Result<_, _>>()?;
        let (name, address) = (name.to_owned(), address.to_owned());
        Ok(Found { name, address, channel, operation: None, action: None, messages })
    }

    /// A member of a section, by name.
    ///
    /// # Errors
    /// If there is none of that name: lists those that there are, the nearest first.
    pub fn named<'a>(&'a self, section: &str, what: &str, name: &str) -> Result<(&'a str, &'a Value), Problem> {
        let members = self.section(section);
        if let Some((key, value)) = members.and_then(|m| m.get_key_value(name)) {
            return Ok((key, value));
        }
        let known = members.into_iter().flat_map(|m| m.keys().map(|k| &**k));
        Err(self.wrong(format!("found no {what} {name:?}, expected {}", one_of(known, name))))
    }
}

/// A part of a JSON pointer in a URI fragment as the name that it stands for: `~1smart~1{room}`, `%7Broom%7D`.
fn unescaped(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match code.filter(|hex| !hex.starts_with('+')).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).replace("~1", "/").replace("~0", "~")
}

/// The names that there are, those nearest to what was asked for first.
pub fn one_of<'a>(known: impl Iterator<Item = &'a str>, asked: &str) -> String {
    let mut known: Vec<_> = known.collect();
    if known.is_empty() {
        return "one that is there: there is none".into();
    }
    known.sort_by_key(|name| strsim::damerau_levenshtein(name, asked));
    let more = if known.len() > NAMES_MAX { ", …" } else { "" };
    let shown: Vec<_> = known.iter().take(NAMES_MAX).map(|n| format!("{n:?}")).collect();
    format!("one of {}{more}", shown.join(", "))
}
