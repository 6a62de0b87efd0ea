//! `cpd audit log`: who administered what.

use cpd_core::{Value, json};
use cpd_engine::control::{Actor, Audited, What};
use cpd_journal::Lsn;

use super::{Global, style};
use crate::exit::Exit;

/// `cpd audit log`
#[derive(clap::Args)]
pub(crate) struct LogArgs {
    /// At most so many records, the newest.
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: usize,
    /// Only records before this one: goes on where an earlier page ended.
    #[arg(long, value_name = "LSN")]
    before: Option<u64>,
    /// Only what was refused.
    #[arg(long)]
    refused: bool,
}

pub(crate) fn log(global: &Global, args: &LogArgs) -> anyhow::Result<Exit> {
    let view = global.view()?;
    let fits = |audited: &Audited| {
        !args.refused
            || match &audited.what {
                What::Administered(act) => !act.allowed,
                What::RefusalsCounted(_) => true,
                _ => false,
            }
    };
    let mut before = args.before.map(Lsn);
    let mut found: Vec<Audited> = Vec::new();
    while found.len() < args.limit {
        let page = view.audit(before, args.limit.max(100))?;
        let Some(last) = page.last() else { break };
        before = Some(last.lsn);
        found.extend(page.into_iter().filter(fits));
    }
    found.truncate(args.limit);
    if found.is_empty() && !global.json {
        style::say("Nothing was administered.");
    }
    for audited in &found {
        style::line(&if global.json { object(audited).to_json() } else { sentence(audited) })?;
    }
    Ok(Exit::Done)
}

/// What happened: its name, to what, by whom, and why or how often.
struct Told<'a> {
    action: &'a str,
    target: String,
    by: Option<&'a Actor>,
    outcome: &'static str,
    why: String,
}

fn told(what: &What) -> Told<'_> {
    let allowed =
        |action, target: String, by, why: &str| Told { action, target, by, outcome: "allowed", why: why.to_owned() };
    match what {
        What::TokenCreated(token) => allowed(
            "token.create",
            format!("{} ({}, {})", token.id, token.name, token.role),
            Some(&token.created_by),
            "",
        ),
        What::TokenRevoked { id, revoked } => {
            allowed("token.revoke", id.to_string(), Some(&revoked.by), &revoked.reason)
        }
        What::Administered(act) => Told {
            action: &act.action,
            target: act.target.to_string(),
            by: Some(&act.by),
            outcome: if act.allowed { "allowed" } else { "refused" },
            why: act.why.to_string(),
        },
        What::RefusalsCounted(refusals) => {
            let groups = refusals.groups.iter();
            let groups = groups.map(|g| format!("{} × {} from {}: {}", g.count, g.action, g.from, g.why));
            let since = format!("since {}", refusals.since);
            let why: Vec<String> = std::iter::once(since).chain(groups).collect();
            let target = format!("{} more attempts", refusals.count);
            Told { action: "refused", target, by: None, outcome: "refused", why: why.join("; ") }
        }
        What::Registered { what, name, version, .. } => {
            allowed("register", format!("{what} {name} {version}"), None, "")
        }
        What::DocumentPinned => allowed("register", "a document".to_owned(), None, ""),
    }
}

fn sentence(audited: &Audited) -> String {
    let Told { action, target, by, outcome, why } = told(&audited.what);
    // Names, targets and reasons may be what a stranger sent.
    let clean = |text: &str| style::cut(text, 200);
    let who = match (by, &audited.what) {
        (Some(by), _) if by.name.is_empty() => format!("somebody from {}", clean(&by.from)),
        (Some(by), _) => format!("{} from {}", clean(&by.name), clean(&by.from)),
        (None, What::Registered { actor, .. }) => clean(actor),
        (None, _) => String::new(),
    };
    let outcome = if outcome == "allowed" { style::good(outcome) } else { style::bad(outcome) };
    let why = if why.is_empty() { String::new() } else { format!("  {}", style::dim(&clean(&why))) };
    let head = style::dim(&format!("{:>8}  {}", audited.lsn.0, style::date(audited.at)));
    format!("{head}  {outcome}  {}  {}  {who}{why}", style::name(&clean(action)), clean(&target))
}

fn object(audited: &Audited) -> Value {
    let Told { action, target, by, outcome, why } = told(&audited.what);
    let head = json!({
        "lsn": audited.lsn.0, "at": audited.at.to_string(), "action": action, "target": target, "outcome": outcome,
        "why": why,
    });
    let actor = match (by, &audited.what) {
        (Some(by), _) => json!({ "name": &*by.name, "via": &*by.via, "from": &*by.from }),
        (None, What::Registered { actor, .. }) => json!({ "name": &**actor }),
        (None, _) => Value::Null,
    };
    let Value::Obj(mut members) = head else { return head };
    let object = std::sync::Arc::make_mut(&mut members);
    object.insert("by".into(), actor);
    if let What::RefusalsCounted(refusals) = &audited.what {
        object.insert("count".into(), json!(refusals.count));
    }
    Value::Obj(members)
}
