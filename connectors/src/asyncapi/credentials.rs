//! Who a call says that it is, for brokers: a login or a token.
//!
//! Any scheme of `authentication` that comes to an `Authorization` of its own will do, OAuth 2 included; digest will not, because its
//! answer depends on an HTTP request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cpd_connector_api::secret::{Redactor, Secret};
use cpd_connector_api::{Problem, Request, Standard};
use reqwest::header::{AUTHORIZATION, HeaderMap};

use crate::authentication::{Authenticator, Policy};
use crate::http::Trouble;

/// What a broker is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password.
    Login {
        /// The name; secret if it came from a secret.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
}

/// The credentials of a policy.
///
/// # Errors
/// If none are to be had.
pub async fn obtain(
    authenticator: &Authenticator,
    policy: Option<&Policy>,
    request: &Request,
    redactor: &mut Redactor,
) -> Result<Option<Credentials>, Trouble> {
    let Some(policy) = policy else { return Ok(None) };
    let mut headers = HeaderMap::new();
    authenticator.apply(policy, &mut headers, request, redactor).await?;
    let value = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let credentials = match value.split_once(' ') {
        Some(("Bearer", token)) => Some(Credentials::Token(Secret::new(token))),
        Some(("Basic", pair)) => {
            let pair = BASE64.decode(pair).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            pair.as_deref().and_then(|pair| pair.split_once(':')).map(|(username, password)| Credentials::Login {
                username: Secret::new(username),
                password: Secret::new(password),
            })
        }
        _ => None,
    };
    credentials.map(Some).ok_or_else(|| {
        let what = "`authentication`: found a scheme that comes to no login and no token, expected basic, bearer, oauth2 or oidc";
        Trouble::Refused(Problem::standard(Standard::Configuration, what))
    })
}
