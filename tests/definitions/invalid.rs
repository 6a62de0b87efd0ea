//! Broken definitions and what is said about them.

use std::env;
use std::fs;

use cpd_core::definition::{self, Diagnostic};

use crate::environment::INSTALLED;
use crate::{root, yaml_files};

#[test]
fn each_broken_definition_gets_the_diagnostics_beside_it() {
    let files = yaml_files(&root().join("definitions/invalid/workflows"));
    assert!(files.len() >= 40, "only {} broken definitions", files.len());
    let update = env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for (path, text) in files {
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name").to_owned();
        let found = match definition::compile(&text, &name, &*INSTALLED) {
            Ok(compiled) if name.starts_with("warning_") => compiled.warnings,
            Ok(_) => {
                wrong.push(format!("{name} compiles"));
                continue;
            }
            Err(found) => found,
        };
        assert!(found.iter().all(|d| d.span.is_none_or(|s| text.get(s.start..s.end).is_some())), "{name}: {found:?}");
        let rendered = found.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n");
        let expect = path.with_extension("expect");
        if update {
            fs::write(&expect, &rendered).expect("a writable file");
        } else if fs::read_to_string(&expect).unwrap_or_default() != rendered {
            wrong.push(format!("{name} says:\n{rendered}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ (UPDATE_EXPECT=1 takes them over):\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn diagnostics_of_a_broken_definition_are_in_the_order_of_the_source() {
    for (path, text) in yaml_files(&root().join("definitions/invalid/workflows")) {
        if let Err(found) = definition::compile(&text, "w.yaml", &*INSTALLED) {
            let starts: Vec<usize> = found.iter().filter_map(|d| d.span.map(|s| s.start)).collect();
            assert!(starts.is_sorted(), "{}", path.display());
        }
    }
}
