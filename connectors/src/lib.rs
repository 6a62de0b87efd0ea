//! The connectors that ship with `cpd`. `README.md` beside this crate is the contract for the people who run them.
//!
//! - [`http`]: one HTTP request as an operation, and the client with limits that the other connectors share.
//! - [`atlas`]: the MLOps platform: models, versions, aliases, figures, training.
//! - [`authentication`]: who a call says that it is, for every connector that speaks HTTP.
//! - [`agent`]: agents that answer prompts, by a language model or by the offline summariser.
//! - [`openapi`]: operations that an OpenAPI or Swagger document describes.
//! - `grpc` (feature `grpc`): methods of gRPC services that a proto file describes.
//! - [`egress`]: where definitions may reach.
//! - [`drift`]: whether data has moved away from what it was.
//! - [`mcp`]: tools, prompts and resources of a Model Context Protocol server.
//! - [`a2a`]: other agents, by the Agent2Agent protocol.
//! - [`asyncapi`]: messages to and from the services of an AsyncAPI document.
//! - [`rpc`]: what those two share: JSON-RPC, server-sent events, endpoints.
//! - [`process`]: shell commands, scripts and containers, where the operator allows them.
//! - [`sandbox`]: a loopback server that answers as the outside world, for demonstrations and tests.

pub mod a2a;
pub mod agent;
pub mod asyncapi;
pub mod atlas;
pub mod authentication;
mod document;
pub mod drift;
pub mod egress;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod http;
pub mod mcp;
pub mod openapi;
pub mod process;
pub mod rpc;
pub mod sandbox;
