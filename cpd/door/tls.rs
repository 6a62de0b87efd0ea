//! TLS for the daemon: certificates from files, taken anew when they are renewed, and certificates of clients.
//!
//! - rustls with ring, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.
//! - [`Acceptor::reload`] reads the files again (on a signal); [`Acceptor::watch`] does so when they change. What cannot be used
//!   is said, and the certificate before it stays: a renewal that went wrong closes nothing. Connections that are open stay.
//! - Clients' certificates are checked against authorities, and lists of revoked ones, before anything is read from them.
//!   Sessions are resumed only under the certificates that they were made under.

mod files;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::files::Stamps;
use super::config::Tls;

pub use self::files::Error;

/// Takes connections. Cheap to share.
pub struct Acceptor {
    config: Tls,
    current: RwLock<Arc<ServerConfig>>,
    /// The files as they were when they were last read, whether they could be used or not.
    stamps: Mutex<Stamps>,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection.
    pub stream: TlsStream<S>,
    /// What the client has shown, checked; for [`Door::recognise`](super::Door::recognise).
    pub certificate: Option<CertificateDer<'static>>,
    /// Whether the client wants HTTP/2.
    pub http2: bool,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// If one of them cannot be read or used, with its name.
    pub fn load(config: &Tls) -> Result<Self, Error> {
        let stamps = Mutex::new(Stamps::of(config));
        let current = RwLock::new(files::server_config(config)?);
        Ok(Self { config: config.clone(), current, stamps })
    }

    /// Reads the files again; connections from now on get what is in them.
    ///
    /// # Errors
    /// If one of them cannot be read or used; then everything stays as it is.
    pub fn reload(&self) -> Result<(), Error> {
        *self.stamps.lock() = Stamps::of(&self.config);
        let fresh = files::server_config(&self.config)?;
        *self.current.write() = fresh;
        Ok(())
    }

    /// Looks at the files again and again, and reloads when one has changed. Never returns.
    pub async fn watch(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            match self.reload_if_changed() {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(certificate = %self.config.cert_file.display(), "the certificate was taken anew")
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::error!(error, "the certificate was not taken anew; the one before stays");
                }
            }
        }
    }

    /// Reloads if a file has changed since it was last read; tells whether it did.
    fn reload_if_changed(&self) -> Result<bool, Error> {
        if *self.stamps.lock() == Stamps::of(&self.config) {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Does the handshake of a connection, within the time that the configuration gives it.
    ///
    /// # Errors
    /// If the client breaks off, takes too long, or shows a certificate that is not good.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Accepted<S>> {
        let acceptor = TlsAcceptor::from(self.current.read().clone());
        let limit = Duration::from_millis(self.config.handshake_ms_max);
        let stream = tokio::time::timeout(limit, acceptor.accept(stream)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("the handshake took more than {} ms", limit.as_millis()))
        })??;
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(|chain| chain.first()).cloned();
        let certificate = certificate.map(CertificateDer::into_owned);
        let http2 = connection.alpn_protocol() == Some(files::H2);
        Ok(Accepted { stream, certificate, http2 })
    }
}
