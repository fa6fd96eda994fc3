//! Measurements `emit` and `latency`: how fast waiting rows become notices, beside what a bare client does.

use std::{path::Path, time::Duration};

use anyhow::ensure;
use tresorpayd::simulator::Ledger;

use super::{
    audit::{self, Story},
    bench::Bench,
    daemon::{CONCURRENCY, Daemon, Installation, Polling},
    figure::{Report, Target, median},
    limit::{self, Limit},
    machine::{self, Others},
    outbox::{self, Emission},
    peer::Peer,
};

/// Opens every reference.
pub(crate) const SERIES: &str = "BENCH";
/// How late the peer answers in `latency`.
const LATENCY: Duration = Duration::from_millis(20);
/// Notices of a round of `latency` for so many in a round of `emit`: some seconds' worth.
const LATENCY_SHARE: u32 = 2;

/// What one round found.
#[derive(Debug)]
struct Round {
    limit: Limit,
    /// The bare client that flushes a page before each request, in `latency`.
    flushing: Option<Limit>,
    per_second: f64,
    cpu_seconds_per_1000: f64,
    rows_per_commit: f64,
    others: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.per_second / self.limit.per_second
    }

    /// What the flush alone leaves of the limit.
    fn flushing_ratio(&self) -> Option<f64> {
        self.flushing.map(|flushing| flushing.per_second / self.limit.per_second)
    }
}

/// Names of the figures of one measurement.
struct Names {
    limit: &'static str,
    limit_cpu: &'static str,
    rate: &'static str,
    ratio: &'static str,
    cpu: &'static str,
    group: &'static str,
    others: &'static str,
}

/// Measurement `emit`.
pub(crate) async fn at_full_speed(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let names = Names {
        limit: "emit.limit_rate",
        limit_cpu: "emit.limit_cpu",
        rate: "emit.rate",
        ratio: "emit.ratio",
        cpu: "emit.cpu",
        group: "emit.rows_per_commit",
        others: "emit.others",
    };
    let rounds = rounds(bench, bench.options.notices, Duration::ZERO).await?;
    add(report, &names, &rounds, Target::AtLeast(0.20), Some(Target::AtMost(0.12)));
    Ok(())
}

/// Measurement `latency`.
pub(crate) async fn with_latency(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let names = Names {
        limit: "latency.limit_rate",
        limit_cpu: "latency.limit_cpu",
        rate: "latency.rate",
        ratio: "latency.ratio",
        cpu: "latency.cpu",
        group: "latency.rows_per_commit",
        others: "latency.others",
    };
    let rounds = rounds(bench, bench.options.notices / LATENCY_SHARE, LATENCY).await?;
    let flushing = rounds.iter().filter_map(Round::flushing_ratio).collect();
    report.add("latency.flush_ratio", median(flushing), "of the limit", None);
    add(report, &names, &rounds, Target::AtLeast(0.97), None);
    Ok(())
}

fn add(report: &mut Report, names: &Names, rounds: &[Round], ratio: Target, cpu: Option<Target>) {
    let middle = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    report.add(names.limit, middle(|round| round.limit.per_second), "notices/s", None);
    report.add(names.limit_cpu, middle(|round| round.limit.cpu_seconds_per_1000), "CPU s/1000 notices", None);
    report.add(names.rate, middle(|round| round.per_second), "notices/s", None);
    report.add(names.ratio, middle(Round::ratio), "of the limit", Some(ratio));
    report.add(names.cpu, middle(|round| round.cpu_seconds_per_1000), "CPU s/1000 notices", cpu);
    report.add(names.group, middle(|round| round.rows_per_commit), "rows", None);
    report.add(names.others, middle(|round| round.others), "of all cores' time", None);
}

/// Limit and daemon by turns, so that a busy moment of the machine is not only the one's.
async fn rounds(bench: &Bench, notices: u32, latency: Duration) -> anyhow::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for number in 1..=bench.options.rounds {
        let round = round(bench, notices, latency).await?;
        println!(
            "  round {number}: limit {:.0}/s ({:.3} CPU s/1000), tresorpayd {:.0}/s ({:.3} CPU s/1000), ratio {:.3}{}, \
             {:.1} rows/commit, others {:.0} % of the cores",
            round.limit.per_second,
            round.limit.cpu_seconds_per_1000,
            round.per_second,
            round.cpu_seconds_per_1000,
            round.ratio(),
            round.flushing_ratio().map_or_else(String::new, |ratio| format!(" (a flush alone {ratio:.3})")),
            round.rows_per_commit,
            round.others * 100.0,
        );
        rounds.push(round);
    }
    Ok(rounds)
}

async fn round(bench: &Bench, notices: u32, latency: Duration) -> anyhow::Result<Round> {
    let others = Others::watch()?;
    let before = bare_client(bench, notices, latency, None).await?;
    let (emission, cpu, ledger) = daemon(bench, notices, latency).await?;
    let flushing = if latency.is_zero() {
        None
    } else {
        let folder = bench.folder()?;
        Some(bare_client(bench, notices, latency, Some(&folder.path().join("flushed"))).await?.0)
    };
    let after = bare_client(bench, notices, latency, None).await?;
    audit::same_requests(&before.1, &ledger)?;
    audit::same_requests(&after.1, &ledger)?;
    let emitted = f64::from(notices);
    Ok(Round {
        limit: before.0.and(after.0),
        flushing,
        per_second: emitted / emission.seconds(),
        cpu_seconds_per_1000: cpu.as_secs_f64() * 1000.0 / emitted,
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        rows_per_commit: emitted / emission.claims as f64,
        others: others.share()?,
    })
}

async fn bare_client(
    bench: &Bench,
    notices: u32,
    latency: Duration,
    flush: Option<&Path>,
) -> anyhow::Result<(Limit, Ledger)> {
    let peer = Peer::start(bench.cores.peer, latency)?;
    let limit = limit::measure(bench.cores.client, &peer.addresses, notices, CONCURRENCY, flush)?;
    Ok((limit, peer.ledger().await?))
}

/// The daemon's part of a round, audited: what its history says, its CPU time, what the peer knows.
async fn daemon(
    bench: &Bench,
    notices: u32,
    latency: Duration,
) -> anyhow::Result<(Emission, Duration, Ledger)> {
    let peer = Peer::start(bench.cores.peer, latency)?;
    let folder = bench.folder()?;
    let installation = Installation::new(folder.path(), &peer.addresses, Polling::Never)?;
    installation.create_database()?;
    let database = installation.database();
    let rows = outbox::insert(&database, SERIES, notices).await?;
    let flushes_show = machine::flushes_show(folder.path())?;

    let flushes = machine::disk_flushes()?;
    let mut daemon = Daemon::start(&installation, bench.cores.client)?;
    outbox::wait_for(&database, &mut daemon, rows, "EMITTED").await?;
    let cpu = daemon.cpu_time()?;
    let flushes = machine::disk_flushes()? - flushes;
    daemon.stop()?;

    let ledger = peer.ledger().await?;
    audit::audit(&database, &ledger, notices, Story::Emitted).await?;
    let emission = Emission::read(&database, rows).await?;
    ensure!(
        !flushes_show || flushes >= emission.claims,
        "{} commits took rows and the disk was flushed {flushes} times only: synchronous is not FULL",
        emission.claims
    );
    Ok((emission, cpu, ledger))
}
