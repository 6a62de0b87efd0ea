//! Connectors from a configuration, and an engine from a data directory.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use cpd_connector_api::clock::SystemClock as ConnectorClock;
use cpd_connector_api::secret::Secrets;
use cpd_connector_api::{BoxFuture, Connector, OperationSpec, Outcome, Problem, Request, Standard};
use cpd_connectors::a2a::A2a;
use cpd_connectors::agent::Agent;
use cpd_connectors::agent::document::{AgentDocument, Agents, Lookup};
use cpd_connectors::atlas::Atlas;
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::drift::{DriftConfig, DriftConnector};
use cpd_connectors::http::{Http, HttpClient};
use cpd_connectors::mcp::Mcp;
use cpd_connectors::process::{self, Launcher, Process};
use cpd_engine::{Builder, Engine, Registry};

use crate::config::{self, Config};
use crate::secrets::SecretStore;

/// The agents of the engine's registry, once there is an engine.
#[derive(Clone, Default)]
struct RegisteredAgents(Arc<OnceLock<Arc<Registry>>>);

impl Agents for RegisteredAgents {
    fn agent(&self, name: &str, version: Option<&str>) -> Lookup {
        let Some(registry) = self.0.get() else { return Lookup::Unknown };
        let name = version.map_or_else(|| name.to_owned(), |v| format!("{name}:{v}"));
        let Some(agent) = registry.agent(&name) else { return Lookup::Unknown };
        match AgentDocument::from_value(&agent.document) {
            Ok(document) => Lookup::Found(Arc::new(document)),
            Err(error) => Lookup::Suspended(format!("its document is wrong: {error}")),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.get().map(|registry| registry.agent_names()).unwrap_or_default()
    }
}

/// A connector whose operations are known but cannot be called, because nobody said where the other side is.
struct Unconfigured {
    known: Atlas,
}

impl Connector for Unconfigured {
    fn name(&self) -> &str {
        self.known.name()
    }

    fn operations(&self) -> Vec<OperationSpec> {
        self.known.operations()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Outcome> {
        let detail = format!(
            "call {}: nobody said where Atlas is; set [connectors.atlas] in cpd.toml, or CPD_ATLAS_MLFLOW_URL and \
             CPD_ATLAS_TRAINING_URL (`cpd sandbox` starts one to try with)",
            request.operation
        );
        Box::pin(async move { Outcome::Refused(Problem::standard(Standard::Configuration, detail)) })
    }
}

/// An engine over `data` with every connector of the configuration; `more` adds to it before it opens.
///
/// # Errors
/// If a connector cannot be made or the directory cannot be opened.
pub async fn open(data: &Path, config: &Config, more: impl FnOnce(Builder) -> Builder) -> anyhow::Result<Engine> {
    if let Some(directory) = config.secrets.directory.as_ref().filter(|d| !d.is_dir()) {
        bail!("find the secrets: {} of [secrets] is not a directory", directory.display());
    }
    if !config.connectors.process.allow.is_empty() {
        process::hide_environment().context("keep the environment of cpd from the processes that definitions run")?;
    }
    let agents = RegisteredAgents::default();
    let builder = Engine::builder(data)
        .secrets(Arc::new(SecretStore::new(config.secrets.directory.clone())))
        .connectors(connectors(config, agents.clone())?)
        .on_journal_status(crate::cli::journal_status);
    let engine = more(builder).open().await?;
    agents.0.get_or_init(|| engine.registry().clone());
    Ok(engine)
}

fn connectors(config: &Config, agents: RegisteredAgents) -> anyhow::Result<Vec<Arc<dyn Connector>>> {
    let secrets: Arc<dyn Secrets> = Arc::new(SecretStore::new(config.secrets.directory.clone()));
    let client = HttpClient::new(config.connectors.http.clone(), Arc::new(ConnectorClock))?;
    // One for the process: tokens that one connector has obtained serve the others.
    let authenticator = Authenticator::new(client.clone(), secrets.clone());
    let drift = DriftConfig {
        allow_absolute: config.connectors.drift.allow_absolute,
        ..DriftConfig::new(&config.connectors.drift.base_dir)
    };
    let atlas: Arc<dyn Connector> = match &config.connectors.atlas {
        Some(atlas) => Arc::new(Atlas::mlflow(atlas, client.clone(), secrets.clone()).context("configure Atlas")?),
        None => {
            let nowhere = config::atlas("http://atlas.invalid", "http://atlas.invalid");
            let known = Atlas::mlflow(&nowhere, client.clone(), secrets.clone()).context("configure Atlas")?;
            Arc::new(Unconfigured { known })
        }
    };
    Ok(vec![
        Arc::new(Mcp::new(config.connectors.mcp.clone(), &authenticator)),
        Arc::new(A2a::new(&config.connectors.a2a, &authenticator)),
        Arc::new(Process::new(config.connectors.process.clone(), Launcher::this_program(), Arc::new(ConnectorClock))),
        Arc::new(Http::over(authenticator)),
        Arc::new(DriftConnector::new(drift)),
        atlas,
        Arc::new(Agent::new(Arc::new(agents), client, secrets)),
    ])
}

/// The operations of every connector, without an engine: for checking definitions.
///
/// # Errors
/// If a connector cannot be made.
pub fn operations(config: &Config) -> anyhow::Result<Vec<OperationSpec>> {
    Ok(connectors(config, RegisteredAgents::default())?.iter().flat_map(|c| c.operations()).collect())
}
