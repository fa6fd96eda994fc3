//! `tresorpayd demo`: the whole job against the built-in TresorPay.

use std::{num::NonZeroU16, path::PathBuf, process::ExitCode};

use crate::{
    cli::{Failure, runtime},
    demo::{self, DemoError, KEPT_FILE, KEPT_PORT, Options, Verdict},
    lifecycle,
};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Reads no configuration, and talks to nothing but 127.0.0.1.\n\
                  Exit status: 0 the outbox and TresorPay's ledger agree, 1 they do not, 78 FILE is another environment's.")]
pub(crate) struct DemoArgs {
    /// Stay up for a program of your own: what it inserts is sent, and paid after a few seconds
    #[arg(long)]
    keep: bool,
    /// Keep the outbox in this file; it is created if missing
    #[arg(long, value_name = "FILE", help = format!("Keep the outbox in this file, created if missing [with --keep: {KEPT_FILE}]"))]
    database: Option<PathBuf>,
    /// Port of the simulated TresorPay on 127.0.0.1
    #[arg(long, value_name = "PORT", help = format!("Port of the simulated TresorPay on 127.0.0.1 [default: {KEPT_PORT} if the outbox is kept, else any]"))]
    port: Option<NonZeroU16>,
}

pub(super) fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let options = Options { keep: args.keep, database: args.database.clone(), port: args.port };
    let shown = runtime()?.block_on(async {
        let shutdown = lifecycle::shutdown_on_signals()
            .map_err(|error| anyhow::Error::new(error).context("signal handlers"))?;
        Ok::<_, Failure>(demo::run(&options, shutdown).await)
    })?;
    match shown {
        Ok(Verdict::Agrees) => Ok(ExitCode::SUCCESS),
        Ok(Verdict::Fails) => Ok(ExitCode::FAILURE),
        Err(error) if error.is_reader_gone() => Ok(ExitCode::SUCCESS),
        Err(error) => Err(failure(error)),
    }
}

fn failure(error: DemoError) -> Failure {
    if error.is_configuration() { Failure::Configuration(error.into()) } else { Failure::Other(error.into()) }
}
