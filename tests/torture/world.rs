//! Everything that a run needs: a folder, the platform in its process, the network before it, the daemon, an application,
//! taxpayers, and a connection that only looks.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{
    application::Application,
    audit,
    clock::Clock,
    daemon::{CONCURRENCY, Daemon, Installation, Route},
    database::Database,
    journal,
    options::{Options, Policy},
    platform::{Platform, Start},
    proxy::{Proxy, Weather},
    settle, taxpayer,
    verdict::{Kind, Verdict},
};

/// A run's world.
pub(crate) struct World {
    folder: Option<TempDir>,
    keep: bool,
    pub(crate) policy: Policy,
    pub(crate) platform: Arc<Platform>,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) clock: Clock,
    pub(crate) installation: Installation,
    daemon: Option<Daemon>,
    application: Option<Application>,
    rate: u32,
    journals: Vec<PathBuf>,
    taxpayers: JoinHandle<anyhow::Result<()>>,
    /// Only looks.
    pub(crate) database: Database,
    /// Doubts that each kill left.
    doubts: Vec<usize>,
    pub(crate) verdict: Verdict,
}

impl World {
    /// Starts everything; `latency` as the simulator takes it, `rate` in rows a second.
    pub(crate) async fn start(options: &Options, latency: &str, rate: u32) -> anyhow::Result<Self> {
        let mut world = Self::without_application(options, latency, |_| String::new()).await?;
        world.rate = rate;
        world.start_application()?;
        Ok(world)
    }

    /// The same, and nobody writes rows yet; `settings` gives more lines of the daemon's configuration, by its folder.
    pub(crate) async fn without_application(
        options: &Options,
        latency: &str,
        settings: impl FnOnce(&Path) -> String,
    ) -> anyhow::Result<Self> {
        let (seed, policy) = (options.seed(), options.policy);
        let folder = tempfile::tempdir()?;
        let start = Start { seed, latency, on_duplicate: policy.on_duplicate() };
        let platform = Arc::new(Platform::start(&start)?);
        let proxy = Arc::new(Proxy::start(platform.address()?, seed).await?);
        let route = Route {
            proxy: proxy.address(),
            base_path: platform.base_path(),
            token_path: platform.token_path(),
        };
        let installation = Installation::new(
            options.daemon.as_deref(),
            folder.path(),
            &route,
            policy,
            &settings(folder.path()),
        )?;
        let clock = Clock::new(folder.path())?;
        let daemon = installation.start(&clock).await?;
        let taxpayers = tokio::spawn(taxpayer::act(Arc::clone(&platform), installation.database(), seed));
        Ok(Self {
            folder: Some(folder),
            keep: options.keep,
            policy,
            platform,
            proxy,
            clock,
            daemon: Some(daemon),
            application: None,
            rate: 0,
            journals: Vec::new(),
            taxpayers,
            database: Database::open(&installation.database()).await?,
            installation,
            doubts: Vec::new(),
            verdict: Verdict::default(),
        })
    }

    /// The running daemon.
    fn daemon(&self) -> anyhow::Result<&Daemon> {
        self.daemon.as_ref().context("no daemon runs")
    }

    /// Fails if somebody failed on whom the run depends.
    pub(crate) async fn watch(&mut self) -> anyhow::Result<()> {
        self.watch_daemon().await?;
        if self.taxpayers.is_finished() {
            bail!("the taxpayers failed: {:?}", (&mut self.taxpayers).await);
        }
        Ok(())
    }

    /// A daemon that ended by itself broke its promise; another is started.
    pub(crate) async fn watch_daemon(&mut self) -> anyhow::Result<()> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        if let Some(how) = daemon.has_ended()? {
            let what = format!("it ended by itself: {how}{}", daemon.log_tail());
            self.verdict.find(Kind::Misbehaviour, what);
            self.start_daemon().await?;
        }
        Ok(())
    }

    /// Starts a daemon: as many rows are put in doubt as were under way when the last one was killed.
    pub(crate) async fn start_daemon(&mut self) -> anyhow::Result<()> {
        let under_way = self.under_way().await?;
        let last = self.last_transition().await?;
        self.daemon = Some(self.installation.start(&self.clock).await?);
        let sql = format!("SELECT count(*) FROM transition WHERE id > {last} AND source = 'recovery'");
        let doubted = self.database.number(&sql).await?;
        if doubted != i64::try_from(under_way)? {
            let what =
                format!("{under_way} rows were under way, and {doubted} were put in doubt by the start");
            self.verdict.find(Kind::Misbehaviour, what);
        }
        Ok(())
    }

    /// Starts a daemon, and kills it so soon after that it may not be ready.
    pub(crate) async fn kill_starting(&mut self, after: Duration) -> anyhow::Result<()> {
        let daemon = self.installation.spawn(&self.clock)?;
        tokio::time::sleep(after).await;
        daemon.kill()
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.daemon.take().context("no daemon runs")?.kill()?;
        let doubts = self.under_way().await?;
        self.doubts.push(doubts);
        if doubts > CONCURRENCY {
            let what =
                format!("a kill left {doubts} rows EMITTING, and api.max_concurrency is {CONCURRENCY}");
            self.verdict.find(Kind::Misbehaviour, what);
        }
        Ok(())
    }

    /// SIGTERM, which must end in order and leave no doubt.
    pub(crate) async fn terminate(&mut self) -> anyhow::Result<()> {
        let how = self.daemon.take().context("no daemon runs")?.terminate().await?;
        let under_way = self.under_way().await?;
        if how != "exit status 0" || under_way > 0 {
            self.verdict.find(Kind::Misbehaviour, format!("SIGTERM: {how}, {under_way} rows left EMITTING"));
        }
        Ok(())
    }

    /// SIGSTOP, and after this time SIGCONT, or SIGKILL without waking up.
    pub(crate) async fn freeze(&mut self, time: Duration, killed: bool) -> anyhow::Result<()> {
        self.daemon()?.signal(Signal::STOP)?;
        tokio::time::sleep(time).await;
        if killed { self.kill().await } else { self.daemon()?.signal(Signal::CONT) }
    }

    /// Starts an application whose references are its own.
    pub(crate) fn start_application(&mut self) -> anyhow::Result<()> {
        let series = format!("A{}", self.journals.len() + 1);
        let folder = self.folder.as_ref().context("folder")?;
        let journal = folder.path().join(format!("journal.{series}"));
        self.application =
            Some(Application::start(&self.installation.database(), &journal, &series, self.rate)?);
        self.journals.push(journal);
        Ok(())
    }

    /// Kills the application and starts another.
    pub(crate) fn kill_application(&mut self) -> anyhow::Result<()> {
        self.application.take().context("no application runs")?.kill()?;
        self.start_application()
    }

    /// The storm is over: everything comes to rest, and is audited.
    pub(crate) async fn end(mut self) -> anyhow::Result<Verdict> {
        self.application.take().context("no application runs")?.stop()?;
        self.stop_taxpayers();
        self.calm().await?;
        settle::settle(&mut self).await?;
        self.terminate().await?;
        let expected = journal::read(&self.journals)?;
        let ledger = self.platform.ledger().await?;
        audit::audit(&mut self, &expected, &ledger).await?;
        self.close()
    }

    /// Nobody pays any more.
    pub(crate) fn stop_taxpayers(&self) {
        self.taxpayers.abort();
    }

    /// No fault is made any more.
    pub(crate) async fn calm(&mut self) -> anyhow::Result<()> {
        self.proxy.set(Weather::Calm);
        self.platform.calm().await?;
        self.clock.settle()
    }

    /// What the log says, and what there was; keeps the folder if that was asked for.
    pub(crate) fn close(mut self) -> anyhow::Result<Verdict> {
        self.tell_doubts();
        for line in self.installation.forbidden_words()? {
            self.verdict.find(Kind::Misbehaviour, format!("the log says: {line}"));
        }
        if self.keep
            && let Some(folder) = self.folder.take()
        {
            self.verdict.figure(format!("kept in {}", folder.keep().display()));
        }
        Ok(self.verdict)
    }

    fn tell_doubts(&mut self) {
        let (kills, doubts) = (self.doubts.len(), self.doubts.iter().sum::<usize>());
        let most = self.doubts.iter().max().copied().unwrap_or_default();
        self.verdict.figure(format!(
            "{kills} kills left {doubts} rows in doubt, {most} at the most by one; api.max_concurrency is {CONCURRENCY}"
        ));
    }

    async fn under_way(&mut self) -> anyhow::Result<usize> {
        let sql = "SELECT count(*) FROM outbox WHERE status = 'EMITTING'";
        Ok(usize::try_from(self.database.number(sql).await?)?)
    }

    /// The newest transition.
    pub(crate) async fn last_transition(&mut self) -> anyhow::Result<i64> {
        self.database.number("SELECT coalesce(max(id), 0) FROM transition").await
    }
}
