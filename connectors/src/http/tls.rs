//! TLS for the HTTP client: rustls with ring, and the machine's own roots.
//!
//! Enterprises have certificate authorities of their own, so the roots are those of the system (or of
//! `SSL_CERT_FILE` and `SSL_CERT_DIR`), plus the file that the configuration names. A machine without any roots (a
//! bare container) gets Mozilla's list, compiled in. No process-wide crypto provider is installed or needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configured file with certificate authorities does not read.
    #[error("read certificate authorities from {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate in that file is of no use.
    #[error("take certificate {index} of {path} as an authority")]
    CaCertificate {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// The file has no certificate in it.
    #[error("find a certificate in {path}: expected PEM blocks that begin with -----BEGIN CERTIFICATE-----")]
    CaEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The provider does not do the default protocol versions.
    #[error("set TLS up")]
    Setup(#[source] rustls::Error),
}

/// The client's configuration with the system's roots and those of `ca_file`.
///
/// # Errors
/// If `ca_file` does not read, or holds no certificate that can be an authority.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for e in &system.errors {
        tracing::warn!(error = %e, "a system certificate could not be read and is left out");
    }
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        tracing::info!("the system has no certificate authorities; Mozilla's list is used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        let path_buf = || path.to_path_buf();
        let read = |source| Error::CaFile { path: path_buf(), source };
        let mut count = 0;
        for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
            count += 1;
            let refuse = |source| Error::CaCertificate { path: path_buf(), index: count, source };
            roots.add(certificate.map_err(read)?).map_err(refuse)?;
        }
        if count == 0 {
            return Err(Error::CaEmpty { path: path_buf() });
        }
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "nothing here").unwrap();
        let text = client_config(Some(&path)).unwrap_err().to_string();
        assert!(text.contains("ca.pem") && text.contains("BEGIN CERTIFICATE"), "{text}");
        assert!(matches!(client_config(Some(&dir.path().join("none"))), Err(Error::CaFile { .. })));
    }

    #[test]
    fn there_are_always_roots() {
        assert!(client_config(None).is_ok());
    }
}
