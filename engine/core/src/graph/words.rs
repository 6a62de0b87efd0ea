//! Tasks in words.

use std::time::Duration;

use super::LABEL_MAX;
use crate::Value;
use crate::definition::plan::{Action, Backoff, Catch, Consume, Listen, Node, Retry, Span, Until};

/// A text on one line, cut to [`LABEL_MAX`].
pub(super) fn line(text: &str) -> String {
    cut(text, LABEL_MAX)
}

/// A text on one line of at most so many characters. What is not looked at costs nothing, however long the text is.
pub(super) fn cut(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut space = false;
    for c in text.chars() {
        if c.is_whitespace() {
            space = count > 0;
            continue;
        }
        if c.is_control() {
            continue;
        }
        for c in [' ', c].into_iter().skip(usize::from(!space)) {
            if count == most {
                out.pop();
                out.push('…');
                return out;
            }
            out.push(c);
            count += 1;
        }
        space = false;
    }
    out
}

/// What a task does, in a word. A call of a function is a list of what the function does, but its author wrote `call`.
pub(super) fn keyword(node: &Node) -> &'static str {
    match &node.action {
        Action::Do(_) if node.definition.get("call").is_some() => "call",
        Action::Call(_) if node.definition.get("run").is_some() => "run",
        action => action.keyword(),
    }
}

/// More about what a task does.
pub(super) fn detail(node: &Node) -> String {
    let member = |path: &[&str]| path.iter().try_fold(&node.definition, |at, key| at.get(key)).and_then(Value::as_str);
    let detail = match &node.action {
        Action::Call(call) if &*call.operation.name == "http.request" => {
            let endpoint = member(&["with", "endpoint"]).or_else(|| member(&["with", "endpoint", "uri"]));
            let method = member(&["with", "method"]).unwrap_or("get").to_uppercase();
            format!("{method} {}", plain(endpoint.unwrap_or_default()))
        }
        Action::Call(call) => match node.definition.get("run").and_then(|run| run.get("workflow")) {
            Some(workflow) => {
                let part = |key: &str| workflow.get(key).and_then(Value::as_str).unwrap_or("?");
                format!("workflow {}/{}:{}", part("namespace"), part("name"), part("version"))
            }
            None => call.operation.name.to_string(),
        },
        Action::Approve(_) => format!("approval {}", plain(member(&["with", "title"]).unwrap_or_default())),
        Action::Decide(decide) => format!("policy {}", decide.policy.name()),
        Action::Do(_) => member(&["call"]).unwrap_or_default().to_owned(),
        Action::Emit { .. } => plain(member(&["emit", "event", "with", "type"]).unwrap_or_default()).to_owned(),
        Action::For(looped) => {
            let each = member(&["for", "each"]).unwrap_or("item");
            format!("each {each} in {}", looped.items.source())
        }
        Action::Fork { compete: true, .. } => "the first one wins".to_owned(),
        Action::Fork { branches, .. } => format!("{} at the same time", branches.len()),
        Action::Listen(listen) => listened(listen),
        Action::Raise { .. } => raised(node.definition.get("raise").and_then(|r| r.get("error"))),
        Action::Set(_) => match node.definition.get("set") {
            Some(Value::Obj(members)) => members.keys().map(|k| &**k).collect::<Vec<_>>().join(", "),
            Some(Value::Str(text)) => plain(text).to_owned(),
            _ => String::new(),
        },
        Action::Wait(span) => self::span(span),
        Action::Extended(_) | Action::Switch(_) | Action::Try { .. } => String::new(),
    };
    line(&detail)
}

/// An expression without the marks around it.
fn plain(text: &str) -> &str {
    crate::expression::expression_source(text).map_or(text, str::trim)
}

/// What is raised: the name of a shared error, or the title or the last part of the type of an error that is written out.
fn raised(error: Option<&Value>) -> String {
    let part = |key: &str| error.and_then(|e| e.get(key)).and_then(Value::as_str);
    match error {
        Some(Value::Str(name)) => plain(name).to_owned(),
        _ => {
            let kind = part("type").map(|t| t.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(t));
            part("title").or(kind).unwrap_or_default().to_owned()
        }
    }
}

fn listened(listen: &Listen) -> String {
    let types = listen.types();
    let types: Vec<&str> = types.iter().map(|t| &**t).collect();
    let how = match listen.consume {
        Consume::One | Consume::Any => " or ",
        Consume::All => " and ",
    };
    let until = match &listen.until {
        None => String::new(),
        Some(Until::Condition(program)) => format!(" until {}", program.source()),
        Some(Until::Events { .. }) => " until another event".to_owned(),
    };
    if types.is_empty() { format!("any event{until}") } else { format!("{}{until}", types.join(how)) }
}

/// What else is worth a line: conditions, limits of time, retries.
pub(super) fn remarks(node: &Node) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut put = |text: String| remarks.push(line(&text));
    if let Some(condition) = &node.condition {
        put(format!("if {}", condition.source()));
    }
    if let Some(timeout) = &node.timeout {
        put(format!("timeout {}", span(timeout)));
    }
    match &node.action {
        Action::For(looped) => {
            if let Some(condition) = &looped.condition {
                put(format!("while {}", condition.source()));
            }
        }
        Action::Try { catch, .. } => {
            if let Some(retry) = &catch.retry {
                put(retries(retry));
            }
        }
        Action::Extended(extended) => {
            if let Some(when) = &extended.when {
                put(format!("when {}", when.source()));
            }
        }
        _ => {}
    }
    remarks
}

fn retries(retry: &Retry) -> String {
    let delay = match &retry.delay {
        Span::Fixed(Duration::ZERO) => String::new(),
        delay => format!(" after {}", span(delay)),
    };
    let growth = match retry.backoff {
        Backoff::Constant => String::new(),
        Backoff::Linear { .. } => ", growing".to_owned(),
        Backoff::Exponential { factor, .. } => format!(", × {factor}"),
    };
    let when = retry.when.as_ref().map_or_else(String::new, |when| format!(", when {}", when.source()));
    let times = if retry.retries_max == 1 { "once".to_owned() } else { format!("up to {} times", retry.retries_max) };
    format!("retries {times}{delay}{growth}{when}")
}

/// Which errors a `try` catches.
pub(super) fn caught(catch: &Catch) -> String {
    let filter = &catch.filter;
    let kind = filter.kind.as_deref().map(|k| k.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(k));
    let status = filter.status.map(|s| s.to_string());
    let others = [&filter.title, &filter.detail, &filter.instance].map(Option::as_deref);
    let mut words: Vec<&str> = ["error"].into_iter().chain(kind).chain(status.as_deref()).collect();
    words.extend(others.into_iter().flatten());
    let mut text = words.join(" ");
    if let Some(when) = &catch.when {
        text.push_str(&format!(" when {}", when.source()));
    }
    if let Some(except) = &catch.except_when {
        text.push_str(&format!(" except when {}", except.source()));
    }
    line(&text)
}

fn span(span: &Span) -> String {
    match span {
        Span::Computed(program) => program.source().to_owned(),
        Span::Fixed(duration) => {
            let seconds = duration.as_secs();
            let parts = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
            let (mut rest, mut out) = (seconds, Vec::new());
            for (size, unit) in parts {
                if rest >= size {
                    out.push(format!("{} {unit}", rest / size));
                    rest %= size;
                }
            }
            if duration.subsec_millis() > 0 || out.is_empty() {
                out.push(format!("{} ms", duration.subsec_millis()));
            }
            out.join(" ")
        }
    }
}

/// How long something took, in the unit that suits.
pub(super) fn elapsed(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..60_000 => format!("{}.{} s", ms / 1_000, ms / 100 % 10),
        ms @ 60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        ms @ 3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
        ms => format!("{} d {} h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}
