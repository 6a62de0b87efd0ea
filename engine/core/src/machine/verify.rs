//! Replay: the recorded events of a run against what the machine decides now.

use std::fmt;

use crate::Value;

use super::admit::due;
use super::apply::{Misfit, exported};
use super::decide::decide;
use super::event::{Command, Event, Export};
use super::ids::ActId;
use super::state::{Run, Status};
use super::turn::Env;

/// Where and why a replay differs from the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Index of the event in its entry.
    pub index: usize,
    /// Reference of the task it is about, if any.
    pub task: Option<String>,
    /// What the record has.
    pub found: Option<Event>,
    /// What the machine decides now; `None` if it would wait for the outside.
    pub expected: Option<Event>,
    /// What does not fit, if the event cannot be applied at all.
    pub misfit: Option<Misfit>,
}

impl Divergence {
    /// A guess at why, for people.
    pub fn likely_cause(&self) -> &'static str {
        match (&self.found, &self.expected, &self.misfit) {
            (_, _, Some(_)) => {
                "the record was written by another version of cpd, or entries are missing or out of order"
            }
            (Some(a), Some(b), _) if std::mem::discriminant(a) == std::mem::discriminant(b) => {
                "an expression or a policy gives another value now: it is evaluated by another version, or the recorded \
                 value was changed"
            }
            (Some(_), Some(_), _) => "the definition or the rules of this version lead elsewhere",
            (Some(_), None, _) => "the record has an event that nothing led to",
            (None, _, _) => "the record ends too early: an entry was cut, or another version stopped here",
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |e: &Option<Event>| e.as_ref().map_or("nothing", Event::name);
        match &self.misfit {
            Some(misfit) => write!(f, "{misfit}"),
            None => write!(f, "recorded {}, expected {}", name(&self.found), name(&self.expected)),
        }?;
        self.task.as_ref().map_or(Ok(()), |t| write!(f, " at task {t}"))
    }
}

impl Run {
    /// Applies a recorded entry, deciding again whatever was decided, and comparing.
    ///
    /// `env.at` is the entry's time. The first event of an entry may come from outside; all others must follow. An entry may
    /// end before all that follows has been decided: a long turn yields, and a process that calls nobody goes no further.
    ///
    /// # Errors
    /// The first difference. The run has the state before it.
    pub fn verify(
        &mut self,
        events: &[Event],
        env: &Env<'_>,
        commands: &mut Vec<Command>,
    ) -> Result<(), Box<Divergence>> {
        self.verify_part(events, false, env, commands)
    }

    /// The same for a part of an entry: `begun` if its first event was applied already.
    ///
    /// # Errors
    /// The first difference; its index counts from the first of `events`.
    pub fn verify_part(
        &mut self,
        events: &[Event],
        begun: bool,
        env: &Env<'_>,
        commands: &mut Vec<Command>,
    ) -> Result<(), Box<Divergence>> {
        for (index, found) in events.iter().enumerate() {
            let outside = index == 0 && !begun && !found.is_decided();
            let expected = if outside { self.expected_from_outside(found, env) } else { decide(self, env) };
            let fits = match &expected {
                Some(expected) => same(self, expected, found),
                None => outside,
            };
            let task = || found.act().and_then(|a| self.act(a)).map(|a| self.node_of(a).pointer.to_string());
            if !fits {
                let (task, found) = (task(), Some(found.clone()));
                return Err(Box::new(Divergence { index, task, found, expected, misfit: None }));
            }
            let task = task();
            self.apply(found, env.at, commands).map_err(|misfit| {
                let (found, expected, misfit) = (Some(found.clone()), expected.clone(), Some(misfit));
                Box::new(Divergence { index, task, found, expected, misfit })
            })?;
        }
        Ok(())
    }

    /// Timers are from outside, but which one is due is not.
    fn expected_from_outside(&self, found: &Event, env: &Env<'_>) -> Option<Event> {
        match found {
            Event::TimerFired { .. }
            | Event::DeadlinePassed { .. }
            | Event::TryRetried { .. }
            | Event::ApprovalEscalated { .. } => due(self, env.at),
            _ => None,
        }
    }
}

/// Equal but for measurements, and for how an export is written down: that depends on which values happen to be one in
/// memory, and a state that was folded shares fewer of them than the one that was live.
fn same(run: &Run, expected: &Event, found: &Event) -> bool {
    match (expected, found) {
        (
            Event::PolicyDecided { act, input, decision, micros: _ },
            Event::PolicyDecided { act: a, input: i, decision: d, micros: _ },
        ) => act == a && input == i && decision == d,
        (
            Event::TaskCompleted { act, output, export: Some(export) },
            Event::TaskCompleted { act: a, output: o, export: Some(e) },
        ) => act == a && output == o && (export == e || exports_same(run, *act, output.as_ref(), [export, e])),
        (expected, found) => expected == found,
    }
}

/// Whether both make the same context.
fn exports_same(run: &Run, act: ActId, output: Option<&Value>, exports: [&Export; 2]) -> bool {
    let Some(Status::Returned { output: raw, .. }) = run.act(act).map(|act| &act.status) else { return false };
    let [a, b] = exports.map(|export| exported(&run.context, export, output.unwrap_or(raw)));
    a == b
}
