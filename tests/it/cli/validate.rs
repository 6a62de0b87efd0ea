//! `cpd validate`: what it says, in which forms, and what it ends with.

use serde_json::{Value, json};

use super::Place;

/// Valid, with two things to say about it, of which one is allowed.
const ADVISED: &str = "document: { dsl: '1.0.3', namespace: test, name: advised, version: '1.0.0' }
do:
  # cpd: allow(swallowed-error) the notice is a courtesy
  - notify:
      try:
        - post: { call: http, with: { method: get, endpoint: 'https://example.com/' } }
      catch: {}
  - names:
      set: { names: '${ .items[].name }' }
";

const BROKEN: &str = "document: { dsl: '1.0.3', namespace: test, name: broken, version: '1.0.0' }
do:
  - one:
      set: { a: 1 }
  - one:
      set: { b: '${ .a | mpa(.b) }' }
";

/// What matters of the schema of SARIF 2.1.0 for what we write: the members that it requires, their types and words.
fn sarif_schema() -> Value {
    let text = json!({ "type": "object", "required": ["text"], "properties": { "text": { "type": "string", "minLength": 1 } } });
    let place = json!({
        "type": "object", "required": ["physicalLocation"],
        "properties": {
            "id": { "type": "integer", "minimum": -1 },
            "message": { "$ref": "#/$defs/text" },
            "physicalLocation": {
                "type": "object", "required": ["artifactLocation"],
                "properties": {
                    "artifactLocation": { "type": "object", "properties": { "uri": { "type": "string", "pattern": "^[^ \\\\]+$" } } },
                    "region": {
                        "type": "object", "required": ["startLine"], "additionalProperties": false,
                        "properties": {
                            "startLine": { "type": "integer", "minimum": 1 }, "startColumn": { "type": "integer", "minimum": 1 },
                            "endLine": { "type": "integer", "minimum": 1 }, "endColumn": { "type": "integer", "minimum": 1 }
                        }
                    }
                }
            }
        }
    });
    let level = json!({ "enum": ["none", "note", "warning", "error"] });
    let rule = json!({
        "type": "object", "required": ["id"], "additionalProperties": false,
        "properties": {
            "id": { "type": "string" }, "shortDescription": { "$ref": "#/$defs/text" }, "fullDescription": { "$ref": "#/$defs/text" },
            "help": {
                "type": "object", "required": ["text"], "additionalProperties": false,
                "properties": { "text": { "type": "string" }, "markdown": { "type": "string" } }
            },
            "helpUri": { "type": "string", "pattern": "^[a-z]+:" },
            "defaultConfiguration": { "type": "object", "properties": { "level": level } }
        }
    });
    let result = json!({
        "type": "object", "required": ["message"], "additionalProperties": false,
        "properties": {
            "ruleId": { "type": "string" }, "ruleIndex": { "type": "integer", "minimum": -1 }, "level": level,
            "message": { "$ref": "#/$defs/text" },
            "locations": { "type": "array", "items": { "$ref": "#/$defs/place" } },
            "relatedLocations": { "type": "array", "uniqueItems": true, "items": { "$ref": "#/$defs/place" } },
            "partialFingerprints": { "type": "object", "additionalProperties": { "type": "string" } },
            "suppressions": {
                "type": "array", "uniqueItems": true,
                "items": {
                    "type": "object", "required": ["kind"], "additionalProperties": false,
                    "properties": { "kind": { "enum": ["inSource", "external"] }, "justification": { "type": "string" } }
                }
            }
        }
    });
    let driver = json!({
        "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": {
            "name": { "type": "string" }, "semanticVersion": { "type": "string", "pattern": "^\\d+\\.\\d+\\.\\d+" },
            "rules": { "type": "array", "uniqueItems": true, "items": rule }
        }
    });
    let run = json!({
        "type": "object", "required": ["tool"], "additionalProperties": false,
        "properties": {
            "tool": { "type": "object", "required": ["driver"], "additionalProperties": false, "properties": { "driver": driver } },
            "columnKind": { "enum": ["utf16CodeUnits", "unicodeCodePoints"] },
            "invocations": { "type": "array", "items": { "type": "object", "required": ["executionSuccessful"] } },
            "results": { "type": "array", "items": result }
        }
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object", "required": ["version", "runs"], "additionalProperties": false,
        "properties": {
            "$schema": { "type": "string", "pattern": "^https://.*sarif-schema-2\\.1\\.0\\.json$" },
            "version": { "const": "2.1.0" },
            "runs": { "type": "array", "items": run }
        },
        "$defs": { "text": text, "place": place }
    })
}

#[test]
fn advice_is_given_and_does_not_fail_unless_it_is_denied() {
    let place = Place::new();
    place.write("advised.yaml", ADVISED);
    place.cpd(&["validate", "advised.yaml"]).exits(0).prints(&["valid workflow test/advised 1.0.0"]).says(&[
        "warning[several-results]: the expression may have several results, of which only the first is kept
 --> advised.yaml:9:25
  |
9 |       set: { names: '${ .items[].name }' }
  |                         ^^^^^^^^^^^^^
  = hint: keep them all with `[ .items[].name ]`, or say that the first is meant with `first(.items[].name)`",
        "1 of 1 definition valid. Found 1 warning, 1 allowed.",
    ]);
    for denied in ["warnings", "several-results", "no-result,several-results"] {
        let out = place
            .cpd(&["validate", "advised.yaml", "--deny", denied])
            .exits(1)
            .says(&["error[several-results]", "0 of 1 definition valid, 1 with errors. Found 1 error, 1 allowed."]);
        assert_eq!(out.stdout, "");
    }
    place.cpd(&["validate", "advised.yaml", "--deny", "no-result"]).exits(0);
    let out = place.cpd(&["validate", "advised.yaml", "--deny", "warnings", "--allow", "several-results"]).exits(0);
    assert!(out.stderr.contains("1 of 1 definition valid. Found 2 allowed."), "{out:?}");
    place.cpd(&["validate", "advised.yaml", "--deny", "no-reslut"]).exits(1).says(&["did you mean no-result?"]);
    place
        .cpd(&["validate", "advised.yaml", "--allow", "wrong-type"])
        .exits(1)
        .says(&["a definition with errors cannot run"]);
}

#[test]
fn registering_keeps_quiet_about_what_a_comment_allows() {
    let place = Place::new();
    let source = "document: { dsl: '1.0.3', namespace: test, name: quiet, version: '1.0.0' }
do:
  # cpd: allow(literal-text) a path for another program
  - a:
      set: { path: .items }
  - b:
      set: { path: .other }
";
    place.write("quiet.yaml", source);
    let out = place.cpd(&["register", "quiet.yaml"]).exits(0).says(&["warning[literal-text]: `.other`"]);
    assert!(!out.stderr.contains("`.items`") && !out.stderr.contains("useless-allow"), "{out:?}");
}

#[test]
fn sarif_is_what_its_schema_asks_for_and_says_where_everything_is() {
    let place = Place::new();
    place.write("advised.yaml", ADVISED);
    place.write("odd name/broken.yaml", BROKEN);
    let out = place.cpd(&["validate", "advised.yaml", "odd name", "gone.yaml", "--format", "sarif"]).exits(1);
    let log: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let schema = jsonschema::validator_for(&sarif_schema()).expect("a schema");
    let wrong: Vec<String> = schema.iter_errors(&log).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let run = &log["runs"][0];
    let rules: Vec<&str> =
        run["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(rules, ["duplicate-task", "invalid-expression", "several-results", "swallowed-error"]);
    let results = run["results"].as_array().unwrap();
    let seen: Vec<(&str, &str, u64, &str)> = results
        .iter()
        .map(|r| {
            let at = &r["locations"][0]["physicalLocation"];
            assert_eq!(rules[usize::try_from(r["ruleIndex"].as_u64().unwrap()).unwrap()], r["ruleId"]);
            let (rule, level) = (r["ruleId"].as_str().unwrap(), r["level"].as_str().unwrap());
            (rule, level, at["region"]["startLine"].as_u64().unwrap(), at["artifactLocation"]["uri"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("several-results", "warning", 9, "advised.yaml"),
            ("swallowed-error", "warning", 7, "advised.yaml"),
            ("duplicate-task", "error", 5, "odd%20name/broken.yaml"),
            ("invalid-expression", "error", 6, "odd%20name/broken.yaml"),
        ]
    );
    let region = &results[3]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(*region, json!({ "startLine": 6, "startColumn": 26, "endLine": 6, "endColumn": 29 }));
    assert_eq!(
        results[1]["suppressions"],
        json!([{ "kind": "inSource", "justification": "the notice is a courtesy" }])
    );
    assert_eq!(results[2]["relatedLocations"][0]["physicalLocation"]["region"]["startLine"], 3);
    let invocation = &run["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    let notification = invocation["toolExecutionNotifications"][0]["message"]["text"].as_str().unwrap();
    assert!(notification.contains("gone.yaml"), "{notification}");
}

#[test]
fn annotations_name_file_line_and_rule() {
    let place = Place::new();
    place.write("broken.yaml", BROKEN);
    let out = place.cpd(&["validate", "broken.yaml", "--format", "github"]).exits(1);
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[1],
        "::error file=broken.yaml,line=6,endLine=6,col=26,endColumn=28,title=invalid-expression::undefined filter mpa%0Adid you mean map?"
    );
}

#[test]
fn json_has_what_was_found_and_what_was_allowed() {
    let place = Place::new();
    place.write("advised.yaml", ADVISED);
    for form in [&["--json"][..], &["--format", "json"]] {
        let lines = place.cpd(&[&["validate", "advised.yaml"], form].concat()).exits(0).lines();
        assert_eq!((lines.len(), &lines[0]["ok"]), (1, &json!(true)));
        assert_eq!(lines[0]["warnings"][0]["code"], "several-results");
        assert_eq!(lines[0]["warnings"][0]["end"], json!({ "line": 9, "column": 38 }));
        assert_eq!(
            lines[0]["allowed"][0],
            json!({ "code": "swallowed-error", "line": 7, "reason": "the notice is a courtesy" })
        );
    }
}

#[test]
fn files_of_one_call_refer_to_each_other_in_any_order() {
    let place = Place::new();
    let caller = "document: { dsl: '1.0.3', namespace: test, name: a-caller, version: '1.0.0' }
do:
  - inner:
      run: { workflow: { namespace: test, name: z-called, version: latest } }
  - gate:
      call: policy.evaluate
      with: { policy: z_gate, input: { n: 1 } }
  - tell:
      call: agent.run
      with: { agent: z-agent, task: Say it. }
";
    let called = "document: { dsl: '1.0.3', namespace: test, name: z-called, version: '1.0.0' }\ndo: [ { a: { set: { x: 1 } } } ]\n";
    let policy =
        "cpd: policy/v1\nname: z_gate\nversion: 1.0.0\nfacts: { n: { type: number } }\nthreshold: { any: [ n > 3 ] }
examples: [ { name: low, facts: { n: 1 }, expect: { outcome: NOT_TRIGGERED } } ]\n";
    let agent = "name: z-agent\nversion: 1.0.0\nprovider: template\nmodel: cpd-template-summariser\n";
    for (name, text) in
        [("a.yaml", caller), ("x/called.yaml", called), ("x/policy.yaml", policy), ("x/agent.yml", agent)]
    {
        place.write(name, text);
    }
    place.cpd(&["validate", "."]).exits(0).says(&["4 of 4 definitions valid."]);
    place.cpd(&["validate", "a.yaml"]).exits(1).says(&["unknown-workflow", "unknown-policy", "unknown-agent"]);
}

#[test]
fn the_page_of_a_rule_is_printed() {
    let place = Place::new();
    let out = place.cpd(&["validate", "--explain", "several-results"]).exits(0);
    assert!(out.stdout.starts_with("several-results\n"), "{}", out.stdout);
    assert!(out.stdout.contains("    # cpd: allow(several-results) "), "{}", out.stdout);
    place.cpd(&["validate", "--explain", "several-result"]).exits(1).says(&["did you mean several-results?"]);
    let lines = place.cpd(&["validate", "--rules", "--json"]).exits(0).lines();
    assert!(
        lines.len() > 90 && lines.iter().all(|l| l["summary"].as_str().is_some_and(|s| s.ends_with('.'))),
        "{}",
        lines.len()
    );
}

#[test]
fn schemas_for_editors_know_the_operations_and_what_is_registered() {
    let place = Place::new();
    let policy = "cpd: policy/v1\nname: my_gate\nversion: 1.0.0\nfacts: { n: { type: number } }\nthreshold: { any: [ n > 3 ] }\n";
    place.write("policy.yaml", policy);
    let schema =
        |kind: &str| -> Value { serde_json::from_str(&place.cpd(&["schema", kind]).exits(0).stdout).expect("JSON") };
    let before = schema("workflow");
    assert!(!place.data().exists(), "printing a schema makes nothing");
    let text = before.to_string();
    assert!(text.contains("\"atlas.retrain\"") && !text.contains("my_gate"), "{text}");
    place.cpd(&["register", "policy.yaml"]).exits(0);
    assert!(schema("workflow").to_string().contains("\"my_gate\""));
    let check = jsonschema::validator_for(&before).expect("a schema");
    let good = json!({
        "document": { "dsl": "1.0.3", "namespace": "a", "name": "b", "version": "1.0.0" },
        "do": [ { "measure": { "call": "drift.compare", "with": { "reference": { "path": "${ .a }" }, "current": { "path": "b" } } } } ]
    });
    assert!(check.is_valid(&good));
    for (pointer, wrong) in [
        ("/do/0/measure/with/statistic", json!("psy")),
        ("/do/0/measure/wiht", json!({})),
        ("/do/0/measure/with/reference", json!("a.csv")),
        ("/document/dsl", json!("2.0.0")),
    ] {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let mut bad = good.clone();
        bad.pointer_mut(parent).expect("a place")[key] = wrong;
        assert!(!check.is_valid(&bad), "{pointer}");
    }
    for kind in ["policy", "agent", "config"] {
        assert_eq!(schema(kind)["$schema"], "http://json-schema.org/draft-07/schema#");
    }
}
