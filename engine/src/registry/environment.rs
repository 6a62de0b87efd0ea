//! What names in a definition mean: the newest of everything when it is registered, and what was pinned when it runs.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;

use cpd_connector_api::attachment::Planned;
use cpd_core::Value;
use cpd_core::catalog::{Class, OperationSpec};
use cpd_core::definition::Environment;
use cpd_core::definition::plan::{Pin, PinKind};
use cpd_core::policy::Policy;
use cpd_core::problem::Problem;
use cpd_core::resource::{Loaded, Resource, Resources, Wanted};

use super::{Registry, normal};

/// Resolves names to the newest of everything: what a new registration sees.
pub(super) struct Newest<'a> {
    registry: &'a Registry,
    loaded: &'a [(Wanted, Loaded)],
    wanted: RefCell<Vec<Wanted>>,
}

impl<'a> Newest<'a> {
    pub(super) fn new(registry: &'a Registry, loaded: &'a [(Wanted, Loaded)]) -> Self {
        Self { registry, loaded, wanted: RefCell::default() }
    }

    /// The documents that were wanted and that nobody has tried to load yet.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        mem::take(&mut *self.wanted.borrow_mut())
    }
}

impl Environment for Newest<'_> {
    fn workflow(&self, name: &str, version: Option<&str>) -> Option<Pin> {
        let name = version.map_or_else(|| name.to_owned(), |v| format!("{name}:{v}"));
        let plan = self.registry.workflow(&name).ok()?;
        let (name, version, digest) = (plan.qualified_name(), plan.version.clone(), plan.digest);
        Some(Pin { kind: PinKind::Workflow, name, version, digest })
    }
    fn workflow_names(&self) -> Vec<Arc<str>> {
        self.registry.workflows().iter().map(|w| w.name.clone()).collect()
    }
    fn operation(&self, name: &str, version: Option<&str>) -> Option<OperationSpec> {
        let matches = |o: &&OperationSpec| &*o.name == name && version.is_none_or(|v| v == &*o.version);
        self.registry.operations.iter().filter(matches).max_by_key(|o| semver::Version::parse(&o.version).ok()).cloned()
    }
    fn operation_names(&self) -> Vec<Arc<str>> {
        self.registry.operations.iter().map(|o| o.name.clone()).collect()
    }
    fn policy(&self, name: &str, version: Option<&str>) -> Option<Arc<Policy>> {
        self.registry.policy_of(&normal(name), version).ok().flatten()
    }
    fn policy_names(&self) -> Vec<Arc<str>> {
        self.registry.policy_names()
    }
    fn agent(&self, name: &str, version: Option<&str>) -> Option<Pin> {
        let name = version.map_or_else(|| name.to_owned(), |v| format!("{name}:{v}"));
        let agent = self.registry.agent(&name)?;
        let (name, version, digest) = (agent.name.clone(), agent.version.clone(), agent.digest);
        Some(Pin { kind: PinKind::Agent, name, version, digest })
    }
    fn agent_names(&self) -> Vec<Arc<str>> {
        self.registry.inner.read().agents.iter().map(|a| a.name.clone()).collect()
    }
    fn class_of(
        &self,
        _pointer: &str,
        operation: &OperationSpec,
        with: &Value,
        resources: &Resources,
    ) -> Result<Option<Class>, Problem> {
        let name = operation.name.split('.').next().unwrap_or_default();
        let Some(connector) = self.registry.connectors.iter().find(|c| c.name() == name) else { return Ok(None) };
        connector.examine(&Planned { operation: &operation.name, with, resources })
    }
    fn resource(&self, wanted: &Wanted) -> Loaded {
        if let Some((_, loaded)) = self.loaded.iter().find(|(w, _)| w == wanted) {
            return loaded.clone();
        }
        let mut missing = self.wanted.borrow_mut();
        if !missing.contains(wanted) {
            missing.push(wanted.clone());
        }
        Loaded::Absent
    }
}

/// Resolves names to what they were resolved to before: what a run sees.
pub(super) struct Pinned<'a> {
    pub(super) registry: &'a Registry,
    pub(super) pins: &'a [(Pin, Option<OperationSpec>)],
}

impl Pinned<'_> {
    fn pin(&self, kind: PinKind, name: &str) -> Option<&(Pin, Option<OperationSpec>)> {
        let wanted = normal(name);
        let short = |full: &str| full.rsplit('/').next().map(str::to_owned);
        self.pins.iter().find(|(p, _)| {
            p.kind == kind && (normal(&p.name) == wanted || short(&normal(&p.name)).as_deref() == Some(&wanted))
        })
    }
}

impl Environment for Pinned<'_> {
    fn workflow(&self, name: &str, _version: Option<&str>) -> Option<Pin> {
        self.pin(PinKind::Workflow, name).map(|(pin, _)| pin.clone())
    }
    fn workflow_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn operation(&self, name: &str, _version: Option<&str>) -> Option<OperationSpec> {
        self.pin(PinKind::Operation, name).and_then(|(_, spec)| spec.clone())
    }
    fn operation_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn policy(&self, name: &str, _version: Option<&str>) -> Option<Arc<Policy>> {
        let (pin, _) = self.pin(PinKind::Policy, name)?;
        self.registry.policy_of(&normal(&pin.name), Some(&pin.version)).ok().flatten()
    }
    fn policy_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn agent(&self, name: &str, _version: Option<&str>) -> Option<Pin> {
        self.pin(PinKind::Agent, name).map(|(pin, _)| pin.clone())
    }
    fn agent_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn class_of(
        &self,
        pointer: &str,
        _operation: &OperationSpec,
        _with: &Value,
        _resources: &Resources,
    ) -> Result<Option<Class>, Problem> {
        let pin = self.pins.iter().find(|(p, _)| p.kind == PinKind::Class && *p.name == *pointer);
        Ok(pin.and_then(|(p, _)| Class::named(&p.version)))
    }
    fn resource(&self, wanted: &Wanted) -> Loaded {
        let pin = self.pins.iter().find(|(p, _)| p.kind == PinKind::Resource && p.name == wanted.uri);
        let Some((pin, _)) = pin else { return Loaded::Absent };
        let Some(kept) = self.registry.inner.read().resources.get(&pin.digest).cloned() else { return Loaded::Absent };
        let media_type = Some(pin.version.clone()).filter(|m| !m.is_empty());
        Loaded::Found(Arc::new(Resource { uri: pin.name.clone(), media_type, content: kept.content.clone() }))
    }
}
