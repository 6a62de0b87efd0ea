//! `drift.compare` as a workflow calls it.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use cpd_connector_api::Value;
use tempfile::TempDir;

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn request(input: Value) -> Request {
    Request {
        operation: COMPARE.into(),
        version: VERSION.into(),
        run: "r-1".into(),
        workflow: "fraud-drift-management".into(),
        task: "/do/0/measure".into(),
        attempt: 1,
        key: "k".into(),
        deadline: None,
        input,
        resources: Default::default(),
        conditions: Default::default(),
        cancel: CancellationToken::new(),
    }
}

fn connector(base: &Path) -> DriftConnector {
    DriftConnector::new(DriftConfig::new(base))
}

fn call(base: &Path, input: Value) -> Outcome {
    block_on(connector(base).call(request(input)))
}

#[track_caller]
fn output(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Succeeded(success) => success.output,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refusal(outcome: Outcome) -> (u16, String) {
    match outcome {
        Outcome::Refused(problem) => (problem.status, problem.detail.unwrap().to_string()),
        other => panic!("{other:?}"),
    }
}

fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    let step = |v: &'v Value, key: &str| match key.parse::<usize>() {
        Ok(index) => v.as_array().and_then(|a| a.get(index)),
        Err(_) => v.get(key),
    };
    path.split('.').fold(value, |v, key| step(v, key).unwrap_or_else(|| panic!("no `{key}` of `{path}` in {v}")))
}

fn number(value: &Value, path: &str) -> f64 {
    at(value, path).as_f64().unwrap()
}

fn demo() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (reference, current) = generate::generate(generate::DEMO_SEED, generate::DEMO_ROWS, generate::SHIFT_DEMO);
    std::fs::write(dir.path().join("reference.csv"), reference).unwrap();
    std::fs::write(dir.path().join("current.csv"), current).unwrap();
    dir
}

fn two(reference: &str, current: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("r.csv"), reference).unwrap();
    std::fs::write(dir.path().join("c.csv"), current).unwrap();
    dir
}

#[test]
fn the_demo_has_a_drift_of_0_22_and_the_score_is_worst() {
    let dir = demo();
    let out =
        output(call(dir.path(), json!({"reference": {"path": "reference.csv"}, "current": {"path": "current.csv"}})));
    assert_eq!(format!("{:.2}", number(&out, "drift")), "0.22");
    assert_eq!(at(&out, "worst"), &json!("score"));
    assert_eq!(at(&out, "rows"), &json!({"reference": 10_000, "current": 10_000}));
    assert_eq!((at(&out, "statistic"), at(&out, "aggregate")), (&json!("psi"), &json!("max")));
    let features = at(&out, "features").as_array().unwrap();
    let values: Vec<f64> = features.iter().map(|f| number(f, "value")).collect();
    assert_eq!(values.len(), 6);
    assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
    assert_eq!(number(&out, "drift"), values[0]);
    let drifted = values.iter().filter(|v| **v >= 0.1).count();
    assert_eq!(at(&out, "drifted"), &json!(drifted));
    let channel = features.iter().find(|f| at(f, "name") == &json!("channel")).unwrap();
    assert_eq!(at(channel, "kind"), &json!("categorical"));
    assert_eq!(at(channel, "bins.categories"), &json!(["atm", "online", "phone", "terminal"]));
    assert!(at(channel, "statistics").get("ks").is_none());
    let shares = |side| at(features[0].get("bins").unwrap(), side).as_array().unwrap().iter().filter_map(Value::as_f64);
    assert!(
        (shares("reference").sum::<f64>() - 1.0).abs() < 1e-12 && (shares("current").sum::<f64>() - 1.0).abs() < 1e-12
    );
    assert_eq!(at(&out, "features.0.bins.edges").as_array().unwrap().len(), 9);
    let hash = at(&out, "reference.sha256").as_str().unwrap();
    assert!(hash.len() == 64 && hash != at(&out, "current.sha256").as_str().unwrap());
}

#[test]
fn a_file_compared_with_itself_has_not_drifted_by_any_statistic() {
    let dir = demo();
    for statistic in input::Statistic::ALL.map(input::Statistic::name) {
        let out = output(call(
            dir.path(),
            json!({
                "reference": {"path": "current.csv"}, "current": {"path": "current.csv"},
                "columns": ["score", "amount"], "statistic": statistic,
            }),
        ));
        assert_eq!(number(&out, "drift"), 0.0, "{statistic}");
        assert_eq!(number(&out, "features.0.statistics.ks.p"), 1.0);
    }
}

#[test]
fn every_statistic_is_the_value_that_stands_under_its_name() {
    let dir = demo();
    for statistic in input::Statistic::ALL.map(input::Statistic::name) {
        let out = output(call(
            dir.path(),
            json!({
                "reference": {"path": "reference.csv"}, "current": {"path": "current.csv"},
                "columns": ["score"], "statistic": statistic,
            }),
        ));
        let under = match statistic {
            "ks" => "ks.d".to_owned(),
            "chi2" => "chi2.statistic".to_owned(),
            other => other.to_owned(),
        };
        let expected = number(&out, &format!("features.0.statistics.{under}"));
        assert!(expected > 0.0);
        assert_eq!((number(&out, "drift"), number(&out, "features.0.value")), (expected, expected), "{statistic}");
    }
}

#[test]
fn explicit_edges_and_categories_give_the_psi_of_the_textbook() {
    let rows = |a: usize, b: usize, c: usize| {
        let row = |n: usize, x: &str| format!("{x}\n").repeat(n);
        format!("x,g\n{}{}{}", row(a, "1,A"), row(b, "2,B"), row(c, "3,C"))
    };
    let dir = two(&rows(500, 300, 200), &rows(200, 175, 125));
    let out = output(call(
        dir.path(),
        json!({
            "reference": {"path": "r.csv"}, "current": {"path": "c.csv"},
            "columns": [{"name": "x", "edges": [1.5, 3]}, "g"], "aggregate": "mean",
        }),
    ));
    let expected = 0.041179066688494366;
    for path in ["drift", "features.0.value", "features.1.value"] {
        assert!((number(&out, path) - expected).abs() < 1e-15, "{path}");
    }
    assert_eq!(
        at(&out, "features.0.bins"),
        &json!({
            "type": "open", "edges": [1.5, 3], "reference": [0.5, 0.3, 0.2], "current": [0.4, 0.35, 0.25],
        })
    );
}

#[test]
fn aggregates_are_the_largest_the_mean_the_weighted_mean_and_the_share() {
    let dir = two("a,b,c\n1,1,1\n2,2,2\n3,3,3\n4,4,4\n", "a,b,c\n1,3,9\n2,4,9\n3,5,9\n4,6,9\n");
    let of = |aggregate: &str| {
        let out = output(call(
            dir.path(),
            json!({
                "reference": {"path": "r.csv"}, "current": {"path": "c.csv"}, "statistic": "wasserstein",
                "columns": [{"name": "a", "weight": 1}, {"name": "b", "weight": 2}, {"name": "c", "weight": 0}],
                "aggregate": aggregate, "threshold": 2,
            }),
        ));
        assert_eq!(at(&out, "worst"), &json!("c"));
        assert_eq!(at(&out, "drifted"), &json!(2));
        number(&out, "drift")
    };
    // The three columns have moved by 0, 2 and 6.5.
    assert_eq!(of("max"), 6.5);
    assert_eq!(of("mean"), 8.5 / 3.0);
    assert_eq!(of("weighted"), 4.0 / 3.0);
    assert_eq!(of("share"), 2.0 / 3.0);
}

#[test]
fn missing_values_are_reported_and_do_not_count_as_drift() {
    let dir = two("x\n1\n2\n3\n4\n", "x,y\n1,\n,\n2,\n3,\nNA,\n4,\n");
    let out = output(call(dir.path(), json!({"reference": {"path": "r.csv"}, "current": {"path": "c.csv"}})));
    assert_eq!(number(&out, "drift"), 0.0);
    assert_eq!(
        at(&out, "features.0.missing"),
        &json!({
            "reference": {"rows": 0, "share": 0}, "current": {"rows": 2, "share": 2.0 / 6.0},
        })
    );
}

#[test]
fn a_category_never_seen_before_keeps_every_figure_in_json() {
    let dir = two("g\nA\nA\nB\n", "g\nA\nB\nD\n");
    let out = output(call(dir.path(), json!({"reference": {"path": "r.csv"}, "current": {"path": "c.csv"}})));
    let chi2 = at(&out, "features.0.statistics.chi2");
    assert_eq!(at(chi2, "goodnessOfFit"), &json!({"statistic": null, "p": 0, "df": 2}));
    assert!(number(chi2, "statistic") > 0.0);
    assert!(number(&out, "drift") > 1.0);
}

#[test]
fn a_column_that_is_not_in_the_current_file_is_refused_by_name() {
    let dir = two("score,amount\n1,2\n", "skore,amount\n1,2\n");
    let outcome = call(dir.path(), json!({"reference": {"path": "r.csv"}, "current": {"path": "c.csv"}}));
    let (status, detail) = refusal(outcome.clone());
    assert_eq!(status, 400);
    assert!(detail.ends_with("c.csv has no column `score`, it has `skore`, `amount`"), "{detail}");
    let Outcome::Refused(Problem { data: Some(data), .. }) = outcome else { panic!("{outcome:?}") };
    assert!(at(&data, "hint").as_str().is_some());
}

#[test]
fn a_number_that_became_text_is_refused_with_its_line() {
    let dir = two("x\n1\n2\n", "x\n1\nn.a.\n");
    let (_, detail) = refusal(call(dir.path(), json!({"reference": {"path": "r.csv"}, "current": {"path": "c.csv"}})));
    assert!(detail.contains("line 3") && detail.contains("`n.a.`"), "{detail}");
    let allowed = json!({
        "reference": {"path": "r.csv"}, "current": {"path": "c.csv", "format": {"missing": ["n.a."]}},
    });
    assert_eq!(at(&output(call(dir.path(), allowed)), "features.0.missing.current.rows"), &json!(1));
}

#[test]
fn inputs_that_cannot_be_used_say_what_was_found_and_expected() {
    let dir = two("x,g\n1,a\n2,b\n", "x,g\n1,a\n2,b\n");
    let of = |more: Value| {
        let mut input =
            json!({"reference": {"path": "r.csv"}, "current": {"path": "c.csv"}}).as_object().unwrap().clone();
        input.extend(more.as_object().unwrap().clone());
        refusal(call(dir.path(), Value::from(input)))
    };
    for (more, part) in [
        (json!({"statistic": "psy"}), "unknown variant `psy`, expected one of `psi`"),
        (json!({"statistics": "psi"}), "unknown field `statistics`"),
        (json!({"bins": 1}), "expected `deciles`, `sturges`, a number of quantile bins"),
        (json!({"bins": {"width": 5000}}), "`width` is 5000, expected 2 to 1000 bins"),
        (json!({"columns": []}), "`columns` is empty"),
        (json!({"columns": ["x", "x"]}), "column `x` is listed twice"),
        (
            json!({"columns": [{"name": "x", "edges": [2, 1]}]}),
            "bins of column `x` cannot be used: edge 1 at position 1",
        ),
        (json!({"columns": [{"name": "x", "edges": [2], "bins": 3}]}), "both `bins` and `edges`"),
        (json!({"columns": [{"name": "g", "bins": 3}]}), "`g` is categorical and has `bins`"),
        (json!({"columns": [{"name": "x", "weight": -1}]}), "`weight` of column `x` is -1"),
        (json!({"columns": [{"name": "x", "weight": 0}], "aggregate": "weighted"}), "all weights are 0"),
        (json!({"columns": [{"name": "g"}], "statistic": "ks"}), "statistic `ks` needs numeric columns, and `g`"),
        (json!({"columns": ["x"], "statistic": "ks", "aggregate": "share"}), "needs a `threshold`"),
        (json!({"threshold": -0.1}), "`threshold` is -0.1"),
        (json!({"reference": {"path": "r.csv", "format": {"delimiter": "é"}}}), "`delimiter` of `r.csv` is 'é'"),
        (
            json!({"reference": {"path": "r.csv", "format": {"delimiter": "\""}}}),
            "`delimiter` and `quote` of `r.csv` are both",
        ),
        (json!({"reference": {"path": "r.csv", "format": {"type": "parquet", "header": true}}}), "options of CSV"),
        (json!({"reference": {"path": "r.csv", "format": "parquet"}}), "r.csv is not a sound Parquet file: "),
        (json!({"reference": {"path": 7}}), "invalid type: integer `7`, expected a string"),
    ] {
        let (status, detail) = of(more.clone());
        assert_eq!(status, 400, "{more}");
        assert!(detail.contains(part), "{more}: {detail}");
    }
}

#[test]
fn paths_out_of_the_base_directory_are_refused_and_absent_files_are_told() {
    let dir = two("x\n1\n", "x\n1\n");
    let of = |path: &str| refusal(call(dir.path(), json!({"reference": {"path": path}, "current": {"path": "c.csv"}})));
    assert_eq!(of("../r.csv").0, 403);
    assert_eq!(of("/etc/passwd").0, 403);
    assert_eq!(of("absent.csv"), (404, "no data file at `absent.csv`".to_owned()));
    assert!(of(".").1.ends_with("does not tell its format, expected .csv, .tsv, .txt, .parquet or .pq"));
}

#[test]
fn an_operation_that_is_not_offered_is_refused() {
    let dir = two("x\n1\n", "x\n1\n");
    let other = Request { operation: "drift.guess".into(), ..request(json!({})) };
    let (_, detail) = refusal(block_on(connector(dir.path()).call(other)));
    assert_eq!(detail, "connector drift has no operation `drift.guess`, it has `drift.compare`");
}

#[test]
fn a_cancelled_call_and_one_out_of_time_fail_so_that_they_may_be_retried() {
    let dir = demo();
    let input = json!({"reference": {"path": "reference.csv"}, "current": {"path": "current.csv"}});
    let cancelled = request(input.clone());
    cancelled.cancel.cancel();
    let outcome = block_on(connector(dir.path()).call(cancelled));
    let Outcome::Failed { problem, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(problem.detail.as_deref(), Some("drift.compare was cancelled"));

    // The clock stands at the deadline: no time is left, and none needs to pass.
    let now = Arc::new(AtomicI64::new(5_000_000));
    let read = now.clone();
    let clock: Clock = Arc::new(move || Timestamp(read.load(Ordering::SeqCst)));
    let connector = DriftConnector::with_clock(DriftConfig::new(dir.path()), clock);
    let timed = || Request { deadline: Some(Timestamp(5_000_000)), ..request(input.clone()) };
    let outcome = block_on(connector.call(timed()));
    let Outcome::Failed { problem, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(problem.status, 408);

    now.store(-600_000_000, Ordering::SeqCst);
    assert!(matches!(block_on(connector.call(timed())), Outcome::Succeeded(_)));
}

#[test]
fn the_schemas_name_every_choice_and_allow_nothing_else() {
    let dir = two("x\n1\n", "x\n1\n");
    let connector = connector(dir.path());
    let [operation] = connector.operations().try_into().unwrap();
    assert_eq!((&*operation.name, &*operation.version, operation.class), ("drift.compare", "1.0.0", Class::Safe));
    assert_eq!(at(&operation.input, "additionalProperties"), &json!(false));
    assert_eq!(at(&operation.input, "properties.statistic.enum").as_array().unwrap().len(), 10);
    // What the schema lists, the parser takes.
    for (key, choices) in [("statistic", 10), ("aggregate", 4), ("zeros", 3)] {
        let listed = at(&operation.input, &format!("properties.{key}.enum")).as_array().unwrap();
        assert_eq!(listed.len(), choices);
        for choice in listed {
            let input = json!({"reference": {"path": "r.csv"}, "current": {"path": "c.csv"}});
            let mut input = input.as_object().unwrap().clone();
            input.insert(key.into(), choice.clone());
            assert!(Value::from(input).to::<Input>().is_ok(), "{key}: {choice}");
        }
    }
    let output = output(call(dir.path(), json!({"reference": {"path": "r.csv"}, "current": {"path": "c.csv"}})));
    for required in at(&operation.output, "required").as_array().unwrap() {
        assert!(output.get(required.as_str().unwrap()).is_some(), "{required}");
    }
}
