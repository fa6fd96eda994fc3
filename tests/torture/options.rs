//! The command line. What libtest takes is taken too, so that `cargo test -- --test-threads 1` and `cargo test NAME` mean
//! here what they mean in other test programs.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// How long the smoke's faults last.
const SMOKE: Duration = Duration::from_secs(12);
/// The smoke is the same every time.
const SMOKE_SEED: u64 = 8;
/// The name under which the smoke is listed.
const SMOKE_NAME: &str = "smoke";

/// Hurts the real tresorpayd in every way, and audits what became of it
#[derive(Debug, Parser)]
#[command(name = "torture")]
pub(crate) struct Options {
    /// How long faults are made; without it, the smoke
    #[arg(long, value_name = "MINUTES")]
    pub(crate) minutes: Option<f64>,
    /// Decides every fault; printed, and by default from the clock
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// `emit.on_uncertain`
    #[arg(long, global = true, value_enum, default_value_t = Policy::Hold)]
    pub(crate) policy: Policy,
    /// Another daemon than the one built with this program
    #[arg(long, global = true, value_name = "PROGRAM")]
    pub(crate) daemon: Option<PathBuf>,
    /// Keep the database, the journals and the daemon's log
    #[arg(long, global = true)]
    pub(crate) keep: bool,
    /// Print the fault plan, one JSON object a line, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) libtest: Libtest,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Arguments that `cargo test` hands to every test program.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of libtest's command line")]
pub(crate) struct Libtest {
    #[arg(long, hide = true)]
    pub(crate) list: bool,
    #[arg(long, hide = true)]
    pub(crate) ignored: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, hide = true, alias = "no-capture")]
    nocapture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
}

/// `emit.on_uncertain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Policy {
    /// A doubt stays until somebody looks
    Hold,
    /// A doubt is canceled, then emitted anew
    Cancel,
    /// A doubt is emitted again with the same reference
    Resend,
}

impl Policy {
    /// The word in the settings.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Cancel => "cancel",
            Self::Resend => "resend",
        }
    }

    /// What the simulator answers to a repeated reference. `create` hides no double; `resend` is for a platform known
    /// to answer with the first notice, and for no other.
    pub(crate) fn on_duplicate(self) -> &'static str {
        match self {
            Self::Hold | Self::Cancel => "create",
            Self::Resend => "same",
        }
    }
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Kills the daemon again and again under load
    Kills(KillsArgs),
    /// The whole life of notices, commands included, while the daemon is killed at the worst moments
    Life(LifeArgs),
    /// Mutated answers against everything that reads one
    Fuzz(FuzzArgs),
    /// An application that writes, until stdin ends
    #[command(hide = true)]
    Application(ApplicationArgs),
    #[command(external_subcommand)]
    Filter(Vec<OsString>),
}

/// How to kill.
#[derive(Debug, Args)]
pub(crate) struct KillsArgs {
    /// How often
    #[arg(long, default_value_t = 300)]
    pub(crate) count: u32,
    /// How late every answer is, in milliseconds
    #[arg(long, default_value_t = 20)]
    pub(crate) latency_ms: u64,
}

/// How to live.
#[derive(Debug, Args)]
pub(crate) struct LifeArgs {
    /// Notices
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
    /// How often the daemon is killed meanwhile
    #[arg(long, default_value_t = 100)]
    pub(crate) kills: u32,
}

/// How to fuzz.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Answers against the parsers in memory
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) count: u64,
    /// Answers through a real connection
    #[arg(long, default_value_t = 5_000)]
    pub(crate) http: u64,
}

/// What the application's role is given.
#[derive(Debug, Args)]
pub(crate) struct ApplicationArgs {
    #[arg(long)]
    pub(crate) database: PathBuf,
    /// Where it notes what it does
    #[arg(long)]
    pub(crate) journal: PathBuf,
    /// Opens its references
    #[arg(long)]
    pub(crate) series: String,
    /// Rows a second, at most
    #[arg(long)]
    pub(crate) rate: u32,
}

impl Options {
    /// The seed: as given, the smoke's, or any.
    pub(crate) fn seed(&self) -> u64 {
        let any = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(since.subsec_nanos()) ^ since.as_secs()
        };
        let smoke =
            self.minutes.is_none() && !matches!(self.command, Some(Command::Kills(_) | Command::Life(_)));
        self.seed.unwrap_or_else(|| if smoke { SMOKE_SEED } else { any() })
    }

    /// How long faults are made.
    pub(crate) fn duration(&self) -> Duration {
        self.minutes.map_or(SMOKE, |minutes| Duration::from_secs_f64(minutes.clamp(0.0, 10_000.0) * 60.0))
    }
}

/// Whether `cargo test NAME` means this program's one test.
pub(crate) fn is_meant(words: &[OsString]) -> bool {
    words.iter().any(|word| {
        let word = word.to_string_lossy();
        !word.is_empty() && SMOKE_NAME.contains(&*word)
    })
}

/// What libtest would list.
pub(crate) fn list() -> ExitCode {
    println!("{SMOKE_NAME}: test");
    ExitCode::SUCCESS
}
