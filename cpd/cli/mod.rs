//! The command line: data on stdout, talk on stderr, `--json` wherever there is data, exit codes as in [`crate::exit`].

pub(crate) mod approvals;
mod audit;
pub(crate) mod definitions;
mod demo;
mod graph;
mod history;
mod journal;
pub(crate) mod lists;
mod logging;
mod operate;
mod policy;
pub(crate) mod replay;
pub(crate) mod run;
mod sandbox;
mod schema;
mod secrets;
mod serve;
mod style;
pub(crate) mod timeline;
mod token;
mod validate;
mod versions;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use cpd_engine::view::View;
use cpd_engine::{Engine, Error};

use crate::config::Config;
use crate::exit::Exit;

/// Durable workflows for enterprise AI operations: run them, watch them, prove what happened.
#[derive(Parser)]
#[command(name = "cpd", version, max_term_width = 100, propagate_version = true)]
#[command(
    after_help = "Start with `cpd demo`: it sets everything up, runs the main job, kills itself in the middle and \
    comes back.\n\nExit codes: 0 done, 1 could not, 2 usage, 3 run faulted, 4 run cancelled, 5 replay diverged or \
    verification failed, 6 still waiting."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args, Clone)]
pub(crate) struct Global {
    /// The data directory: journal, index, configuration.
    #[arg(long, global = true, env = "CPD_DATA", default_value = ".cpd", value_name = "DIR")]
    pub data: PathBuf,
    /// A configuration file instead of DIR/cpd.toml.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print data as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: style::When,
    #[command(flatten)]
    pub log: logging::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Set everything up and run the main job, with a crash in the middle.
    Demo(demo::Args),
    /// Run a registered workflow, or a definition in a file, and wait for its end.
    Run(run::Args),
    /// Serve: drive runs, and take requests over HTTP, until SIGTERM.
    Serve(serve::Args),
    /// Register definitions: files, or directories of them.
    Register(definitions::RegisterArgs),
    /// Check definitions without registering them, and give advice about them.
    Validate(validate::Args),
    /// Print the JSON Schema of what people write, for editors.
    Schema(schema::Args),
    /// List what is registered: workflows, policies, agents, operations.
    Registry,
    /// List runs, newest first.
    Runs(lists::RunsArgs),
    /// Show a run: its state, input, output, tasks.
    Show(lists::ShowArgs),
    /// Say in a line what a run waits for.
    Why(lists::WhyArgs),
    /// Print the log of a run: every event.
    Log(history::Args),
    /// Rebuild every state of a run from the journal, decide everything again, and compare.
    Replay(replay::Args),
    /// Draw a definition, or a run with what it has taken, skipped, retried and failed.
    Graph(graph::Args),
    /// Cancel a run.
    Cancel(operate::Args),
    /// Pause a run: outcomes are still recorded, nothing new begins.
    Pause(operate::Args),
    /// Let a paused run go on; drives a run that waits for this process, and waits for its end.
    Resume(operate::ResumeArgs),
    /// Say what became of an effect whose outcome is unknown.
    Resolve(operate::ResolveArgs),
    /// Approvals: what runs ask people, and what people decide.
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// Give a run an event that it listens for.
    Signal(operate::SignalArgs),
    /// Publish an event to every open run that listens for it.
    Emit(operate::EventArgs),
    /// Start a run that shares the history of another one up to a point and goes on from there.
    Fork(versions::ForkArgs),
    /// Go on with a run that faulted from the task that failed, in a run of its own.
    Retry(versions::RetryArgs),
    /// Move open runs to another version of their workflow, if their history replays there.
    Migrate(versions::MigrateArgs),
    /// Policies: list, evaluate, test.
    #[command(subcommand)]
    Policy(policy::Command),
    /// The journal: verify, inspect, export.
    #[command(subcommand)]
    Journal(journal::Command),
    /// Bearer tokens: create, list, revoke.
    #[command(subcommand)]
    Token(token::Command),
    /// The audit trail: verify that it is complete and unchanged; who administered what.
    #[command(subcommand)]
    Audit(journal::AuditCommand),
    /// Secrets: which there are and where they come from, never their values.
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Start a loopback server that answers as Atlas and as a language model, to try things with.
    Sandbox(sandbox::Args),
    /// Print a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and versions to stdout, errors to stderr; a closed pipe is no reason to complain.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    style::init(cli.global.color);
    logging::init(&cli.global.log);
    let json = cli.global.json;
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            report(&error, json);
            Exit::Failed.into()
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let global = cli.global;
    match cli.command {
        Command::Demo(args) => demo::demo(&global, &args),
        Command::Run(args) => run::run(&global, &args),
        Command::Serve(args) => serve::serve(&global, &args),
        Command::Register(args) => definitions::register(&global, &args),
        Command::Validate(args) => validate::validate(&global, &args),
        Command::Schema(args) => schema::schema(&global, &args),
        Command::Registry => definitions::registry(&global),
        Command::Runs(args) => lists::runs(&global, &args),
        Command::Show(args) => lists::show(&global, &args),
        Command::Why(args) => lists::why(&global, &args),
        Command::Log(args) => history::log(&global, &args),
        Command::Replay(args) => replay::replay(&global, &args),
        Command::Graph(args) => graph::graph(&global, &args),
        Command::Cancel(args) => operate::cancel(&global, &args),
        Command::Pause(args) => operate::pause(&global, &args),
        Command::Resume(args) => operate::resume(&global, &args),
        Command::Resolve(args) => operate::resolve(&global, &args),
        Command::Approvals(command) => approvals::approvals(&global, &command),
        Command::Signal(args) => operate::signal(&global, &args),
        Command::Emit(args) => operate::emit(&global, &args),
        Command::Fork(args) => versions::fork(&global, &args),
        Command::Retry(args) => versions::retry(&global, &args),
        Command::Migrate(args) => versions::migrate(&global, &args),
        Command::Policy(command) => policy::policy(&global, &command),
        Command::Journal(command) => journal::journal(&global, &command),
        Command::Audit(command) => journal::audit(&global, &command),
        Command::Token(command) => token::token(&global, &command),
        Command::Secrets(command) => secrets::secrets(&global, &command),
        Command::Sandbox(args) => sandbox::sandbox(&global, &args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cpd", &mut script);
            style::out(&String::from_utf8_lossy(&script))?;
            Ok(Exit::Done)
        }
    }
}

impl Global {
    /// The configuration of the data directory.
    pub fn config(&self) -> anyhow::Result<Config> {
        crate::config::load(self.config.as_deref(), &self.data)
    }

    /// A look at the data directory.
    pub fn view(&self) -> anyhow::Result<View> {
        if self.data.exists() && !self.data.is_dir() {
            anyhow::bail!(
                "look at the data directory {}: it is not a directory; `--data` names another",
                self.data.display()
            );
        }
        View::open(&self.data).with_context(|| {
            format!(
                "look at the data directory {}; `cpd run` or `cpd demo` makes one, `--data` names another",
                self.data.display()
            )
        })
    }
}

/// A runtime for commands that drive an engine.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|e| {
        let shared = e.downcast_ref::<std::sync::Arc<std::io::Error>>();
        e.downcast_ref::<std::io::Error>().is_some_and(closed) || shared.is_some_and(|e| closed(e))
    })
}

/// How long a command waits for room on a full disk.
const ROOM_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// Does something with an engine, and stops it. A disk without room ends it, unless it shall `wait`.
pub(crate) async fn with_engine<T>(
    engine: &Engine,
    wait: bool,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let result = tokio::select! {
        biased;
        result = work => result,
        () = engine.out_of_room(ROOM_MAX), if !wait => Err(anyhow::anyhow!(
            "wait for the journal: No space left on device of {}. What was acknowledged is safe; runs go on with the next \
             cpd process when there is room",
            engine.data().display()
        )),
    };
    let stopped = engine.stop().await;
    let result = result?;
    stopped?;
    Ok(result)
}

/// Says on stderr what became of the journal's disk.
pub(crate) fn journal_status(status: cpd_journal::Status) {
    use cpd_journal::Status;
    match status {
        Status::Ok => style::say("There is room on the disk again; the journal goes on."),
        Status::Full => style::say(
            "The disk of the journal is full. Nothing that was acknowledged is lost: work waits, and goes on by itself when there \
             is room.",
        ),
        Status::Poisoned(cause) => style::say(&format!("The journal failed and takes nothing more: {cause}")),
        Status::Closed => {}
    }
}

/// Prints an error for people on stderr: what, why, and what to do; definitions with a picture of the line.
fn report(error: &anyhow::Error, json: bool) {
    let invalid = error.chain().find_map(|e| match e.downcast_ref::<Error>() {
        Some(Error::Invalid { file, diagnostics, .. }) => Some((file, diagnostics)),
        _ => None,
    });
    if let Some((file, diagnostics)) = invalid {
        definitions::print_diagnostics(file, diagnostics, json);
        return;
    }
    let mut lines = format!("{} {error}", style::error("error:"));
    for cause in error.chain().skip(1) {
        lines.push_str(&format!("\n  {} {cause}", style::dim("because:")));
    }
    style::say(&lines);
}
