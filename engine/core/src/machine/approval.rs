//! Approvals: a run asks people, and goes on with what they decide.
//!
//! ```text
//! Ready ─ ApprovalRequested ─→ Approving ─ ApprovalVoted … the last one ─→ Returned
//!                               │   ↑  ApprovalDelegated, ApprovalEscalated
//!                               └─ timeout of the task ─→ Failing
//! ```
//!
//! - Who may vote stands in the request, which is evaluated once and journaled: people, groups of people, how many of them
//!   ([`Terms::quorum`]), and whether the one who started the run is one of them. Without people and groups, whoever is let in
//!   may.
//! - Everybody votes once. The approvals that the quorum asks for approve; one rejection rejects.
//! - Somebody who may vote can hand that over to another one, who then votes in their stead. After `escalate.after` those of
//!   `escalate.to` may vote, too.
//! - Who somebody is, is for the door to say, and not for the machine: a vote comes with a name and groups, and the journal
//!   keeps the name.

use std::sync::Arc;
use std::time::Duration;

use crate::Value;
use crate::definition::duration;
use crate::definition::plan::{Action, Plan};
use crate::json;
use crate::time::Timestamp;
use crate::value::Map;

use super::apply::Misfit;
use super::decide::brief;
use super::event::{Command, Event};
use super::state::{Act, Run, Status, WakeSource};
use super::turn::Rejected;

/// The most approvals that a request can ask for.
const QUORUM_MAX: i64 = 100;

/// What an approval asks for: the members of `with`.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// What is to be approved, in one line.
    pub title: Arc<str>,
    /// Who may vote.
    pub approvers: People,
    /// So many approvals approve.
    pub quorum: u32,
    /// Whether the one who started the run may not vote.
    pub exclude_initiator: bool,
    /// After how long others may vote, too.
    pub escalate: Option<(Duration, People)>,
}

/// People, by name and by group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct People {
    /// Names.
    pub users: Vec<Arc<str>>,
    /// Groups.
    pub groups: Vec<Arc<str>>,
}

/// Who somebody is, whatever the way in which they came: the command line says `cli:` before a name, the door says `oidc:`
/// before that of somebody who has logged in. Other names keep what stands before them: a `token:` is nobody, and a provider
/// with a label of its own has people of its own.
pub fn person(name: &str) -> &str {
    name.strip_prefix("cli:").or_else(|| name.strip_prefix("oidc:")).unwrap_or(name)
}

/// An approval under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Approving {
    /// The evaluated `with`.
    pub request: Value,
    /// What it asks for.
    pub terms: Terms,
    /// When it was asked for.
    pub since: Timestamp,
    /// Whether `escalate.after` has passed.
    pub escalated: bool,
    /// The votes so far.
    pub votes: Vec<Vote>,
    /// Who has handed their vote over to whom.
    pub delegations: Vec<(Arc<str>, Arc<str>)>,
}

/// A vote.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// Who.
    pub by: Arc<str>,
    /// In whose stead.
    pub on_behalf_of: Option<Arc<str>>,
    /// Whether it approves.
    pub approves: bool,
    /// Why.
    pub comment: Arc<str>,
    /// When.
    pub at: Timestamp,
}

impl People {
    fn read(value: &Value, what: &str) -> Result<Self, String> {
        let mut people = Self::default();
        let members = value.as_object().ok_or_else(|| format!("`{what}` is {}, expected an object", brief(value)))?;
        for (key, value) in members {
            let names = match &**key {
                "user" | "users" => &mut people.users,
                "group" | "groups" => &mut people.groups,
                _ => continue,
            };
            let one = std::slice::from_ref(value);
            for name in value.as_array().unwrap_or(one) {
                match name.as_str().filter(|name| !name.is_empty()) {
                    Some(name) => names.push(Arc::from(name)),
                    None => {
                        return Err(format!("`{what}.{key}` is {}, expected a name or a list of names", brief(value)));
                    }
                }
            }
        }
        Ok(people)
    }

    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    fn contains(&self, user: &str, groups: &[Arc<str>]) -> bool {
        self.users.iter().any(|u| person(u) == person(user)) || self.groups.iter().any(|g| groups.contains(g))
    }

    /// In a few words.
    pub fn describe(&self) -> String {
        let users = self.users.iter().map(|u| u.to_string());
        let names: Vec<String> = users.chain(self.groups.iter().map(|g| format!("group {g}"))).collect();
        if names.is_empty() { "anybody who may approve".to_owned() } else { names.join(", ") }
    }
}

impl Terms {
    /// Reads the evaluated `with`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(with: &Value) -> Result<Self, String> {
        let title = match with.get("title") {
            Some(Value::Str(title)) if !title.trim().is_empty() => title.clone(),
            found => return Err(format!("`title` is {}, expected a text", brief(found.unwrap_or(&Value::Null)))),
        };
        let given = with.get("approvers").filter(|v| !v.is_null());
        let approvers = given.map(|v| People::read(v, "approvers")).transpose()?.unwrap_or_default();
        let member = |key: &str| given.and_then(|v| v.get(key)).filter(|v| !v.is_null());
        let quorum = match member("quorum") {
            None => 1,
            Some(value) => match value.as_i64() {
                Some(n @ 1..=QUORUM_MAX) => u32::try_from(n).expect("a small number"),
                _ => {
                    let found = brief(value);
                    return Err(format!(
                        "`approvers.quorum` is {found}, expected a whole number from 1 to {QUORUM_MAX}"
                    ));
                }
            },
        };
        if approvers.groups.is_empty() && !approvers.users.is_empty() && approvers.users.len() < quorum as usize {
            let users = approvers.users.len();
            return Err(format!("`approvers.quorum` is {quorum}, but only {users} may vote: it would wait for ever"));
        }
        let exclude_initiator = match member("excludeInitiator") {
            None => false,
            Some(Value::Bool(exclude)) => *exclude,
            Some(other) => {
                return Err(format!("`approvers.excludeInitiator` is {}, expected true or false", brief(other)));
            }
        };
        let escalate = match with.get("escalate").filter(|v| !v.is_null()) {
            None => None,
            Some(escalate) => {
                let after = escalate.get("after").unwrap_or(&Value::Null);
                let after = duration::from_value(after).map_err(|e| format!("`escalate.after`: {e}"))?;
                let to = People::read(escalate.get("to").unwrap_or(&Value::Null), "escalate.to")?;
                if to.is_empty() {
                    return Err("`escalate.to` names nobody, expected `user`, `users`, `group` or `groups`".to_owned());
                }
                Some((after, to))
            }
        };
        Ok(Self { title, approvers, quorum, exclude_initiator, escalate })
    }
}

impl Approving {
    /// An approval that begins.
    pub(super) fn begin(request: &Value, at: Timestamp) -> Option<Self> {
        let terms = Terms::read(request).ok()?;
        let (votes, delegations) = (Vec::new(), Vec::new());
        Some(Self { request: request.clone(), terms, since: at, escalated: false, votes, delegations })
    }

    /// When others may vote, too, if that is still to come.
    pub fn escalates_at(&self) -> Option<Timestamp> {
        let (after, _) = self.terms.escalate.as_ref()?;
        (!self.escalated).then(|| self.since.plus(*after))
    }

    /// How many approvals are still needed.
    pub fn missing(&self) -> u32 {
        let approvals = self.votes.iter().filter(|v| v.approves).count();
        self.terms.quorum.saturating_sub(u32::try_from(approvals).unwrap_or(u32::MAX))
    }

    /// Who may vote now, in a few words.
    pub fn asked(&self) -> String {
        let mut asked = self.terms.approvers.describe();
        if let Some((_, to)) =
            self.terms.escalate.as_ref().filter(|_| self.escalated && !self.terms.approvers.is_empty())
        {
            asked = format!("{asked}, {}", to.describe());
        }
        asked
    }

    /// In whose stead somebody may vote: their own (`None`), or somebody's who has handed it over.
    fn seat(&self, by: &str, groups: &[Arc<str>], initiator: &str) -> Result<Option<Arc<str>>, String> {
        if self.terms.exclude_initiator && person(by) == person(initiator) {
            return Err(format!("{by} has started the run, and whoever does may not decide about it"));
        }
        if self.votes.iter().any(|v| person(&v.by) == person(by)) {
            return Err(format!("{by} has voted already"));
        }
        if let Some((_, to)) = self.delegations.iter().find(|(from, _)| person(from) == person(by)) {
            return Err(format!("{by} has handed the vote over to {to}"));
        }
        let escalated = self.terms.escalate.as_ref().filter(|_| self.escalated);
        if self.terms.approvers.is_empty()
            || self.terms.approvers.contains(by, groups)
            || escalated.is_some_and(|(_, to)| to.contains(by, groups))
        {
            return Ok(None);
        }
        match self.delegations.iter().find(|(_, to)| person(to) == person(by)) {
            Some((from, _)) => Ok(Some(from.clone())),
            None => Err(format!("{by} is not one of those who are asked: {}", self.asked())),
        }
    }

    /// What the task gives once it is decided.
    fn output(&self, at: Timestamp) -> Value {
        let vote = |vote: &Vote| {
            let mut members: Map = Map::new();
            let mut put = |key: &str, value: Value| drop(members.insert(Arc::from(key), value));
            put("by", Value::Str(vote.by.clone()));
            if let Some(other) = &vote.on_behalf_of {
                put("onBehalfOf", Value::Str(other.clone()));
            }
            put("decision", Value::str(if vote.approves { "approved" } else { "rejected" }));
            put("comment", Value::Str(vote.comment.clone()));
            put("at", Value::from(vote.at.to_string()));
            Value::from(members)
        };
        let last = self.votes.last();
        json!({
            "decision": if last.is_some_and(|v| v.approves) { "approved" } else { "rejected" },
            "by": last.map_or(Value::Null, |v| Value::Str(v.by.clone())),
            "comment": last.map_or(Value::Null, |v| Value::Str(v.comment.clone())),
            "requestedAt": self.since.to_string(),
            "decidedAt": at.to_string(),
            "votes": self.votes.iter().map(vote).collect::<Value>(),
        })
    }
}

impl Plan {
    /// Whether there is an approval in it.
    pub fn asks(&self) -> bool {
        self.nodes.iter().any(|n| matches!(n.action, Action::Approve(_)))
    }
}

/// Who votes, or hands the vote over, as the door has recognised them.
#[derive(Clone, Debug, PartialEq)]
pub struct Voter {
    /// Their name.
    pub name: Arc<str>,
    /// Their groups.
    pub groups: Vec<Arc<str>>,
}

/// What a vote means for a run.
pub(super) fn voted(
    run: &Run,
    task: Option<&str>,
    voter: &Voter,
    approves: bool,
    comment: Arc<str>,
) -> Result<Event, Rejected> {
    let (act, approving) = asked(run, task)?;
    let seat = approving.seat(&voter.name, &voter.groups, &run.actor);
    let on_behalf_of = seat.map_err(|why| not_entitled(run, act, why))?;
    let last = !approves || approving.missing() <= 1;
    Ok(Event::ApprovalVoted { act: act.id, by: voter.name.clone(), on_behalf_of, approves, comment, last })
}

/// What handing a vote over means for a run.
pub(super) fn delegated(
    run: &Run,
    task: Option<&str>,
    voter: &Voter,
    to: Arc<str>,
    reason: Arc<str>,
) -> Result<Event, Rejected> {
    let (act, approving) = asked(run, task)?;
    let refuse = |why: String| not_entitled(run, act, why);
    let seat = approving.seat(&voter.name, &voter.groups, &run.actor).map_err(refuse)?;
    if seat.is_some() {
        return Err(refuse(format!("{} votes in somebody's stead, and cannot hand that on", voter.name)));
    }
    if approving.seat(&to, &[], &run.actor) == Ok(None) {
        return Err(refuse(format!("{to} may vote already")));
    }
    if approving.terms.exclude_initiator && person(&to) == person(&run.actor) {
        return Err(refuse(format!("{to} has started the run, and whoever does may not decide about it")));
    }
    let same = |other: &Arc<str>| person(other) == person(&to);
    if approving.votes.iter().any(|v| same(&v.by)) || approving.delegations.iter().any(|(_, t)| same(t)) {
        return Err(refuse(format!("{to} has voted already, or votes in somebody's stead")));
    }
    Ok(Event::ApprovalDelegated { act: act.id, by: voter.name.clone(), to, reason })
}

fn not_entitled(run: &Run, act: &Act, why: String) -> Rejected {
    Rejected::NotEntitled { task: run.node_of(act).pointer.to_string(), run: run.id, why }
}

/// The approval that is meant.
fn asked<'r>(run: &'r Run, task: Option<&str>) -> Result<(&'r Act, &'r Approving), Rejected> {
    let open: Vec<(&Act, &Approving)> = run.approvals().collect();
    let named = |(act, _): &&(&Act, &Approving)| {
        let node = run.node_of(act);
        task.is_none_or(|t| *t == *node.pointer || *t == *node.name)
    };
    let matching: Vec<_> = open.iter().filter(named).collect();
    match matching[..] {
        [one] => Ok(*one),
        _ => {
            let others: Vec<String> = open.iter().map(|(a, _)| run.node_of(a).pointer.to_string()).collect();
            let others = if others.is_empty() { String::new() } else { format!(" (waiting: {})", others.join(", ")) };
            let task = task.map_or_else(|| "the task".to_owned(), str::to_owned);
            Err(Rejected::NothingToApprove { task, run: run.id, others })
        }
    }
}

impl Run {
    /// The approvals that it waits for.
    pub fn approvals(&self) -> impl Iterator<Item = (&Act, &Approving)> {
        self.acts.iter().filter_map(|a| match &a.status {
            Status::Approving(approving) => Some((a, &**approving)),
            _ => None,
        })
    }

    pub(super) fn apply_to_approval(
        &mut self,
        event: &Event,
        at: Timestamp,
        commands: &mut Vec<Command>,
    ) -> Result<(), Misfit> {
        let id = event.act().expect("an event about an act");
        let index = self.index(event, id, "waiting for an approval")?;
        let then = self.plan.node(self.acts[index].node).then;
        let Status::Approving(approving) = &mut self.acts[index].status else {
            return Err(self.misfit_act(event, id, "waiting for an approval"));
        };
        match event {
            Event::ApprovalVoted { by, on_behalf_of, approves, comment, last, .. } => {
                let (by, on_behalf_of, comment) = (by.clone(), on_behalf_of.clone(), comment.clone());
                approving.votes.push(Vote { by, on_behalf_of, approves: *approves, comment, at });
                if *last {
                    let output = approving.output(at);
                    self.returned(id, output, then, at, commands);
                }
            }
            Event::ApprovalDelegated { by, to, .. } => approving.delegations.push((by.clone(), to.clone())),
            Event::ApprovalEscalated { .. } => {
                if approving.escalated {
                    return Err(self.misfit_act(event, id, "to be escalated"));
                }
                approving.escalated = true;
            }
            other => unreachable!("{} is not about an approval", other.name()),
        }
        Ok(())
    }
}

/// What wakes a run that waits for people.
pub(super) fn wake_source(task: Arc<str>, approving: &Approving) -> WakeSource {
    WakeSource::Approval {
        task,
        title: approving.terms.title.clone(),
        asked: approving.asked().into(),
        missing: approving.missing(),
    }
}
