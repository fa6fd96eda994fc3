//! The end-to-end benchmark: the real daemon against the built-in simulator, each in a process of its own.
//! `docs/performance.md` says what each figure means; `cargo bench --bench end_to_end -- --help` what can be chosen.
//!
//! One program in four roles. Started by cargo it measures; it starts itself again as the peer, as the bare client
//! that shows what the machine and the peer allow at most (the limit), and as an application that inserts.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod end_to_end {
    pub(crate) mod application; // measurement `insert`
    pub(crate) mod archive; // a database with a million finished rows
    pub(crate) mod audit; // checks that every row's story is whole
    pub(crate) mod bench; // what every measurement works with
    pub(crate) mod daemon; // `tresorpayd run` as a child
    pub(crate) mod emission; // measurements `emit` and `latency`
    pub(crate) mod figure; // figures, their targets, the table and the JSON
    pub(crate) mod flush; // a flush that requests share, with no database
    pub(crate) mod limit; // a bare client with the same requests
    pub(crate) mod machine; // cores, CPU time and memory, as /proc tells
    pub(crate) mod million; // measurement `million`
    pub(crate) mod notices; // the notices: as rows, and as the requests they become
    pub(crate) mod options; // the command line
    pub(crate) mod outbox; // the database, as applications and watchers see it
    pub(crate) mod peer; // the built-in simulator in its own process
    pub(crate) mod polling; // measurement `poll`
}

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use end_to_end::{
    application,
    bench::Bench,
    emission,
    figure::Report,
    limit, machine, million,
    options::{Measurement, Options, Role},
    peer, polling,
};

fn main() -> anyhow::Result<ExitCode> {
    let mut options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match options.role.take() {
        Some(Role::Peer(args)) => runtime.block_on(peer::serve(args))?,
        Some(Role::Limit(args)) => runtime.block_on(limit::run(args))?,
        Some(Role::Application(args)) => runtime.block_on(application::run(args))?,
        None if options.called_by_cargo_bench || options.run => return runtime.block_on(measure(options)),
        None => println!("measures only under `cargo bench --bench end_to_end` (or with --run)"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(options: Options) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(machine::description());
    println!("{}", report.heading());
    let bench = Bench::new(options)?;
    for measurement in bench.options.measurements() {
        match measurement {
            Measurement::Emit => emission::at_full_speed(&bench, &mut report).await,
            Measurement::Latency => emission::with_latency(&bench, &mut report).await,
            Measurement::Poll => polling::measure(&bench, &mut report).await,
            Measurement::Million => million::measure(&bench, &mut report).await,
            Measurement::Insert => application::measure(&bench, &mut report).await,
        }
        .with_context(|| format!("measurement {measurement:?}"))?;
    }
    println!("\n{}", report.table());
    let path = bench.options.json_path();
    report.write(&path)?;
    println!("written to {}", path.display());
    let missed = bench.options.strict && report.missed();
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
