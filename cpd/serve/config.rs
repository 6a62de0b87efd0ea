//! `[server]`

use std::net::SocketAddr;

use serde::Deserialize;

/// The daemon's settings; what each limit answers stands in `docs/api.md`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long requests under way are waited for at the end, in milliseconds.
    pub drain_ms_max: u64,
    /// The most bytes that the body of a request may have.
    pub body_bytes_max: usize,
    /// How long the head of a request may take to come in, in milliseconds.
    pub header_ms_max: u64,
    /// How long the body of a request may take to come in, in milliseconds.
    pub body_ms_max: u64,
    /// The longest that a request may wait for a result, in milliseconds.
    pub wait_ms_max: u64,
    /// The most connections at the same time; more wait to be taken.
    pub connections_max: usize,
    /// The most requests at the same time; more are told to come again.
    pub requests_max: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7373)),
            drain_ms_max: 10_000,
            // An input of the largest size, and what stands around it.
            body_bytes_max: 17 << 20,
            header_ms_max: 10_000,
            body_ms_max: 30_000,
            wait_ms_max: 60_000,
            connections_max: 1_024,
            requests_max: 512,
        }
    }
}
