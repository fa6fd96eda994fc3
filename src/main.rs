//! Parses the command line, runs, prints the error chain, sets the exit status.

use clap::Parser;

fn main() -> std::process::ExitCode {
    tresorpayd::cli::Cli::parse().run()
}
