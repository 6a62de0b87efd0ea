//! `cpd graph`.

use serde_json::{Value, json};

use super::{Place, eventually, workflow};

const BODY: &str = "  - first: { set: { n: 3 } }\n  - choose:\n      switch:\n        - much: { when: .n >= 2, then: guarded }\n        - other: { then: end }\n  - unseen: { set: { x: 1 } }\n  - guarded:\n      try: [ { risky: { raise: { error: { type: 'urn:x', status: 503, title: X } } } } ]\n      catch: { retry: { delay: { milliseconds: 1 }, limit: { attempt: { count: 2 } } }, do: [ { mend: { set: { ok: true } } } ] }\n  - last: { if: .nope == 1, set: { n: 4 } }\n";

#[test]
fn a_definition_is_drawn_from_a_file_and_from_the_registry() {
    let place = Place::new();
    place.write("two.yaml", workflow("two", BODY));
    let mermaid = place.cpd(&["graph", "two.yaml"]).exits(0);
    mermaid.prints(&["flowchart TD", "subgraph f3[\"guarded\"]", "t1 -->|\".n #62;= 2\"| t3", "t3 -.->|\"error\"| t5"]);
    place.cpd(&["register", "two.yaml"]).exits(0);
    place.cpd(&["graph", "TWO:1.0.0", "--format", "dot"]).exits(0).prints(&["digraph {", "cluster_3"]);
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
        ("risky", "caught"),
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
            "/do/3/guarded/catch/do/0/mend>/do/4/last",
            "/do/4/last>end",
        ]
    );
    place.cpd(&["graph", "last"]).exits(0).prints(&[
        "title: \"test/two 1.0.0 · run ",
        ": completed · started ",
        "class t4,legend_caught caught",
        "linkStyle",
    ]);
}

/// The tasks of a graph's data by name: the last one of each.
fn task<'d>(data: &'d Value, name: &str) -> &'d Value {
    let tasks = data["tasks"].as_array().expect("tasks");
    tasks.iter().rev().find(|task| task["name"] == name).expect("the task")
}

/// How often the run went from one task to another.
fn times(data: &Value, from: &str, to: &str) -> Vec<u64> {
    let ends = |way: &Value, key: &str, name: &str| way[key].as_str().is_some_and(|end| end.ends_with(name));
    let ways = data["ways"].as_array().expect("ways").iter();
    ways.filter(|w| ends(w, "from", from) && ends(w, "to", to)).filter_map(|w| w["times"].as_u64()).collect()
}

#[test]
fn a_branch_that_lost_is_cancelled_and_an_extended_task_ran_once() {
    // Both once went by the reference of the task and by what it had begun: the branch was drawn as taken, with a way out of it,
    // and the extended task as taken twice.
    let place = Place::new();
    place.write(
        "race.yaml",
        "document: { dsl: '1.0.3', namespace: test, name: race-on, version: '1.0.0' }
use: { extensions: [ { log: { extend: set, before: [ { note: { wait: { milliseconds: 1 } } } ] } } ] }
do:
  - race:
      fork:
        compete: true
        branches:
          - quick: { wait: { milliseconds: 1 } }
          - slow: { do: [ { nap: { wait: { hours: 1 } } }, { later: { wait: { hours: 1 } } } ] }
  - each:
      for: { in: '[1, 2, 3]' }
      do:
        - round: { if: '$index > 0', set: { n: 1 } }
  - two: { set: { a: 1 } }
",
    );
    place.cpd(&["run", "race.yaml", "-q"]).exits(0);
    let data = place.cpd(&["graph", "last", "--format", "json"]).exits(0).json();
    let state = |name: &str| task(&data, name)["state"].clone();
    assert_eq!(
        ["race", "quick", "slow", "nap", "later", "two"].map(state),
        ["taken", "taken", "cancelled", "cancelled", "untouched", "taken"]
    );
    assert_eq!(task(&data, "two")["taken"], 1);
    // The extension has the `if` of its task: what it skips does not come to the task.
    let rounds: Vec<&Value> =
        data["tasks"].as_array().expect("tasks").iter().filter(|t| t["name"] == "round").collect();
    let counts = |round: &Value| (round["taken"].clone(), round["skipped"].clone());
    assert_eq!(
        rounds.iter().map(|round| counts(round)).collect::<Vec<_>>(),
        [(json!(2), json!(1)), (json!(2), json!(0))]
    );
    assert_eq!(times(&data, "/quick", "/each"), [1]);
    assert_eq!(times(&data, "/nap", "/later"), [0]);
    assert_eq!(times(&data, "/later", "/each"), [0]);
    assert_eq!(times(&data, "/each", "/round"), [3]);
    // By name, `_` and `-` are the same; so is what is drawn without a run.
    let by_name = place.cpd(&["graph", "race_on"]).exits(0).stdout;
    assert_eq!(place.cpd(&["graph", "test/RACE-on:1.0.0"]).exits(0).stdout, by_name);
    assert!(!by_name.contains("legend"), "{by_name}");
}

#[test]
fn what_a_run_waits_for_and_what_it_failed_with_is_drawn() {
    let place = Place::new();
    let body = "  - both:\n      fork:\n        branches:\n          - ears: { listen: { to: { one: { with: { type: com.example.bell } } } } }\n          - sleep: { wait: { hours: 2 } }\n  - then: { set: { a: 1 } }\n";
    place.write("wait.yaml", workflow("waits", body));
    let running = place.start(&["run", "wait.yaml", "-q"]);
    let data = eventually("the waits", || {
        let out = place.cpd(&["graph", "last", "--json"]);
        let data: Value = serde_json::from_str(&out.stdout).ok()?;
        (task(&data, "ears")["state"] == "waiting" && task(&data, "sleep")["state"] == "waiting").then_some(data)
    });
    running.kill();
    assert_eq!((data["status"].clone(), task(&data, "both")["state"].clone()), (json!("running"), json!("running")));
    assert_eq!(task(&data, "ears")["now"], "for an event");
    assert!(task(&data, "sleep")["now"].as_str().is_some_and(|now| now.starts_with("until 20")), "{data}");
    assert_eq!(task(&data, "then")["state"], "untouched");
    place.cpd(&["graph", "last"]).exits(0).prints(&[": running", "last event", "until 20", "legend_waiting"]);
    place.cpd(&["cancel", "last", "--reason", "enough"]).exits(0);
    let data = place.cpd(&["graph", "last", "--json"]).exits(0).json();
    assert_eq!(["both", "ears", "sleep"].map(|name| task(&data, name)["state"].clone()), ["cancelled"; 3]);

    let body =
        "  - outer:\n      do:\n        - boom: { raise: { error: { type: 'urn:x', status: 418, title: Teapot } } }\n";
    place.write("bad.yaml", workflow("bad", body));
    place.cpd(&["run", "bad.yaml", "-q"]).exits(3);
    let data = place.cpd(&["graph", "last", "--json"]).exits(0).json();
    assert_eq!(["outer", "boom"].map(|name| task(&data, name)["state"].clone()), ["failed"; 2]);
    assert_eq!(task(&data, "boom")["error"], "Teapot (418)");
    place.cpd(&["graph", "last", "--format", "svg"]).exits(0).prints(&["faulted: Teapot (418)", "class=\"failed\""]);
    place.cpd(&["graph", "last", "--format", "dot"]).exits(0).prints(&["legend_failed"]);
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
    place.cpd(&["graph", "last"]).exits(1).says(&["last"]);
    place.write("notes.yaml", "hello: world\n");
    place.cpd(&["graph", "notes.yaml"]).exits(1).says(&["notes.yaml"]);
    place.write("bytes.yaml", [0xff, 0xfe, 0x00]);
    place.cpd(&["graph", "bytes.yaml"]).exits(1).says(&["bytes.yaml"]);
    place.cpd(&["graph", ""]).exits(1).says(&["error: "]);
    place.cpd(&["graph"]).exits(2);
    place.cpd(&["graph", "two", "--format", "png"]).exits(2);
    place.cpd(&["graph", "two", "-o", "no/such/folder.svg"]).exits(1).says(&["write no/such/folder.svg"]);
}
