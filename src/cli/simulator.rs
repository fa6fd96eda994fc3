//! `tresorpayd simulator`: the built-in TresorPay alone.

use std::process::ExitCode;

use crate::{
    cli::{Failure, runtime},
    simulator::{self, SimulatorArgs},
};

pub(super) fn run(args: SimulatorArgs) -> Result<ExitCode, Failure> {
    Ok(runtime()?.block_on(simulator::run(args))?)
}
