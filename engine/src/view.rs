//! Looking at a data directory without owning it: lists, histories, replays.
//!
//! A view reads the log front to back once and keeps its own small tables, so it works while another process owns the
//! directory, and cannot change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cpd_core::definition::plan::PinKind;
use cpd_core::machine::RunId;
use cpd_journal::payloads::Payloads;
use cpd_journal::record::Kind;
use cpd_journal::record::v1;
use cpd_journal::{Lsn, Position, Reader};

use crate::child::is_child;
use crate::codec::{self, DecodeError};
use crate::control::{self, Audited, Token};
use crate::error::Error;
use crate::history::{History, HistoryEntry, RawRecord, migrated, needs};
use crate::index::{AUDIT_LAST, REGISTRY_LAST, RunRow, TOKENS_LAST, control_key, project};
use crate::load;
use crate::registry::{self, Registry, is_registry};

/// What a data directory holds.
pub struct View {
    reader: Reader,
    payloads: Arc<Payloads>,
    rows: BTreeMap<RunId, RunRow>,
    /// Runs that another run started.
    children: BTreeSet<RunId>,
    registry: Arc<Registry>,
    registrations: Vec<RawRecord>,
    /// Positions of the last entries of control streams.
    controls: BTreeMap<&'static [u8], Position>,
    next: Lsn,
    data: PathBuf,
    asides: BTreeMap<RunId, Arc<str>>,
}

/// A name that does not mean exactly one run.
#[derive(Debug, thiserror::Error)]
pub enum NotOneRun {
    /// None.
    #[error("find run {0:?}: there is no run whose id begins so")]
    None(String),
    /// Several.
    #[error("find run {prefix:?}: {count} runs have ids that begin so, such as {first} and {second}; type more of it")]
    Several {
        /// What was given.
        prefix: String,
        /// How many.
        count: usize,
        /// One of them.
        first: RunId,
        /// Another.
        second: RunId,
    },
}

impl View {
    /// Looks at the directory `data`.
    ///
    /// # Errors
    /// If there is no journal, or it cannot be read.
    pub fn open(data: &Path) -> Result<Self, Error> {
        let reader = Reader::open(data.join("journal"))?;
        let registry = Arc::new(Registry::from_records(&[])?);
        let (data, asides) = (data.to_owned(), BTreeMap::new());
        let (rows, registrations) = (BTreeMap::new(), Vec::new());
        let children = BTreeSet::new();
        let payloads = Arc::new(Payloads::of(&data.join("journal")));
        let controls = BTreeMap::new();
        let next = Lsn(1);
        let mut view = Self { reader, payloads, rows, children, registry, registrations, controls, next, data, asides };
        view.refresh()?;
        Ok(view)
    }

    /// Reads what was appended since.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn refresh(&mut self) -> Result<(), Error> {
        self.asides = crate::aside::read(&self.data);
        let known = self.registrations.len();
        for entry in self.reader.scan(self.next)? {
            let entry = entry?;
            self.next = entry.next_lsn();
            if let Some(key) = control_key(&entry) {
                self.controls.insert(key, entry.position());
                if is_registry(&entry) {
                    self.registrations.extend(HistoryEntry::of(&entry).records);
                }
                continue;
            }
            let id = RunId(entry.stream().0);
            if !self.rows.contains_key(&id) && is_child(&entry) {
                self.children.insert(id);
            }
            if let Some(row) = project(self.rows.remove(&id), id, &entry)? {
                self.rows.insert(id, row);
            }
        }
        if self.registrations.len() > known {
            self.registry = Arc::new(Registry::from_records(&self.registrations)?);
        }
        Ok(())
    }

    /// Every run, newest first.
    pub fn runs(&self) -> impl Iterator<Item = (RunId, &RunRow)> {
        self.rows.iter().rev().filter(|(_, row)| row.is_there()).map(|(id, row)| (*id, row))
    }

    /// The row of a run.
    pub fn row(&self, run: RunId) -> Option<&RunRow> {
        self.rows.get(&run)
    }

    /// Why an open run is set aside: a bug in cpd stopped it in the process that drives it, or drove it last.
    pub fn set_aside(&self, run: RunId) -> Option<&str> {
        let open = self.rows.get(&run).is_some_and(|row| row.phase.is_open());
        self.asides.get(&run).filter(|_| open).map(|detail| &**detail)
    }

    /// Every record that cannot be read although it is whole, such as one whose large document is gone: its run, its number
    /// there, and why. Reads everything.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn unreadable(&self) -> Result<Vec<(RunId, u64, DecodeError)>, Error> {
        let mut found = Vec::new();
        for entry in self.reader.scan(Lsn(1))? {
            let entry = entry?;
            let run = RunId(entry.stream().0);
            for (seq, r) in (entry.seq()..).zip(entry.records()).filter(|_| !is_registry(&entry)) {
                let read = match control_key(&entry) {
                    Some(_) => control::readable(r.kind, r.version, r.payload),
                    None => codec::decode(Kind(r.kind), r.version, r.payload, &self.payloads).map(drop),
                };
                if let Err(error) = read {
                    found.push((run, seq, error));
                }
            }
        }
        Ok(found)
    }

    /// Every token, those that were revoked too, the oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn tokens(&self) -> Result<Vec<Arc<Token>>, Error> {
        Ok(control::tokens(&self.reader, self.controls.get(TOKENS_LAST).copied())?.into_iter().collect())
    }

    /// The last `limit` records of the control plane before the record `before`, the newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn audit(&self, before: Option<Lsn>, limit: usize) -> Result<Vec<Audited>, Error> {
        let last = |key: &[u8]| self.controls.get(key).copied();
        let streams = [last(REGISTRY_LAST), last(TOKENS_LAST), last(AUDIT_LAST)];
        control::audit(&self.reader, &streams, before, limit)
    }

    /// What is registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A registry of its own of what is registered: for checking definitions against it.
    ///
    /// # Errors
    /// If a registration cannot be read.
    pub fn registry_apart(&self) -> Result<Registry, Error> {
        Registry::from_records(&self.registrations)
    }

    /// The run whose id begins with `prefix`; `last` is the newest that no other run started.
    ///
    /// # Errors
    /// If none or several do.
    pub fn find(&self, prefix: &str) -> Result<RunId, NotOneRun> {
        if prefix == "last" {
            let mut newest = self.runs().map(|(id, _)| id).filter(|id| !self.children.contains(id));
            return newest.next().ok_or_else(|| NotOneRun::None(prefix.to_owned()));
        }
        let none = || NotOneRun::None(prefix.to_owned());
        let (low, high) =
            RunId::prefix_range(&prefix.to_lowercase()).filter(|_| !prefix.is_empty()).ok_or_else(none)?;
        let mut found = self.rows.range(low..=high).filter(|(_, row)| row.is_there()).map(|(id, _)| *id);
        match (found.next(), found.next()) {
            (None, _) => Err(none()),
            (Some(id), None) => Ok(id),
            (Some(first), Some(second)) => {
                let count = 2 + found.count();
                Err(NotOneRun::Several { prefix: prefix.to_owned(), count, first, second })
            }
        }
    }

    /// The history of a run.
    ///
    /// # Errors
    /// If there is no such run, or it cannot be read.
    pub fn history(&self, run: RunId) -> Result<History, Error> {
        let row = self.rows.get(&run).ok_or(Error::NoOpenRun { run })?;
        let entries = self.reader.history(Position(row.last))?;
        let entries: Vec<HistoryEntry> = entries.iter().map(HistoryEntry::of).collect();
        let registrations = self.needed(run, &entries)?;
        Ok(History { run, entries, registry: self.registry.clone(), registrations, payloads: self.payloads.clone() })
    }

    /// The registrations that a run is pinned to.
    fn needed(&self, run: RunId, entries: &[HistoryEntry]) -> Result<Vec<RawRecord>, Error> {
        let Some(first) = entries.first() else { return Ok(Vec::new()) };
        let events = first.events(run, &self.payloads)?;
        let Some(event) = events.first() else { return Ok(Vec::new()) };
        let plan = load::begin(&self.registry, run, event, first.at, migrated(entries))?.plan;
        let needed = self.registrations.iter().filter(|r| match Kind(r.kind) {
            Kind::DOCUMENT_PINNED => registry::document_digest(&r.payload)
                .is_some_and(|d| plan.pins.iter().any(|p| p.kind == PinKind::Resource && p.digest == d)),
            _ => cpd_journal::codec::decode::<v1::Registered<'_>>(&r.payload, crate::codec::PAYLOAD_MAX)
                .is_ok_and(|d| needs(&plan, d.what, &d.name, &d.version, &d.digest)),
        });
        Ok(needed.cloned().collect())
    }
}
