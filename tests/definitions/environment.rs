//! The environment of a fresh installation: the operations of the connectors, the policies and agents in `definitions/`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cpd_connector_api::clock::SystemClock;
use cpd_connector_api::secret::NoSecrets;
use cpd_connector_api::{Connector, OperationSpec};
use cpd_connectors::agent::Agent;
use cpd_connectors::agent::document::AgentDocument;
use cpd_connectors::atlas::Atlas;
use cpd_connectors::atlas::config::{AtlasConfig, MlflowConfig, Poll, TrainingConfig};
use cpd_connectors::drift::{DriftConfig, DriftConnector};
use cpd_connectors::http::{Http, HttpClient, HttpConfig};
use cpd_core::catalog::Catalog;
use cpd_core::definition::plan::{Digest, Pin, PinKind};
use cpd_core::definition::{Environment, read_value};
use cpd_core::policy::{Policy, PolicyDocument};

use crate::{root, yaml_files};

/// What a fresh installation has.
pub struct Installed {
    operations: Vec<OperationSpec>,
    policies: Vec<(Arc<str>, Arc<Policy>)>,
    agents: Vec<Pin>,
}

/// The one environment of all tests.
pub static INSTALLED: LazyLock<Installed> = LazyLock::new(Installed::load);

impl Installed {
    fn load() -> Self {
        let client = HttpClient::new(HttpConfig::default(), Arc::new(SystemClock)).expect("a client");
        let nowhere = "http://atlas.invalid".to_owned();
        let atlas = AtlasConfig {
            mlflow: MlflowConfig { url: nowhere.clone(), token_secret: None },
            training: TrainingConfig { url: nowhere, token_secret: None, callback_url: None, poll: Poll::default() },
        };
        let connectors: [Box<dyn Connector>; 4] = [
            Box::new(Http::new(client.clone(), Arc::new(NoSecrets))),
            Box::new(DriftConnector::new(DriftConfig::new("."))),
            Box::new(Atlas::mlflow(&atlas, client.clone(), Arc::new(NoSecrets)).expect("Atlas")),
            Box::new(Agent::new(Arc::new(BTreeMap::<String, Arc<AgentDocument>>::new()), client, Arc::new(NoSecrets))),
        ];
        let policies = yaml_files(&root().join("definitions/policies")).into_iter().map(|(path, text)| {
            let file = path.display().to_string();
            let policy = PolicyDocument::parse(&text, &file).and_then(Policy::compile);
            let policy = policy.unwrap_or_else(|e| panic!("{file}: {e:?}"));
            (Arc::from(policy.name()), Arc::new(policy))
        });
        let agents = yaml_files(&root().join("definitions/agents")).into_iter().map(|(path, text)| {
            let document = read_value(&text, &path.display().to_string()).expect("an agent is YAML");
            let member = |key: &str| document.get(key).and_then(|v| v.as_str()).map(Arc::from).expect("a text");
            Pin { kind: PinKind::Agent, name: member("name"), version: member("version"), digest: Digest([1; 32]) }
        });
        Self {
            operations: connectors.iter().flat_map(|c| c.operations()).collect(),
            policies: policies.collect(),
            agents: agents.collect(),
        }
    }
}

/// A name as it is compared: people type `_` for `-`, and leave the namespace out.
fn same(typed: &str, full: &str) -> bool {
    let (typed, full) = (typed.replace('_', "-"), full.replace('_', "-"));
    typed == full || full.rsplit('/').next() == Some(&typed)
}

impl Environment for Installed {
    fn workflow(&self, _name: &str, _version: Option<&str>) -> Option<Pin> {
        None
    }
    fn workflow_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn operation(&self, name: &str, version: Option<&str>) -> Option<OperationSpec> {
        self.operations.find(name, version)
    }
    fn operation_names(&self) -> Vec<Arc<str>> {
        self.operations.names()
    }
    fn policy(&self, name: &str, version: Option<&str>) -> Option<Arc<Policy>> {
        let (_, policy) = self.policies.iter().find(|(n, _)| same(name, n))?;
        version.is_none_or(|v| v == policy.version()).then(|| policy.clone())
    }
    fn policy_names(&self) -> Vec<Arc<str>> {
        self.policies.iter().map(|(n, _)| n.clone()).collect()
    }
    fn agent(&self, name: &str, version: Option<&str>) -> Option<Pin> {
        self.agents.iter().find(|a| same(name, &a.name) && version.is_none_or(|v| v == &*a.version)).cloned()
    }
    fn agent_names(&self) -> Vec<Arc<str>> {
        self.agents.iter().map(|a| a.name.clone()).collect()
    }
}
