//! The workflows that ship.

use std::collections::BTreeSet;

use cpd_core::definition::plan::{Action, PinKind, Plan};
use cpd_core::definition::{self, Compiled, DocumentKind};

use crate::environment::INSTALLED;
use crate::{root, yaml_files};

fn compiled(folder: &str) -> Vec<(String, Plan)> {
    let mut plans = Vec::new();
    for (path, text) in yaml_files(&root().join(folder)) {
        let file = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        match definition::compile(&text, &file, &*INSTALLED) {
            Ok(Compiled { plan, warnings }) => {
                let said: String = warnings.iter().map(|d| d.render()).collect();
                assert!(warnings.is_empty(), "{said}");
                plans.push((file, plan));
            }
            Err(found) => panic!("{}", found.iter().map(|d| d.render()).collect::<String>()),
        }
    }
    plans
}

#[test]
fn every_shipped_workflow_compiles_without_a_warning() {
    assert!(!compiled("definitions/workflows").is_empty());
    assert!(compiled("definitions/workflows/examples").len() >= 8);
}

#[test]
fn the_examples_use_every_kind_of_task() {
    let plans = compiled("definitions/workflows/examples");
    let used: BTreeSet<&str> = plans.iter().flat_map(|(_, p)| p.nodes.iter().map(|n| n.action.keyword())).collect();
    let all = ["call", "do", "emit", "for", "fork", "raise", "set", "switch", "try", "wait"];
    assert_eq!(used, BTreeSet::from(all));
}

#[test]
fn the_sample_workflow_is_found_by_both_names_and_pins_what_it_uses() {
    let (_, plan) = compiled("definitions/workflows")
        .into_iter()
        .find(|(f, _)| f.ends_with("fraud_drift_management.yaml"))
        .expect("the sample");
    assert_eq!((&*plan.name, plan.alias.as_deref()), ("fraud-drift-management", Some("fraud_drift_management")));
    let pins: Vec<(PinKind, &str)> = plan.pins.iter().map(|p| (p.kind, &*p.name)).collect();
    let operations = ["agent.run", "atlas.retrain", "drift.compare"].map(|o| (PinKind::Operation, o));
    assert_eq!(pins[..3], operations);
    assert!(pins.contains(&(PinKind::Agent, "intelligence-summariser")));
    assert!(pins.iter().any(|(kind, _)| *kind == PinKind::Policy));
    let pointers: Vec<&str> = plan.nodes.iter().map(|n| &*n.pointer).collect();
    assert!(pointers.contains(&"/do/3/retrain/try/0/startRetraining"), "{pointers:?}");
    assert!(matches!(plan.nodes[2].action, Action::Decide(_)));
}

#[test]
fn documents_are_told_apart() {
    for (folder, kind) in [
        ("definitions/workflows", DocumentKind::Workflow),
        ("definitions/policies", DocumentKind::Policy),
        ("definitions/agents", DocumentKind::Agent),
    ] {
        for (path, text) in yaml_files(&root().join(folder)) {
            assert_eq!(definition::kind_of(&text, "f"), Ok(kind), "{}", path.display());
        }
    }
}
