//! The command line: one file a command. Exit status: 0 done, 1 failed, 2 usage, 78 bad configuration.

mod demo;
mod run;
mod simulator;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::settings::{Need, Settings, SettingsError, Sources};

/// `EX_CONFIG` of sysexits.h; systemd does not restart it.
const EXIT_CONFIGURATION: u8 = 78;

/// Emits and follows TresorPay notices from an SQLite outbox.
#[derive(Debug, Parser)]
#[command(name = "tresorpayd", version, about, max_term_width = 100)]
pub struct Cli {
    /// Configuration file [default: /etc/tresorpayd/config.toml if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon
    Run,
    /// The whole job against a built-in TresorPay, nothing to set up
    Demo(demo::DemoArgs),
    /// The built-in TresorPay alone, for an application's own integration tests
    Simulator(crate::simulator::SimulatorArgs),
}

/// What a command ends with.
#[derive(Debug)]
pub enum Failure {
    /// Bad configuration: exit status 78.
    Configuration(anyhow::Error),
    /// Anything else: exit status 1.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::Configuration(error.into())
    }
}

impl Cli {
    /// Runs the command; says on stderr why it failed.
    pub fn run(self) -> ExitCode {
        let sources = Sources::from_process(self.config);
        let result = match self.command {
            Command::Run => run::run(&sources),
            Command::Demo(args) => demo::run(&args),
            Command::Simulator(args) => simulator::run(args),
        };
        match result {
            Ok(code) => code,
            Err(Failure::Configuration(error)) => {
                complain(&error);
                ExitCode::from(EXIT_CONFIGURATION)
            }
            Err(Failure::Other(error)) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

/// The error and its causes, on stderr.
#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn complain(error: &anyhow::Error) {
    eprintln!("tresorpayd: {error:#}");
}

/// Settings of a command that only opens the database.
#[expect(dead_code, reason = "used by the reading commands")]
fn database_settings(sources: &Sources) -> Result<Settings, Failure> {
    Ok(Settings::load(&sources.clone().needing(Need::Database))?)
}

/// A runtime on one thread: SQLite has threads of its own, and the rest waits for the network.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(anyhow::Error::new(error).context("tokio runtime")))
}
