//! `schedule` and `metadata.cpd.schedule`: read for their shape. What fires them is not here.
//!
//! Cron has five fields, or six with seconds in front. Each field is checked: ranges, lists, steps and names.

use std::sync::Arc;

use super::{Reader, Within};
use crate::Value;
use crate::definition::plan::Plan;
use crate::definition::yaml::Yaml;

/// The fields of a cron expression from seconds on: name, least, most, names of its values from `least` on.
const FIELDS: [(&str, u32, u32, &[&str]); 6] = [
    ("second", 0, 59, &[]),
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    ("month", 1, 12, &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]),
    ("day of the week", 0, 7, &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]),
];

impl<'a> Reader<'a> {
    /// `schedule`
    pub fn schedule(&mut self, yaml: &'a Yaml) {
        let Some(fields) = self.fields(yaml, "`schedule`", &["every", "cron", "after", "on", "read"]) else { return };
        for key in ["every", "after"] {
            if let Some(yaml) = fields.get(key) {
                let span = self.fixed_span(yaml, &format!("`schedule.{key}`"));
                if key == "every" && span.is_some_and(|s| s.is_zero()) {
                    self.error("out-of-range", yaml.mark, "`schedule.every` is zero");
                }
            }
        }
        if let Some(yaml) = fields.get("cron")
            && let Some(text) = self.text(yaml, "`schedule.cron`")
            && let Err(what) = cron(text)
        {
            let d = self.error("invalid-cron", yaml.mark, format!("`schedule.cron`: {what}"));
            d.hint = Some(
                "minute, hour, day of the month, month, day of the week: '0 6 * * 1-5' is 6:00 on weekdays".into(),
            );
        }
        if let Some(yaml) = fields.get("on") {
            let within = Within { parent: Plan::ROOT, pointer: String::new(), locals: Arc::from([]) };
            drop(self.strategy(yaml, "`schedule.on`", &within));
        }
        if let Some(yaml) = fields.get("read") {
            self.choice(yaml, "`schedule.read`", &[("data", ()), ("envelope", ()), ("raw", ())]);
        }
        if yaml.members().is_some_and(<[_]>::is_empty) {
            let d = self.error("empty-object", yaml.mark, "`schedule` says nothing");
            d.hint = Some("expected `cron`, `every`, `after` or `on`".into());
        }
    }

    /// `metadata.cpd.schedule`: the input of runs that are started without one.
    pub fn schedule_metadata(&mut self, yaml: &'a Yaml) -> Option<Value> {
        let what = "`metadata.cpd.schedule`";
        let fields = self.fields(yaml, what, &["timeZone", "overlap", "catchUp", "jitter", "input"])?;
        self.text_of(fields, "timeZone", "metadata.cpd.schedule");
        if let Some(yaml) = fields.get("overlap") {
            self.choice(
                yaml,
                &format!("{what}.overlap"),
                &[("skip", ()), ("queue", ()), ("cancel", ()), ("allow", ())],
            );
        }
        if let Some(yaml) = fields.get("jitter") {
            self.fixed_span(yaml, &format!("{what}.jitter"));
        }
        let catch_up =
            fields.get("catchUp").and_then(|y| self.fields(y, &format!("{what}.catchUp"), &["mode", "window"]));
        if let Some(yaml) = catch_up.and_then(|f| f.get("mode")) {
            self.choice(yaml, &format!("{what}.catchUp.mode"), &[("none", ()), ("latest", ()), ("all", ())]);
        }
        if let Some(yaml) = catch_up.and_then(|f| f.get("window")) {
            self.fixed_span(yaml, &format!("{what}.catchUp.window"));
        }
        let input = fields.get("input")?;
        if super::call::has_expression(input) {
            let d =
                self.error("wrong-type", input.mark, format!("{what}.input has an expression, expected literal data"));
            d.hint = Some("compute in `input.from` of the workflow".into());
        }
        Some(input.value.clone())
    }
}

/// What is wrong with a cron expression.
fn cron(text: &str) -> Result<(), String> {
    if text.starts_with('@') {
        let known = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
        return if known.contains(&text) {
            Ok(())
        } else {
            Err(format!("found `{text}`, expected one of {}", known.join(", ")))
        };
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    let fields = match parts.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        n => return Err(format!("found {n} fields, expected 5, or 6 with seconds in front")),
    };
    for (part, (name, least, most, names)) in parts.iter().zip(fields) {
        for range in part.split(',') {
            cron_range(range, *least, *most, names).map_err(|what| format!("{name}: {what}"))?;
        }
    }
    Ok(())
}

fn cron_range(text: &str, least: u32, most: u32, names: &[&str]) -> Result<(), String> {
    let (range, step) = text.split_once('/').map_or((text, None), |(r, s)| (r, Some(s)));
    let number = |s: &str| -> Result<u32, String> {
        let named = names.iter().position(|n| n.eq_ignore_ascii_case(s)).and_then(|i| u32::try_from(i).ok());
        let n = named.map(|i| i + least).or_else(|| s.parse().ok().filter(|_| s.bytes().all(|b| b.is_ascii_digit())));
        n.filter(|n| (least..=most).contains(n)).ok_or_else(|| format!("found `{s}`, expected {least} to {most}"))
    };
    if step.is_some_and(|s| s.parse::<u32>().map_or(true, |n| n == 0 || n > most)) {
        return Err(format!("found the step `{}`, expected 1 to {most}", step.unwrap_or_default()));
    }
    match range.split_once('-') {
        _ if range == "*" => Ok(()),
        _ if range == "?" && least == 1 && most == 31 => Ok(()),
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            if from <= to { Ok(()) } else { Err(format!("found `{range}`, which ends before it begins")) }
        }
        None => number(range).map(drop),
    }
}
