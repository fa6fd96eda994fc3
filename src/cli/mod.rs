//! The command line: one file a command. Exit status: 0 done, 1 failed, 2 usage, 78 bad configuration.

mod accept_restore;
mod add;
mod adopt;
mod ask;
mod backup;
mod check;
mod completions;
mod demo;
mod list;
mod man;
mod match_;
mod migrate;
mod output;
mod probe;
mod report;
mod run;
mod show;
mod simulator;
mod status;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    notice::Action,
    settings::{Need, Settings, SettingsError, Sources},
    store::StoreError,
};

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
    Simulator(Box<crate::simulator::SimulatorArgs>),
    /// Configuration, machine, database and TresorPay: one line each, with what to do
    Check(check::CheckArgs),
    /// How the outbox stands
    Status(status::StatusArgs),
    /// Rows, the newest first; with --since the feed of everything that happens
    List(list::ListArgs),
    /// One notice's whole life
    Show(show::ShowArgs),
    /// Adds rows from JSON: all or none
    Add(add::AddArgs),
    /// Takes over notices that an older system emitted
    Adopt(adopt::AdoptArgs),
    /// The Treasury's statement, a CSV file, against the outbox
    Match(Box<match_::MatchArgs>),
    /// Withdraws notices: at TresorPay first, if they may be there
    Cancel(ask::AskArgs),
    /// Sends REJECTED rows again, once they are corrected
    Retry(ask::AskArgs),
    /// Asks TresorPay for the status now
    Poll(ask::AskArgs),
    /// Confirms the delivery of PAID notices to TresorPay
    Confirm(ask::AskArgs),
    /// Ends the doubt about UNCERTAIN rows by what you found out
    Resolve(ask::ResolveArgs),
    /// Takes the personal data out of finished notices now; it does not come back
    Anonymise(ask::AskArgs),
    /// Emits nothing more until `resume`, also over a restart; polling goes on
    Pause(ask::PauseArgs),
    /// Emits again
    Resume(ask::PauseArgs),
    /// The books of a period: as text, CSV, JSON or a page to print
    Report(report::ReportArgs),
    /// Copies the database into a new file while everything runs, and verifies the copy
    Backup(backup::BackupArgs),
    /// Accepts an old copy of the database that was put back
    AcceptRestore(accept_restore::AcceptRestoreArgs),
    /// Creates the database, or brings it to this program's schema
    Migrate(migrate::MigrateArgs),
    /// Asks a sandbox what nobody has documented: which settings are right
    Probe(probe::ProbeArgs),
    /// Prints a shell's completions of this command line
    Completions(completions::CompletionsArgs),
    /// Prints a manual page, or writes all of them
    Man(man::ManArgs),
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
            Command::Simulator(args) => simulator::run(*args),
            Command::Check(args) => check::run(&sources, &args),
            Command::Status(args) => status::run(&sources, &args),
            Command::List(args) => list::run(&sources, &args),
            Command::Show(args) => show::run(&sources, &args),
            Command::Add(args) => add::run(&sources, &args),
            Command::Adopt(args) => adopt::run(&sources, &args),
            Command::Match(args) => match_::run(&sources, &args),
            Command::Cancel(args) => ask::rows(&sources, Action::Cancel, &args),
            Command::Retry(args) => ask::rows(&sources, Action::Retry, &args),
            Command::Poll(args) => ask::rows(&sources, Action::Poll, &args),
            Command::Confirm(args) => ask::rows(&sources, Action::ConfirmDelivery, &args),
            Command::Resolve(args) => ask::resolve(&sources, &args),
            Command::Anonymise(args) => ask::rows(&sources, Action::Anonymise, &args),
            Command::Pause(args) => ask::all(&sources, Action::Pause, &args),
            Command::Resume(args) => ask::all(&sources, Action::Resume, &args),
            Command::Report(args) => report::run(&sources, &args),
            Command::Backup(args) => backup::run(&sources, &args),
            Command::AcceptRestore(args) => accept_restore::run(&sources, &args),
            Command::Migrate(args) => migrate::run(&sources, &args),
            Command::Probe(args) => probe::run(&sources, &args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
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

/// An input as people name it.
fn file_name(path: &std::path::Path) -> String {
    if path == std::path::Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Settings of a command that only opens the database.
fn database_settings(sources: &Sources) -> Result<Settings, Failure> {
    Ok(Settings::load(&sources.clone().needing(Need::Database))?)
}

/// A database that stays unusable until somebody acts is bad configuration; anything else about it has failed.
fn store_failure(error: StoreError) -> Failure {
    if error.is_lasting() { Failure::Configuration(error.into()) } else { Failure::Other(error.into()) }
}

/// Polls of tasks between two looks at what other threads woke, SQLite's among them. With tokio's 31 a committed turn waits
/// for the answers of all requests that came in meanwhile, and SQLite for the next turn.
const LOOK_AT_OTHER_THREADS: u32 = 4;

/// A runtime on one thread: SQLite has threads of its own, and the rest waits for the network.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .global_queue_interval(LOOK_AT_OTHER_THREADS)
        .build()
        .map_err(|error| Failure::Other(anyhow::Error::new(error).context("tokio runtime")))
}
