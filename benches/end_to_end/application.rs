//! Measurement `insert`: how long an application's durable INSERT takes while the daemon emits at full speed.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::Connection;

use super::{
    audit::{self, Story},
    bench::Bench,
    daemon::{Daemon, Installation, Polling},
    emission::SERIES,
    figure::{Report, Target, percentile},
    notices,
    options::ApplicationArgs,
    outbox::{self, Emission, Span},
    peer::Peer,
};

/// Opens the references of the application's own rows.
const OWN_SERIES: &str = "COUNTER";
/// Between two INSERTs.
const PAUSE: Duration = Duration::from_millis(10);
/// The daemon must be busy for as long, or there are more rows next time.
const AT_LEAST: f64 = 5.0;
/// Waiting rows at the first try, for each of a round of `emit`.
const ROWS: u32 = 3;
/// How long the application runs alone, for comparison.
const ALONE: Duration = Duration::from_secs(3);

/// One INSERT, with its commit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Insert {
    started: DateTime<Utc>,
    milliseconds: f64,
}

/// The role: inserts until stdin ends, then writes what it measured.
pub(crate) async fn run(args: ApplicationArgs) -> anyhow::Result<()> {
    let mut conn = outbox::connect(&args.database).await?;
    let (ended, mut stdin) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ended.send(())
    });
    let mut inserts = Vec::new();
    while stdin.try_recv().is_err() {
        let row = notices::row(OWN_SERIES, u32::try_from(inserts.len() + 1)?)?;
        let (started, clock) = (Utc::now(), Instant::now());
        outbox::insert_one(&mut conn, &row).await?;
        inserts.push(Insert { started, milliseconds: clock.elapsed().as_secs_f64() * 1000.0 });
        tokio::time::sleep(PAUSE).await;
    }
    conn.close().await?;
    let mut stdout = std::io::stdout();
    Ok(stdout.write_all(&serde_json::to_vec(&inserts)?)?)
}

/// A running application; killed when dropped.
struct Application(Child);

impl Application {
    fn start(database: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["application", "--database"]).arg(database);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    /// Ends it; what it measured.
    fn stop(mut self) -> anyhow::Result<Vec<Insert>> {
        drop(self.0.stdin.take());
        let stdout = self.0.stdout.take().context("stdout")?;
        let inserts = serde_json::from_reader(stdout).context("the application's result")?;
        ensure!(self.0.wait()?.success(), "the application failed");
        Ok(inserts)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let alone = alone(bench).await?;
    let mut rows = bench.options.notices * ROWS;
    let times = loop {
        let (times, seconds) = beside_emission(bench, rows).await?;
        println!("  {} INSERTs while {rows} notices were emitted in {seconds:.1} s", times.len());
        if seconds >= AT_LEAST {
            break times;
        }
        rows *= 2;
    };
    report.add("insert.alone_p50", percentile(&alone, 0.50), "ms, without the daemon", None);
    report.add("insert.alone_p99", percentile(&alone, 0.99), "ms, without the daemon", None);
    report.add("insert.p50", percentile(&times, 0.50), "ms", None);
    report.add("insert.p99", percentile(&times, 0.99), "ms", Some(Target::Below(50.0)));
    report.add("insert.max", percentile(&times, 1.0), "ms", None);
    Ok(())
}

/// Times of INSERTs with no daemon there.
async fn alone(bench: &Bench) -> anyhow::Result<Vec<f64>> {
    let peer = Peer::start(bench.cores.peer, Duration::ZERO)?;
    let folder = bench.folder()?;
    let installation = Installation::new(folder.path(), &peer.addresses, Polling::Never)?;
    installation.create_database()?;
    let application = Application::start(&installation.database())?;
    tokio::time::sleep(ALONE).await;
    Ok(application.stop()?.iter().map(|insert| insert.milliseconds).collect())
}

/// Times of INSERTs during the emission of `rows` notices, and how long that took.
async fn beside_emission(bench: &Bench, rows: u32) -> anyhow::Result<(Vec<f64>, f64)> {
    let peer = Peer::start(bench.cores.peer, Duration::ZERO)?;
    let folder = bench.folder()?;
    let installation = Installation::new(folder.path(), &peer.addresses, Polling::Never)?;
    installation.create_database()?;
    let database = installation.database();
    let waiting = outbox::insert(&database, SERIES, rows).await?;
    let mut daemon = Daemon::start(&installation, bench.cores.client)?;
    let application = Application::start(&database)?;
    outbox::wait_for(&database, &mut daemon, waiting, "EMITTED").await?;
    let inserts = application.stop()?;
    let own = u32::try_from(inserts.len())?;
    let all = Span { after: 0, last: waiting.last + i64::from(own) };
    outbox::wait_for(&database, &mut daemon, all, "EMITTED").await?;
    daemon.stop()?;
    audit::audit(&database, &peer.ledger().await?, rows + own, Story::Emitted).await?;

    let emission = Emission::read(&database, waiting).await?;
    let meanwhile = inserts
        .iter()
        .filter(|insert| (emission.from..=emission.to).contains(&insert.started))
        .map(|insert| insert.milliseconds)
        .collect();
    Ok((meanwhile, emission.seconds()))
}
