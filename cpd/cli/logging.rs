//! What the library says while it works (`tracing`), for people and machines that keep logs: on stderr, never on stdout.
//!
//! It is about this process, not about runs: what happened to a run stands in the journal (`cpd log`).

use std::io;

use tracing_subscriber::filter::LevelFilter;

/// The least serious that is said.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Level {
    /// Nothing.
    Off,
    /// What is broken.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happens now and then.
    Info,
    /// What happens often.
    Debug,
    /// Everything.
    Trace,
}

/// How it is written.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Format {
    /// A line for people.
    Text,
    /// An object a line.
    Json,
}

/// Options of the log, on every command.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// What this process says about itself on stderr: the least serious.
    #[arg(long = "log", global = true, env = "CPD_LOG", value_name = "LEVEL", default_value = "warn")]
    level: Level,
    /// How it is written.
    #[arg(long = "log-format", global = true, env = "CPD_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Begins to log. To be called once.
pub(crate) fn init(args: &Args) {
    let level = match args.level {
        Level::Off => return,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // A stderr that is closed is no reason to say more.
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).log_internal_errors(false);
    match args.format {
        Format::Text => log.init(),
        Format::Json => log.json().flatten_event(true).init(),
    }
}
