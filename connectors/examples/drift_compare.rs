//! Compares two data files, or measures how fast that goes.
//!
//! ```text
//! drift_compare DIR INPUT.json      answers INPUT.json (the `with` of drift.compare) for files in DIR, as JSON
//! drift_compare --bench [ROWS]      makes two files of ROWS rows and prints rows a second
//! ```

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use cpd_connector_api::{CancellationToken, Connector, Outcome, Request, Value, json};
use cpd_connectors::drift::{COMPARE, DriftConfig, DriftConnector, VERSION, generate};

fn call(dir: &str, input: Value) -> Result<Value, Box<dyn Error>> {
    let connector = DriftConnector::new(DriftConfig::new(dir));
    let request = Request {
        operation: COMPARE.into(),
        version: VERSION.into(),
        run: "example".into(),
        workflow: "example".into(),
        task: "/do/0/measure".into(),
        attempt: 1,
        key: "example".into(),
        deadline: None,
        input,
        resources: Default::default(),
        conditions: Default::default(),
        cancel: CancellationToken::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    match runtime.block_on(connector.call(request)) {
        Outcome::Succeeded(success) => Ok(success.output),
        Outcome::Refused(problem) | Outcome::Failed { problem, .. } | Outcome::Unknown(problem) => {
            Err(problem.to_string().into())
        }
    }
}

fn bench(rows: usize) -> Result<String, Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("drift-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let (reference, current) = generate::generate(generate::DEMO_SEED, rows, generate::SHIFT_DEMO);
    let bytes = reference.len() + current.len();
    std::fs::write(dir.join("reference.csv"), reference)?;
    std::fs::write(dir.join("current.csv"), current)?;
    let input = json!({"reference": {"path": "reference.csv"}, "current": {"path": "current.csv"}});
    let start = Instant::now();
    let out = call(&dir.to_string_lossy(), input);
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&dir)?;
    let drift = out?.get("drift").and_then(Value::as_f64).unwrap_or(f64::NAN);
    let (total, mib) = (2.0 * rows as f64, bytes as f64 / f64::from(1 << 20));
    Ok(format!(
        "{total} rows of 6 columns, {mib:.1} MiB, drift {drift:.4}: {seconds:.3} s, {:.0} rows/s, {:.1} MiB/s",
        total / seconds,
        mib / seconds
    ))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = match args.as_slice() {
        [flag] if flag == "--bench" => bench(500_000)?,
        [flag, rows] if flag == "--bench" => bench(rows.parse()?)?,
        [dir, input] => call(dir, Value::from_json(&std::fs::read(input)?)?)?.to_json(),
        _ => return Err("expected DIR INPUT.json, or --bench [ROWS]".into()),
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
