//! The HTTP client that every connector shares: limits, honest outcomes, nothing echoed.
//!
//! [`HttpClient::send`] makes one exchange under the request's deadline and cancellation and under the client's own
//! limits: time to connect, time in all, size of an answer, number and size of headers, number of redirects. An
//! answer that is too large is given up as soon as that is known, and never held in memory.
//! What an end without a good answer means is decided in [`super::verdict`].
//!
//! - [`super::exchange`] has the hops: redirects, and credentials that are asked for at each of them.
//! - Problems name method and address without query, user or fragment, and never a request's headers.
//! - Nothing is retried here: that is the engine's business, and it is journaled there.
//! - `Idempotency-Key` goes out with every method that is not safe, unless the caller set one.
//! - Where it may connect to is for [`Egress`] to say, at every hop: to nothing else are there connections, and clients with other
//!   rules share none.
//! - Loopback addresses never go through a proxy; others do as `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cpd_connector_api::clock::Clock;
use cpd_connector_api::guard::{Interrupted, ended, within};
use cpd_connector_api::secret::Secret;
use cpd_connector_api::{Class, Problem, Request, Standard, Value};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::exchange::{Credentials, Sent};
use super::tls;
use super::verdict::Trouble;
use crate::egress::proxy::Proxies;
use crate::egress::{Egress, Refused};

/// The name under which a request's key travels.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The client's limits and set-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// How long a connection may take to come about, TLS included.
    pub connect_timeout_ms: u64,
    /// How long one exchange may take in all, redirects and body included. A task's own timeout may end it sooner.
    pub timeout_ms: u64,
    /// The largest answer that is taken.
    pub answer_bytes_max: usize,
    /// The largest body that is sent.
    pub body_bytes_max: usize,
    /// The most headers, in an answer and in a request.
    pub headers_max: usize,
    /// The most redirects that are followed when following was asked for.
    pub redirects_max: usize,
    /// A PEM file with certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            timeout_ms: 60_000,
            answer_bytes_max: 8 * 1024 * 1024,
            body_bytes_max: 8 * 1024 * 1024,
            headers_max: 100,
            redirects_max: 10,
            ca_file: None,
        }
    }
}

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// TLS does not come up.
    #[error("build the HTTP client")]
    Tls(#[from] tls::Error),
    /// The library below refuses.
    #[error("build the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// One request to make.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The final address.
    pub url: Url,
    /// Headers beside those that the client sets. Mark secret ones as sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Bytes>,
    /// What may be said of an uncertain end.
    pub class: Class,
    /// Whether to follow redirects.
    pub redirect: bool,
    /// A shorter limit than the client's.
    pub timeout: Option<Duration>,
}

impl Call {
    /// A call without headers and body.
    pub fn new(method: Method, url: Url, class: Class) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, class, redirect: false, timeout: None }
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn with_json(mut self, body: &Value) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = Some(Bytes::from(body.to_json()));
        self
    }

    /// The same with a bearer token, marked as sensitive.
    ///
    /// # Errors
    /// A `configuration` problem if the token cannot stand in a header; the token is not in it.
    pub fn with_bearer(mut self, token: &Secret) -> Result<Self, Problem> {
        self.headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {}", token.expose()))?);
        Ok(self)
    }
}

/// A header value that is never shown.
///
/// # Errors
/// A `configuration` problem if the text cannot stand in a header; the text is not in it.
pub fn sensitive(text: &str) -> Result<HeaderValue, Problem> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Problem::standard(
            Standard::Configuration,
            "found credentials with characters that cannot stand in an HTTP header, expected visible ASCII",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// An address as it may be shown and logged: no user, no query, no fragment.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for addresses that cannot have a user at all, which then have none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// The client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct HttpClient {
    config: Arc<HttpConfig>,
    clock: Arc<dyn Clock>,
    egress: Egress,
    libraries: Arc<Libraries>,
}

/// The clients below: a pair for each class of ports between which the rules make a difference, since names are looked up
/// without a port there.
struct Libraries {
    proxies: Proxies,
    by_port: BTreeMap<u16, Library>,
}

struct Library {
    direct: reqwest::Client,
    proxied: reqwest::Client,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("config", &self.config).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Builds a client without rules of where it may reach: for endpoints that the operator has configured, and no others.
    ///
    /// # Errors
    /// If TLS does not come up, see [`tls::client_config`].
    pub fn new(config: HttpConfig, clock: Arc<dyn Clock>) -> Result<Self, BuildError> {
        Self::guarded(config, Egress::open(), clock)
    }

    /// Builds a client for addresses that definitions name.
    ///
    /// # Errors
    /// If TLS does not come up, see [`tls::client_config`].
    pub fn guarded(config: HttpConfig, egress: Egress, clock: Arc<dyn Clock>) -> Result<Self, BuildError> {
        let tls = tls::client_config(config.ca_file.as_deref())?;
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
                .http1_max_headers(config.headers_max)
                .user_agent(concat!("cpd/", env!("CARGO_PKG_VERSION")))
        };
        let proxies = Proxies::of(&egress);
        let mut by_port = BTreeMap::new();
        for port in egress.ports().into_iter().chain([0]) {
            let direct = builder().no_proxy().dns_resolver(egress.dns(port)).build();
            let proxied = builder().dns_resolver(proxies.dns(&egress, port)).build();
            let library =
                Library { direct: direct.map_err(BuildError::Client)?, proxied: proxied.map_err(BuildError::Client)? };
            by_port.insert(port, library);
        }
        let libraries = Arc::new(Libraries { proxies, by_port });
        Ok(Self { config: Arc::new(config), clock, egress, libraries })
    }

    /// Where the client may reach.
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// The clock that the client goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The client's set-up.
    pub fn config(&self) -> &HttpConfig {
        &self.config
    }

    /// The same client, connections included, with another time limit for one exchange.
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> Self {
        let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self { config: Arc::new(HttpConfig { timeout_ms, ..(*self.config).clone() }), ..self.clone() }
    }

    /// Makes one exchange. An answer of any status is `Ok`; see [`Answer::success`].
    ///
    /// # Errors
    /// If there is no answer, or none that may be taken.
    pub async fn send(&self, call: Call, request: &Request) -> Result<Answer, Trouble> {
        self.send_as(call, request, None).await
    }

    /// The same with credentials, which are asked for `Authorization` at every hop within the call's own origin.
    ///
    /// # Errors
    /// If there is no answer, or none that may be taken, or no credentials are to be had.
    pub async fn send_as(
        &self,
        mut call: Call,
        request: &Request,
        credentials: Option<&mut dyn Credentials>,
    ) -> Result<Answer, Trouble> {
        if !call.method.is_safe() && !call.headers.contains_key(IDEMPOTENCY_KEY) {
            let key = HeaderValue::from_str(&request.wire_key()).expect("a wire key is plain ASCII");
            call.headers.insert(IDEMPOTENCY_KEY, key);
        }
        self.check(&call).map_err(Trouble::Refused)?;
        let (class, doing) = (call.class, format!("while {} {} was under way", call.method, shown(&call.url)));
        let nothing_sent = |why: Interrupted| Err(Trouble::failed(why.problem("before anything was sent")));
        if let Some(why) = ended(request, &*self.clock) {
            return nothing_sent(why);
        }
        let sent = Sent::default();
        match within(request, &*self.clock, self.exchange(call, credentials, &sent)).await {
            Ok(done) => done,
            Err(why) if !sent.maybe() => nothing_sent(why),
            Err(why) => Err(Trouble::uncertain(class, why.problem(&doing))),
        }
    }

    /// Makes one exchange that belongs to no request: without a key, and with no limits but the client's own.
    ///
    /// # Errors
    /// As [`send_as`](Self::send_as).
    pub async fn fetch(&self, call: Call, credentials: Option<&mut dyn Credentials>) -> Result<Answer, Trouble> {
        self.check(&call).map_err(Trouble::Refused)?;
        self.exchange(call, credentials, &Sent::default()).await
    }

    pub(super) fn check(&self, call: &Call) -> Result<(), Problem> {
        let refuse = |what: String| Err(Problem::standard(Standard::Validation, what));
        if let Some(body) = call.body.as_ref().filter(|b| b.len() > self.config.body_bytes_max) {
            return refuse(format!(
                "found a body of {} bytes, expected at most {}",
                body.len(),
                self.config.body_bytes_max
            ));
        }
        if call.headers.len() > self.config.headers_max {
            return refuse(format!(
                "found {} headers, expected at most {}",
                call.headers.len(),
                self.config.headers_max
            ));
        }
        self.allowed(&call.url)
    }

    /// Whether the address may be called at all.
    pub(super) fn allowed(&self, url: &Url) -> Result<(), Problem> {
        if !matches!(url.scheme(), "http" | "https") {
            let what = format!("found an address with scheme {:?}, expected http or https", url.scheme());
            return Err(Problem::standard(Standard::Validation, what));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let what =
                "found a user or password in the address, which is logged; use `endpoint.authentication` instead";
            return Err(Problem::standard(Standard::Validation, what));
        }
        let (host, port) = place(url);
        self.egress.admit(host, port).map(drop).map_err(|refused| refused.problem())
    }

    /// The library's client for an address that may be called. It has to be sent nothing but requests to that address.
    ///
    /// # Errors
    /// If the address may not be called.
    pub async fn library(&self, url: &Url) -> Result<&reqwest::Client, Problem> {
        self.allowed(url)?;
        let (host, port) = place(url);
        let library = self.libraries.by_port.get(&self.egress.port_class(port)).ok_or_else(|| {
            Problem::standard(
                Standard::Runtime,
                format!("found no client for port {port}, expected one for every port"),
            )
        })?;
        if is_loopback(url) || !self.libraries.proxies.intercepts(url) {
            return Ok(&library.direct);
        }
        self.egress.admit_through_proxy(host, port).await.map_err(|refused| refused.problem())?;
        Ok(&library.proxied)
    }
}

/// Host and port of a web address.
fn place(url: &Url) -> (&str, u16) {
    (url.host_str().unwrap_or(""), url.port_or_known_default().unwrap_or(0))
}

/// The refusal that is the reason for a library's error, if one is. Names are looked up without a port; the address has it.
pub fn refusal(e: &reqwest::Error, url: &Url) -> Option<Problem> {
    Refused::below(e).map(|refused| Refused { port: place(url).1, ..refused.clone() }.problem())
}

/// Whether the address is this machine's own: such calls never go through a proxy.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::clock::SystemClock;

    use super::*;
    use crate::egress::{EgressConfig, Reach};

    fn client(allow: &[&str]) -> HttpClient {
        let allow = allow.iter().map(ToString::to_string).collect();
        let egress = EgressConfig { reach: Reach::Listed, allow, ..EgressConfig::default() };
        HttpClient::guarded(HttpConfig::default(), Egress::new(&egress).unwrap(), Arc::new(SystemClock)).unwrap()
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn only_allowed_hosts_may_be_called() {
        let client = client(&["api.example.com", "*.corp.example"]);
        for good in ["https://API.example.com/x", "http://a.corp.example", "http://a.b.corp.example:8080"] {
            assert_eq!(client.allowed(&url(good)), Ok(()), "{good}");
        }
        for bad in ["https://example.com", "http://corp.example", "http://evilcorp.example", "http://93.184.216.34/"] {
            let problem = client.allowed(&url(bad)).unwrap_err();
            assert!(problem.to_string().contains("expected one of those allowed"), "{bad}: {problem}");
        }
    }

    #[test]
    fn addresses_with_credentials_or_other_schemes_are_refused_without_an_echo() {
        let client = client(&["example.com"]);
        let problem = client.allowed(&url("https://bob:hunter2@example.com")).unwrap_err().to_string();
        assert!(problem.contains("authentication") && !problem.contains("hunter2"), "{problem}");
        assert!(client.allowed(&url("file:///etc/passwd")).is_err());
        assert_eq!(shown(&url("https://bob:x@h/p?token=y#z")), "https://h/p");
    }

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        for (address, loopback) in [
            ("http://127.0.0.1:1/", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:80/", true),
            ("http://LOCALHOST/", true),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&url(address)), loopback, "{address}");
        }
    }
}
