//! One event as one line, for `log`, `replay` and the demo.

use cpd_core::Value;
use cpd_core::machine::{Event, Handling, Resolution};
use cpd_core::time::Timestamp;
use cpd_engine::Logged;

use super::style;

/// The line of an event: time, sequence, mark, task, what happened.
pub(crate) fn line(logged: &Logged, started: Timestamp, width: usize) -> String {
    let (mark, words) = words(&logged.event, logged);
    let elapsed = style::span(logged.at.since(started).as_micros().try_into().unwrap_or(i64::MAX));
    let task = match (&logged.task_name, &logged.iteration) {
        (Some(task), Some(iteration)) => format!("{task}[{iteration}]"),
        (Some(task), None) => task.to_string(),
        (None, _) => String::new(),
    };
    // A narrow terminal has no room for the time of day, and less for names.
    let clock = if width < 74 { String::new() } else { format!("{}  ", style::clock(logged.at)) };
    let head = format!("{:>4}  {clock}{:>8}  ", logged.seq, format!("+{elapsed}"));
    let names = if width < 60 { 12 } else { 20 };
    let task = format!("{:<names$}", style::cut(&task, names));
    let room = width.saturating_sub(head.chars().count() + names + 4).max(8);
    let words = style::cut(&words, room);
    format!("{}{} {} {words}", style::dim(&head), colour(mark), style::name(&task))
}

fn colour(mark: char) -> String {
    let text = mark.to_string();
    match mark {
        '✓' => style::good(&text),
        '✗' => style::bad(&text),
        '!' | '?' | '↻' => style::warn(&text),
        _ => style::dim(&text),
    }
}

/// A mark and a sentence about an event.
pub(crate) fn words(event: &Event, logged: &Logged) -> (char, String) {
    let operation = logged.operation.as_deref().unwrap_or("the operation");
    let problem = |p: &cpd_core::problem::Problem| p.to_string();
    match event {
        Event::RunStarted { workflow, version, actor, input, .. } => {
            ('●', format!("{workflow} {version} started by {actor} with {input}"))
        }
        Event::TaskEntered { items: Some(Value::Bool(applies)), .. } => {
            ('·', if *applies { "begins, with its extension" } else { "begins, without its extension" }.to_owned())
        }
        Event::TaskEntered { items: Some(items), .. } => {
            ('·', format!("begins, {} items", items.as_array().map_or(0, <[Value]>::len)))
        }
        Event::TaskEntered { .. } => ('·', "begins".to_owned()),
        Event::TaskSkipped { .. } => ('·', "skipped: its condition does not hold".to_owned()),
        Event::TaskReturned { output, .. } => ('✓', format!("set {output}")),
        Event::EventEmitted { event, .. } => {
            let kind = event.get("type").and_then(Value::as_str).unwrap_or("an event");
            ('✓', format!("emitted {kind}"))
        }
        Event::EventPublished { .. } => ('✓', "everybody who listens has the event".to_owned()),
        Event::ListenStarted { .. } => ('◷', "listens".to_owned()),
        Event::ApprovalRequested { request, .. } => {
            let title = request.get("title").and_then(Value::as_str).unwrap_or("?");
            ('!', format!("asks for an approval: {title}"))
        }
        Event::ApprovalVoted { by, on_behalf_of, approves, comment, last, .. } => {
            let stead = on_behalf_of.as_ref().map(|o| format!(" for {o}")).unwrap_or_default();
            let what = if *approves { "approves" } else { "rejects" };
            let why = if comment.is_empty() { String::new() } else { format!(": {comment}") };
            let more = if *last { "" } else { " (more are needed)" };
            (if *approves { '✓' } else { '✗' }, format!("{by}{stead} {what}{why}{more}"))
        }
        Event::ApprovalDelegated { by, to, reason, .. } => {
            ('!', format!("{by} lets {to} decide instead{}{reason}", if reason.is_empty() { "" } else { ": " }))
        }
        Event::ApprovalEscalated { .. } => ('!', "escalated: others may decide, too".to_owned()),
        Event::EventReceived { event, displaces } => {
            let part = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
            let lost = if *displaces { "; the oldest one that waited is dropped" } else { "" };
            ('●', format!("event {} {} from {}{lost}", part("type"), part("id"), part("source")))
        }
        Event::EventTaken { last, until, .. } => {
            let how = match (until, last) {
                (true, true) => "hears the event that ends it",
                (true, false) => "hears one of the events that end it",
                (false, true) => "takes the event, the last one",
                (false, false) => "takes the event",
            };
            ('✓', how.to_owned())
        }
        Event::EventsPassed { .. } => ('·', "it is for somebody else".to_owned()),
        Event::CaseTaken { case: None, .. } => ('·', "no case holds".to_owned()),
        Event::CaseTaken { case: Some(n), .. } => ('·', format!("takes case {}", n + 1)),
        Event::PolicyDecided { decision, micros, .. } => {
            let text = |key: &str| decision.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
            let reasons = decision.get("reasons").and_then(Value::as_array).unwrap_or_default();
            let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
            let (policy, version, outcome) = (text("policy"), text("version"), text("outcome"));
            ('✓', format!("{policy} {version} → {outcome}: {} ({micros} µs)", reasons.join("; ")))
        }
        Event::TaskStarted { args, .. } => ('→', format!("calls {operation} with {args}")),
        Event::WaitStarted { until, .. } => ('◷', format!("waits until {until}")),
        Event::TaskSucceeded { output, attempt, .. } => {
            let again = if *attempt > 1 { format!(" in attempt {attempt}") } else { String::new() };
            ('✓', format!("{operation} succeeded{again}: {output}"))
        }
        Event::TaskRefused { problem: p, .. } => ('✗', format!("{operation} refused: {}", problem(p))),
        Event::TaskFailed { problem: p, .. } => ('✗', format!("{operation} failed: {}", problem(p))),
        Event::TaskUnknown { interrupted: true, .. } => {
            ('?', format!("{operation} was in flight when the process ended: its outcome is unknown"))
        }
        Event::TaskUnknown { problem: p, .. } => ('?', format!("outcome of {operation} unknown: {}", problem(p))),
        Event::TaskDelayed { until, .. } => ('◷', format!("will call {operation} again at {until}, with the same key")),
        Event::TaskRetried { attempt, .. } => {
            ('↻', format!("calls {operation} again, attempt {attempt}, with the same idempotency key"))
        }
        Event::TaskQuestioned { .. } => ('?', format!("asks what became of {operation}")),
        Event::TaskParked { .. } => ('!', "waits for an operator: `cpd resolve`".to_owned()),
        Event::TaskResolved { resolution, actor, .. } => {
            let how = match resolution {
                Resolution::Succeeded(output) => format!("it succeeded with {output}"),
                Resolution::Retry => "call it again".to_owned(),
                Resolution::Failed(p) => format!("it failed: {}", problem(p)),
            };
            ('!', format!("{actor} says: {how}"))
        }
        Event::LateOutcome { outcome, .. } => ('·', format!("{operation} {outcome}, but nobody waits for it any more")),
        Event::TaskCompleted { output, export, .. } => {
            let output = output.as_ref().map(|o| format!("output {o}"));
            let export = export.as_ref().map(|_| "context changed".to_owned());
            ('·', [output, export].into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
        Event::TaskFaulted { problem: p, .. } => ('✗', problem(p)),
        Event::ErrorCaught { handling, .. } => match handling {
            Handling::Retry { attempt, until } => ('↻', format!("caught; attempt {attempt} at {until}")),
            Handling::Handle => ('!', "caught; goes on with `catch.do`".to_owned()),
            Handling::Swallow => ('!', "caught; goes on".to_owned()),
        },
        Event::TryRetried { attempt, .. } => ('↻', format!("attempt {attempt} begins")),
        Event::IterationStarted { index, .. } => ('·', format!("iteration {index}")),
        Event::LoopEnded { .. } => ('✓', "loop is through".to_owned()),
        Event::TimerFired { .. } => ('✓', "wait is over".to_owned()),
        Event::DeadlinePassed { attempt: false, .. } => ('✗', "timeout".to_owned()),
        Event::DeadlinePassed { attempt: true, .. } => ('✗', "timeout of an attempt".to_owned()),
        Event::RunPaused { actor, reason } => ('!', format!("paused by {actor}: {reason}")),
        Event::RunResumed { actor, reason } => ('●', format!("resumed by {actor}: {reason}")),
        Event::RunCancelled { actor, reason } => ('✗', format!("cancelled by {actor}: {reason}")),
        Event::RunForked { origin, seq, input, actor, .. } => {
            let with = input.as_ref().map_or(String::new(), |i| format!(", which goes on with {i}"));
            ('●', format!("forked by {actor} from run {origin} after its event {seq}{with}"))
        }
        Event::RunMigrated { version, actor, .. } => ('●', format!("moved to version {version} by {actor}")),
        Event::RunCompleted { .. } => ('●', "completed".to_owned()),
        Event::RunFaulted { problem: p } => ('✗', format!("faulted: {}", problem(p))),
    }
}

/// An event as an object for `--json`. Every line has `seq`, `lsn`, `at`, `kind`, `task`, `taskName` and `data`; what is about the run
/// itself has null for the two of its task.
pub(crate) fn json(logged: &Logged) -> Value {
    let number = |n: u64| Value::from(usize::try_from(n).unwrap_or(usize::MAX));
    let text = |t: &Option<std::sync::Arc<str>>| t.clone().map_or(Value::Null, Value::Str);
    let mut object = cpd_core::value::Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.into(), value);
    put("seq", number(logged.seq));
    put("lsn", number(logged.lsn));
    put("at", Value::from(logged.at.to_string()));
    put("kind", Value::str(logged.event.name()));
    put("task", text(&logged.task));
    put("taskName", text(&logged.task_name));
    for (key, value) in [("operation", &logged.operation), ("iteration", &logged.iteration)] {
        if value.is_some() {
            put(key, text(value));
        }
    }
    put("data", logged.data());
    Value::from(object)
}
