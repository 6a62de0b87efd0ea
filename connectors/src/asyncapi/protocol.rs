//! The protocols that AsyncAPI documents and the workflow language name, and which of them are spoken here.
//!
//! [`PROTOCOLS`] has every one of them, so that a definition which needs one that is not spoken can be refused when it is
//! registered. Documents also write secured variants (`mqtts`, `kafka-secure`) and versions beside the name
//! (`protocolVersion: '5.0'`); [`Spoken::of`] reads all of that.

use cpd_connector_api::{Problem, Standard};

/// A protocol by name, and whether it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name in the workflow language.
    pub name: &'static str,
    /// Other names that documents use for it.
    pub aliases: &'static [&'static str],
    /// Whether calls over it are made.
    pub supported: bool,
}

const fn protocol(name: &'static str, aliases: &'static [&'static str], supported: bool) -> Protocol {
    Protocol { name, aliases, supported }
}

/// Every protocol that the workflow language names, in its order.
pub const PROTOCOLS: [Protocol; 19] = [
    protocol("amqp", &["amqps"], false),
    protocol("amqp1", &["amqps1"], false),
    protocol("anypointmq", &[], false),
    protocol("googlepubsub", &[], false),
    protocol("http", &["https"], true),
    protocol("ibmmq", &["ibmmq-secure"], false),
    protocol("jms", &[], false),
    protocol("kafka", &["kafka-secure"], false),
    protocol("mercure", &[], false),
    protocol("mqtt", &["mqtts", "secure-mqtt"], true),
    protocol("mqtt5", &["mqtts5"], true),
    protocol("nats", &["nats-tls"], true),
    protocol("pulsar", &[], false),
    protocol("redis", &["rediss"], true),
    protocol("sns", &[], false),
    protocol("solace", &[], false),
    protocol("sqs", &[], false),
    protocol("stomp", &["stomps"], false),
    protocol("ws", &["wss"], true),
];

/// The protocol of that name, in any of its spellings.
pub fn find(name: &str) -> Option<&'static Protocol> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    PROTOCOLS.iter().find(|p| is(&p.name) || p.aliases.iter().any(is))
}

/// The names of those that are spoken, for messages.
pub fn supported() -> String {
    PROTOCOLS.iter().filter(|p| p.supported).map(|p| p.name).collect::<Vec<_>>().join(", ")
}

/// Whether calls over the protocol of that name can be made.
///
/// # Errors
/// A `configuration` problem that names it and those that are spoken.
pub fn check(name: &str) -> Result<(), Problem> {
    let found = match find(name) {
        Some(known) if known.supported => return Ok(()),
        Some(_) => format!("found the protocol {name:?}, which is not built into this connector"),
        None => format!("found the protocol {name:?}, which the workflow language does not know"),
    };
    Err(Problem::standard(Standard::Configuration, format!("{found}; expected one of {}", supported())))
}

/// A protocol that is spoken, as one server of a document wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP 1.1.
    Http,
    /// MQTT 3.1.1.
    Mqtt3,
    /// MQTT 5.
    Mqtt5,
    /// The core protocol of NATS.
    Nats,
    /// Channels of Redis, over RESP 2.
    Redis,
    /// WebSocket.
    Ws,
}

impl Spoken {
    /// The protocol that a server's `protocol` and `protocolVersion` ask for.
    ///
    /// # Errors
    /// As [`check`].
    pub fn of(name: &str, version: Option<&str>) -> Result<Self, Problem> {
        check(name)?;
        let five = version.is_some_and(|v| v.trim_start_matches('v').split('.').next() == Some("5"));
        Ok(match find(name).map(|p| p.name) {
            Some("http") => Spoken::Http,
            Some("mqtt5") => Spoken::Mqtt5,
            Some("mqtt") if five => Spoken::Mqtt5,
            Some("mqtt") => Spoken::Mqtt3,
            Some("redis") => Spoken::Redis,
            Some("ws") => Spoken::Ws,
            _ => Spoken::Nats,
        })
    }

    /// Whether a call that asks for the protocol of that name is served by this one. MQTT of either version is MQTT.
    pub fn serves(self, asked: &str) -> bool {
        match find(asked).map(|p| p.name) {
            Some("http") => self == Spoken::Http,
            Some("mqtt") => matches!(self, Spoken::Mqtt3 | Spoken::Mqtt5),
            Some("mqtt5") => self == Spoken::Mqtt5,
            Some("nats") => self == Spoken::Nats,
            Some("redis") => self == Spoken::Redis,
            Some("ws") => self == Spoken::Ws,
            _ => false,
        }
    }

    /// Its name in the workflow language.
    pub fn name(self) -> &'static str {
        match self {
            Spoken::Http => "http",
            Spoken::Mqtt3 => "mqtt",
            Spoken::Mqtt5 => "mqtt5",
            Spoken::Nats => "nats",
            Spoken::Redis => "redis",
            Spoken::Ws => "ws",
        }
    }

    /// The port if the document names none.
    pub fn port(self, tls: bool) -> u16 {
        match (self, tls) {
            (Spoken::Http | Spoken::Ws, false) => 80,
            (Spoken::Http | Spoken::Ws, true) => 443,
            (Spoken::Mqtt3 | Spoken::Mqtt5, false) => 1883,
            (Spoken::Mqtt3 | Spoken::Mqtt5, true) => 8883,
            (Spoken::Nats, _) => 4222,
            (Spoken::Redis, _) => 6379,
        }
    }

    /// What stands for any one level of an address in a subscription, and what parts the levels.
    pub fn wildcard(self) -> Option<(&'static str, char)> {
        match self {
            Spoken::Mqtt3 | Spoken::Mqtt5 => Some(("+", '/')),
            Spoken::Nats => Some(("*", '.')),
            Spoken::Http | Spoken::Redis | Spoken::Ws => None,
        }
    }

    /// Whether its messages have headers.
    pub fn has_headers(self) -> bool {
        match self {
            Spoken::Http | Spoken::Mqtt5 | Spoken::Nats => true,
            Spoken::Mqtt3 | Spoken::Redis | Spoken::Ws => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_protocol_is_spoken_under_each_of_its_names() {
        for known in PROTOCOLS {
            for name in known.aliases.iter().chain([&known.name]) {
                assert_eq!(Spoken::of(name, None).is_ok(), known.supported, "{name}");
                assert_eq!(check(&name.to_uppercase()).is_ok(), known.supported, "{name}");
            }
            if known.supported {
                assert_eq!(Spoken::of(known.name, None).map(Spoken::name), Ok(known.name));
                assert!(Spoken::of(known.name, None).unwrap().serves(known.name), "{}", known.name);
            }
        }
    }

    #[test]
    fn a_protocol_that_is_not_spoken_is_refused_by_name() {
        let problem = check("kafka").unwrap_err();
        assert!(problem.kind.ends_with("/configuration"), "{problem}");
        assert!(problem.to_string().contains("\"kafka\", which is not built") && problem.to_string().contains("nats"));
        assert!(check("carrier-pigeon").unwrap_err().to_string().contains("does not know"));
    }

    #[test]
    fn the_version_beside_the_name_decides_between_the_two_of_mqtt() {
        for (version, spoken) in [
            (None, Spoken::Mqtt3),
            (Some("3.1.1"), Spoken::Mqtt3),
            (Some("5"), Spoken::Mqtt5),
            (Some("5.0"), Spoken::Mqtt5),
            (Some("v5"), Spoken::Mqtt5),
            (Some("50"), Spoken::Mqtt3),
        ] {
            assert_eq!(Spoken::of("mqtts", version), Ok(spoken), "{version:?}");
        }
        assert!(Spoken::Mqtt5.serves("mqtt") && !Spoken::Mqtt3.serves("mqtt5"));
    }
}
