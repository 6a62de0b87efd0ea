//! Holds the arrows of the architecture: who may depend on whom, and what the pure crate must not see.
//!
//! The manifests are read as they are; the sources are searched as text, without comments, strings and test code. Each rule
//! returns what breaks it, with the sentence that it enforces; the tests at the end show that each rule can fail.
//!
//! An arrow that is missing here is a decision to write down in `docs/decisions/`, then a line in [`ARROWS`].
//! What neither manifests nor words can show (that the engine never trusts an index, that the replicator never changes what it ships) is
//! for other tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Crate, its folder, our own crates that it may depend on, and those that only its tests may.
const ARROWS: &[(&str, &str, &[&str], &[&str])] = &[
    ("cpd", ".", &["cpd-engine", "cpd-connectors", "cpd-connector-api", "cpd-core", "cpd-journal"], &["cpd-kit"]),
    ("cpd-engine", "engine", &["cpd-core", "cpd-journal", "cpd-connector-api"], &["cpd-kit"]),
    ("cpd-core", "engine/core", &[], &[]),
    ("cpd-journal", "engine/journal", &[], &[]),
    ("cpd-connectors", "connectors", &["cpd-connector-api"], &["cpd-kit"]),
    ("cpd-connector-api", "connectors/api", &["cpd-core"], &[]),
    ("cpd-kit", "tests/kit", &["cpd-core", "cpd-journal", "cpd-connector-api"], &[]),
    // No member of the workspace: it needs a compiler's flags of its own.
    ("cpd-fuzz", "fuzz", &["cpd-core", "cpd-journal", "cpd-kit"], &[]),
];

const ARROWS_SENTENCE: &str = "who may depend on whom: cpd → engine, connectors, core, journal; engine → core, journal, connectors/api; \
    connectors → connectors/api → core; core and journal never see each other; nothing depends on cpd";
const CORE_SENTENCE: &str =
    "core never sees tokio, async, files, network, environment, threads, clocks, randomness, or unordered iteration";
const ENGINE_SENTENCE: &str =
    "engine never names a concrete connector, a SQL driver, an HTTP server or the argument parser";
const CONNECTORS_SENTENCE: &str =
    "connectors get a Request and return an Outcome; they never see engine, journal or machine";
const MEET_SENTENCE: &str = "core and journal never see each other; they meet in the engine";
const BORDER_SENTENCE: &str =
    "Event, Command, State do not derive Serialize: journal records and wire types are the borders' own types";
const UI_SENTENCE: &str = "ui speaks only to api";
const WORKSPACE_SENTENCE: &str = "dependencies and lints come from the workspace manifest; members are listed by name";

/// Crates from outside that a crate must not name in its manifest; a name ending in `*` stands for all that begin so.
const BANNED_CRATES: &[(&str, &[&str], &str)] = &[
    (
        "cpd-core",
        &[
            "tokio*",
            "async-*",
            "futures*",
            "mio",
            "smol",
            "hyper*",
            "reqwest",
            "ureq",
            "socket2",
            "rand*",
            "getrandom",
            "fastrand",
            "uuid",
            "libc",
            "rustix",
            "nix",
            "tempfile",
            "memmap*",
            "rayon",
            "crossbeam*",
            "fjall",
            "sled",
            "tracing*",
        ],
        CORE_SENTENCE,
    ),
    (
        "cpd-journal",
        &["tokio*", "async-*", "futures*", "reqwest", "hyper*", "axum*", "clap*"],
        "journal never decides: it appends and reads, on threads of its own",
    ),
    (
        "cpd-engine",
        &[
            "axum*",
            "hyper*",
            "warp",
            "actix*",
            "tower-http",
            "clap*",
            "reqwest",
            "rusqlite",
            "sqlx*",
            "tokio-postgres",
            "postgres*",
            "fjall",
            "sled",
        ],
        ENGINE_SENTENCE,
    ),
    ("cpd-connectors", &["clap*", "axum*"], CONNECTORS_SENTENCE),
];

/// Folder of sources, and words that must not stand there.
const BANNED_WORDS: &[(&str, &[&str], &str)] = &[
    (
        "engine/core/src",
        &[
            "tokio",
            "async",
            "await",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
            "std::io::stdin",
            "SystemTime",
            "Instant",
            "HashMap",
            "HashSet",
            "RandomState",
            "rand::",
            "cpd_journal",
            "cpd_engine",
            "cpd_connector_api",
        ],
        CORE_SENTENCE,
    ),
    ("engine/journal/src", &["cpd_core", "cpd_engine", "cpd_connector_api"], MEET_SENTENCE),
    ("engine/src", &["cpd_connectors", "clap", "axum", "hyper", "reqwest"], ENGINE_SENTENCE),
    ("connectors/src", &["cpd_engine", "cpd_journal", "machine::"], CONNECTORS_SENTENCE),
    ("connectors/api/src", &["cpd_engine", "cpd_journal", "machine::"], CONNECTORS_SENTENCE),
    ("engine/core/src/machine", &["Serialize", "Deserialize"], BORDER_SENTENCE),
    ("cpd/ui", &["cpd_engine", "cpd_journal", "cpd_core", "cpd_connectors"], UI_SENTENCE),
];

/// What breaks a rule.
#[derive(Debug, PartialEq)]
struct Breach {
    at: String,
    found: String,
    rule: &'static str,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    the rule: {}", self.at, self.found, self.rule)
    }
}

/// A manifest, read.
struct Manifest {
    folder: String,
    table: Table,
}

impl Manifest {
    fn parse(folder: &str, text: &str) -> Self {
        let table = text.parse().unwrap_or_else(|e| panic!("{folder}/Cargo.toml: {e}"));
        Self { folder: folder.to_owned(), table }
    }

    fn name(&self) -> &str {
        self.table.get("package").and_then(|p| p.get("name")).and_then(Value::as_str).unwrap_or("")
    }

    fn breach(&self, found: String, rule: &'static str) -> Breach {
        Breach { at: format!("{}/Cargo.toml", self.folder), found, rule }
    }

    /// Every dependency: its crate's name, whether only tests see it, and how it is written.
    fn dependencies(&self) -> Vec<(String, bool, &Value)> {
        let mut tables = vec![&self.table];
        let targets = self.table.get("target").and_then(Value::as_table);
        tables.extend(targets.into_iter().flat_map(|t| t.values()).filter_map(Value::as_table));
        let mut found = Vec::new();
        for table in tables {
            for (section, dev) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)] {
                let entries = table.get(section).and_then(Value::as_table);
                for (key, how) in entries.into_iter().flatten() {
                    // A renamed crate is the crate it is, not what it is called here.
                    let name = how.get("package").and_then(Value::as_str).unwrap_or(key);
                    found.push((name.to_owned(), dev, how));
                }
            }
        }
        found
    }
}

fn arrows(manifest: &Manifest) -> Vec<Breach> {
    let name = manifest.name();
    let Some((_, folder, may, tests_may)) = ARROWS.iter().find(|row| row.0 == name) else {
        return vec![manifest.breach(format!("the crate {name:?} has no place among the arrows"), ARROWS_SENTENCE)];
    };
    let mut breaches = Vec::new();
    if *folder != manifest.folder {
        breaches.push(manifest.breach(format!("{name} belongs into {folder}"), ARROWS_SENTENCE));
    }
    for (dependency, dev, _) in manifest.dependencies() {
        let ours = ARROWS.iter().any(|row| row.0 == dependency);
        // A crate may see itself in its tests, with other features.
        let allowed = may.contains(&&*dependency) || (dev && (tests_may.contains(&&*dependency) || dependency == name));
        if ours && !allowed {
            breaches.push(manifest.breach(format!("{name} depends on {dependency}"), ARROWS_SENTENCE));
        }
    }
    breaches
}

fn banned_crates(manifest: &Manifest) -> Vec<Breach> {
    let is =
        |name: &str, pattern: &str| pattern.strip_suffix('*').map_or(name == pattern, |start| name.starts_with(start));
    let mut breaches = Vec::new();
    for (of, patterns, rule) in BANNED_CRATES.iter().filter(|row| row.0 == manifest.name()) {
        for (dependency, dev, _) in manifest.dependencies() {
            if !dev && patterns.iter().any(|p| is(&dependency, p)) {
                breaches.push(manifest.breach(format!("{of} depends on {dependency}"), rule));
            }
        }
    }
    breaches
}

/// A member takes versions and lints from the workspace.
fn inherits(manifest: &Manifest) -> Vec<Breach> {
    let inherited = |v: &Value| v.get("workspace").and_then(Value::as_bool) == Some(true);
    let mut breaches = Vec::new();
    if !manifest.table.get("lints").is_some_and(inherited) {
        breaches.push(manifest.breach("no `lints.workspace = true`".into(), WORKSPACE_SENTENCE));
    }
    for (dependency, _, how) in manifest.dependencies() {
        if !inherited(how) {
            breaches.push(manifest.breach(format!("{dependency} is not `workspace = true`"), WORKSPACE_SENTENCE));
        }
    }
    breaches
}

/// The workspace's own table: the root is a default member beside all others, globs would match source folders, and `fuzz` stays outside.
fn workspace(root: &Manifest) -> Vec<Breach> {
    let list = |key: &str| -> BTreeSet<String> {
        let listed = root.table.get("workspace").and_then(|w| w.get(key)).and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (members, mut defaults, excluded) = (list("members"), list("default-members"), list("exclude"));
    let mut breaches = Vec::new();
    if let Some(glob) = members.iter().find(|m| m.contains('*')) {
        breaches.push(root.breach(format!("the member {glob:?} is a pattern"), WORKSPACE_SENTENCE));
    }
    defaults.remove(".");
    if members != defaults {
        breaches.push(root.breach("default-members are not members and `.`".into(), WORKSPACE_SENTENCE));
    }
    if !excluded.contains("fuzz") {
        breaches.push(root.breach("`fuzz` is not excluded".into(), WORKSPACE_SENTENCE));
    }
    breaches
}

fn banned_words(path: &str, source: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (_, words, rule) in BANNED_WORDS.iter().filter(|row| Path::new(path).starts_with(row.0)) {
        for (number, line) in code(source).lines().enumerate() {
            for word in words.iter().filter(|w| stands_in(line, w)) {
                breaches.push(Breach { at: format!("{path}:{}", number + 1), found: format!("`{word}`"), rule });
            }
        }
    }
    breaches
}

/// Whether `word` stands in `line` as a word of its own, not as a part of a longer name.
fn stands_in(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part);
        !before && (word.ends_with(':') || !after)
    })
}

/// `source` without comments, the insides of strings, and what follows `#[cfg(test)] mod … {`; lines keep their numbers.
fn code(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let blank = |out: &mut String, text: &str| out.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    while let Some(c) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(quoted) = raw_string(rest) {
            quoted
        } else if c == '"' {
            quoted(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find("'").map_or(rest.len(), |end| end + 2)
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        blank(&mut out, &rest[..taken]);
        rest = &rest[taken..];
    }
    match out.find("#[cfg(test)]\nmod tests {") {
        Some(at) => out[..at].to_owned(),
        None => out,
    }
}

/// The length of the string literal that `text` begins with.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// The length of the raw string literal that `text` begins with, if it does.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?.bytes().take_while(|b| *b == b'#').count();
    let inside = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(inside.find(&end).map_or(text.len(), |at| 1 + hashes + 1 + at + end.len()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The manifests of the workspace's members, of the root, and of what is beside the workspace, by folder.
fn manifests() -> BTreeMap<String, Manifest> {
    let read = |folder: &str| {
        let path = root().join(folder).join("Cargo.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (folder.to_owned(), Manifest::parse(folder, &text))
    };
    let mut found = BTreeMap::from([read(".")]);
    let members = found["."].table["workspace"]["members"].as_array().cloned().unwrap_or_default();
    found.extend(members.iter().filter_map(Value::as_str).map(read));
    if root().join("fuzz/Cargo.toml").is_file() {
        found.extend([read("fuzz")]);
    }
    found
}

/// The sources below `folder`, but for those of tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

#[track_caller]
fn held(breaches: Vec<Breach>) {
    let told: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    assert!(breaches.is_empty(), "\n{}\n", told.join("\n"));
}

#[test]
fn every_crate_depends_only_where_an_arrow_points() {
    let manifests = manifests();
    assert!(manifests.len() >= 6, "the members have been read");
    held(manifests.values().flat_map(arrows).collect());
}

#[test]
fn no_crate_names_a_dependency_that_its_place_forbids() {
    held(manifests().values().flat_map(banned_crates).collect());
}

#[test]
fn members_are_named_and_take_versions_and_lints_from_the_workspace() {
    let manifests = manifests();
    let mut breaches = workspace(&manifests["."]);
    // The fuzz targets are a workspace of their own.
    breaches.extend(manifests.values().filter(|m| m.folder != "fuzz").flat_map(inherits));
    held(breaches);
}

#[test]
fn sources_use_no_word_that_their_place_forbids() {
    let mut files = Vec::new();
    for folder in BANNED_WORDS.iter().map(|row| row.0).collect::<BTreeSet<_>>() {
        sources(&root().join(folder), &mut files);
    }
    files.sort();
    files.dedup();
    assert!(files.len() > 20, "the sources have been found");
    let relative = |path: &Path| path.strip_prefix(root()).expect("it lies below the root").display().to_string();
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    held(files.iter().flat_map(|path| banned_words(&relative(path), &read(path))).collect());
}

// What follows shows that each rule can fail.

fn found(breaches: &[Breach]) -> Vec<&str> {
    breaches.iter().map(|b| b.found.as_str()).collect()
}

#[test]
fn a_forbidden_arrow_is_found_however_it_is_written() {
    let core = |section: &str| format!("[package]\nname = \"cpd-core\"\n{section}");
    for section in [
        "[dependencies]\ncpd-journal.workspace = true",
        "[dependencies.cpd-journal]\npath = \"../journal\"",
        "[dev-dependencies]\ncpd-journal.workspace = true",
        "[build-dependencies]\ncpd-journal.workspace = true",
        "[target.'cfg(unix)'.dependencies]\ncpd-journal.workspace = true",
        "[dependencies]\nstore = { package = \"cpd-journal\", path = \"../journal\" }",
    ] {
        let breaches = arrows(&Manifest::parse("engine/core", &core(section)));
        assert_eq!(found(&breaches), ["cpd-core depends on cpd-journal"], "{section}");
    }
    let engine =
        "[package]\nname = \"cpd-engine\"\n[dependencies]\ncpd.workspace = true\ncpd-connectors.workspace = true";
    let breaches = arrows(&Manifest::parse("engine", engine));
    assert_eq!(found(&breaches), ["cpd-engine depends on cpd", "cpd-engine depends on cpd-connectors"]);
    let connectors = "[package]\nname = \"cpd-connectors\"\n[dev-dependencies]\ncpd-engine.workspace = true";
    assert_eq!(arrows(&Manifest::parse("connectors", connectors)).len(), 1);
}

#[test]
fn a_crate_without_a_place_or_in_the_wrong_one_is_found() {
    let newcomer = "[package]\nname = \"cpd-utils\"";
    assert_eq!(
        found(&arrows(&Manifest::parse("utils", newcomer))),
        ["the crate \"cpd-utils\" has no place among the arrows"]
    );
    let moved = "[package]\nname = \"cpd-core\"";
    assert_eq!(found(&arrows(&Manifest::parse("core", moved))), ["cpd-core belongs into engine/core"]);
}

#[test]
fn a_forbidden_dependency_is_found_but_tests_may_have_it() {
    let core = "[package]\nname = \"cpd-core\"\n[dependencies]\ntokio-util = \"1\"\nrand_core = \"1\"\nserde = \"1\"\n[dev-dependencies]\ntokio = \"1\"";
    let breaches = banned_crates(&Manifest::parse("engine/core", core));
    assert_eq!(found(&breaches), ["cpd-core depends on rand_core", "cpd-core depends on tokio-util"]);
    let engine = "[package]\nname = \"cpd-engine\"\n[dependencies]\naxum = \"1\"\nclap_complete = \"1\"";
    assert_eq!(banned_crates(&Manifest::parse("engine", engine)).len(), 2);
}

#[test]
fn a_version_beside_the_workspace_is_found() {
    let core = "[package]\nname = \"cpd-core\"\n[dependencies]\nserde = \"1\"\nlibm = { workspace = true, features = [\"x\"] }";
    let breaches = inherits(&Manifest::parse("engine/core", core));
    assert_eq!(found(&breaches), ["no `lints.workspace = true`", "serde is not `workspace = true`"]);
    let root = "[workspace]\nmembers = [\"engine\", \"plugins/*\"]\ndefault-members = [\".\", \"engine\"]";
    let breaches = workspace(&Manifest::parse(".", root));
    let expected =
        ["the member \"plugins/*\" is a pattern", "default-members are not members and `.`", "`fuzz` is not excluded"];
    assert_eq!(found(&breaches), expected);
}

#[test]
fn a_forbidden_word_is_found_in_code_and_nowhere_else() {
    let breaches = |source: &str| banned_words("engine/core/src/machine/apply.rs", source).len();
    for bad in [
        "use std::collections::HashMap;",
        "let t = std::time::SystemTime::now();",
        "use std::time::{Duration, Instant};",
        "async fn f() {}",
        "let x = f().await;",
        "let v = std::env::var(\"HOME\");",
        "#[derive(Debug, Serialize)]",
        "impl serde::Serialize for Event {",
        "/* why */ let m = HashSet::new();",
        "let quote = '\"'; let m = HashSet::new();",
        "let raw = r#\"a\"b\"#; let m = HashSet::new();",
        "let escaped = \"\\\"\"; let m = HashSet::new();",
    ] {
        assert_eq!(breaches(bad), 1, "{bad}");
    }
    for good in [
        "// HashMap would not do: its order is random.",
        "/* SystemTime */",
        "let s = \"a HashMap \\\" and Instant\";",
        "let s = r\"SystemTime\";",
        "let instant = 1; let my_HashMap = 2; let asynchronous = 3;",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::thread;\n    use std::collections::HashMap;\n}",
    ] {
        assert_eq!(breaches(good), 0, "{good}");
    }
    // The rule of one place does not reach another.
    assert_eq!(banned_words("connectors/src/http.rs", "use std::collections::HashMap;"), []);
    let told = banned_words("engine/src/turn.rs", "\n\nuse cpd_connectors::atlas;");
    assert_eq!(
        told,
        [Breach { at: "engine/src/turn.rs:3".into(), found: "`cpd_connectors`".into(), rule: ENGINE_SENTENCE }]
    );
    assert!(told[0].to_string().contains("the rule: engine never names"), "{}", told[0]);
}
