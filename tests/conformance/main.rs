//! The conformance suite: what the workflow language means, as data. See `README.md` beside this file.

#![expect(clippy::print_stdout, reason = "tests say how much they tried")]

mod case;
mod drawn;
mod run;
mod world;

use std::sync::Arc;

use world::World;

/// The least number of cases of the whole suite.
const LEAST: usize = 600;

/// Runs the cases of a construct.
fn conforms(construct: &str) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let world = Arc::new(World::default());
        let http = world.serve().await;
        let (mut points, mut wrong) = (0, Vec::new());
        let cases = case::cases(construct, &http);
        for case in &cases {
            match run::run(case, &world).await {
                Ok(more) => points += more,
                Err(what) => wrong.push(format!("{}\n    {what}", case.name)),
            }
        }
        println!("{construct}: {} cases, each replayed; {points} crash points", cases.len());
        let total = cases.len();
        assert!(wrong.is_empty(), "{} of {total} cases of {construct} differ:\n{}", wrong.len(), wrong.join("\n"));
    });
}

/// The name of a construct whose name is a word of Rust.
fn plain(name: &str) -> &str {
    name.trim_start_matches("r#")
}

macro_rules! constructs {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            conforms(plain(stringify!($name)));
        })*

        #[test]
        fn every_file_is_run_and_there_are_enough_cases() {
            let mut listed = vec![$(plain(stringify!($name))),*];
            listed.sort_unstable();
            assert_eq!(case::constructs(), listed, "the files in cases/, and those that are run");
            let total: usize = listed.iter().map(|c| case::cases(c, "http://127.0.0.1:1").len()).sum();
            println!("{total} cases of {} constructs", listed.len());
            assert!(total >= LEAST, "{total} cases, expected at least {LEAST}");
        }
    };
}

constructs! { authentication call data r#do document emit errors expressions extensions r#for fork functions http r#if listen raise refused retry run_workflow schemas secrets set switch then timeout r#try variables wait }
