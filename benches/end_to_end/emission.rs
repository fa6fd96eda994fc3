//! Measurements `emit` and `latency`: how fast waiting rows become notices, beside what a bare client does.

use std::time::Duration;

use anyhow::ensure;

use super::{
    bench::Bench,
    daemon::{CONCURRENCY, Daemon, Installation, Polling},
    figure::{Report, Target, median},
    limit::{self, Limit},
    machine::{self, Others},
    outbox,
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
    per_second: f64,
    cpu_seconds_per_1000: f64,
    rows_per_commit: f64,
    others: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.per_second / self.limit.per_second
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
            "  round {number}: limit {:.0}/s ({:.3} CPU s/1000), tresorpayd {:.0}/s ({:.3} CPU s/1000), ratio {:.3}, \
             {:.1} rows/commit, others {:.0} % of the cores",
            round.limit.per_second,
            round.limit.cpu_seconds_per_1000,
            round.per_second,
            round.cpu_seconds_per_1000,
            round.ratio(),
            round.rows_per_commit,
            round.others * 100.0,
        );
        rounds.push(round);
    }
    Ok(rounds)
}

async fn round(bench: &Bench, notices: u32, latency: Duration) -> anyhow::Result<Round> {
    let (limit, limit_peer) = {
        let peer = Peer::start(bench.cores.peer, latency)?;
        let limit = limit::measure(bench.cores.client, &peer.addresses, notices, CONCURRENCY)?;
        (limit, peer.ledger().await?)
    };
    let peer = Peer::start(bench.cores.peer, latency)?;
    let folder = bench.folder()?;
    let installation = Installation::new(folder.path(), &peer.addresses, Polling::Never)?;
    installation.create_database()?;
    let last = outbox::insert(&installation.database(), SERIES, notices).await?;
    let flushes_show = machine::flushes_show(installation.folder())?;

    let (flushes, peer_cpu) = (machine::disk_flushes()?, peer.cpu_time()?);
    let others = Others::watch(peer_cpu)?;
    let mut daemon = Daemon::start(&installation, bench.cores.client)?;
    outbox::wait_for(&installation.database(), &mut daemon, last, "EMITTED").await?;
    let cpu = daemon.cpu_time()?;
    let others = others.share(cpu + peer.cpu_time()?)?;
    let flushes = machine::disk_flushes()? - flushes;
    daemon.stop()?;

    let ledger = peer.ledger().await?;
    outbox::audit(&installation.database(), &ledger, notices).await?;
    let history = outbox::history(&installation.database()).await?;
    ensure!(
        !flushes_show || flushes >= history.claims,
        "{} commits took rows and the disk was flushed {flushes} times only: synchronous is not FULL",
        history.claims
    );
    same_requests(&limit_peer, &ledger)?;
    let emitted = f64::from(notices);
    Ok(Round {
        limit,
        per_second: emitted / history.seconds,
        cpu_seconds_per_1000: cpu.as_secs_f64() * 1000.0 / emitted,
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        rows_per_commit: emitted / history.claims as f64,
        others,
    })
}

/// The bare client must have asked for just what the daemon asked for.
fn same_requests(
    limit: &tresorpayd::simulator::Ledger,
    daemon: &tresorpayd::simulator::Ledger,
) -> anyhow::Result<()> {
    let orders = |ledger: &tresorpayd::simulator::Ledger| {
        let mut orders: Vec<_> = ledger
            .notices
            .iter()
            .map(|notice| {
                let codes = (notice.code_client.clone(), notice.code_structure.clone());
                let who = format!("{:?}", notice.tax_payer);
                (notice.client_reference.clone(), codes, notice.net_total, who, format!("{:?}", notice.items))
            })
            .collect();
        orders.sort();
        orders
    };
    ensure!(orders(limit) == orders(daemon), "the bare client did not send the daemon's requests");
    Ok(())
}
