//! Parses the command line, runs, prints the error chain, sets the exit status.

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tresorpayd::cli::Cli::parse().run()
}
