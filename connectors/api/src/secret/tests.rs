//! Secrets in every form in which they come back.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::{Outcome, Problem, Standard, Success, Value, json};

#[test]
fn secrets_vanish_from_every_place_of_an_outcome() {
    let redactor = Redactor::new([Secret::new("hunter22"), Secret::new("hunter2"), Secret::new("abc")]);
    let seen = json!({"a": ["x hunter22 y", {"hunter2": 1}], "abc": true});
    let outcome = Outcome::Succeeded(Success { output: seen.clone(), evidence: Some(seen) });
    let Outcome::Succeeded(clean) = redactor.outcome(outcome) else { panic!("changed its kind") };
    assert_eq!(clean.output.to_json(), r#"{"a":["x [redacted] y",{"[redacted]":1}],"abc":true}"#);
    assert_eq!(clean.evidence, Some(clean.output));
    let problem = Problem::standard(Standard::Communication, "told hunter2").with_data(json!({"e": "hunter2"}));
    let shown = format!("{:?}", redactor.outcome(Outcome::failed(problem)));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_beginning_of_a_secret_at_a_cut_vanishes_too() {
    let redactor = Redactor::new([Secret::new("hunter22"), Secret::new("x-hunter22-é")]);
    assert_eq!(redactor.text("said x-hunt…").as_deref(), Some("said [redacted]…"));
    assert_eq!(redactor.text("said hunter22 and hunter2…").as_deref(), Some("said [redacted] and [redacted]…"));
    assert_eq!(redactor.text("said hun…"), None);
    assert_eq!(redactor.text("said hunter2"), None, "nothing was cut");
    // base64 of "x-hunter22-é" is eC1odW50ZXIyMi3DqQ.
    assert_eq!(redactor.text("said eC1odW50Z…").as_deref(), Some("said [redacted]…"));
}

#[test]
fn secrets_vanish_from_bytes_that_are_no_text() {
    let redactor = Redactor::new([Secret::new("hunter2")]);
    assert_eq!(redactor.bytes(b"\xffhunter2hunter2\xfe"), b"\xff[redacted][redacted]\xfe");
    assert_eq!(redactor.bytes(b"\xffhunt"), b"\xffhunt");
    assert_eq!(redactor.bytes(b"hhunter2"), b"h[redacted]");
    assert_eq!(redactor.bytes(b""), b"");
    let many = Redactor::new([Secret::new("aaaa")]).bytes(&vec![b'a'; 4 << 20]);
    assert_eq!(many, Redactor::MARK.as_bytes(), "in one pass, or this would not end");
    let overlapping = Redactor::new([Secret::new("abcdef"), Secret::new("cdefghij"), Secret::new("ghij-klm")]);
    assert_eq!(overlapping.bytes(b"<abcdefghij-klm>"), b"<[redacted]>", "nothing of one is left by another");
}

#[test]
fn a_secret_does_not_print() {
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
}

#[test]
fn the_forms_that_services_give_it_are_known() {
    let redactor = Redactor::new([Secret::new("p@ss/w\"ö rd")]);
    for seen in [
        "p@ss/w\"ö rd",
        "p%40ss%2Fw%22%C3%B6%20rd",
        "p%40ss%2fw%22%c3%b6+rd",
        "%70%40%73%73%2F%77%22%C3%B6%20%72%64",
        r#"p@ss/w\"ö rd"#,
        r#"p@ss\/w\"\u00f6 rd"#,
        r#"p@ss\/w\u0022\u00F6\u0020rd"#,
        "cEBzcy93IsO2IHJk",
        "cEBzcy93IsO2IHJk==",
    ] {
        let text = format!("found <{seen}>, sorry");
        let clean = redactor.text(&text).unwrap_or_else(|| panic!("{seen} was not found"));
        assert!(clean.starts_with("found <[redacted]"), "{seen}: {clean}");
        assert!(clean.ends_with(">, sorry"), "{seen}: {clean}");
    }
    // As the header of basic authentication, with a name in front.
    for user in ["a", "ab", "abc", "somebody"] {
        let text = format!("Basic {}", STANDARD.encode(format!("{user}:p@ss/w\"ö rd")));
        assert!(redactor.text(&text).unwrap().contains("[redacted]"), "{user}");
    }
    // An emoji takes two escapes.
    let emoji = Redactor::new([Secret::new("pin🔑key")]);
    assert_eq!(emoji.text(r"x pin\ud83d\udd11key y").as_deref(), Some("x [redacted] y"));
    assert_eq!(emoji.text(r"x pin\ud83d y \ud83d\udd11 \u12 \ud83d\u0041 %f %zz \q"), None);
}

#[test]
fn a_number_that_is_a_secret_is_not_shown() {
    let redactor = Redactor::new([Secret::new("48151623")]);
    assert_eq!(
        redactor.value(&json!({"pin": 48151623, "other": 481516234})).to_json(),
        r#"{"pin":"[redacted]","other":481516234}"#
    );
}

#[test]
fn large_answers_without_a_secret_are_searched_soon() {
    let redactor = Redactor::new((0..8).map(|i| Secret::new(format!("secret-number-{i}-of-eight"))));
    let text = "a%20b\\n+se secret-number ".repeat(100_000);
    let begun = std::time::Instant::now();
    assert_eq!(redactor.text(&text), None);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?} for {} bytes", begun.elapsed(), text.len());
}

fn percent(text: &str, all: bool, upper: bool, plus: bool) -> String {
    let encode = |byte: u8| match byte {
        b' ' if plus => "+".to_owned(),
        b if !all && (b.is_ascii_alphanumeric() || b"-._~".contains(&b)) => char::from(b).to_string(),
        b if upper => format!("%{b:02X}"),
        b => format!("%{b:02x}"),
    };
    text.bytes().map(encode).collect()
}

/// JSON as encoders write it that keep to ASCII.
fn ascii_json(text: &str) -> String {
    let mut units = [0; 2];
    let escape = |c: char| match c {
        ' '..='~' if c != '"' && c != '\\' => c.to_string(),
        c => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    text.chars().map(escape).collect::<Vec<_>>().concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever a connector echoes: after the redactor, no form of the secret is there, however it is embedded.
    #[test]
    fn no_form_of_a_secret_survives(
        secret in "[ -~äöü€🔑\n\t]{6,40}",
        other in "[ -~]{4,12}",
        before in "[ -~é]{0,9}",
        after in "[ -~é]{0,9}",
    ) {
        // What is around it must not hold it already, or the mark itself.
        prop_assume!(!Redactor::MARK.contains(&secret) && !Redactor::MARK.contains(&other));
        let redactor = Redactor::new([Secret::new(&secret), Secret::new(&other)]);
        let json_text = Value::str(&*secret).to_json();
        let literal = json_text[1..json_text.len() - 1].to_owned();
        let forms = [
            secret.clone(),
            literal.clone(),
            ascii_json(&secret),
            literal.replace('/', "\\/"),
            percent(&secret, false, true, false),
            percent(&secret, false, false, true),
            percent(&secret, true, true, false),
            percent(&secret, true, false, false),
        ];
        for form in &forms {
            let seen = format!("{before}{form}{after}");
            let clean = redactor.text(&seen);
            prop_assert!(clean.is_some(), "{form:?} in {seen:?}");
            prop_assert!(!clean.as_deref().unwrap_or_default().contains(form.as_str()), "{clean:?}");
            let value = redactor.value(&Value::from([("k", Value::from([(&*seen, Value::str(&*seen))]))]));
            prop_assert!(!value.to_json().contains(form.as_str()) || Redactor::MARK.contains(form.as_str()));
        }
        // In base64 it is encoded together with what is around it; nothing of what is left decodes to it.
        let joined = format!("{before}{secret}{after}");
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&joined);
            for seen in [encoded.clone(), percent(&encoded, false, true, false), encoded.replace('/', "\\/")] {
                let clean = redactor.text(&format!("<{seen}>"));
                prop_assert!(clean.is_some(), "{seen:?} of {joined:?}");
                for piece in clean.unwrap_or_default().split([' ', '<', '>', '[', ']']) {
                    let piece = piece.trim_end_matches('=');
                    let mut decoded = Vec::new();
                    for skip in 0..4.min(piece.len()) {
                        let Some(rest) = piece.get(skip..) else { continue };
                        let cut = rest.len() - usize::from(rest.len() % 4 == 1);
                        decoded.extend(STANDARD_NO_PAD.decode(rest.get(..cut).unwrap_or("")));
                        decoded.extend(URL_SAFE_NO_PAD.decode(rest.get(..cut).unwrap_or("")));
                    }
                    for bytes in decoded {
                        prop_assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{piece:?} of {seen:?}");
                    }
                }
            }
        }
    }

    /// Bytes and texts are cleaned alike, and whole texts stay texts.
    #[test]
    fn bytes_and_texts_agree(secret in "\\PC{4,12}", text in "\\PC{0,40}", times in 0usize..3) {
        let redactor = Redactor::new([Secret::new(&secret)]);
        let seen = format!("{text}{}{text}", secret.repeat(times));
        let by_text = redactor.text(&seen).unwrap_or_else(|| seen.clone());
        if !seen.ends_with('…') {
            prop_assert_eq!(by_text.as_bytes(), redactor.bytes(seen.as_bytes()));
        }
    }
}
