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
