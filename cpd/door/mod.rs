//! Who may do what: the one door through which every caller passes, whatever the way (API, page, MCP, command line).
//!
//! A caller is a [`Principal`]: a name, a [`Role`] and the namespaces that it reaches. An action is a [`Permission`] in a
//! namespace. [`Principal::may`] is the only place that decides.

mod principal;
pub mod token;

pub use principal::{Denied, Permission, Principal, Role, Scope, Via};
