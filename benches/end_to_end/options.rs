//! The command line: what to measure and how much of it, and the roles the program starts itself in.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// Measures tresorpayd end to end
#[derive(Debug, Parser)]
#[command(name = "end_to_end", args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// Measure only these [default: all]
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Measurement>,
    /// Notices of one round without latency
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) notices: u32,
    /// Finished rows in the database of `million`
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) finished: u32,
    /// Rounds of `emit`, `latency` and `million`; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Where the figures go as JSON [default: `target/tmp/end_to_end.json`]
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Exit with 1 if a figure misses its target
    #[arg(long)]
    pub(crate) strict: bool,
    /// Which processes get a core of their own
    #[arg(long, value_enum, default_value_t = Pin::Peer)]
    pub(crate) pin: Pin,
    /// Keep the databases and the daemon's logs
    #[arg(long)]
    pub(crate) keep: bool,
    /// Measure even if it was not `cargo bench` that started this program
    #[arg(long)]
    pub(crate) run: bool,
    /// Given by `cargo bench`
    #[arg(long = "bench", hide = true)]
    pub(crate) called_by_cargo_bench: bool,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// Emission against a peer that answers at once
    Emit,
    /// Emission against a peer that answers after 20 ms
    Latency,
    /// Asking about 10,000 notices that were paid
    Poll,
    /// Start, memory, rest and emission with a million finished rows
    Million,
    /// An application's INSERT while the daemon emits
    Insert,
}

impl Options {
    /// What to measure, in the order of the documentation.
    pub(crate) fn measurements(&self) -> Vec<Measurement> {
        let wanted = |measurement: &Measurement| self.only.is_empty() || self.only.contains(measurement);
        Measurement::value_variants().iter().copied().filter(wanted).collect()
    }

    /// Where the JSON goes.
    pub(crate) fn json_path(&self) -> PathBuf {
        let default = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("end_to_end.json");
        self.json.clone().unwrap_or_else(default)
    }
}

/// Which processes get a core of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pin {
    /// Daemon and bare client the first, the peer the last
    Both,
    /// Only the peer: the daemon's threads may share its core where it leaves time
    Peer,
    /// None
    None,
}

/// What the program is when it was started by itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// The built-in simulator, until stdin ends
    #[command(hide = true)]
    Peer(PeerArgs),
    /// A bare client
    #[command(hide = true)]
    Limit(LimitArgs),
    /// An application that inserts, until stdin ends
    #[command(hide = true)]
    Application(ApplicationArgs),
}

/// Arguments of the application.
#[derive(Debug, Args)]
pub(crate) struct ApplicationArgs {
    #[arg(long)]
    pub(crate) database: PathBuf,
}

/// Arguments of the peer.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    pub(crate) listen: SocketAddr,
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_ms: u64,
}

/// Arguments of the bare client.
#[derive(Debug, Args, Serialize)]
pub(crate) struct LimitArgs {
    #[arg(long)]
    pub(crate) base_url: String,
    #[arg(long)]
    pub(crate) token_url: String,
    #[arg(long)]
    pub(crate) notices: u32,
    #[arg(long)]
    pub(crate) concurrency: usize,
    /// A file: each request waits until a page of it is flushed
    #[arg(long)]
    pub(crate) flush: Option<PathBuf>,
}
