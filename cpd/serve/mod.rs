//! The daemon: drives the runs of a data directory, and takes requests over HTTP.
//!
//! ```text
//!   socket ─ TLS ─→ HTTP/1.1, HTTP/2 ─→ bounded ─→ entrance (who) ─→ routes ─→ engine
//! ```
//!
//! - [`config`]: `[server]`. `entrance`: who comes in, and how many. `problem`: errors as answers. `runs`, `registry`, `events`,
//!   `approvals`, `health`: the routes. `follow`: changes as they happen.
//! - An answer to a start or a command leaves when the record behind it is durable: that is the engine's promise, and nothing
//!   here answers before the engine does.
//! - Everything is bounded: connections, requests at a time, heads, bodies, waits, streams that nobody reads.
//! - SIGTERM: no new connection is taken, streams end, requests under way have `drain_ms_max`, then the engine stops. Nothing is
//!   lost by not waiting: whatever was answered is durable, and the next start goes on.

mod approvals;
pub mod config;
mod entrance;
mod events;
mod follow;
mod health;
mod problem;
mod registry;
mod runs;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use cpd_connectors::egress::Reach;
use cpd_engine::Engine;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::config::Server;
use self::entrance::Peer;
use self::follow::{Both, Changes};
use crate::config::Config;
use crate::door::{Door, tls};
use crate::observe::metrics::Metrics;
use crate::wiring;

/// How long it is waited after a connection that could not be taken, such as when no file descriptor is left.
const PAUSE: Duration = Duration::from_millis(50);
/// How often files of TLS are looked at.
const RENEWAL: Duration = Duration::from_secs(60);

/// What every request needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Daemon {
    engine: Engine,
    door: Arc<Door>,
    changes: Changes,
    metrics: Arc<Metrics>,
    limits: Arc<Server>,
    /// Set when the daemon is about to stop: streams end, waits end.
    stopping: CancellationToken,
}

/// A daemon that listens.
pub struct Listening {
    daemon: Daemon,
    listener: TcpListener,
    acceptor: Option<Arc<tls::Acceptor>>,
    address: SocketAddr,
}

impl Listening {
    /// Opens the data directory, takes up its runs, and begins to listen.
    ///
    /// # Errors
    /// If the address cannot be had, the configuration is wrong, or the directory cannot be opened.
    pub async fn open(data: &Path, config: &Config) -> anyhow::Result<Self> {
        let mut config = config.clone();
        if config.egress.reach == Reach::Auto {
            // It runs what others have written and started.
            config.egress.reach = Reach::Public;
        }
        let config = &config;
        let limits = Arc::new(config.server.clone());
        // Before the directory is opened: an address that is taken must not keep runs waiting.
        let listener =
            TcpListener::bind(limits.listen).await.with_context(|| format!("listen on {}", limits.listen))?;
        let address = listener.local_addr().context("find the address that is listened on")?;
        let acceptor = config.tls.as_ref().map(tls::Acceptor::load).transpose()?.map(Arc::new);
        let (changes, metrics) = (Changes::default(), Arc::new(Metrics::new()));
        let both = Both(changes.clone(), metrics.observer());
        let engine = wiring::open(data, config, |b| b.observer(Arc::new(both))).await?;
        let door = match Door::new(&config.auth, &engine, &[address]) {
            Ok(door) => Arc::new(door),
            Err(wrong) => {
                engine.stop().await.ok();
                return Err(wrong.into());
            }
        };
        let daemon = Daemon { engine, door, changes, metrics, limits, stopping: CancellationToken::new() };
        Ok(Self { daemon, listener, acceptor, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.daemon.engine
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.acceptor.is_some()
    }

    /// Reads the files of TLS and the rules of the door again.
    ///
    /// # Errors
    /// If they are wrong; what was there before stays.
    pub fn reloader(&self) -> impl Fn(&Config) -> anyhow::Result<()> + Send + Sync + use<> {
        let (door, acceptor) = (self.daemon.door.clone(), self.acceptor.clone());
        move |config| {
            door.reload(&config.auth)?;
            if let Some(acceptor) = &acceptor {
                acceptor.reload()?;
            }
            Ok(())
        }
    }

    /// Serves until `stop`, then drains and stops the engine.
    ///
    /// # Errors
    /// If the journal cannot be closed in order.
    pub async fn serve(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { daemon, listener, acceptor, .. } = self;
        let Daemon { engine, limits, stopping, .. } = daemon.clone();
        let service = router(daemon);
        let places = Arc::new(Semaphore::new(limits.connections_max));
        let graceful = GracefulShutdown::new();
        let renewal = acceptor.clone().map(|acceptor| tokio::spawn(async move { acceptor.watch(RENEWAL).await }));
        loop {
            let place = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
            };
            let (stream, peer) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = listener.accept() => match taken {
                    Ok(taken) => taken,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be taken");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            stream.set_nodelay(true).ok();
            let (service, acceptor, watcher, limits, stopping) =
                (service.clone(), acceptor.clone(), graceful.watcher(), limits.clone(), stopping.clone());
            tokio::spawn(async move {
                if let Err(error) = connection(stream, peer, service, acceptor, (watcher, stopping), &limits).await {
                    tracing::debug!(%peer, %error, "a connection ended");
                }
                drop(place);
            });
        }
        drop(listener);
        stopping.cancel();
        if let Some(renewal) = renewal {
            renewal.abort();
        }
        let drain = Duration::from_millis(limits.drain_ms_max);
        // Connections that wait for a request end at once, the others behind their answer.
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!(?drain, "requests were still under way when the time for them was over");
        }
        engine.stop().await?;
        Ok(())
    }
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    service: Router,
    acceptor: Option<Arc<tls::Acceptor>>,
    (watcher, stopping): (Watcher, CancellationToken),
    limits: &Server,
) -> io::Result<()> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(limits.header_ms_max));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Duration::from_secs(30));
    let serve = |service: Router| TowerToHyperService::new(service);
    let address = peer.ip();
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| io::Error::other(error);
    match acceptor {
        None => {
            let service = service.layer(axum::Extension(Peer { address, certificate: None }));
            let connection = builder.serve_connection(TokioIo::new(stream), serve(service)).into_owned();
            watcher.watch(connection).await.map_err(failed)
        }
        Some(acceptor) => {
            let accepted = tokio::select! {
                accepted = acceptor.accept(stream) => accepted?,
                // Nothing was asked yet.
                () = stopping.cancelled() => return Ok(()),
            };
            let certificate = accepted.certificate.map(Arc::new);
            let service = service.layer(axum::Extension(Peer { address, certificate }));
            let connection = builder.serve_connection(TokioIo::new(accepted.stream), serve(service)).into_owned();
            watcher.watch(connection).await.map_err(failed)
        }
    }
}

fn router(daemon: Daemon) -> Router {
    let room = Arc::new(Semaphore::new(daemon.limits.requests_max));
    let body = daemon.limits.body_bytes_max;
    let inside = Router::new()
        .route("/v1/runs", get(runs::list).post(runs::start))
        .route("/v1/runs/{run}", get(runs::show))
        .route("/v1/runs/{run}/result", get(runs::result))
        .route("/v1/runs/{run}/log", get(runs::log))
        .route("/v1/runs/{run}/why", get(runs::why))
        .route("/v1/runs/{run}/graph", get(runs::graph))
        .route("/v1/runs/{run}/replay", post(runs::replay))
        .route("/v1/runs/{run}/cancel", post(runs::cancel))
        .route("/v1/runs/{run}/pause", post(runs::pause))
        .route("/v1/runs/{run}/resume", post(runs::resume))
        .route("/v1/runs/{run}/resolve", post(runs::resolve))
        .route("/v1/runs/{run}/signal", post(runs::signal))
        .route("/v1/runs/{run}/fork", post(runs::fork))
        .route("/v1/runs/{run}/retry", post(runs::retry))
        .route("/v1/runs/{run}/migrate", post(runs::migrate))
        .route("/v1/runs/{run}/vote", post(approvals::vote))
        .route("/v1/runs/{run}/delegate", post(approvals::delegate))
        .route("/v1/approvals", get(approvals::list))
        .route("/v1/events", post(events::publish))
        .route("/v1/stream", get(follow::all))
        .route("/metrics", get(health::metrics))
        .route("/v1/definitions", get(registry::list).post(registry::register))
        .route("/v1/workflows/{namespace}/{name}", get(registry::workflow))
        .route("/v1/policies/{name}/evaluate", post(registry::evaluate))
        .layer(from_fn_with_state(daemon.clone(), entrance::whole))
        .layer(from_fn_with_state(daemon.clone(), entrance::recognise))
        .layer(from_fn_with_state(room, entrance::bounded));
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(inside)
        .layer(DefaultBodyLimit::max(body))
        .layer(from_fn(entrance::uniform))
        .with_state(daemon)
}
