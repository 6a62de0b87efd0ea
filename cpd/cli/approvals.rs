//! `cpd approvals`: what runs ask people, and what people decide.

use cpd_core::machine::{Voter, person};
use cpd_core::value::Map;
use cpd_core::{Value, json};
use cpd_engine::OpenApproval;

use super::{Global, operate, style};
use crate::exit::Exit;

/// `cpd approvals`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the approvals that open runs wait for.
    List(ListArgs),
    /// Approve.
    Approve(VoteArgs),
    /// Reject.
    Reject(VoteArgs),
    /// Let somebody else decide in your stead.
    Delegate(DelegateArgs),
}

/// `cpd approvals list`
#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// At most so many.
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: usize,
}

/// Which approval, and who decides.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// The run: its id, the beginning of it, or `last`.
    run: String,
    /// The task: its reference (`/do/0/name`) or name. Not needed if only one waits.
    task: Option<String>,
    /// Who decides. Whoever owns the data directory can say any name; the journal keeps it.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// A group that they belong to; may be given several times.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
}

impl Which {
    fn voter(&self) -> Voter {
        let name = self.name.clone().unwrap_or_else(operate::actor);
        Voter { name: name.into(), groups: self.groups.iter().map(|g| g.as_str().into()).collect() }
    }
}

/// `cpd approvals approve`, `reject`
#[derive(clap::Args)]
pub(crate) struct VoteArgs {
    #[command(flatten)]
    which: Which,
    /// Why; it stands in the log.
    #[arg(short, long, default_value = "")]
    comment: String,
}

/// `cpd approvals delegate`
#[derive(clap::Args)]
pub(crate) struct DelegateArgs {
    #[command(flatten)]
    which: Which,
    /// Who is to decide instead.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Why; it stands in the log.
    #[arg(long, default_value = "")]
    reason: String,
}

pub(crate) fn approvals(global: &Global, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::List(args) => list(global, args),
        Command::Approve(args) => vote(global, args, true),
        Command::Reject(args) => vote(global, args, false),
        Command::Delegate(args) => {
            operate::operate(global, &args.which.run, "given to somebody else to decide", async |run| {
                run.delegate(args.which.task.as_deref(), args.which.voter(), &args.to, &args.reason).await
            })
        }
    }
}

fn vote(global: &Global, args: &VoteArgs, approves: bool) -> anyhow::Result<Exit> {
    let what = if approves { "approved" } else { "rejected" };
    operate::operate(global, &args.which.run, what, async |run| {
        run.vote(args.which.task.as_deref(), args.which.voter(), approves, &args.comment).await
    })
}

fn list(global: &Global, args: &ListArgs) -> anyhow::Result<Exit> {
    let open = global.view()?.approvals(args.limit)?;
    if global.json {
        open.iter().try_for_each(|approval| style::line(&to_json(approval).to_json()))?;
        return Ok(Exit::Done);
    }
    if open.is_empty() {
        style::say("No approvals are asked for.");
    }
    for approval in &open {
        let approving = &approval.approving;
        let missing = approving.missing();
        style::line(&format!("{}  {}", style::bold(&approving.terms.title), style::dim(&approval.workflow)))?;
        let field = |name: &str, value: &str| style::line(&format!("  {} {value}", style::dim(&format!("{name:<9}"))));
        field("run", &format!("{} at {}", approval.run, approval.task))?;
        field("asked", &format!("{}, {missing} missing, since {}", approving.asked(), approving.since))?;
        if let Some(at) = approval.deadline {
            field("until", &at.to_string())?;
        }
        for vote in &approving.votes {
            let stead = vote.on_behalf_of.as_ref().map(|o| format!(" for {}", person(o))).unwrap_or_default();
            field("vote", &format!("{}{stead} approves {}", person(&vote.by), vote.comment))?;
        }
        if let Some(evidence) = approving.request.get("evidence") {
            field("evidence", &style::cut(&evidence.to_json(), style::width().saturating_sub(12).max(40)))?;
        }
    }
    Ok(Exit::Done)
}

/// An approval as an object.
pub(crate) fn to_json(approval: &OpenApproval) -> Value {
    let OpenApproval { run, workflow, initiator, task, deadline, approving } = approval;
    let votes = approving.votes.iter().map(|v| {
        json!({
            "by": &*v.by, "onBehalfOf": v.on_behalf_of.as_deref(), "decision": if v.approves { "approved" } else { "rejected" },
            "comment": &*v.comment, "at": v.at.to_string(),
        })
    });
    let mut members = Map::new();
    let mut put = |key: &str, value: Value| drop(members.insert(key.into(), value));
    put("runId", Value::from(run.to_string()));
    put("workflow", Value::Str(workflow.clone()));
    put("task", Value::Str(task.clone()));
    put("initiator", Value::Str(initiator.clone()));
    put("request", approving.request.clone());
    put("requestedAt", Value::from(approving.since.to_string()));
    put("deadline", deadline.map_or(Value::Null, |at| Value::from(at.to_string())));
    put("escalated", Value::from(approving.escalated));
    put("missing", Value::from(approving.missing()));
    put("votes", votes.collect());
    Value::from(members)
}
