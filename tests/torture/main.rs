//! The proof: the real program as a process of its own, hurt in every way that a seed can think of, and then audited
//! against the other side's ledger. `docs/proof.md` says what it does and what it showed.
//!
//! Without arguments, as plain `cargo test` runs it, it is a smoke of some 20 seconds with a fixed seed. `--minutes 10
//! --seed 42 --policy cancel` is the real thing; `kills --count 300` does nothing but kill; `life --count 1000` follows
//! notices to their receipts and through reconciliation; `fuzz --count 10000000` feeds mutated answers to everything that
//! reads one. It exits with 1 if the promise was broken anywhere.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod application; // the role of the application that writes rows, in a process of its own
mod audit; // the database against the ledger, and against itself
mod books; // the report against an addition of its own
mod chaos; // carries the fault plan out
mod clock; // clock steps through libfaketime
mod corpus; // answers as they are known, for the fuzzer to spoil
mod daemon; // `tresorpayd run` as a child
mod database; // the outbox as anybody may read it
mod fuzz; // mutated answers against the parsers
mod holder; // programs that hold the database's lock, or a snapshot
mod journal; // what the application knows it has committed
mod judge; // what may be believed of a mutated answer
mod kills; // nothing but SIGKILL under load
mod life; // the whole life of notices, to receipt and reconciliation
mod mutation; // how the fuzzer spoils bytes
mod options; // the command line
mod plan; // the faults that a seed comes to
mod platform; // the simulator in its own process, and its control API
mod proxy; // the network between them
mod settle; // when the storm is over: waits until nothing moves any more
mod storm; // faults of the platform
mod taxpayer; // who pays, or has the notice canceled
mod verdict; // counts, findings, and the exit status
mod wire; // mutated answers through a real connection
mod world; // everything that a run needs

use std::process::ExitCode;

use clap::Parser;

use options::{Command, Options};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    // One TLS provider must be named even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match &options.command {
        Some(Command::Fuzz(args)) => return fuzz::run(options.seed(), args),
        None if options.plan => return Ok(plan::print(&options)),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match &options.command {
            Some(Command::Application(args)) => application::run(args).await,
            Some(Command::Kills(args)) => kills::run(&options, args).await,
            Some(Command::Life(args)) => life::run(&options, args).await,
            Some(Command::Filter(words)) if !options::is_meant(words) => Ok(ExitCode::SUCCESS),
            _ if options.libtest.list => Ok(options::list()),
            _ if options.libtest.ignored => Ok(ExitCode::SUCCESS),
            _ => chaos::run(&options).await,
        }
    })
}
