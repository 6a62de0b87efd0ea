//! `cpd-launch`: the launcher as a program of its own, for services that embed the connector and for its tests.
//! The `cpd` binary is its own launcher.

use std::process::ExitCode;

fn main() -> ExitCode {
    cpd_connectors::process::launch::asked().unwrap_or_else(cpd_connectors::process::launch::usage)
}
