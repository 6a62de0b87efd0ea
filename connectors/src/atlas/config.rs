//! Where Atlas is and how patient the connector is with it.

use serde::{Deserialize, Serialize};

/// The connector's configuration: the section `[connectors.atlas]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtlasConfig {
    /// Where models are registered.
    pub mlflow: MlflowConfig,
    /// Where models are trained.
    pub training: TrainingConfig,
}

/// The model registry: an MLflow server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlflowConfig {
    /// The server's base address, such as `https://mlflow.corp.example`; `/api/2.0/mlflow/…` is put behind it.
    pub url: String,
    /// The name of the secret with a bearer token. Without it, requests carry no credentials.
    #[serde(default)]
    pub token_secret: Option<String>,
}

/// The training hook; its contract is in the connectors' README.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// The hook's base address; `/jobs` is put behind it.
    pub url: String,
    /// The name of the secret with a bearer token. Without it, requests carry no credentials.
    #[serde(default)]
    pub token_secret: Option<String>,
    /// Where the training service reports a job's end for `completion: callback`: the daemon's event intake.
    #[serde(default)]
    pub callback_url: Option<String>,
    /// How often a job is asked for.
    #[serde(default)]
    pub poll: Poll,
}

/// How often a job is asked for. A `Retry-After` in the answer makes a wait longer, never shorter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poll {
    /// The first wait.
    pub interval_ms: u64,
    /// Each wait is so many times the one before.
    pub factor: f64,
    /// The longest wait.
    pub interval_ms_max: u64,
    /// So many polls in a row may fail before the connector gives up and leaves it to the engine.
    pub failures_max: u32,
}

impl Default for Poll {
    fn default() -> Self {
        Self { interval_ms: 1_000, factor: 1.5, interval_ms_max: 30_000, failures_max: 5 }
    }
}

impl Poll {
    /// The wait after `n` polls that found the job still running.
    pub fn wait_ms(&self, n: u32, retry_after_ms: Option<u64>) -> u64 {
        let factor = if self.factor.is_finite() { self.factor.max(1.0) } else { 1.0 };
        let grown = self.interval_ms as f64 * factor.powi(i32::try_from(n).unwrap_or(i32::MAX));
        // Out of range on purpose ends at the limit: the cast saturates.
        let own = (grown as u64).min(self.interval_ms_max.max(self.interval_ms));
        // A service that asks for days is asked again within the hour all the same.
        own.max(retry_after_ms.unwrap_or(0).min(3_600_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_heed_the_other_side() {
        let poll = Poll::default();
        assert_eq!([0, 1, 2].map(|n| poll.wait_ms(n, None)), [1_000, 1_500, 2_250]);
        assert_eq!(poll.wait_ms(1_000_000, None), 30_000);
        assert_eq!(poll.wait_ms(0, Some(5_000)), 5_000);
        assert_eq!(poll.wait_ms(9, Some(1)), 30_000);
        let odd = Poll { factor: f64::NAN, ..poll };
        assert_eq!(odd.wait_ms(7, None), 1_000);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let text = r#"{"mlflow": {"url": "http://m"}, "training": {"url": "http://t", "pol": {}}}"#;
        let e = serde_json::from_str::<AtlasConfig>(text).unwrap_err().to_string();
        assert!(e.contains("`pol`") && e.contains("`poll`"), "{e}");
    }
}
