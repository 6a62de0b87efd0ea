//! A policy as a definition has it: one scheme, its members inline or in a secret.
//!
//! [`Policy::read`] takes the object after names (`use` at the top) were resolved and expressions evaluated. It refuses
//! what cannot work with a `configuration` problem that never shows a value. A scheme that says `use: name` is read from
//! the secret of that name at the moment of the call: a JSON object with the scheme's own members, or for `bearer` the
//! bare token.

use std::sync::Arc;

use cpd_connector_api::secret::{Secret, Secrets};
use cpd_connector_api::{Problem, Standard, Value};

use super::members::{Members, one_of, wrong};
use super::settings::Oauth;

/// The schemes' names.
const SCHEMES: [&str; 5] = ["basic", "bearer", "digest", "oauth2", "oidc"];

/// How to authenticate against one endpoint. Prints no secret.
#[derive(Clone, Debug)]
pub struct Policy(Source);

#[derive(Clone, Debug)]
enum Source {
    /// All is there.
    Inline(Scheme),
    /// In a secret.
    Secret { kind: Kind, name: Arc<str> },
}

/// A scheme with everything that it needs.
#[derive(Clone, Debug)]
pub(super) enum Scheme {
    Basic(Login),
    Bearer(Secret),
    Digest(Login),
    Token(Arc<Oauth>),
}

/// A user's name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub username: Secret,
    pub password: Secret,
}

/// Which scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Basic,
    Bearer,
    Digest,
    Oauth2,
    Oidc,
}

impl Kind {
    /// The member of the policy.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Basic => "basic",
            Kind::Bearer => "bearer",
            Kind::Digest => "digest",
            Kind::Oauth2 => "oauth2",
            Kind::Oidc => "oidc",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Kind::Basic, Kind::Bearer, Kind::Digest, Kind::Oauth2, Kind::Oidc].into_iter().find(|k| k.name() == name)
    }
}

impl Policy {
    /// Reads the value of `authentication`.
    ///
    /// # Errors
    /// A `configuration` problem that says where, what was found and what was expected, and shows no value.
    pub fn read(value: &Value) -> Result<Self, Problem> {
        let at = "authentication";
        if value.get("use").is_some() {
            let what = format!("`{at}.use`: found the name of a policy, expected the policy itself");
            return Err(wrong(format!("{what}: names are resolved when the definition is registered")));
        }
        let members = Members::of(value, at, &SCHEMES)?;
        let mut given = SCHEMES.iter().filter_map(|name| Some((Kind::of(name)?, members.get(name)?)));
        let expected = || wrong(format!("`{at}`: expected exactly one of {}", one_of(&SCHEMES)));
        let ((kind, body), None) = (given.next().ok_or_else(expected)?, given.next()) else {
            return Err(expected());
        };
        let at = format!("{at}.{}", kind.name());
        let Some(name) = body.get("use").filter(|n| !n.is_null()) else {
            return Ok(Self(Source::Inline(Scheme::read(kind, body, &at)?)));
        };
        let members = Members::of(body, &at, &["use"])?;
        let name = match name {
            Value::Str(_) => members.filled("use")?,
            other => return Err(wrong(format!("`{at}.use`: found {}, expected a secret's name", other.kind()))),
        };
        Ok(Self(Source::Secret { kind, name: name.into() }))
    }

    /// The scheme with everything in it, and whether it came from a secret.
    pub(super) fn resolve(&self, secrets: &dyn Secrets) -> Result<(Scheme, bool), Problem> {
        let (kind, name) = match &self.0 {
            Source::Inline(scheme) => return Ok((scheme.clone(), false)),
            Source::Secret { kind, name } => (*kind, name),
        };
        let secret = secrets.secret(name).ok_or_else(|| {
            let what = format!("`authentication.{}.use`: found no secret of the name {name:?}", kind.name());
            Problem::standard(Standard::Authorization, what)
        })?;
        let text = secret.expose().trim();
        let value = Value::from_json(text.as_bytes()).ok().filter(|v| v.as_object().is_some());
        let scheme = match (kind, value) {
            (_, Some(value)) => Scheme::read(kind, &value, &format!("secret {name}"))?,
            (Kind::Bearer, None) if !text.is_empty() => Scheme::Bearer(Secret::new(text)),
            (_, None) => {
                let what = format!("the secret {name:?}: found no JSON object, expected one with the members of");
                return Err(wrong(format!("{what} `{}`", kind.name())));
            }
        };
        Ok((scheme, true))
    }
}

impl Scheme {
    fn read(kind: Kind, body: &Value, at: &str) -> Result<Self, Problem> {
        Ok(match kind {
            Kind::Basic => {
                let login = Login::read(body, at)?;
                if login.username.expose().contains(':') {
                    return Err(wrong(format!("`{at}.username`: found a colon, which ends a user name")));
                }
                Scheme::Basic(login)
            }
            Kind::Digest => Scheme::Digest(Login::read(body, at)?),
            Kind::Bearer => Scheme::Bearer(Secret::new(Members::of(body, at, &["token"])?.filled("token")?)),
            Kind::Oauth2 => Scheme::Token(Arc::new(Oauth::read(body, at, false)?)),
            Kind::Oidc => Scheme::Token(Arc::new(Oauth::read(body, at, true)?)),
        })
    }
}

impl Login {
    fn read(body: &Value, at: &str) -> Result<Self, Problem> {
        let members = Members::of(body, at, &["username", "password"])?;
        Ok(Self {
            username: Secret::new(members.filled("username")?),
            password: Secret::new(members.needed("password")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cpd_connector_api::json;
    use cpd_connector_api::secret::NoSecrets;
    use proptest::prelude::*;

    use super::*;

    fn refused(value: Value) -> String {
        let problem = Policy::read(&value).unwrap_err();
        assert!(problem.kind.ends_with("/configuration"), "{problem}");
        problem.detail.unwrap().to_string()
    }

    #[test]
    fn a_policy_is_exactly_one_known_scheme() {
        for (value, said) in [
            (json!({}), "expected exactly one of basic, bearer, digest, oauth2 or oidc"),
            (json!({"basic": {"username": "u", "password": "p"}, "bearer": {"token": "t"}}), "exactly one of"),
            (json!("basic"), "`authentication`: found string, expected an object"),
            (json!({"baisc": {}}), "did you mean \"basic\"?"),
            (json!({"use": "corp"}), "names are resolved when the definition is registered"),
            (json!({"basic": {"username": "u"}}), "`authentication.basic.password`: found nothing"),
            (json!({"basic": {"username": "u:v", "password": "p"}}), "found a colon"),
            (json!({"bearer": {"token": ""}}), "found an empty text"),
            (json!({"bearer": {"tokne": "hunter2"}}), "did you mean \"token\"?"),
            (json!({"digest": {"username": true, "password": "p"}}), "expected a text"),
            (json!({"bearer": {"use": ["x"]}}), "expected a secret's name"),
            (json!({"bearer": {"use": "x", "token": "hunter2"}}), "found \"token\", expected use"),
        ] {
            let found = refused(value);
            assert!(found.contains(said) && !found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn a_scheme_can_stand_in_a_secret_and_a_bearer_token_bare() {
        let secrets = BTreeMap::from([
            ("login".to_owned(), Secret::new(r#" {"username": "u", "password": 1234} "#)),
            ("token".to_owned(), Secret::new("abc\n")),
            ("wrapped".to_owned(), Secret::new(r#"{"token": "abc"}"#)),
            ("bad".to_owned(), Secret::new("hunter2")),
        ]);
        let ask = |value: Value| Policy::read(&value).unwrap().resolve(&secrets);
        let (Scheme::Basic(login), true) = ask(json!({"basic": {"use": "login"}})).unwrap() else { panic!() };
        assert_eq!(login, Login { username: Secret::new("u"), password: Secret::new("1234") });
        for name in ["token", "wrapped"] {
            let (Scheme::Bearer(token), true) = ask(json!({"bearer": {"use": name}})).unwrap() else { panic!() };
            assert_eq!(token.expose(), "abc", "{name}");
        }
        let problem = ask(json!({"digest": {"use": "bad"}})).unwrap_err().to_string();
        assert!(problem.contains("expected one with the members of `digest`"), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        let problem = Policy::read(&json!({"basic": {"use": "gone"}})).unwrap().resolve(&NoSecrets).unwrap_err();
        assert_eq!(problem.status, 403, "{problem}");
        assert!(problem.to_string().contains("found no secret of the name \"gone\""), "{problem}");
    }

    #[test]
    fn a_policy_does_not_print_its_secrets() {
        let policy = Policy::read(&json!({"basic": {"username": "bob", "password": "hunter2"}})).unwrap();
        assert!(!format!("{policy:?}").contains("hunter2"));
        let client = json!({"id": "me", "secret": "hunter2"});
        let oauth = json!({"authority": "https://id.example", "grant": "client_credentials", "client": client});
        let policy = Policy::read(&json!({"oauth2": oauth})).unwrap();
        assert!(!format!("{policy:?}").contains("hunter2"), "{policy:?}");
    }

    proptest! {
        #[test]
        fn no_secret_makes_reading_it_panic(text in ".{0,60}", scheme in prop::sample::select(SCHEMES.to_vec())) {
            let secrets = BTreeMap::from([("s".to_owned(), Secret::new(&text))]);
            let body = Value::from([("use", Value::str("s"))]);
            let policy = Policy::read(&Value::from([(scheme, body)])).unwrap();
            if let Err(problem) = policy.resolve(&secrets) {
                prop_assert!(text.len() < 4 || !problem.to_string().contains(&text), "{}", problem);
            }
        }
    }
}
