//! The shapes that the summariser knows, and how each is told.
//!
//! A recogniser looks at one object, by the names and kinds of its members, and returns what to say and which members
//! it has told about. Names are compared without case and punctuation, so `maxDrift`, `max_drift` and `MAX-DRIFT` are
//! one. The rules are wide on purpose: connectors of other people have other names for the same things.

use cpd_connector_api::{Map, Value};

use super::Finding;
use super::words::{capital, full_stop, join, label, number, scalar, text};

/// What a finding is about, in the order of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Figures of drift.
    Drift,
    /// A policy's decision.
    Policy,
    /// A person's decision.
    Approval,
    /// A training and its result.
    Training,
    /// An alias that moved.
    Promotion,
    /// Something went wrong.
    Problem,
}

/// Under these labels stands what all of it is about.
pub const SUBJECT_LABELS: [&str; 4] = ["model", "model name", "subject", "asset"];

const STATISTICS: [(&str, &str); 18] = [
    ("psi", "PSI"),
    ("js", "JS distance"),
    ("jsdistance", "JS distance"),
    ("jensenshannon", "JS distance"),
    ("kl", "KL divergence"),
    ("ks", "KS"),
    ("hellinger", "Hellinger distance"),
    ("linfinity", "L∞ distance"),
    ("wasserstein", "Wasserstein distance"),
    ("wassersteinnormed", "normed Wasserstein distance"),
    ("chisquare", "χ²"),
    ("chi2", "χ²"),
    ("meandelta", "difference of means"),
    ("scoredelta", "difference of scores"),
    ("driftscore", "drift score"),
    ("driftshare", "share of drifted columns"),
    ("drift", "drift"),
    ("maxdriftscore", "largest drift score"),
];
const LIMITS: [&str; 6] = ["threshold", "limit", "maxdrift", "maxpsi", "driftthreshold", "allowed"];

/// A name without case and punctuation.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The first member that goes by one of these names.
fn member<'a>(members: &'a Map, names: &[&str]) -> Option<(&'a str, &'a Value)> {
    names
        .iter()
        .find_map(|name| members.iter().find(|(k, v)| plain(k) == *name && !v.is_null()))
        .map(|(k, v)| (&**k, v))
}

fn string<'a>(members: &'a Map, names: &[&str]) -> Option<(&'a str, &'a str)> {
    member(members, names).and_then(|(k, v)| Some((k, v.as_str()?)))
}

/// What all of the data is about: the nearest `model` or `subject` that is a text, breadth first.
pub fn subject(data: &Value, depth: usize) -> Option<String> {
    let mut level = vec![data];
    for _ in 0..depth {
        for value in &level {
            if let Some((_, name)) =
                value.as_object().and_then(|m| string(m, &["model", "modelname", "subject", "asset"]))
            {
                return Some(text(name));
            }
        }
        level = level.iter().filter_map(|v| v.as_object()).flat_map(|m| m.values()).take(500).collect();
    }
    None
}

/// What a recogniser tells, and the members that it has told about.
type Told<'a> = Option<(Finding, Vec<&'a str>)>;

/// Asks every recogniser about an object.
pub fn recognise<'a>(path: &[String], value: &'a Value, subject: Option<&str>) -> Told<'a> {
    let members = value.as_object()?;
    problem(members)
        .or_else(|| decision(path, members))
        .or_else(|| promotion(members, subject))
        .or_else(|| training(members, subject))
        .or_else(|| drift(path, members, subject))
}

/// The statistic of an object, its printed name and its figure.
fn statistic(members: &Map) -> Option<(&str, String, f64)> {
    // `{statistic: "psi", value: 0.22}` says it in two members.
    if let (Some((_, name)), Some((key, value))) =
        (string(members, &["statistic", "metric", "method"]), member(members, &["value", "score", "distance", "drift"]))
    {
        let printed = STATISTICS.iter().find(|(n, _)| *n == plain(name)).map(|(_, p)| (*p).to_owned());
        return value.as_f64().map(|figure| (key, printed.unwrap_or_else(|| label(name)), figure));
    }
    STATISTICS.iter().find_map(|(name, printed)| {
        let (key, value) = member(members, &[name])?;
        value.as_f64().map(|figure| (key, (*printed).to_owned(), figure))
    })
}

fn drift<'a>(path: &[String], members: &'a Map, subject: Option<&str>) -> Told<'a> {
    let (key, name, figure) = statistic(members)?;
    let mut taken = vec![key];
    taken.extend(string(members, &["statistic", "metric", "method"]).map(|(k, _)| k));
    let limit = member(members, &LIMITS).and_then(|(k, v)| Some((k, v.as_f64()?)));
    taken.extend(limit.map(|(k, _)| k));
    let flag = member(members, &["drifted", "isdrifted", "driftdetected"]).and_then(|(k, v)| Some((k, v.as_bool()?)));
    taken.extend(flag.map(|(k, _)| k));
    let rows = member(members, &["features", "columns"]).and_then(|(k, v)| Some((k, v.as_array()?)));
    let ranked = rows.and_then(|(k, items)| Some((k, rank(&label(k), items, Some(&name))?)));
    if let Some((key, _)) = &ranked {
        // The ranking says which is the worst, and how many drifted.
        taken.push(key);
        taken.extend(member(members, &["worst"]).map(|(k, _)| k));
        taken.extend(member(members, &["drifted"]).map(|(k, _)| k));
    }
    let own = string(members, &["feature", "column", "model", "modelname", "name"]);
    taken.extend(own.map(|(k, _)| k));
    let whom = own.map(|(_, name)| text(name)).or_else(|| subject.map(str::to_owned));
    let whom = whom.unwrap_or_else(|| path.last().cloned().unwrap_or_else(|| "the data".into()));
    let drifted = flag.map(|(_, f)| f).or_else(|| limit.map(|(_, limit)| figure > limit));
    let verb = match drifted {
        Some(true) => "has drifted",
        Some(false) => "has not drifted",
        None => "was measured",
    };
    let against = limit.map(|(_, limit)| {
        let relation = if figure > limit {
            "above"
        } else if figure < limit {
            "below"
        } else {
            "at"
        };
        format!(", {relation} the limit of {}", number(limit))
    });
    let mut sentence =
        format!("{} {verb}: {name} is {}{}.", capital(&whom), number(figure), against.unwrap_or_default());
    let mut short = match drifted {
        Some(true) => format!("drift found ({name} {})", number(figure)),
        Some(false) => format!("no drift ({name} {})", number(figure)),
        None => format!("{name} {}", number(figure)),
    };
    if let Some((_, ranked)) = ranked {
        sentence.push_str(&format!(" {}", ranked.sentence));
        if !ranked.short.is_empty() {
            short.push_str(&format!("; {}", ranked.short));
        }
    }
    Some((Finding { shape: Shape::Drift, short, sentence }, taken))
}

/// A list of figures per feature, the largest first.
pub fn ranking(path: &[String], items: &[Value]) -> Option<Finding> {
    let what = path.last().filter(|p| p.parse::<usize>().is_err()).map_or("features", String::as_str);
    rank(what, items, None)
}

/// The same; `name` is the statistic of rows that give a bare `value`.
fn rank(what: &str, items: &[Value], name: Option<&str>) -> Option<Finding> {
    let mut rows = Vec::new();
    for item in items {
        let members = item.as_object()?;
        let (_, whom) = string(members, &["feature", "column", "name"])?;
        let bare = || Some((name?.to_owned(), member(members, &["value", "score", "drift"])?.1.as_f64()?));
        let (name, figure) = statistic(members).map(|(_, name, figure)| (name, figure)).or_else(bare)?;
        let limit = member(members, &LIMITS).and_then(|(_, v)| v.as_f64());
        let flag = member(members, &["drifted", "isdrifted"]).and_then(|(_, v)| v.as_bool());
        rows.push((text(whom), name, figure, flag.or_else(|| limit.map(|l| figure > l))));
    }
    if rows.len() < 2 {
        return None;
    }
    rows.sort_by(|a, b| b.2.total_cmp(&a.2));
    let top = rows.iter().take(3).map(|(whom, name, figure, _)| format!("{whom} ({name} {})", number(*figure)));
    let top = join(&top.collect::<Vec<_>>());
    let (short, sentence) = if rows.iter().any(|r| r.3.is_some()) {
        let drifted = rows.iter().filter(|r| r.3 == Some(true)).count();
        let of = format!("{drifted} of {} {what} drifted", rows.len());
        let rank = if drifted == 0 { "the nearest to it" } else { "the largest" };
        (of.clone(), format!("{}; {rank}: {top}.", capital(&of)))
    } else {
        (String::new(), format!("Of {} {what}, the largest figures: {top}.", rows.len()))
    };
    Some(Finding { shape: Shape::Drift, short, sentence })
}

fn decision<'a>(path: &[String], members: &'a Map) -> Told<'a> {
    let (key, word) = string(members, &["decision", "outcome", "verdict", "effect"])?;
    let mut taken = vec![key];
    let by = string(members, &["by", "approver", "approvedby", "decidedby", "reviewer"]);
    let (verb, person) = match plain(word).as_str() {
        "allow" | "allowed" | "permit" => ("allowed", false),
        "deny" | "denied" | "forbid" => ("denied", false),
        "review" | "ask" | "escalate" => ("asked for a review of", false),
        "approved" | "approve" => ("approved", true),
        "rejected" | "reject" => ("rejected", true),
        _ => return None,
    };
    let reasons = member(members, &["reasons", "reason", "because"]);
    taken.extend(reasons.map(|(k, _)| k));
    let reasons: Vec<String> = match reasons.map(|(_, v)| v) {
        Some(Value::Arr(items)) => items.iter().map(reason).filter(|r| !r.is_empty()).collect(),
        Some(Value::Str(one)) if !one.is_empty() => vec![text(one)],
        _ => Vec::new(),
    };
    let because = if reasons.is_empty() { String::new() } else { format!(": {}", join(&reasons)) };
    if person || by.is_some() {
        taken.extend(by.map(|(k, _)| k));
        let whom = by.map_or_else(|| "a reviewer".to_owned(), |(_, name)| text(name));
        let sentence = full_stop(format!("{} {verb} it{because}", capital(&whom)));
        return Some((Finding { shape: Shape::Approval, short: format!("{verb} by {whom}"), sentence }, taken));
    }
    let policy = string(members, &["policy", "policyname"]).or_else(|| {
        let at_policy = path.last().is_some_and(|p| p.contains("policy"));
        string(members, &["name"]).filter(|_| at_policy)
    });
    taken.extend(policy.map(|(k, _)| k));
    let version = member(members, &["policyversion", "version"]);
    taken.extend(version.map(|(k, _)| k));
    let version = version.map(|(_, v)| format!(" (version {})", scalar(v))).unwrap_or_default();
    let who = policy.map_or_else(|| "the policy".to_owned(), |(_, name)| format!("policy {}", text(name)));
    let sentence = full_stop(format!("{}{version} {verb} the action{because}", capital(&who)));
    let short = match verb {
        "asked for a review of" => "policy asks for a review".to_owned(),
        verb => format!("policy {verb} it"),
    };
    Some((Finding { shape: Shape::Policy, short, sentence }, taken))
}

/// A reason is a text, or an object that has one.
fn reason(value: &Value) -> String {
    match value {
        Value::Str(s) => text(s),
        Value::Obj(members) => string(members, &["message", "text", "reason", "detail", "msg", "title"])
            .map(|(_, t)| text(t))
            .unwrap_or_default(),
        other => scalar(other),
    }
}

fn metrics(members: &Map) -> Option<(&str, String)> {
    let (key, value) = member(members, &["metrics", "scores"])?;
    let figures = value.as_object()?.iter().filter_map(|(k, v)| Some(format!("{} {}", label(k), number(v.as_f64()?))));
    let figures: Vec<String> = figures.take(6).collect();
    (!figures.is_empty()).then(|| (key, join(&figures)))
}

fn training<'a>(members: &'a Map, subject: Option<&str>) -> Told<'a> {
    let job = string(members, &["jobid", "trainingjob", "job"]);
    let status = string(members, &["status", "state"]);
    let version = member(members, &["version", "modelversion", "candidate"])
        .filter(|(_, v)| !matches!(v, Value::Obj(_) | Value::Arr(_)));
    let model = string(members, &["model", "modelname"]);
    let figures = metrics(members);
    // A version of a model alone is an ordinary fact; a job, or figures that go with it, make it a training.
    if job.is_none() && !(model.is_some() && version.is_some() && figures.is_some()) {
        return None;
    }
    let mut taken: Vec<&str> =
        [job.map(|j| j.0), version.map(|v| v.0), model.map(|m| m.0), figures.as_ref().map(|f| f.0)]
            .into_iter()
            .flatten()
            .collect();
    let whom = model.map(|(_, m)| text(m)).or_else(|| subject.map(str::to_owned)).unwrap_or_else(|| "the model".into());
    let job = job.map(|(_, id)| format!("job {}", text(id)));
    let error = string(members, &["error", "failure", "message"]);
    let word = status.map(|(_, s)| plain(s)).unwrap_or_default();
    let aside = |parts: [Option<String>; 2]| {
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
    };
    let (short, sentence) = match word.as_str() {
        "failed" | "error" | "cancelled" | "canceled" => {
            taken.extend(status.map(|(k, _)| k));
            taken.extend(error.map(|(k, _)| k));
            let why = error.map(|(_, e)| format!(": {}", text(e))).unwrap_or_default();
            let verb = if word.starts_with("cancel") { "was cancelled" } else { "failed" };
            (format!("training {verb}"), full_stop(format!("Training of {whom}{} {verb}{why}", aside([job, None]))))
        }
        "queued" | "running" | "pending" | "started" => {
            taken.extend(status.map(|(k, _)| k));
            ("training under way".to_owned(), format!("Training of {whom}{} is {}.", aside([job, None]), label(&word)))
        }
        _ => {
            if matches!(word.as_str(), "succeeded" | "done" | "finished" | "ready" | "completed") {
                taken.extend(status.map(|(k, _)| k));
            }
            let figures = figures.map(|(_, f)| f);
            match version.map(|(_, v)| scalar(v)) {
                Some(v) => (
                    format!("retrained as version {v}"),
                    format!("{} was retrained: version {v} is registered{}.", capital(&whom), aside([job, figures])),
                ),
                None => {
                    ("training started".to_owned(), format!("Training of {whom} was started{}.", aside([job, figures])))
                }
            }
        }
    };
    Some((Finding { shape: Shape::Training, short, sentence }, taken))
}

fn promotion<'a>(members: &'a Map, subject: Option<&str>) -> Told<'a> {
    let (alias_key, alias) = string(members, &["alias", "stage"])?;
    let (version_key, version) = member(members, &["version", "modelversion"])?;
    let before = members.iter().find(|(k, _)| matches!(plain(k).as_str(), "previousversion" | "previous"));
    let changed = member(members, &["changed"]).and_then(|(k, v)| Some((k, v.as_bool()?)));
    if before.is_none() && changed.is_none() {
        return None;
    }
    let model = string(members, &["model", "modelname"]);
    let mut taken = vec![alias_key, version_key];
    taken.extend(before.map(|(k, _)| &**k));
    taken.extend(changed.map(|(k, _)| k));
    taken.extend(model.map(|(k, _)| k));
    let whom = model.map(|(_, m)| text(m)).or_else(|| subject.map(str::to_owned)).unwrap_or_else(|| "the model".into());
    let (version, alias) = (scalar(version), text(alias));
    let before = match before.map(|(_, v)| v).filter(|v| !v.is_null()) {
        Some(v) if scalar(v) != version => format!("; before, it was version {}", scalar(v)),
        Some(_) => "; it was before, too".to_owned(),
        None => "; there was none before".to_owned(),
    };
    let sentence = format!("Version {version} of {whom} is now {alias}{before}.");
    Some((Finding { shape: Shape::Promotion, short: format!("version {version} is {alias}"), sentence }, taken))
}

fn problem(members: &Map) -> Told<'_> {
    let (kind_key, kind) = string(members, &["type"])?;
    let (status_key, status) = member(members, &["status"])?;
    let status = status.as_i64().filter(|s| (100..=599).contains(s))?;
    let title = string(members, &["title"]);
    let detail = string(members, &["detail"]);
    if title.is_none() && detail.is_none() {
        return None;
    }
    let mut taken = vec![kind_key, status_key];
    taken.extend(title.map(|(k, _)| k));
    taken.extend(detail.map(|(k, _)| k));
    let what = title.map_or_else(|| label(kind.rsplit('/').next().unwrap_or(kind)), |(_, t)| text(t));
    let detail = detail.map(|(_, d)| format!(": {}", text(d))).unwrap_or_default();
    let sentence = full_stop(format!("It went wrong: {what} ({status}){detail}"));
    Some((Finding { shape: Shape::Problem, short: format!("failed with {status}"), sentence }, taken))
}
