//! Events from outside and the acts that wait for them.
//!
//! ```text
//! Input::Event ─→ received ─→ EventReceived ─→ inbox ─┐
//!                                                     ├→ next: EventTaken | EventsPassed
//!                     ListenStarted ─→ Listening ─────┘
//! ```
//!
//! - A run takes an event only if some `listen` of its definition may want it, going by what is literal in the filters. It
//!   takes it once: events are told apart by `source` and `id`, as CloudEvents 1.0 says.
//! - Events have numbers, in the order in which the run got them, and wait in the inbox until an act takes them: an event
//!   that comes before its `listen` begins is not lost. Every act that listens at the time may take the same event. One
//!   that was taken goes as soon as all who listen have looked at it. At most [`INBOX_MAX`] wait; then the oldest goes, and the
//!   record says so.
//! - An act looks at events in order of number. What it takes, and whether that was the last one, is decided here and
//!   journaled; folding needs no expression.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::Value;
use crate::definition::plan::{Action, Consume, EventFilter, Listen, Matcher, Node, NodeId, Plan, Read, Until};
use crate::problem::Problem;
use crate::time::Timestamp;
use crate::value::Map;

use super::apply::Misfit;
use super::decide::{eval, fill, test};
use super::event::{Command, Event};
use super::ids::ActId;
use super::scope::Place;
use super::state::{Act, Binding, Run, Status};
use super::turn::{Env, Rejected};

/// The most events that wait for an act to take them.
pub const INBOX_MAX: usize = 1_000;
/// So many events are remembered, so that none is taken twice.
const SEEN_MAX: usize = 1_000;

/// Events that a run was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inbox {
    /// Those that still matter, in order of number.
    pub events: VecDeque<Received>,
    /// The number that the next one gets.
    pub next: u64,
    seen: BTreeSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

/// An event that a run was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Its number.
    pub number: u64,
    /// The CloudEvent.
    pub event: Value,
    /// Whether an act has taken it.
    pub taken: bool,
}

/// A `listen` under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listening {
    /// The number of the next event that it looks at.
    pub next: u64,
    /// What it has gathered.
    pub gathered: Vec<Value>,
    /// Which filters were met (`all`).
    pub met: Vec<bool>,
    /// Which filters of `until` were met.
    pub until_met: Vec<bool>,
    /// Correlation values.
    pub keys: Map,
    /// `foreach`: the current event, as it is read.
    pub item: Value,
    /// `foreach`: its index.
    pub index: u32,
    /// Whether `foreach` is running.
    pub busy: bool,
    /// Whether no event comes after the current one.
    pub closing: bool,
}

/// Everything that an [`Inbox`] is made of, for whoever writes a state down.
pub struct InboxParts<'a> {
    /// Those that still matter, in order of number.
    pub events: &'a VecDeque<Received>,
    /// The number that the next one gets.
    pub next: u64,
    /// The identities of the events that are remembered, oldest first.
    pub remembered: &'a VecDeque<Arc<str>>,
}

impl Inbox {
    /// Everything that it is made of.
    pub fn parts(&self) -> InboxParts<'_> {
        // `seen` is the set of `order`.
        let Inbox { events, next, seen: _, order } = self;
        InboxParts { events, next: *next, remembered: order }
    }

    /// An inbox of such parts.
    pub fn from_parts(events: VecDeque<Received>, next: u64, remembered: VecDeque<Arc<str>>) -> Self {
        Self { events, next, seen: remembered.iter().cloned().collect(), order: remembered }
    }

    fn identity(event: &Value) -> Option<Arc<str>> {
        let part = |key: &str| event.get(key).and_then(Value::as_str);
        part("id").map(|id| Arc::from(format!("{}\n{id}", part("source").unwrap_or(""))))
    }

    fn knows(&self, event: &Value) -> bool {
        Self::identity(event).is_some_and(|id| self.seen.contains(&id))
    }

    fn push(&mut self, event: Value) {
        if let Some(id) = Self::identity(&event).filter(|id| self.seen.insert(id.clone())) {
            self.order.push_back(id);
            if self.order.len() > SEEN_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.seen.remove(&oldest);
            }
        }
        self.events.push_back(Received { number: self.next, event, taken: false });
        self.next += 1;
    }
}

impl Listen {
    /// The types of events that it waits for, as far as they are fixed.
    pub fn types(&self) -> Vec<Arc<str>> {
        let kind = |filter: &EventFilter| {
            filter.attributes.iter().find_map(|(key, matcher)| match matcher {
                Matcher::Equal(Value::Str(text)) if &**key == "type" => Some(text.clone()),
                Matcher::Pattern(text, _) if &**key == "type" => Some(text.clone()),
                _ => None,
            })
        };
        self.filters.iter().filter_map(kind).collect()
    }

    /// Whether it may want the event, going by what is literal.
    fn may_want(&self, event: &Value) -> bool {
        let until = match &self.until {
            Some(Until::Events { filters, .. }) => filters.as_slice(),
            _ => &[],
        };
        self.filters.is_empty() || self.filters.iter().chain(until).any(|f| f.may_match(event))
    }
}

impl EventFilter {
    fn may_match(&self, event: &Value) -> bool {
        self.attributes.iter().all(|(key, matcher)| matcher.may_match(event.get(key).unwrap_or(&Value::Null)))
    }
}

impl Matcher {
    fn may_match(&self, value: &Value) -> bool {
        match self {
            Matcher::Equal(expected) => value == expected,
            Matcher::Pattern(text, pattern) => value.as_str().is_some_and(|v| v == &**text || pattern.is_match(v)),
            Matcher::Members(members) => {
                members.iter().all(|(key, m)| m.may_match(value.get(key).unwrap_or(&Value::Null)))
            }
            Matcher::Computed(_) => true,
        }
    }
}

impl Plan {
    /// Whether some `listen` may want the event, going by what is literal in its filters.
    pub fn may_want(&self, event: &Value) -> bool {
        self.nodes.iter().any(|n| matches!(&n.action, Action::Listen(listen) if listen.may_want(event)))
    }

    /// Whether there is a `listen` in it.
    pub fn listens(&self) -> bool {
        self.nodes.iter().any(|n| matches!(n.action, Action::Listen(_)))
    }
}

/// What an event from outside means for a run; nothing, if the run has it already.
pub(super) fn received(run: &Run, event: Value) -> Result<Option<Event>, Rejected> {
    let Some(kind) = event.get("type").and_then(Value::as_str) else {
        return Err(Rejected::NoEvent { what: "it has no `type`", run: run.id });
    };
    if !run.plan.may_want(&event) {
        return Err(Rejected::NotListening { kind: kind.to_owned(), run: run.id });
    }
    if run.inbox.knows(&event) {
        return Ok(None);
    }
    let displaces = run.inbox.events.iter().filter(|r| !r.taken).count() >= INBOX_MAX;
    Ok(Some(Event::EventReceived { event, displaces }))
}

/// What a listening act does about the events that it has not looked at.
pub(super) fn next(run: &Run, act: &Act, node: &Node, env: &Env<'_>, listening: &Listening) -> Result<Event, Problem> {
    let Action::Listen(listen) = &node.action else { unreachable!("only a listen listens") };
    let locals = Binding::flatten(act.bindings.as_ref());
    let place = Place::new(run, act, node, env, &locals).input(&act.input);
    let look = Look { place: &place, input: &act.input, keys: &listening.keys };
    for received in run.inbox.events.iter().filter(|r| r.number >= listening.next) {
        let (event, number) = (&received.event, received.number);
        if let Some(Until::Events { consume, filters }) = &listen.until
            && let Some((filter, keys)) = look.first(filters, &listening.until_met, *consume, event)?
        {
            let last = all_met(*consume, &listening.until_met, filter);
            return Ok(Event::EventTaken { act: act.id, number, filter: Some(filter), until: true, keys, last });
        }
        let (filter, keys) = match look.first(&listen.filters, &listening.met, listen.consume, event)? {
            Some((filter, keys)) => (Some(filter), keys),
            None if listen.filters.is_empty() => (None, None),
            None => continue,
        };
        let last = match (listen.consume, &listen.until) {
            (Consume::Any, Some(Until::Condition(program))) => {
                let item = read(listen.read, event);
                test(program, &place, &item, "listen.to.until")?
            }
            (Consume::Any, Some(Until::Events { .. })) => false,
            (consume, _) => all_met(consume, &listening.met, filter.unwrap_or(0)),
        };
        return Ok(Event::EventTaken { act: act.id, number, filter, until: false, keys, last });
    }
    Ok(Event::EventsPassed { act: act.id, upto: run.inbox.next })
}

/// Whether it is enough that this filter is met now.
fn all_met(consume: Consume, met: &[bool], now: u32) -> bool {
    match consume {
        Consume::One | Consume::Any => true,
        Consume::All => (0u32..).zip(met).all(|(index, met)| *met || index == now),
    }
}

fn read(read: Read, event: &Value) -> Value {
    match read {
        Read::Envelope => event.clone(),
        Read::Data => event.get("data").cloned().unwrap_or_default(),
        Read::Raw => event.get("data_base64").or(event.get("data")).cloned().unwrap_or_default(),
    }
}

/// What filters can see.
struct Look<'a> {
    place: &'a Place<'a>,
    input: &'a Value,
    keys: &'a Map,
}

impl Look<'_> {
    /// The first filter that the event meets and that is still to be met, with the correlation values after it if it has set
    /// any.
    fn first(
        &self,
        filters: &[EventFilter],
        met: &[bool],
        consume: Consume,
        event: &Value,
    ) -> Result<Option<(u32, Option<Value>)>, Problem> {
        for (index, filter) in (0u32..).zip(filters) {
            let done = consume == Consume::All && met.get(index as usize).copied().unwrap_or(false);
            if done || !filter.may_match(event) || !self.attributes(filter, event) {
                continue;
            }
            if let Some(keys) = self.correlated(filter, event)? {
                return Ok(Some((index, keys)));
            }
        }
        Ok(None)
    }

    fn attributes(&self, filter: &EventFilter, event: &Value) -> bool {
        filter.attributes.iter().all(|(key, m)| self.matches(m, event.get(key).unwrap_or(&Value::Null), event))
    }

    fn matches(&self, matcher: &Matcher, value: &Value, event: &Value) -> bool {
        match matcher {
            Matcher::Equal(_) | Matcher::Pattern(..) => matcher.may_match(value),
            Matcher::Members(members) => {
                members.iter().all(|(key, m)| self.matches(m, value.get(key).unwrap_or(&Value::Null), event))
            }
            // Authors write it about the attribute, or about the event. An expression that fails does not hold.
            Matcher::Computed(program) => {
                [value, event].into_iter().any(|dot| match eval(program, self.place, dot, "an event filter") {
                    Ok(Value::Bool(holds)) if !matches!(value, Value::Bool(_)) => holds,
                    Ok(expected) => expected == *value,
                    Err(_) => false,
                })
            }
        }
    }

    /// `None` if the event does not belong; else the correlation values, if it has set any.
    #[expect(clippy::option_option, reason = "whether it belongs, and whether it has set any")]
    fn correlated(&self, filter: &EventFilter, event: &Value) -> Result<Option<Option<Value>>, Problem> {
        let mut keys: Option<Map> = None;
        for correlation in &filter.correlate {
            // An event without the value is another one's.
            let value = eval(&correlation.from, self.place, event, "correlate.from").unwrap_or_default();
            if value == Value::Null {
                return Ok(None);
            }
            if let Some(expect) = &correlation.expect
                && fill(expect, self.place, self.input, "correlate.expect")? != value
            {
                return Ok(None);
            }
            match keys.as_ref().unwrap_or(self.keys).get(&correlation.key) {
                Some(bound) if *bound != value => return Ok(None),
                Some(_) => {}
                None => {
                    let known = self.keys;
                    drop(keys.get_or_insert_with(|| known.clone()).insert(correlation.key.clone(), value));
                }
            }
        }
        Ok(Some(keys.map(Value::from)))
    }
}

impl Run {
    /// A `listen` begins.
    pub(super) fn begin_listening(&mut self, index: usize) {
        let first = self.inbox.events.front().map_or(self.inbox.next, |r| r.number);
        let plan = self.plan.clone();
        let act = &mut self.acts[index];
        let Action::Listen(listen) = &plan.node(act.node).action else { unreachable!("only a listen listens") };
        let until = match &listen.until {
            Some(Until::Events { filters, .. }) => filters.len(),
            _ => 0,
        };
        let id = act.id;
        act.status = Status::Listening(Box::new(Listening {
            next: first,
            met: vec![false; listen.filters.len()],
            until_met: vec![false; until],
            ..Listening::default()
        }));
        if !self.inbox.events.is_empty() {
            self.agenda.push_back(id);
        }
    }

    pub(super) fn apply_to_listening(
        &mut self,
        event: &Event,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) -> Result<(), Misfit> {
        match event {
            Event::EventReceived { event, displaces } => {
                if *displaces && let Some(oldest) = self.inbox.events.iter().position(|r| !r.taken) {
                    self.inbox.events.remove(oldest);
                }
                self.inbox.push(event.clone());
                for act in &self.acts {
                    if matches!(&act.status, Status::Listening(l) if !l.busy) && !self.agenda.contains(&act.id) {
                        self.agenda.push_back(act.id);
                    }
                }
            }
            Event::EventPublished { act } => {
                let index = self.index(event, *act, "publishing")?;
                let Status::Publishing { event: published } = &self.acts[index].status else {
                    return Err(self.misfit_act(event, *act, "publishing"));
                };
                let (output, then) = (published.clone(), self.plan.node(self.acts[index].node).then);
                self.returned(*act, output, then, at, commands);
            }
            Event::EventsPassed { act, upto } => {
                let index = self.index(event, *act, "listening")?;
                match &mut self.acts[index].status {
                    Status::Listening(l) if !l.busy && *upto <= self.inbox.next => l.next = *upto,
                    _ => return Err(self.misfit_act(event, *act, "listening")),
                }
                self.settle(*act);
            }
            Event::EventTaken { act, .. } => self.take_event(event, *act, at, commands)?,
            other => unreachable!("{} is not about listening", other.name()),
        }
        self.clear_inbox();
        Ok(())
    }

    fn take_event(
        &mut self,
        taken: &Event,
        id: ActId,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) -> Result<(), Misfit> {
        let Event::EventTaken { number, filter, until, keys, last, .. } = taken else {
            unreachable!("the caller has looked")
        };
        let index = self.index(taken, id, "listening")?;
        let plan = self.plan.clone();
        let node = plan.node(self.acts[index].node);
        let (Action::Listen(listen), Status::Listening(l)) = (&node.action, &mut self.acts[index].status) else {
            return Err(self.misfit_act(taken, id, "listening"));
        };
        let place = self.inbox.events.iter().position(|r| r.number == *number);
        let Some(place) = place.filter(|_| !l.busy && *number >= l.next) else {
            return Err(self.misfit_act(taken, id, "listening, with that event in the inbox"));
        };
        let received = &mut self.inbox.events[place];
        received.taken = true;
        l.next = *number + 1;
        let met = if *until { &mut l.until_met } else { &mut l.met };
        if let Some(met) = filter.and_then(|f| met.get_mut(f as usize)) {
            *met = true;
        }
        if let Some(Value::Obj(keys)) = keys {
            l.keys = (**keys).clone();
        }
        let foreach = listen.foreach.first().copied();
        let item = read(listen.read, &received.event);
        match (until, foreach) {
            (false, Some(_)) => (l.busy, l.closing, l.item) = (true, *last, item.clone()),
            (false, None) => l.gathered.push(item.clone()),
            (true, _) => {}
        }
        let (busy, more) = (l.busy, l.next < self.inbox.next);
        self.settle(id);
        match foreach {
            Some(body) if busy => self.spawn_in_list(id, body, item, at),
            _ if *last => self.heard(id, at, commands),
            _ if more => self.agenda.push_back(id),
            _ => {}
        }
        Ok(())
    }

    /// The `foreach` of a listen is through for one event.
    pub(super) fn foreach_ended(&mut self, id: ActId, output: Value, at: Timestamp, commands: &mut Vec<Command>) {
        let next = self.inbox.next;
        let Some(Status::Listening(l)) = self.act_mut(id).map(|a| &mut a.status) else {
            unreachable!("only a listen has a foreach")
        };
        l.gathered.push(output);
        (l.busy, l.item) = (false, Value::Null);
        l.index += 1;
        if l.closing {
            self.heard(id, at, commands);
        } else if l.next < next {
            self.agenda.push_back(id);
        }
    }

    fn heard(&mut self, id: ActId, at: Timestamp, commands: &mut Vec<Command>) {
        let node: NodeId = self.act(id).expect("a live act").node;
        let Some(Status::Listening(l)) = self.act_mut(id).map(|a| &mut a.status) else {
            unreachable!("only a listen hears")
        };
        let output = Value::from(std::mem::take(&mut l.gathered));
        let then = self.plan.node(node).then;
        self.returned(id, output, then, at, commands);
    }

    /// Forgets events that were taken and that nobody is still to look at.
    fn clear_inbox(&mut self) {
        let behind = self.acts.iter().filter_map(|a| match &a.status {
            Status::Listening(l) => Some(l.next),
            _ => None,
        });
        let behind = behind.min().unwrap_or(u64::MAX);
        self.inbox.events.retain(|r| !r.taken || r.number >= behind);
    }
}
