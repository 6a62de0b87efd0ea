//! The `cpd` binary.

fn main() -> std::process::ExitCode {
    cpd::cli::main()
}
