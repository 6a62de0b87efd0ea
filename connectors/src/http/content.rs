//! Bodies: from the bytes of an answer to a value, and from a value to the bytes of a request.
//!
//! An answer is read by its content type: JSON becomes a value, text a string, no body `null`; other bytes become a
//! string if they are UTF-8 and base64 if not. An answer without a content type is JSON if it parses as JSON.
//! When JSON was asked for and something else came (a proxy's HTML page), that is an error with an excerpt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cpd_connector_api::Value;

/// At most this many characters of a body stand in a problem.
pub const EXCERPT_CHARS: usize = 300;

/// An excerpt of a body for a problem: one line of printable text, cut short.
pub fn excerpt(body: &[u8]) -> String {
    // Four bytes make at most one character, so this many bytes are enough whatever the text is.
    let head = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_CHARS * 8)]);
    let mut words = String::new();
    for word in head.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    match words.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None if body.len() > EXCERPT_CHARS * 8 => format!("{words}…"),
        None => words,
    }
}

/// The media type in lower case without parameters, and the charset.
fn media_type(content_type: &str) -> (String, Option<String>) {
    let mut parts = content_type.split(';');
    let media = parts.next().unwrap_or("").trim().to_ascii_lowercase();
    let charset = parts
        .filter_map(|p| p.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase());
    (media, charset)
}

/// Whether the content type is JSON or one of its kin (`application/problem+json`).
pub fn is_json(content_type: &str) -> bool {
    let media = media_type(content_type).0;
    media == "application/json" || media == "text/json" || media.ends_with("+json")
}

/// The value of an answer's body.
///
/// # Errors
/// Says what was found and what was expected, if the body is not what its content type or `json_wanted` says.
pub fn parse(content_type: Option<&str>, body: &[u8], json_wanted: bool) -> Result<Value, String> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let typed_json = content_type.is_some_and(is_json);
    if typed_json || json_wanted || content_type.is_none() {
        match Value::from_json(body) {
            Ok(value) => return Ok(value),
            Err(e) if typed_json => return Err(format!("found {}, expected JSON: {e}", excerpt(body))),
            Err(_) if json_wanted => {
                let found = content_type.unwrap_or("a body without content type");
                return Err(format!("found {found}, expected JSON: {}", excerpt(body)));
            }
            Err(_) => {}
        }
    }
    let (media, charset) = content_type.map(media_type).unwrap_or_default();
    match charset.as_deref() {
        // Latin-1 maps each byte to the character of the same number.
        Some("iso-8859-1" | "latin1" | "us-ascii") => {
            Ok(body.iter().map(|b| char::from(*b)).collect::<String>().into())
        }
        _ => Ok(match std::str::from_utf8(body) {
            Ok(text) => Value::str(text),
            Err(_) if media.starts_with("text/") => Value::str(String::from_utf8_lossy(body)),
            Err(_) => raw(body),
        }),
    }
}

/// The bytes as base64.
pub fn raw(body: &[u8]) -> Value {
    Value::from(BASE64.encode(body))
}

/// The bytes of a request's body and the content type to send if the caller names none.
///
/// Text goes as it is, so that a caller may build any format; an object goes as a form if the caller's content type
/// says so; everything else goes as JSON.
///
/// # Errors
/// If the content type asks for a form and the body is no object of scalars.
pub fn render(body: &Value, content_type: Option<&str>) -> Result<(Vec<u8>, &'static str), String> {
    if let Value::Str(text) = body {
        return Ok((text.as_bytes().to_vec(), "text/plain; charset=utf-8"));
    }
    if content_type.is_some_and(|t| media_type(t).0 == "application/x-www-form-urlencoded") {
        let mut form = Form::default();
        let members =
            body.as_object().ok_or_else(|| format!("found a form body that is {}, expected an object", body.kind()))?;
        for (name, value) in members {
            form.add(name, value)?;
        }
        return Ok((form.text.into_bytes(), "application/x-www-form-urlencoded"));
    }
    let mut bytes = Vec::new();
    body.write_json(&mut bytes);
    Ok((bytes, "application/json"))
}

/// Builds `a=1&b=2`, for query strings and form bodies.
#[derive(Debug, Default)]
pub struct Form {
    /// What has been built.
    pub text: String,
}

impl Form {
    /// Adds a member: a scalar once, an array of scalars once for each item, `null` not at all.
    ///
    /// # Errors
    /// For objects and nested arrays.
    pub fn add(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match value {
            Value::Null => {}
            Value::Arr(items) => {
                for item in items.iter() {
                    let scalar =
                        scalar(item).ok_or_else(|| format!("{name:?}: found {}, expected a scalar", item.kind()))?;
                    self.push(name, &scalar);
                }
            }
            other => {
                let scalar =
                    scalar(other).ok_or_else(|| format!("{name:?}: found {}, expected a scalar", other.kind()))?;
                self.push(name, &scalar);
            }
        }
        Ok(())
    }

    /// Adds a member with one text.
    pub fn push(&mut self, name: &str, value: &str) {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        percent(name, &mut self.text);
        self.text.push('=');
        percent(value, &mut self.text);
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Str(s) => Some(s.to_string()),
        Value::Bool(_) | Value::Num(_) => Some(value.to_json()),
        Value::Null | Value::Arr(_) | Value::Obj(_) => None,
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986: valid in paths, queries and forms alike.
pub fn percent(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_is_read_by_its_content_type() {
        let read = |t: Option<&str>, b: &[u8]| parse(t, b, false).unwrap();
        assert_eq!(read(Some("application/json"), b"{\"a\":1}"), json!({"a": 1}));
        assert_eq!(read(Some("application/problem+json; charset=utf-8"), b"[1]"), json!([1]));
        assert_eq!(read(Some("text/plain"), b"[1]"), json!("[1]"));
        assert_eq!(read(Some("text/html; charset=ISO-8859-1"), b"caf\xe9"), json!("café"));
        assert_eq!(read(Some("application/octet-stream"), b"\xff\xfe"), json!("//4="));
        assert_eq!(read(None, b"{}"), json!({}));
        assert_eq!(read(None, b"hello"), json!("hello"));
        assert_eq!(read(Some("application/json"), b""), Value::Null);
    }

    #[test]
    fn html_where_json_was_wanted_is_an_error_with_an_excerpt() {
        let e = parse(Some("text/html"), b"<html>\n  <h1>Bad gateway</h1>", true).unwrap_err();
        assert_eq!(e, "found text/html, expected JSON: <html> <h1>Bad gateway</h1>");
        let e = parse(Some("application/json"), b"{\"a\":", false).unwrap_err();
        assert!(e.contains("expected JSON") && e.contains("line 1"), "{e}");
    }

    #[test]
    fn bodies_and_queries_are_rendered_for_the_wire() {
        assert_eq!(render(&json!({"a": 1}), None), Ok((b"{\"a\":1}".to_vec(), "application/json")));
        assert_eq!(render(&json!("x"), None).unwrap().0, b"x");
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(
            render(&json!({"a b": ["1&", 2], "n": null, "t": true}), form).unwrap().0,
            b"a%20b=1%26&a%20b=2&t=true"
        );
        assert!(render(&json!({"a": {"b": 1}}), form).unwrap_err().contains("expected a scalar"));
        assert!(render(&json!([1]), form).unwrap_err().contains("expected an object"));
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b" a\n\tb\x00c "), "a b c");
        assert_eq!(excerpt(&[b'x'; 10_000]).chars().count(), EXCERPT_CHARS + 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), kind in ".{0,30}", wanted: bool) {
            let _ = parse(Some(&kind), &body, wanted);
            let _ = parse(None, &body, wanted);
            prop_assert!(excerpt(&body).chars().count() <= EXCERPT_CHARS + 1);
        }
    }
}
