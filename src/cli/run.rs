//! `tresorpayd run`: the daemon.

use std::process::ExitCode;

use crate::{
    app::{App, AppError},
    cli::{Failure, runtime},
    lifecycle, logging,
    settings::{Settings, Sources},
};

pub(super) fn run(sources: &Sources) -> Result<ExitCode, Failure> {
    let settings = Settings::load(sources)?;
    logging::init(&settings.log);
    runtime()?.block_on(async {
        let shutdown = lifecycle::shutdown_on_signals()
            .map_err(|error| anyhow::Error::new(error).context("signal handlers"))?;
        let app = App::open(settings).await.map_err(failure)?;
        app.run(shutdown).await.map_err(failure)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn failure(error: AppError) -> Failure {
    if error.is_configuration() { Failure::Configuration(error.into()) } else { Failure::Other(error.into()) }
}
