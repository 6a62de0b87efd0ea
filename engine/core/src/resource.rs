//! Documents that a definition refers to by an address: schemas, functions, API descriptions, proto files, scripts.
//!
//! They are loaded when a definition is registered and pinned with it by their digest; a run never loads one. This crate
//! has no network: whoever compiles a definition brings what was loaded (see [`crate::definition::Environment::resource`]),
//! learns what was wanted besides, loads that, and compiles again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::Value;
use crate::definition::plan::Digest;
use crate::problem::{Problem, Standard};

/// A document that a definition wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its address, as the definition writes it.
    pub uri: Arc<str>,
    /// How to authenticate there: one scheme of the language with its members.
    pub authentication: Option<Value>,
}

/// What there is of a document that a definition wants.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// It has been loaded.
    Found(Arc<Resource>),
    /// It could not be loaded, and why.
    Failed(Arc<str>),
    /// Nobody has tried yet, or nobody can here.
    Absent,
}

/// A document that a definition refers to, as it was when the definition was registered.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Where it was loaded from, as the definition writes it.
    pub uri: Arc<str>,
    /// What the server said that it is, if it did: `application/json`.
    pub media_type: Option<Arc<str>>,
    /// Its content.
    pub content: Arc<[u8]>,
}

impl Resource {
    /// The content as text.
    ///
    /// # Errors
    /// A `configuration` problem, if it is not UTF-8.
    pub fn text(&self) -> Result<&str, Problem> {
        std::str::from_utf8(&self.content).map_err(|e| {
            let detail = format!("read {}: it is not UTF-8 text (byte {})", self.uri, e.valid_up_to());
            Problem::standard(Standard::Configuration, detail)
        })
    }

    /// SHA-256 of the content.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.content).into())
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({}, {} bytes)", self.uri, self.content.len())
    }
}

/// The pinned documents of a definition, by the URI that stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(Arc<BTreeMap<Arc<str>, Arc<Resource>>>);

impl Resources {
    /// The document that was loaded from that URI.
    ///
    /// # Errors
    /// A `configuration` problem that names the URI, if the definition did not pin it.
    pub fn get(&self, uri: &str) -> Result<&Resource, Problem> {
        self.0.get(uri).map(|r| &**r).ok_or_else(|| {
            let detail = format!("load {uri}: the definition was registered without it");
            Problem::standard(Standard::Configuration, detail)
        })
    }

    /// All of them, in order of their URIs.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.0.values()
    }
}

impl FromIterator<Arc<Resource>> for Resources {
    fn from_iter<I: IntoIterator<Item = Arc<Resource>>>(resources: I) -> Self {
        Self(Arc::new(resources.into_iter().map(|r| (r.uri.clone(), r)).collect()))
    }
}
