//! `cpd token create|list|revoke`.

use std::time::Duration;

use anyhow::{Context, bail};
use cpd_core::time::Timestamp;
use cpd_core::{Value, json};
use cpd_engine::control::{Actor, Control, Token};

use super::{Global, operate, style};
use crate::door::token::{self, Issued, Wish};
use crate::door::{Role, Scope};
use crate::exit::Exit;
use crate::wiring;

/// `cpd token …`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a token and print it, once: it is kept nowhere.
    Create(CreateArgs),
    /// List tokens, those that are good no more too.
    List,
    /// Revoke a token: from then on it is good for nothing.
    Revoke(RevokeArgs),
}

/// `cpd token create`
#[derive(clap::Args)]
pub(crate) struct CreateArgs {
    /// What it may do.
    #[arg(long, value_parser = ["viewer", "operator", "approver", "admin"])]
    role: String,
    /// The namespace that it reaches; several times for several, or '*' for all.
    #[arg(long, required = true, num_args = 1.., value_name = "NAMESPACE")]
    scope: Vec<String>,
    /// Its name, which stands in the journal wherever it does something.
    #[arg(long)]
    name: String,
    /// How long it is good, such as 90d, 12h, 30m, or `never`.
    #[arg(long, default_value = "90d", value_name = "SPAN")]
    expires: String,
}

/// `cpd token revoke`
#[derive(clap::Args)]
pub(crate) struct RevokeArgs {
    /// The token: its id or its name, as `cpd token list` shows them.
    token: String,
    /// Why, for the audit.
    #[arg(long, default_value = "")]
    reason: String,
}

pub(crate) fn token(global: &Global, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create(args) => create(global, args),
        Command::List => list(global),
        Command::Revoke(args) => revoke(global, args),
    }
}

fn create(global: &Global, args: &CreateArgs) -> anyhow::Result<Exit> {
    let role = Role::named(&args.role).context("a role that the argument parser let pass")?;
    let scope = token::scope(args.scope.iter().map(String::as_str))?;
    let lasts = span(&args.expires)?;
    token::check_name(&args.name)?;
    let Issued { token, text } = with_control(global, async |control| {
        let expires_at = lasts.map(|span| control.now().plus(span));
        let wish = Wish { name: args.name.clone(), role, scope: scope.clone(), expires_at };
        Ok(token::issue(control, wish, actor()).await?)
    })?;
    if global.json {
        let mut object = object(&token, None);
        if let Value::Obj(members) = &mut object {
            std::sync::Arc::make_mut(members).insert("token".into(), Value::str(&text));
        }
        style::line(&object.to_json())?;
        return Ok(Exit::Done);
    }
    style::say(&format!(
        "Token {} was made: {} in {}, {}. It is shown this once:",
        token.id,
        token.role,
        reach(&token),
        token.expires_at.map_or("for good".to_owned(), |end| format!("until {}", style::date(end))),
    ));
    style::line(&text)?;
    Ok(Exit::Done)
}

fn list(global: &Global) -> anyhow::Result<Exit> {
    let tokens = global.view()?.tokens()?;
    let now = cpd_engine::Clock::now(&cpd_engine::SystemClock::default());
    if global.json {
        tokens.iter().try_for_each(|token| style::line(&object(token, Some(now)).to_json()))?;
        return Ok(Exit::Done);
    }
    if tokens.is_empty() {
        style::say("No tokens. `cpd token create` makes one.");
        return Ok(Exit::Done);
    }
    let width = tokens.iter().map(|t| t.name.chars().count()).max().unwrap_or(0).max(4);
    let head = format!(
        "{:<12}  {:<width$}  {:<8}  {:<8}  {:<19}  {:<19}  {}",
        "TOKEN", "NAME", "ROLE", "STATUS", "CREATED (UTC)", "EXPIRES (UTC)", "NAMESPACES"
    );
    style::line(&style::dim(&head))?;
    for token in &tokens {
        let status = status(token, now);
        let padded = format!("{status:<8}");
        style::line(&format!(
            "{}  {}  {:<8}  {}  {}  {:<19}  {}",
            token.id,
            style::name(&format!("{:<width$}", style::cut(&token.name, width))),
            style::cut(&token.role, 8),
            if status == "good" { style::good(&padded) } else { style::bad(&padded) },
            style::date(token.created_at),
            token.expires_at.map_or("never".to_owned(), style::date),
            reach(token),
        ))?;
    }
    Ok(Exit::Done)
}

fn revoke(global: &Global, args: &RevokeArgs) -> anyhow::Result<Exit> {
    let (token, before) = with_control(global, async |control| {
        let named = || control.tokens().into_iter().find(|t| t.revoked.is_none() && *t.name == *args.token);
        let found = control.token(&args.token).or_else(named);
        let id = found.as_ref().map_or(args.token.as_str(), |t| &t.id);
        let before = found.as_ref().and_then(|t| t.revoked.clone());
        Ok((control.revoke_token(id, actor(), &args.reason).await?, before))
    })?;
    if global.json {
        let now = token.revoked.as_ref().map(|r| r.at);
        style::line(&object(&token, now).to_json())?;
    } else if let Some(before) = before {
        style::say(&format!("Token {} was revoked before, at {}.", token.id, before.at));
    } else {
        style::say(&format!("Token {} ({}) was revoked: from now on it is good for nothing.", token.id, token.name));
    }
    Ok(Exit::Done)
}

/// Opens the directory without driving anything, and does one thing to its tokens.
fn with_control<T>(global: &Global, work: impl AsyncFnOnce(&Control) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let config = global.config()?;
    super::runtime()?.block_on(async {
        let engine = wiring::open(&global.data, &config, |b| b.dispatching(false)).await?;
        let control = engine.control();
        super::with_engine(&engine, false, async { work(&control).await }).await
    })
}

/// Who does it, for the audit.
pub(crate) fn actor() -> Actor {
    Actor { name: operate::actor().into(), via: "local".into(), from: "cli".into() }
}

/// A span as people type it; `None` for ever.
fn span(text: &str) -> anyhow::Result<Option<Duration>> {
    if text == "never" {
        return Ok(None);
    }
    let unit = text.chars().last().and_then(|unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    });
    let number = text.get(..text.len().saturating_sub(1)).filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let number = number.and_then(|n| n.parse::<u64>().ok()).filter(|n| *n > 0);
    // A hundred years: what is meant to be longer is `never`.
    match number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)) {
        Some(seconds) if seconds <= 36_525 * 86_400 => Ok(Some(Duration::from_secs(seconds))),
        _ => bail!(
            "read --expires {text:?}: expected a number and a unit up to a hundred years, such as 90d, 12h or 30m, or `never`"
        ),
    }
}

fn status(token: &Token, now: Timestamp) -> &'static str {
    match &token.revoked {
        Some(_) => "revoked",
        None if token.is_good(now) => "good",
        None => "expired",
    }
}

fn reach(token: &Token) -> String {
    match token::rights(token) {
        None => format!("nothing (the role {:?} is of a newer cpd)", token.role),
        Some((_, Scope::All)) => "*".to_owned(),
        Some((_, Scope::Namespaces(names))) => names.iter().map(|n| &**n).collect::<Vec<_>>().join(" "),
    }
}

/// A token as `--json` prints it; with its status, if the time is given.
fn object(token: &Token, now: Option<Timestamp>) -> Value {
    let texts = |names: &std::collections::BTreeSet<std::sync::Arc<str>>| names.iter().map(Value::str).collect();
    let scope: Vec<Value> = token.namespaces.as_ref().map_or_else(|| vec![Value::str("*")], texts);
    let time = |at: Timestamp| at.to_string();
    json!({
        "id": &*token.id, "name": &*token.name, "role": &*token.role, "scope": scope,
        "createdAt": time(token.created_at), "createdBy": &*token.created_by.name,
        "expiresAt": token.expires_at.map(time),
        "revokedAt": token.revoked.as_ref().map(|r| time(r.at)),
        "status": now.map(|now| status(token, now)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, seconds) in [("90d", 90 * 86_400), ("12h", 43_200), ("30m", 1_800), ("1s", 1)] {
            assert_eq!(span(text).unwrap(), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(span("never").unwrap(), None);
        for wrong in ["", "d", "0d", "-1d", "1.5d", "90", "90 d", "1y", "99999999999999999999d", "40000d", "1é", "é"]
        {
            let error = span(wrong).unwrap_err().to_string();
            assert!(error.contains("90d") && error.contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
