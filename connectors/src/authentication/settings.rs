//! The members of `oauth2` and `oidc`: where tokens come from, who asks for them, and with what.
//!
//! - `authority` is an absolute address; the paths of `endpoints` are put behind it, whatever path it has itself. An OIDC
//!   authority may also be the address of its discovery document.
//! - `client.authentication` is `client_secret_post` unless it is given; without `client` there is none.
//! - `client.assertion` is a signed JWT, as the specification says, or a private key in PEM (RSA or P-256) with which a fresh
//!   one is signed for each token request. `client.secret` may hold the key, too, if there is no assertion.
//! - The specification names no member for the token of the grant `refresh_token`: it is `subject`.
//! - `authorization_code` needs a person and a browser, which a workflow does not have: it is refused.

use std::fmt;

use cpd_connector_api::secret::Secret;
use cpd_connector_api::{Problem, Value};
use reqwest::Url;
use sha2::{Digest as _, Sha256};

use super::members::{Members, one_of, web, wrong};

/// The path of a discovery document below its authority.
const DISCOVERY: &str = "/.well-known/openid-configuration";

const GRANTS: [&str; 4] = ["client_credentials", "password", "refresh_token", TOKEN_EXCHANGE];
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Tells policies apart: a digest over the scheme and every member.
pub(super) type Fingerprint = [u8; 32];

/// Everything about one source of tokens.
#[derive(Clone)]
pub(super) struct Oauth {
    pub fingerprint: Fingerprint,
    /// Without a slash at the end.
    pub authority: String,
    pub endpoints: Endpoints,
    pub grant: Grant,
    pub client: Client,
    pub encoding: Encoding,
    pub issuers: Vec<String>,
    pub scopes: Vec<String>,
    pub audiences: Vec<String>,
}

/// Where the authority's endpoints are.
#[derive(Clone, Debug)]
pub(super) enum Endpoints {
    /// Said by the definition, or the specification's defaults.
    Given { token: Url, introspection: Url },
    /// Said by a discovery document.
    Discovered { document: Url },
}

/// What a token is asked for with.
#[derive(Clone, Debug)]
pub(super) enum Grant {
    ClientCredentials,
    Password { username: String, password: Secret },
    RefreshToken(Secret),
    TokenExchange { subject: Foreign, actor: Option<Foreign> },
}

/// A token of somebody else.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    pub token: Secret,
    pub kind: String,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub id: String,
    pub authentication: ClientAuthentication,
}

/// How the client says that it is who it says.
#[derive(Clone, Debug)]
pub(super) enum ClientAuthentication {
    None,
    SecretBasic(Secret),
    SecretPost(Secret),
    /// HS256 with the secret.
    SecretJwt(Secret),
    /// RS256 or ES256 with the private key in this PEM.
    PrivateKeyJwt(Secret),
    /// A JWT that somebody has signed already.
    Assertion(Secret),
}

/// How a token request's members are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Form,
    Json,
}

#[derive(Clone, Copy)]
enum Method {
    Basic,
    Post,
    SecretJwt,
    PrivateKeyJwt,
    None,
}

impl Oauth {
    /// Reads the scheme's object.
    pub fn read(body: &Value, at: &str, oidc: bool) -> Result<Self, Problem> {
        let known = [
            "authority",
            "grant",
            "client",
            "request",
            "issuers",
            "scopes",
            "audiences",
            "username",
            "password",
            "subject",
            "actor",
            "endpoints",
        ];
        let members = Members::of(body, at, &known[..if oidc { 11 } else { 12 }])?;
        let authority = members.url("authority")?;
        let shape = format!("`{}`", members.at("authority"));
        if authority.query().is_some() || authority.fragment().is_some() {
            return Err(wrong(format!("{shape}: found a query or fragment, expected https://host/path")));
        }
        let text = authority.as_str().trim_end_matches('/');
        let text = if oidc { text.strip_suffix(DISCOVERY).unwrap_or(text) } else { text }.to_owned();
        let endpoints = if oidc {
            Endpoints::Discovered { document: web(&format!("{text}{DISCOVERY}"), &shape)? }
        } else {
            Endpoints::read(&members, &text)?
        };
        let encodings = [("application/x-www-form-urlencoded", Encoding::Form), ("application/json", Encoding::Json)];
        let encoding = match members.get("request") {
            None => None,
            Some(request) => {
                Members::of(request, &members.at("request"), &["encoding"])?.word("encoding", &encodings)?
            }
        };
        let mut hash = Sha256::new();
        hash.update(if oidc { b"oidc\n".as_slice() } else { b"oauth2\n" });
        hash.update(body.to_json());
        Ok(Self {
            fingerprint: hash.finalize().into(),
            authority: text,
            endpoints,
            grant: Grant::read(&members)?,
            client: Client::read(&members)?,
            encoding: encoding.unwrap_or(Encoding::Form),
            issuers: members.texts("issuers")?,
            scopes: members.texts("scopes")?,
            audiences: members.texts("audiences")?,
        })
    }

    /// Every secret that the policy holds.
    pub fn secrets(&self) -> Vec<Secret> {
        let grant = match &self.grant {
            Grant::ClientCredentials => vec![],
            Grant::Password { password, .. } => vec![password],
            Grant::RefreshToken(token) => vec![token],
            Grant::TokenExchange { subject, actor } => {
                std::iter::once(&subject.token).chain(actor.as_ref().map(|a| &a.token)).collect()
            }
        };
        grant.into_iter().chain(self.client.authentication.secret()).cloned().collect()
    }
}

impl fmt::Debug for Oauth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oauth")
            .field("authority", &self.authority)
            .field("grant", &self.grant)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Endpoints {
    fn read(members: &Members<'_>, authority: &str) -> Result<Self, Problem> {
        let (at, empty) = (members.at("endpoints"), Value::object());
        let given = members.get("endpoints").unwrap_or(&empty);
        let given = Members::of(given, &at, &["token", "revocation", "introspection"])?;
        let place = |name: &str, default: &str| {
            let path = given.text(name)?.unwrap_or_else(|| default.to_owned());
            let full = if path.starts_with("http://") || path.starts_with("https://") {
                path
            } else {
                format!("{authority}/{}", path.trim_start_matches('/'))
            };
            web(&full, &format!("`{}`", given.at(name)))
        };
        // Nothing is revoked here: a token runs out by itself. What the definition says about it is checked all the same.
        place("revocation", "/oauth2/revoke")?;
        let (token, introspection) = (place("token", "/oauth2/token")?, place("introspection", "/oauth2/introspect")?);
        Ok(Endpoints::Given { token, introspection })
    }
}

impl Grant {
    fn read(members: &Members<'_>) -> Result<Self, Problem> {
        let needed = |name: &str, grant: &str| {
            Foreign::read(members, name)?.ok_or_else(|| {
                wrong(format!("`{}`: found nothing, expected a token: the grant is {grant}", members.at(name)))
            })
        };
        let (name, at) = (members.filled("grant")?, members.at("grant"));
        match name.as_str() {
            "client_credentials" => Ok(Grant::ClientCredentials),
            "password" => Ok(Grant::Password {
                username: members.filled("username")?,
                password: Secret::new(members.needed("password")?),
            }),
            "refresh_token" => Ok(Grant::RefreshToken(needed("subject", "refresh_token")?.token)),
            TOKEN_EXCHANGE => Ok(Grant::TokenExchange {
                subject: needed("subject", "token-exchange")?,
                actor: Foreign::read(members, "actor")?,
            }),
            "authorization_code" => Err(wrong(format!(
                "`{at}`: found authorization_code, which needs a person at a browser, expected {}; with a refresh token \
                 that a person has obtained once, use refresh_token with `subject`",
                one_of(&GRANTS)
            ))),
            other => Err(wrong(format!("`{at}`: found {other:?}, expected {}", one_of(&GRANTS)))),
        }
    }
}

impl Foreign {
    fn read(members: &Members<'_>, name: &str) -> Result<Option<Self>, Problem> {
        let Some(value) = members.get(name) else { return Ok(None) };
        let token = Members::of(value, &members.at(name), &["token", "type"])?;
        Ok(Some(Self { token: Secret::new(token.filled("token")?), kind: token.filled("type")? }))
    }
}

impl Client {
    fn read(members: &Members<'_>) -> Result<Self, Problem> {
        let at = members.at("client");
        let Some(value) = members.get("client") else {
            return Ok(Self { id: String::new(), authentication: ClientAuthentication::None });
        };
        let client = Members::of(value, &at, &["id", "secret", "assertion", "authentication"])?;
        let methods = [
            ("client_secret_basic", Method::Basic),
            ("client_secret_post", Method::Post),
            ("client_secret_jwt", Method::SecretJwt),
            ("private_key_jwt", Method::PrivateKeyJwt),
            ("none", Method::None),
        ];
        let method = client.word("authentication", &methods)?.unwrap_or(Method::Post);
        if matches!(method, Method::None) {
            let id = client.text("id")?.unwrap_or_default();
            return Ok(Self { id, authentication: ClientAuthentication::None });
        }
        let id = client.filled("id")?;
        let (secret, assertion) = (client.secret("secret")?, client.secret("assertion")?);
        let missing = |name: &str, what: &str| {
            let what = format!("`{at}.{name}`: found nothing, expected {what}");
            wrong(format!("{what}; a public client says `authentication: none`"))
        };
        let needed = || secret.clone().ok_or_else(|| missing("secret", "the client's secret"));
        let authentication = match method {
            Method::None => ClientAuthentication::None,
            Method::Basic => ClientAuthentication::SecretBasic(needed()?),
            Method::Post => ClientAuthentication::SecretPost(needed()?),
            Method::SecretJwt => match assertion {
                Some(signed) => ClientAuthentication::Assertion(signed),
                None => ClientAuthentication::SecretJwt(needed()?),
            },
            Method::PrivateKeyJwt => {
                let given = assertion.or_else(|| secret.clone());
                let given = given.ok_or_else(|| missing("assertion", "a signed JWT, or a private key in PEM"))?;
                if given.expose().contains("-----BEGIN") {
                    ClientAuthentication::PrivateKeyJwt(given)
                } else if given.expose().split('.').count() == 3 {
                    ClientAuthentication::Assertion(given)
                } else {
                    let what = "found neither, expected a signed JWT, or a private key in PEM";
                    return Err(wrong(format!("`{at}.assertion`: {what}")));
                }
            }
        };
        Ok(Self { id, authentication })
    }
}

impl ClientAuthentication {
    fn secret(&self) -> Option<&Secret> {
        match self {
            Self::None => None,
            Self::SecretBasic(s)
            | Self::SecretPost(s)
            | Self::SecretJwt(s)
            | Self::PrivateKeyJwt(s)
            | Self::Assertion(s) => Some(s),
        }
    }
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::json;

    use super::*;

    fn read(value: Value) -> Result<Oauth, String> {
        Oauth::read(&value, "authentication.oauth2", false).map_err(|p| p.detail.unwrap().to_string())
    }

    fn with(more: Value) -> Value {
        let mut map = json!({"authority": "https://id.example/realms/a/", "grant": "client_credentials"})
            .as_object()
            .unwrap()
            .clone();
        map.extend(more.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())));
        Value::from(map)
    }

    #[test]
    fn endpoints_stand_behind_the_authoritys_own_path() {
        let token = |more: Value| match read(with(more)).unwrap().endpoints {
            Endpoints::Given { token, .. } => token.to_string(),
            Endpoints::Discovered { .. } => panic!("discovered"),
        };
        assert_eq!(token(json!({})), "https://id.example/realms/a/oauth2/token");
        assert_eq!(token(json!({"endpoints": {"token": "/t"}})), "https://id.example/realms/a/t");
        assert_eq!(token(json!({"endpoints": {"token": "https://other.example/t"}})), "https://other.example/t");
    }

    #[test]
    fn an_oidc_authority_may_be_its_discovery_document() {
        for authority in ["https://id.example/a", "https://id.example/a/.well-known/openid-configuration"] {
            let value = json!({"authority": authority, "grant": "client_credentials"});
            let oauth = Oauth::read(&value, "authentication.oidc", true).unwrap();
            assert_eq!(oauth.authority, "https://id.example/a");
            let Endpoints::Discovered { document } = oauth.endpoints else { panic!("given") };
            assert_eq!(document.as_str(), "https://id.example/a/.well-known/openid-configuration");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        let id = json!({"client": {"id": "me"}});
        for (value, said) in [
            (json!({"grant": "password"}), "oauth2.authority`: found nothing"),
            (with(json!({"authority": "/relative"})), "expected https://host/path"),
            (with(json!({"authority": "file:///etc"})), "expected http or https"),
            (with(json!({"grant": "authorization_code"})), "needs a person at a browser"),
            (with(json!({"grant": "urn:ietf:params:oauth:grant-type:jwt-bearer"})), "expected client_credentials"),
            (with(json!({"grant": "password"})), "oauth2.username`: found nothing"),
            (with(json!({"grant": "refresh_token"})), "oauth2.subject`: found nothing"),
            (with(json!({"grant": TOKEN_EXCHANGE, "subject": {"token": "t"}})), "subject.type`: found nothing"),
            (with(id), "a public client says `authentication: none`"),
            (with(json!({"client": {"secret": "s"}})), "client.id`: found nothing"),
            (with(json!({"client": {"id": "me", "authentication": "magic"}})), "expected client_secret_basic"),
            (
                with(json!({"client": {"id": "me", "authentication": "private_key_jwt", "assertion": "x"}})),
                "expected a signed JWT, or a private key in PEM",
            ),
            (with(json!({"request": {"encoding": "text/xml"}})), "application/json"),
            (with(json!({"scopes": "api"})), "expected a list of texts"),
        ] {
            let found = read(value).unwrap_err();
            assert!(found.contains(said), "expected {said}, found {found}");
        }
    }

    #[test]
    fn policies_with_other_members_have_other_fingerprints() {
        let fingerprint = |more| read(with(more)).unwrap().fingerprint;
        assert_eq!(fingerprint(json!({"scopes": ["a"]})), fingerprint(json!({"scopes": ["a"]})));
        assert_ne!(fingerprint(json!({"scopes": ["a"]})), fingerprint(json!({"scopes": ["b"]})));
        let client = |secret: &str| fingerprint(json!({"client": {"id": "me", "secret": secret}}));
        assert_ne!(client("one"), client("two"));
    }
}
