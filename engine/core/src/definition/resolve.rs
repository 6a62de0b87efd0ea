//! References to operations, policies and agents, and the digests that hold a plan to what it was made of.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::plan::{Digest, Pin, PinKind};
use crate::catalog::{Class, OperationSpec};

/// A reference such as `atlas.retrain:1.2.0@default`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'t> {
    /// The name.
    pub name: &'t str,
    /// The version, if one is given.
    pub version: Option<&'t str>,
    /// The catalog, if one is given.
    pub catalog: Option<&'t str>,
}

impl<'t> Reference<'t> {
    /// Takes a reference apart.
    pub fn of(text: &'t str) -> Self {
        let (rest, catalog) = text.split_once('@').map_or((text, None), |(r, c)| (r, Some(c)));
        let (name, version) = rest.split_once(':').map_or((rest, None), |(n, v)| (n, Some(v)));
        Self { name, version, catalog }
    }
}

/// What a plan remembers of an operation: its name, its version and the digest of its whole contract.
pub fn operation_pin(spec: &OperationSpec) -> Pin {
    let text = serde_json::to_vec(spec).expect("a specification is JSON");
    let mut hash = Sha256::new();
    hash.update(b"cpd operation 1\0");
    hash.update(&text);
    let digest = Digest(hash.finalize().into());
    Pin { kind: PinKind::Operation, name: spec.name.clone(), version: spec.version.clone(), digest }
}

/// What a plan remembers of a connector's answer to how a call may be repeated.
pub fn class_pin(pointer: &Arc<str>, class: Class) -> Pin {
    let version = Arc::from(class.to_string());
    Pin { kind: PinKind::Class, name: pointer.clone(), version, digest: Digest([0; 32]) }
}

/// The digest of a plan: over the source and all pins, each part with its length in front, so that no two plans share the
/// bytes that are hashed. `pins` are sorted.
pub fn digest(source: &str, pins: &[Pin]) -> Digest {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(b"cpd definition 1");
    part(source.as_bytes());
    for pin in pins {
        let kind: &[u8] = match pin.kind {
            PinKind::Operation => b"operation",
            PinKind::Policy => b"policy",
            PinKind::Agent => b"agent",
            PinKind::Workflow => b"workflow",
            PinKind::Class => b"class",
            PinKind::Resource => b"resource",
        };
        part(kind);
        part(pin.name.as_bytes());
        part(pin.version.as_bytes());
        part(&pin.digest.0);
    }
    Digest(hash.finalize().into())
}

/// `name:version`
pub fn pinned_name(pin: &Pin) -> Arc<str> {
    Arc::from(format!("{}:{}", pin.name, pin.version))
}
