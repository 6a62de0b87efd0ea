//! Documents at an address: what a definition refers to and does not hold itself.
//!
//! An address is literal, since the document is loaded and pinned when the definition is registered.

use std::sync::Arc;

use super::Reader;
use super::call::has_expression;
use crate::definition::diagnostic::Span;
use crate::definition::plan::{Pin, PinKind};
use crate::definition::yaml::Yaml;
use crate::resource::{Loaded, Resource, Wanted};

impl<'a> Reader<'a> {
    /// An external resource: `{ endpoint, name? }`.
    pub fn resource(&mut self, yaml: &'a Yaml, what: &str) -> Option<Arc<Resource>> {
        let fields = self.fields(yaml, what, &["name", "endpoint"])?;
        self.text_of(fields, "name", what);
        let endpoint = self.required(fields, "endpoint", what)?;
        self.endpoint_document(endpoint, &format!("`{}.endpoint`", what.trim_matches('`')))
    }

    /// The document at an endpoint: an address, or one with `authentication`.
    pub fn endpoint_document(&mut self, yaml: &'a Yaml, what: &str) -> Option<Arc<Resource>> {
        let wanted = self.document_address(yaml, what)?;
        self.document_at(wanted, yaml.mark)
    }

    /// Where a document is.
    pub fn document_address(&mut self, yaml: &'a Yaml, what: &str) -> Option<Wanted> {
        let (uri, authentication) = match yaml.members() {
            None => (yaml, None),
            Some(_) => {
                let fields = self.fields(yaml, what, &["uri", "authentication"])?;
                let authentication = match fields.get("authentication") {
                    Some(yaml) => Some(self.authentication(yaml)?),
                    None => None,
                };
                (self.required(fields, "uri", what)?, authentication)
            }
        };
        let text = self.text(uri, what)?;
        if has_expression(uri) || text.contains(['{', '}']) {
            let d = self.error("computed-resource", uri.mark, format!("{what}: expected a literal address"));
            d.hint = Some("the document is loaded and pinned when the definition is registered".into());
            return None;
        }
        if text.trim().is_empty() {
            self.error("invalid-endpoint", uri.mark, format!("{what} is empty, expected an address"));
            return None;
        }
        Some(Wanted { uri: Arc::from(text), authentication })
    }

    /// Takes a document from what was loaded, and pins it.
    pub fn document_at(&mut self, wanted: Wanted, place: Span) -> Option<Arc<Resource>> {
        let uri = wanted.uri.clone();
        match self.env.resource(&wanted) {
            Loaded::Found(resource) => {
                let version = resource.media_type.clone().unwrap_or_default();
                self.pin(Pin { kind: PinKind::Resource, name: uri.clone(), version, digest: resource.digest() });
                self.resources.insert(uri, resource.clone());
                Some(resource)
            }
            Loaded::Failed(why) => {
                self.error("resource-unavailable", place, why.to_string()).label = Some("could not be loaded".into());
                None
            }
            Loaded::Absent => {
                let d = self.error("resource-unavailable", place, format!("the document at {uri} has not been loaded"));
                d.hint = Some("this process was given nothing to load documents with".into());
                None
            }
        }
    }
}
