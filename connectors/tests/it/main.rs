//! The connectors against the sandbox, over real loopback sockets. Nothing here sleeps: what takes time is waited for
//! with a bound.

mod a2a;
mod agent;
mod asyncapi;
mod atlas;
mod authority;
mod bad_answers;
mod conformance;
mod digest;
mod egress;
#[cfg(feature = "grpc")]
mod grpc;
mod http;
mod http_full;
mod loopback;
mod mcp;
mod mcp_stdio;
mod no_panic;
mod oauth;
mod openapi;
mod process;
mod real_mlflow;
mod resource;
mod sandbox;
mod server;
mod support;
mod tls;
