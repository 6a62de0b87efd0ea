//! Errors: `try`, `catch`, `retry`, `raise`.

use std::sync::Arc;
use std::time::Duration;

use super::expression::names;
use super::shape::Fields;
use super::task::Site;
use super::{Reader, Within};
use crate::definition::names as words;
use crate::definition::plan::{Action, Backoff, Catch, ErrorFilter, NodeId, RETRIES_DEFAULT, Retry, Span};
use crate::definition::yaml::Yaml;
use crate::expression::{Template, expression_source};

const STATUS: (i64, i64) = (100, 599);

impl<'a> Reader<'a> {
    /// `try` and `catch`
    pub fn try_catch(&mut self, id: NodeId, yaml: &'a Yaml, fields: Fields<'a>, within: &Within) -> Option<Action> {
        let body = self.body(id, "try", yaml, within.locals.clone());
        let Some(catch) = fields.get("catch") else {
            let d = self.error("missing-property", yaml.mark, "a `try` task has no `catch`");
            d.hint = Some("`catch: {}` catches everything and goes on".into());
            return None;
        };
        let catch = self.catch(id, catch, within)?;
        Some(Action::Try { body, catch })
    }

    fn catch(&mut self, id: NodeId, yaml: &'a Yaml, within: &Within) -> Option<Catch> {
        let known = ["errors", "as", "when", "exceptWhen", "retry", "do", "then"];
        let fields = self.fields(yaml, "`catch`", &known)?;
        let then = fields.get("then").map(|y| self.then(y, id, Site::Catch));
        let filter = fields.get("errors").and_then(|y| self.error_filter(y)).unwrap_or_default();
        let variable = fields.get("as").and_then(|y| self.variable(y, "`catch.as`"));
        let variable = variable.unwrap_or_else(|| Arc::from("$error"));
        let locals: Arc<[Arc<str>]> = within.locals.iter().cloned().chain([variable]).collect();
        let inside = Within { locals: locals.clone(), ..within.clone() };
        let when = fields.get("when").and_then(|y| self.condition(y, "`catch.when`", &inside));
        let except_when = fields.get("exceptWhen").and_then(|y| self.condition(y, "`catch.exceptWhen`", &inside));
        let retry = fields.get("retry").and_then(|y| self.retry_or_name(y, &inside));
        let body = fields.get("do").map(|y| self.body(id, "catch/do", y, locals));
        if let (Some(member), Some(_)) = (fields.member("retry"), fields.get("do")) {
            let message = "`retry` and `do` in one `catch`: engines differ in what comes first";
            let d = self.warning("retry-then-do", member.key_span, message);
            d.hint = Some("here retries come first, then `do`; to be portable, nest two `try` tasks".into());
        }
        Some(Catch { filter, when, except_when, retry, body, then })
    }

    fn error_filter(&mut self, yaml: &'a Yaml) -> Option<ErrorFilter> {
        let fields = self.fields(yaml, "`catch.errors`", &["with"])?;
        // Without members it means every error.
        let with = fields.get("with")?;
        let what = "`catch.errors.with`";
        let fields = self.fields(with, what, &["type", "status", "instance", "title", "detail", "details"])?;
        for key in ["type", "instance", "title", "detail", "details"] {
            if let Some(yaml) = fields.get(key).filter(|y| y.text().is_some_and(|t| t.contains("${"))) {
                let d = self.error(
                    "static-filter",
                    yaml.mark,
                    format!("{what}.{key} is an expression, expected a literal text"),
                );
                d.hint = Some("errors are compared with fixed values here; use `catch.when` for anything else".into());
            }
        }
        let status = fields.get("status").and_then(|y| self.whole(y, "`status`", STATUS.0, STATUS.1));
        let detail = self.text_of(fields, "detail", what).or(self.text_of(fields, "details", what));
        Some(ErrorFilter {
            kind: self.text_of(fields, "type", what),
            status: status.and_then(|s| u16::try_from(s).ok()),
            instance: self.text_of(fields, "instance", what),
            title: self.text_of(fields, "title", what),
            detail,
        })
    }

    fn retry_or_name(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Retry> {
        let Some(name) = yaml.text() else { return self.retry(yaml, within) };
        match self.components.retries.get_mut(name) {
            Some(entry) => {
                entry.used = true;
                let shared = &entry.member.value;
                self.retry(shared, within)
            }
            None => {
                let known: Vec<&'a str> = self.components.retries.keys().copied().collect();
                let message = format!("there is no retry `{name}` in `use.retries`");
                self.unknown_name("unknown-retry", yaml.mark, message, name, known);
                None
            }
        }
    }

    /// A retry, inline or shared.
    pub fn retry(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Retry> {
        let fields = self.fields(yaml, "`retry`", &["when", "exceptWhen", "delay", "backoff", "limit", "jitter"])?;
        let when = fields.get("when").and_then(|y| self.condition(y, "`retry.when`", within));
        let except_when = fields.get("exceptWhen").and_then(|y| self.condition(y, "`retry.exceptWhen`", within));
        let delay = fields.get("delay").and_then(|y| self.span(y, "`retry.delay`", within));
        let backoff = fields.get("backoff").and_then(|y| self.backoff(y)).unwrap_or(Backoff::Constant);
        if let (Some(member), None) = (fields.member("backoff"), fields.get("delay")) {
            let d = self.warning(
                "backoff-without-delay",
                member.key_span,
                "`backoff` without a `delay` has nothing to grow",
            );
            d.hint = Some("add `delay: PT1S`".into());
        }
        let jitter = fields.get("jitter").and_then(|y| {
            let fields = self.fields(y, "`retry.jitter`", &["from", "to"])?;
            let from = self
                .required(fields, "from", "`retry.jitter`")
                .and_then(|y| self.span(y, "`retry.jitter.from`", within));
            let to =
                self.required(fields, "to", "`retry.jitter`").and_then(|y| self.span(y, "`retry.jitter.to`", within));
            if let (Some(Span::Fixed(from)), Some(Span::Fixed(to))) = (&from, &to)
                && from > to
            {
                self.error("out-of-range", y.mark, "`retry.jitter`: `from` is longer than `to`");
            }
            from.zip(to)
        });
        let limit = fields.get("limit").and_then(|y| self.fields(y, "`retry.limit`", &["attempt", "duration"]));
        let attempt = limit.and_then(|f| f.get("attempt"));
        let attempt = attempt.and_then(|y| self.fields(y, "`retry.limit.attempt`", &["count", "duration"]));
        let count = attempt.and_then(|f| f.get("count"));
        let count = count.and_then(|y| self.whole(y, "`retry.limit.attempt.count`", 0, 1_000_000));
        let attempt_max = attempt.and_then(|f| f.get("duration"));
        let attempt_max = attempt_max.and_then(|y| self.fixed_span(y, "`retry.limit.attempt.duration`"));
        let total = limit.and_then(|f| f.get("duration"));
        let total_max = total.and_then(|y| self.span(y, "`retry.limit.duration`", within));
        let limited = total.is_some() || attempt.is_some_and(|f| f.get("count").is_some());
        if !limited {
            let message = format!("`retry` has no limit: it gives up after {RETRIES_DEFAULT} retries");
            self.warning("retry-without-limit", yaml.mark, message).hint =
                Some("say so: `limit: { attempt: { count: 10 } }`".into());
        }
        let otherwise = if total.is_some() { u32::MAX } else { RETRIES_DEFAULT };
        Some(Retry {
            when,
            except_when,
            delay: delay.unwrap_or(Span::Fixed(Duration::ZERO)),
            backoff,
            jitter,
            retries_max: count.and_then(|n| u32::try_from(n).ok()).unwrap_or(otherwise),
            attempt_max,
            total_max,
        })
    }

    fn backoff(&mut self, yaml: &'a Yaml) -> Option<Backoff> {
        let fields = self.fields(yaml, "`retry.backoff`", &["constant", "linear", "exponential"])?;
        let [member] = yaml.members()? else {
            let message = format!("`retry.backoff` has {} members, expected one", yaml.members()?.len());
            let d = self.error("wrong-shape", yaml.mark, message);
            d.hint = Some("`constant: {}`, `linear: {}` or `exponential: { factor: 2, maxDelay: PT2M }`".into());
            return None;
        };
        let what = format!("`retry.backoff.{}`", member.key);
        let known: &[&str] = match &*member.key {
            "exponential" => &["factor", "maxDelay"],
            "linear" => &["maxDelay"],
            "constant" => &[],
            _ => return None,
        };
        let _ = fields;
        let fields = self.fields(&member.value, &what, known)?;
        let delay_max = fields.get("maxDelay").and_then(|y| self.fixed_span(y, "`maxDelay`"));
        Some(match &*member.key {
            "exponential" => Backoff::Exponential { factor: self.factor(fields).unwrap_or(2.0), delay_max },
            "linear" => Backoff::Linear { delay_max },
            _ => Backoff::Constant,
        })
    }

    fn factor(&mut self, fields: Fields<'a>) -> Option<f64> {
        let yaml = fields.get("factor")?;
        match yaml.value.as_f64() {
            Some(f) if (1.0..=100.0).contains(&f) => Some(f),
            Some(f) => {
                self.error("out-of-range", yaml.mark, format!("`factor`: found {f}, expected 1 to 100"));
                None
            }
            None => {
                self.wrong_type(yaml, "`factor`", "a number");
                None
            }
        }
    }

    /// `raise`
    pub fn raise(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Action> {
        let fields = self.fields(yaml, "`raise`", &["error"])?;
        let error = self.required(fields, "error", "`raise`")?;
        let Some(text) = error.text() else { return self.problem(error, within).map(|error| Action::Raise { error }) };
        if expression_source(text).is_some() {
            return self.template(error, within).map(|error| Action::Raise { error });
        }
        match self.components.errors.get_mut(text) {
            Some(entry) => {
                entry.used = true;
                let shared = &entry.member.value;
                self.problem(shared, within).map(|error| Action::Raise { error })
            }
            None => {
                let known: Vec<&'a str> = self.components.errors.keys().copied().collect();
                let nothing_near = words::nearest(text, known.iter().copied()).is_none();
                let message = format!("there is no error `{text}` in `use.errors`");
                self.unknown_name("unknown-error", error.mark, message, text, known);
                let bound = names(within).into_iter().find(|l| *l == text || l.strip_prefix('$') == Some(text));
                if let (true, Some(variable), Some(d)) = (nothing_near, bound, self.found.last_mut()) {
                    d.hint = Some(format!("to raise the caught error as it was: error: '${{ {variable} }}'"));
                }
                None
            }
        }
    }

    /// An error, inline or shared.
    pub fn problem(&mut self, yaml: &'a Yaml, within: &Within) -> Option<Template> {
        let what = "`error`";
        let fields = self.fields(yaml, what, &["type", "status", "title", "detail", "details", "instance"])?;
        if let Some(kind) = self.required(fields, "type", what) {
            let text = self.text(kind, "`error.type`");
            if let Some(text) = text.filter(|t| !t.contains("${") && !t.contains(':') && !t.starts_with('/')) {
                let d = self.error(
                    "invalid-error-type",
                    kind.mark,
                    format!("`error.type`: found `{text}`, expected a URI"),
                );
                d.hint = Some(format!("https://your.domain/errors/{}", text.trim().replace(' ', "-")));
            }
        }
        if let Some(status) = self.required(fields, "status", what) {
            if status.text().is_some_and(|t| t.contains("${")) {
                let d = self.error(
                    "wrong-type",
                    status.mark,
                    "`error.status`: found an expression, expected a literal status",
                );
                d.hint = Some("to raise a caught error as it was, write error: '${ $error }'".into());
            } else {
                self.whole(status, "`error.status`", STATUS.0, STATUS.1);
            }
        }
        for key in ["title", "detail", "details", "instance"] {
            self.text_of(fields, key, "error");
        }
        self.template(yaml, within)
    }
}
