//! Thresholds: `fact operator parameter`, joined by `any` or `all`. No Rego needed, the same decision.

use std::fmt;

use crate::Value;
use crate::definition::Diagnostic;

use super::document::{PolicyDocument, ThresholdRule};
use super::{Decision, Outcome};

/// A compiled threshold rule.
#[derive(Debug)]
pub(super) struct Threshold {
    conditions: Vec<Condition>,
    all: bool,
    met: Outcome,
    otherwise: Outcome,
    actions: Value,
}

#[derive(Debug)]
struct Condition {
    fact: String,
    operator: Operator,
    bound: Bound,
}

#[derive(Debug)]
enum Bound {
    Parameter(String),
    Literal(f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Operator {
    const ALL: [(&'static str, Operator); 4] =
        [(">=", Operator::AtLeast), ("<=", Operator::AtMost), (">", Operator::Above), ("<", Operator::Below)];

    fn holds(self, fact: f64, bound: f64) -> bool {
        match self {
            Operator::Above => fact > bound,
            Operator::AtLeast => fact >= bound,
            Operator::Below => fact < bound,
            Operator::AtMost => fact <= bound,
        }
    }

    fn opposite(self) -> Operator {
        match self {
            Operator::Above => Operator::AtMost,
            Operator::AtLeast => Operator::Below,
            Operator::Below => Operator::AtLeast,
            Operator::AtMost => Operator::Above,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Above => ">",
            Operator::AtLeast => ">=",
            Operator::Below => "<",
            Operator::AtMost => "<=",
        })
    }
}

impl Threshold {
    /// Compiles a rule; every name must be declared.
    pub(super) fn compile(rule: &ThresholdRule, document: &PolicyDocument) -> Result<Self, Vec<Diagnostic>> {
        let mut wrong = Vec::new();
        let mut conditions = Vec::new();
        for (index, text) in rule.conditions.iter().enumerate() {
            let pointer = format!("/threshold/{}/{index}", if rule.all { "all" } else { "any" });
            match condition(text, document) {
                Ok(condition) => conditions.push(condition),
                Err((message, hint)) => {
                    let mut diagnostic = Diagnostic::error("bad-threshold", message);
                    diagnostic.pointer = pointer;
                    wrong.push(match hint {
                        Some(hint) => diagnostic.hint(hint),
                        None => diagnostic,
                    });
                }
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let (all, met, otherwise, actions) = (rule.all, rule.met, rule.otherwise, rule.actions.clone());
        Ok(Self { conditions, all, met, otherwise, actions })
    }

    /// The parameters that limits stand on.
    pub(super) fn bounds(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().filter_map(|c| match &c.bound {
            Bound::Parameter(name) => Some(&**name),
            Bound::Literal(_) => None,
        })
    }

    pub(super) fn decide(&self, facts: &Value, parameters: &Value, decision: &mut Decision) {
        let mut held = Vec::new();
        let mut missed = Vec::new();
        for condition in &self.conditions {
            let Condition { fact, operator, bound } = condition;
            let Some(value) = at(facts, fact).and_then(Value::as_f64) else {
                decision.reasons = vec![format!("facts.{fact}: found nothing, expected a number")];
                return;
            };
            let (limit, name) = match bound {
                Bound::Literal(limit) => (*limit, String::new()),
                Bound::Parameter(name) => match parameters.get(name).and_then(Value::as_f64) {
                    Some(limit) => (limit, format!("{name} ")),
                    None => {
                        decision.reasons = vec![format!("parameters.{name}: found nothing, expected a number")];
                        return;
                    }
                },
            };
            let (value_text, limit_text) = (Value::from(value).to_json(), Value::from(limit).to_json());
            if operator.holds(value, limit) {
                held.push(format!("{fact} {value_text} {operator} {name}{limit_text}"));
                decision.would_change = Some(format!("would not at {fact} {} {limit_text}", operator.opposite()));
            } else {
                missed.push(format!("{fact} {value_text} {} {name}{limit_text}", operator.opposite()));
                decision.would_change = Some(format!("would at {fact} {operator} {limit_text}"));
            }
        }
        let met = if self.all { missed.is_empty() } else { !held.is_empty() };
        decision.outcome = if met { self.met } else { self.otherwise };
        decision.reasons = if met { held } else { missed };
        if met {
            decision.actions = self.actions.clone();
        }
        // With several conditions no single figure would have changed the outcome.
        let verb = |text: &str| text.replacen("would", &format!("would {}be {}", "", self.met.name()), 1);
        decision.would_change = match (&decision.would_change, self.conditions.len()) {
            (Some(text), 1) if met => {
                Some(text.replacen("would not", &format!("would be {}", self.otherwise.name()), 1))
            }
            (Some(text), 1) => Some(verb(text)),
            _ => None,
        };
    }
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |v, key| v.get(key))
}

fn condition(text: &str, document: &PolicyDocument) -> Result<Condition, (String, Option<String>)> {
    let shape = || Some("write `fact > parameter`, with one of >, >=, <, <=".to_owned());
    let found = Operator::ALL
        .iter()
        .filter_map(|(sign, op)| Some((text.find(sign)?, *sign, *op)))
        .min_by_key(|f| (f.0, f.1.len() == 1));
    let Some((place, sign, operator)) = found else {
        return Err((format!("{text:?} is not a condition: it has no operator"), shape()));
    };
    let (fact, bound) = (text[..place].trim(), text[place + sign.len()..].trim());
    let name = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if !name(fact) || bound.is_empty() {
        return Err((format!("{text:?} is not a condition"), shape()));
    }
    let root = fact.split('.').next().unwrap_or(fact);
    if !document.facts.contains_key(root) {
        let names: Vec<&str> = document.facts.keys().map(|k| &**k).collect();
        let hint = format!("declared facts: {}", names.join(", "));
        return Err((format!("fact {root:?} is not declared"), Some(hint)));
    }
    if let Ok(limit) = bound.parse::<f64>() {
        if !limit.is_finite() {
            return Err((format!("{bound:?} is not a finite number"), None));
        }
        return Ok(Condition { fact: fact.to_owned(), operator, bound: Bound::Literal(limit) });
    }
    if !document.parameters.contains_key(bound) {
        let names: Vec<&str> = document.parameters.keys().map(|k| &**k).collect();
        let hint = match names.is_empty() {
            true => "add it under `parameters:`".to_owned(),
            false => format!("declared parameters: {}", names.join(", ")),
        };
        return Err((format!("parameter {bound:?} is not declared"), Some(hint)));
    }
    Ok(Condition { fact: fact.to_owned(), operator, bound: Bound::Parameter(bound.to_owned()) })
}
