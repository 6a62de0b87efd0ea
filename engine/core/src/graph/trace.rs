//! Follows a run through the graph of its definition.
//!
//! The machine alone says what happens; this looks at the state after every event and keeps, for each live act, the places that
//! control has come to inside of it. When a task begins, control goes from there to it: that is a way which was taken. What the
//! machine ended without that is cancelled, or failed if an error ended it.
//!
//! Never: a decision of its own, a way that was not taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::marks::{Mark, Marks, State};
use super::words::line;
use super::{Graph, Kind, Place};
use crate::definition::plan::{Action, NodeId, Then};
use crate::machine::extend::extended_task;
use crate::machine::{Act, ActId, CallPhase, Event, Handling, Phase, Run, Status};
use crate::time::Timestamp;

/// A run that is followed event by event.
pub struct Trace {
    graph: Graph,
    /// Blocks by node.
    index: BTreeMap<NodeId, usize>,
    /// Ways by where they begin.
    leaving: BTreeMap<Place, Vec<usize>>,
    marks: Vec<Mark>,
    ways: Vec<u32>,
    acts: BTreeMap<ActId, Followed>,
    next: u32,
}

/// A place that control has come to, and the kind of way by which it leaves.
type Spot = (Place, Kind);

/// A live act.
struct Followed {
    node: NodeId,
    parent: Option<ActId>,
    since: Timestamp,
    /// Where control is inside of it.
    spots: Vec<Spot>,
    /// `fork`: where the branches that are through have come to.
    joined: Vec<Spot>,
    /// How it leaves, where that is not as its definition says.
    then: Option<Then>,
    begun: bool,
    failing: bool,
    again: bool,
}

impl Trace {
    /// Nothing has happened yet.
    pub fn new(graph: Graph) -> Self {
        let mut leaving: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (number, way) in graph.ways.iter().enumerate() {
            leaving.entry(way.from).or_default().push(number);
        }
        Self {
            index: graph.blocks.iter().enumerate().map(|(index, block)| (block.node, index)).collect(),
            leaving,
            marks: vec![Mark::default(); graph.blocks.len()],
            ways: vec![0; graph.ways.len()],
            acts: BTreeMap::new(),
            next: 0,
            graph,
        }
    }

    /// Takes the next event; `run` is the state after it, with [`Run::departed`] of this event alone.
    pub fn event(&mut self, run: &Run, event: &Event, at: Timestamp) {
        let gone: BTreeSet<ActId> = run.departed.iter().map(|d| d.act).collect();
        let born: Vec<&Act> = run.acts.iter().filter(|act| act.id.0 >= self.next).collect();
        self.happened(run, event);
        if let Some(act) = event.act() {
            let parents: BTreeSet<ActId> = born.iter().filter_map(|act| act.parent).collect();
            self.ended(run, act, &gone, &parents, at);
        }
        if let Event::RunCompleted { .. } = event {
            let spots = self.acts.get(&ActId(0)).map(|root| root.spots.clone()).unwrap_or_default();
            self.arrive(&spots, Place::End);
            self.acts.remove(&ActId(0));
        }
        if let Event::RunFaulted { .. } = event {
            // An error that nothing caught ends everything around it, too.
            let failing = self.acts.iter().filter(|(_, followed)| followed.failing).map(|(id, _)| *id);
            for act in failing.collect::<Vec<_>>() {
                self.mark_path(act, None, State::Failed);
            }
        }
        for act in &gone {
            if let Some(left) = self.acts.remove(act) {
                self.dropped(&left, at);
            }
        }
        for act in born {
            self.begins(act);
        }
        self.next = self.next.max(run.next_act);
    }

    /// The graph, and what the run has done so far; its last event was at `last`.
    pub fn marks(mut self, run: &Run, last: Timestamp) -> (Graph, Marks) {
        for act in &run.acts {
            let Some(block) = self.index.get(&act.node).copied() else { continue };
            let inside = run.acts.iter().any(|other| other.parent == Some(act.id));
            let mark = &mut self.marks[block];
            (mark.state, mark.now) = now(act, inside);
        }
        let reason = match &run.phase {
            Phase::Faulted { problem } => Some(Arc::from(problem.to_string())),
            Phase::Cancelled { reason } => Some(reason.clone()),
            Phase::Running | Phase::Paused | Phase::Completed { .. } => None,
        };
        let (phase, started) = (run.phase.name(), run.started_at);
        let marks = Marks { run: run.id, phase, reason, started, last, blocks: self.marks, ways: self.ways };
        (self.graph, marks)
    }

    // ---- what an event says of its own act ------------------------------------------------------------------------

    fn happened(&mut self, run: &Run, event: &Event) {
        let Some(id) = event.act() else { return };
        let failed = run.act(id).and_then(|act| match &act.status {
            Status::Failing { problem, .. } => Some(line(&problem.to_string())),
            _ => None,
        });
        let Some(followed) = self.acts.get_mut(&id) else { return };
        let block = self.index.get(&followed.node).copied();
        let here = block.map_or(Place::Start, Place::Block);
        let action = &run.plan.node(followed.node).action;
        let mut nobody = Mark::default();
        let mark = block.map_or(&mut nobody, |block| &mut self.marks[block]);
        match event {
            Event::TaskSkipped { .. } => {
                mark.skipped += 1;
                mark.state = State::Skipped;
                followed.spots = vec![(here, Kind::Skip)];
                followed.then = Some(Then::Continue);
            }
            Event::TaskEntered { .. }
            | Event::TaskReturned { .. }
            | Event::EventEmitted { .. }
            | Event::CaseTaken { .. }
            | Event::PolicyDecided { .. }
            | Event::TaskStarted { .. }
            | Event::WaitStarted { .. }
            | Event::ListenStarted { .. }
            | Event::ApprovalRequested { .. } => {
                mark.taken += 1;
                followed.begun = true;
                // Into the first list of a composite task; out of any other.
                let inside = matches!(event, Event::TaskEntered { .. });
                followed.spots = vec![(here, if inside { Kind::Into } else { Kind::Next })];
            }
            Event::TaskRetried { .. } => {
                mark.retried += 1;
                followed.again = true;
            }
            Event::TryRetried { .. } => {
                mark.retried += 1;
                followed.again = true;
                followed.spots = vec![(here, Kind::Into)];
            }
            Event::IterationStarted { .. } => followed.spots = vec![(here, Kind::Into)],
            Event::EventTaken { until: false, .. } if run.act(id).is_some_and(busy) => {
                followed.spots = vec![(here, Kind::Into)];
            }
            Event::LoopEnded { .. } => followed.spots = vec![(here, Kind::Next)],
            _ => {}
        }
        if let (Event::CaseTaken { case, .. }, Action::Switch(cases)) = (event, action) {
            let none = u32::try_from(cases.len()).unwrap_or(u32::MAX);
            followed.spots = vec![(here, Kind::Case(case.unwrap_or(none)))];
            followed.then = case.and_then(|case| cases.get(case as usize)).map(|case| case.then);
        }
        if let Some(problem) = failed.filter(|_| !followed.failing) {
            // A `raise`, or a task that could not begin, has no other event.
            mark.taken += u32::from(!followed.begun);
            (followed.begun, followed.failing) = (true, true);
            mark.failed += 1;
            mark.state = State::Failed;
            mark.problem = Some(problem);
        }
        if let Event::ErrorCaught { from, handling, .. } = event {
            mark.caught += 1;
            followed.failing = false;
            followed.spots = vec![(here, Kind::Error)];
            if let (Handling::Handle | Handling::Swallow, Action::Try { catch, .. }) = (handling, action) {
                followed.then = catch.then;
            }
            self.mark_path(*from, Some(id), State::Caught);
        }
    }

    /// Every task from the failing one up to the one that caught the error, if one did, ended with it.
    fn mark_path(&mut self, from: ActId, until: Option<ActId>, state: State) {
        let mut next = Some(from);
        while let Some((id, followed)) =
            next.filter(|id| Some(*id) != until).and_then(|id| self.acts.get_key_value(&id))
        {
            let (id, parent, block) = (*id, followed.parent, self.index.get(&followed.node).copied());
            if let Some(block) = block {
                let mark = &mut self.marks[block];
                mark.failed += u32::from(!followed.failing);
                mark.state = state;
            }
            if let Some(followed) = self.acts.get_mut(&id) {
                followed.failing = true;
            }
            next = parent;
        }
    }

    // ---- what ends --------------------------------------------------------------------------------------------------

    /// The act of an event is done, and with it perhaps those around it.
    fn ended(&mut self, run: &Run, act: ActId, gone: &BTreeSet<ActId>, goes_on: &BTreeSet<ActId>, at: Timestamp) {
        let plan = &run.plan;
        let mut next = Some(act);
        while let Some(done) = next.filter(|id| gone.contains(id)).and_then(|id| self.acts.remove(&id)) {
            let spots = done.spots.clone();
            let then = done.then.unwrap_or_else(|| plan.node(done.node).then);
            self.close(&done, at);
            next = done.parent;
            let Some(id) = done.parent else { break };
            if then == Then::End {
                // Whatever stands around it ends with it, and was no failure.
                while let Some(around) = next.filter(|id| gone.contains(id)).and_then(|id| self.acts.remove(&id)) {
                    self.close(&around, at);
                    next = around.parent;
                }
                if let Some(root) = self.acts.get_mut(&ActId(0)) {
                    root.spots = spots;
                }
                break;
            }
            let Some(parent) = self.acts.get_mut(&id) else { break };
            match &plan.node(parent.node).action {
                Action::Fork { compete: false, .. } => {
                    parent.joined.extend(spots);
                    if gone.contains(&id) || run.act(id).is_some_and(|a| !matches!(a.status, Status::Branches { .. })) {
                        parent.spots = std::mem::take(&mut parent.joined);
                    }
                }
                Action::For(_) | Action::Listen(_) if !goes_on.contains(&id) || gone.contains(&id) => {
                    let header = self.index.get(&parent.node).copied().map_or(Place::Start, Place::Block);
                    parent.spots = vec![(header, Kind::Next)];
                    self.arrive(&spots, header);
                }
                Action::Extended(extended) => {
                    parent.spots = spots;
                    if done.node == extended.inner {
                        parent.then = Some(then);
                    } else if then == Then::Exit && extended.before.contains(&done.node) {
                        parent.then = Some(extended_task(plan, extended.inner).then);
                    }
                }
                _ => parent.spots = spots,
            }
        }
    }

    /// An act that has done what it was for.
    fn close(&mut self, done: &Followed, at: Timestamp) {
        let Some(mark) = self.index.get(&done.node).map(|block| &mut self.marks[*block]) else { return };
        mark.took += at.since(done.since);
        if !done.begun {
            return;
        }
        mark.state = if done.again { State::Retried } else { State::Taken };
    }

    /// An act that was ended from outside, or by an error.
    fn dropped(&mut self, left: &Followed, at: Timestamp) {
        let Some(mark) = self.index.get(&left.node).map(|block| &mut self.marks[*block]) else { return };
        mark.took += at.since(left.since);
        if !left.failing {
            mark.cancelled += 1;
            mark.state = State::Cancelled;
        }
    }

    // ---- what begins ------------------------------------------------------------------------------------------------

    fn begins(&mut self, act: &Act) {
        let followed = Followed {
            node: act.node,
            parent: act.parent,
            since: act.started_at,
            spots: vec![(Place::Start, Kind::Next)],
            joined: Vec::new(),
            then: None,
            begun: false,
            failing: false,
            again: false,
        };
        let spots = act.parent.and_then(|parent| self.acts.get(&parent)).map(|parent| parent.spots.clone());
        if let (Some(spots), Some(block)) = (spots, self.index.get(&act.node).copied()) {
            self.arrive(&spots, Place::Block(block));
        }
        self.acts.insert(act.id, followed);
    }

    /// Control goes from each of these places to another one.
    fn arrive(&mut self, spots: &[Spot], to: Place) {
        for (from, kind) in spots {
            let all = self.leaving.get(from).map(Vec::as_slice).unwrap_or_default();
            let fits = |way: &&usize| self.graph.ways[**way].to == to;
            let alike = |way: &&usize| match (self.graph.ways[**way].kind, *kind) {
                (Kind::Back, Kind::Next) => true,
                (way, kind) => way == kind,
            };
            let way = all.iter().filter(fits).find(alike).or_else(|| all.iter().find(fits));
            if let Some(way) = way {
                self.ways[*way] += 1;
            }
        }
    }
}

/// Whether a listen runs its `foreach`.
fn busy(act: &Act) -> bool {
    matches!(&act.status, Status::Listening(listening) if listening.busy)
}

/// What a live act does now. `inside` says whether acts inside of it are live.
fn now(act: &Act, inside: bool) -> (State, Option<String>) {
    let until = |at: Timestamp| at.to_string().get(..19).unwrap_or_default().replace('T', " ") + " UTC";
    let waits = |words: String| (State::Waiting, Some(words));
    let runs = |words: String| (State::Running, Some(words));
    match &act.status {
        _ if inside => (State::Running, None),
        Status::Waiting { until: at } => waits(format!("until {}", until(*at))),
        Status::Delayed { until: at, attempt, .. } => waits(format!("attempt {attempt} at {}", until(*at))),
        Status::Listening(_) => waits("for an event".to_owned()),
        Status::Approving(_) => waits("for people to decide".to_owned()),
        Status::Calling(calling) => match &calling.phase {
            CallPhase::InFlight if calling.attempt > 1 => runs(format!("attempt {} is in flight", calling.attempt)),
            CallPhase::InFlight => runs("in flight".to_owned()),
            CallPhase::BackingOff { until: at } => waits(format!("called again at {}", until(*at))),
            CallPhase::Parked(_) => waits("for an operator to say what became of it".to_owned()),
            CallPhase::Undetermined { .. } | CallPhase::Reconciling(_) | CallPhase::Unreconciled(_) => {
                waits("its outcome is unknown".to_owned())
            }
        },
        Status::Failing { .. } => (State::Failed, None),
        Status::Ready
        | Status::List { .. }
        | Status::Loop { .. }
        | Status::Branches { .. }
        | Status::Extended { .. }
        | Status::Trying { .. }
        | Status::Catching { .. }
        | Status::Publishing { .. }
        | Status::Returned { .. } => (State::Running, None),
    }
}
