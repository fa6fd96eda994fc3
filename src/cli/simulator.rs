//! `tresorpayd simulator`: the built-in TresorPay alone.

use std::process::ExitCode;

use crate::cli::{Failure, runtime};

/// temporary
#[derive(Debug, clap::Args)]
pub(crate) struct SimulatorArgs {
    #[arg(long)]
    latency_ms: Option<u64>,
}

pub(super) fn run(args: SimulatorArgs) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        let mut config =
            crate::simulator::Config { listen: "127.0.0.1:8089".parse().unwrap(), ..Default::default() };
        config.taxpayers.pay_share = 0.0;
        config.taxpayers.cancel_share = 0.0;
        if let Some(ms) = args.latency_ms {
            config.latency = std::time::Duration::from_millis(ms).into();
        }
        let sim = crate::simulator::start(config).await.unwrap();
        eprintln!("{} {}", sim.base_url(), sim.token_url());
        std::future::pending::<()>().await
    });
    Ok(ExitCode::SUCCESS)
}
