//! Following `$ref` within a document. Another document is never loaded: what was not pinned does not exist.

use cpd_connector_api::{Problem, Standard, Value};

/// The longest chain of references that point to references. Longer ones go in circles, or might as well.
const CHAIN_MAX: usize = 32;

/// A problem of the document.
pub(super) fn wrong(what: impl AsRef<str>) -> Problem {
    Problem::standard(Standard::Configuration, format!("read the OpenAPI document: {}", what.as_ref()))
}

/// What stands at `at`, references followed.
pub(super) fn resolve<'a>(root: &'a Value, at: &'a Value) -> Result<&'a Value, Problem> {
    let mut here = at;
    for _ in 0..CHAIN_MAX {
        let Some(target) = here.get("$ref").and_then(Value::as_str) else { return Ok(here) };
        here = pointed(root, target)?;
    }
    let first = at.get("$ref").and_then(Value::as_str).unwrap_or("");
    Err(wrong(format!("`$ref: {first}` goes in circles, or over more than {CHAIN_MAX} references")))
}

fn pointed<'a>(root: &'a Value, target: &str) -> Result<&'a Value, Problem> {
    let Some(pointer) = target.strip_prefix('#') else {
        let what = format!("`$ref: {target}` points to another document, expected one within it (#/…): bundle them");
        return Err(wrong(what));
    };
    let pointer = unpercent(pointer);
    let nowhere = || wrong(format!("`$ref: {target}` points to nothing"));
    if pointer.is_empty() {
        return Ok(root);
    }
    pointer.strip_prefix('/').ok_or_else(nowhere)?.split('/').try_fold(root, |at, part| {
        let part = part.replace("~1", "/").replace("~0", "~");
        match at {
            Value::Arr(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
            other => other.get(&part),
        }
        .ok_or_else(nowhere)
    })
}

/// The text with `%7B` and the like as the characters that they stand for; what is no such code stays.
pub(super) fn unpercent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten().filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;

    use super::*;

    #[test]
    fn references_are_followed_to_their_end() {
        let root = json!({
            "a": {"$ref": "#/b"}, "b": {"$ref": "#/paths/~1x~1%7Bid%7D/0"}, "paths": {"/x/{id}": [{"found": true}]},
        });
        assert_eq!(resolve(&root, root.get("a").unwrap()), Ok(&json!({"found": true})));
    }

    #[test]
    fn references_that_lead_nowhere_are_refused_by_name() {
        let root = json!({
            "self": {"$ref": "#/self"}, "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}, "gone": {"$ref": "#/x/y"},
            "odd": {"$ref": "#x"}, "far": {"$ref": "common.yaml#/x"},
        });
        for (name, said) in [
            ("self", "`$ref: #/self` goes in circles"),
            ("b", "goes in circles"),
            ("gone", "`$ref: #/x/y` points to nothing"),
            ("odd", "points to nothing"),
            ("far", "`$ref: common.yaml#/x` points to another document"),
        ] {
            let found = resolve(&root, root.get(name).unwrap()).unwrap_err().to_string();
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn percent_codes_are_undone_and_others_stay() {
        assert_eq!(unpercent("a%7Bb%7d%2"), "a{b}%2");
        assert_eq!(unpercent("%zz%+1%é"), "%zz%+1%é");
    }
}
