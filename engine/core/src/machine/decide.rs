//! What follows by the definition alone: the next event of a run that has something on its agenda.
//!
//! The only place of the machine where expressions and policies are evaluated. Reads the state, changes nothing. Called
//! live until it has nothing more to say, and again in replay, where each of its events is compared with the recorded one.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::Value;
use crate::catalog::Class;
use crate::definition::duration;
use crate::definition::plan::{Action, Backoff, Catch, Node, OnUnknown, Plan, Retry, Span};
use crate::expression::{EvalError, Program, Template};
use crate::problem::{Problem, Standard};
use crate::time::Timestamp;
use crate::validation::Schema;
use crate::value::Map;

use super::approval::Terms;
use super::event::{Event, Export, Handling, Piece};
use super::ids::RunId;
use super::scope::Place;
use super::state::{Act, BEHAVIOUR, Binding, CallPhase, Calling, Phase, Run, Status};
use super::turn::Env;

/// How often an idempotent effect with an unknown outcome is called again before that is an error. Crashes do not count.
const UNKNOWNS_MAX: u32 = 5;
/// The longest pause before an effect with an unknown outcome is called again.
const UNKNOWN_DELAY_MAX: Duration = Duration::from_secs(60);

/// The next event, or `None` if the run waits for the outside.
pub fn decide(run: &Run, env: &Env<'_>) -> Option<Event> {
    if run.phase != Phase::Running {
        return None;
    }
    let act = run.act(*run.agenda.front()?)?;
    let node = run.node_of(act);
    let decided = match &act.status {
        Status::Ready => enter(run, act, node, env),
        Status::Loop { items, index, carry, .. } => iterate(run, act, node, env, items, *index, carry),
        Status::Returned { output, .. } => complete(run, act, node, env, output),
        Status::Failing { .. } => return Some(unwind(run, act, env)),
        Status::Calling(calling) => Ok(undetermined(run, act, node, env, calling)),
        Status::Listening(listening) => super::listen::next(run, act, node, env, listening),
        Status::Publishing { .. }
        | Status::Approving(_)
        | Status::List { .. }
        | Status::Branches { .. }
        | Status::Extended { .. }
        | Status::Trying { .. }
        | Status::Delayed { .. }
        | Status::Catching { .. }
        | Status::Waiting { .. } => {
            let detail = format!("internal error: nothing to decide about a task that is {}", act.status.name());
            Err(Problem::standard(Standard::Runtime, detail))
        }
    };
    Some(decided.unwrap_or_else(|problem| Event::TaskFaulted { act: act.id, problem }))
}

pub(super) fn start_key(plan: &Arc<Plan>, input: &Value, env: &Env<'_>) -> Result<Option<Arc<str>>, Problem> {
    let Some(program) = &plan.start_key else { return Ok(None) };
    let start = Event::RunStarted {
        plan: plan.digest,
        workflow: plan.qualified_name(),
        version: plan.version.clone(),
        input: input.clone(),
        key: None,
        actor: Arc::from(""),
        behaviour: BEHAVIOUR,
    };
    // A run that is never started: only its place is looked from.
    let run = Run::begin(RunId([0; 16]), plan.clone(), &start, env.at).expect("RunStarted begins a run");
    let (act, node) = (&run.acts[0], plan.node(Plan::ROOT));
    let raw = Place::new(&run, act, node, env, &[]).input(input);
    let seen = node.input_from.as_ref().map(|t| fill(t, &raw, input, "input.from")).transpose()?;
    let seen = seen.as_ref().unwrap_or(input);
    let place = Place::new(&run, act, node, env, &[]).input(seen);
    let key = eval(program, &place, seen, "metadata.cpd.idempotency.key")?;
    Ok(match &key {
        Value::Null => None,
        Value::Str(text) => Some(text.clone()),
        other => Some(Arc::from(other.to_json())),
    })
}

fn enter(run: &Run, act: &Act, node: &Node, env: &Env<'_>) -> Result<Event, Problem> {
    let id = act.id;
    let locals = Binding::flatten(act.bindings.as_ref());
    let raw = Place::new(run, act, node, env, &locals).input(&act.input);
    if let Some(condition) = &node.condition
        && !test(condition, &raw, &act.input, "if")?
    {
        return Ok(Event::TaskSkipped { act: id });
    }
    fits(node.input_schema.as_ref(), &act.input, node, "input")?;
    let input = node.input_from.as_ref().map(|t| fill(t, &raw, &act.input, "input.from")).transpose()?;
    let seen = input.as_ref().unwrap_or(&act.input).clone();
    let place = Place::new(run, act, node, env, &locals).input(&seen);
    let deadline = node.timeout.as_ref().map(|s| span(s, &place, &seen, "timeout")).transpose()?;
    let deadline = deadline.map(|d| env.at.plus(d));
    Ok(match &node.action {
        Action::Do(_) | Action::Fork { .. } | Action::Try { .. } => {
            Event::TaskEntered { act: id, input, deadline, items: None }
        }
        Action::Extended(extended) => {
            let when = extended.when.as_ref().map(|when| test(when, &place, &seen, "when of an extension"));
            let applies = Some(Value::Bool(when.transpose()?.unwrap_or(true)));
            Event::TaskEntered { act: id, input, deadline, items: applies }
        }
        Action::For(looped) => {
            let items = match eval(&looped.items, &place, &seen, "for.in")? {
                Value::Null => Value::from(Vec::new()),
                items @ Value::Arr(_) => items,
                other => {
                    let detail = format!("`for.in` of task {} gave {}, expected an array", node.name, brief(&other));
                    return Err(Problem::standard(Standard::Expression, detail));
                }
            };
            Event::TaskEntered { act: id, input, deadline, items: Some(items) }
        }
        Action::Set(template) => Event::TaskReturned { act: id, input, output: fill(template, &place, &seen, "set")? },
        Action::Emit { event } => {
            let event = cloud_event(run, act, env, fill(event, &place, &seen, "emit.event.with")?)?;
            Event::EventEmitted { act: id, input, event }
        }
        Action::Switch(cases) => {
            let mut taken = None;
            for (index, case) in (0u32..).zip(cases) {
                if case.when.as_ref().map_or(Ok(true), |when| test(when, &place, &seen, "switch"))? {
                    taken = Some(index);
                    break;
                }
            }
            Event::CaseTaken { act: id, input, case: taken }
        }
        Action::Raise { error } => {
            return Err(raised(&fill(error, &place, &seen, "raise.error")?, node));
        }
        Action::Decide(decide) => {
            let facts = decide.facts.as_ref().map(|t| fill(t, &place, &seen, "with.input")).transpose()?;
            let parameters =
                decide.parameters.as_ref().map(|t| fill(t, &place, &seen, "with.parameters")).transpose()?;
            let begun = (env.stopwatch)();
            let decision = decide.policy.decide(
                facts.as_ref().unwrap_or(&seen),
                &parameters.unwrap_or_else(Value::object),
                env.at,
            );
            let micros = u32::try_from((env.stopwatch)().saturating_sub(begun)).unwrap_or(u32::MAX);
            Event::PolicyDecided { act: id, input, decision: decision.to_value(), micros }
        }
        Action::Call(call) => {
            let args = fill(&call.with, &place, &seen, "with")?;
            let key = node.key.as_ref().map(|t| fill(t, &place, &seen, "metadata.cpd.idempotencyKey")).transpose()?;
            let key = key.map(|k| k.as_str().map_or_else(|| Arc::from(k.to_json()), Arc::from));
            Event::TaskStarted { act: id, input, deadline, args, key }
        }
        Action::Approve(with) => {
            let request = fill(with, &place, &seen, "with")?;
            if let Err(why) = Terms::read(&request) {
                let detail = format!("`with` of task {}: {why}", node.name);
                return Err(Problem::standard(Standard::Validation, detail));
            }
            Event::ApprovalRequested { act: id, input, deadline, request }
        }
        Action::Listen(_) => Event::ListenStarted { act: id, input, deadline },
        Action::Wait(until) => {
            let until = env.at.plus(span(until, &place, &seen, "wait")?);
            Event::WaitStarted { act: id, input, deadline, until }
        }
    })
}

fn iterate(
    run: &Run,
    act: &Act,
    node: &Node,
    env: &Env<'_>,
    items: &Value,
    index: u32,
    carry: &Value,
) -> Result<Event, Problem> {
    let id = act.id;
    let Some(item) = items.as_array().and_then(|i| i.get(index as usize)) else {
        return Ok(Event::LoopEnded { act: id });
    };
    let Action::For(looped) = &node.action else {
        return Err(Problem::standard(Standard::Runtime, "internal error: a loop that is not a `for`"));
    };
    if let Some(condition) = &looped.condition {
        let mut locals = Binding::flatten(act.bindings.as_ref());
        locals.extend([item.clone(), Value::from(index)]);
        let place = Place::new(run, act, node, env, &locals).input(&act.input);
        if !test(condition, &place, carry, "while")? {
            return Ok(Event::LoopEnded { act: id });
        }
    }
    Ok(Event::IterationStarted { act: id, index })
}

fn complete(run: &Run, act: &Act, node: &Node, env: &Env<'_>, raw: &Value) -> Result<Event, Problem> {
    let locals = Binding::flatten(act.bindings.as_ref());
    let place = Place::new(run, act, node, env, &locals).input(&act.input).output(raw);
    let output = node.output_as.as_ref().map(|t| fill(t, &place, raw, "output.as")).transpose()?;
    fits(node.output_schema.as_ref(), output.as_ref().unwrap_or(raw), node, "output")?;
    if node.id == Plan::ROOT {
        return Ok(Event::RunCompleted { output });
    }
    let seen = output.as_ref().unwrap_or(raw).clone();
    let place = Place::new(run, act, node, env, &locals).input(&act.input).output(&seen);
    let export = node.export_as.as_ref().map(|t| fill(t, &place, &seen, "export.as")).transpose()?;
    if let Some(new) = &export {
        fits(node.export_schema.as_ref(), new, node, "export")?;
    }
    let export = export.map(|new| export_of(&run.context, new, &seen));
    Ok(Event::TaskCompleted { act: act.id, output, export })
}

/// Holds data against a schema of the definition.
fn fits(schema: Option<&Schema>, value: &Value, node: &Node, what: &str) -> Result<(), Problem> {
    let Some(Err(found)) = schema.map(|s| s.check(value)) else { return Ok(()) };
    let whose = if node.id == Plan::ROOT { "workflow" } else { "task" };
    let detail = format!("the {what} of {whose} {} does not fit its schema: {}", node.name, found.join("; "));
    let found: Value = found.into_iter().map(Value::from).collect();
    Err(Problem::standard(Standard::Validation, detail).with_data(found))
}

/// How to write an export down: what was added, if it only added.
fn export_of(old: &Value, new: Value, output: &Value) -> Export {
    let piece = |v: &Value| {
        let is_output = matches!(v, Value::Arr(_) | Value::Obj(_) | Value::Str(_)) && v.same(output);
        if is_output { Piece::Output } else { Piece::Value(v.clone()) }
    };
    if let (Value::Obj(before), Value::Obj(after)) = (old, &new)
        && !before.is_empty()
        && before.keys().all(|k| after.contains_key(k))
    {
        let changed = after.iter().filter(|(k, v)| !before.get(*k).is_some_and(|b| b.same(v)));
        return Export::Merge(changed.map(|(k, v)| (k.clone(), piece(v))).collect());
    }
    if let (Value::Obj(before), Value::Obj(after)) = (old, &new)
        && before.is_empty()
    {
        return Export::Merge(after.iter().map(|(k, v)| (k.clone(), piece(v))).collect());
    }
    Export::Replace(piece(&new))
}

// ---- errors ---------------------------------------------------------------------------------------------------------

/// Finds who catches the error of a failing act.
fn unwind(run: &Run, failing: &Act, env: &Env<'_>) -> Event {
    let Status::Failing { problem, not_before, inside } = &failing.status else {
        let detail = format!("internal error: task is {}, not failing", failing.status.name());
        return Event::RunFaulted { problem: Problem::standard(Standard::Runtime, detail) };
    };
    let mut next = if inside.is_some() { Some(failing) } else { failing.parent.and_then(|p| run.act(p)) };
    while let Some(act) = next {
        let attempt = match &act.status {
            Status::Trying { attempt, .. } => Some(*attempt),
            Status::Failing { inside, .. } => *inside,
            _ => None,
        };
        let node = run.node_of(act);
        if let (Some(attempt), Action::Try { catch, .. }) = (attempt, &node.action) {
            match handling(run, act, node, env, catch, attempt, problem, *not_before) {
                Ok(Some(handling)) => return Event::ErrorCaught { act: act.id, from: failing.id, handling },
                Ok(None) => {}
                // The filter itself failed: that is an error of the `try`.
                Err(problem) => return Event::TaskFaulted { act: act.id, problem },
            }
        }
        next = act.parent.and_then(|p| run.act(p));
    }
    Event::RunFaulted { problem: problem.clone() }
}

/// What a `try` does with an error; `None` if it lets it pass.
#[expect(clippy::too_many_arguments, reason = "the whole situation of one error at one try")]
fn handling(
    run: &Run,
    act: &Act,
    node: &Node,
    env: &Env<'_>,
    catch: &Catch,
    attempt: u32,
    problem: &Problem,
    not_before: Option<Timestamp>,
) -> Result<Option<Handling>, Problem> {
    let filter = &catch.filter;
    let same = |want: &Option<Arc<str>>, have: Option<&Arc<str>>| want.as_ref().is_none_or(|w| have == Some(w));
    let caught = filter.kind.as_ref().is_none_or(|k| Problem::same_type(k, &problem.kind))
        && filter.status.is_none_or(|s| s == problem.status)
        && same(&filter.title, Some(&problem.title))
        && same(&filter.detail, problem.detail.as_ref())
        && same(&filter.instance, problem.instance.as_ref());
    if !caught {
        return Ok(None);
    }
    let mut locals = Binding::flatten(act.bindings.as_ref());
    locals.push(Value::from_serialize(problem).expect("a problem is JSON"));
    let place = Place::new(run, act, node, env, &locals).input(&act.input);
    let holds = |program: &Option<Program>, otherwise: bool, what: &str| match program {
        Some(program) => test(program, &place, &act.input, what),
        None => Ok(otherwise),
    };
    if !holds(&catch.when, true, "catch.when")? || holds(&catch.except_when, false, "catch.exceptWhen")? {
        return Ok(None);
    }
    if let Some(retry) = &catch.retry
        && holds(&retry.when, true, "retry.when")?
        && !holds(&retry.except_when, false, "retry.exceptWhen")?
        && let Some(until) = next_attempt(&place, env.at, retry, attempt, not_before)?
    {
        return Ok(Some(Handling::Retry { attempt: attempt + 1, until }));
    }
    Ok(match (&catch.body, &catch.retry) {
        (Some(_), _) => Some(Handling::Handle),
        // Retries are exhausted (or not for this error) and nothing else is to be done: the error goes on.
        (None, Some(_)) if catch.then.is_none() => None,
        (None, _) => Some(Handling::Swallow),
    })
}

/// When the next attempt begins; `None` if the limits allow none. `attempt` is the one that failed, from 1.
fn next_attempt(
    place: &Place<'_>,
    at: Timestamp,
    retry: &Retry,
    attempt: u32,
    not_before: Option<Timestamp>,
) -> Result<Option<Timestamp>, Problem> {
    if attempt > retry.retries_max {
        return Ok(None);
    }
    let (run, act, node) = (place.run(), place.act(), place.node());
    let length = |wanted: &Span, what: &str| span(wanted, place, &act.input, what);
    let first = length(&retry.delay, "retry.delay")?;
    let delay = match retry.backoff {
        Backoff::Constant => first,
        Backoff::Linear { delay_max } => capped(first.as_secs_f64() * f64::from(attempt), delay_max),
        Backoff::Exponential { factor, delay_max } => {
            capped(first.as_secs_f64() * factor.powf(f64::from(attempt - 1)), delay_max)
        }
    };
    let jitter = match &retry.jitter {
        None => Duration::ZERO,
        Some((from, to)) => {
            let (from, to) = (length(from, "retry.jitter.from")?, length(to, "retry.jitter.to")?);
            let width = to.saturating_sub(from);
            from + width.mul_f64(fraction(run, &node.pointer, &act.iteration, attempt))
        }
    };
    let until = at.plus(delay.saturating_add(jitter)).max(not_before.unwrap_or(at));
    let longest = retry.total_max.as_ref().map(|max| length(max, "retry.limit.duration")).transpose()?;
    let too_late = longest.is_some_and(|max| until > act.started_at.plus(max));
    Ok((!too_late).then_some(until))
}

fn capped(seconds: f64, max: Option<Duration>) -> Duration {
    let longest = max.unwrap_or(Duration::from_secs(366 * 86_400));
    Duration::try_from_secs_f64(seconds).unwrap_or(longest).min(longest)
}

/// A number in 0..1 that is the same whenever this retry is looked at, and spread over runs, tasks and attempts.
fn fraction(run: &Run, pointer: &str, iteration: &str, attempt: u32) -> f64 {
    let mut hash = Sha256::new();
    hash.update(b"cpd jitter 1\0");
    hash.update(run.id.0);
    hash.update(pointer.as_bytes());
    hash.update([0]);
    hash.update(iteration.as_bytes());
    hash.update(attempt.to_le_bytes());
    let bytes: [u8; 8] = hash.finalize()[..8].try_into().expect("32 bytes have 8");
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
}

/// What to do with an effect whose outcome is unknown (P3).
fn undetermined(run: &Run, act: &Act, node: &Node, env: &Env<'_>, calling: &Calling) -> Event {
    let id = act.id;
    let Action::Call(call) = &node.action else {
        let problem = Problem::standard(Standard::Runtime, "internal error: a call that is not a `call`");
        return Event::TaskFaulted { act: id, problem };
    };
    let (problem, interrupted, reconciled) = match &calling.phase {
        CallPhase::Undetermined { problem, interrupted } => (problem, *interrupted, false),
        CallPhase::Unreconciled(problem) => (problem, false, true),
        CallPhase::InFlight | CallPhase::BackingOff { .. } | CallPhase::Reconciling(_) | CallPhase::Parked(_) => {
            let detail = format!("internal error: nothing to decide about a call that is {}", act.status.name());
            return Event::TaskFaulted { act: id, problem: Problem::standard(Standard::Runtime, detail) };
        }
    };
    let again = || {
        if interrupted {
            return Event::TaskRetried { act: id, attempt: calling.attempt + 1 };
        }
        if calling.unknowns > UNKNOWNS_MAX {
            return Event::TaskFaulted { act: id, problem: problem.clone() };
        }
        let exponent = i32::try_from(calling.unknowns.min(16)).expect("a small number");
        let delay = capped(0.1 * 2f64.powi(exponent), Some(UNKNOWN_DELAY_MAX));
        let spread = delay.mul_f64(fraction(run, &node.pointer, &act.iteration, calling.attempt) / 2.0);
        Event::TaskDelayed { act: id, until: env.at.plus(delay + spread) }
    };
    match call.operation.class {
        Class::Safe | Class::Idempotent => again(),
        Class::AtMostOnce if call.operation.reconciles && !reconciled => Event::TaskQuestioned { act: id },
        Class::AtMostOnce => match node.on_unknown {
            OnUnknown::Ask => Event::TaskParked { act: id },
            OnUnknown::Retry => again(),
            OnUnknown::Fault => Event::TaskFaulted { act: id, problem: problem.clone() },
        },
    }
}

/// The problem that a `raise` describes; a caught error is raised as it was.
fn raised(error: &Value, node: &Node) -> Problem {
    let text = |key: &str| error.get(key).and_then(Value::as_str).map(Arc::<str>::from);
    let status = error.get("status").and_then(Value::as_i64).and_then(|s| u16::try_from(s).ok());
    let (Some(kind), Some(status)) = (text("type"), status) else {
        let found = brief(error);
        let detail = format!(
            "`raise` of task {} needs an error with `type` (a text) and `status` (a number), found {found}",
            node.name
        );
        return Problem::standard(Standard::Expression, detail);
    };
    let title = text("title").unwrap_or_else(|| Arc::from(kind.rsplit('/').next().unwrap_or(&kind)));
    Problem {
        kind,
        status,
        title,
        detail: text("detail").or_else(|| text("details")),
        instance: text("instance"),
        data: error.get("data").cloned(),
    }
}

// ---- evaluation -----------------------------------------------------------------------------------------------------

pub(super) fn eval(program: &Program, place: &Place<'_>, dot: &Value, what: &str) -> Result<Value, Problem> {
    place.with(program.uses(), dot, |scope| program.eval(scope)).map_err(|e| failed(place, what, &e))
}

pub(super) fn test(program: &Program, place: &Place<'_>, dot: &Value, what: &str) -> Result<bool, Problem> {
    place.with(program.uses(), dot, |scope| program.test(scope)).map_err(|e| failed(place, what, &e))
}

pub(super) fn fill(template: &Template, place: &Place<'_>, dot: &Value, what: &str) -> Result<Value, Problem> {
    if let Some(value) = template.constant() {
        return Ok(value.clone());
    }
    place.with(template.uses(), dot, |scope| template.eval(scope)).map_err(|e| failed(place, what, &e))
}

fn span(span: &Span, place: &Place<'_>, dot: &Value, what: &str) -> Result<Duration, Problem> {
    let program = match span {
        Span::Fixed(duration) => return Ok(*duration),
        Span::Computed(program) => program,
    };
    let value = eval(program, place, dot, what)?;
    duration::from_value(&value).map_err(|e| {
        let detail = format!("`{what}` of task {}: {e}", place.node().name);
        Problem::standard(Standard::Expression, detail)
    })
}

fn failed(place: &Place<'_>, what: &str, error: &EvalError) -> Problem {
    let node = place.node();
    let detail = format!("`{what}` of task {} (line {}): {error}", node.name, node.line);
    Problem::standard(Standard::Expression, detail)
}

/// A value in a few words, for messages.
pub(super) fn brief(value: &Value) -> String {
    let text = value.to_json();
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{} ({}…)", value.kind(), &text[..cut]),
        None => format!("{} ({text})", value.kind()),
    }
}

/// Completes a CloudEvent 1.0 with the attributes that it must have.
fn cloud_event(run: &Run, act: &Act, env: &Env<'_>, with: Value) -> Result<Value, Problem> {
    let Value::Obj(given) = &with else {
        let detail = format!("`emit.event.with` gave {}, expected an object", brief(&with));
        return Err(Problem::standard(Standard::Expression, detail));
    };
    let mut event = Map::with_capacity(given.len() + 4);
    let mut put = |key: &str, value: Value| {
        event.insert(Arc::from(key), given.get(key).cloned().unwrap_or(value));
    };
    put("specversion", Value::str("1.0"));
    put("id", Value::from(format!("{}-{}", run.id, act.id)));
    put("source", Value::from(format!("/cpd/{}/{}", run.plan.namespace, run.plan.name)));
    put("type", Value::str("cpd.event"));
    put("time", Value::from(env.at.to_string()));
    event.extend(given.iter().map(|(k, v)| (k.clone(), v.clone())));
    Ok(Value::from(event))
}
