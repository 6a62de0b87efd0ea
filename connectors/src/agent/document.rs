//! Agents as documents: who answers, how it is instructed, and what it may cost.
//!
//! A document under `definitions/agents/` has a name and a version; a run is pinned to the version that was there when
//! its workflow was registered. [`AgentDocument::from_value`] reads one and says what is wrong with it, all of it at
//! once. The connector asks for agents through [`Agents`], which the engine's registry implements: it can also say that
//! an agent is suspended.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpd_connector_api::{Value, schema};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::template;

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentDocument {
    /// A DNS label.
    pub name: String,
    /// A semantic version.
    pub version: String,
    /// A few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who answers prompts.
    pub provider: Provider,
    /// The model that the provider is asked for.
    pub model: String,
    /// Where the provider is; `openai` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// How the model is run.
    #[serde(default)]
    pub parameters: Parameters,
    /// What one answer may take; a task may ask for less.
    #[serde(default)]
    pub budget: Budget,
    /// What tokens cost; a budget in dollars needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
}

/// Who answers prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// A chat endpoint that is compatible with OpenAI's.
    #[serde(rename = "openai")]
    OpenAi,
    /// The offline summariser.
    Template,
}

impl Provider {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Provider::OpenAi => "openai",
            Provider::Template => "template",
        }
    }
}

/// A chat endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// The base address; `/chat/completions` is put behind it.
    pub url: String,
    /// The name of the secret with a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret: Option<String>,
}

/// How the model is run. What is absent is left to the provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameters {
    /// 0 for the likeliest answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most tokens that an answer may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The name of the request's member for it: `max_tokens`, or `max_completion_tokens` for newer models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens_member: Option<String>,
    /// The same seed, the same answer, as far as the provider can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

/// What one answer may take. What is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// Tokens, question and answer together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Seconds until the answer is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Budget {
    /// The tighter of both, limit by limit: a task can ask for less than its agent may take, never for more.
    #[must_use]
    pub fn within(self, other: Budget) -> Budget {
        fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(if b < a { b } else { a }),
                (a, b) => a.or(b),
            }
        }
        Budget {
            tokens: least(self.tokens, other.tokens),
            usd: least(self.usd, other.usd),
            seconds: least(self.seconds, other.seconds),
        }
    }
}

/// What tokens cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    /// Which price list this is; it is journaled with every cost.
    pub version: String,
    /// US dollars for a million tokens of question.
    pub input_per_million_usd: f64,
    /// US dollars for a million tokens of answer.
    pub output_per_million_usd: f64,
    /// US dollars for a million tokens of question that the provider had cached; as the others if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_per_million_usd: Option<f64>,
}

impl Prices {
    /// What so many tokens cost. `cached` ones are among `input`.
    pub fn cost_usd(&self, input: u64, cached: u64, output: u64) -> f64 {
        let cached = cached.min(input);
        let cached_price = self.cached_input_per_million_usd.unwrap_or(self.input_per_million_usd);
        let micro = (input - cached) as f64 * self.input_per_million_usd
            + cached as f64 * cached_price
            + output as f64 * self.output_per_million_usd;
        micro / 1e6
    }
}

/// Why a document is no agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has not the shape of one.
    #[error("read the agent: {what}")]
    Shape {
        /// What was found and what was expected.
        what: String,
    },
    /// It has the shape and does not hold together.
    #[error("read agent {name:?}: {}", .faults.join("; "))]
    Faults {
        /// The agent.
        name: String,
        /// Each of them with place, finding and expectation.
        faults: Vec<String>,
    },
}

impl AgentDocument {
    /// Reads a document that has been parsed from YAML or JSON.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        if value.as_object().is_none() {
            let what = format!("found {}, expected an object with name, version, provider and model", value.kind());
            return Err(Error::Shape { what });
        }
        let document: Self = value.to().map_err(|e| {
            // A position in the text that the value was turned into helps nobody.
            let text = e.to_string();
            Error::Shape { what: text.split(" at line ").next().unwrap_or(&text).to_owned() }
        })?;
        let faults = document.faults();
        if faults.is_empty() { Ok(document) } else { Err(Error::Faults { name: document.name, faults }) }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name_fits = (1..=63).contains(&self.name.len())
            && self.name.chars().all(label)
            && !self.name.starts_with('-')
            && !self.name.ends_with('-');
        let mut check = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        check(
            name_fits,
            format!("`name`: found {:?}, expected lower-case letters, digits and - (at most 63)", self.name),
        );
        let parts: Vec<_> = self.version.split(['-', '+']).next().unwrap_or("").split('.').collect();
        let number = |p: &&str| {
            !p.is_empty() && p.len() < 10 && p.bytes().all(|b| b.is_ascii_digit()) && (*p == "0" || !p.starts_with('0'))
        };
        check(
            parts.len() == 3 && parts.iter().all(number),
            format!("`version`: found {:?}, expected a semantic version such as 1.0.0", self.version),
        );
        check(!self.model.trim().is_empty(), "`model`: found nothing, expected a model's name".into());
        match self.provider {
            Provider::OpenAi => match &self.endpoint {
                None => check(false, "`endpoint`: found nothing, expected {url: …} for provider openai".into()),
                Some(endpoint) => {
                    let url =
                        endpoint.url.parse::<Url>().ok().filter(|u| u.has_host() && u.scheme().starts_with("http"));
                    check(
                        url.is_some(),
                        format!(
                            "`endpoint.url`: found {:?}, expected an address such as https://host/v1",
                            endpoint.url
                        ),
                    );
                }
            },
            Provider::Template => {
                check(
                    self.model == template::MODEL,
                    format!("`model`: found {:?}, expected {:?} for provider template", self.model, template::MODEL),
                );
                check(self.endpoint.is_none(), "`endpoint`: found one, expected none for provider template".into());
            }
        }
        let temperature = self.parameters.temperature.is_none_or(|t| (0.0..=2.0).contains(&t));
        check(
            temperature,
            format!(
                "`parameters.temperature`: found {:?}, expected 0 to 2",
                self.parameters.temperature.unwrap_or_default()
            ),
        );
        check(self.parameters.max_tokens != Some(0), "`parameters.maxTokens`: found 0, expected at least 1".into());
        let member = self.parameters.max_tokens_member.as_deref();
        check(
            member.is_none_or(|m| ["max_tokens", "max_completion_tokens"].contains(&m)),
            format!("`parameters.maxTokensMember`: found {member:?}, expected max_tokens or max_completion_tokens"),
        );
        for (what, amount) in [("usd", self.budget.usd), ("seconds", self.budget.seconds)] {
            let fits = amount.is_none_or(|a| a.is_finite() && a > 0.0);
            check(fits, format!("`budget.{what}`: found {:?}, expected more than 0", amount.unwrap_or_default()));
        }
        if self.provider == Provider::OpenAi && self.budget.usd.is_some() {
            check(
                self.prices.is_some(),
                "`prices`: found nothing, expected prices, because `budget.usd` cannot be kept without them".into(),
            );
        }
        if let Some(prices) = &self.prices {
            let all = [
                Some(prices.input_per_million_usd),
                Some(prices.output_per_million_usd),
                prices.cached_input_per_million_usd,
            ];
            check(
                all.into_iter().flatten().all(|p| p.is_finite() && p >= 0.0),
                "`prices`: expected amounts of at least 0".into(),
            );
        }
        faults
    }

    /// The summariser that is there without any configuration; `definitions/agents/` has the same.
    pub fn summariser() -> Self {
        Self {
            name: "intelligence-summariser".into(),
            version: "1.0.0".into(),
            title: Some("Intelligence summariser".into()),
            description: Some(
                "Summarises drift figures, policy decisions and retraining results, and any other data of a run."
                    .into(),
            ),
            owner: Some("ai-operations".into()),
            provider: Provider::Template,
            model: template::MODEL.into(),
            endpoint: None,
            system: Some(SYSTEM.into()),
            parameters: Parameters { temperature: Some(0.2), max_tokens: Some(800), ..Parameters::default() },
            budget: Budget { tokens: Some(20_000), usd: Some(0.5), seconds: Some(60.0) },
            prices: None,
        }
    }
}

const SYSTEM: &str = "\
You write short operational summaries for people who run machine-learning models in a regulated company.
Say first what matters most. Name the figures that a decision rests on, the decision and its reasons, and what was
done. Use plain English, whole sentences and only what the data says. If something is missing, say that it is.";

/// What a lookup found.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// The agent.
    Found(Arc<AgentDocument>),
    /// Nobody of that name and version.
    Unknown,
    /// It may not be called now, and why.
    Suspended(String),
}

/// Where agents are looked up.
pub trait Agents: Send + Sync + 'static {
    /// The agent of that name, the newest if `version` is `None`.
    fn agent(&self, name: &str, version: Option<&str>) -> Lookup;
    /// Every name, for problems that say who there is.
    fn names(&self) -> Vec<String>;
}

impl Agents for BTreeMap<String, Arc<AgentDocument>> {
    fn agent(&self, name: &str, version: Option<&str>) -> Lookup {
        let found = self.get(name).filter(|a| version.is_none_or(|v| v == a.version));
        found.map_or(Lookup::Unknown, |a| Lookup::Found(Arc::clone(a)))
    }
    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// A schema for an answer has to be one that can be held.
pub fn schema_fault(schema: &Value) -> Option<String> {
    schema::defects(schema).first().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;

    use super::*;

    #[test]
    fn a_document_says_everything_that_is_wrong_with_it_at_once() {
        let value = json!({
            "name": "Bad Name", "version": "1.0", "provider": "openai", "model": " ",
            "parameters": {"temperature": 3}, "budget": {"usd": -1},
        });
        let text = AgentDocument::from_value(&value).unwrap_err().to_string();
        for part in
            ["`name`", "`version`", "`model`", "`endpoint`", "`parameters.temperature`", "`budget.usd`", "`prices`"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn misspelt_members_and_other_shapes_are_refused() {
        let text = AgentDocument::from_value(&json!({"name": "a", "versoin": "1.0.0"})).unwrap_err().to_string();
        assert!(text.contains("`versoin`") && text.contains("`version`") && !text.contains("line"), "{text}");
        assert!(AgentDocument::from_value(&json!([])).unwrap_err().to_string().contains("found array"));
    }

    #[test]
    fn a_task_can_tighten_a_budget_and_never_widen_it() {
        let agent = Budget { tokens: Some(100), usd: None, seconds: Some(5.0) };
        let task = Budget { tokens: Some(200), usd: Some(0.1), seconds: Some(1.0) };
        assert_eq!(agent.within(task), Budget { tokens: Some(100), usd: Some(0.1), seconds: Some(1.0) });
    }

    #[test]
    fn costs_follow_the_price_list() {
        let prices = Prices {
            version: "v".into(),
            input_per_million_usd: 2.0,
            output_per_million_usd: 8.0,
            cached_input_per_million_usd: Some(0.5),
        };
        assert!((prices.cost_usd(1_000_000, 400_000, 500_000) - (1.2 + 0.2 + 4.0)).abs() < 1e-9);
    }

    #[test]
    fn the_shipped_document_is_the_built_in_summariser() {
        let text = include_str!("../../../definitions/agents/intelligence-summariser.yaml");
        let value: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
        assert_eq!(AgentDocument::from_value(&value.into()).unwrap(), AgentDocument::summariser());
    }
}
