//! Registrations as records of the journal, and back.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use cpd_core::catalog::OperationSpec;
use cpd_core::definition;
use cpd_core::definition::plan::{Digest, Pin, PinKind};
use cpd_core::resource::Resource;
use cpd_journal::record::Kind;
use cpd_journal::record::v1::{self, Json};

use super::{Agent, Inner, PolicyEntry, Prepared, STREAM, Workflow, invalid};
use crate::codec::{DecodeError, PAYLOAD_MAX};
use crate::error::Error;

/// A record ready to be written.
pub(super) struct Encoded {
    pub(super) kind: u16,
    pub(super) payload: Vec<u8>,
}

fn encoded<T: serde::Serialize>(record: &T) -> Result<Vec<u8>, cpd_journal::codec::CodecError> {
    let mut payload = Vec::new();
    cpd_journal::codec::encode(record, &mut payload)?;
    Ok(payload)
}

impl Prepared {
    /// What is to be journaled: documents that are not there yet, then the definition.
    pub(super) fn records(&self, actor: &str, there: &HashMap<Digest, Arc<Resource>>) -> Vec<Encoded> {
        let mut records = Vec::new();
        let mut push = |kind: Kind, payload: Result<Vec<u8>, _>| {
            let payload = payload.expect("a record of ours has a form that the format holds");
            records.push(Encoded { kind: kind.0, payload });
        };
        let mut seen = HashSet::new();
        if let Prepared::Workflow(workflow, _) = self {
            for resource in workflow.plan.get().iter().flat_map(|plan| plan.resources.iter()) {
                let digest = resource.digest();
                if !there.contains_key(&digest) && seen.insert(digest) {
                    let document = v1::Document { content: Cow::Borrowed(&resource.content) };
                    push(Kind::DOCUMENT_PINNED, encoded(&document));
                }
            }
        }
        push(Kind::REGISTERED, encoded(&self.record(actor)));
        records
    }

    fn record<'a>(&'a self, actor: &'a str) -> v1::Registered<'a> {
        let (_, what, name, version, digest, source) = self.parts();
        let (file, pins) = match self {
            Prepared::Workflow(w, _) => {
                (&*w.file, w.pins.iter().map(|(pin, spec)| pin_v1(pin, spec.as_ref())).collect())
            }
            Prepared::Policy(p) => (&*p.file, Vec::new()),
            Prepared::Agent(_) => ("", Vec::new()),
        };
        v1::Registered {
            what,
            name: Cow::Borrowed(name),
            version: Cow::Borrowed(version),
            digest: digest.0,
            source: Cow::Borrowed(source),
            file: Cow::Borrowed(file),
            pins,
            actor: Cow::Borrowed(actor),
        }
    }
}

fn pin_v1<'a>(pin: &'a Pin, spec: Option<&OperationSpec>) -> v1::Pin<'a> {
    v1::Pin {
        kind: match pin.kind {
            PinKind::Operation => 1,
            PinKind::Policy => 2,
            PinKind::Agent => 3,
            PinKind::Workflow => 4,
            PinKind::Resource => 5,
            PinKind::Class => 6,
        },
        name: Cow::Borrowed(&pin.name),
        version: Cow::Borrowed(&pin.version),
        digest: pin.digest.0,
        document: spec
            .map_or_else(Json::default, |s| Json(Cow::Owned(serde_json::to_vec(s).expect("a specification is JSON")))),
    }
}

impl Inner {
    pub(super) fn take_record(&mut self, kind: u16, version: u8, payload: &[u8]) -> Result<(), Error> {
        let bad = |source| Error::Unreadable { run: cpd_core::machine::RunId(STREAM.0), source: Arc::new(source) };
        let malformed = |detail: String| bad(DecodeError::Malformed { kind: "Registered", detail });
        let is_document = Kind(kind) == Kind::DOCUMENT_PINNED;
        if !(is_document || Kind(kind) == Kind::REGISTERED) || version != v1::VERSION {
            let newest = Kind::ALL.last().map_or(0, |k| k.0);
            return Err(bad(DecodeError::TooNew { kind, version, newest, known: v1::VERSION }));
        }
        if is_document {
            let resource = document(payload).map_err(malformed)?;
            self.resources.insert(resource.digest(), Arc::new(resource));
            return Ok(());
        }
        let r: v1::Registered<'_> =
            cpd_journal::codec::decode(payload, PAYLOAD_MAX).map_err(|e| malformed(e.to_string()))?;
        let (name, version, source): (Arc<str>, Arc<str>, Arc<str>) =
            (Arc::from(&*r.name), Arc::from(&*r.version), Arc::from(&*r.source));
        let (digest, file) = (Digest(r.digest), Arc::from(&*r.file));
        self.add(match r.what {
            1 => {
                let pins = r.pins.iter().map(|p| read_pin(p).map_err(&malformed)).collect::<Result<_, _>>()?;
                let alias = definition::alias_of(&source);
                let plan = OnceLock::new();
                Prepared::Workflow(Arc::new(Workflow { name, version, digest, source, file, pins, plan }), alias)
            }
            2 => {
                let policy = OnceLock::new();
                Prepared::Policy(Arc::new(PolicyEntry { name, version, digest, source, file, policy }))
            }
            3 => {
                let document = definition::read_value(&source, &file)
                    .map_err(|diagnostics| invalid(&file, &source, diagnostics))?;
                Prepared::Agent(Arc::new(Agent { name, version, digest, document, source }))
            }
            other => return Err(malformed(format!("{other} is not 1 (workflow), 2 (policy) or 3 (agent)"))),
        });
        Ok(())
    }
}

/// A pinned document. Who pins it says where it came from.
fn document(payload: &[u8]) -> Result<Resource, String> {
    let d: v1::Document<'_> = cpd_journal::codec::decode(payload, PAYLOAD_MAX).map_err(|e| e.to_string())?;
    Ok(Resource { uri: Arc::from(""), media_type: None, content: Arc::from(&*d.content) })
}

/// The digest of the document in a record, if it is one.
pub(crate) fn document_digest(payload: &[u8]) -> Option<Digest> {
    document(payload).ok().map(|d| d.digest())
}

fn read_pin(pin: &v1::Pin<'_>) -> Result<(Pin, Option<OperationSpec>), String> {
    let kind = match pin.kind {
        1 => PinKind::Operation,
        2 => PinKind::Policy,
        3 => PinKind::Agent,
        4 => PinKind::Workflow,
        5 => PinKind::Resource,
        6 => PinKind::Class,
        other => return Err(format!("pin kind {other} is not one of 1 to 6")),
    };
    let spec = match pin.document.0.is_empty() {
        true => None,
        false => Some(serde_json::from_slice(&pin.document.0).map_err(|e| e.to_string())?),
    };
    let (name, version, digest) = (Arc::from(&*pin.name), Arc::from(&*pin.version), Digest(pin.digest));
    Ok((Pin { kind, name, version, digest }, spec))
}
