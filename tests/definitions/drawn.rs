//! The drawings of the workflows that ship, in `docs/workflows/README.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use cpd_core::definition::{self, Compiled};
use cpd_core::graph::{Graph, dot, mermaid, svg};

use crate::environment::INSTALLED;
use crate::{root, yaml_files};

const PAGE: &str = "docs/workflows/README.md";

const HEAD: &str = "# The workflows that ship\n\n\
    Each as `cpd graph` draws it. A test holds that the drawings are those of the definitions; `UPDATE_EXPECT=1 cargo nextest run -p cpd \
    --test definitions drawn` draws them anew.\n";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for folder in ["definitions/workflows", "definitions/workflows/examples"] {
        for (path, text) in yaml_files(&root().join(folder)) {
            let file = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            let Ok(Compiled { plan, .. }) = definition::compile(&text, &file, &*INSTALLED) else {
                panic!("{file} does not compile")
            };
            let title = plan.title.as_deref().unwrap_or(&plan.name);
            let summary = plan.summary.as_deref().unwrap_or_default();
            let drawing = mermaid::print(&Graph::of(&plan), None);
            write!(page, "\n## {title}\n\n{summary} [{file}](../../{file})\n\n```mermaid\n{drawing}```\n")
                .expect("a string takes it");
        }
    }
    page
}

#[test]
fn the_drawings_of_the_shipped_workflows_are_current() {
    let (path, page) = (root().join(PAGE), page());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder");
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(page.lines()).zip(1..).find(|((found, page), _)| found != page);
    assert!(found == page, "{PAGE} is not current (UPDATE_EXPECT=1 draws it anew): {differs:?}");
}

#[test]
fn a_definition_of_500_tasks_is_drawn_in_no_time() {
    let mut source = "document: { dsl: '1.0.3', namespace: t, name: many, version: '1.0.0' }\ndo:\n".to_owned();
    for n in 0..100 {
        let next = if n < 99 { format!("s{}", n + 1) } else { "end".to_owned() };
        write!(
            source,
            "  - s{n}: {{ switch: [ {{ a: {{ when: .n == {n}, then: {next} }} }}, {{ b: {{ then: l{n} }} }} ] }}\n\
             \x20 - l{n}: {{ for: {{ in: .list }}, do: [ {{ x: {{ set: {{ a: {n} }} }} }}, {{ y: {{ wait: PT1S, if: .b }} }} ] }}\n\
             \x20 - e{n}: {{ set: {{ n: {n} }} }}\n"
        )
        .expect("a string takes it");
    }
    let plan = match definition::compile(&source, "many.yaml", &*INSTALLED) {
        Ok(compiled) => compiled.plan,
        Err(found) => panic!("{}", found.iter().map(|d| d.render()).collect::<String>()),
    };
    assert_eq!(plan.nodes.len(), 501);
    let begin = Instant::now();
    let graph = Graph::of(&plan);
    let drawings = [mermaid::print(&graph, None), dot::print(&graph, None), svg::print(&graph, None)];
    let took = begin.elapsed();
    assert!(drawings.iter().all(|d| d.len() > 10_000 && d.len() < 1_000_000));
    // It takes 30 ms in a build without optimisation; other tests may have the processor.
    assert!(took.as_millis() < 500, "{took:?}");
}
