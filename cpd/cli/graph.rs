//! `cpd graph`: a definition as a picture, and a run laid over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use cpd_core::definition::plan::Plan;
use cpd_core::graph::{Graph, Marks, dot, mermaid, svg, to_json};
use cpd_core::machine::RunId;
use cpd_engine::view::View;
use cpd_engine::{Error, Registration, Registry};

use super::{Global, definitions, style};
use crate::exit::Exit;
use crate::wiring;

/// `cpd graph`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A registered workflow (`name`, `namespace/name`, with `:version`), a file with a definition, or a run: its id, the
    /// beginning of it, or `last`.
    what: String,
    /// How to draw it; `--json` is `--format json`.
    #[arg(long = "format", value_enum, default_value = "mermaid", value_name = "FORMAT")]
    drawing: Format,
    /// Write it to a file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Files or directories with what a definition in a file refers to, such as its policies; may be given several times.
    #[arg(long, value_name = "PATH")]
    with: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Mermaid, as GitHub and many editors show it.
    Mermaid,
    /// A picture for browsers and documents.
    Svg,
    /// The language of Graphviz.
    Dot,
    /// The tasks and the ways between them, as data.
    Json,
}

pub(crate) fn graph(global: &Global, args: &Args) -> anyhow::Result<Exit> {
    let (graph, marks) = found(global, args)?;
    let marks = marks.as_ref();
    let text = match if global.json { Format::Json } else { args.drawing } {
        Format::Mermaid => mermaid::print(&graph, marks),
        Format::Svg => svg::print(&graph, marks),
        Format::Dot => dot::print(&graph, marks),
        Format::Json => to_json(&graph, marks).to_json() + "\n",
    };
    match &args.output {
        None => style::out(&text)?,
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
            style::say(&format!("Wrote {} ({} tasks).", file.display(), graph.blocks.len()));
        }
    }
    Ok(Exit::Done)
}

/// The definition that is meant, and what a run has done with it.
fn found(global: &Global, args: &Args) -> anyhow::Result<(Graph, Option<Marks>)> {
    let path = Path::new(&args.what);
    if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
        let plan = from_file(global, path, &args.with)?;
        return Ok((Graph::of(&plan), None));
    }
    if !args.with.is_empty() {
        bail!("draw {}: --with is for definitions in files; what is registered knows what it refers to", args.what);
    }
    let view = global.view()?;
    // What can only be a run is one, whatever workflows are called.
    if args.what == "last" || args.what.parse::<RunId>().is_ok() {
        return drawn_run(&view, view.find(&args.what)?);
    }
    let missing = match view.registry().workflow(&args.what) {
        Ok(plan) => return Ok((Graph::of(&plan), None)),
        Err(missing) => missing,
    };
    let id = match view.find(&args.what) {
        Ok(id) => id,
        Err(several @ cpd_engine::view::NotOneRun::Several { .. }) => return Err(several.into()),
        Err(cpd_engine::view::NotOneRun::None(_)) => {
            return Err(anyhow::Error::from(missing).context(format!("draw {}: it is no run either", args.what)));
        }
    };
    drawn_run(&view, id)
}

fn drawn_run(view: &View, id: RunId) -> anyhow::Result<(Graph, Option<Marks>)> {
    let (graph, marks) = view.history(id)?.graph()?;
    Ok((graph, Some(marks)))
}

fn from_file(global: &Global, file: &Path, with: &[PathBuf]) -> anyhow::Result<Arc<Plan>> {
    let config = global.config()?;
    let others = if with.is_empty() { Vec::new() } else { definitions::files(with)? };
    super::runtime()?.block_on(async {
        let registry = match global.view() {
            Ok(view) => view.registry_apart()?,
            Err(_) => Registry::empty(),
        };
        let registry = registry.with_connectors(wiring::known(&config)?).with_loader(wiring::loader(&config)?);
        let mut left = others;
        loop {
            // They may refer to each other; what cannot be kept in any order says so when it is asked for.
            let before = left.len();
            let mut again = Vec::new();
            for other in left {
                if keep(&registry, &other).await.is_err() {
                    again.push(other);
                }
            }
            left = again;
            if left.is_empty() || left.len() == before {
                break;
            }
        }
        match keep(&registry, file).await {
            Ok(registered) if registered.what == "workflow" => {
                Ok(registry.workflow(&format!("{}:{}", registered.name, registered.version))?)
            }
            Ok(registered) => bail!("draw {}: it is a {}, expected a workflow", file.display(), registered.what),
            Err(error) => Err(error).with_context(|| format!("draw {}", file.display())),
        }
    })
}

async fn keep(registry: &Registry, file: &Path) -> anyhow::Result<Registration> {
    let source = definitions::read(file)?;
    let kept: Result<Registration, Error> = registry.check_and_keep(&source, &file.display().to_string()).await;
    Ok(kept?)
}
