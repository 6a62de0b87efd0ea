//! An agent card: where the agent is and which version of the protocol it speaks there.
//!
//! A card of version 0.3 has `url`, `preferredTransport` (JSON-RPC unless it says otherwise) and `additionalInterfaces`; one of version 1.0 has
//! `supportedInterfaces`, each with a binding and a version. A card may have both. Of the interfaces that speak JSON-RPC, the first of
//! version 0.3 is taken, because the workflow language has that version's methods; else the first of version 1.0.
//! Security schemes are reported as they are.

use cpd_connector_api::{Map, Value, json};
use reqwest::Url;

use super::resolve;
use crate::http::client::shown;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 0.3: `message/send`, `kind` members, states in lower case.
    V0_3,
    /// 1.0: `SendMessage`, states like `TASK_STATE_COMPLETED`.
    V1_0,
}

impl Version {
    /// As the header says it.
    pub fn name(self) -> &'static str {
        match self {
            Version::V0_3 => "0.3",
            Version::V1_0 => "1.0",
        }
    }

    /// The role of whoever asks.
    pub fn user(self) -> &'static str {
        match self {
            Version::V0_3 => "user",
            Version::V1_0 => "ROLE_USER",
        }
    }

    fn of(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split('.');
        match (numbers.next()?, numbers.next()) {
            ("0", Some("2" | "3") | None) => Some(Version::V0_3),
            ("1", _) => Some(Version::V1_0),
            _ => None,
        }
    }
}

/// An agent that can be called.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Where it takes requests.
    pub url: Url,
    /// What it speaks there.
    pub version: Version,
    /// The tenant that the interface is for.
    pub tenant: Option<String>,
    /// What its card says of it; `None` if it was named by its address alone.
    pub card: Option<Value>,
}

impl Agent {
    /// The agent at an address, without a card.
    pub fn at(url: Url) -> Self {
        Self { url, version: Version::V0_3, tenant: None, card: None }
    }

    /// The agent of a card that came from `base`.
    ///
    /// # Errors
    /// Says what was found and expected, if the card has no interface that can be used.
    pub fn of(card: &Value, base: &Url) -> Result<Self, String> {
        if card.as_object().is_none() {
            return Err(format!("found {}, expected an object", card.kind()));
        }
        let mut seen = Vec::new();
        let mut usable = Vec::new();
        for interface in interfaces(card) {
            let Some(address) = interface.url else { continue };
            let version = Version::of(interface.version);
            seen.push(format!("{} {}", interface.binding, interface.version));
            if let Some(version) = version.filter(|_| interface.binding.eq_ignore_ascii_case("JSONRPC")) {
                usable.push((address, version, interface.tenant));
            }
        }
        let position = usable.iter().position(|(_, version, _)| *version == Version::V0_3).unwrap_or(0);
        let Some(&(address, version, tenant)) = usable.get(position) else {
            let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
            return Err(format!("found the interfaces {seen}, expected one with JSONRPC of version 0.3 or 1.0"));
        };
        let told = ["name", "version", "security", "securityRequirements", "securitySchemes"];
        let about: Map = told.iter().filter_map(|&name| Some((name.into(), card.get(name)?.clone()))).collect();
        Ok(Self {
            url: resolve(base, address)?,
            version,
            tenant: tenant.map(str::to_owned),
            card: Some(Value::from(about)),
        })
    }

    /// What the log keeps.
    pub fn evidence(&self) -> Value {
        json!({"url": shown(&self.url), "protocolVersion": self.version.name(), "agent": self.card})
    }
}

/// An interface as a card lists it.
struct Interface<'a> {
    url: Option<&'a str>,
    binding: &'a str,
    version: &'a str,
    tenant: Option<&'a str>,
}

fn interfaces(card: &Value) -> Vec<Interface<'_>> {
    let text = |of: &'static str| card.get(of).and_then(Value::as_str);
    let list = |of: &'static str| card.get(of).and_then(Value::as_array).unwrap_or_default().iter();
    let version = text("protocolVersion").unwrap_or("0.3");
    let mut found = Vec::new();
    if let Some(url) = text("url") {
        let binding = text("preferredTransport").unwrap_or("JSONRPC");
        found.push(Interface { url: Some(url), binding, version, tenant: None });
    }
    found.extend(list("additionalInterfaces").map(|i| Interface {
        url: i.get("url").and_then(Value::as_str),
        binding: i.get("transport").and_then(Value::as_str).unwrap_or("unknown"),
        version,
        tenant: None,
    }));
    found.extend(list("supportedInterfaces").map(|i| Interface {
        url: i.get("url").and_then(Value::as_str),
        binding: i.get("protocolBinding").and_then(Value::as_str).unwrap_or("unknown"),
        version: i.get("protocolVersion").and_then(Value::as_str).unwrap_or("1.0"),
        tenant: i.get("tenant").and_then(Value::as_str).filter(|t| !t.is_empty()),
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(card: Value) -> Result<(String, Version), String> {
        let base = "https://agents.example/.well-known/agent-card.json".parse().unwrap();
        Agent::of(&card, &base).map(|agent| (agent.url.to_string(), agent.version))
    }

    #[test]
    fn the_interface_that_speaks_json_rpc_is_taken() {
        let v3 = json!({"protocolVersion": "0.3.0", "url": "https://a.example/rpc"});
        assert_eq!(of(v3), Ok(("https://a.example/rpc".into(), Version::V0_3)));
        let other = json!({
            "url": "https://a.example/grpc", "preferredTransport": "GRPC",
            "additionalInterfaces": [{"transport": "JSONRPC", "url": "/rpc"}],
        });
        assert_eq!(of(other), Ok(("https://agents.example/rpc".into(), Version::V0_3)));
        let v1 = json!({"supportedInterfaces": [
            {"protocolBinding": "HTTP+JSON", "protocolVersion": "1.0", "url": "https://a.example/rest"},
            {"protocolBinding": "JSONRPC", "protocolVersion": "1.0", "url": "https://a.example/v1"},
        ]});
        assert_eq!(of(v1), Ok(("https://a.example/v1".into(), Version::V1_0)));
    }

    #[test]
    fn version_0_3_is_preferred_where_both_are_offered() {
        let both = json!({"supportedInterfaces": [
            {"protocolBinding": "JSONRPC", "protocolVersion": "1.0", "url": "https://a.example/v1"},
            {"protocolBinding": "JSONRPC", "protocolVersion": "0.3", "url": "https://a.example/v03"},
        ]});
        assert_eq!(of(both), Ok(("https://a.example/v03".into(), Version::V0_3)));
    }

    #[test]
    fn a_card_without_a_usable_interface_says_what_it_has() {
        let text = of(json!({"url": "https://a.example", "preferredTransport": "GRPC"})).unwrap_err();
        assert!(text.contains("GRPC 0.3") && text.contains("expected one with JSONRPC"), "{text}");
        assert!(of(json!({"name": "x"})).unwrap_err().contains("interfaces none"));
        assert!(of(json!([])).unwrap_err().contains("expected an object"));
        assert!(of(json!({"url": "https://["})).unwrap_err().contains("expected https://host/path"));
    }
}
