//! The registry: workflows, policies and agents by name and version, and the operations of the connectors.
//!
//! Registrations are records on a stream of their own, so the journal alone can rebuild the registry. A definition is kept
//! as its source text together with what its names were resolved to (pins); it is compiled against exactly those when a
//! run needs it. The newest registration of a name serves new runs; a run keeps the digest that it started with.
//!
//! Documents that a definition refers to by an address are loaded when it is registered, and stand in the journal before it,
//! once for each content.
//!
//! - `environment`: what names mean while a definition is compiled; `record`: registrations in the journal.
//!
//! Wherever a person types a name, `_` and `-` are the same, the namespace may be left out if the rest is unique, and
//! `:version` may follow.

mod environment;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use cpd_connector_api::Connector;
use cpd_connector_api::attachment::Loader;
use cpd_core::Value;
use cpd_core::catalog::OperationSpec;
use cpd_core::definition::plan::{Digest, Pin, PinKind, Plan};
use cpd_core::definition::{self, Compiled, Diagnostic};
use cpd_core::policy::{Policy, PolicyDocument};
use cpd_core::resource::{Loaded, Resource, Wanted};
use cpd_journal::record::v1;
use cpd_journal::{Batch, Chain, EntryBuilder, Lsn, Position, Reader, StoredEntry, StreamId};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};

use self::environment::{Newest, Pinned};
pub(crate) use self::record::document_digest;
use crate::engine::Shared;
use crate::error::Error;

/// How often a definition is compiled anew because documents refer to documents.
const LOADS_MAX: usize = 32;

/// The stream of registrations. Run ids begin with a time; this one lies before all of them.
pub(crate) const STREAM: StreamId = StreamId(*b"\0\0\0\0\0\0\0registry\0");

/// Whether an entry is about the registry.
pub(crate) fn is_registry(entry: &StoredEntry) -> bool {
    entry.stream() == STREAM
}

/// What a registration made.
#[derive(Clone, Debug)]
pub struct Registration {
    /// `workflow`, `policy` or `agent`.
    pub what: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Digest of what it means.
    pub digest: Digest,
    /// Whether it was there already, just so.
    pub unchanged: bool,
    /// What a careful author would look at.
    pub warnings: Vec<Diagnostic>,
}

/// An agent: who it is; its document is for the connector that runs it.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Digest of its source.
    pub digest: Digest,
    /// Its document.
    pub document: Value,
    /// Its source.
    pub source: Arc<str>,
}

/// A registered workflow.
#[derive(Debug)]
pub struct Workflow {
    /// `namespace/name`
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Digest of its plan.
    pub digest: Digest,
    /// Its source text.
    pub source: Arc<str>,
    /// Name of the file it came from.
    pub file: Arc<str>,
    /// What its names were resolved to, with the specifications of operations.
    pins: Vec<(Pin, Option<OperationSpec>)>,
    plan: OnceLock<Arc<Plan>>,
}

/// A registered policy.
#[derive(Debug)]
struct PolicyEntry {
    name: Arc<str>,
    version: Arc<str>,
    digest: Digest,
    source: Arc<str>,
    file: Arc<str>,
    policy: OnceLock<Arc<Policy>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// In order of registration; a later one of the same name and version wins.
    workflows: Vec<Arc<Workflow>>,
    policies: Vec<Arc<PolicyEntry>>,
    agents: Vec<Arc<Agent>>,
    by_digest: HashMap<Digest, Arc<Workflow>>,
    /// Other names that workflows answer to, normalised.
    aliases: BTreeMap<String, Arc<str>>,
    /// Documents that definitions are pinned to.
    resources: HashMap<Digest, Arc<Resource>>,
}

/// Workflows, policies, agents and operations.
pub struct Registry {
    operations: Vec<OperationSpec>,
    /// Asked about calls that are being registered.
    connectors: Vec<Arc<dyn Connector>>,
    loader: Option<Arc<dyn Loader>>,
    inner: RwLock<Inner>,
    chain: tokio::sync::Mutex<Chain>,
}

impl Registry {
    /// Reads the registrations back from the journal.
    pub(crate) fn load(reader: &Reader, last: Option<Position>) -> Result<Self, Error> {
        let mut inner = Inner::default();
        let mut chain = Chain::start(STREAM);
        if let Some(last) = last {
            let entries = reader.history(last)?;
            for entry in &entries {
                for record in entry.records() {
                    inner.take_record(record.kind, record.version, record.payload)?;
                }
            }
            if let Some(entry) = entries.last() {
                chain = entry.chain();
            }
        }
        Ok(Self::with(inner, chain))
    }

    fn with(inner: Inner, chain: Chain) -> Self {
        let chain = tokio::sync::Mutex::new(chain);
        let (operations, connectors, loader) = (Vec::new(), Vec::new(), None);
        Self { operations, connectors, loader, inner: RwLock::new(inner), chain }
    }

    /// Where the last registration is.
    pub(crate) async fn last(&self) -> Option<Position> {
        Some(self.chain.lock().await.last()).filter(|last| *last != Position::NONE)
    }

    /// A registry with nothing in it: for checking definitions.
    pub fn empty() -> Self {
        Self::with(Inner::default(), Chain::start(STREAM))
    }

    /// The same with the operations of connectors in the default catalog.
    #[must_use]
    pub fn with_connectors(mut self, connectors: impl IntoIterator<Item = Arc<dyn Connector>>) -> Self {
        self.connectors = connectors.into_iter().collect();
        self.operations = self.connectors.iter().flat_map(|c| c.operations()).collect();
        self
    }

    /// The same with something that loads the documents which definitions refer to.
    #[must_use]
    pub fn with_loader(mut self, loader: Arc<dyn Loader>) -> Self {
        self.loader = Some(loader);
        self
    }

    /// Checks a definition and, if it is right, keeps it in memory, so that definitions checked later can refer to it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub async fn check_and_keep(&self, source: &str, file: &str) -> Result<Registration, Error> {
        let (prepared, warnings) = self.prepare(source, file).await?;
        let registration = prepared.registration(warnings);
        self.inner.write().add(prepared);
        Ok(registration)
    }

    /// A registry of registrations as they stand in a journal or a bundle.
    pub(crate) fn from_records(records: &[crate::history::RawRecord]) -> Result<Self, Error> {
        let mut inner = Inner::default();
        for record in records {
            inner.take_record(record.kind, record.version, &record.payload)?;
        }
        Ok(Self::with(inner, Chain::start(STREAM)))
    }

    /// The plan of that digest, compiled at first use.
    pub(crate) fn plan(&self, digest: &Digest) -> Result<Option<Arc<Plan>>, Error> {
        let Some(workflow) = self.inner.read().by_digest.get(digest).cloned() else { return Ok(None) };
        self.compiled(&workflow).map(Some)
    }

    /// The newest plan of a workflow: `name`, `namespace/name`, either with `:version`.
    ///
    /// # Errors
    /// If there is none, with the nearest names; or if its source does not compile any more.
    pub fn workflow(&self, name: &str) -> Result<Arc<Plan>, Error> {
        let workflow = self.find(name)?;
        self.compiled(&workflow)
    }

    fn find(&self, name: &str) -> Result<Arc<Workflow>, Error> {
        let (wanted, version) = split(name);
        let inner = self.inner.read();
        let wanted = inner.aliases.get(&wanted).map_or(wanted, |full| normal(full));
        let matches = |w: &&Arc<Workflow>| {
            let full = normal(&w.name);
            let short = full.rsplit('/').next() == Some(wanted.as_str());
            (full == wanted || short) && version.is_none_or(|v| v == &*w.version)
        };
        inner.workflows.iter().rev().find(matches).cloned().ok_or_else(|| {
            let names = inner.workflows.iter().map(|w| w.name.clone()).collect::<Vec<_>>();
            not_registered("workflow", name, &names)
        })
    }

    fn compiled(&self, workflow: &Arc<Workflow>) -> Result<Arc<Plan>, Error> {
        if let Some(plan) = workflow.plan.get() {
            return Ok(plan.clone());
        }
        let pinned = Pinned { registry: self, pins: &workflow.pins };
        let Compiled { plan, .. } = definition::compile(&workflow.source, &workflow.file, &pinned)
            .map_err(|diagnostics| invalid(&workflow.file, &workflow.source, diagnostics))?;
        if plan.digest != workflow.digest {
            tracing::warn!(
                workflow = %workflow.name, version = %workflow.version, registered = %workflow.digest, compiled = %plan.digest,
                "the definition means something else to this version of cpd"
            );
        }
        Ok(workflow.plan.get_or_init(|| Arc::new(Plan { digest: workflow.digest, ..plan })).clone())
    }

    /// Every workflow, the newest registration of each name and version, in order of name.
    pub fn workflows(&self) -> Vec<Arc<Workflow>> {
        let inner = self.inner.read();
        let mut newest: BTreeMap<(Arc<str>, Arc<str>), Arc<Workflow>> = BTreeMap::new();
        for w in &inner.workflows {
            newest.insert((w.name.clone(), w.version.clone()), w.clone());
        }
        newest.into_values().collect()
    }

    /// The newest policy of that name (or of that version).
    ///
    /// # Errors
    /// If there is none, with the nearest names.
    pub fn policy(&self, name: &str) -> Result<Arc<Policy>, Error> {
        let (wanted, version) = split(name);
        self.policy_of(&wanted, version)?.ok_or_else(|| not_registered("policy", name, &self.policy_names()))
    }

    /// Every policy, the newest of each name and version, in order of name.
    ///
    /// # Errors
    /// If a registered source does not compile any more.
    pub fn policies(&self) -> Result<Vec<Arc<Policy>>, Error> {
        let entries: BTreeMap<_, _> = {
            let inner = self.inner.read();
            inner.policies.iter().map(|p| ((p.name.clone(), p.version.clone()), p.clone())).collect()
        };
        entries.values().map(|p| p.compiled()).collect()
    }

    /// The agent `name` or `name:version`.
    pub fn agent(&self, name: &str) -> Option<Arc<Agent>> {
        let (wanted, version) = split(name);
        let inner = self.inner.read();
        let matches = |a: &&Arc<Agent>| normal(&a.name) == wanted && version.is_none_or(|v| v == &*a.version);
        inner.agents.iter().rev().find(matches).cloned()
    }

    /// Names of every agent.
    pub fn agent_names(&self) -> Vec<String> {
        self.inner.read().agents.iter().map(|a| a.name.to_string()).collect()
    }

    /// Every agent, the newest of each name and version, in order of name.
    pub fn agents(&self) -> Vec<Arc<Agent>> {
        let inner = self.inner.read();
        let newest: BTreeMap<_, _> =
            inner.agents.iter().map(|a| ((a.name.clone(), a.version.clone()), a.clone())).collect();
        newest.into_values().collect()
    }

    /// Every operation of the connectors.
    pub fn operations(&self) -> &[OperationSpec] {
        &self.operations
    }

    fn policy_of(&self, wanted: &str, version: Option<&str>) -> Result<Option<Arc<Policy>>, Error> {
        let entry = {
            let inner = self.inner.read();
            let matches = |p: &&Arc<PolicyEntry>| {
                let full = normal(&p.name);
                let short = full.rsplit('/').next() == Some(wanted);
                (full == wanted || short) && version.is_none_or(|v| v == &*p.version)
            };
            inner.policies.iter().rev().find(matches).cloned()
        };
        entry.map(|e| e.compiled()).transpose()
    }

    fn policy_names(&self) -> Vec<Arc<str>> {
        self.inner.read().policies.iter().map(|p| p.name.clone()).collect()
    }

    /// Registers a definition; durable when this returns.
    pub(crate) async fn register(
        &self,
        shared: &Arc<Shared>,
        source: &str,
        file: &str,
        actor: &str,
        replace: bool,
    ) -> Result<Registration, Error> {
        // One registration at a time: what it resolves names to cannot change under it.
        let mut chain = self.chain.lock().await;
        let (prepared, warnings) = self.prepare(source, file).await?;
        let mut registration = prepared.registration(warnings);
        match prepared.is_known(&self.inner.read()) {
            Ok(true) => {
                registration.unchanged = true;
                return Ok(registration);
            }
            Ok(false) => {}
            Err(Error::VersionTaken { .. }) if replace => {}
            Err(error) => return Err(error),
        }
        let at = shared.clock.now().as_micros();
        let (mut entries, mut next) = (Vec::new(), chain.clone());
        // Each document has an entry of its own, before the definition that is pinned to it: together they may be larger than
        // an entry can be. One that a crash leaves without its definition does no harm.
        for record in prepared.records(actor, &self.inner.read().resources) {
            let mut builder = EntryBuilder::new(&next, at);
            builder.push(record.kind, v1::VERSION, &record.payload);
            let (entry, after) = builder.finish()?;
            entries.push(entry);
            next = after;
        }
        let (done, written) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| drop(done.send(result)));
        shared.writer.submit(Batch { entries, done });
        let receipts = written.await.map_err(|_| Error::Stopped)??;
        *chain = next;
        if let (Some(first), Some(last)) = (receipts.first(), receipts.last()) {
            shared.indexer.registered(last.position, first.lsn, Lsn(last.lsn.0 + 1));
        }
        self.inner.write().add(prepared);
        Ok(registration)
    }

    /// Checks a definition without registering it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub async fn check(&self, source: &str, file: &str) -> Result<Registration, Error> {
        let (prepared, warnings) = self.prepare(source, file).await?;
        let mut registration = prepared.registration(warnings);
        registration.unchanged = prepared.is_known(&self.inner.read()).unwrap_or(false);
        Ok(registration)
    }

    /// Compiles a workflow: again and again, until every document that it wants has been loaded.
    async fn compile(&self, source: &str, file: &str) -> Result<Compiled, Vec<Diagnostic>> {
        let mut loaded: Vec<(Wanted, Loaded)> = Vec::new();
        for _ in 0..LOADS_MAX {
            let (compiled, wanted) = {
                let newest = Newest::new(self, &loaded);
                let compiled = definition::compile(source, file, &newest);
                (compiled, newest.wanted())
            };
            let Some(loader) = self.loader.as_ref().filter(|_| !wanted.is_empty()) else { return compiled };
            let results = futures_util::future::join_all(wanted.iter().map(|w| loader.load(w, file))).await;
            loaded.extend(wanted.into_iter().zip(results).map(|(wanted, result)| {
                let result = match result {
                    Ok(resource) => Loaded::Found(Arc::new(resource)),
                    Err(problem) => Loaded::Failed(problem.detail.unwrap_or(problem.title)),
                };
                (wanted, result)
            }));
        }
        definition::compile(source, file, &Newest::new(self, &loaded))
    }

    async fn prepare(&self, source: &str, file: &str) -> Result<(Prepared, Vec<Diagnostic>), Error> {
        let wrong = |diagnostics| invalid(file, source, diagnostics);
        match definition::kind_of(source, file).map_err(wrong)? {
            definition::DocumentKind::Workflow => {
                let Compiled { plan, warnings } = self.compile(source, file).await.map_err(wrong)?;
                let spec = |pin: &Pin| {
                    let operation = self.operations.iter().find(|o| o.name == pin.name && o.version == pin.version);
                    (pin.kind == PinKind::Operation).then(|| operation.cloned()).flatten()
                };
                let pins = plan.pins.iter().map(|pin| (pin.clone(), spec(pin))).collect();
                let workflow = Workflow {
                    name: plan.qualified_name(),
                    version: plan.version.clone(),
                    digest: plan.digest,
                    source: Arc::from(source),
                    file: Arc::from(file),
                    pins,
                    plan: OnceLock::new(),
                };
                let alias = plan.alias.clone();
                drop(workflow.plan.set(Arc::new(plan)));
                Ok((Prepared::Workflow(Arc::new(workflow), alias), warnings))
            }
            definition::DocumentKind::Policy => {
                let policy = PolicyDocument::parse(source, file).and_then(Policy::compile).map_err(wrong)?;
                let entry = PolicyEntry {
                    name: Arc::from(policy.name()),
                    version: Arc::from(policy.version()),
                    digest: policy.digest(),
                    source: Arc::from(source),
                    file: Arc::from(file),
                    policy: OnceLock::from(Arc::new(policy)),
                };
                Ok((Prepared::Policy(Arc::new(entry)), Vec::new()))
            }
            definition::DocumentKind::Agent => {
                let document = definition::read_value(source, file).map_err(wrong)?;
                Ok((Prepared::Agent(Arc::new(agent(source, file, document)?)), Vec::new()))
            }
        }
    }
}

impl PolicyEntry {
    fn compiled(&self) -> Result<Arc<Policy>, Error> {
        if let Some(policy) = self.policy.get() {
            return Ok(policy.clone());
        }
        let policy = PolicyDocument::parse(&self.source, &self.file)
            .and_then(Policy::compile)
            .map_err(|diagnostics| invalid(&self.file, &self.source, diagnostics))?;
        Ok(self.policy.get_or_init(|| Arc::new(policy)).clone())
    }
}

/// A definition that was checked and can be registered.
enum Prepared {
    Workflow(Arc<Workflow>, Option<Arc<str>>),
    Policy(Arc<PolicyEntry>),
    Agent(Arc<Agent>),
}

impl Prepared {
    fn parts(&self) -> (&'static str, u8, &Arc<str>, &Arc<str>, Digest, &Arc<str>) {
        match self {
            Prepared::Workflow(w, _) => ("workflow", 1, &w.name, &w.version, w.digest, &w.source),
            Prepared::Policy(p) => ("policy", 2, &p.name, &p.version, p.digest, &p.source),
            Prepared::Agent(a) => ("agent", 3, &a.name, &a.version, a.digest, &a.source),
        }
    }

    fn registration(&self, warnings: Vec<Diagnostic>) -> Registration {
        let (what, _, name, version, digest, _) = self.parts();
        Registration { what, name: name.clone(), version: version.clone(), digest, unchanged: false, warnings }
    }

    /// Whether it is registered already; an error if its version is taken by another source.
    fn is_known(&self, inner: &Inner) -> Result<bool, Error> {
        let (what, _, name, version, digest, source) = self.parts();
        let before = match self {
            Prepared::Workflow(..) => {
                let found = inner.workflows.iter().rev().find(|w| w.name == *name && w.version == *version);
                found.map(|w| (w.source.clone(), w.digest))
            }
            Prepared::Policy(_) => {
                let found = inner.policies.iter().rev().find(|p| p.name == *name && p.version == *version);
                found.map(|p| (p.source.clone(), p.digest))
            }
            Prepared::Agent(_) => {
                let found = inner.agents.iter().rev().find(|a| a.name == *name && a.version == *version);
                found.map(|a| (a.source.clone(), a.digest))
            }
        };
        match before {
            None => Ok(false),
            Some((known, _)) if known != *source => {
                let (name, version) = (name.to_string(), version.to_string());
                Err(Error::VersionTaken { what, name, version })
            }
            Some((_, known)) => Ok(known == digest),
        }
    }
}

impl Inner {
    fn add(&mut self, prepared: Prepared) {
        match prepared {
            Prepared::Workflow(w, alias) => {
                for resource in w.plan.get().iter().flat_map(|plan| plan.resources.iter()) {
                    self.resources.entry(resource.digest()).or_insert_with(|| resource.clone());
                }
                if let Some(alias) = alias {
                    self.aliases.insert(normal(&alias), w.name.clone());
                }
                self.by_digest.insert(w.digest, w.clone());
                self.workflows.push(w);
            }
            Prepared::Policy(p) => self.policies.push(p),
            Prepared::Agent(a) => self.agents.push(a),
        }
    }
}

fn agent(source: &str, file: &str, document: Value) -> Result<Agent, Error> {
    let text = |key: &str| {
        document.get(key).and_then(Value::as_str).map(Arc::<str>::from).ok_or_else(|| {
            let message = format!("an agent needs `{key}`, a text");
            invalid(file, source, vec![Diagnostic::error("missing-property", message)])
        })
    };
    let mut hash = Sha256::new();
    hash.update(b"cpd agent 1\0");
    hash.update(source.as_bytes());
    let digest = Digest(hash.finalize().into());
    Ok(Agent {
        name: text("name")?,
        version: text("version")?,
        digest,
        document: document.clone(),
        source: Arc::from(source),
    })
}

fn normal(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

/// A typed name: its normal form and its version.
fn split(name: &str) -> (String, Option<&str>) {
    match name.split_once(':') {
        Some((name, version)) => (normal(name), Some(version)),
        None => (normal(name), None),
    }
}

fn not_registered(what: &'static str, name: &str, names: &[Arc<str>]) -> Error {
    let wanted = normal(name);
    let score = |n: &Arc<str>| strsim::jaro_winkler(normal(n).rsplit('/').next().unwrap_or(n), &wanted);
    let near = names.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
    let hint = match near {
        None => "; nothing is registered yet: `cpd register FILE`".to_owned(),
        Some(near) if score(near) > 0.8 => format!("; did you mean {near}?"),
        Some(_) => {
            let mut known: Vec<&str> = names.iter().map(|n| &**n).collect();
            known.sort_unstable();
            known.dedup();
            format!("; registered: {}", known.join(", "))
        }
    };
    Error::NotRegistered { what, name: name.to_owned(), hint }
}

fn invalid(file: &str, source: &str, diagnostics: Vec<Diagnostic>) -> Error {
    let (file, source_text) = (file.to_owned(), Arc::from(source));
    Error::Invalid { file, source_text, diagnostics: Arc::new(diagnostics) }
}
