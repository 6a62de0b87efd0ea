//! Documents that others wrote: JSON or YAML to a value, and what was made of them, kept.
//!
//! [`parse`] takes a whole text. JSON is tried first where the text looks like it; else it is YAML 1.2 with its core schema
//! (`on` and `no` are texts), and merge keys (`<<`) besides, which descriptions of interfaces in the wild use. An alias shares
//! what it stands for, so a text of aliases to aliases stays small. Bounded: [`NODES_MAX`], [`DEPTH_MAX`]. Never panics.
//!
//! [`Kept`] remembers what was read from a pinned document, because the same one comes with every call. It compares contents,
//! not names: a document that changed under its name is another one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cpd_connector_api::{Map, Value};
use granit_parser::{Event, Parser, ScalarStyle};
use parking_lot::Mutex;

/// The deepest nesting: common JSON readers stop at 128.
pub const DEPTH_MAX: usize = 100;
/// The most nodes. The largest public descriptions have some hundred thousand.
pub const NODES_MAX: usize = 2_000_000;

/// The value that a JSON or YAML text stands for.
///
/// # Errors
/// Says what was found, and in which line.
pub fn parse(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml(text);
    }
    Value::from_json(text.as_bytes()).or_else(|e| yaml(text).map_err(|_| format!("it is not JSON: {e}")))
}

fn yaml(text: &str) -> Result<Value, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| format!("it is not YAML: {} (line {})", e.info(), e.marker().line()))?;
        builder.event(event).map_err(|what| format!("{what} (line {})", span.start.line()))?;
    }
    builder.root.ok_or_else(|| "it is empty".into())
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    root: Option<Value>,
}

/// A value, and how many levels are nested in it.
#[derive(Clone)]
struct Node {
    value: Value,
    levels: usize,
}

/// A collection that is being read.
struct Open {
    anchor: usize,
    kind: Kind,
    /// The most levels of what is in it so far.
    levels: usize,
}

enum Kind {
    List(Vec<Value>),
    Map { members: Map, merged: Vec<Value>, key: Option<Key> },
}

enum Key {
    Member(Arc<str>),
    Merge,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1)?;
                let plain = style == ScalarStyle::Plain;
                if let Some(Open { kind: Kind::Map { members, key: key @ None, .. }, .. }) = self.stack.last_mut() {
                    if members.contains_key(&*text) {
                        return Err(format!("found the key {text:?} twice in one object"));
                    }
                    let merge = plain && text == "<<";
                    *key = Some(if merge { Key::Merge } else { Key::Member(Arc::from(&*text)) });
                    return Ok(());
                }
                let text_wanted = tag.is_some_and(|t| t.core_suffix() == Some("str"));
                let value = if plain && !text_wanted { self::plain(&text) } else { Value::str(text) };
                self.finish(Node { value, levels: 0 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(anchor, Kind::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.open(anchor, Kind::Map { members: Map::new(), merged: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Ok(()) };
                let value = match open.kind {
                    Kind::List(items) => Value::from(items),
                    Kind::Map { mut members, merged, .. } => {
                        // They are copied, so they count.
                        self.count(merged.iter().filter_map(Value::as_object).map(Map::len).sum())?;
                        merged.iter().filter_map(Value::as_object).flatten().for_each(|(k, v)| {
                            members.entry(k.clone()).or_insert_with(|| v.clone());
                        });
                        Value::from(members)
                    }
                };
                self.finish(Node { value, levels: open.levels + 1 }, open.anchor)
            }
            Event::Alias(id) => {
                self.count(1)?;
                let node = self.anchors.get(&id).cloned();
                self.place(node.ok_or("found an alias inside of the node that it stands for")?)
            }
            Event::DocumentStart(..) if self.root.is_some() => Err("found a second document, expected one".into()),
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX { Err(format!("it has more than {NODES_MAX} nodes")) } else { Ok(()) }
    }

    fn open(&mut self, anchor: usize, kind: Kind) -> Result<(), String> {
        self.count(1)?;
        if let Some(Open { kind: Kind::Map { key: None, .. }, .. }) = self.stack.last() {
            return Err("found a list or an object as a key, expected a text".into());
        }
        self.stack.push(Open { anchor, kind, levels: 0 });
        self.deep_enough(0)
    }

    /// Aliases of aliases nest, too, and nothing that is nested too deep can be taken apart again.
    fn deep_enough(&self, levels: usize) -> Result<(), String> {
        let fits = self.stack.len() + levels <= DEPTH_MAX;
        if fits { Ok(()) } else { Err(format!("it is nested deeper than {DEPTH_MAX} levels")) }
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node)
    }

    fn place(&mut self, Node { value, levels }: Node) -> Result<(), String> {
        self.deep_enough(levels)?;
        if let Some(open) = self.stack.last_mut() {
            open.levels = open.levels.max(levels);
        }
        match self.stack.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(value),
            Some(Kind::List(items)) => items.push(value),
            Some(Kind::Map { members, merged, key }) => match key.take() {
                Some(Key::Member(name)) => drop(members.insert(name, value)),
                Some(Key::Merge) => match value {
                    Value::Arr(several) => merged.extend(several.iter().cloned()),
                    one => merged.push(one),
                },
                None => return Err("found an alias as a key, expected a text".into()),
            },
        }
        Ok(())
    }
}

/// What a scalar without quotes stands for, by the core schema of YAML 1.2. Numbers that JSON does not have stay texts.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::from(true),
        "false" | "False" | "FALSE" => return Value::from(false),
        _ => {}
    }
    let whole = match text.get(..2) {
        Some("0o") => i64::from_str_radix(&text[2..], 8).ok().filter(|n| *n >= 0),
        Some("0x") => i64::from_str_radix(&text[2..], 16).ok().filter(|n| *n >= 0),
        _ => text.parse().ok(),
    };
    if let Some(whole) = whole {
        return Value::from(whole);
    }
    // What Rust reads besides (`inf`, `NaN`) begins with a letter.
    let number = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.contains(|c: char| c.is_ascii_digit());
    let number = number.then(|| text.parse::<f64>().ok()).flatten().filter(|f| f.is_finite());
    number.map_or_else(|| Value::str(text), Value::from)
}

/// The most that a [`Kept`] holds: more documents than the workflows of one process commonly name.
const KEPT_MAX: usize = 64;

/// What was read from pinned documents, the most recently used first.
#[derive(Debug)]
pub struct Kept<T>(Arc<Mutex<VecDeque<Entry<T>>>>);

#[derive(Debug)]
struct Entry<T> {
    content: Arc<[u8]>,
    key: String,
    made: Arc<T>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Kept<T> {
    /// What was made of this content under this key before.
    pub fn get(&self, content: &Arc<[u8]>, key: &str) -> Option<Arc<T>> {
        let mut entries = self.0.lock();
        let at =
            entries.iter().position(|e| e.key == key && (Arc::ptr_eq(&e.content, content) || e.content == *content))?;
        let entry = entries.remove(at)?;
        let made = entry.made.clone();
        entries.push_front(entry);
        Some(made)
    }

    /// Keeps what was made, and lets go of what was not used for longest.
    pub fn put(&self, content: &Arc<[u8]>, key: &str, made: T) -> Arc<T> {
        let made = Arc::new(made);
        let mut entries = self.0.lock();
        entries.push_front(Entry { content: content.clone(), key: key.to_owned(), made: made.clone() });
        entries.truncate(KEPT_MAX);
        made
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_and_yaml_mean_the_same() {
        let yaml =
            "a: [1, -2.5, 0x1F, 0o17, 1e3]\nb:\n  on: no\n  '200': \"true\"\n  200x: true\n  n: ~\nc: .inf\nd: 1.2.3\n";
        let same = json!({
            "a": [1, -2.5, 31, 15, 1000], "b": {"on": "no", "200": "true", "200x": true, "n": null}, "c": ".inf", "d": "1.2.3",
        });
        assert_eq!(parse(yaml).unwrap(), same);
        assert_eq!(parse(&format!("\u{feff} {}", same.to_json())).unwrap(), same);
        assert_eq!(parse("{a: 1, b: [x]}").unwrap(), json!({"a": 1, "b": ["x"]}), "YAML in braces");
    }

    #[test]
    fn anchors_and_merge_keys_are_followed() {
        let text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\nmany: {<<: [*b, {z: 4}], x: 0}\nsame: *b\n";
        let found = parse(text).unwrap();
        assert_eq!(found.get("one"), Some(&json!({"x": 1, "y": 3})));
        assert_eq!(found.get("many"), Some(&json!({"x": 0, "y": 2, "z": 4})));
        assert_eq!(found.get("same"), Some(&json!({"x": 1, "y": 2})));
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_line() {
        for (text, said) in [
            ("", "it is empty"),
            ("{\"a\": ", "it is not JSON: EOF"),
            ("a: b: c", "it is not YAML"),
            ("a: 1\nb: 2\na: 3\n", "found the key \"a\" twice in one object (line 3)"),
            ("a: &x [*x]", "found an alias inside of the node"),
            ("? [a]\n: 1\n", "as a key"),
            ("a: 1\n---\nb: 2\n", "found a second document"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(said), "{text:?}: {found}");
        }
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse(&deep).is_err());
        assert!(parse(&format!("a: {deep}")).is_err());
    }

    #[test]
    fn bombs_of_aliases_stay_small_or_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..60 {
            let below = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert_eq!(parse(&text).unwrap().as_object().unwrap().len(), 60);

        // A chain of aliases once made a value so deep that letting go of it overflowed the stack.
        let mut chain = String::from("- &a0 []\n");
        (1..200_000).for_each(|n| chain.push_str(&format!("- &a{n} [*a{}]\n", n - 1)));
        let found = parse(&chain).unwrap_err();
        assert!(found.contains("nested deeper than 100 levels (line 100)"), "{found}");

        let members: String = (0..10_000).map(|n| format!("k{n}: 1, ")).collect();
        let merges: String = (0..1_000).map(|n| format!("m{n}: {{<<: *a}}\n")).collect();
        let found = parse(&format!("a: &a {{ {members} }}\n{merges}")).unwrap_err();
        assert!(found.contains("more than 2000000 nodes"), "{found}");
    }

    #[test]
    fn what_was_made_is_kept_by_content_and_key_and_the_oldest_goes() {
        let kept = Kept::default();
        let content = |text: &str| Arc::<[u8]>::from(text.as_bytes());
        assert_eq!(kept.get(&content("a"), "k"), None);
        kept.put(&content("a"), "k", 1);
        assert_eq!(kept.get(&content("a"), "k").as_deref(), Some(&1));
        assert_eq!((kept.get(&content("b"), "k"), kept.get(&content("a"), "l")), (None, None));
        for n in 0..KEPT_MAX - 1 {
            kept.put(&content("b"), &n.to_string(), 2);
        }
        assert!(kept.get(&content("a"), "k").is_some(), "used, so it is young again");
        kept.put(&content("c"), "k", 3);
        kept.put(&content("c"), "l", 3);
        assert!(kept.get(&content("a"), "k").is_some() && kept.get(&content("b"), "0").is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-a-c0-9:{}\\[\\],&*<~!'\"#|> \n\t.]{0,80}") {
            let _ = parse(&text);
        }
    }
}
