//! `call: http`: the arguments of one HTTP request.
//!
//! The operation behind it is `http.request`; what may be done when the outcome is unknown follows from the method, which
//! therefore has to be literal. `{name}` in a literal endpoint is a member of the task's input, percent-encoded; a member
//! that is not there is an error at run time and never the text `null` in a URL.

use std::sync::Arc;

use super::call::{HTTP, has_expression};
use super::{Reader, Within};
use crate::Value;
use crate::catalog::Class;
use crate::definition::diagnostic::Span;
use crate::definition::plan::{Call, Conditions};
use crate::definition::resolve::Reference;
use crate::definition::yaml::{Member, Yaml, position};
use crate::value::Map;

const METHODS: [(&str, Class); 7] = [
    ("GET", Class::Safe),
    ("HEAD", Class::Safe),
    ("OPTIONS", Class::Safe),
    ("PUT", Class::Idempotent),
    ("DELETE", Class::Idempotent),
    ("POST", Class::AtMostOnce),
    ("PATCH", Class::AtMostOnce),
];

/// Headers whose values are secrets.
const SECRET_HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"];

impl<'a> Reader<'a> {
    /// The request that `with` describes.
    pub fn http(&mut self, call: &'a Yaml, with: Option<&'a Yaml>, within: &Within) -> Option<Call> {
        let mut operation =
            self.operation(call, Reference { version: Reference::of(call.text()?).version, ..Reference::of(HTTP) })?;
        let Some(with) = with else {
            let d = self.error("missing-property", call.mark, "`call: http` has no `with`");
            d.hint = Some("with: { method: get, endpoint: https://example.com/ }".into());
            return None;
        };
        let known = ["method", "endpoint", "headers", "query", "body", "output", "redirect"];
        let fields = self.fields(with, "`with` of `call: http`", &known)?;
        let method = self.required(fields, "method", "`with` of `call: http`").and_then(|y| self.method(y));
        let endpoint = self.required(fields, "endpoint", "`with` of `call: http`").and_then(|y| self.endpoint(y));
        if let Some(members) = fields.get("headers").and_then(Yaml::members) {
            let sealed = |m: &&Member| m.value.text().is_some_and(|t| t.contains("$secrets"));
            let secret = |m: &&Member| SECRET_HEADERS.contains(&&*m.key.to_lowercase()) && !sealed(m);
            for member in members.iter().filter(secret) {
                let message = format!("the value of the header `{}` will stand in the journal", member.key);
                let d = self.warning("secret-in-journal", member.key_span, message);
                d.hint = Some("declare it in `use.secrets`, and write '${ $secrets.my_token }'".into());
            }
        }
        if let Some(member) =
            fields.member("body").filter(|_| matches!(method, Some((m, Class::Safe)) if m != "OPTIONS"))
        {
            let message = "a request that only reads has a `body`, which servers ignore or refuse".to_owned();
            self.warning("body-ignored", member.key_span, message).hint = Some("use `query`, or another method".into());
        }
        let (method, class) = method?;
        let mut members: Map = with.value.as_object()?.clone();
        members.insert(Arc::from("method"), Value::str(method));
        let (uri, authentication) = endpoint?;
        let endpoint = match authentication {
            None => Value::from(uri),
            Some(policy) => {
                let both = [("uri", Value::from(uri)), ("authentication", policy)];
                Value::from(both.into_iter().map(|(k, v)| (Arc::from(k), v)).collect::<Map>())
            }
        };
        members.insert(Arc::from("endpoint"), endpoint);
        let value = Value::from(members);
        let unknown_members_said = with.members()?.iter().all(|m| known.contains(&&*m.key));
        if unknown_members_said {
            self.arguments(&operation, Some(with), &value, call);
        }
        operation.class = class;
        let with = self.arguments_of(with, &value, within)?;
        Some(Call { operation, with, conditions: Conditions::default() })
    }

    fn method(&mut self, yaml: &'a Yaml) -> Option<(&'static str, Class)> {
        let text = self.text(yaml, "`with.method`")?;
        if has_expression(yaml) {
            let d =
                self.error("computed-method", yaml.mark, "`with.method` is an expression, expected a literal method");
            d.hint = Some("what may be repeated after a crash follows from the method: branch with `switch`".into());
            return None;
        }
        let found = METHODS.iter().find(|(m, _)| m.eq_ignore_ascii_case(text));
        if found.is_none() {
            let message = format!("`with.method`: found `{text}`");
            self.unknown_name("unknown-value", yaml.mark, message, text, METHODS.iter().map(|(m, _)| *m));
        }
        found.copied()
    }

    /// The endpoint as a text: itself, or the expression that fills its variables in.
    fn endpoint(&mut self, yaml: &'a Yaml) -> Option<(String, Option<Value>)> {
        let mut authentication = None;
        let uri = match yaml.members() {
            Some(_) => {
                let fields = self.fields(yaml, "`with.endpoint`", &["uri", "authentication"])?;
                if let Some(yaml) = fields.get("authentication") {
                    authentication = Some(self.authentication(yaml)?);
                }
                self.required(fields, "uri", "`with.endpoint`")?
            }
            None => yaml,
        };
        let text = self.text(uri, "`with.endpoint`")?;
        if has_expression(uri) {
            return Some((text.to_owned(), authentication));
        }
        if !(text.starts_with("http://") || text.starts_with("https://")) {
            let d = self.error(
                "invalid-endpoint",
                uri.mark,
                format!("`with.endpoint`: found `{text}`, expected an http or https URL"),
            );
            if text.starts_with(['.', '$']) {
                d.hint = Some(format!("an expression stands in `${{ … }}`: '${{ {text} }}'"));
            }
            return None;
        }
        Some((self.expand(uri, text)?, authentication))
    }

    /// A URI template as an expression.
    fn expand(&mut self, yaml: &'a Yaml, text: &str) -> Option<String> {
        if !text.contains(['{', '}']) {
            return Some(text.to_owned());
        }
        let (mut expression, mut rest) = (String::new(), text);
        let place = |reader: &Self, part: &str| -> Span {
            let start = part.as_ptr() as usize - text.as_ptr() as usize;
            position::locate(reader.source, yaml, start, start + part.len().max(1))
        };
        loop {
            let Some((before, after)) = rest.split_once('{') else {
                expression.push_str(&quoted(rest));
                break;
            };
            expression.push_str(&quoted(before));
            let Some((name, after)) = after.split_once('}') else {
                let span = place(self, &rest[before.len()..]);
                self.error("invalid-endpoint", span, "`{` without `}` in the endpoint");
                return None;
            };
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if name.is_empty() || !plain {
                let span = place(self, &rest[before.len()..before.len() + name.len() + 2]);
                let d = self.error(
                    "invalid-endpoint",
                    span,
                    format!("found `{{{name}}}` in the endpoint, expected the name of a member of the task's input"),
                );
                d.hint = Some(r#"for anything else write an expression: '${ "https://host/\(.a.b | @uri)" }'"#.into());
                return None;
            }
            let key = quoted(name);
            let lost = quoted(&format!("the endpoint needs `{name}`, which the task's input does not have"));
            expression
                .push_str(&format!(r#"\(.["{key}"] | if . == null then error("{lost}") else tostring | @uri end)"#));
            rest = after;
        }
        Some(format!("${{ \"{expression}\" }}"))
    }
}

/// The text as it stands between the quotes of a jq string.
fn quoted(text: &str) -> String {
    let json = Value::str(text).to_json();
    json[1..json.len() - 1].to_owned()
}
