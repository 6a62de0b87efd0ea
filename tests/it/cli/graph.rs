//! `cpd graph`.

use super::{Place, workflow};

const BODY: &str = "  - first: { set: { n: 3 } }\n  - choose:\n      switch:\n        - much: { when: .n >= 2, then: guarded }\n        - other: { then: end }\n  - unseen: { set: { x: 1 } }\n  - guarded:\n      try: [ { risky: { raise: { error: { type: 'urn:x', status: 503, title: X } } } } ]\n      catch: { retry: { delay: { milliseconds: 1 }, limit: { attempt: { count: 2 } } }, do: [ { mend: { set: { ok: true } } } ] }\n  - last: { if: .nope == 1, set: { n: 4 } }\n";

#[test]
fn a_definition_is_drawn_from_a_file_and_from_the_registry() {
    let place = Place::new();
    place.write("two.yaml", workflow("two", BODY));
    let mermaid = place.cpd(&["graph", "two.yaml"]).exits(0);
    mermaid.prints(&["flowchart TD", "<b>guarded</b>", "t1 -->|.n #62;= 2| t3", "t3 -.-> t5"]);
    place.cpd(&["register", "two.yaml"]).exits(0);
    place.cpd(&["graph", "TWO:1.0.0", "--format", "dot"]).exits(0).prints(&["digraph {", "cluster_3_1"]);
    let out = place.cpd(&["graph", "two", "--format", "svg", "-o", "two.svg"]).exits(0);
    out.says(&["Wrote two.svg (7 tasks)."]);
    let svg = std::fs::read_to_string(place.path("two.svg")).expect("the picture");
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(!svg.contains("<script") && !svg.contains("href"), "nothing that runs, nothing from elsewhere");
}

#[test]
fn a_run_is_drawn_with_what_it_did() {
    let place = Place::new();
    place.write("two.yaml", workflow("two", BODY));
    place.cpd(&["run", "two.yaml", "-q"]).exits(0);
    let data = place.cpd(&["graph", "last", "--json"]).exits(0).json();
    assert_eq!(data["status"], "completed");
    let state = |name: &str| {
        let tasks = data["tasks"].as_array().expect("tasks");
        tasks.iter().find(|t| t["name"] == name).expect("the task")["state"].clone()
    };
    for (name, expected) in [
        ("first", "taken"),
        ("choose", "taken"),
        ("unseen", "untouched"),
        ("guarded", "retried"),
        ("risky", "failed"),
        ("mend", "taken"),
        ("last", "skipped"),
    ] {
        assert_eq!(state(name), expected, "{name}");
    }
    let ways = data["ways"].as_array().expect("ways");
    let taken: Vec<String> = ways
        .iter()
        .filter(|w| w["taken"] == true)
        .map(|w| format!("{}>{}", w["from"].as_str().unwrap_or("?"), w["to"].as_str().unwrap_or("?")))
        .collect();
    assert_eq!(
        taken,
        [
            "start>/do/0/first",
            "/do/0/first>/do/1/choose",
            "/do/1/choose>/do/3/guarded",
            "/do/3/guarded>/do/3/guarded/try/0/risky",
            "/do/3/guarded>/do/3/guarded/catch/do/0/mend",
            "/do/3/guarded/catch/do/0/mend>/do/3/guarded",
            "/do/3/guarded>/do/4/last",
            "/do/4/last>end",
        ]
    );
    place.cpd(&["graph", "last"]).exits(0).prints(&[
        "title: \"test/two 1.0.0: completed\"",
        "class t4 failed",
        "linkStyle",
    ]);
}

#[test]
fn what_cannot_be_drawn_says_why() {
    let place = Place::new();
    place.write(
        "bad.yaml",
        "document: { dsl: '1.0.3', namespace: t, name: b, version: '1.0.0' }\ndo:\n  - a: { cal: x }\n",
    );
    place.cpd(&["graph", "bad.yaml"]).exits(1).says(&["bad.yaml:3:10", "did you mean `call`?"]);
    place.cpd(&["graph", "none.yaml"]).exits(1).says(&["none.yaml"]);
    place.write("two.yaml", workflow("two", BODY));
    place.cpd(&["register", "two.yaml"]).exits(0);
    place.cpd(&["graph", "tow"]).exits(1).says(&["draw tow: it is no run either", "two"]);
    place.cpd(&["graph", "two", "--with", "."]).exits(1).says(&["--with is for definitions in files"]);
    place.cpd(&["graph", "two", "--format", "png"]).exits(2);
    place.cpd(&["graph", "two", "-o", "no/such/folder.svg"]).exits(1).says(&["write no/such/folder.svg"]);
}
