//! OpenID Connect Discovery: where an authority's endpoints are, by its own word.
//!
//! The document is read once an hour and authority. It has to name the authority as its issuer, or one of the policy's
//! `issuers` (an authority behind another name): else any document would do. An authority that is reached over TLS does not
//! send its clients to endpoints without.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cpd_connector_api::{Class, Standard, Timestamp, Value};
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Url};

use super::members::web;
use super::oauth2::{declined, refused, unobtained};
use super::settings::Oauth;
use crate::http::{Call, HttpClient, Trouble};

/// How long a document is believed.
const GOOD_FOR: Duration = Duration::from_secs(60 * 60);

/// Documents that are kept; with more authorities than this, all are forgotten and read again.
const DOCUMENTS_MAX: usize = 256;

/// Where to ask an authority.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub token: Url,
    pub introspection: Option<Url>,
}

/// What has been discovered.
#[derive(Clone, Debug, Default)]
pub(super) struct Discoveries(Arc<Mutex<BTreeMap<String, Found>>>);

#[derive(Clone, Debug)]
struct Found {
    issuer: String,
    provider: Provider,
    until: Timestamp,
}

impl Discoveries {
    /// The endpoints by the document, which is fetched if it is not known or too old.
    pub async fn find(&self, http: &HttpClient, oauth: &Oauth, document: &Url) -> Result<Provider, Trouble> {
        let now = http.clock().now();
        let known = self.0.lock().get(document.as_str()).filter(|found| now < found.until).cloned();
        let found = match known {
            Some(found) => found,
            None => {
                let found = fetch(http, document, now).await?;
                let mut all = self.0.lock();
                if all.len() >= DOCUMENTS_MAX {
                    all.clear();
                }
                all.insert(document.as_str().to_owned(), found.clone());
                found
            }
        };
        let bare = |issuer: &str| issuer.trim_end_matches('/').to_owned();
        let issuer = bare(&found.issuer);
        if issuer == oauth.authority || oauth.issuers.iter().any(|i| bare(i) == issuer) {
            return Ok(found.provider);
        }
        let what = format!(
            "the issuer in {document}: found {:?}, expected {:?} (if that is as it should be, put it into `issuers`)",
            found.issuer, oauth.authority
        );
        Err(Trouble::Refused(cpd_connector_api::Problem::standard(Standard::Authentication, what)))
    }
}

async fn fetch(http: &HttpClient, document: &Url, now: Timestamp) -> Result<Found, Trouble> {
    let mut call = Call::new(Method::GET, document.clone(), Class::Safe);
    call.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let answer = http.fetch(call, None).await.map_err(|t| t.map(|p| unobtained(document, p)))?;
    if !(200..300).contains(&answer.status) {
        return Err(declined(document, &answer));
    }
    let said = answer.json().map_err(|t| t.map(|p| unobtained(document, p)))?;
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let wrong = |what: String| refused(document, &answer, Standard::Authentication, &what);
    let endpoint = |name: &str| {
        let Some(given) = text(name) else { return Ok(None) };
        let url = web(given, &format!("`{name}`")).map_err(|p| wrong(p.detail.as_deref().unwrap_or("").to_owned()))?;
        if document.scheme() == "https" && url.scheme() == "http" {
            return Err(wrong(format!("`{name}`: found an http address, expected https as the authority's own")));
        }
        Ok(Some(url))
    };
    let missing = |name: &str| wrong(format!("`{name}`: found nothing, expected a text"));
    Ok(Found {
        issuer: text("issuer").ok_or_else(|| missing("issuer"))?.to_owned(),
        provider: Provider {
            token: endpoint("token_endpoint")?.ok_or_else(|| missing("token_endpoint"))?,
            introspection: endpoint("introspection_endpoint")?,
        },
        until: now.plus(GOOD_FOR),
    })
}
