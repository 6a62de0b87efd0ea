//! The connectors against the sandbox, over real loopback sockets. Nothing here sleeps: what takes time is waited for
//! with a bound.

mod a2a;
mod agent;
mod atlas;
mod bad_answers;
mod conformance;
mod http;
mod loopback;
mod mcp;
mod mcp_stdio;
mod no_panic;
mod real_mlflow;
mod sandbox;
mod support;
mod tls;
