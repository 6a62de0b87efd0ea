//! Connections to brokers: TCP, TLS above it, and reading in packets.
//!
//! - Where connections may go is for [`egress`](crate::egress) to say.
//! - What could not connect did not happen. What breaks off later is uncertain once something was sent that counts; [`Sent`] is
//!   set then, and whoever asks for the trouble of a loss gets the right one.
//! - A [`Wire`] reads until a packet is whole and never holds more than a packet may have.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use cpd_connector_api::{Class, Problem, Standard, json};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::server::Target;
use crate::egress::resolve::Error;
use crate::http::{HttpClient, Trouble, tls};

/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// Whether something went out that may have had an effect.
#[derive(Debug, Default)]
pub struct Sent(AtomicBool);

impl Sent {
    /// From now on an end without an answer is uncertain.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// What an end without an answer means now.
    pub fn class(&self) -> Class {
        if self.0.load(Ordering::Relaxed) { Class::AtMostOnce } else { Class::Safe }
    }
}

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    http: HttpClient,
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

/// Anything that bytes go through.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Dialer {
    /// Connections with the egress rules, time limits and authorities of an HTTP client.
    pub fn new(http: HttpClient) -> Self {
        Self { http, tls: Arc::default() }
    }

    /// Connects to a server, under TLS if it wants that from the first byte.
    ///
    /// # Errors
    /// If the host is not allowed, or there is no connection: nothing was sent then.
    pub async fn connect(&self, target: &Target) -> Result<Wire, Trouble> {
        let limit = Duration::from_millis(self.http.config().connect_timeout_ms);
        let connecting = async {
            let tcp = self.http.egress().connect(&target.host, target.port).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, Error>(tcp)
        };
        let tcp = match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(Error::Refused(refused))) => return Err(Trouble::Refused(refused.problem())),
            Ok(Err(Error::Io(e))) => return Err(unreachable(target, &e.to_string())),
            Err(_) => return Err(unreachable(target, "time ran out")),
        };
        let wire = Wire::over(Box::new(tcp), target.shown());
        if target.tls { self.secure(wire, target).await } else { Ok(wire) }
    }

    /// Goes on under TLS.
    ///
    /// # Errors
    /// If there is no TLS, or the server's certificate is not good.
    pub async fn secure(&self, wire: Wire, target: &Target) -> Result<Wire, Trouble> {
        let config = match self.tls.get() {
            Some(config) => config.clone(),
            None => {
                let made = tls::client_config(self.http.config().ca_file.as_deref()).map_err(|e| {
                    Trouble::Refused(Problem::standard(Standard::Configuration, format!("set TLS up: {e}")))
                })?;
                self.tls.get_or_init(|| Arc::new(made)).clone()
            }
        };
        let name = ServerName::try_from(target.host.clone()).map_err(|_| {
            let what = format!("found the host {:?}, which cannot stand in a certificate", target.host);
            Trouble::Refused(Problem::standard(Standard::Configuration, what))
        })?;
        let limit = Duration::from_millis(self.http.config().connect_timeout_ms);
        let handshake = TlsConnector::from(config).connect(name, wire.io);
        match tokio::time::timeout(limit, handshake).await {
            Ok(Ok(stream)) => Ok(Wire { io: Box::new(stream), ..wire }),
            Ok(Err(e)) => Err(unreachable(target, &format!("TLS failed: {e}"))),
            Err(_) => Err(unreachable(target, "TLS took too long")),
        }
    }
}

fn unreachable(target: &Target, why: &str) -> Trouble {
    let detail = format!("{} could not be connected to: {why}", target.shown());
    let data = json!({"server": target.server.as_str(), "address": target.shown()});
    Trouble::failed(Problem::standard(Standard::Communication, detail).with_status(503).with_data(data))
}

/// Why a connection is of no more use.
#[derive(Debug)]
pub enum Lost {
    /// The other side closed it.
    Closed,
    /// It broke.
    Broken(io::Error),
    /// The other side says what cannot be understood.
    Garbage(String),
    /// The other side says nothing any more.
    Silent(Duration),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Closed => f.write_str("closed the connection"),
            Lost::Broken(e) => write!(f, "broke the connection off: {e}"),
            Lost::Garbage(what) => write!(f, "sent what its protocol does not have: {what}"),
            Lost::Silent(span) => write!(f, "has not answered for {} s", span.as_secs()),
        }
    }
}

/// A connection that is read in packets.
pub struct Wire {
    io: Box<dyn Io>,
    buffer: BytesMut,
    whom: String,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.whom)
    }
}

impl Wire {
    /// A wire over a connection that somebody else has made.
    pub fn over(io: Box<dyn Io>, whom: String) -> Self {
        Self { io, buffer: BytesMut::new(), whom }
    }

    /// The other side, for messages.
    pub fn whom(&self) -> &str {
        &self.whom
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let writing = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        writing.await.map_err(Lost::Broken)
    }

    /// The next packet. `decode` takes one off the front of the buffer if there is a whole one.
    ///
    /// # Errors
    /// If the connection ends first, or `decode` does not understand what has come.
    pub async fn read<T>(
        &mut self,
        mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, String>,
    ) -> Result<T, Lost> {
        loop {
            if let Some(packet) = decode(&mut self.buffer).map_err(Lost::Garbage)? {
                return Ok(packet);
            }
            self.buffer.reserve(CHUNK);
            if self.io.read_buf(&mut self.buffer).await.map_err(Lost::Broken)? == 0 {
                return Err(Lost::Closed);
            }
        }
    }

    /// The next packet, or `None` if none is whole within that time.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_within<T>(
        &mut self,
        span: Duration,
        decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, String>,
    ) -> Result<Option<T>, Lost> {
        tokio::time::timeout(span, self.read(decode)).await.map_or(Ok(None), |read| read.map(Some))
    }

    /// Says goodbye with these bytes. Nobody waits for what becomes of it for long.
    pub async fn goodbye(&mut self, bytes: &[u8]) {
        let ending = async {
            let _ = self.write(bytes).await;
            let _ = self.io.shutdown().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), ending).await;
    }

    /// The trouble of a connection that was lost.
    pub fn trouble(&self, lost: &Lost, doing: &str, class: Class) -> Trouble {
        let detail = format!("{} {lost} {doing}", self.whom);
        Trouble::uncertain(class, Problem::standard(Standard::Communication, detail).with_status(502))
    }
}
