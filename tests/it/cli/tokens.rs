//! Tokens and the audit: `cpd token`, `cpd audit log`.

use serde_json::{Value, json};

use super::Place;

#[test]
fn a_token_is_made_listed_revoked_and_audited() {
    let place = Place::new();
    let made = place.cpd(&["token", "create", "--role", "operator", "--scope", "fraud", "hr", "--name", "ci"]);
    let made = made.exits(0).says(&["operator in fraud hr, until ", "shown this once"]);
    let token = made.stdout.trim_end();
    let form = regex::Regex::new(r"\Acpd_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\z").unwrap();
    assert!(form.is_match(token), "{token:?}");
    let id = token.split('_').nth(1).unwrap().to_owned();

    let create =
        ["token", "create", "--role", "viewer", "--scope", "*", "--name", "all", "--expires", "never", "--json"];
    let all = place.cpd(&create).exits(0).json();
    assert_eq!((&all["scope"], &all["expiresAt"], &all["role"]), (&json!(["*"]), &Value::Null, &json!("viewer")));
    assert!(form.is_match(all["token"].as_str().unwrap()));

    place.cpd(&["token", "revoke", "ci", "--reason", "leaked"]).exits(0).says(&[&id, "(ci) was revoked"]);
    place.cpd(&["token", "revoke", &id]).exits(0).says(&["was revoked before"]);
    place.cpd(&["token", "list"]).exits(0).prints(&[&id, "ci", "operator", "revoked", "good", "fraud hr", "never"]);
    let list = place.cpd(&["token", "list", "--json"]).exits(0).lines();
    let statuses: Vec<_> = list.iter().map(|t| (t["name"].as_str().unwrap(), t["status"].as_str().unwrap())).collect();
    assert_eq!(statuses, [("ci", "revoked"), ("all", "good")]);

    let log = place.cpd(&["audit", "log", "--json"]).exits(0).lines();
    let acts: Vec<_> = log.iter().map(|a| (a["action"].as_str().unwrap(), a["why"].as_str().unwrap())).collect();
    assert_eq!(acts, [("token.revoke", "leaked"), ("token.create", ""), ("token.create", "")]);
    assert_eq!(log[0]["by"]["from"], "cli");
    let page = place.cpd(&["audit", "log", "--json", "-n", "1", "--before", "3"]).exits(0).lines();
    assert_eq!(page, &log[1..2]);
    place.cpd(&["audit", "log"]).exits(0).prints(&["allowed  token.revoke", "leaked", "from cli"]);
    place.cpd(&["audit", "log", "--refused"]).exits(0).says(&["Nothing"]);
    place.cpd(&["audit", "verify"]).exits(0);

    // The token is nowhere, whole or in part.
    let secret = &token[17..60];
    for entry in walk(&place.data()) {
        let bytes = std::fs::read(&entry).unwrap();
        assert!(!bytes.windows(16).any(|w| secret.as_bytes().windows(16).any(|s| s == w)), "{}", entry.display());
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

#[test]
fn what_makes_no_token_is_said() {
    let place = Place::new();
    let create = |more: &[&str]| {
        let mut args = vec!["token", "create", "--role", "viewer"];
        args.extend_from_slice(more);
        place.cpd(&args)
    };
    create(&["--scope", "Fraud", "--name", "x"]).exits(1).says(&["\"Fraud\"", "expected 1 to 63"]);
    create(&["--scope", "a", "--name", "two words"]).exits(1).says(&["\"two words\"", "expected 1 to 64"]);
    create(&["--scope", "a", "--name", "x", "--expires", "soon"]).exits(1).says(&["\"soon\"", "90d"]);
    create(&["--name", "x"]).exits(2).says(&["--scope"]);
    place.cpd(&["token", "create", "--role", "root", "--scope", "a", "--name", "x"]).exits(2).says(&["root", "viewer"]);
    assert!(!place.data().join("journal").exists(), "nothing was made");
    create(&["--scope", "a", "--name", "x"]).exits(0);
    create(&["--scope", "a", "--name", "x"]).exits(1).says(&["\"x\" already", "revoke it"]);
    place.cpd(&["token", "revoke", "nobody"]).exits(1).says(&["\"nobody\"", "cpd token list"]);
    place.cpd(&["token", "list", "--json"]).exits(0);
}
