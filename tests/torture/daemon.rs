//! `tresorpayd run` as a child: its configuration, its start as systemd sees it, its end, and what it may not do.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use chrono::Datelike;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;

use crate::{clock::Clock, options::Policy};

/// `api.max_concurrency`: no kill leaves more doubts.
pub(crate) const CONCURRENCY: usize = 8;
/// `emit.settle_after`: several times as long as any request is under way, also on a busy machine.
pub(crate) const SETTLE_AFTER: Duration = Duration::from_secs(6);
/// What the simulator's token endpoint knows by default.
const SECRET: &str = "demo-secret";
/// A daemon that is not ready by then, or has not ended, never will.
const DEADLINE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Bytes of the log that an error shows.
const LOG_TAIL: u64 = 3_000;

/// A database, its daemon's configuration and its log, in a folder.
#[derive(Debug)]
pub(crate) struct Installation {
    program: PathBuf,
    folder: PathBuf,
}

/// Where the daemon finds the platform.
pub(crate) struct Route<'a> {
    /// The proxy.
    pub(crate) proxy: SocketAddr,
    pub(crate) base_path: &'a str,
    pub(crate) token_path: &'a str,
}

impl Installation {
    /// Writes the configuration; `settings` are more lines of it.
    pub(crate) fn new(
        program: Option<&Path>,
        folder: &Path,
        route: &Route<'_>,
        policy: Policy,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let program = program.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tresorpayd")), Path::to_owned);
        let installation = Self { program, folder: folder.to_owned() };
        let Route { proxy, base_path, token_path } = route;
        let config = format!(
            r#"
environment = "custom"
api.base_url = "http://{proxy}{base_path}"
api.request_timeout = "2s"
api.max_concurrency = {CONCURRENCY}
api.requests_per_second = 0
api.retry_first_delay = "100ms"
api.retry_max_delay = "1s"
auth.token_url = "http://{proxy}{token_path}"
auth.client_id = "demo-client"
auth.client_secret = "{SECRET}"
notice.code_client = "APP-DEMO"
notice.code_structure = "STR-DEMO"
database.url = "sqlite://{database}"
emit.schedule = "* * * * * *"
emit.on_uncertain = "{policy}"
emit.settle_after = "{settle_after}s"
emit.max_uncertain = 1000000
poll.schedule = "* * * * * *"
poll.first_delay = "1s"
poll.max_delay = "5s"
shutdown.grace = "30s"
{settings}
"#,
            database = installation.database().display(),
            policy = policy.as_str(),
            settle_after = SETTLE_AFTER.as_secs(),
        );
        std::fs::write(installation.config(), config)?;
        Ok(installation)
    }

    /// Where everything of it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("outbox.db")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// What every daemon said, one after the other.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("daemon.log")
    }

    /// `tresorpayd report` over everything, as JSON; ten years, since the plan sets the clock.
    pub(crate) fn report(&self) -> anyhow::Result<String> {
        let this_year = chrono::Utc::now().year();
        let (from, to) = (format!("{}-01-01", this_year - 5), format!("{}-12-31", this_year + 4));
        let output = Command::new(&self.program)
            .args(["report", "--json", "--by", "nature,provider", "--from", &from, "--to", &to, "--config"])
            .arg(self.config())
            .env_clear()
            .output()?;
        ensure!(output.status.success(), "report: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a daemon, without waiting for anything.
    pub(crate) fn spawn(&self, clock: &Clock) -> anyhow::Result<Daemon> {
        let socket = self.folder.join("notify");
        // The one before was killed and left it behind.
        let _ = std::fs::remove_file(&socket);
        let told = UnixDatagram::bind(&socket)?;
        let log = File::options().append(true).create(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command
            .args(["run", "--config"])
            .arg(self.config())
            .env_clear()
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        clock.apply(&mut command);
        let child = command.spawn().with_context(|| self.program.display().to_string())?;
        Ok(Daemon { child, told, log: self.log() })
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) async fn start(&self, clock: &Clock) -> anyhow::Result<Daemon> {
        let mut daemon = self.spawn(clock)?;
        daemon.ready().await?;
        Ok(daemon)
    }

    /// Everything that the daemons said must be free of panics, secrets and tokens.
    pub(crate) fn forbidden_words(&self) -> anyhow::Result<Vec<String>> {
        let log = std::fs::read(self.log())?;
        let log = String::from_utf8_lossy(&log);
        let forbidden = ["panicked at", SECRET, "Bearer ", crate::application::PAYER];
        Ok(log
            .lines()
            .filter(|line| forbidden.iter().any(|word| line.contains(word)))
            .map(str::to_owned)
            .collect())
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    told: UnixDatagram,
    log: PathBuf,
}

impl Daemon {
    /// Waits for `READY=1`.
    async fn ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut message = [0; 4096];
        loop {
            while let Ok(length) = self.told.try_recv(&mut message) {
                if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1") {
                    return Ok(());
                }
            }
            if let Some(how) = self.has_ended()? {
                bail!("the daemon ended ({how}) instead of being ready{}", self.log_tail());
            }
            ensure!(started.elapsed() < DEADLINE, "the daemon is not ready{}", self.log_tail());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How it ended, if it did.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.child.try_wait()?.map(|status| match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => format!("exit status {}", status.code().unwrap_or_default()),
        }))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; how it ended.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<String> {
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        loop {
            if let Some(how) = self.has_ended()? {
                return Ok(how);
            }
            ensure!(asked.elapsed() < DEADLINE, "the daemon does not end{}", self.log_tail());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The end of the log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let tail = || -> std::io::Result<String> {
            let mut log = File::open(&self.log)?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        format!("; its log ends:\n{}", tail().unwrap_or_default())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already if the run went to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
