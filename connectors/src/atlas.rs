//! Atlas, the MLOps platform: models, versions, aliases, figures, and training.
//!
//! [`Atlas`] is the connector: it checks `with` against the operation's schema, runs the operation (a file each for
//! those that change something, `reads` for the rest) against a [`Backend`], and takes secrets out of what comes
//! back. The backend that ships speaks [`mlflow`]'s REST API and a small training hook; another platform is another
//! `Backend`.
//!
//! Each operation that changes something leaves the request's key where it can be found again: a version carries it as
//! the tag `cpd.idempotency_key`, a job was started under it, a promotion notes it beside the alias that it moved.

pub mod backend;
pub mod config;
pub mod mlflow;
mod promote;
mod reads;
mod retrain;
mod specs;
mod undo;

use std::sync::Arc;

use cpd_connector_api::clock::Clock;
use cpd_connector_api::secret::{Redactor, Secrets};
use cpd_connector_api::{
    BoxFuture, Connector, OperationSpec, Outcome, Problem, Reconciled, Request, Standard, Value, schema,
};

use crate::http::{HttpClient, Trouble};
use backend::Backend;
use config::{AtlasConfig, Poll};
use mlflow::{ConfigError, Mlflow};

/// The connector `atlas`.
pub struct Atlas {
    backend: Box<dyn Backend>,
    poll: Poll,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
    secret_names: Vec<String>,
}

/// How an operation ends.
type Done = Result<Value, Trouble>;

impl Atlas {
    /// Atlas over MLflow and a training hook.
    ///
    /// # Errors
    /// If an address in the configuration is none.
    pub fn mlflow(config: &AtlasConfig, client: HttpClient, secrets: Arc<dyn Secrets>) -> Result<Self, ConfigError> {
        let clock = Arc::clone(client.clock());
        let backend = Mlflow::new(config, client, Arc::clone(&secrets))?;
        let names = [&config.mlflow.token_secret, &config.training.token_secret];
        let secret_names = names.into_iter().flatten().cloned().collect();
        Ok(Self { backend: Box::new(backend), poll: config.training.poll, clock, secrets, secret_names })
    }

    /// Atlas over any backend. `secret_names` are taken out of what comes back.
    pub fn over(
        backend: impl Backend,
        poll: Poll,
        clock: Arc<dyn Clock>,
        secrets: Arc<dyn Secrets>,
        secret_names: Vec<String>,
    ) -> Self {
        Self { backend: Box::new(backend), poll, clock, secrets, secret_names }
    }

    fn redactor(&self) -> Redactor {
        Redactor::new(self.secret_names.iter().filter_map(|name| self.secrets.secret(name)))
    }

    async fn perform(&self, request: &Request) -> Done {
        check(request).map_err(Trouble::Refused)?;
        match &*request.operation {
            "atlas.retrain" => self.retrain(request).await,
            "atlas.promote" => self.promote(request).await,
            "atlas.discard" => self.discard(request).await,
            "atlas.tag" => self.tag(request).await,
            "atlas.model" => self.model(request).await,
            "atlas.versions" => self.versions(request).await,
            "atlas.metrics" => self.metrics(request).await,
            "atlas.job" => self.job(request).await,
            other => Err(Trouble::Refused(Problem::standard(
                Standard::Configuration,
                format!("{other} is in the catalog and nobody performs it"),
            ))),
        }
    }
}

/// Whether the operation is one of ours and `with` fits its schema.
fn check(request: &Request) -> Result<(), Problem> {
    let Some(spec) = specs::OPERATIONS.iter().find(|o| o.name == request.operation) else {
        let names: Vec<_> = specs::OPERATIONS.iter().map(|o| &*o.name).collect();
        let what = format!("found operation {:?}, expected one of {}", request.operation, names.join(", "));
        return Err(Problem::standard(Standard::Configuration, what));
    };
    match schema::check(&spec.input, &request.input).first() {
        None => Ok(()),
        Some(first) => {
            let what = format!("`with` of {} does not fit: {first}", request.operation);
            Err(Problem::standard(Standard::Validation, what))
        }
    }
}

/// A member of `with` as text, if it is there.
fn input(request: &Request, name: &str) -> Option<String> {
    match request.input.get(name)? {
        Value::Str(s) if s.trim().is_empty() => None,
        Value::Str(s) => Some(s.to_string()),
        n @ Value::Num(_) => Some(n.to_json()),
        _ => None,
    }
}

/// The model that `with` names; MLflow's own rules for names.
fn model(request: &Request) -> Result<String, Trouble> {
    let name = input(request, "model").unwrap_or_default();
    if name.is_empty() || name.chars().any(|c| matches!(c, '/' | ':' | '\'' | '"' | '`' | '\\') || c.is_control()) {
        let what =
            format!("`model`: found {name:?}, expected a name without slashes, colons, quotes and control characters");
        return Err(Trouble::Refused(Problem::standard(Standard::Validation, what)));
    }
    Ok(name)
}

/// An alias by MLflow's rules.
fn alias(name: &str) -> Result<&str, Trouble> {
    let reserved = name.eq_ignore_ascii_case("latest")
        || name.strip_prefix(['v', 'V']).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if plain && !reserved && name.len() <= 255 {
        return Ok(name);
    }
    let what = format!(
        "`alias`: found {name:?}, expected letters, digits, - and _, and not one of the reserved names latest, v1, v2 …"
    );
    Err(Trouble::Refused(Problem::standard(Standard::Validation, what)))
}

/// The trouble of a thing that has to be there and is not.
fn missing(what: String) -> Trouble {
    Trouble::Refused(Problem::standard(Standard::Communication, format!("{what} does not exist")).with_status(404))
}

/// `null` for nothing.
fn or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

impl Connector for Atlas {
    fn name(&self) -> &str {
        "atlas"
    }

    fn operations(&self) -> Vec<OperationSpec> {
        specs::OPERATIONS.clone()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let outcome = match self.perform(&request).await {
                Ok(output) => Outcome::succeeded(output),
                Err(trouble) => trouble.into(),
            };
            self.redactor().outcome(outcome)
        })
    }

    fn reconcile(&self, request: Request) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let found = match check(&request) {
                Ok(()) => self.reconcile_retrain(&request).await,
                Err(problem) => Reconciled::CannotTell(problem),
            };
            let redactor = self.redactor();
            match found {
                Reconciled::Happened(outcome) => Reconciled::Happened(redactor.outcome(outcome)),
                Reconciled::NotHappened => Reconciled::NotHappened,
                Reconciled::CannotTell(problem) => Reconciled::CannotTell(redactor.problem(problem)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_follow_the_rules_of_the_registry() {
        for good in ["champion", "challenger-2", "vNext", "v"] {
            assert_eq!(alias(good).unwrap(), good);
        }
        for bad in ["", "latest", "Latest", "v1", "V22", "a b", "a/b", "é"] {
            assert!(alias(bad).is_err(), "{bad:?}");
        }
    }
}
