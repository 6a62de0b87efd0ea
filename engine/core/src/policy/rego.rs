//! Rego rules, by `regorus`' interpreter.
//!
//! One contract: `data.<package>.decision` is an object `{outcome, reasons, actions, obligations}`. The input is
//! `{facts, params}`. Compiled once; each decision evaluates a clone of the prepared engine, under a time limit and behind
//! a net for the panics that regorus is known to have (`strings.count` with an empty needle, 0.14.1).
//!
//! The clock of a rule is the journaled time; randomness is refused; the features of the crate that reach for networks,
//! the environment or real clocks are not compiled in.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;

use crate::definition::Diagnostic;
use crate::time::Timestamp;
use crate::{Value, json};

use super::document::PolicyDocument;
use super::shape::{self, Excess};
use super::{Decision, Outcome};

/// What reads the rules; part of a policy's digest, since another version may decide otherwise.
pub(super) const ENGINE: &str = "regorus 0.14.1 interpreter";
/// The longest that a rule may take. A net for runaway rules, not part of the meaning: rules that reach it are `ERROR`.
const TIME_MAX: Duration = Duration::from_millis(500);
/// The longest range that `numbers.range` makes: limits are checked between steps only, and it is one step.
const RANGE_MAX: i64 = 100_000;

/// The longest rule.
const SOURCE_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static NOW_NANOS: Cell<i64> = const { Cell::new(0) };
}

/// A compiled rule.
pub(super) struct Rego {
    engine: regorus::Engine,
    query: String,
}

impl Rego {
    pub(super) fn compile(source: &str, document: &PolicyDocument) -> Result<Self, Vec<Diagnostic>> {
        let one = |message: String, hint: &str| {
            let mut diagnostic = Diagnostic::error("bad-rego", message).hint(hint);
            diagnostic.pointer = "/rego".to_owned();
            vec![diagnostic]
        };
        let compile = || -> Result<Self, String> {
            let mut engine = regorus::Engine::new();
            engine.set_gather_prints(true);
            let package = engine.add_policy("rego".to_owned(), source.to_owned()).map_err(|e| e.to_string())?;
            extensions(&mut engine).map_err(|e| e.to_string())?;
            let timer = ExecutionTimerConfig { limit: TIME_MAX, check_interval: NonZeroU32::MIN };
            engine.set_execution_timer_config(timer);
            let query = format!("{package}.decision");
            // Prepares the engine, so that clones need not; and finds what the parser does not.
            engine.set_input_json(r#"{"facts": {}, "params": {}}"#).map_err(|e| e.to_string())?;
            engine.eval_rule(query.clone()).map_err(|e| e.to_string())?;
            Ok(Self { engine, query })
        };
        let length = source.len();
        if length > SOURCE_BYTES_MAX {
            return Err(one(
                format!("the Rego rule has {length} bytes, expected at most {SOURCE_BYTES_MAX}"),
                "split the policy",
            ));
        }
        if let Err(Excess { message, hint }) = shape::check(source) {
            return Err(one(message, hint));
        }
        let hint = "the rule needs `decision`, an object with `outcome`, `reasons`, `actions`; see docs/decisions/0004-policies.md";
        match std::panic::catch_unwind(AssertUnwindSafe(compile)) {
            Ok(Ok(rego)) => {
                let undeclared = undeclared(source, document);
                if undeclared.is_empty() { Ok(rego) } else { Err(undeclared) }
            }
            Ok(Err(message)) => Err(one(format!("the Rego rule does not compile: {}", message.trim()), hint)),
            Err(_) => Err(one("the Rego rule cannot be compiled: the compiler gave up on it".to_owned(), hint)),
        }
    }

    pub(super) fn decide(&self, facts: &Value, parameters: &Value, now: Timestamp, decision: &mut Decision) {
        NOW_NANOS.with(|n| n.set(now.as_micros().saturating_mul(1_000)));
        let input = json!({ "facts": facts, "params": parameters });
        let evaluate = || -> Result<Value, String> {
            let mut engine = self.engine.clone();
            engine.set_input_json(&input.to_json()).map_err(|e| e.to_string())?;
            let answer = engine.eval_rule(self.query.clone()).map_err(|e| e.to_string())?;
            if matches!(answer, regorus::Value::Undefined) {
                return Err("`decision` is undefined for these facts; give it a `default`".to_owned());
            }
            let text = answer.to_json_str().map_err(|e| e.to_string())?;
            Value::from_json(text.as_bytes()).map_err(|e| e.to_string())
        };
        let answer = std::panic::catch_unwind(AssertUnwindSafe(evaluate))
            .unwrap_or_else(|_| Err("the evaluation gave up (a known fault of the Rego engine)".to_owned()));
        match answer.and_then(|a| read(&a)) {
            Ok(Answer { outcome, reasons, actions, obligations }) => {
                (decision.outcome, decision.reasons) = (outcome, reasons);
                decision.actions = actions.unwrap_or_else(|| Value::from(Vec::new()));
                decision.obligations = obligations.unwrap_or_else(|| decision.obligations.clone());
            }
            Err(why) => decision.reasons = vec![why.trim().to_owned()],
        }
    }
}

struct Answer {
    outcome: Outcome,
    reasons: Vec<String>,
    actions: Option<Value>,
    obligations: Option<Value>,
}

fn read(answer: &Value) -> Result<Answer, String> {
    let outcome = answer.get("outcome").and_then(Value::as_str);
    let outcome = outcome.and_then(Outcome::of).ok_or_else(|| {
        let names: Vec<&str> = Outcome::ALL.iter().map(|o| o.name()).collect();
        let found = answer.get("outcome").map_or_else(|| "nothing".to_owned(), Value::to_json);
        format!("`decision.outcome`: found {found}, expected one of {}", names.join(", "))
    })?;
    let reasons = answer.get("reasons").and_then(Value::as_array).unwrap_or_default();
    let mut reasons: Vec<String> =
        reasons.iter().map(|r| r.as_str().map_or_else(|| r.to_json(), str::to_owned)).collect();
    reasons.sort();
    let (actions, obligations) = (answer.get("actions").cloned(), answer.get("obligations").cloned());
    Ok(Answer { outcome, reasons, actions, obligations })
}

fn extensions(engine: &mut regorus::Engine) -> anyhow::Result<()> {
    let now = |_: Vec<regorus::Value>| Ok(regorus::Value::from(NOW_NANOS.with(Cell::get)));
    engine.add_extension("time.now_ns".to_owned(), 0, Box::new(now))?;
    let refuse = |_: Vec<regorus::Value>| -> anyhow::Result<regorus::Value> {
        anyhow::bail!("`rand.intn` is refused: a decision must come out the same again")
    };
    engine.add_extension("rand.intn".to_owned(), 2, Box::new(refuse))?;
    let range = |arguments: Vec<regorus::Value>| -> anyhow::Result<regorus::Value> {
        let [from, to] = &arguments[..] else { anyhow::bail!("`numbers.range` takes two numbers") };
        let (from, to) = (from.as_i64()?, to.as_i64()?);
        if from.abs_diff(to) > RANGE_MAX.unsigned_abs() {
            anyhow::bail!("`numbers.range` of more than {RANGE_MAX} numbers is refused");
        }
        let numbers: Vec<regorus::Value> = if from <= to {
            (from..=to).map(regorus::Value::from).collect()
        } else {
            (to..=from).rev().map(regorus::Value::from).collect()
        };
        Ok(regorus::Value::from(numbers))
    };
    engine.add_extension("numbers.range".to_owned(), 2, Box::new(range))?;
    Ok(())
}

/// Members of `input.params` and `input.facts` that the rule mentions and the document does not declare: a typo would
/// otherwise be silently "not triggered".
fn undeclared(source: &str, document: &PolicyDocument) -> Vec<Diagnostic> {
    let mut wrong = Vec::new();
    for (prefix, what, declared) in
        [("input.params.", "parameter", &document.parameters), ("input.facts.", "fact", &document.facts)]
    {
        let mut seen = Vec::new();
        for (place, _) in source.match_indices(prefix) {
            let name: String =
                source[place + prefix.len()..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if name.is_empty() || declared.contains_key(&*name) || seen.contains(&name) {
                continue;
            }
            let line = source[..place].lines().count().max(1);
            let names: Vec<&str> = declared.keys().map(|k| &**k).collect();
            let message = format!("the rule mentions {what} {name:?} (line {line} of the rule), which is not declared");
            let mut diagnostic =
                Diagnostic::error("undeclared-name", message).hint(format!("declared {what}s: {}", names.join(", ")));
            diagnostic.pointer = "/rego".to_owned();
            wrong.push(diagnostic);
            seen.push(name);
        }
    }
    wrong
}
