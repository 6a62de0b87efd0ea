//! A server's configuration from files, with an error for each thing that can be wrong with them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::door::config::{ClientCertificates, Tls};

/// HTTP/2, as ALPN names it.
pub(super) const H2: &[u8] = b"h2";

/// The largest file that is read: a chain, or a list of revoked certificates.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("read {what} from {path}")]
    Read {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file is no PEM.
    #[error("read {what} from {path}: expected PEM")]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: pem::Error,
    },
    /// A file has nothing of what it is for.
    #[error("find {what} in {path}: expected a PEM block that begins with -----BEGIN {expected}-----{hint}")]
    Nothing {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// How the block begins.
        expected: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The key is another one's.
    #[error("use the key in {key} with the certificate in {certificate}: it belongs to another certificate")]
    Mismatch {
        /// Where the certificate is.
        certificate: PathBuf,
        /// Where the key is.
        key: PathBuf,
    },
    /// Something cannot be used, though it can be read.
    #[error("use {what} in {path}")]
    Unusable {
        /// What.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// `[tls]` cannot be meant so.
    #[error("use [tls]: {0}")]
    Config(&'static str),
}

/// What tells that a file has changed.
#[derive(Debug, PartialEq)]
pub(super) struct Stamps(Vec<Option<(Option<SystemTime>, u64)>>);

impl Stamps {
    pub fn of(config: &Tls) -> Self {
        let files = [Some(&config.cert_file), Some(&config.key_file)];
        let files = files.into_iter().chain([config.client_ca_file.as_ref(), config.client_crl_file.as_ref()]);
        let stamp = |file: &PathBuf| fs::metadata(file).ok().map(|m| (m.modified().ok(), m.len()));
        Self(files.flatten().map(stamp).collect())
    }
}

/// What the files say.
pub(super) fn server_config(config: &Tls) -> Result<Arc<ServerConfig>, Error> {
    let Tls { cert_file, key_file, .. } = config;
    let chain = certificates("the certificate", cert_file)?;
    let key = key(key_file)?;
    warn_of_dates(cert_file, &chain);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |what, path: &Path| {
        let path = path.to_owned();
        move |source: rustls::Error| Error::Unusable { what, path, source: Box::new(source) }
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable("the protocol versions of TLS", cert_file))?
        .with_client_cert_verifier(client_verifier(config)?);
    let mut server = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Error::Mismatch { certificate: cert_file.clone(), key: key_file.clone() }
        }
        rustls::Error::InvalidCertificate(_) => unusable("the certificate", cert_file)(error),
        _ => unusable("the private key", key_file)(error),
    })?;
    server.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

fn client_verifier(config: &Tls) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let Tls { client_certificates, client_ca_file, client_crl_file, .. } = config;
    if *client_certificates == ClientCertificates::None {
        return match (client_ca_file, client_crl_file) {
            (None, None) => Ok(WebPkiClientVerifier::no_client_auth()),
            _ => Err(Error::Config(
                "found `client_ca_file` or `client_crl_file` while `client_certificates` is \"none\"; \
                 expected \"optional\" or \"required\"",
            )),
        };
    }
    let path = client_ca_file.as_ref().ok_or(Error::Config(
        "found `client_certificates` without `client_ca_file`, expected the authorities of clients",
    ))?;
    let unusable = |what, path: &Path, source: Box<dyn std::error::Error + Send + Sync>| Error::Unusable {
        what,
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates("the clients' authorities", path)? {
        roots.add(authority).map_err(|e| unusable("a clients' authority", path, e.into()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(path) = client_crl_file {
        // Authorities without a list of their own have revoked nothing.
        builder = builder.with_crls(lists(path)?).allow_unknown_revocation_status();
    }
    if *client_certificates == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    let path = client_crl_file.as_ref().unwrap_or(path);
    builder.build().map_err(|e| unusable("the clients' authorities, or lists of revoked certificates,", path, e.into()))
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { what, path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        let found = format!("found {} bytes, expected a file of at most {FILE_BYTES_MAX}", metadata.len());
        return Err(failed(io::Error::other(found)));
    }
    fs::read(path).map_err(failed)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(what, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|source| Error::Pem { what, path: path.to_owned(), source })?;
    if all.is_empty() {
        return Err(Error::Nothing { what, path: path.to_owned(), expected: "CERTIFICATE", hint: "" });
    }
    Ok(all)
}

fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let what = "the lists of revoked certificates";
    let bytes = read(what, path)?;
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|source| Error::Pem { what, path: path.to_owned(), source })?;
    if all.is_empty() {
        return Err(Error::Nothing { what, path: path.to_owned(), expected: "X509 CRL", hint: "" });
    }
    Ok(all)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let what = "the private key";
    let bytes = read(what, path)?;
    warn_of_readers(path);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| {
        let path = path.to_owned();
        match source {
            pem::Error::NoItemsFound => {
                let encrypted = bytes.windows(9).any(|w| w == b"ENCRYPTED");
                let hint = if encrypted { "; this one is encrypted, and `openssl pkey` decrypts it" } else { "" };
                Error::Nothing { what, path, expected: "PRIVATE KEY", hint }
            }
            source => Error::Pem { what, path, source },
        }
    })
}

/// A certificate that is not good now is used all the same: whoever does not check it is served, whoever does says why not.
fn warn_of_dates(path: &Path, chain: &[CertificateDer<'_>]) {
    let Some((_, certificate)) = chain.first().and_then(|first| X509Certificate::from_der(first).ok()) else { return };
    let validity = certificate.validity();
    if !validity.is_valid() {
        let (from, until) = (validity.not_before.to_string(), validity.not_after.to_string());
        tracing::warn!(path = %path.display(), from, until, "the certificate is not good at this time");
    }
}

#[cfg(unix)]
fn warn_of_readers(path: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    if fs::metadata(path).is_ok_and(|m| m.mode() & 0o004 != 0) {
        tracing::warn!(path = %path.display(), "everybody on this machine can read the private key; `chmod o-r` mends that");
    }
}

#[cfg(not(unix))]
fn warn_of_readers(_: &Path) {}
