//! Client certificates: which names in one give which role.
//!
//! That a certificate is good (its chain, its time, that it is for clients, that it was not revoked, that the client has its
//! key) was checked by the handshake, see [`super::tls`]. Here only its names are read.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::config::{self, Wrong};
use super::principal::{Principal, Role, Scope, Via};
use super::refusal::Refusal;
use super::token;

/// What names of certificates give; the first that fits counts.
pub(super) struct Certificates(Vec<Rule>);

struct Rule {
    name: Name,
    role: Role,
    scope: Scope,
}

/// A name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Uri(String),
    Dns(String),
    Email(String),
    Cn(String),
    Subject(String),
}

impl Name {
    fn read(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let name = name.to_owned();
        if name.is_empty() {
            return None;
        }
        Some(match kind {
            "uri" => Name::Uri(name),
            "dns" => Name::Dns(name.to_ascii_lowercase()),
            "email" => Name::Email(name),
            "cn" => Name::Cn(name),
            "subject" => Name::Subject(name),
            _ => return None,
        })
    }

    fn fits(&self, certificate: &X509Certificate<'_>) -> bool {
        match self {
            Name::Cn(wanted) => {
                let mut names = certificate.subject().iter_common_name();
                // Of several names it cannot be told which one the authority has vouched for.
                let only = names.next().filter(|_| names.next().is_none());
                only.and_then(|n| n.as_str().ok()) == Some(wanted)
            }
            Name::Subject(wanted) => certificate.subject().to_string() == *wanted,
            Name::Uri(wanted) => alternatives(certificate, |n| matches!(n, GeneralName::URI(uri) if *uri == *wanted)),
            Name::Dns(wanted) => alternatives(
                certificate,
                |n| matches!(n, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(wanted)),
            ),
            Name::Email(wanted) => {
                alternatives(certificate, |n| matches!(n, GeneralName::RFC822Name(email) if *email == *wanted))
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Uri(name) => write!(f, "uri:{name}"),
            Name::Dns(name) => write!(f, "dns:{name}"),
            Name::Email(name) => write!(f, "email:{name}"),
            Name::Cn(name) => write!(f, "cn:{name}"),
            Name::Subject(name) => write!(f, "subject:{name}"),
        }
    }
}

/// Whether one of the subject's alternative names is wanted.
fn alternatives(certificate: &X509Certificate<'_>, wanted: impl Fn(&GeneralName<'_>) -> bool) -> bool {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.is_some_and(|names| names.value.general_names.iter().any(wanted))
}

impl Certificates {
    pub fn new(configured: &[config::Certificate]) -> Result<Self, Wrong> {
        let rule = |of: &config::Certificate| {
            let place = format!("[[auth.certificates]] {}", of.name);
            let expected = "expected `uri:`, `dns:`, `email:`, `cn:` or `subject:` and the name, such as \
                            \"uri:spiffe://example.org/batch\"";
            let name = Name::read(&of.name).ok_or_else(|| Wrong::at(&*place, format!("`name`: {expected}")))?;
            let scope = token::scope(of.namespaces.iter().map(String::as_str));
            let scope = scope.map_err(|e| Wrong::at(&*place, format!("`namespaces`: {e}")))?;
            Ok(Rule { name, role: of.role, scope })
        };
        configured.iter().map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// Who a certificate is.
    pub fn recognise(&self, certificate: &CertificateDer<'_>) -> Result<Principal, Refusal> {
        let (_, certificate) = X509Certificate::from_der(certificate)
            .map_err(|_| Refusal::invalid("a client certificate that cannot be read"))?;
        let Some(rule) = self.0.iter().find(|rule| rule.name.fits(&certificate)) else {
            let subject = certificate.subject();
            return Err(Refusal::no_role(format!("the client certificate of {subject} has no name with a role")));
        };
        let name: Arc<str> = format!("certificate:{}", rule.name).into();
        let via = Via::Certificate(certificate.subject().to_string().into());
        Ok(Principal { name, role: rule.role, scope: rule.scope.clone(), groups: Vec::new(), via })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, "batch");
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn rules(names: &[&str]) -> Result<Certificates, Wrong> {
        let rule = |name: &&str| config::Certificate {
            name: (*name).to_owned(),
            role: Role::Operator,
            namespaces: vec!["fraud".to_owned()],
        };
        Certificates::new(&names.iter().map(rule).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_found_where_they_stand_and_nowhere_else() {
        let uri = "spiffe://example.org/batch";
        let with = certificate(|params| {
            params.subject_alt_names = vec![
                SanType::URI(uri.try_into().unwrap()),
                SanType::DnsName("Batch.example.org".try_into().unwrap()),
                SanType::Rfc822Name("batch@example.org".try_into().unwrap()),
            ];
        });
        let without = certificate(|_| {});
        for name in ["uri:spiffe://example.org/batch", "dns:batch.example.org", "email:batch@example.org"] {
            let rules = rules(&[name]).unwrap();
            let principal = rules.recognise(&with).unwrap();
            assert_eq!(&*principal.name, format!("certificate:{name}"));
            assert_eq!(principal.role, Role::Operator);
            assert_eq!(rules.recognise(&without).unwrap_err().status(), 403, "{name}");
        }
        for name in ["cn:batch", "subject:O=Example, CN=batch"] {
            assert!(rules(&[name]).unwrap().recognise(&without).is_ok(), "{name}");
        }
        for name in ["cn:Example", "cn:batch.example.org", "dns:batch", "uri:batch", "subject:CN=batch"] {
            assert!(rules(&[name]).unwrap().recognise(&with).is_err(), "{name}");
        }
    }

    #[test]
    fn garbage_is_no_certificate() {
        let rules = rules(&["cn:batch"]).unwrap();
        let good = certificate(|_| {});
        for end in 0..good.len() {
            assert!(rules.recognise(&CertificateDer::from(&good[..end])).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_name_says_of_what_kind_it_is() {
        for name in ["batch", "cn:", "ip:10.0.0.1", ""] {
            let error = rules(&[name]).err().expect("no name").to_string();
            assert!(error.contains("spiffe"), "{error}");
        }
    }
}
