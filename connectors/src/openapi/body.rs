//! A request's body, by its media type.
//!
//! A file in `multipart/form-data`, and bytes anywhere, are a text (sent as UTF-8) or `{base64: …}`; a file may have
//! `filename` and `contentType` beside it, and `text` in place of `base64`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cpd_connector_api::{Map, Value};
use sha2::{Digest, Sha256};

use super::style::{Style, pairs, scalar};
use crate::http::content::{is_json, percent};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Form,
    Multipart,
    Text,
    Bytes,
}

impl Kind {
    /// The kind of a media type; `None` for what nobody here can write (other multiparts).
    pub fn of(media: &str) -> Option<Self> {
        let bare = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        Some(match bare.as_str() {
            "*/*" | "application/*" => Kind::Json,
            _ if is_json(&bare) => Kind::Json,
            "application/x-www-form-urlencoded" => Kind::Form,
            "multipart/form-data" => Kind::Multipart,
            "application/xml" | "application/yaml" | "application/graphql" | "application/x-ndjson" => Kind::Text,
            _ if bare.starts_with("text/") || bare.ends_with("+xml") || bare.ends_with("+yaml") => Kind::Text,
            _ if bare.starts_with("multipart/") => return None,
            _ => Kind::Bytes,
        })
    }

    /// The media type to send of those on offer: JSON if it is there, else the first that can be written.
    pub fn choose<'m>(offered: impl Iterator<Item = &'m str>) -> Option<(&'m str, Self)> {
        let mut known: Vec<_> = offered.filter_map(|m| Some((m, Self::of(m)?))).collect();
        known.sort_by_key(|(_, kind)| *kind != Kind::Json);
        known.first().copied()
    }
}

/// What a body consists of.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub media: String,
    pub kind: Kind,
    pub required: bool,
    /// Swagger's name for it.
    pub name: Option<Arc<str>>,
    /// Whether other members than `members` are a mistake.
    pub closed: bool,
    /// The members that its schema names.
    pub members: Vec<Arc<str>>,
    fields: BTreeMap<Arc<str>, Field>,
}

/// A field of a form.
#[derive(Clone, Debug)]
struct Field {
    style: Style,
    explode: bool,
    file: bool,
    required: bool,
    content_type: Option<String>,
}

impl Body {
    pub fn new((media, kind): (&str, Kind), required: bool, name: Option<&str>, schema: Option<&Value>) -> Self {
        let media = match kind {
            _ if !media.contains('*') => media,
            Kind::Text => "text/plain",
            Kind::Bytes => "application/octet-stream",
            Kind::Json | Kind::Form | Kind::Multipart => "application/json",
        };
        // A schema that is made of others has members that are not seen from here.
        let made =
            |s: &Value| ["allOf", "anyOf", "oneOf", "patternProperties", "if"].iter().any(|k| s.get(k).is_some());
        let sealed = |s: &Value| s.get("additionalProperties") == Some(&Value::Bool(false)) && !made(s);
        Self {
            media: media.to_owned(),
            kind,
            required,
            name: name.map(Arc::from),
            closed: schema.is_some_and(sealed),
            members: Vec::new(),
            fields: BTreeMap::new(),
        }
    }

    /// The same with the names of members.
    #[must_use]
    pub fn with_members(mut self, names: impl Iterator<Item = Arc<str>>) -> Self {
        self.members.extend(names);
        self
    }

    /// Says how a field of the form is written.
    pub fn field(&mut self, name: &str, style: Style, explode: bool, file: bool, required: bool) {
        if !self.members.iter().any(|m| **m == *name) {
            self.members.push(name.into());
        }
        self.fields.insert(name.into(), Field { style, explode, file, required, content_type: None });
    }

    /// Says of which media type a field of the form is.
    pub fn content_type(&mut self, name: &str, media: &str) {
        if let Some(field) = self.fields.get_mut(name) {
            field.content_type = Some(media.to_owned());
        }
    }

    /// The fields that have to be there.
    pub fn required_fields(&self) -> impl Iterator<Item = &Arc<str>> {
        self.fields.iter().filter(|(_, f)| f.required).map(|(name, _)| name)
    }

    /// The bytes and their media type. The key makes a boundary, the same one for the same call.
    ///
    /// # Errors
    /// If the value cannot be written so.
    pub fn render(&self, value: &Value, key: &str) -> Result<(Vec<u8>, String), String> {
        let members = || {
            value
                .as_object()
                .ok_or_else(|| format!("found {}, expected an object: it is sent as {}", value.kind(), self.media))
        };
        Ok(match self.kind {
            Kind::Json => (value.to_json().into_bytes(), self.media.clone()),
            Kind::Text => {
                let text = scalar(value)
                    .ok_or_else(|| format!("found {}, expected a text: it is sent as {}", value.kind(), self.media))?;
                (text.into_bytes(), self.media.clone())
            }
            Kind::Bytes => (bytes(value)?, self.media.clone()),
            Kind::Form => (self.form(members()?)?.into_bytes(), self.media.clone()),
            Kind::Multipart => {
                let parts = self.parts(members()?)?;
                let boundary = boundary(&parts, key);
                let mut body = Vec::new();
                for part in &parts {
                    body.extend_from_slice(format!("--{boundary}\r\n{}\r\n\r\n", part.head).as_bytes());
                    body.extend_from_slice(&part.content);
                    body.extend_from_slice(b"\r\n");
                }
                body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
                (body, format!("multipart/form-data; boundary={boundary}"))
            }
        })
    }

    fn form(&self, members: &Map) -> Result<String, String> {
        let encode = |text: &str| {
            let mut out = String::new();
            percent(text, &mut out);
            out
        };
        let mut found = Vec::new();
        for (name, value) in members.iter().filter(|(_, v)| !v.is_null()) {
            let named = |e: String| format!("{name:?}: {e}");
            match self.fields.get(name) {
                Some(f) if f.content_type.as_deref().is_some_and(is_json) => {
                    found.push((encode(name), encode(&value.to_json())))
                }
                Some(f) => found.extend(pairs(f.style, f.explode, name, value, &encode).map_err(named)?),
                None => found.extend(pairs(Style::Form, true, name, value, &encode).map_err(named)?),
            }
        }
        Ok(found.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&"))
    }

    fn parts(&self, members: &Map) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        for (name, value) in members.iter().filter(|(_, v)| !v.is_null()) {
            let field = self.fields.get(name);
            let mut add = |v: &Value| part(name, v, field).map(|p| parts.push(p)).map_err(|e| format!("{name:?}: {e}"));
            match value {
                Value::Arr(items) => items.iter().try_for_each(&mut add)?,
                one => add(one)?,
            }
        }
        Ok(parts)
    }
}

/// A part of a multipart body.
struct Part {
    head: String,
    content: Vec<u8>,
}

fn part(name: &str, value: &Value, field: Option<&Field>) -> Result<Part, String> {
    // As browsers do it: these three would end the name.
    let quoted = |text: &str| text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let mut head = format!("Content-Disposition: form-data; name=\"{}\"", quoted(name));
    let declared =
        field.and_then(|f| f.content_type.clone()).and_then(|t| Some(t.split(',').next()?.trim().to_owned()));
    let declared = declared.filter(|t| !t.contains('*'));
    let file = file(value)?;
    if file.is_some() || field.is_some_and(|f| f.file) {
        let file = match file {
            Some(file) => file,
            None => File { content: bytes(value)?, name: None, media: None },
        };
        head.push_str(&format!("; filename=\"{}\"", quoted(file.name.as_deref().unwrap_or(name))));
        let media = file.media.or(declared).unwrap_or_else(|| "application/octet-stream".into());
        head.push_str(&format!("\r\nContent-Type: {}", media_type(&media)?));
        return Ok(Part { head, content: file.content });
    }
    let (content, media) = match value {
        Value::Obj(_) | Value::Arr(_) => (value.to_json(), Some(declared.unwrap_or_else(|| "application/json".into()))),
        _ if declared.as_deref().is_some_and(is_json) => (value.to_json(), declared),
        other => (scalar(other).unwrap_or_default(), declared),
    };
    if let Some(media) = media {
        head.push_str(&format!("\r\nContent-Type: {}", media_type(&media)?));
    }
    Ok(Part { head, content: content.into_bytes() })
}

fn media_type(text: &str) -> Result<&str, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    plain.then_some(text).ok_or_else(|| format!("found the media type {text:?}, expected one like text/csv"))
}

struct File {
    content: Vec<u8>,
    name: Option<String>,
    media: Option<String>,
}

/// The value as a file, if it is written as one.
fn file(value: &Value) -> Result<Option<File>, String> {
    let Some(members) = value.as_object() else { return Ok(None) };
    let known = |k: &Arc<str>| matches!(&**k, "base64" | "text" | "filename" | "contentType");
    let contents = [members.get("base64"), members.get("text")];
    let (true, [Some(content), None] | [None, Some(content)]) = (members.keys().all(known), contents) else {
        return Ok(None);
    };
    let content = content.as_str().ok_or_else(|| format!("found a file of {}, expected a text", content.kind()))?;
    let content = if contents[0].is_some() { decoded(content)? } else { content.as_bytes().to_vec() };
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Some(File { content, name: text("filename"), media: text("contentType") }))
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|e| format!("found a `base64` that is none: {e}"))
}

fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    match (value, file(value)?) {
        (_, Some(file)) => Ok(file.content),
        (Value::Str(text), None) => Ok(text.as_bytes().to_vec()),
        (other, None) => Err(format!("found {}, expected a text or {{base64: …}}", other.kind())),
    }
}

/// A line that stands in no part.
fn boundary(parts: &[Part], key: &str) -> String {
    let mut number = 0_u64;
    loop {
        let digest = Sha256::digest(format!("{key}/{number}"));
        let candidate: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
        let taken = |p: &Part| p.content.windows(candidate.len()).any(|w| w == candidate.as_bytes());
        if !parts.iter().any(taken) {
            return candidate;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;

    use super::*;

    fn body(media: &str) -> Body {
        Body::new((media, Kind::of(media).unwrap()), false, None, None)
    }

    fn text(body: &Body, value: Value) -> String {
        String::from_utf8(body.render(&value, "k").unwrap().0).unwrap()
    }

    #[test]
    fn json_is_preferred_and_other_multiparts_are_not_taken() {
        assert_eq!(
            Kind::choose(["text/plain", "application/hal+json"].into_iter()),
            Some(("application/hal+json", Kind::Json))
        );
        assert_eq!(Kind::choose(["multipart/mixed", "image/png"].into_iter()), Some(("image/png", Kind::Bytes)));
        assert_eq!(Kind::choose(["multipart/mixed"].into_iter()), None);
        for (range, sent) in
            [("*/*", "application/json"), ("text/*", "text/plain"), ("image/*", "application/octet-stream")]
        {
            assert_eq!(body(range).media, sent);
        }
    }

    #[test]
    fn a_body_is_written_by_its_media_type() {
        assert_eq!(text(&body("application/json"), json!("x")), "\"x\"");
        assert_eq!(text(&body("text/csv"), json!("a,b")), "a,b");
        assert_eq!(text(&body("text/plain"), json!(7)), "7");
        assert_eq!(text(&body("application/octet-stream"), json!({"base64": "aGk="})), "hi");
        let mut form = body("application/x-www-form-urlencoded");
        form.field("tags", Style::Form, false, false, false);
        assert_eq!(text(&form, json!({"tags": ["a b", "c"], "n": null, "x": [1, 2]})), "tags=a%20b,c&x=1&x=2");
        for (media, value, said) in [
            ("text/plain", json!({}), "found object, expected a text"),
            ("application/pdf", json!([]), "expected a text or {base64: …}"),
            ("application/pdf", json!({"base64": "%"}), "found a `base64` that is none"),
            ("application/x-www-form-urlencoded", json!([1]), "found array, expected an object"),
        ] {
            assert!(body(media).render(&value, "k").unwrap_err().contains(said), "{media}");
        }
    }

    #[test]
    fn parts_carry_names_files_and_types_and_nobody_can_break_out_of_them() {
        let mut form = body("multipart/form-data");
        form.field("file", Style::Form, true, true, false);
        let value = json!({
            "note": "hi", "meta": {"a": 1}, "file": {"text": "x,y", "filename": "a\"\r\nEvil: 1.csv", "contentType": "text/csv"},
        });
        let (bytes, kind) = form.render(&value, "k").unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap().to_owned();
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json\r\n\r\n{{\"a\":1}}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22%0D%0AEvil: 1.csv\"\r\n\
             Content-Type: text/csv\r\n\r\nx,y\r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        assert_eq!(form.render(&value, "k").unwrap().1, kind, "the same call has the same boundary");
        let inside = json!({"note": boundary});
        assert_ne!(form.render(&inside, "k").unwrap().1, kind, "a boundary stands in no part");
        let evil = json!({"file": {"text": "x", "contentType": "a\r\nb"}});
        assert!(form.render(&evil, "k").unwrap_err().contains("expected one like text/csv"));
    }
}
