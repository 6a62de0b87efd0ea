//! `docs/cli.md` against what the binary says about itself.

use std::path::Path;

use super::Place;

/// Every command of the binary, as it is typed, with the text of its help.
fn commands(place: &Place) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut open = vec![Vec::<String>::new()];
    while let Some(path) = open.pop() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = place.cpd(&args).exits(0).stdout;
        let listed: Vec<&str> =
            help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty()).collect();
        // A wrapped summary is indented further than the names are.
        let names = listed.iter().filter_map(|l| l.strip_prefix("  ").filter(|l| !l.starts_with(' ')));
        let names = names.filter_map(|l| l.split_whitespace().next()).filter(|name| *name != "help");
        open.extend(names.map(|name| path.iter().cloned().chain([name.to_owned()]).collect()));
        found.push((path, help));
    }
    found
}

/// The long options in a help text.
fn options(help: &str) -> impl Iterator<Item = &str> {
    let options = help.lines().map(str::trim_start).filter(|l| l.starts_with('-'));
    options.filter_map(|l| l.split([' ', ',']).find(|word| word.starts_with("--")))
}

/// The section of the manual whose heading names the command.
fn section<'m>(manual: &'m str, command: &str) -> Option<&'m str> {
    manual.split("\n### ").find(|section| {
        let heading = section.lines().next().unwrap_or_default();
        heading.split('`').any(|typed| typed == command || typed.starts_with(&format!("{command} ")))
    })
}

#[test]
fn the_manual_has_every_command_and_every_option() {
    let manual =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).expect("the manual");
    let place = Place::new();
    let commands = commands(&place);
    let (_, whole) = commands.first().expect("the command without a subcommand");
    let global: Vec<&str> = options(whole).collect();
    assert!(global.len() >= 6 && commands.len() >= 28, "{global:?}, {} commands", commands.len());
    let mut missing = Vec::new();
    missing.extend(global.iter().filter(|o| !manual.contains(&format!("`{o}"))).map(ToString::to_string));
    for (path, help) in &commands {
        let groups = commands.iter().any(|(other, _)| other.len() > path.len() && other.starts_with(path));
        if groups {
            continue;
        }
        let command = format!("cpd {}", path.join(" "));
        let Some(section) = section(&manual, &command) else {
            missing.push(command);
            continue;
        };
        let own = options(help).filter(|o| !global.contains(o));
        missing.extend(own.filter(|o| !section.contains(o)).map(|o| format!("{command} {o}")));
    }
    assert!(missing.is_empty(), "docs/cli.md does not mention: {}", missing.join(", "));
}

#[test]
fn the_manual_mentions_no_command_that_there_is_not() {
    let manual =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).expect("the manual");
    let place = Place::new();
    let known: Vec<String> = commands(&place).iter().map(|(path, _)| path.join(" ")).collect();
    let typed =
        manual.lines().filter(|l| l.starts_with("### ")).flat_map(|l| l.split('`').filter(|t| t.starts_with("cpd ")));
    for command in typed {
        let words = command.split(' ').skip(1).take_while(|w| w.chars().all(char::is_lowercase));
        let words = words.collect::<Vec<_>>().join(" ");
        assert!(known.contains(&words), "{command:?}");
    }
}

#[test]
fn the_exit_codes_of_the_manual_are_those_of_the_help() {
    let manual =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).expect("the manual");
    let help = Place::new().cpd(&["--help"]).exits(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for code in 0..=6 {
        assert!(manual.contains(&format!("\n| {code} | ")) && help.contains(&format!("{code} ")), "{code}");
    }
}

/// Every page, and where its links and the paths that it names lead.
#[test]
fn what_the_documents_link_to_and_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.to_owned()];
    for dir in ["docs", "docs/decisions", "docs/rules", "connectors", "tests/conformance", "definitions"] {
        pages.push(root.join(dir));
    }
    let files = pages.iter().flat_map(|dir| std::fs::read_dir(dir).expect("a directory").flatten()).map(|e| e.path());
    let files: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    assert!(files.len() > 100, "{} pages", files.len());
    let link = regex::Regex::new(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)").expect("a pattern");
    let name = regex::Regex::new(r"`((?:engine|cpd|connectors|tests|docs|definitions|benches|fuzz|sql)/[\w./-]*)`")
        .expect("a pattern");
    let (mut checked, mut lost) = (0, Vec::new());
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a page");
        let here = file.parent().expect("it is in a directory");
        let links = link.captures_iter(&text).map(|c| (here.join(&c[1]), c[1].to_owned()));
        let links = links.filter(|(_, to)| !to.contains("://") && !to.starts_with("mailto:"));
        // A part in capitals stands for a name: `docs/rules/CODE.md`.
        let stands =
            |path: &str| path.split(['/', '.']).any(|p| p.len() > 2 && p.chars().all(|c| c.is_ascii_uppercase()));
        let names = name.captures_iter(&text).map(|c| (root.join(&c[1]), c[1].to_owned()));
        for (path, said) in links.chain(names.filter(|(_, said)| !stands(said) || said.ends_with("README.md"))) {
            checked += 1;
            if !path.exists() {
                lost.push(format!("{}: {said}", file.strip_prefix(root).expect("below the root").display()));
            }
        }
    }
    assert!(checked > 60, "{checked} paths");
    assert!(lost.is_empty(), "no such file:\n{}", lost.join("\n"));
}
