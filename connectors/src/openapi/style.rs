//! How values are written into paths, queries, headers, cookies and forms: `style` and `explode` of OpenAPI 3,
//! `collectionFormat` of Swagger 2.
//!
//! | style | text | list `[a, b]` | exploded | object `{k: v}` | exploded |
//! |---|---|---|---|---|---|
//! | `simple` | `x` | `a,b` | `a,b` | `k,v` | `k=v` |
//! | `label` | `.x` | `.a,b` | `.a.b` | `.k,v` | `.k=v` |
//! | `matrix` | `;n=x` | `;n=a,b` | `;n=a;n=b` | `;n=k,v` | `;k=v` |
//! | `form` | `n=x` | `n=a,b` | `n=a&n=b` | `n=k,v` | `k=v` |
//! | `spaceDelimited`, `pipeDelimited`, tabs | `n=x` | `n=a%20b` | `n=a&n=b` | `n=k%20v` | `k=v` |
//! | `deepObject` | `n=x` | `n[]=a&n[]=b` | | `n[k]=v` | |
//!
//! `null` in an object is left out; in a list it has no meaning and is refused. So are lists and objects in lists, and in
//! objects everywhere but in `deepObject`. The specification leaves lists and nesting open there; we follow the custom of servers that
//! read brackets: `n[k][l]=v`, `n[k][]=v`.

use cpd_connector_api::Value;

/// The deepest `n[k][l]…` that is written.
const DEEP_MAX: usize = 8;

/// A way to write a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    Space,
    Tab,
    Pipe,
    Deep,
}

impl Style {
    /// By the name that OpenAPI 3 has for it.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "simple" => Style::Simple,
            "label" => Style::Label,
            "matrix" => Style::Matrix,
            "form" => Style::Form,
            "spaceDelimited" => Style::Space,
            "pipeDelimited" => Style::Pipe,
            "deepObject" => Style::Deep,
            _ => return None,
        })
    }

    /// By the name that Swagger 2 has for it, and whether it explodes.
    pub fn of_collection(name: &str) -> Option<(Self, bool)> {
        Some(match name {
            "csv" => (Style::Form, false),
            "ssv" => (Style::Space, false),
            "tsv" => (Style::Tab, false),
            "pipes" => (Style::Pipe, false),
            "multi" => (Style::Form, true),
            _ => return None,
        })
    }

    /// What stands between the items of a list. Commas are never encoded, which tells them from those of the items.
    fn separator(self, encode: Encode<'_>) -> String {
        match self {
            Style::Space => encode(" "),
            Style::Tab => encode("\t"),
            Style::Pipe => encode("|"),
            Style::Simple | Style::Label | Style::Matrix | Style::Form | Style::Deep => ",".to_owned(),
        }
    }
}

/// How a text is encoded for the place where it goes.
pub(super) type Encode<'a> = &'a dyn Fn(&str) -> String;

/// A scalar as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Str(s) => Some(s.to_string()),
        Value::Bool(_) | Value::Num(_) => Some(value.to_json()),
        Value::Null | Value::Arr(_) | Value::Obj(_) => None,
    }
}

fn encoded(value: &Value, encode: Encode<'_>) -> Result<String, String> {
    let text =
        scalar(value).ok_or_else(|| format!("found {} in it, expected a text, a number or a boolean", value.kind()))?;
    Ok(encode(&text))
}

/// What a value consists of, encoded.
enum Parts {
    One(String),
    List(Vec<String>),
    Object(Vec<(String, String)>),
}

fn parts(value: &Value, encode: Encode<'_>) -> Result<Parts, String> {
    Ok(match value {
        Value::Arr(items) => Parts::List(items.iter().map(|v| encoded(v, encode)).collect::<Result<_, _>>()?),
        Value::Obj(members) => Parts::Object(
            members
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| Ok((encode(k), encoded(v, encode)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => Parts::One(encoded(other, encode)?),
    })
}

/// The value as one piece of text: for paths and headers.
///
/// # Errors
/// If there are parts in it that the style cannot write.
pub(super) fn piece(
    style: Style,
    explode: bool,
    name: &str,
    value: &Value,
    encode: Encode<'_>,
) -> Result<String, String> {
    let parts = parts(value, encode)?;
    let (name, separator) = (encode(name), style.separator(encode));
    let flat = |members: &[(String, String)]| {
        members.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()]).collect::<Vec<_>>().join(&separator)
    };
    let pairs = |members: &[(String, String)], between: &str| {
        members.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(between)
    };
    Ok(match (style, parts) {
        (Style::Label, Parts::One(text)) => format!(".{text}"),
        (Style::Label, Parts::List(items)) => format!(".{}", items.join(if explode { "." } else { "," })),
        (Style::Label, Parts::Object(members)) if explode => format!(".{}", pairs(&members, ".")),
        (Style::Label, Parts::Object(members)) => format!(".{}", flat(&members)),
        (Style::Matrix, Parts::One(text)) if text.is_empty() => format!(";{name}"),
        (Style::Matrix, Parts::One(text)) => format!(";{name}={text}"),
        (Style::Matrix, Parts::List(items)) if explode => items.iter().map(|v| format!(";{name}={v}")).collect(),
        (Style::Matrix, Parts::List(items)) => format!(";{name}={}", items.join(",")),
        (Style::Matrix, Parts::Object(members)) if explode => format!(";{}", pairs(&members, ";")),
        (Style::Matrix, Parts::Object(members)) => format!(";{name}={}", flat(&members)),
        (_, Parts::One(text)) => text,
        (_, Parts::List(items)) => items.join(&separator),
        (_, Parts::Object(members)) if explode => pairs(&members, &separator),
        (_, Parts::Object(members)) => flat(&members),
    })
}

/// The value as `name=value` pairs, encoded: for queries, cookies and forms.
///
/// # Errors
/// If there are parts in it that the style cannot write.
pub(super) fn pairs(
    style: Style,
    explode: bool,
    name: &str,
    value: &Value,
    encode: Encode<'_>,
) -> Result<Vec<(String, String)>, String> {
    if style == Style::Deep {
        let mut found = Vec::new();
        deep(encode(name), value, encode, DEEP_MAX, &mut found)?;
        return Ok(found);
    }
    Ok(match parts(value, encode)? {
        Parts::One(text) => vec![(encode(name), text)],
        Parts::List(items) if explode => items.into_iter().map(|v| (encode(name), v)).collect(),
        Parts::List(items) if items.is_empty() => Vec::new(),
        Parts::List(items) => vec![(encode(name), items.join(&style.separator(encode)))],
        Parts::Object(members) if explode => members,
        Parts::Object(members) if members.is_empty() => Vec::new(),
        Parts::Object(members) => {
            let flat: Vec<_> = members.into_iter().flat_map(|(k, v)| [k, v]).collect();
            vec![(encode(name), flat.join(&style.separator(encode)))]
        }
    })
}

fn deep(
    name: String,
    value: &Value,
    encode: Encode<'_>,
    left: usize,
    found: &mut Vec<(String, String)>,
) -> Result<(), String> {
    match value {
        Value::Obj(_) if left == 0 => return Err(format!("found objects nested deeper than {DEEP_MAX}")),
        Value::Obj(members) => {
            for (key, member) in members.iter().filter(|(_, v)| !v.is_null()) {
                // Brackets travel encoded: they are not allowed in a query as they are.
                deep(format!("{name}%5B{}%5D", encode(key)), member, encode, left - 1, found)?;
            }
        }
        Value::Arr(items) => {
            for item in items.iter() {
                found.push((format!("{name}%5B%5D"), encoded(item, encode)?));
            }
        }
        other => found.push((name, encoded(other, encode)?)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;

    use super::*;
    use crate::http::content::percent;

    fn code(text: &str) -> String {
        let mut out = String::new();
        percent(text, &mut out);
        out
    }

    fn query(style: Style, explode: bool, value: &Value) -> String {
        let pairs = pairs(style, explode, "c", value, &code).unwrap();
        pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&")
    }

    #[test]
    fn every_style_writes_as_the_specification_shows() {
        let (text, list, object) =
            (json!("blue"), json!(["blue", "black", 7]), json!({"R": 100, "G": "a b", "n": null}));
        let piece = |style, explode, value| piece(style, explode, "c", value, &code).unwrap();
        for (style, explode, expected) in [
            (Style::Simple, false, ["blue", "blue,black,7", "R,100,G,a%20b"]),
            (Style::Simple, true, ["blue", "blue,black,7", "R=100,G=a%20b"]),
            (Style::Label, false, [".blue", ".blue,black,7", ".R,100,G,a%20b"]),
            (Style::Label, true, [".blue", ".blue.black.7", ".R=100.G=a%20b"]),
            (Style::Matrix, false, [";c=blue", ";c=blue,black,7", ";c=R,100,G,a%20b"]),
            (Style::Matrix, true, [";c=blue", ";c=blue;c=black;c=7", ";R=100;G=a%20b"]),
            (Style::Pipe, false, ["blue", "blue%7Cblack%7C7", "R%7C100%7CG%7Ca%20b"]),
        ] {
            let found = [piece(style, explode, &text), piece(style, explode, &list), piece(style, explode, &object)];
            assert_eq!(found, expected, "{style:?} {explode}");
        }
        for (style, explode, expected) in [
            (Style::Form, false, ["c=blue", "c=blue,black,7", "c=R,100,G,a%20b"]),
            (Style::Form, true, ["c=blue", "c=blue&c=black&c=7", "R=100&G=a%20b"]),
            (Style::Space, false, ["c=blue", "c=blue%20black%207", "c=R%20100%20G%20a%20b"]),
            (Style::Pipe, true, ["c=blue", "c=blue&c=black&c=7", "R=100&G=a%20b"]),
            (Style::Tab, false, ["c=blue", "c=blue%09black%097", "c=R%09100%09G%09a%20b"]),
            (Style::Deep, true, ["c=blue", "c%5B%5D=blue&c%5B%5D=black&c%5B%5D=7", "c%5BR%5D=100&c%5BG%5D=a%20b"]),
        ] {
            let found = [query(style, explode, &text), query(style, explode, &list), query(style, explode, &object)];
            assert_eq!(found, expected, "{style:?} {explode}");
        }
    }

    #[test]
    fn empty_and_nested_values_have_an_answer_too() {
        assert_eq!(query(Style::Form, true, &json!([])), "");
        assert_eq!(query(Style::Form, false, &json!([])), "");
        assert_eq!(query(Style::Form, true, &json!("")), "c=");
        assert_eq!(piece(Style::Matrix, false, "c", &json!(""), &code).unwrap(), ";c");
        assert_eq!(
            query(Style::Deep, true, &json!({"a": {"b": [1, 2]}})),
            "c%5Ba%5D%5Bb%5D%5B%5D=1&c%5Ba%5D%5Bb%5D%5B%5D=2"
        );
        for bad in [json!([null]), json!([[1]]), json!({"a": [1]})] {
            let found = pairs(Style::Form, true, "c", &bad, &code).unwrap_err();
            assert!(found.contains("expected a text, a number or a boolean"), "{found}");
        }
        let nested = (0..20).fold(json!(1), |inner, _| Value::from([("a", inner)]));
        assert!(pairs(Style::Deep, true, "c", &nested, &code).unwrap_err().contains("nested deeper than 8"));
    }
}
