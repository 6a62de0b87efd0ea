//! The names that definitions under the fuzzer can refer to, and the workflows that shipped with this tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cpd_core::Value;
use cpd_core::catalog::{Class, OperationSpec};
use cpd_core::definition::plan::{Digest, Pin, PinKind, Plan};
use cpd_core::definition::{Environment, compile};
use cpd_core::policy::{Policy, PolicyDocument};

/// Name, class, whether it reconciles. The names are those of the connectors, so that what is in `definitions/` compiles.
const OPERATIONS: &[(&str, Class, bool)] = &[
    ("agent.run", Class::Idempotent, false),
    ("atlas.discard", Class::Idempotent, false),
    ("atlas.job", Class::Safe, false),
    ("atlas.metrics", Class::Safe, false),
    ("atlas.model", Class::Safe, false),
    ("atlas.promote", Class::Idempotent, false),
    ("atlas.retrain", Class::Idempotent, true),
    ("atlas.tag", Class::Idempotent, false),
    ("atlas.versions", Class::Safe, false),
    ("drift.compare", Class::Safe, false),
    ("http.request", Class::AtMostOnce, false),
    ("once.only", Class::AtMostOnce, false),
    ("once.asked", Class::AtMostOnce, true),
];

/// Everything that a definition can name: the operations above, the shipped policies, any agent.
pub struct World {
    policies: Vec<Arc<Policy>>,
}

impl World {
    /// The one world of this process.
    pub fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| Self {
            policies: documents("definitions/policies").iter().map(|(_, t)| policy(t)).collect(),
        })
    }

    /// The shipped policies.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }
}

fn policy(source: &str) -> Arc<Policy> {
    let document = PolicyDocument::parse(source, "a shipped policy").expect("a shipped policy can be read");
    Arc::new(Policy::compile(document).expect("a shipped policy compiles"))
}

impl Environment for World {
    fn workflow(&self, _name: &str, _version: Option<&str>) -> Option<Pin> {
        None
    }
    fn workflow_names(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn operation(&self, name: &str, version: Option<&str>) -> Option<OperationSpec> {
        let (name, class, reconciles) = OPERATIONS.iter().find(|row| row.0 == name)?;
        (version.is_none_or(|v| v == "1.0.0")).then(|| OperationSpec {
            name: (*name).into(),
            version: "1.0.0".into(),
            class: *class,
            reconciles: *reconciles,
            summary: "".into(),
            input: Value::Null,
            output: Value::Null,
        })
    }

    fn operation_names(&self) -> Vec<Arc<str>> {
        OPERATIONS.iter().map(|row| row.0.into()).collect()
    }

    fn policy(&self, name: &str, _version: Option<&str>) -> Option<Arc<Policy>> {
        let plain = |name: &str| name.replace('_', "-");
        self.policies.iter().find(|p| plain(p.name()) == plain(name)).cloned()
    }

    fn policy_names(&self) -> Vec<Arc<str>> {
        self.policies.iter().map(|p| p.name().into()).collect()
    }

    fn agent(&self, name: &str, version: Option<&str>) -> Option<Pin> {
        let version = version.unwrap_or("1.0.0").into();
        Some(Pin { kind: PinKind::Agent, name: name.into(), version, digest: Digest([1; 32]) })
    }

    fn agent_names(&self) -> Vec<Arc<str>> {
        vec!["intelligence-summariser".into()]
    }
}

/// The workflows that machines are run on: those that ship, and those of `fuzz/workflows/`, which together use every construct.
pub fn plans() -> &'static [Arc<Plan>] {
    static PLANS: OnceLock<Vec<Arc<Plan>>> = OnceLock::new();
    PLANS.get_or_init(|| {
        let sources = [documents("fuzz/workflows"), documents("definitions/workflows")].concat();
        let plan = |(path, text): &(PathBuf, String)| {
            let name = path.display().to_string();
            let compiled = compile(text, &name, World::get());
            Arc::new(compiled.unwrap_or_else(|e| panic!("{name} does not compile: {e:#?}")).plan)
        };
        sources.iter().map(plan).collect()
    })
}

/// The YAML files below a folder of the repository, in order.
fn documents(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder), &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            let text = fs::read_to_string(&path).expect("a file of this tree can be read");
            found.push((path, text));
        }
    }
}
