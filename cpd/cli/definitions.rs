//! `cpd register`, `cpd registry`: definitions from files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cpd_core::definition::Diagnostic;
use cpd_core::definition::lint::allow::{Levels, judge};
use cpd_core::{Value, json};
use cpd_engine::{Engine, Error, Registration};

use super::{Global, operate, style};
use crate::exit::Exit;
use crate::wiring;

/// `cpd register`
#[derive(clap::Args)]
pub(crate) struct RegisterArgs {
    /// Files, or directories of `.yaml`, `.yml` and `.json` files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Give a version that is registered other content. Only where `cpd.toml` says that the directory is for development.
    #[arg(long)]
    replace: bool,
}

pub(crate) fn register(global: &Global, args: &RegisterArgs) -> anyhow::Result<Exit> {
    let files = files(&args.paths)?;
    let config = global.config()?;
    super::runtime()?.block_on(async {
        let engine = wiring::open(&global.data, &config, |b| b.dispatching(false)).await?;
        super::with_engine(&engine, false, register_all(&engine, &files, args.replace, global.json)).await
    })
}

async fn register_all(engine: &Engine, files: &[PathBuf], replace: bool, json: bool) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let register = async |file: &Path| {
        if !replace {
            return register_file(engine, file).await;
        }
        let (source, name) = (read(file)?, file.display().to_string());
        Ok(not_allowed(&source, engine.register_anew_by(&source, &name, &operate::actor()).await?))
    };
    for (file, result) in in_order(files, register).await {
        match result {
            Ok(registration) => print_registration(&file, &registration, json)?,
            Err(error) => {
                super::report(&error, json);
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

/// Handles files so that what others refer to comes first: those that fail are tried again as long as that helps.
pub(super) async fn in_order<T>(
    files: &[PathBuf],
    mut handle: impl AsyncFnMut(&Path) -> anyhow::Result<T>,
) -> Vec<(PathBuf, anyhow::Result<T>)> {
    let mut results: Vec<(PathBuf, Option<anyhow::Result<T>>)> = files.iter().map(|f| (f.clone(), None)).collect();
    loop {
        let mut progress = false;
        for (file, result) in &mut results {
            if !matches!(result, Some(Ok(_))) {
                let now = handle(file).await;
                progress |= now.is_ok();
                *result = Some(now);
            }
        }
        if !progress || results.iter().all(|(_, r)| matches!(r, Some(Ok(_)))) {
            return results.into_iter().filter_map(|(file, r)| Some((file, r?))).collect();
        }
    }
}

/// Registers a file.
pub(crate) async fn register_file(engine: &Engine, path: &Path) -> anyhow::Result<Registration> {
    let (source, file) = (read(path)?, path.display().to_string());
    Ok(not_allowed(&source, engine.register_by(&source, &file, &operate::actor()).await?))
}

/// The registration without the warnings that a comment of the document allows.
fn not_allowed(source: &str, registration: Registration) -> Registration {
    let allowed = judge(source, "", registration.warnings.clone(), &Levels::default()).allowed;
    let warnings = registration.warnings.into_iter().filter(|w| !allowed.iter().any(|a| a.diagnostic == *w));
    Registration { warnings: warnings.collect(), ..registration }
}

fn print_registration(file: &Path, registration: &Registration, json: bool) -> anyhow::Result<()> {
    let Registration { what, name, version, unchanged, warnings, .. } = registration;
    if json {
        return style::line(&as_json(file, registration, warnings).to_json());
    }
    for warning in warnings {
        style::say(&style::diagnostic(warning));
    }
    let note = if *unchanged { style::dim(" (unchanged)") } else { String::new() };
    style::line(&format!("{} registered {what} {} {version}{note}", style::good("✓"), style::name(name)))
}

/// A definition that is right, as JSON.
pub(crate) fn as_json(file: &Path, registration: &Registration, warnings: &[Diagnostic]) -> Value {
    let Registration { what, name, version, digest, unchanged, .. } = registration;
    json!({
        "file": file.display().to_string(), "ok": true, "kind": what, "name": **name, "version": **version,
        "digest": digest.to_string(), "unchanged": unchanged,
        "warnings": warnings.iter().map(|w| Value::from_serialize(w).unwrap_or_default()).collect::<Vec<Value>>(),
    })
}

/// Prints what is wrong with a definition, with pictures of its lines; as JSON one object a line.
pub(crate) fn print_diagnostics(file: &str, diagnostics: &[Diagnostic], json: bool) {
    for diagnostic in diagnostics {
        if json {
            let mut object = Value::from_serialize(diagnostic).unwrap_or_default();
            if let Value::Obj(map) = &mut object {
                std::sync::Arc::make_mut(map).insert("file".into(), Value::str(file));
            }
            drop(style::line(&object.to_json()));
        } else {
            style::say(&style::diagnostic(diagnostic));
        }
    }
}

pub(crate) fn registry(global: &Global) -> anyhow::Result<Exit> {
    let view = global.view()?;
    let config = global.config()?;
    let registry = view.registry();
    let mut rows: Vec<(&str, String, String, String)> = Vec::new();
    for w in registry.workflows() {
        rows.push(("workflow", w.name.to_string(), w.version.to_string(), w.digest.to_string()));
    }
    for p in registry.policies()? {
        rows.push(("policy", p.name().to_owned(), p.version().to_owned(), p.digest().to_string()));
    }
    for a in registry.agents() {
        rows.push(("agent", a.name.to_string(), a.version.to_string(), a.digest.to_string()));
    }
    for o in wiring::operations(&config)? {
        rows.push(("operation", o.name.to_string(), o.version.to_string(), o.class.to_string()));
    }
    let width = rows.iter().map(|r| r.1.len()).max().unwrap_or(4);
    for (kind, name, version, detail) in rows {
        if global.json {
            let key = if kind == "operation" { "class" } else { "digest" };
            let object = json!({ "kind": kind, "name": name, "version": version, key: detail });
            style::line(&object.to_json())?;
        } else {
            let detail = style::dim(detail.get(..12).unwrap_or(&detail));
            style::line(&format!("{kind:<9}  {}  {version:<8}  {detail}", style::name(&format!("{name:<width$}"))))?;
        }
    }
    Ok(Exit::Done)
}

pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("read the definition {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("read the definition {} as UTF-8", path.display()))
}

/// The files that are named, and those in the directories that are named, in order of name.
pub(super) fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        walk(path, &mut files)?;
        if files.len() == before {
            bail!("find definitions in {}: there is no .yaml, .yml or .json file", path.display());
        }
    }
    Ok(files)
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
        .with_context(|| format!("list {}", dir.display()))?;
    entries.sort();
    // What is hidden is somebody else's: data directories, repositories, environments.
    entries.retain(|path| path.file_name().is_none_or(|name| !name.as_encoded_bytes().starts_with(b".")));
    for path in entries {
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
            files.push(path);
        }
    }
    Ok(())
}

/// The errors of a definition as one error, for commands that stop at it.
pub(crate) fn as_error(file: &str, source: &str, diagnostics: Vec<Diagnostic>) -> Error {
    let (file, source_text) = (file.to_owned(), std::sync::Arc::from(source));
    Error::Invalid { file, source_text, diagnostics: std::sync::Arc::new(diagnostics) }
}
