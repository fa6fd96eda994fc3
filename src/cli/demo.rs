//! `tresorpayd demo`: the whole job against the built-in TresorPay.

use std::process::ExitCode;

use crate::cli::Failure;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {}

pub(super) fn run(_args: &DemoArgs) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
