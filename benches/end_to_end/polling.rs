//! Measurement `poll`: notices were paid while the daemon was away; how soon, and with how many requests, it knows.

use std::time::Duration;

use anyhow::ensure;
use tresorpayd::simulator::Operation;

use super::{
    audit::{self, Story},
    bench::Bench,
    daemon::{Daemon, Installation, Polling},
    emission::SERIES,
    figure::{Report, Target},
    outbox,
    peer::Peer,
};

/// Notices that are asked about.
const NOTICES: u32 = 10_000;
/// Between looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Measures.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let peer = Peer::start(bench.cores.peer, Duration::ZERO)?;
    let folder = bench.folder()?;
    let installation = Installation::new(folder.path(), &peer.addresses, Polling::DueLater)?;
    let database = installation.database();
    installation.create_database()?;
    let rows = outbox::insert(&database, SERIES, NOTICES).await?;
    let mut daemon = Daemon::start(&installation, bench.cores.client)?;
    outbox::wait_for(&database, &mut daemon, rows, "EMITTED").await?;
    daemon.stop()?;

    peer.pay_all().await?;
    let mut conn = outbox::connect(&database).await?;
    let not_due = "SELECT count(*) FROM outbox WHERE next_attempt_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
    while sqlx::query_as::<_, (i64,)>(not_due).fetch_one(&mut conn).await?.0 > 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    installation.configure(&peer.addresses, Polling::EverySecond)?;
    let asked = async || {
        let counters = peer.counters().await?;
        anyhow::Ok(counters.requests(Operation::Batch) + counters.requests(Operation::Status))
    };
    let before = asked().await?;
    let mut daemon = Daemon::start(&installation, bench.cores.client)?;
    outbox::wait_for(&database, &mut daemon, rows, "PAID").await?;
    let (cpu, ready_at) = (daemon.cpu_time()?, daemon.ready_at);
    daemon.stop()?;
    let requests = asked().await? - before;

    audit::audit(&database, &peer.ledger().await?, NOTICES, Story::Paid).await?;
    let last: (String,) = sqlx::query_as("SELECT max(at) FROM transition WHERE to_status = 'PAID'")
        .fetch_one(&mut conn)
        .await?;
    let last: chrono::DateTime<chrono::Utc> = last.0.parse()?;
    ensure!(requests > 0, "the peer was not asked");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    report.add("poll.requests", requests as f64, "for 10,000 notices", Some(Target::AtMost(100.0)));
    let seconds = (last - ready_at).as_seconds_f64();
    report.add("poll.seconds", seconds, "s from ready to all PAID", Some(Target::Below(2.0)));
    let cpu = cpu.as_secs_f64() * 1000.0 / f64::from(NOTICES);
    report.add("poll.cpu", cpu, "CPU s/1000 notices", None);
    Ok(())
}
