//! A connection for one call: TCP, TLS where it is wanted, HTTP/2 above it.
//!
//! - The other side has to answer a ping before anything is sent. So a server that speaks no HTTP/2, or a port behind which
//!   nobody is, is known while it is still certain that nothing happened.
//! - Nothing is spawned: whoever waits for the call drives the connection meanwhile ([`Connection::drive`]).
//! - It ends with the call. [`Connection::end`] tells the other side of a call that was given up.
//! - Proxies are not used.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use cpd_connector_api::{Problem, Standard, json};
use h2::Reason;
use h2::client::{self, SendRequest};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::target::Target;
use crate::egress::resolve::Error;
use crate::http::{HttpClient, Trouble, tls};

/// What the other side may send before we have read it: a few frames, so that a large answer is not waited for in pieces.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// The most that all headers of an answer may have together, as gRPC's own implementations have it, times eight.
const HEADERS_BYTES_MAX: u32 = 64 * 1024;
/// How long a goodbye may take. Nobody waits for what becomes of it.
const GOODBYE: Duration = Duration::from_millis(100);

/// Anything that bytes go through.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

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

impl Dialer {
    /// Connections with the egress rules, time limits and authorities of an HTTP client.
    pub fn new(http: HttpClient) -> Self {
        Self { http, tls: Arc::default() }
    }

    /// Connects.
    ///
    /// # Errors
    /// If there is no connection, or nobody there speaks HTTP/2: nothing was sent then.
    pub async fn connect(&self, target: &Target) -> Result<Connection, Trouble> {
        let limit = Duration::from_millis(self.http.config().connect_timeout_ms);
        match tokio::time::timeout(limit, self.establish(target)).await {
            Ok(done) => done,
            Err(_) => Err(unreachable(target, &format!("time ran out after {} ms", limit.as_millis()))),
        }
    }

    async fn establish(&self, target: &Target) -> Result<Connection, Trouble> {
        let lost = |e: io::Error| unreachable(target, &e.to_string());
        let tcp = match self.http.egress().connect(&target.host, target.port).await {
            Ok(tcp) => tcp,
            Err(Error::Refused(refused)) => return Err(Trouble::Refused(refused.problem())),
            Err(Error::Io(e)) => return Err(lost(e)),
        };
        tcp.set_nodelay(true).map_err(lost)?;
        let io: Box<dyn Io> = if target.tls { self.secure(tcp, target).await? } else { Box::new(tcp) };
        let mut builder = client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(HEADERS_BYTES_MAX);
        let no_http2 = |e: h2::Error| {
            let hint = if target.tls { "" } else { "; where TLS is spoken, write https:// in front of the host" };
            unreachable(target, &format!("it does not answer as HTTP/2 does ({e}){hint}"))
        };
        let (sender, connection) = builder.handshake(io).await.map_err(no_http2)?;
        let mut made = Connection { sender: Some(sender), driver: Box::pin(connection) };
        made.greet().await.map_err(no_http2)?;
        Ok(made)
    }

    async fn secure(&self, tcp: TcpStream, target: &Target) -> Result<Box<dyn Io>, Trouble> {
        let config = match self.tls.get() {
            Some(config) => config.clone(),
            None => {
                let mut made = tls::client_config(self.http.config().ca_file.as_deref()).map_err(|e| {
                    Trouble::Refused(Problem::standard(Standard::Configuration, format!("set TLS up: {e}")))
                })?;
                made.alpn_protocols = vec![b"h2".to_vec()];
                self.tls.get_or_init(|| Arc::new(made)).clone()
            }
        };
        let name = ServerName::try_from(target.host.clone()).map_err(|_| {
            let what = format!("found the host {:?}, which cannot stand in a certificate", target.host);
            Trouble::Refused(Problem::standard(Standard::Configuration, what))
        })?;
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(|e| {
            unreachable(target, &format!("TLS failed: {e}; where none is spoken, write http:// in front of the host"))
        })?;
        Ok(Box::new(stream))
    }
}

/// The trouble of a service that was not reached.
fn unreachable(target: &Target, why: &str) -> Trouble {
    let detail = format!("{} could not be connected to: {why}", target.shown());
    let problem = Problem::standard(Standard::Communication, detail).with_status(503);
    Trouble::failed(problem.with_data(json!({"address": target.shown()})))
}

/// A connection that speaks HTTP/2.
pub struct Connection {
    sender: Option<SendRequest<Bytes>>,
    driver: Pin<Box<client::Connection<Box<dyn Io>>>>,
}

impl Connection {
    /// What sends requests; once.
    pub fn sender(&mut self) -> Option<SendRequest<Bytes>> {
        self.sender.take()
    }

    /// Waits until the other side has shown that it speaks HTTP/2.
    async fn greet(&mut self) -> Result<(), h2::Error> {
        let Some(mut ping) = self.driver.ping_pong() else { return Ok(()) };
        // What waits for a ping does not hear of the connection's end.
        tokio::select! {
            biased;
            pong = ping.ping(h2::Ping::opaque()) => pong.map(drop),
            ended = &mut self.driver => Err(ended.err().unwrap_or_else(|| Reason::PROTOCOL_ERROR.into())),
        }
    }

    /// Runs work that waits for the connection, and the connection with it.
    pub async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let (mut work, mut over) = (pin!(work), false);
        poll_fn(|context| {
            loop {
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
                // Whatever ends the connection, its streams hear of it and the work sees it there.
                if over || self.driver.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                over = true;
            }
        })
        .await
    }

    /// Says goodbye, and that a stream which nobody reads any more is given up.
    pub async fn end(mut self) {
        self.sender = None;
        let _ = tokio::time::timeout(GOODBYE, self.driver).await;
    }
}
