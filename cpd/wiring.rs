//! Connectors from a configuration, and an engine from a data directory.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use cpd_connector_api::attachment::{Loader, Resource, Wanted};
use cpd_connector_api::clock::SystemClock as ConnectorClock;
use cpd_connector_api::secret::Secrets;
use cpd_connector_api::{BoxFuture, Connector, Map, OperationSpec, Outcome, Problem, Request, Standard, Value};
use cpd_connectors::a2a::A2a;
use cpd_connectors::agent::Agent;
use cpd_connectors::agent::document::{AgentDocument, Agents, Lookup};
use cpd_connectors::asyncapi::AsyncApi;
use cpd_connectors::atlas::Atlas;
use cpd_connectors::authentication::Authenticator;
use cpd_connectors::drift::{DriftConfig, DriftConnector};
use cpd_connectors::egress::{Egress, EgressConfig, Reach};
#[cfg(feature = "grpc")]
use cpd_connectors::grpc::Grpc;
use cpd_connectors::http::{Http, HttpClient, resource};
use cpd_connectors::mcp::Mcp;
use cpd_connectors::openapi::OpenApi;
use cpd_connectors::process::{self, Launcher, Process};
use cpd_engine::{Builder, DataLimits, Engine, Registry};

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
        .secrets(Arc::new(SecretStore::new(config.secrets.clone())))
        .loader(loader(config)?)
        .development(config.registry.development)
        .data_limits(DataLimits { input_bytes: config.limits.input_bytes, output_bytes: config.limits.output_bytes })
        .connectors(connectors(config, agents.clone())?)
        .on_journal_status(crate::cli::journal_status);
    let engine = more(builder).open().await?;
    agents.0.get_or_init(|| engine.registry().clone());
    Ok(engine)
}

/// The HTTP clients of the process. They share no connections: one that is open for the operator is none for a definition.
struct Clients {
    /// For addresses that come from definitions.
    definitions: HttpClient,
    /// For those of agents. They stand in documents that are registered, too, but a model on this machine is no exception there; only
    /// what never holds a model is refused.
    agents: HttpClient,
    /// For those of the configuration.
    operator: HttpClient,
}

fn clients(config: &Config) -> anyhow::Result<Clients> {
    let http = || config.connectors.http.clone();
    let rules = |rules: &EgressConfig| Egress::new(rules).context("read the configuration");
    let under = |egress| HttpClient::guarded(http(), egress, Arc::new(ConnectorClock));
    let agents = EgressConfig { reach: Reach::Any, ..config.egress.clone() };
    Ok(Clients {
        definitions: under(rules(&config.egress)?)?,
        agents: under(rules(&agents)?)?,
        operator: HttpClient::new(http(), Arc::new(ConnectorClock))?,
    })
}

fn connectors(config: &Config, agents: RegisteredAgents) -> anyhow::Result<Vec<Arc<dyn Connector>>> {
    let secrets: Arc<dyn Secrets> = Arc::new(SecretStore::new(config.secrets.clone()));
    let Clients { definitions: client, agents: agents_client, operator } = clients(config)?;
    // One for the process: tokens that one connector has obtained serve the others.
    let authenticator = Authenticator::new(client, secrets.clone());
    let drift = DriftConfig {
        allow_absolute: config.connectors.drift.allow_absolute,
        ..DriftConfig::new(&config.connectors.drift.base_dir)
    };
    let atlas: Arc<dyn Connector> = match &config.connectors.atlas {
        Some(atlas) => Arc::new(Atlas::mlflow(atlas, operator, secrets.clone()).context("configure Atlas")?),
        None => {
            let nowhere = config::atlas("http://atlas.invalid", "http://atlas.invalid");
            let known = Atlas::mlflow(&nowhere, operator, secrets.clone()).context("configure Atlas")?;
            Arc::new(Unconfigured { known })
        }
    };
    Ok(vec![
        Arc::new(Mcp::new(config.connectors.mcp.clone(), &authenticator)),
        Arc::new(A2a::new(&config.connectors.a2a, &authenticator)),
        Arc::new(OpenApi::new(authenticator.clone())),
        #[cfg(feature = "grpc")]
        Arc::new(Grpc::new(authenticator.clone())),
        Arc::new(AsyncApi::new(config.connectors.asyncapi.clone(), &authenticator)),
        Arc::new(Process::new(config.connectors.process.clone(), Launcher::this_program(), Arc::new(ConnectorClock))),
        Arc::new(Http::over(authenticator)),
        Arc::new(DriftConnector::new(drift)),
        atlas,
        Arc::new(Agent::new(Arc::new(agents), agents_client, secrets)),
    ])
}

/// What loads the documents that definitions refer to. Files are looked for beside the definition, wherever the operator who
/// registers it has it, and nowhere above.
struct Documents {
    client: HttpClient,
    authenticator: Authenticator,
}

impl Loader for Documents {
    fn load<'a>(&'a self, wanted: &'a Wanted, from: &'a str) -> BoxFuture<'a, Result<Resource, Problem>> {
        Box::pin(async move {
            let uri = ("uri".into(), Value::Str(wanted.uri.clone()));
            let policy = wanted.authentication.clone().map(|policy| ("authentication".into(), policy));
            let endpoint = Value::from([uri].into_iter().chain(policy).collect::<Map>());
            let beside = Path::new(from).parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
            resource::load(&self.client, &self.authenticator, beside, &endpoint).await
        })
    }
}

/// What loads the documents that definitions refer to.
///
/// # Errors
/// If there can be no HTTP client.
pub fn loader(config: &Config) -> anyhow::Result<Arc<dyn Loader>> {
    let secrets: Arc<dyn Secrets> = Arc::new(SecretStore::new(config.secrets.clone()));
    let Clients { definitions: client, .. } = clients(config)?;
    let authenticator = Authenticator::new(client.clone(), secrets);
    Ok(Arc::new(Documents { client, authenticator }))
}

/// Every connector, without an engine: for checking definitions.
///
/// # Errors
/// If a connector cannot be made.
pub fn known(config: &Config) -> anyhow::Result<Vec<Arc<dyn Connector>>> {
    connectors(config, RegisteredAgents::default())
}

/// The operations of every connector, without an engine.
///
/// # Errors
/// If a connector cannot be made.
pub fn operations(config: &Config) -> anyhow::Result<Vec<OperationSpec>> {
    Ok(known(config)?.iter().flat_map(|c| c.operations()).collect())
}
