//! The state machine: a workflow, and whatever may come from outside, in any order.
//!
//! The bytes are a script: which workflow, then steps. A step moves the clock and gives the run an input: an outcome for a live act
//! or one that never was, a timer, an operator's word.
//! Holds after every step: no panic; a refused input changes nothing; an open run has something that can wake it. At the end: the
//! events, folded again, give the same state, and the machine decides the same again.
#![no_main]

use std::sync::Arc;

use cpd_core::Value;
use cpd_core::expression::Limits;
use cpd_core::machine::event::Resolution;
use cpd_core::machine::turn::{CallOutcome, Start, start};
use cpd_core::machine::{ActId, Env, Event, Input, Run, RunId};
use cpd_core::problem::{Problem, Standard};
use cpd_core::time::Timestamp;
use cpd_fuzz::documents::plans;
use cpd_fuzz::values::value;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};

/// What was journaled together, and when.
type Entry = (Timestamp, Vec<Event>);

const STEPS_MAX: usize = 60;

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut script = Unstructured::new(data);
    match play(&mut script) {
        Ok(()) => Corpus::Keep,
        Err(_) => Corpus::Reject,
    }
});

fn play(script: &mut Unstructured<'_>) -> Result<()> {
    let plan = script.choose(plans())?.clone();
    let limits = Limits { fuel: 20_000, max_nodes: 10_000, max_bytes: 1 << 18 };
    let runtime = Value::object();
    let env = |at| Env { at, limits: &limits, runtime: &runtime, stopwatch: || 0 };
    let id = RunId([7; 16]);
    let input = value(script, 2)?;
    let mut at = Timestamp(1_700_000_000_000_000);
    let begin = Start { input, key: None, actor: "fuzz".into() };
    let (mut run, turn) = start(id, plan.clone(), begin, &env(at));
    let mut journal: Vec<Entry> = vec![(at, turn.events)];
    for _ in 0..STEPS_MAX {
        if script.is_empty() {
            break;
        }
        // Up to two minutes, in steps around the time-outs of the workflows.
        at = Timestamp(at.0 + i64::from(script.arbitrary::<u8>()?) * 500_000);
        let input = input_for(&run, script)?;
        let before = told(&run);
        match run.turn(input, &env(at)) {
            Ok(turn) => journal.push((at, turn.events)),
            Err(rejected) => {
                assert!(!rejected.to_string().is_empty());
                assert_eq!(before, told(&run), "a refused input has changed the run");
            }
        }
        if run.is_open() {
            assert!(!run.wake_sources().is_empty(), "an open run that nothing can wake: {run:?}");
        }
        // A record that does not fit is refused, and nothing has changed.
        if script.ratio(1, 8)? {
            let (then, events) = script.choose(&journal)?;
            if let Some(event) = events.last() {
                let (mut other, before) = (run.clone(), told(&run));
                if other.apply(event, *then, &mut Vec::new()).is_err() {
                    assert_eq!(before, told(&other), "a refused event has changed the run");
                }
            }
        }
    }
    replayed(&run, &journal, env);
    Ok(())
}

/// The fold of the journal is the state, and the machine decides the same again.
fn replayed<'e>(run: &Run, journal: &[Entry], env: impl Fn(Timestamp) -> Env<'e>) {
    let (at, events) = &journal[0];
    let mut again = Run::begin(run.id, run.plan.clone(), &events[0], *at).expect("the first event begins the run");
    for (index, (at, events)) in journal.iter().enumerate() {
        let skip = usize::from(index == 0);
        again.departed.clear();
        let checked = again.verify_part(&events[skip..], skip > 0, &env(*at), &mut Vec::new());
        assert!(checked.is_ok(), "replay differs in entry {index}: {checked:?}");
    }
    assert_eq!(told(run), told(&again), "the journal does not give the state");
}

/// The state, without what is there for the telling only.
fn told(run: &Run) -> String {
    let Run { phase, context, acts, next_act, agenda, abandoned, events, .. } = run;
    format!("{phase:?} {context:?} {acts:#?} {next_act} {agenda:?} {abandoned:?} {events}")
}

fn input_for(run: &Run, script: &mut Unstructured<'_>) -> Result<Input> {
    let actor: Arc<str> = "fuzz".into();
    let reason: Arc<str> = "because".into();
    Ok(match script.int_in_range(0..=19)? {
        0..=8 => {
            let (act, attempt) = call(run, script)?;
            Input::Outcome { act, attempt, outcome: outcome(script)? }
        }
        9 => {
            let (act, attempt) = call(run, script)?;
            Input::Reconciled { act, attempt, outcome: if script.arbitrary()? { Some(outcome(script)?) } else { None } }
        }
        10 => {
            let (act, attempt) = call(run, script)?;
            Input::Interrupted { act, attempt }
        }
        11..=14 => Input::Tick,
        15 => Input::Continue,
        16 => Input::Pause { actor, reason },
        17 => Input::Resume { actor, reason },
        18 => {
            let resolution = match script.int_in_range(0..=2)? {
                0 => Resolution::Succeeded(value(script, 2)?),
                1 => Resolution::Retry,
                _ => Resolution::Failed(problem(script)?),
            };
            let task = if script.arbitrary()? { Some("pay".into()) } else { None };
            Input::Resolve { task, resolution, actor }
        }
        _ => Input::Cancel { actor, reason },
    })
}

/// A call that is in flight, mostly; else an act or attempt that may never have been.
fn call(run: &Run, script: &mut Unstructured<'_>) -> Result<(ActId, u32)> {
    let live: Vec<_> = run.calls().map(|(act, calling)| (act.id, calling.attempt)).collect();
    if live.is_empty() || script.ratio(1, 10)? {
        return Ok((ActId(u32::from(script.arbitrary::<u8>()?)), script.int_in_range(0..=3)?));
    }
    Ok(*script.choose(&live)?)
}

fn outcome(script: &mut Unstructured<'_>) -> Result<CallOutcome> {
    Ok(match script.int_in_range(0..=5)? {
        0..=2 => CallOutcome::Succeeded { output: value(script, 2)?, evidence: None },
        3 => CallOutcome::Refused(problem(script)?),
        4 => CallOutcome::Failed { problem: problem(script)?, not_before: None },
        _ => CallOutcome::Unknown(problem(script)?),
    })
}

fn problem(script: &mut Unstructured<'_>) -> Result<Problem> {
    let problem = Problem::standard(*script.choose(&Standard::ALL)?, "the fuzzer says so");
    Ok(match script.choose(&[0_u16, 408, 422, 503])? {
        0 => problem,
        status => problem.with_status(*status),
    })
}
