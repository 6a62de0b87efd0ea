//! Where the outside world is: `cpd.toml` in the data directory (or `--config FILE`), and the environment above it.
//!
//! The embedded defaults need no account, no network and no server; `cpd/default.toml` is the complete, commented
//! reference. Unknown keys are refused by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cpd_connectors::a2a::A2aConfig;
use cpd_connectors::asyncapi::AsyncApiConfig;
use cpd_connectors::atlas::config::AtlasConfig;
use cpd_connectors::egress::EgressConfig;
use cpd_connectors::http::HttpConfig;
use cpd_connectors::mcp::McpConfig;
use cpd_connectors::process::ProcessConfig;
use cpd_engine::DataLimits;
use serde::Deserialize;

use crate::door::config::{Auth, Tls};
use crate::serve::config::Server;

/// The reference configuration.
pub const DEFAULT: &str = include_str!("default.toml");

/// The configuration of a data directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[connectors]`
    pub connectors: Connectors,
    /// `[egress]`
    pub egress: EgressConfig,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[registry]`
    pub registry: Registry,
    /// `[limits]`
    pub limits: Limits,
    /// `[auth]`
    pub auth: Auth,
    /// `[tls]`; without it there is none.
    pub tls: Option<Tls>,
    /// `[server]`
    pub server: Server,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most bytes of JSON that the input of a run may have.
    pub input_bytes: usize,
    /// The most bytes of JSON that the output of an operation may have.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let DataLimits { input_bytes, output_bytes } = DataLimits::default();
        Self { input_bytes, output_bytes }
    }
}

/// `[registry]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// Whether `cpd register --replace` may give a version other content.
    pub development: bool,
}

/// `[secrets]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// Where files are that hold one secret each, under its name; asked after the environment.
    pub directory: Option<PathBuf>,
    /// Programs with their arguments that print one secret each, under its name; asked last.
    pub commands: BTreeMap<String, Vec<String>>,
    /// How long such a program may take.
    pub command_timeout_ms: u64,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { directory: None, commands: BTreeMap::new(), command_timeout_ms: 10_000 }
    }
}

/// `[connectors.*]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connectors {
    /// `[connectors.drift]`
    pub drift: Drift,
    /// `[connectors.http]`
    pub http: HttpConfig,
    /// `[connectors.mcp]`
    pub mcp: McpConfig,
    /// `[connectors.a2a]`
    pub a2a: A2aConfig,
    /// `[connectors.asyncapi]`
    pub asyncapi: AsyncApiConfig,
    /// `[connectors.process]`
    pub process: ProcessConfig,
    /// `[connectors.atlas]`; without it the operations of Atlas are known, but a call of one is refused.
    pub atlas: Option<AtlasConfig>,
}

/// `[connectors.drift]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drift {
    /// Where data files are; relative to the current directory.
    pub base_dir: PathBuf,
    /// Whether an input may name any file of the machine.
    pub allow_absolute: bool,
}

impl Default for Drift {
    fn default() -> Self {
        Self { base_dir: PathBuf::from("."), allow_absolute: true }
    }
}

/// The name of the file in a data directory.
pub const FILE: &str = "cpd.toml";

/// Reads the configuration of a data directory.
///
/// # Errors
/// If a file was named and is not there, a file is wrong, or the data directory is not one.
pub fn load(named: Option<&Path>, data: &Path) -> anyhow::Result<Config> {
    if data.exists() && !data.is_dir() {
        bail!("use the data directory {}: it is not a directory; `--data DIR` names another", data.display());
    }
    let path = match named {
        Some(path) => path.to_owned(),
        None => data.join(FILE),
    };
    let mut config = match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("read the configuration {}", path.display()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => Config::default(),
        Err(e) => return Err(e).with_context(|| format!("read the configuration {}", path.display())),
    };
    if let Some((name, _)) = config.secrets.commands.iter().find(|(_, words)| words.is_empty()) {
        bail!(
            "read the configuration {}: the command of the secret {name:?} is empty, expected a program",
            path.display()
        );
    }
    from_environment(&mut config, |name| std::env::var(name).ok())?;
    Ok(config)
}

/// `CPD_ATLAS_MLFLOW_URL` and `CPD_ATLAS_TRAINING_URL` say where Atlas is without a file; `CREDENTIALS_DIRECTORY`, where
/// systemd has put the service's secrets; `CPD_EGRESS_ALLOW`, what definitions may reach beyond what the file says.
fn from_environment(config: &mut Config, get: impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    if config.secrets.directory.is_none() {
        config.secrets.directory = get("CREDENTIALS_DIRECTORY").filter(|d| !d.is_empty()).map(PathBuf::from);
    }
    if let Some(more) = get("CPD_EGRESS_ALLOW") {
        let rules = more.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        config.egress.allow.extend(rules.map(str::to_owned));
    }
    let (mlflow, training) = (get("CPD_ATLAS_MLFLOW_URL"), get("CPD_ATLAS_TRAINING_URL"));
    match (&mut config.connectors.atlas, mlflow, training) {
        (_, None, None) => {}
        (Some(atlas), mlflow, training) => {
            atlas.mlflow.url = mlflow.unwrap_or_else(|| std::mem::take(&mut atlas.mlflow.url));
            atlas.training.url = training.unwrap_or_else(|| std::mem::take(&mut atlas.training.url));
        }
        (none, Some(mlflow), Some(training)) => *none = Some(atlas(&mlflow, &training)),
        (None, one, _) => {
            let missing = if one.is_none() { "CPD_ATLAS_MLFLOW_URL" } else { "CPD_ATLAS_TRAINING_URL" };
            bail!("find Atlas: {missing} is not set, and there is no [connectors.atlas] in the configuration");
        }
    }
    Ok(())
}

/// Atlas at two addresses, with the defaults for everything else.
pub fn atlas(mlflow: &str, training: &str) -> AtlasConfig {
    use cpd_connectors::atlas::config::{MlflowConfig, Poll, TrainingConfig};
    AtlasConfig {
        mlflow: MlflowConfig { url: mlflow.to_owned(), token_secret: None },
        training: TrainingConfig {
            url: training.to_owned(),
            token_secret: None,
            callback_url: None,
            poll: Poll::default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_complete_valid_and_says_the_defaults() {
        let reference: Config = toml::from_str(DEFAULT).unwrap();
        assert_eq!(reference.connectors.http, HttpConfig::default());
        assert_eq!(reference.egress, EgressConfig::default());
        assert_eq!(reference.connectors.mcp, McpConfig::default());
        assert_eq!(reference.connectors.a2a, A2aConfig::default());
        assert_eq!(reference.connectors.asyncapi, AsyncApiConfig::default());
        assert_eq!(reference.connectors.process, ProcessConfig::default());
        assert_eq!(reference.connectors.drift.base_dir, Drift::default().base_dir);
        assert_eq!(reference.connectors.drift.allow_absolute, Drift::default().allow_absolute);
        assert!(reference.connectors.atlas.is_none(), "there is no Atlas by default");
        assert_eq!(reference.auth, Auth::default());
        assert_eq!(reference.tls, None);
        assert_eq!(reference.secrets, Secrets::default());
        let uncommented: String =
            DEFAULT.lines().map(|l| format!("{}\n", l.strip_prefix("#: ").unwrap_or(l))).collect();
        let all: Config = toml::from_str(&uncommented).unwrap();
        assert!(all.connectors.atlas.is_some(), "the commented part is valid too");
        assert!(all.tls.is_some() && all.auth.certificates.len() == 1, "the commented part is valid too");
        crate::door::check(&all.auth, &[]).expect("the commented part can be meant so");
        let [oidc] = &all.auth.oidc[..] else { panic!("{:?}", all.auth.oidc) };
        // What has a default stands there with it.
        let least = "issuer = \"https://id.example.com/realms/main\"\naudiences = [\"cpd\"]\ngrants = []";
        let least: crate::door::config::Oidc = toml::from_str(least).unwrap();
        assert_eq!(*oidc, crate::door::config::Oidc { grants: oidc.grants.clone(), ..least });
        assert!(all.secrets.directory.is_some() && !all.secrets.commands.is_empty(), "the commented part is valid too");
    }

    #[test]
    fn the_directory_of_systemds_credentials_is_used_unless_another_is_set() {
        let systemd = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| "/run/credentials/cpd.service".to_owned());
        let mut config = Config::default();
        from_environment(&mut config, systemd).unwrap();
        assert_eq!(config.secrets.directory.as_deref(), Some(Path::new("/run/credentials/cpd.service")));
        let mut config: Config = toml::from_str("[secrets]\ndirectory = \"/etc/cpd/secrets\"\n").unwrap();
        from_environment(&mut config, systemd).unwrap();
        assert_eq!(config.secrets.directory.as_deref(), Some(Path::new("/etc/cpd/secrets")));
    }

    #[test]
    fn the_environment_adds_to_what_may_be_reached() {
        let mut config: Config = toml::from_str("[egress]\nallow = [\"a.example\"]\n").unwrap();
        let environment = |name: &str| (name == "CPD_EGRESS_ALLOW").then(|| "localhost:80, ,10.0.0.0/8,".to_owned());
        from_environment(&mut config, environment).unwrap();
        assert_eq!(config.egress.allow, ["a.example", "localhost:80", "10.0.0.0/8"]);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = toml::from_str::<Config>("[connectors.htp]\n").unwrap_err().to_string();
        assert!(error.contains("`htp`") && error.contains("`http`"), "{error}");
        let error = toml::from_str::<Config>("[egress]\nalow = []\n").unwrap_err().to_string();
        assert!(error.contains("`alow`") && error.contains("`allow`"), "{error}");
        let error = toml::from_str::<Config>("[egress]\nreach = \"all\"\n").unwrap_err().to_string();
        assert!(error.contains("`all`") && error.contains("`listed`"), "{error}");
    }

    #[test]
    fn half_of_atlas_in_the_environment_is_an_error_that_names_the_other_half() {
        let mut config = Config::default();
        let only = |name: &str| (name == "CPD_ATLAS_MLFLOW_URL").then(|| "http://127.0.0.1:5000".to_owned());
        let error = from_environment(&mut config, only).unwrap_err().to_string();
        assert!(error.contains("CPD_ATLAS_TRAINING_URL"), "{error}");
    }
}
