//! `cargo bench`: what the engine costs, through the paths that users take. Prints a table, and one JSON object a line with
//! `--json`. Names of parts run only those: `cargo bench -- job append`.
//!
//! Every figure that needs a yardstick is measured beside it in the same run: syncs of this disk, and a raw loop of
//! `pwrite` and `fdatasync`. Nothing here asserts a time.

#![expect(clippy::print_stdout, reason = "printing figures is what it is for")]

mod append;
mod expressions;
mod job;
mod meter;
mod register;
mod replay;
mod startup;
mod timers;

use meter::Report;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let json = arguments.iter().any(|a| a == "--json");
    let parts: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| parts.is_empty() || parts.contains(&name);
    let mut report = Report::new(json);
    if wanted("disk") {
        append::disk(&mut report);
    }
    if wanted("append") {
        append::append(&mut report);
    }
    if wanted("turns") {
        replay::turns(&mut report);
    }
    if wanted("expressions") {
        expressions::expressions(&mut report);
    }
    if wanted("job") {
        job::job(&mut report);
    }
    if wanted("register") {
        register::register(&mut report);
    }
    if wanted("replay") {
        replay::replay(&mut report);
    }
    if wanted("long") {
        replay::long(&mut report);
    }
    if wanted("pure") {
        replay::pure(&mut report);
    }
    if wanted("timers") {
        timers::timers(&mut report);
    }
    if wanted("startup") {
        startup::startup(&mut report);
    }
}
