//! The part of JSON Schema (draft 2020-12) that operations describe their inputs and outputs with, and the check.
//!
//! [`check`] holds a value against a schema and returns every violation with its JSON pointer, what was found and what
//! was expected; a misspelt member gets the nearest name as a hint. [`check_with`] does the same for a value of which
//! parts are not known yet: the definition checker calls it with "this is an expression" to lint a `with`.
//! [`defects`] says what is wrong with a schema itself; a keyword that this module does not know is a defect, so that
//! no schema promises what nobody enforces.
//!
//! Known: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `minProperties`, `maxProperties`,
//! `items`, `minItems`, `maxItems`, `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `minLength`,
//! `maxLength`, `pattern`, `anyOf`, `oneOf`, `allOf`, `not`, `$defs` with `$ref` into the same schema, and the
//! annotations. Not known, on purpose: `if`, references to other documents, and the unevaluated family. What stands under `writeOnly: true` is secret: its values are never shown. `true`, `false` and `null` are schemas; `null` accepts anything, as in
//! [`OperationSpec`](crate::catalog::OperationSpec). Nothing here panics; walks are cut at a depth.

use std::fmt;

use regex::Regex;

use crate::Value;

/// One way in which a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the value; empty for the whole.
    pub at: String,
    /// What was found and what was expected.
    pub what: String,
    /// The way out, if there is a likely one.
    pub hint: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "the value" } else { &self.at };
        write!(f, "{at}: {}", self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Violations are collected up to this number: nobody reads more, and a long array could make a million.
const MOST: usize = 20;

/// A schema deeper than this is a defect.
const DEEPEST: usize = 64;

/// A walk deeper than this goes in circles: a schema that refers to itself, or a value made to be deep.
const WALK_DEEPEST: usize = 128;

/// The schema at a reference such as `#/$defs/file`.
fn resolve<'a>(root: &'a Value, target: &str) -> Option<&'a Value> {
    let path = target.strip_prefix('#')?;
    path.split('/').skip(1).try_fold(root, |at, part| match at {
        Value::Arr(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(&part.replace("~1", "/").replace("~0", "~")),
    })
}

/// Every way in which `value` does not fit `schema`, in the order of the schema; at most twenty.
pub fn check(schema: &Value, value: &Value) -> Vec<Violation> {
    check_with(schema, value, &|_| false)
}

/// The same; whatever `unknown` says yes to fits everything.
pub fn check_with(schema: &Value, value: &Value, unknown: &dyn Fn(&Value) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    Walk { root: schema, unknown, found: &mut found, hidden: false, depth: 0 }.value(schema, value, "");
    found.truncate(MOST);
    found
}

/// A keyword that limits a number, the words for it, and whether a number keeps within a limit.
type Limit = (&'static str, &'static str, fn(f64, f64) -> bool);

struct Walk<'a> {
    /// Where references point into.
    root: &'a Value,
    unknown: &'a dyn Fn(&Value) -> bool,
    found: &'a mut Vec<Violation>,
    /// Under a `writeOnly` schema.
    hidden: bool,
    /// How many schemas lie above.
    depth: usize,
}

impl Walk<'_> {
    fn brief(&self, value: &Value) -> String {
        match value {
            Value::Null => "null".into(),
            _ if self.hidden => match value.kind() {
                kind @ ("array" | "object") => format!("an {kind} (not shown)"),
                kind => format!("a {kind} (not shown)"),
            },
            _ => brief(value),
        }
    }

    fn say(&mut self, at: &str, what: String) {
        self.found.push(Violation { at: at.to_owned(), what, hint: None });
    }

    fn value(&mut self, schema: &Value, value: &Value, at: &str) {
        if self.found.len() >= MOST || (self.unknown)(value) {
            return;
        }
        if self.depth >= WALK_DEEPEST {
            return self.say(at, format!("is nested deeper than {WALK_DEEPEST} schemas"));
        }
        let hidden = self.hidden;
        self.hidden |= schema.get("writeOnly") == Some(&Value::Bool(true));
        self.depth += 1;
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            match resolve(self.root, target) {
                Some(target) => self.value(target, value, at),
                None => self.say(at, format!("its schema refers to {target:?}, which is not there")),
            }
        }
        self.keywords(schema, value, at);
        self.depth -= 1;
        self.hidden = hidden;
    }

    fn keywords(&mut self, schema: &Value, value: &Value, at: &str) {
        let Some(keywords) = schema.as_object() else {
            if schema.as_bool() == Some(false) {
                self.say(at, format!("found {}, expected nothing here", self.brief(value)));
            }
            return;
        };
        if let Some(wanted) = keywords.get("type") {
            let fits = |t: &Value| t.as_str().is_some_and(|t| is_of_type(value, t));
            if !wanted.as_array().map_or_else(|| fits(wanted), |any| any.iter().any(fits)) {
                // The other keywords would only say the same again.
                return self.say(at, format!("found {}, expected {}", self.brief(value), type_names(wanted)));
            }
        }
        if let Some(any) = keywords.get("enum").and_then(Value::as_array)
            && !any.contains(value)
        {
            let names = any.iter().map(Value::to_json).collect::<Vec<_>>();
            let hint = value.as_str().and_then(|v| nearest(v, any.iter().filter_map(Value::as_str)));
            let what = format!("found {}, expected one of {}", self.brief(value), names.join(", "));
            self.found.push(Violation { at: at.to_owned(), what, hint: hint.map(|n| format!("did you mean {n:?}?")) });
        }
        if let Some(only) = keywords.get("const")
            && only != value
        {
            self.say(at, format!("found {}, expected {}", self.brief(value), brief(only)));
        }
        match value {
            Value::Obj(_) => self.object(schema, value, at),
            Value::Arr(items) => self.array(schema, items, at),
            Value::Num(n) => self.number(schema, n.as_f64(), at),
            Value::Str(s) => {
                self.length(schema, ["minLength", "maxLength"], s.chars().count(), "characters", at);
                self.pattern(schema, s, at);
            }
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(schema, value, at);
    }

    fn object(&mut self, schema: &Value, value: &Value, at: &str) {
        let Some(members) = value.as_object() else { return };
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in schema.get("required").and_then(Value::as_array).unwrap_or_default() {
            if let Some(name) = name.as_str().filter(|n| !members.contains_key(*n)) {
                self.say(at, format!("member {name:?} is missing"));
            }
        }
        for (name, member) in members {
            let below = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            match (properties.and_then(|p| p.get(name)), schema.get("additionalProperties")) {
                (Some(inner), _) => self.value(inner, member, &below),
                (None, Some(Value::Bool(false))) => {
                    let known = properties.into_iter().flat_map(|p| p.keys().map(|k| &**k));
                    let hint = nearest(name, known.clone()).map(|n| format!("did you mean {n:?}?")).or_else(|| {
                        let known = known.collect::<Vec<_>>();
                        (!known.is_empty()).then(|| format!("known members: {}", known.join(", ")))
                    });
                    self.found.push(Violation { at: below, what: "found a member that is not known".into(), hint });
                }
                (None, Some(inner)) => self.value(inner, member, &below),
                (None, None) => {}
            }
        }
        self.length(schema, ["minProperties", "maxProperties"], members.len(), "members", at);
    }

    fn array(&mut self, schema: &Value, items: &[Value], at: &str) {
        self.length(schema, ["minItems", "maxItems"], items.len(), "items", at);
        if let Some(inner) = schema.get("items") {
            for (i, item) in items.iter().enumerate() {
                if self.found.len() >= MOST {
                    return;
                }
                self.value(inner, item, &format!("{at}/{i}"));
            }
        }
    }

    fn number(&mut self, schema: &Value, n: f64, at: &str) {
        let limits: [Limit; 4] = [
            ("minimum", "at least", |n, limit| n >= limit),
            ("maximum", "at most", |n, limit| n <= limit),
            ("exclusiveMinimum", "more than", |n, limit| n > limit),
            ("exclusiveMaximum", "less than", |n, limit| n < limit),
        ];
        for (keyword, words, holds) in limits {
            if let Some(limit) = schema.get(keyword).and_then(Value::as_f64).filter(|limit| !holds(n, *limit)) {
                self.say(at, format!("found {n}, expected {words} {limit}"));
            }
        }
    }

    fn length(&mut self, schema: &Value, [least, most]: [&str; 2], n: usize, unit: &str, at: &str) {
        let limit = |keyword| schema.get(keyword).and_then(Value::as_i64).and_then(|l| usize::try_from(l).ok());
        if let Some(limit) = limit(least).filter(|limit| n < *limit) {
            self.say(at, format!("found {n} {unit}, expected at least {limit}"));
        }
        if let Some(limit) = limit(most).filter(|limit| n > *limit) {
            self.say(at, format!("found {n} {unit}, expected at most {limit}"));
        }
    }

    fn pattern(&mut self, schema: &Value, text: &str, at: &str) {
        let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return };
        match Regex::new(pattern) {
            Ok(regex) if regex.is_match(text) => {}
            Ok(_) => self.say(at, format!("found {}, expected text that matches {pattern}", self.brief(&text.into()))),
            Err(e) => self.say(at, format!("its schema has a pattern that is none: {e}")),
        }
    }

    /// What a branch has to say about the value, apart from everything else.
    fn apart(&self, schema: &Value, value: &Value, at: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let (root, unknown) = (self.root, self.unknown);
        Walk { root, unknown, found: &mut found, hidden: self.hidden, depth: self.depth }.value(schema, value, at);
        found
    }

    fn combined(&mut self, schema: &Value, value: &Value, at: &str) {
        for inner in schema.get("allOf").and_then(Value::as_array).unwrap_or_default() {
            self.value(inner, value, at);
        }
        if let Some(inner) = schema.get("not")
            && !self.has_unknown(value)
            && self.apart(inner, value, at).is_empty()
        {
            self.say(at, format!("found {}, expected anything but {}", self.brief(value), form(inner)));
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(inner) = schema.get(keyword).and_then(Value::as_array) else { continue };
            let mut tried: Vec<Vec<Violation>> = inner.iter().map(|inner| self.apart(inner, value, at)).collect();
            let fitting = tried.iter().filter(|found| found.is_empty()).count();
            // With parts unknown, several branches of a `oneOf` may fit for now.
            let several = keyword == "oneOf" && fitting > 1 && !self.has_unknown(value);
            if several {
                self.say(at, format!("fits {fitting} of the allowed forms, expected exactly one"));
            } else if fitting == 0 {
                // The branch that objects deepest inside is the one that was meant.
                tried.sort_by_key(|found| std::cmp::Reverse(found.iter().map(|v| v.at.len()).max().unwrap_or(0)));
                match tried.into_iter().next() {
                    Some(best) if best.iter().any(|v| v.at.len() > at.len()) => self.found.extend(best),
                    _ => {
                        let forms: Vec<_> = inner.iter().map(form).collect();
                        self.say(at, format!("found {}, expected {}", self.brief(value), forms.join(" or ")));
                    }
                }
            }
        }
    }

    fn has_unknown(&self, value: &Value) -> bool {
        self.unknown_within(value, WALK_DEEPEST)
    }

    /// What lies too deep to look at counts as unknown.
    fn unknown_within(&self, value: &Value, depth: usize) -> bool {
        let Some(below) = depth.checked_sub(1) else { return true };
        (self.unknown)(value)
            || match value {
                Value::Arr(items) => items.iter().any(|v| self.unknown_within(v, below)),
                Value::Obj(members) => members.values().any(|v| self.unknown_within(v, below)),
                _ => false,
            }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "integer" => value.as_i64().is_some(),
        other => value.kind() == other,
    }
}

fn type_names(wanted: &Value) -> String {
    let name = |t: &Value| match t.as_str().unwrap_or("?") {
        t @ ("array" | "object" | "integer") => format!("an {t}"),
        "null" => "null".to_owned(),
        t => format!("a {t}"),
    };
    wanted.as_array().map_or_else(|| name(wanted), |any| any.iter().map(name).collect::<Vec<_>>().join(" or "))
}

fn form(schema: &Value) -> String {
    match (schema.get("type"), schema.get("required").and_then(Value::as_array)) {
        (_, Some(required)) if !required.is_empty() => {
            format!("an object with {}", required.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        }
        (Some(t), _) => type_names(t),
        (None, _) => match schema.get("enum").and_then(Value::as_array) {
            Some(any) => format!("one of {}", any.iter().map(Value::to_json).collect::<Vec<_>>().join(", ")),
            None => "another form".to_owned(),
        },
    }
}

/// The value's kind, with its text if that is short and no structure.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Num(_) => value.to_json(),
        Value::Str(s) if s.chars().count() <= 40 => format!("{s:?}"),
        Value::Str(s) => format!("a string of {} characters", s.chars().count()),
        Value::Arr(items) => format!("an array of {}", items.len()),
        Value::Obj(members) => format!("an object of {}", members.len()),
    }
}

/// The candidate nearest to `word`, if it is near enough to have been meant.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let limit = (word.chars().count() / 3).max(1);
    candidates.map(|c| (distance(word, c), c)).filter(|(d, _)| *d <= limit).min().map(|(_, c)| c)
}

/// Edits between two words (insert, delete, replace, swap of neighbours), letters compared without case.
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|w| w.to_lowercase().chars().collect::<Vec<_>>());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// What is wrong with the schema itself; empty if it is well formed.
pub fn defects(schema: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    schema_defects(schema, schema, "", 0, &mut found);
    found
}

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

fn schema_defects(root: &Value, schema: &Value, at: &str, depth: usize, found: &mut Vec<Violation>) {
    let say = |what: String| Violation { at: at.to_owned(), what, hint: None };
    if depth > DEEPEST {
        return found.push(say(format!("is nested deeper than {DEEPEST}")));
    }
    let keywords = match schema {
        Value::Null | Value::Bool(_) => return,
        Value::Obj(keywords) => keywords,
        other => return found.push(say(format!("found {}, expected a schema", brief(other)))),
    };
    for (keyword, v) in keywords.iter() {
        let below = format!("{at}/{keyword}");
        let expected = match &**keyword {
            "type" => {
                let one = |t: &Value| t.as_str().is_some_and(|t| TYPES.contains(&t));
                let fits = v.as_array().map_or_else(|| one(v), |any| !any.is_empty() && any.iter().all(one));
                (!fits).then_some("the name of a type, or an array of such names")
            }
            "enum" => v.as_array().is_none_or(<[Value]>::is_empty).then_some("an array with members"),
            "required" => {
                let names = v.as_array().map(|a| a.iter().filter_map(Value::as_str).collect::<Vec<_>>());
                let known = |n: &&str| match keywords.get("properties") {
                    Some(properties) => properties.get(n).is_some(),
                    None => true,
                };
                let fits = names.is_some_and(|n| n.len() == v.as_array().map_or(0, <[_]>::len) && n.iter().all(known));
                (!fits).then_some("an array of names that `properties` has")
            }
            "$ref" => {
                let there = v.as_str().is_some_and(|target| resolve(root, target).is_some());
                (!there).then_some("a reference into the same schema, such as \"#/$defs/file\"")
            }
            "pattern" => v.as_str().is_none_or(|p| Regex::new(p).is_err()).then_some("a regular expression"),
            "properties" | "$defs" => match v.as_object() {
                Some(members) => {
                    for (name, inner) in members {
                        schema_defects(root, inner, &format!("{below}/{name}"), depth + 1, found);
                    }
                    None
                }
                None => Some("an object"),
            },
            "additionalProperties" | "items" | "not" => {
                schema_defects(root, v, &below, depth + 1, found);
                None
            }
            "anyOf" | "oneOf" | "allOf" => match v.as_array() {
                Some(inner) if !inner.is_empty() => {
                    for (i, inner) in inner.iter().enumerate() {
                        schema_defects(root, inner, &format!("{below}/{i}"), depth + 1, found);
                    }
                    None
                }
                _ => Some("an array with members"),
            },
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                v.as_f64().is_none().then_some("a number")
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                v.as_i64().is_none_or(|n| n < 0).then_some("an integer of at least 0")
            }
            "title" | "description" | "$schema" | "$id" | "$comment" | "format" | "contentMediaType" => {
                v.as_str().is_none().then_some("a string")
            }
            "const" | "default" | "examples" | "deprecated" | "readOnly" | "writeOnly" => None,
            _ => Some("a keyword of the known subset"),
        };
        if let Some(expected) = expected {
            found.push(Violation { at: below, what: format!("found {}, expected {expected}", brief(v)), hint: None });
        }
    }
}

#[cfg(test)]
mod tests;
