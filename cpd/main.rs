//! The `cpd` binary.

fn main() -> std::process::ExitCode {
    // First of all: this program is also the launcher of the processes that definitions run.
    cpd_connectors::process::launch::asked().unwrap_or_else(cpd::cli::main)
}
