//! From nothing to ready, with nothing and with 100,000 waiting runs, after a `kill -9`.
//!
//! Each figure is of a process of its own: this binary again, with a role in `CPD_BENCH_ROLE`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cpd_connector_api::json;
use cpd_engine::Engine;

use crate::job::runtime;
use crate::meter::{Report, fresh_dir, rss_mib};

const ROLE: &str = "CPD_BENCH_ROLE";
const DIR: &str = "CPD_BENCH_DATA";

/// Measures starts; also plays the roles.
pub fn startup(report: &mut Report) {
    match std::env::var(ROLE).as_deref() {
        Ok("fill") => return fill(),
        Ok("open") => return open(),
        _ => {}
    }
    report.part("Start to ready, in a process of its own, after a kill -9");
    for waiting in [0u32, 100_000] {
        let dir = fresh_dir();
        if waiting > 0 {
            let mut filler = role("fill", dir.path())
                .env("CPD_BENCH_WAITING", waiting.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process");
            let mut line = String::new();
            let stdout = filler.stdout.take().expect("its output");
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
            assert_eq!(line.trim(), "filled");
            filler.kill().expect("a kill");
            filler.wait().expect("its end");
        }
        let output = role("open", dir.path()).output().expect("a process");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let figures: Vec<f64> = text.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        let [ready, rss, open_runs] = figures[..] else {
            panic!("figures from the process that opens, found {text:?}")
        };
        assert_eq!(open_runs as u32, waiting, "every waiting run is there again");
        report.line(&format!("{waiting} waiting runs"), &[("ready after", ready, "ms"), ("RSS", rss, "MiB")]);
    }
}

fn role(name: &str, dir: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.arg("startup").env(ROLE, name).env(DIR, dir);
    command
}

fn data() -> std::path::PathBuf {
    std::env::var_os(DIR).expect("a directory").into()
}

/// Starts runs that wait for an hour, and says so when all are durable.
fn fill() {
    let count: u32 = std::env::var("CPD_BENCH_WAITING").expect("a number").parse().expect("a number");
    runtime().block_on(async {
        let engine = Engine::builder(data()).open().await.expect("an engine");
        engine.register(include_str!("timer.yaml"), "timer.yaml").await.expect("the workflow registers");
        let tasks: Vec<_> = (0..count)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    engine
                        .start("bench/timer")
                        .input(json!({ "milliseconds": 3_600_000 }))
                        .go()
                        .await
                        .expect("a start");
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task");
        }
        println!("filled");
        // Waits to be killed.
        tokio::time::sleep(Duration::from_secs(600)).await;
    });
}

/// Opens the directory and prints how long that took, what it takes, and what was found.
fn open() {
    let begin = Instant::now();
    runtime().block_on(async {
        let engine = Engine::builder(data()).open().await.expect("an engine");
        let ready = begin.elapsed();
        println!("{} {} {}", ready.as_secs_f64() * 1e3, rss_mib(), engine.recovered().open_runs);
        // As a crash would leave it.
        std::process::exit(0);
    });
}
