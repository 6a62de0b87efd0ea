//! An endpoint of the workflow language: an address, or an address with authentication.

use cpd_connector_api::{Problem, Standard, Value, json};
use reqwest::Url;

use crate::authentication::{self, Policy};

/// An endpoint, taken apart.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address as it was written.
    pub uri: String,
    /// The same, read.
    pub url: Url,
    /// How to authenticate.
    pub policy: Option<Policy>,
}

/// The JSON Schema of an endpoint.
pub fn schema() -> Value {
    json!({"oneOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object", "additionalProperties": false, "required": ["uri"],
            "properties": {
                "uri": {"type": "string", "minLength": 1},
                "authentication": authentication::schema(),
            },
        },
    ]})
}

/// Reads the endpoint at a member of `with`.
///
/// # Errors
/// A problem if the address is not absolute or not well-formed, or the authentication is none.
pub fn read(at: &str, value: &Value) -> Result<Endpoint, Problem> {
    let uri = value.as_str().or_else(|| value.get("uri").and_then(Value::as_str)).unwrap_or("").trim();
    let mut url: Url = uri.parse().map_err(|e| {
        let what = format!(
            "`{at}`: found an address that is not absolute or not well-formed ({e}), expected https://host/path"
        );
        Problem::standard(Standard::Validation, what)
    })?;
    url.set_fragment(None);
    let policy = value.get("authentication").filter(|a| !a.is_null()).map(Policy::read).transpose()?;
    Ok(Endpoint { uri: uri.to_owned(), url, policy })
}
