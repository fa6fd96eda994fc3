//! Measurement `million`: what years of finished notices cost, in time to start, in memory, at rest and at work.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{
    archive,
    bench::Bench,
    daemon::{Daemon, Installation, Polling},
    figure::{Report, Target, median},
    machine,
    outbox::{self, Emission},
    peer::Peer,
};

/// Rows that are emitted, in one database and in the other.
const EMITTED: u32 = 5_000;
/// What the start still has to do is over by then.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the daemon is watched at rest.
const IDLE: Duration = Duration::from_secs(20);

/// Measures.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let peer = Peer::start(bench.cores.peer, Duration::ZERO)?;
    let (full, empty) = (bench.folder()?, bench.folder()?);
    let full = Installation::new(full.path(), &peer.addresses, Polling::ByDefault)?;
    let empty = Installation::new(empty.path(), &peer.addresses, Polling::ByDefault)?;
    archive::install(bench, &full, &peer.addresses, bench.options.finished).await?;
    empty.create_database()?;
    let size = std::fs::metadata(full.database())?.len() / (1024 * 1024);
    println!("  {} finished rows, {size} MiB", bench.options.finished);

    at_rest(bench, report, &full).await?;
    let (mut rates, mut empty_rates, mut peak) = (Vec::new(), Vec::new(), 0.0_f64);
    for round in 1..=bench.options.rounds {
        empty_rates.push(at_work(bench, &empty, &format!("EMPTY{round}")).await?.0);
        let (rate, memory) = at_work(bench, &full, &format!("FULL{round}")).await?;
        rates.push(rate);
        peak = peak.max(memory);
    }
    let ratio = median(rates.iter().zip(&empty_rates).map(|(full, empty)| full / empty).collect());
    report.add("million.peak_memory", peak, "MiB (VmHWM), emitting", None);
    report.add("million.empty_rate", median(empty_rates), "notices/s, empty database", None);
    report.add("million.rate", median(rates), "notices/s", None);
    report.add("million.ratio", ratio, "of an empty database", None);
    let emitted = usize::try_from(EMITTED * bench.options.rounds * 2)?;
    let known = peer.ledger().await?;
    ensure!(known.notices.len() == emitted && known.billed_twice().is_empty(), "the peer's book is wrong");
    Ok(())
}

/// Start, memory, and nothing to do.
async fn at_rest(bench: &Bench, report: &mut Report, installation: &Installation) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(installation, bench.cores.client)?;
    report.add("million.ready", daemon.ready_after.as_secs_f64(), "s to READY=1", Some(Target::Below(1.0)));
    tokio::time::sleep(SETTLE).await;
    let memory = machine::memory(daemon.pid())?;
    report.add("million.memory", memory.resident, "MiB (VmRSS)", Some(Target::Below(40.0)));
    let (cpu, watched) = (machine::fine_cpu_time(daemon.pid())?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let cpu = machine::fine_cpu_time(daemon.pid())?.saturating_sub(cpu);
    let share = cpu.as_secs_f64() / watched.elapsed().as_secs_f64();
    report.add("million.idle", share * 100.0, "% of a core, idle", Some(Target::Below(0.5)));
    daemon.still_runs()?;
    daemon.stop()
}

/// Rows come to a daemon that was at rest: notices/s, and the most memory it had.
async fn at_work(bench: &Bench, installation: &Installation, series: &str) -> anyhow::Result<(f64, f64)> {
    let database = installation.database();
    let mut daemon = Daemon::start(installation, bench.cores.client)?;
    let rows = outbox::insert(&database, series, EMITTED).await?;
    outbox::wait_for(&database, &mut daemon, rows, "EMITTED").await?;
    let memory = machine::memory(daemon.pid())?;
    daemon.stop()?;
    let emission = Emission::read(&database, rows).await?;
    Ok((f64::from(EMITTED) / emission.seconds(), memory.peak))
}
