//! `cpd validate`, `register`, `policy`.

use serde_json::json;

use super::{FAULTY, Place, SUM, definitions_dir, workflow};

const WRONG: &str = "document: { dsl: '1.0.3', namespace: test, name: wrong, version: '1.0.0' }
do:
  - one:
      call: drift.compair
      with: { reference: { path: a } }
  - two:
      set: { x: '${ .a | mpa(.b) }' }
  - three:
      wait: yesterday
";

const BROKEN_POLICY: &str = "cpd: policy/v1
name: broken
version: 1.0.0
facts: { drift: { type: number } }
threshold:
  any: [ drift > max_drift ]
";

#[test]
fn directories_that_are_hidden_are_not_searched_for_definitions() {
    let place = Place::new();
    place.write("sum.yaml", SUM);
    place.cpd(&["register", "."]).exits(0);
    // The data directory lies in the directory that is searched, and holds JSON of its own.
    place.write(".cpd/state.json", "{}");
    place.write(".hidden.yaml", "nonsense");
    let lines = place.cpd(&["validate", ".", "--json"]).exits(0).lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    // A hidden file that is named is meant.
    place.cpd(&["validate", ".hidden.yaml"]).exits(1);
}

#[test]
fn what_ships_is_valid() {
    let place = Place::new();
    let dir = definitions_dir();
    let parts = ["policies", "agents", "workflows"].map(|p| dir.join(p).to_str().expect("UTF-8").to_owned());
    let [policies, agents, workflows] = &parts;
    let out = place.cpd(&["validate", policies, agents, workflows]).exits(0).prints(&[
        "valid workflow fraud/fraud-drift-management 1.0.0",
        "valid policy fraud_max_drift 1.0.0",
        "valid agent intelligence-summariser 1.0.0",
    ]);
    assert!(!out.stderr.contains("error"), "{out:?}");
    assert!(!place.data().exists(), "validating makes nothing");
    let lines = place.cpd(&["validate", policies, agents, workflows, "--json"]).exits(0).lines();
    assert!(lines.len() >= 5 && lines.iter().all(|l| l["ok"] == true && l["digest"].is_string()), "{lines:?}");
}

#[test]
fn every_error_of_a_definition_has_a_picture_of_its_line() {
    let place = Place::new();
    place.write("wrong.yaml", WRONG);
    let out = place.cpd(&["validate", "wrong.yaml"]).exits(1).says(&[
        "error[unknown-operation]: there is no operation `drift.compair`
 --> wrong.yaml:4:13
  |
4 |       call: drift.compair
  |             ^^^^^^^^^^^^^ did you mean `drift.compare`?",
        "error[invalid-expression]: undefined filter mpa
 --> wrong.yaml:7:26
  |
7 |       set: { x: '${ .a | mpa(.b) }' }
  |                          ^^^
  = hint: did you mean map?",
        "error[invalid-duration]: `wait`: found \"yesterday\", expected an ISO 8601 duration",
        "0 of 1 definition valid, 1 with errors.",
    ]);
    assert_eq!(out.stdout, "");
    let lines = place.cpd(&["validate", "wrong.yaml", "--json"]).exits(1).lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["code"], "unknown-operation");
    assert_eq!((&lines[0]["file"], &lines[0]["pointer"]), (&json!("wrong.yaml"), &json!("/do/0/one/call")));
    assert_eq!((&lines[0]["span"]["line"], &lines[0]["span"]["column"]), (&json!(4), &json!(13)));
}

#[test]
fn good_and_bad_together_name_the_bad_ones() {
    let place = Place::new();
    place.write("good.yaml", SUM);
    place.write("bad.yaml", "document: { dsl: 1\ndo: [");
    place.write("policy.yaml", BROKEN_POLICY);
    place
        .cpd(&["validate", "good.yaml", "bad.yaml", "policy.yaml"])
        .exits(1)
        .prints(&["valid workflow test/add-up 1.0.0"])
        .says(&[
            "error[invalid-yaml]",
            "bad.yaml:2:",
            "2 | do: [",
            "parameter \"max_drift\" is not declared",
            "policy.yaml:6:",
            "1 of 3 definitions valid, 2 with errors.",
        ]);
    place.cpd(&["validate", "gone.yaml"]).exits(1).says(&["read the definition gone.yaml", "No such file"]);
    place.cpd(&["validate"]).exits(2);
    std::fs::create_dir(place.path("empty")).expect("a directory");
    place.cpd(&["validate", "empty"]).exits(1).says(&["find definitions in empty"]);
    place.write("latin.yaml", b"document: { name: caf\xe9 }");
    place.cpd(&["validate", "latin.yaml"]).exits(1).says(&["latin.yaml as UTF-8"]);
}

#[test]
fn hostile_definitions_are_refused_and_nothing_is_registered() {
    let place = Place::new();
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("blank", b"\n\n  \n".to_vec()),
        ("nul", vec![0; 100]),
        ("list", b"- 1\n- 2\n".to_vec()),
        ("scalar", b"42".to_vec()),
        ("deep", "[".repeat(100_000).into_bytes()),
        ("deep-maps", (0..5_000).map(|n| format!("{}a:\n", " ".repeat(n % 500))).collect::<String>().into_bytes()),
        ("bomb", bomb.as_bytes().to_vec()),
        ("two-keys", format!("{SUM}do: []\n").into_bytes()),
        ("unknown-task", SUM.replace("set:", "sett:").into_bytes()),
        ("unknown-key", SUM.replace("do:", "dont: 1\ndo:").into_bytes()),
        ("wrong-type", SUM.replace("version: '1.0.0'", "version: [1]").into_bytes()),
        ("no-tasks", SUM.lines().next().expect("a line").as_bytes().to_vec()),
        ("typo", SUM.replace(".a + .b", ".a + ").into_bytes()),
        ("goto", FAULTY.replace("raise:", "then: nowhere\n      raise:").into_bytes()),
        ("two-documents", format!("{SUM}---\n{SUM}").into_bytes()),
        ("tag", SUM.replace("do:", "do: !!python/object").into_bytes()),
    ];
    for (name, text) in &cases {
        let file = format!("{name}.yaml");
        place.write(&file, text);
        for command in ["validate", "register", "run"] {
            let out = place.cpd(&[command, &file]).calm();
            assert_eq!(out.code, Some(1), "{command} {name}: {out:?}");
            assert_eq!(out.stdout, "", "{command} {name}");
            assert!(out.stderr.contains(&file), "{command} {name} does not name the file: {out:?}");
        }
    }
    let rows = place.cpd(&["registry", "--json"]).exits(0).stdout;
    assert!(!rows.contains("add-up") && !rows.contains("faulty"), "{rows}");
    assert_eq!(place.cpd(&["runs", "--json"]).exits(0).stdout, "", "nothing is half done");
}

#[test]
fn policies_are_listed_and_decide() {
    let place = Place::new();
    let policies = definitions_dir().join("policies");
    let file = policies.join("fraud_max_drift.yaml");
    let (dir, file) = (policies.to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
    place
        .cpd(&["policy", "eval", file, "-f", r#"{"drift": 0.3}"#])
        .exits(0)
        .prints(&["fraud_max_drift 1.0.0 → TRIGGERED", "drift 0.3 > max_drift 0.15"]);
    assert!(!place.data().exists(), "a file needs no data directory");
    place.cpd(&["register", dir]).exits(0);
    place.cpd(&["policy", "list"]).exits(0).prints(&["fraud_max_drift", "enforce"]);
    let listed = place.cpd(&["policy", "list", "--json"]).exits(0).lines();
    assert!(listed.iter().any(|p| p["name"] == "fraud_max_drift" && p["version"] == "1.0.0"), "{listed:?}");
    let eval = |facts: &str| place.cpd(&["policy", "eval", "fraud_max_drift", "--json", "-f", facts]);
    assert_eq!(eval(r#"{"drift": 0.3}"#).exits(0).json()["outcome"], "TRIGGERED");
    assert_eq!(eval(r#"{"drift": 0.15}"#).exits(0).json()["outcome"], "NOT_TRIGGERED");
    assert_eq!(eval(r#"{"drfit": 0.3}"#).exits(1).json()["outcome"], "ERROR");
    let lower = place.cpd(&[
        "policy",
        "eval",
        "fraud_max_drift",
        "-f",
        r#"{"drift": 0.1}"#,
        "-p",
        r#"{"max_drift": 0.05}"#,
        "--json",
    ]);
    assert_eq!(lower.exits(0).json()["outcome"], "TRIGGERED");
    place
        .cpd(&["policy", "eval", "fraud_max_drfit", "-f", "{}"])
        .exits(1)
        .says(&["find policy \"fraud_max_drfit\"", "did you mean"]);
    place.cpd(&["policy", "eval", "fraud_max_drift", "-f", "{"]).exits(1).says(&["as JSON"]);
    place.cpd(&["policy", "eval", "fraud_max_drift"]).exits(2);
}

#[test]
fn policy_examples_pass_or_say_how_they_fail() {
    let place = Place::new();
    let file = definitions_dir().join("policies/fraud_max_drift.yaml");
    place
        .cpd(&["policy", "test", file.to_str().expect("UTF-8")])
        .exits(0)
        .prints(&["far above the limit"])
        .says(&["5 passed, 0 failed"]);
    let text = std::fs::read_to_string(&file).expect("a policy");
    place.write("strict.yaml", text.replace("default: 0.15", "default: 0.5"));
    let out = place
        .cpd(&["policy", "test", "strict.yaml"])
        .exits(1)
        .says(&["failed"])
        .prints(&["✗ fraud_max_drift 1.0.0  far above the limit"]);
    assert!(out.stdout.contains("NOT_TRIGGERED"), "what was found: {out:?}");
    let lines = place.cpd(&["policy", "test", "strict.yaml", "--json"]).exits(1).lines();
    assert!(lines.iter().any(|l| l["passed"] == false && l["detail"].is_string()), "{lines:?}");
    place.write("broken.yaml", BROKEN_POLICY);
    place.cpd(&["policy", "test", "broken.yaml"]).exits(1).says(&[
        "broken.yaml:6:",
        "parameter \"max_drift\" is not declared",
        "hint: add it under `parameters:`",
    ]);
    place.cpd(&["register", "broken.yaml"]).exits(1).says(&["broken.yaml:6:"]);
    place.cpd(&["policy", "test", "gone.yaml"]).exits(1).says(&["read the policy gone.yaml"]);
}

#[test]
fn registering_twice_changes_nothing_and_another_text_under_the_same_version_is_refused() {
    let place = Place::new();
    place.write("add.yaml", SUM);
    place.cpd(&["register", "add.yaml"]).exits(0).prints(&["registered workflow test/add-up 1.0.0"]);
    place.cpd(&["register", "add.yaml"]).exits(0).prints(&["(unchanged)"]);
    place.write("add.yaml", SUM.replace(".a + .b", ".a - .b"));
    place.cpd(&["register", "add.yaml"]).exits(1).says(&["1.0.0"]);
    let out = place.cpd(&["run", "add-up", "a=3", "b=1", "--json"]).exits(0);
    assert_eq!(out.json()["output"]["sum"], 4, "what was registered stands");
}

/// Such a call could be registered, and its run faulted.
#[test]
fn a_policy_without_its_parameter_is_an_error_of_the_definition_that_calls_it() {
    let place = Place::new();
    let policy = "cpd: policy/v1\nname: limit\nversion: 1.0.0\nparameters:\n  most: { type: number }\n  least: { type: number, default: 1 }\n\
                  facts: { n: { type: number } }\nthreshold: { any: [ n > most, n < least ] }\n";
    place.write("limit.yaml", policy);
    place.cpd(&["register", "limit.yaml"]).exits(0);
    let decide = |parameters: &str| {
        workflow(
            "decide",
            &format!(
                "  - decide:\n      call: policy.evaluate\n      with: {{ policy: limit, input: {{ n: 3 }}{parameters} }}\n"
            ),
        )
    };
    for (parameters, column) in [("", 13), (", parameters: { least: 0 }", 59)] {
        place.write("decide.yaml", decide(parameters));
        for command in ["validate", "register", "run"] {
            place.cpd(&[command, "decide.yaml"]).exits(1).says(&[
                "error[missing-argument]: policy `limit` needs the parameter `most`, which has no default",
                &format!("decide.yaml:5:{column}"),
                "`parameters: { most: … }` is missing",
            ]);
        }
    }
    for parameters in [", parameters: { most: 2 }", ", parameters: '${ { most: 2 } }'"] {
        place.write("decide.yaml", decide(parameters));
        let out = place.cpd(&["run", "decide.yaml", "-q", "--json"]).exits(0);
        assert_eq!(out.json()["output"]["outcome"], "TRIGGERED", "{parameters}");
        std::fs::remove_dir_all(place.data()).expect("a directory");
        place.cpd(&["register", "limit.yaml"]).exits(0);
    }
}
