//! What the reader makes of YAML, where it says that things stand, and that no text makes it panic.

use proptest::prelude::*;

use super::*;
use crate::json;

fn value(source: &str) -> Value {
    parse(source).unwrap_or_else(|e| panic!("{source}: {e:?}")).value
}

fn codes(source: &str) -> Vec<String> {
    parse(source).map_or_else(|e| e.iter().map(|d| d.code.to_string()).collect(), |_| vec![])
}

#[test]
fn scalars_are_typed_as_yaml_1_2_has_them() {
    assert_eq!(
        value(
            "{on: no, a: 1, b: 0x10, c: 0o17, d: 1.5e3, e: ~, f: true, g: 1.0.3, h: '1', i: -3, j: .5, k: +7, l: 012}"
        ),
        json!({"on": "no", "a": 1, "b": 16, "c": 15, "d": 1500, "e": null, "f": true, "g": "1.0.3", "h": "1", "i": -3,
               "j": 0.5, "k": 7, "l": 12})
    );
    assert_eq!(
        value("[1_000, 1:30, 0x, 1e, '', !!str 5, .e1, --, yes]"),
        json!(["1_000", "1:30", "0x", "1e", "", "5", ".e1", "--", "yes"])
    );
    assert_eq!(
        value("a: 9223372036854775807\nb: 9223372036854775808"),
        json!({"a": i64::MAX, "b": 9223372036854775808u64})
    );
}

#[test]
fn json_is_yaml() {
    let text = r#"{"a": [1, "x\u00e9\n", null], "b": {"c": false}}"#;
    assert_eq!(value(text), Value::from_json(text.as_bytes()).unwrap());
}

#[test]
fn aliases_repeat_and_bombs_are_stopped() {
    assert_eq!(value("a: &x {k: 1}\nb: *x"), json!({"a": {"k": 1}, "b": {"k": 1}}));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{list}]\n"));
    }
    assert_eq!(codes(&bomb), ["document-too-large"]);
    assert_eq!(codes("a: &a [*a]"), ["invalid-yaml"]);
    assert_eq!(codes("a: *b"), ["invalid-yaml"]);
}

#[test]
fn what_is_no_plain_data_is_refused() {
    assert_eq!(codes("a: 1\nb: 2\na: 3\nb: 4"), ["duplicate-key", "duplicate-key"]);
    assert_eq!(codes("a: &x {k: 1}\nb: {<<: *x}"), ["merge-key"]);
    assert_eq!(codes("a: !mine 1"), ["invalid-yaml"]);
    assert_eq!(codes("a: 1\n---\nb: 2"), ["several-documents"]);
    assert_eq!(codes("? [a]\n: 1"), ["invalid-yaml"]);
    assert_eq!(codes("a: .inf\nb: .nan\nc: 1e999"), ["invalid-number"; 3]);
    assert_eq!(codes(""), ["empty-document"]);
    assert_eq!(codes("# only a remark\n"), ["empty-document"]);
    assert_eq!(codes("a: [1"), ["invalid-yaml"]);
    assert_eq!(codes(&format!("{}{}", "[".repeat(150), "]".repeat(150))), ["document-too-large"]);
    assert_eq!(codes(&"x".repeat(SOURCE_BYTES_MAX + 1)), ["document-too-large"]);
}

#[test]
fn nodes_know_their_places() {
    let source = "do:\n  - a:\n      set: {x: 1}\n      then: b\n  - bé: { wait: PT1S }\n";
    let root = parse(source).unwrap();
    let (then, key) = root.at_pointer("/do/0/a/then");
    assert_eq!(&source[then.span.start..then.span.end], "b");
    assert_eq!((then.span.line, then.span.column), (4, 13));
    assert_eq!(key.map(|k| &source[k.start..k.end]), Some("then"));
    let (set, _) = root.at_pointer("/do/0/a/set");
    assert_eq!(&source[set.span.start..set.span.end], "{x: 1}");
    let (wait, _) = root.at_pointer("/do/1/bé/wait");
    assert_eq!((wait.span.line, wait.span.column), (5, 17));
    assert_eq!(root.pointer_at(wait.span.start), "/do/1/bé/wait");
    let (a, _) = root.at_pointer("/do/0/a");
    assert_eq!(&source[a.mark.start..a.mark.end], "a", "a block is pointed at by its key");
}

/// The source at the place of `needle` in the text at `pointer`.
fn located<'s>(source: &'s str, pointer: &str, needle: &str) -> &'s str {
    let root = parse(source).unwrap();
    let (node, _) = root.at_pointer(pointer);
    let start = node.text().unwrap().find(needle).unwrap();
    let span = position::locate(source, node, start, start + needle.len());
    &source[span.start..span.end]
}

#[test]
fn parts_of_texts_are_found_through_quotes_escapes_and_blocks() {
    assert_eq!(located("a: .x.y == zap", "/a", "zap"), "zap");
    assert_eq!(located("a: '${ \"it''s\" | zap }'", "/a", "zap"), "zap");
    assert_eq!(located(r#"a: "é\t\"\u00e9\" | zap""#, "/a", "zap"), "zap");
    assert_eq!(located("a: |\n  one\n    two zap\nb: 1", "/a", "zap"), "zap");
    assert_eq!(located("x:\n  a: |-\n    zap\n", "/x/a", "zap"), "zap");
    assert_eq!(located("a: one\n  two zap", "/a", "zap"), "one");
}

#[test]
fn an_error_behind_the_end_of_a_text_points_at_its_last_character() {
    let source = "a: '.x =='";
    let root = parse(source).unwrap();
    let (node, _) = root.at_pointer("/a");
    let span = position::locate(source, node, 5, 5);
    assert_eq!((&source[span.start..span.end], span.column), ("=", 9));
}

proptest! {
    #[test]
    fn no_text_panics_and_every_place_lies_within(text in "[a-c:\\-\\[\\]{},&*!|>'\"#%@`?\n\t \\\\0-9é]{0,80}") {
        match parse(&text) {
            Ok(root) => walk(&root, &text),
            Err(found) => {
                prop_assert!(!found.is_empty());
                for d in found {
                    let _ = d.within(&"f".into(), &text).render();
                }
            }
        }
    }

    #[test]
    fn any_json_reads_as_itself(v in any_json()) {
        let text = v.to_json();
        prop_assert_eq!(parse(&text).map(|y| y.value).map_err(|e| format!("{e:?}")), Ok(v));
    }
}

fn walk(node: &Yaml, source: &str) {
    assert!(source.get(node.span.start..node.span.end).is_some(), "{:?}", node.span);
    assert!(source.get(node.mark.start..node.mark.end).is_some(), "{:?}", node.mark);
    if let Some(text) = node.text() {
        for byte in 0..=text.len() {
            let span = position::locate(source, node, byte, byte + 1);
            assert!(source.get(span.start..span.end).is_some());
        }
    }
    node.items().unwrap_or_default().iter().for_each(|n| walk(n, source));
    node.members().unwrap_or_default().iter().for_each(|m| walk(&m.value, source));
}

/// Any JSON value of modest size.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_000_000i64..1_000_000).prop_map(Value::from),
        "[ -~é]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-zA-Z/~. -]{1,8}", inner), 0..5)
                .prop_map(|m| Value::from(m.into_iter().map(|(k, v)| (Arc::from(k), v)).collect::<Map>())),
        ]
    })
}
