//! The evaluated `run` of a task, taken apart.
//!
//! - `arguments` are a list, or a map of which each member becomes one argument, `key=value`, or `key` alone for `null`, in the order of
//!   the definition (that is what sdk-java makes of a map).
//! - Numbers and booleans are written as JSON writes them. `stdin` that is no text is written as JSON.

use std::time::Duration;

use cpd_connector_api::{Outcome, Problem, Request, Standard, Success, Value, schema};

use super::config::Kind;
use super::spec;

/// The kernel takes no longer text as one argument or variable.
const TEXT_MAX: usize = 128 * 1024 - 1;
/// All arguments and variables together; the kernel takes two megabytes by default.
const TEXTS_MAX: usize = 1024 * 1024;

/// The variable with the request's key.
const KEY: &str = "CPD_IDEMPOTENCY_KEY";

/// What a task wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    Stdout,
    Stderr,
    Code,
    All,
    None,
}

/// What every kind of process has.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub wait: bool,
    pub returns: Return,
    /// What a task that does not wait has for output.
    pub input: Value,
    pub stdin: String,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Common {
    /// The outcome of a task that does not wait.
    pub(super) fn not_waiting(&self, evidence: Value) -> Outcome {
        Outcome::Succeeded(Success { output: self.input.clone(), evidence: Some(evidence) })
    }
}

/// Reads what all kinds share, after the whole was held against the schema. Also returns the part of the kind.
///
/// # Errors
/// A `validation` problem that says where, what was found and what was expected.
pub(super) fn read(kind: Kind, request: &Request) -> Result<(Common, Value), Problem> {
    let misfits = schema::check(&spec::spec(kind).input, &request.input);
    if let Some(first) = misfits.first() {
        return Err(invalid(&format!("`run` of {} does not fit: {first}", request.task)));
    }
    let process = request.input.get(kind.name()).cloned().unwrap_or_default();
    let returns = match request.input.get("return").and_then(Value::as_str) {
        Some("stderr") => Return::Stderr,
        Some("code") => Return::Code,
        Some("all") => Return::All,
        Some("none") => Return::None,
        _ => Return::Stdout,
    };
    let common = Common {
        wait: request.input.get("await").and_then(Value::as_bool).unwrap_or(true),
        returns,
        input: request.input.get("input").cloned().unwrap_or_default(),
        stdin: process.get("stdin").filter(|v| !v.is_null()).map(text).unwrap_or_default(),
        arguments: arguments(process.get("arguments"))?,
        environment: environment(&request.wire_key(), process.get("environment"))?,
    };
    let size = |texts: &mut dyn Iterator<Item = &String>| texts.map(String::len).sum::<usize>();
    let all = size(&mut common.arguments.iter())
        + size(&mut common.environment.iter().flat_map(|(name, value)| [name, value]));
    if all > TEXTS_MAX {
        return Err(invalid(&format!(
            "`arguments` and `environment`: found {all} bytes together, expected at most {TEXTS_MAX}; hand large data over \
             in `stdin`"
        )));
    }
    Ok((common, process))
}

fn arguments(given: Option<&Value>) -> Result<Vec<String>, Problem> {
    let list: Vec<String> = match given {
        Some(Value::Arr(items)) => items.iter().map(text).collect(),
        Some(Value::Obj(members)) => members
            .iter()
            .map(|(name, value)| if value.is_null() { name.to_string() } else { format!("{name}={}", text(value)) })
            .collect(),
        _ => Vec::new(),
    };
    for (i, argument) in list.iter().enumerate() {
        plain(&format!("`arguments`: number {}", i + 1), argument)?;
    }
    Ok(list)
}

/// The definition's variables behind the one by which a process can tell a repeat from a new effect.
fn environment(key: &str, given: Option<&Value>) -> Result<Vec<(String, String)>, Problem> {
    let mut variables = vec![(KEY.to_owned(), key.to_owned())];
    for (name, value) in given.and_then(Value::as_object).into_iter().flatten() {
        let value = text(value);
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(&format!("`environment`: found the name {name:?}, expected one without `=`")));
        }
        plain(&format!("`environment`: {name}"), &value)?;
        variables.push((name.to_string(), value));
    }
    Ok(variables)
}

/// Holds a text against what can be handed to a program.
pub(super) fn plain(what: &str, text: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(invalid(&format!("{what} has a NUL character, which cannot be handed to a program")));
    }
    if text.len() > TEXT_MAX {
        let found = text.len();
        return Err(invalid(&format!(
            "{what}: found {found} bytes, expected at most {TEXT_MAX}; hand large data over in `stdin`"
        )));
    }
    Ok(())
}

/// A scalar as text; anything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_json(), str::to_owned)
}

pub(super) fn invalid(what: &str) -> Problem {
    Problem::standard(Standard::Validation, what)
}

/// A duration as an object or in ISO 8601 (weeks, days, hours, minutes, seconds); years and months have no length.
pub(super) fn duration(value: &Value) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] =
        [("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1000), ("milliseconds", 1)];
    if let Some(iso) = value.as_str() {
        return iso8601(iso);
    }
    let parts = UNITS.iter().map(|(name, ms)| {
        let count = value.get(name).map_or(Some(0), |v| v.as_i64().and_then(|n| u64::try_from(n).ok()))?;
        count.checked_mul(*ms)
    });
    parts.sum::<Option<u64>>().map(Duration::from_millis)
}

fn iso8601(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = rest.split_once('T').map_or((rest, None), |(days, time)| (days, Some(time)));
    if rest.is_empty() || time == Some("") {
        return None;
    }
    let days = sum(days, &[('W', 604_800.0), ('D', 86_400.0)])?;
    let time = sum(time.unwrap_or(""), &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])?;
    Duration::try_from_secs_f64(days + time).ok()
}

/// Numbers with units, in the order of the units.
fn sum(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut seconds = 0.0;
    for (unit, length) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            let digits = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
            seconds += digits.then(|| number.parse::<f64>().ok()).flatten()? * length;
            text = rest;
        }
    }
    text.is_empty().then_some(seconds)
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;

    use super::*;

    #[test]
    fn a_map_of_arguments_keeps_its_order_and_null_is_a_name_alone() {
        let map = json!({"--user": "john doe", "-v": null, "n": 1.5, "b": true});
        assert_eq!(arguments(Some(&map)).unwrap(), ["--user=john doe", "-v", "n=1.5", "b=true"]);
        assert_eq!(arguments(Some(&json!(["a b", 1, false]))).unwrap(), ["a b", "1", "false"]);
        assert_eq!(arguments(None).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_no_program_can_be_handed_is_refused_without_showing_it() {
        let long = "s".repeat(TEXT_MAX + 1);
        for bad in [json!(["a\0secret"]), json!([long])] {
            let problem = arguments(Some(&bad)).unwrap_err();
            let detail = problem.detail.unwrap();
            assert!(detail.contains("number 1") && !detail.contains("secret") && detail.len() < 300, "{detail}");
        }
        assert!(environment("k", Some(&json!({"A=B": "x"}))).is_err());
        assert!(environment("k", Some(&json!({"": "x"}))).is_err());
    }

    #[test]
    fn durations_are_objects_or_iso_8601_without_years_and_months() {
        let seconds = |value: Value| duration(&value).map(|d| d.as_secs_f64());
        assert_eq!(seconds(json!({"minutes": 30, "milliseconds": 500})), Some(1800.5));
        assert_eq!(seconds(json!("P1DT1H0.5S")), Some(90_000.5));
        assert_eq!(seconds(json!("PT15M")), Some(900.0));
        for bad in ["", "P", "PT", "P1M", "P1Y", "PT5", "5M", "PT-5S", "PTxS", "PT1S1H"] {
            assert_eq!(seconds(json!(bad)), None, "{bad}");
        }
        assert_eq!(seconds(json!({"days": i64::MAX})), None);
    }
}
