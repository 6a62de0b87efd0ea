//! The graph of a plan.

use std::time::Duration;

use super::{Block, Graph, Kind, List, Place, Way, line};
use crate::Value;
use crate::definition::plan::{Action, Catch, Consume, Listen, Node, NodeId, Plan, Retry, Span, Then, Until};

impl Graph {
    /// The graph of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut build = Build { plan, blocks: Vec::new(), ways: Vec::new(), index: vec![None; plan.nodes.len()] };
        let root = plan.node(Plan::ROOT);
        let Action::Do(list) = &root.action else { unreachable!("a workflow is a `do`") };
        let lists = vec![build.list("", list)];
        build.connect(list, Place::Start, Kind::Next, Place::End);
        let title = format!("{}/{} {}", plan.namespace, plan.name, plan.version);
        Self { title, blocks: build.blocks, lists, ways: build.ways }
    }
}

struct Build<'p> {
    plan: &'p Plan,
    blocks: Vec<Block>,
    ways: Vec<Way>,
    /// Where a node's block is.
    index: Vec<Option<usize>>,
}

impl Build<'_> {
    /// Blocks of a list and of everything inside.
    fn list(&mut self, label: &str, list: &[NodeId]) -> List {
        let blocks = list.iter().map(|id| self.block(*id)).collect();
        List { label: label.to_owned(), blocks }
    }

    fn block(&mut self, id: NodeId) -> usize {
        let node = self.plan.node(id);
        let index = self.blocks.len();
        self.index[id.0 as usize] = Some(index);
        self.blocks.push(Block {
            node: id,
            pointer: node.pointer.clone(),
            name: node.name.clone(),
            keyword: node.action.keyword(),
            detail: detail(node),
            remarks: remarks(node),
            lists: Vec::new(),
        });
        let lists = match &node.action {
            Action::Do(list) => vec![self.list("", list)],
            Action::For(looped) => vec![self.list("", &looped.body)],
            Action::Listen(listen) if !listen.foreach.is_empty() => vec![self.list("for each event", &listen.foreach)],
            Action::Fork { branches, .. } => branches.iter().map(|branch| self.list("", &[*branch])).collect(),
            Action::Try { body, catch } => {
                let mut lists = vec![self.list("try", body)];
                lists.extend(catch.body.as_ref().map(|body| self.list("catch", body)));
                lists
            }
            Action::Extended(extended) => {
                let all: Vec<NodeId> =
                    extended.before.iter().chain([&extended.inner]).chain(&extended.after).copied().collect();
                vec![self.list("", &all)]
            }
            Action::Approve(_)
            | Action::Call(_)
            | Action::Decide(_)
            | Action::Emit { .. }
            | Action::Listen(_)
            | Action::Raise { .. }
            | Action::Set(_)
            | Action::Switch(_)
            | Action::Wait(_) => Vec::new(),
        };
        self.blocks[index].lists = lists;
        index
    }

    fn at(&self, id: NodeId) -> Place {
        Place::Block(self.index[id.0 as usize].expect("every task of a list has a block"))
    }

    fn way(&mut self, from: Place, to: Place, kind: Kind, label: &str) {
        self.ways.push(Way { from, to, kind, label: line(label) });
    }

    /// The ways of a list: from `origin` into it, from task to task, and from its end to `after`.
    fn connect(&mut self, list: &[NodeId], origin: Place, into: Kind, after: Place) {
        let out = if after == Place::End { Kind::Next } else { Kind::Back };
        let Some(first) = list.first() else {
            if origin != after {
                self.way(origin, after, out, "");
            }
            return;
        };
        let label = match (into, origin) {
            (Kind::Into, Place::Block(index)) if self.blocks[index].keyword == "for" => "each",
            _ => "",
        };
        self.way(origin, self.at(*first), into, label);
        for (position, id) in list.iter().enumerate() {
            let next = list.get(position + 1).map(|next| self.at(*next));
            let target = |build: &Self, then: Then| match then {
                Then::Continue => next.map_or((after, out), |next| (next, Kind::Next)),
                Then::Exit => (after, out),
                Then::End => (Place::End, Kind::Next),
                Then::To(node) => (build.at(node), Kind::Next),
            };
            self.inside(*id);
            let node = self.plan.node(*id);
            let from = self.at(*id);
            if node.condition.is_some()
                && (node.then != Then::Continue || matches!(node.action, Action::Raise { .. } | Action::Switch(_)))
            {
                let (to, _) = target(self, Then::Continue);
                self.way(from, to, Kind::Skip, "skipped");
            }
            match &node.action {
                Action::Raise { .. } => {}
                Action::Switch(cases) => {
                    for (case, number) in cases.iter().zip(0u32..) {
                        let (to, _) = target(self, case.then);
                        let when = case.when.as_ref().map_or("else", |when| when.source());
                        self.way(from, to, Kind::Case(number), when);
                    }
                    if cases.iter().all(|case| case.when.is_some()) {
                        let (to, _) = target(self, node.then);
                        self.way(from, to, Kind::Case(u32::try_from(cases.len()).unwrap_or(u32::MAX)), "none holds");
                    }
                }
                Action::Try { catch: Catch { body: None, then: Some(then), .. }, .. } => {
                    let (to, kind) = target(self, node.then);
                    self.way(from, to, kind, "");
                    let (to, _) = target(self, *then);
                    self.way(from, to, Kind::Error, "caught");
                }
                _ => {
                    let (to, kind) = target(self, node.then);
                    let label = if node.action.keyword() == "for" { "done" } else { "" };
                    self.way(from, to, kind, label);
                }
            }
        }
    }

    /// The ways inside of a composite task.
    fn inside(&mut self, id: NodeId) {
        let plan = self.plan;
        let at = self.at(id);
        match &plan.node(id).action {
            Action::Do(list) => self.connect(list, at, Kind::Into, at),
            Action::For(looped) => self.connect(&looped.body, at, Kind::Into, at),
            Action::Listen(listen) if !listen.foreach.is_empty() => self.connect(&listen.foreach, at, Kind::Into, at),
            Action::Fork { branches, .. } => {
                for branch in branches {
                    self.connect(&[*branch], at, Kind::Into, at);
                }
            }
            Action::Try { body, catch } => {
                self.connect(body, at, Kind::Into, at);
                if let Some(handler) = &catch.body {
                    self.connect(handler, at, Kind::Error, at);
                }
            }
            Action::Extended(extended) => {
                let all: Vec<NodeId> =
                    extended.before.iter().chain([&extended.inner]).chain(&extended.after).copied().collect();
                self.connect(&all, at, Kind::Into, at);
            }
            _ => {}
        }
    }
}

fn detail(node: &Node) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let member = |path: &[&str]| {
        path.iter().try_fold(&node.definition, |at, key| at.get(key)).and_then(Value::as_str).map(str::to_owned)
    };
    let detail = match &node.action {
        Action::Call(call) if &*call.operation.name == "http.request" => {
            let endpoint = member(&["with", "endpoint"]).or_else(|| member(&["with", "endpoint", "uri"]));
            let method = member(&["with", "method"]).unwrap_or_default().to_uppercase();
            format!("{method} {}", endpoint.unwrap_or_default())
        }
        Action::Call(call) => call.operation.name.to_string(),
        Action::Approve(_) => {
            format!("approval: {}", member(&["with", "title"]).unwrap_or_default())
        }
        Action::Decide(decide) => format!("policy {}", decide.policy.name()),
        Action::Emit { .. } => text(
            node.definition
                .get("emit")
                .and_then(|e| e.get("event"))
                .and_then(|e| e.get("with"))
                .and_then(|w| w.get("type")),
        )
        .unwrap_or_default(),
        Action::For(looped) => format!("in {}", looped.items.source()),
        Action::Fork { compete: true, .. } => "the first one wins".to_owned(),
        Action::Listen(listen) => listened(listen),
        Action::Raise { .. } => {
            let error = node.definition.get("raise").and_then(|r| r.get("error"));
            text(error).or_else(|| text(error.and_then(|e| e.get("type")))).unwrap_or_default()
        }
        Action::Wait(span) => self::span(span),
        Action::Do(_)
        | Action::Extended(_)
        | Action::Fork { .. }
        | Action::Set(_)
        | Action::Switch(_)
        | Action::Try { .. } => String::new(),
    };
    line(&detail)
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

fn remarks(node: &Node) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(condition) = &node.condition {
        remarks.push(line(&format!("if {}", condition.source())));
    }
    if let Some(timeout) = &node.timeout {
        remarks.push(line(&format!("timeout {}", span(timeout))));
    }
    if let Action::For(looped) = &node.action
        && let Some(condition) = &looped.condition
    {
        remarks.push(line(&format!("while {}", condition.source())));
    }
    if let Action::Try { catch, .. } = &node.action {
        remarks.extend(catch.retry.as_ref().map(retries));
        if let Some(when) = &catch.when {
            remarks.push(line(&format!("catches when {}", when.source())));
        }
        let kind = catch.filter.kind.as_deref().map(|k| k.rsplit('/').next().unwrap_or(k));
        let status = catch.filter.status.map(|s| s.to_string());
        let what: Vec<&str> = kind.into_iter().chain(status.as_deref()).collect();
        if !what.is_empty() {
            remarks.push(line(&format!("catches {}", what.join(" "))));
        }
    }
    remarks
}

fn retries(retry: &Retry) -> String {
    let delay = match &retry.delay {
        Span::Fixed(Duration::ZERO) => String::new(),
        delay => format!(" after {}", span(delay)),
    };
    line(&format!("retries up to {} times{delay}", retry.retries_max))
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
