//! The keys of a provider: loaded when they are first needed, kept, and loaded anew as they rotate.
//!
//! - Keys are loaded anew when they are older than `keys_age_s_max`, and when a token names one that is not there. A key that
//!   the provider has withdrawn is so good for an hour at most (by default), and a new one is taken at once.
//! - Whatever strangers send, the provider is asked no more often than every `keys_pause_s`.
//! - A provider that does not answer locks nobody out whose key is known, for [`STALE_MAX`]; then nobody comes in by it.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::RwLock;
use reqwest::{Client, Url};
use serde_json::Value;
use tokio::time::Instant;

/// How long keys are good whose provider does not answer.
const STALE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long the provider may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The largest document that is taken from it.
const DOCUMENT_BYTES_MAX: usize = 512 << 10;
/// The most keys that are taken from it.
const KEYS_MAX: usize = 128;

/// A key that can check signatures of some algorithms.
pub(super) struct Key {
    id: Option<String>,
    /// What the provider says that it is for.
    only: Option<String>,
    fits: Fits,
    pub decoding: DecodingKey,
}

#[derive(Clone, Copy, PartialEq)]
enum Fits {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Key {
    fn of(jwk: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let fits = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Fits::Rsa,
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => Fits::P256,
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => Fits::P384,
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Fits::Ed25519,
            // Unknown here, or symmetric: one in a public document is known to everybody.
            _ => return None,
        };
        let only = jwk.common.key_algorithm.map(|alg| format!("{alg:?}"));
        Some(Self { id: jwk.common.key_id.clone(), only, fits, decoding: DecodingKey::from_jwk(&jwk).ok()? })
    }

    /// Whether it may check signatures of that algorithm.
    fn suits(&self, algorithm: Algorithm) -> bool {
        let fits = match algorithm {
            Algorithm::ES256 => Fits::P256,
            Algorithm::ES384 => Fits::P384,
            Algorithm::EdDSA => Fits::Ed25519,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Fits::Rsa,
            _ => return false,
        };
        self.fits == fits && self.only.as_ref().is_none_or(|only| *only == format!("{algorithm:?}"))
    }
}

/// The keys of a provider at a time.
struct Loaded {
    keys: Vec<Arc<Key>>,
    at: Instant,
}

impl Loaded {
    /// The key of that id, or the only one that suits if the token does not name one.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        let mut suit = self.keys.iter().filter(|k| k.suits(algorithm) && (id.is_none() || k.id.as_deref() == id));
        let key = suit.next()?;
        // Two that suit: without a name there is no telling which is meant.
        (id.is_some() || suit.next().is_none()).then(|| key.clone())
    }
}

/// Why there is no key.
#[derive(Debug)]
pub(super) enum NoKey {
    /// The provider has none of that name that suits.
    Unknown,
    /// The provider does not answer.
    Unavailable(String),
}

/// The keys of one provider.
pub(super) struct Keys {
    client: Client,
    issuer: String,
    jwks_url: Option<String>,
    age_max: Duration,
    pause: Duration,
    loaded: RwLock<Option<Arc<Loaded>>>,
    /// When the provider was last asked, and how that failed. Held while it is asked: by one at a time.
    asked: tokio::sync::Mutex<Option<(Instant, Option<String>)>>,
}

impl Keys {
    pub fn new(client: Client, issuer: &str, jwks_url: Option<&str>, age_max: Duration, pause: Duration) -> Self {
        let (issuer, jwks_url) = (issuer.to_owned(), jwks_url.map(str::to_owned));
        Self {
            client,
            issuer,
            jwks_url,
            age_max,
            pause,
            loaded: RwLock::default(),
            asked: tokio::sync::Mutex::default(),
        }
    }

    /// The key that a token names, or the only one that suits.
    pub async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<Key>, NoKey> {
        let known = self.loaded.read().clone();
        let found = known.as_ref().and_then(|loaded| loaded.find(id, algorithm));
        if let (Some(loaded), Some(key)) = (&known, &found)
            && loaded.at.elapsed() < self.age_max
        {
            return Ok(key.clone());
        }
        let failure = self.load(known.as_ref()).await;
        let loaded = self.loaded.read().clone();
        match (loaded.filter(|loaded| loaded.at.elapsed() < STALE_MAX), failure) {
            (Some(loaded), _) => loaded.find(id, algorithm).ok_or(NoKey::Unknown),
            (None, Some(failure)) => Err(NoKey::Unavailable(failure)),
            (None, None) => Err(NoKey::Unknown),
        }
    }

    /// Asks the provider, unless that was done a moment ago or somebody else has done it meanwhile.
    async fn load(&self, known: Option<&Arc<Loaded>>) -> Option<String> {
        let mut asked = self.asked.lock().await;
        let now = self.loaded.read().clone();
        if now.as_ref().map(|l| l.at) != known.map(|l| l.at) {
            return None;
        }
        if let Some((at, failure)) = &*asked
            && at.elapsed() < self.pause
        {
            return failure.clone();
        }
        let result = self.fetch().await;
        let at = Instant::now();
        let failure = match result {
            Ok(keys) => {
                *self.loaded.write() = Some(Arc::new(Loaded { keys, at }));
                None
            }
            Err(failure) => {
                tracing::warn!(issuer = self.issuer, failure, "the keys of a provider could not be loaded");
                Some(failure)
            }
        };
        *asked = Some((at, failure.clone()));
        failure
    }

    async fn fetch(&self) -> Result<Vec<Arc<Key>>, String> {
        let url = match &self.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let document = self.get(&url).await?;
        let keys = document.get("keys").and_then(Value::as_array);
        let keys =
            keys.ok_or_else(|| format!("load {url}: found no list `keys`, expected a set of keys (RFC 7517)"))?;
        let usable: Vec<Arc<Key>> = keys.iter().take(KEYS_MAX).filter_map(Key::of).map(Arc::new).collect();
        if usable.is_empty() {
            return Err(format!("load {url}: found {} keys, none of which can check a signature", keys.len()));
        }
        Ok(usable)
    }

    /// Where the keys are.
    async fn discover(&self) -> Result<String, String> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = self.get(&url).await?;
        let text = |member: &str| document.get(member).and_then(Value::as_str);
        if text("issuer") != Some(&*self.issuer) {
            let found = text("issuer").unwrap_or("nothing");
            return Err(format!("load {url}: found the issuer {found:?}, expected {:?}, to the letter", self.issuer));
        }
        let keys = text("jwks_uri").ok_or_else(|| format!("load {url}: found no `jwks_uri`, expected a text"))?;
        match allowed(keys, self.issuer.starts_with("http:")) {
            Ok(()) => Ok(keys.to_owned()),
            Err(what) => Err(format!("load {url}: `jwks_uri` {keys:?}: {what}")),
        }
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        let load = |what: String| format!("load {url}: {what}");
        let answer = tokio::time::timeout(ANSWER_MAX, async {
            let mut answer = self.client.get(url).send().await.map_err(|e| load(chain(&e)))?;
            if !answer.status().is_success() {
                return Err(load(format!("found status {}, expected 200", answer.status().as_u16())));
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|e| load(chain(&e)))? {
                body.extend_from_slice(&chunk);
                if body.len() > DOCUMENT_BYTES_MAX {
                    return Err(load(format!("found more than {DOCUMENT_BYTES_MAX} bytes")));
                }
            }
            Ok(body)
        });
        let body = answer.await.map_err(|_| load(format!("found no answer within {} s", ANSWER_MAX.as_secs())))??;
        serde_json::from_slice(&body).map_err(|e| load(format!("found no JSON: {e}")))
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether keys may come from that address: over TLS, or from this machine itself.
pub(super) fn allowed(url: &str, loopback: bool) -> Result<(), String> {
    let url = Url::parse(url).map_err(|e| format!("{e}; expected an address that begins with https://"))?;
    let here = match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback && here => Ok(()),
        other => Err(format!("found {other}, expected https (http only on loopback)")),
    }
}
